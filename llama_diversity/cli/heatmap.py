"""`llamadiv heatmap`: a text whose tokens are coloured by how likely a model finds them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import click
from click.core import ParameterSource

from llama_diversity.cli.complete import complete_model, complete_run
from llama_diversity.cli.options import Common, asking_options, common_options, read_text, reading_options
from llama_diversity.cli.terminal import console
from llama_diversity.engines import EngineOptions
from llama_diversity.errors import BadValue, UnknownName
from llama_diversity.records import Asking, Piece, TokenStats, seen_ids
from llama_diversity.render.files import write_whole
from llama_diversity.render.heatmap import DifferenceHeatmap, Heatmap, Looks, TokenPicture
from llama_diversity.render.html import to_html
from llama_diversity.render.jsonl import to_line, token_objects
from llama_diversity.render.ramps import RAMPS
from llama_diversity.render.safe import visible
from llama_diversity.render.scales import SCALES, scored_tokens
from llama_diversity.render.svg import to_svg
from llama_diversity.resolve import resolve_model
from llama_diversity.store import Store
from llama_diversity.studies.arms import check_different
from llama_diversity.studies.scored import score_text
from llama_diversity.studies.session import DifferentTokens, opened
from llama_diversity.studies.words import start_words

_EXPORT_WIDTH = 100


class Subject(NamedTuple):
    """Tokens to be drawn, and whose they are."""

    model: str
    vocabulary: str
    tokens: TokenStats
    pieces: dict[int, Piece]
    ids: tuple[int, ...] = ()  # of a text that was typed, with what precedes it
    start: str | None = None  # that, as it is spelled


@click.command()
@click.option(
    "-m",
    "--model",
    "models",
    multiple=True,
    shell_complete=complete_model,
    help="The model that judges the text; a second one shows both and their difference.  [env: LLAMADIV_MODEL]",
)
@click.argument("text", required=False)
@click.option("--run", "run_name", shell_complete=complete_run, help="A stored run instead of a text, or `last`.")
@click.option(
    "--sample", "index", type=click.IntRange(0), default=0, show_default=True, help="Which sample of the run."
)
@click.option("--arm", help="Which arm of the run; the first one otherwise.")
@click.option("--by", type=click.Choice(list(SCALES)), default="surprisal", show_default=True, help="What is coloured.")
@click.option("--sampler", is_flag=True, help="The distribution the tokens were drawn from, not the raw one.")
@click.option("--maximum", type=float, help="Bits at which the scale ends.  [default: 16]")
@click.option("--maximum-difference", type=float, help="Bits at which the scale of a difference ends.  [default: 8]")
@click.option(
    "--palette",
    type=click.Choice(list(RAMPS)),
    default="magma",
    show_default=True,
    envvar="LLAMADIV_PALETTE",
    help="Colours; `paper` is red to green, as in Figure 14.",
)
@click.option(
    "--background",
    type=click.Choice(["dark", "light"]),
    default="dark",
    show_default=True,
    envvar="LLAMADIV_BACKGROUND",
    help="What the terminal's own background is.",
)
@click.option("--numbers", is_flag=True, help="Write each token's number beside it, with colours too.")
@click.option("--bars", is_flag=True, help="A line of bars under the text instead of colours.")
@click.option("--ascii", is_flag=True, help="Only ASCII marks.")
@click.option("--width", type=click.IntRange(20), help="Columns; the terminal's own otherwise.")
@click.option("--svg", type=click.Path(path_type=Path, dir_okay=False), help="Also write a picture.")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Also write a page, numbers on hover.")
@asking_options
@reading_options
@common_options
def heatmap(
    *,
    models: tuple[str, ...],
    text: str | None,
    run_name: str | None,
    index: int,
    arm: str | None,
    by: str,
    sampler: bool,
    maximum: float | None,
    maximum_difference: float | None,
    palette: str,
    background: str,
    numbers: bool,
    bars: bool,
    ascii: bool,
    width: int | None,
    svg: Path | None,
    html: Path | None,
    asking: Asking,
    layout: EngineOptions,
    common: Common,
) -> None:
    """Colour the tokens of TEXT, or of a stored sample, by how likely a model finds them.

    Two models show the same text under both, and the difference in bits of each token.

    \b
    Examples:
      llamadiv heatmap -m llama-2-7b "Grace Hopper was not a nurse."
      llamadiv heatmap -m llama-2-7b -m llama-2-7b-chat "Grace Hopper was not a nurse."
      llamadiv heatmap --run last --sample 3 --by entropy
    """
    if len(models) == 2 and (by != "surprisal" or sampler):
        raise click.UsageError("Two models are compared by raw surprisal: leave out --by and --sampler.")
    subjects = _subjects(models, text, run_name, index, arm, asking, layout, common)
    if common.json:
        click.echo(to_line(_as_json(subjects)))
        return
    looks = Looks(
        palette=palette,
        numbers=numbers,
        style="bars" if bars else "color",
        ascii=ascii,
        background="light" if background == "light" else "dark",
    )
    if len(subjects) == 1:
        picture: TokenPicture = _one(subjects[0], by, maximum, looks, has_sampler=sampler)
    else:
        picture = _two(subjects, maximum, maximum_difference, looks)
    _write(picture, svg, html, width)
    if common.quiet:
        for path in filter(None, (svg, html)):
            click.echo(visible(str(path)))
    else:
        console(common.color, width=width).print(picture)
        for start in dict.fromkeys(subject.start for subject in subjects if subject.start is not None):
            click.echo(visible(f"The text begins with {start_words(start)}."), err=True)


def _write(picture: TokenPicture, svg: Path | None, html: Path | None, width: int | None) -> None:
    """The files that were asked for. Raises BadValue."""
    if svg is not None:
        write_whole(svg, to_svg(picture, width or _EXPORT_WIDTH))
    if html is not None:
        write_whole(html, to_html(picture, "Token heatmap"))


def _one(subject: Subject, by: str, maximum: float | None, looks: Looks, *, has_sampler: bool) -> Heatmap:
    """A text under one model, or a sample; with `has_sampler` under the distribution that it was drawn from."""
    return Heatmap(
        scored_tokens(subject.tokens, subject.pieces.__getitem__),
        model=subject.model,
        tokenizer=subject.vocabulary,
        by=by,
        distribution="sampler" if has_sampler else "raw",
        maximum_bits=maximum,
        looks=looks,
    )


def _two(
    subjects: Sequence[Subject], maximum: float | None, maximum_difference: float | None, looks: Looks
) -> DifferenceHeatmap:
    """A text under two models."""
    first, second = (scored_tokens(subject.tokens, subject.pieces.__getitem__) for subject in subjects)
    return DifferenceHeatmap(
        first,
        second,
        models=(subjects[0].model, subjects[1].model),
        tokenizer=subjects[0].vocabulary,
        maximum_bits=maximum,
        maximum_difference_bits=maximum_difference,
        looks=looks,
    )


def _subjects(
    models: Sequence[str],
    text: str | None,
    run_name: str | None,
    index: int,
    arm: str | None,
    asking: Asking,
    layout: EngineOptions,
    common: Common,
) -> list[Subject]:
    if run_name is not None:
        if text is not None or models:
            raise click.UsageError("Give either a model and a text, or --run.")
        if click.get_current_context().get_parameter_source("start") == ParameterSource.COMMANDLINE:
            raise click.UsageError("--start is for a text: what a stored sample began with is part of its run.")
        return [_stored(run_name, index, arm, common)]
    # Not through Click, which would split the value of a repeatable option at blanks.
    models = models or tuple(filter(None, [os.environ.get("LLAMADIV_MODEL")]))
    if text is None or not models:
        raise click.UsageError("Give a model and a text (-m MODEL TEXT), or a stored run (--run RUN --sample I).")
    if len(models) > 2:
        raise BadValue("-m", ", ".join(models), "one or two models can be shown")
    text = read_text(text)
    references = [resolve_model(name, common=common) for name in models]
    check_different(references)
    subjects = []
    for reference in references:  # one after the other: two 7B models do not fit a laptop together
        with opened(reference, layout, common) as engine:
            scored = score_text(engine, text, asking, common)
            vocabulary = _vocabulary_name(engine.facts.n_vocab, engine.facts.vocab_digest)
            read = Subject(reference.reference, vocabulary, scored.tokens, scored.pieces, scored.ids, scored.start)
            subjects.append(read)
            if vocabulary == subjects[0].vocabulary and read.ids != subjects[0].ids:
                raise DifferentTokens(subjects[0].model, read.model, subjects[0].ids, read.ids)
    return subjects


def _stored(run_name: str, index: int, arm: str | None, common: Common) -> Subject:
    with Store.open(common.store, read_only=True) as store:
        run = store.run(run_name)
        cells = {cell.arm: cell for cell in run.cells}
        if not cells:
            raise BadValue("--run", run_name, "this run has no samples yet")
        if arm is not None and arm not in cells:
            raise UnknownName("arm", arm, cells, list_command=f"llamadiv runs show {run.id}")
        cell = cells[arm] if arm is not None else run.cells[0]
        if not 0 <= index < cell.n:
            raise BadValue("--sample", index, f"this run has samples 0 to {cell.n - 1}")
        sample = store.sample(cell.recipe_key, index)
        digest = store.recipe(cell.recipe_key).vocab_digest
        n_vocab = cell.about.get("model", {}).get("n_vocab", "?")
        return Subject(
            cell.reference,
            _vocabulary_name(n_vocab, digest),
            sample.tokens,
            store.pieces(digest, seen_ids(sample.tokens)),
        )


def _vocabulary_name(n_vocab: object, digest: str) -> str:
    return f"{n_vocab} tokens, {digest[:8]}"


def _as_json(subjects: Sequence[Subject]) -> Mapping[str, object]:
    tokens = [token_objects(subject.tokens, subject.pieces) for subject in subjects]
    described = [
        {"model": one.model, "tokens": objects, **({"start": one.start} if one.start is not None else {})}
        for one, objects in zip(subjects, tokens, strict=True)
    ]
    if len(subjects) == 1:
        return described[0]
    if [token["bytes"] for token in tokens[0]] != [token["bytes"] for token in tokens[1]]:
        raise BadValue("the second model", subjects[1].model, "it splits the text into other tokens than the first")
    pairs = [(a["surprisal_bits"], b["surprisal_bits"]) for a, b in zip(*tokens, strict=True)]
    return {"models": described, "difference_bits": [None if None in (a, b) else b - a for a, b in pairs]}
