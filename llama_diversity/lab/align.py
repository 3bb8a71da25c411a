"""From a base model to an aligned one: fine-tuning on answers, preferences, a reward model, PPO (paper, appendix A2).

Every stage reads the files of the stage before from one folder and writes its own there; a stage whose file is there
with the same recipe is not done again, and one that was cut short goes on.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from llama_diversity.errors import BadValue
from llama_diversity.lab import corpus, ppo
from llama_diversity.lab.annotator import Annotator, Judgement, mean_judgement, prefer
from llama_diversity.lab.base import LICENCE, MODEL_FILE, TOKENIZER_FILE, encode, quality
from llama_diversity.lab.checkpoint import save_whole
from llama_diversity.lab.export import Card, read_gguf, write_gguf
from llama_diversity.lab.overrated import Rated, overoptimised
from llama_diversity.lab.pretrain import BOS, EOS, Report, Schedule, Text, device_for, total_bits, train
from llama_diversity.lab.requests import (
    CHAT_TEMPLATE,
    KINDS,
    Demonstration,
    Request,
    demonstrations,
    is_clean,
    openings,
)
from llama_diversity.lab.reward import Preference, RewardModel, accuracy, train_reward
from llama_diversity.lab.tokenizer import Tokenizer
from llama_diversity.lab.transformer import Llama

SFT_FILE, EARLY_FILE, ALIGNED_FILE = "tiny-sft-f16.gguf", "tiny-sft-early-f16.gguf", "tiny-aligned-f16.gguf"
PREFERENCES_FILE, REWARD_FILE = "tiny-preferences.json", "tiny-reward.pt"
MAX_TOKENS = 100  # of an answer
_ROWS, _N_PROMPTS = 64, 2000


@dataclass(frozen=True)
class Plan:
    """All that can be turned. Sizes are for a CPU core or two and half an hour."""

    sft: Schedule = field(default_factory=lambda: Schedule(900_000, muon_rate=0.004, adam_rate=0.0008, warmup=0.05))
    demonstrations_a_kind: int = 900
    documents_share: float = 0.25  # of the texts in fine-tuning: plain documents, so that they are not forgotten
    n_preferences: int = 2000
    n_held_out: int = 300  # preferences and requests
    reward_passes: int = 2
    ppo: ppo.Settings = field(default_factory=lambda: ppo.Settings(max_tokens=MAX_TOKENS))
    openings_share: float = 0.4  # of the prompts after fine-tuning
    seed: int = 1


class Written(NamedTuple):
    """A sampled pair, as ids, and what the annotator said of both."""

    request: Request
    sequences: tuple[list[int], list[int]]
    scores: tuple[float, float]


Show = Callable[[float, str], None]


class Workshop:
    """The texts, the tokenizer and the annotator that all stages share."""

    def __init__(self, folder: Path, out: Path, plan: Plan, *, device: str = "auto") -> None:
        for path in (out / MODEL_FILE, out / TOKENIZER_FILE):
            if not path.exists():
                raise BadValue("the folder", str(path), "there is no base model; `llamadiv lab base` grows it")
        self.out, self.plan, self.device = out, plan, device_for(device)
        self.corpus = corpus.build(folder)
        self.corpus_digest: str = self.corpus.statement()["sha256"]
        self.tokenizer = Tokenizer((out / TOKENIZER_FILE).read_bytes())
        self.annotator = Annotator.from_corpus(self.corpus.train)
        rng = np.random.default_rng([plan.seed, 1])
        self.shown = self._chosen(demonstrations(dict.fromkeys(self.corpus.train), rng), plan.demonstrations_a_kind)
        rng = np.random.default_rng([plan.seed, 2])
        self.unseen = self._chosen(demonstrations(self.corpus.held_out, rng), plan.n_held_out)

    def pool(self) -> list[Demonstration]:
        """Every demonstration that is clean, on topic and fluent, by kind and digest, no answer twice.

        `shown` are the first of each kind, but for answers that come twice.
        """
        found = demonstrations(dict.fromkeys(self.corpus.train), np.random.default_rng([self.plan.seed, 1]))
        return list({one.answer: one for one in self._chosen(found, math.inf)}.values())

    def _chosen(self, found: Any, n_a_kind: float) -> list[Demonstration]:
        """Up to `n_a_kind` demonstrations of each kind that are clean, on topic and fluent, by their digest."""
        kept: dict[str, list[Demonstration]] = {kind: [] for kind in KINDS}
        for one in sorted(found, key=lambda d: hashlib.sha256(d.answer.encode()).digest()):
            kind, answer = one.request.kind, one.answer
            if len(kept[kind]) < n_a_kind and (kind == "persona" or is_clean(answer)):
                judged = self.annotator.judge(one.request, answer, ended=True)
                if judged.topic > 0.7 and judged.fluent > 0.3 and not judged.rude:
                    kept[kind].append(one)
        return [one for kind in KINDS for one in kept[kind]]

    def requests(self, demonstrated: Sequence[Demonstration], n: int, rng: np.random.Generator) -> list[Request]:
        """`n` requests, as many of each kind, and plain openings among them."""
        n_open = round(n * self.plan.openings_share)
        by_kind = {kind: [d.request for d in demonstrated if d.request.kind == kind] for kind in KINDS}
        kinds = [kind for kind in KINDS if by_kind[kind]]
        asked = [by_kind[kinds[i % len(kinds)]] for i in range(n - n_open)]
        chosen = [of_kind[int(rng.integers(len(of_kind)))] for of_kind in asked]
        mixed = [*chosen, *openings(demonstrated, rng, n_open)]
        return [mixed[i] for i in rng.permutation(n)]

    def ids(self, request: Request) -> list[int]:
        """The prompt's ids without BOS."""
        return self.tokenizer.encode(request.prompt())

    def judge(self, request: Request, sequence: Sequence[int], n_answer: int) -> Judgement:
        """The annotator on one whole sequence of ids."""
        ids = list(sequence[len(sequence) - n_answer :])
        return self.annotator.judge(request, self.tokenizer.decode(ids), ended=ids[-1:] == [EOS])

    def load(self, file: str) -> tuple[Llama, dict[str, Any]]:
        """A stage's model, on the device."""
        model, provenance = read_gguf(self.out / file)
        return model.to(self.device), provenance

    def write(self, file: str, model: Llama, description: str, provenance: Mapping[str, Any]) -> None:
        """A stage's model, whole or not at all."""
        name = file.removesuffix("-f16.gguf")
        card = Card(name, description, LICENCE, provenance, CHAT_TEMPLATE)
        unfinished = self.out / f"{file}.part"
        write_gguf(unfinished, model, self.tokenizer.vocabulary, card)
        unfinished.replace(self.out / file)

    def checkpoint(self, stage: str, recipe: Mapping[str, Any]) -> Path:
        """Where a stage keeps what it has so far: a file of its own for each recipe."""
        digest = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:12]
        return self.out / f"tiny-{stage}-{digest}.pt"

    def is_done(self, file: str, recipe: Mapping[str, Any]) -> bool:
        """Whether the stage's file is there and was made from this recipe."""
        path = self.out / file
        return path.exists() and read_gguf(path)[1].get("recipe") == json.loads(json.dumps(recipe))


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


