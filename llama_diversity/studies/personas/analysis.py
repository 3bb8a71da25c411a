"""Experiment 1 of the paper: how varied are the customers that a model makes up, and what do they say?

Protocol (Mohammadi 2024, sections 3.1 and 4.1): n personas of each model, one in each completion, with a review of the
paper's coffee machine. Aligned models get the request through their chat template. The base model gets a form with two
worked examples and continues a third; there are N_DOCUMENTS such forms with other examples each, in turn, so that no
example becomes the answer. An output that holds no whole persona is counted with the reason; figures of diversity are
of the valid ones (conditional), and the share of those stands beside them.

Declared beforehand: the primary measure of a field is its class entropy, estimated after Chao, Wang and Jost; p-values
of the fields are adjusted after Holm. One arm is the reference, the first one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from llama_diversity.answers import Answer
from llama_diversity.metrics.coverage import Coverage, chao_wang_jost_nats, rarefied_richness, refined_coverage
from llama_diversity.metrics.indices import concentration
from llama_diversity.metrics.inference import (
    Contrast,
    Difference,
    Estimate,
    Proportion,
    Retained,
    Summary,
    holm,
    jackknife,
    limits_of,
    log_ratio,
    part_of,
    summarize,
    welch_difference,
    wilson,
)
from llama_diversity.studies.measuring.limits import objection_to_class_entropy
from llama_diversity.studies.measuring.tone import MOST_OTHER_LANGUAGE, MOST_UNKNOWN, Vader
from llama_diversity.studies.personas.parser import FIELDS, Persona, Rejected, parse
from llama_diversity.studies.personas.values import folded

N_SAMPLES = 100
MAX_TOKENS = 400
N_DOCUMENTS = 10
N_EXAMPLES = 2
STOP = ("\n---", "\nProduct:")  # where the base model's form goes on with the next card
# Forms by force (GBNF): any words, but whole forms. What is then measured is no longer what the model would say.
_FIELDS = r"""value "\nGender: " value "\nAge: " age "\nNationality: " value "\nEthnicity: " value \
"\nMyers-Briggs type: " type "\nReview: " review
value ::= [^\n:"{}]{1,40}
age ::= [1-9] [0-9]?
type ::= [EI] [NS] [FT] [JP]
review ::= [^\n]{20,600} "\n"
""".replace("\\\n", "")
FORM_GRAMMAR = r'root ::= " " value "\nLast name: " ' + _FIELDS  # goes on behind the form's last label
CARD_GRAMMAR = r'root ::= "First name: " value "\nLast name: " ' + _FIELDS
FIRST_FIELD = "first_name"  # the form ends with its label
CATEGORIES = ("first_name", "last_name", "gender", "nationality", "ethnicity", "mbti")
NUMBERS = ("age", "review_chars", "review_sentences", "sentiment", "sentence_sentiment")
TONES = ("sentiment", "sentence_sentiment")  # VADER's score of a review: of the whole, and its mean over sentences


class Field(NamedTuple):
    """One categorical field of an arm's valid personas."""

    counts: Mapping[str, int]  # the most frequent first, ties by name
    entropy_nats: Estimate  # Chao, Wang and Jost
    rarefied: Estimate  # values expected among `m` personas, m half of the smaller arm
    concentration: Estimate  # chance that two personas share the value
    concentration_of_all: float | None  # that two outputs do, valid or not: an invalid one shares it with none
    coverage: Coverage  # share of what the model gives that has been seen
    n_spellings: int  # in which the values were written, before those of one value were joined


@dataclass(frozen=True)
class Row:
    """One output for a table of all: where it is from, its fields as they were read, and why it is no persona."""

    arm: str
    index: int  # within the arm, from 0
    sample: str  # its id
    fields: Mapping[str, str]  # of those in FIELDS the ones that could be read
    reason: str  # empty of a valid one


@dataclass(frozen=True)
class Arm:
    """One arm: the valid personas, why others are not, its fields, and numbers of each persona.

    `n_unknown_tones`: reviews of which VADER's English lexicon knows no word, those in `n_other_language` included;
    where they are many `has_tone` is false, and there are no numbers of TONES.
    """

    n: int
    valid: Proportion
    n_cut_off: int  # by --max-tokens, valid or not
    reasons: Mapping[str, int]
    outputs: tuple[Persona | Rejected, ...]
    personas: tuple[Persona, ...]  # the valid ones among them
    n_unknown_tones: int
    n_other_language: int
    has_tone: bool
    fields: Mapping[str, Field]
    numbers: Mapping[str, tuple[float, ...]]  # NUMBERS of each valid persona
    summaries: Mapping[str, Summary]


@dataclass(frozen=True)
class Result:
    """All arms, and every later one against the first: the retained entropy of fields, differences of numbers."""

    arms: Mapping[str, Arm]
    m: int  # of `rarefied`
    retained: Mapping[str, Mapping[str, Retained]]
    adjusted_p: Mapping[str, Mapping[str, float | None]]  # Holm over the fields of an arm
    differences: Mapping[str, Mapping[str, Difference]]


def analyse(answers: Mapping[str, Sequence[Answer]], *, forms: Sequence[str] = ()) -> Result:
    """Parse each arm's outputs and compare. Arms named in `forms` continued a form that ends with FIRST_FIELD."""
    parsed = {
        arm: [_parsed(one, FIRST_FIELD if arm in forms else None) for one in some] for arm, some in answers.items()
    }
    valid = {arm: [one for one in some if isinstance(one, Persona)] for arm, some in parsed.items()}
    m = min((len(some) for some in valid.values()), default=0) // 2
    shown = {name: _joined([str(getattr(one, name)) for some in valid.values() for one in some]) for name in CATEGORIES}
    arms = {arm: _arm(arm, some, parsed[arm], m, shown) for arm, some in answers.items()}
    first, *others = arms
    retained = {
        arm: {
            name: log_ratio(arms[first].fields[name].entropy_nats, arms[arm].fields[name].entropy_nats)
            for name in CATEGORIES
        }
        for arm in others
    }
    return Result(
        arms,
        m,
        retained,
        {arm: _adjusted(some) for arm, some in retained.items()},
        {
            arm: {name: welch_difference(arms[first].summaries[name], arms[arm].summaries[name]) for name in NUMBERS}
            for arm in others
        },
    )


# ---- numbers that are said of a field


class Spread(NamedTuple):
    """A number with its 95 % interval, None where there is none."""

    value: float | None
    low: float | None = None
    high: float | None = None


def effective(field: Field) -> Spread:
    """As varied as how many equally frequent values: exp of the class entropy, and of its interval."""
    value = field.entropy_nats.value
    if value is None:
        return Spread(None)
    limits = limits_of(field.entropy_nats)
    return Spread(math.exp(value)) if limits is None else Spread(math.exp(value), *map(math.exp, limits))


def entropy_difference(found: Result, first: str, arm: str, field: str) -> Spread:
    """Class entropy of a field, `arm` - `first`, nats: where one of them has but one value there is no share kept."""
    base, other = (found.arms[name].fields[field].entropy_nats for name in (first, arm))
    if None in (base.value, base.se, other.value, other.se):
        return Spread(None)
    difference = (other.value or 0.0) - (base.value or 0.0)
    both = Contrast(difference, (part_of(base, -1), part_of(other, 1)), is_log=False)
    return Spread(difference, *both.limits())


def spread_of_ages(arm: Arm) -> Estimate:
    """Standard deviation of the ages, years, with the jackknife's error."""
    return jackknife(_standard_deviation, np.asarray(arm.numbers["age"]))


def _standard_deviation(ages: npt.NDArray[np.float64]) -> float:
    return float(np.std(ages, ddof=1)) if len(ages) > 1 else math.nan


def women(arm: Arm) -> Proportion:
    """The share of women among the valid personas."""
    n = sum(n for value, n in arm.fields["gender"].counts.items() if value.casefold() == "female")
    return wilson(n, len(arm.personas))


def rows(arm: str, outputs: Sequence[Persona | Rejected], origins: Sequence[tuple[int, str]]) -> tuple[Row, ...]:
    """Every output of an arm, valid or not, by its index; `origins` are the index and the sample's id of each."""
    return tuple(
        Row(arm, index, sample, _fields(one), one.reason if isinstance(one, Rejected) else "")
        for (index, sample), one in sorted(zip(origins, outputs, strict=True), key=lambda pair: pair[0])
    )


def _fields(output: Persona | Rejected) -> Mapping[str, str]:
    return output.fields if isinstance(output, Rejected) else {name: str(getattr(output, name)) for name in FIELDS}


def _joined(values: Sequence[str]) -> dict[str, str]:
    """For each spelling of a value the one that stands for all: the most frequent, of equals not one in capitals."""
    spellings: dict[str, Counter[str]] = {}
    for value in values:
        spellings.setdefault(folded(value), Counter())[value] += 1
    found = {}
    for counts in spellings.values():
        _, _, best = min((-n, one.isupper() or one.islower(), one) for one, n in counts.items())
        found.update(dict.fromkeys(counts, best))
    return found


def _parsed(answer: Answer, begins_with: str | None) -> Persona | Rejected:
    """The persona of an output, or why there is none; what --max-tokens did to it is part of the reason."""
    if answer.is_thinking:
        return Rejected(answer.flaw or "", {})
    found = parse(answer.text, begins_with=begins_with)
    if isinstance(found, Rejected) and answer.is_cut_off:
        return Rejected(f"{found.reason}, cut off by --max-tokens", found.fields)
    return found


def _arm(
    arm: str,
    answers: Sequence[Answer],
    outputs: Sequence[Persona | Rejected],
    m: int,
    shown: Mapping[str, Mapping[str, str]],
) -> Arm:
    personas = [one for one in outputs if isinstance(one, Persona)]
    vader = Vader()
    tones = [vader(one.review) for one in personas]
    n_other = sum(not one.is_english for one in tones)
    n_unknown = sum(not (one.is_english and one.has_known) for one in tones)
    has_tone = n_other <= MOST_OTHER_LANGUAGE * len(tones) and n_unknown <= MOST_UNKNOWN * len(tones)
    numbers = {
        "age": tuple(float(one.age) for one in personas),
        "review_chars": tuple(float(len(one.review)) for one in personas),
        "review_sentences": tuple(float(one.n_sentences) for one in tones),
        "sentiment": tuple(one.of_whole for one in tones if has_tone),
        "sentence_sentiment": tuple(one.of_sentences for one in tones if has_tone),
    }
    reasons = Counter(one.reason for one in outputs if isinstance(one, Rejected))
    return Arm(
        len(outputs),
        wilson(len(personas), len(outputs)),
        sum(one.is_cut_off for one in answers),
        dict(reasons.most_common()),
        tuple(outputs),
        tuple(personas),
        n_unknown,
        n_other,
        has_tone,
        {
            name: _field(
                arm,
                [shown[name][str(getattr(one, name))] for one in personas],
                m,
                len(outputs),
                len({one.written.get(name, getattr(one, name)) for one in personas}),
            )
            for name in CATEGORIES
        },
        numbers,
        {number: summarize(values) for number, values in numbers.items()},
    )


def _field(arm: str, values: Sequence[str], m: int, n_outputs: int, n_spellings: int) -> Field:
    counts = dict(sorted(Counter(values).items(), key=lambda item: (-item[1], item[0])))
    sizes = list(counts.values())
    refused = objection_to_class_entropy(arm, np.array(sizes, np.int64))
    few = Estimate(None, None, len(values), "too few valid personas")
    return Field(
        counts,
        chao_wang_jost_nats(sizes) if refused is None else Estimate(None, None, len(values), refused),
        rarefied_richness(sizes, m) if m else few,
        concentration(sizes),
        sum(n * (n - 1) for n in sizes) / (n_outputs * (n_outputs - 1)) if n_outputs > 1 else None,
        refined_coverage(sizes),
        n_spellings,
    )


def _adjusted(fields: Mapping[str, Retained]) -> dict[str, float | None]:
    known = {name: found.p for name, found in fields.items() if found.p is not None}
    adjusted = dict(zip(known, holm(list(known.values())).tolist(), strict=True)) if known else {}
    return {name: adjusted.get(name) for name in fields}
