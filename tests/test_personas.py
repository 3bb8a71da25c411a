"""Experiment 1: what is planted is counted, validity comes first, and the command runs on the tiny pair."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from llama_diversity.answers import Answer
from llama_diversity.records import TOKEN_DTYPE
from llama_diversity.render.exhibits import Remark, Section, Table
from llama_diversity.render.folder import files_of
from llama_diversity.store import Store
from llama_diversity.studies.personas import analysis as personas
from llama_diversity.studies.personas import sentences as review_sentences
from llama_diversity.studies.personas.exhibits import Facts, people_csv, section
from llama_diversity.studies.personas.parser import parse

NAMES = ("Emily", "Ravi", "Aiko", "Chidi", "Lena")


def card(
    first: str = "Emily", *, age: int = 32, nationality: str = "American", review: str = "I love this machine."
) -> str:
    return (
        f"First name: {first}\nLast name: Jones\nGender: Female\nAge: {age}\nNationality: {nationality}\n"
        f"Ethnicity: White\nMyers-Briggs type: ENFP\nReview: {review}"
    )


def answers(texts: Mapping[str, Sequence[str]], *, is_cut_off: bool = False) -> dict[str, list[Answer]]:
    none = np.zeros(0, TOKEN_DTYPE)
    return {arm: [Answer(one, one.encode(), none, is_cut_off) for one in some] for arm, some in texts.items()}


def result(**changes: list[str]) -> personas.Result:
    texts = {
        "base": [card(NAMES[at % 5], age=20 + at, nationality=("German", "French")[at % 2]) for at in range(30)],
        "aligned": [card() for _ in range(25)] + ["I cannot do that."] * 4 + [""],
        **changes,
    }
    return personas.analyse(answers(texts))


def sentence_clusters(found: personas.Result) -> review_sentences.Clusters:
    """Clusters of sentences whose vectors are told by their first letter: no encoder is needed."""
    said = review_sentences.sentences_of(found)
    directions = np.eye(26, dtype=np.float32)
    places = {arm: [ord(text.strip().lower()[0]) % 26 for text in some] for arm, some in said.items()}
    return review_sentences.cluster(said, {arm: directions[some] for arm, some in places.items()})


def shown(found: personas.Result) -> Section:
    return section(found, sentence_clusters(found), facts(found), "llamadiv personas")


def facts(found: personas.Result) -> Facts:
    return Facts(dict.fromkeys(found.arms, "model"), dict.fromkeys(found.arms, "asked"))


def test_validity_comes_first_and_reasons_are_counted() -> None:
    found = result()
    assert found.arms["base"].valid.value == 1
    aligned = found.arms["aligned"]
    assert (aligned.valid.k, aligned.valid.n) == (25, 30)
    assert sum(aligned.reasons.values()) == 5
    said = [exhibit.text for exhibit in shown(found).exhibits if isinstance(exhibit, Remark)]
    assert any("valid shares differ by more than 10 points" in text for text in said)


def test_planted_fields_are_counted() -> None:
    found = result()
    names = found.arms["base"].fields["first_name"]
    assert dict(names.counts) == dict.fromkeys(sorted(NAMES), 6)
    # Five names, six of each among 30: sum 6*5 / (30*29) = 150/870; no name seen once, so coverage 1.
    assert names.concentration.value == pytest.approx(150 / 870)
    assert names.coverage.value == 1
    assert names.concentration_of_all == pytest.approx(150 / 870)
    # aligned: 25 of 30 outputs are valid, all of them American: 25*24 / (30*29)
    assert found.arms["aligned"].fields["nationality"].concentration_of_all == pytest.approx(600 / 870)
    assert found.m == 12
    # 1 - C(24, 12) / C(30, 12) for each of the five
    assert names.rarefied.value == pytest.approx(5 * (1 - math.comb(24, 12) / math.comb(30, 12)))
    assert found.arms["base"].fields["nationality"].concentration.value == pytest.approx(2 * 15 * 14 / (30 * 29))
    assert found.arms["aligned"].fields["nationality"].concentration.value == 1


def test_every_output_is_a_row_of_the_csv() -> None:
    """Valid or not, by its index, whatever stands in a field; what a spreadsheet would compute is a text."""
    said = 'It is "fine", they say, and it\'s loud.'
    outputs = [card("=1+1"), "I cannot do that.", card(review=said)]
    found = personas.analyse(answers({"base": outputs}))
    rows = personas.rows("base", found.arms["base"].outputs, [(2, "r1-b#1"), (0, "r1-a#0"), (1, "r1-b#0")])
    head, *read = csv.reader(io.StringIO(people_csv(rows), newline=""))
    assert head[:3] == ["arm", "index", "sample"]
    assert [row[:3] for row in read] == [["base", "0", "r1-a#0"], ["base", "1", "r1-b#0"], ["base", "2", "r1-b#1"]]
    assert read[0][3:] == [""] * 8 + ["no", "nothing that looks like a persona"]
    assert read[1][3:] == ["Emily", "Jones", "Female", "32", "American", "White", "ENFP", said, "yes", ""]
    assert read[2][3] == "'=1+1"


def test_values_with_line_breaks_stay_one_value() -> None:
    row = personas.Row("base", 0, "r1-a#0", {"review": 'One,\n"two".\r\n'}, "no first name")
    [_, read] = csv.reader(io.StringIO(people_csv([row]), newline=""))
    assert read[-3:] == ['One,\n"two".\r\n', "no", "no first name"]


def test_numbers_are_of_the_valid_ones() -> None:
    found = result()
    ages = found.arms["base"].summaries["age"]
    assert ages.mean == pytest.approx(20 + 29 / 2)
    assert found.arms["aligned"].summaries["age"] == pytest.approx((32, 0, 0, 25))
    assert found.differences["aligned"]["age"].mean == pytest.approx(32 - 34.5)
    assert found.arms["base"].numbers["review_chars"] == (20.0,) * 30
    assert found.arms["base"].summaries["sentiment"].mean > 0.5


def said(found: personas.Result) -> str:
    return " ".join(one.text for one in shown(found).exhibits if isinstance(one, Remark))


def test_spellings_of_one_value_are_joined_and_counted() -> None:
    """José in four spellings of three letters' forms, the most frequent is shown; two countries in five."""
    names = ["José"] * 3 + ["JOSÉ"] * 2 + ["Jose\u0301", "Jo\u200bsé", "Jose"]
    countries = ["USA", "U.S.", "America", "American", "american", "France", "French", "french"]
    people = [card(name, nationality=country) for name, country in zip(names, countries, strict=True)]
    found = personas.analyse(answers({"base": people, "aligned": [card("JOSÉ")] * 3}))
    base, aligned = found.arms["base"].fields, found.arms["aligned"].fields
    assert dict(base["first_name"].counts) == {"José": 7, "Jose": 1}
    assert dict(aligned["first_name"].counts) == {"José": 3}  # one value over the arms, too
    assert dict(base["nationality"].counts) == {"American": 5, "French": 3}
    assert (base["first_name"].n_spellings, base["nationality"].n_spellings) == (5, 8)
    assert "of base first name 5 into 2, nationality 8 into 2." in said(found)
    assert "Spellings" not in said(result())


