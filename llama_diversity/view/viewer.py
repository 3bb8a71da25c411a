"""The viewer: one screen with the texts, the token under the cursor, the legend, and keys for all of it.

A panel that follows the cursor is told of it by `Viewer.follow`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.text import Text as Line
from textual.app import App, ComposeResult
from textual.containers import Vertical
from textual.filter import LineFilter, NoColor
from textual.screen import Screen

from llama_diversity.errors import Interrupted, LlamadivError
from llama_diversity.render import ramps
from llama_diversity.render.cells import Marks
from llama_diversity.render.heatmap import Looks, ramp_of
from llama_diversity.render.scales import Difference, Scale
from llama_diversity.render.terminal import console
from llama_diversity.render.token_pages import DISTRIBUTIONS
from llama_diversity.studies.viewed import Abreast, Source, Text, next_surprise, next_word, scale_of
from llama_diversity.view.columns import Columns
from llama_diversity.view.detail import Detail
from llama_diversity.view.help import HelpScreen
from llama_diversity.view.ink import BOLD, DIM, Drawn, Ink, cut, folded
from llama_diversity.view.keys import bindings

WIDE = 120  # columns from which the token's own column stands beside the texts
THRESHOLDS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24)  # bits
REFRESH_S = 1.0  # how often a run is asked whether there is more of it


class Title(Drawn):
    """What is looked at, on one line."""

    words = ""
    prompt = ""

    def say(self, words: str, prompt: str) -> None:
        """Other words."""
        if (words, prompt) != (self.words, self.prompt):
            self.words, self.prompt = words, prompt
            self.redraw()

    def lines(self, width: int, height: int) -> Sequence[Line]:
        line = Line(cut(self.words, width), BOLD, no_wrap=True)
        room = width - line.cell_len - 2
        if self.prompt and room > 8:
            shown = self.prompt if len(self.prompt) < room else ".." + self.prompt[-room:]
            line.append(f"  {cut(self.ink.safe(shown), room)}", DIM)
        return [line]


class LegendOf(Drawn):
    """How to read the colours: the quantity, its steps, and of which distribution it is."""

    scale: Scale | None = None
    abreast: Abreast | None = None

    def explain(self, scale: Scale, abreast: Abreast | None) -> None:
        """Another scale, or other texts."""
        self.scale, self.abreast = scale, abreast
        self.redraw(layout=True)

    def lines(self, width: int, height: int) -> Sequence[Line]:
        if self.scale is None:
            return []
        steps = folded(ramp_of(self.scale, self.ink.looks, self.ink.depth, self.ink.marks), width)
        found = [*folded(Line(self.scale.sentence()), width), *steps]
        if self.abreast is not None:
            found += folded(Line(self._source(self.abreast), DIM), width)
        return found

    def _source(self, abreast: Abreast) -> str:
        assert self.scale is not None
        names = dict.fromkeys(f"{text.arm} {text.model}" for text in abreast.texts)
        vocabularies = " and ".join(dict.fromkeys(text.vocabulary for text in abreast.texts))
        words = DISTRIBUTIONS["raw"]
        if isinstance(self.scale, Difference) and len(names) > 1 and self.scale.name == Difference.name:
            first, *others = (self.ink.safe(text.arm) for text in abreast.texts)
            words = f"A is {first}, B is {' or '.join(others)}; {words}"
        number = f"; {self.scale.number_sentence()}" if self.ink.has_numbers else ""
        return f"{words}; tokenizer {vocabularies}{number}"


class Footer(Drawn):
    """The most useful keys; in their place now and then a remark, until the next key."""

    remark = ""
    where = ""

    def say(self, remark: str) -> None:
        """A remark."""
        self.remark = remark
        self.redraw()

    def stand(self, where: str) -> None:
        """Where the cursor is, in a few words."""
        if where != self.where:
            self.where = where
            self.redraw()

    def lines(self, width: int, height: int) -> Sequence[Line]:
        keys = "? help  q quit  c colour  n surprise  s sample  tab arm"
        room = max(0, width - len(self.where) - 1)
        line = Line(no_wrap=True)
        line.append(cut(self.ink.safe(self.remark) or keys, room), BOLD if self.remark else DIM)
        line.append(" " * max(1, width - line.cell_len - len(self.where)))
        line.append(self.where, DIM)
        return [line]


class Viewer(Screen[None]):
    """The texts of a source."""

    BINDINGS = bindings()
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
        yield LegendOf(self.ink)
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
            self.query_one(Footer).say(str(error))
        abreast = Abreast(found) if found else None
        if abreast is not None and self.quantity not in abreast.quantities:
            self.quantity = abreast.quantities[0]
        self.query_one(LegendOf).explain(self.scale, abreast)
        self.columns.show(abreast, min(arm, max(0, len(found) - 1)), self.scale, at=at)
        self._tell()

    def _texts(self, question: int, arm: int, row: int) -> list[Text]:
        """Those that stand side by side; of an arm without one of that number, none."""
        n = len(self.source.arms(question))
        if not n or not 0 <= row < self.source.n_rows(question, arm):
            return []
        partners = [row if other == arm else self.source.partner(question, arm, row, other) for other in range(n)]
        return [self.source.text(question, other, at) for other, at in enumerate(partners) if at is not None]

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

    def on_columns_moved(self) -> None:
        """The cursor stands elsewhere."""
        columns = self.columns
        self.follow(columns.abreast, columns.arm, columns.at)

    def on_columns_picked(self) -> None:
        """Another arm was clicked."""
        self._tell()

    def follow(self, abreast: Abreast | None, arm: int, at: int) -> None:
        """Tell all that depends on the token under the cursor."""
        self.query_one(Detail).follow(abreast, arm, at)
        n = 0 if abreast is None else len(abreast.texts[arm])
        self.query_one(Footer).stand(f"{at + 1}/{n}  {self.threshold} bits" if n else "")

    def _look_again(self) -> None:
        """A run that is still drawn has more samples now."""
        try:
            if not self.source.refresh():
                return
        except LlamadivError as error:
            self.query_one(Footer).say(str(error))
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
            self.query_one(Footer).say(f"No token {where} this one has {self.threshold} bits or more.")
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
            self.query_one(LegendOf).explain(self.scale, columns.abreast)

    def action_sides(self) -> None:
        """One arm alone, or all."""
        self.columns.choose(self.columns.arm, is_alone=not self.columns.is_alone)

    def action_detail(self) -> None:
        """With or without the token's own place."""
        self.query_one(Detail).toggle_class("-hidden")

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
