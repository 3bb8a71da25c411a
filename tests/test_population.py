"""`population`: what is asked and read, every loss, the choice, and the whole on a scripted model of known rates."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from llama_diversity.engines import scripted_people
from llama_diversity.errors import BadUsage, BadValue
from llama_diversity.records import TOKEN_DTYPE, Sampler
from llama_diversity.render.exhibits import Table
from llama_diversity.store import Store
from llama_diversity.studies.arms import Choice
from llama_diversity.studies.conduct import remembered, run
from llama_diversity.studies.drawing import Drawing
from llama_diversity.studies.measuring.calls import Tokens, blocks
from llama_diversity.studies.population import asking, files, gathering
from llama_diversity.studies.population import study as population
from llama_diversity.studies.population.agreeable import agreeableness
from llama_diversity.studies.population.asking import Asked, Number
from llama_diversity.studies.population.grammar import grammar
from llama_diversity.studies.population.joint import joint_of
from llama_diversity.studies.population.pipeline import Output, choose, funnel, judge, kinds
from llama_diversity.studies.population.reading import labelled, lacking, restated
from llama_diversity.studies.population.specs import (
    arms_of,
    check_ways,
    over_temperatures,
    parse_way,
    way_word,
    ways_of,
)
from llama_diversity.studies.population.standing import advice, standing
from llama_diversity.studies.population.study import Population
from llama_diversity.studies.population.target import Bin, Field, Rule, Target
from llama_diversity.studies.session import Session

GENDER = Field("gender", shares={"female": 0.5, "male": 0.5}, also={"female": ("woman",), "male": ("man",)})
AGE = Field(
    "age",
    shares={"18-29": 0.25, "30-44": 0.25, "45-64": 0.25, "65+": 0.25},
    bins=(Bin("18-29", 18, 29), Bin("30-44", 30, 44), Bin("45-64", 45, 64), Bin("65+", 65, None)),
)
OCCUPATION = Field("occupation", max_words=4, examples=("nurse", "bus driver", "farmer"))
REVIEW = Field("review", max_words=40, examples=("The lid leaks a little bit.", "It keeps my tea warm all day."))
RULE = Rule({"age": ("<62",)}, {"occupation": ("retired*",)}, "pension age")
TARGET = Target("Adults", (GENDER, AGE, OCCUPATION, REVIEW), product="A cup.", rules=(RULE,))
JOINT = joint_of(TARGET)


def unlike(texts):
    """Vectors of texts that are alike only where the texts are the same."""
    places = {text: at for at, text in enumerate(dict.fromkeys(texts))}
    return np.eye(max(1, len(places)), dtype=np.float32)[[places[text] for text in texts]]


def output(text, *, given=None, examples=(), flaw=None, cell=None, number=0, begins_with=None):
    order = tuple(one.name for one in TARGET.fields if one.name not in (given or {}))
    asked = Asked("", order, given or {}, tuple(examples), begins_with)
    return Output("r1-0#0", f"a #{number}", Number(number), text, flaw, asked, 10, 20, cell)


def card(gender="female", age="34", occupation="nurse", review="The lid leaks."):
    return f"Gender: {gender}\nAge: {age}\nOccupation: {occupation}\nReview: {review}"


# ---- what is asked


def test_a_form_ends_with_the_label_of_the_first_field_that_is_not_given():
    asked = asking.form(TARGET, JOINT, asking.stream(0, "a", "0"), {"gender": "female", "age": "40"})
    *cards, begun = asked.text.split("\n---\n")
    assert cards[0] == "Product: A cup."
    assert len(cards) == 1 + asking.N_EXAMPLES
    assert sorted(begun.splitlines()[:2]) == ["Age: 40", "Gender: female"]
    assert begun.splitlines()[2:] == [f"{TARGET.field(asked.begins_with).label}:"]
    assert asked.order[-1] == "review"
    assert set(asked.order) == {"occupation", "review"}


def test_worked_examples_are_of_the_target_and_differ_from_each_other():
    asked = asking.form(TARGET, JOINT, asking.stream(0, "a", "0"), {})
    one, other = asked.examples
    assert all(AGE.read(each["age"]).cell and each["gender"] in GENDER.shares for each in (one, other))
    assert one["occupation"] != other["occupation"]
    assert one["review"] != other["review"]


def test_a_rule_bars_worked_examples_too():
    young = Field("age", shares={"18-29": 0.5, "65+": 0.5}, bins=(Bin("18-29", 18, 29), Bin("65+", 65, None)))
    job = Field("occupation", max_words=3, examples=("nurse", "retired cook"))
    target = Target("", (young, job), product="A cup.", rules=(Rule({"age": ("<62",)}, {"occupation": ("retired*",)}),))
    joint = joint_of(target)
    shown = [asking.form(target, joint, asking.stream(0, "a", str(at)), {}).examples for at in range(40)]
    assert all(len(some) == 2 and not target.rules[0].barred_by(one) for some in shown for one in some)
    never = replace(target, rules=(Rule({"age": (">0",)}, {"occupation": ("*",)}),))
    assert asking.form(never, joint, asking.stream(0, "a", "0"), {}).examples == ()


def test_a_call_asks_for_one_probability():
    text = asking.call(TARGET, asking.stream(0, "a", "0"), 3, {}).text
    assert text.count("\nProbability: ") == 1


def test_a_target_without_examples_for_a_free_field_has_forms_without_worked_examples():
    bare = Target("Adults", (GENDER, Field("hobby")), product="A cup.")
    asked = asking.form(bare, joint_of(bare), asking.stream(0, "a", "0"), {})
    assert asked.examples == ()
    assert asked.text.startswith("Product: A cup.\n---\n")


def test_orders_are_drawn_anew_and_do_not_depend_on_what_else_is_asked():
    texts = [asking.request(TARGET, asking.stream(0, "a", str(at)), {}).text for at in range(20)]
    assert texts[7] == asking.request(TARGET, asking.stream(0, "a", "7"), {}).text
    first = Counter(text.split("Gender: ")[1].split("\n")[0] for text in texts)
    assert set(first) == {"female or male", "male or female"}
    assert len(set(texts)) > 3


def test_the_request_names_bounds_words_and_what_is_given():
    text = asking.request(TARGET, asking.stream(0, "a", "0"), {"gender": "male"}, "shy").text
    assert "This is known of the customer:\nGender: male\nTrait: shy\n" in text
    assert "Age: a whole number, 18 or more" in text
    assert "Review: one or two sentences, at most 40 words" in text
    assert "Gender: female or male" not in text


def test_a_wording_of_ones_own_may_hold_braces():
    own = Target("", (GENDER,), product="{fields}", request="Say {x}: {product} then {fields}")
    text = asking.request(own, asking.stream(0, "a", "0"), {}).text
    assert text.startswith("Say {x}: {fields} then Answer with")


def test_a_number_within_an_open_bin_reaches_29_years_beyond_its_first():
    ages = {
        int(asking.values_in(TARGET, JOINT, ("male", "65+"), asking.stream(0, "a", str(at)))["age"])
        for at in range(400)
    }
    assert (min(ages), max(ages)) == (65, 94)


# ---- what is read


@pytest.mark.parametrize(
    "text",
    [
        card(),
        "**Gender:** female\n**Age:** 34\n- Occupation: nurse\n* Review: The lid leaks.",
        "1. Gender - female\n2. Age - 34\n3. Occupation - nurse\n4. Review - The lid leaks.",
        '{"gender": "female", "age": 34, "occupation": "nurse", "review": "The lid leaks."}',
        'So: {"customer": {"Gender": "female", "AGE": "34", "occupation": "nurse", "review": "The lid leaks."}}',
        "| Gender | female |\n| Age | 34 |\n| Occupation | nurse |\n| Review | The lid leaks. |",
        f"Sure!\n---\n{card()}\n---\nGender: male\nAge: 80",
    ],
)
def test_a_persona_is_read_in_the_forms_in_which_models_write_it(text):
    expected = {"gender": "female", "age": "34", "occupation": "nurse", "review": "The lid leaks."}
    assert labelled(text, TARGET) == expected


def test_a_text_goes_on_over_lines_and_ends_where_a_label_comes_again():
    text = "Review: The lid\nleaks.\n\nStill.\nAge: 30\nReview: another"
    assert labelled(text, TARGET) == {"review": "The lid\nleaks.\nStill.", "age": "30"}


def test_a_form_goes_on_behind_its_label():
    assert labelled(" nurse\nReview: Fine.", TARGET, begins_with="occupation") == {
        "occupation": "nurse",
        "review": "Fine.",
    }


def test_half_an_emoji_in_json_can_be_written_to_a_file():
    found = labelled('{"review": "so so \\ud83d", "age": 34}', TARGET)
    assert found == {"review": "so so \ufffd", "age": "34"}
    assert labelled('{"review": "\\ud83d\\ude42"}', TARGET) == {"review": "🙂"}


def test_what_is_missing_is_said():
    assert lacking({}, ("gender", "age"), TARGET) == "nothing that looks like a persona"
    assert lacking({"gender": "x"}, ("gender", "age"), TARGET) == "no Age"
    assert lacking({"gender": "x", "age": "3"}, ("gender", "age"), TARGET) is None


def test_blocks_of_a_call_and_the_probabilities_that_it_states():
    text = "Hm.<customer>Probability: 0.25\nAge: 3</customer><customer>\nProbability: 10 %\nAge: 4\n<customer>Age: 5"
    found = blocks(text, "customer")
    assert [one.probability for one in found] == [0.25, 0.1, None]
    assert [text[one.start : one.end] for one in found] == [one.text for one in found]


def test_a_text_that_states_a_given_field_otherwise_is_found():
    given = {"gender": "female", "age": "34"}
    assert restated("Gender: woman\nOccupation: nurse", given, TARGET) is None
    assert restated("Occupation: nurse\nAge: 35", given, TARGET) == "Age"


# ---- every loss


def test_each_output_is_lost_at_the_first_step_that_it_does_not_pass():
    example = {"gender": "male", "age": "20", "occupation": "farmer", "review": "It keeps my tea warm all day."}
    outputs = [
        output(card()),
        output("", flaw="no text"),
        output("I would rather not."),
        output(card(age="old")),
        output(card(gender="robot")),
        output(card(age="12")),
        output(card(occupation="Retired nurse")),
        output(card(age="70", occupation="Retired nurse", review="Fine for me.")),
        output(card(review="it keeps my tea warm ALL day"), examples=[example]),
        output(card(gender="woman", occupation="Nurse")),
        output(card(gender="male", occupation="farmer", review="The lid leaks.")),
    ]
    people = judge(outputs, TARGET, unlike)
    assert [(one.lost, one.why) for one in people] == [
        (None, ""),
        ("read", "no text"),
        ("read", "nothing that looks like a persona"),
        ("known", "age is no whole number"),
        ("known", "gender is none of the values"),
        ("known", "age is in none of the bins"),
        ("rules", "pension age"),
        (None, ""),
        ("no copy", "Review copied from a worked example"),
        ("no twin", "the same as another"),
        ("no near twin", "says what another says"),
    ]
    assert people[9].twin == 0
    assert people[10].twin == 0
    assert people[7].cell == ("female", "65+")
    assert people[7].values["age"] == "70"
    left = funnel(people)
    assert (left.n_drawn, list(left.left.values())) == (11, [9, 6, 5, 4, 3, 2])
    assert left.reasons["known"] == {
        "age is no whole number": 1,
        "gender is none of the values": 1,
        "age is in none of the bins": 1,
    }


def test_who_repeats_the_request_is_nobody():
    """As small models do: "at most 4 words" for an occupation; what has a word of its own is one's own."""
    outputs = [
        output(card(occupation="at most 4 words")),
        output(card(occupation="a few words")),  # three words may be anybody's
        output(card(review="One or two sentences, at most 40 words.")),
        output(card(review="A few kind words at most.")),
    ]
    assert [one.why for one in judge(outputs, TARGET, unlike)] == [
        "Occupation copied from the request", "", "Review copied from the request", "",
    ]  # fmt: skip


