"""What is asked by hand: where a text is left and what is taken there; and a model that stays open on one prompt."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import NamedTuple

from llama_diversity import cache
from llama_diversity.engines import Engine, TokenPath
from llama_diversity.engines.live import Live
from llama_diversity.errors import BadUsage, BadValue, LlamadivError, PromptTooLong, UnknownName
from llama_diversity.records import Asking, Cell, ModelRef, Piece, Prompt, TokenStats
from llama_diversity.store import Run, RunCell, Store
from llama_diversity.studies.arms import Arm
from llama_diversity.studies.branch.analysis import Distribution, Gone, Token, Way, text_of
from llama_diversity.studies.branch.study import ARM, Branch, ask_of
from llama_diversity.studies.conduct import cell_of, command_of, memory, remembered, studies_of
from llama_diversity.studies.drawing import Drawing, draw, start_run, telling
from llama_diversity.studies.likelihood import ids_behind
from llama_diversity.studies.pace import Stored
from llama_diversity.studies.sampling import Request
from llama_diversity.studies.session import Session
from llama_diversity.studies.watching import Watch
from llama_diversity.studies.words import template_words

_ROOM = 128  # tokens behind the prompt for which there is room at first


class ModelChanged(LlamadivError):
    """A stored text cannot be gone on with by other weights than those that it is of."""

    def __init__(self, reference: str, run: str, *, then: str, now: str) -> None:
        super().__init__(
            f"{reference} is not the model of run {run} any more: its digest was {then[:12]}, and is {now[:12]} now. "
            "Name the file that it was by a path, or draw the run again."
        )


# ---- where


@dataclass(frozen=True)
class Place:
    """A model, a prompt as it reads it, the tokens of a text behind that, and the options that name all this."""

    model: ModelRef
    prompt: Prompt
    text: TokenPath
    words: tuple[str, ...]
    is_stored: bool = False  # the text is a sample, which a way can leave anywhere

    @property
    def model_words(self) -> tuple[str, ...]:
        """The model as an option of a command line; a stored sample names it."""
        return () if self.is_stored else ("-m", self.model.reference)


def place_of(
    reference: str | None,
    request: Request | None,
    stored: tuple[str, str | None, int] | None,
    *,
    at: int | None,
    asking: Asking,
    session: Session,
) -> Place:
    """What is to be left: a prompt for a model, or a stored sample by run, arm and number. Raises BadUsage, theirs."""
    if (request is None) == (stored is None):
        raise BadUsage("Name what to leave: a prompt (-m MODEL -p TEXT), or a stored sample (--run RUN --sample I).")
    if stored is not None:
        return stored_place(*stored, session)
    assert request is not None
    if reference is None:
        raise BadUsage("A prompt needs a model: add -m MODEL.")
    return typed_place(session.model(reference), request, asking, at, session)


def typed_place(model: ModelRef, request: Request, asking: Asking, at: int | None, session: Session) -> Place:
    """Behind a prompt; with `at` behind its first so many tokens: the rest of it is the text.

    Raises BadValue, TemplateError, and what a model raises.
    """
    words = ["-p", request.text, *(["--chat"] if request.chat else [])]
    words += ["--system", request.system] if request.system is not None else []
    words += template_words(request.template_args)
    with session.reading(model) as engine:
        prompt, _ = request.of(engine, asking, session)
        if at is None:
            return Place(model, prompt, (), tuple(words))
        if prompt.mode != "raw" or prompt.others:
            raise BadValue("--at", at, "it counts the tokens of a raw prompt; leave it out")
        n_start = len(engine.start(asking).ids)
        n = len(prompt.ids) - n_start
        if not 0 <= at <= n or not n_start + at:
            raise BadValue("--at", at, f"the prompt has {n} tokens: 0 to {n}, and something must be left of it")
        text = prompt.ids[n_start + at :]
        rest = b"".join(engine.piece(token).bytes for token in text).decode("utf-8", "surrogateescape")
    kept = dataclasses.replace(
        prompt, ids=prompt.ids[: n_start + at], text=_before(prompt.text, rest), rendered=_before(prompt.rendered, rest)
    )
    return Place(model, kept, text, (*words, "--at", str(at)))


def _before(text: str, rest: str) -> str:
    """A text without its end, which may have a blank more at its start than the text."""
    return text[: max(0, len(text) - len(rest))]


def stored_place(run_name: str, arm: str | None, index: int, session: Session) -> Place:
    """Behind the prompt of a stored sample, whose tokens are the text. Raises UnknownName, BadValue, ModelChanged."""
    with Store.open(session.store, read_only=True) as store:
        run = store.run(run_name)
        cell = cell_called(run, arm)
        recipe, sample = store.recipe(cell.recipe_key), store.sample(cell.recipe_key, index)
        ids = tuple(sample.tokens["id"].tolist())
    model = unchanged(run, cell, recipe.model_digest, session)
    with session.reading(model) as engine:
        text = ids[:-1] if ids and ids[-1] in engine.ends else ids
    words = ("--run", run.id, "--arm", cell.arm, "--sample", str(index))
    return Place(model, recipe.prompt, text, words, is_stored=True)


def cell_called(run: Run, arm: str | None) -> RunCell:
    """A cell of a run by its arm, the first one where none is named. Raises BadValue, UnknownName."""
    cells = {cell.arm: cell for cell in reversed(run.cells)}
    if not cells:
        raise BadValue("--run", run.id, "this run has no samples yet")
    if arm is None:
        return run.cells[0]
    if arm not in cells:
        raise UnknownName("arm", arm, cells, list_command=f"llamadiv runs show {run.id}")
    return cells[arm]


def unchanged(run: Run, cell: RunCell, digest: str, session: Session) -> ModelRef:
    """The model of a cell, if it is here and is what it was. Raises ModelChanged, and what a model raises."""
    model = session.model(cell.reference)
    with session.reading(model) as engine:
        now = engine.facts.digest
    if now != digest:
        raise ModelChanged(cell.reference, run.id, then=digest, now=now)
    return model


# ---- what is taken


class Ids(NamedTuple):
    """A way by token ids: what stays of a text, what is taken, and what the text said there."""

    stem: TokenPath
    taken: TokenPath
    said: int | None = None

    @classmethod
    def of(cls, way: Way) -> Ids:
        """Those of a way."""
        stem, taken = (tuple(one.id for one in some) for some in (way.stem, way.taken))
        return cls(stem, taken, None if way.said is None else way.said.id)

    @property
    def word(self) -> str:
        """As the command line has it.

        >>> Ids((5, 31), (7,)).word, Ids((), (), 9).word
        ('5,31:7', '::9')
        """
        parts = [",".join(map(str, some)) for some in (self.stem, self.taken)]
        return ":".join([*parts, *([] if self.said is None else [str(self.said)])])


@dataclass(frozen=True)
class Taking:
    """What is taken behind the first `at` tokens of the text: texts, and the likeliest tokens; and ways by their ids.

    With `goes_on` the text is also left to the model there as it is.
    """

    at: int = 0
    thens: tuple[str, ...] = ()
    n_likeliest: int = 0
    ways: tuple[Ids, ...] = ()
    goes_on: bool = True

    def words(self) -> tuple[str, ...]:
        """The same as options of a command line."""
        found = [word for one in self.thens for word in ("--then", one)]
        found += ["--top", str(self.n_likeliest)] if self.n_likeliest else []
        found += [word for one in self.ways for word in ("--way", one.word)]
        return (*found, *([] if self.goes_on else ["--only"]))


def parse_way(word: str) -> Ids:
    """The inverse of `Ids.word`. Raises BadValue."""
    parts = [[one for one in part.split(",") if one] for part in word.split(":")]
    is_right = len(parts) in (2, 3) and all(one.isdecimal() for part in parts for one in part)
    if not is_right or len(parts[2:] and parts[2]) > 1:
        raise BadValue("--way", word, "write STEM:TAKEN or STEM:TAKEN:SAID, token ids with commas between, like 5,31:7")
    stem, taken, *said = (tuple(map(int, part)) for part in parts)
    return Ids(stem, taken, said[0][0] if said and said[0] else None)


def branch_of(place: Place, taking: Taking, *, n: int, max_tokens: int, session: Session) -> Branch:
    """The study of these ways, with their masses, which are kept: the same again loads no model.

    Raises BadValue, PromptTooLong, and what engines raise.
    """
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
            ways = [way_of(engine, live, one) for one in asked]
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


class Looking:
    """A model that is open on one prompt: what may follow anywhere, and ways that are gone, kept in the store.

    For one thread. The ways of one sitting are one run of `branch`, which grows; `finish` ends it, and another begins.
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
    def pieces(self) -> list[Piece]:
        """Every token of the vocabulary, by id."""
        return [self.engine.piece(token) for token in range(self.engine.facts.n_vocab)]

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

    # ---- ways

    def grow(self, ids: Ids, watch: Watch) -> Grown:
        """Go on behind a way as often as this sitting does; what is stored already is not drawn again.

        Raises Stopped, BadValue, EngineError, OutOfMemory; what was finished is kept.
        """
        path = (*ids.stem, *ids.taken)
        number = self._number(way_of(self.engine, self._kept(len(path) + self._empty.max_tokens), ids))
        ask = ask_of(self._study, number, ARM)
        assert ask.prompt is not None
        cell = cell_of(
            ask, self.engine, self._arm, ask.prompt, name="branch", drawing=self.drawing, session=self._session
        )
        run = self._recorded(cell)
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
        command = command_of(self._study, [ARM], self.place.model_words, self.drawing)
        about = memory([self._study], [self._arm], {"branch": command})
        if self._run is None:
            self._run = start_run(self._store, self._session, about)
        else:
            told = {**self._store.run(self._run).about, **about}
            self._store.tell(self._run, told)
        self._store.add_cells(self._run, [(cell, {"model": asdict(self.engine.facts), "build": self.engine.build})])
        return self._run

    def _words(self) -> tuple[str, ...]:
        return (*self.place.words, *Taking(ways=tuple(map(Ids.of, self._study.ways)), goes_on=False).words())

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
        if self._run is None:
            return []
        [(study, drawn)] = remembered(self._store, self._store.run(self._run), self._session)
        found: list[Gone] = study.show(drawn).found
        return found

    def finish(self) -> str | None:
        """End the run, so that it stands as it is, and return its id; the next way begins another one."""
        run, self._run, self._study = self._run, None, self._empty
        if run is not None:
            self._store.finish_run(run)
        return run


@contextlib.contextmanager
def looking(place: Place, *, n: int, max_tokens: int, drawing: Drawing, session: Session) -> Iterator[Looking]:
    """A model opened on a place. Raises what engines and the store raise."""
    with Store.open(session.store) as store, session.opened(place.model) as engine:
        looks = Looking(place, engine, store, session, drawing, n=n, max_tokens=max_tokens)
        try:
            yield looks
        finally:
            looks.let_go()
