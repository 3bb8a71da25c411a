"""Reading a TARGET, and what is said of one that cannot be meant."""

from __future__ import annotations

import json

import pytest

from llama_diversity.errors import BadTarget
from llama_diversity.studies.population.init import starting_text
from llama_diversity.studies.population.joint import joint_of
from llama_diversity.studies.population.load import load_target
from llama_diversity.studies.population.target import Bin, Rule, Target

GENDER = "fields.gender = { values = { female = 0.51, male = 0.49 } }\n"
AGE = 'fields.age = { bins = { "18-29" = 20, "30-64" = 55, "65+" = 25 } }\n'


@pytest.fixture
def load(tmp_path):
    def loaded(content, name="target.toml", **chosen):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return load_target(path, **chosen)

    return loaded


@pytest.fixture
def refused(load):
    def sentence(content, name="target.toml", **chosen):
        with pytest.raises(BadTarget) as caught:
            load(content, name, **chosen)
        assert caught.value.exit_code == 2
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return sentence


def test_the_target_to_start_from_loads_and_fits(load):
    found = load(starting_text())
    assert [one.name for one in found.fixed] == ["gender", "age", "household"]
    assert [one.name for one in found.free] == ["occupation", "review"]
    assert found.source == ""
    joint = joint_of(found)
    assert len(joint.cells) == 2 * 4 * 4
    assert joint.pair("age", "gender")["45-64", "male"] == pytest.approx(0.18)
    assert found.rules[0].barred_by({"age": "40", "occupation": "Retired teacher"})
    assert Target.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_percent_and_rounding_become_shares(load):
    found = load(AGE + "fields.g = { values = { a = 0.333, b = 0.333, c = 0.333 } }")
    assert found.field("age").shares == pytest.approx({"18-29": 0.2, "30-64": 0.55, "65+": 0.25})
    assert found.field("age").bins == (Bin("18-29", 18, 29), Bin("30-64", 30, 64), Bin("65+", 65, None))
    assert found.field("g").shares == pytest.approx(dict.fromkeys("abc", 1 / 3))


