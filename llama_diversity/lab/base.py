"""The base model from raw text in one call: corpus, tokenizer, training, held-out quality, GGUF.

Everything lies in one folder, and a call that was cut short goes on from its last checkpoint.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from llama_diversity.errors import BadValue
from llama_diversity.lab import corpus
from llama_diversity.lab.baselines import KneserNey, xz_bits
from llama_diversity.lab.corpus import Corpus, Document
from llama_diversity.lab.export import Card, read_gguf, write_gguf
from llama_diversity.lab.pretrain import Report, Schedule, Text, device_for, total_bits, train
from llama_diversity.lab.tokenizer import Tokenizer
from llama_diversity.lab.tokenizer import train as train_tokenizer
from llama_diversity.lab.transformer import Architecture, Llama

LICENCE = "CC-BY-SA-3.0"  # the strictest of the sources: Wikipedia's
MODEL_FILE, TOKENIZER_FILE, REPORT_FILE = "tiny-base-f16.gguf", "tiny-tokenizer.model", "tiny-base.json"


class Quality(NamedTuple):
    """How well a model predicts documents it has not seen."""

    n_documents: int
    n_bytes: int  # UTF-8, and one for the end of each document
    bits_per_byte: float


def grow(
    folder: Path,
    out: Path,
    *,
    schedule: Schedule,
    architecture: Architecture | None = None,
    device: str = "auto",
    fuse: bool = False,
    on_stage: Callable[[str], None] = lambda words: None,
    on_report: Callable[[Report], None] | None = None,
) -> dict[str, Any]:
    """Grow a base model on the text files of `folder`; model and report go to `out`, and the report is returned.

    What is there with the same recipe is not grown again. Raises BadValue where a file is missing. Each recipe has a
    checkpoint of its own.
    """
    architecture = architecture or Architecture()
    on_stage("choosing documents")
    built = corpus.build(folder)
    statement = built.statement()
    recipe = {
        "stage": "base",
        "architecture": architecture.as_dict(),
        "schedule": dataclasses.asdict(schedule),
        "corpus_sha256": statement["sha256"],
    }
    if (report := grown(out, recipe)) is not None:
        return report
    on_stage("training the tokenizer")
    tokenizer = Tokenizer(train_tokenizer((d.text for d in built.train), n_vocab=architecture.n_vocab))
    texts = encode(tokenizer, built.train, n_ctx=architecture.n_ctx)
    n_corpus_tokens = sum(len(text.ids) + 2 for text in texts)
    model = Llama(architecture)
    model.initialise(torch.Generator().manual_seed(schedule.seed))
    model.to(device_for(device))
    on_stage(
        f"training {model.n_params:,} parameters on {schedule.n_tokens:,} tokens, "
        f"{schedule.n_tokens / n_corpus_tokens:.1f} passes through the corpus"
    )
    out.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:12]
    train(model, texts, schedule, checkpoint=out / f"tiny-base-{digest}.pt", on_report=on_report, fuse=fuse)
    on_stage("measuring on held-out documents")
    report = {**recipe, "corpus": statement, "n_corpus_tokens": n_corpus_tokens, "n_params": model.n_params}
    report["held_out"] = {kind: q._asdict() for kind, q in quality(model, tokenizer, built).items()}
    report["held_out_baselines_bits_per_byte"] = baselines(tokenizer, built, architecture)
    card = Card("tiny-base", "A small Llama that continues text, grown by llamadiv lab base", LICENCE, report)
    unfinished = out / f"{MODEL_FILE}.part"
    write_gguf(unfinished, model, tokenizer.vocabulary, card)
    (out / TOKENIZER_FILE).write_bytes(tokenizer.serialised)
    unfinished.replace(out / MODEL_FILE)
    (out / REPORT_FILE).write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    return report


def grown(out: Path, recipe: Mapping[str, Any]) -> dict[str, Any] | None:
    """The report of the base model in `out`, where all of its files are there and it has this recipe; else None."""
    if not all((out / file).exists() for file in (MODEL_FILE, TOKENIZER_FILE, REPORT_FILE)):
        return None
    report = read_gguf(out / MODEL_FILE)[1]
    return report if all(report.get(key) == value for key, value in json.loads(json.dumps(recipe)).items()) else None


def encode(tokenizer: Tokenizer, documents: Sequence[Document], *, n_ctx: int) -> list[Text]:
    """The documents as ids; what does not fit the context with BOS and EOS is cut."""
    return [Text(np.array(tokenizer.encode(text)[: n_ctx - 2], np.int16)) for _, text in documents]


def quality(model: Llama, tokenizer: Tokenizer, built: Corpus) -> dict[str, Quality]:
    """Held-out bits per byte of each kind of document, and of all; documents longer than the context are left out."""
    n_ctx = model.architecture.n_ctx
    whole = fitting(tokenizer, built, n_ctx=n_ctx)
    found, all_bits, all_bytes = {}, 0.0, 0
    for kind in sorted({d.kind for d in whole}):
        documents = [d for d in whole if d.kind == kind]
        bits = total_bits(model, encode(tokenizer, documents, n_ctx=n_ctx))
        n_bytes = size_bytes(documents)
        found[kind] = Quality(len(documents), n_bytes, bits / n_bytes)
        all_bits, all_bytes = all_bits + bits, all_bytes + n_bytes
    return {**found, "all": Quality(len(whole), all_bytes, all_bits / all_bytes)}


def baselines(tokenizer: Tokenizer, built: Corpus, architecture: Architecture) -> dict[str, float]:
    """Bits per byte of the same held-out documents under models without a network."""
    n_ctx = architecture.n_ctx
    whole = fitting(tokenizer, built, n_ctx=n_ctx)
    known = [text.ids.tolist() for text in encode(tokenizer, built.train, n_ctx=n_ctx)]
    unknown = [text.ids.tolist() for text in encode(tokenizer, whole, n_ctx=n_ctx)]
    five_grams = KneserNey(known, n_vocab=architecture.n_vocab, order=5).surprisals_bits(unknown).sum()
    n_bytes = size_bytes(whole)
    return {"kneser_ney_5": float(five_grams) / n_bytes, "xz_9": xz_bits(text for _, text in whole) / n_bytes}


def fitting(tokenizer: Tokenizer, built: Corpus, *, n_ctx: int) -> list[Document]:
    """The held-out documents that fit the context whole. Raises BadValue where there is none."""
    whole = [d for d in built.held_out if len(tokenizer.encode(d.text)) <= n_ctx - 2]
    if not whole:
        raise BadValue("the corpus", f"{len(built.held_out)} held-out documents", "none fits the model's context")
    return whole


def size_bytes(documents: Sequence[Document]) -> int:
    """UTF-8 bytes, with one for the end of each document."""
    return sum(len(text.encode()) + 1 for _, text in documents)
