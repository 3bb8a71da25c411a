"""From a base model to an aligned one: fine-tuning on answers, preferences, a reward model, PPO (paper, appendix A2).

Every stage reads the files of the stage before from one folder and writes its own there; a stage whose file is there
with the same recipe is not done again, and one that was cut short goes on.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from llama_diversity.errors import BadValue
from llama_diversity.lab import ppo
from llama_diversity.lab.annotator import Judgement, mean_judgement, prefer
from llama_diversity.lab.base import MODEL_FILE, encode, quality
from llama_diversity.lab.checkpoint import save_whole
from llama_diversity.lab.export import read_gguf
from llama_diversity.lab.overrated import Rated, overoptimised
from llama_diversity.lab.pretrain import BOS, EOS, Report, Text, total_bits, train
from llama_diversity.lab.requests import KINDS, Demonstration, Request
from llama_diversity.lab.reward import Ranking, RewardModel, accuracy, train_reward
from llama_diversity.lab.tokenizer import Tokenizer
from llama_diversity.lab.transformer import Llama
from llama_diversity.lab.workshop import (
    ALIGNED_FILE,
    EARLY_FILE,
    PREFERENCES_FILE,
    REWARD_FILE,
    SFT_FILE,
    Plan,
    Show,
    Workshop,
    part,
    sha256_of,
)

_ROWS, _N_PROMPTS = 64, 2000


class Written(NamedTuple):
    """Answers to one request as whole sequences of ids, and the annotator's scores.

    The first two were drawn for it; behind them one that was drawn for another request of the same kind, one for
    another request of any, and the first one cut short.
    """

    request: Request
    sequences: list[list[int]]
    scores: list[float]


class Author(NamedTuple):
    """Who writes an answer, and at which temperature."""

    model: Llama
    temperature: float


Sides = tuple[list[Written], list[Written]]  # to learn from, and held out


# --- Supervised fine-tuning ------------------------------------------------------------------------------------------


def fine_tune(shop: Workshop, *, on_report: Callable[[Report], None] | None = None, fuse: bool = False) -> None:
    """Write the SFT model, and what it was after 40 % of its steps."""
    plan = shop.plan
    recipe = {
        "stage": "sft",
        "base_sha256": sha256_of(shop.out / MODEL_FILE),
        "corpus_sha256": shop.corpus_digest,
        "schedule": dataclasses.asdict(plan.sft),
        "demonstrations": {kind: sum(d.request.kind == kind for d in shop.shown) for kind in KINDS},
        "documents_share": plan.documents_share,
        "seed": plan.seed,
    }
    if shop.is_done(SFT_FILE, recipe) and shop.is_done(EARLY_FILE, recipe):
        return
    model, before = shop.load(MODEL_FILE)
    texts = texts_of(shop, shop.shown, plan.documents_share, n_ctx=model.architecture.n_ctx)
    checkpoint = shop.checkpoint("sft", recipe)
    if not shop.is_done(EARLY_FILE, recipe):  # otherwise the checkpoint may be a later one
        train(model, texts, plan.sft, checkpoint=checkpoint, until=0.4, on_report=on_report, fuse=fuse)
        shop.write(EARLY_FILE, model, "A tiny Llama early in fine-tuning", {"recipe": recipe})
    train(model, texts, plan.sft, checkpoint=checkpoint, on_report=on_report, fuse=fuse)
    about: dict[str, Any] = {"recipe": recipe, "before": before}
    about |= held_out_bits(shop, model)
    shop.write(SFT_FILE, model, "A tiny Llama that answers, grown by llamadiv lab align", about)


def texts_of(
    shop: Workshop, demonstrated: Sequence[Demonstration], documents_share: float, *, n_ctx: int
) -> list[Text]:
    """What fine-tuning reads: the demonstrations, and plain documents that make up `documents_share` of all texts."""
    texts = [demonstration_text(shop.tokenizer, one) for one in demonstrated]
    n_documents = round(len(texts) * documents_share / (1 - documents_share))
    rng = np.random.default_rng([shop.plan.seed, 3])
    some = [shop.corpus.train[i] for i in rng.choice(len(shop.corpus.train), n_documents)]
    return texts + encode(shop.tokenizer, some, n_ctx=n_ctx)


def held_out_bits(shop: Workshop, model: Llama) -> dict[str, Any]:
    """Bits per byte of held-out answers of each kind, and of held-out documents."""
    of_documents = quality(model, shop.tokenizer, shop.corpus)["all"].bits_per_byte
    of_answers = {kind: _answer_bits(shop, model, kind) for kind in KINDS}
    return {"held_out_answers_bits_per_byte": of_answers, "held_out_documents_bits_per_byte": of_documents}


def demonstration_text(tokenizer: Tokenizer, one: Demonstration) -> Text:
    """Prompt and answer as one text, of which the answer counts."""
    prompt = tokenizer.encode(one.request.prompt())
    return Text(np.array([*prompt, *tokenizer.encode(one.answer)], np.int16), scored_from=len(prompt))


def _answer_bits(shop: Workshop, model: Llama, kind: str) -> float | None:
    """Bits per byte of the held-out answers of one kind; None where there is none."""
    unseen = [d for d in shop.unseen if d.request.kind == kind]
    if not unseen:
        return None
    bits = total_bits(model, [demonstration_text(shop.tokenizer, one) for one in unseen])
    return bits / sum(len(one.answer.encode()) + 1 for one in unseen)


# --- Preferences and the reward model ---------------------------------------------------------------------------------


def collect(shop: Workshop, *, show: Show = lambda share, words: None) -> Sides:
    """Answers with their scores: those to learn from, and those held out.

    The latter's requests are made from held-out documents. People's names are new there; products and what stories are
    about mostly come on both sides.

    The first is the SFT model's at T 0.7 or 1, the second one's temperature is 1 or 1.3 and its author the SFT model,
    the same early in its training, or the base model.
    """
    plan, rng = shop.plan, np.random.default_rng([shop.plan.seed, 4])
    authors = [shop.load(file)[0] for file in (SFT_FILE, EARLY_FILE, MODEL_FILE)]

    def two() -> tuple[Author, Author]:
        other = authors[int(rng.choice(3, p=(0.5, 0.3, 0.2)))]
        return Author(authors[0], float(rng.choice((0.7, 1.0)))), Author(other, float(rng.choice((1.0, 1.3))))

    sizes = ((shop.shown, plan.n_preferences), (shop.unseen, plan.n_held_out))
    asked = [shop.requests(demonstrated, n, rng) for demonstrated, n in sizes]
    n_all = sum(map(len, asked))
    sides: list[list[Written]] = []
    for requests in asked:
        generator = torch.Generator(shop.device).manual_seed(int(rng.integers(2**31)))
        side: list[Written] = []
        for at in range(0, len(requests), _ROWS):
            side += _answers(shop, requests[at : at + _ROWS], two(), generator, rng)
            n_done = len(asked[0]) * len(sides) + min(at + _ROWS, len(requests))
            show(n_done / n_all, f"{n_done} of {n_all} prompts")
        sides.append(side)
    return sides[0], sides[1]


def _answers(
    shop: Workshop,
    requests: Sequence[Request],
    authors: tuple[Author, Author],
    generator: torch.Generator,
    rng: np.random.Generator,
) -> Iterator[Written]:
    """What two authors answer to each request, and answers that show what the reward model would not see otherwise.

    How well an answer keeps to its topic is seen best where it was written to another one, and that more has to follow
    a clean end where nothing does. Both are faults that a policy is led to and that sampled answers seldom have.
    """
    prompts = [[BOS, *shop.ids(request)] for request in requests]
    drawn = [
        ppo.answer(
            author.model,
            prompts,
            max_tokens=shop.plan.ppo.max_tokens,
            generator=generator,
            temperature=author.temperature,
        )
        for author in authors
    ]
    first, second = ([ids[-n:] for ids, n in zip(*one, strict=True)] for one in drawn)
    full_stop = shop.tokenizer.encode("a.")[-1]
    for at, (request, prompt) in enumerate(zip(requests, prompts, strict=True)):
        n_kept = int(len(first[at]) * rng.random() ** 2 / 2)  # half at most, often nothing
        strays = [first[other] for other in _others(requests, at)]
        answers = [first[at], second[at], *strays, [*first[at][:n_kept], full_stop, EOS]]
        sequences = [[*prompt, *answer] for answer in answers]
        yield Written(request, sequences, [shop.judge(request, ids, len(ids) - len(prompt)).score for ids in sequences])


def _others(requests: Sequence[Request], at: int) -> list[int]:
    """The places of the next request of the same kind behind `at`, in a circle, and of the next one behind it of all.

    Another request's words differ. Fewer where there are no others.
    """
    circle = [i % len(requests) for i in range(at + 1, at + len(requests))]
    others = [i for i in circle if requests[i].text != requests[at].text]
    form = (requests[at].kind, requests[at].is_chat)
    same = [i for i in others if (requests[i].kind, requests[i].is_chat) == form]
    chosen = (same or others)[:1]
    return [*chosen, *[i for i in others if i not in chosen][:1]]


def ranked(shop: Workshop, written: Sequence[Written], n_answers: int | None = None) -> list[Ranking]:
    """Which answers are preferred to which, or which of the first so many; without prompts where all are ties."""
    found = []
    for request, sequences, scores in written:
        pairs = []
        for one, other in itertools.combinations(range(len(sequences[:n_answers])), 2):
            better = prefer(scores[one], scores[other])
            if better is not None:
                pairs.append((other, one) if better else (one, other))
        if pairs:
            found.append(Ranking(sequences[:n_answers], pairs, 1 + len(shop.ids(request))))
    return found


def counted(written: Sequence[Written], rankings: Sequence[Ranking]) -> dict[str, int]:
    """How many pairs have a preference, and how many are ties."""
    n, n_pairs = sum(len(one.pairs) for one in rankings), sum(math.comb(len(one.sequences), 2) for one in written)
    return {"n_preferences": n, "n_ties": n_pairs - n}


def collected(shop: Workshop, *, show: Show = lambda share, words: None) -> Sides:
    """What `collect` gives, from its file where that has the same recipe."""
    path, recipe = shop.out / PREFERENCES_FILE, preferences_recipe(shop)
    if path.exists() and (kept := json.loads(path.read_text("utf-8")))["recipe"] == recipe:
        learned, held_out = ([Written(Request(*row[0]), *row[1:]) for row in side] for side in kept["sides"])
        return learned, held_out
    sides = collect(shop, show=show)
    unfinished = path.with_suffix(".part")
    unfinished.write_text(json.dumps({"recipe": recipe, "sides": sides}), "utf-8")
    unfinished.replace(path)
    return sides


def preferences_recipe(shop: Workshop) -> dict[str, Any]:
    """What the answers were made from."""
    plan = shop.plan
    return {
        "sft_sha256": sha256_of(shop.out / SFT_FILE),
        "n_preferences": plan.n_preferences,
        "n_held_out": plan.n_held_out,
        "answers": "two drawn, two of others, one cut short",
        "openings_share": plan.openings_share,
        "max_tokens": plan.ppo.max_tokens,
        "seed": plan.seed,
    }


def learn_reward(shop: Workshop, *, show: Show = lambda share, words: None) -> dict[str, Any]:
    """Write the reward model, and say how often it is right."""
    recipe = {"stage": "reward", "preferences": preferences_recipe(shop), "passes": shop.plan.reward_passes}
    path = shop.out / REWARD_FILE
    if path.exists():
        about = about_reward(shop.out)
        if about["recipe"] == recipe:
            return about
    written, unseen = collected(shop, show=part(show, 0, 0.8))
    model, found = reward_from(shop, written, unseen, show=part(show, 0.8, 1))
    about = {"recipe": recipe, **found}
    save_whole(path, {"about": about, "model": model.state_dict()})
    return about


def reward_from(
    shop: Workshop,
    written: Sequence[Written],
    unseen: Sequence[Written],
    *,
    passes: int | None = None,
    show: Show = lambda share, words: None,
) -> tuple[RewardModel, dict[str, Any]]:
    """A reward model that learned from `written`, and how often it is right about these and about `unseen`.

    Raises BadValue where all pairs of a side are ties.
    """
    learned, held_out, drawn = ranked(shop, written), ranked(shop, unseen), ranked(shop, unseen, 2)
    if not learned or not held_out:
        raise BadValue("the number of preferences", len(written), "all of them are ties; ask for more")
    model = RewardModel(shop.load(SFT_FILE)[0]).to(shop.device)
    train_reward(
        model,
        learned,
        passes=passes or shop.plan.reward_passes,
        seed=shop.plan.seed,
        on_report=lambda share, loss: show(share, f"reward model, loss {loss:.2f} nats"),
    )
    return model, {
        **counted(written, learned),
        "n_held_out": sum(len(one.pairs) for one in held_out),
        "accuracy": accuracy(model, learned[: len(held_out)]),
        "held_out_accuracy": accuracy(model, held_out),
        "held_out_accuracy_drawn": accuracy(model, drawn) if drawn else None,
    }


def plan_of(out: Path) -> Plan:
    """The plan that the reward model in `out` was made by, as far as later stages need it. Raises BadValue."""
    recipe = about_reward(out)["recipe"]
    made = recipe["preferences"]
    settings = ppo.Settings(max_tokens=made["max_tokens"])
    names = [one.name for one in dataclasses.fields(Plan) if one.name in made]
    return Plan(reward_passes=recipe["passes"], ppo=settings, **{name: made[name] for name in names})


def about_reward(out: Path) -> dict[str, Any]:
    """What `learn_reward` said of the reward model in `out`. Raises BadValue where there is none."""
    path = out / REWARD_FILE
    if not path.exists():
        raise BadValue("the folder", str(out), "there is no reward model; `llamadiv lab align` makes one")
    return dict(torch.load(path, map_location="cpu", weights_only=True)["about"])


def load_reward(shop: Workshop) -> RewardModel:
    """The reward model that `learn_reward` wrote."""
    model = RewardModel(shop.load(SFT_FILE)[0]).to(shop.device)
    model.load_state_dict(torch.load(shop.out / REWARD_FILE, map_location=shop.device, weights_only=True)["model"])
    return model.eval()


# --- PPO -------------------------------------------------------------------------------------------------------------


def reinforce(
    shop: Workshop,
    reward_about: Mapping[str, Any],
    *,
    file: str = ALIGNED_FILE,
    on_log: Callable[[ppo.Log], None] = lambda log: None,
) -> dict[str, Any]:
    """Write the aligned model to `file`, with the log of its optimisation and the annotator's view before and after."""
    plan = shop.plan
    recipe = {
        "stage": "aligned",
        "sft_sha256": sha256_of(shop.out / SFT_FILE),
        "reward": reward_about["recipe"],
        "ppo": dataclasses.asdict(plan.ppo),
        "openings_share": plan.openings_share,
        "seed": plan.seed,
    }
    if shop.is_done(file, recipe):
        return read_gguf(shop.out / file)[1]
    sft, before = shop.load(SFT_FILE)
    reward = load_reward(shop)
    endless = {**recipe, "ppo": {**recipe["ppo"], "n_iterations": 0}}
    checkpoint = shop.checkpoint("aligned", endless)  # more iterations go on from it
    policy, logs = ppo.optimise(sft, reward, ppo_prompts(shop), plan.ppo, checkpoint=checkpoint, on_log=on_log)
    about = {
        "recipe": recipe,
        "reward_model": dict(reward_about),
        "log": [log._asdict() for log in logs],
        "held_out_judgement": {"sft": judged(shop, sft), "aligned": judged(shop, policy)},
        "overoptimised": overoptimised(*(list(rated(shop, model, reward)) for model in (sft, policy))),
        "before": before,
    }
    shop.write(file, policy, "A tiny Llama aligned by PPO, grown by llamadiv lab align", about)
    return about


