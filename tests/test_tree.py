"""Best-first search: the k heaviest openings are those of a full enumeration, and bounds hold where it stops early."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import json
import math
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import other_architectures
import pytest
from scripted_work import open_scripted

from llama_diversity.engines import EngineOptions, open_engine
from llama_diversity.engines.scripted import BOS, EOS, transition
from llama_diversity.errors import PromptTooLong
from llama_diversity.records import ModelRef, Piece, Prompt
from llama_diversity.render.branches import WeightedPath, branches_of, words_of
from llama_diversity.render.exhibits import Remark
from llama_diversity.studies.measuring.noise import Floor
from llama_diversity.studies.tree import study as study_of_tree
from llama_diversity.studies.tree.analysis import N_KEPT, Opening, Tree, grow, possible_ranks
from llama_diversity.studies.tree.exhibits import Facts, headline, section

Rows = Callable[[Sequence[tuple[int, ...]]], np.ndarray]


def chain(matrix: np.ndarray, start: int = 0) -> Rows:
    """The next-token distributions of a Markov chain that stands at token `start`."""
    with np.errstate(divide="ignore"):
        logs = np.log(matrix)
    return lambda paths: logs[[path[-1] if path else start for path in paths]]


def enumerated(matrix: np.ndarray, *, depth: int, ends: frozenset[int], start: int = 0) -> dict[tuple[int, ...], float]:
    """Every opening of positive probability and its probability, by following every token of every path."""
    done: dict[tuple[int, ...], float] = {}
    live = {(): 1.0}
    for _ in range(depth):
        grown: dict[tuple[int, ...], float] = {}
        for path, p in live.items():
            row = matrix[path[-1] if path else start]
            for token in np.flatnonzero(row):
                place = done if int(token) in ends else grown
                place[(*path, int(token))] = p * row[token]
        live = grown
    return {**done, **live}


def random_chain(n: int, seed: int, sharpness: float = 3.0) -> np.ndarray:
    rows = np.random.default_rng(seed).random((n, n)) ** sharpness
    return rows / rows.sum(axis=1, keepdims=True)


def heaviest(openings: dict[tuple[int, ...], float], k: int) -> list[float]:
    return sorted(openings.values(), reverse=True)[:k]


@pytest.mark.parametrize("batch", [1, 3, 32])
@pytest.mark.parametrize(("depth", "k"), [(1, 3), (2, 7), (5, 1), (5, 40), (4, 2000)])
def test_the_k_heaviest_are_those_of_a_full_enumeration(depth: int, k: int, batch: int) -> None:
    """Chains of 6 tokens, number 1 ends: at most 5^4 * 6 openings, all of them looked at by the other way."""
    ends = frozenset({1})
    for seed in range(4):
        matrix = random_chain(6, seed)
        every = enumerated(matrix, depth=depth, ends=ends)
        assert math.fsum(every.values()) == pytest.approx(1, abs=1e-12)
        tree = grow(chain(matrix), depth=depth, k=k, budget=10**6, ends=ends, batch=batch)
        assert tree.is_complete
        assert tree.n_certain == len(tree.openings) == min(k, len(every))
        np.testing.assert_allclose([one.probability for one in tree.openings], heaviest(every, k), rtol=1e-12)
        for one in tree.openings:
            assert one.probability == pytest.approx(every[one.ids], rel=1e-12)
        assert tree.mass == (tree.low[-1], tree.low[-1])
        assert tree.mass[0] == pytest.approx(math.fsum(heaviest(every, k)), abs=1e-12)
        left = sorted(every.values(), reverse=True)[k:]
        assert tree.mass_left == pytest.approx(math.fsum(left), abs=1e-12)
        assert tree.largest_left >= max(left, default=0.0) - 1e-15
        assert tree.largest_left <= tree.openings[-1].probability + 1e-15


def of_ids(*ids: int) -> Prompt:
    """A prompt of tokens, whatever they say."""
    return Prompt("", "", ids)


@pytest.mark.parametrize(("name", "depth"), [("base", 2), ("aligned", 2), ("attractor", 2), ("coin", 7)])
def test_on_the_scripted_engine(name: str, depth: int) -> None:
    with contextlib.closing(open_scripted(name)) as engine, engine.after(of_ids(BOS), longest=depth - 1) as after:
        tree = grow(after, depth=depth, k=50, budget=10**6, ends=engine.ends)
    every = enumerated(transition(name), depth=depth, ends=frozenset({EOS}), start=BOS)
    np.testing.assert_allclose([one.probability for one in tree.openings], heaviest(every, 50), rtol=1e-12)
    assert tree.mass[0] == pytest.approx(math.fsum(heaviest(every, 50)), abs=1e-12)
    assert tree.is_complete


def test_a_coin_by_hand() -> None:
    """Twelve tosses: 4096 openings of 2^-12. All inner paths, 1 + 2 + ... + 2^11 = 4095, are heavier than those."""
    with contextlib.closing(open_scripted("coin")) as engine, engine.after(of_ids(BOS), longest=11) as after:
        whole = grow(after, depth=12, k=100, budget=5000, ends=engine.ends)
        early = grow(after, depth=12, k=100, budget=2000, ends=engine.ends)
    assert whole.is_complete
    assert whole.mass == pytest.approx((100 / 4096, 100 / 4096), rel=1e-12)
    assert not early.is_complete
    assert early.n_certain == 0
    # At most 2,000 of the 2,047 paths of at most 10 tosses are followed up, so one of 10 is left.
    assert early.mass[0] == pytest.approx(100 / 4096)
    assert early.mass[1] == pytest.approx(100 / 1024)
    assert early.largest_left == pytest.approx(1 / 1024)
    assert early.n_expanded <= 2000


@pytest.mark.parametrize("budget", [1, 2, 5, 12, 30, 80, 200])
@pytest.mark.parametrize("k", [1, 10, 60])
def test_bounds_hold_where_the_budget_is_spent(budget: int, k: int) -> None:
    ends = frozenset({1})
    for seed in range(4):
        matrix = random_chain(6, seed, sharpness=1.0)
        every = enumerated(matrix, depth=5, ends=ends)
        truth = np.cumsum(heaviest(every, k))
        tree = grow(chain(matrix), depth=5, k=k, budget=budget, ends=ends, batch=4)
        assert 1 <= tree.n_expanded <= budget
        low, high = np.array(tree.low), np.array(tree.high)
        assert (low <= truth[: len(low)] + 1e-12).all()
        assert (truth[: len(high)] <= high[: len(truth)] + 1e-12).all()
        assert tree.mass[0] <= truth[-1] + 1e-12 <= tree.mass[1] + 2e-12
        listed = {one.ids for one in tree.openings}
        assert len(listed) == len(tree.openings)
        assert max((p for ids, p in every.items() if ids not in listed), default=0.0) <= tree.largest_left + 1e-15
        certain = [one.probability for one in tree.openings[: tree.n_certain]]
        np.testing.assert_allclose(certain, heaviest(every, tree.n_certain), rtol=1e-12)


def test_a_larger_budget_narrows_the_bounds() -> None:
    matrix = random_chain(8, 5, sharpness=1.0)
    trees = [grow(chain(matrix), depth=5, k=20, budget=b, ends=frozenset(), batch=8) for b in (20, 200, 5000)]
    widths = [tree.mass[1] - tree.mass[0] for tree in trees]
    assert widths[0] > widths[1] > widths[2] == 0.0


def test_a_vocabulary_larger_than_what_is_listed_at_once() -> None:
    """2,500 equal first tokens, each with one sure second: the tail of the root has to be asked for twice more."""
    n = 2 * N_KEPT + 452

    def after(paths: Sequence[tuple[int, ...]]) -> np.ndarray:
        rows = np.full((len(paths), n), -np.inf)
        for row, path in zip(rows, paths, strict=True):
            row[:] = -math.log(n) if not path else -np.inf
            if path:
                row[path[0]] = 0.0
        return rows

    tree = grow(after, depth=2, k=n, budget=10**5, ends=frozenset(), batch=500)
    assert sorted(one.ids for one in tree.openings) == [(token, token) for token in range(n)]
    assert tree.mass[0] == pytest.approx(1)
    assert tree.n_expanded == 1 + 2 + n
    early = grow(after, depth=2, k=5, budget=1, ends=frozenset())
    assert early.openings == ()
    assert early.mass == (0.0, pytest.approx(5 / n))


def test_an_opening_ends_where_the_sequence_ends() -> None:
    """Token 1 ends with probability 0.6, else token 0 again: openings 0.6, 0.24, 0.096 and, unended, 0.064."""
    matrix = np.array([[0.4, 0.6], [0.5, 0.5]])
    tree = grow(chain(matrix), depth=3, k=10, budget=100, ends=frozenset({1}))
    assert [one.ids for one in tree.openings] == [(1,), (0, 1), (0, 0, 1), (0, 0, 0)]
    np.testing.assert_allclose([one.probability for one in tree.openings], [0.6, 0.24, 0.096, 0.064])
    assert tree.mass[0] == pytest.approx(1)
    assert tree.mass_left == pytest.approx(0, abs=1e-12)
    assert tree.largest_left == 0.0
    np.testing.assert_allclose(np.exp(tree.openings[2].log_probabilities), [0.4, 0.16, 0.096])


def test_the_same_search_finds_the_same() -> None:
    matrix = random_chain(7, 9)
    one, other = (grow(chain(matrix), depth=5, k=30, budget=90, ends=frozenset({2})) for _ in range(2))
    assert one == other


@pytest.mark.parametrize("wrong", [{"depth": 0}, {"k": 0}, {"budget": 0}, {"batch": 0}])
def test_nothing_to_search_is_an_error(wrong: dict[str, int]) -> None:
    asked = {"depth": 2, "k": 2, "budget": 9, "batch": 1, **wrong}
    with pytest.raises(ValueError, match="at least 1"):
        grow(chain(random_chain(3, 0)), ends=frozenset(), **asked)


# ---- engines


@pytest.mark.model
@pytest.mark.parametrize(
    "options",
    [{}, {"parallel": 1}, {"parallel": 5}, {"flash_attention": True}],
    ids=str,
)
def test_after_equals_score_whatever_was_asked_before(tiny_model: Path, options: dict[str, object]) -> None:
    """Paths come in random order and number, so that beginnings are taken over, go on in place and are forgotten."""
    rng = np.random.default_rng(0)
    model = ModelRef("test", "llamacpp", str(tiny_model), "d")
    with contextlib.closing(open_engine(model, EngineOptions(n_threads=1, **options))) as engine:
        prompt = engine.tokenize("Once upon a time")
        long = [tuple(rng.integers(3, 700, 6).tolist()) for _ in range(9)]
        paths = [path[:n] for path in long for n in range(7)]
        with engine.after(of_ids(*prompt), longest=6) as after:
            rows = {}
            for some in np.array_split(rng.permutation(len(paths)), 5):
                asked = [paths[i] for i in some]
                rows.update(zip(asked, after(asked), strict=True))
            again = after([(), long[0], long[0]])
            with pytest.raises(ValueError, match="longer than 6"):
                after([(3,) * 7])
        for path in long:
            bits = engine.score(prompt + path)["surprisal_bits"][len(prompt) :]
            ours = [-rows[path[:n]][token] / math.log(2) for n, token in enumerate(path)]
            np.testing.assert_allclose(ours, bits, atol=0.03)
        assert max(abs(np.exp(row).sum() - 1) for row in rows.values()) < 1e-12
        np.testing.assert_allclose(again[1], again[2], atol=0.03)
        np.testing.assert_array_equal(again[0], rows[()])
        assert all(row.shape == (700,) and row.dtype == np.float64 for row in rows.values())
        with pytest.raises(PromptTooLong), engine.after(of_ids(*[3] * 1020), longest=6):
            pass


@pytest.mark.model
@pytest.mark.parametrize("write", [other_architectures.write_mamba, other_architectures.write_gemma2])
def test_after_on_recurrent_and_sliding_window_models(write: Callable[[Path], None], tmp_path: Path) -> None:
    write(tmp_path / "model.gguf")
    rng = np.random.default_rng(1)
    model = ModelRef("test", "llamacpp", str(tmp_path / "model.gguf"), "d")
    with contextlib.closing(open_engine(model, EngineOptions(n_threads=1, parallel=4))) as engine:
        prompt = engine.tokenize("some words to begin with, more than a window")
        long = [tuple(rng.integers(3, engine.facts.n_vocab, 5).tolist()) for _ in range(3)]
        paths = [path[:n] for n in range(5) for path in long]
        with engine.after(of_ids(*prompt), longest=4) as after:
            rows = dict(zip(paths, after(paths), strict=True))
        for path in long:
            bits = engine.score(prompt + path)["surprisal_bits"][len(prompt) :]
            ours = [-rows[path[:n]][token] / math.log(2) for n, token in enumerate(path)]
            np.testing.assert_allclose(ours, bits, atol=0.05)


EXACT = """
import contextlib, sys
from llama_diversity.engines import EngineOptions, open_engine
from llama_diversity.records import ModelRef
options = EngineOptions(n_threads=1, exact=True)
with contextlib.closing(open_engine(ModelRef("test", "llamacpp", sys.argv[1], "d"), options)) as engine:
    with engine.after(engine.prompt("Once"), longest=4) as after:
        paths = [(300 + i, 20 * i + 3, 40, 41 + i)[: 1 + i % 4] for i in range(12)]
        together, alone = after(paths), [after([path])[0] for path in paths]
