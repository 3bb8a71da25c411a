"""The command `llamadiv`: the table of commands, and the one place where an exception becomes an exit code.

A command parses, calls one function, prints. Each lives in its own module and is imported when it is asked for, so
that `--help` stays light.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from llama_diversity import __version__
from llama_diversity.errors import BadUsage, LlamadivError, UnknownName, sentence_of
from llama_diversity.render.streams import prepare

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

COMMANDS = {  # name -> (module:attribute, the line in the list of commands)
    "demo": ("llama_diversity.cli.demo:demo", "See in a minute what post-training costs, on the tiny pair."),
    "sample": ("llama_diversity.cli.sample:sample", "Draw many completions of one prompt, with token statistics."),
    "score": ("llama_diversity.cli.score:score", "Token statistics of a given text under a model."),
    "personas": ("llama_diversity.cli.personas:personas", "Experiment 1: variety of made-up customers."),
    "population": ("llama_diversity.cli.population:population", "Usable customers that fit a target; their price."),
    "semantic": ("llama_diversity.cli.semantic:semantic", "Experiment 2: likeness and kinds of completions."),
    "syntactic": ("llama_diversity.cli.syntactic:syntactic", "Experiment 3: token entropies of base against aligned."),
    "perturb": ("llama_diversity.cli.perturb:perturb", "Section 5.1: does a nudged model find its way back?"),
    "tree": ("llama_diversity.cli.tree:tree", "The likeliest openings of a prompt, and the mass they hold."),
    "branch": ("llama_diversity.cli.branch:branch", "Leave a text at a token, take another way, and see what follows."),
    "reframe": ("llama_diversity.cli.reframe:reframe", "Does the answer survive when the question is put otherwise?"),
    "valid": ("llama_diversity.cli.valid:valid", "How valid, and how varied, on sets of known answers? Exact."),
    "collapse": ("llama_diversity.cli.collapse:collapse", "Section 5.2: why rewarding narrows, as a bandit."),
    "diff": ("llama_diversity.cli.diff:diff", "The same texts under two models: KL and what is blocked."),
    "compare": ("llama_diversity.cli.compare:compare", "Which of several arms is more diverse? Or why not to say."),
    "decan": ("llama_diversity.cli.decan:decan", "Does a reader of the other answers still learn something?"),
    "decompose": ("llama_diversity.cli.decompose:decompose", "Is it the weights, the template or the sampler?"),
    "frontier": ("llama_diversity.cli.frontier:frontier", "Quality against diversity for families of settings."),
    "coverage": ("llama_diversity.cli.coverage:coverage", "How many kinds of output are there, seen and unseen?"),
    "reproduce": ("llama_diversity.cli.report:reproduce", "The whole paper on a pair, and a ledger of its findings."),
    "report": ("llama_diversity.cli.report:report", "Write the report of a stored run, without a model."),
    "methods": ("llama_diversity.cli.methods:methods", "Write a paper's methods section on a stored run."),
    "variety": ("llama_diversity.cli.variety:variety", "How varied and how dear is what a stored run holds?"),
    "heatmap": ("llama_diversity.cli.heatmap:heatmap", "Colour the tokens of a text by how likely a model finds them."),
    "view": ("llama_diversity.cli.view:view", "Look at texts token by token, with keys."),
    "models": ("llama_diversity.cli.models:models", "List, fetch, verify and name model files."),
    "runs": ("llama_diversity.cli.runs:runs", "List, show, export, merge and remove stored runs."),
    "bench": ("llama_diversity.cli.bench:bench", "Measure the speed of sampling on this machine."),
    "worker": ("llama_diversity.cli.worker:worker", "Compute for llamadiv on other machines."),
    "lab": ("llama_diversity.cli.lab:lab", "Grow small models of your own, stage by stage."),
    "vllm-args": ("llama_diversity.cli.vllm_args:vllm_args", "Print the flags that a vLLM server needs for llamadiv."),
    "doctor": ("llama_diversity.cli.doctor:doctor", "Show what this installation can do, and what is missing."),
    "completion": ("llama_diversity.cli.completion:completion", "Print the line that turns on shell completion."),
}

COMPLETE_VARIABLE = "_LLAMADIV_COMPLETE"

EXIT_CODES = """\b
Exit codes: 0 ok, 1 failure, 2 wrong usage, 3 partial run (run again to
continue), 130 interrupted (finished samples are kept)."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are used; listing them costs no import."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module_name, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module_name), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            raise UnknownName("command", name, COMMANDS, list_command="llamadiv --help")
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem  # of no use to anything but this

        names = [CompletionItem(name, help=line) for name, (_, line) in COMMANDS.items() if name.startswith(incomplete)]
        return names + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    epilog=EXIT_CODES,
    invoke_without_command=True,
    subcommand_metavar="COMMAND [ARGS]...",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="llamadiv")
@click.option("--json", "as_json", is_flag=True, hidden=True)
@click.pass_context
def group(context: click.Context, *, as_json: bool) -> None:
    """Measure what post-training costs a language model in diversity.

    Samples a base and an aligned GGUF model on your own machine and keeps exact token statistics.
    """
    if context.invoked_subcommand is None:
        importlib.import_module("llama_diversity.cli.overview").show_overview(as_json=as_json)
    elif as_json:
        raise BadUsage(f"--json stands behind the command: llamadiv {context.invoked_subcommand} --json")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line (or answer the shell's request for completions) and exit with the code."""
    prepare()
    if instruction := os.environ.get(COMPLETE_VARIABLE):
        importlib.import_module("llama_diversity.cli.complete")  # bash by our own script
        from click.shell_completion import shell_complete

        sys.exit(shell_complete(group, {}, "llamadiv", COMPLETE_VARIABLE, instruction))
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    debug = "--debug" in arguments or bool(os.environ.get("LLAMADIV_DEBUG"))
    sys.exit(_flushed(_run(arguments, debug=debug)))


def _run(arguments: list[str], *, debug: bool) -> int:
    # Not `group.main`: it exits with 1 on a broken pipe and prints "Aborted!" on Ctrl-C.
    try:
        with group.make_context("llamadiv", arguments) as context:
            group.invoke(context)
        return 0
    except click.exceptions.Exit as error:
        return error.exit_code
    except LlamadivError as error:
        return _fail(str(error), error.exit_code, debug=debug)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return _fail("Interrupted. Finished samples are kept; the same command continues.", 130, debug=debug)
    except BrokenPipeError:
        return 0  # the reader went away (`| head`)
    except OSError as error:
        return _fail(sentence_of(error), 1, debug=debug)
    except Exception as error:  # noqa: BLE001  the last door: a defect of ours still ends in one sentence
        sentence = f"{type(error).__name__}: {error}. This is a defect of llamadiv; `--debug` shows where."
        return _fail(sentence, 1, debug=debug)


def _flushed(code: int) -> int:
    """`code`, or 1 where the end of the output could not be written (a full disk); a reader gone away is no failure."""
    try:
        sys.stdout.flush()
    except OSError as error:
        # What is still buffered would fail again at exit, with a traceback: let it go to nothing.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            return code or _fail(sentence_of(error), 1, debug=False)
    return code


def _fail(sentence: str, code: int, *, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    from llama_diversity.render.safe import visible

    click.echo(f"llamadiv: {visible(sentence)}", err=True)
    return code
