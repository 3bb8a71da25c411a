"""Tables of Markdown from what bin/tiny-seeds measured, for the card of the seed that ships."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tiny_claims import (
    CLAIMS,
    MEDIAN_RULE,
    PRIMARY,
    QUANTITIES,
    Change,
    Over,
    Quantity,
    between,
    judged,
    over_seeds,
    verdict_of,
)
from tiny_samples import said, table
from tiny_seeds import ASKED, MAIN, RECIPES, TRAINED

from llama_diversity.decimals import counted
from llama_diversity.metrics.inference import mean_interval

Found = Mapping[str, Any]
_DASH = "–"
_LONGEST = 160  # characters of a model's text in a table


def changes_of(seed: Found, stage: str, ladder: str = "main") -> dict[str, Change]:
    """Of one seed what became of each quantity in a stage."""
    rows = seed.get(ladder, {})
    return {key: Change(*row["changes"][stage]) for key, row in rows.items() if stage in row["changes"]}


def section(found: Found) -> str:
    """All of it: claims, quantities, recipes where they are there, training, and what differs between seeds."""
    seeds = found["seeds"]
    parts = [
        _ships(found),
        "Whether the paper's claims hold: a claim holds in a seed where all its quantities show it, in part where some "
        "do. A quantity without any variation in one of the models has no interval and is undecided, however far "
        "apart the two are. What shows a claim was written down before any of these seeds was measured, after an "
        "earlier pair of the same size was:",
        "\n".join(f"{number}. {claim}: {rule}." for number, (claim, rule) in CLAIMS.items()),
        claims_table(seeds),
        "Values of base → sft → aligned in each seed, and the mean change over seeds with its 95 % t interval (of "
        f"{counted(len(seeds), 'seed')}; ×: share of the base's that is kept, else a difference):",
        quantities_table(seeds),
        *_recipes(seeds),
        "What the files say of their training (the aligned models answered anew for the table above, so theirs differ "
        "by chance):",
        trained_table(seeds),
        "What differs between seeds: what the models say most, of Experiment 2's completions and Experiment 1's "
        "personas.",
        sayings_table(seeds),
    ]
    return "\n\n".join(parts)


def _ships(found: Found) -> str:
    kept = {name: changes_of(seed, "aligned")[PRIMARY].value for name, seed in found["seeds"].items()}
    shares = ", ".join(f"{_number(share)} in seed {name}" for name, share in kept.items())
    return f"{MEDIAN_RULE} Kept: {shares}; seed {found['ships']} ships."


def claims_table(seeds: Mapping[str, Found]) -> str:
    """Each claim: in every seed whether it holds, and which quantities do not show it."""
    rows = []
    for claim, lines, held in judged({name: changes_of(seed, "aligned") for name, seed in seeds.items()}):
        cells = []
        for of_seed in lines.values():
            failing = [f"{key} {line}" for key, line in of_seed.items() if line != "shown"]
            cells.append(f"{verdict_of(of_seed)}{' (' + ', '.join(failing) + ')' if failing else ''}")
        rows.append((f"{claim}. {CLAIMS[claim][0]}", *cells, held))
    return table(("claim", *(f"seed {name}" for name in seeds), "holds in"), rows)


def quantities_table(seeds: Mapping[str, Found]) -> str:
    """Each quantity: its values in every seed, and over seeds the change of aligned, of sft and between them."""
    rows = []
    for quantity in QUANTITIES:
        values = [_values(seed["main"].get(quantity.key), MAIN) for seed in seeds.values()]
        if any(values):
            over = [_over(quantity, [changes_of(one, stage) for one in seeds.values()]) for stage in ("sft", "aligned")]
            rows.append((_named(quantity), *(one or _DASH for one in values), *over))
    headings = ("quantity (key)", *(f"seed {name}" for name in seeds), "sft against base", "aligned against base")
    return table(headings, rows)


def _named(quantity: Quantity) -> str:
    return f"{quantity.words} ({quantity.key})"


def _values(row: Found | None, stages: Sequence[str]) -> str:
    if row is None:
        return ""
    return " → ".join(_number(row["values"][stage]) for stage in stages if stage in row["values"])


def _over(quantity: Quantity, seeds: Sequence[Mapping[str, Change]]) -> str:
    return _of(quantity, [one[quantity.key] for one in seeds if quantity.key in one])


def _of(quantity: Quantity, changes: Sequence[Change]) -> str:
    """Over seeds; of one seed its own interval."""
    return _written(quantity, over_seeds(quantity, changes) if len(changes) != 1 else Over(*changes[0], 1))


def _written(quantity: Quantity, over: Over) -> str:
    if over.value is None:
        return _DASH
    form = "×{}" if quantity.is_share else "{}"
    sign = "" if quantity.is_share else "+"
    ends = "" if over.low is None else f" [{_number(over.low, sign)}, {_number(over.high, sign)}]"
    return form.format(_number(over.value, sign)) + ends


def _recipes(seeds: Mapping[str, Found]) -> Iterator[str]:
    """The siblings, where a seed has them: a column a stage, and those against each other that answer a question."""
    some = {name: seed for name, seed in seeds.items() if "recipes" in seed}
    if not some:
        return
    which = (
        f"seeds {', '.join(some)}" if len(some) > 1 else f"seed {next(iter(some))}, so intervals are over its samples"
    )
    yield (
        f"The recipes side by side, all from one base, against it ({which}); kinds are formed on all stages that are "
        "compared, so those of this table and the one above are not the same. The last columns set two recipes against "
        "each other, paired by seed:"
    )
    yield _side_by_side([seed["recipes"] for seed in some.values()], RECIPES)
    asked = [seed["requests"] for seed in some.values() if "requests" in seed]
    if asked:
        yield "The same models asked twenty requests in the chat form, four of each kind, against the SFT model:"
        yield _side_by_side(asked, ASKED)
    yield "What the annotator says of their answers to requests from held-out documents, means over seeds [95 %]:"
    yield judged_table(some)


def _side_by_side(seeds: Sequence[Found], stages: Sequence[str]) -> str:
    """Rows of one ladder in every seed: the first of `stages`, what the others change, and two against each other."""
    first, *others = stages
    others = [one for one in others if all(any(one in row["changes"] for row in seed.values()) for seed in seeds)]
    contrasts = [(one, other) for one, other in CONTRASTS if {one, other} <= set(others)]
    rows = []
    for quantity in QUANTITIES:
        of = [seed[quantity.key] for seed in seeds if seed.get(quantity.key, {}).get("changes")]
        changes = {stage: [Change(*row["changes"][stage]) for row in of] for stage in others}
        cells = [_of(quantity, some) for some in changes.values()]
        if any(cell != _DASH for cell in cells):
            known = [value for row in of if (value := row["values"].get(first)) is not None]
            against = [_between(quantity, changes[one], changes[other]) for one, other in contrasts]
            rows.append((_named(quantity), _number(sum(known) / len(known)) if known else _DASH, *cells, *against))
    return table(("quantity (key)", first, *others, *(f"{one} against {other}" for one, other in contrasts)), rows)


CONTRASTS = (("sft-narrow", "sft-varied"), ("dpo", "aligned"))


def _between(quantity: Quantity, ones: Sequence[Change], others: Sequence[Change]) -> str:
    return _written(
        quantity, over_seeds(quantity, [between(quantity, *pair) for pair in zip(ones, others, strict=True)])
    )


JUDGED = {  # of an answer: name -> what it is
    "score": "score",
    "tone": "tone",
    "complete": "complete",
    "topic": "topic",
    "fluent": "fluent",
    "kl_nats": "KL to the SFT model, nats",
    "entropy_bits": "token entropy, bits",
    "length_tokens": "tokens",
}


def judged_table(seeds: Mapping[str, Found]) -> str:
    """A row a stage: means over seeds of what is known of its answers."""
    stages = dict.fromkeys(stage for seed in seeds.values() for stage in seed["judged"])
    rows = []
    for stage in stages:
        some = [seed["judged"][stage] for seed in seeds.values() if stage in seed["judged"]]
        rows.append((stage, *(_mean([one[name] for one in some if name in one]) for name in JUDGED)))
    return table(("stage", *JUDGED.values()), rows)


def trained_table(seeds: Mapping[str, Found]) -> str:
    """Figures of training by seed, and their mean."""
    rows = []
    for key, words in TRAINED.items():
        values = [seed["trained"][key] for seed in seeds.values()]
        rows.append((words, *map(_number, values), _mean(values)))
    return table(("", *(f"seed {name}" for name in seeds), "mean [95 %]"), rows)


def _mean(values: Sequence[float]) -> str:
    """With the t interval over seeds, where there are two."""
    if not values:
        return _DASH
    mean, low, high = mean_interval(values)
    return _number(mean) if math.isnan(low) else f"{_number(mean)} [{_number(low)}, {_number(high)}]"


def sayings_table(seeds: Mapping[str, Found]) -> str:
    """What base and aligned say most, by seed."""
    rows = []
    for name, seed in seeds.items():
        for stage in ("base", "aligned"):
            one = seed["said"][stage]
            people = [_person(field, one["personas"].get(field)) for field in ("nationality", "ethnicity", "mbti")]
            rows.append(
                (
                    f"{name}, {stage}",
                    f"`{_cell(one['opening'])}`, {one['opening_share']:.0%}",
                    str(one["distinct_openings"]),
                    f"`{_cell(one['most_typical'])}`",
                    f"{one['largest_kind_share']:.0%}",
                    "; ".join(filter(None, people)) or _DASH,
                )
            )
    headings = ("seed", "commonest opening", "different openings", "most typical completion", "largest kind",
                "commonest values of personas (share, values seen)")  # fmt: skip
    return table(headings, rows)


def _person(field: str, found: Sequence[Any] | None) -> str:
    return f"{field} {_cell(str(found[0]))} ({found[1]:.0%}, {found[2]})" if found else ""


def _cell(text: str) -> str:
    """A model's text within a table."""
    shown = said(text.strip()).replace("|", "/")
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}..."


def _number(value: float | None, sign: str = "") -> str:
    if value is None:
        return _DASH
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:{sign}.3g}"
