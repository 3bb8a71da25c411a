"""`llamadiv demo`: what post-training costs, shown in a minute on the pair that ships with llamadiv."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import click
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from llama_diversity.cli.complete import complete_pair
from llama_diversity.cli.options import Common, common_options, drawing_options, layout_options
from llama_diversity.cli.terminal import console
from llama_diversity.decimals import decimals
from llama_diversity.engines import EngineOptions
from llama_diversity.metrics.inference import Difference, Summary
from llama_diversity.metrics.similarity import Similarity
from llama_diversity.render.heatmap import GenerationsHeatmap
from llama_diversity.render.jsonl import finite, to_line
from llama_diversity.render.safe import visible
from llama_diversity.studies.arms import DEFAULT_PAIR, Choice, resolve_choice
from llama_diversity.studies.conduct import conducted
from llama_diversity.studies.languages import unread_arms
from llama_diversity.studies.semantic import analysis as semantic
from llama_diversity.studies.semantic.study import Semantic
from llama_diversity.studies.session import Drawing
from llama_diversity.studies.study import Drawn
from llama_diversity.studies.syntactic import analysis as syntactic
from llama_diversity.studies.syntactic.study import Syntactic
from llama_diversity.studies.words import start_words

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
    experiments: list[Syntactic | Semantic] = [Syntactic(n=_N_SYNTACTIC), Semantic(n=_N_SEMANTIC)]
    choice = Choice(pair, None, None, None)
    arms = resolve_choice(choice, common)
    with conducted(experiments, arms, choice.words(), drawing=drawing, layout=layout, common=common) as (run_id, both):
        syntactic_drawn, semantic_drawn = both
        entropies = syntactic.analyse({arm: syntactic_drawn.answered(arm) for arm in syntactic_drawn.arms})
        alike = _similarities(semantic_drawn)
        rows = {
            "entropy_bits": Row(
                entropies.arms["base"].measures["entropy_bits"],
                entropies.arms["aligned"].measures["entropy_bits"],
                entropies.differences["aligned"]["entropy_bits"],
            ),
            "tf_idf_cosine": _row(alike.words, alike.words_differences["aligned"]),
            "sbert_cosine": _row(alike.meanings, alike.meanings_differences["aligned"]),
        }
        if common.json:
            found = _as_json(rows, experiments, semantic_drawn, drawing.seed, run_id)
            click.echo(to_line(found))
        elif common.quiet:
            click.echo(run_id)
        else:
            console(common.color).print(Group(*_parts(pair or DEFAULT_PAIR, rows, _heatmap(semantic_drawn))))
            starts = [start for some in semantic_drawn.starts().values() for start in some]
            begins = " or ".join(map(start_words, dict.fromkeys(starts)))
            click.echo(visible(f"Prompts begin with {begins}; run {run_id}, kept in {common.store}"), err=True)


def _similarities(drawn: Drawn) -> semantic.Result:
    texts = {arm: [one.text for one in drawn.answers(arm)] for arm in drawn.arms}
    found = drawn.embedded(texts)
    n_cut = sum(one.n_truncated for one in found.values())
    if n_cut:
        click.echo(f"{n_cut} completions were longer than the encoder reads; it saw their beginning.", err=True)
    for reason in unread_arms({arm: one.unread for arm, one in found.items()}).values():
        click.echo(f"{reason} Leave the second row aside.", err=True)
    return semantic.analyse(texts, {arm: one.vectors for arm, one in found.items()})


def _heatmap(drawn: Drawn) -> GenerationsHeatmap:
    generations = [(f"{arm}: {model}", drawn.first_tokens(arm, _N_SHOWN_TOKENS)) for arm, model in drawn.arms.items()]
    title = f"“{semantic.PROMPT}” goes on, the first {_N_SHOWN_TOKENS} tokens of sample 0, coloured by surprisal"
    return GenerationsHeatmap(generations, tokenizer=drawn.recipe("base").vocab_digest[:8], title=title)


def _as_json(
    rows: Mapping[str, Row],
    experiments: Sequence[Syntactic | Semantic],
    drawn: Drawn,
    seed: int,
    run_id: str,
) -> dict[str, Any]:
    measures = {
        name: {part: finite(numbers._asdict()) for part, numbers in row._asdict().items()} for name, row in rows.items()
    }
    return {
        "models": dict(drawn.arms),
        "experiments": {one.name: {"prompt": one.prompt, "n": one.n} for one in experiments},
        "measures": measures,
        "starts": drawn.starts(),
        "seed": seed,
        "run": run_id,
    }


# ---- the picture


def _parts(pair: str, rows: Mapping[str, Row], heatmap: RenderableType) -> Iterator[RenderableType]:
    yield Text(visible(f"What did post-training take away? The pair {pair}, base against aligned."))
    yield Text()
    yield heatmap
    yield Text()
    yield _table(rows)
    yield Text()
    yield Text("Entropy: mean over a completion's tokens. Cosine: mean over pairs of completions, IDF of both arms.")
    yield Text("Intervals are over completions, not over pairs. One prompt each: no claim about others.")
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
            decimals(base.mean, ".3f"),
            decimals(aligned.mean, ".3f"),
            decimals(difference.mean, "+.3f"),
            f"{decimals(difference.low, '+.3f')} to {decimals(difference.high, '+.3f')}",
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
