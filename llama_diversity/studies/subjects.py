"""What a heatmap colours: a text under one or two models, or a stored sample."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from llama_diversity.errors import BadValue, UnknownName
from llama_diversity.records import Asking, ModelRef, Piece, TokenStats, seen_ids
from llama_diversity.render.files import write_whole
from llama_diversity.render.heatmap import DifferenceHeatmap, Heatmap, Looks, TokenPicture
from llama_diversity.render.jsonl import token_objects
from llama_diversity.render.scales import scored_tokens
from llama_diversity.store import Store
from llama_diversity.studies.arms import check_different
from llama_diversity.studies.scored import score_text
from llama_diversity.studies.session import Session
from llama_diversity.studies.tokens import DifferentTokens

_EXPORT_WIDTH = 100


def judges(models: Sequence[str]) -> Sequence[str]:
    """The models that were named, or that of the environment: not through Click, which would split it at blanks."""
    found = models or tuple(filter(None, [os.environ.get("LLAMADIV_MODEL")]))
    if len(found) > 2:
        raise BadValue("-m", ", ".join(found), "one or two models can be shown")
    return found


class Subject(NamedTuple):
    """Tokens to be drawn, and whose they are."""

    model: str
    vocabulary: str
    tokens: TokenStats
    pieces: dict[int, Piece]
    ids: tuple[int, ...] = ()  # of a text that was typed, with what precedes it
    start: str | None = None  # that, as it is spelled
    beside: TokenStats | None = None  # what the models of a mixture say


def read_subjects(models: Sequence[ModelRef], text: str, asking: Asking, session: Session) -> list[Subject]:
    """The text under each of the models. Raises BadValue, OneModel, DifferentTokens, what engines raise."""
    check_different(models)
    subjects = []
    for reference in models:  # one after the other: two 7B models do not fit a laptop together
        with session.opened(reference) as engine:
            scored = score_text(engine, text, asking, session)
            vocabulary = vocabulary_name(engine.facts.n_vocab, engine.facts.vocab_digest)
            read = Subject(
                reference.reference, vocabulary, scored.tokens, scored.pieces, scored.ids, scored.start, scored.beside
            )
            subjects.append(read)
            if vocabulary == subjects[0].vocabulary and read.ids != subjects[0].ids:
                raise DifferentTokens(subjects[0].model, read.model, subjects[0].ids, read.ids)
    return subjects


def stored_subject(run_name: str, index: int, arm: str | None, session: Session) -> Subject:
    """A stored sample; without `arm` of the run's first one. Raises BadValue, UnknownName, what a store raises."""
    with Store.open(session.store, read_only=True) as store:
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
            vocabulary_name(n_vocab, digest),
            sample.tokens,
            store.pieces(digest, seen_ids(sample.tokens)),
            beside=sample.beside,
        )


def vocabulary_name(n_vocab: object, digest: str) -> str:
    """A short name of a vocabulary, for a legend."""
    return f"{n_vocab} tokens, {digest[:8]}"


def subjects_as_json(subjects: Sequence[Subject]) -> Mapping[str, object]:
    """One, or both with the difference of their surprisals. Raises BadValue."""
    tokens = [token_objects(one.tokens, one.pieces, beside=one.beside) for one in subjects]
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


def picture_of_one(subject: Subject, by: str, maximum: float | None, looks: Looks, *, has_sampler: bool) -> Heatmap:
    """A text under one model, or a sample; with `has_sampler` under the distribution that it was drawn from.

    Raises BadValue for what only mixtures have.
    """
    return Heatmap(
        scored_tokens(subject.tokens, subject.pieces.__getitem__, subject.beside),
        model=subject.model,
        tokenizer=subject.vocabulary,
        by=by,
        distribution="sampler" if has_sampler else "raw",
        maximum_bits=maximum,
        looks=looks,
    )


def picture_of_two(
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


def write_pictures(picture: TokenPicture, *, svg: Path | None, html: Path | None, width: int | None) -> None:
    """The files of a picture that were asked for, the SVG `width` cells wide. Raises BadValue."""
    from llama_diversity.render.html import to_html  # the two are of no use to those who want neither
    from llama_diversity.render.svg import to_svg

    if svg is not None:
        write_whole(svg, to_svg(picture, width or _EXPORT_WIDTH))
    if html is not None:
        write_whole(html, to_html(picture, "Token heatmap"))