print(sum((one == other).all() for one, other in zip(together, alone)))
"""


@pytest.mark.model
def test_exact_rows_do_not_depend_on_what_is_asked_with_them(tiny_model: Path) -> None:
    """In a process of its own: kernels are chosen once."""
    done = subprocess.run([sys.executable, "-c", EXACT, str(tiny_model)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "12"


@pytest.mark.model
def test_the_search_on_a_model_finds_no_more_than_one_and_nothing_heavier_is_missed(tiny_model: Path) -> None:
    """Depth 2, all 700 first tokens followed up: the enumeration of every opening is at hand."""
    model = ModelRef("test", "llamacpp", str(tiny_model), "d")
    with contextlib.closing(open_engine(model, EngineOptions(n_threads=1))) as engine:
        prompt = engine.tokenize("Once")
        with engine.after(of_ids(*prompt), longest=1) as after:
            tree = grow(after, depth=2, k=25, budget=2000, ends=engine.ends)
            first = after([()])[0]
            second = after([(token,) for token in range(700)])
    joint = first[:, None] + second
    ends = sorted(engine.ends)
    every = np.concatenate([first[ends], np.delete(joint, ends, axis=0).ravel()])
    assert np.exp(every).sum() == pytest.approx(1, abs=1e-9)
    np.testing.assert_allclose(
        [one.log_probabilities[-1] for one in tree.openings], np.sort(every)[::-1][:25], atol=0.03
    )
    assert tree.is_complete


def test_after_on_a_chain_is_its_own_row() -> None:
    with contextlib.closing(open_scripted("base")) as engine:
        prompt = engine.tokenize("She")
        with engine.after(of_ids(*prompt), longest=3) as after:
            rows = after([(), (4,), (4, 7)])
        np.testing.assert_allclose(np.exp(rows), transition("base")[[prompt[-1], 4, 7]], rtol=1e-12)
        with pytest.raises(PromptTooLong), engine.after(of_ids(*[2] * 8190), longest=5):
            pass


# ---- pictures


def test_branches_keep_the_heaviest_beginnings_and_join_what_does_not_part() -> None:
    a, b, c = Piece(b" a"), Piece(b" b"), Piece(b" c")
    paths = [WeightedPath((a, b, c), (0.8, 0.75, 0.4)), WeightedPath((a, b, a), (0.8, 0.75, 0.3)),
             WeightedPath((c, a, a), (0.1, 0.01, 0.005))]  # fmt: skip
    first, second = branches_of(paths, most=5)
    assert (first.pieces, first.probability) == ((a, b), 0.75)  # 0.75 is more than 0.9 * 0.8
    assert [(one.pieces, one.probability) for one in first.branches] == [((c,), 0.4), ((a,), 0.3)]
    assert (second.pieces, second.probability) == ((c,), 0.1)
    assert branches_of([]) == []


def test_words_are_whole_where_tokens_split_a_character() -> None:
    assert words_of([Piece(b"caf\xc3"), Piece(b"\xa9\x1b[2J"), Piece(b"\xf0\x9f")]) == "café⟨U+001B⟩[2J⟨F0 9F⟩"


# ---- the command


def scripted(run: Callable, *more: object) -> tuple[int, str, str]:
    arms = ("--base", "scripted:base", "--aligned", "scripted:attractor", "-p", "She")
    return run("tree", *arms, "--depth", 5, "-k", 20, *more)


def test_the_command_finds_the_narrow_chain_narrower(run: Callable, tmp_path: Path) -> None:
    code, out, _ = scripted(run, "--json", "--out", tmp_path / "files")
    assert code == 0
    report = json.loads(out)
    base, aligned = report["arms"]["base"], report["arms"]["aligned"]
    assert aligned["mass"]["low"] > base["mass"]["high"]
    # The cycle goes on with probability 7/8 and a little of the grammar's own.
    assert aligned["openings"][0]["text"] == " was a nurse. She"
    assert aligned["openings"][0]["probability"] > (7 / 8) ** 5
    assert aligned["is_complete"]
    assert len(aligned["openings"]) == len(aligned["cumulative"]["low"]) == 20
    assert report["command"].startswith("llamadiv tree --base scripted:base --aligned scripted:attractor -p She")
    names = {path.name for path in (tmp_path / "files").iterdir()}
    assert names >= {"tree-curve.png", "tree-curve.svg", "tree-openings.csv", "tree-mass.csv", "tree.json",
                     "index.html"}  # fmt: skip
    rows = list(csv.DictReader((tmp_path / "files/tree-openings.csv").read_text("utf-8").splitlines()))
    assert len(rows) == 40
    assert float(rows[20]["probability"]) == aligned["openings"][0]["probability"]
    assert "\x1b" not in (tmp_path / "files/tree-curve.svg").read_text("utf-8")


def test_the_same_command_again_searches_nothing_and_says_the_same(run: Callable) -> None:
    assert scripted(run, "--json") == scripted(run, "--json")


def test_a_page_of_80_columns(run: Callable) -> None:
    code, out, _ = scripted(run)
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    assert "The 20 likeliest 5-token openings hold" in out
    assert "aligned: She" in out
    assert "Where the listed openings part" in out


def test_a_spent_budget_is_said(run: Callable) -> None:
    code, out, _ = scripted(run, "--budget", 12)
    words = " ".join(out.split())
    assert code == 0
    assert "base: the budget of 12 paths was spent before the search was done" in words
    assert "A larger --budget narrows this." in words


def test_a_budget_of_one_path(run: Callable) -> None:
    words = " ".join(scripted(run, "--budget", 1)[1].split())
    assert "base: the budget of 1 path was spent before" in words


def test_a_page_of_50_columns_breaks_no_word(run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    out = scripted(run, "--budget", 12)[1]
    assert max(map(len, out.splitlines())) <= 50
    table = out.split("What the likeliest openings hold")[1].split("Probability of all")[0].split()
    assert {"aligned", "base", "least,", "certain", "largest", "paths", "12"} <= set(table)


def test_a_folder_that_cannot_be_written_is_refused_before_the_search(
    run: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llama_diversity.studies.tree.study._searched", lambda *work: pytest.fail("it searched"))
    (tmp_path / "file").touch()
    code, out, err = scripted(run, "--out", tmp_path / "file" / "x")
    assert (code, out) == (2, "")
    assert "--out is " in err
    assert "it cannot be written" in err
    assert err.endswith("; name another place.\n")


def test_an_interrupted_search_says_what_is_kept(run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[str] = []

    def search(arm, *work: object) -> object:
        searched.append(arm.name)
        if arm.name == last:
            raise KeyboardInterrupt
        return real(arm, *work)

    real = study_of_tree._searched
    monkeypatch.setattr(study_of_tree, "_searched", search)
    last = "base"
    code, _, err = scripted(run)
    nothing = "No search was finished, so nothing is kept; the same command starts again."
    assert (code, err) == (130, f"llamadiv: Interrupted. {nothing}\n")
    last = "aligned"
    code, _, err = scripted(run)
    kept = "llamadiv: Interrupted. Finished searches are kept (base); the same command does the rest.\n"
    assert (code, err) == (130, kept)
    last = ""
    assert scripted(run)[0] == 0
    assert searched == ["base", "base", "aligned", "aligned"]  # the third time that of base was at hand


def test_one_opening_and_one_token(run: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is one coin only, so both arms are it."""
    monkeypatch.setattr("llama_diversity.studies.arms.check_different", lambda models: None)
    code, out, _ = run("tree", "--base", "scripted:coin", "--aligned", "scripted:coin", "--depth", 1, "-k", 1,
                       "--out", tmp_path)  # fmt: skip
    assert code == 0
    assert "The likeliest 1-token opening holds 50 % of base's mass and 50 % of aligned's mass." in " ".join(
        out.split()
    )
    code, out, _ = run("tree", "--base", "scripted:coin", "--aligned", "scripted:coin", "--depth", 2, "-k", 9)
    assert "base: there are only 4 openings of positive probability." in out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--depth", 0), "--depth is 0; an opening has at least 1 token."),
        (("-k", 0), "-k is 0; ask for 1 to 10,000 openings."),
        (("--budget", -1), "--budget is -1; at least 1 path has to be followed up."),
        (("-p", "She" * 9000), "9001 prompt tokens do not fit the model's context of 8192."),
        (("-p", "She" * 8188), "--depth is 5; 8189 prompt tokens leave room for 3 in the model's context."),
        (("--aligned", "scripted:coin"), "Token-level comparison refused"),
    ],
)
def test_what_it_refuses(run: Callable, options: tuple[object, ...], said: str) -> None:
    code, out, err = scripted(run, *options)
    assert code == (1 if "refused" in said else 2)
    assert out == ""
    assert said in err
    assert err.count("\n") == 1


