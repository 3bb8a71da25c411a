"""Embedding the completions of an experiment: find the encoder before any work, embed with progress, warn of cuts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click

from llama_diversity import embed
from llama_diversity.cli.options import Common
from llama_diversity.cli.progress import progress_line
from llama_diversity.records import Sample


def find_encoder(common: Common) -> embed.Place:
    """Where the sentence encoder is; fetched, which is said, where it is nowhere. Raises NoEncoder."""
    return embed.find() or embed.fetch(lambda words: click.echo(words, err=True), offline=common.offline)


def texts_of(samples: Sequence[Sample]) -> list[str]:
    """What the samples say; bytes that are no UTF-8 become replacement characters."""
    return [sample.text.decode("utf-8", "replace") for sample in samples]


def embedded(texts: Mapping[str, Sequence[str]], place: embed.Place, common: Common) -> dict[str, embed.Embedded]:
    """The vectors of each arm's texts, with a progress line while they are made."""
    with progress_line(common, "embedding") as show:
        encoder = embed.Encoder(place)
        return {arm: encoder.embed(some, on_progress=show) for arm, some in texts.items()}
