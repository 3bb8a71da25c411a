"""What can be opened beside the texts: each in a module of its own, loaded when it is opened, and what it must do.

A panel stands at the left of a wide screen and in place of the texts on a narrow one. While it is open it has the
keys: its own `BINDINGS` first, then those of the viewer. It is told of every move of the cursor, and asks the viewer
for something by a message.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, cast

from rich.text import Text as Line
from textual.message import Message

from llama_diversity.studies.viewed import Abreast, Source, Text
from llama_diversity.view.ink import Drawn, Ink
from llama_diversity.view.keys import Keys, both

if TYPE_CHECKING:
    from llama_diversity.view.viewer import Viewer


class Spot(NamedTuple):
    """What the cursor stands on: the texts side by side, the arm, the token; and which row of which question it is."""

    abreast: Abreast | None
    arm: int = 0
    at: int = 0
    question: int = 0
    row: int = 0

    @property
    def text(self) -> Text | None:
        """The text with the cursor."""
        return None if self.abreast is None else self.abreast.texts[self.arm]


class Open(Message):
    """Show another row, or another token of it."""

    def __init__(self, question: int, arm: int, row: int, at: int = 0) -> None:
        super().__init__()
        self.question, self.arm, self.row, self.at = question, arm, row, at


class Step(Message):
    """Show the sample so many places on in the order of the list, or a certain row."""

    def __init__(self, step: int, *, row: int | None = None) -> None:
        super().__init__()
        self.step, self.row = step, row


class Say(Message):
    """A remark for the last line."""

    def __init__(self, words: str) -> None:
        super().__init__()
        self.words = words


class Chosen(Message):
    """An alternative was chosen in place of a token."""

    def __init__(self, spot: Spot, token: int) -> None:
        super().__init__()
        self.spot, self.token = spot, token


class Times(Message):
    """Go on more or less often from what is chosen."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step


class Panel(Drawn, can_focus=True):
    """Something that can be opened."""

    DEFAULT_CSS = "Panel { width: 1fr; height: 1fr; }"
    called = ""  # its name in PANELS

    def __init__(self, source: Source, ink: Ink) -> None:
        super().__init__(ink)
        self.source = source

    @property
    def viewer(self) -> Viewer:
        """The screen that it stands on."""
        return cast("Viewer", self.screen)

    def lines(self, width: int, height: int) -> Sequence[Line]:
        return ()

    def follow(self, spot: Spot) -> None:
        """The cursor has moved, or other texts are shown."""

    def chosen(self, spot: Spot, token: int) -> bool:
        """An alternative was chosen; whether that is this panel's business."""
        return False


class Offer(NamedTuple):
    """A panel that there is: its class, its key, and what it shows."""

    place: str  # module:class
    key: str
    words: str
    keys: tuple[Keys, ...] = ()  # that it has itself while it is open


PANELS: dict[str, Offer] = {  # by name; a source says which it has
    "list": Offer(
        "llama_diversity.view.listing:Listing",
        "l",
        "the list of samples",
        (
            Keys("down up", "a sample on, or back", both("down", "up", "row")),
            Keys("pgdn pgup", "a page of samples", both("pagedown,space", "pageup", "page")),
            Keys("home end", "the first, the last", {"home": "end(False)", "end": "end(True)"}),
        ),
    ),
    "map": Offer(
        "llama_diversity.view.mapping:MeaningMap",
        "m",
        "the map of meanings",
        (
            Keys(
                "arrows",
                "the nearest sample that way",
                {"right": "go(1, 0)", "left": "go(-1, 0)", "down": "go(0, 1)", "up": "go(0, -1)"},
            ),
            Keys("space", "another in the same place", {"space": "next"}),
            Keys("enter", "show this sample", {"enter": "take"}),
        ),
    ),
}


def panel_keys() -> dict[str, tuple[Keys, ...]]:
    """The keys that open panels, and under each one's words its own."""
    opening = tuple(Keys(one.key, one.words, {one.key: f"panel('{name}')"}) for name, one in PANELS.items())
    own = {f"In {one.words}": one.keys for one in PANELS.values() if one.keys}
    return {"To open": opening, **own} if opening else {}


def panel_called(name: str, source: Source, ink: Ink) -> Panel:
    """The panel of this name, new."""
    module, _, attribute = PANELS[name].place.partition(":")
    made: Panel = getattr(importlib.import_module(module), attribute)(source, ink)
    made.called = name
    return made
