"""What takes the place of characters that an encoding lacks: ours by what they resemble, others by their number."""

from __future__ import annotations

import codecs
import contextlib

from llama_diversity.render.safe import code_point

HANDLER, _ASCII = "llamadiv", "llamadiv_ascii"
# What our own sentences and tables are written with; every other character that has no room is named.
_IN_ASCII = {
    "“": '"', "”": '"', "‘": "'", "’": "'", "–": "-", "—": "-", "−": "-", "…": "...", "·": ".", "×": "x", "±": "+-",
    "≤": "<=", "≥": ">=", "→": "->", "←": "<-", "⏎": "<nl>", "⟨": "<", "⟩": ">", "\u00a0": " ",
    "\u202f": " ", "\u2009": " ", "─": "-", "━": "-", "│": "|", "╸": "-", "╺": "-", "█": "#", "•": "*",
}  # fmt: skip


def register() -> bool:
    """Make HANDLER an error handler of this process; whether it is new."""
    with contextlib.suppress(LookupError):
        codecs.lookup_error(HANDLER)
        return False
    codecs.register_error(HANDLER, _spelled)
    codecs.register(_ascii_codec)
    return True


def other_name(encoding: str) -> str | None:
    """ASCII by the name that Click does not take for a mistake; None for another encoding."""
    return _ASCII if codecs.lookup(encoding).name == "ascii" else None


def _ascii_codec(name: str) -> codecs.CodecInfo | None:
    """ASCII by another name: Click takes a stream of that one for a mistake, and writes UTF-8 into it."""
    if name != _ASCII:
        return None
    ascii = codecs.lookup("ascii")
    return codecs.CodecInfo(
        ascii.encode, ascii.decode, ascii.streamreader, ascii.streamwriter, ascii.incrementalencoder,
        ascii.incrementaldecoder, _ASCII,
    )  # fmt: skip


def _spelled(error: UnicodeError) -> tuple[str, int]:
    """What takes the place of the characters that a stream cannot carry."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_IN_ASCII.get(one, code_point(one, ascii=True)) for one in lacking), error.end
