"""Every metric once on the same synthetic texts, and what each takes; embedding is not part of it."""

from __future__ import annotations

import itertools
import time
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from llama_diversity.metrics import (
    choice,
    clusters,
    coverage,
    decan,
    entropy,
    fit,
    indices,
    inference,
    lexical,
    price,
    similarity,
    stated,
)
from llama_diversity.studies.population.joint import joint_of
from llama_diversity.studies.population.target import Field, Pair, Rule, Target

N_WORDS, N_DIMENSIONS, N_KINDS, CUT = 128, 384, 60, 0.7
PARTS_OF_OTHERS = {  # which the metrics below call, or which are the same of a kernel
    "rows_of_length_one", "unit_rows", "directions", "spectrum", "tf_idf_of_each_group", "exact_classes", "medoids",
    "rarity", "two_digits", "unseen_entropy_nats", "clip_similarity", "numbers_equivalent", "entropy_nats",
    "vendi_of_kernel", "corrected_vendi_of_kernel", "mean_squared_cosine_of_kernel", "total_variation",
    "jensen_shannon_bits", "chance_floor", "worst_cell", "simultaneous_intervals", "visible_points", "never_seen_bound",
    "verdict",
    "quotas", "balanced_quotas", "far_apart",
}  # fmt: skip


class Texts(NamedTuple):
    """Texts of `N_WORDS` words with Zipf frequencies, embeddings around `N_KINDS` centres, and token statistics."""

    words: list[list[str]]
    vectors: np.ndarray
    labels: np.ndarray
    bits: np.ndarray  # (texts, tokens)


def texts(n: int, seed: int = 0) -> Texts:
    generator = np.random.default_rng(seed)
    vocabulary = [f"w{zlib.crc32(str(number).encode()):x}" for number in range(20_000)]
    frequencies = 1 / np.arange(1, len(vocabulary) + 1)
    drawn = generator.choice(len(vocabulary), (n, N_WORDS), p=frequencies / frequencies.sum())
    labels = np.unique(generator.integers(N_KINDS, size=n), return_inverse=True)[1]
    centres = generator.normal(size=(N_KINDS, N_DIMENSIONS))
    vectors = centres[labels] + 0.5 * generator.normal(size=(n, N_DIMENSIONS))
    words = [[vocabulary[at] for at in row] for row in drawn.tolist()]
    return Texts(words, vectors.astype(np.float32), labels, generator.exponential(2.0, (n, N_WORDS)))