def test_people_without_words_of_their_own_may_be_alike():
    plain = Target("", (GENDER,), product="x")
    some = [
        Output("r1-0#0", f"a #{at}", Number(at), "Gender: male", None, Asked("", ("gender",), {}), 1, 1)
        for at in range(3)
    ]
    assert [one.lost for one in judge(some, plain, unlike)] == [None] * 3


def test_the_choice_fills_no_cell_from_another_and_says_what_is_lacking():
    some = [output(card(review=f"Number {at} of these."), number=at) for at in range(4)]
    people = judge(some, TARGET, unlike)
    found = choose(people, {("female", "30-44"): 2, ("male", "65+"): 1}, TARGET, unlike)
    assert len(found.numbers) == 2
    assert found.lacking == {("male", "65+"): 1}


# ---- when to stop


def test_an_arm_that_writes_nothing_usable_is_given_up_with_what_it_wrote():
    people = judge([output("I would rather not.", number=at) for at in range(60)], TARGET, unlike)
    wanted = {("female", "18-29"): 10}
    so_far = standing(people, TARGET, wanted, has_cell=False, n_tokens=600, budget_tokens=10_000)
    assert "none of 60 outputs is usable" in so_far.stop
    assert so_far.stop.endswith("It wrote: “I would rather not.”. Try another model")
    assert not standing(people[:59], TARGET, wanted, has_cell=False, n_tokens=590, budget_tokens=10_000).stop