def test_what_a_field_can_have(load):
    found = load(
        'title = "T"\nproduct = "P"\nrequest = "Of {product}: {fields}"\nfields.country = "Austria"\n'
        'fields.year = 2025\nfields.review = { free = true, max_words = 5, label = "Opinion", examples = ["So so"] }\n'
    )
    assert (found.title, found.product, found.request) == ("T", "P", "Of {product}: {fields}")
    assert [(one.given, one.label) for one in found.fields[:2]] == [("Austria", "Country"), ("2025", "Year")]
    assert (found.fields[2].label, found.fields[2].max_words, found.fields[2].examples) == ("Opinion", 5, ("So so",))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "it is empty; `llamadiv population init` writes one"),
        ("\ufeff \n", "it is empty"),
        (b"\xff\xfe", "it is no UTF-8"),
        (b"title = '\xe4'", "it is no UTF-8"),
        ("fields = [", "it is no TOML"),
        ("gender,age\nf,3\n", "it is no TOML"),
        ("version = 2\n" + GENDER, "it is of version 2, and this llamadiv knows up to 1. Upgrade llamadiv."),
        ("version = true\n" + GENDER, "its version is True"),
        ('title = "x"', "it has no fields"),
        ("titel = 'x'\n" + GENDER, "the target has the unknown key 'titel'; did you mean 'title'?"),
        ("title = 3\n" + GENDER, "title must be text, not 3"),
        ("fields.a = { value = { x = 1 } }", "fields.a has the unknown key 'value'; did you mean 'values'?"),
        ("fields.a = {}", "fields.a must have one of values, bins, given and free = true, not none"),
        ("fields.a = { free = false }", "not none"),
        ("fields.a = { free = true, values = { x = 1 } }", "not values and free"),
        ("fields.a = true", "fields.a must be a table"),
        ("fields.a = { values = {} }", "fields.a.values has no shares"),
        ("fields.a = { values = { x = 1 } }", 'a has one value for everybody; write fields.a = "x"'),
        (
            "fields.a = { values = { x = 0.5, y = 0.37 } }",
            "the shares of fields.a sum to 0.87; they must sum to 1, or to 100",
        ),
        ("fields.a = { values = { x = 50, y = 60 } }", "the shares of fields.a sum to 110"),
        ("fields.a = { values = { x = 1.5, y = -0.5 } }", "fields.a gives 'y' the share -0.5"),
        ("fields.a = { values = { x = nan, y = 1 } }", "fields.a gives 'x' the share nan"),
        ("fields.a = { values = { x = 'many', y = 1 } }", "fields.a gives 'x' the share 'many'"),
        ("fields.a = { values = { x = 0.5, 'X.' = 0.5 } }", "a has 'x' and 'X.', both written 'X.'"),
        (
            "fields.a = { values = { x = 0.5, '...' = 0.5 } }",
            "a has the value '...', in which there is nothing to read",
        ),
        ("fields.a = { values = { x = 0.5, y = 0.5 }, also = { x = ['Y'] } }", "a has 'y' and 'x', both written 'Y'"),
        (
            "fields.a = { values = { male = 0.5, y = 0.5 }, also = { mal = ['m'] } }",
            "also names 'mal', which is no value of it; did you mean 'male'?",
        ),
        ("fields.a = { bins = { young = 0.5, old = 0.5 } }", "the bin 'young' of a is no range of whole numbers"),
        ("fields.a = { bins = { '18-30' = 0.5, '30+' = 0.5 } }", "the bins '18-30' and '30+' of a overlap"),
        ("fields.a = { bins = { '65+' = 0.5, '70-80' = 0.5 } }", "the bins '65+' and '70-80' of a overlap"),
        (
            "fields.a = { bins = { '<18' = 0.5, '40-64' = 0.5 } }",
            "between the bins '<18' and '40-64' of a 18 to 39 are left out",
        ),
        ("fields.a = { bins = { '29-18' = 0.5, '30+' = 0.5 } }", "the bin '29-18' of a is no range"),
        ("fields.a = { free = true, max_words = 0 }", "fields.a.max_words must be a whole number from 1 on, not 0"),
        (
            "fields.a = { free = true, max_words = 2, examples = ['one two three'] }",
            "an example does not fit its field: a has more than 2 words",
        ),
        ("fields.a = { free = true, label = 'a: b' }", "the label of a, 'a: b', must be one line without a colon"),
        ("request = 'Write {field}'\n" + GENDER, "request must hold {fields}"),
        ("request = 'Write {fields'\n" + GENDER, "request cannot be filled in"),
        ("pairs = 3\n" + GENDER, "pairs must be a list of tables"),
        (GENDER + "pairs = [ { of = ['gender'], table = [] } ]", "a pair must name two fields"),
        (GENDER + "pairs = [ { of = ['gender', 'agee'], table = [] } ]", "a pair names 'agee', which is no field"),
        (
            GENDER + "fields.r = { free = true }\npairs = [ { of = ['gender', 'r'], table = [] } ]",
            "a pair names r, which has no shares",
        ),
        (
            GENDER + AGE + "pairs = [ { of = ['gender', 'age'], table = 3 } ]",
            "must be a file of CSV, or rows of shares",
        ),
        (
            GENDER + AGE + "pairs = [ { of = ['gender', 'age'], table = 'none.csv' } ]",
            "the table 'none.csv': it cannot be read: no such file",
        ),
        (
            GENDER + AGE + "pairs = [ { of = ['gender', 'age'], table = [['female', '18-92', 1.0]] } ]",
            "'18-92' is no value of age; did you mean '18-29'?",
        ),
        (
            GENDER
            + AGE
            + "pairs = [ { of = ['gender', 'age'], table = [['female', '65+', 0.5], ['female', '65+', 0.5]] } ]",
            "'female' with '65+' has two shares",
        ),
        (
            GENDER
            + AGE
            + "pairs = [ { of = ['gender', 'age'], table = [['female', '65+', 0.51], ['male', '18-29', 0.49]] } ]",
            "contradicts the margin of age: '18-29' sums to 49 % in the one and is 20 % in the other",
        ),
        (GENDER + "rules = [ { if = { gender = 'female' } } ]", "a rule must say not = { ... }"),
        (
            GENDER + "rules = [ { if = { gendre = 'female' }, not = { gender = 'male' } } ]",
            "a rule names 'gendre', which is no field; did you mean 'gender'?",
        ),
        (
            GENDER + "rules = [ { if = { gender = 'femal' }, not = { gender = 'male' } } ]",
            "a rule says gender 'femal', which nobody can be; did you mean 'female'?",
        ),
        (
            AGE + "rules = [ { if = { age = 'old' }, not = { age = '65+' } } ]",
            "a rule says age 'old', which nobody can be",
        ),
        (GENDER + "rules = [ { when = { gender = 'female' } } ]", "a rule has the unknown key 'when'"),
    ],
)
def test_a_target_that_cannot_be_meant(refused, content, says):
    assert says in refused(content)


