"""The texts of samples, and the encoder that is found before any work."""

from __future__ import annotations

from collections.abc import Sequence

import click

from llama_diversity import embed
from llama_diversity.cli.options import Common
from llama_diversity.records import Sample


def find_encoder(common: Common) -> embed.Place:
    """Where the sentence encoder is; fetched, which is said, where it is nowhere. Raises NoEncoder."""
    return embed.find() or embed.fetch(lambda words: click.echo(words, err=True), offline=common.offline)


def texts_of(samples: Sequence[Sample]) -> list[str]:
    """What the samples say; bytes that are no UTF-8 become replacement characters."""
    return [sample.text.decode("utf-8", "replace") for sample in samples]
