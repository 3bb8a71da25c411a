"""`branch`: exact masses against closed forms, `tree` and samples; runs for all else; a model that stays open."""

from __future__ import annotations

import csv
import dataclasses
import json
import shlex
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import chisquare
from test_scripted import token

import llama_diversity as ld
from llama_diversity.engines.scripted import transition, vocabulary
from llama_diversity.errors import BadValue
from llama_diversity.records import Asking, Prompt
from llama_diversity.store import Store
from llama_diversity.studies.branch.analysis import Distribution, Spelled, Token, Way, text_of
from llama_diversity.studies.branch.gathering import Looking, looking
from llama_diversity.studies.branch.specs import Ids, ModelChanged, parse_way, place_of
from llama_diversity.studies.branch.study import Branch
from llama_diversity.studies.drawing import Drawing
from llama_diversity.studies.sampling import Request
from llama_diversity.studies.session import Session
from llama_diversity.studies.watching import Seen, Stopped, Watch

Run = Callable[..., tuple[int, str, str]]
BASE = ("-m", "scripted:base", "-p", "She")


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "store.sqlite"
    monkeypatch.setenv("LLAMADIV_STORE", str(path))
    return path


def branched(run: Run, *options: object) -> dict:
    code, out, error = run("branch", *options, "--json", "-q")
    assert code == 0, error
    return json.loads(out)


def row(name: str, text: bytes) -> np.ndarray:
    return transition(name)[token(name, text)]


# ---- masses


def test_masses_are_products_of_the_chain_s_rows(run: Run) -> None:
    found = branched(run, *BASE, "--then", " was", "--then", " was a nurse", "--top", 2, "-n", 5)
    was, a, nurse = (token("base", text) for text in (b" was", b" a", b" nurse"))
    p = row("base", b"She")[was]
    ways = {tuple(one["id"] for one in way["taken"]): way for way in found["ways"]}
    assert [way["way"] for way in found["ways"]] == ["way 1", "way 2", "way 3", "way 4"]  # " was" is the likeliest too
    assert ways[()]["mass"] == 1
    assert ways[was,]["mass"] == pytest.approx(p, rel=1e-6)
    exact = p * row("base", b" was")[a] * row("base", b" a")[nurse]
    assert ways[was, a, nurse]["mass"] == pytest.approx(exact, rel=1e-6)
    assert ways[was, a, nurse]["above"] == ways[was,]["way"]
    assert ways[was, a, nurse]["expected"] == pytest.approx(exact / p, rel=1e-6)
    likeliest = int(np.argsort(-row("base", b"She"), kind="stable")[1])
    assert ways[likeliest,]["taken_probability"] == pytest.approx(row("base", b"She")[likeliest], rel=1e-6)


def test_masses_are_those_of_tree(run: Run) -> None:
    """Every opening of three tokens that `tree` finds, taken by hand."""
    pair = ("--base", "scripted:base", "--aligned", "scripted:aligned")
    code, out, _ = run("tree", *pair, "-p", "She", "--depth", 3, "-k", 12, "--json")
    assert code == 0
    openings = json.loads(out)["arms"]["base"]["openings"]
    ways = [word for one in openings for word in ("--way", f":{','.join(map(str, one['ids']))}")]
    found = branched(run, *BASE, *ways, "-n", 1, "--max-tokens", 1)
    masses = {tuple(one["id"] for one in way["taken"]): way["mass"] for way in found["ways"]}
    for one in openings:
        assert masses[tuple(one["ids"])] == pytest.approx(one["probability"], rel=1e-6)


def test_shares_are_what_the_chain_draws(run: Run) -> None:
    """Chi-square of the first tokens of 400 continuations; the seed is fixed, so it passes always or never."""
    found = branched(run, *BASE, "--then", " was", "-n", 400, "--max-tokens", 2)
    before, after = found["ways"]
    for way, p in ((before, row("base", b"She")), (after, row("base", b" was"))):
        seen = {one["id"]: one["share"]["k"] for one in way["firsts"]}
        assert sum(seen.values()) == way["n"] == 400
        large = [at for at in range(len(p)) if 400 * p[at] >= 5]
        counts = [seen.get(at, 0) for at in large]
        expected = [400 * p[at] for at in large]
        assert chisquare([*counts, 400 - sum(counts)], [*expected, 400 - sum(expected)]).pvalue > 1e-3
        for one in way["firsts"]:
            assert one["probability"] == pytest.approx(p[one["id"]], rel=1e-5)
            assert one["drawn_with"] == one["probability"]
        assert way["entropy_bits"] == pytest.approx(-(p * np.log2(p)).sum(), abs=1e-4)
    low, high = after["share"]["low"], after["share"]["high"]
    assert low < after["expected"] < high


