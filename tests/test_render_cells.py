"""Tokens into cells and cells into lines."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from render_samples import HOSTILE_PIECES, unsafe_in
from rich.cells import cell_len

from llama_diversity.records import Piece
from llama_diversity.render.cells import MAX_GROUP_TOKENS, Marks, TokenCell, build_cells, group_pieces, inline
from llama_diversity.render.layout import clusters, lay_out, widest_atom, widest_line
from llama_diversity.render.scales import Surprisal

UNICODE, ASCII, PLAIN, NARROW = Marks(), Marks(ascii=True), Marks(dots=False), Marks(encoding="ascii")
FAMILY = "👨\u200d👩\u200d👧"


def cells_of(
    pieces: Sequence[Piece | bytes], values: Sequence[float] | None = None, marks: Marks = UNICODE, **options: bool
) -> tuple[TokenCell, ...]:
    return build_cells(
        [piece if isinstance(piece, Piece) else Piece(piece) for piece in pieces],
        [1.0] * len(pieces) if values is None else values,
        scale=Surprisal(16),
        marks=marks,
        numbers=options.get("numbers", False),
        tooltips=[f"tooltip {position}" for position in range(len(pieces))],
    )


def drawn(cell: TokenCell) -> str:
    return "".join("\n" if part.kind == "break" else part.text for part in cell.parts)


@pytest.mark.parametrize(
    ("piece", "unicode_form", "plain_form", "ascii_form"),
    [
        (b"cat", "cat", "cat", "cat"),
        (b" cat", "·cat", " cat", " cat"),
        (b"cat ", "cat·", "cat ", "cat "),
        (b"a b", "a b", "a b", "a b"),
        (b" ", "·", "·", " "),
        (b" " * 64, "·×64", "·×64", "<sp x64>"),
        (b"a  b", "a·×2b", "a·×2b", "a<sp x2>b"),
        (b"\n", "⏎\n", "⏎\n", "<nl>\n"),
        (b".\n\n", ".⏎\n⏎\n", ".⏎\n⏎\n", ".<nl>\n<nl>\n"),
        (b"\r\n", "⟨U+000D⟩⏎\n", "⟨U+000D⟩⏎\n", "<U+000D><nl>\n"),
        (b"\t", "→", "→", "<tab>"),
        (b"", "∅", "∅", "<>"),
        (b"\xe2\x96", "⟨E2 96⟩", "⟨E2 96⟩", "<E2 96>"),
        (b"a\xffb", "a⟨FF⟩b", "a⟨FF⟩b", "a<FF>b"),
        (b"\xed\xa0\x80", "⟨ED A0 80⟩", "⟨ED A0 80⟩", "<ED A0 80>"),  # a surrogate is no UTF-8
        (Piece(b"", "<|eot|>"), "⟨|eot|⟩", "⟨|eot|⟩", "<ctrl |eot|>"),
        (Piece(b"", "</s>"), "⟨/s⟩", "⟨/s⟩", "<ctrl /s>"),
        (Piece(b"", "[INST]"), "⟨[INST]⟩", "⟨[INST]⟩", "<ctrl [INST]>"),
        (b"<|eot|>", "<|eot|>", "<|eot|>", "<|eot|>"),
        ("\u202e".encode(), "⟨U+202E⟩", "⟨U+202E⟩", "<U+202E>"),
        ("\u0301".encode(), "⟨U+0301⟩", "⟨U+0301⟩", "<U+0301>"),  # a mark with nothing to stand on
        ("é你".encode(), "é你", "é你", "é你"),
    ],
)
def test_how_a_token_is_drawn(piece: Piece | bytes, unicode_form: str, plain_form: str, ascii_form: str) -> None:
    assert [drawn(cell) for cell in cells_of([piece])] == [unicode_form]
    assert [drawn(cell) for cell in cells_of([piece], marks=PLAIN)] == [plain_form]
    assert [drawn(cell) for cell in cells_of([piece], marks=ASCII)] == [ascii_form]


def test_a_narrow_encoding_gets_only_what_it_can_carry() -> None:
    shown = "".join(map(drawn, cells_of(["é你".encode(), b"\xe2\x96", Piece(b"", "<é>"), b" x"], marks=NARROW)))
    assert shown == "<U+00E9><U+4F60><E2 96><ctrl <U+00E9>> x"


@pytest.mark.parametrize(
    ("forged", "marks"),
    [
        *((forged, PLAIN) for forged in ("⟨|eot|⟩", "⟨U+202E⟩", "⟨E2 96⟩")),
        *((forged, ASCII) for forged in ("<ctrl |eot|>", "<nl>", "<tab>", "<>", "<sp x64>", "<E2 96>", "<U+202E>")),
    ],
)
def test_nobody_can_type_a_mark(forged: str, marks: Marks) -> None:
    """However the typed text is split over tokens, it does not read as the mark it copies."""
    splits = [[forged[:cut], forged[cut:]] for cut in range(1, len(forged))]
    for split in [[forged], list(forged), *splits]:
        assert forged not in "".join(map(drawn, cells_of([text.encode() for text in split], marks=marks)))


def test_typed_brackets_that_are_no_marks_stay() -> None:
    html = "<p>a < b <br></p> <|eot|> <nlp> <E2E>"
    assert "".join(map(drawn, cells_of([html.encode()], marks=ASCII))) == html


def test_bytes_are_joined_until_they_decode() -> None:
    cells = cells_of([b"a", b"\xf0\x9f", b"\x98", b"\x80", b"b"], [1.0, 3.0, 1.0, 0.25, 2.0])
    assert [drawn(cell) for cell in cells] == ["a", "😀", "▪", "▪", "▪", "b"]
    assert [cell.value for cell in cells] == [1.0, 4.25, 3.0, 1.0, 0.25, 2.0]
    assert [cell.step for cell in cells] == [0, 2, 1, 0, 0, 1]
    assert [cell.small for cell in cells] == [False, False, True, True, True, False]
    assert cells[1].tooltip == "3 tokens make this glyph; joint surprisal 4.25 bits"
    assert [cell.tooltip for cell in cells[2:]] == ["tooltip 1", "tooltip 2", "tooltip 3", "tooltip 4"]


@pytest.mark.parametrize(
    ("pieces", "shown"),
    [
        ([b"\xf0\x9f"], ["⟨F0 9F⟩"]),  # incomplete at the end
        ([b"\xf0\x9f", b"\x98", b"x"], ["⟨F0 9F⟩", "⟨98⟩", "x"]),  # never completed: each token for itself
        ([b"\xe4\xbd", b"\xa0\xe5", b"\xa5\xbd"], ["你好", "▪", "▪", "▪"]),  # one token ends and begins a character
        ([b"\xe4\xbd", b"\xa0\xe5", b"x"], ["你⟨E5⟩", "▪", "▪", "x"]),
        ([b"\xe4\xbd", b"\xa0\xe5", b"\xa5", b"x"], ["你⟨E5⟩", "▪", "▪", "⟨A5⟩", "x"]),
        ([b"\xe4\xbd", Piece(b"", "</s>"), b"\xa0"], ["⟨E4 BD⟩", "⟨/s⟩", "⟨A0⟩"]),
        ([b"\xe4\xbd", b"", b"\xa0"], ["⟨E4 BD⟩", "∅", "⟨A0⟩"]),
        ([b"\xc2", b"\x9b"], ["⟨U+009B⟩", "▪", "▪"]),  # the 8-bit CSI, in halves
        ([b"\xe4\xbd", b"\xa0\n", b"x"], ["你⏎", "▪", "▪\n", "x"]),  # small cells stay on the glyph's line
        ([b"cafe", "\u0301s".encode()], ["cafe\u0301s", "▪", "▪"]),
        ([b" ", "\u0301".encode()], ["·", "⟨U+0301⟩"]),
        ([b"\n", "\u0301".encode()], ["⏎\n", "⟨U+0301⟩"]),
        (["👨\u200d".encode(), "👩".encode(), "\u200d".encode(), "👧".encode()], [FAMILY, "▪", "▪", "▪", "▪"]),
        (["👨\u200d".encode(), b"x"], ["👨⟨U+200D⟩", "x"]),
        (["🇯".encode(), "🇵".encode(), "🇫".encode(), "🇷".encode()], ["🇯🇵", "▪", "▪", "🇫🇷", "▪", "▪"]),
        (["👍".encode(), "🏽".encode()], ["👍🏽", "▪", "▪"]),
        (["❤".encode(), "\ufe0f".encode()], ["❤\ufe0f", "▪", "▪"]),
    ],
)
def test_what_belongs_together(pieces: list[Piece | bytes], shown: list[str]) -> None:
    assert [drawn(cell) for cell in cells_of(pieces)] == shown


def test_a_tower_of_combining_marks_is_cut() -> None:
    cells = cells_of([b"e"] + ["\u0301".encode()] * 40)
    assert cells[0].n_tokens == MAX_GROUP_TOKENS
    assert drawn(cells[MAX_GROUP_TOKENS + 1]) == "⟨U+0301⟩"


def test_numbers_stand_behind_the_glyph_and_before_the_break() -> None:
    pieces = [b"cat", b" was", b".\n", b"\xe4\xbd", b"\xa0", b"x"]
    values = [5.0, 0.2, 12.0, 3.0, 4.0, float("nan")]
    shown = [drawn(cell) for cell in cells_of(pieces, values, marks=PLAIN, numbers=True)]
    assert shown == ["cat⁵", " was", ".⏎¹²\n", "你⁷", "▪³", "▪⁴", "x⁻"]
    shown = [drawn(cell) for cell in cells_of(pieces, values, marks=ASCII, numbers=True)]
    assert shown == ["cat[5]", " was", ".<nl>[12]\n", "你[7]", "*[3]", "*[4]", "x[-]"]


def test_a_value_that_a_model_forbids_is_infinite() -> None:
    assert [drawn(cell) for cell in cells_of([b"x"], [float("inf")], numbers=True)] == ["x∞"]
    assert [drawn(cell) for cell in cells_of([b"x"], [float("inf")], marks=ASCII, numbers=True)] == ["x[inf]"]


def test_inline_draws_one_token_on_one_line() -> None:
    assert [inline(Piece(data)) for data in (b" a\nb", b"\xe2", b"")] == ["·a⏎b", "⟨E2⟩", "∅"]


def random_pieces(source: random.Random) -> list[Piece]:
    """Text with wide, joined and combining characters, some bytes spoilt, cut into tokens anywhere."""
    alphabet = ["a", " ", "\n", "é", "你", "\u0301", "👩", "\u200d", "🇯", "\u202e", "\x1b", "⟨", "<", "\u0e33", "  "]
    data = bytearray("".join(source.choices(alphabet, k=source.randrange(60))).encode())
    for _ in range(source.randrange(3)):
        if data:
            data[source.randrange(len(data))] = source.randrange(256)
    pieces = []
    while data:
        length = source.choice([1, 1, 2, 3, 5])
        pieces.append(Piece(bytes(data[:length])))
        del data[:length]
        if source.random() < 0.05:
            pieces.append(source.choice([Piece(b""), Piece(b"", "<s>")]))
    return pieces


@pytest.mark.parametrize("seed", range(40))
def test_any_bytes_cut_anywhere_keep_every_token_once_and_nothing_unsafe(seed: int) -> None:
    pieces = random_pieces(random.Random(seed))
    values = [float(position) for position in range(len(pieces))]
    groups = group_pieces(pieces)
    tokens = [token for group in groups for token in range(group.first, group.first + group.n_tokens)]
    assert tokens == list(range(len(pieces)))
    for marks in (UNICODE, PLAIN, ASCII, NARROW):
        cells = cells_of(pieces, values, marks=marks, numbers=True)
        own = [cell.value for cell in cells if cell.n_tokens == 1]
        assert own == values
        shown = "".join(map(drawn, cells))
        assert unsafe_in(shown, allowed=("\n", "\u200d")) == []
        if marks is NARROW:
            assert shown.isascii()
        for width in (1, 7, 20):
            for line in lay_out(cells, width):
                assert sum(span.width for span in line) <= max(width, 2)
                assert cell_len("".join(span.text for span in line)) <= max(width, 2)


def test_hostile_pieces_are_inert() -> None:
    for marks in (UNICODE, ASCII):
        shown = "".join(map(drawn, cells_of(HOSTILE_PIECES, marks=marks)))
        assert unsafe_in(shown, allowed=("\n",)) == ["\u200d"]  # the one that joins two people
        assert "👨\u200d👩" in shown


# Lines.


def lines_of(pieces: Sequence[Piece | bytes], width: int, marks: Marks = UNICODE) -> list[str]:
    return ["".join(span.text for span in line) for line in lay_out(cells_of(pieces, marks=marks), width)]


def test_lines_break_at_tokens() -> None:
    assert lines_of([b"one", b" two", b" three", b" four"], 10) == ["one·two", "·three", "·four"]


def test_a_newline_token_draws_its_glyph_and_breaks() -> None:
    assert lines_of([b"a", b"\n", b"\n\n", b"b\n"], 10) == ["a⏎", "⏎", "⏎", "b⏎"]


def test_a_token_longer_than_the_line_breaks_inside_it() -> None:
    assert lines_of([b"ab", b"x" * 25, b"c"], 10) == ["ab" + "x" * 8, "x" * 10, "x" * 7 + "c"]


def test_wide_characters_are_never_cut() -> None:
    assert lines_of(["你好你好你".encode()], 5) == ["你好", "你好", "你"]
    assert lines_of([FAMILY.encode() * 3], 5) == [FAMILY * 2, FAMILY]
    assert lines_of(["🇯🇵🇫🇷".encode()], 3) == ["🇯🇵", "🇫🇷"]
    assert lines_of(["你".encode()], 1) == ["你"]


def test_a_mark_is_not_cut_unless_it_is_longer_than_the_line() -> None:
    assert lines_of(["abcd\u202e".encode()], 10) == ["abcd", "⟨U+202E⟩"]
    assert lines_of(["\u202e".encode()], 5) == ["⟨U+20", "2E⟩"]


def test_small_cells_stay_with_their_glyph() -> None:
    assert lines_of([b"abcdef", b"\xe4\xbd", b"\xa0"], 8) == ["abcdef", "你▪▪"]


def test_nothing_makes_no_lines() -> None:
    assert lay_out((), 80) == []
    assert widest_line(()) == widest_atom(()) == 0


def test_widths_for_a_column() -> None:
    cells = cells_of([b"one", b" two", b"\n", "\u202e".encode()])
    assert widest_line(cells) == cell_len("one·two⏎")
    assert widest_atom(cells) == cell_len("⟨U+202E⟩")


def test_clusters() -> None:
    assert list(clusters("ae\u0301" + FAMILY + "🇯🇵🇫👍🏽")) == ["a", "e\u0301", FAMILY, "🇯🇵", "🇫", "👍🏽"]
