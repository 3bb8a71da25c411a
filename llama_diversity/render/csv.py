"""Rows as a CSV for spreadsheets and R; and samples so, one a row: text, where it comes from, and bits per token."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import IO

import numpy as np

from llama_diversity.records import Sampler
from llama_diversity.render.jsonl import Exported

COLUMNS = (
    "arm", "model", "mode", "prompt", "sampler", "seed", "index", "text", "answer", "finish_reason", "n_tokens",
    "bits_per_token",
)  # fmt: skip
TOKEN_COLUMNS = ("token_ids", "surprisal_bits", "entropy_bits")  # JSON lists; null where a token has no context
MIXTURE_COLUMNS = ("under_bits", "source")  # likewise, of a list for each token; empty where no mixture drew it


def to_csv(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A head and rows, with quotes as RFC 4180 has them.

    >>> to_csv(["said"], [["one, two"]])
    'said\\n"one, two"\\n'
    """
    out = io.StringIO()
    csv.writer(Lines(out), lineterminator=Lines.END).writerows([head, *rows])
    return out.getvalue()


class Lines:
    """Where a `csv.writer` writes to whose lines end in a line feed alone.

    Its line end is END, since before Python 3.13 a cell with a carriage return is quoted only if that is part of it.
    """

    END = "\r\n"

    def __init__(self, out: IO[str]) -> None:
        self.out = out

    def write(self, row: str) -> int:
        return self.out.write(row.removesuffix(self.END) + "\n")


def guarded(text: str) -> str:
    """With an apostrophe before what a spreadsheet would take for a formula.

    >>> guarded("=1+1"), guarded("1+1")
    ("'=1+1", '1+1')
    """
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def write_csv(file: IO[bytes], samples: Iterable[Exported], *, with_tokens: bool = False) -> int:
    """Write a head and a row of each sample, UTF-8 and with quotes as RFC 4180 has them; how many samples there were.

    `answer` is the text without the thoughts in it, empty where one never ends. `bits_per_token` is the mean surprisal
    of the tokens that have a context, empty where none has.
    """
    text = io.TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline="", write_through=True)
    try:
        rows = csv.writer(Lines(text), lineterminator=Lines.END)
        rows.writerow([*COLUMNS, *((*TOKEN_COLUMNS, *MIXTURE_COLUMNS) if with_tokens else ())])
        n_samples = 0
        for exported in samples:
            rows.writerow([*_row(exported), *(_token_cells(exported) if with_tokens else ())])
            n_samples += 1
    finally:
        text.detach()  # the file is the caller's
    return n_samples


def _row(exported: Exported) -> Iterator[object]:
    recipe, sample = exported.recipe, exported.sample
    judged = sample.tokens["surprisal_bits"][~np.isnan(sample.tokens["surprisal_bits"])]
    yield from (exported.arm, exported.reference, recipe.prompt.mode, recipe.prompt.text)
    yield from (_words(recipe.sampler), recipe.seed, sample.index)
    text = sample.text.decode("utf-8", "replace")
    yield from (text, text if exported.answer is None else exported.answer.text)
    yield from (sample.finish_reason, len(sample.tokens))
    yield float(judged.mean(dtype=np.float64)) if len(judged) else ""


def _words(sampler: Sampler) -> str:
    """The temperature, and what else is not off.

    >>> _words(Sampler(temperature=0.7, top_p=0.9))
    'temperature=0.7 top_p=0.9'
    """
    off = asdict(Sampler())
    fields = asdict(sampler)
    return " ".join(
        f"{name}={value:g}" for name, value in fields.items() if name == "temperature" or value != off[name]
    )


def _token_cells(exported: Exported) -> Iterator[str]:
    tokens = exported.sample.tokens
    yield json.dumps(tokens["id"].tolist())
    for name in TOKEN_COLUMNS[1:]:
        yield json.dumps([None if np.isnan(value) else value for value in tokens[name].tolist()])
    beside = exported.sample.beside
    if beside is None:
        yield from ("", "")
    else:
        under = beside["surprisals_bits"].tolist()
        yield json.dumps([[bits if math.isfinite(bits) else None for bits in of_token] for of_token in under])
        yield json.dumps([None if source < 0 else source for source in beside["source"].tolist()])
