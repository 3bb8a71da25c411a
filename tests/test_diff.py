"""Two models on the same texts: by hand, against slow forms and closed forms, on the tiny pair, as a command."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from scripted_work import cell_of, draw, open_scripted
from test_llamacpp import library_probabilities

from llama_diversity import registry
from llama_diversity.engines import Engine, EngineOptions, open_engine
from llama_diversity.engines.scripted import EOS, transition
from llama_diversity.errors import EngineError, PromptTooLong
from llama_diversity.lab.random_gguf import SHAPES, write_model
from llama_diversity.metrics.entropy import blocked_mass, step_divergence
from llama_diversity.records import ModelRef
from llama_diversity.studies.diff import study
from llama_diversity.studies.diff.analysis import analyse, per_token
from llama_diversity.studies.diff.study import check_able
from llama_diversity.studies.measuring.divergence import THRESHOLDS, Comparer, Steps, joined
from llama_diversity.studies.measuring.noise import Apart, Noise

P, Q = (0.5, 0.3, 0.2), (0.9, 0.09999, 0.00001)
DATA = Path(registry.__file__).parent / "data"
TEXT = "She was a tired nurse. She met a thief!"


def logits(*rows: tuple[float, ...]) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log(np.array(rows)).astype(np.float32)


def log_softmax(rows: np.ndarray) -> np.ndarray:
    rows = rows.astype(np.float64)
    return rows - np.logaddexp.reduce(rows, axis=1, keepdims=True)


def random_rows(n: int, n_vocab: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    base = rng.normal(0, 4, (n, n_vocab))
    return base.astype(np.float32), (base + rng.normal(0, 2, (n, n_vocab)) + 7).astype(np.float32)


# ---- one step by hand


def test_the_hand_values() -> None:
    # KL(p, q) = .5 log2(.5/.9) + .3 log2(.3/.09999) + .2 log2(.2/.00001)
    #          = -0.423998 + 0.475532 + 2.857542; the reverse and JS likewise.
    steps = Comparer(3, thresholds=[1e-4, 0.1]).compare(logits(P), logits(Q), [2])
    assert steps.kl_bits == pytest.approx([2.909076], abs=5e-6)
    assert steps.reverse_kl_bits == pytest.approx([0.604560], abs=5e-6)
    assert steps.js_bits == pytest.approx([0.179476], abs=5e-6)
    # H(p) = .5 + .3 log2(1/.3) + .2 log2 5 = 0.5 + 0.521090 + 0.464386; the token's own: log2 5 and log2 100000.
    assert steps.base_entropy_bits == pytest.approx([1.485475], abs=5e-6)
    assert steps.base_surprisal_bits == pytest.approx([2.321928], abs=5e-6)
    assert steps.surprisal_change_bits == pytest.approx([16.609640 - 2.321928], abs=5e-6)
    # Below 1e-4 is the last token only, below 0.1 the last two; swapped, no token of q is below in p.
    assert steps.blocked_mass == pytest.approx(np.array([[0.2], [0.5]]), abs=1e-6)
    assert steps.reverse_blocked_mass.tolist() == [[0.0], [0.0]]
    assert steps.is_blocked.tolist() == [[True], [True]]


def test_the_models_swapped() -> None:
    there = Comparer(3, thresholds=[0.25]).compare(logits(P), logits(Q), [0])
    back = Comparer(3, thresholds=[0.25]).compare(logits(Q), logits(P), [0])
    assert (back.kl_bits, back.reverse_kl_bits) == (pytest.approx(there.reverse_kl_bits), pytest.approx(there.kl_bits))
    assert back.js_bits == pytest.approx(there.js_bits, abs=1e-6)
    assert back.entropy_change_bits == pytest.approx(-there.entropy_change_bits)
    # Below .25 in q: the last two, with .3 + .2 in p. Below .25 in p: the last, whose .00001 in q is not above .01.
    assert there.blocked_mass == pytest.approx(np.array([[0.5]]), abs=1e-6)
    assert there.reverse_blocked_mass.tolist() == back.blocked_mass.tolist() == [[0.0]]


def test_rarer_tokens_than_the_bound_are_not_counted() -> None:
    compared = Comparer(3, above=0.25, thresholds=[1e-4]).compare(logits(P), logits(Q), [2])
    assert compared.blocked_mass.tolist() == [[0.0]]  # .2 is not above .25
    assert compared.is_blocked.tolist() == [[False]]


def test_equal_models_differ_by_exactly_nothing() -> None:
    rows, _ = random_rows(40, 900, seed=1)
    steps = Comparer(900).compare(rows, rows.copy(), np.zeros(40))
    for values in (steps.kl_bits, steps.reverse_kl_bits, steps.js_bits, steps.entropy_change_bits):
        assert (values == 0).all()
    assert (steps.surprisal_change_bits == 0).all()
    assert not steps.blocked_mass.any()  # nothing is above 0.01 and below 0.01
    assert not steps.is_blocked.any()


# ---- many steps against the slow forms


@pytest.mark.parametrize(("n", "n_vocab"), [(1, 2), (7, 3), (300, 700), (3, 70_000)])
def test_the_fast_form_is_the_slow_one(n: int, n_vocab: int) -> None:
    base, aligned = random_rows(n, n_vocab, seed=n_vocab)
    ids = np.random.default_rng(0).integers(0, n_vocab, n)
    with contextlib.closing(Comparer(n_vocab, above=0.0)) as comparer:
        steps = comparer.compare(base, aligned, ids)
    p, q = log_softmax(base), log_softmax(aligned)
    slow = step_divergence(p, q)
    np.testing.assert_allclose(steps.kl_bits, slow.kl_bits, atol=3e-5)
    np.testing.assert_allclose(steps.reverse_kl_bits, slow.reverse_kl_bits, atol=3e-5)
    np.testing.assert_allclose(steps.js_bits, slow.js_bits, atol=3e-5)
    np.testing.assert_allclose(steps.base_entropy_bits, -(np.exp(p) * p).sum(axis=1) / np.log(2), atol=3e-5)
    np.testing.assert_allclose(steps.aligned_entropy_bits, -(np.exp(q) * q).sum(axis=1) / np.log(2), atol=3e-5)
    np.testing.assert_allclose(steps.base_surprisal_bits, -p[np.arange(n), ids] / np.log(2), atol=1e-5)
    np.testing.assert_allclose(steps.aligned_surprisal_bits, -q[np.arange(n), ids] / np.log(2), atol=1e-5)
    np.testing.assert_allclose(steps.blocked_mass, blocked_mass(p, q, THRESHOLDS), atol=1e-5)
    np.testing.assert_allclose(steps.reverse_blocked_mass, blocked_mass(q, p, THRESHOLDS), atol=1e-5)


def test_only_likely_tokens_count_among_many() -> None:
    base, aligned = random_rows(200, 500, seed=5)
    ids = log_softmax(base).argmax(axis=1)
    steps = Comparer(500, above=0.05, thresholds=[0.02, 1e-3]).compare(base, aligned, ids)
    p, q = np.exp(log_softmax(base)), np.exp(log_softmax(aligned))
    for at, below in enumerate((0.02, 1e-3)):
        counted = (p > 0.05) & (q < below)
        np.testing.assert_allclose(steps.blocked_mass[at], (p * counted).sum(axis=1), atol=1e-6)
        assert steps.is_blocked[at].tolist() == counted[np.arange(200), ids].tolist()
        assert 0 < steps.is_blocked[at].sum() < 200


def test_pieces_and_threads_make_no_difference() -> None:
    base, aligned = random_rows(300, 2000, seed=2)
    ids = np.arange(300)
    with contextlib.closing(Comparer(2000)) as one, contextlib.closing(Comparer(2000, n_threads=3)) as three:
        whole, threaded = one.compare(base, aligned, ids), three.compare(base, aligned, ids)
        cuts = [slice(0, 1), slice(1, 200), slice(200, 300)]
        pieces = joined([one.compare(base[cut], aligned[cut], ids[cut]) for cut in cuts])
        nothing = one.compare(base[:0], aligned[:0], [])
    for expected, *found in zip(whole, threaded, pieces, strict=True):
        assert all((expected == values).all() for values in found)
    assert [values.shape[-1] for values in nothing] == [0] * len(Steps._fields)


def test_impossible_tokens() -> None:
    # p = (.5, .5, 0), q = (1, 0, 0): KL is infinite, the reverse 1 bit;
    # JS = H(.75, .25, 0) - (1 + 0) / 2 = 0.811278 - 0.5; the second token is blocked at any threshold.
    steps = Comparer(3).compare(logits((0.5, 0.5, 0.0), P), logits((1.0, 0.0, 0.0), Q), [1, 2])
    assert steps.kl_bits == pytest.approx([math.inf, 2.909076], abs=5e-6)
    assert steps.reverse_kl_bits == pytest.approx([1.0, 0.604560], abs=5e-6)
    assert steps.js_bits == pytest.approx([0.311278, 0.179476], abs=5e-6)
    assert steps.base_entropy_bits == pytest.approx([1.0, 1.485475], abs=5e-6)
    assert steps.aligned_entropy_bits[0] == 0
    assert steps.aligned_surprisal_bits[0] == math.inf
    assert steps.blocked_mass[:, 0] == pytest.approx([0.5] * len(THRESHOLDS))
    assert steps.reverse_blocked_mass[:, 0].tolist() == [0.0] * len(THRESHOLDS)
    assert steps.is_blocked[:, 0].all()
    never = Comparer(3).compare(logits((0.5, 0.5, 0.0)), logits((0.5, 0.5, 0.0)), [2])
    assert math.isnan(never.surprisal_change_bits[0])
    assert (never.kl_bits[0], never.js_bits[0]) == (0.0, 0.0)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_logits_that_are_no_numbers_are_refused(bad: float) -> None:
    with pytest.raises(EngineError, match="not numbers"):
        Comparer(3).compare(logits(P), np.array([[0, bad, 0]], np.float32), [0])


def test_rows_must_belong_together() -> None:
    with pytest.raises(ValueError, match="same vocabulary"):
        Comparer(3).compare(logits(P), logits((0.5, 0.5)), [0])
    with pytest.raises(ValueError, match="below 1"):
        Comparer(3, above=1.0)


# ---- from texts to estimates


def steps_of(kl: list[float], *, blocked: list[bool] | None = None) -> Steps:
    """Steps in which only KL and what is blocked tell."""
    values, there = np.array(kl), np.array(blocked or [False] * len(kl))[None]
    return Steps._make([*[values] * 7, there * 0.5, there * 0.0, there])


def test_texts_are_the_replicates() -> None:
    # KL (1, 2) and (3,): 6 / 3 tokens = 2; residuals 3 - 4 and 3 - 2, se^2 = 2 / (2 * 1.5^2), t(1) = 12.706205.
    found = analyse([steps_of([1.0, 2.0], blocked=[True, False]), steps_of([3.0])], thresholds=[1e-4])
    kl = found.measures["kl_bits"]
    assert tuple(kl) == pytest.approx((2.0, 2 / 3, 0.0, 2 + 12.706205 * 2 / 3, 2), abs=1e-5)  # KL is never below 0
    [blocked] = found.blocked
    assert blocked.of_tokens.value == pytest.approx(1 / 3)  # one of three tokens
    assert (blocked.of_tokens.low, blocked.of_tokens.high) == (0.0, 1.0)  # the t interval ends outside
    assert blocked.mass.value == pytest.approx(0.5 / 3)
    assert (blocked.texts.k, blocked.texts.n) == (1, 2)
    assert math.isnan(blocked.reverse_mass.low)  # all texts agree on 0: no width, so no interval
    assert blocked.excess_mass.value == pytest.approx(0.5 / 3)
    # residuals 0.5 - 2/6 and 0 - 1/6, se^2 = 2/36 / (2 * 1.5^2): 1/6 -+ 12.706205 / 9 ends outside on both sides
    assert (blocked.excess_mass.low, blocked.excess_mass.high) == (-1.0, 1.0)
    assert (found.n_texts, found.n_tokens) == (2, 3)
    # By position: (1 + 3) / 2 with se 1, then 2 of one text alone.
    assert found.kl.mean.tolist() == [2.0, 2.0]
    assert found.kl.high[0] == pytest.approx(2 + 12.706205, abs=1e-5)
    assert math.isnan(found.kl.high[1])
    assert found.kl.live.tolist() == [2, 1]


def test_one_text_has_no_interval_and_none_is_an_error() -> None:
    alone = analyse([steps_of([1.0, 3.0])], thresholds=[1e-4]).measures["kl_bits"]
    assert (alone.value, alone.n) == (2.0, 1)
    assert math.isnan(alone.low)
    for nothing in ([], [steps_of([])]):
        with pytest.raises(ValueError, match="at least one text"):
            analyse(nothing)


def test_infinite_and_missing_values() -> None:
    infinite = per_token([np.array([1.0, math.inf]), np.array([2.0])])
    assert infinite.value == math.inf
    assert math.isnan(infinite.low)
    assert per_token([np.array([math.nan, 2.0]), np.array([4.0]), np.array([math.nan])])[::4] == (3.0, 2)
    assert math.isnan(per_token([np.array([math.nan])]).value)


# ---- what the engines give


def rows_of(engine: Engine, texts: list[tuple[int, ...]]) -> dict[int, np.ndarray]:
    """All rows of each text, copied."""
    found: dict[int, list[np.ndarray]] = {}
    for text, start, rows in engine.logits(texts):
        assert start == sum(map(len, found.get(text, [])))
        found.setdefault(text, []).append(np.array(rows))
    return {text: np.concatenate(pieces) for text, pieces in found.items()}


def test_a_chain_gives_its_own_rows() -> None:
    engine = open_scripted("base")
    texts = [engine.tokenize(TEXT), engine.tokenize(""), engine.tokenize("He is old")]
    found = rows_of(engine, texts)
    assert set(found) == {0, 2}  # one token alone predicts nothing that stands there
    for number, rows in found.items():
        np.testing.assert_allclose(np.exp(rows), transition("base")[list(texts[number][:-1])], rtol=1e-6)
    with pytest.raises(PromptTooLong):
        list(engine.logits([(0,) * 9000]))


def test_diff_is_the_closed_form_of_two_chains() -> None:
    """KL of rows of the transition matrices, in float64, at each token of a text."""
    base, aligned = open_scripted("base"), open_scripted("aligned")
    ids = base.tokenize(TEXT)
    [mine], [theirs] = base.logits([ids]), aligned.logits([ids])
    steps = Comparer(base.facts.n_vocab).compare(mine.logits, theirs.logits, ids[1:])
    p, q = transition("base")[list(ids[:-1])], transition("aligned")[list(ids[:-1])]
    np.testing.assert_allclose(steps.kl_bits, (p * np.log2(p / q)).sum(axis=1), atol=1e-5)
    np.testing.assert_allclose(steps.reverse_kl_bits, (q * np.log2(q / p)).sum(axis=1), atol=1e-5)
    middle = (p + q) / 2
    js = (p * np.log2(p / middle) + q * np.log2(q / middle)).sum(axis=1) / 2
    np.testing.assert_allclose(steps.js_bits, js, atol=1e-5)
    for at, below in enumerate(THRESHOLDS):
        np.testing.assert_allclose(steps.blocked_mass[at], (p * ((p > 0.01) & (q < below))).sum(axis=1), atol=1e-6)


def expected_per_token(values: np.ndarray, start: int, n_steps: int) -> float:
    """E[sum of values over tokens] / E[tokens] of the base's completions, from its transition matrix."""
    alive = np.zeros(len(values))
    alive[start] = 1.0
    total = tokens = 0.0
    for _ in range(n_steps):
        total += alive @ values
        tokens += alive.sum()
        alive = alive @ transition("base")
        alive[EOS] = 0
    return float(total / tokens)


