"""Ways with their masses; and models that stay open: what may follow anywhere, and ways that are gone."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import shlex
from collections.abc import Iterator
from dataclasses import asdict
from typing import NamedTuple

from llama_diversity import cache
from llama_diversity.decimals import counted
from llama_diversity.engines import Engine, TokenPath
from llama_diversity.engines.live import Live
from llama_diversity.errors import BadUsage, BadValue, PromptTooLong
from llama_diversity.records import Cell, ModelRef, Prompt, Sample, TokenStats
from llama_diversity.store import Store
from llama_diversity.studies.arms import Arm
from llama_diversity.studies.branch.analysis import (
    MOST_WAYS,
    Distribution,
    Gone,
    Spelled,
    Token,
    Way,
    analyse,
    text_of,
)
from llama_diversity.studies.branch.specs import Ids, Place, Taking
from llama_diversity.studies.branch.study import ARM, Branch, ask_of
from llama_diversity.studies.conduct import cell_of, command_of, memory, studies_of
from llama_diversity.studies.drawing import Drawing, draw, start_run, telling
from llama_diversity.studies.likelihood import ids_behind
from llama_diversity.studies.pace import Stored
from llama_diversity.studies.session import Session
from llama_diversity.studies.watching import Watch

_ROOM = 128  # tokens behind the prompt for which there is room at first
MOST_OPEN = 2  # models in memory: to see what two say of one place


# ---- what is measured


def branch_of(place: Place, taking: Taking, *, n: int, max_tokens: int, session: Session) -> Branch:
    """The study of these ways, with their masses, which are kept: the same again loads no model.

    Raises BadValue, PromptTooLong, and what engines raise.
    """
    Branch(place.prompt, (Way(),), n, max_tokens).check_settings()  # before anything is measured
    if taking.n_likeliest > MOST_WAYS:
        raise BadValue("--top", taking.n_likeliest, f"so many ways of one run are the most: {MOST_WAYS}")
    with session.reading(place.model) as engine:
        layout = session.layout
        kind = (layout.kv_type, str(layout.exact), str(layout.flash_attention))
        parts = ("branch", cache.code_digest(), engine.facts.digest, engine.build, *kind)
        asked = repr((place.prompt, place.text, taking))
    ways = cache.kept((*parts, asked), lambda: _measured(place, taking, session))
    at = ("--at", str(taking.at)) if place.is_stored else ()  # of a prompt it is among the words
    return Branch(place.prompt, ways, n, max_tokens, (*place.words, *at, *taking.words()))


def _measured(place: Place, taking: Taking, session: Session) -> tuple[Way, ...]:
    """The ways with their probabilities, each once."""
    if taking.at > len(place.text):
        raise BadValue("--at", taking.at, f"the text has {len(place.text)} tokens")
    stem = place.text[: taking.at]
    said = place.text[taking.at] if taking.at < len(place.text) else None
    with session.opened(place.model) as engine:
        takes = [*([()] if taking.goes_on else []), *(_typed(engine, place, stem, one) for one in taking.thens)]
        asked = [*(Ids(stem, one, said) for one in takes), *taking.ways]
        most = max([len(stem) + 1, *(len(one.stem) + len(one.taken) + 1 for one in asked)])
        with engine.live(place.prompt, longest=most, at_once=1) as live:
            if taking.n_likeliest:
                order = Distribution(live.after([stem])[0]).order()[: taking.n_likeliest]
                likeliest = [Ids(stem, (int(one),), said) for one in order if int(one) not in engine.ends]
                asked[len(takes) : len(takes)] = likeliest
            with session.listener.working("Probabilities of the ways") as show:
                ways = []
                for number, one in enumerate(asked):
                    show(number / len(asked))
                    ways.append(way_of(engine, live, one))
    return tuple({way.path: way for way in reversed(ways)}.values())[::-1]


def _typed(engine: Engine, place: Place, stem: TokenPath, then: str) -> TokenPath:
    if not then:
        raise BadValue("--then", then, "there is nothing to take")
    before = b"".join(engine.piece(token).bytes for token in stem)
    return ids_behind(engine, place.prompt.with_path(stem, before.decode("utf-8", "surrogateescape")), then)


def way_of(engine: Engine, live: Live, ids: Ids) -> Way:
    """A way with its probabilities. Raises BadValue for ids that are none, and for one that goes on behind an end."""
    path, n_stem = (*ids.stem, *ids.taken), len(ids.stem)
    _check(engine, path)
    said = () if ids.said is None else (ids.said,)
    _check(engine, ids.stem, *said)
    read = [Token.of(engine.piece(int(row["id"])), row) for row in live.read(path)]
    spoken = live.read((*ids.stem, *said))[n_stem:]
    return Way(
        tuple(read[:n_stem]),
        tuple(read[n_stem:]),
        Token.of(engine.piece(ids.said), spoken[0]) if ids.said is not None else None,
    )


def _check(engine: Engine, path: TokenPath, *last: int) -> None:
    for at, token in enumerate((*path, *last)):
        if not 0 <= token < engine.facts.n_vocab:
            raise BadValue("--way", token, f"token ids of {engine.facts.reference} are 0 to {engine.facts.n_vocab - 1}")
        if token in engine.ends and at < len(path):
            name = engine.piece(token).control or str(token)
            raise BadValue("--way", f"token {at + 1} of {len(path)}", f"{name} ends the text; nothing follows it")


# ---- what others make of it


class Opened(NamedTuple):
    """A way as a text: its prompt, the text with what was said there, if anything was, and with what was taken."""

    prompt: str
    unchanged: str
    changed: str


def openings_taken(run_name: str, session: Session) -> tuple[str, list[Opened]]:
    """The run's id, and its ways that take something. Raises UnknownName, and BadValue where there are none."""
    with Store.open(session.store, read_only=True) as store:
        run = store.run(run_name)
    studies = [one for one in studies_of(run) if isinstance(one, Branch)]
    if not studies:
        raise BadValue("--opening-of", run.id, "it is no run of `branch`; `llamadiv runs ls` says what runs are")
    if studies[0].prompt.mode != "raw":
        raise BadValue("--opening-of", run.id, "its prompt went through a chat template, and openings are asked raw")
    found = []
    for way in studies[0].ways:
        before = studies[0].prompt.text + text_of(way.stem)
        unchanged, changed = before + text_of([way.said] if way.said else []), before + text_of(way.taken)
        if changed not in (before, unchanged):
            found.append(Opened(studies[0].prompt.text, unchanged, changed))
    if not found:
        raise BadValue("--opening-of", run.id, "no way of it takes anything else than the text said")
    return run.id, found


