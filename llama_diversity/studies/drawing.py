"""How samples are drawn: what one cell is, what the store lacks of it, and all of it in order."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llama_diversity import __version__
from llama_diversity.engines import Engine, EngineOptions, SampleEach
from llama_diversity.errors import BadValue, EngineError, PartialRun, Unfit
from llama_diversity.mixtures import mixture_words
from llama_diversity.records import Asking, Cell, ModelRef, Prompt, Recipe, Sample, Sampler
from llama_diversity.runner import Progress, run_each
from llama_diversity.store import Store
from llama_diversity.studies.pace import Pace, Stored, drawn_with
from llama_diversity.studies.session import Session


@dataclass(frozen=True)
class Drawing:
    """How a prompt is asked, how tokens are drawn, and from which seed."""

    sampler: Sampler = Sampler()
    seed: int = 0
    asking: Asking = Asking()
    is_set: bool = False  # all samples of a prompt are one set, by stratified codes


class NoEstimate(Unfit):
    """Samples that were spread out on purpose say nothing of a model's diversity."""

    exit_code = 2

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what} a set drawn by arithmetic codes (--arithmetic): its samples are spread out on purpose, more than "
            "the model's own are, so no diversity can be estimated from them. Draw without --arithmetic."
        )


def why_idle(sampler: Sampler, name: str) -> str | None:
    """Why a field of `sampler` changes nothing beside the others, for a sentence; None where it does."""
    is_greedy = sampler.is_greedy or (sampler.temperature == 0 and name.startswith("dynatemp"))
    if is_greedy and name != "temperature":  # the likeliest token survives every cut
        return "at temperature 0 the likeliest token is taken anyway; leave it out"
    if name == "first_temperature" and sampler.first_temperature == sampler.temperature and not sampler.dynatemp_range:
        return "it is the temperature of every token; leave it out"
    if name == "dynatemp_exponent" and not sampler.dynatemp_range:
        return "it bends the dynatemp range, which is 0 (off); give that, or leave it out"
    if name == "xtc_threshold" and not sampler.xtc_probability:
        return "it is of XTC, whose probability is 0 (off); give that, or leave it out"
    return None


def refuse_idle(sampler: Sampler) -> None:
    """Refuse what is not off and changes nothing. Raises BadValue."""
    for name, value, why in _idle(sampler):
        raise BadValue(f"--{name.replace('_', '-')}", value, why)


def _idle(sampler: Sampler) -> Iterator[tuple[str, float, str]]:
    for field in dataclasses.fields(sampler):
        value, why = getattr(sampler, field.name), why_idle(sampler, field.name)
        if why is not None and value != field.default:
            yield field.name, value, why


def own_seed(recipe: Recipe, repeat: int) -> int:
    """A seed for random numbers that no other model, prompt, sampler or repeat has from the seed of `recipe`.

    Of what determines the distribution and nothing else: what is asked before or after changes nothing, and neither do
    build, length and arithmetic, so that what was drawn with other ones begins alike.
    """
    prompt = recipe.prompt
    parts = [
        recipe.seed,
        repeat,
        recipe.model_digest,
        recipe.vocab_digest,
        [prompt.mode, prompt.rendered, prompt.ids, *([one.rendered, one.ids] for one in prompt.others)],
        recipe.sampler.to_dict(),
        recipe.grammar,
    ]
    return int.from_bytes(hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).digest()[:8], "big")


def plan_cell(
    engine: Engine,
    model: ModelRef,
    prompt: Prompt,
    *,
    arm: str,
    n: int,
    max_tokens: int,
    drawing: Drawing,
    layout: EngineOptions,
    stop: Sequence[str] = (),
    grammar: str | None = None,
) -> Cell:
    """The cell of `n` samples of `prompt` on `model`. Raises BadValue.

    What changes nothing beside the rest of the sampler is no part of the recipe, nor is the seed of greedy decoding:
    with another one it draws the same, so that is the same recipe.
    """
    recipe = Recipe(
        engine=model.engine,
        engine_build=engine.build,
        model_digest=engine.facts.digest,
        vocab_digest=engine.facts.vocab_digest,
        prompt=prompt,
        sampler=_without_idle(drawing.sampler),
        seed=drawing.seed,
        max_tokens=max_tokens,
        stop=tuple(stop),
        exact=layout.exact,
        kv_type=layout.kv_type,
        flash_attention=engine.fused,
        grammar=grammar,
        mixture=mixture_words(model) if model.parts else None,
        arithmetic=n if drawing.is_set else None,
    )
    if recipe.sampler.is_greedy:
        recipe = dataclasses.replace(recipe, seed=0)  # only now: a seed that is none is refused here too
    return Cell(arm, model.reference, recipe, n)


