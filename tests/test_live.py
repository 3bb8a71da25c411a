"""A prompt that stays decoded: equal to asking the engine anew each time, and nothing is decoded twice."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import llama_cpp.llama_cpp as C
import numpy as np
import other_architectures
import pytest
from scripted_work import cell_of, open_scripted, same
from test_exact import assert_runs
from test_llamacpp import opened, recipe
from test_mixed import mixture, recipe_of

from llama_diversity.engines import Engine, Growing, TokenPath
from llama_diversity.engines.live import Anew, Live, anew
from llama_diversity.errors import EngineError, PromptTooLong
from llama_diversity.records import Recipe, Sample, Sampler

PROMPT = "some words to begin with, more than a window"
PATHS: list[TokenPath] = [(), (300,), (300, 301), (300, 302), (300, 301, 305, 310), (300, 301), (299, 4), (300,), ()]


@contextlib.contextmanager
def slowly(engine: Engine, asked: Recipe, *, longest: int = 48, at_once: int = 16) -> Iterator[Live]:
    """The reference: every path is decoded from its beginning, each time."""
    with anew(engine, asked.prompt, longest=longest, at_once=at_once, reducer=engine._reducer) as live:
        assert isinstance(live.kept, Anew)
        yield live


def behind(asked: Recipe, path: TokenPath, **changes: object) -> Recipe:
    return dataclasses.replace(asked, prompt=asked.prompt.with_path(path, "?"), **changes)  # type: ignore[arg-type]


def drawn(live: Live, works: Sequence[tuple[Recipe, Sequence[int]]]) -> dict[tuple[str, int], Sample]:
    found = [sample for step in live.sample_each(works) for sample in step.finished]
    assert len(found) == sum(len(indices) for _, indices in works)
    return {(sample.recipe_key, sample.index): sample for sample in found}


class Counted:
    """What llama.cpp was told to decode: of each call how many tokens."""

    def __init__(self) -> None:
        self.rows: list[int] = []

    @property
    def n_tokens(self) -> int:
        return sum(self.rows)

    def reset(self) -> None:
        self.rows.clear()


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counted:
    counted, decode = Counted(), C.llama_decode

    def count(context: object, batch: C.llama_batch) -> int:
        counted.rows.append(int(batch.n_tokens))
        return int(decode(context, batch))

    monkeypatch.setattr(C, "llama_decode", count)
    return counted


# ---- against the reference


def test_on_a_chain_it_is_the_engine_itself() -> None:
    engine = open_scripted()
    asked = cell_of(engine, 40, text="She was", max_tokens=12).recipe
    with engine.live(asked.prompt, longest=20) as live:
        with engine.after(asked.prompt, longest=20) as after:
            some = [tuple(token % 290 for token in path) for path in PATHS]
            assert (live.after(some) == after(some)).all()
        path = engine.tokenize(" a quiet nurse.")[1:]
        scored = engine.score((*asked.prompt.ids, *path))[len(asked.prompt.ids) :]
        assert live.read(path).tobytes() == scored.tobytes()
        one = behind(asked, path[:2])
        mine = drawn(live, [(one, range(40))])
        theirs = [sample for step in engine.sample(one, range(40)) for sample in step.finished]
        assert len(theirs) == 40
        assert all(same(mine[one.key, sample.index], sample) for sample in theirs)
        assert live.read(()).shape == (0,)


@pytest.mark.model
@pytest.mark.parametrize(
    "write",
    [None, other_architectures.write_mamba, other_architectures.write_lfm2, other_architectures.write_gemma2],
    ids=["llama", "recurrent", "hybrid", "window"],
)
def test_every_path_is_what_it_is_from_scratch(
    write: Callable[[Path], None] | None, tiny_model: Path, tmp_path: Path
) -> None:
    """Forwards, backwards and aside; the window of 8 tokens and a recurrent state cannot be cut back."""
    path = tiny_model if write is None else tmp_path / "model.gguf"
    if write is not None:
        write(path)
    with opened(path) as engine:
        asked = recipe(engine, text=PROMPT, max_tokens=20)
        n_vocab = engine.facts.n_vocab
        long = tuple(3 + (7 * at) % (n_vocab - 3) for at in range(28))
        paths = [*[tuple(t % n_vocab for t in one) for one in PATHS], long, long[:20], (*long[:20], 5), long[:11]]
        with slowly(engine, asked) as slow:
            expected = slow.after(paths)
            read = slow.read(long)
            works = [(behind(asked, one, seed=seed), range(3)) for seed, one in enumerate(paths[4:8])]
            samples = drawn(slow, works)
        with engine.live(asked.prompt, longest=48) as live:
            for row, one in zip(expected, paths, strict=True):
                np.testing.assert_allclose(np.exp(live.after([one])[0]), np.exp(row), atol=1e-2)
            np.testing.assert_allclose(live.read(long)["surprisal_bits"], read["surprisal_bits"], atol=0.1)
            np.testing.assert_allclose(np.exp(live.after([long])[0]), np.exp(expected[len(PATHS)]), atol=1e-2)
            found = drawn(live, works)
            assert found.keys() == samples.keys()
            n_alike = sum(
                one.tokens["id"][:2].tolist() == samples[place].tokens["id"][:2].tolist()
                for place, one in found.items()
            )
            assert n_alike >= len(found) - 1  # the last digits may turn a draw
            for one, indices in works:
                for index in indices:
                    ids = found[one.key, index].tokens["id"].tolist()
                    scored = engine.score((*one.prompt.ids, *ids))[len(one.prompt.ids) :]
                    np.testing.assert_allclose(
                        found[one.key, index].tokens["surprisal_bits"], scored["surprisal_bits"], atol=0.1
                    )


EXACTLY = """
import sys
from pathlib import Path
from test_live import PATHS, PROMPT, behind, drawn, slowly
from test_llamacpp import opened, recipe

