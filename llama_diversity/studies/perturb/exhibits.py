"""Section 5.1 as exhibits: the opening, who returns, how surprise fades, and Figure 14."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llama_diversity.answers import Endings
from llama_diversity.decimals import counted
from llama_diversity.metrics.inference import Proportion
from llama_diversity.render.exhibits import (
    Between,
    Exhibit,
    Figure,
    Remark,
    Section,
    Share,
    ShareBetween,
    Table,
    Tokens,
    Value,
)
from llama_diversity.render.heatmap import GenerationsHeatmap
from llama_diversity.render.scales import ScoredToken
from llama_diversity.studies.perturb.analysis import (
    BAND,
    KIND_CUT,
    LEAST_MEMBERS,
    LEAST_PROMPTS,
    LEAST_SHARE,
    N_CALM,
    N_FIRST,
    Arm,
    Calm,
    Disturbance,
    Over,
)
from llama_diversity.studies.perturb.perturbations import Opening, edit_share
from llama_diversity.studies.perturb.plain import plain
from llama_diversity.studies.phrases import why_left_out

if TYPE_CHECKING:
    from llama_diversity.render.charts import Chart


UNDONE = 0.1  # more of them are a warning


@dataclass(frozen=True)
class Spot:
    """One opening: its prompt, the opening by dose, whether it has words of the aligned model's own; all arms there."""

    prompt: str
    openings: Mapping[int, Opening]
    is_own: bool
    arms: Mapping[str, Arm]  # at the first dose

    @property
    def first(self) -> Opening:
        """The opening at the first dose."""
        return next(iter(self.openings.values()))


@dataclass(frozen=True)
class Facts:
    """What was asked: the openings, the arms' descriptions, continuations of an opening, their length.

    By arm too how its continuations end, and why meanings of its texts are not reported.
    """

    places: Sequence[Spot]  # the first is the paper's, or of the first prompt
    n_prompts: int
    arms: Mapping[str, str]  # arm: the model, and its temperature where it is not 1
    n: int
    max_tokens: int
    tokenizer: str
    examples: Sequence[tuple[str, Sequence[ScoredToken]]]
    endings: Mapping[str, Endings]
    unread: Mapping[str, str]
    is_given: bool = False  # openings are not of completions, but were taken by hand


def section(found: Mapping[int, Mapping[str, Over]], facts: Facts, command: str, own: Mapping[str, Over]) -> Section:
    """The whole experiment for a reader; `found` by dose, the first one in full; `own`: over openings of own words."""
    arms = "; ".join(f"{arm}: {words}" for arm, words in facts.arms.items())
    opening, how_many = facts.places[0].first, len(facts.places)
    about = (
        f"{_openings(how_many)} of {facts.n_prompts} "
        f"{'prompt' if facts.n_prompts == 1 else 'prompts'}, such as “{opening.unchanged}”, changed to "
        f"“{opening.changed}”; {_whose(facts)}. "
        f"{facts.n} continuations of each as it is and changed, at most {counted(facts.max_tokens, 'token')} ({arms}). "
        f"{_claim(facts)}"
    )
    exhibits = tuple(_exhibits(found, facts))
    told = plain(own, facts)
    return Section("perturb", "Section 5.1: does it find its way back?", about, command, exhibits, told)


def _whose(facts: Facts) -> str:
    if facts.is_given:
        return "they were taken by hand"
    return f"{sum(one.is_own for one in facts.places)} have words of the aligned model's own"


def _openings(n: int) -> str:
    return f"{n} {'opening' if n == 1 else 'openings'}"


def _claim(facts: Facts) -> str:
    if len(facts.places) == 1:
        return "One prompt and one opening: the result holds for these."
    if facts.n_prompts >= LEAST_PROMPTS:
        return "Intervals are over prompts: the result is about prompts like these."
    return "Intervals are over openings: the result is about openings of these prompts."


def _exhibits(doses: Mapping[int, Mapping[str, Over]], facts: Facts) -> Iterator[Exhibit]:
    found = next(iter(doses.values()))
    yield from _warnings(found, facts)
    yield _returns(found, facts)
    yield _surprise(found)
    for arm, one in found.items():
        if one.returned.reason and arm not in facts.unread:
            yield Remark(f"{arm}: {one.returned.reason}.")
        if one.n_returned == 1 < one.n_openings:
            yield Remark(f"{arm}: one opening only has an attractor; the intervals are over its continuations.")
    if len(facts.places) > 1:
        yield _openings_table(facts)
    yield _trajectories(found)
    yield _figure_14(facts)
    if len(doses) > 1:
        yield _dose_table(doses, facts)
        yield _dose_figure(doses, facts)


def _warnings(found: Mapping[str, Over], facts: Facts) -> Iterator[Remark]:
    """What the openings lack, and what of the continuations is left out."""
    if not (facts.is_given or any(one.is_own for one in facts.places)):
        yield Remark(
            "No completion of the aligned model has the words to change in its own first sentences, so prompts "
            "alone are the openings: a weaker nudge than the paper's.",
            is_warning=True,
        )
    yield from why_left_out(facts.endings)
    yield from (
        Remark(f"{reason} Attractors are of meanings: none of {arm} is known.", is_warning=True)
        for arm, reason in facts.unread.items()
    )
    n = facts.n * len(facts.places)
    for arm, one in found.items():
        if any(one.n_undone):
            yield Remark(
                f"{arm}: {one.n_undone[1]} of {n} continuations of changed openings (unchanged: {one.n_undone[0]}) go "
                "on within the last word, which undoes the change; they are left out.",
                is_warning=max(one.n_undone) > UNDONE * n,
            )


