"""Samples as they are drawn, and the prompt as the model sees it, for a reader."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.text import Text

from llama_diversity.decimals import counted
from llama_diversity.records import Prompt, Sample
from llama_diversity.render.safe import visible


def prompt_as_json(prompt: Prompt, start: str | None) -> dict[str, Any]:
    """What is read, by whose tokens it is drawn, and of a mixture what every model reads."""
    found = [{"mode": one.mode, "rendered": one.rendered, "ids": one.ids} for one in prompt.readings]
    return {**found[prompt.reader], "start": start, **({"models": found} if found[1:] else {})}


def of_prompt(prompt: Prompt, begins: str) -> Iterator[tuple[str, str]]:
    """Of every model the text that it reads, and words beside it: its place in a mixture, its start, its tokens."""
    for number, one in enumerate(prompt.readings, start=1):
        of_mixture = f"model {number} of the mixture, {one.mode}, " if prompt.others else ""
        words = f"{of_mixture}{begins}{counted(len(one.ids), 'token')}: {' '.join(map(str, one.ids))}"
        yield visible(one.rendered, newline="keep"), words


def lines_of_sample(sample: Sample, console: Console) -> Iterator[Text]:
    """Its head and its text, as this console can show it."""
    bits = float(sample.tokens["surprisal_bits"].mean())
    head = f"#{sample.index}  {counted(len(sample.tokens), 'token')}, {bits:.2f} bits/token, {sample.finish_reason}"
    yield Text(head, style="bold")
    yield Text(visible(sample.text.decode("utf-8", "replace"), newline="keep", encoding=console.encoding))
