"""How an experiment runs, whichever it is: what it asks becomes cells, cells are filled, what was drawn is shown.

A run keeps the names, settings and commands of its experiments beside the cells, so that `remembered` shows it again
without a model. A cell's arm is called "semantic/base": the experiment, then the label of what was asked.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import importlib
import json
import shlex
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from llama_diversity import embed
from llama_diversity.answers import Answer, Endings, Reader
from llama_diversity.cli.arms import Arm, Choice, resolve_choice
from llama_diversity.cli.encoding import find_encoder, say
from llama_diversity.cli.options import Common, Drawing
from llama_diversity.cli.progress import progress_line
from llama_diversity.cli.results import Result, drawing_words, give, make_folder, with_starts
from llama_diversity.cli.session import (
    DifferentTokens,
    DifferentVocabularies,
    fill,
    opened,
    plan_cell,
    reading,
    say_unknown_start,
    start_run,
)
from llama_diversity.engines import Engine, EngineOptions
from llama_diversity.errors import BadValue, Interrupted, LlamadivError, StoreDamaged, TemplateError, UnknownName
from llama_diversity.experiments.perturbations import NothingToChange
from llama_diversity.records import Cell, Prompt, Recipe, Sample, seen_ids
from llama_diversity.render.exhibits import Remark, Section
from llama_diversity.render.scales import ScoredToken, scored_tokens
from llama_diversity.store import Run, RunCell, Store

EXPERIMENTS = {  # name -> module:class, in the order of a report
    "personas": "llama_diversity.cli.personas:Personas",
    "semantic": "llama_diversity.cli.semantic:Semantic",
    "syntactic": "llama_diversity.cli.syntactic:Syntactic",
    "perturb": "llama_diversity.cli.perturb:Perturb",
    "collapse": "llama_diversity.cli.collapse:Collapse",
    "compare": "llama_diversity.cli.compare:Compare",
    "decompose": "llama_diversity.cli.decompose:Decompose",
    "coverage": "llama_diversity.cli.coverage:Coverage",
    "diff": "llama_diversity.cli.diff:Diff",
}


MOST_ANALYSED = 100_000  # samples of an arm, over all that it is asked: an analysis has them in memory together
_STREAM = 0x9E3779B97F4A7C15  # odd and without a pattern: no two small seeds and streams meet


class NoAnswer(LlamadivError):
    """All outputs of an arm are thoughts that were never closed."""

    def __init__(self, arm: str, endings: Endings) -> None:
        why = "; ".join(f"{reason} ({n})" for reason, n in endings.reasons.items())
        super().__init__(
            f"None of the {endings.n} outputs of {arm} answers anything: {why}. Raise --max-tokens where the "
            "command has it, or name a model that does not think."
        )


class Ask(NamedTuple):
    """What one arm is asked `n` times; the label tells it from the experiment's other asks."""

    label: str
    arm: str
    text: str
    n: int
    max_tokens: int
    is_shortened: bool = False  # to what the model's context has room for; else too much is an error
    is_chat: bool = False
    stop: tuple[str, ...] = ()
    grammar: str | None = None
    system: str | None = None
    template_args: str | None = None
    sampler: Mapping[str, float] | None = None  # fields of the sampler in place of the typed ones
    asking: Mapping[str, Any] | None = None  # fields of Asking in place of the typed ones
    stream: int = 0  # asks of other streams are drawn independently of each other