# ---- a model that stays open


class Grown(NamedTuple):
    """A way by its number, and the run that keeps its samples."""

    number: int
    run: str


class Kept(NamedTuple):
    """What the store has of a tree: its run, how many ways and samples, and the command that makes it whole."""

    run: str
    n_ways: int
    n_samples: int
    n_wanted: int
    command: str

    @property
    def is_whole(self) -> bool:
        """Whether nothing of it is missing."""
        return self.n_samples >= self.n_wanted

    @property
    def sentence(self) -> str:
        """How much there is, and under which name."""
        n = f"{self.n_samples:,}" if self.is_whole else f"{self.n_samples:,} of {self.n_wanted:,}"
        return f"The tree is kept as run {self.run}: {counted(self.n_ways, 'way')}, {n} samples."

    @property
    def next_steps(self) -> list[str]:
        """What can be done with it, a command at the end of each line."""
        rest = [] if self.is_whole else [f"  to draw the rest: {self.command}"]
        return [*rest, f"  to look at it: llamadiv view {self.run}", f"  to drop it: llamadiv runs rm {self.run}"]


class Looking:
    """A model that is open on one prompt: what may follow anywhere, and ways that are gone, kept in the store.

    For one thread. All ways are one run of `branch`, which grows; `finish` says that it stands for now.
    """

    def __init__(
        self, place: Place, engine: Engine, store: Store, session: Session, drawing: Drawing, *, n: int, max_tokens: int
    ) -> None:
        self.place = place
        self.engine = engine
        self.drawing = drawing
        self._store = store
        self._session = session
        self._arm = Arm(ARM, place.model)
        self._empty = Branch(place.prompt, (), n, max_tokens)
        self._study = self._empty
        self._cells: dict[TokenPath, Cell] = {}
        self._run: str | None = None
        self._opened = contextlib.ExitStack()
        self._live: Live | None = None

    # ---- what may follow

    def distribution(self, path: TokenPath) -> Distribution:
        """What may follow a path behind the prompt."""
        return Distribution(self._kept(len(path)).after([path])[0])

    def read(self, path: TokenPath) -> TokenStats:
        """What the model says of a path's tokens, shape (len(path),)."""
        return self._kept(len(path)).read(path)

    def ids_of(self, path: TokenPath, text: str) -> TokenPath:
        """The tokens of a text that is typed behind a path."""
        return _typed(self.engine, self.place, path, text)

    @functools.cached_property
    def spelled(self) -> Spelled:
        """Every token of the vocabulary."""
        return Spelled([self.engine.piece(token) for token in range(self.engine.facts.n_vocab)])

    def _kept(self, n: int) -> Live:
        """The prompt with room for so many tokens behind it; opened anew, and decoded again, where there is too little.

        Raises PromptTooLong, OutOfMemory.
        """
        if self._live is None or self._live.longest < n:
            n_ctx, n_prompt = self.engine.facts.n_ctx_train, max(len(one.ids) for one in self.place.prompt.readings)
            if n_prompt + n > n_ctx:
                raise PromptTooLong(n_prompt, n, n_ctx)
            wanted = max(_ROOM, len(self.place.text) + self._empty.max_tokens, 2 * n if self._live else n)
            self.let_go()
            longest = min(wanted, n_ctx - n_prompt)
            self._live = self._opened.enter_context(self.engine.live(self.place.prompt, longest=longest))
        return self._live

    def let_go(self) -> None:
        """Free what is kept of the prompt; it is decoded again when it is asked for."""
        self._live = None
        self._opened.close()

    def take_over(self, other: Looking) -> None:
        """Go on with what grew on the same prompt when the model was open before."""
        self._study, self._run, self._cells = other._study, other._run, other._cells

    # ---- ways

    def begin(self, ids: Ids) -> int:
        """The number of a way, whose place is in the run from now on; nothing is drawn. Raises BadValue."""
        path = (*ids.stem, *ids.taken)
        number = self._number(way_of(self.engine, self._kept(len(path) + 1), ids))
        ask = ask_of(self._study, number, ARM)
        assert ask.prompt is not None
        self._cells[path] = cell_of(
            ask, self.engine, self._arm, ask.prompt, name="branch", drawing=self.drawing, session=self._session
        )
        self._recorded(self._cells[path])
        return number

    def grow(self, ids: Ids, watch: Watch) -> Grown:
        """Go on behind a way as often as this sitting does; what is stored already is not drawn again.

        Raises Stopped, BadValue, EngineError, OutOfMemory; what was finished is kept.
        """
        path, number = (*ids.stem, *ids.taken), self.begin(ids)
        cell, run = self._cells[path], self._run
        assert run is not None
        live = self._kept(len(path) + cell.recipe.max_tokens)
        n_stored = self._store.counts(cell.recipe.key, cell.n).n_samples
        with telling([Stored(cell, n_stored, self.engine.facts.n_params)], self._session) as on_progress:
            drawn = draw(
                [cell], self.engine, self._store, run, on_progress, sample_each=watch.watched(live.sample_each)
            )
            for _ in drawn:
                pass
        return Grown(number, run)

    def _number(self, way: Way) -> int:
        """The number of a way, which is a new one if need be."""
        known = [one.path for one in self._study.ways]
        if way.path not in known:
            self._study = dataclasses.replace(self._study, ways=(*self._study.ways, way))
        return [*known, way.path].index(way.path)

    def _recorded(self, cell: Cell) -> str:
        """The run of this sitting, which knows of all its ways from now on."""
        self._study = dataclasses.replace(self._study, words=self._words())
        command = self._command()
        about = memory([self._study], [self._arm], {"branch": command})
        if self._run is None:
            self._run = start_run(self._store, self._session, about)
        # A run is known by the command that makes it again, not by the screen on which it grew.
        told = {**self._store.run(self._run).about, **about}
        self._store.tell(self._run, command=shlex.split(command), about=told)
        self._store.add_cells(self._run, [(cell, {"model": asdict(self.engine.facts), "build": self.engine.build})])
        return self._run

    def _command(self) -> str:
        return command_of(self._study, [ARM], self.place.model_words, self.drawing)

    def _words(self) -> tuple[str, ...]:
        return (*self.place.words, *Taking(ways=tuple(map(Ids.of, self._study.ways)), goes_on=False).words())

    @property
    def n(self) -> int:
        """How often each way goes on."""
        return self._study.n

    def resize(self, n: int) -> None:
        """Go on so often from each way; those that are gone lack the rest. Raises BadUsage for less than they have."""
        if self.ways and n < self.n:
            raise BadUsage(f"Each way of this tree goes on {self.n} times already; more can be drawn, not fewer.")
        self._empty, self._study = (dataclasses.replace(one, n=n) for one in (self._empty, self._study))
        self._cells = {path: dataclasses.replace(cell, n=n) for path, cell in self._cells.items()}
        for cell in self._cells.values():
            self._recorded(cell)

    @property
    def ways(self) -> tuple[Way, ...]:
        """Those that are gone in this sitting."""
        return self._study.ways

    @property
    def run(self) -> str | None:
        """The run that keeps them; None before there is one."""
        return self._run

    def tree(self) -> list[Gone]:
        """Every way of this sitting with its mass and what followed it, as it is stored."""
        tokens = {number: [one.tokens for one in self.samples(number)] for number in range(len(self.ways))}
        return analyse(self.ways, tokens)

    def samples(self, number: int) -> list[Sample]:
        """The samples of a way that are stored, in order."""
        cell = self._cells[self.ways[number].path]
        return list(self._store.samples(cell.recipe.key, cell.n))

    def finish(self) -> str | None:
        """Say that the run stands as it is, and return its id; what grows later belongs to it too."""
        if self._run is not None:
            self._store.finish_run(self._run)
        return self._run

    def kept(self) -> Kept | None:
        """What the store has of this sitting; None before there is a run."""
        if self._run is None:
            return None
        counts = [self._store.counts(cell.recipe.key, cell.n).n_samples for cell in self._cells.values()]
        n_wanted = sum(cell.n for cell in self._cells.values())
        return Kept(self._run, len(self.ways), sum(counts), n_wanted, self._command())


