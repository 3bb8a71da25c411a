"""The persona parser on outputs as models write them. Every expectation was read off the text by eye."""

from __future__ import annotations

import json
import random
from dataclasses import asdict

import pytest

from llama_diversity.experiments.persona_parser import FIELDS, Persona, Rejected, parse

LIKED = "I love that my coffee is still hot."
EMILY = Persona("Emily", "Jones", "Female", 32, "American", "White", "ENFP", LIKED)
LABELS = ("First name", "Last name", "Gender", "Age", "Nationality", "Ethnicity", "Myers-Briggs type", "Review")
NOT_A_PERSONA = "nothing that looks like a persona"


def form(*, style: str = "{label}: {value}", **changes: str | None) -> str:
    """Emily as lines of `style`, with some values changed, or left out where they are None."""
    values = {**{name: str(value) for name, value in asdict(EMILY).items()}, **changes}
    lines = [style.format(label=label, value=values[name]) for name, label in zip(FIELDS, LABELS, strict=True)
             if values[name] is not None]  # fmt: skip
    return "\n".join(lines)


def numbered(lines: str) -> str:
    return "\n".join(f"{n}. {line}" for n, line in enumerate(lines.splitlines(), 1))


def as_json(**changes: object) -> str:
    return json.dumps({**asdict(EMILY), **changes}, indent=2)


WHO = {name: value for name, value in asdict(EMILY).items() if name != "review"}
REST = form(first_name=None, last_name=None)