for path in map(Path, sys.argv[1:]):
    with opened(path, exact=True, n_threads=1) as engine:
        asked = recipe(engine, text=PROMPT, max_tokens=20, exact=True)
        n_vocab = engine.facts.n_vocab
        long = tuple(3 + (7 * at) % (n_vocab - 3) for at in range(45))
        paths = [*[tuple(t % n_vocab for t in one) for one in PATHS], long, long[:20], (*long[:20], 5), long[:33]]
        works = [(behind(asked, one, seed=seed), [0, 5, 2]) for seed, one in enumerate(paths[2:11])]
        alone = [(behind(asked, long), range(19)), (behind(asked, (300 % n_vocab,)), [3])]
        with slowly(engine, asked, longest=66) as slow:
            expected, read = slow.after(paths), slow.read(long)
            samples = drawn(slow, works)
            for some in alone:
                samples |= drawn(slow, [some])
        with engine.live(asked.prompt, longest=66) as live:
            for row, one in zip(expected, paths):
                assert (live.after([one])[0] == row).all(), (path, one)
            assert live.read(long).tobytes() == read.tobytes(), path
            assert (live.after([long])[0] == expected[9]).all(), path
            found = {}
            for some in alone:
                found |= drawn(live, [some])
            steps = live.sample_each(works)
            next(steps)  # given up in the middle
            found |= drawn(live, works)
            assert found.keys() == samples.keys()
            for place, one in found.items():
                assert one.tokens.tobytes() == samples[place].tokens.tobytes(), (path, place)
