"""Options that several commands share, each with its `LLAMADIV_*` twin, and the session and output they imply."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
import secrets
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from llama_diversity.cli.complete import complete_model
from llama_diversity.cli.listening import TerminalListener
from llama_diversity.cli.output import Output
from llama_diversity.engines import EngineOptions
from llama_diversity.errors import BadValue
from llama_diversity.records import Asking, Sampler
from llama_diversity.render.print_form import ON_SCREEN, PrintForm
from llama_diversity.render.streams import standard_input
from llama_diversity.studies.drawing import Drawing, refuse_idle
from llama_diversity.studies.samplers import SETTINGS
from llama_diversity.studies.session import Session

Command = TypeVar("Command", bound=Callable[..., Any])


_COMMON = [
    click.option("--json", "json", is_flag=True, help="Print the result as JSON, numbers unrounded."),
    click.option(
        "-q",
        "--quiet",
        is_flag=True,
        envvar="LLAMADIV_QUIET",
        help="No progress; only ids or paths.  [env: LLAMADIV_QUIET]",
    ),
    click.option(
        "--store",
        type=click.Path(path_type=Path, dir_okay=False),
        envvar="LLAMADIV_STORE",
        help="The file that keeps samples.  [env: LLAMADIV_STORE]",
    ),
    click.option(
        "--offline",
        is_flag=True,
        envvar="LLAMADIV_OFFLINE",
        help="Never touch the network.  [env: LLAMADIV_OFFLINE]",
    ),
    click.option(
        "--color",
        type=click.Choice(["auto", "always", "never"]),
        default="auto",
        envvar="LLAMADIV_COLOR",
        help="When to colour (NO_COLOR and FORCE_COLOR count under auto).  [env: LLAMADIV_COLOR]",
    ),
    click.option(
        "--debug", is_flag=True, expose_value=False, envvar="LLAMADIV_DEBUG", help="Show a traceback on failure."
    ),
]


def common_options(command: Command) -> Command:
    """Add the shared options; the command receives them as `session` and `output`.

    Of `layout_options`, which stand above them, the session has what they say.
    """

    @functools.wraps(command)
    def with_common(
        *args: Any,
        json: bool,
        quiet: bool,
        store: Path | None,
        offline: bool,
        color: str,
        layout: EngineOptions | None = None,
        figure_form: PrintForm = ON_SCREEN,
        fetches: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        output = Output(json, quiet, color, figure_form)
        session = Session(
            named_store=store,
            offline=offline or _hub_is_offline(),
            layout=layout or EngineOptions(),
            listener=TerminalListener(output),
            command=("llamadiv", *sys.argv[1:]),
            fetching="never" if fetches is None else "yes" if fetches else "ask",
        )
        return command(*args, session=session, output=output, **kwargs)

    decorated: Command = with_options(with_common, _COMMON)
    return decorated


def _hub_is_offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def read_text(argument: str) -> str:
    """The text itself, or standard input for `-`, less one line break at its end, which `echo` and editors add.

    Bytes that are not UTF-8 survive as lone surrogates. Raises BadValue where standard input is closed.
    """
    return standard_input() if argument == "-" else argument


def prompt_option(default: str) -> Callable[[Command], Command]:
    """The one prompt that all arms continue."""
    return click.option(
        "-p",
        "--prompt",
        default=default,
        show_default=True,
        help="What all continue; `-` reads standard input less its last line break.",
    )


def completion_options(prompt: str, n: int, max_tokens: int) -> Callable[[Command], Command]:
    """The one prompt that all arms continue, how often, and how far; with these defaults."""
    options = [
        prompt_option(prompt),
        click.option("-n", "n_samples", type=int, default=n, show_default=True, help="Completions of each model."),
        click.option("--max-tokens", type=int, default=max_tokens, show_default=True, help="Longest completion."),
    ]
    return lambda command: with_options(command, options)


template_arg_option = click.option(
    "--template-arg",
    "template_args",
    multiple=True,
    metavar="KEY=VALUE",
    help="A value for the chat template, like enable_thinking=false; may be repeated.",
)


class _NumberOr(click.ParamType[int | None]):
    """A whole number, or one word for something else."""

    def __init__(self, word: str, meant: Callable[[], int | None]) -> None:
        self.name, self._word, self._meant = f"integer|{word}", word, meant

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        if value == self._word:
            return self._meant()
        try:
            return int(value)
        except ValueError:
            self.fail(f"{value!r} is neither a number nor `{self._word}`.", param, ctx)


model_option = click.option(
    "-m",
    "--model",
    required=True,
    envvar="LLAMADIV_MODEL",
    shell_complete=complete_model,
    help="An alias, a .gguf path, hf:OWNER/REPO:FILE, ollama:NAME, vllm:URL/NAME, scripted:NAME or mix:A,B,RULE.  "
    "[env: LLAMADIV_MODEL]",
)
seed_option = click.option(
    "--seed",
    type=_NumberOr("random", lambda: secrets.randbits(32)),  # drawn, then printed and recorded like any other
    default=0,
    envvar="LLAMADIV_SEED",
    help="Seed of all draws, or `random`.  [default: 0; env: LLAMADIV_SEED]",
)
_DRAWING = [
    *(
        click.option(
            *one.options,
            one.name,
            type=one.kind,
            default=one.off,
            envvar=f"LLAMADIV_{one.name.upper()}",
            help=f"{one.meaning}  [env: LLAMADIV_{one.name.upper()}]",
        )
        for one in SETTINGS
    ),
    seed_option,
]
_PARALLEL = click.option(
    "--parallel",
    type=_NumberOr("auto", lambda: None),
    default="auto",
    envvar="LLAMADIV_PARALLEL",
    help="Samples decoded at once, or `auto`.  [default: auto; env: LLAMADIV_PARALLEL]",
)
workers_option = click.option(
    "--workers",
    envvar="LLAMADIV_WORKERS",
    metavar="N|ray:ADDRESS|URL,...",
    help="Compute in N processes, on a Ray cluster, or at these `llamadiv worker`s.  [env: LLAMADIV_WORKERS]",
)
_MACHINE = [
    click.option(
        "--threads",
        "n_threads",
        type=click.IntRange(1),
        envvar="LLAMADIV_THREADS",
        help="CPU threads.  [env: LLAMADIV_THREADS]",
    ),
    click.option(
        "-ngl",
        "--gpu-layers",
        "n_gpu_layers",
        type=int,
        envvar="LLAMADIV_GPU_LAYERS",
        help="Layers on the GPU; all where there is one.  [env: LLAMADIV_GPU_LAYERS]",
    ),
]
_FETCHING = click.option(
    "--yes", "fetches", is_flag=True, envvar="LLAMADIV_YES", help="Fetch missing models unasked.  [env: LLAMADIV_YES]"
)
_LAYOUT = [
    _FETCHING,
    workers_option,
    *_MACHINE,
    click.option(
        "--flash-attention/--no-flash-attention",
        default=None,
        envvar="LLAMADIV_FLASH_ATTENTION",
        help="Default: where the device supports it.  [env: LLAMADIV_FLASH_ATTENTION]",
    ),
    click.option(
        "--kv-type",
        type=click.Choice(["f16", "f32", "q8_0", "q4_0"]),
        default="f16",
        envvar="LLAMADIV_KV_TYPE",
        help="Precision of the KV cache; q8_0 and q4_0 need flash attention.  [default: f16; env: LLAMADIV_KV_TYPE]",
    ),
    click.option(
        "--exact",
        is_flag=True,
        envvar="LLAMADIV_EXACT",
        help="CPU only: a sample is bit for bit the same in any batch; some files get slower.  [env: LLAMADIV_EXACT]",
    ),
    click.option(
        "--stock",
        is_flag=True,
        envvar="LLAMADIV_STOCK",
        help="A vLLM server without llamadiv's plugin: no entropies, and few samplers.  [env: LLAMADIV_STOCK]",
    ),
    click.option(
        "--bounds",
        type=int,
        metavar="K",
        envvar="LLAMADIV_BOUNDS",
        help="With --stock: entropies between bounds, from the K likeliest tokens.  [env: LLAMADIV_BOUNDS]",
    ),
]

_ASKING = [
    click.option(
        "--start",
        default="auto",
        envvar="LLAMADIV_START",
        metavar="auto|none|bos|separator|TEXT",
        help="What raw texts begin with; docs/method.md says what auto is.  [default: auto; env: LLAMADIV_START]",
    ),
    click.option(
        "--control-tokens", "reads_control", is_flag=True, help="Control tokens spelled out in a prompt count as such."
    ),
]


def _asking(start: str, reads_control: bool) -> Asking:  # noqa: FBT001  Click passes by name
    if not start:
        raise BadValue("--start", start, "name what a text begins with, or none for nothing")
    return Asking(start, reads_control)


def asking_options(command: Command) -> Command:
    """Add how a text becomes a prompt; the command receives it as one argument `asking`."""
    return with_one(command, "asking", _asking, _ASKING)


def drawing_options(command: Command) -> Command:
    """Add how a prompt is asked, sampler and seed; the command receives them as one argument `drawing`."""

    @functools.wraps(command)
    def with_drawing(*args: Any, seed: int, asking: Asking, **kwargs: Any) -> Any:
        sampler = Sampler(**{one.name: kwargs.pop(one.name) for one in SETTINGS})
        refuse_idle(sampler)
        return command(*args, drawing=Drawing(sampler, seed, asking), **kwargs)

    decorated: Command = asking_options(with_options(with_drawing, _DRAWING))
    return decorated


def layout_options(command: Command) -> Command:
    """Add what concerns the machine; it becomes the session's layout."""
    decorated: Command = with_options(_with_layout(command), [_PARALLEL, *_LAYOUT])
    return decorated