def test_completions_of_the_base_estimate_the_closed_form() -> None:
    """4 standard errors, fixed seed: a false alarm in each of the five has a chance of 6e-5."""
    base, aligned = open_scripted("base"), open_scripted("aligned")
    cell = cell_of(base, 400, text="She", max_tokens=20)
    prompt = cell.recipe.prompt.ids
    texts = [(*prompt, *sample.tokens["id"].tolist()) for sample in draw(base, cell)]
    comparer, n = Comparer(base.facts.n_vocab), len(prompt)
    found = analyse(
        [
            comparer.compare(mine.logits[n - 1 :], theirs.logits[n - 1 :], texts[mine.text][n:])
            for mine, theirs in zip(base.logits(texts), aligned.logits(texts), strict=True)
        ]
    )
    p, q = transition("base"), transition("aligned")
    expected = expected_per_token((p * np.log2(p / q)).sum(axis=1), prompt[-1], 20)
    for measure in ("kl_bits", "surprisal_change_bits"):  # of tokens drawn from p both mean the same
        estimate = found.measures[measure]
        assert estimate.value == pytest.approx(expected, abs=4 * estimate.se)
    assert found.measures["kl_bits"].se < found.measures["surprisal_change_bits"].se
    for at in (0, 1):  # below these two something is blocked
        mass = expected_per_token((p * ((p > 0.01) & (q < THRESHOLDS[at]))).sum(axis=1), prompt[-1], 20)
        assert mass > 0
        for estimate in (found.blocked[at].mass, found.blocked[at].of_tokens):
            assert estimate.value == pytest.approx(mass, abs=4 * estimate.se)


