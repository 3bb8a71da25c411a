"""Branches by hand: the tree of ways beside the samples of one, which grow while one looks on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich.text import Text as Line
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.screen import Screen

from llama_diversity.errors import Interrupted
from llama_diversity.records import Sample
from llama_diversity.render.scales import OF_MIXTURES, SCALES
from llama_diversity.studies.branch.analysis import Gone, Spelled, text_of
from llama_diversity.studies.branch.gathering import Sitting
from llama_diversity.studies.branch.specs import Ids, Place
from llama_diversity.studies.viewed import scale_of
from llama_diversity.studies.watching import Seen, Watch
from llama_diversity.view.bars import Legend
from llama_diversity.view.growing import Growth, Samples, Tree
from llama_diversity.view.help import HelpScreen
from llama_diversity.view.here import Here, stand_behind
from llama_diversity.view.ink import BOLD, DIM, HEIGHTS, Ink
from llama_diversity.view.keys import BRANCHING, bindings_of
from llama_diversity.view.thread import Models
from llama_diversity.view.whole import WholeScreen, Words

WIDE = 120
NAMES = [name for name in SCALES if name not in OF_MIXTURES]


class _Stored(NamedTuple):
    """What is stored of the ways, and the samples of one."""

    found: list[Gone]
    number: int
    samples: list[Sample]
    spelled: Spelled
    n: int


def _stored(sitting: Sitting, place: Place, number: int) -> _Stored:
    looking = sitting.at(place)
    found = looking.tree()
    samples = looking.samples(number) if number < len(found) else []
    return _Stored(found, number, samples, looking.spelled, looking.n)


class BranchScreen(Screen[None]):
    """The ways behind one prompt."""

    BINDINGS = bindings_of(BRANCHING)
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (WIDE, "-wide")]
    VERTICAL_BREAKPOINTS = HEIGHTS
    CSS = """
    BranchScreen { layout: vertical; }
    #ways { height: 1fr; layout: vertical; }
    BranchScreen.-low Tree { max-height: 4; }
    BranchScreen.-flat Tree { max-height: 3; }
    BranchScreen.-wide #ways { layout: horizontal; }
    BranchScreen.-wide Tree { width: 60; height: 1fr; max-height: 100%; margin-right: 2; }
    """

    def __init__(self, here: Here, first: Ids, others: Sequence[str], models: Models, ink: Ink) -> None:
        super().__init__()
        self.place, self.ink, self.models = here.place, ink, models
        self._first, self._others = first, tuple(others)
        self._spelled, self._n = here.spelled, here.n
        self._words = here.place.prompt.rendered
        self.running: Watch | None = None  # of what grows now
        self.remark = ""

    def compose(self) -> ComposeResult:
        yield Words(self.ink, id="where")
        with Vertical(id="ways"):
            yield Tree(self.ink)
            yield Samples(self.ink)
        yield Legend(self.ink)
        yield Words(self.ink, id="foot", is_folded=True)

    def on_mount(self) -> None:
        """Go the first way."""
        self.query_one(Legend).explain(scale_of(self.samples.quantity), None)
        self._tell()
        self.grow(self._first)

    @property
    def ways(self) -> Tree:
        """The ways."""
        return self.query_one(Tree)

    @property
    def samples(self) -> Samples:
        """The samples of one of them."""
        return self.query_one(Samples)

    def say(self, remark: str) -> None:
        """A remark, until the next key."""
        self.remark = remark
        if self.is_mounted:  # what a model was still doing may end after the screen was left
            self._tell()

    def _tell(self) -> None:
        text = self.ink.safe(self._words + self._stem())
        room = max(10, self.size.width - 24 - len(self.place.model.reference))
        shown = text if len(text) < room else ".." + text[-room:]
        self.query_one("#where", Words).say(
            Line.assemble(("ways under ", BOLD), (self.ink.safe(self.place.model.reference), BOLD), "  ", (shown, DIM))
        )
        if self.remark:
            foot = Line(self.ink.safe(self.remark), BOLD)
        elif self.running is not None:
            state = "paused" if self.running.is_paused else "growing"
            foot = Line.assemble((f"{state}  ", BOLD), ("space pause  x stop  tab tokens  esc back  ? help", DIM))
        else:
            foot = Line("b branch  tab tokens  g go on  c colour  s its run  esc back  ? help", DIM)
        self.query_one("#foot", Words).say(foot)

    def _stem(self) -> str:
        """What is before the chosen way's tokens, behind the prompt."""
        found = self.ways.found
        return text_of(found[self.ways.at].way.stem) if self.ways.at < len(found) else ""

    # ---- growing

    def grow(self, ids: Ids) -> None:
        """Go a way; what comes is shown as it comes."""
        place, watch = self.place, Watch(self._see)
        self.running = self.models.watch = watch
        self.samples.begin(self._spelled.pieces)

        def gone(sitting: Sitting) -> _Stored:
            looking = sitting.at(place)
            begun = looking.begin(ids)
            before = _Stored(looking.tree(), begun, looking.samples(begun), looking.spelled, looking.n)
            self.models.tell(lambda: self._show(before))
            looking.grow(ids, watch)
            return _stored(sitting, place, begun)

        def done(found: _Stored) -> None:
            self._ended()
            self._show(found)

        def failed(words: str) -> None:
            self._ended()
            self.say(words)
            self.choose(self.ways.at)

        self.models.ask(gone, done, failed)

    def _ended(self) -> None:
        self.running = self.models.watch = None

    def _see(self, seen: Seen) -> None:
        """In the thread that draws: pass it on."""
        self.models.tell(lambda: self._saw(seen))

    def _saw(self, seen: Seen) -> None:
        if not self.is_mounted:
            return
        self.samples.take({one.index: one.tokens for one in seen.finished}, are_done=True)
        self.samples.take({one.index: one.tokens for one in seen.growing}, are_done=False)
        ways = self.ways
        ways.grow(ways.at, Growth(self.samples.n_done, self._n))

    def _show(self, found: _Stored) -> None:
        if not self.is_mounted:
            return
        self._spelled, self._n = found.spelled, found.n
        self.ways.show(found.found, found.number)
        self.samples.begin(found.spelled.pieces)
        self.samples.take({one.index: one.tokens for one in found.samples}, are_done=True)
        self._tell()

    def choose(self, number: int) -> None:
        """Show the samples of another way."""
        place = self.place
        self.ways.at = number
        self.ways.redraw()
        self.models.ask(lambda sitting: _stored(sitting, place, number), self._show, self.say)

    # ---- what keys do

    def action_move(self, across: int, down: int) -> None:
        """Move in the tree, or among tokens."""
        self._quiet()
        samples = self.samples
        if samples.has_cursor:
            samples.go(samples.row + down, samples.at + across if not down else samples.at)
        elif down and self.running is None:
            order = [number for number, _ in self.ways.order()]
            if order:
                at = order.index(self.ways.at) + down
                self.choose(order[max(0, min(at, len(order) - 1))])

    def action_tokens(self) -> None:
        """To the tokens, and back to the tree."""
        self._quiet()
        self.samples.has_cursor = not self.samples.has_cursor
        self.samples.go(self.samples.row, self.samples.at)

    def action_pause(self) -> None:
        """Wait, or go on."""
        if self.running is not None:
            self.running.go_on() if self.running.is_paused else self.running.pause()
            self._tell()

    def action_stop(self) -> None:
        """End what grows; what is finished is kept."""
        if self.running is not None:
            self.running.stop()

    def action_more(self) -> None:
        """Draw what is missing of this way."""
        self._quiet()
        if self.running is None and self.ways.found:
            self.grow(Ids.of(self.ways.found[self.ways.at].way))

    def action_branch(self) -> None:
        """Take something else at the token under the cursor, or behind the way."""
        self._quiet()
        self.action_stop()
        way = self.ways.found[self.ways.at].way if self.ways.found else None
        stem = () if way is None else way.path
        said = None
        if self.samples.has_cursor and self.samples.numbers:
            ids = tuple(self.samples.tokens["id"].tolist())
            stem, said = (*stem, *ids[: self.samples.at]), ids[self.samples.at]
        place = self.place
        self.models.ask(lambda sitting: stand_behind(sitting, place, stem, said), self._chosen, self.say)

    def _chosen(self, here: Here) -> None:
        if self.is_current:
            screen = WholeScreen(here, self._others, self.models, self.ink, self._resized)
            self.app.push_screen(screen, self._take)

    def _resized(self, n: int) -> None:
        self._n = n

    def _take(self, ids: Ids | None) -> None:
        self.samples.has_cursor = False
        if ids is not None:
            self.grow(ids)

    def action_save(self) -> None:
        """Say that the run stands, and how it is named."""
        place = self.place

        def save(sitting: Sitting) -> str:
            looking = sitting.at(place)
            run, kept = looking.finish(), looking.kept()
            return f"{kept.sentence} llamadiv perturb --opening-of {run} goes on with it." if kept else ""

        self.models.ask(save, self.say, self.say)

    def action_colour(self, step: int) -> None:
        """Colour by another quantity."""
        self.query_one(Legend).explain(self.samples.colour(step, NAMES), None)

    def action_back(self) -> None:
        """To the texts; what grows is stopped, and what is kept is said there."""
        self.action_stop()
        place, models = self.place, self.models
        self.dismiss()
        models.ask(
            lambda sitting: sitting.kept(place), lambda kept: models.say(kept.sentence if kept else ""), models.say
        )

    def action_help(self) -> None:
        """The keys of this screen."""
        self.app.push_screen(HelpScreen(self.ink, BRANCHING))

    def action_quit(self) -> None:
        """Leave the viewer; what is kept is said then."""
        self.app.exit()

    def action_interrupt(self) -> None:
        """Leave, as an interrupted command does."""
        self.app.exit(return_code=Interrupted.exit_code)

    def _quiet(self) -> None:
        if self.remark:
            self.say("")
