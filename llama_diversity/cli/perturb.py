"""`llamadiv perturb`: section 5.1 of the paper on a pair or on all stages of a family."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click

from llama_diversity.cli.arms import Arm, Choice, arms_options, resolve_choice
from llama_diversity.cli.encoding import embedded, find_encoder, texts_of
from llama_diversity.cli.options import Common, Drawing, common_options, drawing_options, layout_options, read_text
from llama_diversity.cli.results import drawing_words, give
from llama_diversity.cli.session import fill, opened, plan_cell, start_run
from llama_diversity.engines import Engine, EngineOptions
from llama_diversity.errors import BadValue
from llama_diversity.exhibits.perturb import Facts, section
from llama_diversity.experiments import perturb as experiment
from llama_diversity.records import MAX_SAMPLES, Cell, Sample, seen_ids
from llama_diversity.render.jsonl import finite
from llama_diversity.render.scales import ScoredToken, scored_tokens
from llama_diversity.store import Store

_N_SHOWN_TOKENS = 40
_LEAST = 4  # samples: two to learn attractors from, two to judge


class Work(NamedTuple):
    """One arm's cells: continuations of the unchanged and of the changed opening."""

    arm: str
    words: str
    unchanged: Cell
    changed: Cell


@click.command()
@arms_options
@click.option("-p", "--prompt", default=experiment.PROMPT, show_default=True, help="Where the opening begins.")
@click.option(
    "--replace",
    "words",
    nargs=2,
    default=(experiment.OLD, experiment.NEW),
    show_default=True,
    metavar="OLD NEW",
    help="Change the last OLD of the first two sentences.",
)
@click.option("-n", "n_samples", type=int, default=experiment.N_SAMPLES, show_default=True, help="Of each opening.")
@click.option("--max-tokens", type=int, default=experiment.MAX_TOKENS, show_default=True, help="Longest continuation.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Also write figures and numbers there.")
@drawing_options
@layout_options
@common_options
def perturb(
    *,
    choice: Choice,
    prompt: str,
    words: tuple[str, str],
    n_samples: int,
    max_tokens: int,
    out: Path | None,
    drawing: Drawing,
    layout: EngineOptions,
    common: Common,
) -> None:
    """Section 5.1: nudge a model off its path; does it find its way back to what it always says?

    Takes an opening from the aligned model's own completions, changes it, and lets every model continue both, and the
    base model also at temperature 0.3. Samples are kept: the same command again draws nothing.

    \b
    Example:
      llamadiv perturb --replace competed slept
    """
    if not _LEAST <= n_samples <= MAX_SAMPLES:
        raise BadValue("-n", n_samples, f"ask for {_LEAST} to {MAX_SAMPLES:,} continuations")
    arms = resolve_choice(choice, common)
    place = find_encoder(common)
    text = read_text(prompt)
    with Store.open(common.store) as store:
        run_id = start_run(store)
        draws = _Draws(store, run_id, layout, common, n_samples, max_tokens)
        with opened(arms[-1].model, layout, common) as engine:
            cell = draws.cell(engine, arms[-1], text, drawing, label=f"{arms[-1].name} completions")
            completions = draws.samples(cell, engine)
        said = texts_of(completions)
        typical = experiment.most_typical(embedded({"": said}, place, common)[""].vectors)
        opening = experiment.opening_of(text, said[typical], old=words[0], new=words[1])
        work, samples = _continued(draws, arms, opening, drawing)
        store.finish_run(run_id)
        examples = [(f"{one.arm}: {one.words}", _example(samples[one.arm][1][0], one.changed, store)) for one in work]
    spoken = {arm: (texts_of(before), texts_of(after)) for arm, (before, after) in samples.items()}
    flat = {f"{arm} {side}": some for arm, both in spoken.items() for side, some in enumerate(both)}
    found = embedded(flat, place, common)
    result = experiment.analyse(
        {arm: (found[f"{arm} 0"].vectors, found[f"{arm} 1"].vectors) for arm in spoken},
        {arm: ([s.tokens for s in before], [s.tokens for s in after]) for arm, (before, after) in samples.items()},
    )
    facts = Facts(
        prompt=text,
        opening=opening,
        arms={one.arm: one.words for one in work},
        n=n_samples,
        max_tokens=max_tokens,
        tokenizer=work[-1].changed.recipe.vocab_digest[:8],
        examples=examples,
    )
    command = _command(choice, text, words, n_samples, max_tokens, drawing)
    shown = section(result, facts, command)
    give(shown, _as_json(result, facts), out=out, run_id=run_id, common=common)


