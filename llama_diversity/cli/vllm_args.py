"""`llamadiv vllm-args`: what a vLLM server is started with, so that llamadiv draws inside it."""

from __future__ import annotations

import click

from llama_diversity.engines.vllm.plugin import FLAGS


@click.command("vllm-args")
def vllm_args() -> None:
    """The flags of a vLLM server that llamadiv's exact statistics need.

    They load llamadiv's plugin, so llamadiv must be installed beside vLLM there; of its requirements the plugin needs
    NumPy alone, which vLLM has: `pip install --no-deps llama-diversity`.

    \b
    Example, on the server and then here:
      vllm serve MODEL --dtype float32 --served-model-name NAME $(llamadiv vllm-args)
      llamadiv sample -m vllm:http://HOST:8000/NAME@TOKENIZER.gguf -p "Once upon a time"
    """
    click.echo(" ".join(f"{flag} {value}" if value else flag for flag, value in FLAGS.items()))
