"""Top-n-sigma, XTC, dynamic and first-token temperature: by hand, against a slow reference, and as chance."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scripted_work import cell_of, draw, open_scripted
from test_grammar import TINY_BASE, drawn, opened, recipe
from test_scripted import N_VOCAB
from test_scripted import chi_square_z as chi_square_with_rare_z

from llama_diversity.engines.draws import Reducer, sampled
from llama_diversity.engines.scripted import EOS, transition
from llama_diversity.errors import BadValue
from llama_diversity.records import Prompt, Recipe, Sampler
from llama_diversity.render.samplers import sampler_words
from llama_diversity.studies.drawing import own_seed, refuse_idle
from llama_diversity.studies.samplers import check_cuts, parse_sampler, sampler_parts

SIGMA = Sampler(top_n_sigma=1.0)
HOT_SIGMA = Sampler(temperature=2.0, top_n_sigma=1.5)
XTC = Sampler(xtc_probability=0.5)
CERTAIN_XTC = Sampler(temperature=1.5, xtc_probability=1.0, xtc_threshold=0.05)
RARE_XTC = Sampler(xtc_probability=0.9, xtc_threshold=0.0005)
DYNAMIC = Sampler(dynatemp_range=0.5)
BENT = Sampler(temperature=1.2, dynatemp_range=2.0, dynatemp_exponent=2.0)
ALL = Sampler(1.5, 40, 0.95, 0.01, None, 0.4, 0.7, 2.5, 0.6, 0.08)
SAMPLERS = [SIGMA, HOT_SIGMA, XTC, CERTAIN_XTC, RARE_XTC, DYNAMIC, BENT, ALL]


# ---- a reference that shares no code with the package


def softmax(z: Sequence[float], ids: Sequence[int], heat: float) -> dict[int, float]:
    highest = max(z[one] for one in ids)
    masses = {one: math.exp((z[one] - highest) / heat) for one in ids}
    total = math.fsum(masses.values())
    return {one: mass / total for one, mass in masses.items()}


def heat_of(z: Sequence[float], ids: Sequence[int], sampler: Sampler) -> float:
    spread = sampler.dynatemp_range
    if not spread:
        return sampler.temperature
    entropy = -math.fsum(p * math.log(p) for p in softmax(z, ids, 1.0).values() if p > 0)
    low, high = max(0.0, sampler.temperature - spread), sampler.temperature + spread
    return max(1e-4, low + (high - low) * (entropy / math.log(len(ids))) ** sampler.dynatemp_exponent)


def slow(z: Sequence[float], sampler: Sampler) -> list[float]:
    """What `sampler` draws from after logits `z`, step by step as its docstring says."""
    ids = [one for one, value in enumerate(z) if value > -math.inf]
    heat = heat_of(z, ids, sampler)
    order = sorted(ids, key=lambda one: (-z[one], one))
    if sampler.top_n_sigma:
        mean = math.fsum(z[one] for one in ids) / len(ids)
        deviation = math.sqrt(math.fsum((z[one] - mean) ** 2 for one in ids) / len(ids))
        order = [one for one in order if z[one] >= z[order[0]] - sampler.top_n_sigma * deviation]
    if sampler.top_k:
        order = order[: sampler.top_k]
    q = softmax(z, order, heat)
    if sampler.top_p < 1:
        reached, n = 0.0, 0
        while reached < sampler.top_p and n < len(order):
            reached, n = reached + q[order[n]], n + 1
        order = order[:n]
    order = [one for one in order if q[one] >= sampler.min_p * q[order[0]]]
    q = softmax(z, order, heat)
    above = [one for one in order if q[one] > sampler.xtc_threshold]
    if sampler.xtc_probability and len(above) > 1:
        cut = softmax(z, [one for one in order if one not in above[:-1]], heat)
        c = sampler.xtc_probability
        q = {one: (1 - c) * q[one] + c * cut.get(one, 0.0) for one in order}
    return [q.get(one, 0.0) for one in range(len(z))]


def entropy_bits(q: Sequence[float]) -> float:
    return -math.fsum(one * math.log2(one) for one in q if one > 0)


def rows_of(n_rows: int, n_vocab: int, *, seed: int = 0) -> np.ndarray:
    """Logits of many kinds: flat, peaked, with ties, with forbidden tokens."""
    generator = np.random.default_rng(seed)
    rows = generator.standard_normal((n_rows, n_vocab)) * generator.uniform(0.1, 6, (n_rows, 1))
    rows[1::4] = np.round(rows[1::4])
    rows[2::4, ::3] = -np.inf
    return rows.astype(np.float32)


def log_p_of(logits: np.ndarray) -> np.ndarray:
    x = logits.astype(np.float64)
    x -= x.max(axis=1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


@pytest.mark.parametrize("n_vocab", [5, 128, 700])
@pytest.mark.parametrize("sampler", SAMPLERS, ids=sampler_words)
def test_what_is_drawn_equals_the_slow_reference(sampler: Sampler, n_vocab: int) -> None:
    """Tokens, stored surprisal and entropy, and `sampled`, row by row; the raw statistics stay the model's."""
    logits, numbers = rows_of(24, n_vocab), np.random.default_rng(3).random(24)
    stats = Reducer(n_vocab).draw(logits, numbers, sampler)
    exact = np.exp(sampled(log_p_of(logits), sampler, is_first=False))
    raw_bits = -log_p_of(logits) / np.log(2)
    for at, (row, number) in enumerate(zip(stats, numbers, strict=True)):
        q = slow(logits[at].astype(float).tolist(), sampler)
        assert exact[at] == pytest.approx(q, abs=1e-11)
        assert row["id"] == (np.cumsum(q) <= number).sum()
        assert row["sampler_surprisal_bits"] == pytest.approx(-math.log2(q[row["id"]]), abs=4e-6)
        assert row["sampler_entropy_bits"] == pytest.approx(entropy_bits(q), abs=4e-6)
        assert row["surprisal_bits"] == pytest.approx(raw_bits[at, row["id"]], abs=4e-6)