"""


@pytest.mark.model
def test_exactly_it_is_the_same_to_the_bit(tiny_model: Path, tmp_path: Path) -> None:
    other_architectures.write_mamba(tmp_path / "mamba.gguf")
    other_architectures.write_lfm2(tmp_path / "lfm2.gguf")
    assert_runs(EXACTLY, tiny_model, tmp_path / "mamba.gguf", tmp_path / "lfm2.gguf")


# ---- nothing is decoded twice


@pytest.mark.model
def test_sixteen_continuations_show_within_three_steps(tiny_model: Path, decoded: Counted) -> None:
    """And no token of the prompt, nor of the path, is decoded again."""
    with opened(tiny_model) as engine:
        asked = recipe(engine, text=PROMPT * 4, max_tokens=12)
        with engine.live(asked.prompt, longest=64) as live:
            n_prompt = len(asked.prompt.ids)
            assert decoded.n_tokens == n_prompt > 100
            path = tuple(range(300, 340))
            live.after([path])
            assert decoded.n_tokens == n_prompt + 40
            decoded.reset()
            for taken in (path, (*path[:20], 7)):  # where it stands, and another token in the middle
                steps = live.sample_each([(behind(asked, taken), range(16))])
                first = next(steps)
                assert (first.n_tokens, len(decoded.rows)) == (16, int(taken != path))
                assert len(first.growing()) == 16
                next(steps)
                assert len(decoded.rows) == 1 + int(taken != path)
                assert decoded.n_tokens == 16 + int(taken != path)
                assert {len(one.tokens) for one in next(steps).growing()} == {3}
                assert len(decoded.rows) <= 3
                steps.close()
                decoded.reset()


@pytest.mark.model
@pytest.mark.parametrize("write", [other_architectures.write_mamba, other_architectures.write_gemma2])
def test_what_cannot_be_cut_back_begins_where_it_is_held(
    write: Callable[[Path], None], tmp_path: Path, decoded: Counted
) -> None:
    """A step ahead of a path that is held costs that step; one back begins behind the prompt."""
    write(tmp_path / "model.gguf")
    with opened(tmp_path / "model.gguf") as engine:
        asked = recipe(engine, text=PROMPT)
        with engine.live(asked.prompt, longest=64) as live:
            path = tuple(range(100, 120))
            live.after([path])
            decoded.reset()
            live.after([(*path, 7)])
            assert decoded.n_tokens == 1
            live.after([path, path])
            assert decoded.n_tokens == 1
            live.after([path[:9]])
            assert decoded.n_tokens == 10


@pytest.mark.model
def test_more_paths_than_there_are_slots(tiny_model: Path, decoded: Counted) -> None:
    """The one asked for longest ago goes; where cells run out all go, and what is asked is decoded anew."""
    with opened(tiny_model) as engine:
        asked = recipe(engine, text=PROMPT)
        with engine.live(asked.prompt, longest=60, at_once=1) as live:
            first = live.after([(300,)])
            for token in range(301, 320):
                live.after([(token,), (302,)])
            decoded.reset()
            live.after([(302,)])
            assert decoded.n_tokens == 0
            assert np.allclose(np.exp(live.after([(300,)])), np.exp(first), atol=1e-3)
            assert decoded.n_tokens == 1
            for token in range(300, 320):  # 60 cells each
                live.after([(token,) * 60])
            assert np.allclose(np.exp(live.after([(300,)])), np.exp(first), atol=1e-3)


# ---- drawing


@pytest.mark.model
def test_what_grows_ends_as_what_is_finished(tiny_model: Path) -> None:
    """Looked at in each step or never: the same bytes, and each look begins with the one before."""
    with opened(tiny_model, parallel=5) as engine:
        asked = recipe(engine, text=PROMPT, max_tokens=30)
        plain = {one.index: one for step in engine.sample(asked, range(20)) for one in step.finished}
        seen: dict[int, Growing] = {}
        n_looks = 0
        for step in engine.sample(asked, range(20)):
            for one in step.growing():
                before = seen.get(one.index)
                assert one.recipe_key == asked.key
                if before is not None:
                    assert one.tokens[: len(before.tokens)].tobytes() == before.tokens.tobytes()
                seen[one.index] = one
                n_looks += 1
            for done in step.finished:
                assert done.tokens.tobytes() == plain.pop(done.index).tokens.tobytes()
                if done.index in seen:
                    n_seen = len(seen[done.index].tokens)
                    assert n_seen == len(done.tokens) - 1
                    assert done.tokens[:n_seen].tobytes() == seen[done.index].tokens.tobytes()
        assert not plain
        assert n_looks > 100


def test_who_asks_anew_ends_what_was_drawn_before() -> None:
    engine = open_scripted()
    asked = cell_of(engine, 4, text="She was", max_tokens=12).recipe
    with engine.live(asked.prompt, longest=20) as live:
        steps = live.sample_each([(asked, range(4))])
        next(steps)
        again = drawn(live, [(asked, range(4))])
        assert list(steps) == []
        assert len(again) == 4


def test_refusals() -> None:
    engine = open_scripted()
    asked = cell_of(engine, 4, text="She was", max_tokens=12).recipe
    other = cell_of(engine, 4, text="He was", max_tokens=12).recipe
    with engine.live(asked.prompt, longest=14) as live:
        with pytest.raises(ValueError, match="does not begin"):
            next(live.sample_each([(other, [0])]))
        with pytest.raises(ValueError, match="15 tokens behind the prompt"):
            next(live.sample_each([(behind(asked, (5, 6, 7)), [0])]))
        with pytest.raises(ValueError, match="15 tokens behind the prompt"):
            live.after([(5,) * 15])
        with pytest.raises(ValueError, match="no token is numbered 290"):
            live.read((5, 290))
        bound = dataclasses.replace(asked, grammar="root ::= [a]")
        with pytest.raises(EngineError, match="no grammar"):
            next(live.sample_each([(bound, [0])]))
    with pytest.raises(PromptTooLong), engine.live(asked.prompt, longest=9000):
        pass


# ---- mixtures


def test_a_mixture_is_kept_by_all_its_models() -> None:
    with mixture("lambda=0.5") as engine:
        asked = recipe_of(engine, max_tokens=8)
        path = engine.tokenize(" a quiet")[1:]
        with engine.live(asked.prompt, longest=20) as live, engine.after(asked.prompt, longest=20) as after:
            assert np.allclose(live.after([(), path]), after([(), path]))
            scored = engine.score((*asked.prompt.ids, *path))[len(asked.prompt.ids) :]
            assert live.read(path).tobytes() == scored.tobytes()
            one = behind(asked, path)
            mine = drawn(live, [(one, range(9))])
            theirs = {sample.index: sample for step in engine.sample(one, range(9)) for sample in step.finished}
            assert all(same(mine[one.key, index], sample) for index, sample in theirs.items())
    with mixture("route=entropy:1.0") as engine:
        asked = recipe_of(engine)
        with pytest.raises(EngineError, match="does not say whose"), engine.live(asked.prompt, longest=9):
            pass


@pytest.mark.model
def test_a_mixture_of_files_is_what_it_is_from_scratch(plain_pair: dict[str, Path]) -> None:
    with mixture(f"mix:{plain_pair['base']},{plain_pair['aligned']},lambda=0.5") as engine:
        asked = recipe_of(engine, "Grace Hopper was", max_tokens=8)
        path = engine.tokenize(" a nurse")[1:]
        with engine.live(asked.prompt, longest=20) as live:
            with engine.after(asked.prompt, longest=20) as after:
                expected = after([(), path])
            np.testing.assert_allclose(np.exp(live.after([(), path])), np.exp(expected), atol=2e-3)
            one = behind(asked, path)
            for sample in drawn(live, [(one, range(6))]).values():
                ids = sample.tokens["id"].tolist()
                scored = engine.score((*one.prompt.ids, *ids))[len(one.prompt.ids) :]
                np.testing.assert_allclose(sample.tokens["surprisal_bits"], scored["surprisal_bits"], atol=0.03)
                assert sample.beside is not None
                assert sample.beside["surprisals_bits"].shape == (len(ids), 2)


@pytest.mark.model
def test_the_mass_of_a_path_is_what_its_distributions_say(plain_pair: dict[str, Path]) -> None:
    """What is read at once, and token by token, within the noise of the arithmetic."""
    with opened(plain_pair["aligned"]) as engine:
        asked = recipe(engine, text="Grace Hopper was", sampler=Sampler())
        path = engine.tokenize(
            " a nurse who",
        )[1:]
        with engine.live(asked.prompt, longest=16) as live:
            bits = live.read(path)["surprisal_bits"].sum()
            one_by_one = sum(live.after([path[:at]])[0][token] for at, token in enumerate(path))
        assert bits == pytest.approx(-one_by_one / np.log(2), abs=0.02)