def test_the_tone_of_another_language_is_not_reported() -> None:
    french = "Très bonne machine, je la recommande à tous, le café est délicieux."
    found = result(base=[card(review=french)] * 12 + [card()] * 18)
    base = found.arms["base"]
    assert (base.n_unknown_tones, base.n_other_language, base.has_tone) == (12, 12, False)
    assert base.numbers["sentiment"] == base.numbers["sentence_sentiment"] == ()
    assert math.isnan(found.differences["aligned"]["sentiment"].low)
    reason = "knows no word of 12 of 30 of base's reviews (12 seem to be in another language)"
    assert f"Tone of base's reviews not reported: VADER's lexicon is English, and {reason}." in said(found)
    assert "figure-8-sentiments.svg" not in dict(files_of(shown(found)))
    few = result(base=[card(review=french)] * 6 + [card()] * 24)
    assert few.arms["base"].has_tone
    assert few.arms["base"].summaries["sentiment"].mean == pytest.approx(24 / 30 * 0.6369)
    assert "knows no word of 6 of 30 of base's reviews" in said(few)


@pytest.mark.parametrize(("n", "has_tone"), [(15, True), (16, False)])
def test_english_reviews_that_say_nothing_are_counted(n: int, has_tone: bool) -> None:
    base = result(base=[card(review="It never worked for me.")] * n + [card()] * (30 - n)).arms["base"]
    assert (base.n_unknown_tones, base.n_other_language, base.has_tone) == (n, 0, has_tone)


