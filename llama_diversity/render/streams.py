"""Standard output and standard error, made fit for every character and for callers that closed them.

It knows what a stream can carry, and nothing of what is printed.
"""

from __future__ import annotations

import io
import os
import sys

from llama_diversity.errors import BadValue
from llama_diversity.render import spelling
from llama_diversity.render.safe import carries_unicode


def prepare() -> None:
    """Call once, before anything is printed or opened.

    A stream that is not UTF-8 (a Windows code page, ASCII) writes what it lacks in ASCII instead of failing. Where the
    caller closed a stream (`>&-`), what is printed goes nowhere, and no file of ours takes its place.
    """
    if not spelling.register():
        return
    _occupy_closed()
    for stream in (sys.stdout, sys.stderr):
        is_default = getattr(stream, "errors", "") in ("strict", "backslashreplace")  # what Python sets by itself
        if isinstance(stream, io.TextIOWrapper) and is_default and not carries_unicode(stream.encoding):
            stream.reconfigure(encoding=spelling.other_name(stream.encoding), errors=spelling.HANDLER)


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


def standard_input() -> str:
    """All of it, less one line break at its end; bytes that are not UTF-8 are lone surrogates. Raises BadValue."""
    if sys.stdin is None:
        raise BadValue("the text", "-", "standard input, which it means, is closed")
    typed = sys.stdin.buffer.read().decode("utf-8", "surrogateescape")
    return typed.removesuffix("\n").removesuffix("\r") if typed.endswith("\r\n") else typed.removesuffix("\n")
