"""`decompose`: hand-computed effects of a 2 x 2 and of a 2 x 2 x 2, planted ones recovered, and the command."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from test_compare import clouds, generations

import llama_diversity
from llama_diversity.metrics.inference import Estimate
from llama_diversity.studies.compare.measured import Rules
from llama_diversity.studies.decompose.analysis import _effect, contrasts, decompose
from llama_diversity.studies.decompose.study import Decompose, combinations

DATA = Path(llama_diversity.__file__).parent / "data"
DESIGN = {
    "base raw": {"weights": False, "template": False},
    "base chat": {"weights": False, "template": True},
    "aligned raw": {"weights": True, "template": False},
    "aligned chat": {"weights": True, "template": True},
}


def cells(values: tuple[float, ...], se: float = 0.1) -> dict[str, Estimate]:
    return {arm: Estimate(value, se * value, 100) for arm, value in zip(DESIGN, values, strict=True)}


def test_effects_of_a_2_x_2_by_hand() -> None:
    """Base raw 10, base template 5, aligned raw 4, aligned template 3.

    Weights: sqrt(4/10 * 3/5) = 0.489898; template: sqrt(5/10 * 3/4) = 0.612372; total 3/10 = their product; the
    interaction is (3/4) / (5/10) = 1.5. Each main effect has four logs of weight 1/2 and se 0.1: se = sqrt(4 * 0.25 *
    0.01) = 0.1; the interaction has them with weight 1: 0.2; the total has two of weight 1: sqrt(0.02).
    """
    found = {
        name: _effect("distance", name, weights, [cells((10, 5, 4, 3))]) for name, weights in contrasts(DESIGN).items()
    }
    assert found["weights"].factor == pytest.approx(0.489898, abs=1e-6)
    assert found["template"].factor == pytest.approx(0.612372, abs=1e-6)
    assert found["weights x template"].factor == pytest.approx(1.5)
    assert found["weights x template"].low == pytest.approx(1.5 * math.exp(-1.959964 * 0.2))
    assert found["total"].factor == pytest.approx(0.3)
    assert found["weights"].low == pytest.approx(0.489898 * math.exp(-1.959964 * 0.1), abs=1e-6)
    assert found["total"].high == pytest.approx(0.3 * math.exp(1.959964 * math.sqrt(0.02)), abs=1e-6)


def test_effects_over_prompts_use_the_spread_of_prompts() -> None:
    """Log effects of the weights 0, -1, -2, -1, -1: mean -1, sd sqrt(1/2), se sqrt(1/10), t(4) = 2.776445."""
    prompts = [cells((1, 1, math.exp(x), math.exp(x))) for x in (0, -1, -2, -1, -1)]
    found = _effect("distance", "weights", contrasts(DESIGN)["weights"], prompts)
    assert found.factor == pytest.approx(math.exp(-1))
    assert found.low == pytest.approx(math.exp(-1 - 2.776445 * math.sqrt(0.1)), abs=1e-6)
    assert found.p == pytest.approx(0.034, abs=0.001)  # t = 3.162278 with 4 degrees of freedom


def test_three_factors_have_three_main_effects_and_three_interactions() -> None:
    design = {
        f"{w}{t}{s}": {"weights": bool(w), "template": bool(t), "sampler": bool(s)}
        for w in (0, 1) for t in (0, 1) for s in (0, 1)
    }  # fmt: skip
    found = contrasts(design)
    assert list(found) == [
        "weights", "template", "sampler", "weights x template", "weights x sampler", "template x sampler", "total",
    ]  # fmt: skip
    for name, weights in found.items():
        assert sum(weights.values()) == pytest.approx(0), name
    assert found["weights"]["100"] == 0.25
    # log values 1 * weights + 2 * template + 3 * sampler: the main effects are 1, 2 and 3, the total 6
    logs = {arm: has["weights"] + 2 * has["template"] + 3 * has["sampler"] for arm, has in design.items()}
    effects = {name: sum(weight * logs[arm] for arm, weight in weights.items()) for name, weights in found.items()}
    assert [effects[name] for name in ("weights", "template", "sampler", "total")] == pytest.approx([1, 2, 3, 6])
    assert effects["weights x template"] == pytest.approx(0)


def test_a_planted_effect_of_the_weights_alone_is_found_as_that() -> None:
    rng = np.random.default_rng(0)
    noises = {"base raw": 1.0, "base chat": 1.0, "aligned raw": 0.4, "aligned chat": 0.4}
    prompt = {
        arm: generations(clouds(rng, 150, noise=noise), seed=at) for at, (arm, noise) in enumerate(noises.items())
    }
    found = {one.name: one for one in decompose([prompt], Rules(64), DESIGN).effects if one.measure == "distance"}
    assert (found["weights"].high or 1) < 1
    for name in ("template", "weights x template"):
        assert (found[name].low or 2) < 1 < (found[name].high or 0)
    assert found["weights"].factor == pytest.approx(found["total"].factor, rel=0.1)


def test_a_prompt_on_which_an_arm_has_nothing_is_no_prompt_to_leave_out() -> None:
    weights = contrasts(DESIGN)["weights"]
    some = [cells((10, 5, 4, 3)), cells((9, 5, 4, 2)), *[cells((10, 6, 4, 3))] * 3]
    none = _effect("distance", "weights", weights, [*some, cells((10, 5, 0, 3))])
    assert (none.factor, none.reason) == (None, "1 of 6 prompts have no factor: an arm has no diversity at all")
    unknown = {**cells((10, 5, 4, 3)), "aligned raw": Estimate(None, None, 9, "nothing seen twice")}
    one = _effect("distance", "weights", weights, [*some, unknown])
    assert (one.low is not None, one.reason) == (True, "1 of 6 prompts have no value and are left out")
    two = _effect("distance", "weights", weights, [*some, unknown, unknown])
    assert (two.factor, two.reason) == (None, "2 of 7 prompts have no factor: nothing seen twice")


def test_unequal_validity_is_reported_in_two_forms() -> None:
    rng = np.random.default_rng(2)
    prompt = {
        arm: generations(clouds(rng, 40), n=80 if "aligned" in arm else 40, seed=at) for at, arm in enumerate(DESIGN)
    }
    found = decompose([prompt], Rules(64), DESIGN)
    of = {one.name: one.factor for one in found.effects if one.measure == "distance"}
    lost = {one.name: one.factor for one in found.counted_as_lost}
    assert lost["weights"] == pytest.approx(of["weights"] * 40 * 39 / (80 * 79))
    assert lost["template"] == pytest.approx(of["template"])
    assert {arm: one.value for arm, one in found.valid.items()}["aligned raw"] == 0.5


def test_what_compare_refuses_is_refused_here() -> None:
    rng = np.random.default_rng(0)
    prompt = {arm: generations(clouds(rng, 10), seed=at) for at, arm in enumerate(DESIGN)}
    found = decompose([prompt], Rules(64), DESIGN)
    reasons = {one.measure: one.reason for one in found.effects}
    assert all(one.factor is None for one in found.effects)
    for measure, reason in reasons.items():
        is_hidden = measure in ("vendi", "class_entropy")
        assert reason.startswith("Not reported below 25" if is_hidden else "Too few valid"), measure
        assert (found.values[measure]["base raw"] is None) == is_hidden


def test_all_combinations_are_arms_the_bare_one_first() -> None:
    four = combinations(("b", "a"), {})
    assert [spec.name for spec in four] == ["base raw", "base chat", "aligned raw", "aligned chat"]
    assert [spec.template for spec in four] == [None, "a", None, "a"]
    eight = combinations(("b", "a"), {"temperature": 0.7})
    assert (len(eight), eight[0].sampler, eight[-1].sampler) == (8, {}, {"temperature": 0.7})


def test_quantisation_is_a_factor_of_its_own() -> None:
    """Arms count in binary: weights, template, quantisation, sampler."""
    specs = combinations(("b8", "a8"), {"temperature": 0.7}, ("b4", "a4"))
    one = Decompose(specs, ("She",), is_quantised=True)
    assert [spec.model for spec in specs[::2]] == ["b8", "b4", "b8", "b4", "a8", "a4", "a8", "a4"]
    assert [spec.name for spec in specs[:4]] == [
        "base raw",
        "base raw, cut",
        "base raw, quantised",
        "base raw, quantised, cut",
    ]
    for spec in specs:
        assert one.design()[spec.name] == {
            "weights": spec.model.startswith("a"),
            "template": spec.is_chat,
            "quantisation": spec.model.endswith("4"),
            "sampler": bool(spec.sampler),
        }
        assert spec.template in (None, "a8")  # the same template for all
    assert list(Decompose(combinations(("b", "a"), {}), ("She",)).design()["aligned chat"]) == ["weights", "template"]


def test_the_command_with_quantised_files(run: Callable, tmp_path: Path) -> None:
    """The scripted chains stand for files: `uniform` for a coarse base, whose entropy is not the base's."""
    typed = ("decompose", "--pair", "scripted", "--quantised", "scripted:uniform", "scripted:homing", "-p", "She")
    code, out, err = run(*typed, "-n", 25, "--max-tokens", 16, "--json")
    assert (code, "Traceback" in err) == (0, False)
    report = json.loads(out)
    values, effects = report["values"]["entropy"], {(x["measure"], x["name"]): x for x in report["effects"]}
    assert len(values) == 8
    ratios = [
        values[name.replace(" quantised", "")] and values[f"{name}, quantised"] / values[name]
        for name in ("base raw", "base chat", "aligned raw", "aligned chat")
    ]
    assert effects["entropy", "quantisation"]["factor"] == pytest.approx(math.prod(ratios) ** (1 / 4))
    assert report["factors"]["quantisation"] == "those files or scripted:uniform and scripted:homing"
    again = json.loads(run("report", "last", "--json", "--out", tmp_path / "b")[1])["decompose"]
    assert {**again, "run": None} == {**report, "run": None}


