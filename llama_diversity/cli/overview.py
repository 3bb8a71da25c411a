"""`llamadiv` alone: what can be done now with what is here."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

import click

from llama_diversity.overview import at_a_glance


def show_overview(*, as_json: bool) -> None:
    """Ten lines, or the same as JSON."""
    named = os.environ.get("LLAMADIV_STORE")
    found = at_a_glance(Path(named) if named else None)
    if as_json:
        from llama_diversity.cli.output import print_json

        print_json(found.as_json(), indent=2)
        return
    from llama_diversity.render.overview_pages import of_overview

    for line in of_overview(found, datetime.now().astimezone()):
        click.echo(line)
