"""How agreeable the people are, by segment: the tone of their texts by VADER, for each value of each fixed field."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from llama_diversity.metrics.inference import Interval, Proportion, mean_interval, wilson
from llama_diversity.studies.measuring.tone import MOST_OTHER_LANGUAGE, MOST_UNKNOWN, Vader
from llama_diversity.studies.population.asking import is_text
from llama_diversity.studies.population.pipeline import Person
from llama_diversity.studies.population.target import Target

GLAD = 0.05  # VADER's own border of a positive text
LEAST_OF_SEGMENT = 5


class Segment(NamedTuple):
    """Usable people of one value: the mean tone of their texts, -1 to 1, and the share whose text is glad."""

    field: str
    value: str
    n: int
    tone: Interval
    glad: Proportion


class Agreeableness(NamedTuple):
    """All usable people, then every segment of LEAST_OF_SEGMENT or more; `why` there is none, "" where there is."""

    segments: tuple[Segment, ...]
    why: str


def agreeableness(people: Sequence[Person], target: Target) -> Agreeableness:
    """Of the texts of usable people; none where there are no texts, or VADER's English lexicon cannot judge them."""
    usable = [one for one in people if one.is_usable]
    names = [one.name for one in target.free if is_text(one)]
    if not names or not usable:
        return Agreeableness((), "there are no texts")
    vader = Vader()
    tones = [vader(" ".join(one.values[name] for name in names)) for one in usable]
    if sum(not one.is_english for one in tones) > MOST_OTHER_LANGUAGE * len(tones):
        return Agreeableness((), "too many texts are not English, and the lexicon of tones is")
    if sum(not (one.is_english and one.has_known) for one in tones) > MOST_UNKNOWN * len(tones):
        return Agreeableness((), "the lexicon of tones knows no word of more than half of the texts")
    values = [one.of_whole for one in tones]
    found = [_segment("all", "", values)]
    for at, field in enumerate(target.fixed):
        for value in field.shares:
            some = [tone for one, tone in zip(usable, values, strict=True) if (one.cell or ())[at : at + 1] == (value,)]
            if len(some) >= LEAST_OF_SEGMENT:
                found.append(_segment(field.label, value, some))
    return Agreeableness(tuple(found), "")


def _segment(field: str, value: str, tones: Sequence[float]) -> Segment:
    tone = mean_interval(tones)
    if tone.low is not None and tone.high is not None:  # Student's interval of a few may reach beyond the scale
        tone = tone._replace(low=max(tone.low, -1.0), high=min(tone.high, 1.0))
    return Segment(field, value, len(tones), tone, wilson(sum(one >= GLAD for one in tones), len(tones)))