@pytest.mark.model
def test_the_same_file_under_another_name_is_no_other_quantisation(run: Callable, tmp_path: Path) -> None:
    copies = [shutil.copy(DATA / f"tiny-{stage}.gguf", tmp_path / f"{stage}.gguf") for stage in ("base", "aligned")]
    code, _, err = run("decompose", "--pair", "tiny", "--quantised", *copies, "-p", "She", "-n", 25)
    assert (code, "The factor quantisation changes nothing: base raw and base raw, quantised" in err) == (1, True)


def test_the_command(run: Callable, tmp_path: Path) -> None:
    typed = ("decompose", "--pair", "scripted", "-p", "She", "-n", 30, "--max-tokens", 24)
    code, out, err = run(*typed, "--json", "--out", tmp_path / "a")
    assert (code, "Traceback" in err) == (0, False)
    report = json.loads(out)
    effects = {(one["measure"], one["name"]): one for one in report["effects"]}
    assert effects["entropy", "weights"]["high"] < 1
    assert list(report["values"]["entropy"]) == ["base raw", "base chat", "aligned raw", "aligned chat"]
    assert {"index.html", "decompose-effects.csv", "decompose-effects-figure.png"} <= {
        p.name for p in (tmp_path / "a").iterdir()
    }
    again = json.loads(run("report", "last", "--json", "--out", tmp_path / "b")[1])["decompose"]
    assert {**again, "run": None} == {**report, "run": None}
    code, out, _ = run(*typed, "--sampler", "T=0.5", "--prefix", 4)
    assert code == 0
    assert "on the common prefix of 4 tokens, which alone is judged" in " ".join(out.split())
    assert "weights x sampler" in out
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--pair", "scripted", "--sampler", "hot"), "a part is T="),
        (("--pair", "scripted", "--sampler", "chat,n=3"), "a part is T="),
        (("--pair", "scripted", "--sampler", "T=1"), "The factor sampler changes nothing: base raw and base raw, cut"),
        (("--base", "scripted:aligned", "--aligned", "scripted:aligned"), "Both arms are one model (scripted:aligned)"),
        (("--pair", "scripted", "--max-tokens", 0), "--max-tokens"),
        (("--base", "scripted:base", "--aligned", "scripted:uniform"), "no chat template"),
        (("--base", "scripted:coin", "--aligned", "scripted:aligned"), "different vocabularies"),
        (("--pair", "scripted", "-n", 1), "ask for 2 to"),
        (
            ("--pair", "scripted", "--quantised", "scripted:base", "scripted:homing"),
            "The factor quantisation changes nothing: base raw",
        ),
        (
            ("--pair", "scripted", "--quantised", "scripted:uniform", "scripted:aligned"),
            "The factor quantisation changes nothing: aligned raw and aligned raw, quantised",
        ),
        (
            ("--pair", "scripted", "--quantised", "scripted:uniform", "scripted:uniform"),
            "The factor weights changes nothing: base raw, quantised and aligned raw, quantised",
        ),
        (
            ("--pair", "scripted", "--quantised", "scripted:aligned", "scripted:base"),
            "The factors weights and quantisation together change nothing: base raw and aligned raw, quantised",
        ),
        (("--pair", "scripted", "--quantised", "scripted:coin", "scripted:homing"), "different vocabularies"),
        (("--pair", "scripted", "--sampler", "T=0.7,T=0.8"), "--sampler is 'T=0.8'; T is there twice"),
        (("--pair", "scripted", "--sampler", "T=nan"), "--sampler is 'T=nan'; it must be 0 (greedy) or"),
        (("--pair", "scripted", "--sampler", "top_k=x"), "--sampler is 'top_k=x'; it needs a number"),
    ],
)
def test_bad_input_is_one_sentence(run: Callable, arguments: tuple[object, ...], words: str) -> None:
    code, _, err = run("decompose", *arguments, "-p", "She")
    assert code in (1, 2)
    assert words in err
    assert "Traceback" not in err