def test_openings_closer_than_the_arithmetic_have_no_order() -> None:
    """A bound of 1 bit for each token apart: (0, 1) and (0, 2) share a beginning, (3, 4) shares none with them."""
    paths = {(0, 1): 0.4, (0, 2): 0.16, (3, 4): 0.06, (3,): 0.001}
    openings = tuple(Opening(ids, (*[0.0] * (len(ids) - 1), math.log(p))) for ids, p in paths.items())
    tree = Tree(openings, 4, True, (1.0,), (1.0,), 0.0, 1)
    # log2 of 0.4 / 0.16 is 1.32 < 2 tokens; 0.4 / 0.06 is 2.74 < 4; 0.16 / 0.06 1.42 < 4; 0.06 / 0.001 5.9 > 1.
    ranks = possible_ranks(tree, float, depth=2)
    assert [tuple(one) for one in ranks] == [(1, 3), (1, 3), (1, 3), (4, 4)]
    assert [tuple(one) for one in possible_ranks(tree, lambda n: 0.0, depth=2)] == [(at, at) for at in (1, 2, 3, 4)]
    # Something as heavy as 0.06 / 2^4 is not listed: it may be heavier than (3, 4), which has 2 + 2 tokens apart.
    left = dataclasses.replace(tree, largest_left=0.005)
    assert [one.last for one in possible_ranks(left, float, depth=2)] == [3, 3, None, None]


