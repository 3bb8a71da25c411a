"""The sentence encoder, which is found before any work."""

from __future__ import annotations

import click

from llama_diversity import embed
from llama_diversity.cli.options import Common
from llama_diversity.render.safe import visible


def find_encoder(common: Common) -> embed.Place:
    """Where the sentence encoder is; fetched, which is said, where it is nowhere. Raises NoEncoder.

    Whether its vectors can be kept is found out now, and said where they cannot.
    """
    place = embed.find() or embed.fetch(say, offline=common.offline)
    trouble = embed.cache_trouble()
    if trouble is None:
        return place
    say(trouble)
    return place._replace(keeps=False)


def say(words: str) -> None:
    """A remark on standard error."""
    click.echo(visible(words), err=True)