def reading_options(command: Command) -> Command:
    """The same for a command that draws nothing: texts are read one after the other, so there is no --parallel."""
    decorated: Command = with_options(_with_layout(command), _LAYOUT)
    return decorated


def serving_options(command: Command) -> Command:
    """The same for a command that works for others: what of it is of a recipe, they say."""
    decorated: Command = with_options(_with_layout(command), [_PARALLEL, *_MACHINE])
    return decorated


def _with_layout(command: Command) -> Any:
    @functools.wraps(command)
    def with_layout(*args: Any, **kwargs: Any) -> Any:
        named = {one.name: kwargs.pop(one.name) for one in dataclasses.fields(EngineOptions) if one.name in kwargs}
        return command(*args, layout=EngineOptions(**named), **kwargs)

    return with_layout


def with_one(command: Command, name: str, make: Callable[..., Any], options: Sequence[Callable[[Any], Any]]) -> Command:
    """The command with these options; it receives what `make`, whose parameters they are, makes of them as `name`."""
    parameters = inspect.signature(make).parameters

    @functools.wraps(command)
    def with_made(*args: Any, **kwargs: Any) -> Any:
        made = make(**{one: kwargs.pop(one) for one in parameters})
        return command(*args, **{name: made}, **kwargs)

    decorated: Command = with_options(with_made, options)
    return decorated


def with_options(command: Any, options: Sequence[Callable[[Any], Any]]) -> Any:
    """The command with these options, in this order in its help."""
    for option in reversed(options):
        command = option(command)
    return command