def _returns(found: Mapping[str, Over], facts: Facts) -> Table:
    return Table(
        "perturb-returns",
        "Who returns to what it always says",
        ("arm", "with attractors", "95 % interval", "unchanged", "95 % interval ", "returned", " 95 % interval", "n"),
        tuple(
            (arm, *_share(one.with_attractors), *_share(one.in_attractors), *_share(one.returned), one.returned.n)
            for arm, one in found.items()
        ),
        f"With attractors: the share of the {_openings(len(facts.places))} with one. Attractors: kinds of the arm's "
        f"own unchanged continuations of an opening (cosine {KIND_CUT:g} between all pairs) that hold "
        f"{100 * LEAST_SHARE:g} % and {LEAST_MEMBERS} or more of half of them; shares are of the other half and of the "
        "changed ones (n), over the openings with one. Without one there is nothing to return to.",
    )


def _surprise(found: Mapping[str, Over]) -> Table:
    return Table(
        "perturb-surprise",
        "Who is surprised, and for how long",
        ("arm", "disturbed", "95 % interval", "by chance", "more", "95 % interval ", "calm after", " 95 % interval"),
        tuple(
            (
                arm,
                *_share(one.disturbed),
                _share(one.disturbed_unchanged)[0],
                *_points(one.disturbance),
                *_calm(one.calm),
            )
            for arm, one in found.items()
        ),
        f"Disturbed: one of the first {N_FIRST} tokens is more surprising than {100 * BAND:g} % of the unchanged ones "
        f"at its place; by chance: the unchanged ones themselves. Calm after: tokens until {N_CALM} in a row are not, "
        "median of the disturbed of an opening, and of that over openings.",
    )


def _figure_14(facts: Facts) -> Tokens:
    return Tokens(
        "figure-14-tokens",
        "Figure 14: the first continuation of each arm, after the first opening as it is and changed",
        GenerationsHeatmap(
            facts.examples,
            tokenizer=facts.tokenizer,
            title="Each arm's first continuation, coloured by surprisal",
        ),
        f"Changed: after “{facts.places[0].first.changed}”.",
    )


def _openings_table(facts: Facts) -> Table:
    """Opening by opening; the first row of each arm is all that a study of one opening would have."""
    return Table(
        "perturb-openings",
        "Opening by opening: what one alone would have said",
        ("opening", "own words", "arm", "attractors", "unchanged", "returned", "95 % interval", "n"),
        tuple(
            (
                spot.first.unchanged,
                "yes" if spot.is_own else "no",
                arm,
                one.n_attractors,
                _share(one.in_attractors)[0],
                *_share(one.returned),
                one.returned.n,
            )
            for spot in facts.places
            for arm, one in spot.arms.items()
        ),
        "Intervals are of the continuations of that opening alone (Wilson), and know nothing of other openings. The "
        "paper has one; its prompt's is the first.",
    )


def _calm(calm: Calm) -> tuple[Value, Value]:
    if calm.median is None:
        return ("never" if calm.n else None), None
    high = "never" if calm.high is None else f"{calm.high:g}"
    return f"{calm.median:g}", None if calm.low is None else f"{calm.low:g} to {high}"


def _share(found: Proportion) -> tuple[Value, Value]:
    if found.value is None or found.low is None or found.high is None:
        return None, None
    return Share(found.value), ShareBetween(found.low, found.high)


def _points(found: Disturbance) -> tuple[Value, Value]:
    """A difference of shares and its interval."""
    if found.value is None:
        return None, None
    return found.value, None if found.low is None or found.high is None else Between(found.low, found.high)


def _trajectories(found: Mapping[str, Over]) -> Figure:
    highest = max((bits for one in found.values() for bits in (*one.unchanged_bits, *one.changed_bits)), default=1.0)

    def draw() -> Mapping[str, Chart]:
        from llama_diversity.render.trajectories import trajectory_panel

        return {
            f"{arm} (openings: {one.n_openings})": trajectory_panel(
                one.unchanged_bits, one.changed_bits, [(d.high - d.low) / 2 for d in one.excess_bits], highest=highest
            )
            for arm, one in found.items()
        }

    return Figure(
        "perturb-surprisal",
        "How surprising each token is, after the opening as it is and changed",
        draw,
        "Mean over openings of the mean over the continuations that are still running, while a tenth of them are; bar: "
        "95 % of the difference to unchanged. Bits under the model itself at temperature 1.",
    )


# ---- doses


def _dose_table(doses: Mapping[int, Mapping[str, Over]], facts: Facts) -> Table:
    return Table(
        "perturb-doses",
        "How much change it takes",
        ("dose", "edited", "arm", "returned", "95 % interval", "calm after", "changed opening, the first"),
        tuple(
            (
                dose,
                Share(sum(edit_share(spot.openings[dose]) for spot in facts.places) / len(facts.places)),
                arm,
                *_share(one.returned),
                _calm(one.calm)[0],
                facts.places[0].openings[dose].changed,
            )
            for dose, arms in doses.items()
            for arm, one in arms.items()
        ),
        "Edited: changed characters over those of the opening (Levenshtein), mean over openings.",
    )


def _dose_figure(doses: Mapping[int, Mapping[str, Over]], facts: Facts) -> Figure:
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

    note = "Share of the continuations that return, 95 % intervals over openings; arms without attractors are left out."
    return Figure("perturb-doses-returned", "Who returns, by the size of the change", draw, note)
