"""How much one temperature of the base explains: by hand, against closed forms and brute force, as a command."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scripted_work import open_scripted

from llama_diversity import registry
from llama_diversity.engines import EngineOptions, open_engine
from llama_diversity.engines.scripted import transition
from llama_diversity.records import ModelRef
from llama_diversity.studies.diff import study
from llama_diversity.studies.measuring.divergence import THRESHOLDS
from llama_diversity.studies.measuring.noise import Apart, Noise
from llama_diversity.studies.measuring.sharpening import POWERS, OfText, explained, log_sums

DATA = Path(registry.__file__).parent / "data"
TEXT = "She was a tired nurse. She met a thief!"


def of_text(base: np.ndarray, aligned: np.ndarray) -> OfText:
    """From rows of probabilities."""
    with np.errstate(divide="ignore", invalid="ignore"):
        p, q = np.log(base), np.log(aligned)
        entropy, cross = (-np.where(aligned > 0, aligned * one, 0).sum() for one in (q, p))
    return OfText(log_sums(p.astype(np.float32)), float(entropy), float(cross))


def left_bits(base: np.ndarray, aligned: np.ndarray, temperature: float) -> float:
    """KL(aligned, base at T) per row, the slow way."""
    cooled = base ** (1 / temperature)
    cooled /= cooled.sum(axis=1, keepdims=True)
    return float((aligned * np.log2(aligned / cooled)).sum() / len(base))


def random_rows(n: int, n_vocab: int, seed: int) -> np.ndarray:
    rows = np.exp(np.random.default_rng(seed).normal(0, 3, (n, n_vocab)))
    return rows / rows.sum(axis=1, keepdims=True)


def test_two_tokens_by_hand() -> None:
    """Base (4/5, 1/5), aligned (16/17, 1/17): odds 4 and 4^2, so T = 1/2 is the aligned model and nothing is left."""
    found = explained([of_text(np.array([[0.8, 0.2]]), np.array([[16 / 17, 1 / 17]]))], [1])
    assert found.temperature.value == pytest.approx(0.5, abs=1e-5)
    assert found.share.value == pytest.approx(1, abs=1e-6)
    # 16/17 log2 (16/17 * 5/4) + 1/17 log2 (1/17 * 5)
    assert found.kl_bits == pytest.approx(16 / 17 * math.log2(20 / 17) + math.log2(5 / 17) / 17, abs=1e-6)
    assert math.isnan(found.share.low)  # one text has no interval
    assert not found.is_edge


def test_a_change_that_no_temperature_makes_by_hand() -> None:
    """Base (1/2, 1/4, 1/4), aligned (1/4, 1/2, 1/4): by convexity in b the best b has E_b[log p] = E_aligned[log p].

    E_aligned[log2 p] = -1/4 - 2/2 - 2/4 = -7/4, so the first token has 1/4: with b it has 2^b / (2^b + 2), so
    2^b = 2/3 and b < 0. No temperature is below 0: the best is the widest that is looked at, b = 1/4.
    """
    base, aligned = np.array([[0.5, 0.25, 0.25]]), np.array([[0.25, 0.5, 0.25]])
    found = explained([of_text(base, aligned)], [1])
    assert found.is_edge
    assert found.temperature.value == pytest.approx(4)
    # Behind b = 1/4: p = (2^.25, 1, 1) / (2^.25 + 2); KL = sum q log2 q - log2 of these, with sum q log2 q = -1.5.
    left = -1.5 - 0.25 * 0.25 + math.log2(2**0.25 + 2)
    assert found.left_bits.value == pytest.approx(left, abs=1e-6)
    assert found.kl_bits == pytest.approx(-1.5 + 1.75, abs=1e-6)
    assert found.share.value == pytest.approx(1 - left / 0.25, abs=1e-5)


def test_the_sums_are_the_slow_ones() -> None:
    """log sum p^b and its derivatives by log b, the latter by differences of 1e-4."""
    base = random_rows(7, 400, seed=3)
    found = log_sums(np.log(base).astype(np.float32) + 5, n_threads=2)  # logits, whatever was added to them

    def slow(power: float) -> float:
        return float(np.log((base**power).sum(axis=1)).sum())

    step = 1e-4
    for at, power in enumerate(POWERS):
        around = [slow(power * math.exp(by)) for by in (-step, 0, step)]
        assert found[0, at] == pytest.approx(around[1], abs=1e-4)
        assert found[1, at] == pytest.approx((around[2] - around[0]) / (2 * step), abs=1e-3)
        assert found[2, at] == pytest.approx((around[2] - 2 * around[1] + around[0]) / step**2, abs=5e-2)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_brute_force_over_temperatures(seed: int) -> None:
    """A grid of 500 temperatures over a sharpened and disturbed base, eight texts of unlike length."""
    rng = np.random.default_rng(seed)
    base = random_rows(60, 300, seed)
    aligned = base ** rng.uniform(0.8, 2.5) * np.exp(rng.normal(0, 1, base.shape))
    aligned /= aligned.sum(axis=1, keepdims=True)
    cuts = np.split(np.arange(60), [3, 10, 12, 20, 33, 40, 52])
    found = explained([of_text(base[cut], aligned[cut]) for cut in cuts], [len(cut) for cut in cuts])
    grid = np.geomspace(0.1, 4, 500)
    every = [left_bits(base, aligned, at) for at in grid]
    assert found.left_bits.value == pytest.approx(min(every), abs=1e-4)
    assert found.temperature.value == pytest.approx(grid[int(np.argmin(every))], rel=0.01)
    assert found.share.value == pytest.approx(1 - min(every) / left_bits(base, aligned, 1.0), abs=2e-4)
    for at, bits in zip(found.temperatures, found.curve_bits, strict=True):
        assert bits == pytest.approx(left_bits(base, aligned, at), abs=1e-4)
    assert 0 <= found.share.low < found.share.value < found.share.high < 1


def test_the_interval_leaves_out_one_text_at_a_time() -> None:
    """Two texts: the jackknife's error is |difference| / 2, and t with one degree of freedom 12.706205."""
    rows = [(random_rows(5, 50, seed), random_rows(5, 50, seed + 9)) for seed in (1, 2)]
    one, other = (of_text(*pair) for pair in rows)
    both, first, second = explained([one, other], [5, 5]), explained([one], [5]), explained([other], [5])
    assert both.share.se == pytest.approx(abs(first.share.value - second.share.value) / 2)
    assert both.left_bits.se == pytest.approx(abs(first.left_bits.value - second.left_bits.value) / 2)
    assert both.left_bits.high == pytest.approx(both.left_bits.value + 12.706205 * both.left_bits.se, rel=1e-5)


