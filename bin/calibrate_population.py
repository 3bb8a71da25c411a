"""How often do the verdicts and intervals of `llamadiv population` hold where the truth is known?

    bin/calibrate population [RUNS] [PART ...]

Draws counts from a target, from a target with one cell shifted, duplicates, and outputs of known rates, RUNS times each
(1000), and prints how often the verdict was the right one and how often a 95 % interval held the truth. The part
`whole` is the study itself, from the asks to its numbers, on the scripted model, whose law is known; a fifth as often.
Parts: verdicts, families, shifts, duplicates, intervals, whole; all of them take some ten minutes on one core.
"""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from llama_diversity.engines.scripted_people import AGES, GENDERS, OCCUPATIONS, PARTS, REFUSES, UNREADABLE
from llama_diversity.metrics.choice import Kept
from llama_diversity.metrics.fit import FITS, MISSES, verdict
from llama_diversity.metrics.inference import Proportion, clustered_proportion, wilson
from llama_diversity.metrics.price import (
    Bounded,
    effective_kinds,
    effective_texts,
    outputs_needed,
    tokens_for_next,
    tokens_per_usable,
)
from llama_diversity.studies.arms import Choice
from llama_diversity.studies.conduct import run
from llama_diversity.studies.drawing import Drawing
from llama_diversity.studies.population.analysis import Arm
from llama_diversity.studies.population.pipeline import Embed, Vectors
from llama_diversity.studies.population.specs import arms_of, ways_of
from llama_diversity.studies.population.study import Population
from llama_diversity.studies.population.target import Bin, Field, Rule, Target
from llama_diversity.studies.session import Session
from llama_diversity.studies.study import Drawn

MARGINS = {
    "1/2, 1/2": [0.5, 0.5],
    ".9, .1": [0.9, 0.1],
    ".5, .3, .2": [0.5, 0.3, 0.2],
    "four ages": [0.19, 0.26, 0.34, 0.21],
    "eight alike": [0.125] * 8,
    "eight unlike": [0.5, 0.2, 0.1, 0.05, 0.05, 0.05, 0.03, 0.02],
    "one large of eight": [0.86, *[0.02] * 7],
}
SIZES = (50, 100, 200, 500)
QUOTAS = [10, 13, 17, 10]
_KNOWN: dict[tuple[float, ...], float] = {}


class Rate(NamedTuple):
    """A setting and the share of its runs that came out right."""

    setting: str
    held: float


def shifted(shares: list[float], cell: int, shift: float = 0.1) -> np.ndarray:
    """The target with one cell larger, all others smaller in proportion."""
    q = np.array(shares)
    found = q * (1 - q[cell] - shift) / (1 - q[cell])
    found[cell] = q[cell] + shift
    return found


def in_calls(
    generator: np.random.Generator, shares: list[float], calls: int, size: int, correlation: float
) -> np.ndarray:
    """Counts by call whose outputs correlate, as each call has shares of its own."""
    of_calls = generator.dirichlet(np.array(shares) * (1 - correlation) / correlation, calls)
    return generator.multinomial(size, of_calls)


def verdicts(runs: int, sizes: tuple[int, ...] = SIZES) -> Iterator[Rate]:
    """How often counts drawn from the target fit."""
    for name, shares in MARGINS.items():
        for n in sizes:
            drawn = np.random.default_rng(n).multinomial(n, shares, runs)
            yield Rate(f"{name}, n = {n}", float(np.mean([verdict(counts, shares) == FITS for counts in drawn])))
    for calls, size, correlation in ((20, 10, 0.1), (40, 5, 0.3), (100, 5, 0.1)):
        for name in ("1/2, 1/2", "four ages", "one large of eight"):
            generator = np.random.default_rng(calls)
            some = [in_calls(generator, MARGINS[name], calls, size, correlation) for _ in range(runs)]
            right = [verdict(counts, MARGINS[name]) != MISSES for counts in some]
            yield Rate(f"{name}, {calls} calls of {size}, correlation {correlation}", float(np.mean(right)))


def families(runs: int) -> Iterator[Rate]:
    """How often two margins and their pair all fit, drawn from their joint."""
    ages, genders = np.array(MARGINS["four ages"]), np.array([0.51, 0.49])
    joint = np.outer(ages, genders)
    for n in SIZES:
        tables = np.random.default_rng(n).multinomial(n, joint.ravel(), runs).reshape(runs, 4, 2)
        right = [
            all(
                verdict(counts, shares, tests=3) == FITS
                for counts, shares in ((t.sum(axis=1), ages), (t.sum(axis=0), genders), (t.ravel(), joint.ravel()))
            )
            for t in tables
        ]
        yield Rate(f"two margins and their pair, n = {n}", float(np.mean(right)))


