"""The paper's published numbers beside ours: line by line whether its findings hold, and what keeps a line from saying.

Protocol: published numbers as printed in Mohammadi 2024 (section 4, 5.1, Table 1), with their standard deviations over
outputs where there are some. Only on the paper's own pair, sampled as it says and as often, can a number agree: where
ours differs by no more than the standard errors allow (95 %), is precise enough to have told base from aligned, and the
direction is shown. A finding without a number can only have the same direction. A direction is shown where the 95 %
interval of our difference (or share kept) leaves out "no difference": on the paper's side "same direction", on the
other "differs". An interval that includes it says nothing, and neither do outputs that do not vary: "not comparable",
because. Needs the experiments' results only.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypedDict

from llama_diversity.decimals import decimals
from llama_diversity.metrics.coverage import seen_richness
from llama_diversity.metrics.inference import (
    Z_95,
    Difference,
    Estimate,
    Proportion,
    Retained,
    Summary,
    limits_of,
    log_ratio,
    proportion_difference,
)
from llama_diversity.studies.collapse import analysis as collapse
from llama_diversity.studies.measuring.kinds import K_MAX, KIND_CUT
from llama_diversity.studies.personas import analysis as personas
from llama_diversity.studies.personas import sentences as review_sentences
from llama_diversity.studies.perturb import analysis as perturb
from llama_diversity.studies.semantic import analysis as semantic
from llama_diversity.studies.syntactic import analysis as syntactic

Verdict = Literal["agrees", "same direction", "differs", "not comparable"]
_NO_WIDTH = 1e-9  # of an interval: outputs that do not vary are no independent samples
VERDICTS: tuple[Verdict, ...] = ("agrees", "same direction", "differs", "not comparable")
ERRATA = (
    "Table 1, t = 4: the paper prints 0.93 and 0.07. Its rule with its own advantage of 0.6 gives 0.900 and 0.100.",
    "Table 1, column Reward: 0.8 is printed for “Chats and Giggles”, where text and advantage use 0.4.",
    "Table 3: its caption says base model; its sentences are the aligned model's.",
    "Eq. 3.2 sums the raw probabilities of the five likeliest tokens, so its stated bound of log2 5 = 2.32 bits is "
    "reached only where they hold all the mass.",
    "A2.3 writes PPO's clip as min(ratio, clip(ratio)) * A. The standard objective is min(ratio * A, clip(ratio) * A), "
    "which differs for A < 0; `llamadiv collapse` has both.",
)

_NO_INTERVAL = "no interval: too few outputs, or outputs that do not vary"
_FORMS = "; base by forms with examples, aligned by a request, so the prompt is part of the difference"


class Made(NamedTuple):
    """Results of the experiments, None for one that is not there; the arms compared; whether they are the paper's."""

    base: str
    aligned: str
    is_paper_pair: bool
    personas: personas.Result | None = None
    sentences: review_sentences.Clusters | None = None
    semantic: semantic.Whole | None = None
    syntactic: syntactic.Result | None = None
    perturb: perturb.Outcome | None = None


class Number(NamedTuple):
    """A number with its 95 % interval, and words beside or instead of it; None where undefined."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    words: str = ""


class Published(NamedTuple):
    """As printed; a number with the standard error that its standard deviation and n imply, where it has one."""

    words: str
    value: float | None = None
    se: float | None = None


@dataclass(frozen=True)
class Entry:
    """One line: what the paper has for base and aligned, what we have, the verdict and why."""

    id: str
    quantity: str
    published_base: Published
    published_aligned: Published
    base: Number
    aligned: Number
    change: Number  # aligned - base, or the share kept: the words say which
    verdict: Verdict
    reason: str


def entries(made: Made) -> list[Entry]:
    """The whole ledger, in the paper's order; of an experiment that is not there no line, but see `absent`."""
    return [entry for part in (_personas, _sentences, _semantic, _syntactic, _perturb) for entry in part(made)] + list(
        _table_1()
    )


def absent(made: Made) -> list[str]:
    """Names of the experiments whose lines are missing."""
    parts = {name: getattr(made, name) for name in ("personas", "semantic", "syntactic", "perturb")}
    return [name for name, found in parts.items() if found is None]