def test_order_of_texts_and_pieces_of_a_text_make_no_difference() -> None:
    base, aligned = random_rows(12, 80, 1), random_rows(12, 80, 2)
    texts, sizes = [of_text(base[cut], aligned[cut]) for cut in (slice(0, 5), slice(5, 12))], [5, 7]
    there, back = explained(texts, sizes), explained(texts[::-1], sizes[::-1])
    assert there.share == pytest.approx(back.share)
    pieces = [log_sums(np.log(base[cut]).astype(np.float32)) for cut in (slice(0, 1), slice(1, 12))]
    np.testing.assert_allclose(sum(pieces), log_sums(np.log(base).astype(np.float32)), atol=1e-4)


def test_nothing_to_explain_is_none() -> None:
    base = np.array([[0.5, 0.5, 0.0]])
    assert explained([of_text(base, base)], [1]) is None
    assert explained([of_text(base, np.array([[0.5, 0.25, 0.25]]))], [1]) is None  # KL is infinite at every temperature


def test_impossible_tokens_of_both_count_as_none() -> None:
    """As the two tokens by hand, with a third that neither can say."""
    found = explained([of_text(np.array([[0.8, 0.2, 0.0]]), np.array([[16 / 17, 1 / 17, 0.0]]))], [1])
    assert (found.temperature.value, found.share.value) == (pytest.approx(0.5, abs=1e-5), pytest.approx(1, abs=1e-6))


