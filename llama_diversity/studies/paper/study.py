"""`reproduce`: every experiment of the paper on a pair, and the ledger that holds its findings against ours."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from llama_diversity import registry
from llama_diversity.records import Recipe
from llama_diversity.render.exhibits import Plain
from llama_diversity.render.files import write_whole
from llama_diversity.render.folder import Written, write_files
from llama_diversity.render.print_form import ON_SCREEN, PrintForm
from llama_diversity.render.report import to_page
from llama_diversity.render.samplers import sampler_words
from llama_diversity.store import Run, Store
from llama_diversity.studies.arms import Arm
from llama_diversity.studies.collapse.study import Collapse
from llama_diversity.studies.conduct import conducted, remembered, shown
from llama_diversity.studies.drawing import Drawing
from llama_diversity.studies.paper.analysis import Made, absent, entries
from llama_diversity.studies.paper.exhibits import Facts, ledger_as_json, section
from llama_diversity.studies.personas.study import Personas
from llama_diversity.studies.perturb.study import Perturb
from llama_diversity.studies.plain import together
from llama_diversity.studies.results import Result, plain_as_json, write_json
from llama_diversity.studies.semantic.study import Semantic
from llama_diversity.studies.session import Session
from llama_diversity.studies.study import Drawn, Study, check_n
from llama_diversity.studies.syntactic.study import Syntactic
from llama_diversity.studies.words import drawing_words, template_words

LEDGER = "ledger"
_PAPER_PAIR = "llama-2-7b"
_TELLING = ("semantic", "personas", "syntactic", "perturb")  # whose sentences the first screen takes in turn


class Report(NamedTuple):
    """The results of a run in the order of its page, the ledger first where there is one."""

    run: str
    results: tuple[Result, ...]

    @property
    def has_ledger(self) -> bool:
        """Whether the findings of the paper were held against ours."""
        return self.results[0].name == LEDGER

    @property
    def plain(self) -> Plain:
        """The first screen: the ledger's, of a single study its own, of several their first sentences."""
        plains = [one.section.plain for one in self.results]
        return plains[0] if self.has_ledger or len(plains) == 1 else together(plains)

    def to_dict(self) -> dict[str, Any]:
        """All numbers as JSON has them, by study, behind the sentences of the first screen."""
        return {**plain_as_json(self.plain), **{one.name: one.to_dict() for one in self.results}, "run": self.run}

    def save(
        self, folder: Path, form: PrintForm = ON_SCREEN, show: Callable[[float], None] = lambda share: None
    ) -> Written:
        """`index.html`, figures, tables and NAME.json of each section; which files, and what no font could draw.

        Raises BadValue.
        """
        every = Written()
        for at, result in enumerate(self.results):
            written = write_files(result.section, folder, form)
            every.paths += written.paths
            every.undrawn.update(written.undrawn)
            write_json(result.to_dict(), folder / f"{result.name}.json")
            show((at + 1) / (len(self.results) + 1))
        sections = [result.section for result in self.results]
        title = sections[0].title if len(sections) == 1 else "llamadiv: what post-training took away"
        every.paths.append(folder / "index.html")
        write_whole(every.paths[-1], to_page(sections, title, self.plain))
        return every


def reproduce(
    arms: Sequence[Arm],
    *,
    drawing: Drawing,
    session: Session,
    n: int | None = None,
    template_args: str | None = None,
    words: Sequence[str] = (),
) -> Report:
    """Every experiment of the paper on `arms`, the base first, `n` samples of each; `words` name them.

    An experiment that these models cannot have is shown as such. Raises what engines and the store raise, BadValue.
    """
    check_n_of_all(n)
    studies: list[Study] = [Personas(template_args=template_args), Semantic(), Syntactic(), Perturb(), Collapse()]
    if n is not None:
        studies = [_resized(one, n) for one in studies]
    typed = [
        *words,
        *(["-n", str(n)] if n is not None else []),
        *template_words(template_args),
        *drawing_words(drawing),
    ]
    about = {LEDGER: True, "command": shlex.join(["llamadiv", "reproduce", *typed])}
    with conducted(studies, arms, drawing=drawing, session=session, words=words, about=about, is_lenient=True) as (
        run_id,
        drawn,
    ):
        return _report(drawn[0].store.run(run_id), list(zip(studies, drawn, strict=True)))


def most_tokens(n_arms: int) -> int:
    """How many tokens `reproduce` draws of so many models at most, each sample as long as it may become."""
    arms = [f"arm {number}" for number in range(n_arms)]
    studies: tuple[Study, ...] = (Personas(), Semantic(), Syntactic(), Perturb())
    first = sum(ask.n * ask.max_tokens for study in studies for ask in study.asks(arms))
    return first + Perturb().most_tokens_next(n_arms)