@pytest.mark.model
def test_the_floor_stands_beside_a_tree_of_a_model(tiny_model: Path, base_model: Path, run: Callable) -> None:
    code, out, _ = run("tree", "--base", base_model, "--aligned", tiny_model, "--depth", 3, "-k", 5, "--budget", 60,
                       "--threads", 1)  # fmt: skip
    assert code == 0
    assert "base: the arithmetic alone moves the probability of 3 tokens by a factor of up to 1.0" in " ".join(
        out.split()
    )


def test_a_share_below_all_is_never_shown_as_all() -> None:
    openings = (Opening((0,), (math.log(0.9996),)),)
    tree = Tree(openings, 1, False, (0.9996,), (0.99999,), 0.9998, 1)
    facts = Facts("x", {"a": "m"}, {"a": {0: Piece(b"x")}}, 1, 1, 1, {"a": Floor(0, 0, 0, 0, 0, 0, ())})
    assert headline({"a": tree}, facts) == "The likeliest 1-token opening holds 99.96 % to 99.999 % of a's mass."
    said = [one.text for one in section({"a": tree}, facts, "").exhibits if isinstance(one, Remark)]
    assert "holds more than 99.98 %" in " ".join(said)
    whole = dataclasses.replace(tree, low=(1 - 1e-15,), high=(1.0,))
    assert headline({"a": whole}, facts).endswith("holds 100 % of a's mass.")
