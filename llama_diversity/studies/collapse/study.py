"""`collapse`: section 5.2 of the paper, why rewarding narrows, as a bandit."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from llama_diversity.render.jsonl import finite
from llama_diversity.studies.collapse.analysis import (
    PAPER,
    PRINTED_TABLE_1,
    WITH_THIRD,
    Knobs,
    Spread,
    simulate,
    spread,
    table_1,
)
from llama_diversity.studies.collapse.analysis import Result as Simulation
from llama_diversity.studies.collapse.exhibits import section
from llama_diversity.studies.results import Result
from llama_diversity.studies.study import Ask, Drawn, Method, Study


@dataclass(frozen=True)
class Collapse(Study):
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

    def method(self) -> Method:
        knobs = self.knobs
        return Method(
            f"No language model is in it: {knobs.n_runs:,} runs of {knobs.n_steps:,} steps of a bandit with the "
            f"paper's rewards, by the rule “{knobs.rule}”, seed {knobs.seed}.",
            {
                "policies": "probability of each response by step, mean and 10th and 90th percentile over runs",
                "collapsed": "share of the runs in which one response ended above 0.99, with Wilson's 95 % interval",
            },
            "",
        )

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
