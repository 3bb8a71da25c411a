"""`llamadiv doctor`: what this installation can do, what is wrong with it, and the command that mends each problem."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from typing import Any

import click
from click.core import ParameterSource
from rich.text import Text

from llama_diversity.cli.checkup import check_model
from llama_diversity.cli.complete import complete_model
from llama_diversity.cli.options import asking_options, common_options
from llama_diversity.cli.output import Output
from llama_diversity.cli.terminal import console
from llama_diversity.errors import BadUsage
from llama_diversity.installation import Facts, Problem, collect_facts, find_problems
from llama_diversity.records import Asking
from llama_diversity.render.safe import visible
from llama_diversity.studies.session import Session


@click.command()
@click.argument("model", required=False, shell_complete=complete_model)
@asking_options
@common_options
@click.pass_context
def doctor(context: click.Context, *, model: str | None, asking: Asking, session: Session, output: Output) -> None:
    """Show what this installation can do, and for each problem the command that mends it.

    Exit code 1 says that nothing can be sampled here. With MODEL show what its file states, and measure how well the
    model reads neutral text behind each start, with a warning where another is clearly better, and how far apart
    readings of one text are that differ in the order of the arithmetic alone.
    """
    typed = {context.get_parameter_source(name) for name in ("start", "reads_control")}
    if model is None and ParameterSource.COMMANDLINE in typed:
        raise BadUsage("--start and --control-tokens say how a model is read: name a MODEL, or leave them out.")
    if model is not None:
        check_model(model, asking, session, output)
        return
    facts = {**collect_facts(session.store), "terminal": _terminal()}
    problems = list(find_problems(facts))
    usable = not any(problem.blocks for problem in problems)
    if output.json:
        click.echo(json.dumps({**facts, "problems": [asdict(problem) for problem in problems], "usable": usable}))
    else:
        target = console(output.color)
        if not output.quiet:
            target.print(_page(facts), soft_wrap=True)
        target.print(_advice(problems, usable=usable), soft_wrap=True)
    context.exit(0 if usable else 1)


def _terminal() -> dict[str, Any]:
    target = console()
    return {
        "is_terminal": target.is_terminal,
        "color_system": None if target.no_color else target.color_system,
        "width": target.width,
        "encoding": target.encoding,
        **{name: os.environ[name] for name in ("TERM", "COLORTERM", "NO_COLOR", "FORCE_COLOR") if name in os.environ},
    }


# --- The page --------------------------------------------------------------------------------------------------------


def _page(facts: Facts) -> Text:
    page = Text()
    for section, values in facts.items():
        page.append(f"{section}\n", "bold")
        for name, value in values.items():
            if name != "system_info":  # its switches are the kernels
                label = name.removesuffix("_bytes").replace("_", " ").replace("gpu", "GPU")
                page.append(f"  {label:26}{visible(_shown(name, value))}\n")
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


def _advice(problems: list[Problem], *, usable: bool) -> Text:
    if not problems:
        return Text("No problem found.")
    advice = Text("Problems\n" if usable else "Problems (nothing can be sampled until the first is mended)\n", "bold")
    for problem in problems:
        advice.append(f"  {visible(problem.sentence)}\n    ", style="not bold")
        advice.append(f"{visible(problem.fix)}\n", style="not bold")
    advice.rstrip()
    return advice