@pytest.mark.parametrize(
    "sampler", [Sampler(), Sampler(0.6), Sampler(0), Sampler(0.8, 9, 0.9, 0.02), *SAMPLERS], ids=sampler_words
)
def test_sampled_is_what_the_stored_statistics_describe(sampler: Sampler) -> None:
    """Of every sampler: normalised, and surprisal and entropy of the drawn tokens are those that are stored."""
    logits, numbers = rows_of(40, 290, seed=1), np.random.default_rng(4).random(40)
    stats = Reducer(290).draw(logits, numbers, sampler)
    log_q = sampled(log_p_of(logits), sampler, is_first=False)
    q = np.exp(log_q)
    assert q.sum(axis=1) == pytest.approx(np.ones(40), abs=1e-12)
    assert stats["sampler_surprisal_bits"] == pytest.approx(-log_q[np.arange(40), stats["id"]] / np.log(2), abs=4e-6)
    bits = -np.multiply(q, log_q, where=q > 0, out=np.zeros_like(q)).sum(axis=1) / np.log(2)
    assert stats["sampler_entropy_bits"] == pytest.approx(bits, abs=4e-6)


@pytest.mark.parametrize("sampler", [HOT_SIGMA, XTC, RARE_XTC, BENT, ALL], ids=sampler_words)
def test_a_row_gives_the_same_bits_alone_and_in_company(sampler: Sampler) -> None:
    logits, numbers = rows_of(60, 4000, seed=2), np.random.default_rng(5).random(60)
    reducer, threaded = Reducer(4000), Reducer(4000, n_threads=3)
    together = reducer.draw(logits, numbers, sampler).tobytes()
    alone = [reducer.draw(logits[at : at + 1], numbers[at : at + 1], sampler) for at in range(60)]
    assert b"".join(row.tobytes() for row in alone) == together == threaded.draw(logits, numbers, sampler).tobytes()
    threaded.close()


# ---- by hand


def law_of(p: Sequence[float], sampler: Sampler, *, is_first: bool = False) -> list[float]:
    with np.errstate(divide="ignore"):
        return np.exp(sampled(np.log(np.array([p])), sampler, is_first=is_first))[0].tolist()