@pytest.mark.parametrize(
    "name",
    ["", " ", " a", "a,b", 'a\\"b', "a\\nb", "a;b", "a:b", "=SUM(A1)", "-a", "a\\u0000", "\\u200b", "*", "x" * 61],
)
def test_names_that_columns_cannot_have(refused, name):
    assert "which CSV or JSON cannot hold safely" in refused(f'[fields."{name}"]\nfree = true')


def test_names_of_columns_that_are_ours_and_names_alike(refused):
    assert "as a column that is written beside the fields" in refused("fields.weight = { free = true }")
    assert "'home_town' and 'Home town' cannot be told apart" in refused(
        "[fields.home_town]\nfree = true\n[fields.'Home town']\nfree = true"
    )


def test_missing_files_and_folders(tmp_path):
    for name, says in (("none.toml", "no such file"), ("none.csv", "no such file"), ("none.parquet", "as Parquet")):
        with pytest.raises(BadTarget, match=says):
            load_target(tmp_path / name)
    with pytest.raises(BadTarget, match="it cannot be read: is a directory"):
        load_target(tmp_path)


# ---- pairs and rules of a file


@pytest.mark.parametrize(
    "table",
    [
        "age,female,male\n18-29,0.1,0.1\n30-64,0.28,0.27\n65+,0.13,0.12\n",
        "\ufeffgender;18-29;30-64;65+\nfemale;100;280;130\nmale;100;270;120\nmale;;;\n".replace("male;;;\n", ""),
        "gender,18–29,30 to 64,>=65\nFemale,10,28,13\nMale,10,27,12\n",
        "share,age,gender\n10,18-29,female\n10,18-29,male\n28,30-64,female\n27,30-64,male\n13,65+,female\n12,65+,male\n",
    ],
    ids=["ages down", "people, semicolons", "other spellings, percent", "a row a pair"],
)
def test_a_table_beside_the_target(load, tmp_path, table):
    (tmp_path / "table.csv").write_text(
        table.replace("280;130", "2800;1300").replace("270;120", "2700;1200").replace(";100;", ";1000;")
    )
    found = load(GENDER + AGE + 'pairs = [ { of = ["age", "gender"], table = "table.csv" } ]')
    assert found.pairs[0].of == ("age", "gender")
    assert found.pairs[0].table["30-64", "female"] == pytest.approx(0.28)
    assert joint_of(found).pair("gender", "age")["male", "65+"] == pytest.approx(0.12)


def test_a_pair_is_raked_to_margins_that_differ_by_rounding(load):
    found = load(
        "fields.a = { values = { x = 0.5, y = 0.5 } }\nfields.b = { values = { u = 0.4, v = 0.6 } }\n"
        'pairs = [ { of = ["a", "b"], table = { x = { u = 0.303, v = 0.2 }, y = { u = 0.1, v = 0.397 } } } ]'
    )
    table = found.pairs[0].table
    assert table["x", "u"] + table["x", "v"] == pytest.approx(0.5, abs=1e-12)
    # Raking keeps the odds ratio: 0.303 * 0.397 / (0.2 * 0.1).
    assert table["x", "u"] * table["y", "v"] / (table["x", "v"] * table["y", "u"]) == pytest.approx(6.01455)


def test_rules_as_they_are_written(load):
    found = load(
        GENDER + AGE + "fields.job = { free = true }\n"
        'rules = [ { if = { age = "<62" }, not = { job = ["retired*", "pensioner"] }, why = "pension age" } ]'
    )
    assert found.rules == (Rule({"age": ("<62",)}, {"job": ("retired*", "pensioner")}, "pension age"),)


# ---- a demography


