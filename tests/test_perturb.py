"""Section 5.1: planted returns are measured as such, and the command runs on chains whose behaviour is known."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from llama_diversity.metrics.clusters import return_share
from llama_diversity.metrics.inference import Difference, Proportion, clustered_proportion, wilson
from llama_diversity.records import TOKEN_DTYPE, Recipe, TokenStats
from llama_diversity.studies.arms import Choice, resolve_choice
from llama_diversity.studies.conduct import conducted
from llama_diversity.studies.drawing import Drawing
from llama_diversity.studies.perturb import analysis as perturb
from llama_diversity.studies.perturb.perturbations import Replace
from llama_diversity.studies.perturb.study import Perturb, _repeat
from llama_diversity.studies.session import Session

D = 24


def around(axis: int, n: int, rng: np.random.Generator) -> perturb.Vectors:
    return (np.eye(D)[axis] + 0.03 * rng.normal(size=(n, D))).astype(np.float32)


def anywhere(n: int, rng: np.random.Generator) -> perturb.Vectors:
    """Directions with nothing on the first two axes, so that none lies at an attractor there."""
    rows = rng.normal(size=(n, D))
    rows[:, :2] = 0
    return rows.astype(np.float32)


def tokens(n: int, bits: list[float]) -> list[TokenStats]:
    made = np.zeros(len(bits), TOKEN_DTYPE)
    made["surprisal_bits"] = bits
    return [made] * n


def side(
    rows: perturb.Vectors, bits: list[float] | list[TokenStats], *, opening: str = "She was", text: str = " x"
) -> perturb.Side:
    """Continuations with these embeddings; the same surprisals for each, or statistics of their own."""
    stats = bits if isinstance(bits[0], np.ndarray) else tokens(len(rows), bits)
    return perturb.Side(opening, [text] * len(rows), rows, stats)


def mixed(rng: np.random.Generator, first: perturb.Vectors, second: perturb.Vectors) -> perturb.Vectors:
    rows = np.concatenate([first, second])
    return rows[rng.permutation(len(rows))]


def test_planted_returns_are_counted_to_the_last_one() -> None:
    """Two attractors hold 60 and 40 of 100 unchanged texts; 80 of 100 changed ones are at the first or the second."""
    rng = np.random.default_rng(0)
    unchanged = mixed(rng, around(0, 60, rng), around(1, 40, rng))
    changed = mixed(rng, np.concatenate([around(0, 50, rng), around(1, 30, rng)]), anywhere(20, rng))
    arm = perturb.analyse_arm(side(unchanged, [1.0]), side(changed, [1.0]))
    assert arm.n_attractors == 2
    assert arm.in_attractors.value == 1
    assert arm.returned.k == 80
    # Wilson: (0.8 + 1.9208/100 -+ 1.96 sqrt(0.8 * 0.2 / 100 + 0.9604/10000)) / 1.038415
    assert (arm.returned.low, arm.returned.high) == pytest.approx((0.7112, 0.8666), abs=1e-3)


def test_the_interval_covers_the_planted_probability() -> None:
    """200 runs of a model that returns with probability 0.8: Wilson's interval holds it in 94.05 %."""
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(200):
        k = int((rng.random(100) < 0.8).sum())
        changed = mixed(rng, around(0, k, rng), anywhere(100 - k, rng))
        places = perturb.attractors_of(around(0, 50, rng))
        found = return_share(changed, places).share
        assert found.k == k
        covered += found.low <= 0.8 <= found.high  # type: ignore[operator]
    assert 175 <= covered <= 200  # the binomial sum expects 188.1; 4 standard errors of 3.35


def test_a_model_without_attractors_has_nothing_to_return_to() -> None:
    rng = np.random.default_rng(2)
    arm = perturb.analyse_arm(side(anywhere(60, rng), [1.0]), side(anywhere(60, rng), [1.0]))
    assert arm.n_attractors == 0
    assert arm.returned.value is None
    assert arm.returned.reason == "no attractor to return to"


def noisy(rng: np.random.Generator, means: list[float]) -> list[TokenStats]:
    made = []
    for _ in range(50):
        one = np.zeros(len(means), TOKEN_DTYPE)
        one["surprisal_bits"] = rng.normal(means, 0.1)
        made.append(one)
    return made