def test_a_sampler_s_shares_are_beside_what_they_were_drawn_with(run: Run) -> None:
    found = branched(run, *BASE, "-n", 300, "--max-tokens", 1, "-t", "0.5")
    p = row("base", b"She") ** 2
    for one in found["ways"][0]["firsts"]:
        assert one["drawn_with"] == pytest.approx((p / p.sum())[one["id"]], rel=1e-4)
        assert one["probability"] == pytest.approx(row("base", b"She")[one["id"]], rel=1e-5)
    code, out, _ = run("branch", *BASE, "-n", 300, "--max-tokens", 1, "-t", "0.5")
    assert "their shares follow the sampler, the masses do not" in " ".join(out.split())


@pytest.mark.model
def test_masses_of_the_shipped_model_are_those_of_tree_and_of_its_samples(run: Run) -> None:
    """Within what its arithmetic leaves open, and within 99.99 % of chance; seeds are fixed."""
    prompt = ("-p", "Grace Hopper was")
    code, out, _ = run("tree", *prompt, "--depth", 2, "-k", 6, "--json")
    assert code == 0
    aligned = json.loads(out)["arms"]["aligned"]
    ways = [word for one in aligned["openings"] for word in ("--way", f":{','.join(map(str, one['ids']))}")]
    found = branched(run, "-m", "tiny-aligned", *prompt, *ways, "-n", 200, "--max-tokens", 3)
    masses = {tuple(one["id"] for one in way["taken"]): way for way in found["ways"]}
    bits = 1.96 * 2 * aligned["noise_floor"]["surprisal_rms_bits"] * 2**0.5  # two readings of two tokens
    for one in aligned["openings"]:
        assert abs(np.log2(masses[tuple(one["ids"])]["mass"] / one["probability"])) < max(bits, 0.05)
    code, out, _ = run("sample", "-m", "tiny-aligned", *prompt, "-n", 600, "--max-tokens", 2, "--seed", 3, "--json")
    drawn = [tuple(token["id"] for token in json.loads(line)["tokens"]) for line in out.splitlines()]
    for path, way in masses.items():
        k, p = sum(one[: len(path)] == path for one in drawn), way["mass"]
        assert abs(k - 600 * p) < 4 * (600 * p * (1 - p) + 1) ** 0.5, path
    stem = masses[()]
    for way in masses.values():
        if way["above"] == stem["way"]:
            assert abs(way["share"]["k"] - 200 * way["expected"]) < 4 * (200 * way["expected"] + 1) ** 0.5


# ---- a run like any other


def test_the_same_again_draws_nothing_and_is_shown_without_a_model(run: Run, store: Path, tmp_path: Path) -> None:
    command = ("branch", *BASE, "--then", " was a nurse", "-n", 6, "--max-tokens", 5)
    code, first, _ = run(*command, "--json")
    code, again, _ = run(*command, "--json")
    one, other = json.loads(first), json.loads(again)
    assert one.pop("run") != other.pop("run")
    assert one == other
    assert shlex.split(one["command"])[:2] == ["llamadiv", "branch"]
    code, out, error = run(*shlex.split(one["command"])[1:], "--json", "-q")
    assert (code, error) == (0, "")
    assert json.loads(out)["ways"] == one["ways"]
    with Store.open(store, read_only=True) as opened:
        assert sum(opened.counts(key).n_samples for key in opened.recipe_keys()) == 12
    code, _, error = run("report", "last", "--out", tmp_path / "page")
    assert code == 0, error
    page = (tmp_path / "page" / "index.html").read_text("utf-8")
    assert "Where other ways lead" in page
    assert (tmp_path / "page" / "branch-shares.svg").exists()