def test_too_little_for_any_effect_still_writes_what_there_is(run: Callable, tmp_path: Path) -> None:
    """No effect has an interval, so there is no figure of them."""
    out = tmp_path / "out"
    code, _, error = run("decompose", "--pair", "scripted", "-n", 2, "-p", "Once", "--max-tokens", 4, "--out", out)
    assert code == 0, error
    assert {path.suffix for path in out.iterdir()} == {".csv", ".html", ".json"}


def test_kinds_among_m_are_held_within_m() -> None:
    """Arms of 1 or 10 kinds among ten: no effect is above 10 or below 1/10, and no interaction beyond their squares."""
    rows = np.eye(64)
    one, ten = rows[[0] * 20], (rows[1:21], rows[22:42], rows[43:63])
    arms = zip(DESIGN, (one, one, ten[0], ten[1]), strict=True)
    effects = {
        x.name: x for x in decompose([{arm: generations(some) for arm, some in arms}], Rules(64), DESIGN).effects
        if x.measure == "kinds"
    }  # fmt: skip
    for name in ("weights", "total"):
        assert (effects[name].factor, effects[name].high) == (pytest.approx(10), 10)
        assert 0.1 < (effects[name].low or 0) < 10
    assert (effects["template"].factor, effects["template"].low or 0) >= (pytest.approx(1), 0.1)
    crossed = zip(DESIGN, (one, ten[0], ten[1], one), strict=True)
    found = decompose([{arm: generations(some) for arm, some in crossed}], Rules(64), DESIGN).effects
    [effect] = [x for x in found if (x.measure, x.name) == ("kinds", "weights x template")]
    assert (effect.factor, effect.low) == (pytest.approx(1 / 100), 1 / 100)  # (1/10) / (10/1)
    assert (effect.high or 0) > 1 / 100


def test_a_greedy_sampler_cuts_nothing(run: Callable) -> None:
    code, _, error = run("decompose", "--pair", "scripted", "-p", "She", "--sampler", "T=0,top_p=0.9")
    assert (code, "--sampler is 'top_p=0.9'; at temperature 0" in error) == (2, True)
    code, _, error = run("decompose", "--pair", "scripted", "-p", "She", "-t", 0, "--sampler", "top_k=3")
    assert (code, "--sampler is 'top_k=3'; at temperature 0" in error) == (2, True)
