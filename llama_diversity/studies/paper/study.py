"""`reproduce`: every experiment of the paper on a pair, and the ledger that holds its findings against ours."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from llama_diversity import registry
from llama_diversity.records import Recipe
from llama_diversity.store import Run
from llama_diversity.studies.paper.analysis import Made, absent, entries
from llama_diversity.studies.paper.exhibits import Facts, ledger_as_json, section
from llama_diversity.studies.personas.study import Personas
from llama_diversity.studies.perturb.study import Perturb
from llama_diversity.studies.results import Result
from llama_diversity.studies.semantic.study import Semantic
from llama_diversity.studies.study import Drawn, Experiment, check_n
from llama_diversity.studies.syntactic.study import Syntactic

_LEDGER = "ledger"
_PAPER_PAIR = "llama-2-7b"


def _resized(experiment: Experiment, n: int) -> Experiment:
    """The same experiment with `n` samples of each ask; what draws none stays as it is."""
    if not any(field.name == "n" for field in dataclasses.fields(experiment)):  # type: ignore[arg-type]
        return experiment
    check_n(n, max(one.least for one in (Personas, Semantic, Syntactic, Perturb)), "samples")
    resized: Experiment = dataclasses.replace(experiment, n=n)  # type: ignore[type-var]
    return resized


# ---- the ledger


def _ledger(run: Run, pairs: Sequence[tuple[Experiment, Drawn]], results: Sequence[Result]) -> list[Result]:
    """The ledger of a run of `reproduce`: of the first and the last arm. Of other runs none."""
    if not run.about.get(_LEDGER):
        return []
    found = {experiment.name: result.found for (experiment, _), result in zip(pairs, results, strict=True)}
    drawn = {experiment.name: one for experiment, one in pairs}
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
    return [Result(section(lines, facts, run.about["command"]), ledger_as_json(lines, facts), lines)]


def _is_as_in_paper(pairs: Sequence[tuple[Experiment, Drawn]]) -> bool:
    """Whether all was sampled as the paper says and as often: else numbers that depend on it are not compared."""
    return all(
        type(experiment)() == experiment and (not drawn.cells or _is_plain(drawn.recipe(next(iter(drawn.cells)))))
        for experiment, drawn in pairs
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
        sampler = recipe.sampler
        cuts = f"T {sampler.temperature:g}, top-k {sampler.top_k}, top-p {sampler.top_p:g}, min-p {sampler.min_p:g}"
        yield "sampler", "softmax at T = 1, nothing cut off", "the same" if sampler.is_neutral else cuts
        yield "engine", "unsaid", f"{recipe.engine}, {recipe.engine_build}"
    chat = next((one.prompt.template_digest for one in every.get("personas", []) if one.prompt.template_digest), None)
    if chat:
        yield "Experiment 1, chat template", "that of the SFT stage", f"that of the file, sha256 {chat[:8]}"
    longest = ", ".join(f"{name} {_range([one.max_tokens for one in some])}" for name, some in every.items())
    yield "longest outputs, tokens", "personas and perturbed unsaid, 128, 64", longest
