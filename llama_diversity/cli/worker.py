"""`llamadiv worker`: compute for llamadiv on other machines."""

from __future__ import annotations

import os
import signal
import sys

import click

from llama_diversity.cli.complete import complete_model
from llama_diversity.cli.options import common_options, serving_options
from llama_diversity.cli.output import Output, print_json, say
from llama_diversity.studies.session import Session


@click.command()
@click.option(
    "-m", "--model", "models", multiple=True, required=True, shell_complete=complete_model,
    help="A model to serve; may be repeated.",
)  # fmt: skip
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="0 takes a free one.")
@serving_options
@common_options
def worker(*, models: tuple[str, ...], host: str, port: int, session: Session, output: Output) -> None:
    """Compute for llamadiv on other machines, which name this one with --workers.

    Only the models named here are served, and only to those who have the same LLAMADIV_WORKER_TOKEN. Threads, layers on
    the GPU and samples at once are what this command says, all else what the driver says. Nothing is stored here.

    \b
    Example:
      llamadiv worker -m llama-2-7b -m llama-2-7b-chat
    """
    from llama_diversity.studies.serving import serving

    found = serving(models, host=host, port=port, session=session, on_note=output.remark)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    for words in found.words():
        output.remark(words)
    if output.json:
        print_json({"url": found.server.url, "models": [model.reference for model in found.models]})
        sys.stdout.flush()
    try:
        found.server.serve_forever()
    except KeyboardInterrupt:
        say("The worker has ended. Drivers go on with their others, or try it again until it is back.")
    os._exit(0)  # whoever computes here does it for nobody any more