def test_the_tone_of_sentences_stands_beside_that_of_the_whole() -> None:
    found = result(base=[card(review="I did not go. Good things happened.")] * 30)
    summaries = found.arms["base"].summaries
    assert summaries["sentiment"].mean == pytest.approx(-0.3412)
    assert summaries["sentence_sentiment"].mean == pytest.approx(0.2202)
    assert summaries["review_sentences"].mean == 2
    table = next(one for one in shown(found).exhibits if isinstance(one, Table) and one.name == "personas-numbers")
    assert ("the same, mean over sentences", "base") in [row[:2] for row in table.rows]


def test_sentences_that_the_encoder_cannot_read_are_not_clustered() -> None:
    found = result()
    unread = Facts(dict.fromkeys(found.arms, "m"), dict.fromkeys(found.arms, "a"), unread={"base": "Not base's."})
    page = section(found, sentence_clusters(found), unread, "llamadiv personas")
    assert "Not base's." in [one.text for one in page.exhibits if isinstance(one, Remark)]
    assert not [name for name, _ in files_of(page) if "sentence" in name]


def test_a_form_is_read_from_its_first_value_on() -> None:
    text = card("Ravi").removeprefix("First name:")
    found = personas.analyse(answers({"base": [text] * 3, "aligned": [card()] * 3}), forms=["base"])
    assert dict(found.arms["base"].fields["first_name"].counts) == {"Ravi": 3}