def test_an_engine_that_does_not_tell_everything_is_refused() -> None:
    engine = open_scripted("base")
    check_able(engine)
    engine.capabilities = dataclasses.replace(engine.capabilities, full_distribution=False)
    with pytest.raises(EngineError, match="scripted:base does not tell the probability of every token"):
        check_able(engine)


@contextlib.contextmanager
def opened(path: Path, **options: object) -> Iterator[Engine]:
    with contextlib.closing(
        open_engine(ModelRef("test", "llamacpp", str(path), "d"), EngineOptions(n_threads=1, **options))
    ) as it:
        yield it


@pytest.mark.model
def test_texts_that_share_a_context_give_the_library_s_logits(tiny_model: Path) -> None:
    with opened(tiny_model) as engine:
        texts = [engine.tokenize(text) for text in ("The fox", "é and 🙂.", "", "ab cd " * 120, "One", "A longer one")]
        found = rows_of(engine, texts)
    assert set(found) == {0, 1, 2, 3, 4, 5} - {n for n, ids in enumerate(texts) if len(ids) < 2}
    for number, rows in found.items():
        expected = library_probabilities(tiny_model, texts[number])[:-1]
        np.testing.assert_allclose(np.exp(log_softmax(rows)), expected, atol=2e-3)
        assert len(rows) == len(texts[number]) - 1


