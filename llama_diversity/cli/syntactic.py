"""`llamadiv syntactic`: Experiment 3 of the paper on a pair or on all stages of a family."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import click

from llama_diversity.answers import Endings
from llama_diversity.cli.arms import Choice, arms_options
from llama_diversity.cli.experiment import Ask, Drawn, Experiment, check_n, run_alone
from llama_diversity.cli.figure_options import figure_options
from llama_diversity.cli.options import Common, Drawing, common_options, drawing_options, layout_options, read_text
from llama_diversity.cli.results import Result, endings_as_json
from llama_diversity.engines import EngineOptions
from llama_diversity.exhibits.syntactic import Facts, section
from llama_diversity.experiments import syntactic as experiment
from llama_diversity.experiments.syntactic import MAX_TOKENS, MEASURES, N_FIGURE_TOKENS, N_SAMPLES, PROMPT
from llama_diversity.render.jsonl import finite


@dataclass(frozen=True)
class Syntactic(Experiment):
    """Completions of one prompt, raw, of every arm; token-level numbers need one vocabulary."""

    name: ClassVar[str] = "syntactic"
    title: ClassVar[str] = "Experiment 3: how spread out are the next tokens?"
    needs_encoder: ClassVar[bool] = False
    needs_one_vocabulary: ClassVar[bool] = True

    prompt: str = PROMPT
    n: int = N_SAMPLES
    max_tokens: int = MAX_TOKENS

    def options(self) -> list[str]:
        return self.differing({"-p": "prompt", "-n": "n", "--max-tokens": "max_tokens"})

    def asks(self, arms: Sequence[str]) -> list[Ask]:
        return [Ask(arm, arm, self.prompt, self.n, self.max_tokens) for arm in arms]

    def show(self, drawn: Drawn) -> Result:
        found = experiment.analyse({arm: drawn.answered(arm) for arm in drawn.arms})
        facts = Facts(
            prompt=self.prompt,
            models=drawn.arms,
            max_tokens=self.max_tokens,
            examples={arm: drawn.first_tokens(arm, N_FIGURE_TOKENS) for arm in drawn.arms},
            endings={arm: Endings.of_thoughts(drawn.answers(arm)) for arm in drawn.arms},
        )
        return Result(section(found, facts, drawn.command), _as_json(found, facts), found)


@click.command()
@arms_options
@click.option(
    "-p",
    "--prompt",
    default=PROMPT,
    show_default=True,
    help="What all continue; `-` reads standard input less its last line break.",
)
@click.option("-n", "n_samples", type=int, default=N_SAMPLES, show_default=True, help="Completions of each model.")
@click.option("--max-tokens", type=int, default=MAX_TOKENS, show_default=True, help="Longest completion.")
@figure_options
@drawing_options
@layout_options
@common_options
def syntactic(
    *,
    choice: Choice,
    prompt: str,
    n_samples: int,
    max_tokens: int,
    out: Path | None,
    drawing: Drawing,
    layout: EngineOptions,
    common: Common,
) -> None:
    """Experiment 3: how spread out are the next-token distributions of a base and an aligned model?

    Draws completions of one raw prompt from each and compares the entropies of their tokens, as the paper does and
    over the whole vocabulary. Samples are kept: the same command again draws nothing.

    \b
    Example:
      llamadiv syntactic --pair llama-2-7b
    """
    check_n(n_samples, Syntactic.least, "samples")
    one = Syntactic(read_text(prompt), n_samples, max_tokens)
    run_alone(one, choice=choice, drawing=drawing, layout=layout, common=common, out=out)


def _as_json(found: experiment.Result, facts: Facts) -> dict[str, Any]:
    arms = {
        name: {
            "model": facts.models[name],
            **{measure: finite(arm.measures[measure]._asdict()) for measure in MEASURES},
            "entropy_rate": finite(arm.entropy_rate._asdict()),
            "self_check_z": finite({"z": arm.self_check_z})["z"],
            "n_tokens": arm.n_tokens,
            **endings_as_json(facts.endings[name]),
        }
        for name, arm in found.arms.items()
    }
    return {
        "arms": arms,
        "differences": {
            "definition": "arm - first arm, 95 % Welch interval over completions",
            **{
                arm: {measure: finite(changed[measure]._asdict()) for measure in MEASURES}
                for arm, changed in found.differences.items()
            },
        },
        "prompt": facts.prompt,
        "max_tokens": facts.max_tokens,
    }
