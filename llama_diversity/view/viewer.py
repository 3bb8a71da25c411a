"""The viewer: one screen with the texts, the token under the cursor, the legend, and keys for all of it.

A panel that follows the cursor is told of it by `Viewer.follow`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from textual.app import App, ComposeResult
from textual.containers import Vertical
from textual.filter import LineFilter, NoColor
from textual.screen import Screen

from llama_diversity.errors import Interrupted, LlamadivError
from llama_diversity.render import ramps
from llama_diversity.render.cells import Marks
from llama_diversity.render.heatmap import Looks
from llama_diversity.render.scales import Difference, Scale
from llama_diversity.render.terminal import console
from llama_diversity.studies.viewed import Abreast, Source, Text, next_surprise, next_word, scale_of
from llama_diversity.view.bars import Footer, Legend, Title
from llama_diversity.view.columns import Columns
from llama_diversity.view.detail import Detail
from llama_diversity.view.help import HelpScreen
from llama_diversity.view.ink import Ink
from llama_diversity.view.keys import all_bindings, bindings
from llama_diversity.view.panels import PANELS, Chosen, Open, Panel, Say, Spot, panel_called, panel_keys

WIDE = 120  # columns from which the token's own column stands beside the texts
THRESHOLDS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24)  # bits
REMARK_S = 8.0  # how long a remark stands
REFRESH_S = 1.0  # how often a run is asked whether there is more of it


class Viewer(Screen[None]):
    """The texts of a source, with what is open beside them."""

    BINDINGS = [*all_bindings(), *bindings(panel_keys().get("To open", ()))]
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (WIDE, "-wide")]

    def __init__(self, source: Source, ink: Ink) -> None:
        super().__init__()
        self.source, self.ink = source, ink
        self.question = self.row = 0
        self.quantity = "surprisal"
        self.threshold = 8

    def compose(self) -> ComposeResult:
        yield Title(self.ink)
        with Vertical(id="body"):
            yield Columns(self.ink)
            yield Detail(self.ink)
        yield Legend(self.ink)
        yield Footer(self.ink)

    def on_mount(self) -> None:
        """Show the first text, and look now and then whether there is more."""
        self.open(0, 0, 0)
        self.set_interval(REFRESH_S, self._look_again)

    @property
    def columns(self) -> Columns:
        """The texts."""
        return self.query_one(Columns)

    @property
    def scale(self) -> Scale:
        """What tokens are coloured by."""
        return scale_of(self.quantity)

    def open(self, question: int, arm: int, row: int, *, at: int = 0) -> None:
        """Show a row of an arm, beside it those of the others; where it cannot be read, say why."""
        self.question, self.row = question, row
        try:
            found = self._texts(question, arm, row)
        except LlamadivError as error:
            found = []
            self.say(str(error))
        abreast = Abreast(found) if found else None
        if abreast is not None and self.quantity not in abreast.quantities:
            self.quantity = abreast.quantities[0]
        self.query_one(Legend).explain(self.scale, abreast)
        self.columns.show(abreast, min(arm, max(0, len(found) - 1)), self.scale, at=at)
        self._tell()

    def _texts(self, question: int, arm: int, row: int) -> list[Text]:
        """Those that stand side by side; of an arm without one of that number an empty one."""
        arms = self.source.arms(question)
        if not arms or not 0 <= row < self.source.n_rows(question, arm):
            return []
        rows = [row if at == arm else self.source.partner(question, arm, row, at) for at in range(len(arms))]
        return [
            Text.missing(arms[at]) if one is None else self.source.text(question, at, one)
            for at, one in enumerate(rows)
        ]

    def _tell(self) -> None:
        """The title: what is looked at."""
        columns = self.columns
        questions, arm = self.source.questions, columns.arm
        words, prompt = self.ink.safe(self.source.title), ""
        if len(questions) > 1:
            words += f"  prompt {self.question + 1} of {len(questions)}"
        n_rows = self.source.n_rows(self.question, arm) if questions else 0
        if columns.abreast is None:
            words += "  no samples yet: they appear as they are drawn"
        else:
            prompt = columns.abreast.texts[arm].prompt
            if n_rows > 1:
                words += f"  {self.row + 1:,} of {n_rows:,}"
        self.query_one(Title).say(words, prompt)

    @property
    def spot(self) -> Spot:
        """What the cursor stands on."""
        columns = self.columns
        return Spot(columns.abreast, columns.arm, columns.at, self.question, self.row)

    def on_columns_moved(self) -> None:
        """The cursor stands elsewhere: tell all that depends on it."""
        spot = self.spot
        self.query_one(Detail).follow(spot)
        for panel in self.query(Panel):
            panel.follow(spot)
        self.say("")
        n = 0 if spot.text is None else len(spot.text)
        self.query_one(Footer).stand(f"{spot.at + 1}/{n}  {self.threshold} bits" if n else "")

    def on_columns_picked(self) -> None:
        """Another arm was clicked."""
        self._tell()

    def on_open(self, message: Open) -> None:
        """A panel wants something else to be shown."""
        self.open(message.question, message.arm, message.row, at=message.at)

    def on_say(self, message: Say) -> None:
        """A panel has a remark."""
        self.say(message.words)

    def on_chosen(self, message: Chosen) -> None:
        """An alternative was chosen: a panel may know what to do with it."""
        if not any(panel.chosen(message.spot, message.token) for panel in self.query(Panel)):
            self.say("Only a model that is open can go on from here.")

    def say(self, words: str) -> None:
        """A remark on the last line, until the cursor moves or it has been read."""
        self.query_one(Footer).say(words)
        if words:
            self.set_timer(REMARK_S, lambda: self.query_one(Footer).forget(words))

    def _look_again(self) -> None:
        """A run that is still drawn has more samples now."""
        try:
            if not self.source.refresh():
                return
        except LlamadivError as error:
            self.say(str(error))
            return
        if self.columns.abreast is None:
            self.open(self.question, 0, 0)
        self._tell()

    # ---- what keys do

    def _text(self) -> Text | None:
        columns = self.columns
        return None if columns.abreast is None else columns.abreast.texts[columns.arm]

    def action_token(self, step: int) -> None:
        """Move by tokens."""
        self.columns.go(self.columns.at + step)

    def action_word(self, step: int) -> None:
        """Move by words."""
        if (text := self._text()) is not None:
            self.columns.go(next_word(text, self.columns.at, step))

    def action_line(self, step: int) -> None:
        """Move by lines."""
        self.columns.go_line(step)

    def action_page(self, step: int) -> None:
        """Move by pages."""
        self.columns.go_page(step)

    def action_edge(self, is_end: bool) -> None:  # noqa: FBT001  Textual passes by place
        """Move to an end of the line."""
        self.columns.go_edge(is_end=is_end)

    def action_whole(self, is_end: bool) -> None:  # noqa: FBT001
        """Move to an end of the text."""
        text = self._text()
        self.columns.go(len(text) - 1 if text is not None and is_end else 0)

    def action_surprise(self, step: int) -> None:
        """Move to the next token at or above the threshold."""
        columns, text = self.columns, self._text()
        if columns.abreast is None or text is None:
            return
        scale = self.scale
        is_difference = self.quantity == Difference.name
        found = columns.abreast.values(columns.arm, scale, 0, len(text)) if is_difference else None
        at = next_surprise(text.tokens["surprisal_bits"] if found is None else found, columns.at, step, self.threshold)
        if at is None:
            where = "after" if step > 0 else "before"
            self.say(f"No token {where} this one has {self.threshold} bits or more.")
        else:
            columns.go(at)

    def action_threshold(self, step: int) -> None:
        """Change how surprising a surprise is."""
        at = THRESHOLDS.index(self.threshold) + step
        self.threshold = THRESHOLDS[max(0, min(at, len(THRESHOLDS) - 1))]
        self.on_columns_moved()

    def action_sample(self, step: int) -> None:
        """Move by samples."""
        n = self.source.n_rows(self.question, self.columns.arm) if self.source.questions else 0
        row = max(0, min(self.row + step, n - 1))
        if n and row != self.row:
            self.open(self.question, self.columns.arm, row)

    def action_arm(self, step: int) -> None:
        """Move by arms."""
        columns = self.columns
        if columns.abreast is not None:
            columns.choose((columns.arm + step) % len(columns.abreast.texts), is_alone=columns.is_alone)
            self._tell()

    def action_question(self, step: int) -> None:
        """Move by prompts."""
        n = len(self.source.questions)
        if n > 1:
            self.open((self.question + step) % n, 0, 0)

    def action_colour(self, step: int) -> None:
        """Colour by another quantity."""
        columns = self.columns
        if columns.abreast is not None:
            names = columns.abreast.quantities
            self.quantity = names[(names.index(self.quantity) + step) % len(names)]
            columns.colour(self.scale)
            self.query_one(Legend).explain(self.scale, columns.abreast)

    def action_sides(self) -> None:
        """One arm alone, or all."""
        self.columns.choose(self.columns.arm, is_alone=not self.columns.is_alone)

    def action_detail(self) -> None:
        """With or without the token's own place."""
        self.query_one(Detail).toggle_class("-hidden")

    async def action_panel(self, name: str) -> None:
        """Open a panel, or close it; one is open at a time."""
        is_open = any(panel.name == name for panel in self.query(Panel))
        await self.action_close()
        if is_open:
            return
        if name not in self.source.panels:
            self.say(f"There is nothing here for {PANELS[name].words}.")
            return
        panel = panel_called(name, self.source, self.ink)
        await self.query_one("#body").mount(panel, before=0)
        self.add_class("-open")
        panel.follow(self.spot)
        panel.focus()

    async def action_close(self) -> None:
        """Close what is open."""
        self.query_one(Detail).leave()
        for panel in self.query(Panel):
            await panel.remove()
        self.remove_class("-open")

    def action_alternatives(self) -> None:
        """Choose among what else could have stood here."""
        self.query_one(Detail).enter()

    def action_help(self) -> None:
        """All keys."""
        self.app.push_screen(HelpScreen(self.ink))

    def action_quit(self) -> None:
        """Leave."""
        self.app.exit()

    def action_interrupt(self) -> None:
        """Leave, as an interrupted command does."""
        self.app.exit(return_code=Interrupted.exit_code)