def test_xtc_by_hand() -> None:
    # Above .1 are .5, .3 and .15; the cut leaves .15 and .05, renormalised 3/4 and 1/4. Half of each law:
    assert law_of([0.5, 0.3, 0.15, 0.05], XTC) == pytest.approx([0.25, 0.15, 0.45, 0.15])
    # with c = 1 the cut itself
    assert law_of([0.5, 0.3, 0.15, 0.05], dataclasses.replace(XTC, xtc_probability=1)) == pytest.approx(
        [0, 0, 0.75, 0.25]
    )
    # one token alone is above .1: nothing is cut
    assert law_of([0.85, 0.08, 0.07], XTC) == pytest.approx([0.85, 0.08, 0.07])
    # p above the threshold counts, p at it does not: only 1/2 is above 1/4
    quarter = dataclasses.replace(XTC, xtc_threshold=0.25)
    assert law_of([0.5, 0.25, 0.25], quarter) == pytest.approx([0.5, 0.25, 0.25])
    # of equals the one of the highest id stays: .4, .3, .3 gives a cut of (0, 0, 1)
    assert law_of([0.4, 0.3, 0.3], XTC) == pytest.approx([0.2, 0.15, 0.65])


def test_xtc_is_one_draw_of_a_coin_and_a_token() -> None:
    """The mixture is what a coin in front of every token gives, drawn with two uniforms as the others do it."""
    p, generator = np.array([0.5, 0.3, 0.15, 0.05]), np.random.default_rng(8)
    is_cut = generator.random(100_000) < 0.5
    drawn = np.where(is_cut, generator.choice([2, 3], 100_000, p=[0.75, 0.25]), generator.choice(4, 100_000, p=p))
    shares = np.bincount(drawn, minlength=4) / 100_000
    assert shares == pytest.approx(law_of(p.tolist(), XTC), abs=4 * 0.5 / math.sqrt(100_000))


def test_top_n_sigma_by_hand_and_whatever_the_temperature() -> None:
    # z = 0, -1, -2, -3 has sd sqrt(5)/2 = 1.118: one of them leaves 0 and -1, two (2.236) leave -2 too
    z = np.array([[0.0, -1.0, -2.0, -3.0]])
    for heat in (0.1, 1.0, 10.0):
        one, two = (sampled(z, Sampler(heat, top_n_sigma=n), is_first=False)[0] for n in (1.0, 2.0))
        assert (one > -np.inf).tolist() == [True, True, False, False]
        assert (two > -np.inf).tolist() == [True, True, True, False]
        assert one[0] - one[1] == pytest.approx(1 / heat)
    # what is forbidden is no part of the deviation: of 0, -1 alone it is 1/2
    z = np.array([[0.0, -1.0, -np.inf, -np.inf]])
    assert (sampled(z, Sampler(top_n_sigma=1.5), is_first=False) > -np.inf).tolist() == [[True, False, False, False]]


def test_dynamic_temperature_by_hand() -> None:
    # p = 1/2, 1/4, 1/4 has 1.5 of log2 3 bits, a share of .946395. T = 1 give or take 1/2: .5 + .946395 = 1.446395.
    p, share = np.array([0.5, 0.25, 0.25]), 1.5 / math.log2(3)
    q = p ** (1 / (0.5 + share))
    assert law_of(p.tolist(), DYNAMIC) == pytest.approx((q / q.sum()).tolist())
    # T = 1.2 give or take 2, squared: 0 + 3.2 * share^2
    q = p ** (1 / (3.2 * share**2))
    assert law_of(p.tolist(), BENT) == pytest.approx((q / q.sum()).tolist())
    # equal tokens have the whole entropy, and a certain one has none: at T = 0.0001 it stays certain
    assert law_of([0.25] * 4, DYNAMIC) == pytest.approx([0.25] * 4)
    assert law_of([1.0, 0.0], BENT) == [1.0, 0.0]


