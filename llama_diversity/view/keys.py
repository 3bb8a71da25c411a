"""The keys: what each does, for the screen that obeys them, for the help and for the documentation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from textual.binding import Binding


class Keys(NamedTuple):
    """Keys that belong together: as a reader knows them, what they do, and the action of each as Textual calls it."""

    shown: str
    words: str
    acts: Mapping[str, str]


def both(one: str, other: str, action: str) -> dict[str, str]:
    """Keys that go on and back."""
    return {one: f"{action}(1)", other: f"{action}(-1)"}


MOVING, LOOKING, SAMPLES, OTHER = "To move", "What is shown", "Samples", "Besides"
KEYS: dict[str, tuple[Keys, ...]] = {
    MOVING: (
        Keys("right left", "a token on, or back", both("right", "left", "token")),
        Keys("down up", "a line down, or up", both("down", "up", "line")),
        Keys("w b", "a word on, or back", both("w", "b", "word")),
        Keys("n N", "a surprise on, or back", both("n", "N", "surprise")),
        Keys("+ -", "more or fewer bits for one", both("plus,equals_sign", "minus", "threshold")),
        Keys("home end", "ends of the line", {"home": "edge(False)", "end": "edge(True)"}),
        Keys("pgdn pgup", "a page down, or up", both("pagedown,space", "pageup", "page")),
        Keys("g G", "ends of the text", {"g": "whole(False)", "G": "whole(True)"}),
        Keys("tab", "an arm on; shift tab back", both("tab", "shift+tab", "arm")),
        Keys("p P", "a prompt on, or back", both("p", "P", "question")),
    ),
    LOOKING: (
        Keys("c C", "colour by another quantity", both("c", "C", "colour")),
        Keys("v", "one arm alone, or abreast", {"v": "sides"}),
        Keys("d", "the token's place, or not", {"d": "detail"}),
        Keys("a", "choose an alternative", {"a": "alternatives"}),
    ),
    SAMPLES: (
        Keys("s S", "a sample on, or back", both("s", "S", "sample")),
        Keys("o O", "another order; backwards", {"o": "order", "O": "backwards"}),
        Keys("x", "beside by number, or alike", {"x": "beside"}),
        Keys("/", "only those with some words", {"slash": "find"}),
    ),
    OTHER: (
        Keys("B", "branch here, by its model", {"B": "branch"}),
        Keys("?", "this help", {"question_mark": "help"}),
        Keys("esc", "close what is open", {"escape": "close"}),
        Keys("q", "leave", {"q": "quit"}),
    ),
    "Words": (
        Keys("<!=>", "texts part here, first", {}),
        Keys("bits", "-log2 p: 1 is p = 1/2", {}),
        Keys("entropy", "bits expected here", {}),
        Keys("varentropy", "variance of bits here", {}),
        Keys("sampler", "p after temperature, cuts", {}),
    ),
}


INTERRUPT = Binding("ctrl+c", "interrupt", "leave", show=False, priority=True)
CHOOSING: dict[str, tuple[Keys, ...]] = {  # of all that may follow at a place
    "What may follow": (
        Keys("down up", "a token down, or up", both("down", "up", "row")),
        Keys("pgdn pgup", "a page down, or up", both("pagedown", "pageup", "rows")),
        Keys("home end", "ends of the list", {"home": "rim(False)", "end": "rim(True)"}),
        Keys("/", "look for tokens; esc all", {"slash": "search"}),
        Keys("m", "another model, or without", {"m": "model"}),
        Keys("o", "another order", {"o": "order"}),
        Keys("enter", "take this token, and go on", {"enter": "take"}),
        Keys("t", "take a text that is typed", {"t": "type"}),
        Keys(".", "take nothing, and go on", {"full_stop": "go_on"}),
        Keys("+ -", "go on more or less often", both("plus,equals_sign", "minus", "times")),
        Keys("esc", "back", {"escape": "back"}),
        Keys("q", "leave", {"q": "quit"}),
        Keys("?", "this help", {"question_mark": "help"}),
    ),
}
BRANCHING: dict[str, tuple[Keys, ...]] = {  # of the ways behind a prompt
    "Ways": (
        Keys("down up", "another way, or sample", {"down": "move(0, 1)", "up": "move(0, -1)"}),
        Keys("right left", "among tokens: on, or back", {"right": "move(1, 0)", "left": "move(-1, 0)"}),
        Keys("tab", "to the tokens, or the ways", {"tab": "tokens"}),
        Keys("b", "branch at token, or way", {"b": "branch"}),
        Keys("space", "pause what grows; go on", {"space": "pause"}),
        Keys("x", "stop; what ended is kept", {"x": "stop"}),
        Keys("g", "draw what a way lacks", {"g": "more"}),
        Keys("c C", "colour by another quantity", both("c", "C", "colour")),
        Keys("s", "the run that keeps it", {"s": "save"}),
        Keys("esc", "back to the texts", {"escape": "back"}),
        Keys("q", "leave; the tree is kept", {"q": "quit"}),
        Keys("?", "this help", {"question_mark": "help"}),
    ),
    "Words": (
        Keys("p", "exact: what it takes, here", {}),
        Keys("mass", "exact: from the beginning", {}),
        Keys("began so", "seen above it; 95 % range", {}),
        Keys("", "(empty: no way is above)", {}),
    ),
}


def bindings(keys: Iterable[Keys]) -> list[Binding | tuple[str, str] | tuple[str, str, str]]:
    """Keys as Textual binds them."""
    return [Binding(key, action, one.words, show=False) for one in keys for key, action in one.acts.items()]


def all_bindings() -> list[Binding | tuple[str, str] | tuple[str, str, str]]:
    """All keys of the screen; Ctrl-C leaves too, as it does everywhere."""
    found = bindings(key for some in KEYS.values() for key in some)
    return [*found, INTERRUPT]


def bindings_of(groups: Mapping[str, Iterable[Keys]]) -> list[Binding | tuple[str, str] | tuple[str, str, str]]:
    """The keys of another screen, and Ctrl-C."""
    return [*bindings(key for some in groups.values() for key in some), INTERRUPT]
