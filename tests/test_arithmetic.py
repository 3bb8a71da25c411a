"""Arithmetic drawing of a set: exact for each text, spread out as a set, and refused as an estimate."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import math
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from scripted_work import cell_of, draw, open_scripted
from test_scripted import N_VOCAB, chi_square_z

import llama_diversity as ld
from llama_diversity.engines import completion
from llama_diversity.engines.codes import first_code, next_code
from llama_diversity.engines.draws import sampled
from llama_diversity.engines.scripted import ScriptedEngine, transition
from llama_diversity.errors import BadValue, EngineError
from llama_diversity.records import Cell, Recipe, Sample, Sampler
from llama_diversity.store import Store
from llama_diversity.studies.arms import Choice, resolve_choice
from llama_diversity.studies.conduct import run as run_study
from llama_diversity.studies.drawing import Drawing, NoEstimate
from llama_diversity.studies.session import Session
from llama_diversity.studies.syntactic.study import Syntactic

Run = Callable[..., tuple[int, str, str]]


@functools.cache
def engine_of(name: str) -> ScriptedEngine:
    return open_scripted(name, parallel=512)


def set_cell(name: str, n: int, *, seed: int = 1, max_tokens: int = 2, sampler: Sampler = Sampler()) -> Cell:  # noqa: B008
    cell = cell_of(engine_of(name), n, seed=seed, max_tokens=max_tokens, sampler=sampler)
    return dataclasses.replace(cell, recipe=dataclasses.replace(cell.recipe, arithmetic=n))


def drawn(name: str, n: int, **settings: object) -> list[Sample]:
    return draw(engine_of(name), set_cell(name, n, **settings))  # type: ignore[arg-type]


# ---- codes


def test_a_set_has_one_code_in_each_part_and_each_sample_a_uniform_one() -> None:
    for n in (2, 7, 100):
        codes = np.array([first_code(5, index, n) for index in range(n)])
        assert sorted((codes * n).astype(int).tolist()) == list(range(n))
        shifts = codes * n % 1
        assert shifts == pytest.approx(np.full(n, shifts[0]), abs=1e-9)  # one u for all
    assert [first_code(5, at, 9) for at in range(9)] != [first_code(6, at, 9) for at in range(9)]
    # sample 0 alone, over seeds: a uniform number, in ten cells
    firsts = np.array([first_code(seed, 0, 20) for seed in range(4000)])
    assert chi_square_z(np.append(np.histogram(firsts, 10, (0, 1))[0], 0), np.append(np.full(10, 400.0), 1e-9)) < 4


def test_what_is_used_up_is_replaced_by_fresh_bits() -> None:
    assert next_code(0.25, 0.5, 0.999) == pytest.approx(0.25, abs=2**-52)
    assert next_code(0.3, 2**-40, 0.5) == pytest.approx(0.3 + 2**-14)  # 13 of 53 bits were left: the rest is new
    assert next_code(0.3, 2**-53, 0.875) == 0.875  # none was
    assert 0 <= next_code(1.0, 2**-10, 0.99) < 1


# ---- exact


@pytest.mark.parametrize(
    "sampler",
    [
        Sampler(),
        Sampler(0.7),
        Sampler(1.3, xtc_probability=0.5),
        Sampler(top_k=5, top_p=0.9),
        Sampler(0.6, first_temperature=2),
    ],
    ids=lambda one: json.dumps(one.to_dict()),
)
def test_a_set_holds_each_opening_as_often_as_its_probability_to_within_one(sampler: Sampler) -> None:
    """The openings of one and of two tokens are intervals of codes: of N codes a 1/N apart, n p of them, rounded."""
    n, log_rows = 2000, np.log(transition("base")).astype(np.float32).astype(np.float64)
    samples = drawn("base", n, sampler=sampler)
    context = cell_of(engine_of("base"), 1).recipe.prompt.ids[-1]
    first = np.exp(sampled(log_rows[[context]], sampler, is_first=True))[0]
    counts = np.bincount([one.tokens["id"][0] for one in samples], minlength=N_VOCAB)
    assert np.abs(counts - n * first).max() < 1.001
    second = np.exp(sampled(log_rows, sampler, is_first=False))
    paths = Counter(tuple(one.tokens["id"].tolist()) for one in samples if len(one.tokens) == 2)
    assert max(abs(count - n * first[one] * second[one, two]) for (one, two), count in paths.items()) < 1.001


def test_each_text_by_itself_has_the_models_probability() -> None:
    """Over 1,500 seeds, sets of 4 texts of two words: the first sample alone, and all four, against the exact law."""
    rows, prompt = transition("base"), cell_of(engine_of("base"), 1).recipe.prompt
    sets = [[tuple(one.tokens["id"].tolist()) for one in drawn("base", 4, seed=seed)] for seed in range(1500)]
    path_p = rows[prompt.ids[-1]][:, None] * rows
    likeliest = [divmod(int(at), N_VOCAB) for at in np.argsort(-path_p, axis=None)[:12]]
    for one, two in likeliest:
        p = path_p[one, two]
        first = sum(texts[0] == (one, two) for texts in sets)
        assert abs(first - 1500 * p) < 4.5 * math.sqrt(1500 * p * (1 - p))
        shares = np.array([texts.count((one, two)) / 4 for texts in sets])
        assert abs(shares.mean() - p) < 4.5 * shares.std(ddof=1) / math.sqrt(1500)


def far_tokens(samples: list[Sample], begin: int) -> tuple[np.ndarray, np.ndarray]:
    """Of every text, from token `begin` on, how often each follows which, by its half of the vocabulary; and counts."""
    tokens = [one.tokens["id"][begin:] for one in samples]
    counts = np.bincount(np.concatenate(tokens), minlength=N_VOCAB)
    pairs = np.concatenate(
        [2 * (ids[:-1] >= N_VOCAB // 2) + (ids[1:] >= N_VOCAB // 2) for ids in tokens if len(ids) > 1]
    )
    return counts, np.bincount(pairs, minlength=4)


def far_z(samples: list[Sample]) -> tuple[float, float]:
    counts, pairs = far_tokens(samples, 8)
    return (
        chi_square_z(np.append(counts, 0), np.append(np.full(N_VOCAB, counts.sum() / N_VOCAB), 1e-9)),
        chi_square_z(np.append(pairs, 0), np.append(np.full(4, pairs.sum() / 4), 1e-9)),
    )


def test_long_texts_are_as_the_model_says_where_the_first_bits_are_long_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every token of `uniform` uses up log2 290 = 8.2 bits: from the eighth on all 53 were replaced.

    They are uniform there and say nothing of each other. Without fresh bits they would be neither: the same test fails.
    """
    single, pair = far_z(drawn("uniform", 300, max_tokens=40))
    assert single < 4
    assert pair < 4
    monkeypatch.setattr(completion, "next_code", lambda rest, share, fresh: rest % 1.0)
    assert far_z(drawn("uniform", 300, max_tokens=40))[0] > 20