class Experiment(ABC):
    """One experiment of the paper with its settings: a frozen dataclass whose fields JSON can hold."""

    name: ClassVar[str]
    title: ClassVar[str]
    needs_encoder: ClassVar[bool] = True
    needs_one_vocabulary: ClassVar[bool] = False
    has_more: ClassVar[bool] = False  # asks that depend on the first samples
    least: ClassVar[int] = 1  # samples of each ask that can be analysed

    @abstractmethod
    def options(self) -> list[str]:
        """The settings as options of its command, where they differ from the defaults."""

    def differing(self, names: Mapping[str, str]) -> list[str]:
        """Options and values of the fields, by their options, that are not what the class has by default."""
        defaults = {field.name: field.default for field in dataclasses.fields(self)}  # type: ignore[arg-type]
        changed = {
            option: getattr(self, name) for option, name in names.items() if getattr(self, name) != defaults[name]
        }
        return [word for option, value in changed.items() for word in (option, str(value))]

    @abstractmethod
    def asks(self, arms: Sequence[str]) -> list[Ask]:
        """What the arms are asked, the base first."""

    def asks_next(self, drawn: Drawn) -> list[Ask]:
        """What they are asked once the first samples are there."""
        return []

    def least_of(self, label: str) -> int:
        """How many samples of an ask can be analysed."""
        return self.least

    def check(self, cells: Sequence[Cell]) -> None:
        """Refuse, before any sampling, what could not be compared afterwards; a cell's arm is its ask's label here."""
        for cell in cells[1:] if self.needs_one_vocabulary else []:
            if cell.recipe.vocab_digest != cells[0].recipe.vocab_digest:
                raise DifferentVocabularies(cells[0].reference, cell.reference)
            if cell.recipe.prompt.ids != cells[0].recipe.prompt.ids:
                raise DifferentTokens(
                    cells[0].reference, cell.reference, cells[0].recipe.prompt.ids, cell.recipe.prompt.ids
                )

    @abstractmethod
    def show(self, drawn: Drawn) -> Result:
        """The result for a reader, from what is stored."""

    def shown(self, drawn: Drawn) -> Result:
        """The same, and what raw prompts began with."""
        return with_starts(self.show(drawn), drawn.starts())

    def settings(self) -> dict[str, Any]:
        """The fields, as JSON can hold them."""
        return asdict(self)  # type: ignore[call-overload, no-any-return]  # every experiment is a dataclass

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Experiment:
        """The inverse of `settings`, after JSON."""
        return cls(**settings)


@dataclass(frozen=True)
class Drawn:
    """What is stored of one experiment: reads the store, loads no model."""

    arms: Mapping[str, str]  # arm -> model
    command: str
    unfit: str  # why these models cannot have the experiment; empty where they can
    cells: Mapping[str, RunCell]  # by label
    store: Store
    place: embed.Place | None
    common: Common

    def recipe(self, label: str) -> Recipe:
        """The recipe of an ask."""
        return self.store.recipe(self.cells[label].recipe_key)

    def stream(self, label: str) -> Iterator[Sample]:
        """Its samples, in order, a few in memory at a time."""
        return self.store.samples(self.cells[label].recipe_key, self.cells[label].n)

    def samples(self, label: str) -> list[Sample]:
        """All of them."""
        return list(self.stream(label))

    def answers(self, label: str) -> list[Answer]:
        """What they answer, thoughts left out."""
        read = self._reader(label).read
        return [read(sample) for sample in self.stream(label)]

    def answered(self, label: str) -> Iterator[Sample]:
        """Those that answer, with the text and the tokens of the answer alone. Raises NoAnswer where none does."""
        read, is_any = self._reader(label).read, False
        for sample in self.stream(label):
            answer = read(sample)
            if not answer.is_thinking and len(answer.tokens):
                is_any = True
                yield dataclasses.replace(sample, text=answer.data, tokens=answer.tokens)
        if not is_any:
            raise NoAnswer(label, self.endings(label))

    def endings(self, label: str) -> Endings:
        """How they end, and why how many answer nothing."""
        answers = self.answers(label)
        return Endings.of(answers, [one.flaw for one in answers])

    def _reader(self, label: str) -> Reader:
        recipe = self.recipe(label)
        pieces = functools.partial(self.store.pieces, recipe.vocab_digest)
        return Reader(recipe.prompt, self.store.controls(recipe.vocab_digest), pieces)

    def first_tokens(self, label: str, n: int) -> tuple[ScoredToken, ...]:
        """The first `n` tokens of the first answer."""
        sample = next(self.answered(label))
        tokens = sample.tokens[:n]
        return scored_tokens(tokens, self.store.pieces(self.recipe(label).vocab_digest, seen_ids(tokens)).__getitem__)

    def embedded(self, texts: Mapping[str, Sequence[str]]) -> dict[str, embed.Embedded]:
        """The vectors of texts, with a progress line while they are made."""
        assert self.place is not None
        with progress_line(self.common, "embedding") as show:
            encoder = embed.Encoder(self.place, say)
            return {name: encoder.embed(some, on_progress=show) for name, some in texts.items()}

    def starts(self) -> dict[str, list[str]]:
        """What the raw prompts of each model began with, as it is spelled."""
        found: dict[str, dict[str, None]] = {}
        for label, cell in self.cells.items():
            prompt, model = self.recipe(label).prompt, cell.about.get("model", {})
            if prompt.mode == "raw":
                usual = model.get("start", "BOS") if model.get("adds_bos") else ""
                found.setdefault(cell.reference, {})[usual if prompt.start is None else prompt.start] = None
        return {model: list(starts) for model, starts in found.items()}

    def digest(self) -> str:
        """Of what was asked for: of each label the recipe (weights, prompt, sampler, seed) and how many samples.

        Two results with one digest and one `code` are of the same samples, measured alike.
        """
        asked = [[label, cell.recipe_key, cell.n] for label, cell in sorted(self.cells.items())]
        return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]

    def lacks(self) -> dict[str, int]:
        """How many samples are missing, by label, where some are."""
        counted = {label: c.n - self.store.counts(c.recipe_key, c.n).n_samples for label, c in self.cells.items()}
        return {label: n for label, n in counted.items() if n}