@pytest.mark.model
def test_a_text_too_long_is_refused_before_any_work(tiny_model: Path) -> None:
    with opened(tiny_model) as engine:
        with pytest.raises(PromptTooLong):
            next(engine.logits([(1, 300), (1,) * 1025]))
        assert list(engine.logits([])) == []


@pytest.mark.model
def test_diff_of_the_tiny_pair_is_brute_force_over_the_library_s_logits(run: Callable) -> None:
    text = "Grace Hopper was not a nurse. She was born in 1906."
    report = json.loads(run("diff", text, "--json", "-q", "--threads", 1)[1])
    with opened(DATA / "tiny-base.gguf", vocabulary_only=True) as engine:
        ids = engine.tokenize(text)
    p, q = (library_probabilities(DATA / f"tiny-{stage}.gguf", ids)[:-1] for stage in ("base", "aligned"))
    here = (np.arange(len(p)), np.array(ids[1:]))
    middle = (p + q) / 2
    expected = {
        "kl_bits": (p * np.log2(p / q)).sum(axis=1),
        "reverse_kl_bits": (q * np.log2(q / p)).sum(axis=1),
        "js_bits": (p * np.log2(p / middle) + q * np.log2(q / middle)).sum(axis=1) / 2,
        "entropy_change_bits": (p * np.log2(p) - q * np.log2(q)).sum(axis=1),
        "surprisal_change_bits": np.log2(p / q)[here],
    }
    found = report["arms"]["aligned"]
    assert len(found["first_text"]) == len(ids) - 1 > 10
    for name, values in expected.items():
        # Two attention kernels of llama.cpp, f16 weights: some thousandths of a bit.
        assert [token[name] for token in found["first_text"]] == pytest.approx(values.tolist(), abs=5e-3)
        assert found[name]["value"] == pytest.approx(values.mean(), abs=2e-3)
    for blocked in found["blocked"][:2]:
        mass = (p * ((p > 0.01) & (q < blocked["below"]))).sum(axis=1).mean()
        assert blocked["mass"]["value"] == pytest.approx(mass, abs=5e-3)
    assert found["kl_bits"]["value"] > 0.1


