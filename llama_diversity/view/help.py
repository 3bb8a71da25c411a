"""The help: every key, in as many columns as there is room for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.screen import Screen

from llama_diversity.view.ink import BOLD, DIM, Drawn, Ink
from llama_diversity.view.keys import KEYS, Keys
from llama_diversity.view.panels import panel_keys

_KEY, _COLUMN = 13, 40  # cells


class Help(Drawn):
    """The keys and what they do."""

    DEFAULT_CSS = "Help { height: 1fr; }"

    def __init__(self, ink: Ink, groups: Mapping[str, Sequence[Keys]]) -> None:
        super().__init__(ink)
        self.groups = groups

    def lines(self, width: int, height: int) -> Sequence[Text]:
        made = list(self._all())
        n_columns = max(1, width // _COLUMN)
        n_rows = max(1, -(-len(made) // n_columns))
        room = max(1, width // n_columns - 1)
        rows = [Text("The keys; any of them goes back", DIM)]
        for at in range(n_rows):
            line = Text(no_wrap=True)
            for place in range(at, len(made), n_rows):
                part = made[place]
                part.truncate(room, pad=True)
                line.append_text(part).append(" ")
            rows.append(line)
        return rows

    def _all(self) -> Iterator[Text]:
        for heading, keys in self.groups.items():
            yield Text(heading, BOLD)
            for one in keys:
                yield Text.assemble((f"  {one.shown:<{_KEY - 2}}", BOLD), one.words)


class HelpScreen(Screen[None]):
    """The help over everything else, until a key is pressed."""

    def __init__(self, ink: Ink, groups: Mapping[str, Sequence[Keys]] | None = None) -> None:
        super().__init__()
        self._ink, self._groups = ink, groups or {**KEYS, **panel_keys()}

    def compose(self) -> ComposeResult:
        yield Help(self._ink, self._groups)

    def on_key(self, event: events.Key) -> None:
        """Any key goes back."""
        event.stop()
        self.dismiss()

    def on_click(self) -> None:
        """So does the mouse."""
        self.dismiss()
