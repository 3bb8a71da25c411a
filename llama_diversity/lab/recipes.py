"""Three siblings of the aligned model, to see in which part of the recipe diversity is lost.

Two are fine-tuned on the base model, on a narrow and on a varied set of answers that are as many and as long
(`answer_sets.py`): does the loss sit in the data? One is the SFT model after direct preference optimisation on exactly
the pairs that PPO's reward model learned from: does it sit in the algorithm? All need the stages of `align.py` in the
folder, and are measured alike, on the same requests from held-out documents.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from llama_diversity.errors import BadValue
from llama_diversity.lab import align, answer_sets, dpo, ppo
from llama_diversity.lab.annotator import Judgement
from llama_diversity.lab.answer_sets import AnswerSets
from llama_diversity.lab.base import MODEL_FILE, TOKENIZER_FILE
from llama_diversity.lab.export import read_gguf
from llama_diversity.lab.pretrain import Report, Schedule, total_bits, train
from llama_diversity.lab.requests import Demonstration, Request
from llama_diversity.lab.transformer import Llama
from llama_diversity.lab.workshop import ALIGNED_FILE, SFT_FILE, Workshop, sha256_of

FILES = {name: f"tiny-{name}-f16.gguf" for name in ("sft-narrow", "sft-varied", "dpo")}
SETS_FILE, ALIGNED_MEASURES_FILE = "tiny-answer-sets.json", "tiny-aligned-measures.json"
_KEPT_EVERY = 40  # steps of fine-tuning
Show = Callable[[float, str], None]


@dataclass(frozen=True)
class Plan:
    """What can be turned."""

    answers_a_kind: int = 200  # of each set
    tokens_share: float = 0.5  # of fine-tuning's tokens, which has four times the answers
    dpo: dpo.Settings = field(default_factory=dpo.Settings)
    seed: int = 1  # of the order of training


class Siblings:
    """The stages, each from the files in the workshop's folder to its own. Raises BadValue without the SFT model."""

    def __init__(self, shop: Workshop, plan: Plan) -> None:
        if not (shop.out / SFT_FILE).exists():
            raise BadValue("the folder", str(shop.out), "there is no SFT model; `llamadiv lab align` makes one")
        self.shop, self.plan = shop, plan
        self.sft_sha256 = sha256_of(shop.out / SFT_FILE)

    @functools.cached_property
    def sft(self) -> Llama:
        """The model that DPO starts from and that all are set against."""
        return self.shop.load(SFT_FILE)[0]

    @functools.cached_property
    def _sft_measured(self) -> dict[str, float]:
        return measured(self.shop, self.sft, self.sft)

    # --- Fine-tuning on two sets of answers

    def answer_sets(self) -> tuple[AnswerSets, dict[str, Any]]:
        """The narrow and the varied set and what is to be said of them, from their file where it has the recipe."""
        path = self.shop.out / SETS_FILE
        recipe = {
            "corpus_sha256": self.shop.corpus_digest,
            "answers_a_kind": self.plan.answers_a_kind,
            "tokenizer_sha256": sha256_of(self.shop.out / TOKENIZER_FILE),
            "n_parts": answer_sets.N_PARTS,
            "n_centres": answer_sets.N_CENTRES,
            "seed": self.shop.plan.seed,  # of the way in which each request is put, and of the order of the pool
        }
        if path.exists():
            kept = json.loads(path.read_text("utf-8"))
            if kept["recipe"] == recipe:
                return AnswerSets(*(list(_read(kept["sets"][name])) for name in AnswerSets._fields)), kept["about"]
        found = answer_sets.choose(self.shop.pool(), self.plan.answers_a_kind, self._length, seed=self.shop.plan.seed)
        about = answer_sets.describe(found, self._length)
        _write_json(path, {"recipe": recipe, "sets": found._asdict(), "about": about})
        return found, about

    def _length(self, text: str) -> int:
        return len(self.shop.tokenizer.encode(text))

    def fine_tune(
        self, name: str, *, on_report: Callable[[Report], None] | None = None, fuse: bool = False
    ) -> dict[str, Any]:
        """Write the model of one set, "narrow" or "varied"; its provenance. Only the answers, and with them what is
        asked, differ between the two; schedule and share of documents are the SFT model's, but for the tokens.
        """
        shop, (sets, about_sets) = self.shop, self.answer_sets()
        of_sft = read_gguf(shop.out / SFT_FILE)[1]["recipe"]
        schedule = Schedule(**of_sft["schedule"])
        n_tokens = round(schedule.n_tokens * self.plan.tokens_share)
        schedule = dataclasses.replace(schedule, n_tokens=n_tokens, seed=self.plan.seed)
        file = FILES[f"sft-{name}"]
        recipe = {
            "stage": f"sft-{name}",
            "base_sha256": sha256_of(shop.out / MODEL_FILE),
            "sft_sha256": self.sft_sha256,  # set against it
            "answers_sha256": _digest_of(getattr(sets, name)),
            "schedule": dataclasses.asdict(schedule),
            "documents_share": of_sft["documents_share"],
            "seed": self.plan.seed,
        }
        if shop.is_done(file, recipe):
            return read_gguf(shop.out / file)[1]
        model, before = shop.load(MODEL_FILE)
        answers = getattr(sets, name)
        surprise = self._bits_per_byte(model, answers)
        n_ctx = model.architecture.n_ctx
        texts = align.texts_of(shop, answers, recipe["documents_share"], n_ctx=n_ctx)
        checkpoint = shop.checkpoint(f"sft-{name}", recipe)
        train(
            model,
            texts,
            schedule,
            checkpoint=checkpoint,
            checkpoint_every=_KEPT_EVERY,
            on_report=on_report,
            fuse=fuse,
        )
        about: dict[str, Any] = {"recipe": recipe, "before": before, "answers": about_sets[name]}
        about["answers_bits_per_byte"] = {"base": surprise, f"sft-{name}": self._bits_per_byte(model, answers)}
        about |= align.held_out_bits(shop, model) | self._beside_sft(f"sft-{name}", model)
        shop.write(file, model, f"A tiny Llama fine-tuned on {name} answers, grown by llamadiv lab recipes", about)
        return about

    def _bits_per_byte(self, model: Llama, answers: list[Demonstration]) -> float:
        """Of the answers that a model is fine-tuned on: how new they are to it."""
        bits = total_bits(model, [align.demonstration_text(self.shop.tokenizer, one) for one in answers])
        return bits / sum(len(one.answer.encode()) + 1 for one in answers)

    # --- Direct preference optimisation

    def prefer(self, *, show: Show = lambda share, words: None) -> dict[str, Any]:
        """Write the DPO model; its provenance."""
        shop, settings = self.shop, dataclasses.replace(self.plan.dpo, seed=self.plan.seed)
        recipe = {
            "stage": "dpo",
            "sft_sha256": self.sft_sha256,
            "preferences": align.preferences_recipe(shop),
            "dpo": dataclasses.asdict(settings),
        }
        if shop.is_done(FILES["dpo"], recipe):
            return read_gguf(shop.out / FILES["dpo"])[1]
        written, unseen = align.collected(shop, show=show)
        learned, held_out = align.ranked(shop, written), align.ranked(shop, unseen)
        if not learned or not held_out:
            raise BadValue("the number of preferences", len(written), "all of them are ties; ask for more")

        def on_log(log: dpo.Log, n_steps: int) -> None:
            words = f"DPO: loss {log.loss_nats:.2f} nats, right about {log.accuracy:.0%}"
            show((log.step + 1) / n_steps, words)

        checkpoint = shop.checkpoint("dpo", recipe)
        policy, logs = dpo.optimise(self.sft, learned, settings, checkpoint=checkpoint, on_log=on_log)
        about = {
            "recipe": recipe,
            **align.counted(written, learned),
            "implicit_reward": {
                "learned": dpo.held_out(policy, self.sft, learned[: len(held_out)], settings.beta),
                "held_out": dpo.held_out(policy, self.sft, held_out, settings.beta),
            },
            "reward_model_held_out_accuracy": align.about_reward(shop.out)["held_out_accuracy"],
            "log": [log._asdict() for log in logs],
            "before": shop.load(SFT_FILE)[1],
            **self._beside_sft("dpo", policy),
        }
        shop.write(FILES["dpo"], policy, "A tiny Llama aligned by DPO, grown by llamadiv lab recipes", about)
        return about

    def aligned(self) -> dict[str, float] | None:
        """The same measures of PPO's model, None where there is none; from their file where that is of this model."""
        shop, path = self.shop, self.shop.out / ALIGNED_MEASURES_FILE
        if not (shop.out / ALIGNED_FILE).exists():
            return None
        of = {"sft_sha256": self.sft_sha256, "aligned_sha256": sha256_of(shop.out / ALIGNED_FILE)}
        if path.exists() and (kept := json.loads(path.read_text("utf-8")))["of"] == of:
            return dict(kept["measured"])
        found = measured(shop, shop.load(ALIGNED_FILE)[0], self.sft)
        _write_json(path, {"of": of, "measured": found})
        return found

    def _beside_sft(self, name: str, model: Llama) -> dict[str, Any]:
        return {"held_out_judgement": {"sft": self._sft_measured, name: measured(self.shop, model, self.sft)}}