# ---- verdicts


def verdict_of(made: Made, numbers: Sequence[tuple[Published, Number]], direction: int | None, why: str) -> _Verdict:
    """`direction` of our change against the paper's: 1 the same, -1 the opposite, 0 not to be told, None undefined."""
    if direction is None:
        return _Verdict("not comparable", why)
    if direction < 0:
        return _Verdict("differs", why)
    if direction == 0:
        return _Verdict("not comparable", f"{why}: the interval includes no difference, more samples may tell")
    comparable = [(printed, ours) for printed, ours in numbers if printed.value is not None]
    if made.is_paper_pair and comparable and _agree(comparable):
        return _Verdict("agrees", why)
    other = "" if made.is_paper_pair or not comparable else "; not the paper's pair and sampling, so no numbers"
    return _Verdict("same direction", f"{why}{other}")


class _Verdict(NamedTuple):
    verdict: Verdict
    reason: str


def _agree(numbers: Sequence[tuple[Published, Number]]) -> bool:
    """Whether each differs by no more than the standard errors allow, and is as precise as half the printed gap."""
    values = [printed.value for printed, _ in numbers if printed.value is not None]
    gap = max(values) - min(values) if len(values) > 1 else math.inf
    for printed, ours in numbers:
        if printed.value is None or ours.value is None or ours.low is None or ours.high is None:
            return False
        half = (ours.high - ours.low) / 2
        reach = Z_95 * math.hypot(half / Z_95, printed.se or 0.0)
        if abs(printed.value - ours.value) > reach + 1e-9 or half > gap / 2:
            return False
    return True


def _sign(change: Number, nothing: float) -> int | None:
    """1 above `nothing`, -1 below, 0 where the interval includes it; None for no interval, or one without width."""
    if change.low is None or change.high is None or math.isnan(change.low) or change.high - change.low < _NO_WIDTH:
        return None
    return 1 if change.low > nothing else -1 if change.high < nothing else 0


def _kept(found: Retained) -> Number:
    return Number(found.share, found.low, found.high, "kept")


def _change(found: Difference) -> Number:
    if math.isnan(found.low):
        return Number(words="aligned - base")
    return Number(found.mean, found.low, found.high, "aligned - base")


def _of_summary(found: Summary, words: str = "") -> Number:
    if math.isnan(found.se):
        return Number(None if math.isnan(found.mean) else found.mean, words=words)
    half = Z_95 * found.se
    return Number(found.mean, found.mean - half, found.mean + half, words)


def _of_estimate(found: Estimate, words: str = "") -> Number:
    limits = limits_of(found)
    if limits is None:  # none is known, or nothing varied
        return Number(found.value, words=words or found.reason or "")
    return Number(found.value, *limits, words)


def _of_proportion(found: Proportion, words: str = "") -> Number:
    return Number(found.value, found.low, found.high, words or found.reason or "")


def _entry(
    made: Made,
    id: str,
    quantity: str,
    published: tuple[Published, Published],
    ours: tuple[Number, Number],
    change: Number,
    *,
    rises: bool,
    nothing: float = 0.0,
    why: str = "",
    caveat: str = "",
) -> Entry:
    """A line whose verdict follows from the change: `rises` is the paper's direction, `nothing` no change at all."""
    sign = _sign(change, nothing)
    reason = why or (f"{change.words} {_written(change)}" if sign is not None else _NO_INTERVAL)
    direction = None if sign is None else sign if rises else -sign
    found = verdict_of(made, list(zip(published, ours, strict=True)), direction, reason)
    return Entry(id, quantity, *published, *ours, change, found.verdict, found.reason + caveat)


def _written(number: Number) -> str:
    if number.value is None or number.low is None or number.high is None:
        return "–"
    value, low, high = (decimals(one, ".3g") for one in (number.value, number.low, number.high))
    return f"{value} ({low} to {high})"


# ---- Experiment 1

_VARIETY = {
    "nationality": ("many; American, British, German lead", "3: American, Chinese, few Mexican"),
    "ethnicity": ("White, Asian, Black, Latino and minorities", "White, Asian, few Latino"),
}