def _without_idle(sampler: Sampler) -> Sampler:
    if sampler.is_greedy:
        return Sampler(temperature=0.0)
    off: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(sampler)}
    return dataclasses.replace(sampler, **{name: off[name] for name, _, _ in _idle(sampler)})


OnProgress = Callable[[Cell, Progress], None]


@contextlib.contextmanager
def telling(cells: Sequence[Stored], session: Session, so_far: str = "") -> Iterator[OnProgress]:
    """Within it the listener is told where all of `cells` together stand, by what hears of each."""
    models, pace = list(dict.fromkeys(one.cell.reference for one in cells)), Pace(cells)
    title = f"sampling {models[0] if len(models) == 1 else f'{len(models)} models'}"
    with session.listener.sampling(f"{title}, {so_far}" if so_far else title) as tell:
        yield lambda cell, progress: tell(pace.heard(cell, progress))


def together(cells: Sequence[Cell]) -> list[list[Cell]]:
    """In order, those that are drawn together: `drawn_with` says which."""
    found: dict[tuple[object, ...], list[Cell]] = {}
    for place, cell in enumerate(cells):
        found.setdefault(drawn_with(cell) if cell.n == 1 else (place,), []).append(cell)
    return list(found.values())


def fill(cells: Sequence[Cell], engine: Engine, store: Store, run_id: str, on_progress: OnProgress) -> None:
    """Draw what `store` lacks of cells that are drawn together."""
    for _ in draw(cells, engine, store, run_id, on_progress):
        pass


def draw(
    cells: Sequence[Cell],
    engine: Engine,
    store: Store,
    run_id: str,
    on_progress: OnProgress,
    *,
    sample_each: SampleEach | None = None,
) -> Iterator[Sample]:
    """The same; each new sample is yielded once it is stored. `sample_each`: in place of the engine's own."""
    heard = functools.partial(on_progress, cells[0])
    try:
        yield from run_each(cells, engine, store, run_id, on_progress=heard, sample_each=sample_each)
    except EngineError as error:
        n_stored = sum(store.counts(cell.recipe.key, cell.n).n_samples for cell in cells)
        if not n_stored:
            raise
        n = sum(cell.n for cell in cells)
        raise PartialRun(f"{error} {n_stored} of {n} samples are kept; the same command continues.") from error


def draw_alone(cell: Cell, engine: Engine, store: Store, run_id: str, session: Session) -> Iterator[Sample]:
    """The same of the only cell of a run, with progress."""
    n_stored = store.counts(cell.recipe.key, cell.n).n_samples
    with telling([Stored(cell, n_stored, engine.facts.n_params)], session) as on_progress:
        yield from draw([cell], engine, store, run_id, on_progress)


def in_order(cell: Cell, store: Store, drawn: Iterator[Sample]) -> Iterator[Sample]:
    """All samples of `cell` by index, each as soon as those before it exist. Holds the indices of those that wait."""
    missing = iter(store.missing(cell.recipe.key, cell.n))
    awaited, ahead, index = next(missing, cell.n), set[int](), 0
    for sample in drawn:
        ahead.add(sample.index)
        while awaited in ahead:
            ahead.discard(awaited)
            awaited = next(missing, cell.n)
        for ready in range(index, awaited):
            yield store.sample(cell.recipe.key, ready)
        index = max(index, awaited)
    for left in range(index, cell.n):
        yield store.sample(cell.recipe.key, left)


def start_run(store: Store, session: Session, about: Mapping[str, Any] | None = None) -> str:
    """A run record for what was typed, with what else there is to say `about` it."""
    versions = {"llamadiv": __version__, "python": platform.python_version(), "machine": platform.platform()}
    return store.start_run(command=list(session.command), about={**versions, **(about or {})})
