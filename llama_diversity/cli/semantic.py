"""`llamadiv semantic`: Experiment 2 of the paper on a pair or on all stages of a family."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from llama_diversity import embed
from llama_diversity.cli.arms import Arm, Choice, arms_options, resolve_choice
from llama_diversity.cli.encoding import embedded, find_encoder, texts_of
from llama_diversity.cli.options import Common, Drawing, common_options, drawing_options, layout_options, read_text
from llama_diversity.cli.progress import progress_line
from llama_diversity.cli.results import drawing_words, give
from llama_diversity.cli.session import fill, opened, plan_cell, reading, start_run
from llama_diversity.engines import EngineOptions
from llama_diversity.errors import BadValue
from llama_diversity.exhibits.semantic import Facts, section
from llama_diversity.experiments.semantic import MAX_TOKENS, N_SAMPLES, PROMPT, Study, study
from llama_diversity.records import MAX_SAMPLES, Cell
from llama_diversity.render.jsonl import finite
from llama_diversity.store import Store


@click.command()
@arms_options
@click.option("-p", "--prompt", default=PROMPT, show_default=True, help="What all continue; `-` reads standard input.")
@click.option("-n", "n_samples", type=int, default=N_SAMPLES, show_default=True, help="Completions of each model.")
@click.option("--max-tokens", type=int, default=MAX_TOKENS, show_default=True, help="Longest completion.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Also write figures and numbers there.")
@drawing_options
@layout_options
@common_options
def semantic(
    *,
    choice: Choice,
    prompt: str,
    n_samples: int,
    max_tokens: int,
    out: Path | None,
    drawing: Drawing,
    layout: EngineOptions,
    common: Common,
) -> None:
    """Experiment 2: how alike are the completions of one prompt, and how many kinds of them are there?

    Compares words (TF-IDF) and meanings (sentence embeddings), draws the map of the paper's Figure 10, and counts
    kinds on classes that all models share. Samples are kept: the same command again draws nothing.

    \b
    Example:
      llamadiv semantic --ladder tiny
    """
    if not 2 <= n_samples <= MAX_SAMPLES:
        raise BadValue("-n", n_samples, f"likeness needs two completions; ask for 2 to {MAX_SAMPLES:,}")
    arms = resolve_choice(choice, common)
    place = find_encoder(common)  # before hours of sampling, not after
    with Store.open(common.store) as store:
        text = read_text(prompt)
        cells = _planned(arms, text, n=n_samples, max_tokens=max_tokens, drawing=drawing, layout=layout, common=common)
        run_id = start_run(store)
        for cell in cells:
            store.add_cell(run_id, cell, about={})  # a run that is cut short knows what it lacks
        for arm, cell in zip(arms, cells, strict=True):
            with opened(arm.model, layout, common) as engine:
                fill(cell, engine, store, run_id, common)
        store.finish_run(run_id)
        texts = {
            arm.name: texts_of(list(store.samples(cell.recipe.key, cell.n)))
            for arm, cell in zip(arms, cells, strict=True)
        }
    found = embedded(texts, place, common)
    with progress_line(common, "counting kinds"):
        result = study(texts, {arm: one.vectors for arm, one in found.items()})
    facts = Facts(
        prompt=text,
        models={arm.name: arm.model.reference for arm in arms},
        max_tokens=max_tokens,
        n_truncated={arm: one.n_truncated for arm, one in found.items()},
        encoder=f"{embed.REPO}, first {embed.MAX_WORD_PIECES} word pieces",
    )
    command = _command(choice, text, n_samples, max_tokens, drawing)
    shown = section(result, facts, command)
    give(shown, _as_json(result, facts), out=out, run_id=run_id, common=common)


def _planned(
    arms: Sequence[Arm],
    prompt: str,
    *,
    n: int,
    max_tokens: int,
    drawing: Drawing,
    layout: EngineOptions,
    common: Common,
) -> list[Cell]:
    """One cell for each arm. Texts compare whatever the tokenizers, so different vocabularies are no obstacle."""
    cells = []
    for name, model in arms:
        with reading(model, layout, common) as engine:
            raw = engine.prompt(prompt)
            cells.append(
                plan_cell(engine, model, raw, arm=name, n=n, max_tokens=max_tokens, drawing=drawing, layout=layout)
            )
    return cells


def _command(choice: Choice, prompt: str, n: int, max_tokens: int, drawing: Drawing) -> str:
    """The command line that makes the same again, with what differs from the defaults."""
    words = ["llamadiv", "semantic", *choice.words()]
    words += ["-p", prompt] if prompt != PROMPT else []
    words += ["-n", str(n)] if n != N_SAMPLES else []
    words += ["--max-tokens", str(max_tokens)] if max_tokens != MAX_TOKENS else []
    return shlex.join([*words, *drawing_words(drawing)])


def _as_json(found: Study, facts: Facts) -> dict[str, Any]:
    def plain(numbers: Any) -> Any:
        return finite(numbers._asdict())

    arms = {
        arm: {
            "model": facts.models[arm],
            "texts": found.texts[arm]._asdict(),
            "n_truncated": facts.n_truncated[arm],
            "tf_idf_cosine": plain(found.result.words[arm].summary),
            "tf_idf_cosine_own_idf": plain(found.own_idf[arm].summary),
            "sbert_cosine": plain(found.result.meanings[arm].summary),
            "mean_pairwise_distance": found.distance[arm]._asdict(),
            "corrected_vendi": found.vendi[arm]._asdict(),
            "clusters": _occupied(found.classes.occupancy, arm),
            "kinds": _occupied(found.classes.kinds, arm),
            "own_k": {"silhouette": found.own_k[arm][0].k, "gap": found.own_k[arm][1].k},
        }
        for arm in found.texts
    }
    others = list(found.texts)[1:]
    return {
        "arms": arms,
        "differences": {
            "definition": "arm - first arm, 95 % Welch interval over completions, jackknife standard errors",
            **{
                arm: {
                    "tf_idf_cosine": plain(found.result.words_differences[arm]),
                    "sbert_cosine": plain(found.result.meanings_differences[arm]),
                    "mean_pairwise_distance_retained": found.distance_retained[arm]._asdict(),
                    "corrected_vendi_retained": found.vendi_retained[arm]._asdict(),
                }
                for arm in others
            },
        },
        "pooled_k": {"silhouette": found.classes.by_silhouette.k, "gap": found.classes.by_gap.k},
        "stability": found.classes.stability._asdict(),
        "perplexity": found.perplexity,
        "encoder": facts.encoder,
        "prompt": facts.prompt,
    }


def _occupied(occupancy: Mapping[str, Any], arm: str) -> dict[str, Any]:
    if arm not in occupancy:  # an arm that said nothing at all
        return {"counts": [], "effective": None}
    return {"counts": occupancy[arm].counts.tolist(), "effective": occupancy[arm].effective.value}