# ---- as a command


def test_aligned_is_base_sharpened(run: Callable) -> None:
    """`aligned` is p^2.5 by definition: T = 1 / 2.5, all of it, and nothing left."""
    report = json.loads(run("diff", "--pair", "scripted", "-n", 6, "--max-tokens", 12, "--json")[1])
    one = report["arms"]["aligned"]["one_temperature"]
    assert one["temperature"]["value"] == pytest.approx(0.4, abs=1e-4)
    assert one["share"]["value"] == pytest.approx(1, abs=1e-4)
    assert one["left_bits"]["value"] == pytest.approx(0, abs=1e-5)
    words = " ".join(run("diff", TEXT, "--pair", "scripted")[1].split())
    assert "T 0.40, removes all of KL(aligned, base) but what the arithmetic makes: mere sharpening." in words


def test_attractor_is_more_than_sharpening(run: Callable) -> None:
    """Brute force over temperatures of the two chains' own rows at the prefixes of one text."""
    models = ("--base", "scripted:base", "--aligned", "scripted:attractor")
    one = json.loads(run("diff", TEXT, *models, "--json")[1])["arms"]["aligned"]["one_temperature"]
    ids = list(open_scripted("base").tokenize(TEXT))[:-1]
    p, q = transition("base")[ids], transition("attractor")[ids]
    every = [left_bits(p, q, at) for at in np.geomspace(0.1, 4, 1000)]
    assert one["share"]["value"] == pytest.approx(1 - min(every) / left_bits(p, q, 1.0), abs=1e-4)
    assert 0 < one["share"]["value"] < 0.9
    words = " ".join(run("diff", TEXT, *models)[1].split())
    assert "bits per token are a change that no temperature makes" in words


def test_below_the_floor_nothing_is_explained(run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ("diff", TEXT, "--pair", "scripted")
    kl = json.loads(run(*arguments, "--json")[1])["arms"]["aligned"]["reverse_kl_bits"]["value"]
    for factor, is_shown in ((0.99, True), (1.01, False)):
        noise = Noise(1, {"one": Apart(0.1, 0.1, 0.5, 0.0, 0.1, 0.1, factor * kl, 0.01, (1.0,) * len(THRESHOLDS))})
        monkeypatch.setattr(study, "noise_of", lambda engine, session, above, noise=noise: noise)
        assert (json.loads(run(*arguments, "--json")[1])["arms"]["aligned"]["one_temperature"] is None) != is_shown
        assert ("The best single temperature" in run(*arguments)[1]) == is_shown


@pytest.mark.model
def test_brute_force_on_the_tiny_pair(run: Callable) -> None:
    """From both models' whole rows, in float64, over a grid of temperatures."""
    text = "Grace Hopper was born in New York. She was a computer scientist and a teacher."
    one = json.loads(run("diff", text, "--pair", "tiny", "--json")[1])["arms"]["aligned"]["one_temperature"]
    rows = []
    for name in ("tiny-base", "tiny-aligned"):
        model = ModelRef(name, "llamacpp", str(DATA / f"{name}.gguf"), "d")
        with contextlib.closing(open_engine(model, EngineOptions(n_threads=1))) as engine:
            ids = engine.tokenize(text)
            logits = np.concatenate([np.array(piece.logits, np.float64) for piece in engine.logits([ids])])
        rows.append(np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)))
    grid = np.geomspace(0.2, 4, 500)
    every = [left_bits(*rows, at) for at in grid]
    n_context = max(1, len(engine.start().ids))
    assert n_context == 1  # the BOS: every row stands before a token of the text
    assert one["left_bits"]["value"] == pytest.approx(min(every), abs=2e-4)
    assert one["temperature"]["value"] == pytest.approx(grid[int(np.argmin(every))], rel=0.01)
    assert one["share"]["value"] == pytest.approx(1 - min(every) / left_bits(*rows, 1.0), abs=1e-3)
