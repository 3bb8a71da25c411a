"""Drawing and statistics on rows of logits: against closed forms, against a slow float64 reference, and as chance."""

from __future__ import annotations

import numpy as np
import pytest

from llama_diversity.engines.draws import Reducer, uniforms, unscored
from llama_diversity.errors import EngineError
from llama_diversity.records import Sampler

NEUTRAL = Sampler()


def logits_of(probabilities: list[float]) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log(np.array([probabilities], dtype=np.float64)).astype(np.float32)


def random_rows(n_rows: int, n_vocab: int, *, spread: float = 3.0, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return (generator.standard_normal((n_rows, n_vocab)) * spread).astype(np.float32)


def slow_probabilities(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Softmax in float64, whole rows."""
    x = logits.astype(np.float64) / temperature
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


# ---- statistics


def test_statistics_of_a_hand_computed_row() -> None:
    # p = (1/2, 1/4, 1/8, 1/8): H = 1/2 + 1/2 + 3/8 + 3/8 = 1.75 bits;
    # E[s^2] = 1/2 + 1 + 9/8 + 9/8 = 3.75, so the varentropy is 3.75 - 1.75^2 = 0.6875 bits^2.
    row = Reducer(4).score(logits_of([0.5, 0.25, 0.125, 0.125]), np.array([2]))[0]
    assert row["surprisal_bits"] == pytest.approx(3.0, abs=1e-6)
    assert row["entropy_bits"] == pytest.approx(1.75, abs=1e-6)
    assert row["varentropy_bits2"] == pytest.approx(0.6875, abs=1e-6)
    assert row["rank"] == 3  # two are strictly likelier; its twin is not
    assert row["top_ids"].tolist() == [0, 1, 2, 3, -1]
    assert row["top_surprisals_bits"].tolist() == pytest.approx([1, 2, 3, 3, np.inf], abs=1e-6)
    assert np.isnan(row["sampler_surprisal_bits"])


@pytest.mark.parametrize("n_vocab", [2, 5, 127, 128, 129, 1000])
def test_extremes(n_vocab: int) -> None:
    uniform = Reducer(n_vocab).score(np.full((1, n_vocab), 7.0, np.float32), np.array([n_vocab - 1]))[0]
    assert uniform["entropy_bits"] == pytest.approx(np.log2(n_vocab), abs=1e-5)
    assert uniform["varentropy_bits2"] == pytest.approx(0, abs=1e-6)
    assert uniform["rank"] == 1
    assert uniform["top_ids"].tolist() == [i if i < n_vocab else -1 for i in range(5)]  # ties: the lower id first

    certain = Reducer(n_vocab).score(logits_of([1.0] + [0.0] * (n_vocab - 1)), np.array([0]))[0]
    assert certain["entropy_bits"] == 0
    assert certain["varentropy_bits2"] == 0
    assert certain["surprisal_bits"] == 0


@pytest.mark.parametrize("n_vocab", [33, 512, 32_000, 32_003])
def test_equal_to_the_slow_way(n_vocab: int) -> None:
    logits = random_rows(20, n_vocab)
    p = slow_probabilities(logits)
    numbers = np.random.default_rng(1).random(20)
    stats = Reducer(n_vocab).draw(logits, numbers, NEUTRAL)
    rows = np.arange(20)
    surprisals = -np.log2(p)
    entropy = (p * surprisals).sum(axis=1)
    order = np.argsort(-logits, axis=1, kind="stable")[:, :5]
    np.testing.assert_array_equal(stats["id"], (p.cumsum(axis=1) <= numbers[:, None]).sum(axis=1))
    np.testing.assert_allclose(stats["surprisal_bits"], surprisals[rows, stats["id"]], atol=3e-6)
    np.testing.assert_allclose(stats["entropy_bits"], entropy, atol=3e-6)
    np.testing.assert_allclose(stats["varentropy_bits2"], (p * surprisals**2).sum(axis=1) - entropy**2, atol=2e-5)
    np.testing.assert_array_equal(stats["rank"], 1 + (logits > logits[rows, stats["id"]][:, None]).sum(axis=1))
    np.testing.assert_array_equal(stats["top_ids"], order)
    np.testing.assert_allclose(stats["top_surprisals_bits"], surprisals[rows[:, None], order], atol=3e-6)


def test_top_tokens_with_equal_logits_prefer_the_lower_id() -> None:
    logits = np.zeros((1, 1000), np.float32)
    logits[0, [900, 17, 400]] = 1.0
    top = Reducer(1000).score(logits, np.array([0]))["top_ids"][0]
    assert top.tolist() == [17, 400, 900, 0, 1]


def test_a_row_gives_the_same_bits_alone_and_in_company() -> None:
    for n_vocab in (700, 32_000):
        logits, numbers = random_rows(65, n_vocab), np.random.default_rng(2).random(65)
        reducer, threaded = Reducer(n_vocab), Reducer(n_vocab, n_threads=3)
        together = reducer.draw(logits, numbers, NEUTRAL)
        alone = [reducer.draw(logits[i : i + 1], numbers[i : i + 1], NEUTRAL) for i in range(65)]
        assert b"".join(row.tobytes() for row in alone) == together.tobytes()
        assert threaded.draw(logits, numbers, NEUTRAL).tobytes() == together.tobytes()
        threaded.close()


@pytest.mark.parametrize("sampler", [NEUTRAL, Sampler(temperature=0.7), Sampler(top_k=3)], ids=str)
def test_looks_described_together_give_the_bits_of_each_described_alone(sampler: Sampler) -> None:
    logits, numbers = random_rows(300, 700), np.random.default_rng(8).random(300)
    logits[40] = 7.0  # more likeliest tokens than are kept
    logits[50, 1:] = -np.inf
    logits[60:80] = np.round(logits[60:80])
    reducer = Reducer(700)
    looks = [reducer.look(logits[at : at + 3], numbers[at : at + 3], sampler) for at in range(0, 300, 3)]
    alone = [reducer.draw(logits[at : at + 1], numbers[at : at + 1], sampler) for at in range(300)]
    assert reducer.describe(looks).tobytes() == b"".join(row.tobytes() for row in alone)


def test_rank_counts_all_that_are_likelier() -> None:
    logits = random_rows(400, 300)
    logits[:100] = np.round(logits[:100])
    logits[100:200, ::2] = -np.inf
    logits[200] = 1.0
    targets = np.random.default_rng(9).integers(0, 300, 400)
    expected = 1 + (logits > logits[np.arange(400), targets][:, None]).sum(axis=1)
    np.testing.assert_array_equal(Reducer(300).score(logits, targets)["rank"], expected)


def test_rank_of_a_forbidden_token_counts_no_padding() -> None:
    assert Reducer(2).score(np.array([[0, -np.inf]], np.float32), np.array([1]))["rank"].tolist() == [2]


def test_forbidden_tokens_are_never_drawn_and_cost_nothing() -> None:
    logits = np.full((1000, 300), -np.inf, np.float32)
    logits[:, [7, 290]] = [0.0, np.log(3)]
    numbers = (np.arange(1000) + 0.5) / 1000
    stats = Reducer(300).draw(logits, numbers, NEUTRAL)
    assert np.bincount(stats["id"]).tolist()[7] == 250  # u < 1/4
    assert np.bincount(stats["id"]).tolist()[290] == 750
    assert stats["entropy_bits"] == pytest.approx(2 - 0.75 * np.log2(3), abs=1e-6)


@pytest.mark.parametrize("number", [0.0, np.nextafter(1.0, 0.0)])
def test_the_ends_of_the_unit_interval_draw_possible_tokens(number: float) -> None:
    logits = random_rows(50, 1000, spread=40)
    logits[:, [0, -1]] = -1e4  # exp is 0 even in float64: these two can never be drawn
    stats = Reducer(1000).draw(logits, np.full(50, number), NEUTRAL)
    assert set(stats["id"].tolist()).isdisjoint({0, 999})
    assert np.isfinite(stats["surprisal_bits"]).all()


def test_logits_that_are_not_numbers_are_refused() -> None:
    with pytest.raises(EngineError, match="not numbers"):
        Reducer(10).draw(np.full((1, 10), np.nan, np.float32), np.array([0.5]), NEUTRAL)


def test_unscored_tokens_have_no_statistics() -> None:
    row = unscored([42])[0]
    assert row["id"] == 42
    assert row["rank"] == 0
    assert np.isnan(row["surprisal_bits"])
    assert np.isnan(row["entropy_bits"])
    assert row["top_ids"].tolist() == [-1] * 5


# ---- samplers


def slow_sampler(p: np.ndarray, sampler: Sampler) -> np.ndarray:
    """The truncated distribution of one row of T-softmax probabilities, step by step as the docstring says."""
    order = np.argsort(-p, kind="stable")
    if sampler.top_k:
        order = order[: sampler.top_k]
    if sampler.top_p < 1:
        shares = p[order] / p[order].sum()
        order = order[: int((shares.cumsum() < sampler.top_p).sum()) + 1]
    order = order[p[order] >= sampler.min_p * p.max()]
    q = np.zeros_like(p)
    q[order] = p[order] / p[order].sum()
    return q


SAMPLERS = [
    Sampler(temperature=0.7),
    Sampler(temperature=1.5),
    Sampler(top_k=3),
    Sampler(top_k=1),
    Sampler(top_p=0.9),
    Sampler(top_p=0.01),
    Sampler(min_p=0.1),
    Sampler(min_p=1.0),
    Sampler(temperature=0.8, top_k=40, top_p=0.95, min_p=0.05),
]


@pytest.mark.parametrize("sampler", SAMPLERS, ids=str)
def test_samplers_equal_to_the_slow_way(sampler: Sampler) -> None:
    logits, numbers = random_rows(30, 2000), np.random.default_rng(3).random(30)
    stats = Reducer(2000).draw(logits, numbers, sampler)
    raw = -np.log2(slow_probabilities(logits))
    for row, p, u, surprisals in zip(stats, slow_probabilities(logits, sampler.temperature), numbers, raw, strict=True):
        q = slow_sampler(p, sampler)
        assert row["id"] == (q.cumsum() <= u * q.sum()).sum()
        with np.errstate(divide="ignore", invalid="ignore"):
            entropy = -np.nansum(q * np.log2(q))
        assert row["sampler_surprisal_bits"] == pytest.approx(-np.log2(q[row["id"]]), abs=1e-5)
        assert row["sampler_entropy_bits"] == pytest.approx(entropy, abs=1e-5)
        assert row["surprisal_bits"] == pytest.approx(surprisals[row["id"]], abs=1e-5)  # still the raw model's


def test_greedy_takes_the_likeliest_and_the_lower_id_of_equals() -> None:
    logits = np.array([[0, 3, 1, 3]], np.float32)
    row = Reducer(4).draw(logits, np.array([0.999]), Sampler(temperature=0))[0]
    assert row["id"] == 1
    assert row["sampler_surprisal_bits"] == row["sampler_entropy_bits"] == 0
    assert row["surprisal_bits"] > 1


def test_temperature_near_zero_is_greedy() -> None:
    logits = random_rows(20, 500)
    stats = Reducer(500).draw(logits, np.random.default_rng(4).random(20), Sampler(temperature=1e-4))
    np.testing.assert_array_equal(stats["id"], logits.argmax(axis=1))
    assert stats["sampler_entropy_bits"] == pytest.approx(0, abs=1e-6)


def test_equal_tokens_at_the_edge_of_top_k_prefer_the_lower_id() -> None:
    logits = np.array([[1, 0, 0, 0]], np.float32)
    drawn = {int(Reducer(4).draw(logits, np.array([u]), Sampler(top_k=2))["id"][0]) for u in np.linspace(0, 0.999, 50)}
    assert drawn == {0, 1}


@pytest.mark.parametrize("sampler", [NEUTRAL, *SAMPLERS], ids=str)
def test_draws_follow_the_distribution(sampler: Sampler) -> None:
    """Chi-square of 20,000 draws on 12 tokens; fixed seed, chosen once: false alarms at p < 1e-4 by construction."""
    scipy_stats = pytest.importorskip("scipy.stats")
    logits = random_rows(1, 12, spread=1.0, seed=5)
    q = slow_sampler(slow_probabilities(logits, sampler.temperature)[0], sampler)
    numbers = np.array([uniforms(11, index, 1)[0] for index in range(20_000)])
    ids = Reducer(12).draw(np.repeat(logits, 20_000, axis=0), numbers, sampler)["id"]
    counts = np.bincount(ids, minlength=12)
    assert counts[q == 0].sum() == 0
    if (q > 0).sum() > 1:
        assert scipy_stats.chisquare(counts[q > 0], 20_000 * q[q > 0]).pvalue > 1e-4


# ---- the random stream


def test_the_stream_is_the_documented_one() -> None:
    generator = np.random.Generator(np.random.Philox(key=np.array([5, 9], dtype=np.uint64)))
    np.testing.assert_array_equal(uniforms(5, 9, 100), generator.random(100))


def test_no_two_samples_share_a_stream() -> None:
    """Among 300 streams of 64 no value repeats at all: with 53 bits a collision has probability 2e-8."""
    numbers = np.concatenate([uniforms(0, index, 64) for index in range(300)])
    assert len(np.unique(numbers)) == 300 * 64
    assert set(uniforms(1, 0, 64)).isdisjoint(numbers)
    assert numbers.min() >= 0
    assert numbers.max() < 1


def test_top_tokens_are_distinct_where_most_are_forbidden() -> None:
    logits = np.full((1, 256), -np.inf, np.float32)
    logits[0, [30, 200]] = [1.0, 2.0]
    row = Reducer(256).score(logits, np.array([30]))[0]
    assert row["top_ids"].tolist() == [200, 30, 0, 1, 2]
    assert np.isinf(row["top_surprisals_bits"][2:]).all() or (row["top_surprisals_bits"][2:] > 1000).all()