def test_all_that_takes_runs_takes_it(run: Run, tmp_path: Path) -> None:
    branched(run, *BASE, "--then", " was", "-n", 20, "--max-tokens", 6)
    code, out, _ = run("runs", "show", "last", "--json")
    cells = json.loads(out)["cells"]
    assert [(one["arm"], one["n_stored"]) for one in cells] == [("branch/way 1", 20), ("branch/way 2", 20)]
    recipes = json.loads(out)["recipes"]
    asked = recipes[cells[1]["recipe"]]["prompt"]
    assert asked["text"] == "She was"
    assert asked["ids"] == [0, token("base", b"She"), token("base", b" was")]
    for command in (
        ("heatmap", "--run", "last", "--sample", 3, "--arm", "branch/way 2"),
        ("variety", "last", "--by", "text"),
        ("methods", "last"),
        ("runs", "export", "last", "--out", tmp_path / "all.csv"),
        ("runs", "show", "last"),
    ):
        code, out, error = run(*command)
        assert code == 0, error
        assert out
    with open(tmp_path / "all.csv", encoding="utf-8", newline="") as file:
        assert len(list(csv.reader(file))) == 41


def test_a_stored_sample_is_left_where_one_wants(run: Run) -> None:
    code, _, _ = run("sample", "-m", "scripted:base", "-p", "She", "-n", 3, "--max-tokens", 8, "-q")
    code, out, _ = run("runs", "export", "last")
    sample = json.loads(out.splitlines()[2])
    ids = [one["id"] for one in sample["tokens"]]
    found = branched(run, "--run", "last", "--sample", 2, "--at", 3, "--then", " nurse", "-n", 4)
    stay, take = found["ways"]
    for way in (stay, take):
        assert [one["id"] for one in way["stem"]] == ids[:3]
        assert way["said"]["id"] == ids[3]
        bits = sum(one["surprisal_bits"] for one in sample["tokens"][:3])
        assert way["mass"] == pytest.approx(2**-bits * way["taken_probability"], rel=1e-5)
    assert take["taken"][0]["text"] == " nurse"
    assert "--run" in found["command"]
    code, out, error = run(*shlex.split(found["command"])[1:], "--json", "-q")
    assert json.loads(out)["ways"] == found["ways"]
    code, _, error = run("branch", "--run", "last", "--at", 99)
    assert (code, error.count("\n")) == (2, 1)
    assert "the text has" in error


def test_a_prompt_is_left_in_its_middle(run: Run) -> None:
    found = branched(run, "-m", "scripted:base", "-p", "She was a quiet nurse", "--at", 3, "--then", " poet", "-n", 3)
    assert found["prompt"] == "She was a"
    stay, take = found["ways"]
    assert (stay["said"]["text"], stay["stem"]) == (" quiet", [])
    assert take["mass"] == pytest.approx(row("base", b" a")[token("base", b" poet")], rel=1e-6)
    code, out, _ = run("runs", "show", "last", "--json")
    assert {one["prompt"]["text"] for one in json.loads(out)["recipes"].values()} == {"She was a", "She was a poet"}


