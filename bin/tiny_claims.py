"""What seeds of training say of the paper's claims, and which seed ships: rules that were written before any was run.

Knows numbers with their intervals and nothing of models. A quantity is measured in every stage of every seed; its
change is that of a later stage against the base, a share kept (1: no change) or a difference (0: none).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from llama_diversity.errors import BadValue
from llama_diversity.metrics.inference import mean_interval

Line = Literal["shown", "against", "undecided"]
Verdict = Literal["holds", "in part", "not shown"]
HoldsIn = Literal["all", "some", "none"]


class Change(NamedTuple):
    """With its 95 % interval; None where undefined."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Quantity:
    """What is measured; `claim` is the paper's that its change decides (0: none), `rises` in which direction."""

    key: str
    words: str
    is_share: bool = False
    claim: int = 0
    rises: bool = False


QUANTITIES = (
    Quantity("entropy", "Experiment 3: token entropy, bits", claim=1),
    Quantity("top5", "Experiment 3: entropy of the five likeliest (Eq. 3.2), bits", claim=1),
    Quantity("tf_idf", "Experiment 2: TF-IDF cosine", claim=2, rises=True),
    Quantity("sbert", "Experiment 2: SBERT cosine", claim=2, rises=True),
    Quantity("kinds_of_one", "Experiment 2: kinds among m completions", is_share=True, claim=2),
    Quantity("distance", "twenty openings: distance of meanings", is_share=True),
    Quantity("vendi", "twenty openings: effective number (Vendi)", is_share=True),
    Quantity("kinds", "twenty openings: kinds among m", is_share=True, claim=2),
    Quantity("entropy_of_openings", "twenty openings: token entropy, bits", is_share=True),
    Quantity("distance_asked", "twenty requests: distance of meanings", is_share=True),
    Quantity("vendi_asked", "twenty requests: effective number (Vendi)", is_share=True),
    Quantity("kinds_asked", "twenty requests: kinds among m", is_share=True),
    Quantity("entropy_of_openings_asked", "twenty requests: token entropy, bits", is_share=True),
    Quantity("valid", "Experiment 1: share of outputs that are personas"),
    Quantity("nationality", "Experiment 1: class entropy of nationality, nats", claim=3),
    Quantity("ethnicity", "Experiment 1: class entropy of ethnicity, nats", claim=3),
    Quantity("mbti", "Experiment 1: class entropy of Myers-Briggs type, nats", claim=3),
    Quantity("age", "Experiment 1: standard deviation of ages, years", is_share=True, claim=3),
    Quantity("first_name_pairs", "Experiment 1: two personas share the first name"),
    Quantity("last_name_pairs", "Experiment 1: two personas share the last name"),
    Quantity("gender_pairs", "Experiment 1: two personas share the gender"),
    Quantity("nationality_pairs", "Experiment 1: two personas share the nationality"),
    Quantity("ethnicity_pairs", "Experiment 1: two personas share the ethnicity"),
    Quantity("mbti_pairs", "Experiment 1: two personas share the Myers-Briggs type"),
    Quantity("review_chars", "Experiment 1: length of a review, characters"),
    Quantity("sentiment", "Experiment 1: tone of a review, VADER compound"),
    Quantity("valid_examples", "the same, base by forms with examples: personas"),
    Quantity("nationality_examples", "... class entropy of nationality, nats"),
    Quantity("ethnicity_examples", "... class entropy of ethnicity, nats"),
    Quantity("mbti_examples", "... class entropy of Myers-Briggs type, nats"),
    Quantity("age_examples", "... standard deviation of ages, years", is_share=True),
    Quantity("first_name_pairs_examples", "... two personas share the first name"),
    Quantity("attractors", "section 5.1: share of openings with attractors"),
    Quantity("returns", "section 5.1: changed continuations that return", claim=4, rises=True),
    Quantity("returns_cold", "section 5.1: the same, the base at T 0.3", claim=4, rises=True),
    Quantity("blocked_1e-3", "section 6: base's mass blocked at 0.001, less the mirror's", claim=5, rises=True),
    Quantity("blocked_1e-3_mirror", "... the mirror's, models swapped"),
    Quantity("blocked_1e-3_texts", "... share of texts with a token blocked at 0.001"),
    Quantity("blocked_1e-4", "section 6: base's mass blocked at 0.0001, less the mirror's", claim=5, rises=True),
    Quantity("blocked_1e-4_mirror", "... the mirror's, models swapped"),
    Quantity("blocked_1e-4_texts", "... share of texts with a token blocked at 0.0001"),
)