@pytest.mark.parametrize(
    "outputs", [["no"] * 3, [""], [card()], [card("=1+1", review="<script>alert(1)</script> it is bad")] * 4]
)
def test_little_or_nothing_valid_breaks_nothing(outputs: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llama_diversity.render.folder.PICTURES", ("svg",))  # of which the others are made
    found = result(aligned=outputs)
    page = shown(found)
    files = dict(files_of(page))
    assert {"personas-validity.csv", "figure-2-nationalities.svg", "figure-8-sentiments.svg"} <= set(files)
    if found.arms["aligned"].valid.k == 0:
        assert any("nothing to compare" in one.text for one in page.exhibits if isinstance(one, Remark))


def reviews(*texts: str) -> list[str]:
    return [card(review=text) for text in texts]


def test_sentences_are_clustered_for_each_arm_and_for_both() -> None:
    """Vectors are the first letters: base says three things, aligned one."""
    base = reviews("I like it a lot. Bad taste though.", "It is fine here. Bad coffee again.", "So it is. See.")
    found = personas.analyse(answers({"base": base, "aligned": reviews(*["Great coffee machine. Good for me."] * 3)}))
    clusters = sentence_clusters(found)
    assert clusters.arms == ("base",) * 6 + ("aligned",) * 6
    assert clusters.sentences[:2] == ("I like it a lot.", "Bad taste though.")
    base, aligned = clusters.own["base"], clusters.own["aligned"]
    assert base.by_silhouette.k == 3
    assert base.sizes == (2, 2, 2)
    assert base.nearest == ((0, 2), (1, 3), (4, 5))  # of equal directions the first comes first
    assert aligned.by_silhouette.k is None  # all alike: no silhouette
    assert aligned.sizes == (6,)
    assert clusters.effective["aligned"].value == pytest.approx(1)
    tables = {one.name: one for one in shown(found).exhibits if isinstance(one, Table)}
    assert tables["table-2-sentences-base"].rows[0] == (1, 2, "I like it a lot. · It is fine here.")
    assert tables["table-3-sentences-aligned"].rows == ((1, 6, "Great coffee machine. · Good for me."),)


def test_all_figures_of_the_experiment_are_there() -> None:
    names = set(dict(files_of(shown(result()))))
    wanted = [
        "figure-1-cloud-first-names", "figure-1-cloud-last-names", "figure-2-nationalities", "figure-3-ethnicities",
        "figure-4-types", "figure-5-ages", "figure-6-genders", "figure-7-review-lengths", "figure-8-sentiments",
        "figure-9-sentences",
    ]  # fmt: skip
    assert {f"{name}.{kind}" for name in wanted for kind in ("png", "svg", "pdf")} <= names
    assert {"table-2-sentences-base.csv", "table-3-sentences-aligned.csv"} <= names


@pytest.mark.model
def test_a_grammar_makes_every_output_whole_and_is_said(run: Callable) -> None:
    code, out, _ = run("personas", "-n", 10, "--grammar", "--json")
    assert code == 0
    report = json.loads(out)
    assert report["grammar"] is True
    assert [report["arms"][arm]["valid"]["k"] for arm in ("base", "aligned")] == [10, 10]
    assert "--grammar" in report["command"]
    assert "no longer the models' own" in run("personas", "-n", 10, "--grammar")[1].replace("\n", " ")


@pytest.mark.model
def test_the_tiny_pair(run: Callable, tmp_path: Path) -> None:
    code, out, _ = run("personas", "-n", 30, "--json", "--out", tmp_path)
    assert code == 0
    report = json.loads(out)
    for arm, asked in (("base", 0.6), ("aligned", 0.95)):  # of a pair that ships; thirty may fall short by three SD
        assert report["arms"][arm]["valid"]["value"] >= asked - 3 * (asked * (1 - asked) / 30) ** 0.5
    assert report["arms"]["base"]["fields"]["first_name"]["counts"]
    assert {"index.html", "personas.json", "figure-5-ages.pdf"} <= {path.name for path in tmp_path.iterdir()}
    assert "minus base" in (tmp_path / "personas-numbers.csv").read_text().splitlines()[0]
    again = json.loads(run("personas", "-n", 30, "--json")[1])
    assert {**again, "run": None} == {**report, "run": None}


@pytest.mark.model
def test_the_rows_of_a_csv_are_the_samples_that_are_kept(run: Callable, tmp_path: Path) -> None:
    """Of 12 outputs form 0 has 0 and 10, form 1 has 1 and 11; a row's id finds its text."""
    again = ("personas", "-n", 12, "--product", 'A lock, "light"', "--csv")
    code, out, err = run(*again, tmp_path / "new" / "people.csv", "--json")
    assert (code, json.loads(out)["arms"]["base"]["n"]) == (0, 12)
    assert f"All outputs are rows of {tmp_path / 'new' / 'people.csv'}" in err
    written = (tmp_path / "new" / "people.csv").read_text("utf-8")
    assert run(*again, "-")[1] == run(*again, "-", "-q")[1] == written
    rows = list(csv.DictReader(io.StringIO(written, newline="")))
    assert [(row["arm"], row["index"]) for row in rows] == [
        (arm, str(at)) for arm in ("base", "aligned") for at in range(12)
    ]
    recipe = rows[0]["sample"].removesuffix("#0")
    assert (rows[10]["sample"], rows[20]["sample"][-2:]) == (f"{recipe}#1", "#8")
    valid = next(row for row in rows if row["valid"] == "yes")
    shown = run("runs", "show", valid["sample"])[1]
    assert all(word in shown for word in (valid["sample"], valid["first_name"], valid["review"][:20]))
    told = json.loads(run("runs", "show", rows[20]["sample"], "--json")[1])
    assert told["recipe"]["prompt"]["text"].endswith('this product: A lock, "light"')
    assert (told["arm"], told["index"]) == ("personas/aligned", 8)


def test_bad_input_is_one_sentence(run: Callable) -> None:
    code, _, err = run("personas", "-n", 0)
    assert code == 2
    assert "ask for 1 to" in err
    assert "say what the customers review" in run("personas", "--product", " ")[2]


def test_a_product_that_fills_the_context_is_refused_before_anything_is_drawn(run: Callable, tmp_path: Path) -> None:
    """A scripted model has 8,192 tokens, and takes each letter that it does not know for one or more."""
    store = tmp_path / "store"
    code, _, err = run("personas", "--pair", "scripted", "-n", 2, "--product", "lock " * 2000, "--store", store)
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith("llamadiv: --product is 'lock lock lock")
    assert "and the context of scripted:base no room for a persona behind that; shorten it, or name" in err
    with Store.open(store, read_only=True) as kept:
        assert kept.runs() == []


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (["--csv", "{}"], "is a directory"),
        (["--csv", "{}/file/people.csv"], "it cannot be written (File exists); name another place"),
        (["--csv", "-", "--json"], "Standard output takes the rows or the JSON"),
    ],
)
def test_where_no_rows_can_go_is_said_at_once(more: list[str], reason: str, run: Callable, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, out, err = run("personas", "-n", 2, *[word.format(tmp_path) for word in more])
    assert (code, out) == (2, "")
    assert reason in err


def test_a_model_without_a_template_is_refused(run: Callable) -> None:
    code, _, err = run("personas", "--base", "scripted:base", "--aligned", "scripted:uniform", "-n", 2)
    assert code == 1
    assert "template" in err


def test_without_a_whole_persona_there_are_no_empty_tables(run: Callable) -> None:
    code, out, _ = run("personas", "--pair", "scripted", "-n", 2)
    assert code == 0
    assert "aligned: no output holds a whole persona" in " ".join(out.split())
    assert "How varied each field" not in out
    assert "Ages, and" not in out


# ---- what is not valid, and why


def test_what_was_cut_off_says_so() -> None:
    whole, half = card(), card().partition("Myers")[0]
    found = personas.analyse(
        {
            "base": answers({"": [whole, whole]})[""] + answers({"": [whole, half]}, is_cut_off=True)[""],
            "aligned": [Answer("", b"", np.zeros(0, TOKEN_DTYPE), is_cut_off=True, is_thinking=True)] * 3,
        }
    )
    base, aligned = found.arms["base"], found.arms["aligned"]
    assert (base.valid.k, base.n, base.n_cut_off) == (3, 4, 2)
    assert base.reasons == {"no Myers-Briggs type, cut off by --max-tokens": 1}
    assert (aligned.valid.k, aligned.n_cut_off, aligned.reasons) == (0, 3, {"cut off while thinking": 3})
    table = next(one for one in shown(found).exhibits if isinstance(one, Table))
    assert table.rows[0][3:] == (4, (0.5,), "no Myers-Briggs type, cut off by --max-tokens (1)")


def test_all_reasons_are_counted_in_the_table() -> None:
    fields = ("Gender", "Age", "Nationality", "Ethnicity", "Myers-Briggs type", "Review", "Last name")
    texts = ["\n".join(line for line in card().splitlines() if not line.startswith(name)) for name in fields]
    table = next(
        one for one in shown(personas.analyse(answers({"base": texts * 2}))).exhibits if isinstance(one, Table)
    )
    assert str(table.rows[0][5]).count("(2)") == 5
    assert str(table.rows[0][5]).endswith("; other (4)")


LITTLE = "only [0-9] % of base's output mass has been seen"


def test_a_class_entropy_of_what_was_hardly_seen_is_refused_as_in_compare() -> None:
    """Names of base are all different but for one pair, of aligned two are even: 2 / 40 of base's mass is seen."""
    names = ["".join((chr(65 + at % 26), chr(97 + at // 26), "x")) for at in range(39)] + ["Aax"]
    found = personas.analyse(
        answers({"base": [card(name) for name in names], "aligned": [card("Eve"), card("Zoe")] * 20})
    )
    base, aligned = (found.arms[arm].fields["first_name"].entropy_nats for arm in ("base", "aligned"))
    assert base.value is None
    assert re.search(LITTLE, base.reason or "")
    assert aligned.value == pytest.approx(math.log(2), abs=0.02)
    kept = found.retained["aligned"]["first_name"]
    assert (kept.share, kept.p, kept.reason) == (None, None, base.reason)
    said = [one.text for one in shown(found).exhibits if isinstance(one, Remark)]
    assert any(re.search(LITTLE, text) and "“first name” of base" in text for text in said)


def test_a_class_entropy_of_few_is_refused_as_in_compare() -> None:
    found = personas.analyse(answers({"base": [card(NAMES[at % 5]) for at in range(24)], "aligned": [card()] * 25}))
    assert found.arms["base"].fields["first_name"].entropy_nats.reason == (
        "Not reported below 25 generations: at n = 10 such estimates are off by a factor of 1.2 to 1.6."
    )
    assert found.arms["aligned"].fields["first_name"].entropy_nats.value == 0
    tables = {one.name for one in shown(found).exhibits if isinstance(one, Table)}
    assert ("personas-kept" in tables, "personas-fields" in tables) == (False, True)  # all of it would be dashes


def test_why_nothing_of_few_is_compared_is_one_sentence() -> None:
    few = personas.analyse(answers({arm: [card(name) for name in NAMES[:3]] for arm in ("base", "aligned")}))
    said = [one.text for one in shown(few).exhibits if isinstance(one, Remark)]
    assert [text for text in said if "Not reported" in text] == [
        "Not reported below 25 generations: at n = 10 such estimates are off by a factor of 1.2 to 1.6. This holds for "
        "every field, so none is compared."
    ]
    alike = shown(personas.analyse(answers({"base": [card()] * 25, "aligned": [card()] * 25})))
    assert "personas-kept" not in {one.name for one in alike.exhibits if isinstance(one, Table)}
    said = [one.text for one in alike.exhibits if isinstance(one, Remark)]
    assert "Nothing is left to compare in any field: an arm has no diversity, so there is no ratio." in said
    two = [card("Eve"), card("Zoe")] * 13
    some = shown(personas.analyse(answers({"base": two, "aligned": two})))
    assert "personas-kept" in {one.name for one in some.exhibits if isinstance(one, Table)}


@pytest.mark.parametrize(
    "text",
    [
        "Nombre: María\nApellido: López\nGénero: femenino\nEdad: 34\nNacionalidad: española\nReseña: Va bien.",
        "**Vorname:** Anna\n**Nachname:** Schmidt\n**Alter:** 32\nMBTI: ENFP\nBewertung: Sehr gut und schön",
        "- Prénom : Marie\n- Nom : Dupont\n- Âge : 30\n- MBTI: INTJ\n- Avis : Très bien fait",
        '{"nome": "Ana", "sobrenome": "Silva", "idade": 34, "gênero": "mulher"}',
        "| Imię | Anna |\n| Nazwisko | Nowak |\n| Płeć | kobieta |",
        "姓名：王芳\n性别：女\n年龄：30\n评论：非常好用",
        "名前: 田中\n性別: 女性\n年齢: 30",
        "Имя: Анна\nФамилия: Иванова\nВозраст: 30",
        "الاسم: سارة\nالعمر: 30\nالجنس: أنثى",
        "नाम: सीता\nउम्र: 30\nलिंग: महिला",
    ],
)
def test_labels_in_another_language_are_named(text: str) -> None:
    assert parse(text).reason == "labels in another language than English"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("王芳是一位三十岁的老师。", "in another script than English"),
        ("I cannot do that: it is wrong.", "nothing that looks like a persona"),
        ("First name: Ana\nLast name: Nom\nAge: 30", "no gender"),
        ("Age: old\nFirst name: José\nLast name: Ñ\nGender: Male", "the age is no number"),
        ("12: 30: 45", "nothing that looks like a persona"),
    ],
)
def test_other_reasons_stand(text: str, reason: str) -> None:
    said = parse(text).reason
    assert said == reason or (reason.startswith("the age") and "language" not in said)
