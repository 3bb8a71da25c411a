"""Metrics on hand-derived values, at their extremes, and as n and order change."""

from __future__ import annotations

import importlib.util
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from llama_diversity.metrics.entropy import entropy_rate, top_entropy
from llama_diversity.metrics.inference import Summary, self_check_z, summarize, welch_difference


def surprisals(*probabilities: float) -> np.ndarray:
    padded = [*probabilities, *[0.0] * (5 - len(probabilities))]
    with np.errstate(divide="ignore"):
        return -np.log2(np.array([padded]))


@pytest.mark.parametrize("vocabulary", [5, 10, 100, 32_000])
def test_raw_top_five_entropy_rises_then_falls(vocabulary: int) -> None:
    # Uniform over V: five terms of -(1/V) log2 (1/V), so (5 / V) log2 V: 2.321928, 1.660964, 0.332193, 0.002338.
    raw, renormalized, mass = top_entropy(surprisals(*[1 / vocabulary] * 5))
    assert raw[0] == pytest.approx(5 / vocabulary * math.log2(vocabulary), abs=1e-12)
    assert renormalized[0] == pytest.approx(math.log2(5), abs=1e-9)
    assert mass[0] == pytest.approx(5 / vocabulary)


def test_top_entropy_of_two_tokens() -> None:
    # p = .5, .2: raw = .5 * 1 + .2 * 2.321928 = 0.964386; m = .7; renormalised = H(5/7, 2/7) = 0.863121.
    raw, renormalized, mass = top_entropy(surprisals(0.5, 0.2))
    assert raw[0] == pytest.approx(0.964386, abs=1e-6)
    assert renormalized[0] == pytest.approx(0.863121, abs=1e-6)
    assert mass[0] == pytest.approx(0.7)


def test_top_entropy_of_a_certain_token_is_zero() -> None:
    assert top_entropy(surprisals(1.0)) == (0, 0, 1)


def test_rate_is_a_ratio_of_sums() -> None:
    assert entropy_rate([10, 40], [10, 20]).bits_per_token == pytest.approx(50 / 30)
    assert entropy_rate([40, 10], [20, 10]) == entropy_rate([10, 40], [10, 20])
    assert math.isnan(entropy_rate([10], [10]).se_bits)
    assert entropy_rate([3, 6], [3, 6]) == (1.0, 0.0)


def test_summaries_of_none_and_one() -> None:
    assert summarize([5.0])[:1] + summarize([5.0])[3:] == (5.0, 1)
    assert math.isnan(summarize([5.0]).sd)
    assert math.isnan(summarize([]).mean)
    assert summarize([]).n == 0


def test_difference_degenerates_honestly() -> None:
    same = Summary(2.0, 0.0, 0.0, 10)
    assert welch_difference(same, same) == (0.0, 0.0, 0.0, 0.0)
    alone = welch_difference(summarize([1.0]), summarize([2.0, 3.0]))
    assert alone.mean == 1.5
    assert math.isnan(alone.low)


def test_interval_covers_the_truth_as_often_as_it_says() -> None:
    """4,000 experiments, n = 20 and 35, unequal variances: 95 % within 4 standard errors (0.34 points each)."""
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(4000):
        difference = welch_difference(summarize(generator.normal(0, 1, 20)), summarize(generator.normal(0.3, 2, 35)))
        covered += difference.low <= 0.3 <= difference.high
    assert covered / 4000 == pytest.approx(0.95, abs=0.014)


def test_self_check_degenerates_honestly() -> None:
    assert math.isnan(self_check_z([1.0]))
    assert self_check_z([0.0, 0.0, 0.0]) == 0
    assert self_check_z([-2.0, -2.0]) == -math.inf


def test_the_benchmark_calls_every_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    """`bin/bench` times what `docs/metrics.md` lists; of 60 texts here, to see that each call is one of the metric."""
    path = Path(__file__).parent.parent / "bin" / "bench_metrics.py"
    spec = importlib.util.spec_from_file_location("bench_metrics", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "bench_metrics", module)
    spec.loader.exec_module(module)
    called = dict(module.calls(60))
    for call in called.values():
        call()
    named = {name.split("-")[0].split()[0] for name in called}
    modules = [module.lexical, module.similarity, module.clusters, module.coverage, module.indices]
    modules += [module.fit, module.choice, module.price, module.stated, module.decan]
    for metrics in modules:
        own = {name for name, it in vars(metrics).items() if getattr(it, "__module__", "") == metrics.__name__}
        functions = {name for name in own if name[0].islower() and not isinstance(getattr(metrics, name), type)}
        assert functions <= named | module.PARTS_OF_OTHERS, metrics.__name__


def bench(*arguments: object) -> subprocess.CompletedProcess[str]:
    path = Path(__file__).parent.parent / "bin" / "bench.py"
    return subprocess.run([sys.executable, str(path), *map(str, arguments)], capture_output=True, text=True)


def test_the_benchmark_refuses_too_few_texts() -> None:
    done = bench("--only", "metrics", "--texts", 3)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("--texts is 3; the metrics need 20 texts or more\n")


@pytest.mark.model
def test_the_benchmark_of_diff_takes_any_vocabulary(tiny_model: Path) -> None:
    """700 tokens, fewer than a text has places."""
    done = bench("--only", "diff", "--model", tiny_model, "--rounds", 1, "--threads", 1, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["diff"]["ratio_to_decode"] > 0


@pytest.mark.model
def test_the_benchmark_of_decan_reads_the_same_orders_both_ways(tiny_model: Path) -> None:
    """Within the noise of the arithmetic; and sets of orders that share beginnings tell more than single orders."""
    done = bench("--only", "decan", "--model", tiny_model, "--rounds", 1, "--threads", 1, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["decan"]
    assert list(found)[:2] == ["10", "45"]
    for row in found.values():
        assert row["orders"] == 32
        assert row["bits_apart"] < 0.05
        assert row["variance_of_a_set"] < row["variance_of_an_order"]
