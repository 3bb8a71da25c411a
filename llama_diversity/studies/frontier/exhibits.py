"""The frontier as exhibits: the verdict, the plane, what each family holds of it, what was chosen, outputs to read."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llama_diversity.decimals import counted
from llama_diversity.metrics.inference import Interval
from llama_diversity.render.exhibits import (
    Between,
    Exhibit,
    Figure,
    Reading,
    Readings,
    Remark,
    Section,
    Share,
    ShareBetween,
    Table,
    Value,
    written,
)
from llama_diversity.studies.frontier.analysis import DIVERSITIES, QUALITIES, Against, Choice, Family, Point, Result
from llama_diversity.studies.frontier.pictures import curves
from llama_diversity.studies.phrases import prompts_in_words

if TYPE_CHECKING:
    from llama_diversity.render.charts import Chart

BY_PROMPT = ("family", "setting", "prompt_number", "prompt", "half", "axis", "measure", "value", "outputs", "tokens")
PLANE = "frontier-plane"
_SHOWN = 5  # outputs of a setting to read, of different prompts
_LONGEST = 400  # characters of one


@dataclass(frozen=True)
class Facts:
    """What was compared, in words: settings, prompts, scorers by role; and the outputs by setting and prompt."""

    arms: Mapping[str, str]
    prompts: Sequence[str]
    n: int
    max_tokens: int
    scorers: Mapping[str, str]
    encoder: str
    valid: str  # empty: nothing says what is valid
    texts: Mapping[str, Sequence[Sequence[str]]]
    doubts: Sequence[str] = ()  # sentences

    @property
    def reference(self) -> str:
        """The first arm."""
        return next(iter(self.arms))

    def verdict(self, found: Result) -> str:
        """In one sentence; "none" where no setting qualifies or the one chosen does not hold."""
        quality, diversity = QUALITIES[found.rules.quality].title, DIVERSITIES[found.rules.diversity]
        margin = f"At quality ({quality}) not worse than {self.reference}'s by {found.rules.delta:g}"
        best = found.best
        if best.setting is None or best.held_out is None:
            why = found.points[0].reason and f"{self.reference} has {found.points[0].reason}"
            return f"{margin}, the most diverse setting is none: {why or 'on the odd prompts no setting is so good'}."
        held = _held_words(best.held_out, self.reference, diversity)
        if found.holds:
            return f"{margin}, the most diverse setting is {best.setting}: on the held-out prompts {held}."
        is_worse = best.held_out.quality.low <= -found.rules.delta
        is_less = best.held_out.diversity.high < 0
        diverse = f"{'is less' if is_less else 'is not surely more'} diverse than {self.reference}"
        why = "may be worse than that" if is_worse else diverse
        return (
            f"{margin}, the most diverse setting is none: {best.setting}, chosen on the odd prompts, {why} on the "
            f"held-out ones ({held})."
        )


def _held_words(held: Against, reference: str, diversity: str) -> str:
    return (
        f"{diversity} {_signed(held.diversity)} over {reference}'s, quality {_signed(held.quality)}"
        if math.isfinite(held.diversity.low)
        else "nothing can be said"
    )


def _signed(one: Interval) -> str:
    return f"{one.mean:+.3f} ({one.low:+.3f} to {one.high:+.3f})"


def section(found: Result, facts: Facts, command: str) -> Section:
    """The whole study for a reader."""
    n = len(found.points) - 1
    families = ", ".join(dict.fromkeys(one.family for one in found.points if one.family))
    about = (
        f"{counted(n, 'setting')} (families: {families}) and the reference {facts.reference}, for "
        f"{prompts_in_words(facts.prompts)}. Of up to {facts.n} outputs of at most {facts.max_tokens} tokens each has "
        "as many a prompt as one budget of tokens pays for: the smallest that any setting drew. Settings are chosen on "
        f"the odd prompts and judged on the even ones. Meanings by {facts.encoder}."
    )
    return Section("frontier", "What does diversity cost?", about, command, tuple(_exhibits(found, facts)))


def _exhibits(found: Result, facts: Facts) -> Iterator[Exhibit]:
    yield Remark(facts.verdict(found))
    yield from _left_out(found, facts)
    if any(math.isfinite(one.quality.mean) for one in found.points):
        yield _plane(found)
        yield _readings(found, facts)
    yield _settings(found, facts)
    yield _families(found)
    yield _choices(found)
    yield from _selection(found)
    yield _measures(found, facts)
    yield Remark(_scorers(facts))
    yield from curves(found.settings)
    yield _by_prompt(found, facts)


def _left_out(found: Result, facts: Facts) -> Iterator[Remark]:
    for one in found.points:
        if one.reason:
            yield Remark(f"{one.name} stands nowhere in the plane: {one.reason}.", is_warning=True)
    yield from (Remark(doubt, is_warning=True) for doubt in facts.doubts)
    n = len(facts.prompts) - len(found.used)
    if n:
        yield Remark(f"{counted(n, 'prompt')} left out, where some setting in the plane has no value.", is_warning=True)


def _axes(found: Result) -> tuple[str, str]:
    quality = QUALITIES[found.rules.quality]
    better = "" if quality.is_more_better else "; less is better"
    return f"{quality.title}{better}", DIVERSITIES[found.rules.diversity]


def _plane(found: Result) -> Figure:
    quality, diversity = _axes(found)

    def draw() -> Mapping[str, Chart]:
        from llama_diversity.render.planes import Dot, plane

        dots = [
            Dot(one.name, one.family or "", *one.diversity, *one.quality, one.is_on_front)
            for one in found.points
            if not one.reason
        ]
        is_up = QUALITIES[found.rules.quality].is_more_better
        return {"": plane(dots, across=diversity, up=quality, is_up_better=is_up, delta=found.rules.delta)}

    return Figure(
        PLANE,
        "Quality against diversity",
        draw,
        f"Up is better, right is more diverse, both in raw units: means over {len(found.used)} prompts with 95 % "
        "intervals over prompts. A line is a family, its settings in the order typed. Grey steps: the Pareto front. "
        f"Diamond: {found.points[0].name}; dashed: its quality less {found.rules.delta:g}.",
    )


def _settings(found: Result, facts: Facts) -> Table:
    quality, diversity = _axes(found)
    of = {one.name: one for one in found.settings}
    rows: list[tuple[Value, ...]] = [
        (
            one.name,
            facts.arms[one.name],
            one.quality.mean,
            _between(one.quality),
            one.diversity.mean,
            _between(one.diversity),
            "yes" if one.is_on_front else "",
            float(of[one.name].n_outputs.mean()),
            float(of[one.name].n_tokens.mean()),
            float(of[one.name].n_prompt_tokens.mean()),
        )
        for one in found.points
    ]
    return Table(
        "frontier-settings",
        "The settings",
        (
            "setting",
            "what it is",
            quality,
            "quality, 95 %",
            diversity,
            "diversity, 95 %",
            "front",
            "outputs",
            "written",
            "read",
        ),
        tuple(rows),
        f"Quality: {quality}. Diversity: {diversity}. Outputs, tokens written for them, and read: of a prompt, means "
        "over prompts, of a mixture what all its models write and read. Front: no other setting of any family is as "
        "good in both and better in one; the reference takes no part.",
    )


def _between(one: Interval) -> Between:
    return Between(one.low, one.high)


def _families(found: Result) -> Table:
    return Table(
        "frontier-families",
        "What each family holds of the plane",
        ("family", "coverage", "coverage, 95 %", "of the Pareto set", "share, 95 %"),
        tuple(_family_row(one) for one in found.families),
        f"Coverage: the area that the settings dominate, as a share of the box from quality {found.corner[0]:g} and "
        f"diversity {found.corner[1]:g} to {found.top[0]:g} and {found.top[1]:.3g}. Of the Pareto set: of the settings "
        "on the front over all families, those of this one. Intervals: prompts drawn again with replacement. Both take "
        "the best of several settings on the prompts that show it, and so flatter a little; the next table does not.",
    )


def _family_row(one: Family) -> tuple[Value, ...]:
    owned = one.of_front
    share: tuple[Value, ...] = (
        (None, None) if owned is None else (Share(owned.value), ShareBetween(owned.low, owned.high))
    )
    return (one.name, one.area.value, Between(one.area.low, one.area.high), *share)


def _choices(found: Result) -> Table:
    return Table(
        "frontier-choices",
        "What is chosen on the odd prompts, and what the even ones say of it",
        (
            "family",
            "setting",
            "diversity gained where chosen",
            "diversity gained, held out",
            "diversity, 95 %",
            "quality gained where chosen",
            "quality gained, held out",
            "quality, 95 %",
        ),
        tuple(_choice_row(one) for one in (*found.choices, found.best)),
        f"Gained: less {found.points[0].name}, more is better in both. Chosen: the most diverse whose quality is not "
        f"worse by {found.rules.delta:g}, its 95 % interval on the odd prompts included. “Where chosen” is what would "
        "have been claimed if one chose and reported on the same prompts.",
    )


def _choice_row(one: Choice) -> tuple[Value, ...]:
    if one.there is None or one.held_out is None:
        return (one.family, "none", None, None, None, None, None, None)
    halves = (
        (one.there.diversity.mean, one.held_out.diversity.mean, _between(one.held_out.diversity)),
        (one.there.quality.mean, one.held_out.quality.mean, _between(one.held_out.quality)),
    )
    return (one.family, one.setting, *halves[0], *halves[1])


def _selection(found: Result) -> Iterator[Remark]:
    """What would have been claimed without a half that is kept from the choice."""
    one = found.claimed
    if one.setting is None or one.there is None:
        yield Remark("Choosing and reporting on the same prompts, all of them, would have claimed nothing either.")
        return
    is_more = one.there.diversity.low > 0  # of quality it is chosen
    agrees = found.holds == is_more and (not is_more or found.best.setting == one.setting)
    held = "The held-out prompts agree." if agrees else "The held-out prompts do not bear that out."
    won = "a win" if is_more else "no win"
    yield Remark(
        f"Choosing and reporting on the same prompts, all of them, would have claimed {won} of {one.setting}: "
        f"diversity {_signed(one.there.diversity)}, quality {_signed(one.there.quality)}. {held}"
    )


def _measures(found: Result, facts: Facts) -> Table:
    names = [name for name in QUALITIES if name in found.settings[0].quality]
    rows: tuple[tuple[Value, ...], ...] = tuple(
        (one.name, *(found.means[one.name][name] for name in names)) for one in found.points
    )
    valid = f" Valid: {facts.valid}." if facts.valid else ""
    return Table(
        "frontier-measures",
        "Every measure of quality",
        ("setting", *(QUALITIES[name].title for name in names)),
        rows,
        "Means over prompts. On topic: cosine of an output to its prompt less its mean cosine to the other prompts. "
        "Bits per byte: of all outputs of a prompt, behind the raw prompt. Loops: the share of four-word sequences "
        f"that stood in the same output before. Finished: not cut off by --max-tokens.{valid}",
    )


def _scorers(facts: Facts) -> str:
    named = ", ".join(f"{role} {model}" for role, model in facts.scorers.items())
    third = "" if "scorer" in facts.scorers else " A third one that took no part would judge better: --scorer MODEL."
    return (
        f"Scorers: {named}. What a model finds likely favours what it writes itself: aligned's own bits favour "
        f"aligned, and all of them favour cooler settings and loops.{third}"
    )


def _by_prompt(found: Result, facts: Facts) -> Table:
    rows: list[tuple[Value, ...]] = []
    for one in found.settings:
        for axis, measures in (("quality", one.quality), ("diversity", one.diversity)):
            for name, values in measures.items():
                for at, prompt in enumerate(facts.prompts):
                    value = float(values[at])
                    half = "odd" if at % 2 == 0 else "even"
                    shown = value if math.isfinite(value) else None
                    sizes = (int(one.n_outputs[at]), round(float(one.n_tokens[at])))
                    rows.append((one.family or "", one.name, at + 1, prompt, half, axis, name, shown, *sizes))
    return Table("frontier-by-prompt", "Every value by prompt", BY_PROMPT, tuple(rows), in_terminal=False)


def _readings(found: Result, facts: Facts) -> Readings:
    entries = tuple(
        Reading(one.name, _told(one, facts), tuple(_some(facts, one.name)))
        for one in found.points
        if one.name in facts.texts
    )
    note = "Point at a setting in the picture, tap it or reach it with the Tab key, or open it here."
    return Readings("frontier-outputs", "What the settings write", PLANE, entries, note)


def _told(one: Point, facts: Facts) -> str:
    numbers = f"quality {written(one.quality.mean)}, diversity {written(one.diversity.mean)}"
    return f"{facts.arms[one.name]}: {one.reason or numbers}"


def _some(facts: Facts, name: str) -> Iterator[tuple[str, str]]:
    """The first output of some prompts, spread over all of them."""
    step = max(1, len(facts.prompts) // _SHOWN)
    for at in range(0, len(facts.prompts), step)[:_SHOWN]:
        outputs = facts.texts[name][at]
        text = outputs[0] if outputs else ""
        yield facts.prompts[at], text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