class Sitting:
    """Models that stay open while somebody looks around, two at most, and their prompts with all that grew there.

    For one thread, which makes it and closes it.
    """

    def __init__(self, session: Session, drawing: Drawing, *, n: int, max_tokens: int) -> None:
        self._session, self._drawing = session, drawing
        self._n, self._max_tokens = n, max_tokens
        self._open: dict[ModelRef, tuple[Engine, contextlib.ExitStack]] = {}  # the one that was asked last is last
        self._store: Store | None = None
        self._looking: dict[tuple[ModelRef, Prompt], Looking] = {}

    def at(self, place: Place) -> Looking:
        """The model on the place's prompt, opened if need be. Raises what engines and the store raise."""
        if self._store is None:
            self._store = Store.open(self._session.store)
        key = (place.model, place.prompt)
        engine = self._engine(place.model)
        for other, one in self._looking.items():
            if other[0] == place.model and other != key:
                one.let_go()  # one prompt of a model is kept decoded
        if key not in self._looking or self._looking[key].engine is not engine:
            looks = Looking(
                place, engine, self._store, self._session, self._drawing, n=self._n, max_tokens=self._max_tokens
            )
            if key in self._looking:
                looks.take_over(self._looking[key])
            self._looking[key] = looks
        return self._looking[key]

    def resize(self, n: int) -> None:
        """Go on so often from each way of what is not begun yet."""
        self._n = n
        for one in self._looking.values():
            if not one.ways:
                one.resize(n)

    def kept(self, place: Place) -> Kept | None:
        """What the store has of the tree of a place; no model is opened for it."""
        looks = self._looking.get((place.model, place.prompt))
        return None if looks is None else looks.kept()

    def is_open(self, model: ModelRef) -> bool:
        """Whether a model is in memory."""
        return model in self._open

    def _engine(self, model: ModelRef) -> Engine:
        if model not in self._open:
            while len(self._open) >= MOST_OPEN:
                self._close(next(iter(self._open)))
            stack = contextlib.ExitStack()
            self._open[model] = (stack.enter_context(self._session.opened(model)), stack)
        self._open[model] = self._open.pop(model)
        return self._open[model][0]

    def _close(self, model: ModelRef) -> None:
        for (other, _), one in self._looking.items():
            if other == model:
                one.let_go()
        self._open.pop(model)[1].close()

    def close(self) -> list[Kept]:
        """Free the models, close the store, and return what is kept; the trees that are whole are finished runs."""
        for model in list(self._open):
            self._close(model)
        if self._store is None:
            return []
        found = []
        for one in self._looking.values():
            kept = one.kept()
            if kept is not None:
                found.append(kept)
                if kept.is_whole:
                    one.finish()
        self._store.close()
        return found


@contextlib.contextmanager
def looking(place: Place, *, n: int, max_tokens: int, drawing: Drawing, session: Session) -> Iterator[Looking]:
    """A model opened on a place. Raises what engines and the store raise."""
    with Store.open(session.store) as store, session.opened(place.model) as engine:
        looks = Looking(place, engine, store, session, drawing, n=n, max_tokens=max_tokens)
        try:
            yield looks
        finally:
            looks.let_go()