def check_n(n: int, least: int, noun: str) -> None:
    """Raises BadValue for too few or more than can be analysed together."""
    if not least <= n <= MOST_ANALYSED:
        raise BadValue("-n", n, f"ask for {least} to {MOST_ANALYSED:,} {noun}")


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


def run_alone(
    experiment: Experiment,
    *,
    choice: Choice,
    drawing: Drawing,
    layout: EngineOptions,
    common: Common,
    out: Path | None,
) -> None:
    """The whole command of one experiment."""
    arms, words = resolve_choice(choice, common), choice.words()
    make_folder(out)
    with conducted([experiment], arms, words, drawing=drawing, layout=layout, common=common) as (
        run_id,
        [drawn],
    ):
        result = experiment.shown(drawn)
    give(result, out=out, run_id=run_id, common=common)


@contextlib.contextmanager
def conducted(
    experiments: Sequence[Experiment],
    arms: Sequence[Arm],
    words: Sequence[str],
    *,
    drawing: Drawing,
    layout: EngineOptions,
    common: Common,
    about: Mapping[str, Any] | None = None,
    is_lenient: bool = False,
) -> Iterator[tuple[str, list[Drawn]]]:
    """Draw what the store lacks of the experiments; the run's id, and of each what was drawn, while the store is open.

    All that can be refused is refused before any sampling, and all cells that are known are recorded before it, so that
    a run that is cut short knows what it lacks. `words` name the arms on a command line. With `is_lenient` an
    experiment that these models cannot have is left without samples, and `shown` says why; else it raises, as encoder,
    engines and the store do.
    """
    place = find_encoder(common) if any(one.needs_encoder for one in experiments) else None
    with Store.open(common.store) as store:
        work = _Work(store, arms, drawing, layout, common)
        names = [arm.name for arm in arms]
        first: dict[str, list[_Planned]] = {}
        unfit: dict[str, str] = {}
        for one in experiments:
            with _leniently(one.name, unfit, is_lenient=is_lenient):
                first[one.name] = work.checked(one, names)
        commands = {one.name: _command(one, names, words, drawing) for one in experiments}
        run_id = start_run(store, {**(about or {}), **_memory(experiments, arms, commands), "unfit": unfit})
        work.draw([planned for some in first.values() for planned in some], run_id)
        drawn = _drawn(store, store.run(run_id), place, common)
        later: list[_Planned] = []
        for one in experiments:
            if one.name not in unfit:
                with _leniently(one.name, unfit, is_lenient=is_lenient):
                    later += work.planned(one.name, one.asks_next(drawn[one.name]))
        work.draw(later, run_id)
        store.finish_run(run_id)
        drawn = _drawn(store, store.run(run_id), place, common)
        yield run_id, [drawn[one.name] for one in experiments]


@contextlib.contextmanager
def _leniently(name: str, unfit: dict[str, str], *, is_lenient: bool) -> Iterator[None]:
    """Within it what an experiment refuses is noted, not raised; what is wrong with the machine is raised."""
    try:
        yield
    except (TemplateError, DifferentTokens, DifferentVocabularies, NothingToChange, NoAnswer) as error:
        if not is_lenient:
            raise
        unfit[name] = str(error)


def _command(experiment: Experiment, arms: Sequence[str], words: Sequence[str], drawing: Drawing) -> str:
    """The command line that makes the same again, with what differs from the defaults."""
    drawn = [[*words], drawing_words(drawing)] if experiment.asks(arms) else [[], []]
    return shlex.join(["llamadiv", experiment.name, *drawn[0], *experiment.options(), *drawn[1]])


