"""Experiment 3 on chains whose entropies are known exactly."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from llama_diversity.engines import EngineOptions, open_engine
from llama_diversity.engines.scripted import BOS, EOS, transition
from llama_diversity.metrics.inference import martingale_z, self_check_z, welch_difference
from llama_diversity.records import TOKEN_DTYPE, ModelRef, Recipe, Sample, Sampler, TokenStats
from llama_diversity.studies.measuring.self_check import excess_variance_bits2
from llama_diversity.studies.syntactic.analysis import MEASURES, InconsistentStatistics, analyse, completion_means

MAX_TOKENS = 20


def drawn(chain: str, n: int, *, sampler: Sampler | None = None, seed: int = 0) -> list[Sample]:
    engine = open_engine(ModelRef(chain, "scripted", chain, ""), EngineOptions())
    prompt = engine.prompt("She")
    recipe = Recipe("scripted", "b", "d", "v", prompt, sampler or Sampler(), seed, MAX_TOKENS)
    samples = [sample for step in engine.sample(recipe, range(n)) for sample in step.finished]
    return sorted(samples, key=lambda sample: sample.index)


def expected_rate_bits(chain: str, start: int) -> float:
    """E[sum of entropies] / E[tokens] of completions of at most MAX_TOKENS tokens, from the transition matrix."""
    matrix = transition(chain)
    with np.errstate(divide="ignore", invalid="ignore"):
        entropies = -np.nansum(matrix * np.log2(matrix), axis=1)
    alive = np.zeros(len(matrix))
    alive[start] = 1.0
    bits = tokens = 0.0
    for _ in range(MAX_TOKENS):
        bits += alive @ entropies
        tokens += alive.sum()
        alive = alive @ matrix
        alive[EOS] = 0
    return bits / tokens


@pytest.mark.parametrize("chain", ["base", "aligned"])
def test_the_entropy_rate_is_the_closed_form(chain: str) -> None:
    """4 standard errors, fixed seed."""
    samples = drawn(chain, 400)
    arm = analyse({"base": samples, "aligned": samples}).arms["base"]
    start = open_engine(ModelRef(chain, "scripted", chain, ""), EngineOptions()).prompt("She").ids[-1]
    assert start != BOS
    rate = arm.entropy_rate
    assert rate.bits_per_token == pytest.approx(expected_rate_bits(chain, start), abs=4 * rate.se_bits)
    assert abs(arm.self_check_z) < 4
    assert arm.measures["surprisal_bits"].mean == pytest.approx(arm.measures["entropy_bits"].mean, abs=0.3)


def test_a_coin_is_known_to_the_last_digit() -> None:
    result = analyse({"base": drawn("coin", 5), "aligned": drawn("coin", 5, seed=1)})
    for arm in result.arms.values():
        for measure, value in {
            "top5_raw_bits": 1.0,
            "top5_raw_nats": math.log(2),
            "top5_renormalized_bits": 1.0,
            "top5_renormalized_nats": math.log(2),
            "entropy_bits": 1.0,
            "surprisal_bits": 1.0,
            "top5_mass": 1.0,
        }.items():
            assert arm.measures[measure].mean == pytest.approx(value, abs=1e-6)
        assert arm.self_check_z == 0
    assert result.differences["aligned"]["entropy_bits"] == pytest.approx((0, 0, 0, 0), abs=1e-6)


def test_means_are_over_tokens_then_over_completions() -> None:
    samples = drawn("base", 30)
    by_hand = [float(np.mean(sample.tokens["entropy_bits"].astype(float))) for sample in samples]
    summary = analyse({"base": samples, "aligned": samples}).arms["base"].measures["entropy_bits"]
    assert summary.mean == pytest.approx(np.mean(by_hand))
    assert summary.sd == pytest.approx(np.std(by_hand, ddof=1))
    assert summary.n == 30
    assert set(completion_means(samples[0].tokens)) == set(MEASURES)


def test_a_truncated_sampler_that_is_not_declared_is_caught() -> None:
    """Tokens drawn at T = 0.5 whose stored sampler numbers claim T = 1: surprisal falls below entropy."""
    samples = drawn("base", 100, sampler=Sampler(temperature=0.5))
    assert abs(analyse({"base": samples, "aligned": samples}).arms["base"].self_check_z) < 4  # declared: consistent
    for sample in samples:
        for name in ("surprisal_bits", "entropy_bits"):
            sample.tokens[f"sampler_{name}"] = sample.tokens[name]
    with pytest.raises(InconsistentStatistics, match=r"disagree by -0\.\d\d nats per token .*z = -\d+"):
        analyse({"base": samples, "aligned": samples})


def test_few_completions_on_one_path_are_no_alarm() -> None:
    """Of 300 fives of a peaked chain some agree so well that mean / se exceeds 4 by far: nothing is wrong with them."""
    samples = drawn("aligned", 1500)
    largest = 0.0
    for start in range(0, 1500, 5):
        five = samples[start : start + 5]
        assert abs(analyse({"base": five, "aligned": five}).arms["base"].self_check_z) < 4
        tokens = [one.tokens for one in five]
        excess = [float((some["surprisal_bits"] - some["entropy_bits"]).sum(dtype=float)) for some in tokens]
        largest = max(largest, abs(self_check_z(excess)))
    assert largest > 4


def at_a_temperature(p: np.ndarray, chosen: list[int], *, excess: float = 0.0) -> TokenStats:
    """Tokens drawn from `p` by a sampler that is not neutral, whose surprisals are said to be larger by `excess`."""
    tokens = np.zeros(len(chosen), TOKEN_DTYPE)
    tokens["sampler_surprisal_bits"] = np.maximum(0, excess - np.log2(p[chosen]))
    tokens["sampler_entropy_bits"] = -(p * np.log2(p)).sum()
    tokens["surprisal_bits"] = 1 + tokens["sampler_surprisal_bits"]
    return tokens


def least_z(completions: list[TokenStats]) -> float:
    """The z that accuses less, as `compare` takes it."""
    excess = [float((one["sampler_surprisal_bits"] - one["sampler_entropy_bits"]).sum()) for one in completions]
    variances = [excess_variance_bits2(one) for one in completions]
    return min(abs(self_check_z(excess)), abs(martingale_z(excess, variances)))


def test_the_known_variance_of_two_outcomes_is_theirs_whichever_was_drawn() -> None:
    """p (1 - p) log2(p / (1 - p))^2 of the likely one; of the other its square, which is larger."""
    p = np.array([0.9, 0.1])
    assert excess_variance_bits2(at_a_temperature(p, [0])) == pytest.approx(0.09 * math.log2(9) ** 2, rel=1e-5)
    assert excess_variance_bits2(at_a_temperature(p, [1])) == pytest.approx(0.81 * math.log2(9) ** 2, rel=1e-5)


@pytest.mark.parametrize("n", [20, 100])
@pytest.mark.parametrize("p", [[0.97, 0.03], [0.9999, 0.0001], [0.4996, 0.4996, 0.0008], [0.9, 0.09, 0.01]], ids=str)
def test_nearly_one_path_at_a_temperature_is_no_alarm(p: list[float], n: int) -> None:
    """One uncertain step, one completion at least: 300 arms, none beyond 4. With squares alone z would be -sqrt(n)."""
    rng, each = np.random.default_rng(0), np.array(p)
    arms = [rng.choice(len(p), n, p=each).tolist() for _ in range(300)]
    assert max(least_z([at_a_temperature(each, [one]) for one in arm]) for arm in arms) < 4


@pytest.mark.parametrize("excess", [0.3, -0.3])
def test_wrong_surprisals_at_a_temperature_are_caught_on_many_paths(excess: float) -> None:
    p = np.random.default_rng(1).dirichlet(np.full(200, 0.3)) + 1e-9
    p /= p.sum()
    drawn_from = [np.random.default_rng(seed).choice(200, 64, p=p).tolist() for seed in range(60)]
    assert least_z([at_a_temperature(p, one) for one in drawn_from]) < 4
    assert least_z([at_a_temperature(p, one, excess=excess) for one in drawn_from]) > 4


def test_surprisals_that_no_distribution_of_that_entropy_has_are_no_excuse() -> None:
    """Surprisal 0, so nothing else is possible, and an entropy of 1.5 bits; here completions differ a little."""
    p = np.array([0.5, 0.25, 0.25])
    completions = [at_a_temperature(p, [0] * (20 + at % 3), excess=-1) for at in range(20)]
    assert least_z(completions) > 4


def test_a_shift_by_one_token_is_caught() -> None:
    samples = drawn("base", 100)
    for sample in samples:
        for name in ("surprisal_bits", "sampler_surprisal_bits"):
            sample.tokens[name] = np.log2(len(transition("base")))  # as good as unrelated numbers
    with pytest.raises(InconsistentStatistics, match=r"\+\d"):
        analyse({"base": samples, "aligned": samples})


# ---- the command


def test_json_has_every_measure_of_both_arms(run: Callable) -> None:
    code, out, error = run("syntactic", "--pair", "scripted", "-n", 40, "--max-tokens", 16, "--json", "-q")
    assert (code, error) == (0, "")
    report = json.loads(out)
    for arm in ("base", "aligned"):
        for measure in MEASURES:
            assert set(report["arms"][arm][measure]) == {"mean", "sd", "se", "n"}
            assert report["arms"][arm][measure]["n"] == 40
        assert abs(report["arms"][arm]["self_check_z"]) < 4
    for measure in MEASURES:
        difference, arms = report["differences"]["aligned"][measure], report["arms"]
        assert difference["mean"] == pytest.approx(arms["aligned"][measure]["mean"] - arms["base"][measure]["mean"])
        assert difference["low"] <= difference["mean"] <= difference["high"]
    assert report["differences"]["aligned"]["entropy_bits"]["high"] < 0
    assert report["prompt"] == "Steve is the CEO of a startup company"


def test_the_same_command_again_draws_nothing(run: Callable) -> None:
    arguments = ("syntactic", "--pair", "scripted", "-n", 10, "--max-tokens", 8)
    first, second = (json.loads(run(*arguments, "--json")[1]) for _ in range(2))
    runs = json.loads(run("runs", "ls", "--json")[1])
    assert [cell["n_stored"] for cell in runs[1]["cells"]] == [10, 10]
    assert {**first, "run": None} == {**second, "run": None}


def test_one_sample_has_no_spread(run: Callable) -> None:
    report = json.loads(run("syntactic", "--pair", "scripted", "-n", 1, "--json")[1])
    assert report["arms"]["base"]["entropy_bits"]["sd"] is None
    assert report["arms"]["base"]["self_check_z"] is None
    assert report["differences"]["aligned"]["entropy_bits"]["low"] is None
    code, out, _ = run("syntactic", "--pair", "scripted", "-n", 1)
    assert code == 0
    assert "–" in out


def test_the_terminal_shows_boxes_entropies_probabilities_and_intervals(run: Callable) -> None:
    code, out, _ = run("syntactic", "--pair", "scripted", "-n", 20, "--max-tokens", 20)
    assert code == 0
    for words in ("base (n=20)", "95 % interval", "Token entropies", "Probabilities of the likeliest", "self-check z"):
        assert words in out
    assert "minus base" in " ".join(out.split())
    assert max(map(len, out.splitlines())) <= 80


def test_figures_are_written(run: Callable, tmp_path: Path) -> None:
    code, _, error = run("syntactic", "--pair", "scripted", "-n", 5, "--max-tokens", 16, "--out", tmp_path / "figures")
    assert (code, "Figures and numbers are in" in error) == (0, True)
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    figures = (
        "figure-11-mean-entropies",
        "figure-11-mean-top5-entropies",
        "figure-12-token-entropies",
        "figure-13-token-probabilities",
        "syntactic-choices",
    )
    assert names == {f"{figure}.{kind}" for figure in figures for kind in ("png", "svg", "pdf", "vl.json")} | {
        "syntactic.json",
        "index.html",
        "syntactic-entropies.csv",
        "syntactic-checks.csv",
    }
    assert (tmp_path / "figures/figure-12-token-entropies.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.model
def test_a_ladder_compares_every_stage_with_the_first(run: Callable) -> None:
    code, out, _ = run("syntactic", "--ladder", "tiny", "-n", 3, "--max-tokens", 6, "--json")
    report = json.loads(out)
    assert code == 0
    assert list(report["arms"]) == ["base", "sft", "aligned"]
    assert set(report["differences"]) == {"definition", "sft", "aligned"}
    assert report["differences"]["definition"].startswith("arm - base, 95 %")


def test_different_vocabularies_are_refused_before_any_work(run: Callable) -> None:
    code, _, err = run("syntactic", "--base", "scripted:base", "--aligned", "scripted:coin", "-n", 2)
    assert code == 1
    assert "different vocabularies" in err
    assert json.loads(run("runs", "ls", "--json")[1]) == []


def test_completions_that_are_all_alike_are_said(run: Callable) -> None:
    models = ("--base", "scripted:base", "--aligned", "scripted:aligned", "-p", "She", "--temperature", 0)
    said = " ".join(run("syntactic", *models, "-n", 20, "--max-tokens", 4)[1].split())
    assert "aligned: all 20 completions are alike" in said
    assert "share below 13.9 % (95 %)" in said  # 1 - 0.05^(1/20)
    assert "Between base and aligned there is no interval: nothing varies." in said


def alike(bits: float, n: int) -> list[Sample]:
    """n completions of one token, and of `bits` each."""
    tokens = np.zeros(1, TOKEN_DTYPE)
    for name in ("surprisal_bits", "entropy_bits", "sampler_surprisal_bits", "sampler_entropy_bits"):
        tokens[name] = bits
    tokens["top_surprisals_bits"] = 3.0
    return [Sample("r1", index, "length", b"a", tokens) for index in range(n)]


def test_completions_that_are_all_alike_are_not_certain() -> None:
    """Of 20 alike with 1 bit and 0.5 and 4.5 bits beside: 3.689/20 of -0.5 and of 3.5 may be missing in its mean."""
    first, others = alike(1.0, 20), [*alike(0.5, 10), *alike(4.5, 10)]
    for at, sample in enumerate(others):
        sample.tokens["id"] = at // 10
    found = analyse({"base": first, "aligned": others})
    assert (found.arms["base"].is_all_alike, found.arms["aligned"].is_all_alike) == (True, False)
    plain = welch_difference(
        found.arms["base"].measures["entropy_bits"], found.arms["aligned"].measures["entropy_bits"]
    )
    missed = 3.688879 / 20
    changed = found.differences["aligned"]["entropy_bits"]
    assert changed.mean == plain.mean == pytest.approx(1.5)
    assert changed.mean - changed.low == pytest.approx(math.hypot(plain.mean - plain.low, 3.5 * missed), abs=1e-6)
    assert changed.high - changed.mean == pytest.approx(math.hypot(plain.high - plain.mean, 0.5 * missed), abs=1e-6)
    back = analyse({"aligned": others, "base": first}).differences["base"]["entropy_bits"]
    assert (back.low, back.high) == pytest.approx((-changed.high, -changed.low))
    assert math.isnan(found.arms["base"].entropy_rate.se_bits)


def test_between_two_arms_that_are_all_alike_there_is_no_interval() -> None:
    found = analyse({"base": alike(1.0, 20), "aligned": alike(3.0, 20)}).differences["aligned"]["entropy_bits"]
    assert found.mean == pytest.approx(2)
    assert all(map(math.isnan, found[1:]))


def test_equal_numbers_of_different_completions_are_a_result() -> None:
    found = analyse({"base": drawn("coin", 9), "aligned": drawn("coin", 9, seed=1)})
    assert not found.arms["base"].is_all_alike  # every token has one bit, and completions differ
    assert found.differences["aligned"]["entropy_bits"].low == pytest.approx(0, abs=1e-6)
