"""`llamadiv doctor`: what this installation can do, what is wrong with it, and the command that mends each problem."""

from __future__ import annotations

from dataclasses import asdict

import click
from click.core import ParameterSource
from rich.text import Text

from llama_diversity.cli.complete import complete_model
from llama_diversity.cli.options import asking_options, common_options, workers_option
from llama_diversity.cli.output import Output, print_json
from llama_diversity.engines.fanout.looking import complaints, look_at, words_of
from llama_diversity.errors import BadUsage
from llama_diversity.installation import Problem, collect_facts, find_problems
from llama_diversity.records import Asking
from llama_diversity.render.installation_pages import advice, page_of_installation
from llama_diversity.render.terminal import console, described
from llama_diversity.studies.checkup.exhibits import page
from llama_diversity.studies.checkup.study import checked, checkup_as_json
from llama_diversity.studies.session import Session


@click.command()
@click.argument("model", required=False, shell_complete=complete_model)
@workers_option
@asking_options
@common_options
@click.pass_context
def doctor(
    context: click.Context, *, model: str | None, workers: str | None, asking: Asking, session: Session, output: Output
) -> None:
    """Show what this installation can do, and for each problem the command that mends it.

    Exit code 1 says that nothing can be sampled here. With MODEL show what its file states, and measure how well the
    model reads neutral text behind each start, with a warning where another is clearly better, and how far apart
    readings of one text are that differ in the order of the arithmetic alone. With --workers say what each of them is
    as well, and whether they agree.
    """
    typed = {context.get_parameter_source(name) for name in ("start", "reads_control")}
    if model is not None and context.get_parameter_source("workers") == ParameterSource.COMMANDLINE:
        raise BadUsage("--workers looks at machines, and MODEL at a file: leave one of them out.")
    if model is None and ParameterSource.COMMANDLINE in typed:
        raise BadUsage("--start and --control-tokens say how a model is read: name a MODEL, or leave them out.")
    if model is not None:
        found = checked(session.model(model), asking, session)
        if output.json:
            print_json(checkup_as_json(found))
        else:
            for part in page(found, is_short=output.quiet):
                console(output.color).print(part, soft_wrap=isinstance(part, Text))
        return
    facts = {**collect_facts(session.store), "terminal": described()}
    machines = look_at(workers) if workers else []
    problems = [*find_problems(facts), *(Problem(*one) for one in complaints(machines))]
    usable = not any(problem.blocks for problem in problems)
    if output.json:
        print_json({**facts, "workers": machines, "problems": list(map(asdict, problems)), "usable": usable})
    else:
        target = console(output.color)
        if not output.quiet:
            seen = {"workers": {one["name"]: words_of(one) for one in machines}} if machines else {}
            target.print(page_of_installation({**facts, **seen}), soft_wrap=True)
        target.print(advice(problems, usable=usable), soft_wrap=True)
    context.exit(0 if usable else 1)