class _Draws(NamedTuple):
    """Where samples come from and go to; n and length are the same for all cells."""

    store: Store
    run_id: str
    layout: EngineOptions
    common: Common
    n: int
    max_tokens: int

    def cell(self, engine: Engine, arm: Arm, text: str, drawing: Drawing, *, label: str) -> Cell:
        return plan_cell(
            engine,
            arm.model,
            engine.prompt(text),
            arm=label,
            n=self.n,
            max_tokens=self.max_tokens,
            drawing=drawing,
            layout=self.layout,
        )

    def samples(self, cell: Cell, engine: Engine) -> list[Sample]:
        fill(cell, engine, self.store, self.run_id, self.common)
        return list(self.store.samples(cell.recipe.key, cell.n))


def _continued(
    draws: _Draws, arms: Sequence[Arm], opening: experiment.Opening, drawing: Drawing
) -> tuple[list[Work], dict[str, tuple[list[Sample], list[Sample]]]]:
    """Every arm's continuations of both openings; the base model's also at a low temperature."""
    cold = dataclasses.replace(drawing.sampler, temperature=experiment.LOW_TEMPERATURE)
    work, samples = [], {}
    for position, arm in enumerate(arms):
        ways = [(arm.name, drawing)]
        if position == 0:
            ways.append((f"{arm.name}, T {cold.temperature:g}", dataclasses.replace(drawing, sampler=cold)))
        with opened(arm.model, draws.layout, draws.common) as engine:
            for name, way in ways:
                unchanged = draws.cell(engine, arm, opening.unchanged, way, label=f"{name}, unchanged")
                changed = draws.cell(engine, arm, opening.changed, way, label=f"{name}, changed")
                samples[name] = draws.samples(unchanged, engine), draws.samples(changed, engine)
                words = f"{arm.model.reference}, T {way.sampler.temperature:g}"
                work.append(Work(name, words, unchanged, changed))
    return work, samples


def _example(sample: Sample, cell: Cell, store: Store) -> tuple[ScoredToken, ...]:
    tokens = sample.tokens[:_N_SHOWN_TOKENS]
    return scored_tokens(tokens, store.pieces(cell.recipe.vocab_digest, seen_ids(tokens)).__getitem__)


def _command(choice: Choice, prompt: str, words: tuple[str, str], n: int, max_tokens: int, drawing: Drawing) -> str:
    """The command line that makes the same again, with what differs from the defaults."""
    typed = ["llamadiv", "perturb", *choice.words()]
    typed += ["-p", prompt] if prompt != experiment.PROMPT else []
    typed += ["--replace", *words] if words != (experiment.OLD, experiment.NEW) else []
    typed += ["-n", str(n)] if n != experiment.N_SAMPLES else []
    typed += ["--max-tokens", str(max_tokens)] if max_tokens != experiment.MAX_TOKENS else []
    return shlex.join([*typed, *drawing_words(drawing)])


def _as_json(found: dict[str, experiment.Arm], facts: Facts) -> dict[str, Any]:
    return {
        "arms": {
            arm: {
                "model": facts.arms[arm],
                "n_attractors": one.n_attractors,
                "in_attractors": one.in_attractors._asdict(),
                "returned": one.returned._asdict(),
                "recovery_token": one.recovery_token,
                "unchanged_bits": list(one.unchanged_bits),
                "changed_bits": list(one.changed_bits),
                "excess_bits": [finite(difference._asdict()) for difference in one.excess_bits],
            }
            for arm, one in found.items()
        },
        "opening": facts.opening._asdict(),
        "prompt": facts.prompt,
        "n": facts.n,
        "max_tokens": facts.max_tokens,
    }
