"""What all stages of the aligned model share: the plan, the folder with their files, texts, tokenizer, annotator."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from llama_diversity.errors import BadValue
from llama_diversity.lab import corpus, ppo
from llama_diversity.lab.annotator import Annotator, Judgement
from llama_diversity.lab.base import LICENCE, MODEL_FILE, TOKENIZER_FILE
from llama_diversity.lab.export import Card, read_gguf, write_gguf
from llama_diversity.lab.pretrain import EOS, Schedule, device_for
from llama_diversity.lab.requests import (
    CHAT_TEMPLATE,
    KINDS,
    Demonstration,
    Request,
    demonstrations,
    is_clean,
    openings,
)
from llama_diversity.lab.tokenizer import Tokenizer
from llama_diversity.lab.transformer import Llama

SFT_FILE, EARLY_FILE, ALIGNED_FILE = "tiny-sft-f16.gguf", "tiny-sft-early-f16.gguf", "tiny-aligned-f16.gguf"
PREFERENCES_FILE, REWARD_FILE = "tiny-preferences.json", "tiny-reward.pt"
MAX_TOKENS = 100  # of an answer
Show = Callable[[float, str], None]  # hears the share that is done, and words for it


@dataclass(frozen=True)
class Plan:
    """All that can be turned. Sizes are for a CPU core or two and half an hour."""

    sft: Schedule = field(default_factory=lambda: Schedule(900_000, muon_rate=0.004, adam_rate=0.0008, warmup=0.05))
    demonstrations_a_kind: int = 900
    documents_share: float = 0.25  # of the texts in fine-tuning: plain documents, so that they are not forgotten
    n_preferences: int = 2000  # prompts whose answers are compared
    n_held_out: int = 300  # further ones
    reward_passes: int = 2
    ppo: ppo.Settings = field(default_factory=lambda: ppo.Settings(max_tokens=MAX_TOKENS))
    openings_share: float = 0.4  # of the prompts after fine-tuning
    seed: int = 1


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


def sha256_of(path: Path) -> str:
    """The digest by which the instrument knows a model."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def part(show: Show, begin: float, end: float) -> Show:
    """What hears the shares of one part of the work, which goes from `begin` to `end` of the whole."""
    return lambda share, words: show(begin + (end - begin) * share, words)