def test_a_disturbance_is_seen_and_how_long_it_lasts() -> None:
    """Tokens 0, 1 and 3 are far outside the band of 1 -+ 0.1, token 2 alone is not: calm from token 4 on."""
    rng = np.random.default_rng(3)
    rows = anywhere(50, rng)
    before = side(rows, noisy(rng, [1.0] * 8))
    arm = perturb.analyse_arm(before, side(rows, noisy(rng, [6.0, 4.0, 0.5, 3.0, 0.5, 0.5, 0.5, 0.5])))
    assert arm.disturbed.k == 50
    assert arm.calm == perturb.Calm(4.0, 4.0, 4.0, 50)
    assert arm.waits == (4.0,) * 50
    assert arm.excess_bits[0].mean == pytest.approx(5, abs=0.1)
    # By chance one of five tokens is beyond the 95 % of its place in 1 - 0.95^5 = 23 %; of 50 within 4 se of that.
    assert arm.disturbed_unchanged.value == pytest.approx(0.23, abs=0.24)
    never = perturb.analyse_arm(before, side(rows, noisy(rng, [6.0] * 8)))
    assert never.calm == perturb.Calm(None, None, None, 50)
    calmer = perturb.analyse_arm(before, side(rows, noisy(rng, [0.2] * 8)))
    assert (calmer.disturbed.k, calmer.calm.n) == (0, 0)  # less surprising is no disturbance


def test_a_disturbance_does_not_depend_on_n() -> None:
    """A surprise of 0.3 bits in a spread of 0.1 is outside the band for 8 continuations as for 200."""
    rng = np.random.default_rng(4)
    for n in (8, 50):
        rows = anywhere(n, rng)
        stats = [noisy(rng, [1.0] * 6)[:n], noisy(rng, [1.5] + [0.7] * 5)[:n]]
        arm = perturb.analyse_arm(side(rows, stats[0]), side(rows, stats[1]))
        assert (arm.disturbed.value, arm.calm.median) == (1, 1)


def test_continuations_that_undo_the_change_are_left_out() -> None:
    """Of 40 changed ones 25 go on with "ed": "was noted" is no "was not"; of the other 15 all return."""
    rng = np.random.default_rng(5)
    before = side(around(0, 40, rng), [1.0])
    rows = np.concatenate([anywhere(25, rng), around(0, 15, rng)])
    after = perturb.Side("She was not", ["ed for"] * 25 + [" born"] * 15, rows, tokens(40, [1.0]))
    arm = perturb.analyse_arm(before, after)
    assert arm.n_undone == (0, 25)
    assert (arm.returned.k, arm.returned.n) == (15, 15)


def test_continuations_of_different_lengths_count_while_they_live() -> None:
    one, two = tokens(1, [2.0, 4.0])[0], tokens(1, [4.0])[0]
    table = perturb.surprisals([one, two])
    assert perturb._means(table) == (3.0,)  # of the second token there is one only
    assert [len(some) for some in (perturb._excess(table, table), perturb._excess(table[:1], table))] == [1, 0]


# ---- over openings


def arm(k: int, n: int = 16, *, n_attractors: int = 1, disturbed: int = 8, wait: float = 3.0) -> perturb.Arm:
    """One opening: k of n return, of 16 changed continuations some are disturbed, of 16 unchanged ones 4."""
    nothing = Proportion(None, None, None, 0, n, "no attractor to return to")
    returned = wilson(k, n) if n_attractors else nothing
    waits = (wait,) * disturbed
    excess = (Difference(k / 4, 0.1, 0.0, 0.0),)
    return perturb.Arm(
        n_attractors, returned, returned, (0, 1), (1.0,), (1 + k / 4,), excess, wilson(disturbed, 16), wilson(4, 16),
        perturb.median_wait(waits), waits,
    )  # fmt: skip


