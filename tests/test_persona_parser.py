"""The persona parser on outputs as models write them. Every expectation was read off the text by eye."""

from __future__ import annotations

import json
import random

import pytest

from llama_diversity.studies.personas.parser import FIELDS, Persona, Rejected, parse

LIKED = "I love that my coffee is still hot."
EMILY = Persona("Emily", "Jones", "Female", 32, "American", "White", "ENFP", LIKED)
VALUES = {name: getattr(EMILY, name) for name in FIELDS}
LABELS = ("First name", "Last name", "Gender", "Age", "Nationality", "Ethnicity", "Myers-Briggs type", "Review")
NOT_A_PERSONA = "nothing that looks like a persona"


def form(*, style: str = "{label}: {value}", **changes: str | None) -> str:
    """Emily as lines of `style`, with some values changed, or left out where they are None."""
    values = {**{name: str(value) for name, value in VALUES.items()}, **changes}
    lines = [style.format(label=label, value=values[name]) for name, label in zip(FIELDS, LABELS, strict=True)
             if values[name] is not None]  # fmt: skip
    return "\n".join(lines)


def numbered(lines: str) -> str:
    return "\n".join(f"{n}. {line}" for n, line in enumerate(lines.splitlines(), 1))


def as_json(**changes: object) -> str:
    return json.dumps({**VALUES, **changes}, indent=2)


WHO = {name: value for name, value in VALUES.items() if name != "review"}
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
    "groups": (form(ethnicity="AFRICAN‑AMERICANS"), {"ethnicity": "Black"}),
    "a people of many": (form(nationality="Americans"), {}),
    "a country with its accents": (form(nationality="Cote d\u2019Ivoire"), {"nationality": "Ivorian"}),
    "decomposed letters": (form(first_name="Jose\u0301"), {"first_name": "Jos\u00e9"}),
    "an invisible mark within": (form(last_name="Jo\u200bn\u00ades"), {}),
    "another apostrophe": (form(last_name="O\u2019Neill"), {"last_name": "O'Neill"}),
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
    "json in one line": (json.dumps(VALUES), {}),
    "json, fenced": (f"```json\n{as_json()}\n```", {}),
    "json behind prose": (f"Here you are:\n{as_json()}\nI hope this helps!", {}),
    "json, nested": (json.dumps({"persona": VALUES}), {}),
    "json, review apart": (json.dumps({"persona": WHO, "review": LIKED}), {}),
    "json, review nested": (as_json(review={"rating": 5, "text": LIKED, "review": LIKED}), {}),
    "json, a list": (json.dumps([VALUES, {**VALUES, "age": 50}]), {}),
    "json, a list within": (json.dumps({"personas": [VALUES, {**VALUES, "age": 50}]}), {}),
    "json, age as text": (as_json(age="32"), {}),
    "json, other labels": (as_json().replace("first_name", "firstName").replace("mbti", "myers_briggs_type"), {}),
    "json, trailing comma": (as_json().replace('hot."\n}', 'hot.",\n}'), {}),
    "json, curly quotes": (as_json().replace('"', "“"), {}),
    "json, cut off behind": (as_json().removesuffix("\n}"), {}),
    "json in one line, cut off": (json.dumps(VALUES)[:-2], {}),
    "json in one line, broken": (json.dumps(VALUES).replace("32,", "32 ;,"), {}),
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

SAYS = f'She writes: "{LIKED}"'
WHOLE = "Meet Emily Jones, a 32-year-old White American woman with an ENFP personality."
KENJI = {
    "first_name": "Kenji", "last_name": "Mori", "gender": "Male", "age": 71, "nationality": "Japanese",
    "ethnicity": "Asian", "mbti": "INTP",
}  # fmt: skip