def test_the_first_token_has_its_own_temperature() -> None:
    first = Sampler(temperature=0.5, first_temperature=2.0, dynatemp_range=0.25)
    root = np.sqrt([0.64, 0.36])
    assert law_of([0.64, 0.36], first, is_first=True) == pytest.approx((root / root.sum()).tolist())
    later = dataclasses.replace(first, first_temperature=None)
    assert law_of([0.64, 0.36], first) == law_of([0.64, 0.36], later) != law_of([0.64, 0.36], first, is_first=True)
    then_greedy = Sampler(temperature=0.0, first_temperature=1.0)
    assert law_of([0.64, 0.36], then_greedy) == [1.0, 0.0]
    assert law_of([0.64, 0.36], then_greedy, is_first=True) == pytest.approx([0.64, 0.36])


@pytest.mark.parametrize("sampler", [SIGMA, XTC, DYNAMIC, ALL], ids=sampler_words)
def test_a_grammar_leaves_tokens_out_before_the_sampler(sampler: Sampler) -> None:
    logits, numbers = rows_of(30, 290, seed=6), np.random.default_rng(7).random(30)
    allowed = np.random.default_rng(8).random((30, 290)) < 0.2
    allowed[:, 4] = True
    logits[:, 4] = 0
    stats = Reducer(290).draw(logits, numbers, sampler, allowed)
    for row, z, mask, number in zip(stats, logits, allowed, numbers, strict=True):
        q = slow(np.where(mask, z, -np.inf).astype(float).tolist(), sampler)
        assert row["id"] == (np.cumsum(q) <= number).sum()
        assert row["sampler_entropy_bits"] == pytest.approx(entropy_bits(q), abs=4e-6)


# ---- as chance, through an engine


def chi_square_z(counts: np.ndarray, expected: np.ndarray) -> float:
    """As in test_scripted, where what is never drawn is no cell."""
    assert counts[expected == 0].sum() == 0
    counts, expected = counts[expected > 0], expected[expected > 0]
    if (expected < 5).any():
        return chi_square_with_rare_z(counts, expected)
    return chi_square_with_rare_z(np.append(counts, 0), np.append(expected, 1e-9))  # a cell to pool, of one no more


@pytest.mark.parametrize(
    "sampler",
    [SIGMA, XTC, BENT, Sampler(temperature=0.7, first_temperature=1.6), Sampler(1.5, 6, 1.0, 0.0, 1.0, 0.4, 1, 3, 0.6)],
    ids=sampler_words,
)
def test_first_tokens_and_two_token_paths_follow_the_law(sampler: Sampler) -> None:
    """Chi-square of 20,000 draws, one-sided at z = 4: false alarms 3e-5 a test. The seed is fixed."""
    engine, n = open_scripted("base", parallel=4000), 20_000 if sampler.top_k == 0 else 5_000  # sorting takes longer
    cell = cell_of(engine, n, max_tokens=2, seed=11, sampler=sampler)
    log_rows = np.log(transition("base")).astype(np.float32).astype(np.float64)
    first_p = np.array(slow(log_rows[cell.recipe.prompt.ids[-1]].tolist(), sampler.at(is_first=True)))
    later_p = [slow(row.tolist(), sampler.at(is_first=False)) for row in log_rows]
    path_p = first_p[:, None] * np.array(later_p)
    path_p[EOS] = 0  # the end has no successor; its share is counted below

    samples = draw(engine, cell)
    firsts = np.bincount([sample.tokens["id"][0] for sample in samples], minlength=N_VOCAB)
    assert chi_square_z(firsts, n * first_p) < 4
    goes_on = np.array([sample.tokens["id"] for sample in samples if len(sample.tokens) == 2])
    paths = np.zeros((N_VOCAB, N_VOCAB))
    np.add.at(paths, tuple(goes_on.T), 1)
    assert chi_square_z(np.append(paths.ravel(), n - len(goes_on)), n * np.append(path_p.ravel(), first_p[EOS])) < 4


