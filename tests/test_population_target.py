"""What a target is: values as models write them, rules, and a form that a run keeps."""

from __future__ import annotations

import json

import pytest

from llama_diversity.studies.population.target import (
    Bin,
    Bounds,
    Field,
    Pair,
    Read,
    Rule,
    Target,
    Unreadable,
    all_meet,
    bounds,
    meets,
)

AGE = Field("age", shares={"18-29": 0.25, "30-64": 0.5, "65+": 0.25}, bins=(
    Bin("18-29", 18, 29), Bin("30-64", 30, 64), Bin("65+", 65, None),
))  # fmt: skip
GENDER = Field("gender", shares={"female": 0.5, "male": 0.5}, also={"female": ("woman", "f"), "male": ("man", "m")})
REVIEW = Field("review", max_words=3)
TARGET = Target(
    "Two",
    (GENDER, AGE, REVIEW, Field("country", given="Austria")),
    source="made up",
    pairs=(Pair(("gender", "age"), {("female", "18-29"): 0.5, ("male", "65+"): 0.5}),),
    rules=(Rule({"age": ("<62",)}, {"review": ("retired*", "pension")}, "pension age"),),
    remarks=("a remark",),
)


@pytest.mark.parametrize(
    ("written", "value", "cell"),
    [
        ("34", "34", "30-64"),
        ("34 years old", "34", "30-64"),
        ("**29**", "29", "18-29"),
        ("a 65-year-old.", "65", "65+"),
        ("about 1,200", "1200", "65+"),
        ("41.0", "41", "30-64"),
        ("Age - 18", "18", "18-29"),
    ],
)
def test_numbers_as_they_are_written(written, value, cell):
    assert AGE.read(written) == Read(value, cell)


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("thirty-four", "age is no whole number"),
        ("18-29", "age is no whole number"),
        ("18 to 29", "age is no whole number"),
        ("34.5", "age is no whole number"),
        ("34,5", "age is no whole number"),
        ("9" * 5000, "age is no whole number"),
        ("17", "age is in none of the bins"),
        ("-20", "age is in none of the bins"),
        (" \n", "age is empty"),
    ],
)
def test_numbers_that_are_none(written, reason):
    with pytest.raises(Unreadable) as caught:
        AGE.read(written)
    assert str(caught.value) == reason


@pytest.mark.parametrize("written", ["Female", "female.", " **FEMALE** ", '"f"', "Woman,", "_female_", "ｆｅｍａｌｅ"])
def test_a_value_by_any_of_its_spellings(written):
    assert GENDER.read(written) == Read("female", "female")


def test_accents_are_letters_of_their_own():
    field = Field("name", shares={"José": 0.5, "Jose": 0.5})
    assert field.read("JOSÉ").value == "José"
    assert field.read("jose").value == "Jose"


def test_a_spelling_of_its_own_goes_before_another_value_s_synonym():
    field = Field("m", shares={"m": 0.5, "male": 0.5}, also={"male": ("m",)})
    assert field.read("M").value == "m"


def test_a_value_that_is_none():
    with pytest.raises(Unreadable, match="^gender is none of the values$"):
        GENDER.read("female or male")


def test_a_free_text_keeps_what_it_says():
    assert REVIEW.read(" “I  like\nit.” ") == Read("I like it.", None)
    assert REVIEW.read('"Yes" or "no"') == Read('"Yes" or "no"', None)  # no quotes round the whole
    with pytest.raises(Unreadable, match="^review has more than 3 words$"):
        REVIEW.read("one two three four")
    with pytest.raises(Unreadable, match="^review is empty$"):
        REVIEW.read('""')


def test_what_is_given_is_never_read():
    assert TARGET.field("country").read("France") == Read("Austria", None)


def test_a_label_is_made_of_the_name_unless_it_is_given():
    assert Field("marital_status").label == "Marital status"
    assert Field("mbti", label="Myers-Briggs type").label == "Myers-Briggs type"


def test_bounds_of_bins_and_conditions():
    assert bounds("30–44") == bounds("30 to 44") == Bounds(30, 44)
    assert bounds(">65") == Bounds(66, None)
    assert bounds("<= 17") == Bounds(None, 17)
    assert bounds("0") == Bounds(0, 0)
    assert [bounds(one) for one in ("<18+", "a-b", "", "retired*", "1.5")] == [None] * 5


@pytest.mark.parametrize(
    ("value", "condition", "is_met"),
    [
        ("61", "<62", True), ("62", "<62", False), ("18", ">=18", True), ("29", "18-29", True), ("30", "18-29", False),
        ("nurse", "<62", False), ("Retired teacher", "ret*", True), ("teacher, retired", "ret*", False),
        ("teacher, retired", "*retired", True), ("Female", "=female", True), ("female", "male", False),
        ("a.c", "a*c", True), ("abc", "a.c", False), ("Clerk of works", "clerk * works", True),
    ],
)  # fmt: skip
def test_conditions(value, condition, is_met):
    assert meets(value, condition) is is_met


def test_a_rule_needs_all_of_its_ifs_and_bars_each_of_its_nots():
    rule = Rule({"age": ("<25",), "gender": ("male",)}, {"job": ("retired*", "pensioner"), "home": ("castle",)})
    person = {"age": "24", "gender": "male", "job": "clerk", "home": "castle"}
    assert rule.barred_by(person)
    assert not rule.barred_by(person | {"gender": "female"})
    assert not rule.barred_by(person | {"home": "flat"})
    assert rule.barred_by(person | {"home": "flat", "job": "Pensioner"})
    assert not rule.barred_by({"age": "24", "home": "castle"})  # nothing is known of the gender
    assert str(rule) == "if age <25 and gender male, not job retired* or pensioner or home castle"


def test_a_bin_meets_a_condition_where_every_number_of_it_does():
    assert all_meet(AGE, "18-29", ["<62"])
    assert not all_meet(AGE, "30-64", ["<62"])  # 62, 63 and 64 do not
    assert all_meet(AGE, "30-64", ["<40", "40-64"])
    assert not all_meet(AGE, "30-64", ["<40", "42-64"])  # 40 and 41 do not
    assert all_meet(AGE, "65+", [">=65"])
    assert not all_meet(AGE, "65+", ["<100"])
    assert all_meet(GENDER, "female", ["fem*"])


def test_parts_of_a_target():
    assert [one.name for one in TARGET.fixed] == ["gender", "age"]
    assert [one.name for one in TARGET.free] == ["review"]
    with pytest.raises(KeyError):
        TARGET.field("income")


def test_a_run_keeps_a_target_as_json():
    assert Target.from_dict(json.loads(json.dumps(TARGET.to_dict()))) == TARGET