def shifts(runs: int, n: int = 500) -> Iterator[Rate]:
    """How often a cell that is 10 points too large is called a miss: the cell at which it is seen least often."""
    for name, shares in MARGINS.items():
        of_cells = []
        for cell in {int(np.argmax(shares)), int(np.argmin(shares))}:
            if shares[cell] + 0.1 < 1:
                drawn = np.random.default_rng(cell).multinomial(n, shifted(shares, cell), runs)
                of_cells.append(float(np.mean([verdict(counts, shares) == MISSES for counts in drawn])))
        yield Rate(f"{name}, n = {n}", min(of_cells))


def duplicates(runs: int) -> Iterator[Rate]:
    """How often 18 to 22 % of 1,000 vectors are left out, of which 20 % are copies, half of them not exact."""
    found = [planted(np.random.default_rng(seed)) for seed in range(runs)]
    yield Rate("20 % of 1,000", float(np.mean([0.18 <= share <= 0.22 for share in found])))


def planted(g: np.random.Generator) -> float:
    """The share found. Vectors of 64 random numbers never come near each other; half the copies are at cosine .98."""
    rows = g.normal(size=(1000, 64))
    for at, place in enumerate(g.permutation(np.arange(200, 1000))[:200]):
        rows[place] = rows[g.integers(200)] + (at % 2) * 0.2 * g.normal(size=64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return float(np.mean([near is not None for near in Kept().add(rows.astype(np.float32))]))


def holds(found: Bounded | Proportion, truth: float) -> bool:
    """Whether an interval has the truth."""
    return found.low is not None and found.high is not None and found.low <= truth <= found.high


Draw = Callable[[np.random.Generator], bool]  # whether one interval holds


def prices() -> Iterator[tuple[str, Draw]]:
    """Settings of outputs whose rates are known, each as one draw."""
    for n, share in ((50, 0.6), (100, 0.9), (500, 0.02)):
        yield f"usable share, {share}, n = {n}", lambda g, n=n, p=share: holds(wilson(int(g.binomial(n, p)), n), p)
    yield "usable share, 40 calls of 5", _share_calls
    for n, share in ((50, 0.1), (50, 0.6), (50, 0.97), (100, 0.9), (200, 0.3), (500, 0.02)):
        yield f"tokens per usable, {share} usable, n = {n}", lambda g, n=n, share=share: _usable(g, n, share)
    yield "tokens per usable, 40 calls of up to 5", _usable_calls
    for n, kinds, valid in ((100, 20, 0.9), (200, 20, 0.9), (100, 40, 0.8), (200, 200, 0.9), (200, 5000, 0.9)):
        name = f"tokens for the next, {kinds} kinds, {valid} valid, n = {n}"
        yield name, lambda g, n=n, kinds=kinds, valid=valid: _next(g, n, kinds, valid)
    yield "effective kinds, two as 3 to 2, n = 50", lambda g: _kinds(g, 50, np.array([0.6, 0.4]))
    yield "effective kinds, two alike, n = 200", lambda g: _kinds(g, 200, np.array([0.5, 0.5]))
    for n, kinds in ((50, 8), (100, 40), (200, 200), (100, 2000)):
        yield f"effective kinds, {kinds} as 1/i, n = {n}", lambda g, n=n, kinds=kinds: _kinds(g, n, zipf(kinds))
        yield f"effective kinds, {kinds} alike, n = {n}", lambda g, n=n, k=kinds: _kinds(g, n, np.full(k, 1 / k))
    yield "effective kinds, 40 calls of 5, 60 kinds", _kinds_calls
    yield "effective texts, n = 100", _texts
    for n, usable in ((50, 0.8), (200, 0.3), (500, 0.8)):
        yield (
            f"outputs needed, four ages, {usable} usable, n = {n}",
            lambda g, n=n, usable=usable: _needed(g, n, usable),
        )
    yield "outputs needed, 40 calls of 5", _needed_calls


def zipf(kinds: int) -> np.ndarray:
    """Shares p ~ 1/i."""
    return 1 / np.arange(1, kinds + 1) / (1 / np.arange(1, kinds + 1)).sum()


def _share_calls(g: np.random.Generator) -> bool:
    return holds(clustered_proportion(g.binomial(5, g.beta(2, 2, 40)).tolist(), [5] * 40), 0.5)


def _usable(g: np.random.Generator, n: int, share: float) -> bool:
    usable = g.random(n) < share
    tokens = np.where(usable, 60, 40) + g.poisson(20, n)  # a usable output is a longer one
    return holds(tokens_per_usable(tokens, usable), (60 + 20 * share) / share)


def _usable_calls(g: np.random.Generator) -> bool:
    rates = g.beta(2, 2, 40)
    return holds(tokens_per_usable(200 + g.poisson(50, 40), g.binomial(5, rates)), 250 / 2.5)


def _next(g: np.random.Generator, n: int, kinds: int, valid: float) -> bool:
    p, is_valid = zipf(kinds), g.random(n) < valid
    drawn = [int(kind) if ok else None for kind, ok in zip(g.choice(kinds, n, p=p), is_valid, strict=True)]
    seen = set(drawn)
    unseen = math.fsum(share for kind, share in enumerate(p.tolist()) if kind not in seen)
    return holds(tokens_for_next(50 + g.poisson(20, n), drawn), 70 / (valid * unseen) if unseen else math.inf)


def _kinds(g: np.random.Generator, n: int, p: np.ndarray) -> bool:
    return holds(effective_kinds(g.multinomial(n, p), n), 1 / (1 / n + (1 - 1 / n) * float(p @ p)))


def _kinds_calls(g: np.random.Generator) -> bool:
    """Calls without a repeat inside: of pairs 4/199 are of one call, and never alike."""
    p, counts = np.full(60, 1 / 60), np.zeros((40, 60), np.int64)
    for row in counts:
        row[g.choice(60, 5, replace=False, p=p)] = 1
    alike = (1 - 4 / 199) / 60
    return holds(effective_kinds(counts, 50), 1 / (1 / 50 + (1 - 1 / 50) * alike))


def _texts(g: np.random.Generator) -> bool:
    """Vectors on 12 axes, the first twice as often: s = sum p^2."""
    p = np.array([2, *[1] * 11]) / 13
    return holds(effective_texts(np.eye(12)[g.choice(12, 100, p=p)], 50), 1 / (1 / 50 + 49 / 50 * float(p @ p)))


def _needed(g: np.random.Generator, n: int, usable: float) -> bool:
    p = np.array(MARGINS["four ages"]) * usable
    counts = g.multinomial(n, [*p, 1 - usable])[:-1]
    return holds(outputs_needed(counts, n, QUOTAS), _truth(p))


def _needed_calls(g: np.random.Generator) -> bool:
    p = MARGINS["four ages"]
    return holds(outputs_needed(in_calls(g, p, 40, 5, 0.1), np.full(40, 5), QUOTAS), _truth(np.array(p)))


def _truth(rates: np.ndarray) -> float:
    """The number for rates that are known to many digits: of as good as infinitely many outputs."""
    if (key := tuple(rates)) not in _KNOWN:
        _KNOWN[key] = outputs_needed(np.round(rates * 10**9).astype(np.int64), 10**9, QUOTAS).value or 0.0
    return _KNOWN[key]


def intervals(runs: int) -> Iterator[Rate]:
    """How often each 95 % interval holds the truth."""
    for name, draw in prices():
        generator = np.random.default_rng(list(name.encode()))
        yield Rate(name, float(np.mean([draw(generator) for _ in range(runs)])))


# ---- the study itself, of a model whose law is known

RETIRED = sum(share for job, share in OCCUPATIONS.items() if job.startswith("retired"))
YOUNG = {age: int(age) < 62 for age in AGES}
BARRED = RETIRED * sum(share for age, share in AGES.items() if YOUNG[age])
VALID = (1 - REFUSES) * (1 - UNREADABLE) * (1 - BARRED)
TOKENS = REFUSES * 2 + (1 - REFUSES) * 7  # of a refusal, of three fields and a review of three parts; and the end
REVIEWS = math.prod(map(len, PARTS))  # all equally likely
OBEYING = {age: share * (1 - RETIRED * YOUNG[age]) / (1 - BARRED) for age, share in AGES.items()}
# Two reviews that are not the same have on average so many of the three parts in common, over three.
ALIKE = (sum(1 / len(part) for part in PARTS) / 3 - 1 / REVIEWS) / (1 - 1 / REVIEWS)
BINS = {"24": Bin("18-29", 18, 29), "37": Bin("30-44", 30, 44), "55": Bin("45-64", 45, 64), "71": Bin("65+", 65, None)}
PEOPLE = Target(
    "Those of the chain",
    (
        Field("gender", shares=GENDERS),
        Field("age", shares={BINS[age].name: share for age, share in OBEYING.items()}, bins=tuple(BINS.values())),
        Field("occupation", max_words=6),
        Field("review", max_words=60),
    ),
    product="A cup.",
    rules=(Rule({"age": ("<62",)}, {"occupation": ("retired*",)}, "pension age"),),
)


class ByParts(Population):
    """The study with vectors of a review's three parts in place of the encoder's: cosine 0, 1/3, 2/3 or 1."""

    needs_encoder = False

    def embedding(self, drawn: Drawn) -> Embed:
        return _of_parts


def _of_parts(texts: Sequence[str]) -> Vectors:
    words = [part for parts in PARTS for part in parts]
    return np.array([[word in text for word in words] for text in texts], np.float32).reshape(-1, len(words)) / 3**0.5


def people(seed: int, n: int = 100) -> Arm:
    """The one arm of a study that draws until `n` people are usable, in a store of its own."""
    with tempfile.TemporaryDirectory() as folder:
        session = Session(Path(folder) / "store.sqlite")
        ways = ways_of("scripted:people", Choice(), [], ["aligned"], session)
        study = ByParts(PEOPLE, ways, n=n, seed=seed)
        return run(study, arms_of(ways, session), drawing=Drawing(seed=seed), session=session).found.arms["aligned"]


def found_in(arm: Arm) -> dict[str, bool]:
    """Which numbers of an arm are as the chain's law has them."""
    n, n_usable = arm.funnel.n_drawn, arm.funnel.n_usable
    each_new = REVIEWS * (1 - (1 - VALID / REVIEWS) ** n) / n  # chance that an output is usable and no twin
    of_cells = sum(p**2 for p in GENDERS.values()) * sum(p**2 for p in OBEYING.values())
    [ages] = [one.counts for one in arm.tables if one.fields == ("age",)]
    return {
        "usable share before twins": holds(wilson(arm.funnel.left["no copy"], n), VALID),
        "usable share": holds(arm.usable, each_new),
        "tokens per usable": holds(arm.per_usable, TOKENS / each_new),
        "tokens for the next": holds(arm.for_next, TOKENS / (VALID * (1 - n_usable / REVIEWS))),
        "effective number by fields": holds(arm.effective_fields, 1 / (1 / arm.m + (1 - 1 / arm.m) * of_cells)),
        "effective number by texts": holds(arm.effective_texts, 1 / (1 / arm.m + (1 - 1 / arm.m) * ALIKE)),
        "both margins fit the chain's own": all(one.fit.verdict == FITS for one in arm.tables),
        "ages fit those before the rule": verdict(ages, [*AGES.values()], tests=2) == FITS,
        "ages miss four alike, of which one is 15 points off": verdict(ages, [0.25] * 4, tests=2) == MISSES,
        "ages miss the reverse": verdict(ages, [*AGES.values()][::-1], tests=2) == MISSES,
    }


def whole(runs: int) -> Iterator[Rate]:
    """How often the study's own numbers are right, of `runs` seeds."""
    found = [found_in(people(seed)) for seed in range(runs)]
    for name in found[0]:
        yield Rate(name, float(np.mean([one[name] for one in found])))


PARTS_OF_IT: dict[str, tuple[str, Callable[[int], Iterator[Rate]]]] = {
    "verdicts": ("Drawn from the target: called no miss", verdicts),
    "families": ("All tables of an arm fit", families),
    "shifts": ("One cell shifted by 10 points: called a miss", shifts),
    "duplicates": ("Planted duplicates: 18 to 22 % found", duplicates),
    "intervals": ("95 % intervals that hold the truth", intervals),
    "whole": ("The study itself, until 100 people of the scripted model are usable", lambda runs: whole(-(-runs // 5))),
}


def main() -> None:
    """All settings of all parts, or of those that are named."""
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(__doc__)
        return
    numbers = [int(word) for word in sys.argv[1:] if word.isdigit()]
    named = [word for word in sys.argv[1:] if not word.isdigit()]
    if unknown := set(named) - set(PARTS_OF_IT):
        sys.exit(f"{min(unknown)} is none of {', '.join(PARTS_OF_IT)}.")
    runs = numbers[0] if numbers else 1000
    for name in named or PARTS_OF_IT:
        title, rates = PARTS_OF_IT[name]
        print(f"\n{title}, %, {-(-runs // 5) if name == 'whole' else runs:,} runs each\n\n| setting | % |\n|---|---|")
        for setting, held in rates(runs):
            print(f"| {setting} | {100 * held:.1f} |", flush=True)


if __name__ == "__main__":
    main()