GOOD: dict[str, tuple[str, dict[str, object]]] = {
    "plain": (form(), {}),
    "bullets": (form(style="- {label}: {value}"), {}),
    "stars": (form(style="* {label}: {value}"), {}),
    "round bullets": (form(style="• {label}: {value}"), {}),
    "numbered": (numbered(form()), {}),
    "bold, colon outside": (form(style="**{label}**: {value}"), {}),
    "bold, colon inside": (form(style="**{label}:** {value}"), {}),
    "bold and bulleted": (form(style="* **{label}:** {value}"), {}),
    "numbered and bold": (numbered(form(style="**{label}:** {value}")), {}),
    "bold lines": (form(style="**{label}: {value}**"), {}),
    "fenced lines": (f"```\n{form()}\n```\nI hope this helps!", {}),
    "underscored": (form(style="__{label}__: {value}"), {}),
    "headings": (form(style="### {label}: {value}"), {}),
    "indented": (form(style="    {label} :   {value}  "), {}),
    "empty lines": (form(style="{label}: {value}\n"), {}),
    "windows": (form().replace("\n", "\r\n"), {}),
    "capitals": (form(style="{label}: {value}").replace("Gender", "GENDER").replace("Age", "AGE"), {}),
    "quoted": (form(style='{label}: "{value}"'), {}),
    "wide colon": (form(style="{label}：{value}"), {}),
    "table": ("| Field | Value |\n|---|---|\n" + form(style="| {label} | {value} |"), {}),
    "under its label": (form(style="{label}:\n{value}"), {}),
    "under a bold label": (form(style="**{label}**\n{value}"), {}),
    "a preamble": ("Sure! Here is a persona with a review:\n\n" + form(), {}),
    "a headline": ("## Customer Persona\n\n" + form(), {}),
    "a whole name": ("Name: Emily Jones\n" + REST, {}),
    "a bold name": ("**Name:** Emily Jones\n" + REST, {}),
    "a middle name": ("Full name: Emily Anne Jones\n" + REST, {}),
    "a title": ("Name: Dr. Emily Jones\n" + REST, {}),
    "a particle": ("Name: Maria de la Cruz\n" + REST, {"first_name": "Maria", "last_name": "de la Cruz"}),
    "last name first": ("Name: Jones, Emily\n" + REST, {}),
    "name under its label": ("Name:\nEmily Jones\n" + REST, {}),
    "given name": (form().replace("First name", "Given Name").replace("Last name", "Surname"), {}),
    "sex": (form(gender="F").replace("Gender", "Sex"), {}),
    "a man": (form(gender="man"), {"gender": "Male"}),
    "pronouns": (form(gender="Female (she/her)"), {}),
    "nonbinary": (form(gender="nonbinary"), {"gender": "Non-binary"}),
    "years old": (form(age="32 years old"), {}),
    "age in words": (form(age="thirty-two"), {}),
    "a full stop": (form(age="32."), {}),
    "a child": (form(age="7"), {"age": 7}),
    "a country": (form(nationality="USA"), {}),
    "another country": (form(nationality="south korea"), {"nationality": "Korean"}),
    "unknown country": (form(nationality="Bhutanese"), {"nationality": "Bhutanese"}),
    "Caucasian": (form(ethnicity="Caucasian"), {}),
    "hispanic": (form(ethnicity="Hispanic"), {"ethnicity": "Latino"}),
    "race": (form().replace("Ethnicity", "Race/Ethnicity"), {}),
    "small type": (form(mbti="enfp"), {}),
    "type with a title": (form(mbti="ENFP (The Campaigner)"), {}),
    "type with a letter": (form(mbti="INFJ-T"), {"mbti": "INFJ"}),
    "MBTI": (form().replace("Myers-Briggs type", "MBTI"), {}),
    "personality type": (form().replace("Myers-Briggs type", "Personality type (MBTI)"), {}),
    "personality": (form().replace("Myers-Briggs type", "Personality"), {}),
    "review of two lines": (form(review="Hot coffee!\nI am glad."), {"review": "Hot coffee!\nI am glad."}),
    "review of two paragraphs": (form(review="Good.\n\nI drink it hot."), {"review": "Good.\n\nI drink it hot."}),
    "review under its label": (form(review="\n" + LIKED), {}),
    "quotes within": (form(review='My "smart" mug is jealous.'), {"review": 'My "smart" mug is jealous.'}),
    "colon within": (form(review="In short: I would buy it again."), {"review": "In short: I would buy it again."}),
    "more fields": (form() + "\nOccupation: Nurse\nRating: 5", {}),
    "other fields between": (form(age="32\nOccupation: Nurse\nLocation: Ohio"), {}),
    "a review first": ("Review: " + LIKED + "\n" + form(review=None), {}),
    "ends at a separator": (form() + "\n---\nAnything else that I can do?", {}),
    "ends at stars": (form() + "\n***\nAnything else that I can do?", {}),
    "ends at the next": (form() + "\n" + form(first_name="Ana", age="x"), {}),
    "the next in a list": (form() + "\n---\n" + form(first_name="Ana"), {}),
    "a separator first": ("---\n" + form(), {}),
    "json": (as_json(), {}),
    "json in one line": (json.dumps(asdict(EMILY)), {}),
    "json, fenced": (f"```json\n{as_json()}\n```", {}),
    "json behind prose": (f"Here you are:\n{as_json()}\nI hope this helps!", {}),
    "json, nested": (json.dumps({"persona": asdict(EMILY)}), {}),
    "json, review apart": (json.dumps({"persona": WHO, "review": LIKED}), {}),
    "json, review nested": (as_json(review={"rating": 5, "text": LIKED, "review": LIKED}), {}),
    "json, a list": (json.dumps([asdict(EMILY), {**asdict(EMILY), "age": 50}]), {}),
    "json, a list within": (json.dumps({"personas": [asdict(EMILY), {**asdict(EMILY), "age": 50}]}), {}),
    "json, age as text": (as_json(age="32"), {}),
    "json, other labels": (as_json().replace("first_name", "firstName").replace("mbti", "myers_briggs_type"), {}),
    "json, trailing comma": (as_json().replace('hot."\n}', 'hot.",\n}'), {}),
    "json, curly quotes": (as_json().replace('"', "“"), {}),
    "json, cut off behind": (as_json().removesuffix("\n}"), {}),
    "json in one line, cut off": (json.dumps(asdict(EMILY))[:-2], {}),
    "json in one line, broken": (json.dumps(asdict(EMILY)).replace("32,", "32 ;,"), {}),
    "json, broken, escapes": (as_json(review='My "mug"\nhot.').replace("32,", "32"), {"review": 'My "mug"\nhot.'}),
    "json, cut off within": (as_json()[:-6], {"review": "I love that my coffee is still h"}),
    "json, no comma": (as_json().replace("32,", "32"), {}),
    "json, fenced and broken": (f"```json\n{as_json().replace('32,', '32')}\n```", {}),
}  # fmt: skip

