"""How a study runs, whichever it is: what it asks becomes cells, cells are filled, what was drawn is shown.

A run keeps the names, settings and commands of its studies beside the cells, so that `remembered` shows it again
without a model. A cell's arm is called "semantic/base": the study, then the label of what was asked.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from llama_diversity import embed
from llama_diversity.engines import Engine
from llama_diversity.errors import BadValue, Interrupted, LlamadivError, StoreDamaged, TemplateError, Unfit, UnknownName
from llama_diversity.records import Cell, Prompt
from llama_diversity.render.exhibits import Remark, Section
from llama_diversity.store import Run, RunCell, Store
from llama_diversity.studies import selfcheck
from llama_diversity.studies.arms import Arm
from llama_diversity.studies.drawing import (
    Drawing,
    NoEstimate,
    OnProgress,
    fill,
    own_seed,
    plan_cell,
    start_run,
    telling,
    together,
)
from llama_diversity.studies.pace import Stored
from llama_diversity.studies.plain import unfinished
from llama_diversity.studies.results import Result
from llama_diversity.studies.session import Session
from llama_diversity.studies.study import MOST_ANALYSED, STUDIES, Ask, Drawn, NoAnswer, Study
from llama_diversity.studies.tokens import DifferentVocabularies
from llama_diversity.studies.words import drawing_words

_MOST_NAMED = 20  # labels of which samples are missing; the rest is counted


def _check_together(asks: Sequence[Ask]) -> None:
    """The same for all that an arm is asked: several prompts may make of a good -n too many. Raises BadValue."""
    for arm in {ask.arm: None for ask in asks}:
        sizes = [ask.n for ask in asks if ask.arm == arm]
        if sum(sizes) > MOST_ANALYSED:
            allowed = (
                f"with {len(sizes):,} prompts that makes {sum(sizes):,} samples of {arm}, and at most "
                f"{MOST_ANALYSED:,} of an arm can be analysed together"
            )
            raise BadValue("-n", max(sizes), allowed)


def run(study: Study, arms: Sequence[Arm], *, drawing: Drawing, session: Session, words: Sequence[str] = ()) -> Result:
    """One study of `arms`, the base first: what the store lacks is drawn. Raises what a study refuses.

    `words` name the arms on a command line.
    """
    with conducted([study], arms, drawing=drawing, session=session, words=words) as (run_id, [drawn]):
        return dataclasses.replace(study.shown(drawn), run=run_id)


@contextlib.contextmanager
def conducted(
    studies: Sequence[Study],
    arms: Sequence[Arm],
    *,
    drawing: Drawing,
    session: Session,
    words: Sequence[str] = (),
    about: Mapping[str, Any] | None = None,
    is_lenient: bool = False,
) -> Iterator[tuple[str, list[Drawn]]]:
    """Draw what the store lacks of the studies; the run's id, and of each what was drawn, while the store is open.

    All that can be refused is refused before any sampling, and all cells that are known are recorded before it, so that
    a run that is cut short knows what it lacks. `words` name the arms on a command line. With `is_lenient` a
    study that these models cannot have is left without samples, and `shown` says why; else it raises, as encoder,
    engines and the store do.
    """
    if drawing.is_set:
        raise NoEstimate("A study does not take")
    for one in studies:
        one.check_settings()
    place = session.encoder() if any(one.needs_encoder for one in studies) else None
    with Store.open(session.store) as store:
        work = _Work(store, arms, drawing, session)
        names = [arm.name for arm in arms]
        first: dict[str, list[_Planned]] = {}
        unfit: dict[str, str] = {}
        for one in studies:
            with _leniently(one.name, unfit, is_lenient=is_lenient):
                one.check_arms(arms, drawing, session)
                first[one.name] = work.checked(one, names)
        commands = {one.name: command_of(one, names, words, drawing) for one in studies}
        kept = {**(about or {}), **memory(studies, arms, commands), "unfit": unfit}
        run_id = start_run(store, session, {**kept, **({} if place is None else {"encoder": _encoder()})})
        work.draw([planned for some in first.values() for planned in some], run_id)
        drawn = _drawn(store, store.run(run_id), place, session)
        asking = [one for one in studies if one.name not in unfit]
        while asking:
            later: dict[str, list[_Planned]] = {}
            for one in asking:
                with _leniently(one.name, unfit, is_lenient=is_lenient):
                    later[one.name] = work.planned(one.name, _new(one.asks_next(drawn[one.name]), drawn[one.name]))
            asking = [one for one in asking if later.get(one.name)]
            so_far = "; ".join(filter(None, (one.so_far(drawn[one.name]) for one in asking)))
            work.draw([planned for some in later.values() for planned in some], run_id, so_far)
            drawn = _drawn(store, store.run(run_id), place, session)
        store.finish_run(run_id)
        yield run_id, [drawn[one.name] for one in studies]


def _new(asks: Sequence[Ask], drawn: Drawn) -> Sequence[Ask]:
    """What is asked next, which must not be what was asked already: it would be asked for ever."""
    again = [ask.label for ask in asks if ask.label in drawn.cells]
    if again:
        raise ValueError(f"{again[0]!r} is asked a second time; a label is asked once")
    return asks


@contextlib.contextmanager
def _leniently(name: str, unfit: dict[str, str], *, is_lenient: bool) -> Iterator[None]:
    """Within it what a study refuses is noted, not raised; what is wrong with the machine is raised."""
    try:
        yield
    except (TemplateError, Unfit) as error:
        if not is_lenient:
            raise
        unfit[name] = str(error)


def command_of(study: Study, arms: Sequence[str], words: Sequence[str], drawing: Drawing) -> str:
    """The command line that makes the same again, with what differs from the defaults."""
    drawn = [[*words], drawing_words(drawing)] if study.asks(arms) else [[], []]
    return shlex.join(["llamadiv", study.name, *drawn[0], *study.options(), *drawn[1]])


class _Work(NamedTuple):
    """What cells are made of, and where samples go."""

    store: Store
    arms: Sequence[Arm]
    drawing: Drawing
    session: Session

    def planned(self, name: str, asks: Sequence[Ask]) -> list[_Planned]:
        """A cell for each ask of a study, on the vocabularies alone; one model is open at a time."""
        found = []
        for arm in self.arms:
            mine = [ask for ask in asks if ask.arm == arm.name]
            if mine:
                with self.session.reading(arm.model) as engine, self._templating(engine, arm, mine) as renderer:
                    about = {"model": asdict(engine.facts), "build": engine.build}
                    found += [_Planned(arm, self._cell(engine, renderer, arm, name, ask), about) for ask in mine]
        return found

    @contextlib.contextmanager
    def _templating(self, engine: Engine, arm: Arm, asks: Sequence[Ask]) -> Iterator[Engine]:
        """What renders chats: the arm's own engine, or another model's where both have one vocabulary."""
        if arm.template is None or not any(ask.is_chat for ask in asks):
            yield engine
            return
        with self.session.reading(arm.template) as other:
            if other.facts.vocab_digest != engine.facts.vocab_digest:
                raise DifferentVocabularies(arm.model.reference, arm.template.reference)
            yield other

    def checked(self, study: Study, names: Sequence[str]) -> list[_Planned]:
        """The cells of a study's first asks, which it has agreed to."""
        asks = study.asks(names)
        _check_together(asks)
        planned = self.planned(study.name, asks)
        begins = f"{study.name}/"
        study.check([dataclasses.replace(one.cell, arm=one.cell.arm.removeprefix(begins)) for one in planned])
        return planned

    def _cell(self, engine: Engine, renderer: Engine, arm: Arm, name: str, ask: Ask) -> Cell:
        prompt = self._prompt(engine, renderer, ask)
        return cell_of(ask, engine, arm, prompt, name=name, drawing=self.drawing, session=self.session)

    def _prompt(self, engine: Engine, renderer: Engine, ask: Ask) -> Prompt:
        if ask.prompt is not None:
            return ask.prompt
        asking = dataclasses.replace(self.drawing.asking, **(ask.asking or {}))
        if not ask.is_chat:
            self.session.note_unknown_start(engine, asking)
        speaker = renderer if ask.is_chat else engine
        prompt = speaker.prompt(
            ask.text, chat=ask.is_chat, system=ask.system, template_args=ask.template_args, asking=asking
        )
        return prompt if speaker is engine else prompt.alone

    def draw(self, planned: Sequence[_Planned], run_id: str, so_far: str = "") -> None:
        """Record all cells, then fill them model after model; a model of which nothing is missing is not loaded.

        `so_far`: what the samples before are good for, said beside the progress.
        """
        if not planned:
            return
        n_stored = self._n_stored([one.cell for one in planned])
        begun = {one.cell.recipe.key for one, n in zip(planned, n_stored, strict=True) if n}
        drawn = self.store.about_drawing(begun)  # a vocabulary alone knows less
        self.store.add_cells(run_id, [(one.cell, drawn.get(one.cell.recipe.key, one.about)) for one in planned])
        lacking = [one for one, n in zip(planned, n_stored, strict=True) if n < one.cell.n]
        if lacking:
            with telling(self._all(run_id), self.session, so_far) as on_progress:
                for arm in self.arms:
                    self._fill(arm, [one.cell for one in lacking if one.arm == arm], run_id, on_progress)
        selfcheck.check([one.cell for one in planned], self.store, self.session)

    def _fill(self, arm: Arm, cells: Sequence[Cell], run_id: str, on_progress: OnProgress) -> None:
        if cells:
            with self.session.opened(arm.model) as engine:
                for some in together(cells):
                    with self._counting(run_id):
                        fill(some, engine, self.store, run_id, on_progress)

    def _all(self, run_id: str) -> list[Stored]:
        """Every cell of the run so far."""
        found = [
            (Cell(one.arm, one.reference, self.store.recipe(one.recipe_key), one.n), one.about["model"]["n_params"])
            for one in self.store.run(run_id).cells
        ]
        n_stored = self._n_stored([cell for cell, _ in found])
        return [Stored(cell, n, n_params) for (cell, n_params), n in zip(found, n_stored, strict=True)]

    def _n_stored(self, cells: Sequence[Cell]) -> list[int]:
        return self.store.counted([(cell.recipe.key, cell.n) for cell in cells])

    @contextlib.contextmanager
    def _counting(self, run_id: str) -> Iterator[None]:
        """Within it Ctrl-C is told what is kept of the whole run, not of the cell in hand alone."""
        try:
            yield
        except Interrupted as error:
            cells = self.store.run(run_id).cells
            n_kept = sum(self.store.counted([(cell.recipe_key, cell.n) for cell in cells]))
            raise Interrupted(
                f"Interrupted: {n_kept:,} of the {sum(cell.n for cell in cells):,} samples of this run are kept in "
                f"{self.store.path}. The same command continues."
            ) from error