def _personas(made: Made) -> Iterator[Entry]:
    found = made.personas
    if found is None:
        return
    base, aligned = found.arms[made.base], found.arms[made.aligned]
    for field, (base_words, aligned_words) in _VARIETY.items():
        yield _entry(
            made,
            f"E1.{field}",
            f"effective number of {field.removesuffix('y')}ies: exp of the class entropy (Chao, Wang, Jost)",
            (Published(base_words), Published(aligned_words)),
            (_effective(base, field), _effective(aligned, field)),
            **_narrowing(found, made, field),
            caveat=_FORMS,
        )
    types = [list(arm.fields["mbti"].counts.values()) for arm in (base, aligned)]
    yield _entry(
        made,
        "E1.mbti",
        "Myers-Briggs types seen among the valid personas; tested by class entropy",
        (Published("16 of 16", 16.0), Published("6 of 16", 6.0)),
        (_of_estimate(seen_richness(types[0])), _of_estimate(seen_richness(types[1]))),
        **_narrowing(found, made, "mbti"),
        caveat=_FORMS,
    )
    yield _ages(made, base, aligned)
    yield _women(made, base, aligned)
    yield _entry(
        made,
        "E1.review_chars",
        "mean length of a review, characters",
        (Published("109", 109.0), Published("457", 457.0)),
        (_of_summary(base.summaries["review_chars"]), _of_summary(aligned.summaries["review_chars"])),
        _change(found.differences[made.aligned]["review_chars"]),
        rises=True,
        caveat=_FORMS,
    )
    yield _entry(
        made,
        "E1.sentiment",
        "mean VADER compound of a review",
        (Published("-0.75 to +0.97"), Published("almost all about +1")),
        (_of_summary(base.summaries["sentiment"], _range(base, "sentiment", ".2f")),
         _of_summary(aligned.summaries["sentiment"], _range(aligned, "sentiment", ".2f"))),
        _change(found.differences[made.aligned]["sentiment"]),
        rises=True,
        caveat=_FORMS,
    )  # fmt: skip


class _Narrowing(TypedDict):
    """How an entry says that it expects less: the change, and what no change would be."""

    change: Number
    rises: bool
    nothing: float


def _narrowing(found: personas.Result, made: Made, field: str) -> _Narrowing:
    """The share of class entropy kept; their difference where an arm has but one value, so that there is no share."""
    kept = found.retained[made.aligned][field]
    if kept.low is not None:
        return {"change": _kept(kept)._replace(words="class entropy kept"), "rises": False, "nothing": 1.0}
    change = personas.entropy_difference(found, made.base, made.aligned, field)
    return {"change": Number(*change, "class entropy, aligned - base, nats"), "rises": False, "nothing": 0.0}


def _effective(arm: personas.Arm, field: str) -> Number:
    """exp of the class entropy, and of its interval; in words how many were seen, and the most frequent."""
    one = arm.fields[field]
    words = f"{len(one.counts)} seen: {', '.join(list(one.counts)[:3])}" + (", ..." if len(one.counts) > 3 else "")
    found = personas.effective(one)
    return Number(words=one.entropy_nats.reason or words) if found.value is None else Number(*found, words)


def _range(arm: personas.Arm, number: str, form: str) -> str:
    values = arm.numbers[number]
    return f"{min(values):{form}} to {max(values):{form}}" if values else "none"


def _ages(made: Made, base: personas.Arm, aligned: personas.Arm) -> Entry:
    """The paper prints ranges; the spread is what can be tested: the standard deviation, with the jackknife."""
    spreads = [personas.spread_of_ages(arm) for arm in (base, aligned)]
    words = [f"{_range(arm, 'age', '.0f')}{_mode(arm)}" for arm in (base, aligned)]
    return _entry(
        made,
        "E1.age",
        "standard deviation of ages, years",
        (Published("under 10 to nearly 70, centre about 30"), Published("28 to 35 only, mode 32")),
        (_of_estimate(spreads[0], words[0]), _of_estimate(spreads[1], words[1])),
        _kept(log_ratio(spreads[0], spreads[1])),
        rises=False,
        nothing=1.0,
        caveat=_FORMS,
    )


