"""`llamadiv decompose`: how much of a loss is the weights', how much the prompt format's, how much the sampler's?"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import click

from llama_diversity import cache
from llama_diversity.cli.arms import Arm
from llama_diversity.cli.compare import (
    MAX_TOKENS,
    N_SAMPLES,
    ArmSpec,
    Compare,
    described,
    parse_arm,
    prompts_options,
    read_prompts,
    resolve_spec,
)
from llama_diversity.cli.complete import complete_model, complete_pair
from llama_diversity.cli.experiment import Drawn, check_n, conducted
from llama_diversity.cli.options import Common, Drawing, common_options, drawing_options, layout_options
from llama_diversity.cli.progress import progress_line
from llama_diversity.cli.resolve import resolve_arms
from llama_diversity.cli.results import Result, give, make_folder
from llama_diversity.engines import EngineOptions
from llama_diversity.exhibits.decompose import Facts, section
from llama_diversity.experiments import decompose as experiment
from llama_diversity.records import Cell


@dataclass(frozen=True)
class Decompose(Compare):
    """All combinations of weights, template and, where one is named, sampler, for every prompt."""

    name: ClassVar[str] = "decompose"
    title: ClassVar[str] = "Where is the diversity lost?"

    def check(self, cells: Sequence[Cell]) -> None:
        """A full design has nothing that cannot be attributed."""

    def show(self, drawn: Drawn) -> Result:
        prompts, rules = self.gathered(drawn)
        design = {spec.name: self._has(spec) for spec in self.specs}
        with progress_line(drawn.common, "decomposing"):
            found = cache.called(experiment.decompose, prompts, rules, design)
        facts = Facts(
            arms={spec.name: described(spec, drawn.recipe(f"{spec.name}, prompt 0")) for spec in self.specs},
            factors=self._factors(),
            prompts=self.prompts,
            n=self.n_used(),
            max_tokens=self.max_tokens,
        )
        return Result(section(found, facts, drawn.command), _as_json(found, facts), found)

    def _has(self, spec: ArmSpec) -> dict[str, bool]:
        """Which factors an arm has: the last one has all of them."""
        last = self.specs[-1]
        factors = {"weights": spec.model == last.model, "template": spec.is_chat}
        return {**factors, "sampler": spec.sampler == last.sampler} if last.sampler else factors

    def _factors(self) -> dict[str, str]:
        first, last = self.specs[0], self.specs[-1]
        words = {"weights": f"{first.model} or {last.model}", "template": "raw or the chat template of the latter"}
        sampler = ", ".join(f"{name} {value:g}" for name, value in last.sampler.items())
        return {**words, "sampler": f"as typed or {sampler}"} if sampler else words


@click.command()
@click.option("--pair", shell_complete=complete_pair, envvar="LLAMADIV_PAIR", help="A pair.  [default: tiny]")
@click.option("--base", shell_complete=complete_model, help="The base model.")
@click.option("--aligned", shell_complete=complete_model, help="The aligned model; its chat template is the factor.")
@click.option("--sampler", metavar="T=0.7[,...]", help="A third factor: this sampler, or the one of the options below.")
@prompts_options
@click.option("-n", "n_samples", type=int, default=N_SAMPLES, show_default=True, help="Generations of each prompt.")
@click.option("--max-tokens", type=int, default=MAX_TOKENS, show_default=True, help="Longest generation.")
@click.option("--prefix", type=click.IntRange(1), help="Judge the first so many tokens only.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Also write figures and numbers there.")
@drawing_options
@layout_options
@common_options
def decompose(
    *,
    pair: str | None,
    base: str | None,
    aligned: str | None,
    sampler: str | None,
    prompts: tuple[str, ...],
    file: Path | None,
    prompt_set: str | None,
    n_samples: int,
    max_tokens: int,
    prefix: int | None,
    out: Path | None,
    drawing: Drawing,
    layout: EngineOptions,
    common: Common,
) -> None:
    """How much of the loss of diversity is the weights', and how much the prompt format's?

    Draws all four combinations of the base and the aligned weights, asked raw and through the aligned model's chat
    template, and tells their effects apart; with --sampler all eight.

    \b
    Example:
      llamadiv decompose --pair tiny --sampler T=0.7
    """
    check_n(n_samples, 2, "generations")
    models = resolve_arms(pair, base, aligned)
    specs = combinations(models, {} if sampler is None else parse_arm(f"sampler=model,{sampler}").sampler)
    texts, words_of = read_prompts(prompts, file, prompt_set)
    one = Decompose(specs, texts, words_of, n_samples, max_tokens, prefix)
    named = {"--pair": pair, "--base": base, "--aligned": aligned, "--sampler": sampler}
    words = [word for option, value in named.items() if value for word in (option, value)]
    arms: list[Arm] = [resolve_spec(spec, common) for spec in specs]
    make_folder(out)
    with conducted([one], arms, words, drawing=drawing, layout=layout, common=common) as (run_id, [drawn]):
        result = one.show(drawn)
    give(result, out=out, run_id=run_id, common=common)


def combinations(models: tuple[str, str], sampler: dict[str, float]) -> tuple[ArmSpec, ...]:
    """The arms of the full design, the one without any factor first, the one with all of them last."""
    specs = []
    for (role, model), is_chat, cut in itertools.product(
        zip(("base", "aligned"), models, strict=True), (False, True), ({}, sampler) if sampler else ({},)
    ):
        name = f"{role} {'chat' if is_chat else 'raw'}{', cut' if cut else ''}"
        specs.append(ArmSpec(name, model, is_chat, models[1] if is_chat else None, sampler=dict(cut)))
    return tuple(specs)


def _as_json(found: experiment.Result, facts: Facts) -> dict[str, Any]:
    return {
        "effects": [one._asdict() for one in found.effects],
        "values": {name: dict(of_arm) for name, of_arm in found.values.items()},
        "arms": dict(facts.arms),
        "factors": dict(facts.factors),
        "claim": "prompts like these" if found.is_general else "these prompts",
        "prompts": list(facts.prompts),
        "n": facts.n,
    }
