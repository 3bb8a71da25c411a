"""The help: every key, in as many columns as there is room for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.screen import Screen

from llama_diversity.view.ink import BOLD, DIM, Drawn, Ink, cut
from llama_diversity.view.keys import KEYS, Keys
from llama_diversity.view.panels import panel_keys

_KEY, _COLUMN = 13, 40  # cells


class Help(Drawn):
    """The keys and what they do."""

    DEFAULT_CSS = "Help { height: 1fr; }"

    def __init__(self, ink: Ink, groups: Mapping[str, Sequence[Keys]]) -> None:
        super().__init__(ink)
        self.groups = groups
        self.top = 0

    def scroll_by(self, step: int) -> bool:
        """Scroll so many lines; whether there is more than fits."""
        n_hidden = max(0, len(self._rows(self.size.width)) - self.size.height + 1)
        self.top = max(0, min(self.top + step, n_hidden))
        self.redraw()
        return n_hidden > 0

    def lines(self, width: int, height: int) -> Sequence[Text]:
        rows = self._rows(width)
        words = "The keys; any of them goes back"
        if height and len(rows) >= height:
            words = cut("The keys: down and up for more, any other goes back", width)
        return [Text(words, DIM), *rows[self.top :]]

    def _rows(self, width: int) -> list[Text]:
        made = list(self._all())
        n_columns = max(1, width // _COLUMN)
        n_rows = max(1, -(-len(made) // n_columns))
        room = max(1, width // n_columns - 1)
        rows = []
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
                shown = one.shown if self.ink.marks.in_ascii else one.shown.replace("<!=>", "⟨≠⟩")  # as texts have it
                yield Text.assemble((f"  {shown:<{_KEY - 2}}", BOLD), one.words)


class HelpScreen(Screen[None]):
    """The help over everything else, until a key is pressed."""

    def __init__(self, ink: Ink, groups: Mapping[str, Sequence[Keys]] | None = None) -> None:
        super().__init__()
        self._ink, self._groups = ink, groups or {**KEYS, **panel_keys()}

    def compose(self) -> ComposeResult:
        yield Help(self._ink, self._groups)

    def on_key(self, event: events.Key) -> None:
        """Any key goes back; where not all fits those that scroll do that."""
        event.stop()
        event.prevent_default()
        page = max(1, self.size.height - 2)
        step = {"down": 1, "up": -1, "pagedown": page, "space": page, "pageup": -page}.get(event.key)
        if step is None or not self.query_one(Help).scroll_by(step):
            self.dismiss()

    def on_click(self) -> None:
        """So does the mouse."""
        self.dismiss()
