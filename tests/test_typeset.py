"""A text that is set as far as it is looked at: its lines are those of the whole text, wherever one begins."""

from __future__ import annotations

import random

import pytest

from llama_diversity.records import Piece
from llama_diversity.render.cells import Marks, build_cells
from llama_diversity.render.layout import lay_out
from llama_diversity.render.scales import Surprisal
from llama_diversity.render.typeset import CHUNK, Spot, Typeset

ODD = [
    b" a", b"the", b"\n", b"  ", b"\t", b"", b"<", b"nl", b">", b"U+", b"1F", "e\u0301".encode(),
    "\u0301".encode(), b"\xf0\x9f", b"\x91\x8d", b"\xe2", b"\x96\x81", b"\x96\x81\xe2", "🇯".encode(), "🇵".encode(),
    "👩\u200d".encode(), "👧".encode(), b"\x1b[2J", "\u202e".encode(), "你好".encode(), b"[/b]", b"x" * 90,
    "⟨".encode(), b"\n\n",
]  # fmt: skip
SCALE = Surprisal(16.0)


def text_of(seed: int, n: int) -> list[Piece]:
    chance = random.Random(seed)
    controls = [Piece(b"", "<|eot|>")]
    return [chance.choice(controls) if chance.random() < 0.03 else Piece(chance.choice(ODD)) for _ in range(n)]


def values_of(n: int) -> list[float]:
    return [at % 23 / 2 for at in range(n)]


def drawn(lines):
    return [
        [(span.text, span.kind, span.cell.first, span.cell.n_tokens, span.cell.small) for span in line]
        for line in lines
    ]


@pytest.mark.parametrize("numbers", [False, True])
@pytest.mark.parametrize("ascii", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_lines_are_those_of_the_whole_text(seed, ascii, numbers):
    pieces, marks = text_of(seed, 3 * CHUNK + seed), Marks(ascii=ascii)
    values = values_of(len(pieces))
    cells = build_cells(pieces, values, scale=SCALE, marks=marks, numbers=numbers, tooltips=[""] * len(pieces))
    expected = drawn(lay_out(cells, 40))
    given = {"scale": SCALE, "values": lambda start, end: values[start:end]} if numbers else {}
    typeset = Typeset(pieces, 40, marks, **given)
    found = []
    while line := typeset.line(len(found)):
        found.append(line)
    assert drawn(found) == expected


def test_only_what_is_looked_at_is_set():
    typeset = Typeset([Piece(b" word")] * 100_000, 40, Marks())
    assert typeset.line(3)
    assert typeset.n_lines < 2 * CHUNK


@pytest.mark.parametrize("seed", range(4))
def test_every_token_is_found_where_it_is_drawn(seed):
    pieces = text_of(seed, 700)
    typeset = Typeset(pieces, 30, Marks())
    for token in range(len(pieces)):
        spot = typeset.spot(token)
        assert typeset.token_at(spot) == token or pieces[token].control is None, token
        cells = [span.cell for span in typeset.line(spot.line)]
        assert any(cell.first <= token < cell.first + cell.n_tokens for cell in cells)
    assert [typeset.spot(token).line for token in range(len(pieces))] == sorted(
        typeset.spot(token).line for token in range(len(pieces))
    )


def test_a_token_of_several_lines_begins_on_the_first():
    typeset = Typeset([Piece(b"x" * 95), Piece(b" y")], 30, Marks())
    assert typeset.spot(0) == Spot(0, 0)
    assert [typeset.token_at(Spot(line, 29)) for line in range(3)] == [0, 0, 0]
    assert typeset.token_at(Spot(99, 0)) == 1


@pytest.mark.parametrize("seed", range(6))
def test_a_text_that_grows_is_set_like_one_that_was_there(seed):
    pieces = text_of(seed, 2 * CHUNK)
    typeset = Typeset(pieces[:1], 40, Marks())
    chance = random.Random(seed)
    n = 1
    while n < len(pieces):
        n = min(len(pieces), n + chance.randrange(1, 9))
        typeset.grow(pieces[:n])
        typeset.line(10**6)
    whole = Typeset(pieces, 40, Marks())
    assert drawn(map(typeset.line, range(typeset.n_lines))) == drawn(map(whole.line, range(typeset.n_lines)))
    assert not whole.line(typeset.n_lines)


def test_a_mark_stands_where_texts_part():
    pieces = [Piece(b"She"), Piece(b" was"), Piece(b" not")]
    assert "".join(span.text for span in Typeset(pieces, 40, Marks(dots=False), parting=2).line(0)) == "She was⟨≠⟩ not"
    typed = [Piece(b"<!=>"), Piece(b" not")]
    line = Typeset(typed, 40, Marks(ascii=True), parting=1).line(0)
    assert "".join(span.text for span in line) == "<U+003C>!=><!=> not"
