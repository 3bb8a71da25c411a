"""How often does `llamadiv compare` raise a false alarm, how often do its intervals hold the truth, what can it see?

    bin/calibrate [RUNS] [POWER.svg]

Draws large pools from the scripted engine and from the tiny pair, then compares disjoint parts of them as the command
does, in settings where the truth is known: nominal 5 % of false alarms, 95 % of intervals that hold. Prints tables, and
the running setting on stderr; takes one and a half to two hours on one core with the default of 1000 comparisons a
setting. The pools, a quarter of that, are kept in the cache.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from llama_diversity import cache, embed
from llama_diversity.engines import Engine, EngineOptions, open_engine
from llama_diversity.metrics.indices import corrected_vendi
from llama_diversity.metrics.similarity import mean_pairwise_distance
from llama_diversity.records import Recipe, Sample, Sampler
from llama_diversity.resolve import resolve_model
from llama_diversity.studies.compare.analysis import Line, Result, compare
from llama_diversity.studies.compare.clustered import Units
from llama_diversity.studies.compare.measured import Generations, Rules
from llama_diversity.text import words

SHOWN = ("distance", "vendi", "kinds", "words", "types", "entropy")
FITTED_TO_N = ("kinds", "words", "types")  # depend on n by m or by the IDF: the truth is the mean of such comparisons
PREFIX = 16
RULES = Rules(prefix=PREFIX)
OPENINGS = ("She was", "He is", "Someone met", "The nurse", "She became", "The old", "He was a", "She is not")
PEOPLE = (
    "Grace Hopper was", "Grace Hopper worked", "Ada Lovelace was", "The old farmer", "My grandmother", "The customer",
    "A young engineer", "Every morning she",
)  # fmt: skip


class Pool(NamedTuple):
    """Many generations of one prompt, judged by their first `n_tokens` tokens, with embeddings of those."""

    n_tokens: np.ndarray
    texts: list[str]
    beginnings: list[list[str]]  # words of the first PREFIX tokens
    surprisal_bits: np.ndarray  # sums, as the next
    entropy_bits: np.ndarray
    vectors: np.ndarray

    def part(self, places: np.ndarray, *, turn: np.ndarray | None = None) -> Generations:
        """Some of them as one arm; with `turn` the same law somewhere else: vectors turned, every word another."""
        texts = [self.texts[at] for at in places]
        beginnings = [self.beginnings[at] for at in places if self.n_tokens[at] >= PREFIX]
        rows = self.vectors[places]
        if turn is not None:
            rows = (rows @ turn).astype(np.float32)
            texts = [" ".join(f"{word}x" for word in words(text)) for text in texts]
            beginnings = [[f"{word}x" for word in some] for some in beginnings]
        n_bytes = np.array([len(text.encode()) for text in texts])
        surprisal, entropy, n_tokens = self.surprisal_bits[places], self.entropy_bits[places], self.n_tokens[places]
        excess_variance = (surprisal - entropy) ** 2  # stands in for the known one
        return Generations(
            len(places), texts, rows, 0, beginnings, surprisal, entropy, excess_variance, n_tokens, n_tokens, n_bytes
        )


def pool(
    reference: str, prompt: str, n: int, *, seed: int, max_tokens: int = 32, cut: int = 10**6, temperature: float = 1.0
) -> Pool:
    """Draw and embed n generations, judged by their first `cut` tokens; kept for the next time."""
    engine = open_engine(resolve_model(reference), EngineOptions())
    recipe = Recipe(
        engine="calibrate", engine_build=engine.build, model_digest=engine.facts.digest,
        vocab_digest=engine.facts.vocab_digest, prompt=engine.prompt(prompt), sampler=Sampler(temperature=temperature),
        seed=seed, max_tokens=max_tokens,
    )  # fmt: skip
    return cache.kept(["calibrate", recipe.key, str(n), str(cut)], lambda: _drawn(engine, recipe, n, cut))


def _drawn(engine: Engine, recipe: Recipe, n: int, cut: int) -> Pool:
    sys.stderr.write(f"drawing {n:,} of {engine.facts.reference}, “{recipe.prompt.text}”\n")
    samples = sorted((one for step in engine.sample(recipe, range(n)) for one in step.finished), key=lambda x: x.index)
    texts = [spelled(engine, one, cut) for one in samples]
    place = embed.find()
    assert place is not None, "the encoder is not installed"
    return Pool(
        np.array([min(cut, len(one.tokens)) for one in samples]),
        texts,
        [words(spelled(engine, one, PREFIX)) for one in samples],
        *(
            np.array([float(one.tokens[name][:cut].sum(dtype=float)) for one in samples])
            for name in ("sampler_surprisal_bits", "sampler_entropy_bits")
        ),
        embed.Encoder(place).embed(texts).vectors,
    )


def spelled(engine: Engine, sample: Sample, n: int) -> str:
    """The text of the first n tokens."""
    return b"".join(engine.piece(int(one)).bytes for one in sample.tokens["id"][:n]).decode("utf-8", "replace")


Draw = Callable[[np.random.Generator], Result]  # one comparison


def halves(generator: np.random.Generator, one: Pool, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Two disjoint parts of n."""
    places = generator.choice(len(one.texts), 2 * n, replace=False)
    return places[:n], places[n:]