class ViewApp(App[None]):
    """The application around the viewer: a terminal's own colours, and no more."""

    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #body { height: 1fr; layout: vertical; }
    Viewer.-wide #body { layout: horizontal; }
    Viewer.-wide Detail { width: 46; height: 1fr; margin-left: 2; }
    Viewer.-wide Panel { width: 52; margin-right: 2; }
    Viewer.-narrow.-open Columns { display: none; }
    .-hidden { display: none; }
    """

    def __init__(self, source: Source, ink: Ink) -> None:
        super().__init__()
        self.source, self.ink = source, ink
        self.theme = "ansi-light" if ink.looks.background == "light" else "ansi-dark"

    def get_default_screen(self) -> Viewer:
        return Viewer(self.source, self.ink)

    def get_line_filters(self) -> Sequence[LineFilter]:
        """None but of colours where there are to be none: all that is drawn has those of the terminal."""
        return [NoColor()] if self.ink.depth == "none" else []


def look(source: Source, looks: Looks, color: str) -> None:
    """Open the viewer on this terminal until it is left. Raises Interrupted for Ctrl-C."""
    out = console(color)
    depth = ramps.depth_of(no_color=out.no_color, color_system=out.color_system)
    marks = Marks(ascii=looks.ascii, encoding=sys.stderr.encoding or "ascii", dots=depth != "none")
    app = ViewApp(source, Ink(looks, depth, marks))
    app.run()
    if app.return_code == Interrupted.exit_code:
        raise Interrupted("Interrupted; the store is as it was.")