def test_advice_is_of_what_was_not_done_yet():
    [chat, call, base] = ways_of("scripted:people", Choice(), [], ("aligned", "verbalized", "base"), Session())
    assert advice(chat, is_bound=False).startswith("--grammar, which forces whole people, a lower -t, a form in place")
    assert advice(chat, is_bound=True).startswith("a lower -t, a form in place")
    assert advice(call, is_bound=False).startswith("another mode, which asks for one person at a time, a lower -t, ")
    assert advice(base, is_bound=True) == "a lower -t, a larger --max-tokens or another model"


def test_a_spent_budget_stops_and_enough_people_need_no_reason():
    people = judge([output(card(review=f"Number {at} of these."), number=at) for at in range(10)], TARGET, unlike)
    wanted = {("female", "30-44"): 10}
    assert standing(people, TARGET, wanted, has_cell=False, n_tokens=100, budget_tokens=100)[-2:] == (True, None)
    refused = judge([output("No.", number=at) for at in range(9)], TARGET, unlike)
    stop = standing(refused, TARGET, wanted, has_cell=False, n_tokens=90, budget_tokens=95).stop
    assert stop.startswith("the budget of 95 tokens is spent, and none of 9 outputs is usable, most often (9): nothing")
    assert "It wrote: “No.”. Try" in stop
    spent = standing(people[:9], TARGET, wanted, has_cell=False, n_tokens=90, budget_tokens=95)
    assert spent.stop == "the budget of 95 tokens is spent"
    assert spent.n_affordable == 0


