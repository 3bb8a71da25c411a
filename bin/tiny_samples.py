"""What the tiny models say to the paper's three prompts: drawn into a store, shown as they come, and small tables."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from llama_diversity import paths
from llama_diversity.engines import EngineOptions, open_engine
from llama_diversity.lab import cards
from llama_diversity.lab.requests import PERSONA_REQUEST
from llama_diversity.lab.workshop import sha256_of
from llama_diversity.records import ModelRef, Sample, Sampler
from llama_diversity.render.safe import visible
from llama_diversity.runner import run
from llama_diversity.store import Store
from llama_diversity.studies.drawing import Drawing, plan_cell
from llama_diversity.studies.prompts import MAX_TOKENS, PROMPT
from llama_diversity.studies.semantic import analysis as semantic
from llama_diversity.studies.syntactic import analysis as syntactic

PERSONA_BASE = f"Product: {cards.PRODUCT}\nFirst name:"
N_SHOWN = 20
# name -> (prompt, chat for the stages that know it, completions, longest)
EXPERIMENTS = {
    "personas": (PERSONA_REQUEST, True, 200, 128),
    "semantic": (PROMPT, False, semantic.N_SAMPLES, MAX_TOKENS),
    "syntactic": (syntactic.PROMPT, False, syntactic.N_SAMPLES, syntactic.MAX_TOKENS),
}
Samples = dict[str, dict[str, list[Sample]]]  # experiment -> stage -> samples


def draw(
    files: Mapping[str, Path],
    *,
    command: str,
    most: int | None = None,
    names: Sequence[str] = tuple(EXPERIMENTS),
    store_file: Path | None = None,
) -> Samples:
    """Samples of each stage for each experiment, with seed 0, `most` at most; what the store has is not drawn again."""
    drawn: Samples = {name: {} for name in names}
    with Store.open(store_file or paths.default_store()) as store:
        run_id = store.start_run(command=[command], about={})
        for stage, path in files.items():
            model, layout = ModelRef(f"tiny-{stage}", "llamacpp", str(path), sha256_of(path)), EngineOptions()
            engine = open_engine(model, layout)
            for name in names:
                prompt, chat, n, max_tokens = EXPERIMENTS[name]
                asked = engine.prompt(PERSONA_BASE if chat else prompt)
                if chat and stage != "base":
                    asked = engine.prompt(prompt, chat=True)
                cell = plan_cell(
                    engine,
                    model,
                    asked,
                    arm=f"{stage}-{name}",
                    n=min(n, most or n),
                    max_tokens=max_tokens,
                    drawing=Drawing(Sampler(), 0),
                    layout=layout,
                )
                for _ in run(cell, engine, store, run_id):
                    pass
                drawn[name][stage] = list(store.samples(cell.recipe.key, cell.n))
            engine.close()
        store.finish_run(run_id)
    return drawn


def text_of(sample: Sample) -> str:
    """What a model wrote."""
    return sample.text.decode("utf-8", "replace")


def asked_words(experiment: str, stage: str) -> str:
    """The prompt of an experiment as a stage reads it, in quotes."""
    prompt, chat, _, _ = EXPERIMENTS[experiment]
    return json.dumps(PERSONA_BASE if chat and stage == "base" else prompt)


def continuations(samples: Samples) -> Iterator[str]:
    """The first N_SHOWN of base and aligned for every experiment, as blocks of Markdown."""
    for name in EXPERIMENTS:
        for stage in ("base", "aligned"):
            yield f"### tiny-{stage}: {asked_words(name, stage)}\n\n{block(samples[name][stage])}\n"


def block(samples: Sequence[Sample]) -> str:
    """The first N_SHOWN samples, a line each; a stroke stands for a line break."""
    lines = [f"{one.index:>3} {said(text_of(one))}" for one in samples[:N_SHOWN]]
    return "\n".join(["```text", *lines, "```"])


def said(text: str) -> str:
    """A model's text on one line of a page, with nothing in it that ends a block of code or hides."""
    return visible(" / ".join(text.split("\n"))).replace("`", "'")


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of Markdown."""
    lines = [f"| {' | '.join(headings)} |", f"|{'---|' * len(headings)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])