def _mode(arm: personas.Arm) -> str:
    ages = Counter(arm.numbers["age"])
    return f", mode {ages.most_common(1)[0][0]:.0f}" if ages else ""


def _women(made: Made, base: personas.Arm, aligned: personas.Arm) -> Entry:
    shares = [personas.women(arm) for arm in (base, aligned)]
    return _entry(
        made,
        "E1.gender",
        "share of women among the valid personas",
        (Published("about 20 %", 0.2, 0.04), Published("nearly 100 %", 1.0, 0.01)),
        (_of_proportion(shares[0]), _of_proportion(shares[1])),
        _change(proportion_difference(shares[0], shares[1])),
        rises=True,
        caveat=_FORMS,
    )


def _sentences(made: Made) -> Iterator[Entry]:
    found = made.sentences
    if found is None:
        return
    ours = []
    for arm in (made.base, made.aligned):
        own, pooled = found.own[arm], found.effective[arm].value
        effective = "" if pooled is None else f", spread over {pooled:.1f} pooled clusters"
        limit = f"; {K_MAX} is the most that is tried" if own.by_silhouette.warning else ""
        words = f"gap statistic {own.by_gap.k or 'none'}{effective}{limit}"
        ours.append(Number(float(own.by_silhouette.k or 1), words=words))
    yield Entry(
        "E1.k",
        "optimal k-means clusters of review sentences (ours: silhouette)",
        Published("14", 14.0),
        Published("6", 6.0),
        ours[0],
        ours[1],
        Number(),
        "not comparable",
        "the paper does not say how k was chosen, k of one arm alone has no interval, and it measures spread",
    )


# ---- Experiments 2 and 3


def _semantic(made: Made) -> Iterator[Entry]:
    found = made.semantic
    if found is None:
        return
    words = found.result.words
    own = {arm: found.own_idf[arm].summary.mean for arm in (made.base, made.aligned)}
    yield _entry(
        made,
        "E2.tfidf",
        "mean TF-IDF cosine of an output to the others, pooled IDF",
        # The paper's sd is of the outputs' own means; a mean over pairs errs by about twice sd / sqrt n.
        (Published("0.16 (sd 0.03)", 0.16, 2 * 0.03 / math.sqrt(200)),
         Published("0.35 (sd 0.06)", 0.35, 2 * 0.06 / math.sqrt(200))),
        (_of_summary(words[made.base].summary, f"{own[made.base]:.3f} with its own IDF"),
         _of_summary(words[made.aligned].summary, f"{own[made.aligned]:.3f} with its own IDF")),
        _change(found.result.words_differences[made.aligned]),
        rises=True,
    )  # fmt: skip
    kinds = found.rarefied
    yield _entry(
        made,
        "E2.clusters",
        f"kinds among {found.m_kinds} outputs (cosine {KIND_CUT:g} between all pairs of a kind)",
        (Published("scattered"), Published("4 separate clusters")),
        (_of_estimate(kinds[made.base]), _of_estimate(kinds[made.aligned])),
        _kept(log_ratio(kinds[made.base], kinds[made.aligned])),
        rises=False,
        nothing=1.0,
    )


def _syntactic(made: Made) -> Iterator[Entry]:
    found = made.syntactic
    if found is None:
        return
    arms = [found.arms[arm] for arm in (made.base, made.aligned)]
    whole = [f"whole vocabulary {arm.measures['entropy_bits'].mean:.2f} bits" for arm in arms]
    yield _entry(
        made,
        "E3.entropy",
        "mean entropy of the five likeliest tokens (Eq. 3.2), bits",
        (Published("1.48 (sd 0.17)", 1.48, 0.17 / math.sqrt(100)),
         Published("0.96 (sd 0.12)", 0.96, 0.12 / math.sqrt(100))),
        (_of_summary(arms[0].measures["top5_raw_bits"], whole[0]),
         _of_summary(arms[1].measures["top5_raw_bits"], whole[1])),
        _change(found.differences[made.aligned]["top5_raw_bits"]),
        rises=False,
    )  # fmt: skip


# ---- section 5


_OWN = "openings with words of the aligned model's own"


