"""`llamadiv demo`: what post-training costs, shown in a minute on the pair that ships with llamadiv."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import click
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from llama_diversity import embed
from llama_diversity.cli.complete import complete_pair
from llama_diversity.cli.encoding import embedded, find_encoder, texts_of
from llama_diversity.cli.options import Common, Drawing, common_options, drawing_options, layout_options
from llama_diversity.cli.resolve import DEFAULT_PAIR, resolve_arms, resolve_model
from llama_diversity.cli.session import fill, opened, plan_arms, start_run
from llama_diversity.cli.terminal import console
from llama_diversity.engines import EngineOptions
from llama_diversity.experiments import semantic, syntactic
from llama_diversity.metrics.inference import Difference, Summary
from llama_diversity.metrics.similarity import Similarity
from llama_diversity.records import Cell, Sample, seen_ids
from llama_diversity.render.heatmap import GenerationsHeatmap
from llama_diversity.render.jsonl import finite, to_line
from llama_diversity.render.safe import visible
from llama_diversity.render.scales import scored_tokens
from llama_diversity.store import Store

_N_SYNTACTIC, _N_SEMANTIC = 100, 100  # the paper's number, and half of it
_N_SHOWN_TOKENS = 48
_QUANTITIES = {
    "entropy_bits": ("Experiment 3: entropy, bits", "spread of the next token"),
    "tf_idf_cosine": ("Experiment 2: TF-IDF cosine", "likeness of the words"),
    "sbert_cosine": ("Experiment 2: SBERT cosine", "likeness of the meanings"),
}


class Row(NamedTuple):
    """One quantity of both arms and their difference."""

    base: Summary
    aligned: Summary
    difference: Difference


def _row(arms: Mapping[str, Similarity], difference: Difference) -> Row:
    return Row(arms["base"].summary, arms["aligned"].summary, difference)


@click.command()
@click.option("--pair", shell_complete=complete_pair, envvar="LLAMADIV_PAIR", help="A pair.  [default: tiny]")
@drawing_options
@layout_options
@common_options
def demo(*, pair: str | None, drawing: Drawing, layout: EngineOptions, common: Common) -> None:
    """See in a minute what post-training costs, on the pair of models that ships with llamadiv.

    Runs Experiment 3 (token entropies, 100 completions of each model) and half of Experiment 2 (how alike 100
    completions are). Needs no network where the sentence encoder is installed, as bin/setup does. Samples are kept:
    the second time it only draws the picture.

    \b
    Example:
      llamadiv demo
    """
    models = [resolve_model(name, common=common) for name in resolve_arms(pair, None, None)]
    sizes = {
        "syntactic": (syntactic.PROMPT, _N_SYNTACTIC, syntactic.MAX_TOKENS),
        "semantic": (semantic.PROMPT, _N_SEMANTIC, semantic.MAX_TOKENS),
    }
    place = find_encoder(common)
    with Store.open(common.store) as store:
        cells = {
            name: plan_arms(models, prompt, n=n, max_tokens=max_tokens, drawing=drawing, layout=layout, common=common)
            for name, (prompt, n, max_tokens) in sizes.items()
        }
        run_id = start_run(store)
        for index, model in enumerate(models):
            with opened(model, layout, common) as engine:
                for arms in cells.values():
                    fill(arms[index], engine, store, run_id, common)
        store.finish_run(run_id)
        entropies = syntactic.analyse({cell.arm: store.samples(cell.recipe.key, cell.n) for cell in cells["syntactic"]})
        samples = {cell.arm: list(store.samples(cell.recipe.key, cell.n)) for cell in cells["semantic"]}
        alike = _similarities(samples, place, common)
        rows = {
            "entropy_bits": Row(
                entropies.arms["base"].measures["entropy_bits"],
                entropies.arms["aligned"].measures["entropy_bits"],
                entropies.difference["entropy_bits"],
            ),
            "tf_idf_cosine": _row(alike.words, alike.words_differences["aligned"]),
            "sbert_cosine": _row(alike.meanings, alike.meanings_differences["aligned"]),
        }
        if common.json:
            click.echo(to_line(_as_json(rows, cells, run_id)))
        elif common.quiet:
            click.echo(run_id)
        else:
            shown = [(cell, samples[cell.arm][0]) for cell in cells["semantic"]]
            console(common.color).print(Group(*_parts(pair or DEFAULT_PAIR, rows, cells, _heatmap(shown, store))))
            click.echo(visible(f"run {run_id}, kept in {common.store}"), err=True)


def _similarities(samples: Mapping[str, Sequence[Sample]], place: embed.Place, common: Common) -> semantic.Result:
    texts = {arm: texts_of(some) for arm, some in samples.items()}
    found = embedded(texts, place, common)
    n_cut = sum(one.n_truncated for one in found.values())
    if n_cut:
        click.echo(f"{n_cut} completions were longer than the encoder reads; it saw their beginning.", err=True)
    return semantic.analyse(texts, {arm: one.vectors for arm, one in found.items()})


def _heatmap(shown: Sequence[tuple[Cell, Sample]], store: Store) -> GenerationsHeatmap:
    generations = []
    for cell, sample in shown:
        tokens = sample.tokens[:_N_SHOWN_TOKENS]
        pieces = store.pieces(cell.recipe.vocab_digest, seen_ids(tokens))
        generations.append((f"{cell.arm}: {cell.reference}", scored_tokens(tokens, pieces.__getitem__)))
    digest = shown[0][0].recipe.vocab_digest
    title = f"“{semantic.PROMPT}” goes on, the first {_N_SHOWN_TOKENS} tokens of sample 0, coloured by surprisal"
    return GenerationsHeatmap(generations, tokenizer=digest[:8], title=title)


def _as_json(rows: Mapping[str, Row], cells: Mapping[str, Sequence[Cell]], run_id: str) -> dict[str, Any]:
    measures = {
        name: {part: finite(numbers._asdict()) for part, numbers in row._asdict().items()} for name, row in rows.items()
    }
    prompts = {name: {"prompt": arms[0].recipe.prompt.text, "n": arms[0].n} for name, arms in cells.items()}
    return {
        "models": {cell.arm: cell.reference for cell in cells["syntactic"]},
        "experiments": prompts,
        "measures": measures,
        "seed": cells["syntactic"][0].recipe.seed,
        "run": run_id,
    }


# ---- the picture


def _parts(
    pair: str, rows: Mapping[str, Row], cells: Mapping[str, Sequence[Cell]], heatmap: RenderableType
) -> Iterator[RenderableType]:
    yield Text(visible(f"What did post-training take away? The pair {pair}, base against aligned."))
    yield Text()
    yield heatmap
    yield Text()
    yield _table(rows)
    yield Text()
    yield Text("Entropy: mean over a completion's tokens. Cosine: mean over pairs of completions, IDF of both arms.")
    yield Text("Intervals are over completions; cosines' by the jackknife. One prompt each: no claim about others.")
    for name, row in rows.items():
        yield Text(f"- {_verdict(name, row)}")
    yield Text()
    yield from _next_steps()


def _table(rows: Mapping[str, Row]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for heading in ("base", "aligned", "aligned - base", "95 % interval"):
        table.add_column(heading, justify="right")
    for name, (base, aligned, difference) in rows.items():
        table.add_row(
            _QUANTITIES[name][0],
            f"{base.mean:.3f}",
            f"{aligned.mean:.3f}",
            f"{difference.mean:+.3f}",
            f"{difference.low:+.3f} to {difference.high:+.3f}",
        )
    return table


def _verdict(name: str, row: Row) -> str:
    """What the interval says, in words."""
    words = _QUANTITIES[name][1]
    if row.difference.low > 0:
        return f"{words}: larger after post-training"
    if row.difference.high < 0:
        return f"{words}: smaller after post-training"
    return f"{words}: no difference that {row.base.n} completions could show"


def _next_steps() -> Iterator[Text]:
    yield Text("Next, with the paper's own models (8.2 GB, once):")
    yield Text("  llamadiv models pull llama-2-7b && llamadiv syntactic --pair llama-2-7b")
    yield Text("What each number means: docs/method.md. How the tiny pair was grown: docs/lab.md.")