def against_itself(pools: Sequence[Pool], n: int, other: Sequence[Pool] = (), **changes: np.ndarray) -> Draw:
    """Every pool against itself, or against another one of the same law."""

    def draw(generator: np.random.Generator) -> Result:
        prompts = []
        for one, like_it in zip(pools, other or pools, strict=True):
            a, b = halves(generator, one, n)
            prompts.append({"a": one.part(a), "b": like_it.part(b % len(like_it.texts), **changes)})
        return compare(prompts, RULES)

    return draw


def against(firsts: Sequence[Pool], seconds: Sequence[Pool], n: int, *, n_prompts: int) -> Draw:
    """Pairs of pools; of more than one, prompts drawn at random with replacement, so that effects vary."""

    def draw(generator: np.random.Generator) -> Result:
        chosen = generator.integers(len(firsts), size=n_prompts)
        return compare(
            [
                {"a": firsts[at].part(halves(generator, firsts[at], n)[0]),
                 "b": seconds[at].part(halves(generator, seconds[at], n)[1])}
                for at in chosen
            ],
            RULES,
        )  # fmt: skip

    return draw


def in_calls(one: Pool, n_calls: int, k: int = 5, *, among: int = 30) -> Draw:
    """A pool against itself, in calls of k: each call says k of the outputs that are most like a random one."""

    def called(generator: np.random.Generator) -> Generations:
        near = [
            np.argpartition(-(one.vectors @ one.vectors[at]), among)[:among]
            for at in generator.integers(len(one.texts), size=n_calls)
        ]
        places = np.concatenate([generator.choice(some, k, replace=False) for some in near])
        of = np.repeat(np.arange(n_calls), k)
        return one.part(places)._replace(units=Units(of, of[one.n_tokens[places] >= PREFIX], np.full(n_calls, k)))

    return lambda generator: compare([{"a": called(generator), "b": called(generator)}], RULES)


def partly_one(base: Pool, share: float, n: int) -> Draw:
    """The second arm says one and the same thing in a share of its generations, else it is the first."""

    def draw(generator: np.random.Generator) -> Result:
        a, b = halves(generator, base, n)
        one = base.part(np.where(generator.random(n) < share, 0, b))
        other = base.part(b)  # its tokens are drawn as before: a collapse of meanings alone
        return compare([{"a": base.part(a), "b": one._replace(**_tokens(other))}], RULES)

    return draw


def _tokens(one: Generations) -> dict[str, np.ndarray]:
    names = ("surprisal_bits", "entropy_bits", "excess_variance_bits2", "lengths")
    return {name: getattr(one, name) for name in names}


def results(draw: Draw, runs: int, name: str) -> Iterator[Result]:
    """The comparisons of one setting, the same in every run of this script."""
    generator = np.random.default_rng(list(name.encode()))
    sys.stderr.write(f"{name}, {runs:,} comparisons\n")
    return (draw(generator) for _ in range(runs))