def test_a_long_text_follows_the_chain() -> None:
    """Of `attractor`, from token 60 on: one word after the other as often as its matrix says, within 4.5 deviations."""
    rows = transition("attractor")
    followed = np.zeros(rows.shape)
    for one in drawn("attractor", 200, max_tokens=200):
        np.add.at(followed, (one.tokens["id"][60:-1], one.tokens["id"][61:]), 1)
    contexts = np.flatnonzero(followed.sum(axis=1) > 400)
    assert len(contexts) >= 5
    for context in contexts:
        n = followed[context].sum()
        for token in np.flatnonzero(rows[context] > 0.05):
            p = rows[context, token]
            assert abs(followed[context, token] - n * p) < 4.5 * math.sqrt(n * p * (1 - p))


# ---- why it is no estimate


def unlike(texts: list[tuple[int, ...]]) -> float:
    """The share of unlike pairs."""
    return float(np.mean([one != two for one, two in itertools.combinations(texts, 2)]))


def test_the_share_of_unlike_pairs_is_larger_than_the_models() -> None:
    """A law of two tokens, p and 1 - p, in sets of two: the truth is 2 p (1 - p); codes lie in different halves.

    With p >= 1/2 the code of the upper half says the second token with probability 2 (1 - p), and the lower half never
    does: a share of 2 (1 - p), 1 / p of the truth. Samples of their own have the truth.
    """
    sampler, seeds = Sampler(top_k=2), range(800)
    log_rows = np.log(transition("base")).astype(np.float32).astype(np.float64)
    context = cell_of(engine_of("base"), 1).recipe.prompt.ids[-1]
    p = float(np.exp(sampled(log_rows[[context]], sampler, is_first=True)).max())
    assert 0.5 < p < 0.9
    shares = {}
    for is_set in (True, False):
        found = []
        for seed in seeds:
            cell = set_cell("base", 2, seed=seed, max_tokens=1, sampler=sampler)
            if not is_set:
                cell = dataclasses.replace(cell, recipe=dataclasses.replace(cell.recipe, arithmetic=None))
            found.append(unlike([tuple(one.tokens["id"].tolist()) for one in draw(engine_of("base"), cell)]))
        shares[is_set] = float(np.mean(found))
    error = 4 * 0.5 / math.sqrt(len(seeds))
    assert shares[False] == pytest.approx(2 * p * (1 - p), abs=error)
    assert shares[True] == pytest.approx(2 * (1 - p), abs=error)
    assert shares[True] - 2 * p * (1 - p) > error


