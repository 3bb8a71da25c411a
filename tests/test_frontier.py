"""`frontier`: families as typed, plane and choice by hand, false alarms and coverage, the command and its page."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

import llama_diversity as ld
from llama_diversity.engines.scripted import transition
from llama_diversity.errors import BadUsage, BadValue
from llama_diversity.metrics.frontier import dominated_area, unbeaten
from llama_diversity.metrics.inference import mean_interval
from llama_diversity.render.readings import READ
from llama_diversity.studies.frontier.analysis import QUALITIES, Rules, Setting, holds, judge
from llama_diversity.studies.frontier.gathering import affordable, continued
from llama_diversity.studies.frontier.specs import families_of, family_of, usual

Run = Callable[..., tuple[int, str, str]]
RULES = Rules("validity", "distance", 0.05)
FAMILIES = ("--family", "heat=scripted:aligned,T=1/2", "--family", "wide=scripted:base,T=1/2")
PROMPTS = [word for one in "She He Someone The was is met a not old".split() for word in ("-p", one)]
SMALL = (*PROMPTS, "--reference", "aligned=scripted:aligned", "-n", 4, "--max-tokens", 8)


def setting(
    name: str, quality: object, diversity: object, family: str | None = "heat", *, by: str = "validity"
) -> Setting:
    """A setting with these values by prompt; a single number stands for ten alike."""
    both = [
        np.full(10, one, np.float64) if np.isscalar(one) else np.array(one, np.float64) for one in (quality, diversity)
    ]
    sizes = np.full(len(both[0]), 5.0)
    return Setting(name, family, {by: both[0]}, {"distance": both[1]}, sizes, 8 * sizes, sizes)


# ---- what is typed


def test_a_family_is_an_arm_with_one_list() -> None:
    one = family_of("dial=mix:/a/base.gguf,/a/aligned.gguf,lambda=0.5/1,chat,system=Be brief, or / not.")
    assert [spec.name for spec in one.settings] == ["dial lambda=0.5", "dial lambda=1"]
    assert [spec.model for spec in one.settings] == [f"mix:/a/base.gguf,/a/aligned.gguf,lambda={x}" for x in (0.5, 1)]
    assert {spec.system for spec in one.settings} == {"Be brief, or / not."}
    cut = family_of("cut=tiny-aligned,T=1.5,min_p=0.01/0.1")
    assert [spec.sampler for spec in cut.settings] == [
        {"temperature": 1.5, "min_p": 0.01},
        {"temperature": 1.5, "min_p": 0.1},
    ]


def test_the_kind_of_a_router_is_said_once() -> None:
    routed = family_of("routed=mix:tiny-base,tiny-aligned,route=random:0.2/0.4").settings
    assert [spec.model.rpartition("=")[2] for spec in routed] == ["random:0.2", "random:0.4"]


def test_settings_of_one_recipe_have_random_numbers_of_their_own() -> None:
    [first, second] = families_of(["a=scripted:base,T=1/2", "b=scripted:base,T=1/2"])
    assert first.settings[0].sampler == second.settings[0].sampler
    assert first.settings[0].seed != second.settings[0].seed
    assert [spec.seed for spec in family_of("same=scripted:base,seed=1/2/3").settings] == [1, 2, 3]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tiny-base,T=1/2", "write NAME=MODEL and one list of values"),
        ("heat=tiny-base,T=1", "it needs one list of values, like T=0.5/0.7/1, and has none"),
        ("heat=tiny-base,T=1/2,min_p=0.1/0.2", "and has T=1/2 and min_p=0.1/0.2"),
        ("heat=tiny-base,T=1/1", "a value is there twice"),
        ("heat=tiny-base,T=1/x", "--family heat is 'T=x'; it needs a number"),
        ("heat=tiny-base,n=10/20", "settings share one budget of tokens"),
        ("heat=tiny-base,template=a/b", "and has none"),
    ],
)
def test_what_is_no_family_is_refused(text: str, words: str) -> None:
    with pytest.raises(BadValue, match=re.escape(words)):
        family_of(text)


def test_families_of_unequal_size_are_refused_with_the_sentence() -> None:
    with pytest.raises(BadUsage, match="the same number of settings, or the one with more has more chances: a 2, b 3"):
        families_of(["a=scripted:base,T=1/2", "b=scripted:base,T=1/2/3"])
    with pytest.raises(BadUsage, match="a name of its own"):
        families_of(["a=scripted:base,T=1/2", "a=scripted:base,T=1/3"])


def test_the_usual_families_of_a_pair_have_four_settings_each() -> None:
    assert [text.partition("=")[0] for text in usual("b", "a")] == ["heat", "min-p", "top-p", "dial"]
    assert {len(one.settings) for one in families_of(usual("b", "a")[:3])} == {4}


# ---- the plane by hand


def test_the_front_and_its_area_by_hand() -> None:
    """(.9, .2) and (.6, .5) are beaten by nothing; (.5, .4) is by the second. .6 x .5 + .3 x .2 = .36 of the box."""
    found = judge(
        [
            setting("reference", 0.9, 0.1, None),
            setting("a1", 0.9, 0.2, "a"),
            setting("a2", 0.5, 0.4, "a"),
            setting("b1", 0.6, 0.5, "b"),
            setting("b2", 0.1, 0.1, "b"),
        ],
        RULES,
    )
    assert [one.name for one in found.points if one.is_on_front] == ["a1", "b1"]
    areas = {one.name: one for one in found.families}
    assert areas["all families"].area == pytest.approx((0.36, 0.36, 0.36))
    assert areas["a"].area.value == pytest.approx(0.5 * 0.4 + 0.4 * 0.2)
    assert areas["b"].area.value == pytest.approx(0.6 * 0.5)
    assert (areas["a"].of_front, areas["all families"].of_front) == (pytest.approx((0.5, 0.5, 0.5)), None)
    assert (found.corner, found.top) == ((0, 0), (1, 1))


def test_where_less_is_better_the_plane_is_turned() -> None:
    """2 bits per byte beat 3; of the box from 8 bits and 0 to 0 bits and 1, (2, .5) has 6/8 x .5."""
    settings = [
        setting("aligned", 2.0, 0.3, None, by="scorer"),
        setting("cool", 2.0, 0.5, by="scorer"),
        setting("hot", 3.0, 0.5, by="scorer"),
    ]
    found = judge(settings, Rules("scorer", "distance", 0.1))
    assert [one.is_on_front for one in found.points] == [False, True, False]
    assert found.families[0].area.value == pytest.approx(6 / 8 * 0.5)
    assert (found.corner, found.top) == ((8, 0), (0, 1))
    assert (found.best.setting, found.holds) == ("cool", True)
    assert found.points[2].quality.mean == 3.0  # raw, not turned


ALTERNATING = np.tile([1.0, 0.0], 5)  # odd prompts 1, even ones 0: prompts count from 1


def test_the_odd_prompts_choose_and_the_even_ones_judge() -> None:
    """`lucky` is .9 diverse on odd and .1 on even prompts, `steady` .5 on both: the first is chosen, and does not hold.

    Claimed where chosen: .9 - .2 = +.7; held out: .1 - .2 = -.1.
    """
    found = judge(
        [
            setting("reference", 0.9, 0.2, None),
            setting("lucky", 0.9, 0.1 + 0.8 * ALTERNATING),
            setting("steady", 0.9, 0.5),
        ],
        RULES,
    )
    assert found.best.setting == "lucky"
    assert found.best.there is not None
    assert found.best.held_out is not None
    assert found.best.there.diversity.mean == pytest.approx(0.7)
    assert found.best.held_out.diversity.mean == pytest.approx(-0.1)
    assert holds(found.best.there, 0.05)
    assert not found.holds
    assert found.claimed.setting == "lucky"  # by its mean of .5, as much as that of the other, and typed before it


def test_quality_is_held_to_its_interval_not_to_its_mean() -> None:
    """Losses of 0 and .08 in turn have a mean of .04 on any half, but an interval that reaches beyond .05."""
    loss = np.tile([0.0, 0.0, 0.08, 0.08], 3)[:10]
    low = mean_interval(-loss[::2]).low
    assert low < -0.05 < -loss[::2].mean()
    settings = [setting("reference", 0.9, 0.2, None), setting("bold", 0.9 - loss, 0.9)]
    found = judge(settings, RULES)
    assert (found.best.setting, found.holds) == (None, False)
    found = judge(settings, Rules("validity", "distance", 0.2))
    assert (found.best.setting, found.holds) == ("bold", True)


def test_what_all_prompts_would_have_claimed_stands_beside_the_verdict() -> None:
    """Losses of .04 and .2 by turns: on all prompts -.12, its interval above -.2; on the even ones .2, and no less."""
    settings = [setting("reference", 0.9, 0.2, None), setting("bold", 0.7 + 0.16 * ALTERNATING, 0.9)]
    found = judge(settings, Rules("validity", "distance", 0.2))
    assert (found.claimed.setting, found.best.setting, found.holds) == ("bold", "bold", False)
    assert found.claimed.there is not None
    assert found.claimed.there.quality.mean == pytest.approx(-0.12)
    assert holds(found.claimed.there, 0.2)


def test_nothing_is_won_where_nothing_qualifies() -> None:
    found = judge([setting("reference", 0.9, 0.2, None), setting("bad", 0.5, 0.9)], RULES)
    assert (found.best.setting, found.holds) == (None, False)


def test_a_setting_without_values_stands_nowhere_and_takes_no_prompt_from_the_others() -> None:
    gone = np.where(np.arange(10) < 3, math.nan, 0.5)
    one = np.where(np.arange(10) == 4, math.nan, 0.5)
    found = judge(
        [setting("reference", 0.5, 0.2, None), setting("gone", gone, 0.5), setting("nearly", one, 0.5)], RULES
    )
    assert [one.reason for one in found.points] == ["", "no value on 3 of 10 prompts", ""]
    assert found.used == (1, 2, 3, 4, 6, 7, 8, 9, 10)
    assert [one.is_on_front for one in found.points] == [False, False, True]


def test_an_area_by_two_other_ways() -> None:
    rng = np.random.default_rng(0)
    points, grid = rng.random((7, 2)), (rng.random((20_000, 2)))
    counted = np.mean([(points >= cell).all(axis=1).any() for cell in grid])
    assert float(dominated_area(points, (0, 0), (1, 1))) == pytest.approx(counted, abs=0.015)
    front = points[unbeaten(points)]
    assert float(dominated_area(front, (0, 0), (1, 1))) == pytest.approx(float(dominated_area(points, (0, 0), (1, 1))))
    assert float(dominated_area([[2.0, 0.5], [math.nan, 1.0]], (0, 0), (1, 1))) == 0.5  # beyond the edge; nowhere


# ---- how often it is right: scripted chains, whose values are known


def drawn(rng: np.random.Generator, rows: np.ndarray, starts: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Of n next tokens behind each start: the share that is a word, and the share of unlike pairs."""
    sums = np.cumsum(rows[starts], axis=1)
    tokens = (rng.random((len(starts), n, 1)) > sums[:, None, :] / sums[:, None, -1:]).sum(axis=2)
    alike = (tokens[:, :, None] == tokens[:, None, :]).sum(axis=(1, 2)) - n
    return (tokens < N_WORDS).mean(axis=1), 1 - alike / (n * (n - 1))


