"""The joint of a target: margins, pairs and rules in words."""

from __future__ import annotations

import numpy as np
import pytest

from llama_diversity.errors import BadTarget
from llama_diversity.studies.population.joint import joint_of
from llama_diversity.studies.population.target import Bin, Field, Pair, Rule, Target

AGE = Field("age", shares={"18-64": 0.8, "65+": 0.2}, bins=(Bin("18-64", 18, 64), Bin("65+", 65, None)))
WORK = Field("work", shares={"paid": 0.6, "retired": 0.1, "none": 0.3})
GENDER = Field("gender", shares={"female": 0.5, "male": 0.5})
PENSION = Rule({"age": ("<65",)}, {"work": ("retired",)}, "pension age")


def joint(*fields, **rest):
    return joint_of(Target("Two", tuple(fields), **rest))


def test_margins_alone_are_independent_and_in_the_order_of_the_target():
    found = joint(GENDER, Field("review"), AGE, Field("country", given="Austria"))
    assert found.fields == ("gender", "age")
    assert found.cells == (("female", "18-64"), ("female", "65+"), ("male", "18-64"), ("male", "65+"))
    np.testing.assert_allclose(found.shares, [0.4, 0.1, 0.4, 0.1])


def test_a_rule_takes_its_cells_out():
    found = joint(AGE, WORK, rules=(PENSION,))
    assert ("18-64", "retired") not in found.cells
    assert len(found.cells) == 5
    # All 0.1 retired are 65+; of the other 0.1 who are 65+ and the 0.8 who are not, work splits as 0.6 to 0.3.
    assert found.pair("age", "work") == pytest.approx(
        {
            ("18-64", "paid"): 0.8 * 2 / 3,
            ("18-64", "retired"): 0.0,
            ("18-64", "none"): 0.8 / 3,
            ("65+", "paid"): 0.2 / 3,
            ("65+", "retired"): 0.1,
            ("65+", "none"): 0.1 / 3,
        }
    )
    assert found.margin("work") == pytest.approx(dict(WORK.shares))
    assert found.pair("work", "age")["retired", "65+"] == pytest.approx(0.1)


@pytest.mark.parametrize(
    "rule",
    [
        Rule({"age": ("<62",)}, {"work": ("retired",)}),  # 62 to 64 may be
        Rule({"age": ("<65",)}, {"review": ("bad*",)}),
        Rule({"country": ("Spain",)}, {"work": ("*",)}),
    ],
)
def test_a_rule_that_cuts_a_bin_or_names_a_free_field_or_nobody_shapes_nothing(rule):
    found = joint(AGE, WORK, Field("review"), Field("country", given="Austria"), rules=(rule,))
    np.testing.assert_allclose(found.shares, np.outer([0.8, 0.2], [0.6, 0.1, 0.3]).ravel())


def test_a_rule_on_what_is_given_holds_for_everybody():
    with pytest.raises(BadTarget, match="the margin of work and the rule 'shut' contradict each other"):
        joint(WORK, Field("country", given="Austria"), rules=(Rule({"country": ("a*",)}, {"work": ("paid",)}, "shut"),))


def test_two_rules_that_give_one_reason_both_hold():
    second = Rule({"age": (">=65",)}, {"work": ("none",)}, "pension age")
    assert len(joint(AGE, WORK, rules=(PENSION, second)).cells) == 4


def test_a_pair_whose_fields_stand_the_other_way_round():
    table = {("paid", "18-64"): 0.6, ("none", "18-64"): 0.2, ("retired", "65+"): 0.1, ("none", "65+"): 0.1}
    found = joint(AGE, GENDER, WORK, pairs=(Pair(("work", "age"), table),))
    assert found.pair("work", "age") == pytest.approx({key: table.get(key, 0.0) for key in found.pair("work", "age")})
    assert found.pair("gender", "work")["female", "paid"] == pytest.approx(0.3)  # untied, so independent


def test_contradictions_are_sentences():
    work = Field("work", shares={"paid": 0.7, "retired": 0.3})
    with pytest.raises(BadTarget) as caught:
        joint(GENDER, AGE, work, rules=(PENSION,))
    assert str(caught.value) == (
        "Two: the margin of age, the margin of work and the rule 'pension age' contradict each other: the others make "
        "age = 18-64 at most 70 %, and it says 80 %. Change one of them, then run it again."
    )
    with pytest.raises(BadTarget, match="the others leave nobody with age = 65.*, and it gives 20 % to them"):
        joint(AGE, WORK, rules=(Rule({"age": (">=65",)}, {"work": ("*",)}, "nobody"),))
    with pytest.raises(BadTarget, match="the margin of gender and the pair gender and age contradict each other"):
        joint(GENDER, AGE, pairs=(Pair(("gender", "age"), {("female", "18-64"): 0.8, ("male", "65+"): 0.2}),))


def test_draws_are_the_inverse_of_cumulated_shares():
    found = joint(GENDER, AGE)
    assert [found.draw(u) for u in (0.0, 0.39, 0.41, 0.5, 0.95, 1 - 1e-16)] == [
        ("female", "18-64"),
        ("female", "18-64"),
        ("female", "65+"),
        ("male", "18-64"),
        ("male", "65+"),
        ("male", "65+"),
    ]


def test_without_fixed_fields_there_is_one_cell():
    found = joint(Field("review"))
    assert (found.fields, found.cells, found.draw(0.7)) == ((), ((),), ())


def test_more_cells_than_can_be():
    many = [Field(f"f{at}", shares={str(one): 1 / 30 for one in range(30)}) for at in range(4)]
    with pytest.raises(BadTarget, match="4 fields with shares make 810,000 cells, and 500,000 is the most"):
        joint(*many)


def test_a_hundred_thousand_cells_that_are_all_tied():
    names = "abcdefgh"
    fields = [
        Field(name, shares={f"{name}{one}": 1 / n for one in range(n)})
        for name, n in zip(names, (5, 5, 5, 5, 4, 4, 5, 2), strict=True)
    ]
    rules = tuple(Rule({a: (f"{a}0",)}, {b: (f"{b}1",)}) for a, b in zip(names, names[1:], strict=False))
    found = joint(*fields, rules=rules)
    assert len(found.cells) == len(found.shares) < 100_000
    for one in fields:
        assert found.margin(one.name) == pytest.approx(dict(one.shares), abs=1e-9)