# ---- a recipe of its own


def test_a_set_is_resumed_and_another_number_is_another_set() -> None:
    whole = drawn("base", 30, max_tokens=20)
    engine, cell = open_scripted("base", parallel=3), set_cell("base", 30, max_tokens=20)
    some = [one for step in engine.sample(cell.recipe, [17, 3, 29]) for one in step.finished]
    assert {one.index: one.tokens.tobytes() for one in some} == {at: whole[at].tokens.tobytes() for at in (3, 17, 29)}
    plain = cell_of(engine_of("base"), 30, max_tokens=20).recipe
    assert len({plain.key, cell.recipe.key, set_cell("base", 31, max_tokens=20).recipe.key}) == 3
    assert Recipe.from_json(cell.recipe.to_json()) == cell.recipe
    assert "arithmetic" not in plain.to_json()
    with pytest.raises(BadValue, match="the set has 30; another number is another set"):
        dataclasses.replace(cell, n=20)
    with pytest.raises(EngineError, match="drawn together"):
        next(engine.sample_each([(plain, [0]), (cell.recipe, [1])]))


def test_the_command_says_that_it_is_a_set(run: Run) -> None:
    command = ("sample", "-m", "scripted:base", "-p", "She was", "-n", 6, "--max-tokens", 4, "--arithmetic")
    code, out, error = run(*command, "--json")
    assert (code, len(out.splitlines())) == (0, 6)
    assert "one set by arithmetic codes, spread out on purpose: no estimate of the model's diversity" in error
    assert run(*command, "--json")[1] == out
    first = {json.loads(line)["text"] for line in out.splitlines()}
    again = {json.loads(line)["text"] for line in run(*command[:-1], "--json")[1].splitlines()}
    assert first != again
    assert run("sample", "-m", "scripted:base", "-p", "She", "-n", 1, "--arithmetic")[0] == 2
    code, _, error = run("sample", "-m", "scripted:base", "-p", "She", "-t", 0, "--arithmetic")
    assert (code, "spread out are two samples or more that are drawn" in error) == (2, True)


def test_a_stored_set_says_what_it_is_and_is_refused_as_an_estimate(run: Run) -> None:
    assert run("sample", "-m", "scripted:base", "-p", "She was", "-n", 5, "--max-tokens", 4, "--arithmetic")[0] == 0
    assert "set       of 5, by arithmetic codes: no estimate of the model's diversity" in run("runs", "show", "last")[1]
    text = run("methods", "last")[1]
    assert "drawn as one set by arithmetic codes (Vilnis et al., 2023), which spread it out" in text
    assert "vilnis2023arithmetic" in text
    for way in ("text", "meaning"):
        code, out, error = run("variety", "last", "--by", way)
        assert (code, out) == (2, "")
        assert "a set drawn by arithmetic codes (--arithmetic): its samples are spread out on purpose" in error


@pytest.mark.parametrize(
    "name",
    [
        "compare",
        "coverage",
        "decompose",
        "diff",
        "frontier",
        "personas",
        "perturb",
        "population",
        "semantic",
        "syntactic",
    ],
)
def test_every_study_refuses_a_set(name: str, run: Run) -> None:
    target = ("a product",) if name == "population" else ()
    code, out, error = run(name, *target, "--arithmetic")
    assert (code, out) == (2, "")
    assert "no diversity can be estimated from them. Draw without --arithmetic." in error


def test_a_study_in_python_refuses_a_set_before_anything_is_drawn() -> None:
    session = Session()
    arms = resolve_choice(Choice(base="scripted:base", aligned="scripted:aligned"), session)
    with pytest.raises(NoEstimate, match="A study does not take a set drawn by arithmetic codes"):
        run_study(Syntactic(n=4, max_tokens=4), arms, drawing=Drawing(is_set=True), session=session)


def test_a_set_in_python_is_that_of_the_command(run: Run) -> None:
    some = ld.model("scripted:base").sample("She was", n=6, max_tokens=5, arithmetic=True)
    assert some.command is not None
    assert some.command.endswith("--arithmetic --seed 0")
    assert run(*some.command.split(" ")[1:4], "-p", "She was", "-n", 6, "--max-tokens", 5, "--arithmetic", "-q")[0] == 0
    with Store.open(Session().store, read_only=True) as store:
        assert [store.recipe(cell.recipe_key).key for cell in store.runs()[-1].cells] == [some.recipe.key]
