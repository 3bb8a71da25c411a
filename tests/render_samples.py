"""Tokens that the tests of the renderers share, and the ways to look at what was rendered."""

from __future__ import annotations

import io
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType

from llama_diversity.records import Piece
from llama_diversity.render.safe import is_unsafe
from llama_diversity.render.scales import Alternative, ScoredToken

GOLDEN = Path(__file__).parent / "golden"
SGR = re.compile(r"\x1b\[[0-9;]*m")  # the only sequences that Rich may write
DEPTHS = {"truecolor": "truecolor", "256": "256", "16": "standard", "none": None}

LIKELIEST = (
    Alternative(Piece(b" the"), 0.5),
    Alternative(Piece(b" a"), 0.25),
    Alternative(Piece(b"\n"), 0.125),
    Alternative(Piece(b"\xe4\xbd"), 0.0625),
    Alternative(Piece(b"", "</s>"), 0.03125),
)


def token(piece: bytes | Piece, bits: float, *, entropy: float = 2.5, rank: int = 3) -> ScoredToken:
    """A token with a surprisal; the rest of its statistics are made up."""
    piece = piece if isinstance(piece, Piece) else Piece(piece)
    return ScoredToken(piece, bits, entropy, rank if not math.isnan(bits) else 0, LIKELIEST)


SENTENCE = [
    token(Piece(b"", "<s>"), math.nan),
    token(b"She", 0.3),
    token(b" was", 2.2),
    token(b" not", 7.1),
    token(b" a", 4.4),
    token(b" nurse", 11.0),
    token(b".", 0.1),
    token(b"\n", 1.5),
    token(b"\tif", 3.0),
    token(b" " * 64, 5.0),
    token(b"x", 0.0),
    token(b"", 6.0),
    token(b"\xe4\xbd", 2.0),
    token(b"\xa0", 8.0),
    token("好".encode(), 1.0),
    token(b" \xf0\x9f", 3.0),
    token(b"\x98", 1.0),
    token(b"\x80", 0.2),
    token(b" cafe", 2.0),
    token("\u0301".encode(), 3.0),
    token(b"<|eot|>", 9.0),
    token(Piece(b"", "<|eot|>"), 1.0),
    token(b"\xe2\x96", 12.0),
]

# ESC sequences, OSC 0 and OSC 8, the 8-bit CSI, right-to-left override, NUL, separators, tags, blanks, broken bytes.
HOSTILE_TEXT = (
    "a\x1b[2J\x1b[31m\x1b]0;pwn\x07b\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\\u009b31mc\u202egnp\u2066\x00\r\x08\x7f"
    "\u2028\u2029\u200b\ufeff\u00ad\u115f\u3164\ue000\U000e0041\U0010ffff</text><script>\"'&[/b]:smile:\u0085"
).encode()
HOSTILE_PIECES = [
    Piece(HOSTILE_TEXT),
    *(Piece(HOSTILE_TEXT[position : position + 1]) for position in range(len(HOSTILE_TEXT))),
    *(Piece(HOSTILE_TEXT[position : position + 5]) for position in range(0, len(HOSTILE_TEXT), 5)),
    Piece(b"\xed\xb3\xa2\xff\xfe\xc0\xaf"),
    Piece(b"", "<\x1b[2J\u202e>"),
    Piece("\u0301".encode()),
    Piece("👨\u200d".encode()),
    Piece("👩".encode()),
]
HOSTILE_NAME = "model\x1b]0;pwn\x07\u202e\n</text>&\x9b"
HOSTILE = [
    ScoredToken(
        piece, float(position % 17), 3.0, 2, tuple(Alternative(p, 0.1) for p in HOSTILE_PIECES[position : position + 5])
    )
    for position, piece in enumerate(HOSTILE_PIECES)
]


def console_of(depth: str, *, width: int = 80, encoding: str = "utf-8") -> Console:
    """A console that writes to memory, with the colours of one depth."""
    return Console(
        file=io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True),
        color_system=DEPTHS[depth],  # type: ignore[arg-type]
        force_terminal=depth != "none",
        width=width,
        markup=False,
        highlight=False,
        emoji=False,
        _environ={},
    )


def rendered(renderable: RenderableType, depth: str = "none", *, width: int = 80, encoding: str = "utf-8") -> str:
    """All that is written, SGR sequences included."""
    console = console_of(depth, width=width, encoding=encoding)
    console.print(renderable)
    file: Any = console.file
    return bytes(file.buffer.getvalue()).decode(encoding)


def unsafe_in(text: str, *, allowed: Sequence[str] = ("\n",)) -> list[str]:
    """Characters that a terminal or reader would obey or hide, once Rich's colours are taken away."""
    return [character for character in SGR.sub("", text) if is_unsafe(character) and character not in allowed]


def assert_golden(name: str, text: str) -> None:
    """Compare with a file a person can read; UPDATE_GOLDEN=1 writes it anew, to be read before it is kept."""
    path = GOLDEN / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text.splitlines() == path.read_text(encoding="utf-8").splitlines()
