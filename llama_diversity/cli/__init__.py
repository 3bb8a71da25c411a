"""The command `llamadiv`: the table of commands, and the one place where an exception becomes an exit code.

A command parses, calls one function, prints. Each lives in its own module and is imported when it is asked for, so
that `--help` stays light.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Sequence

import click

from llama_diversity import __version__
from llama_diversity.errors import LlamadivError

COMMANDS = {  # name -> (module:attribute, the line in the list of commands)
    "sample": ("llama_diversity.cli.sample:sample", "Draw many completions of one prompt, with exact token statistics."),
    "score": ("llama_diversity.cli.score:score", "Token statistics of a given text under a model."),
    "syntactic": ("llama_diversity.cli.syntactic:syntactic", "Experiment 3: token entropies of base against aligned."),
    "heatmap": ("llama_diversity.cli.heatmap:heatmap", "Colour the tokens of a text by how likely a model finds them."),
    "models": ("llama_diversity.cli.models:models", "List, fetch, verify and name model files."),
    "runs": ("llama_diversity.cli.runs:runs", "List, show, export, merge and remove stored runs."),
    "bench": ("llama_diversity.cli.bench:bench", "Measure the speed of sampling on this machine."),
    "doctor": ("llama_diversity.cli.doctor:doctor", "Show what this installation can do, and what is missing."),
    "completion": ("llama_diversity.cli.completion:completion", "Print the line that turns on shell completion."),
}

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

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="llamadiv")
def group() -> None:
    """Measure what post-training costs a language model in diversity.

    Samples a base and an aligned GGUF model on your own machine and keeps exact token statistics.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    debug = "--debug" in (sys.argv[1:] if arguments is None else arguments) or bool(os.environ.get("LLAMADIV_DEBUG"))
    code = _run(arguments, debug=debug)
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.flush()
    sys.exit(code)


def _run(arguments: Sequence[str] | None, *, debug: bool) -> int:
    try:
        group.main(args=None if arguments is None else list(arguments), prog_name="llamadiv", standalone_mode=False)
        return 0
    except LlamadivError as error:
        if debug:
            raise
        return _fail(str(error), error.exit_code)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return _fail("Interrupted. Finished samples are kept; the same command continues.", 130)
    except BrokenPipeError:
        # The reader went away (`| head`). Point stdout at nothing so that the flush at exit stays quiet too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # noqa: BLE001  the last door: a defect of ours still ends in one sentence
        if debug:
            raise
        return _fail(f"{type(error).__name__}: {error}. This is a defect of llamadiv; `--debug` shows where.", 1)


def _fail(sentence: str, code: int) -> int:
    from llama_diversity.render.safe import visible

    click.echo(f"llamadiv: {visible(sentence)}", err=True)
    return code