def test_an_arm_that_repeats_itself_is_given_up_when_the_rest_would_take_too_long():
    """70 people and then 170 who say what one of them said: of the last 120 nobody is new, at most 3.1 %."""
    texts = [f"Number {at} of these." for at in range(70)] + ["Number 0 of these."] * 170
    people = judge([output(card(review=text), number=at) for at, text in enumerate(texts)], TARGET, unlike)
    settings = {"has_cell": True, "n_tokens": 2400.0, "budget_tokens": 10**9}
    so_far = standing(people, TARGET, {("female", "30-44"): 200}, **settings)
    assert so_far.stop.startswith(
        "of the last 120 outputs 0 brought somebody usable and new, so the 130 who are lacking"
    )
    assert "would take 4,191 or more" in so_far.stop  # Wilson: 1.96^2 / (120 + 1.96^2) = .03102; 20 x 200 are allowed
    assert (
        standing(people, TARGET, {("female", "30-44"): 180}, **settings).stop is None
    )  # 110 / .03102 = 3,547 of 3,600


def test_a_value_that_is_never_written_stops_a_free_arm():
    people = judge([output(card(review=f"Number {at} of these."), number=at) for at in range(120)], TARGET, unlike)
    wanted = {("female", "30-44"): 200}
    so_far = standing(people, TARGET, wanted, has_cell=False, n_tokens=1200, budget_tokens=10**6)
    assert so_far.stop.startswith("this model does not write Gender male: 0 of 120 usable people")


# ---- arms


def test_an_arm_as_it_is_typed_and_back():
    typed = "a=scripted:people,mode=quota,T=0.8"
    [way] = ways_of(None, Choice(), [typed], [], Session())
    assert way_word(way) == typed
    assert way.is_chat
    [form] = ways_of(None, Choice(), ["a=scripted:people,mode=quota,form"], [], Session())
    assert not form.is_chat
    assert way_word(form) == "a=scripted:people,mode=quota,form"


@pytest.mark.parametrize("text", ["a", "=x", "a=x,mode=zeal", "a=x,T=hot", "a=x,colour=red"])
def test_an_arm_that_cannot_be_meant_is_refused(text):
    with pytest.raises(BadValue):
        parse_way(text)


def test_modes_that_a_model_cannot_be_asked_in_are_refused():
    for modes, words in ((["aligned"], "has none"), (["plan"], "chat template")):
        with pytest.raises(BadUsage, match=words):
            ways_of("scripted:base", Choice(), [], modes, Session())
    with pytest.raises(BadUsage, match="two models"):
        ways_of("scripted:people", Choice(), [], ["plan"], Session())


# ---- a grammar of the fields


def test_the_grammar_has_the_labels_in_order_and_the_target_s_values():
    asked = Asked("", ("gender", "age", "review"), {})
    text = grammar(asked, Target("", (GENDER, Field("age", shares={"1-2": 1.0}, bins=(Bin("1-2", 1, 2),)), REVIEW)))
    assert text.startswith('root ::= "Gender: " ("female" | "male") "\\n" "Age: " ("1" | "2") "\\n" "Review: " ')