def test_hostile_text_and_halves_of_characters_are_shown_safely(run: Run) -> None:
    """A way of the chain's escape sequence, and one that ends in the middle of a character."""
    half, screen = token("base", b"\xc3"), token("base", b"\x1b[2J")
    command = ("branch", *BASE, "--way", f":{screen}", "--way", f":{half}", "-n", 5, "--max-tokens", 4)
    code, out, error = run(*command)
    assert code == 0, error
    assert "\x1b" not in out
    assert "⟨C3⟩" in out
    found = branched(run, *command[1:])
    assert found["ways"][2]["taken"][0]["text_hex"] == "c3"
    assert [one["id"] for one in found["ways"][2]["taken"]] == [half]
    code, out, _ = run("runs", "show", "last")
    assert code == 0
    assert "\x1b" not in out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "Name what to leave: a prompt (-m MODEL -p TEXT), or a stored sample"),
        (("-p", "She", "--run", "last"), "Name what to leave"),
        (("-p", "She"), "A prompt needs a model: add -m MODEL"),
        ((*BASE, "--way", "5"), "write STEM:TAKEN"),
        ((*BASE, "--way", ":5x"), "write STEM:TAKEN"),
        ((*BASE, "--way", ":5:6,7"), "write STEM:TAKEN"),
        ((*BASE, "--way", ":999"), "token ids of scripted:base are 0 to 289"),
        ((*BASE, "--way", ":1"), "</s> ends the text; nothing follows it"),
        ((*BASE, "--way", "1:5"), "</s> ends the text; nothing follows it"),
        ((*BASE, "--then", ""), "there is nothing to take"),
        ((*BASE, "--at", "9"), "the prompt has 1 tokens: 0 to 1"),
        ((*BASE, "-n", "0"), "ask for 1 to"),
        ((*BASE, "--max-tokens", "0"), "it must be at least 1"),
        ((*BASE, "--only"), "There is no way left"),
        ((*BASE, "--top", "99999"), "so many ways of one run are the most: 200"),
        (("-m", "tiny", "-p", "She"), "tiny is a pair, not a model. Name one of its models: tiny-base or tiny-aligned"),
        (("--run", "nothing"), "no run called 'nothing'"),
    ],
)
def test_what_cannot_be_meant_is_one_sentence(
    run: Run, monkeypatch: pytest.MonkeyPatch, options: tuple, said: str
) -> None:
    monkeypatch.delenv("LLAMADIV_MODEL", raising=False)
    run("sample", "-m", "scripted:base", "-p", "She", "-n", 1, "-q")
    code, out, error = run("branch", *options)
    assert (code, out) == (2, "") or (code == 1 and "nothing" in options)
    assert said in error
    assert error.count("\n") == 1 or "Usage" in error


