"""What a figure is and how it was made, inside its file: PNG text chunks, SVG <metadata>, the PDF's information.

The command that makes a figure again belongs to the file, not into the picture, where it costs room and shows paths.
It knows the three formats as far as adding text to a file that has none.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape
from importlib.metadata import version

_PNG_HEAD = 8 + 25  # the signature and the chunk IHDR, which must come first
_NAMES = 'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:dc="http://purl.org/dc/elements/1.1/"'
_STARTXREF = re.compile(rb"startxref\s+([0-9]+)\s+%%EOF\s*\Z")
_SIZE, _ROOT = re.compile(rb"/Size ([0-9]+)"), re.compile(rb"/Root ([0-9]+ [0-9]+ R)")


@dataclass(frozen=True)
class About:
    """A figure's title, its caption, and the command that makes it again."""

    title: str
    caption: str
    command: str

    @property
    def fields(self) -> dict[str, str]:
        """By the names that PNG and PDF share; empty ones are left out."""
        every = {"Title": self.title, "Description": self.caption, "Source": self.command, "Software": _software()}
        return {name: text for name, text in every.items() if text}


def with_metadata(content: bytes, kind: str, about: About) -> bytes:
    """The file, "png", "svg" or "pdf", with what it is about."""
    adders: dict[str, Callable[[bytes, About], bytes]] = {"png": _in_png, "svg": _in_svg, "pdf": _in_pdf}
    return adders[kind](content, about)


def _software() -> str:
    return f"llamadiv {version('llama-diversity')}"


# ---- PNG


def _in_png(content: bytes, about: About) -> bytes:
    chunks = b"".join(_text_chunk(name, text) for name, text in about.fields.items())
    return content[:_PNG_HEAD] + chunks + content[_PNG_HEAD:]


def _text_chunk(name: str, text: str) -> bytes:
    """tEXt where Latin-1 will do, which every reader knows; else iTXt, which holds UTF-8."""
    try:
        kind, data = b"tEXt", name.encode() + b"\0" + text.encode("latin-1")
    except UnicodeEncodeError:
        kind, data = b"iTXt", name.encode() + b"\0\0\0\0\0" + text.encode("utf-8", "replace")
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


# ---- SVG


def _in_svg(content: bytes, about: About) -> bytes:
    named = {
        "title": about.title,
        "description": about.caption,
        "source": about.command,
        "creator": _software(),
    }
    inside = "".join(f"<dc:{name}>{escape(text)}</dc:{name}>" for name, text in named.items() if text)
    element = (
        f'<metadata><rdf:RDF {_NAMES}><rdf:Description rdf:about="">{inside}</rdf:Description></rdf:RDF></metadata>'
    )
    end_of_tag = content.index(b">", content.index(b"<svg")) + 1
    return content[:end_of_tag] + element.encode("utf-8", "replace") + content[end_of_tag:]


# ---- PDF


def _in_pdf(content: bytes, about: About) -> bytes:
    """With an information dictionary in an update at the end, as the format provides for; nothing before it moves."""
    tail, size, root = _STARTXREF.search(content), _last(_SIZE, content), _last(_ROOT, content)
    if tail is None or size is None or root is None:
        raise ValueError("a PDF without a cross-reference table")
    number = int(size)
    start = len(content) + 1
    update = b"\n%d 0 obj\n<< %s >>\nendobj\n" % (number, b" ".join(_pdf_fields(about)))
    table = b"xref\n0 1\n0000000000 65535 f\r\n%d 1\n%010d 00000 n\r\n" % (number, start)
    trailer = b"trailer\n<< /Size %d /Root %s /Info %d 0 R /Prev %s >>\n" % (number + 1, root, number, tail[1])
    return content + update + table + trailer + b"startxref\n%d\n%%%%EOF\n" % (len(content) + len(update))


def _pdf_fields(about: About) -> Iterator[bytes]:
    """Texts as UTF-16 in hexadecimal: any character, and nothing to escape."""
    names = {"Description": "Subject", "Source": "Source", "Software": "Creator"}
    for name, text in about.fields.items():
        yield b"/%s <FEFF%s>" % (names.get(name, name).encode(), text.encode("utf-16-be", "replace").hex().encode())


def _last(pattern: re.Pattern[bytes], content: bytes) -> bytes | None:
    found = pattern.findall(content)
    return found[-1] if found else None
