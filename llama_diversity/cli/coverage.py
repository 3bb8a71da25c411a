"""`llamadiv coverage`: how many kinds of output has each model for a prompt, seen and unseen?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import click

from llama_diversity import cache, embed
from llama_diversity.answers import Endings
from llama_diversity.cli.arms import Choice, arms_options
from llama_diversity.cli.experiment import Ask, Drawn, Experiment, NoAnswer, check_n, run_alone
from llama_diversity.cli.figure_options import figure_options
from llama_diversity.cli.options import Common, Drawing, common_options, drawing_options, layout_options, read_text
from llama_diversity.cli.progress import progress_line
from llama_diversity.cli.results import Result, endings_as_json
from llama_diversity.engines import EngineOptions
from llama_diversity.errors import BadValue
from llama_diversity.exhibits.modes import Facts, section
from llama_diversity.experiments import modes as experiment
from llama_diversity.experiments.modes import MAX_TOKENS, MOST_BY_MEANING, N_SAMPLES
from llama_diversity.experiments.semantic import KIND_CUT, PROMPT
from llama_diversity.records import Cell


@dataclass(frozen=True)
class Coverage(Experiment):
    """Completions of one prompt, raw, of every arm, put into kinds."""

    name: ClassVar[str] = "coverage"
    title: ClassVar[str] = "How many kinds of output are there?"
    least: ClassVar[int] = 2

    prompt: str = PROMPT
    n: int = N_SAMPLES
    max_tokens: int = MAX_TOKENS
    by: str = "meaning"

    def options(self) -> list[str]:
        return self.differing({"-p": "prompt", "-n": "n", "--max-tokens": "max_tokens", "--by": "by"})

    def asks(self, arms: Sequence[str]) -> list[Ask]:
        # One seed draws the same random numbers for every recipe, and what is compared must be independent.
        return [
            Ask(arm, arm, self.prompt, self.n, self.max_tokens, stream=position) for position, arm in enumerate(arms)
        ]

    def check(self, cells: Sequence[Cell]) -> None:
        """Refuse, before any sampling, what would not fit into memory afterwards."""
        if self.by == "meaning" and sum(cell.n for cell in cells) > MOST_BY_MEANING:
            most = MOST_BY_MEANING // len(cells)
            allowed = (
                f"kinds by meaning compare all pairs: ask for {self.least} to {most:,}, or for equal texts, --by text"
            )
            raise BadValue("-n", self.n, allowed)

    def show(self, drawn: Drawn) -> Result:
        answers = {arm: drawn.answers(arm) for arm in drawn.arms}
        texts = {arm: [one.text for one in some if not one.is_thinking] for arm, some in answers.items()}
        endings = {arm: Endings.of_thoughts(some) for arm, some in answers.items()}
        for arm, some in texts.items():
            if not some:
                raise NoAnswer(arm, endings[arm])
        vectors, n_truncated, unread, kind = None, None, None, "equal texts"
        if self.by == "meaning":
            embedded = drawn.embedded(texts)
            vectors = {arm: one.vectors for arm, one in embedded.items()}
            n_truncated = {arm: one.n_truncated for arm, one in embedded.items()}
            unread = {arm: one.unread for arm, one in embedded.items()}
            kind = f"texts of one meaning (cosine {KIND_CUT:g} or more between all pairs, by {embed.REPO})"
        with progress_line(drawn.common, "counting kinds"):
            found = cache.called(experiment.analyse, texts, vectors, n_truncated, unread)
        facts = Facts(self.prompt, drawn.arms, self.max_tokens, kind, endings)
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
@click.option(
    "--by", type=click.Choice(["meaning", "text"]), default="meaning", show_default=True, help="What makes a kind."
)
@figure_options
@drawing_options
@layout_options
@common_options
def coverage(
    *,
    choice: Choice,
    prompt: str,
    n_samples: int,
    max_tokens: int,
    by: str,
    out: Path | None,
    drawing: Drawing,
    layout: EngineOptions,
    common: Common,
) -> None:
    """How many kinds of output has each model for a prompt, seen and unseen, and how many more outputs would show them?

    Draws completions, puts them into kinds by meaning (or equal text), and says which share of each model's output mass
    has been seen. The prompt is asked raw, so no chat template takes part and none can be given values (`compare --arm`
    asks through one). Samples are kept: the same command again draws nothing, a larger -n draws the rest.

    \b
    Example:
      llamadiv coverage --ladder tiny
    """
    check_n(n_samples, Coverage.least, "completions")
    one = Coverage(read_text(prompt), n_samples, max_tokens, by)
    run_alone(one, choice=choice, drawing=drawing, layout=layout, common=common, out=out)


def _as_json(found: experiment.Result, facts: Facts) -> dict[str, Any]:
    return {
        "arms": {
            arm: {
                "model": facts.models[arm],
                "n": n,
                **endings_as_json(facts.endings[arm]),
                **_arm_as_json(found, arm),
            }
            for arm, n in found.n.items()
        },
        "differences": {
            arm: {
                "m": found.m,
                "kinds_among_m": found.at_m[arm]._asdict(),
                "kept": kept._asdict(),
                "at_equal_coverage": found.at_coverage[arm]._asdict(),
            }
            for arm, kept in found.kept.items()
        },
        "kind": facts.kind,
        "prompt": facts.prompt,
    }


def _arm_as_json(found: experiment.Result, arm: str) -> dict[str, Any]:
    """Of a refused arm the reason alone."""
    if arm in found.refused:
        return {"reason": found.refused[arm]}
    one = found.arms[arm]
    return {
        "kinds_seen": one.kinds_seen,
        "counts": sorted((int(c) for c in one.counts if c), reverse=True),
        "coverage": one.coverage._asdict(),
        "chao1": one.at_least._asdict(),
        "more_for_95_percent": one.more._asdict(),
        "curve": [point._asdict() for point in one.curve],
    }