def recall(run: str, session: Session) -> Report:
    """What a stored run has to show. Raises NoExperiment, NoEncoder and what a store raises."""
    with Store.open(session.store, read_only=True) as store:
        found = store.run(run)
        return _report(found, remembered(store, found, session))


def _report(run: Run, pairs: Sequence[tuple[Study, Drawn]]) -> Report:
    results = [shown(study, drawn) for study, drawn in pairs]
    return Report(run.id, (*ledger_of(run, pairs, results), *results))


def check_n_of_all(n: int | None) -> None:
    """Raises BadValue for too few or too many samples of any of the experiments; None is the paper's own numbers."""
    if n is not None:
        check_n(n, max(one.least for one in (Personas, Semantic, Syntactic, Perturb)), "samples")


def _resized(study: Study, n: int) -> Study:
    """The same study with `n` samples of each ask; what draws none stays as it is."""
    if not any(field.name == "n" for field in dataclasses.fields(study)):  # type: ignore[arg-type]
        return study
    resized: Study = dataclasses.replace(study, n=n)  # type: ignore[type-var]
    return resized


# ---- the ledger


def ledger_of(run: Run, pairs: Sequence[tuple[Study, Drawn]], results: Sequence[Result]) -> list[Result]:
    """The ledger of a run of `reproduce`: of the first and the last arm. Of other runs none."""
    if not run.about.get(LEDGER):
        return []
    found = {study.name: result.found for (study, _), result in zip(pairs, results, strict=True)}
    drawn = {study.name: one for study, one in pairs}
    arms = drawn["personas"].arms
    base, aligned = next(iter(arms)), list(arms)[-1]
    people = found["personas"]
    paper = registry.load().pair(_PAPER_PAIR)
    made = Made(
        base,
        aligned,
        is_paper_pair=(arms[base], arms[aligned]) == (paper.base, paper.aligned) and _is_as_in_paper(pairs),
        personas=people and people.personas,
        sentences=people and people.sentences,
        semantic=found["semantic"],
        syntactic=found["syntactic"],
        perturb=found["perturb"],
    )
    facts = Facts(
        arms[base], arms[aligned], made.is_paper_pair, list(_deviations(run, drawn, base, aligned)), absent(made)
    )
    lines = entries(made)
    told = {result.name: result.section.plain for result in results}
    plains = [told[name] for name in _TELLING if name in told]
    return [Result(section(lines, facts, run.about["command"], plains), ledger_as_json(lines, facts), lines)]


def _is_as_in_paper(pairs: Sequence[tuple[Study, Drawn]]) -> bool:
    """Whether all was sampled as the paper says and as often: else numbers that depend on it are not compared."""
    return all(
        type(study)() == study and (not drawn.cells or _is_plain(drawn.recipe(next(iter(drawn.cells)))))
        for study, drawn in pairs
    )


def _is_plain(recipe: Recipe) -> bool:
    """Whether it is the model's own distribution, behind the BOS that its file asks for."""
    return recipe.is_neutral and recipe.prompt.start is None


def _range(numbers: Sequence[int]) -> str:
    return f"{min(numbers)}" if min(numbers) == max(numbers) else f"{min(numbers)} to {max(numbers)}"


def _deviations(run: Run, drawn: Mapping[str, Drawn], base: str, aligned: str) -> Iterator[tuple[str, str, str]]:
    """What the paper did, or left unsaid, and what was done in this run."""
    models = drawn["personas"].arms
    for arm, paper in ((base, "Llama-2-7B-text"), (aligned, "Llama-2-7B-chat")):
        about: Mapping[str, Any] = next(
            (cell.about["model"] for cell in run.cells if cell.reference == models[arm]), {}
        )
        description = str(about.get("description", "")).replace("?B ", "")
        yield f"model, {arm}", f"{paper}, precision unsaid", f"{models[arm]}: {description}"
    every = {name: [one.recipe(label) for label in one.cells] for name, one in drawn.items() if one.cells}
    if "semantic" in every:
        recipe = every["semantic"][0]
        used = "the same" if recipe.sampler.is_neutral else sampler_words(recipe.sampler)
        yield "sampler", "softmax at T = 1, nothing cut off", used
        yield "engine", "unsaid", f"{recipe.engine}, {recipe.engine_build}"
    chat = next((one.prompt.template_digest for one in every.get("personas", []) if one.prompt.template_digest), None)
    if chat:
        yield "Experiment 1, chat template", "that of the SFT stage", f"that of the file, sha256 {chat[:8]}"
    longest = ", ".join(f"{name} {_range([one.max_tokens for one in some])}" for name, some in every.items())
    yield "longest outputs, tokens", "personas and perturbed unsaid, 128, 64", longest