def ppo_prompts(shop: Workshop) -> list[list[int]]:
    """The prompts that PPO draws from, as ids without BOS."""
    rng = np.random.default_rng([shop.plan.seed, 5])
    return [shop.ids(request) for request in shop.requests(shop.shown, _N_PROMPTS, rng)]


class Answers(NamedTuple):
    """Answers to some requests: whole sequences of ids, whose last `n_answers` tokens were drawn."""

    requests: list[Request]
    sequences: list[list[int]]
    n_answers: list[int]


def answered(
    shop: Workshop, model: Llama, *, seed: int | None = None, max_tokens: int | None = None
) -> Iterator[Answers]:
    """The model's answers to requests from held-out documents, some at a time; the same requests for the same seed."""
    seed, max_tokens = seed or shop.plan.seed, max_tokens or shop.plan.ppo.max_tokens
    asked = shop.requests(shop.unseen, shop.plan.n_held_out, np.random.default_rng([seed, 6]))
    generator = torch.Generator(shop.device).manual_seed(seed)
    for at in range(0, len(asked), _ROWS):
        some = asked[at : at + _ROWS]
        prompts = [[BOS, *shop.ids(request)] for request in some]
        yield Answers(some, *ppo.answer(model, prompts, max_tokens=max_tokens, generator=generator))


def judged(shop: Workshop, model: Llama, *, seed: int | None = None, max_tokens: int | None = None) -> dict[str, float]:
    """The annotator's mean view of the answers to requests from held-out documents, with the score's standard error."""
    some = answered(shop, model, seed=seed, max_tokens=max_tokens)
    return judgement_of([shop.judge(*one) for answers in some for one in zip(*answers, strict=True)])


@torch.no_grad()
def rated(shop: Workshop, model: Llama, reward: RewardModel) -> Iterator[Rated]:
    """The model's answers to requests from held-out documents, by the reward model and by the annotator."""
    for some in answered(shop, model):
        rewards = reward(some.sequences).tolist()
        for request, sequence, n_answer, number in zip(*some, rewards, strict=True):
            text = shop.tokenizer.decode(sequence[len(sequence) - n_answer :])
            yield Rated(request.text, text, number, shop.judge(request, sequence, n_answer).score)


def judgement_of(found: Sequence[Judgement]) -> dict[str, float]:
    """Mean of each part and of the score, the score's standard error, and of how many answers."""
    scores = [one.score for one in found]
    return {**mean_judgement(found), "score_se": float(np.std(scores, ddof=1) / len(scores) ** 0.5), "n": len(scores)}
