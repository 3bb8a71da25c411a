"""What an installation can do, and what is wrong with it, for a reader of a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from rich.text import Text

from llama_diversity.render.safe import visible


class Problem(Protocol):
    """Something wrong, in a sentence, and what to type against it."""

    @property
    def sentence(self) -> str: ...  # noqa: D102

    @property
    def fix(self) -> str: ...  # noqa: D102


def page_of_installation(facts: Mapping[str, Any]) -> Text:
    """Everything found, by section."""
    page = Text()
    for section, values in facts.items():
        page.append(f"{section}\n", "bold")
        for name, value in values.items():
            if name != "system_info":  # its switches are the kernels
                label = name.removesuffix("_bytes").replace("_", " ").replace("gpu", "GPU")
                page.append(f"  {label:25} {visible(_shown(name, value))}\n")
        page.append("\n")
    page.rstrip()
    return page.append("\n")


def _shown(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name.endswith("_bytes"):
        return f"{value / 10**9:.1f} GB"
    if name == "devices":
        return ", ".join(f"{device['name']} ({device['description']})" for device in value)
    if isinstance(value, list):
        return " ".join(value) or "none"
    return "-" if value is None else str(value)


def advice(problems: Sequence[Problem], *, usable: bool) -> Text:
    """What is wrong, and what mends it."""
    if not problems:
        return Text("No problem found.")
    advice = Text("Problems\n" if usable else "Problems (nothing can be sampled until the first is mended)\n", "bold")
    for problem in problems:
        advice.append(f"  {visible(problem.sentence)}\n    ", style="not bold")
        advice.append(f"{visible(problem.fix)}\n", style="not bold")
    advice.rstrip()
    return advice