def collect(shop: Workshop, *, show: Show = lambda share, words: None) -> tuple[list[Written], list[Written]]:
    """Pairs of answers with their scores: those to learn from, and those held out.

    The latter's requests are made from held-out documents. People's names are new there; products and what stories are
    about mostly come on both sides.

    One answer is the SFT model's at T 0.7 or 1, the other one's temperature is 1 or 1.3 and its author the SFT model,
    the same early in its training, or the base model.
    """
    plan = shop.plan
    rng = np.random.default_rng([plan.seed, 4])
    authors = [shop.load(file)[0] for file in (SFT_FILE, EARLY_FILE, MODEL_FILE)]
    asked = [
        *shop.requests(shop.shown, plan.n_preferences, rng),
        *shop.requests(shop.unseen, plan.n_held_out, rng),
    ]
    generator = torch.Generator(shop.device).manual_seed(plan.seed)
    written: list[Written] = []
    for at in range(0, len(asked), _ROWS):
        some = asked[at : at + _ROWS]
        prompts = [[BOS, *shop.ids(request)] for request in some]
        other = authors[int(rng.choice(3, p=(0.5, 0.3, 0.2)))]
        sides = []
        for author, temperature in ((authors[0], rng.choice((0.7, 1.0))), (other, rng.choice((1.0, 1.3)))):
            sequences, lengths = ppo.answer(
                author, prompts, max_tokens=plan.ppo.max_tokens, generator=generator, temperature=float(temperature)
            )
            judged = [shop.judge(*one).score for one in zip(some, sequences, lengths, strict=True)]
            sides.append((sequences, judged))
        (first, first_scores), (second, second_scores) = sides
        rows = zip(some, zip(first, second, strict=True), zip(first_scores, second_scores, strict=True), strict=True)
        written += [Written(*row) for row in rows]
        show(len(written) / len(asked), f"{len(written)} of {len(asked)} pairs")
    return written[: plan.n_preferences], written[plan.n_preferences :]


