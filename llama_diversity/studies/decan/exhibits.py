"""Decan as exhibits: surprise behind the others and coherence apart, their product beside them, and the whole curve."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llama_diversity.answers import Endings
from llama_diversity.decimals import counted
from llama_diversity.metrics.inference import Interval
from llama_diversity.render.exhibits import Between, Exhibit, Figure, Remark, Section, Share, Table, Value, written
from llama_diversity.studies.decan.analysis import MEASURES, Difference, Result
from llama_diversity.studies.phrases import cut_off, prompts_in_words, why_left_out

if TYPE_CHECKING:
    from llama_diversity.render.charts import Chart

_LEAST = 0.0005  # bits per byte that are worth a word
BY_PROMPT = ("arm", "prompt_number", "prompt", *MEASURES)
_WORDS = {
    "a_n": "a_n: behind the others",
    "a_1": "a_1: behind the prompt",
    "fall": "a_1 - a_n",
    "coherence": "C: coherence",
    "decan": "D: C a_n",
}
_FORMS = {
    "continued": "each behind the prompt, which stands before every one",
    "listed": "behind the prompt, numbered from 1",
}


@dataclass(frozen=True)
class Facts:
    """What was asked and read. `n_asked`: answers drawn of each; `longest`: tokens of an answer that are read."""

    arms: Mapping[str, str]
    prompts: Sequence[str]
    left_out: Sequence[int]  # numbers of prompts from 1
    n_asked: int
    max_tokens: int
    scorer: str
    form: str
    longest: int
    endings: Mapping[str, Endings]


def section(found: Result, facts: Facts, command: str) -> Section:
    """The whole answer for a reader."""
    about = (
        f"{counted(found.n, 'answer')} of each arm to {prompts_in_words(facts.prompts)}, at most "
        f"{counted(facts.max_tokens, 'token')} each, read by {facts.scorer} as raw text in {found.n_orders} random "
        f"orders, {_FORMS[facts.form]}; of an answer at most {counted(facts.longest, 'token')} of the scorer's."
    )
    title = "Decan: does a reader of the other answers still learn something?"
    return Section("decan", title, about, command, tuple(_exhibits(found, facts)))


def _exhibits(found: Result, facts: Facts) -> Iterator[Exhibit]:
    yield from why_left_out(facts.endings)
    if facts.left_out:
        yield Remark(
            f"Left out: {counted(len(facts.left_out), 'prompt')} of {len(facts.prompts)} (number "
            f"{', '.join(map(str, facts.left_out))}), to which an arm has too few answers with text.",
            is_warning=True,
        )
    if found.n < facts.n_asked:
        yield Remark(f"{found.n} answers of {facts.n_asked} are read: as many have text of every arm on every prompt.")
    if found.is_blind:
        yield Remark(
            f"{facts.scorer} finds an answer behind a copy of itself {100 * found.copy:.0f} % as surprising as behind "
            "the prompt alone: it does not see that answers repeat each other, so a_n tells nothing of diversity here. "
            "Name a larger --scorer.",
            is_warning=True,
        )
    yield Remark(_claim(found))
    for arm, of_arm in found.differences.items():
        yield Remark(_headline(next(iter(found.arms)), arm, of_arm))
    yield _values(found)
    if found.differences:
        yield _differences(found)
    yield _read(found, facts)
    yield _figure(found)
    yield _curve(found)
    rows = by_prompt_rows(found, facts.prompts)
    yield Table("decan-by-prompt", "Every value by prompt", BY_PROMPT, rows, in_terminal=False)


def _claim(found: Result) -> str:
    n = len(next(iter(found.arms.values())).prompts)
    if n == 1:
        errors = ", ".join(f"{written(one.se_orders)} ({arm})" for arm, one in found.arms.items())
        return (
            "One prompt: no interval, and the result holds for these answers. By the orders alone a_n has a standard "
            f"error of {errors}."
        )
    return f"Intervals are over {n} prompts (t), differences paired: a claim about prompts like these, of this scorer."


def _headline(first: str, arm: str, found: Mapping[str, Difference]) -> str:
    """The parts and their product as factors: the product may hide what its parts say."""
    a_n, coherence, product = (_times(found[name].ratio) for name in ("a_n", "coherence", "decan"))
    fall = found["fall"].change.mean
    told = f"{written(abs(fall))} bits per byte {'more' if fall > 0 else 'less'}" if abs(fall) >= _LEAST else "as much"
    return (
        f"{arm} against {first}: a_n times {a_n}, C times {coherence}, their product D times {product}. Of one of its "
        f"answers the others tell {told}."
    )


def _times(ratio: float) -> str:
    return "nothing" if math.isnan(ratio) else f"{ratio:.3g}"


def _between(one: Interval) -> Between | None:
    return None if math.isnan(one.low) else Between(one.low, one.high)


def _values(found: Result) -> Table:
    return Table(
        "decan-values",
        "Surprise in bits per byte, and coherence",
        ("measure", "arm", "mean", "95 % interval"),
        tuple(
            (_WORDS[name], arm, one.measures[name].mean, _between(one.measures[name]))
            for name in MEASURES
            for arm, one in found.arms.items()
        ),
        "a_k: code length of the k-th answer of a random order, by the scorer that has read those before it; n: "
        f"{found.n}. A small a_n says that answers repeat each other, or that they are likely by themselves: a_1 - "
        "a_n, what the others tell, parts the two. C is 2^-a_1. D, as published, falls for unlikely answers too.",
    )


def _differences(found: Result) -> Table:
    first = next(iter(found.arms))
    return Table(
        "decan-differences",
        f"Against {first}",
        ("measure", "arm", f"minus {first}", "95 % interval", "ratio"),
        tuple(
            (_WORDS[name], arm, one[name].change.mean, _between(one[name].change), _known(one[name].ratio))
            for name in MEASURES
            for arm, one in found.differences.items()
        ),
        "Paired by prompt; ratio: of the means. Not adjusted for the number of lines.",
    )


def _known(value: float) -> Value:
    return None if math.isnan(value) else value


def _read(found: Result, facts: Facts) -> Table:
    return Table(
        "decan-read",
        "What was read, and what the orders add to the error",
        ("arm", "what it is", "bytes, mean", "cut", "cut off", "se of a_n by orders", "of its squared error"),
        tuple(
            (
                arm,
                words,
                found.arms[arm].mean_bytes,
                Share(found.arms[arm].share_cut),
                cut_off(facts.endings[arm]),
                found.arms[arm].se_orders,
                None if math.isnan(found.arms[arm].share) else Share(found.arms[arm].share),
            )
            for arm, words in facts.arms.items()
        ),
        f"Cut: answers of which only the first {facts.longest} tokens are read; cut off: by --max-tokens. Orders come "
        f"in {found.n_sets} sets that share beginnings; the standard error is made of whole sets. Behind a copy of "
        f"itself {100 * found.copy:.0f} % of an answer's surprise is left: near 0 of a scorer that sees likeness.",
    )


def _figure(found: Result) -> Figure:
    def draw() -> Mapping[str, Chart]:
        from llama_diversity.render.path_charts import Curve, curves_panel

        places = list(range(1, found.n + 1))
        curves = []
        for arm, one in found.arms.items():
            ends = [(None, None) if math.isnan(at.low) else (max(0.0, at.low), at.high) for at in one.curve]
            low, high = zip(*ends, strict=True)
            curves.append(Curve(arm, places, [at.mean for at in one.curve], list(low), list(high)))
        return {"": curves_panel(curves, across="k: answers read, this one included", unit="a_k, bits per byte")}

    note = "A line is an arm, its band the 95 % interval over prompts. Flat: the others tell nothing."
    return Figure("decan-curve", "Surprise of the k-th answer behind those before it", draw, note)


def _curve(found: Result) -> Table:
    return Table(
        "decan-a-k",
        "The curve",
        ("arm", "k", "a_k, bits per byte", "95 % interval"),
        tuple((arm, k, at.mean, _between(at)) for arm, one in found.arms.items() for k, at in enumerate(one.curve, 1)),
        in_terminal=False,
    )


def by_prompt_rows(found: Result, prompts: Sequence[str]) -> tuple[tuple[Value, ...], ...]:
    """Every value of every arm on every prompt; prompts are numbered from 1."""
    return tuple(
        (arm, one.number, prompts[one.number - 1], *(one.values[name] for name in MEASURES))
        for arm, of_arm in found.arms.items()
        for one in of_arm.prompts
    )