def cell_of(
    ask: Ask, engine: Engine, arm: Arm, prompt: Prompt, *, name: str, drawing: Drawing, session: Session
) -> Cell:
    """The cell of an ask of the study called `name`, which `engine` reads as `prompt`."""
    room = engine.facts.n_ctx_train - len(prompt.ids)
    if ask.sampler:
        drawing = dataclasses.replace(drawing, sampler=dataclasses.replace(drawing.sampler, **ask.sampler))  # type: ignore[arg-type]
    cell = plan_cell(
        engine,
        arm.model,
        prompt,
        arm=f"{name}/{ask.label}",
        n=ask.n,
        max_tokens=min(ask.max_tokens, max(1, room)) if ask.is_shortened else ask.max_tokens,
        drawing=drawing,
        layout=session.layout,
        stop=ask.stop,
        grammar=ask.grammar,
    )
    if ask.repeat is None or cell.recipe.sampler.is_greedy:  # greedy decoding draws nothing
        return cell
    seed = own_seed(cell.recipe, ask.repeat)
    return dataclasses.replace(cell, recipe=dataclasses.replace(cell.recipe, seed=seed))


class _Planned(NamedTuple):
    """A cell of a study, the arm that draws it, and what its engine says of itself."""

    arm: Arm
    cell: Cell
    about: Mapping[str, Any]