def calls(n: int) -> Iterator[tuple[str, Callable[[], object]]]:
    """Every metric of a set of texts by name, as a reader of `docs/metrics.md` would call it."""
    one, other = texts(n), texts(n, seed=1)
    strings = [" ".join(some) for some in one.words]
    counts = np.bincount(one.labels)
    sums, lengths = one.bits.sum(axis=1), np.full(n, N_WORDS)
    steps = [np.arange(1.0, 6.0) + row[:, None] / one.bits.max() for row in one.bits]  # five likeliest of each token
    yield "entropy_rate", lambda: entropy.entropy_rate(sums, lengths)
    yield "branching_factor", lambda: entropy.branching_factor(sums, lengths)
    yield "bits_per_byte", lambda: entropy.bits_per_byte(sums, 5 * lengths)
    yield "sequence_totals", lambda: entropy.sequence_totals(sums, sums)
    yield "top_entropy", lambda: [entropy.top_entropy(some) for some in steps]
    yield "top_k_bounds", lambda: [entropy.top_k_bounds(some, 32_000) for some in steps]
    for curve in (entropy.local_mean_curve, entropy.prefix_mean_curve):
        yield curve.__name__, lambda curve=curve: curve(list(one.bits))
    yield "eos_hazard", lambda: entropy.eos_hazard(list(np.exp2(-one.bits)))
    for order in (1, 2, 3):
        yield f"distinct-{order}", lambda order=order: lexical.distinct(one.words, order)
    yield "expectation_adjusted_distinct", lambda: lexical.expectation_adjusted_distinct(one.words, 32_000)
    yield "rarefied_types", lambda: lexical.rarefied_types(one.words, n * N_WORDS // 2)
    for of_one in (
        lexical.richness,
        lexical.ttr,
        lexical.mattr,
        lexical.hd_d,
        lexical.mtld_le_nomin,
        lexical.repeated_share,
    ):
        yield of_one.__name__, lambda of_one=of_one: [of_one(some) for some in one.words]
    for of_all in (lexical.self_bleu, lexical.pairwise_bleu, lexical.homogenization, lexical.self_repetition):
        yield of_all.__name__, lambda of_all=of_all: of_all(one.words)
    yield "compression", lambda: lexical.compression(strings)
    yield "tf_idf distance", lambda: similarity.mean_pairwise_distance(similarity.tf_idf({"a": strings})["a"])
    for of_vectors in (
        similarity.mean_cosine, similarity.mean_pairwise_distance, similarity.rao_q, similarity.mean_nearest_distance,
        indices.mean_squared_cosine, indices.corrected_vendi,
    ):  # fmt: skip
        yield of_vectors.__name__, lambda of_vectors=of_vectors: of_vectors(one.vectors)
    yield "alike_pairs", lambda: similarity.alike_pairs(one.vectors, CUT)
    for of_two in (similarity.energy_distance, similarity.mmd):
        yield of_two.__name__, lambda of_two=of_two: of_two(one.vectors, other.vectors)
    for q in (0.5, 1, 2, np.inf):
        yield f"vendi {q}", lambda q=q: indices.vendi(one.vectors, q)
        yield f"hill {q}", lambda q=q: indices.hill(counts, q)
    yield "leinster_cobbold", lambda: indices.leinster_cobbold(np.full(n, 1 / n), _similarity(one.vectors), 1)
    yield "threshold_classes", lambda: clusters.threshold_classes(one.vectors, CUT)
    yield "threshold_sweep", lambda: clusters.threshold_sweep(one.vectors, np.arange(0.5, 0.95, 0.05))
    yield "kinds_among", lambda: clusters.kinds_among(one.vectors, n // 4, CUT)
    yield "k_by_silhouette", lambda: clusters.k_by_silhouette(one.vectors)
    yield "k_by_gap", lambda: clusters.k_by_gap(one.vectors)
    yield "stability", lambda: clusters.stability(one.vectors, lambda rows: clusters.threshold_classes(rows, CUT))
    yield "k_means", lambda: clusters.k_means(one.vectors, 16)
    yield "occupancy", lambda: clusters.occupancy(one.labels, ["a"] * n)
    places = clusters.attractors(one.vectors, one.labels)
    yield "attractors", lambda: clusters.attractors(one.vectors, one.labels)
    yield "return_share", lambda: clusters.return_share(other.vectors, places)
    for of_counts in (
        coverage.refined_coverage, coverage.good_turing_coverage, coverage.chao1, coverage.chao_wang_jost_nats,
        coverage.chao_shen_nats, coverage.miller_madow_nats, indices.concentration, indices.inverse_simpson,
        indices.plug_in_entropy_nats, coverage.seen_richness,
    ):  # fmt: skip
        yield of_counts.__name__, lambda of_counts=of_counts: of_counts(counts)
    for at_m in (coverage.rarefied_richness, coverage.coverage_at):
        yield at_m.__name__, lambda at_m=at_m: at_m(counts, n // 2)
    yield "coverage_after", lambda: coverage.coverage_after(counts, 2 * n)
    yield "more_generations", lambda: coverage.more_generations(counts, 0.999)
    yield "coverage_standardised_richness", lambda: coverage.coverage_standardised_richness(counts, counts[1:])
    target = np.full(len(counts), 1 / len(counts))
    yield "fit", lambda: fit.fit(counts, target)
    yield "out_of_reach", lambda: fit.out_of_reach(0, n, 0.1, n)
    many = _many(5 * n)
    yield f"choice of {5 * n:,}", lambda: _choice(many)
    yield "joint of 8 fields", lambda: joint_of(_eight_fields())
    yield "tokens_per_usable", lambda: price.tokens_per_usable(lengths, one.labels % 2)
    yield "tokens_for_next", lambda: price.tokens_for_next(lengths, one.labels.tolist())
    yield "outputs_needed", lambda: price.outputs_needed(counts, n, np.ones_like(counts))
    yield "effective_kinds", lambda: price.effective_kinds(counts, n // 2)
    yield "effective_texts", lambda: price.effective_texts(one.vectors, n // 2)
    yield "none_stated", lambda: stated.none_stated(n, "too few")
    yield "stated_probabilities", lambda: stated.stated_probabilities(np.full(n, 0.1) / lengths, -sums)
    yield from _of_decan(sums[: n // 20], one.bits)
    yield "novelty_utility", lambda: indices.novelty_utility(np.ones(n), one.labels.tolist())
    yield "permutation_test", lambda: inference.permutation_test(sums, other.bits.sum(axis=1))


def _of_decan(bits: np.ndarray, values: np.ndarray) -> Iterator[tuple[str, Callable[[], object]]]:
    """Of so many answers as there are `bits`."""
    orders, weights = decan.balanced_orders(len(bits), 25, np.random.default_rng(0))
    yield "balanced_orders", lambda: decan.balanced_orders(len(bits), 25, np.random.default_rng(0))
    yield "progressive_surprise", lambda: decan.progressive_surprise(bits, orders, bits[orders] / 2, weights)
    yield "decan", lambda: decan.decan(bits / bits.max(), 1.0)
    yield "share_of_orders", lambda: decan.share_of_orders(values)


def _many(n: int) -> np.ndarray:
    """Unit rows around `N_KINDS` centres, every fifth one a copy of an earlier one."""
    generator = np.random.default_rng(2)
    centres = generator.normal(size=(N_KINDS, N_DIMENSIONS))
    vectors = centres[generator.integers(N_KINDS, size=n)] + generator.normal(size=(n, N_DIMENSIONS))
    vectors[4::5] = vectors[: len(vectors[4::5])]
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def _eight_fields() -> Target:
    """Fields of 5, 5, 5, 5, 5, 4, 4 and 2 values, tied one to the next by pairs, and a rule that bars a tenth."""
    sizes = (5, 5, 5, 5, 5, 4, 4, 2)
    fields = [Field(f"f{at}", shares={f"v{one}": 1 / size for one in range(size)}) for at, size in enumerate(sizes)]
    pairs = []
    for one, other in itertools.pairwise(fields):
        uneven = np.add.outer(np.arange(len(one.shares)), np.arange(len(other.shares))) % 2 + 1.0
        for _ in range(200):
            uneven /= uneven.sum(axis=0) * len(other.shares)
            uneven /= uneven.sum(axis=1, keepdims=True) * len(one.shares)
        keys = list(itertools.product(one.shares, other.shares))
        pairs.append(Pair((one.name, other.name), dict(zip(keys, uneven.ravel().tolist(), strict=True))))
    rule = Rule({"f0": ("v0",)}, {"f7": ("v0",)}, "nobody")
    return Target("Eight fields", tuple(fields), pairs=tuple(pairs), rules=(rule,))


def _choice(vectors: np.ndarray) -> list[np.ndarray]:
    """A tenth of them in 20 cells: near duplicates left out, quotas, members of a cell that lie far apart."""
    kept = choice.Kept()
    kept.add(vectors)
    codes = [divmod(cell, 5) for cell in range(20)]  # a field of four values and one of five
    chance = np.random.default_rng(0).random
    of_cells = choice.balanced_quotas(np.full(20, 1 / 20), codes, len(vectors) // 10, chance)
    return [choice.far_apart(kept.vectors[cell::20], int(k)) for cell, k in enumerate(of_cells)]


def _similarity(vectors: np.ndarray) -> np.ndarray:
    units = similarity.rows_of_length_one(vectors)
    return indices.clip_similarity(units @ units.T).similarity


def seconds(n: int) -> dict[str, float]:
    """What each takes, the slowest first; the first call of a library counts to no one."""
    for _, call in calls(60):
        call()
    found = {}
    for name, call in calls(n):
        before = time.perf_counter()
        call()
        found[name] = time.perf_counter() - before
    return dict(sorted(found.items(), key=lambda item: -item[1]))
