"""The application around the viewer, and the door to it: `look`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from textual.app import App
from textual.filter import LineFilter, NoColor
from textual.worker import WorkerFailed

from llama_diversity.errors import Interrupted
from llama_diversity.render import ramps
from llama_diversity.render.cells import Marks
from llama_diversity.render.heatmap import Looks
from llama_diversity.render.terminal import console
from llama_diversity.studies.branch.gathering import Kept
from llama_diversity.studies.session import Session
from llama_diversity.studies.viewed import Source
from llama_diversity.view.branching import BranchScreen
from llama_diversity.view.ink import Ink
from llama_diversity.view.thread import Answered, Models
from llama_diversity.view.viewer import Viewer
from llama_diversity.view.whole import WholeScreen


class ViewApp(App[None]):
    """The application around the viewer: a terminal's own colours, and no more."""

    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #body { height: 1fr; layout: vertical; }
    Viewer.-wide #body, Viewer.-broad #body { layout: horizontal; }
    Viewer.-wide Detail, Viewer.-broad Detail { width: 46; height: 1fr; margin-left: 2; }
    Viewer.-wide.-open Detail { display: none; }
    Viewer.-wide Panel { width: 56; margin-right: 2; }
    Viewer.-broad Panel { width: 72; margin-right: 2; }
    Viewer.-narrow.-open Columns { display: none; }
    .-flat Legend { display: none; }
    Viewer.-narrow.-middling Detail { height: 8; }
    Viewer.-narrow.-middling.-choosing Detail { height: 10; }
    Viewer.-narrow.-low Detail { height: 4; }
    Viewer.-narrow.-flat Detail, Viewer.-narrow.-low.-open Detail { display: none; }
    Viewer.-narrow.-low.-choosing Detail { display: block; height: 9; }
    Viewer.-narrow.-flat.-choosing Detail { display: block; height: 1fr; }
    Viewer.-narrow.-flat.-choosing Columns { display: none; }
    .-hidden { display: none; }
    """

    def __init__(self, source: Source, ink: Ink, session: Session | None = None) -> None:
        super().__init__()
        self.source, self.ink = source, ink
        self.defect: BaseException | None = None  # the first exception that nobody expected, which ended it
        self.models = None if session is None else Models(self, session, self._say)
        self.theme = "ansi-light" if ink.looks.background == "light" else "ansi-dark"

    def get_default_screen(self) -> Viewer:
        return Viewer(self.source, self.ink, self.models)

    def _say(self, words: str) -> None:
        if isinstance(self.screen, Viewer | WholeScreen | BranchScreen):
            self.screen.say(words)

    def on_answered(self, message: Answered) -> None:
        """A model has something to say."""
        message.do()

    def on_unmount(self) -> None:
        """Free the models."""
        if self.models is not None:
            self.models.close()

    def _handle_exception(self, error: Exception) -> None:
        """Leave; whoever opened the viewer raises it again, and says it as of any other command."""
        if self.defect is None:
            self.defect = error.error if isinstance(error, WorkerFailed) else error
        super()._handle_exception(error)

    def _fatal_error(self) -> None:
        """Without Textual's own pages of traceback, which would have the texts in them."""
        self._close_messages_no_wait()

    def get_line_filters(self) -> Sequence[LineFilter]:
        """None but of colours where there are to be none: all that is drawn has those of the terminal."""
        return [NoColor()] if self.ink.depth == "none" else []


def look(source: Source, looks: Looks, color: str, session: Session) -> None:
    """Open the viewer on this terminal until it is left. Raises Interrupted for Ctrl-C, and what went wrong inside."""
    out = console(color)
    depth = ramps.depth_of(no_color=out.no_color, color_system=out.color_system)
    marks = Marks(ascii=looks.ascii, encoding=sys.stderr.encoding or "ascii", dots=depth != "none")
    app = ViewApp(source, Ink(looks, depth, marks), session)
    app.run()
    if app.defect is not None:
        raise app.defect
    kept = () if app.models is None else app.models.kept
    for words in farewell(kept):
        session.listener.say(words)
    if app.return_code == Interrupted.exit_code:
        raise Interrupted("Interrupted." if kept else "Interrupted; nothing was drawn, and the store is as it was.")


def farewell(kept: Sequence[Kept]) -> list[str]:
    """What is said of trees when the viewer is left: that they are kept, where, and what can be done with them."""
    return [words for one in kept for words in (one.sentence, *one.next_steps)]
