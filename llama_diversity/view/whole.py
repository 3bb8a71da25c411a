"""All that may follow: every token of a vocabulary under one model or two, searched and sorted; one may be taken."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.style import Style
from rich.text import Text as Line
from textual import events
from textual.app import ComposeResult
from textual.screen import Screen

from llama_diversity.decimals import counted, decimals
from llama_diversity.errors import Interrupted
from llama_diversity.render.cells import inline
from llama_diversity.render.plots import bar, fit
from llama_diversity.studies.branch.specs import Ids
from llama_diversity.view.help import HelpScreen
from llama_diversity.view.here import Here, Judge, judged
from llama_diversity.view.ink import BOLD, DIM, HERE, Drawn, Ink, cut, folded
from llama_diversity.view.keys import CHOOSING, bindings_of
from llama_diversity.view.thread import Models, stepped

_NAME, _RANK, _SHARE = 18, 8, 7
_ORDERS = ("the first model's order", "the second model's order", "what the second finds likelier first")


class Whole(Drawn):
    """The list: a token a line, with its rank and probability under each model."""

    DEFAULT_CSS = "Whole { height: 1fr; }"

    def __init__(self, here: Here, ink: Ink) -> None:
        super().__init__(ink)
        self.here = here
        self.judges = [here.judge]
        self.order = 0
        self.wanted = ""
        self.at = self.top = 0
        self.shown = self._sorted()

    def _sorted(self) -> npt.NDArray[np.int64]:
        """The tokens that are looked for, in order."""
        first, last = self.judges[0].distribution, self.judges[-1].distribution
        if self.order == 0:
            order = first.order()
        elif self.order == 1:
            order = last.order()
        else:
            with np.errstate(invalid="ignore"):
                order = np.argsort(np.nan_to_num(first.log_p - last.log_p, nan=0.0), kind="stable")
        if not self.wanted:
            return order
        is_wanted = np.zeros(len(order), np.bool_)
        is_wanted[self.here.spelled.matching(self.wanted)] = True
        return order[is_wanted[order]]

    def sort(self) -> None:
        """List them anew, from the top."""
        self.shown, self.at, self.top = self._sorted(), 0, 0
        self.redraw()

    def go(self, at: int) -> None:
        """Put the cursor on a line."""
        self.at = max(0, min(at, len(self.shown) - 1))
        self.redraw()

    @property
    def token(self) -> int | None:
        """The token under the cursor."""
        return int(self.shown[self.at]) if len(self.shown) else None

    def lines(self, width: int, height: int) -> Sequence[Line]:
        n_rows = max(1, height - 1)
        self.top = min(self.at, max(self.top, self.at - n_rows + 1))
        found = [self._heading(width)]
        if not len(self.shown):
            return [*found, Line(f"no token has {self.ink.safe(self.wanted)!r} in it", DIM)]
        for row in range(self.top, min(len(self.shown), self.top + n_rows)):
            found.append(self._row(int(self.shown[row]), width, is_here=row == self.at))
        return found

    def _heading(self, width: int) -> Line:
        line = Line("  " + "token".ljust(_NAME), DIM, no_wrap=True)
        for number, judge in enumerate(self.judges):
            name = cut(self.ink.safe(judge.model), self._room(width) - 1)
            line.append(name.ljust(self._room(width)), self.ink.arm(judge.model, number))
        return line

    def _room(self, width: int) -> int:
        """Cells for each model."""
        return max(_RANK + _SHARE + 2, (width - _NAME - 2) // len(self.judges))

    def _row(self, token: int, width: int, *, is_here: bool) -> Line:
        canvas = self.ink.canvas(width)
        name = fit(inline(self.here.spelled.pieces[token], self.ink.marks), _NAME, canvas)
        line = Line(no_wrap=True)
        line.append("> " if token == self.here.said else "  ", BOLD)
        line.append(name, HERE if is_here else BOLD if token == self.here.said else Style())
        for number, judge in enumerate(self.judges):
            p = judge.distribution.probability(token)
            rank = f"{judge.distribution.rank(token):,}"
            line.append(f" {share(p):>{_SHARE - 1}} {rank:>{_RANK - 1}} ")
            room = self._room(width) - _RANK - _SHARE - 1
            if room > 0:
                line.append(bar(min(1.0, p), room, canvas), self.ink.arm(judge.model, number))
        return line


def share(p: float) -> str:
    """A probability in four digits, or as a power where it is small.

    >>> share(0.25), share(0.00002), share(0.0)
    ('0.2500', '2e-05', '0')
    """
    return "0" if not p else decimals(p, ".4f") if p >= 0.00095 else f"{p:.0e}"


class Words(Drawn):
    """A line or two that say where one stands; those that are folded take as many as they need."""

    text: Sequence[Line] = ()

    def __init__(self, ink: Ink, *, id: str, is_folded: bool = False) -> None:
        super().__init__(ink, id=id)
        self.is_folded = is_folded

    def say(self, *text: Line) -> None:
        """Other words."""
        self.text = text
        self.redraw(layout=True)

    def lines(self, width: int, height: int) -> Sequence[Line]:
        if self.is_folded:
            return [line for one in self.text for line in folded(one, width)]
        found = []
        for one in self.text:
            line = one.copy()
            line.truncate(width)
            found.append(line)
        return found


class WholeScreen(Screen[Ids | None]):
    """What may follow at one place; it ends with what is to be taken, or with nothing."""

    BINDINGS = bindings_of(CHOOSING)
    CSS = "WholeScreen { layout: vertical; }"

    def __init__(
        self,
        here: Here,
        others: Sequence[str],
        models: Models,
        ink: Ink,
        resized: Callable[[int], None] = lambda n: None,
    ) -> None:
        super().__init__()
        self.here, self.ink, self.models = here, ink, models
        self._others = [one for one in dict.fromkeys(others) if one != here.judge.model]
        self._resized = resized
        self.n = here.n
        self.typing: str | None = None  # what letters are for: to look for tokens, or to take a text
        self.typed = ""
        self.remark = ""

    def compose(self) -> ComposeResult:
        yield Words(self.ink, id="where")
        yield Whole(self.here, self.ink)
        yield Words(self.ink, id="foot", is_folded=True)

    def on_mount(self) -> None:
        """Say where this is."""
        self._tell()

    @property
    def whole(self) -> Whole:
        """The list."""
        return self.query_one(Whole)

    def say(self, remark: str) -> None:
        """A remark, until the next key."""
        self.remark = remark
        if self.is_mounted:
            self._tell()

    def _tell(self) -> None:
        whole = self.whole
        text = self.ink.safe(self.here.words)
        room = max(10, self.size.width - 18)
        shown = text if len(text) < room else ".." + text[-room:]
        entropy = ", ".join(f"{decimals(one.distribution.entropy_bits, '.2f')} bits" for one in whole.judges)
        order = f"  {_ORDERS[whole.order]}" if len(whole.judges) > 1 else ""
        self.query_one("#where", Words).say(
            Line.assemble(("what may follow  ", BOLD), (shown, DIM)),
            Line(f"{counted(len(whole.shown), 'token')}, entropy {entropy}{order}", DIM),
        )
        self.query_one("#foot", Words).say(self._foot())

    def _foot(self) -> Line:
        if self.typing is not None:
            heading = "look for: " if self.typing == "search" else "take the text: "
            mark = "_" if self.ink.marks.in_ascii else "▏"
            return Line.assemble((heading, BOLD), self.ink.safe(self.typed), (mark, DIM))
        if self.remark:
            return Line(self.ink.safe(self.remark), BOLD)
        wanted = f"  looking for {self.ink.safe(self.whole.wanted)!r}" if self.whole.wanted else ""
        second = "" if not self._others else "  m other model" if len(self.whole.judges) == 1 else "  m one model"
        return Line(
            f"enter take it  t type  . go on  / look for{second}  + - times {self.n}  esc back  ? help{wanted}", DIM
        )

    # ---- letters

    def on_key(self, event: events.Key) -> None:
        """While something is typed, letters are letters."""
        self.remark = ""
        if self.typing is None:
            self._tell()
            return
        event.stop()
        event.prevent_default()
        if event.key == "escape":
            self.typing, self.typed = None, ""
            self._look_for("")
        elif event.key == "enter":
            self._done()
        elif event.key == "backspace":
            self.typed = self.typed[:-1]
        elif event.is_printable and event.character:
            self.typed += event.character
        if self.typing == "search":
            self._look_for(self.typed)
        self._tell()

    def _look_for(self, wanted: str) -> None:
        if wanted != self.whole.wanted:
            self.whole.wanted = wanted
            self.whole.sort()

    def _done(self) -> None:
        typing, typed = self.typing, self.typed
        self.typing, self.typed = None, ""
        if typing == "text" and typed:
            here = self.here
            self.models.ask(
                lambda sitting: sitting.at(here.place).ids_of(here.stem, typed),
                lambda ids: self._take(here.taking(ids)),
                self.say,
            )

    # ---- what keys do

    def action_row(self, step: int) -> None:
        """Move by lines."""
        self.whole.go(self.whole.at + step)

    def action_rows(self, step: int) -> None:
        """Move by pages."""
        self.whole.go(self.whole.at + step * max(1, self.whole.size.height - 2))

    def action_rim(self, is_end: bool) -> None:  # noqa: FBT001  Textual passes by place
        """Move to an end of the list."""
        self.whole.go(len(self.whole.shown) - 1 if is_end else 0)

    def action_search(self) -> None:
        """Look for tokens by what is in them."""
        self.typing, self.typed = "search", self.whole.wanted
        self._tell()

    def action_type(self) -> None:
        """Take a text that is typed."""
        self.typing, self.typed = "text", ""
        self._tell()

    def action_order(self) -> None:
        """Sort by another order."""
        if len(self.whole.judges) > 1:
            self.whole.order = (self.whole.order + 1) % len(_ORDERS)
            self.whole.sort()
            self._tell()

    def action_model(self) -> None:
        """Set another model beside, or put it away."""
        whole = self.whole
        if len(whole.judges) > 1:
            del whole.judges[1:]
            whole.order = 0
            whole.sort()
            self._tell()
            return
        if not self._others:
            self.say("There is no other model here; open a text with two: -m ONE -m OTHER.")
            return
        here, model, session = self.here, self._others[0], self.models.session
        self.models.ask(lambda sitting: judged(sitting, here, model, session), self._beside, self.say)

    def _beside(self, judge: Judge) -> None:
        if self.is_mounted and len(self.whole.judges) == 1:
            self.whole.judges.append(judge)
            self.whole.redraw()
            self.say("")

    def action_times(self, step: int) -> None:
        """How often a way goes on: half or double."""
        n = stepped(self.n, step)
        here = self.here

        def resized(found: Any) -> None:
            self.n = n
            self._resized(n)
            self._tell()

        self.models.ask(lambda sitting: sitting.at(here.place).resize(n), resized, self.say)

    def action_take(self) -> None:
        """Take the token under the cursor."""
        token = self.whole.token
        if token is not None:
            if math.isinf(self.here.judge.distribution.log_p[token]):
                self.say("The model never says this token here.")
            else:
                self._take(self.here.taking([token]))

    def action_go_on(self) -> None:
        """Take nothing: the model goes on as it does."""
        self._take(self.here.taking([]))

    def _take(self, ids: Ids) -> None:
        if self.is_current:
            self.dismiss(ids)

    def action_back(self) -> None:
        """Take nothing, and go back."""
        self.dismiss(None)

    def action_help(self) -> None:
        """The keys of this screen."""
        self.app.push_screen(HelpScreen(self.ink, CHOOSING))

    def action_quit(self) -> None:
        """Leave the viewer."""
        self.app.exit()

    def action_interrupt(self) -> None:
        """Leave, as an interrupted command does."""
        self.app.exit(return_code=Interrupted.exit_code)