def test_a_twin_of_a_twin_is_of_the_first_one_s_kind():
    """The second says nearly what the first says, and the third is the second once more."""

    def alike(texts):
        return np.array([[0.96, 0.28] if "lid" in text else [1, 0] for text in texts], np.float32)

    reviews = ("A drop.", "A lid.", "A lid.")
    people = judge([*(output(card(review=one)) for one in reviews), output("no")], TARGET, alike)
    assert [one.lost for one in people] == [None, "no near twin", "no twin", "read"]
    assert kinds(people) == [0, 0, 0, None]


# ---- the whole


def people_study(n, modes=("aligned",), **settings):
    ways = ways_of("scripted:people", Choice(), [], modes, Session())
    return Population(TARGET, ways, ("t.toml",), n, **settings), arms_of(ways, Session())


def test_usable_people_are_drawn_until_there_are_enough(tmp_path):
    study, arms = people_study(30)
    found = run(study, arms, drawing=Drawing(), session=Session(tmp_path / "s")).found.arms["aligned"]
    assert found.standing.is_enough
    assert found.funnel.n_usable >= 30
    readable = found.funnel.left["read"] / found.funnel.n_drawn
    assert abs(readable - (1 - scripted_people.REFUSES)) < 4 * (0.09 / found.funnel.n_drawn) ** 0.5


def test_the_same_command_again_draws_nothing_and_a_larger_n_draws_the_rest(tmp_path):
    session = Session(tmp_path / "s")
    study, arms = people_study(10, ("quota", "aligned"))
    first = run(study, arms, drawing=Drawing(), session=session)
    with Store.open(session.store) as store:
        n_recipes = len(store.recipe_keys())
    again = run(study, arms, drawing=Drawing(), session=session)
    more = run(people_study(20, ("quota", "aligned"))[0], arms, drawing=Drawing(), session=session)
    assert first.to_dict()["arms"] == again.to_dict()["arms"]
    with Store.open(session.store) as store:
        keys = store.recipe_keys()
        assert len(keys) > n_recipes
        [(study_again, drawn)] = remembered(store, store.run(first.run), session)
        assert study_again == study
        assert study_again.shown(drawn).to_dict()["arms"] == first.to_dict()["arms"]
    texts = [
        {one.output.label: one.output.text for one in result.found.arms["aligned"].people} for result in (first, more)
    ]
    shared = set(texts[0]) & set(texts[1])
    assert shared
    assert all(texts[0][label] == texts[1][label] for label in shared)


def test_what_is_drawn_is_read_once_however_many_rounds_there_are(tmp_path, monkeypatch):
    read = Counter()
    plain = gathering.outputs

    def counting(study, way, number, drawn):
        read[number] += 1
        return plain(study, way, number, drawn)

    monkeypatch.setattr(population, "outputs", counting)
    study, arms = people_study(60)  # a first round of 24 cannot do
    found = run(study, arms, drawing=Drawing(), session=Session(tmp_path / "s")).found.arms["aligned"]
    assert len(found.people) > 60
    assert read == {Number(at): 1 for at in range(len(found.people))}


def test_greedy_asks_that_share_a_recipe_are_two_outputs(tmp_path):
    target = Target("t", (OCCUPATION,))
    ways = ways_of("scripted:people", Choice(), [], ("aligned",), Session())
    study, drawing = Population(target, ways, ("t.toml",), 2, 8, 16), Drawing(Sampler(temperature=0.0))
    found = run(study, arms_of(ways, Session()), drawing=drawing, session=Session(tmp_path / "s"))
    people = found.found.arms["aligned"].people
    assert len({one.output.sample for one in people}) == 1
    assert [one.output.call for one in people] == [Number(0), Number(1)]


def test_quota_gives_everybody_a_cell_and_counts_who_contradicts_it(tmp_path):
    study, arms = people_study(16, ("quota",))
    found = run(study, arms, drawing=Drawing(), session=Session(tmp_path / "s")).found.arms["quota"]
    chosen = Counter(found.people[number].cell for number in found.chosen.numbers)
    assert chosen == {cell: 2 for cell in JOINT.cells}
    assert found.tables == ()
    assert found.obedient.n == found.funnel.n_usable
    assert found.obedient.k < found.obedient.n  # the chain writes a gender and an age of its own


def test_a_budget_is_kept_to_and_said(tmp_path):
    study, arms = people_study(50, budget_tokens=400)
    result = run(study, arms, drawing=Drawing(), session=Session(tmp_path / "s"))
    found = result.found.arms["aligned"]
    assert found.standing.stop == "the budget of 400 tokens is spent"
    assert found.standing.n_tokens < 500
    assert any("the budget of 400 tokens" in getattr(one, "text", "") for one in result.section.exhibits)


