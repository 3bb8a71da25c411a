"""`syntactic`: Experiment 3 of the paper on a pair or on all stages of a family."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from llama_diversity.answers import Endings
from llama_diversity.records import Cell
from llama_diversity.render.jsonl import finite
from llama_diversity.studies.results import Result, endings_as_json
from llama_diversity.studies.selfcheck import require_entropies
from llama_diversity.studies.study import Ask, Drawn, Method, Study, check_n
from llama_diversity.studies.syntactic import analysis
from llama_diversity.studies.syntactic.analysis import MAX_TOKENS, MEASURES, N_FIGURE_TOKENS, N_SAMPLES, PROMPT
from llama_diversity.studies.syntactic.exhibits import Facts, section


@dataclass(frozen=True)
class Syntactic(Study):
    """Completions of one prompt, raw, of every arm; token-level numbers need one vocabulary."""

    name: ClassVar[str] = "syntactic"
    title: ClassVar[str] = "Experiment 3: how spread out are the next tokens?"
    needs_encoder: ClassVar[bool] = False
    needs_one_vocabulary: ClassVar[bool] = True

    prompt: str = PROMPT
    n: int = N_SAMPLES
    max_tokens: int = MAX_TOKENS

    def check_settings(self) -> None:
        check_n(self.n, self.least, "samples")

    def options(self) -> list[str]:
        return self.differing({"-p": "prompt", "-n": "n", "--max-tokens": "max_tokens"})

    def method(self) -> Method:
        return Method(
            "All arms completed one prompt; each measure is the mean over the tokens of a completion, then over "
            "completions.",
            {
                "entropy": "of the next token over the whole vocabulary, bits",
                "top-five entropy": "-sum p log p of the five likeliest tokens, raw (Eq. 3.2 of Mohammadi) and "
                "renormalised",
                "top-five mass": "the sum of these five p",
                "surprisal": "-log2 p of the token drawn",
                "entropy rate": "sum of entropies over the number of tokens",
                "branching factor": "2 to the power of the entropy rate; its interval: jackknife over completions",
            },
            "Differences from the first arm have Welch's 95 % intervals over completions.",
            rules="An arm whose surprisals and entropies disagree (|z| above 4) would have been refused.",
        )

    def asks(self, arms: Sequence[str]) -> list[Ask]:
        return [Ask(arm, arm, self.prompt, self.n, self.max_tokens) for arm in arms]

    def check(self, cells: Sequence[Cell]) -> None:
        super().check(cells)
        require_entropies(cells, "this experiment")

    def show(self, drawn: Drawn) -> Result:
        found = analysis.analyse({arm: drawn.answered(arm) for arm in drawn.arms})
        facts = Facts(
            prompt=self.prompt,
            models=drawn.arms,
            max_tokens=self.max_tokens,
            examples={arm: drawn.first_tokens(arm, N_FIGURE_TOKENS) for arm in drawn.arms},
            endings={arm: Endings.of_thoughts(drawn.answers(arm)) for arm in drawn.arms},
        )
        return Result(section(found, facts, drawn.command), _as_json(found, facts), found)


def _as_json(found: analysis.Result, facts: Facts) -> dict[str, Any]:
    arms = {
        name: {
            "model": facts.models[name],
            **{measure: finite(arm.measures[measure]._asdict()) for measure in MEASURES},
            "entropy_rate": finite(arm.entropy_rate._asdict()),
            "branching_factor": finite(arm.choices._asdict()),
            "self_check_z": finite({"z": arm.self_check_z})["z"],
            "n_tokens": arm.n_tokens,
            **endings_as_json(facts.endings[name]),
        }
        for name, arm in found.arms.items()
    }
    return {
        "arms": arms,
        "differences": {
            "definition": f"arm - {next(iter(found.arms))}, 95 % Welch interval over completions",
            **{
                arm: {measure: finite(changed[measure]._asdict()) for measure in MEASURES}
                for arm, changed in found.differences.items()
            },
        },
        "prompt": facts.prompt,
        "max_tokens": facts.max_tokens,
    }
