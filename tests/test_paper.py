"""The ledger: verdicts from planted numbers, the paper's own pair and another, and what is not there."""

from __future__ import annotations

import math

import numpy as np
import pytest

from llama_diversity.answers import Answer
from llama_diversity.metrics.entropy import Rate
from llama_diversity.metrics.inference import Proportion, Summary, welch_difference, wilson
from llama_diversity.records import TOKEN_DTYPE
from llama_diversity.render.exhibits import Remark, Table
from llama_diversity.studies.collapse import analysis as collapse
from llama_diversity.studies.paper import analysis as ledger
from llama_diversity.studies.paper.analysis import Entry, Made, Number, Published, entries, verdict_of
from llama_diversity.studies.paper.exhibits import Facts, ledger_as_json, section
from llama_diversity.studies.personas import analysis as personas
from llama_diversity.studies.syntactic import analysis as syntactic

PAPER = Made("base", "aligned", is_paper_pair=True)
OTHER = Made("base", "aligned", is_paper_pair=False)


def entropies(base: float, aligned: float, *, sd: float = 0.15, n: int = 100) -> syntactic.Result:
    """Experiment 3 with these means of completion means; every measure alike."""
    arms = {}
    for name, mean in (("base", base), ("aligned", aligned)):
        summary = Summary(mean, sd, sd / math.sqrt(n), n)
        measures = dict.fromkeys(syntactic.MEASURES, summary)
        arms[name] = syntactic.Arm(measures, {}, Rate(mean, 0.0), 0.0, n, None)  # type: ignore[arg-type]
    changed = welch_difference(arms["base"].measures["entropy_bits"], arms["aligned"].measures["entropy_bits"])
    return syntactic.Result(arms, {"aligned": dict.fromkeys(syntactic.MEASURES, changed)})


def line(made: Made, id: str) -> Entry:
    return next(entry for entry in entries(made) if entry.id == id)


@pytest.mark.parametrize(
    ("base", "aligned", "on_paper_pair", "on_other"),
    [
        (1.48, 0.96, "agrees", "same direction"),
        (1.50, 0.95, "agrees", "same direction"),  # off by 0.02: z = 0.02 / hypot(0.015, 0.017) = 0.9
        (1.80, 0.96, "same direction", "same direction"),  # base differs, z = 14
        (0.96, 1.48, "differs", "differs"),
        (1.20, 1.20, "not comparable", "not comparable"),
    ],
)
def test_numbers_agree_only_on_the_papers_pair(base: float, aligned: float, on_paper_pair: str, on_other: str) -> None:
    for made, expected in ((PAPER, on_paper_pair), (OTHER, on_other)):
        found = line(made._replace(syntactic=entropies(base, aligned)), "E3.entropy")
        assert found.verdict == expected
        assert (found.base.value, found.aligned.value) == (base, aligned)
        assert found.base.low == pytest.approx(base - 1.959964 * 0.015)


def test_an_interval_that_cannot_tell_is_no_verdict() -> None:
    """Means 0.1 apart with standard errors of 0.2 each: the interval of the difference includes 0."""
    found = line(OTHER._replace(syntactic=entropies(1.3, 1.2, sd=2.0)), "E3.entropy")
    assert found.verdict == "not comparable"
    assert "the interval includes no difference" in found.reason
    few = line(OTHER._replace(syntactic=entropies(1.3, 1.2, n=1)), "E3.entropy")
    assert (few.verdict, few.reason) == ("not comparable", "no interval: too few outputs, or outputs that do not vary")


@pytest.mark.parametrize(
    ("direction", "expected"), [(1, "same direction"), (0, "not comparable"), (-1, "differs"), (None, "not comparable")]
)
def test_a_finding_without_numbers_can_only_have_the_direction(direction: int | None, expected: str) -> None:
    words = [(Published("scattered"), Number(5.0, 4.0, 6.0)), (Published("4 clusters"), Number(2.0, 1.0, 3.0))]
    for made in (PAPER, OTHER):
        assert verdict_of(made, words, direction, "why").verdict == expected