def test_a_budget_of_one_token_pays_for_one_output(tmp_path):
    study, arms = people_study(50, ("quota", "aligned"), budget_tokens=1)
    result = run(study, arms, drawing=Drawing(), session=Session(tmp_path / "s"))
    for arm in result.found.arms.values():
        assert len(arm.people) == 1
        assert arm.standing.stop.startswith("the budget of 1 token is spent")


def test_a_run_cut_short_has_not_the_first_cells_alone(tmp_path):
    study, arms = people_study(16, ("quota",), budget_tokens=800)  # pays for four asks of 200 tokens at first
    asked = study.asks(["quota"])
    assert len(asked) == 4
    assert {JOINT.cells[int(one.label.rpartition(" ")[2])][0] for one in asked} == {"female", "male"}


def test_nothing_usable_leaves_no_number_that_is_none(tmp_path):
    job = Field("hobby", max_words=3)  # which the chain does not write
    ways = ways_of("scripted:people", Choice(), [], ("aligned",), Session())
    study = Population(Target("", (GENDER, job), product="A cup."), ways, ("t.toml",), 4)
    result = run(study, arms_of(ways, Session()), drawing=Drawing(), session=Session(tmp_path / "s"))
    assert result.found.arms["aligned"].funnel.n_usable == 0
    shown = {one.name: one for one in result.section.exhibits if isinstance(one, Table)}
    assert "population-price" in shown
    assert not {"population-fit", "population-cells", "population-empty"} & set(shown)
    json.dumps(result.to_dict(), allow_nan=False)


def test_the_tone_of_a_few_stays_on_its_scale():
    some = judge([output(card(review=text), number=at) for at, text in enumerate(("Good.", "Bad."))], TARGET, unlike)
    [whole] = agreeableness(some, TARGET).segments
    assert (whole.n, whole.tone.low, whole.tone.high) == (2, -1.0, 1.0)  # Student's t of one degree reaches further


def test_a_target_without_a_product_is_refused():
    ways = ways_of("scripted:people", Choice(), [], ("aligned",), Session())
    with pytest.raises(BadUsage, match="names no product"):
        check_ways(ways, replace(TARGET, product=""))
    check_ways(ways, replace(TARGET, product="", request="Anybody. {fields}"))


def test_a_field_called_probability_is_refused_where_a_call_has_a_line_of_that_name():
    own = replace(TARGET, fields=(*TARGET.fields, Field("p", "Probability")))
    check_ways(ways_of("scripted:people", Choice(), [], ("aligned",), Session()), own)
    with pytest.raises(BadUsage, match="Give the field another label"):
        check_ways(ways_of("scripted:people", Choice(), [], ("verbalized",), Session()), own)


def test_a_planner_plans_and_another_model_writes_at_the_cost_of_both(tmp_path):
    plain = Target("", (GENDER, REVIEW), product="A cup.")
    ways = ways_of(None, Choice(), ["p=scripted:people,mode=plan,planner=scripted:base"], [], Session())
    study = Population(plain, ways, ("t.toml",), 6)
    result = run(study, arms_of(ways, Session()), drawing=Drawing(), session=Session(tmp_path / "s"))
    people = result.found.arms["p"].people
    written = [one for one in people if one.output.label.endswith(", written")]
    assert sum(one.is_usable for one in people) >= 6
    with Store.open(tmp_path / "s") as store:
        cells = {cell.arm.removeprefix("population/"): cell for cell in store.run(result.run).cells}
        label = written[0].output.label
        plan, text = (cells[name].recipe_key for name in (label.removesuffix(", written"), label))
        spent = [len(store.sample(key, 0).tokens) for key in (plan, text)]
        assert written[0].output.n_tokens == sum(spent)
        assert "Trait: " in store.recipe(text).prompt.rendered
        assert cells[label].reference == "scripted:people"


def test_a_plan_that_cannot_be_followed_is_a_loss_with_its_reason(tmp_path):
    ways = ways_of(None, Choice(), ["p=scripted:people,mode=plan,planner=scripted:base"], [], Session())
    study = Population(TARGET, ways, ("t.toml",), 60)
    found = run(study, arms_of(ways, Session()), drawing=Drawing(), session=Session(tmp_path / "s")).found.arms["p"]
    assert found.funnel.n_usable == 0
    assert {why.partition(":")[0] for why in found.funnel.reasons["read"]} == {"no plan"}


