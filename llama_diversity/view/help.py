"""The help: every key, in as many columns as there is room for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.screen import Screen

from llama_diversity.view.ink import BOLD, DIM, Drawn, Ink, cut
from llama_diversity.view.keys import KEYS

_KEY, _WORDS = 17, 54  # cells


class Help(Drawn):
    """The keys and what they do."""

    DEFAULT_CSS = "Help { height: 1fr; }"

    def lines(self, width: int, height: int) -> Sequence[Text]:
        made = list(self._all())
        n_columns = max(1, width // (_KEY + _WORDS))
        n_rows = max(1, -(-len(made) // n_columns)) if n_columns > 1 else max(len(made), 1)
        room = max(1, width // n_columns - 1)
        top = [Text("any key goes back", DIM), Text()]
        rows = []
        for at in range(n_rows):
            line = Text(no_wrap=True)
            for column in range(n_columns):
                place = column * n_rows + at
                part = made[place] if place < len(made) else Text()
                part.truncate(room, pad=True)
                line.append_text(part)
                line.append(" ")
            rows.append(line)
        return [*(top if len(rows) + 2 <= height else []), *rows]

    def _all(self) -> Iterator[Text]:
        for heading, keys in KEYS.items():
            yield Text(heading, BOLD)
            for key in keys:
                yield Text.assemble((f"  {key.shown:<{_KEY - 2}}", BOLD), cut(key.words, _WORDS))


class HelpScreen(Screen[None]):
    """The help over everything else, until a key is pressed."""

    def __init__(self, ink: Ink) -> None:
        super().__init__()
        self._ink = ink

    def compose(self) -> ComposeResult:
        yield Help(self._ink)

    def on_key(self, event: events.Key) -> None:
        """Any key goes back."""
        event.stop()
        self.dismiss()

    def on_click(self) -> None:
        """So does the mouse."""
        self.dismiss()
