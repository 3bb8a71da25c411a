"""Standard output and standard error, made fit for every character and for callers that closed them.

It knows what a stream can carry, and nothing of what is printed.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import sys

from llama_diversity.render.safe import carries_unicode, code_point

_HANDLER, _ASCII = "llamadiv", "llamadiv_ascii"
# What our own sentences and tables are written with; every other character that has no room is named.
_IN_ASCII = {
    "“": '"', "”": '"', "‘": "'", "’": "'", "–": "-", "—": "-", "−": "-", "…": "...", "·": ".", "×": "x", "±": "+-",
    "≤": "<=", "≥": ">=", "→": "->", "←": "<-", "⏎": "<nl>", "⟨": "<", "⟩": ">", "\u00a0": " ",
    "\u202f": " ", "\u2009": " ", "─": "-", "━": "-", "│": "|", "╸": "-", "╺": "-", "█": "#", "•": "*",
}  # fmt: skip


def prepare() -> None:
    """Call once, before anything is printed or opened.

    A stream that is not UTF-8 (a Windows code page, ASCII) writes what it lacks in ASCII instead of failing. Where the
    caller closed a stream (`>&-`), what is printed goes nowhere, and no file of ours takes its place.
    """
    with contextlib.suppress(LookupError):
        codecs.lookup_error(_HANDLER)
        return
    codecs.register_error(_HANDLER, _spelled)
    codecs.register(_ascii_codec)
    _occupy_closed()
    for stream in (sys.stdout, sys.stderr):
        is_default = getattr(stream, "errors", "") in ("strict", "backslashreplace")  # what Python sets by itself
        if isinstance(stream, io.TextIOWrapper) and is_default and not carries_unicode(stream.encoding):
            is_ascii = codecs.lookup(stream.encoding).name == "ascii"
            stream.reconfigure(encoding=_ASCII if is_ascii else None, errors=_HANDLER)


def _ascii_codec(name: str) -> codecs.CodecInfo | None:
    """ASCII by another name: Click takes a stream of that one for a mistake, and writes UTF-8 into it."""
    if name != _ASCII:
        return None
    ascii = codecs.lookup("ascii")
    return codecs.CodecInfo(
        ascii.encode, ascii.decode, ascii.streamreader, ascii.streamwriter, ascii.incrementalencoder,
        ascii.incrementaldecoder, _ASCII,
    )  # fmt: skip


def _occupy_closed() -> None:
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free, which is this one
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")


def _spelled(error: UnicodeError) -> tuple[str, int]:
    """What takes the place of the characters that a stream cannot carry."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_IN_ASCII.get(one, code_point(one, ascii=True)) for one in lacking), error.end
