"""Texts that share beginnings: the plan holds what each stretch needs, and scores are those of each text alone."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import other_architectures
import pytest
from test_exact import assert_runs
from test_llamacpp import opened
from test_scripted import open_scripted

from llama_diversity.engines import Engine
from llama_diversity.engines.shared import Plan, Tree, one_by_one, plan
from llama_diversity.errors import PromptTooLong

Texts = list[tuple[int, ...]]


def carried_out(tree: Tree, planned: Plan) -> set[int]:
    """The nodes read where slots hold what the plan says: behind its source every stretch must continue a path."""
    parents = {child: node for node, children in enumerate(tree.children) for child in children}
    held: dict[int, list[int]] = {}
    read: list[int] = []
    for one in planned.passes:
        begun = {}
        for stretch in one.stretches:
            before = [] if stretch.source is None else held[stretch.source]
            path = [*before, *stretch.nodes]
            assert len(before) == stretch.start
            assert [parents[node] for node in path] == [0, *path[:-1]]
            begun[stretch.slot] = path
            read += stretch.nodes
        assert not begun.keys() & held.keys()
        held |= begun
        assert len({node for nodes in held.values() for node in nodes}) <= planned.n_cells
        assert max(held) < planned.n_slots
        for slot in one.freed:
            del held[slot]
    assert held == {}
    assert len(read) == len(set(read))
    return set(read)


def random_texts(chance: random.Random) -> Texts:
    """Beginnings of a few long texts with other ends: branches at all depths, copies, texts within others."""
    roots = [chance.choices(range(3, 6), k=40) for _ in range(2)]
    cuts = [(chance.choice(roots), chance.randrange(41), chance.randrange(9)) for _ in range(chance.randrange(1, 60))]
    return [(1, *root[:at], *chance.choices(range(3, 6), k=more)) for root, at, more in cuts]


@pytest.mark.parametrize("most_slots", [40, 254])
@pytest.mark.parametrize("most_rows", [1, 5, 512])
def test_every_beginning_is_read_once_behind_what_precedes_it(most_rows: int, most_slots: int) -> None:
    chance = random.Random(most_rows + most_slots)
    for _ in range(60):
        texts = random_texts(chance)
        tree = Tree(texts)
        assert [tuple(tree.tokens[node] for node in path) for path in tree.paths] == texts
        inner = {ids[:n] for ids in texts for n in range(1, len(ids))}  # what something follows
        planned = plan(tree, most_rows=most_rows, most_slots=most_slots)
        assert len(carried_out(tree, planned)) == len(inner)
        assert max((sum(len(s.nodes) for s in one.stretches) for one in planned.passes), default=0) <= most_rows


def test_few_slots_suffice_for_a_branch_at_every_token() -> None:
    """A trunk of 600 tokens with a way off at each: what is long goes last, so that nothing waits for it."""
    trunk = tuple(range(10, 610))
    texts = [(*trunk[:n], 3, 4) for n in range(600)] + [trunk]
    planned = plan(Tree(texts), most_rows=64, most_slots=34)
    assert len(carried_out(Tree(texts), planned)) == 600 + 599


def test_what_nothing_follows_is_not_read() -> None:
    """1 2 3 4 and 1 2 3 5 4: 4 ends both texts, so 1 2 3 5 is one stretch. Behind 1 2 both 4 and 5 go on: one pass."""
    planned = plan(Tree([(1, 2, 3, 4), (1, 2, 3, 5, 4)]), most_rows=9, most_slots=40)
    assert [[len(stretch.nodes) for stretch in one.stretches] for one in planned.passes] == [[4]]
    planned = plan(Tree([(1, 2, 4, 4), (1, 2, 5, 4)]), most_rows=9, most_slots=40)
    assert [[len(stretch.nodes) for stretch in one.stretches] for one in planned.passes] == [[2], [1, 1]]
    assert planned.n_cells == 4


def orders(engine: Engine, n_texts: int = 12) -> Texts:
    """Sentences in random orders behind one beginning."""
    sentences = [" She was a nurse.", " He is old and quiet.", " The child met a poet!", " Nobody came", " é 🙂"]
    pieces = [engine.tokenize(one)[1:] for one in sentences]
    chance = random.Random(0)
    shuffled = [chance.sample(pieces, len(pieces)) for _ in range(n_texts)]
    begin = engine.tokenize("Once upon a time,")
    return [(*begin, *(token for piece in some for token in piece)) for some in shuffled]


def test_a_chain_scores_each_text() -> None:
    engine = open_scripted("base")
    texts = [engine.tokenize(text) for text in ("She was a nurse. ", "She was a child. ", "She was a nurse. ", "")]
    found = engine.score_each(texts)
    for ids, bits in zip(texts, found, strict=True):
        assert bits.tobytes() == engine.score(ids)["surprisal_bits"].tobytes()
    with pytest.raises(PromptTooLong):
        engine.score_each([texts[0], (0,) * 8193])


def test_progress_ends_at_one() -> None:
    engine, heard = open_scripted("base"), []
    one_by_one(engine.score, [(0, 5), (0, 5), (0, 6)], heard.append)
    assert heard == [0.5, 1.0]


@pytest.mark.model
def test_shared_beginnings_score_as_each_text_alone(tiny_model: Path) -> None:
    """Within the noise of the arithmetic: other rows beside a row change its last digits."""
    with opened(tiny_model) as engine:
        heard: list[float] = []
        texts = [*orders(engine), engine.tokenize("Once"), (1,), engine.tokenize("Else")]
        found = engine.score_each(texts, on_progress=heard.append)
        for ids, bits in zip(texts, found, strict=True):
            np.testing.assert_allclose(bits, engine.score(ids)["surprisal_bits"], atol=0.02)
        assert heard[-1] == 1
        assert engine.score_each([]) == []
        assert [bits.tolist() for bits in engine.score_each([(1,), (5,)])] == [pytest.approx([np.nan], nan_ok=True)] * 2
        with pytest.raises(PromptTooLong):
            engine.score_each([(1, 2), (3,) * 1025])


@pytest.mark.model
def test_windows_and_recurrent_layers_too(tmp_path: Path) -> None:
    for name in ("gemma2", "mamba"):
        getattr(other_architectures, f"write_{name}")(tmp_path / f"{name}.gguf")
        with opened(tmp_path / f"{name}.gguf") as engine:
            texts = orders(engine, 6)
            for ids, bits in zip(texts, engine.score_each(texts), strict=True):
                np.testing.assert_allclose(bits, engine.score(ids)["surprisal_bits"], atol=0.02, err_msg=name)


EXACT = """
import sys
from pathlib import Path
from test_llamacpp import opened
from test_shared import orders

with opened(Path(sys.argv[1]), exact=True, n_threads=1) as engine:
    texts = orders(engine, 4)
    for ids, bits in zip(texts, engine.score_each(texts), strict=True):
        assert bits.tobytes() == engine.score(ids)["surprisal_bits"].tobytes()
"""


@pytest.mark.model
def test_exact_scores_have_the_same_bits(tiny_model: Path) -> None:
    assert_runs(EXACT, tiny_model)