class _Work(NamedTuple):
    """What cells are made of, and where samples go."""

    store: Store
    arms: Sequence[Arm]
    drawing: Drawing
    layout: EngineOptions
    common: Common

    def planned(self, name: str, asks: Sequence[Ask]) -> list[_Planned]:
        """A cell for each ask of an experiment, on the vocabularies alone; one model is open at a time."""
        found = []
        for arm in self.arms:
            mine = [ask for ask in asks if ask.arm == arm.name]
            if mine:
                with reading(arm.model, self.layout, self.common) as engine:
                    about = {"model": asdict(engine.facts), "build": engine.build}
                    found += [_Planned(arm, self._cell(engine, arm, name, ask), about) for ask in mine]
        return found

    def checked(self, experiment: Experiment, names: Sequence[str]) -> list[_Planned]:
        """The cells of an experiment's first asks, which it has agreed to."""
        asks = experiment.asks(names)
        _check_together(asks)
        planned = self.planned(experiment.name, asks)
        begins = f"{experiment.name}/"
        experiment.check([dataclasses.replace(one.cell, arm=one.cell.arm.removeprefix(begins)) for one in planned])
        return planned

    def _cell(self, engine: Engine, arm: Arm, name: str, ask: Ask) -> Cell:
        prompt = self._prompt(engine, arm, ask)
        room = engine.facts.n_ctx_train - len(prompt.ids)
        drawing = self.drawing
        if ask.sampler:
            drawing = dataclasses.replace(drawing, sampler=dataclasses.replace(drawing.sampler, **ask.sampler))  # type: ignore[arg-type]
        if ask.stream:
            drawing = dataclasses.replace(drawing, seed=(drawing.seed + ask.stream * _STREAM) % 2**64)
        return plan_cell(
            engine,
            arm.model,
            prompt,
            arm=f"{name}/{ask.label}",
            n=ask.n,
            max_tokens=min(ask.max_tokens, max(1, room)) if ask.is_shortened else ask.max_tokens,
            drawing=drawing,
            layout=self.layout,
            stop=ask.stop,
            grammar=ask.grammar,
        )

    def _prompt(self, engine: Engine, arm: Arm, ask: Ask) -> Prompt:
        """By the arm's own template, or by another model's where both have one vocabulary."""
        asking = dataclasses.replace(self.drawing.asking, **(ask.asking or {}))
        if not ask.is_chat:
            say_unknown_start(engine, asking, self.common)
        if not ask.is_chat or arm.template is None:
            return engine.prompt(
                ask.text, chat=ask.is_chat, system=ask.system, template_args=ask.template_args, asking=asking
            )
        with reading(arm.template, self.layout, self.common) as other:
            if other.facts.vocab_digest != engine.facts.vocab_digest:
                raise DifferentVocabularies(arm.model.reference, arm.template.reference)
            return other.prompt(ask.text, chat=True, system=ask.system, template_args=ask.template_args, asking=asking)

    def draw(self, planned: Sequence[_Planned], run_id: str) -> None:
        """Record all cells, then fill them model after model; a model of which nothing is missing is not loaded."""
        for one in planned:
            about = self.store.about_drawing(one.cell.recipe.key) or one.about  # a vocabulary alone knows less
            self.store.add_cell(run_id, one.cell, about=about)
        for arm in self.arms:
            cells = [one.cell for one in planned if one.arm == arm]
            lacking = [cell for cell in cells if self.store.counts(cell.recipe.key, cell.n).n_samples < cell.n]
            if lacking:
                with opened(arm.model, self.layout, self.common) as engine:
                    for cell in lacking:
                        with self._counting(run_id):
                            fill(cell, engine, self.store, run_id, self.common)

    @contextlib.contextmanager
    def _counting(self, run_id: str) -> Iterator[None]:
        """Within it Ctrl-C is told what is kept of the whole run, not of the cell in hand alone."""
        try:
            yield
        except Interrupted as error:
            cells = self.store.run(run_id).cells
            n_kept = sum(self.store.counts(cell.recipe_key, cell.n).n_samples for cell in cells)
            raise Interrupted(
                f"Interrupted: {n_kept:,} of the {sum(cell.n for cell in cells):,} samples of this run are kept in "
                f"{self.store.path}. The same command continues."
            ) from error


class _Planned(NamedTuple):
    """A cell of an experiment, the arm that draws it, and what its engine says of itself."""

    arm: Arm
    cell: Cell
    about: Mapping[str, Any]


# ---- what a run remembers


def _memory(experiments: Sequence[Experiment], arms: Sequence[Arm], commands: Mapping[str, str]) -> dict[str, Any]:
    return {
        "arms": [[arm.name, arm.model.reference] for arm in arms],  # in order, which a JSON object need not keep
        "experiments": [
            {"name": one.name, "settings": one.settings(), "command": commands[one.name]} for one in experiments
        ],
    }