def test_imprecision_does_not_agree() -> None:
    """Intervals of 0.9 around 0.5 hold 0.16 and 0.35, but could not have told the two apart."""
    numbers = [
        (Published("", 0.16, 0.004), Number(0.5, -0.4, 1.4)),
        (Published("", 0.35, 0.008), Number(0.6, -0.3, 1.5)),
    ]
    assert verdict_of(PAPER, numbers, 1, "why").verdict == "same direction"
    near = [
        (Published("", 0.16, 0.004), Number(0.16, 0.15, 0.17)),
        (Published("", 0.35, 0.008), Number(0.35, 0.34, 0.36)),
    ]
    assert verdict_of(PAPER, near, 1, "why").verdict == "agrees"
    assert verdict_of(OTHER, near, 1, "why").verdict == "same direction"


def test_outputs_that_do_not_vary_show_no_direction() -> None:
    """Copies of one output have standard errors of rounding size, and a difference of any size would be beyond them."""
    found = line(OTHER._replace(syntactic=entropies(1.3, 1.2, sd=1e-12)), "E3.entropy")
    assert found.verdict == "not comparable"
    assert "outputs that do not vary" in found.reason


def test_table_1_is_arithmetic_and_its_misprint_differs() -> None:
    found = {entry.id: entry for entry in entries(OTHER)}
    assert [found[f"T1.t{t}"].verdict for t in (1, 2, 3, 4)] == ["agrees", "agrees", "agrees", "differs"]
    assert found["T1.t4"].aligned.value == pytest.approx(math.exp(1.6) / (math.exp(1.6) + math.exp(-0.6)))
    assert len(found) == len(collapse.PRINTED_TABLE_1) - 1  # nothing else was run
    assert ledger.absent(OTHER) == ["personas", "semantic", "syntactic", "perturb"]


def perturbed(
    k: int,
    n: int,
    *,
    with_attractors: int = 8,
    more: tuple[float, float, float] = (0.6, 0.4, 0.8),
    calm: float | None = 3,
) -> ledger.perturb.Over:
    """What an arm did after eight openings."""
    returned = wilson(k, n) if with_attractors else Proportion(None, None, None, 0, n, "no attractor to return to")
    return ledger.perturb.Over(
        8, wilson(with_attractors, 8), returned, returned, with_attractors, (0, 0), (), (), (), wilson(90, 100),
        wilson(23, 100), ledger.perturb.Disturbance(*more), ledger.perturb.Calm(calm, calm, calm, 8),
    )  # fmt: skip


def after(n_own: int = 8, **arms: ledger.perturb.Over) -> ledger.Made:
    return OTHER._replace(
        perturb=ledger.perturb.Outcome({arm.replace("cold", "base, T 0.3"): x for arm, x in arms.items()}, n_own, 8)
    )


def test_attractors_and_returns_are_separate_findings() -> None:
    """Base none, cold base some, aligned some: the paper's first claim holds, of its second nothing is to be told."""
    made = after(
        base=perturbed(0, 100, with_attractors=0), cold=perturbed(5, 100, with_attractors=7), aligned=perturbed(70, 100)
    )
    found = {entry.id: entry for entry in entries(made)}
    assert found["5.1.attractors.base"].verdict == "same direction"
    assert found["5.1.attractors.cold"].verdict == "not comparable"
    assert "the interval includes no difference" in found["5.1.attractors.cold"].reason
    assert found["5.1.return.base"].verdict == "not comparable"
    assert "base has something to return to in 0 openings" in found["5.1.return.base"].reason
    cold = found["5.1.return.cold"]
    assert cold.verdict == "same direction"  # 5 against 70 of 100
    assert cold.change.low == pytest.approx(
        0.65 - math.hypot(0.7 - (wilson(70, 100).low or 0), (wilson(5, 100).high or 0) - 0.05)
    )


def test_few_openings_of_the_model_s_own_words_show_nothing() -> None:
    made = after(4, base=perturbed(5, 100, with_attractors=1), aligned=perturbed(70, 100))
    for id in ("5.1.attractors.base", "5.1.return.base", "5.1.recovery"):
        assert line(made, id).verdict == "not comparable"
        assert "4 of 8 are openings with words of the aligned model's own" in line(made, id).reason