def test_each_later_token_has_the_statistics_of_its_sampler() -> None:
    engine, sampler = open_scripted("base"), Sampler(0.8, first_temperature=1.7, xtc_probability=0.4)
    cell = cell_of(engine, 40, max_tokens=9, seed=2, sampler=sampler)
    log_rows = np.log(transition("base")).astype(np.float32).astype(np.float64)
    for sample in draw(engine, cell):
        contexts = [cell.recipe.prompt.ids[-1], *sample.tokens["id"][:-1].tolist()]
        for at, (row, context) in enumerate(zip(sample.tokens, contexts, strict=True)):
            q = slow(log_rows[context].tolist(), sampler.at(is_first=at == 0))
            assert row["sampler_surprisal_bits"] == pytest.approx(-math.log2(q[row["id"]]), abs=1e-5)
            assert row["sampler_entropy_bits"] == pytest.approx(entropy_bits(q), abs=1e-5)


# ---- recipes


def recipe_of(sampler: Sampler, seed: int = 3) -> Recipe:
    return Recipe("scripted", "build", "model", "vocabulary", Prompt("a", "a", (1,)), sampler, seed, 1000)


def test_older_recipes_keep_keys_seeds_and_can_be_read() -> None:
    """Written down before there were these fields."""
    neutral, cut = recipe_of(Sampler(), 0), recipe_of(Sampler(0.7, 40, 0.9, 0.05))
    assert (neutral.key, own_seed(neutral, 1)) == ("r1-55f2a796699a0b5649c20e21bd0f9bb3", 13666009820516473099)
    assert (cut.key, own_seed(cut, 0)) == ("r1-d1be7f36439afeb6b3190858f0e350ab", 3364362003081650949)
    stored = json.loads(cut.to_json())
    assert stored["sampler"] == {"min_p": 0.05, "temperature": 0.7, "top_k": 40, "top_p": 0.9}
    assert Recipe.from_json(json.dumps(stored)) == cut


@pytest.mark.parametrize("sampler", [*SAMPLERS, Sampler(first_temperature=0.0)], ids=sampler_words)
def test_a_recipe_with_new_fields_comes_back_and_has_a_key_of_its_own(sampler: Sampler) -> None:
    one = recipe_of(sampler)
    assert Recipe.from_json(one.to_json()) == one
    assert one.key not in {recipe_of(other).key for other in (Sampler(), *SAMPLERS) if other != sampler}


# ---- what cannot be meant


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"xtc_threshold": 0.5}, "--xtc-threshold is 0.5; it must lie above 0 and below 0.5"),
        ({"xtc_threshold": 0.0}, "--xtc-threshold is 0.0"),
        ({"xtc_probability": 1.1}, "--xtc-probability is 1.1; it must lie between 0 (off) and 1"),
        ({"top_n_sigma": -1.0}, "--top-n-sigma is -1.0; it must lie between 0 (off) and 100"),
        ({"top_n_sigma": math.nan}, "--top-n-sigma is nan"),
        ({"dynatemp_range": -0.1}, "--dynatemp-range is -0.1"),
        ({"dynatemp_exponent": 0.0}, "--dynatemp-exponent is 0.0; it must lie above 0"),
        ({"first_temperature": -1.0}, "--first-temperature is -1.0; it must be 0 (greedy) or"),
        ({"temperature": math.nan}, "--temperature is nan"),
    ],
    ids=str,
)
def test_values_out_of_range_are_refused(fields: Mapping[str, Any], said: str) -> None:
    with pytest.raises(BadValue) as refused:
        Sampler(**fields)
    assert str(refused.value).startswith(said)


@pytest.mark.parametrize(
    ("sampler", "said"),
    [
        (Sampler(0.0, top_n_sigma=1.0), "--top-n-sigma is 1.0; at temperature 0 the likeliest token is taken anyway"),
        (Sampler(0.0, xtc_probability=0.5), "--xtc-probability is 0.5; at temperature 0"),
        (Sampler(0.0, dynatemp_range=0.5), "--dynatemp-range is 0.5; at temperature 0"),
        (Sampler(0.0, first_temperature=0.0), "--first-temperature is 0.0; at temperature 0"),
        (Sampler(0.0, first_temperature=1.0, dynatemp_range=0.5), "--dynatemp-range is 0.5; at temperature 0"),
        (Sampler(0.7, first_temperature=0.7), "--first-temperature is 0.7; it is the temperature of every token"),
        (Sampler(dynatemp_exponent=2.0), "--dynatemp-exponent is 2.0; it bends the dynatemp range, which is 0 (off)"),
        (Sampler(xtc_threshold=0.2), "--xtc-threshold is 0.2; it is of XTC, whose probability is 0 (off)"),
    ],
    ids=str,
)
def test_what_changes_nothing_is_refused(sampler: Sampler, said: str) -> None:
    with pytest.raises(BadValue) as refused:
        refuse_idle(sampler)
    assert str(refused.value).startswith(said)