N_WORDS = 32
STARTS = np.arange(2, 26)  # after these words a prompt may end, each as likely


def heated(temperature: float) -> np.ndarray:
    rows = transition("aligned") ** (1 / temperature)
    return rows / rows.sum(axis=1, keepdims=True)


def truth(rows: np.ndarray) -> tuple[float, float]:
    """Quality and diversity over all prompts there may be: P(a word), 1 - sum of squares."""
    of = rows[STARTS]
    return float(of[:, :N_WORDS].sum(axis=1).mean()), float((1 - (of**2).sum(axis=1)).mean())


def world(rng: np.random.Generator, temperatures: Mapping[str, float], n: int) -> list[Setting]:
    """Settings on 20 prompts, n outputs of each."""
    starts = rng.choice(STARTS, 20)
    found = []
    for name, temperature in temperatures.items():
        quality, diversity = drawn(rng, heated(temperature), starts, n)
        found.append(setting(name, quality, diversity, name.split()[0] if " " in name else None))
    return found


def test_settings_of_one_recipe_have_no_winner() -> None:
    """Twelve settings that differ in their random numbers alone: at most one verdict in twenty may name one.

    The same rule on the prompts that chose would name one far more often: that is what the other half is for.
    """
    same = {"reference": 1.0, **{f"{family} {at}": 1.0 for family in "abc" for at in range(4)}}
    runs, alarms, claims = 120, 0, 0
    for seed in range(runs):
        found = judge(world(np.random.default_rng(seed), same, 8), Rules("validity", "distance", 0.2), resamples=2)
        alarms += found.holds
        claims += found.best.there is not None and holds(found.best.there, 0.2)
    assert alarms <= 0.05 * runs
    assert claims >= 0.07 * runs


