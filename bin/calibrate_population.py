"""How often do the verdicts and intervals of `llamadiv population` hold where the truth is known?

    bin/calibrate population [RUNS]

Draws counts from a target, from a target with one cell shifted, and outputs of known rates, RUNS times each (1000), and
prints how often the verdict was the right one and how often a 95 % interval held the truth. Some minutes on one core.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from llama_diversity.metrics.fit import FITS, MISSES, verdict
from llama_diversity.metrics.price import (
    Bounded,
    effective_kinds,
    effective_texts,
    outputs_needed,
    tokens_for_next,
    tokens_per_usable,
)

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


def holds(found: Bounded, truth: float) -> bool:
    """Whether an interval has the truth."""
    return found.low is not None and found.high is not None and found.low <= truth <= found.high


Draw = Callable[[np.random.Generator], bool]  # whether one interval holds


def prices() -> Iterator[tuple[str, Draw]]:
    """Settings of outputs whose rates are known, each as one draw."""
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


def main() -> None:
    """All settings."""
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(__doc__)
        return
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    for title, rates in {
        "Drawn from the target: called no miss": verdicts(runs),
        "All tables of an arm fit": families(runs),
        "One cell shifted by 10 points: called a miss": shifts(runs),
        "95 % intervals that hold the truth": intervals(runs),
    }.items():
        print(f"\n{title}, %, {runs:,} runs each\n\n| setting | % |\n|---|---|")
        for setting, held in rates:
            print(f"| {setting} | {100 * held:.1f} |", flush=True)


if __name__ == "__main__":
    main()