def test_a_demography_of_distributions(load):
    found = load(
        json.dumps(
            {
                "title": "Riders",
                "town": "Graz",
                "age_distribution": {"18-34": 0.4, "35-59": 0.35, "60+": 0.25},
                "ticket_distribution": {"single": 30, "monthly": 70},
                "notes": ["made up"],
            }
        ),
        "riders.json",
    )
    assert found.title == "Riders"
    assert [one.name for one in found.fields] == ["town", "age", "ticket"]
    assert found.field("town").given == "Graz"
    assert found.field("age").is_number
    assert found.field("ticket").shares == pytest.approx({"single": 0.3, "monthly": 0.7})
    assert found.remarks == ("not used, since they are neither shares nor one value: notes",)


def test_our_own_form_as_json(load):
    found = load(json.dumps({"fields": {"g": {"values": {"a": 0.5, "b": 0.5}}}}), "own.json")
    assert (found.title, found.field("g").shares) == ("own", {"a": 0.5, "b": 0.5})


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[]", "it must be a JSON object"),
        ("{", "it is no JSON"),
        ('{"a": 1}', "it has neither `fields` nor keys that end in `_distribution`"),
        ('{"age_distribution": 3}', "age_distribution must be an object"),
        ('{"age_distribution": {"18-29": 0.4, "30+": 0.5}}', "the shares of age sum to 0.9"),
        ('{"age_distribution": {"a": 0.4, "a": 0.6}}', "it names 'a' more than once"),
        ('{"a": "x", "a_distribution": {"x": 0.4, "y": 0.6}}', "the fields 'a' and 'a' cannot be told apart"),
        ("[" * 100_000, "it is no JSON"),
    ],
)
def test_json_that_cannot_be_meant(refused, content, says):
    assert says in refused(content, "target.json")


# ---- people


def people(n=40):
    rows = [
        f"{'f' if at % 4 else 'm'},{20 + at},{'flat' if at % 2 else 'house'},person {at},{at % 3}" for at in range(n)
    ]
    return "gender,age,home,name,cars\n" + "\n".join(rows) + "\n"


def test_people_are_counted(load):
    found = load(people(60), "people.csv")
    assert found.title == "people"
    assert found.field("gender").shares == pytest.approx({"f": 0.75, "m": 0.25})
    # Ages 20 to 79: quartiles 34.75, 49.5 and 64.25, so bins begin at 35, 50 and 65 and hold 15 each.
    assert found.field("age").bins == (
        Bin("20-34", 20, 34),
        Bin("35-49", 35, 49),
        Bin("50-64", 50, 64),
        Bin("65+", 65, None),
    )
    assert found.field("age").shares == pytest.approx(dict.fromkeys(("20-34", "35-49", "50-64", "65+"), 0.25))
    assert found.field("cars").shares == pytest.approx({"0": 1 / 3, "1": 1 / 3, "2": 1 / 3})
    assert found.field("name").is_free
    assert found.remarks == ("name has 60 different values, so it is free text: the model writes it",)
    # Expected in the least cell of 60: gender and age 60 * 0.25 * 0.25 = 3.75, gender and home 7.5, and so on.
    assert [one.of for one in found.pairs] == [
        ("gender", "home"),
        ("gender", "cars"),
        ("age", "home"),
        ("age", "cars"),
        ("home", "cars"),
    ]
    assert found.pairs[0].table["m", "house"] == pytest.approx(0.25)  # every fourth, and of those that are even
    assert found.pairs[0].table["m", "flat"] == 0
    assert joint_of(found).margin("age")["65+"] == pytest.approx(0.25)


def test_columns_pairs_and_weights_are_chosen(load):
    found = load("g,h,w\na,x,1\na,y,2\nb,x,5\nb,y,0\n", "people.csv", weight="w", fields=["h", "g"], pairs=[("g", "h")])
    assert [one.name for one in found.fields] == ["h", "g"]
    assert found.field("g").shares == pytest.approx({"a": 3 / 8, "b": 5 / 8})
    assert found.pairs[0].table == pytest.approx(
        {("a", "x"): 1 / 8, ("a", "y"): 2 / 8, ("b", "x"): 5 / 8, ("b", "y"): 0.0}
    )


