"""`doctor MODEL`: how a model reads neutral text behind each start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from llama_diversity.cli.options import Common
from llama_diversity.cli.progress import progress_line
from llama_diversity.engines import Engine
from llama_diversity.errors import BadValue
from llama_diversity.records import Asking
from llama_diversity.studies.checkup.analysis import TEXTS, Finding, Reading, clearly_better, read

_NAMED = ("none", "bos", "separator")
_LINE_BREAK = "\n"  # a start that no file states, to hold the others against


class Checkup(NamedTuple):
    """A model's readings by the starts as they are typed, the chosen one, and those beside which it is worse."""

    readings: Mapping[str, Reading]
    chosen: str
    better: Sequence[Finding]


def _read_behind(engine: Engine, asking: Asking, common: Common) -> Checkup:
    """The texts behind every start that the model has; of two that are one, the first name."""
    starts: dict[str, Asking] = {}
    known: dict[tuple[int, ...], str] = {}
    for name in dict.fromkeys((*_NAMED, _LINE_BREAK, asking.start)):
        try:
            ids = engine.start(Asking(name)).ids
        except BadValue:
            if name == asking.start:
                raise
            continue
        if ids not in known:
            known[ids] = name
            starts[name] = Asking(name)
    readings = {}
    with progress_line(common, "reading neutral texts") as show:
        for at, (name, asked) in enumerate(starts.items()):
            readings[name] = read(engine.start(asked).text, [_bits(engine, text, asked) for text in TEXTS])
            show((at + 1) / len(starts))
    chosen = known[engine.start(asking).ids]
    return Checkup(readings, chosen, clearly_better(readings, chosen))


def _bits(engine: Engine, text: str, asking: Asking) -> list[float]:
    tokens = engine.score(engine.tokenize(text, asking))[len(engine.start(asking).ids) :]
    return [float(bits) for bits in tokens["surprisal_bits"]]