def test_a_real_gain_is_found_and_intervals_hold_what_is_true() -> None:
    """Of 100 worlds: a setting twice as warm wins without loss of quality; areas and shares lie in their intervals."""
    temperatures = {"reference": 1.0, "a 1": 1.2, "a 2": 2.5, "b 1": 0.6, "b 2": 6.0}
    true = {name: truth(heated(one)) for name, one in temperatures.items()}
    points = np.array([true[name] for name in temperatures if " " in name])
    area = {"a": dominated_area(points[:2], (0, 0), (1, 1)), "b": dominated_area(points[2:], (0, 0), (1, 1))}
    front = unbeaten(points)
    runs, wins = 100, 0
    inside: dict[str, int] = {}
    for seed in range(runs):
        settings = world(np.random.default_rng(seed), temperatures, 24)
        found = judge(settings, Rules("validity", "distance", 0.1), resamples=300)
        wins += found.holds and found.best.setting == "a 2"
        for one in found.families[:2]:
            assert one.of_front is not None
            inside["area " + one.name] = inside.get("area " + one.name, 0) + (
                one.area.low <= float(area[one.name]) <= one.area.high
            )
            share = front[:2].sum() / front.sum() if one.name == "a" else front[2:].sum() / front.sum()
            inside["share " + one.name] = inside.get("share " + one.name, 0) + (
                one.of_front.low - 1e-9 <= share <= one.of_front.high + 1e-9
            )
    assert wins >= 0.65 * runs
    assert {name: n / runs for name, n in inside.items() if n < 0.9 * runs} == {}