CLAIMS = {  # the paper's claim, and when it holds in a seed
    1: (
        "aligned entropy is lower",
        "the 95 % intervals of aligned - base lie below 0, of the mean token entropy of Experiment 3's completions and "
        "of the entropy of the five likeliest tokens (Eq. 3.2)",
    ),
    2: (
        "aligned outputs are more alike and form fewer kinds",
        "the 95 % intervals lie above 0 of aligned - base in TF-IDF and SBERT cosine of Experiment 2's completions, "
        "and below 1 of the share of kinds that is kept, for Experiment 2's prompt and over the twenty openings",
    ),
    3: (
        "personas have fewer distinct values",
        "the 95 % intervals lie below 0 of aligned - base in class entropy of nationality, ethnicity and Myers-Briggs "
        "type, and below 1 of the share of the spread of ages that is kept; the base continues a plain form, for of a "
        "form with worked examples so small a model copies the examples, which is shown beside it and decides nothing",
    ),
    4: (
        "the aligned model returns to its attractors after a change, the base does not, at low temperature either",
        "the 95 % t intervals over the openings' prompts (over openings where fewer than five prompts gave them) lie "
        "above 0 of aligned - base and of aligned - base at T 0.3, in the share of changed continuations that end in "
        "an attractor of the model's own (0 where it has none)",
    ),
    5: (
        "tokens that the base model would use become blocked",
        "the 95 % intervals over texts, paired, lie above 0 of the base's mass that the aligned model gives less than "
        "0.001, less the mirror's (the models swapped at the same places), and of the same at 0.0001",
    ),
}
PRIMARY = "distance"
MEDIAN_RULE = (
    "The seed ships whose aligned model keeps the middle share of the base's distance of meanings over the twenty "
    "openings (of an even number the smaller of the middle two; ties in the order of the seeds)."
)


def told(quantity: Quantity, change: Change) -> Line:
    """Whether the interval leaves out no change, on the side that the claim says.

    >>> told(Quantity("kinds", "", is_share=True), Change(0.5, 0.4, 0.9))
    'shown'
    >>> told(Quantity("entropy", ""), Change(0.5, 0.1, 0.9))
    'against'
    """
    if change.low is None or change.high is None:
        return "undecided"
    nothing = 1.0 if quantity.is_share else 0.0
    if change.low <= nothing <= change.high:
        return "undecided"
    return "shown" if (change.low > nothing) == quantity.rises else "against"


def lines_of(claim: int, changes: Mapping[str, Change]) -> dict[str, Line]:
    """What each quantity of a claim says in one seed; one that was not measured decides nothing."""
    nothing = Change(None, None, None)
    return {one.key: told(one, changes.get(one.key, nothing)) for one in QUANTITIES if one.claim == claim}


def verdict_of(lines: Mapping[str, Line]) -> Verdict:
    """A claim holds in a seed where all its quantities show it, in part where some do."""
    n_shown = sum(line == "shown" for line in lines.values())
    return "holds" if n_shown == len(lines) else "in part" if n_shown else "not shown"


def holds_in(verdicts: Sequence[Verdict]) -> HoldsIn:
    """In all, some or none of the seeds; what holds in part does not hold."""
    n = sum(verdict == "holds" for verdict in verdicts)
    return "all" if n == len(verdicts) else "some" if n else "none"


class Over(NamedTuple):
    """Mean change over seeds with its 95 % t interval; shares are averaged as logarithms. None where undefined."""

    value: float | None
    low: float | None
    high: float | None
    n_seeds: int


def over_seeds(quantity: Quantity, changes: Sequence[Change]) -> Over:
    """Seeds are the units. A seed in which the change is undefined, or nothing at all is left, is not among them.

    >>> over_seeds(Quantity("e", ""), [Change(v, None, None) for v in (1.0, 2.0, 3.0)])[0]
    2.0
    """
    known = [one.value for one in changes if one.value is not None and (one.value > 0 or not quantity.is_share)]
    if not known:
        return Over(None, None, None, 0)
    found = mean_interval([math.log(one) for one in known] if quantity.is_share else known)
    mean, low, high = (math.exp(end) if quantity.is_share else end for end in found)
    is_known = math.isfinite(low)
    return Over(mean, low if is_known else None, high if is_known else None, len(known))


def between(quantity: Quantity, one: Change, other: Change) -> Change:
    """One stage against another, of what became of both against the base: how many times, or how much more."""
    if one.value is None or other.value is None or (quantity.is_share and other.value <= 0):
        return Change(None, None, None)
    return Change(one.value / other.value if quantity.is_share else one.value - other.value, None, None)


def median_of(kept: Mapping[str, float]) -> str:
    """The seed with the middle share, by MEDIAN_RULE. Raises BadValue where there is none."""
    if not kept:
        raise BadValue("the seeds", "none", "none of them has a share of distance to be ordered by")
    ordered = sorted(kept, key=lambda seed: kept[seed])  # stable, so ties stay in the order of the seeds
    return ordered[(len(ordered) - 1) // 2]


def judged(seeds: Mapping[str, Mapping[str, Change]]) -> Iterator[tuple[int, dict[str, dict[str, Line]], HoldsIn]]:
    """Every claim: what each quantity says in each seed, and in how many seeds the claim holds."""
    for claim in CLAIMS:
        lines = {seed: lines_of(claim, changes) for seed, changes in seeds.items()}
        yield claim, lines, holds_in([verdict_of(one) for one in lines.values()])
