"""The viewer: one screen with the texts, the token under the cursor, the legend, and keys for all of it.

A panel that follows the cursor is told of it by `Viewer.follow`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.screen import Screen
from textual.widgets import Input

from llama_diversity.errors import Interrupted, LlamadivError
from llama_diversity.render.scales import Difference, Scale
from llama_diversity.studies.branch.specs import Ids
from llama_diversity.studies.viewed import Abreast, Alike, Keys, Source, Text, Wish, next_surprise, next_word, scale_of
from llama_diversity.view.background import in_background
from llama_diversity.view.bars import Footer, Legend, Title
from llama_diversity.view.beside import Beside
from llama_diversity.view.branching import BranchScreen
from llama_diversity.view.columns import Columns
from llama_diversity.view.detail import Detail
from llama_diversity.view.help import HelpScreen
from llama_diversity.view.here import Here, stand
from llama_diversity.view.ink import HEIGHTS, Ink
from llama_diversity.view.keys import all_bindings, bindings
from llama_diversity.view.ordering import Order
from llama_diversity.view.panels import PANELS, Chosen, Open, Panel, Say, Spot, Step, Times, panel_called, panel_keys
from llama_diversity.view.thread import Models
from llama_diversity.view.whole import WholeScreen

WIDE, BROAD = 120, 170  # columns from which one thing stands beside the texts, and two
THRESHOLDS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24)  # bits
REMARK_S = 8.0  # how long a remark stands
REFRESH_S = 1.0  # how often a run is asked whether there is more of it

_ARRANGING, _ALIGNING = "arranging", "aligning"  # groups of workers: samples into an order, and what is like one


class Find(Input):
    """A line for words."""

    DEFAULT_CSS = "Find { height: 1; border: none; padding: 0; } Find:focus { border: none; }"

    def __init__(self, words: str) -> None:
        super().__init__(words, placeholder="words that samples must have; none: all", compact=True)


class Viewer(Screen[None]):
    """The texts of a source, with what is open beside them."""

    BINDINGS = [*all_bindings(), *bindings(panel_keys().get("To open", ()))]
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (WIDE, "-wide"), (BROAD, "-broad")]
    VERTICAL_BREAKPOINTS = HEIGHTS

    def __init__(self, source: Source, ink: Ink, models: Models | None = None) -> None:
        super().__init__()
        self.source, self.ink, self.models = source, ink, models
        self.question = self.row = 0  # the row is one of the arm that has the cursor
        self.quantity = "surprisal"
        self.threshold = 8
        self.order = Order(source)
        self.beside = Beside(source)

    def compose(self) -> ComposeResult:
        yield Title(self.ink)
        with Vertical(id="body"):
            yield Columns(self.ink, self._moved)
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
        self.columns.notice = ""
        try:
            found = self._texts(question, arm, row)
        except LlamadivError as error:
            found = []
            self.columns.notice = str(error)
        abreast = Abreast(found) if found else None
        if abreast is not None and self.quantity not in abreast.quantities:
            self.quantity = abreast.quantities[0]
        self.query_one(Legend).explain(self.scale, abreast)
        self.columns.show(abreast, min(arm, max(0, len(found) - 1)), self.scale, at=at)
        if self.order.show(question, arm):
            self._arrange()
        if found and self.beside.look_at(question, arm, row):
            self._align()
        self._tell()

    def _texts(self, question: int, arm: int, row: int) -> list[Text]:
        """Those that stand side by side; of an arm without one of that number an empty one."""
        arms = self.source.arms(question)
        if not arms or not 0 <= row < self.source.n_rows(question, arm):
            return []
        rows = self.beside.rows(question, arm, row)
        found = [
            Text.missing(arms[at]) if one is None else self.source.text(question, at, one)
            for at, one in enumerate(rows)
        ]
        return [self.beside.headed(at, text) for at, text in enumerate(found)]

    def _tell(self) -> None:
        """The title: what is looked at."""
        columns = self.columns
        questions, arm = self.source.questions, columns.arm
        words, prompt = self.ink.safe(self.source.title), ""
        if len(questions) > 1:
            words += f"  prompt {self.question + 1} of {len(questions)}"
        n_rows = self.source.n_rows(self.question, arm) if questions else 0
        if columns.abreast is None:
            words += "" if columns.notice else "  no samples yet: they appear as they are drawn"
        else:
            prompt = columns.abreast.texts[arm].prompt
            place = self.order.place_of(self.row)
            if n_rows > 1 and place is not None:
                words += f"  {place + 1:,} of {len(self.order.rows):,}"
                words += "" if self.order.is_plain else f" ({self.ink.safe(self.order.words)})"
            elif n_rows > 1 and self.order.wish.words and not len(self.order.rows):
                words += f"  none of {n_rows:,} has “{self.ink.safe(self.order.wish.words)}”, this one neither"
            words += f"  {self.beside.words}" if self.beside.is_alike else ""
        self.query_one(Title).say(words, prompt)

    @property
    def spot(self) -> Spot:
        """What the cursor stands on."""
        columns = self.columns
        return Spot(columns.abreast, columns.arm, columns.at, self.question, self.row)

    def _moved(self) -> None:
        """The cursor stands elsewhere: tell all that depends on it."""
        spot = self.spot
        self.query_one(Detail).follow(spot)
        for panel in self.query(Panel):
            panel.follow(spot)
        self.say("")
        n = 0 if spot.text is None else len(spot.text)
        self.query_one(Footer).stand(f"{spot.at + 1}/{n}  {self.threshold} bits" if n else "")

    def on_columns_picked(self, message: Columns.Picked) -> None:
        """Another arm was clicked."""
        self._choose(message.arm, before=message.before)

    def on_open(self, message: Open) -> None:
        """A panel wants something else to be shown."""
        self.open(message.question, message.arm, message.row, at=message.at)

    def on_step(self, message: Step) -> None:
        """A panel wants another sample."""
        row = self.order.step(self.row, message.step) if message.row is None else message.row
        if row is not None and row != self.row:
            self.open(self.question, self.columns.arm, row)

    def on_say(self, message: Say) -> None:
        """A panel has a remark."""
        self.say(message.words)

    def on_chosen(self, message: Chosen) -> None:
        """An alternative was chosen: a panel may know what to do with it, else its model goes on with it."""
        if not any(panel.chosen(message.spot, message.token) for panel in self.query(Panel)):
            token = message.token
            self._stand(message.spot, lambda here: self._take(here, token))

    def _take(self, here: Here, token: int) -> None:
        if self.models is not None and (n := self.models.n) > here.n:  # its tree was begun with fewer
            self.models.ask(lambda sitting: sitting.at(here.place).resize(n), lambda found: None, self.say)
        self._go(here, here.taking([token]))

    def say(self, words: str) -> None:
        """A remark on the last line, until the cursor moves or it has been read."""
        self.query_one(Footer).say(words)
        if words:
            self.set_timer(REMARK_S, lambda: self.query_one(Footer).forget(words))

    def _look_again(self) -> None:
        """A run that is still drawn has more samples now."""
        arm = self.columns.arm
        try:
            keys = self.source.rows(self.question, arm)[self.row : self.row + 1] if self.source.questions else None
            if not self.source.refresh():
                return
            here = [] if keys is None else self.source.rows_of(self.question, arm, keys)
        except LlamadivError as error:
            self.say(str(error))
            return
        self.row = here[0] if here else 0
        self.order.show(self.question, arm)
        if not here or any(not len(text) for text in self._shown_texts()):
            self.open(self.question, arm, self.row, at=self.columns.at)
        self._redraw_panels()

    def _shown_texts(self) -> Sequence[Text]:
        return () if self.columns.abreast is None else self.columns.abreast.texts

    # ---- in which order samples stand

    def want(self, wish: Wish) -> None:
        """Bring the samples into another order, or show only some of them."""
        if self.source.arranger is None:
            self.say("Only a stored run has samples to list.")
            return
        if self.order.want(wish):
            self._arrange()
        else:
            self.workers.cancel_group(self, _ARRANGING)
            self._redraw_panels()

    def _arrange(self) -> None:
        """Work the order out in a thread, and show it as it becomes known."""
        of, wish = self.order.of, self.order.wish
        in_background(
            self,
            _ARRANGING,
            lambda told: self.order.work(of, wish, told),
            heard=self._on_arranging,
            done=lambda keys: self._on_arranged(of, wish, keys),
            refused=lambda sentence: self._on_refused(of, wish, sentence),
        )

    def _on_arranging(self, share: float | None) -> None:
        self.order.tell(share)
        self._redraw_panels()

    def _on_refused(self, of: tuple[int, int], wish: Wish, sentence: str) -> None:
        if (of, wish) == (self.order.of, self.order.wish):
            self.order.refuse(sentence)
            self.say(sentence)
            self._redraw_panels()

    def _on_arranged(self, of: tuple[int, int], wish: Wish, keys: Keys) -> None:
        """Unless another order is wanted by now."""
        if (of, wish) == (self.order.of, self.order.wish):
            self.order.take(keys)
            if self.order.place_of(self.row) is None and len(self.order.rows):
                self.open(self.question, self.columns.arm, int(self.order.rows[0]))
                if wish.words:  # behind what the move itself clears
                    first = f"The first sample here that has “{wish.words}”."
                    self.call_after_refresh(lambda: self.say(first))
            if not len(self.order.rows):
                self.say(f"No sample has “{wish.words}”.")
            self._redraw_panels()

    def _redraw_panels(self) -> None:
        for panel in self.query(Panel):
            panel.redraw()
        self._tell()

    # ---- what stands beside a sample

    def action_beside(self) -> None:
        """Align by a shared beginning, or by number again."""
        if self.source.arranger is None or len(self._shown_texts()) < 2:
            self.say("Only a stored run of several arms has other samples to set beside this one.")
            return
        self.workers.cancel_group(self, _ALIGNING)
        self.beside.turn()
        self.open(self.question, self.columns.arm, self.row, at=self.columns.at)

    def _align(self) -> None:
        """Look in a thread for what begins like the sample in view, and show it."""
        of = self.beside.of
        assert of is not None

        def heard(share: float) -> None:
            if of == self.beside.of:
                self.beside.tell(share)
                self._tell()

        def ended(found: Sequence[Alike] | None, trouble: str) -> None:
            if of == self.beside.of:
                self.beside.take(found)
                self.open(self.question, self.columns.arm, self.row, at=self.columns.at)
                self.say(trouble)

        in_background(
            self,
            _ALIGNING,
            lambda told: self.beside.work(of, told),
            heard=heard,
            done=lambda found: ended(found, ""),
            refused=lambda sentence: ended(None, sentence),
        )

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
        self._moved()

    def action_sample(self, step: int) -> None:
        """Move by samples, in the order of the list."""
        row = self.order.step(self.row, step)
        if row is not None and row != self.row:
            self.open(self.question, self.columns.arm, row)

    def action_order(self) -> None:
        """The next order."""
        self.want(self.order.wish._replace(order=self.order.next_order()))

    def action_backwards(self) -> None:
        """The same order the other way round."""
        self.want(self.order.wish._replace(is_reversed=not self.order.wish.is_reversed))

    async def action_find(self) -> None:
        """Ask for words that samples must have."""
        if self.source.arranger is None:
            self.say("Only a stored run has samples to list.")
        elif not self.query(Find):
            find = Find(self.order.wish.words)
            await self.mount(find, before=self.query_one(Footer))
            find.focus()

    async def on_input_submitted(self, message: Find.Submitted) -> None:
        """Words were typed, or none."""
        await message.input.remove()
        self.want(self.order.wish._replace(words=message.value))
        self._give_keys_back()

    def _give_keys_back(self) -> None:
        for panel in self.query(Panel):
            panel.focus()

    def action_arm(self, step: int) -> None:
        """Move by arms; the sample beside this one is then the one in view."""
        columns = self.columns
        if columns.abreast is not None:
            self._choose((columns.arm + step) % len(columns.abreast.texts), before=columns.arm)

    def _choose(self, arm: int, *, before: int) -> None:
        row = self.beside.partner(self.question, before, self.row, arm)
        if row is None and self.source.n_rows(self.question, arm):  # it has none of that number
            self.open(self.question, arm, min(self.row, self.source.n_rows(self.question, arm) - 1))
            return
        self.row = row or 0
        self.columns.choose(arm, is_alone=self.columns.is_alone)
        if self.order.show(self.question, arm):
            self._arrange()
        self._redraw_panels()

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
        is_open = any(panel.called == name for panel in self.query(Panel))
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
        for find in self.query(Find):
            await find.remove()
        self.query_one(Detail).leave()
        self.remove_class("-choosing")
        self.query_one(Footer).offer()
        for panel in self.query(Panel):
            await panel.remove()
        self.remove_class("-open")

    def action_alternatives(self) -> None:
        """Choose among what else could have stood here."""
        self.add_class("-choosing")
        self.query_one(Detail).enter()
        self._tell_choosing()

    def _tell_choosing(self) -> None:
        n = 0 if self.models is None else self.models.n
        times = f"it goes on {n} times  + - how many" if n else "it needs its model"
        self.query_one(Footer).offer(f"enter take  esc back: {times}")

    def on_times(self, message: Times) -> None:
        """What is chosen is to be gone on with more or less often."""
        if self.models is not None:
            self.models.resize(message.step)
            self._tell_choosing()

    # ---- what a model that is open can do

    def action_branch(self) -> None:
        """All that may follow here, and ways to take: the model of the text is opened, if it is here and unchanged."""
        self._stand(self.spot, self._offer)

    def _stand(self, spot: Spot, then: Callable[[Here], None]) -> None:
        """Open the model of a text at a token of it."""
        if self.models is None:
            self.say("Only a model that is open can go on from here.")
            return
        if spot.text is None or not len(spot.text):
            self.say("There is no text here that a model could go on with.")
            return
        origin, at, session = self.source.origin(spot.question, spot.arm, spot.row), spot.at, self.models.session
        self.models.ask(lambda sitting: stand(sitting, origin, at, session), then, self.say)

    @property
    def _others(self) -> list[str]:
        """The models of all arms here."""
        abreast = self.columns.abreast
        return [] if abreast is None else [text.model for text in abreast.texts if text.model]

    def _offer(self, here: Here) -> None:
        if self.is_current and self.models is not None:
            screen = WholeScreen(here, self._others, self.models, self.ink)
            self.app.push_screen(screen, lambda ids: None if ids is None else self._go(here, ids))

    def _go(self, here: Here, ids: Ids) -> None:
        if self.models is not None:
            self.app.push_screen(BranchScreen(here, ids, self._others, self.models, self.ink))

    def action_help(self) -> None:
        """All keys."""
        self.app.push_screen(HelpScreen(self.ink))

    def action_quit(self) -> None:
        """Leave."""
        self.app.exit()

    def action_interrupt(self) -> None:
        """Leave, as an interrupted command does."""
        self.app.exit(return_code=Interrupted.exit_code)