def test_openings_are_the_units() -> None:
    """Returns of 16, 16, 0, 0 of 16, and an opening without attractors: half, of 4 units, not of 64."""
    found = perturb.over_openings([arm(16), arm(16), arm(0), arm(0), arm(0, n_attractors=0)], [1, 1, 1, 2, 2])
    assert (found.n_openings, found.n_returned, found.with_attractors[3:5]) == (5, 4, (4, 5))
    assert (found.returned.value, found.returned.k, found.returned.n) == (0.5, 32, 64)
    # v = 4/3 * 4 * 8^2 / 64^2 = 1/12, so 3 trials, and t of 3 degrees 3.182446: 0.5 -+ half the root of z2 / (3 + z2)
    z2 = 3.182446**2
    assert found.returned.high - 0.5 == pytest.approx(math.sqrt(z2 / (3 + z2)) / 2, abs=1e-5)
    assert found.n_undone == (0, 5)
    assert found.disturbance.value == 0.25
    assert found.excess_bits[0].mean == pytest.approx((4 + 4 + 0 + 0 + 0) / 5)
    assert (found.calm.median, found.calm.n) == (3.0, 5)


def test_one_opening_is_what_its_continuations_say() -> None:
    single = arm(12)
    found = perturb.over_openings([single], [1])
    assert (found.returned, found.in_attractors, found.calm) == (single.returned, single.in_attractors, single.calm)
    assert found.excess_bits == single.excess_bits
    assert found.disturbance[0] == 0.25
    nothing = perturb.over_openings([arm(0, n_attractors=0)], [1]).returned
    assert (nothing.value, nothing.reason) == (None, "no attractor to return to")