GOOD_PROSE: dict[str, tuple[str, dict[str, object]]] = {
    "meet": (f"{WHOLE} {SAYS}", {}),
    "curly quotes": (f"{WHOLE} She writes: “{LIKED}”", {}),
    "a paragraph each": (f"{WHOLE}\n\nShe writes:\n\n{LIKED}", {}),
    "a preamble": (f"Sure! Here's a persona with a review of this product:\n\n{WHOLE}\n\n{SAYS}", {}),
    "bold": (f"Meet **Emily Jones**, a 32-year-old **White American** woman (**ENFP**).\n\n{SAYS}", {}),
    "a bold name first": (f"**Emily Jones**, a 32-year-old White American woman, is an ENFP.\n\n{SAYS}", {}),
    "first person": (
        "My name is Kenji Mori and I am a 71 year old Japanese man (INTP, Asian). I live alone. Review: " + LIKED, KENJI
    ),
    "I'm": (
        f"Hi, I'm Kenji Mori, a 71-year-old Asian man and an INTP. My nationality is Japanese. I say: “{LIKED}”", KENJI
    ),
    "in brackets": (f"Emily Jones (32, female, American, White, ENFP) writes: {LIKED}", {}),
    "in commas": (f"Emily Jones is 32 years old, female, American, Caucasian, and an ENFP. Her review: {LIKED}", {}),
    "several sentences": (
        "Meet Emily Jones. She is a 32-year-old marketing manager from Ohio. Emily is a White American woman. Her "
        f"Myers-Briggs type is ENFP. She says, “{LIKED}”", {},
    ),
    "owned labels": (
        "Her name is Emily Jones. Her gender is female and her age is 32. Her nationality is American, her ethnicity "
        f"is White. Her personality type is ENFP. Here is what she has to say: {LIKED}", {},
    ),
    "described, then named": (f"A review by a 32-year-old White American woman named Emily Jones (ENFP). {SAYS}", {}),
    "a headline": (
        f"**Persona: Emily Jones**\n\nEmily is a 32-year-old White American woman with an ENFP type.\n\n{SAYS}", {},
    ),
    "by somebody": (f"Review by Emily Jones, 32, a White American female, ENFP. “{LIKED}” she writes.", {}),
    "words for the age": (f"Meet Emily Jones, a thirty-two-year-old White American woman (ENFP). {SAYS}", {}),
    "aged": (f"Emily Jones, aged 32, is a White American woman and an ENFP. {SAYS}", {}),
    "African American": (
        f"Meet Emily Jones, a 32-year-old African-American woman (ENFP). {SAYS}", {"ethnicity": "Black"},
    ),
    "of descent": (
        f"Meet Emily Jones, a 32-year-old American woman of Korean descent. She is an ENFP. {SAYS}",
        {"ethnicity": "Korean"},
    ),
    "ethnically": (
        f"Meet Mei Tan, a 32-year-old Singaporean woman, ethnically Chinese. She is an ENFP. {SAYS}",
        {"first_name": "Mei", "last_name": "Tan", "nationality": "Singaporean", "ethnicity": "Chinese"},
    ),
    "South African": (
        f"Meet Thandi de Wet, a 32-year-old Black South African woman (ENFP). {SAYS}",
        {"first_name": "Thandi", "last_name": "de Wet", "nationality": "South African", "ethnicity": "Black"},
    ),
    "an unlisted country": (
        f"Meet Dr. Emily Jones, a 32-year-old woman. Her nationality is Bhutanese. She is of Sharchop heritage, and "
        f"an ENFP. {SAYS}", {"nationality": "Bhutanese", "ethnicity": "Sharchop"},
    ),
    "pronouns": (f"Meet Emily Jones (she/her), a 32-year-old White American nurse and ENFP. {SAYS}", {}),
    "non-binary": (
        f"Meet Robin Hale, a 35-year-old White Canadian non-binary person (INTJ). They wrote: “{LIKED}”",
        {"first_name": "Robin", "last_name": "Hale", "gender": "Non-binary", "age": 35, "nationality": "Canadian",
         "mbti": "INTJ"},
    ),
    "a daughter": (
        "Meet Emily Jones, a 32-year-old White American woman (ENFP) with a 7-year-old daughter and a Japanese car. "
        + SAYS, {},
    ),
    "a friend says": (f'{WHOLE} Her best friend said: "Try it." Review: {LIKED}', {}),
    "quotes within": (
        f'{WHOLE} She writes: "My "smart" mug is jealous." She drinks a lot.', {"review": 'My "smart" mug is jealous.'}
    ),
    "cut off within": (f'{WHOLE} She writes: "I love that my', {"review": "I love that my"}),
    "a quote first": (f'{WHOLE}\n\n"{LIKED}" says Emily.', {}),
    "facts behind": (f"Meet Emily Jones, 32. {SAYS} Emily is a White American woman. She is an ENFP.", {}),
    "facts in the review": (
        f"{WHOLE} She writes: I am 99 years old and an INTJ from Spain.",
        {"review": "I am 99 years old and an INTJ from Spain."},
    ),
    "two personas": (f"{WHOLE} {SAYS}\n\nMeet Ana Diaz, a 40-year-old Latina woman (INTJ).", {}),
    "ends at a separator": (f"{WHOLE} She writes: {LIKED}\n---\nAnything else?", {}),
    "labels and prose": (
        f"Name: Emily Jones\nAge: 32\n\nEmily is a White American woman and an ENFP.\n\nReview: {LIKED}", {},
    ),
    "a label goes before": (f"Age: 32\n\nMeet Emily Jones, a 40-year-old White American woman (ENFP). {SAYS}", {}),
    "a type like a label": (
        f"Meet Emily Jones, a 32-year-old White American woman.\nHer MBTI type is ENFP and she writes: “{LIKED}”", {},
    ),
    "small letters": (f"my name is Emily Jones. i am a 32 year old white american woman, enfp. review: {LIKED}", {}),
}  # fmt: skip
GOOD |= {f"prose, {name}": row for name, row in GOOD_PROSE.items()}

