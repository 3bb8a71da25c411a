"""The keys: what each does, for the screen that obeys them, for the help and for the documentation."""

from __future__ import annotations

from typing import NamedTuple

from textual.binding import Binding


class Key(NamedTuple):
    """`keys` as Textual calls them, `shown` as a reader does, and the action of the screen."""

    keys: str
    shown: str
    action: str
    words: str


MOVING, LOOKING, OTHER = "To move", "What is shown", "Besides"
KEYS: dict[str, tuple[Key, ...]] = {
    MOVING: (
        Key("right", "right", "token(1)", "the next token"),
        Key("left", "left", "token(-1)", "the token before"),
        Key("down", "down", "line(1)", "a line down"),
        Key("up", "up", "line(-1)", "a line up"),
        Key("w", "w", "word(1)", "the next word"),
        Key("b", "b", "word(-1)", "the word before"),
        Key("n", "n", "surprise(1)", "the next surprise: a token at or above the threshold"),
        Key("N", "N", "surprise(-1)", "the surprise before"),
        Key("plus,equals_sign", "+", "threshold(1)", "a higher threshold"),
        Key("minus", "-", "threshold(-1)", "a lower threshold"),
        Key("home", "home", "edge(False)", "the beginning of the line"),
        Key("end", "end", "edge(True)", "the end of the line"),
        Key("pagedown,space", "page down, space", "page(1)", "a page down"),
        Key("pageup", "page up", "page(-1)", "a page up"),
        Key("g", "g", "whole(False)", "the beginning of the text"),
        Key("G", "G", "whole(True)", "the end of the text"),
        Key("s", "s", "sample(1)", "the next sample"),
        Key("S", "S", "sample(-1)", "the sample before"),
        Key("tab", "tab", "arm(1)", "the next arm"),
        Key("shift+tab", "shift tab", "arm(-1)", "the arm before"),
        Key("p", "p", "question(1)", "the next prompt"),
        Key("P", "P", "question(-1)", "the prompt before"),
    ),
    LOOKING: (
        Key("c", "c", "colour(1)", "colour by the next quantity"),
        Key("C", "C", "colour(-1)", "colour by the quantity before"),
        Key("v", "v", "sides", "one arm alone, or all side by side"),
        Key("d", "d", "detail", "with or without the token under the cursor"),
    ),
    OTHER: (
        Key("question_mark", "?", "help", "this help"),
        Key("q", "q", "quit", "leave"),
    ),
}


def bindings() -> list[Binding | tuple[str, str] | tuple[str, str, str]]:
    """All keys as Textual binds them; Ctrl-C leaves too, as it does everywhere."""
    found: list[Binding | tuple[str, str] | tuple[str, str, str]] = [
        Binding(key.keys, key.action, key.words, show=False) for some in KEYS.values() for key in some
    ]
    return [*found, Binding("ctrl+c", "interrupt", "leave", show=False, priority=True)]