def test_a_call_without_tags_has_no_persona_and_costs_all_its_tokens(tmp_path):
    study, arms = people_study(5, ("verbalized",))
    found = run(study, arms, drawing=Drawing(), session=Session(tmp_path / "s")).found.arms["verbalized"]
    assert "no persona between tags" in found.standing.stop
    assert found.standing.n_tokens == sum(one.output.n_tokens for one in found.people)


def test_seconds_are_those_of_the_drawing_and_stay_what_they_were(tmp_path):
    session = Session(tmp_path / "s")
    study, arms = people_study(10, ("aligned", "quota"))
    first = run(study, arms, drawing=Drawing(), session=session)
    with Store.open(session.store) as store:
        cells = store.run(first.run).cells
    for name, arm in first.found.arms.items():
        spent = sum(cell.about["seconds_a_sample"] for cell in cells if cell.arm.startswith(f"population/{name} #"))
        assert arm.seconds_per_usable == pytest.approx(spent / arm.funnel.n_usable)
    again = run(people_study(10, ("aligned", "quota"))[0], arms, drawing=Drawing(), session=session)
    assert again.to_dict()["arms"] == first.to_dict()["arms"]


def test_a_call_is_shortened_to_what_the_context_has_room_for():
    study, _ = people_study(5, ("verbalized", "aligned"), per_call=50)
    calls = {ask.arm: ask for ask in study.first_asks()}
    assert calls["verbalized"].is_shortened
    assert calls["verbalized"].max_tokens == 50 * calls["aligned"].max_tokens
    assert not calls["aligned"].is_shortened


def test_bits_of_a_persona_are_those_of_the_tokens_that_begin_in_it():
    from llama_diversity.answers import Answer
    from llama_diversity.studies.population.gathering import _personas

    text = "<customer>Probability: 0.5\nGender: male</customer><customer>Gender: female</customer>"
    n_bytes = np.arange(1, len(text) + 1)  # tokens of one byte
    tokens = np.zeros(len(text), TOKEN_DTYPE)
    tokens["surprisal_bits"] = np.arange(1, len(text) + 1)
    first = output(text)._replace(n_tokens=len(text))
    one, two = _personas(first, Answer(text, text.encode(), tokens), Tokens(n_bytes, 0))
    start, end = text.index("Probability"), text.index("</customer>")
    assert one.bits == sum(range(start + 1, end + 1))
    assert (one.stated, two.stated) == (0.5, None)
    assert one.n_tokens + two.n_tokens == len(text)


def test_a_frontier_is_chosen_by_one_half_and_told_by_the_other(tmp_path):
    ways = over_temperatures(ways_of("scripted:people", Choice(), [], ["aligned"], Session()), "0.5,1,2")
    study = Population(TARGET, ways, ("t.toml",), 30)
    result = run(study, arms_of(ways, Session()), drawing=Drawing(), session=Session(tmp_path / "s"))
    settings = result.found.settings
    assert [one.arm for one in settings] == ["aligned T=0.5", "aligned T=1", "aligned T=2"]
    assert sum(one.is_chosen for one in settings) == 1
    cheapest = min(settings, key=lambda one: one.chose.for_next.value)
    assert cheapest.is_chosen
    for one in settings:
        people = result.found.arms[one.arm].people
        odd = [each for each in people if each.output.call.at % 2]
        assert (one.told.n_outputs, one.chose.n_outputs) == (len(odd), len(people) - len(odd))


# ---- files


@pytest.fixture(scope="module")
def some_rows(tmp_path_factory):
    study, arms = people_study(12, ("quota",))
    result = run(study, arms, drawing=Drawing(), session=Session(tmp_path_factory.mktemp("people") / "s"))
    return files.rows(result.found, TARGET), files.rows(result.found, TARGET, every=True)


def test_people_as_csv_jsonl_parquet_and_the_neighbours_forms(tmp_path, some_rows):
    import pyarrow.parquet as pq
    import yaml

    chosen, _ = some_rows
    paths = {name: tmp_path / f"people.{name}" for name in ("csv", "jsonl", "parquet", "yaml", "edsl.jsonl")}
    for path in paths.values():
        files.write_people(path, chosen, TARGET)
    table = list(csv.DictReader(io.StringIO(paths["csv"].read_text("utf-8"))))
    assert len(table) == 12
    assert {row["made_up_by"] for row in table} == {"scripted:people"}
    lines = [json.loads(line) for line in paths["jsonl"].read_text("utf-8").splitlines()]
    assert [one["age"] for one in lines] == [int(row["age"]) for row in table]
    assert pq.read_table(paths["parquet"]).to_pylist() == lines
    people = yaml.safe_load(paths["yaml"].read_text("utf-8"))["personas"]
    assert [one["age"] for one in people] == [one["age"] for one in lines]
    head, *agents = map(json.loads, paths["edsl.jsonl"].read_text("utf-8").splitlines())
    assert head == {"__header__": True, "edsl_class_name": "AgentList", "n_agents": len(lines)}
    agents = [one["traits"] for one in agents]
    assert [one["review"] for one in agents] == [one["review"] for one in lines]