class _Cells(dict[str, RunCell]):
    """Cells by label; one that an experiment asked for and that is not there is damage."""

    def __init__(self, path: Path, cells: Mapping[str, RunCell]) -> None:
        super().__init__(cells)
        self._path = path

    def __missing__(self, label: str) -> RunCell:
        raise StoreDamaged(self._path, f"the run does not say what it asked of “{label}”")


def _drawn(store: Store, run: Run, place: embed.Place | None, common: Common) -> dict[str, Drawn]:
    """Of each experiment of a run what is stored."""
    found = {}
    for one in run.about.get("experiments", []):
        begins = f"{one['name']}/"
        mine = {cell.arm.removeprefix(begins): cell for cell in run.cells if cell.arm.startswith(begins)}
        cells = _Cells(store.path, mine)
        unfit = run.about.get("unfit", {}).get(one["name"], "")
        found[one["name"]] = Drawn(dict(run.about["arms"]), one["command"], unfit, cells, store, place, common)
    return found


class NoExperiment(LlamadivError):
    """A run of `sample` or of an older version has nothing to report."""

    def __init__(self, run_id: str) -> None:
        super().__init__(
            f"Run {run_id} holds samples but no experiment, so there is nothing to report. "
            f"`llamadiv runs export {run_id}` writes them out; `llamadiv runs ls` lists other runs."
        )


def remembered(store: Store, run: Run, common: Common) -> list[tuple[Experiment, Drawn]]:
    """The experiments of a stored run with what is there of each. Raises NoExperiment, NoEncoder."""
    experiments = [_class_of(one["name"]).from_settings(one["settings"]) for one in run.about.get("experiments", [])]
    if not experiments:
        raise NoExperiment(run.id)
    place = find_encoder(common) if any(one.needs_encoder for one in experiments) else None
    drawn = _drawn(store, run, place, common)
    return [(one, drawn[one.name]) for one in experiments]


def _class_of(name: str) -> type[Experiment]:
    if name not in EXPERIMENTS:  # made by another version
        raise UnknownName("experiment", name, EXPERIMENTS, list_command="llamadiv --help")
    module, _, attribute = EXPERIMENTS[name].partition(":")
    found: type[Experiment] = getattr(importlib.import_module(module), attribute)
    return found


def shown(experiment: Experiment, drawn: Drawn) -> Result:
    """What can be shown of an experiment, with a warning of what is missing; of too little no numbers."""
    lacking = drawn.lacks()
    is_planned_whole = bool(drawn.cells) or not experiment.asks(tuple(drawn.arms))
    enough = is_planned_whole and all(
        cell.n - lacking.get(label, 0) >= experiment.least_of(label) for label, cell in drawn.cells.items()
    )
    why = drawn.unfit
    if enough and not _is_cut_short(experiment, drawn):
        try:
            return _with_missing(experiment.shown(drawn), drawn, lacking)
        except NoAnswer as error:
            why = str(error)
    why = why or _refusal(experiment, drawn, lacking)
    words = f"Not made: {why}" if why else "There is too little to analyse yet."
    remarks = (*_missing(drawn, lacking), Remark(words, is_warning=True))
    about = "These models cannot have this experiment." if why else "This experiment was cut short."
    section = Section(experiment.name, experiment.title, about, drawn.command, remarks)
    return Result(section, {"missing": lacking, **({"unfit": why} if why else {})}, None)


def _with_missing(result: Result, drawn: Drawn, lacking: Mapping[str, int]) -> Result:
    section = dataclasses.replace(result.section, exhibits=(*_missing(drawn, lacking), *result.section.exhibits))
    return result._replace(section=section, report={**result.report, **({"missing": lacking} if lacking else {})})


def _refusal(experiment: Experiment, drawn: Drawn, lacking: Mapping[str, int]) -> str:
    """Why the first samples, all there, give nothing to ask next; empty where they do."""
    if not experiment.has_more or lacking or not drawn.cells:
        return ""
    try:
        experiment.asks_next(drawn)
    except (NothingToChange, NoAnswer) as error:
        return str(error)
    return ""


def _is_cut_short(experiment: Experiment, drawn: Drawn) -> bool:
    """Whether what is asked only after the first samples has not even been planned."""
    first = {ask.label for ask in experiment.asks(tuple(drawn.arms))}
    return bool(first) and experiment.has_more and first >= set(drawn.cells)


def _missing(drawn: Drawn, lacking: Mapping[str, int]) -> tuple[Remark, ...]:
    if not lacking:
        return ()
    words = "; ".join(f"{n} of {drawn.cells[label].n} of “{label}”" for label, n in lacking.items())
    return (Remark(f"Samples are missing: {words}. `{drawn.command}` draws them.", is_warning=True),)