# ---- what a run remembers


def _encoder() -> dict[str, str]:
    return {"name": embed.REPO, "sha256": embed.WEIGHTS_SHA256}


def memory(studies: Sequence[Study], arms: Sequence[Arm], commands: Mapping[str, str]) -> dict[str, Any]:
    """What a run says of its studies, from which `remembered` shows them again."""
    return {
        "arms": [[arm.name, arm.model.reference] for arm in arms],  # in order, which a JSON object need not keep
        "experiments": [
            {"name": one.name, "settings": one.settings(), "command": commands[one.name]} for one in studies
        ],
    }


class _Cells(dict[str, RunCell]):
    """Cells by label; one that a study asked for and that is not there is damage."""

    def __init__(self, path: Path, cells: Mapping[str, RunCell]) -> None:
        super().__init__(cells)
        self._path = path

    def __missing__(self, label: str) -> RunCell:
        raise StoreDamaged(self._path, f"the run does not say what it asked of “{label}”")


def _drawn(store: Store, run: Run, place: embed.Place | None, session: Session) -> dict[str, Drawn]:
    """Of each study of a run what is stored."""
    found = {}
    for one in run.about.get("experiments", []):
        begins = f"{one['name']}/"
        mine = {cell.arm.removeprefix(begins): cell for cell in run.cells if cell.arm.startswith(begins)}
        cells = _Cells(store.path, mine)
        unfit = run.about.get("unfit", {}).get(one["name"], "")
        found[one["name"]] = Drawn(dict(run.about["arms"]), one["command"], unfit, cells, store, place, session)
    return found


