"""What `visible` lets through, and what it shows instead."""

from __future__ import annotations

import unicodedata

import pytest
from render_samples import HOSTILE_TEXT, unsafe_in

from llama_diversity.render.safe import UNSAFE_CATEGORIES, visible


@pytest.mark.parametrize(
    ("text", "unicode_form", "ascii_form"),
    [
        ("plain text, naïve 你好", "plain text, naïve 你好", "plain text, naïve 你好"),
        ("\x1b[2J", "⟨U+001B⟩[2J", "<U+001B>[2J"),
        ("\u009b31m", "⟨U+009B⟩31m", "<U+009B>31m"),
        ("a\u202eb", "a⟨U+202E⟩b", "a<U+202E>b"),
        ("\x00\x7f", "⟨U+0000⟩⟨U+007F⟩", "<U+0000><U+007F>"),
        ("\u2028\u2029", "⟨U+2028⟩⟨U+2029⟩", "<U+2028><U+2029>"),
        ("\u115f\u3164", "⟨U+115F⟩⟨U+3164⟩", "<U+115F><U+3164>"),
        ("\U000e0041", "⟨U+E0041⟩", "<U+E0041>"),
        ("a\nb\tc", "a⏎b→c", "a<nl>b<tab>c"),
        ("\udce2", "⟨U+DCE2⟩", "<U+DCE2>"),
        ("❤\ufe0f", "❤\ufe0f", "❤\ufe0f"),
        ("👩🏽\u200d🚀", "👩🏽\u200d🚀", "👩🏽\u200d🚀"),
        ("a\u200db", "a⟨U+200D⟩b", "a<U+200D>b"),
        ("👩\u200d", "👩⟨U+200D⟩", "👩<U+200D>"),
        ("a\u200d👩", "a⟨U+200D⟩👩", "a<U+200D>👩"),
        ("", "", ""),
    ],
)
def test_visible_forms(text: str, unicode_form: str, ascii_form: str) -> None:
    assert visible(text) == unicode_form
    assert visible(text, ascii=True) == ascii_form


@pytest.mark.parametrize(
    ("newline", "tab", "shown"),
    [("glyph", "glyph", "a⏎b→c"), ("break", "glyph", "a⏎\nb→c"), ("keep", "keep", "a\nb\tc")],
)
def test_newline_and_tab_by_parameter(newline: str, tab: str, shown: str) -> None:
    assert visible("a\nb\tc", newline=newline, tab=tab) == shown  # type: ignore[arg-type]


def test_every_unsafe_code_point_below_the_astral_planes_is_replaced() -> None:
    everything = "".join(map(chr, range(0x10000)))
    shown = visible(everything)
    assert {unicodedata.category(character) for character in shown} & UNSAFE_CATEGORIES == set()
    kept = [c for c in everything if unicodedata.category(c) not in UNSAFE_CATEGORIES]
    assert len(kept) > 50_000
    assert set(kept) - set(shown) == set("\u115f\u1160\u3164\uffa0\u2800")


def test_hostile_text_becomes_inert() -> None:
    text = HOSTILE_TEXT.decode()
    assert unsafe_in(text) != []
    assert unsafe_in(visible(text), allowed=()) == []


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_a_narrow_encoding_carries_what_is_shown(encoding: str) -> None:
    shown = visible("é你\u202e\n😀", encoding=encoding)
    assert shown.encode(encoding).decode(encoding) == shown
    assert shown.endswith("<U+4F60><U+202E><nl><U+1F600>")


def test_joiners_that_join_nothing_are_all_shown() -> None:
    assert visible("\u200d" * 20_000) == "⟨U+200D⟩" * 20_000