def test_values_with_commas_quotes_and_line_breaks(load):
    found = load(
        '\ufeffwork,"the ""home"""\n"nurse, night","a\r\nflat"\n"say ""hi""",house\n', "people.csv", fields=["work"]
    )
    assert found.field("work").shares == {"nurse, night": 0.5, 'say "hi"': 0.5}
    assert found.field("work").read("Nurse, night.").value == "nurse, night"


def test_a_line_break_in_a_value_is_a_blank(load):
    assert list(load('home;n\n"a\nflat";1\nhouse;2\n', "people.csv").field("home").shares) == ["a flat", "house"]


def test_empty_cells_are_left_out_and_spellings_joined(load):
    found = load("g,h\nFemale,x\nfemale,y\nfemale,x\nmale,\n", "people.csv")
    assert found.field("g").shares == {"female": 0.75, "male": 0.25}
    assert found.field("h").shares == pytest.approx({"x": 2 / 3, "y": 1 / 3})
    assert found.remarks == ("h is empty for 1 of 4 people; its shares are of the others",)


def test_people_as_json_lines_and_parquet(load, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"g": "a", "n": 1}, {"g": "b", "n": None}, {"g": "a", "n": 2}, {"g": "a", "n": 2}]
    lines = load("\n".join(map(json.dumps, rows)), "people.jsonl")
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "people.parquet")
    assert load_target(tmp_path / "people.parquet") == lines
    assert lines.field("g").shares == {"a": 0.75, "b": 0.25}
    assert lines.field("n").shares == pytest.approx({"1": 1 / 3, "2": 2 / 3})


@pytest.mark.parametrize(
    ("content", "chosen", "says"),
    [
        ("g,h\n", {}, "there are no rows below its head"),
        ("g,h\na\n", {}, "line 2 has 1 cells, and its head names 2 columns"),
        ("g,g\na,b\n", {}, "its head names 'g' more than once"),
        (
            "gender,h\na,b\n",
            {"fields": ["gendre"]},
            "there is no column 'gendre'; did you mean 'gender'? (there are gender, h)",
        ),
        ("g,h\na,b\n", {"weight": "w"}, "there is no column 'w'"),
        ("g,h\na,b\n", {"pairs": [("g", "x")]}, "there is no column 'x'"),
        ("g,w\na,-1\n", {"weight": "w"}, "the weight of person 1 is '-1'"),
        ("g,w\na,0\n", {"weight": "w"}, "all weights in 'w' are 0"),
        ("g,h\na,\nb,\n", {}, "the column 'h' is empty"),
        ("g,weight\na,1\nb,2\n", {}, "a field is called 'weight', as a column that is written beside the fields"),
        ("g,\na,1\nb,2\n", {}, "a field is called ''"),
        ('g,h\n"a,b\n', {}, "it cannot be read as a table"),
        (b"g,h\n\xff,b\n", {}, "it is no UTF-8"),
        ("", {}, "it is empty"),
    ],
)
def test_people_that_cannot_be_counted(refused, content, chosen, says):
    assert says in refused(content, "people.csv", **chosen)


def test_columns_are_chosen_of_people_alone(refused):
    assert "are chosen of a table of people, and this is none" in refused(GENDER, fields=["gender"])


def test_a_product_and_fields_to_write_beside_a_table(load):
    table = "sex,town\n" + "f,Graz\nm,Linz\n" * 5
    found = load(table, "people.csv", product=" A cup. ", free=("review", "job"))
    assert found.product == "A cup."
    assert [one.name for one in found.free] == ["review", "job"]
    assert [one.name for one in found.fixed] == ["sex", "town"]
    assert load("product = 'A pan.'\n" + GENDER, product="A cup.").product == "A cup."
    assert load("product = 'A pan.'\n" + GENDER).product == "A pan."


def test_what_cannot_stand_beside_what_is_there(refused, tmp_path):
    assert "'gender' and 'Gender' cannot be told apart" in refused(GENDER, free=("Gender",))
    assert "have one label or name" in refused(GENDER + 'fields.job = { free = true, label = "gender" }')
    assert "a column that is written beside" in refused(GENDER + "fields.made_up_by = { free = true }")
    assert "are named by --weight" in refused("sex,weight\nf,1\nm,2\n", "people.csv")
    with pytest.raises(BadTarget, match="no such file or directory. `llamadiv population init --to FILE` writes one"):
        load_target(tmp_path / "nowhere.toml")
