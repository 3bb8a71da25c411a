"""`llamadiv collapse`: section 5.2 of the paper, why rewarding narrows, as a bandit."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import click

from llama_diversity.cli.experiment import Ask, Drawn, Experiment
from llama_diversity.cli.figure_options import figure_options
from llama_diversity.cli.options import Common, common_options, seed_option
from llama_diversity.cli.results import Result, give
from llama_diversity.exhibits.collapse import section
from llama_diversity.experiments.collapse import (
    PAPER,
    PRINTED_TABLE_1,
    RULES,
    WITH_THIRD,
    Knobs,
    Spread,
    simulate,
    spread,
    table_1,
)
from llama_diversity.experiments.collapse import Result as Simulation
from llama_diversity.render.jsonl import finite


@click.command()
@click.option("--rule", type=click.Choice(list(RULES)), default="table", show_default=True, help="How logits change.")
@click.option("--beta", type=float, default=0.0, show_default=True, help="KL penalty of Eq. 5.2; 0 is none.")
@click.option("--eps", type=float, default=0.2, show_default=True, help="Where PPO clips the ratio.")
@click.option("--epochs", type=int, default=4, show_default=True, help="PPO's gradient steps on one response.")
@click.option("--lr", type=float, default=1.0, show_default=True, help="Learning rate.")
@click.option(
    "--value-step",
    type=float,
    default=1.0,
    show_default=True,
    help="1: the value is the last reward, as in Table 1; below, a moving average.",
)
@click.option("--steps", type=int, default=50, show_default=True, help="Responses drawn in each run.")
@click.option("--runs", type=int, default=200, show_default=True, help="Independent runs.")
@click.option("--third", is_flag=True, help="Add the paper's “Chad-Chat”: reward 1.5, at first drawn 1 in 100.")
@figure_options
@seed_option
@common_options
def collapse(
    *,
    rule: str,
    beta: float,
    eps: float,
    epochs: int,
    lr: float,
    value_step: float,
    steps: int,
    runs: int,
    third: bool,
    out: Path | None,
    seed: int,
    common: Common,
) -> None:
    """Section 5.2: why does rewarding responses narrow a policy, and what holds against it?

    Shows Table 1 by its stated rule beside what the paper prints, then draws from the same bandit many times and
    compares where it ends with what the objective is best at. No model is loaded.

    \b
    Example:
      llamadiv collapse --rule ppo --beta 0.3 --third
    """
    knobs = Knobs(
        rule=rule,
        learning_rate=lr,
        beta=beta,
        clip=eps,
        n_epochs=epochs,
        value_step=value_step,
        n_steps=steps,
        n_runs=runs,
        seed=seed,
    )
    give(Collapse(knobs, third).result(), out=out, run_id=None, common=common)


@dataclass(frozen=True)
class Collapse(Experiment):
    """A bandit instead of a model: nothing is sampled from one."""

    name: ClassVar[str] = "collapse"
    title: ClassVar[str] = "Section 5.2: why rewarding narrows"
    needs_encoder: ClassVar[bool] = False

    knobs: Knobs = Knobs()
    has_third: bool = False

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Collapse:
        """The inverse of `settings`, after JSON."""
        return cls(Knobs(**settings["knobs"]), settings["has_third"])

    def options(self) -> list[str]:
        words = _options(self.knobs)
        return [*words, *(["--third"] if self.has_third else []), "--seed", str(self.knobs.seed)]

    def asks(self, arms: Sequence[str]) -> list[Ask]:
        return []

    def show(self, drawn: Drawn) -> Result:
        return self.result()

    def result(self) -> Result:
        """The simulation and Table 1; needs nothing that was drawn."""
        found = simulate(WITH_THIRD if self.has_third else PAPER, self.knobs)
        command = shlex.join(["llamadiv", self.name, *self.options()])
        return Result(section(found, command), _as_json(found), found)


def _options(knobs: Knobs) -> list[str]:
    """What differs from the defaults, as options; without the seed."""
    options = {
        "--rule": "rule",
        "--beta": "beta",
        "--eps": "clip",
        "--epochs": "n_epochs",
        "--lr": "learning_rate",
        "--value-step": "value_step",
        "--steps": "n_steps",
        "--runs": "n_runs",
    }
    words: list[str] = []
    for option, name in options.items():
        if getattr(knobs, name) != getattr(Knobs(), name):
            words += [option, str(getattr(knobs, name))]
    return words


def _as_json(result: Simulation) -> dict[str, Any]:
    responses = result.bandit.responses
    policies = {
        "initial": result.bandit.initial,
        "final_mean": result.final_mean.tolist(),
        "exact_gradient": result.expected[-1].tolist(),
        "optimum": result.optimum.tolist(),
        "reward_proportional": result.reward_proportional.tolist(),
    }
    return {
        "table_1": [row._asdict() for row in table_1()],
        "table_1_printed": [row._asdict() for row in PRINTED_TABLE_1],
        "rewards": dict(zip(responses, result.bandit.rewards, strict=True)),
        "knobs": dataclasses.asdict(result.knobs),
        "policies": {name: finite(dict(zip(responses, policy, strict=True))) for name, policy in policies.items()},
        "collapsed": result.collapsed._asdict(),
        "collapsed_onto": {n: p._asdict() for n, p in zip(responses, result.collapsed_onto, strict=True)},
        "ever_drawn": {n: p._asdict() for n, p in zip(responses, result.ever_drawn, strict=True)},
        "probabilities": {name: _listed(spread(result.paths[:, :, k])) for k, name in enumerate(responses)},
        "entropy_bits": _listed(spread(result.entropies_bits)),
    }


def _listed(over_runs: Spread) -> dict[str, list[float]]:
    """By step: mean over the runs, 10th and 90th percentile."""
    return {"mean": over_runs.mean.tolist(), "p10": over_runs.low.tolist(), "p90": over_runs.high.tolist()}