@pytest.mark.parametrize(
    "sampler", [*SAMPLERS, Sampler(0.0, top_n_sigma=1.0, first_temperature=1.0), Sampler(0.0)], ids=sampler_words
)
def test_what_changes_something_is_not(sampler: Sampler) -> None:
    refuse_idle(sampler)


# ---- words


def test_an_arm_spells_what_the_options_say() -> None:
    typed = (
        "T=0.7,first_T=1.5,dynatemp_range=0.3,dynatemp_exponent=2,top_n_sigma=1,xtc_probability=0.5,xtc_threshold=0.2"
    )
    fields = parse_sampler(typed)
    assert Sampler(**fields) == Sampler(0.7, 0, 1.0, 0.0, 1.5, 0.3, 2.0, 1.0, 0.5, 0.2)  # type: ignore[arg-type]
    assert ",".join(sampler_parts(fields)) == typed
    words = "T 0.7, first token at T 1.5, give or take 0.3 by entropy (exponent 2), top-n-sigma 1, XTC 0.5 above p 0.2"
    assert sampler_words(Sampler(**fields)) == words  # type: ignore[arg-type]


def test_an_arm_is_judged_beside_what_was_typed_for_all() -> None:
    threshold = {"xtc_threshold": 0.2}
    check_cuts("--arm a", threshold, XTC)
    with pytest.raises(BadValue, match=r"--arm a is 'xtc_threshold=0\.2'; it is of XTC, whose probability is 0"):
        check_cuts("--arm a", threshold, Sampler())
    with pytest.raises(BadValue, match=r"--arm a is 'top_n_sigma=1'; at temperature 0"):
        check_cuts("--arm a", {"temperature": 0.0, "top_n_sigma": 1.0}, XTC)
    check_cuts("--arm a", {"temperature": 0.0}, XTC)  # what was typed for all is left out of its recipe


@pytest.mark.model
def test_a_real_model_draws_from_what_sampled_makes_of_its_distribution() -> None:
    """Token by token, of the tiny pair with --exact; in a process of its own, since kernels are chosen once."""
    code = "import test_samplers; test_samplers.draw_exactly_and_compare()"
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def draw_exactly_and_compare() -> None:
    """Stored bits against the whole distribution behind each prefix."""
    with opened(TINY_BASE, exact=True) as engine:
        for sampler in (HOT_SIGMA, XTC, BENT, Sampler(0.7, first_temperature=1.6), ALL):
            samples = drawn(engine, recipe(engine, None, sampler=sampler, exact=True, max_tokens=8), 4)
            prefixes = [tuple(one.tokens["id"][:at].tolist()) for one in samples for at in range(len(one.tokens))]
            with engine.after(engine.prompt("She was"), longest=8) as after:
                log_p = np.asarray(after(prefixes))
            tokens = np.concatenate([one.tokens for one in samples])
            is_first = np.array([prefix == () for prefix in prefixes])
            log_q = np.empty_like(log_p)
            for first in (True, False):
                log_q[is_first == first] = sampled(log_p[is_first == first], sampler, is_first=first)
            bits = -log_q[np.arange(len(tokens)), tokens["id"]] / np.log(2)
            entropies = [entropy_bits(q) for q in np.exp(log_q).tolist()]
            np.testing.assert_allclose(tokens["sampler_surprisal_bits"], bits, atol=1e-4, err_msg=str(sampler))
            np.testing.assert_allclose(tokens["sampler_entropy_bits"], entropies, atol=1e-4, err_msg=str(sampler))