class NoExperiment(LlamadivError):
    """A run of `sample` or of an older version has nothing to report."""

    def __init__(self, run_id: str) -> None:
        super().__init__(
            f"Run {run_id} holds samples but no experiment, so there is nothing to report. "
            f"`llamadiv runs export {run_id}` writes them out; `llamadiv runs ls` lists other runs."
        )


def remembered(store: Store, run: Run, session: Session) -> list[tuple[Study, Drawn]]:
    """The studies of a stored run with what is there of each. Raises NoExperiment, NoEncoder."""
    studies = studies_of(run)
    if not studies:
        raise NoExperiment(run.id)
    place = session.encoder() if any(one.needs_encoder for one in studies) else None
    drawn = _drawn(store, run, place, session)
    return [(one, drawn[one.name]) for one in studies]


def studies_of(run: Run) -> list[Study]:
    """Those that it remembers; none of a run of `sample`."""
    return [_class_of(one["name"]).from_settings(one["settings"]) for one in run.about.get("experiments", [])]


def _class_of(name: str) -> type[Study]:
    if name not in STUDIES:  # made by another version
        raise UnknownName("experiment", name, STUDIES, list_command="llamadiv --help")
    module, _, attribute = STUDIES[name].partition(":")
    found: type[Study] = getattr(importlib.import_module(module), attribute)
    return found


def shown(study: Study, drawn: Drawn) -> Result:
    """What can be shown of a study, with a warning of what is missing; of too little no numbers."""
    lacking = drawn.lacks()
    is_planned_whole = bool(drawn.cells) or not study.asks(tuple(drawn.arms))
    enough = is_planned_whole and all(
        cell.n - lacking.get(label, 0) >= study.least_of(label) for label, cell in drawn.cells.items()
    )
    why = drawn.unfit
    if enough:
        is_whole, refusal = _is_whole(study, drawn, lacking)
        why = why or refusal
        if is_whole or (study.shows_parts and not why):
            try:
                return _with_missing(study.shown(drawn), drawn, lacking, is_whole=is_whole)
            except NoAnswer as error:
                why = str(error)
    words = f"Not made: {why}" if why else "There is too little to analyse yet."
    remarks = (*_missing(drawn, lacking), Remark(words, is_warning=True))
    about = "These models cannot have this experiment." if why else "This experiment was cut short."
    section = Section(study.name, study.title, about, drawn.command, remarks)
    return Result(section, {"missing": lacking, **({"unfit": why} if why else {})}, None)


def _with_missing(result: Result, drawn: Drawn, lacking: Mapping[str, int], *, is_whole: bool) -> Result:
    remarks = _missing(drawn, lacking)
    if not is_whole and not lacking:
        remarks = (Remark(f"More was to be asked. `{drawn.command}` goes on.", is_warning=True),)
    section = dataclasses.replace(
        result.section,
        exhibits=(*remarks, *result.section.exhibits),
        plain=unfinished(result.section.plain) if remarks else result.section.plain,
    )
    return dataclasses.replace(
        result, section=section, report={**result.report, **({"missing": lacking} if lacking else {})}
    )


def _is_whole(study: Study, drawn: Drawn, lacking: Mapping[str, int]) -> tuple[bool, str]:
    """Whether all was asked that depends on samples; and why what is there, all of it, gives nothing to ask next."""
    try:
        return not study.asks_next(drawn), ""
    except Unfit as error:
        return False, "" if lacking else str(error)


def _missing(drawn: Drawn, lacking: Mapping[str, int]) -> tuple[Remark, ...]:
    if not lacking:
        return ()
    named = list(lacking.items())[:_MOST_NAMED]
    words = "; ".join(f"{n} of {drawn.cells[label].n} of “{label}”" for label, n in named)
    words += f"; and of {len(lacking) - _MOST_NAMED:,} more" if lacking.keys() - dict(named) else ""
    return (Remark(f"Samples are missing: {words}. `{drawn.command}` draws them.", is_warning=True),)