# ---- outputs under other models, and the budget


def test_what_follows_a_prompt_has_the_bits_of_the_chain() -> None:
    from scripted_work import open_scripted

    engine, rows = open_scripted("base"), transition("base")
    prompt, text = "She was", " a nurse. "
    ids = engine.tokenize(prompt + text)
    behind = len(engine.tokenize(prompt))
    [found] = continued(engine, [(prompt, text)])
    assert found.bits == pytest.approx(
        -sum(math.log2(rows[a, b]) for a, b in zip(ids[behind - 1 :], ids[behind:], strict=False)), rel=1e-5
    )
    assert found.n_bytes == len(text)


@pytest.mark.model
def test_what_follows_a_prompt_is_what_score_says_of_it(plain_pair: dict[str, Path]) -> None:
    from llama_diversity.engines import EngineOptions, open_engine
    from llama_diversity.resolve import resolve_model

    engine = open_engine(resolve_model(str(plain_pair["aligned"])), EngineOptions())
    texts = [("The old bridge", " was built in 1921."), ("The old bridge", " and the river"), ("She", " was a nurse.")]
    for (prompt, text), found in zip(texts, continued(engine, texts), strict=True):
        ids, behind = engine.tokenize(prompt + text), len(engine.tokenize(prompt))
        assert engine.tokenize(prompt) == ids[:behind]
        assert found.bits == pytest.approx(float(engine.score(ids)["surprisal_bits"][behind:].sum()), abs=0.01)
        assert found.n_bytes == len(text)
    engine.close()