BAD_PROSE: dict[str, tuple[str, str]] = {
    "a first name alone": (f"Meet Emily, a 32-year-old White American woman (ENFP). {SAYS}", "no last name"),
    "nobody": (f"A 32-year-old White American woman (ENFP) bought it. {SAYS}", "no first name"),
    "she is no gender": (f"Meet Emily Jones, a 32-year-old White American nurse. She is an ENFP. {SAYS}", "no gender"),
    "no age": (f"Meet Emily Jones, a White American woman and an ENFP. {SAYS}", "no age"),
    "her son's age": (f"Emily Jones is a White American woman (ENFP). Her son is 7 years old. {SAYS}", "no age"),
    "meets a child": (f"Meet Emily Jones, a White American woman. She has a 7-year-old son. ENFP. {SAYS}", "no age"),
    "her husband": (f"Meet Emily Jones, 32, a nurse. Her husband is Kenji. He is a Japanese man. {SAYS}", "no gender"),
    "a boy beside her": (f"Meet Emily Jones, a White American lady. She lives with Al, a 7-year-old. {SAYS}", "no age"),
    "a child beside her": (f"Emily Jones is a White American woman. She has a dog and a 5-year-old. {SAYS}", "no age"),
    "in her thirties": (f"Meet Emily Jones, a White American woman in her 30s. She is an ENFP. {SAYS}", "no age"),
    "a range": (f"Meet Emily Jones, a 25-34 year old White American woman (ENFP). {SAYS}",
                "age '25-34' is not a number"),
    "too old": (f"Meet Emily Jones, a 150-year-old White American woman (ENFP). {SAYS}",
                "age '150' is not between 0 and 120"),
    "lives in a country": (f"Meet Emily Jones, a 32-year-old White woman living in Spain. ENFP. {SAYS}",
                           "no nationality"),
    "teaches a language": (f"Meet Emily Jones, a 32-year-old woman. She is an English teacher (ENFP). {SAYS}",
                           "no nationality"),
    "drinks from a French press": (f"Meet Emily Jones, a 32-year-old woman, a French press lover (ENFP). {SAYS}",
                                   "no nationality"),
    "a white cup": (f"Meet Emily Jones, a 32-year-old American woman with a white cup (ENFP). {SAYS}", "no ethnicity"),
    "a nationality alone": (f"Meet Emily Jones, a 32-year-old Japanese woman (ENFP). {SAYS}", "no ethnicity"),
    "no type": (f"Meet Emily Jones, a 32-year-old White American woman. She is outgoing. {SAYS}",
                "no Myers-Briggs type"),
    "two types": (f"{WHOLE} Or perhaps an INFP. {SAYS}", "Myers-Briggs type 'ENFP/INFP' names 2"),
    "a type in the review": (
        'Meet Emily Jones, a 32-year-old White American woman. She writes: "As an ENFP I like it."',
        "no Myers-Briggs type",
    ),
    "no review": (f"{WHOLE} She loves her coffee machine.", "no review"),
    "cut off before the review": (f"{WHOLE} She writes:", "no review"),
    "said of, not by": (f"{WHOLE} She said that she loves it.", "no review"),
    "a short review": (f'{WHOLE} She writes: "Great!"', "the review has fewer than three words"),
    "the next is not borrowed from": (
        f"Meet Emily Jones, a White American woman.\n\nMeet Ana Diaz, a 40-year-old woman (INTJ). {SAYS}", "no age",
    ),
}  # fmt: skip
BAD |= {f"prose, {name}": row for name, row in BAD_PROSE.items()}