@pytest.mark.model
def test_a_ladder_holds_every_stage_against_the_first(run: Callable) -> None:
    code, out, _ = run("diff", "--ladder", "tiny", "-n", 3, "--max-tokens", 6, "--threads", 1, "--json")
    report = json.loads(out)
    assert (code, report["base"], list(report["arms"])) == (0, "base", ["sft", "aligned"])
    # The same texts: entropy and surprisal of the base do not depend on whom it is held against.
    sft, aligned = (report["arms"][arm] for arm in ("sft", "aligned"))
    assert sft["base_entropy_bits"] == pytest.approx(aligned["base_entropy_bits"])
    assert sft["kl_bits"] != aligned["kl_bits"]


@pytest.mark.model
def test_what_the_arithmetic_makes_is_no_finding(run: Callable) -> None:
    """Its floor is far below what PPO did to the pair, and above what single precision resolves."""
    code, out, _ = run("diff", TEXT, "--base", "tiny-base", "--aligned", "tiny-aligned", "--json", "--threads", 1)
    found = json.loads(out)["arms"]["aligned"]
    assert 1e-5 <= found["noise_floor"]["kl_bits"] < 1e-3 < found["kl_bits"]["value"]
    assert 0 < found["noise_floor"]["surprisal_mean_bits"] < 0.1  # eight bits; of F16 it is a tenth of that
    assert len(found["noise_floor"]["blocked"]) == len(THRESHOLDS)