class Truth(NamedTuple):
    """What the second arm keeps: the mean of log ratios, or the ratio of means where an arm has none on a prompt."""

    of_logs: float = 1.0
    of_means: float = 1.0

    def held_by(self, line: Line) -> bool:
        """Whether the interval holds what the line says that it is of."""
        share = self.of_means if "ratio of means" in line.reason else self.of_logs
        return (line.low or 0) <= share <= (line.high or 0)


def tally(name: str, found: list[Result], truths: Mapping[str, Truth] | None = None) -> None:
    """One row: the share of intervals that leave out the truth, and of comparisons with any verdict after Holm."""
    cells = []
    for measure in SHOWN:
        lines = [line for one in found for line in one.lines if line.measure == measure and line.low is not None]
        truth = Truth() if truths is None else truths[measure]
        cells.append(percent([not truth.held_by(line) for line in lines], len(found)))
    if truths is None:
        cells.append(percent([any(x.verdict.endswith("diverse") for x in one.lines) for one in found], len(found)))
    print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def percent(found: Sequence[bool], among: int) -> str:
    """A share in % with its standard error; "–" where less than half of the comparisons had an interval."""
    if 2 * len(found) < among:
        return "–"
    share = sum(found) / len(found)
    return f"{100 * share:.1f} ({100 * math.sqrt(share * (1 - share) / len(found)):.1f})"


def of_pool(one: Pool) -> tuple[float, float, float]:
    """Mean pairwise distance, corrected Vendi 2 and entropy rate of a whole pool."""
    distance, vendi = mean_pairwise_distance(one.vectors).value, corrected_vendi(one.vectors).value
    assert distance
    assert vendi
    return distance, vendi, float(one.entropy_bits.sum() / one.n_tokens.sum())


def true_shares(firsts: Sequence[Pool], seconds: Sequence[Pool], found: list[Result]) -> dict[str, Truth]:
    """Of the pools; where the number depends on n, which no prompt here has none of, of the comparisons themselves."""
    first, second = (np.array([of_pool(one) for one in pools]) for pools in (firsts, seconds))
    of_logs, of_means = np.exp(np.log(second / first).mean(axis=0)), second.mean(axis=0) / first.mean(axis=0)
    truths = {
        name: Truth(float(logs), float(means))
        for name, logs, means in zip(("distance", "vendi", "entropy"), of_logs, of_means, strict=True)
    }
    for measure in FITTED_TO_N:
        shares = [line.share for one in found for line in one.lines if line.measure == measure]
        logs = [math.log(share) for share in shares if share]
        truths[measure] = Truth(math.exp(float(np.mean(logs))) if logs else math.nan, math.nan)
    return truths


def power(name: str, draw: Callable[[int], Draw], sizes: Sequence[int], runs: int) -> dict[str, list[float]]:
    """One row a size: how often each measure's interval says that the second arm is less diverse, %."""
    shares: dict[str, list[float]] = {measure: [] for measure in SHOWN}
    for n in sizes:
        found = list(results(draw(n), runs, f"{name}, n = {n}"))
        for measure in SHOWN:
            lines = [x for one in found for x in one.lines if x.measure == measure]
            shares[measure].append(100 * sum(x.high is not None and x.high < 1 for x in lines) / len(lines))
        print(f"| {name}, n = {n} | " + " | ".join(f"{shares[one][-1]:.0f}" for one in SHOWN) + " |", flush=True)
    return shares


def draw_power(curves: Mapping[str, Mapping[str, Sequence[float]]], sizes: Sequence[int], path: Path) -> None:
    """A panel a setting, a curve a measure."""
    from llama_diversity.render.charts import save_chart, side_by_side
    from llama_diversity.render.path_charts import Curve, curves_panel

    panels = {
        name: curves_panel(
            [Curve(measure, sizes, values, [], []) for measure, values in shares.items()],
            across="generations of each arm", unit="called less diverse, %",
        )
        for name, shares in curves.items()
    }  # fmt: skip
    save_chart(side_by_side(panels, title="How often compare sees a difference"), path)


def head(*more: str) -> str:
    """The first two rows of a table."""
    return f"| setting | {' | '.join((*SHOWN, *more))} |\n|---|{'---|' * (len(SHOWN) + len(more))}"