BAD: dict[str, tuple[str, str]] = {
    "empty": ("", "the text is empty"),
    "spaces": (" \n\t\n", "the text is empty"),
    "refusal": ("I'm sorry, but I can't help with that.", NOT_A_PERSONA),
    "prose": ("Emily is 32 and from Ohio. She loves her coffee machine.", NOT_A_PERSONA),
    "product again": ("Product: a coffee machine\nPrice: 99", NOT_A_PERSONA),
    "one field": ("Review: I love this machine.", NOT_A_PERSONA),
    "empty json": ("{}", NOT_A_PERSONA),
    "no first name": (form(first_name=None), "no first name"),
    "no last name": ("Name: Emily\n" + REST, "no last name"),
    "no gender": (form(gender=None), "no gender"),
    "no age": (form(age=None), "no age"),
    "age unknown": (form(age="N/A"), "no age"),
    "no nationality": (form(nationality=None), "no nationality"),
    "no ethnicity": (form(ethnicity=""), "no ethnicity"),
    "no type": (form(mbti=None), "no Myers-Briggs type"),
    "no review": (form(review=None), "no review"),
    "review cut off": (form(review=""), "no review"),
    "a placeholder": (form(first_name="[First name]"), "no first name"),
    "a range": (form(age="25-34"), "age '25-34' is not a number"),
    "a decade": (form(age="30s"), "age '30s' is not a number"),
    "too old": (form(age="150"), "age '150' is not between 0 and 120"),
    "below zero": (form(age="-3"), "age '-3' is not between 0 and 120"),
    "no such type": (form(mbti="ABCD"), "'ABCD' is not a Myers-Briggs type"),
    "two types": (form(mbti="INFJ or INTJ"), "Myers-Briggs type 'INFJ or INTJ' names 2"),
    "a short review": (form(review="Great!"), "the review has fewer than three words"),
    "json without age": (as_json(age=None), "no age"),
    "next one is not borrowed from": (form(age=None, review=None) + "\n---\n" + form(), "no age"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "changes"), GOOD.values(), ids=GOOD)
def test_personas_are_read(text: str, changes: dict[str, object]) -> None:
    assert parse(text) == Persona(**{**asdict(EMILY), **changes})


@pytest.mark.parametrize(("text", "reason"), BAD.values(), ids=BAD)
def test_others_are_rejected_with_a_reason(text: str, reason: str) -> None:
    got = parse(text)
    assert isinstance(got, Rejected)
    assert got.reason == reason


def test_what_could_be_read_is_kept() -> None:
    got = parse("First name: Emily\nAge: 32\nGender: N/A")
    assert got == Rejected("no last name", {"first_name": "Emily", "age": "32"})


@pytest.mark.parametrize("start", [" Emily", "Emily", "\nEmily", " **Emily**"])
def test_a_form_goes_on_behind_its_first_label(start: str) -> None:
    assert parse(f"{start}\n{form(first_name=None)}\n---\nFirst name: Ana", begins_with="first_name") == EMILY


def test_a_form_that_stops_at_once() -> None:
    assert parse(" ", begins_with="first_name") == Rejected("the text is empty", {})
    assert parse(" Emily", begins_with="first_name") == Rejected(NOT_A_PERSONA, {"first_name": "Emily"})


def test_whatever_comes_is_answered() -> None:
    """Ten thousand texts of pieces that forms and JSON are made of, in any order."""
    marks = ": { } [ ] \" ' * | , - # ( ) < > \\ \n \r \t ： “ ” \0 \ud800 ² ١ 𝟛".split(" ")
    words = ["\n---\n", "Name: ", "null", "32", "ENFP", "Age: ", "Review: ", '{"age": ', "```json\n", "a b c", " "]
    pieces = [*LABELS, *FIELDS, *marks, *words]
    rng = random.Random(0)
    for _ in range(10_000):
        text = "".join(rng.choices(pieces, k=rng.randrange(1, 30)))
        for begins_with in (None, "first_name", "age"):
            got = parse(text, begins_with=begins_with)
            assert isinstance(got, Persona) or (isinstance(got, Rejected) and 0 < len(got.reason) < 80), repr(text)


def test_every_cut_of_an_output_is_answered() -> None:
    for text in (form(), as_json()):
        whole = [isinstance(parse(text[:end]), Persona) for end in range(len(text) + 1)]
        first = whole.index(True)
        assert text[:first].endswith("I love t")  # the third word, begun, makes a review
        assert all(whole[first:])


LONG = {
    "newlines": "\n", "quotes": '"', "braces": "{", "closing": "}", "labels": "a: ", "brackets": "[", "nested": '{"a":',
    "ages": "Age: 3\n", "colons": ":", "bars": "|", "tags": "<b>", "commas": ",", "stars": "*",
}  # fmt: skip


@pytest.mark.parametrize("piece", LONG.values(), ids=LONG)
def test_a_million_characters(piece: str) -> None:
    long = piece * (1_000_000 // len(piece))
    for text in (long, f"{form(review=None)}\nReview: {long}"):
        assert isinstance(parse(text), Rejected | Persona)


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("piece", ["a ", "x", "9", "is ", "de ", "dr ", "( ", "/", "INFP "])
def test_a_long_value(name: str, piece: str) -> None:
    assert isinstance(parse(form(**{name: piece * (300_000 // len(piece))})), Rejected | Persona)