def _perturb(made: Made) -> Iterator[Entry]:
    found = made.perturb
    if found is None:
        return
    aligned = found.arms[made.aligned]
    cold = next((arm for arm in found.arms if arm.startswith(f"{made.base}, T ")), None)
    too_few = "" if found.n_own >= perturb.LEAST_OPENINGS else f"{found.n_own} of {found.n_openings} are {_OWN}"
    for id, arm, words in (
        ("base", made.base, "no attractors"),
        ("cold", cold, "none, even at low temperature"),
    ):
        if arm is not None:
            yield _attractors(made, id, words, arm, too_few)
            yield _returns(made, id, words, arm, too_few)
    yield _recovery(made, aligned, too_few)


def _attractors(made: Made, id: str, words: str, arm: str, too_few: str) -> Entry:
    """In how many openings the arm has any, and the aligned model."""
    assert made.perturb is not None
    base, aligned = (made.perturb.arms[name].with_attractors for name in (arm, made.aligned))
    return _entry(
        made,
        f"5.1.attractors.{id}",
        f"share of {base.n} {_OWN} of which there are attractors, {arm} and aligned",
        (Published(words), Published("its own completions")),
        (_of_proportion(base), _of_proportion(aligned)),
        Number() if too_few else _change(proportion_difference(base, aligned)),
        rises=True,
        why=too_few,
    )


def _returns(made: Made, id: str, words: str, arm: str, too_few: str) -> Entry:
    assert made.perturb is not None
    arms = {name: made.perturb.arms[name] for name in (arm, made.aligned)}
    base, aligned = arms.values()
    why = too_few
    lacking = [name for name, one in arms.items() if one.n_returned < perturb.LEAST_OPENINGS]
    if not why and lacking:
        of_each = (f"{name} has something to return to in {arms[name].n_returned} openings" for name in lacking)
        why = f"{' and '.join(of_each)}, too few to tell"
    return _entry(
        made,
        f"5.1.return.{id}",
        f"share of perturbed continuations that return to an attractor, over openings, {arm} and aligned",
        (Published(words), Published("returns to one of its own completions")),
        (_of_proportion(base.returned), _of_proportion(aligned.returned)),
        Number() if why else _change(proportion_difference(base.returned, aligned.returned)),
        rises=True,
        why=why,
    )


def _recovery(made: Made, aligned: perturb.Over, too_few: str) -> Entry:
    """Disturbed more often than by chance, and calm again: both, or the paper's picture is not there."""
    more, calm = aligned.disturbance, aligned.calm
    change = Number() if too_few else Number(more.value, more.low, more.high, "changed - unchanged")
    half = (
        "half of the openings never" if calm.median is None else f"half of the openings within {calm.median:g} tokens"
    )
    sign = _sign(change, 0.0)
    direction = -1 if sign == 1 and calm.median is None else sign
    reason = f"disturbed by chance and by the change: {_written(change)} more; calm again in {half}"
    found = verdict_of(made, [], direction, too_few or (reason if sign is not None else _NO_INTERVAL))
    return Entry(
        "5.1.recovery",
        "share of the aligned model's continuations whose first tokens are unusually surprising after the change",
        Published(""),
        Published("first tokens red to yellow, then green again"),
        Number(),
        _of_proportion(aligned.disturbed, f"calm again in {half}"),
        change,
        *found,
    )


def _table_1() -> Iterator[Entry]:
    """Pure arithmetic: the same on every pair."""
    for printed, ours in zip(collapse.PRINTED_TABLE_1[1:], collapse.table_1()[1:], strict=True):
        agrees = all(abs(a - b) <= 0.005 + 1e-9 for a, b in zip(printed.policy, ours.policy, strict=True))
        yield Entry(
            f"T1.t{printed.t}",
            f"Table 1, t = {printed.t}: probability of “{collapse.PAPER.responses[0]}”",
            Published(""),
            Published(f"{printed.policy[0]:.2f}", printed.policy[0]),
            Number(),
            Number(ours.policy[0], ours.policy[0], ours.policy[0]),
            Number(),
            "agrees" if agrees else "differs",
            "computed by the paper's stated rule" + ("" if agrees else "; see the errata"),
        )
