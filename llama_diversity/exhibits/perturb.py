"""Section 5.1 as exhibits: the opening, who returns, how surprise fades, and Figure 14."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llama_diversity.experiments.perturb import BAND, KIND_CUT, LEAST_SHARE, N_CALM, N_FIRST, Arm
from llama_diversity.experiments.perturbations import Opening
from llama_diversity.metrics.inference import Proportion
from llama_diversity.render.exhibits import Between, Exhibit, Figure, Remark, Section, Share, Table, Tokens, Value
from llama_diversity.render.heatmap import GenerationsHeatmap
from llama_diversity.render.scales import ScoredToken

if TYPE_CHECKING:
    from llama_diversity.render.charts import Chart


UNDONE = 0.1  # more of them are a warning


@dataclass(frozen=True)
class Facts:
    """What was asked: the prompt, the opening and what was changed, the arms' descriptions, n and length.

    `edit_shares`: of each dose, changed characters over those of the opening.
    """

    prompt: str
    openings: Mapping[int, Opening]  # by dose
    edit_shares: Mapping[int, float]
    is_own: bool  # the opening has words of the aligned model's own
    arms: Mapping[str, str]  # arm: the model, and its temperature where it is not 1
    n: int
    max_tokens: int
    tokenizer: str
    examples: Sequence[tuple[str, Sequence[ScoredToken]]]


def section(found: Mapping[int, Mapping[str, Arm]], facts: Facts, command: str) -> Section:
    """The whole experiment for a reader; `found` by dose, the first one in full."""
    arms = "; ".join(f"{arm}: {words}" for arm, words in facts.arms.items())
    opening = next(iter(facts.openings.values()))
    own = " is the aligned model's own" if facts.is_own else ""
    about = (
        f"The opening “{opening.unchanged}”{own}. {facts.n} continuations of it and of "
        f"“{opening.changed}”, at most {facts.max_tokens} tokens each ({arms}). One prompt and one opening: the "
        "result holds for these."
    )
    return Section("perturb", "Section 5.1: does it find its way back?", about, command, tuple(_exhibits(found, facts)))


def _exhibits(doses: Mapping[int, Mapping[str, Arm]], facts: Facts) -> Iterator[Exhibit]:
    found, opening = next(iter(doses.values())), next(iter(facts.openings.values()))
    if not facts.is_own:
        yield Remark(
            "No completion of the aligned model has the words to change in its own first sentences, so the prompt "
            "alone is the opening: a weaker nudge than the paper's.",
            is_warning=True,
        )
    for arm, one in found.items():
        if any(one.n_undone):
            yield Remark(
                f"{arm}: {one.n_undone[1]} of {facts.n} continuations of the changed opening (unchanged: "
                f"{one.n_undone[0]}) go on within its last word, which undoes the change; they are left out.",
                is_warning=max(one.n_undone) > UNDONE * facts.n,
            )
    yield Table(
        "perturb-returns",
        "Who returns to what it always says",
        ("arm", "attractors", "unchanged", "95 % interval", "returned", "95 % interval ", "n"),
        tuple(
            (arm, one.n_attractors, *_share(one.in_attractors), *_share(one.returned), one.returned.n)
            for arm, one in found.items()
        ),
        f"Attractors: kinds of the arm's own unchanged continuations (cosine {KIND_CUT:g} between all pairs) that hold "
        f"{100 * LEAST_SHARE:g} % or more of half of them; shares are of the other half and of the changed ones. "
        "Without one there is nothing to return to.",
    )
    yield Table(
        "perturb-surprise",
        "Who is surprised, and for how long",
        ("arm", "disturbed", "95 % interval", "by chance", "calm after", "95 % interval "),
        tuple(
            (arm, *_share(one.disturbed), _share(one.disturbed_unchanged)[0], *_calm(one)) for arm, one in found.items()
        ),
        f"Disturbed: one of the first {N_FIRST} tokens is more surprising than {100 * BAND:g} % of the unchanged ones "
        f"at its place; by chance: the unchanged ones themselves. Calm after: tokens until {N_CALM} in a row are not, "
        "median of the disturbed.",
    )
    for arm, one in found.items():
        if one.returned.reason:
            yield Remark(f"{arm}: {one.returned.reason}.")
    yield _trajectories(found)
    yield Tokens(
        "figure-14-tokens",
        "Figure 14: the first continuation of each arm, after the opening as it is and changed",
        GenerationsHeatmap(
            facts.examples,
            tokenizer=facts.tokenizer,
            title="Each arm's first continuation, coloured by surprisal",
        ),
        f"Changed: after “{opening.changed}”.",
    )
    if len(doses) > 1:
        yield _dose_table(doses, facts)
        yield _dose_figure(doses, facts)


def _calm(one: Arm) -> tuple[Value, Value]:
    calm = one.calm
    if calm.median is None:
        return ("never" if calm.n else None), None
    high = "never" if calm.high is None else f"{calm.high:g}"
    return f"{calm.median:g}", None if calm.low is None else f"{calm.low:g} to {high}"


def _share(found: Proportion) -> tuple[Value, Value]:
    if found.value is None or found.low is None or found.high is None:
        return None, None
    return Share(found.value), Between(found.low, found.high)


def _trajectories(found: Mapping[str, Arm]) -> Figure:
    highest = max((bits for one in found.values() for bits in (*one.unchanged_bits, *one.changed_bits)), default=1.0)

    def draw() -> Mapping[str, Chart]:
        from llama_diversity.render.trajectories import trajectory_panel

        return {
            f"{arm} (n = {one.returned.n})": trajectory_panel(
                one.unchanged_bits, one.changed_bits, [d.se for d in one.excess_bits], highest=highest
            )
            for arm, one in found.items()
        }

    return Figure(
        "perturb-surprisal",
        "How surprising each token is, after the opening as it is and changed",
        draw,
        "Mean over the continuations that are still running, while a tenth of them are; bar: 95 % of the difference to "
        "unchanged. Bits under the model itself at temperature 1.",
    )


# ---- doses


def _dose_table(doses: Mapping[int, Mapping[str, Arm]], facts: Facts) -> Table:
    return Table(
        "perturb-doses",
        "How much change it takes",
        ("dose", "edited", "arm", "returned", "95 % interval", "calm after", "changed opening"),
        tuple(
            (
                dose,
                Share(facts.edit_shares[dose]),
                arm,
                *_share(one.returned),
                _calm(one)[0],
                facts.openings[dose].changed,
            )
            for dose, arms in doses.items()
            for arm, one in arms.items()
        ),
        "Edited: changed characters over those of the opening (Levenshtein).",
    )


def _dose_figure(doses: Mapping[int, Mapping[str, Arm]], facts: Facts) -> Figure:
    def draw() -> Mapping[str, Chart]:
        from llama_diversity.render.trajectories import Dose, dose_panel

        panels: dict[str, Chart] = {}
        for position, arm in enumerate(facts.arms):
            found = [(dose, arms[arm].returned) for dose, arms in doses.items()]
            known = [
                Dose(dose, one.value, one.low, one.high)
                for dose, one in found
                if one.value is not None and one.low is not None and one.high is not None
            ]
            if known:
                panels[arm] = dose_panel(known, list(doses), arm=arm, position=position)
        return panels or {"no arm has an attractor": dose_panel([], list(doses), arm="base", position=0)}

    note = "Share of the continuations that return, Wilson's 95 % intervals; arms without attractors are left out."
    return Figure("perturb-doses-returned", "Who returns, by the size of the change", draw, note)
