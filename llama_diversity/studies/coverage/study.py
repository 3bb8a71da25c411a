"""`coverage`: how many kinds of output has each model for a prompt, seen and unseen?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from llama_diversity import cache, embed
from llama_diversity.answers import Endings
from llama_diversity.errors import BadValue
from llama_diversity.records import Cell
from llama_diversity.studies.coverage import analysis
from llama_diversity.studies.coverage.analysis import MAX_TOKENS, N_SAMPLES
from llama_diversity.studies.coverage.exhibits import Facts, section
from llama_diversity.studies.measuring.kinds import KIND_CUT, MOST_BY_MEANING
from llama_diversity.studies.prompts import PROMPT
from llama_diversity.studies.results import Result, endings_as_json
from llama_diversity.studies.study import Ask, Drawn, Method, NoAnswer, Study, check_n


@dataclass(frozen=True)
class Coverage(Study):
    """Completions of one prompt, raw, of every arm, put into kinds."""

    name: ClassVar[str] = "coverage"
    title: ClassVar[str] = "How many kinds of output are there?"
    least: ClassVar[int] = 2

    prompt: str = PROMPT
    n: int = N_SAMPLES
    max_tokens: int = MAX_TOKENS
    by: str = "meaning"

    def check_settings(self) -> None:
        check_n(self.n, self.least, "completions")

    def options(self) -> list[str]:
        return self.differing({"-p": "prompt", "-n": "n", "--max-tokens": "max_tokens", "--by": "by"})

    def method(self) -> Method:
        kind = "equal texts"
        if self.by == "meaning":
            kind = f"texts with a cosine of {KIND_CUT:g} or more between all pairs (complete linkage)"
        return Method(
            f"Completions of one prompt were put into kinds: {kind}.",
            {
                "coverage": "share of a model's output mass that has been seen, after Chao and Jost",
                "kinds at least": "bias-corrected Chao1",
                "kinds among m": "kinds that m outputs form; arms compare at equal m, and at equal coverage",
            },
            "Intervals are of 95 %.",
            rules="Below 20 outputs there are point estimates only.",
            rests_on=("encoder",) if self.by == "meaning" else (),
        )

    def asks(self, arms: Sequence[str]) -> list[Ask]:
        # One seed draws the same random numbers for every recipe, and what is compared must be independent.
        return [Ask(arm, arm, self.prompt, self.n, self.max_tokens, repeat=0) for arm in arms]

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
        with drawn.session.listener.working("counting kinds"):
            found = cache.called(analysis.analyse, texts, vectors, n_truncated, unread)
        facts = Facts(self.prompt, drawn.arms, self.max_tokens, kind, endings)
        return Result(section(found, facts, drawn.command), _as_json(found, facts), found)


def _as_json(found: analysis.Result, facts: Facts) -> dict[str, Any]:
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


def _arm_as_json(found: analysis.Result, arm: str) -> dict[str, Any]:
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