@pytest.mark.parametrize(
    ("more", "calm", "expected"),
    [
        ((0.6, 0.4, 0.8), 3.0, "same direction"),
        ((0.6, 0.4, 0.8), None, "differs"),
        ((0.1, -0.1, 0.3), 3.0, "not comparable"),
        ((-0.2, -0.3, -0.1), 3.0, "differs"),
    ],
)
def test_recovery_needs_a_surprise_and_an_end_of_it(
    more: tuple[float, float, float], calm: float | None, expected: str
) -> None:
    made = after(base=perturbed(0, 100), aligned=perturbed(70, 100, more=more, calm=calm))
    assert line(made, "5.1.recovery").verdict == expected


def card(nationality: str, mbti: str, age: int, gender: str = "Female") -> str:
    return (
        f"First name: Emily\nLast name: Jones\nGender: {gender}\nAge: {age}\nNationality: {nationality}\n"
        f"Ethnicity: White\nMyers-Briggs type: {mbti}\nReview: I love this machine, it is warm."
    )


def test_personas_are_compared_field_by_field() -> None:
    """Base: four nationalities and four types, all ages, one woman in five. Aligned: one of each, all women."""
    nations, types = ("German", "French", "Indian", "Irish", "German"), ("ENFP", "INTJ", "ISFJ", "ESTP")
    base = [
        card(nations[at % 5], types[at % 4], 20 + at % 40, "Female" if at % 5 == 0 else "Male") for at in range(100)
    ]
    aligned = [card("American", "ENFP" if at % 10 else "INTJ", 30 + at % 3) for at in range(100)]
    none = np.zeros(0, TOKEN_DTYPE)
    said = {arm: [Answer(one, b"", none) for one in some] for arm, some in (("base", base), ("aligned", aligned))}
    found = {e.id: e for e in entries(OTHER._replace(personas=personas.analyse(said)))}
    assert found["E1.mbti"].base == Number(4.0)  # all that are there were seen: no interval
    assert "the prompt is part of the difference" in found["E1.mbti"].reason
    assert found["E1.mbti"].verdict == found["E1.age"].verdict == "same direction"
    assert found["E1.gender"].base.value == pytest.approx(0.2)
    assert found["E1.gender"].aligned.value == 1
    assert found["E1.gender"].verdict == "same direction"
    assert found["E1.review_chars"].verdict == "not comparable"  # equal reviews: no difference to be told
    assert found["E1.nationality"].base.words == "4 seen: German, French, Indian, ..."
    assert found["E1.nationality"].base.value == pytest.approx(
        3.79, abs=0.1
    )  # exp of 0.4 ln 2.5 + 0.6 ln 5, bias-corrected
    assert found["E1.nationality"].verdict == "same direction"
    assert found["E1.age"].aligned.words == "30 to 32, mode 30"


def test_the_section_says_verdicts_deviations_and_errata() -> None:
    lines = entries(OTHER._replace(syntactic=entropies(1.48, 0.96)))
    facts = Facts("tiny-base", "tiny-aligned", False, [("sampler", "T = 1", "the same")], ["personas"])
    shown = section(lines, facts, "llamadiv reproduce")
    remarks = [one for one in shown.exhibits if isinstance(one, Remark)]
    assert remarks[0].text == (
        "1 line about these models: ✓ same direction 1. 4 lines of arithmetic, which no model enters: ✓ agrees 3, ✗ "
        "differs 1."
    )
    assert remarks[1].is_warning
    assert "personas" in remarks[1].text
    tables = {one.name: one for one in shown.exhibits if isinstance(one, Table)}
    assert (
        "✓ same direction",
        "How undecided is a model at each token (five likeliest, Eq. 3.2)?",
        "1.48 (sd 0.17) bits → 0.96 (sd 0.12) bits",
        "1.48 bits (1.45 to 1.51) → 0.96 bits (0.93 to 0.99)",
    ) in tables["ledger"].rows
    assert (
        "✗ differs", "Table 1, t = 4: probability of “Jeepiti”?", "0.93", "0.9",
    ) in tables["ledger"].rows  # fmt: skip
    assert len(tables["ledger-errata"].rows) == 5
    report = ledger_as_json(lines, facts)
    entry = report["entries"][0]
    assert entry["published_base"] == {"words": "1.48 (sd 0.17)", "value": 1.48, "se": pytest.approx(0.017)}
    assert entry["change"]["low"] < entry["change"]["value"] < entry["change"]["high"] < 0
    assert report["deviations"][0] == {"what": "sampler", "paper": "T = 1", "here": "the same"}
    assert "blocked trajectories" in {one["what"] for one in report["deviations"]}