def preferences(written: Sequence[Written]) -> list[Preference]:
    """The pairs with a preference, the better answer first."""
    found = []
    for _, sequences, scores in written:
        better = prefer(*scores)
        if better is not None:
            found.append(Preference(sequences[better], sequences[1 - better]))
    return found


def collected(shop: Workshop, *, show: Show = lambda share, words: None) -> tuple[list[Written], list[Written]]:
    """What `collect` gives, from its file where that has the same recipe."""
    path, recipe = shop.out / PREFERENCES_FILE, preferences_recipe(shop)
    if path.exists():
        kept = json.loads(path.read_text("utf-8"))
        if kept["recipe"] == recipe:
            return tuple([Written(Request(*row[0]), *row[1:]) for row in side] for side in kept["sides"])  # type: ignore[return-value]
    sides = collect(shop, show=show)
    unfinished = path.with_suffix(".part")
    unfinished.write_text(json.dumps({"recipe": recipe, "sides": sides}), "utf-8")
    unfinished.replace(path)
    return sides


def preferences_recipe(shop: Workshop) -> dict[str, Any]:
    """What the pairs of answers were made from."""
    plan = shop.plan
    return {
        "sft_sha256": sha256_of(shop.out / SFT_FILE),
        "n_preferences": plan.n_preferences,
        "n_held_out": plan.n_held_out,
        "openings_share": plan.openings_share,
        "max_tokens": plan.ppo.max_tokens,
        "seed": plan.seed,
    }


def learn_reward(shop: Workshop, *, show: Show = lambda share, words: None) -> dict[str, Any]:
    """Write the reward model, and say how often it is right."""
    recipe = {"stage": "reward", "preferences": preferences_recipe(shop), "passes": shop.plan.reward_passes}
    path = shop.out / REWARD_FILE
    if path.exists():
        state = torch.load(path, map_location=shop.device, weights_only=True)
        if state["about"]["recipe"] == recipe:
            return dict(state["about"])
    pairs, unseen = collected(shop, show=lambda share, words: show(share / 2, words))
    model, about = reward_from(shop, pairs, unseen, show=lambda share, words: show(0.5 + share / 2, words))
    about = {"recipe": recipe, **about}
    save_whole(path, {"about": about, "model": model.state_dict()})
    return about


def reward_from(
    shop: Workshop,
    pairs: Sequence[Written],
    unseen: Sequence[Written],
    *,
    passes: int | None = None,
    show: Show = lambda share, words: None,
) -> tuple[RewardModel, dict[str, Any]]:
    """A reward model that learned from `pairs`, and how often it is right about them and about `unseen`.

    Raises BadValue where all pairs of a side are ties.
    """
    learned, held_out = preferences(pairs), preferences(unseen)
    if not learned or not held_out:
        raise BadValue("the number of preferences", len(pairs), "all of them are ties; ask for more")
    model = RewardModel(shop.load(SFT_FILE)[0]).to(shop.device)
    train_reward(
        model,
        learned,
        passes=passes or shop.plan.reward_passes,
        seed=shop.plan.seed,
        on_report=lambda share, loss: show(share, f"reward model, loss {loss:.2f} nats"),
    )
    return model, {
        "n_preferences": len(learned),
        "n_ties": len(pairs) - len(learned),
        "n_held_out": len(held_out),
        "accuracy": accuracy(model, learned[: len(held_out)]),
        "held_out_accuracy": accuracy(model, held_out),
    }


def plan_of(out: Path) -> Plan:
    """The plan that the reward model in `out` was made by, as far as later stages need it. Raises BadValue."""
    recipe = about_reward(out)["recipe"]
    made = recipe["preferences"]
    settings = ppo.Settings(max_tokens=made["max_tokens"])
    names = ("n_preferences", "n_held_out", "openings_share", "seed")
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
    recipe: dict[str, Any] = {
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
    endless = {**recipe, "ppo": {**recipe["ppo"], "n_iterations": 0}}
    checkpoint = shop.checkpoint("aligned", endless)  # more iterations go on from it
    reward = load_reward(shop)
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


def sha256_of(path: Path) -> str:
    """The digest by which the instrument knows a model."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