def test_the_budget_does_not_prefer_short_outputs() -> None:
    """Half of the outputs are 1 long, half 9: what is kept of them at half the budget is as long as all, on average."""
    rng = np.random.default_rng(0)
    kept = []
    for _ in range(2000):
        tokens = rng.choice([1, 9], 12).tolist()
        n = affordable({"this": tokens, "that": [sum(tokens) // 2]})["this"]
        kept += [np.mean(tokens[:n])]
    assert np.mean(kept) == pytest.approx(5, abs=0.15)


# ---- the command


def told(run: Run, *command: object) -> dict:
    code, out, error = run("frontier", *command, "--json", "-q")
    assert code == 0, error
    return json.loads(out)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[ld.Found, Path]:
    """One run, and the folder of its page; shown again from the store it is the same."""
    folder = tmp_path_factory.mktemp("frontier")
    with ld.session(store=folder / "store.sqlite"):
        found = ld.frontier(
            {"heat": "scripted:aligned,T=1/2", "wide": "scripted:base,T=1/2"},
            reference="aligned=scripted:aligned", scorer="scripted:attractor", valid="[.!?]",
            prompts=PROMPTS[1::2], n=4, max_tokens=8,
        )  # fmt: skip
        found.save(folder / "page")
        assert {**ld.report(found.run)["frontier"].to_dict(), "run": found.run} == found.to_dict()
    return found, folder


def rows_of(folder: Path) -> list[dict[str, str]]:
    text = (folder / "page" / "frontier-by-prompt.csv").read_text("utf-8")
    return list(csv.DictReader(io.StringIO(text)))


def test_what_is_told(made: tuple[ld.Found, Path]) -> None:
    found = made[0].to_dict()
    assert [one["setting"] for one in found["points"]] == ["aligned", "heat T=1", "heat T=2", "wide T=1", "wide T=2"]
    assert found["quality"] == "validity"  # as `valid` says what it is
    assert found["verdict"].startswith("At quality (valid, share) not worse than aligned's by 0.05, the most diverse")
    measures = found["points"][1]["measures"]
    assert set(measures) >= {"validity", "topic", "aligned", "scorer", "loops", "finished", "distance", "entropy"}
    assert 0 < found["families"][-1]["coverage"]["value"] <= 1
    assert sum(one["share_of_front"]["value"] for one in found["families"][:-1]) == pytest.approx(1)


def test_the_page_has_outputs_to_read_with_and_without_a_script(made: tuple[ld.Found, Path]) -> None:
    page = (made[1] / "page" / "index.html").read_text("utf-8")
    assert page.count("<details data-name=") == 5
    assert '<div class="exhibit readings" id="frontier-outputs" data-figure="frontier-plane">' in page
    assert 'new Event("drawn")' in page
    assert "https://" not in READ
    names = {path.name for path in (made[1] / "page").iterdir()}
    assert names >= {"frontier-plane.svg", "frontier-plane.png", "frontier-by-prompt.csv", "frontier.json"}


def test_rows_have_every_value(made: tuple[ld.Found, Path]) -> None:
    rows = rows_of(made[1])
    assert {row["half"] for row in rows} == {"odd", "even"}
    mine = [float(row["value"]) for row in rows if (row["setting"], row["measure"]) == ("heat T=1", "validity")]
    assert len(mine) == 10
    assert np.mean(mine) == pytest.approx(made[0].to_dict()["points"][1]["quality"]["mean"])


def test_settings_have_equal_tokens(made: tuple[ld.Found, Path]) -> None:
    """Of each prompt as many outputs as the smallest sum pays for; the setting that drew least keeps all of its."""
    rows = rows_of(made[1])
    for number in map(str, range(1, 11)):
        outputs = {row["setting"]: int(row["outputs"]) for row in rows if row["prompt_number"] == number}
        tokens = {row["setting"]: int(row["tokens"]) for row in rows if row["prompt_number"] == number}
        assert max(outputs.values()) == 4
        assert max(tokens.values()) <= 2 * min(tokens.values())


def test_the_verdict_is_none_of_one_recipe(run: Run) -> None:
    same = ("--family", "same=scripted:base,seed=1/2/3", "--reference", "base=scripted:base")
    found = told(run, *same, *PROMPTS, "-n", 3, "--max-tokens", 8, "--delta", 1)
    assert not found["holds"]
    assert "the most diverse setting is none: " in found["verdict"]


def test_known_answers_are_valid_and_others_are_not(run: Run, tmp_path: Path) -> None:
    known = tmp_path / "known.txt"
    known.write_text("heads\nHEADS tails\n\n")
    coins = ("--family", "coin=scripted:coin,seed=1/2", "--reference", "coin0=scripted:coin")
    found = told(run, *coins, *PROMPTS, "-n", 40, "--max-tokens", 2, "--known", known)
    for one in found["points"]:
        assert one["measures"]["validity"] == pytest.approx(0.25, abs=0.06)  # heads tails, of four pairs
    assert known.name in found["command"]


def test_what_a_grammar_describes_is_valid_and_nothing_is_forced(run: Run, tmp_path: Path) -> None:
    """Two tosses are one of four pairs, a blank behind each toss; blanks at the ends may be there or not."""
    grammar = tmp_path / "pairs.gbnf"
    coins = ("--family", "coin=scripted:coin,seed=1/2", "--reference", "coin0=scripted:coin")
    for text, share in (
        ('root ::= "heads " ("heads" | "tails")', 0.5),
        ('root ::= (side " ")+\nside ::= "heads" | "tails"', 1.0),
        ('root ::= "heads"', 0.0),
    ):
        grammar.write_text(text)
        found = told(run, *coins, *PROMPTS, "-n", 40, "--max-tokens", 2, "--grammar", grammar)
        assert found["quality"] == "validity"
        for one in found["points"]:
            assert one["measures"]["validity"] == pytest.approx(share, abs=0.06 if share == 0.5 else 0)
    assert grammar.name in found["command"]
    grammar.write_text("root ::= (")
    code, _, error = run("frontier", *coins, *PROMPTS, "--grammar", grammar)
    assert (code, "llama.cpp cannot use it" in error) == (2, True)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--quality", "validity"), "--quality is 'validity'; it needs --valid, --known or --grammar"),
        (("--quality", "scorer"), "--quality is 'scorer'; it needs --scorer"),
        (("--delta", -1), "--delta is -1.0; it must not be negative"),
        (("--valid", "("), "it is no regular expression"),
        (("--known", "nowhere.txt"), "it cannot be read"),
        (("--grammar", "nowhere.gbnf"), "it cannot be read (No such file or directory); name a GBNF file"),
        (("--valid", "a", "--known", "nowhere.txt"), "--valid and --known are given: leave all but one out"),
        (("-n", 1), "-n is 1"),
        (("--scorer", "tiny-bse"), "Did you mean tiny-base"),
        (("--family", "more=scripted:base,T=1/2/3"), "Families need the same number of settings"),
    ],
)
def test_refusals(options: tuple[object, ...], words: str, run: Run) -> None:
    code, out, error = run("frontier", *FAMILIES, *SMALL, *options)
    assert code == 2
    assert out == ""
    assert words in " ".join(error.split())
    assert "Traceback" not in error


def test_half_of_few_prompts_cannot_judge(run: Run) -> None:
    code, _, error = run("frontier", *FAMILIES, "--reference", "aligned=scripted:aligned", "-p", "She", "-p", "He")
    assert code == 2
    assert "Half of the prompts choose a setting and the other half judge it: name 10 prompts or more, not 2." in error


def test_a_family_without_a_reference_is_refused(run: Run) -> None:
    code, _, error = run("frontier", *FAMILIES)
    assert code == 2
    assert "Name what settings are set against: --reference aligned=MODEL, or a pair." in error


def test_qualities_have_ends_and_a_margin() -> None:
    for one in QUALITIES.values():
        assert (one.best > one.worst) == one.is_more_better
        assert 0 < one.delta < abs(one.best - one.worst)


def test_measures_along_the_number_that_a_family_turns() -> None:
    from llama_diversity.studies.frontier.pictures import curves, turned

    def setting(name: str, family: str | None, entropy: list[float]) -> Setting:
        nothing = np.zeros(len(entropy))
        return Setting(name, family, {"topic": np.array(entropy) / 10}, {"entropy": np.array(entropy)}, *[nothing] * 3)

    settings = [
        setting("aligned", None, [1, 1, 1]),
        setting("dial lambda=1", "dial", [1, 2, 3]),
        setting("dial lambda=-0.5", "dial", [5, 6, 7]),
        setting("dial lambda=0", "dial", [3, math.nan, 5]),
        setting("ask seeded", "ask", [1, 1, 1]),
        setting("ask listed", "ask", [1, 1, 1]),
        setting("ask plan", "ask", [1, 1, 1]),
        setting("two T=1", "two", [1, 1, 1]),
        setting("two T=2", "two", [1, 1, 1]),
    ]
    [found] = turned(settings)  # not words, and not two points
    assert (found.family, found.knob, list(found.numbers)) == ("dial", "lambda", [-0.5, 0.0, 1.0])
    assert [one.mean for one in found.measures["entropy"]] == [6, 4, 2]
    half = 4.302653 / math.sqrt(3)  # sd 1, three prompts: t at 2 degrees of freedom
    assert found.measures["entropy"][0].low == pytest.approx(6 - half, abs=1e-5)
    assert list(found.measures) == ["entropy", "topic"]
    [figure] = curves(settings)
    assert figure.name == "frontier-by-lambda"
    assert list(figure.draw()) == ["entropy", "topic"]
    assert curves(settings[:2]) == []
