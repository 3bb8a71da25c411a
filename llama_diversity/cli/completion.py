"""`llamadiv completion`: the line that makes a shell complete commands, options, models, pairs and runs."""

from __future__ import annotations

import click

from llama_diversity.cli import COMPLETE_VARIABLE

LINES = {  # shell -> (its start-up file, the line to add there)
    "bash": ("~/.bashrc", f'eval "$({COMPLETE_VARIABLE}=bash_source llamadiv)"'),
    "zsh": ("~/.zshrc", f'eval "$({COMPLETE_VARIABLE}=zsh_source llamadiv)"'),
    "fish": ("~/.config/fish/completions/llamadiv.fish", f"{COMPLETE_VARIABLE}=fish_source llamadiv | source"),
}


@click.command
@click.argument("shell", type=click.Choice(list(LINES)))
def completion(shell: str) -> None:
    """Print the line that turns on completion, to add to the start-up file of SHELL.

    \b
    bash 4.4 or newer:  llamadiv completion bash >> ~/.bashrc
    zsh:                llamadiv completion zsh >> ~/.zshrc
    fish:               llamadiv completion fish > ~/.config/fish/completions/llamadiv.fish

    Then start a new shell. The command must be on the PATH as `llamadiv`.
    """
    click.echo(LINES[shell][1])