def test_every_output_has_a_row_where_that_is_asked_for_with_the_reason(some_rows):
    chosen, every = some_rows
    assert len(every) > len(chosen)
    assert all((row.beside["kept"] == "yes") == (row.beside["why"] == "") for row in every)


def test_values_with_commas_quotes_and_line_breaks_come_back(tmp_path):
    nasty = 'He said "no", then\nleft; =1+1'
    row = files.Row({"gender": "female", "age": "20", "occupation": "x", "review": nasty}, {"weight": 1.0})
    for name in ("csv", "jsonl", "yaml"):
        files.write_people(tmp_path / f"p.{name}", [files.Row(row.values, {**row.beside, "arm": "a"})], TARGET)
    assert next(csv.DictReader(io.StringIO((tmp_path / "p.csv").read_text())))["review"] == nasty
    assert json.loads((tmp_path / "p.jsonl").read_text())["review"] == nasty


def test_a_file_whose_form_its_name_does_not_say_is_refused(tmp_path):
    with pytest.raises(BadValue, match="told by its end"):
        files.check_name(tmp_path / "people.doc")


def test_no_temperature_is_chosen_where_nobody_is_usable(tmp_path):
    ways = over_temperatures(ways_of("scripted:people", Choice(), [], ("aligned",), Session()), "0.7,1")
    study = Population(Target("", (GENDER, Field("hobby")), product="A cup."), ways, ("t.toml",), 4)
    found = run(study, arms_of(ways, Session()), drawing=Drawing(), session=Session(tmp_path / "s")).found
    assert [one.is_chosen for one in found.settings] == [False, False]


def test_killed_and_resumed_the_file_is_the_same_to_the_last_byte(tmp_path):
    (tmp_path / "t.toml").write_text(
        'product = "A cup."\nfields.sex = { values = { f = 0.5, m = 0.5 } }\nfields.review = { free = true }\n'
    )

    def command(store):
        words = [
            sys.executable,
            "-m",
            "llama_diversity",
            "population",
            str(tmp_path / "t.toml"),
            "--exact",
            "--grammar",
        ]
        words += ["--arm", "a=tiny-aligned,mode=base", "--arm", "q=tiny-aligned,mode=quota,form", "-n", "12", "-q"]
        return [*words, "--max-tokens", "40", "--every", "--store", str(store), "--to", f"{store}.csv"]

    def n_stored(store):
        try:
            with contextlib.closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as opened:
                return opened.execute("SELECT count(*) FROM samples").fetchone()[0]
        except sqlite3.Error:
            return 0

    subprocess.run(command(tmp_path / "whole"), check=True)
    cut = tmp_path / "cut"
    process = subprocess.Popen(command(cut))
    while process.poll() is None and not n_stored(cut):
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert n_stored(cut)
    subprocess.run(command(cut), check=True)
    assert (tmp_path / "cut.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_every_character_comes_back_from_a_file(tmp_path):
    import yaml

    target = Target("T", (Field("name"), Field("review")))
    texts = ['a, "b"; c', "1\n2", "1\r2", "Größe 北京 🙂 مرحبا", "1\u20282\x853\x7f\x9b", "\ufeffa\ufffe"]
    texts += ["\x1b[31m", "null", "00012"]
    some = [files.Row({"name": text, "review": "so"}, {"arm": "a", files.MADE_UP: "m"}) for text in texts]
    for ending in ("csv", "jsonl", "yaml"):
        files.write_people(tmp_path / f"p.{ending}", some, target)
    with open(tmp_path / "p.csv", encoding="utf-8", newline="") as file:
        assert [row["name"] for row in csv.DictReader(file)] == texts
    assert [json.loads(line)["name"] for line in (tmp_path / "p.jsonl").read_text("utf-8").split("\n") if line] == texts
    assert [one["name"] for one in yaml.safe_load((tmp_path / "p.yaml").read_text("utf-8"))["personas"]] == texts


def test_texts_of_which_no_tone_is_told_are_named():
    target = Target("", (GENDER, REVIEW), product="Eine Tasse.")
    people = judge([output(card(review="Der Deckel ist undicht und das stört mich sehr."))], TARGET, unlike)
    found = agreeableness(people, target)
    assert found.segments == ()
    assert found.why == "too many texts are not English, and the lexicon of tones is"
