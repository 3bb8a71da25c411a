"""The ledger: verdicts from planted numbers, the paper's own pair and another, and what is not there."""

from __future__ import annotations

import dataclasses
import math

import pytest

from llama_diversity.exhibits.ledger import Facts, ledger_as_json, section
from llama_diversity.experiments import collapse, ledger, personas, syntactic
from llama_diversity.experiments.ledger import Entry, Made, Number, Published, entries, verdict_of
from llama_diversity.metrics.entropy import Rate
from llama_diversity.metrics.inference import Difference, Proportion, Summary, welch_difference, wilson
from llama_diversity.render.exhibits import Remark, Table

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
    assert (few.verdict, few.reason) == ("not comparable", "no interval: too few outputs")


@pytest.mark.parametrize(
    ("direction", "expected"), [(1, "agrees"), (0, "not comparable"), (-1, "differs"), (None, "not comparable")]
)
def test_a_finding_without_numbers_agrees_where_its_direction_is_shown(direction: int | None, expected: str) -> None:
    words = [(Published("scattered"), Number(5.0)), (Published("4 clusters"), Number(2.0))]
    assert verdict_of(PAPER, words, direction, "why").verdict == expected


def test_table_1_is_arithmetic_and_its_misprint_differs() -> None:
    found = {entry.id: entry for entry in entries(OTHER)}
    assert [found[f"T1.t{t}"].verdict for t in (1, 2, 3, 4)] == ["agrees", "agrees", "agrees", "differs"]
    assert found["T1.t4"].aligned.value == pytest.approx(math.exp(1.6) / (math.exp(1.6) + math.exp(-0.6)))
    assert len(found) == len(collapse.PRINTED_TABLE_1) - 1  # nothing else was run
    assert ledger.absent(OTHER) == ["personas", "semantic", "syntactic", "perturb"]


def perturbed(k: int, n: int, *, n_attractors: int = 1, first_excess: float = 2.0) -> ledger.perturb.Arm:
    returned = wilson(k, n) if n_attractors else Proportion(None, None, None, 0, n, "no attractor to return to")
    excess = Difference(first_excess, 0.1, first_excess - 0.2, first_excess + 0.2)
    return ledger.perturb.Arm(n_attractors, returned, returned, (), (), (excess,), 3)


def test_a_base_without_attractors_returns_nowhere() -> None:
    arms = {"base": perturbed(0, 100, n_attractors=0), "base, T 0.3": perturbed(65, 100), "aligned": perturbed(70, 100)}
    made = OTHER._replace(perturb=arms)
    returned, cold, recovery = (line(made, id) for id in ("5.1.return", "5.1.cold", "5.1.recovery"))
    assert (returned.base.value, returned.base.words, returned.verdict) == (0, "no attractors", "same direction")
    assert returned.change.low == pytest.approx(0.7 - math.hypot(0.7 - wilson(70, 100).low, wilson(0, 100).high))  # type: ignore[operator]
    assert cold.verdict == "not comparable"  # 65 against 70 of 100
    assert recovery.verdict == "same direction"
    assert "calm after 3 tokens" in recovery.reason


@pytest.mark.parametrize(("first_excess", "recovery_token"), [(2.0, None), (0.0, 3), (-1.0, 3)])
def test_recovery_needs_a_surprise_and_an_end_of_it(first_excess: float, recovery_token: int | None) -> None:
    arm = dataclasses.replace(perturbed(70, 100, first_excess=first_excess), recovery_token=recovery_token)
    made = OTHER._replace(perturb={"base": perturbed(0, 100), "aligned": arm})
    assert line(made, "5.1.recovery").verdict == "differs"


def card(nationality: str, mbti: str, age: int, gender: str = "Female") -> str:
    return (
        f"First name: Emily\nLast name: Jones\nGender: {gender}\nAge: {age}\nNationality: {nationality}\n"
        f"Ethnicity: White\nMyers-Briggs type: {mbti}\nReview: I love this machine, it is warm."
    )


def test_personas_are_compared_field_by_field() -> None:
    """Base: five nationalities and four types evenly, all ages, one woman in five. Aligned: one of each, all women."""
    nations, types = ("German", "French", "Indian", "Irish", "Dutch"), ("ENFP", "INTJ", "ISFJ", "ESTP")
    base = [
        card(nations[at % 5], types[at % 4], 20 + at % 40, "Female" if at % 5 == 0 else "Male") for at in range(100)
    ]
    aligned = [card("American", "ENFP" if at % 10 else "INTJ", 30 + at % 3) for at in range(100)]
    found = {e.id: e for e in entries(OTHER._replace(personas=personas.analyse({"base": base, "aligned": aligned})))}
    assert found["E1.mbti"].base == Number(4.0, 4.0, 4.0)
    assert found["E1.mbti"].verdict == found["E1.age"].verdict == "same direction"
    assert found["E1.gender"].base.value == pytest.approx(0.2)
    assert found["E1.gender"].aligned.value == 1
    assert found["E1.gender"].verdict == "same direction"
    assert found["E1.review_chars"].verdict == "not comparable"  # equal reviews: no difference to be told
    assert found["E1.nationality"].base.words == "5 seen: Dutch, French, German, ..."
    assert found["E1.nationality"].base.value == pytest.approx(5, abs=0.2)  # bias-corrected, hence not 5 to the digit
    assert found["E1.nationality"].verdict == "same direction"
    assert found["E1.age"].aligned.words == "30 to 32, mode 30"


def test_the_section_says_verdicts_deviations_and_errata() -> None:
    lines = entries(OTHER._replace(syntactic=entropies(1.48, 0.96)))
    facts = Facts("tiny-base", "tiny-aligned", False, [("sampler", "T = 1", "the same")], ["personas"])
    shown = section(lines, facts, "llamadiv reproduce")
    remarks = [one for one in shown.exhibits if isinstance(one, Remark)]
    assert remarks[0].text == "5 lines: agrees 3, same direction 1, differs 1."
    assert remarks[1].is_warning
    assert "personas" in remarks[1].text
    tables = {one.name: one for one in shown.exhibits if isinstance(one, Table)}
    assert ("E3.entropy", "same direction", "1.48 (sd 0.17) → 0.96 (sd 0.12)", "1.48 → 0.96") in tables["ledger"].rows
    assert ("T1.t4", "differs", "0.93", "0.9") in tables["ledger"].rows
    assert len(tables["ledger-errata"].rows) == 5
    report = ledger_as_json(lines, facts)
    entry = report["entries"][0]
    assert entry["published_base"] == {"words": "1.48 (sd 0.17)", "value": 1.48, "se": pytest.approx(0.017)}
    assert entry["change"]["low"] < entry["change"]["value"] < entry["change"]["high"] < 0
    assert report["deviations"] == [{"what": "sampler", "paper": "T = 1", "here": "the same"}]
