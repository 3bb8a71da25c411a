"""The reproduction ledger as exhibits: a line for each published number, what was different here, and the errata."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from llama_diversity.decimals import counted
from llama_diversity.render.exhibits import Between, Exhibit, Plain, Remark, Section, Table, Value
from llama_diversity.studies.paper.analysis import ERRATA, VERDICTS, Entry, Number
from llama_diversity.studies.paper.plain import MARKS, asked_of, is_arithmetic, plain, row
from llama_diversity.studies.plain import IN_BRACKETS

CHOICES = (  # the same in every run: what, the paper, here
    (
        "Experiment 1, base prompt",
        "“a base-model style prompt”, unsaid which",
        "ten forms with two worked examples each",
    ),
    ("IDF of Experiment 2", "unsaid whether pooled", "pooled; per model beside it"),
    ("clusters of Experiment 2", "by eye on a t-SNE", "complete linkage on the embeddings; t-SNE is only drawn"),
    ("optimal k", "unsaid how", "silhouette, and the gap statistic beside it"),
    ("entropy", "Eq. 3.2: five likeliest, raw, log 2", "the same, three other readings, and the whole vocabulary"),
    ("attractors", "by eye", "kinds of the unchanged continuations, learned on half of them"),
    ("blocked trajectories", "claimed (section 6), not measured", "not in this ledger: `llamadiv diff` measures it"),
)


@dataclass(frozen=True)
class Facts:
    """The arms' models, in what the runs differ from the paper's (what, the paper, here), and what is not there."""

    base: str
    aligned: str
    is_paper_pair: bool
    deviations: Sequence[tuple[str, str, str]]
    absent: Sequence[str]


def section(found: Sequence[Entry], facts: Facts, command: str, plains: Sequence[Plain] = ()) -> Section:
    """The whole ledger for a reader; `plains` are the plain sentences of the experiments."""
    about = (
        f"Each published number of “Creativity Has Left the Chat” (Mohammadi 2024) beside that of {facts.base} (base) "
        f"and {facts.aligned} (aligned). "
        + (
            "This is the paper's pair: numbers are compared."
            if facts.is_paper_pair
            else "This is another pair than the paper's: only directions are compared, not numbers."
        )
    )
    told = plain(found, plains, (facts.base, facts.aligned), facts.absent, is_paper_pair=facts.is_paper_pair)
    return Section("ledger", "Does the paper hold?", about, command, tuple(_exhibits(found, facts)), told)


def _exhibits(found: Sequence[Entry], facts: Facts) -> Iterator[Exhibit]:
    computed = [entry for entry in found if is_arithmetic(entry)]
    lines = [entry for entry in found if not is_arithmetic(entry)]
    told = [f"{counted(len(lines), 'line')} about these models{_counts(lines)}."]
    if computed:
        told.append(f"{counted(len(computed), 'line')} of arithmetic, which no model enters{_counts(computed)}.")
    yield Remark(" ".join(told))
    if facts.absent:
        yield Remark(f"Not there yet, so without lines: {', '.join(facts.absent)}.", is_warning=True)
    yield _ledger(found)
    yield _numbers(found)
    yield Table(
        "ledger-deviations",
        "What was different from the paper, or not said by it",
        ("what", "paper", "here"),
        (*facts.deviations, *CHOICES),
        is_prose=True,
        is_folded=True,
    )
    errata = tuple((words,) for words in ERRATA)
    yield Table("ledger-errata", "Errata found in the paper", ("erratum",), errata, is_prose=True, is_folded=True)


def _counts(found: Sequence[Entry]) -> str:
    counts = Counter(entry.verdict for entry in found)
    said = ", ".join(f"{MARKS[verdict]} {counts[verdict]}" for verdict in VERDICTS if counts[verdict])
    return f": {said}" if said else ""


def _ledger(found: Sequence[Entry]) -> Table:
    return Table(
        "ledger",
        "What the paper found, and what was found here",
        ("verdict", "what was asked", "the paper: base → aligned", "here: base → aligned"),
        tuple((MARKS[entry.verdict], *row(entry)) for entry in found),
        "agrees: the number, on the paper's pair. Same direction: the 95 % interval of our difference excludes no "
        "change. Differs: it lies on the other side. Cannot tell: it includes no change, or there is none. Reasons, "
        f"and each line's id: the next table. {IN_BRACKETS}",
        is_prose=True,
    )


def _numbers(found: Sequence[Entry]) -> Table:
    rows: list[tuple[Value, ...]] = []
    for entry in found:
        for arm, printed, ours in (
            ("base", entry.published_base, entry.base),
            ("aligned", entry.published_aligned, entry.aligned),
        ):
            if not printed.words:
                continue
            reason = (entry.verdict, entry.reason) if arm == "aligned" else (None, None)
            rows.append(
                (entry.id, entry.quantity, arm, printed.words, ours.value, _interval(ours), ours.words or None, *reason)
            )
    return Table(
        "ledger-numbers",
        "Every line with its intervals and reasons",
        ("id", "quantity", "arm", "paper", "ours", "95 % interval", "in words", "verdict", "because"),
        tuple(rows),
        in_terminal=False,
        is_folded=True,
    )


def _interval(number: Number) -> Between | None:
    return None if number.low is None or number.high is None else Between(number.low, number.high)


def ledger_as_json(found: Sequence[Entry], facts: Facts) -> dict[str, Any]:
    """The same for machines; undefined is null."""
    return {
        "base": facts.base,
        "aligned": facts.aligned,
        "is_paper_pair": facts.is_paper_pair,
        "entries": [_entry_as_json(entry) for entry in found],
        "deviations": [
            {"what": what, "paper": paper, "here": here} for what, paper, here in (*facts.deviations, *CHOICES)
        ],
        "errata": list(ERRATA),
        "absent": list(facts.absent),
    }


def _entry_as_json(entry: Entry) -> Mapping[str, Any]:
    found = {
        name: value._asdict() if hasattr(value, "_asdict") else value
        for name, value in ((name, getattr(entry, name)) for name in asdict(entry))
    }
    return {**found, **asked_of(entry)._asdict()}
