"""Section 5.1 as exhibits: the opening, who returns, how surprise fades, and Figure 14."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llama_diversity.experiments.perturb import KIND_CUT, LEAST_SHARE, N_CALM, Arm, Opening
from llama_diversity.metrics.inference import Proportion
from llama_diversity.render.exhibits import Between, Exhibit, Figure, Remark, Section, Share, Table, Tokens, Value
from llama_diversity.render.heatmap import GenerationsHeatmap
from llama_diversity.render.scales import ScoredToken

if TYPE_CHECKING:
    from llama_diversity.render.charts import Chart


@dataclass(frozen=True)
class Facts:
    """What was asked: the prompt, the opening and what was changed, the arms' descriptions, n and length."""

    prompt: str
    opening: Opening
    arms: Mapping[str, str]  # arm: the model, and its temperature where it is not 1
    n: int
    max_tokens: int
    tokenizer: str
    examples: Sequence[tuple[str, Sequence[ScoredToken]]]


def section(found: Mapping[str, Arm], facts: Facts, command: str) -> Section:
    """The whole experiment for a reader."""
    arms = "; ".join(f"{arm}: {words}" for arm, words in facts.arms.items())
    about = (
        f"The opening “{facts.opening.unchanged}” is the aligned model's own. {facts.n} continuations of it and of "
        f"“{facts.opening.changed}”, at most {facts.max_tokens} tokens each ({arms}). One prompt and one opening: the "
        "result holds for these."
    )
    return Section("perturb", "Section 5.1: does it find its way back?", about, command, tuple(_exhibits(found, facts)))


def _exhibits(found: Mapping[str, Arm], facts: Facts) -> Iterator[Exhibit]:
    yield Table(
        "perturb-returns",
        "Who returns to what it always says",
        (
            "arm", "attractors", "unchanged", "95 % interval", "returned", "95 % interval ", "calm after",
        ),
        tuple(
            (arm, one.n_attractors, *_share(one.in_attractors), *_share(one.returned), one.recovery_token)
            for arm, one in found.items()
        ),
        f"Attractors: kinds of the arm's own unchanged continuations (cosine {KIND_CUT:g} between all pairs) that hold "
        f"{100 * LEAST_SHARE:g} % or more of half of them; shares are of the other half and of the changed ones. "
        f"Without one there is nothing to return to. Calm: {N_CALM} tokens in a row no more surprising than unchanged.",
    )  # fmt: skip
    for arm, one in found.items():
        if one.returned.reason:
            yield Remark(f"{arm}: {one.returned.reason}.")
    yield _trajectories(found)
    yield Tokens(
        "figure-14-tokens",
        "Figure 14: the first continuation of each arm after the changed opening",
        GenerationsHeatmap(
            facts.examples,
            tokenizer=facts.tokenizer,
            title=f"After “{facts.opening.changed}”, coloured by surprisal",
        ),
    )


def _share(found: Proportion) -> tuple[Value, Value]:
    if found.value is None or found.low is None or found.high is None:
        return None, None
    return Share(found.value), Between(found.low, found.high)


def _trajectories(found: Mapping[str, Arm]) -> Figure:
    highest = max((bits for one in found.values() for bits in (*one.unchanged_bits, *one.changed_bits)), default=1.0)

    def draw() -> Mapping[str, Chart]:
        from llama_diversity.render.trajectories import trajectory_panel

        return {
            arm: trajectory_panel(one.unchanged_bits, one.changed_bits, highest=highest) for arm, one in found.items()
        }

    return Figure(
        "perturb-surprisal",
        "How surprising each token is, after the opening as it is and changed",
        draw,
        "Mean over the continuations that are still running, while a tenth of them are. Bits under the model itself at "
        "temperature 1.",
    )