def test_from_five_prompts_on_prompts_are_the_units() -> None:
    """Two openings of each of five prompts: what is alike within a prompt counts once."""
    arms = [arm(16 * (at // 2 % 2)) for at in range(10)]
    by_prompt = perturb.over_openings(arms, [at // 2 for at in range(10)]).returned
    by_opening = perturb.over_openings(arms, [at // 5 for at in range(10)]).returned
    assert by_prompt == clustered_proportion([0, 32, 0, 32, 0], [32] * 5)
    assert by_opening == clustered_proportion([16 * (at // 2 % 2) for at in range(10)], [16] * 10)
    assert by_prompt.high - by_prompt.low > by_opening.high - by_opening.low


def test_texts_that_the_encoder_cannot_read_have_no_attractors() -> None:
    rng = np.random.default_rng(8)
    rows = around(0, 50, rng)
    one, changed = side(rows, noisy(rng, [1.0] * 8)), side(rows, noisy(rng, [4.0] * 8))
    arm = perturb.analyse({"a": (one, changed), "b": (one, changed)}, {"a": "no English"})
    assert (arm["a"].n_attractors, arm["a"].returned, arm["b"].n_attractors) == (
        None,
        Proportion(None, None, None, 0, 0, "no English"),
        1,
    )
    assert arm["a"].disturbed == arm["b"].disturbed
    over = perturb.over_openings([arm["a"]] * 3, [1, 2, 3])
    for share in (over.with_attractors, over.in_attractors, over.returned):
        assert (share.value, share.n, share.reason) == (None, 0, "no English")


def scripted(run: Callable, *more: object) -> tuple[int, str, str]:
    models = ("--base", "scripted:base", "--aligned", "scripted:attractor")
    return run("perturb", *models, "-p", "She was", "--replace", "was", "met", "--max-tokens", 24, *more)


def test_the_chain_that_returns_does_and_the_files_are_whole(run: Callable, tmp_path: Path) -> None:
    code, out, _ = scripted(run, "-n", 60, "--openings", 1, "--json", "--out", tmp_path)
    assert code == 0
    report = json.loads(out)
    assert list(report["arms"]) == ["base", "base, T 0.3", "aligned"]
    [opening] = report["openings"]
    assert opening["doses"]["1"]["changed"].endswith("met")
    aligned = report["arms"]["aligned"]
    assert opening["arms"]["aligned"]["n_attractors"] >= 1
    assert aligned["returned"]["low"] > 0.5
    assert aligned["returned"]["n"] == 60
    assert aligned["returned"] == opening["arms"]["aligned"]["returned"]
    names = {path.name for path in tmp_path.iterdir()}
    assert names >= {
        "index.html",
        "perturb.json",
        "figure-14-tokens.svg",
        "perturb-surprisal.pdf",
        "perturb-returns.csv",
    }


def test_several_openings_are_independent_and_each_is_shown(run: Callable, tmp_path: Path) -> None:
    prompts = ("-p", "She was", "-p", "He was")
    models = ("--base", "scripted:base", "--aligned", "scripted:homing")
    change = ("--replace", "was", "met", "--openings", 3, "-n", 30, "--max-tokens", 16)
    code, out, _ = run("perturb", *models, *prompts, *change, "--json", "--out", tmp_path)
    assert code == 0
    report = json.loads(out)
    openings = [one["doses"]["1"]["unchanged"] for one in report["openings"]]
    assert 2 <= len(set(openings)) == len(openings) <= 3
    assert {one["prompt"] for one in report["openings"]} == {"She was", "He was"}
    aligned = report["arms"]["aligned"]
    assert aligned["openings"] == len(openings)
    assert aligned["returned"]["n"] == report["n_of_an_opening"] * len(openings) - aligned["n_undone"]["changed"]
    rows = (tmp_path / "perturb-openings.csv").read_text("utf-8").splitlines()
    assert len(rows) == 1 + 3 * len(openings)
    assert report["command"].count("-p") == 2
    assert "--openings 3" in report["command"]


def test_the_order_of_prompts_changes_nothing_that_is_drawn(tmp_path: Path) -> None:
    """Every cell has random numbers of its own, by what is continued: not by where it stands, nor by what is beside."""

    def recipes(*prompts: str) -> dict[tuple[str, str, float, bool], Recipe]:
        study = Perturb(Replace("was", "met"), prompts=prompts, n=20, n_openings=2, max_tokens=12)
        with conducted([study], arms, drawing=Drawing(seed=1), session=session) as (_, [drawn]):
            found = {label: drawn.recipe(label) for label in drawn.cells}
        return {
            (one.model_digest, one.prompt.text, one.sampler.temperature, label.startswith("completions")): one
            for label, one in found.items()
        }

    session = Session(named_store=tmp_path / "s.sqlite")
    arms = resolve_choice(Choice(base="scripted:base", aligned="scripted:homing"), session)
    one = recipes("She was", "Someone was")
    assert len(one) == 2 + 2 * 2 * 3  # completions, and two openings as they are and changed for three ways
    assert len({recipe.seed for recipe in one.values()}) == len(one)
    assert recipes("Someone was", "She was") == one


def test_openings_that_are_changed_into_one_text_are_drawn_independently() -> None:
    sides = [("She was", "She was", "unchanged"), ("She was", "She was", "changed"), ("She", "She was", "changed")]
    repeats = [_repeat(*side) for side in sides]
    assert len({0, *repeats}) == 4  # 0 is that of completions
    assert repeats == [_repeat(*side) for side in sides]


@pytest.mark.parametrize("openings", [0, 4])
def test_openings_need_continuations(run: Callable, openings: int) -> None:
    code, _, err = scripted(run, "-n", 30, "--openings", openings)
    assert (code, "-n 30 has room for 1 to 3" in err) == (2, True)


def test_again_nothing_is_drawn_and_the_same_is_said(run: Callable) -> None:
    first, second = (json.loads(scripted(run, "-n", 8, "--json")[1]) for _ in range(2))
    assert {**first, "run": None} == {**second, "run": None}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(("-n", 3), "ask for 8 to"), (("-n", 8, "--replace", "zebra", "x"), "does not occur in the opening")],
)
def test_bad_input_is_one_sentence(run: Callable, arguments: tuple[object, ...], words: str) -> None:
    code, _, err = scripted(run, *arguments)
    assert code == 2
    assert words in err
    assert "Traceback" not in err


def test_the_terminal_shows_the_coloured_texts(run: Callable) -> None:
    code, out, _ = scripted(run, "-n", 8)
    assert code == 0
    assert "Who returns to what it always says" in out
    assert "scripted:attractor" in out


def test_a_chain_that_returns_four_times_in_five_is_measured_as_such(run: Callable) -> None:
    """The chain says its sentence after any verb with probability 0.8, whatever the opening, and else stray words."""
    code, out, _ = run(
        "perturb", "--base", "scripted:uniform", "--aligned", "scripted:homing", "-p", "She was", "--replace", "was",
        "met", "-n", 200, "--openings", 1, "--max-tokens", 24, "--json",
    )  # fmt: skip
    assert code == 0
    report = json.loads(out)
    aligned = report["arms"]["aligned"]
    assert report["openings"][0]["arms"]["aligned"]["n_attractors"] == 1
    for share in (aligned["returned"], aligned["in_attractors"]):
        assert share["low"] <= 0.8 <= share["high"]
        assert share["high"] - share["low"] < 0.17
    assert report["arms"]["base"]["with_attractors"]["k"] == 0
    assert report["arms"]["base"]["returned"]["value"] is None


@pytest.mark.parametrize(
    ("change", "changed"),
    [
        (("--insert", "never", "--at", 2), "She was never"),
        (("--swap-token", 1), "She was "),
        (("--typos", 0.5), ""),
    ],
)
def test_other_changes(run: Callable, change: tuple[object, ...], changed: str) -> None:
    models = ("--base", "scripted:base", "--aligned", "scripted:homing", "-p", "She was")
    arguments = ("perturb", *models, *change, "-n", 8, "--max-tokens", 12, "--dose", "1,2", "--json")
    code, out, err = run(*arguments)
    assert (code, "Traceback" in err) == (0, False)
    report = json.loads(out)
    openings = list(report["openings"][0]["doses"].values())
    assert len({opening["unchanged"] for opening in openings}) == 1
    assert len({opening["changed"] for opening in openings}) == 2
    assert openings[0]["changed"].startswith(changed)
    assert 0 < openings[0]["edit_share"] < openings[1]["edit_share"]
    assert report["command"].startswith("llamadiv perturb")
    assert str(change[0]) in report["command"]
    assert "--dose 1,2" in report["command"]


def test_doses_have_a_table_and_a_figure(run: Callable, tmp_path: Path) -> None:
    code, out, _ = scripted(run, "-n", 12, "--dose", "1", "--out", tmp_path / "one")
    assert "How much change it takes" not in out
    models = ("--base", "scripted:base", "--aligned", "scripted:homing", "-p", "She was")
    more = ("--insert", "never", "--at", 2, "--dose", "1,3", "-n", 12, "--out", tmp_path / "two")
    code, out, _ = run("perturb", *models, *more)
    assert code == 0
    assert "How much change it takes" in out
    names = {path.name for path in (tmp_path / "two").iterdir()}
    assert {"perturb-doses.csv", "perturb-doses-returned.png", "perturb-doses-returned.svg"} <= names


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--replace", "was", "is", "--typos", 0.1), "One change at a time: --replace or --typos"),
        (("--insert", "x"), "--insert TEXT and --at K go together"),
        (("--at", 2), "--insert TEXT and --at K go together"),
        (("--typos", 2), "--typos"),
        (("--dose", "0"), "no list of numbers"),
        (("--dose", "1,x"), "no list of numbers"),
        (("--insert", "x", "--at", 90), "--at"),
        (("--swap-token", 900), "--swap-token"),
    ],
)
def test_impossible_changes_are_one_sentence(run: Callable, arguments: tuple[object, ...], words: str) -> None:
    code, _, err = run("perturb", "--pair", "scripted", "-p", "She was", *arguments, "-n", 8, "--max-tokens", 8)
    assert code == 2
    assert words in err
    assert "Traceback" not in err


def test_arms_that_the_encoder_cannot_read_are_said(monkeypatch: pytest.MonkeyPatch, run: Callable) -> None:
    monkeypatch.setattr("llama_diversity.embed._unread_of", lambda encoding: (3, 10))
    monkeypatch.setattr("llama_diversity.embed._MAY_BE_UNREAD", re.compile(""))
    found = scripted(run, "-n", 16, "--openings", 2)
    assert found[0] == 0
    said = " ".join(found[1].split())
    assert "30 % of aligned's text is nothing or single letters to it" in said
    assert "none of aligned is known" in said
    report = json.loads(scripted(run, "-n", 16, "--openings", 2, "--json")[1])
    assert report["arms"]["aligned"]["with_attractors"]["value"] is None
    assert report["arms"]["aligned"]["disturbed"]["value"] is not None