# ---- the command


def test_json_of_completions(run: Callable) -> None:
    code, out, error = run("diff", "--pair", "scripted", "-n", 30, "--max-tokens", 12, "--json", "-q")
    assert (code, error) == (0, "")
    report = json.loads(out)
    one = report["arms"]["aligned"]
    assert (one["n_texts"], report["prompt"], report["base"]) == (30, "Grace Hopper was", "base")
    assert report["models"] == {"base": "scripted:base", "aligned": "scripted:aligned"}
    assert one["kl_bits"]["low"] < one["kl_bits"]["value"] < one["kl_bits"]["high"]
    change = one["aligned_entropy_bits"]["value"] - one["base_entropy_bits"]["value"]
    assert one["entropy_change_bits"]["value"] == pytest.approx(change)
    masses = [blocked["mass"]["value"] for blocked in one["blocked"]]
    assert masses == sorted(masses, reverse=True)
    assert masses[0] > 0
    assert [blocked["below"] for blocked in one["blocked"]] == list(THRESHOLDS)
    # What was stored when the tokens were drawn is what is read of them now.
    samples = [json.loads(line) for line in run("runs", "export", "last")[1].splitlines()]
    assert sum(len(sample["tokens"]) for sample in samples) == one["n_tokens"]
    for name in ("surprisal_bits", "entropy_bits"):
        stored = [token[name] for sample in samples for token in sample["tokens"]]
        assert one[f"base_{name}"]["value"] == pytest.approx(sum(stored) / len(stored), abs=1e-5)
    assert [token["bytes"] for token in samples[0]["tokens"]] == [token["bytes"] for token in one["first_text"]]


def test_the_same_command_again_draws_nothing_and_says_the_same(run: Callable) -> None:
    arguments = ("diff", "--pair", "scripted", "-n", 5, "--max-tokens", 8, "--json")
    first, second = (json.loads(run(*arguments)[1]) for _ in range(2))
    assert {**first, "run": None} == {**second, "run": None}
    assert first["command"] == "llamadiv diff --pair scripted -n 5 --max-tokens 8 --seed 0"
    assert [len(one["cells"]) for one in json.loads(run("runs", "ls", "--json")[1])] == [1, 1]


@pytest.mark.model
def test_a_model_against_its_own_weights_is_nothing(tmp_path: Path, run: Callable) -> None:
    for name, template in (("raw", None), ("chat", "{{ messages[0].content }}")):
        write_model(tmp_path / name, SHAPES["tiny"], n_vocab=300, quantization="F16", chat_template=template)
    models = ("--base", tmp_path / "raw", "--aligned", tmp_path / "chat", "--max-tokens", 20)
    one = json.loads(run("diff", *models, "-n", 10, "--json")[1])["arms"]["aligned"]
    assert one["kl_bits"]["value"] == one["js_bits"]["value"] == one["surprisal_change_bits"]["value"] == 0
    assert [blocked["mass"]["value"] for blocked in one["blocked"]] == [0] * len(THRESHOLDS)