def test_settings_are_refused_before_anything_is_measured(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(*given: object) -> None:
        raise AssertionError("a model works")

    monkeypatch.setattr("llama_diversity.studies.branch.gathering._measured", measured)
    for options in (("-n", 0), ("--max-tokens", 0), ("--top", 201)):
        assert run("branch", *BASE, *options)[0] == 2


def test_more_can_be_drawn_of_a_tree_but_not_fewer(sitting: Looking, store: Path) -> None:
    sitting.grow(Ids((), ()), Watch(ignored))
    sitting.resize(20)
    assert sitting.kept()[2:4] == (12, 20)
    sitting.grow(Ids((), ()), Watch(ignored))
    assert sitting.kept()[2:4] == (20, 20)
    with Store.open(store, read_only=True) as opened:
        assert [one.n for one in opened.run("last").cells] == [20]
    with pytest.raises(ld.errors.BadUsage, match="more can be drawn, not fewer"):
        sitting.resize(4)


def test_workers_are_refused(run: Run) -> None:
    code, _, error = run("branch", *BASE, "--workers", 1)
    assert code == 1
    assert "Leave out --workers" in error


@pytest.mark.model
def test_a_model_that_was_changed_is_not_gone_on_with(
    run: Run, tmp_path: Path, tiny_model: Path, base_model: Path
) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(tiny_model.read_bytes())
    assert run("sample", "-m", path, "-p", "Once", "-n", 2, "--max-tokens", 4, "-q")[0] == 0
    assert run("branch", "--run", "last", "--at", 2, "-n", 2, "--max-tokens", 3, "-q")[0] == 0
    path.write_bytes(base_model.read_bytes())
    code, _, error = run("branch", "--run", "last", "--at", 2)
    assert code == 1
    assert "is not the model of run" in error
    assert error.count("\n") == 1
    path.unlink()
    code, _, error = run("branch", "--run", "last", "--at", 2)
    assert code == 1
    assert str(path) in error


# ---- continued by perturb


def test_perturb_goes_on_with_what_was_taken(run: Run, tmp_path: Path) -> None:
    run("sample", "-m", "scripted:attractor", "-p", "She was", "-n", 1, "--max-tokens", 6, "-q")
    code, out, _ = run("runs", "export", "last")
    said = [bytes.fromhex(one["bytes"]).decode() for one in json.loads(out)["tokens"]]
    found = branched(run, "--run", "last", "--at", 2, "--then", " brave", "--then", " the", "-n", 2, "--max-tokens", 4)
    pair = ("--base", "scripted:base", "--aligned", "scripted:attractor")
    command = ("perturb", *pair, "--opening-of", found["run"], "-n", 16, "--max-tokens", 12)
    code, out, error = run(*command, "--json", "-q")
    assert code == 0, error
    told = json.loads(out)
    stem = "She was" + "".join(said[:2])
    assert [one["doses"]["1"]["unchanged"] for one in told["openings"]] == [stem + said[2]] * 2
    assert [one["doses"]["1"]["changed"] for one in told["openings"]] == [f"{stem} brave", f"{stem} the"]
    assert list(told["arms"]) == ["base", "base, T 0.3", "aligned"]
    assert f"--opening-of {found['run']}" in told["command"]
    code, again, _ = run(*shlex.split(told["command"])[1:], "--json", "-q")
    assert code == 0
    one, other = json.loads(again), dict(told)
    assert one.pop("run") != other.pop("run")
    assert one == other
    code, out, _ = run("runs", "show", "last", "--json")
    assert all("completions" not in cell["arm"] for cell in json.loads(out)["cells"])
    code, out, _ = run("report", told["run"], "--out", tmp_path / "page")
    assert code == 0
    for options in (("--dose", "1,2"), ("--replace", "was", "met"), ("-p", "He")):
        code, _, error = run(*command, *options)
        assert code == 2, options
        assert "leave out" in error
    code, _, error = run("perturb", *pair, "--opening-of", told["run"])
    assert code == 2
    assert "it is no run of `branch`" in error
    found = branched(run, *BASE, "-n", 2)
    code, _, error = run("perturb", *pair, "--opening-of", found["run"])
    assert code == 2
    assert "takes anything else" in error


# ---- a model that stays open


@pytest.fixture
def sitting(store: Path) -> Iterator[Looking]:
    session = Session(named_store=store, command=("llamadiv", "view"))
    place = place_of("scripted:base", Request("She"), None, at=None, asking=Asking(), session=session)
    with looking(place, n=12, max_tokens=6, drawing=Drawing(), session=session) as one:
        yield one


def ignored(seen: Seen) -> None:
    pass


def test_ways_of_one_sitting_are_one_run_that_the_command_makes_again(sitting: Looking, run: Run, store: Path) -> None:
    was, a = token("base", b" was"), token("base", b" a")
    assert sitting.ids_of((), " was a") == (was, a)
    assert sitting.distribution(()).probability(was) == pytest.approx(row("base", b"She")[was])
    first = sitting.grow(Ids((), (was,)), Watch(ignored))
    second = sitting.grow(Ids((was,), (a,), token("base", b" the")), Watch(ignored))
    assert (first.number, second.number, first.run) == (0, 1, second.run)
    assert sitting.grow(Ids((was,), ()), Watch(ignored)).number == 0  # the same way, and nothing is drawn
    tree = sitting.tree()
    assert [one.n for one in tree] == [12, 12]
    assert (tree[1].above, tree[1].expected) == (0, pytest.approx(row("base", b" was")[a], rel=1e-6))
    assert sitting.finish() == first.run
    with Store.open(store, read_only=True) as opened:
        stored = opened.run(first.run)
        assert stored.finished is not None
        assert len(stored.cells) == 2
        n_samples = sum(opened.counts(key).n_samples for key in opened.recipe_keys())
        [study] = stored.about["experiments"]
    assert n_samples == 24
    code, out, error = run(*shlex.split(study["command"])[1:], "-n", 12, "--max-tokens", 6, "--json", "-q")
    assert code == 0, error
    ways = json.loads(out)["ways"]
    assert [way["n"] for way in ways] == [12, 12]
    assert ways[1]["said"]["text"] == " the"
    with Store.open(store, read_only=True) as opened:
        assert sum(opened.counts(key).n_samples for key in opened.recipe_keys()) == n_samples
    third = sitting.grow(Ids((), ()), Watch(ignored))
    assert third == (2, first.run)
    assert [len(sitting.samples(number)) for number in range(3)] == [12, 12, 12]


def test_stopping_keeps_what_is_finished_and_the_rest_is_the_same_later(sitting: Looking, store: Path) -> None:
    seen: list[Seen] = []

    def stop_soon(one: Seen) -> None:
        seen.append(one)
        if len(seen) == 3:
            watch.stop()

    watch = Watch(stop_soon, every_s=0)
    with pytest.raises(Stopped, match="from the same random numbers"):
        sitting.grow(Ids((), ()), watch)
    assert all(len(one.growing) == 12 or one.finished for one in seen)
    told = {one.index: one.tokens for one in seen[-1].growing}
    assert told
    [gone] = sitting.tree()
    assert gone.n == 12 - len(told)
    sitting.grow(Ids((), ()), Watch(ignored))
    [gone] = sitting.tree()
    assert gone.n == 12
    with Store.open(store, read_only=True) as opened:
        key = opened.run("last").cells[0].recipe_key
        for index, tokens in told.items():
            kept = opened.sample(key, index).tokens
            assert kept[: len(tokens)].tobytes() == tokens.tobytes()


def test_pausing_holds_the_drawing_until_it_goes_on(sitting: Looking) -> None:
    """The thread that draws waits between two steps; all that was drawn is shown meanwhile."""
    paused, seen = threading.Event(), []

    def see(one: Seen) -> None:
        seen.append(one)
        if watch.is_paused:
            paused.set()

    watch = Watch(see, every_s=1e9)
    watch.pause()
    waited: list[int] = []

    def go_on() -> None:
        paused.wait(30)
        waited.append(len(seen))
        watch.go_on()

    helper = threading.Thread(target=go_on)
    helper.start()
    sitting.grow(Ids((), ()), watch)
    helper.join()
    assert waited == [1]
    assert {len(one.tokens) for one in seen[0].growing} == {1}
    assert sum(len(one.finished) for one in seen) == 12
    assert sum(one.n_tokens for one in seen) == sum(len(s.tokens) for one in seen for s in one.finished)


def test_looks_are_as_many_as_an_eye_follows(sitting: Looking) -> None:
    now = [0.0]

    def clock() -> float:
        now[0] += 0.03
        return now[0]

    seen: list[Seen] = []
    sitting.grow(Ids((), ()), Watch(seen.append, every_s=0.1, clock=clock))
    assert 2 <= len(seen) <= 5  # of six steps the first, every third, and the end


def test_more_room_is_made_where_it_is_needed(sitting: Looking) -> None:
    long = (token("base", b" a"),) * 300
    assert len(sitting.read(long)) == 300
    assert sitting.distribution(long).rank(token("base", b" nurse")) >= 1
    with pytest.raises(ld.errors.PromptTooLong):
        sitting.distribution(long * 40)


# ---- numbers


def test_tokens_that_are_looked_for() -> None:
    pieces = vocabulary("base")
    spelled = Spelled(pieces)
    assert [pieces[at].bytes for at in spelled.matching("nurs")] == [b" nurse"]
    assert pieces[int(spelled.matching("</s")[0])].control == "</s>"
    assert [pieces[at].bytes for at in spelled.matching("She")] == [b"She"]
    found = Distribution(np.log(row("base", b"She")))
    order = found.order()
    assert [found.rank(int(at)) for at in order[:2]] == [1, 2]
    assert found.entropy_bits == pytest.approx(-(np.exp(found.log_p) * found.log_p).sum() / np.log(2))
    assert Distribution(np.array([0.0, -np.inf])).entropy_bits == 0


def test_settings_come_back_from_json() -> None:
    said = Token(9, "\udcc3", None, 0.25)
    prompt = Prompt("She", "She", (0, 5), others=(Prompt("She", "<a>She", (1, 5)),), reader=1)
    study = Branch(prompt, (Way((said,), (Token(1, "", "</s>", 0.0),), said), Way()), 3, 4, ("-p", "She"))
    assert Branch.from_settings(json.loads(json.dumps(study.settings()))) == study
    assert text_of([said, dataclasses.replace(said, text="\udca9")]) == "é"


@pytest.mark.parametrize("ids", [Ids((), ()), Ids((5,), ()), Ids((), (7, 8), 3), Ids((1, 2), (3,), 0)])
def test_a_way_is_a_word_and_back(ids: Ids) -> None:
    assert parse_way(ids.word) == ids
    with pytest.raises(BadValue):
        parse_way(f"{ids.word}:x")


def test_changed_models_are_named() -> None:
    said = str(ModelChanged("m", "r", then="a" * 64, now="b" * 64))
    assert "aaaaaaaaaaaa, and is bbbbbbbbbbbb" in said