def main() -> None:
    """All settings."""
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(__doc__)
        return
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    turn = np.linalg.qr(np.random.default_rng(9).normal(size=(embed.N_DIMENSIONS, embed.N_DIMENSIONS)))[0]
    base = pool("scripted:base", "She was", 6_000, seed=1)
    aligned = pool("scripted:aligned", "She was", 4_000, seed=5)
    attractor = pool("scripted:attractor", "She was", 4_000, seed=5)
    tiny = {name: pool(name, PEOPLE[0], 4_000, seed=1) for name in ("tiny-base", "tiny-aligned")}
    cut = {n: pool("tiny-base", PEOPLE[0], 2_000, seed=n, max_tokens=n, cut=PREFIX) for n in (32, 64)}
    # Prompts that differ in how diverse they are, in both arms alike: a temperature for each.
    heat = np.linspace(0.7, 1.3, len(OPENINGS)).tolist()
    chains = {
        arm: [
            pool(f"scripted:{arm}", text, 1_000, seed=100 + at, temperature=heat[at])
            for at, text in enumerate(OPENINGS)
        ]
        for arm in ("base", "aligned")
    }
    people = {
        arm: [pool(f"tiny-{arm}", text, 1_000, seed=200 + at) for at, text in enumerate(PEOPLE)] for arm in chains
    }

    cooler = pool("scripted:base", "She was", 4_000, seed=7, temperature=0.8)

    print(f"False alarms, % (standard error), {runs:,} comparisons each; nominal 5\n\n{head('any, after Holm')}")
    for name, draw in {
        "scripted base, the same law": against_itself([base], 60),
        "scripted aligned, the same law": against_itself([aligned], 60),
        "scripted attractor, the same law": against_itself([attractor], 60),
        "scripted base, the same spread elsewhere": against_itself([base], 60, turn=turn),
        "scripted base, three prompts": against_itself(chains["base"][:6:2], 30),
        "scripted base, eight unlike prompts": against_itself(chains["base"], 30),
        "tiny-base against itself": against_itself([tiny["tiny-base"]], 60),
        "tiny-aligned against itself": against_itself([tiny["tiny-aligned"]], 60),
        "tiny-aligned, the same spread elsewhere": against_itself([tiny["tiny-aligned"]], 60, turn=turn),
        "tiny-base, 32 tokens against 64, by the first 16": against_itself([cut[32]], 60, [cut[64]]),
        "tiny-base, 10 calls of 5, alike within calls": in_calls(tiny["tiny-base"], 10),
        "tiny-base, 20 calls of 5, alike within calls": in_calls(tiny["tiny-base"], 20),
        "tiny-base, eight prompts": against_itself(people["base"], 30),
        "tiny-aligned, eight prompts": against_itself(people["aligned"], 30),
    }.items():
        tally(name, list(results(draw, runs, name)))

    print(f"\nIntervals that miss a true difference, % (standard error); nominal 5\n\n{head()}")
    for name, firsts, seconds, n, n_prompts in (
        ("scripted, base and aligned", [base], [aligned], 60, 1),
        ("scripted, eight prompts", chains["base"], chains["aligned"], 30, 8),
        ("tiny pair", [tiny["tiny-base"]], [tiny["tiny-aligned"]], 60, 1),
        ("tiny pair, eight prompts", people["base"], people["aligned"], 30, 8),
    ):
        found = list(results(against(firsts, seconds, n, n_prompts=n_prompts), runs, name))
        tally(name, found, true_shares(firsts, seconds, found))

    print(f"\nPower: the second arm called less diverse, %, {runs // 4} comparisons each\n\n{head()}")
    sizes = (25, 50, 100, 200)
    curves = {}
    name = "scripted, T 0.8"
    curves[name] = power(name, lambda n: against([base], [cooler], n, n_prompts=1), sizes, runs // 4)
    for share in (0.1, 0.2, 0.4):
        name = f"tiny-base, {100 * share:.0f} % one sentence"
        curves[name] = power(name, lambda n, share=share: partly_one(tiny["tiny-base"], share, n), sizes, runs // 4)
    if len(sys.argv) > 2:
        draw_power(curves, sizes, Path(sys.argv[2]))


if __name__ == "__main__":
    main()