def test_below_the_floor_nothing_is_said_to_be_found(run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two different chains, with a floor just below and just above what they differ by."""
    arguments = ("diff", TEXT, "--pair", "scripted")
    kl = json.loads(run(*arguments, "--json")[1])["arms"]["aligned"]["kl_bits"]["value"]
    for factor, is_shown in ((0.99, True), (1.01, False)):
        noise = Noise(1, {"one": Apart(0.1, 0.1, 0.5, 0.0, 0.1, 0.1, factor * kl, 0.01, (1.0,) * len(THRESHOLDS))})
        monkeypatch.setattr(study, "noise_of", lambda engine, session, above, noise=noise: noise)
        words = " ".join(run(*arguments)[1].split())
        assert ("no difference between base and aligned is shown" in words) != is_shown
        assert ("have" in words and "of the base's probability" in words) == is_shown


def test_a_text_needs_no_store(run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, _ = run("diff", TEXT, "--pair", "scripted", "--json")
    report = json.loads(out)
    assert (code, report["prompt"], report["arms"]["aligned"]["n_texts"]) == (0, None, 1)
    assert report["arms"]["aligned"]["kl_bits"]["low"] is None
    assert bytes.fromhex("".join(token["bytes"] for token in report["arms"]["aligned"]["first_text"])).decode() == TEXT
    assert report["command"] == f"llamadiv diff --pair scripted '{TEXT}'"
    assert "run" not in report
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode())))
    piped = json.loads(run("diff", "-", "--pair", "scripted", "--json")[1])
    assert piped["arms"] == report["arms"]
    assert piped["command"] == "llamadiv diff --pair scripted -"


@pytest.mark.parametrize("text", [[], [TEXT]])
def test_the_terminal_is_80_columns_wide(run: Callable, text: list[str]) -> None:
    size = [] if text else ["-n", 20, "--max-tokens", 24]
    code, out, _ = run("diff", *text, "--pair", "scripted", *size)
    assert code == 0
    for words in ("KL(base, aligned)", "Blocked mass", "KL by position", "B - A", "Quantisation", "surprisal, arm"):
        assert words in out
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize("text", [[], [TEXT]])
def test_50_columns_break_no_word(run: Callable, text: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    size = [] if text else ["-n", 20, "--max-tokens", 24]
    out = run("diff", *text, "--pair", "scripted", *size)[1]
    assert max(map(len, out.splitlines())) <= 50
    tables = out.split("How far apart")[1].split("KL by position")[0].split()
    assert {"entropy,", "surprisal,", "aligned", "value", "interval", "0.0001", "blocked", "tokens"} <= set(tables)
    assert not {"interva", "interv", "aligne"} & set(tables)


def test_the_first_token_has_no_interval_where_all_texts_have_one_prefix(run: Callable) -> None:
    out = run("diff", "--pair", "scripted", "-n", 20, "--max-tokens", 24)[1]
    first, second = out.split("texts\n    1 ")[1].splitlines()[:2]
    assert " to " not in first
    assert " to " in second


@pytest.mark.parametrize("text", [[], [TEXT]])
def test_a_folder_that_cannot_be_written_is_refused_before_any_work(
    run: Callable, text: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llama_diversity.studies.diff.study.read_by", lambda *work, **more: pytest.fail("it read"))
    (tmp_path / "file").touch()
    code, out, error = run("diff", *text, "--pair", "scripted", "--out", tmp_path / "file" / "x")
    assert (code, out) == (2, "")
    assert "--out is " in error
    assert "it cannot be written" in error
    assert json.loads(run("runs", "ls", "--json")[1]) == []


def test_an_interrupted_text_leaves_nothing_and_says_so(run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*work: object, **more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("llama_diversity.studies.diff.study.read_by", read)
    code, _, error = run("diff", TEXT, "--pair", "scripted")
    assert (code, "Nothing is kept of a text; the same command starts again." in error) == (130, True)
    code, _, error = run("diff", "--pair", "scripted", "-n", 2, "--max-tokens", 4)
    assert (code, "Finished samples are kept; the same command continues." in error) == (130, True)


def test_figures_and_numbers_are_written(run: Callable, tmp_path: Path) -> None:
    out = tmp_path / "figures"
    code, _, error = run("diff", "--pair", "scripted", "-n", 5, "--max-tokens", 16, "--out", out)
    assert (code, "Figures and numbers are in" in error) == (0, True)
    figures = {
        f"figure-diff-{name}.{kind}"
        for name in ("kl", "blocked-mass", "one-temperature")
        for kind in ("png", "svg", "pdf", "vl.json")
    }
    tables = ("divergences", "one-temperature", "blocked-mass", "blocked-tokens", "kl-by-position", "tokens-numbers")
    tokens = {f"diff-tokens.{kind}" for kind in ("png", "svg", "pdf")}
    names = figures | tokens | {f"diff-{name}.csv" for name in tables} | {"diff.json", "index.html"}
    assert {path.name for path in out.iterdir()} == names
    report = json.loads((out / "diff.json").read_text())
    rows = (out / "diff-divergences.csv").read_text().splitlines()
    assert float(rows[1].split(",")[3]) == report["arms"]["aligned"]["kl_bits"]["value"]
    assert (out / "figure-diff-kl.png").read_bytes().startswith(b"\x89PNG")


def test_impossible_tokens_reach_every_output(run: Callable, tmp_path: Path) -> None:
    """`homing` gives 0 to most of what `base` says."""
    models = ("--base", "scripted:base", "--aligned", "scripted:homing")
    code, out, _ = run("diff", *models, "-n", 4, "--max-tokens", 8, "--out", tmp_path / "figures")
    assert code == 0
    assert "KL(base, aligned) is ∞ bits per token" in " ".join(out.split())
    one = json.loads((tmp_path / "figures/diff.json").read_text())["arms"]["aligned"]
    assert one["kl_bits"]["value"] is None
    assert one["blocked"][-1]["mass"]["value"] > 0.1
    assert one["js_bits"]["value"] > 0


def test_another_sampler_is_said(run: Callable) -> None:
    small = ("diff", "--pair", "scripted", "-n", 3, "--max-tokens", 6)
    assert "not from the base model's own distribution" in " ".join(run(*small, "-t", 0.5)[1].split())
    assert "not from the base model's own distribution" not in " ".join(run(*small)[1].split())


def test_different_vocabularies_are_refused_before_any_work(run: Callable) -> None:
    for text in ([], [TEXT]):
        code, _, error = run("diff", *text, "--base", "scripted:base", "--aligned", "scripted:coin")
        assert code == 1
        assert "different vocabularies" in error
    assert json.loads(run("runs", "ls", "--json")[1]) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([""], "there is nothing to compare"),
        (["x " * 9000], "8192"),
        (["-p", "x " * 9000], "8192"),
        (["--max-tokens", 9000], "8192"),
        ([TEXT, "-n", 3], "-n is for the base model's own completions"),
        ([TEXT, "--temperature", 0.5], "--temperature is for the base model's own completions"),
        ([TEXT, "--seed", 0], "--seed is for the base model's own completions"),
        (["-n", 0], "ask for 1 to"),
        (["--blocked-above", 1], "from 0 to below 1"),
        (["--blocked-above", "nan"], "from 0 to below 1"),
    ],
)
def test_bad_input_is_one_sentence(run: Callable, arguments: list[object], words: str) -> None:
    code, out, error = run("diff", "--pair", "scripted", *arguments)
    assert (code, out) == (2, "")
    assert words in error
    assert "defect" not in error
    assert json.loads(run("runs", "ls", "--json")[1]) == []


def test_all_tokens_can_count(run: Callable) -> None:
    report = json.loads(run("diff", TEXT, "--pair", "scripted", "--blocked-above", 0, "--json")[1])
    assert report["blocked_above"] == 0
    assert report["arms"]["aligned"]["blocked"][-1]["mass"]["value"] > 0  # the stray share of every token
    assert "--blocked-above 0" in report["command"]


def test_intervals_of_few_texts_stay_where_the_measures_are() -> None:
    found = analyse([steps_of([0.2, 3.0]), steps_of([0.1, 0.4])], thresholds=[1e-4])
    assert found.measures["kl_bits"].low == 0  # t with one degree of freedom goes far below
    assert found.measures["js_bits"].high <= 1
    assert found.kl.low.min() == 0


def test_few_texts_are_not_called_noise_of_the_arithmetic(run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    """A floor below what the models differ by, within its interval."""
    asked = ("diff", "--pair", "scripted", "-p", "She", "-n", 3, "--max-tokens", 8)
    kl = json.loads(run(*asked, "--json")[1])["arms"]["aligned"]["kl_bits"]
    floor = (kl["low"] + kl["value"]) / 2
    noise = Noise(1, {"one": Apart(0.1, 0.1, 0.5, 0.0, 0.1, 0.1, floor, 0.01, (1.0,) * len(THRESHOLDS))})
    monkeypatch.setattr("llama_diversity.studies.diff.study.noise_of", lambda engine, session, above: noise)
    said = " ".join(run(*asked)[1].split())
    assert "that interval reaches down to what the arithmetic alone makes of one model read in two ways" in said
    assert "is shown by so few texts." in said