def measured(shop: Workshop, model: Llama, sft: Llama) -> dict[str, float]:
    """What a model answers to requests from held-out documents: the annotator's mean view and its standard error, the
    KL of an answer to the SFT model in nats, the mean token entropy of an answer in bits, its tokens, each with its
    standard error.
    """
    judged: list[Judgement] = []
    kl_nats, entropy_bits, length_tokens = list[float](), list[float](), list[float]()
    for some in align.answered(shop, model):
        judged += [shop.judge(*one) for one in zip(*some, strict=True)]
        kls, bits, lengths = ppo.compare(model, sft, some.sequences, some.n_answers)
        kl_nats += kls
        entropy_bits += bits
        length_tokens += lengths
    of_answers = {"kl_nats": kl_nats, "entropy_bits": entropy_bits, "length_tokens": length_tokens}
    about = align.judgement_of(judged)
    for name, values in of_answers.items():
        about |= {name: float(np.mean(values)), f"{name}_se": float(np.std(values, ddof=1) / len(values) ** 0.5)}
    return about


def report_of(
    stages: Mapping[str, Mapping[str, Any]], about_sets: Mapping[str, Any], aligned: Mapping[str, float] | None
) -> dict[str, Any]:
    """The numbers of all siblings, from their provenances by stage, beside those of PPO's model."""
    rows: dict[str, Any] = {}
    for stage in stages.values():
        rows |= stage["held_out_judgement"]
    if aligned is not None:
        rows["aligned"] = dict(aligned)
    tuned = ("sft-narrow", "sft-varied")
    names = ("answers_bits_per_byte", "held_out_answers_bits_per_byte", "held_out_documents_bits_per_byte")
    return {
        "answers": dict(about_sets),
        "fine_tuning": {stage: {name: stages[stage][name] for name in names} for stage in tuned},
        "implicit_reward": stages["dpo"]["implicit_reward"],
        "reward_model_held_out_accuracy": stages["dpo"]["reward_model_held_out_accuracy"],
        "n_preferences": stages["dpo"]["n_preferences"],
        "held_out_judgement": rows,
    }


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    unfinished = path.with_suffix(".part")
    unfinished.write_text(json.dumps(content), "utf-8")
    unfinished.replace(path)


def _read(rows: list[Any]) -> Iterator[Demonstration]:
    for asked, answer in rows:
        yield Demonstration(Request(*asked), answer)


def _digest_of(demonstrated: list[Demonstration]) -> str:
    return hashlib.sha256(json.dumps(demonstrated).encode()).hexdigest()