@pytest.mark.parametrize(("text", "changes"), GOOD.values(), ids=GOOD)
def test_personas_are_read(text: str, changes: dict[str, object]) -> None:
    assert parse(text) == Persona(**{**VALUES, **changes})


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


def test_whatever_prose_comes_is_answered() -> None:
    """Five thousand texts of pieces that sentences about somebody are made of, in any order."""
    names = ["Emily Jones", "Dr. ", "J.", "de", "O'Neil", "Ana", "**Kenji**", "美"]
    facts = ["32", "25-34", "-year-old", " years old", "thirty", "White", "American", "woman", "(she/her)", "ENFP", "²"]
    words = ["Meet ", "I'm ", "My name is ", " named ", "She is ", "Her age is ", " of Igbo descent", " and ", " is a "]
    marks = ['"', "“", "”", "‘", "’", ",", ".", ":", "(", ")", "—", "\n", "\n---\n", " ", " says", "Review: "]
    rng = random.Random(0)
    for _ in range(5_000):
        text = "".join(rng.choices([*names, *facts, *words, *marks], k=rng.randrange(1, 30)))
        got = parse(text)
        assert isinstance(got, Persona) or (isinstance(got, Rejected) and 0 < len(got.reason) < 80), repr(text)


def test_every_cut_of_an_output_is_answered() -> None:
    for text in (form(), as_json()):
        whole = [isinstance(parse(text[:end]), Persona) for end in range(len(text) + 1)]
        first = whole.index(True)
        assert text[:first].endswith("I love t")  # the third word, begun, makes a review
        assert all(whole[first:])


LONG = {
    "newlines": "\n", "quotes": '"', "braces": "{", "closing": "}", "labels": "a: ", "brackets": "[", "nested": '{"a":',
    "introductions": "Meet A B, a 3-year-old man. ", "subjects": "I am ", "names": "A ", "verbs": ", she says ",
    "owned": "my a ", "origins": "she is of A ", "curly": "he says: “", "sentences": "She is. ",
    "described": "woman named A ", "articles": "a 1 ", "groups": "white british ",
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


def test_what_was_written_is_kept_beside_what_was_read() -> None:
    found = parse(form(nationality=" **USA** ", first_name="Jose\u0301"))
    assert isinstance(found, Persona)
    assert (found.nationality, found.written["nationality"]) == ("American", "USA")
    assert (found.first_name, found.written["first_name"]) == ("José", "Jose\u0301")
