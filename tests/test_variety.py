"""The variety of a stored run: what is usable and why not, copies, kinds, and what the next new one costs."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scripted_work import cell_of, fill, open_scripted

from llama_diversity.answers import Answer
from llama_diversity.errors import BadValue
from llama_diversity.metrics.price import NONE_USABLE, NOTHING_NEW
from llama_diversity.records import TOKEN_DTYPE
from llama_diversity.render.exhibits import Remark, Table
from llama_diversity.store import Store
from llama_diversity.studies.variety.analysis import Output, analyse
from llama_diversity.studies.variety.exhibits import Facts, section
from llama_diversity.studies.variety.judging import Judge

CARD = {
    "type": "object",
    "required": ["name", "age"],
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer", "minimum": 18},
        "tags": {"items": {"type": "string"}},
    },
}


def said(text: str, *, is_cut_off: bool = False, is_thinking: bool = False) -> Answer:
    return Answer(text, text.encode(), np.zeros(0, TOKEN_DTYPE), is_cut_off, is_thinking)


# ---- judging


@pytest.mark.parametrize(
    ("text", "flaw"),
    [
        ('{"name": "Ana", "age": 40}', None),
        ('\n {"name": "Ana", "age": 18, "tags": ["a"]} ', None),
        ("I cannot do that.", "no JSON"),
        ("", "no text"),
        ('```json\n{"name": "Ana", "age": 40}\n```', "JSON among other text"),
        ('{"name": "Ana", "age": ', "no JSON"),
        ('{"name": "Ana"}', "$: 'age' is a required property"),
        ('{"name": "Ana", "age": 17}', "$.age: not minimum 18"),
        ('{"name": "Ana", "age": 40, "tags": ["a", 1]}', '$.tags[]: not type "string"'),
        ("[1]", '$: not type "object"'),
        ("[" * 100_000, "no JSON"),
    ],
)
def test_why_an_output_is_not_of_the_schema(text: str, flaw: str | None) -> None:
    assert Judge(schema=CARD).flaw(said(text)) == flaw


def test_reasons_add_what_cut_an_output_off() -> None:
    judge = Judge("^A.*[.]$")
    assert judge.flaw(said("A nurse.")) is None
    assert judge.flaw(said("A nurse.", is_cut_off=True)) is None
    assert judge.flaw(said("A nurse")) == "does not have the pattern"
    assert judge.flaw(said("A nurse", is_cut_off=True)) == "does not have the pattern, cut off by --max-tokens"
    assert judge.flaw(said("", is_cut_off=True, is_thinking=True)) == "cut off while thinking"


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (lambda: Judge("("), "--valid is '('; it is no regular expression"),
        (
            lambda: Judge(schema={"type": "thing"}, named="a.json"),
            "--schema is 'a.json'; it is no JSON schema: 'thing'",
        ),
        (
            lambda: Judge(schema={"$ref": "https://example.com/x"}, named="a.json").flaw(said("1")),
            "it refers to https:",
        ),
    ],
)
def test_what_cannot_judge_is_refused(made: Callable[[], object], reason: str) -> None:
    with pytest.raises(BadValue, match=".") as raised:
        made()
    assert reason in str(raised.value)


# ---- counting


def outputs(*some: tuple[str, int, str | None]) -> list[Output]:
    return [Output(*one) for one in some]


TEN = outputs(
    *[("a", 10, None)] * 3,
    ("b", 10, None),
    ("b", 10, None),
    ("c", 10, None),
    ("d", 10, None),
    *[("no", 15, "no JSON")] * 3,
)


def test_costs_are_those_of_the_definition() -> None:
    """115 tokens of 10 outputs; 7 usable; of their kinds 3, 2, 1, 1 two were seen once.

    (115 / 10) / (7/10 * 2/7) = 115 / 2. Leaving one out: of a 105/2 (three times), of b 105/3 (twice), of c or d 105/1
    (twice), of the others 100/2 (three times).
    """
    cell = analyse({"one": TEN}, None, {})["one"]
    assert (cell.n, cell.valid.k, cell.n_copies, cell.n_near) == (10, 7, 3, None)
    assert [(one.reason, one.n, one.example) for one in cell.reasons] == [("no JSON", 3, "no")]
    assert cell.by_text.counts.tolist() == [3, 2, 1, 1]
    assert cell.an_output.value == pytest.approx(11.5)
    assert cell.a_usable_one.value == pytest.approx(115 / 7)
    assert cell.kinds.next_new.value == pytest.approx(115 / 2)
    logs = np.log([105 / 2] * 3 + [105 / 3] * 2 + [105] * 2 + [100 / 2] * 3)
    se = math.sqrt(9 / 10 * ((logs - logs.mean()) ** 2).sum())
    assert cell.kinds.next_new.low < 115 / 2 / math.exp(1.96 * se)  # t's quantile is larger
    assert cell.kinds.next_new.high == math.inf  # two kinds once and one twice: nothing new may be left
    # of all seven: 1 / (9 + 4 + 1 + 1) * 49
    assert (cell.m, cell.kinds.effective.value) == (7, pytest.approx(49 / 15))


def test_cells_compare_at_the_size_of_the_smallest_that_can_be_compared() -> None:
    """Of 7 usable two are of one kind with chance (3 * 2 + 2) / 42: among 5, 1 / (1/5 + 4/5 * 4/21) = 105 / 37."""
    few = {"five": outputs(*[("e", 1, None)] * 5), "four": outputs(*[("e", 1, None)] * 4)}
    found = analyse({"one": TEN, **few}, None, {})
    assert [cell.m for cell in found.values()] == [5, 5, 5]
    assert found["one"].kinds.effective.value == pytest.approx(105 / 37)
    assert found["five"].kinds.effective[:2] == (1, 1)
    assert found["four"].kinds.effective is None


def test_near_copies_and_kinds_by_meaning() -> None:
    """Angles of 0, 0, 20, 30 and 90 degrees: cos 20 = .94 is near, cos 30 = .87 from the first is not; of one kind."""
    some = outputs(("a", 5, None), ("a", 5, None), ("b", 5, None), ("c", 5, None), ("d", 5, None), ("", 5, "no text"))
    angles = np.radians([0, 0, 20, 30, 90])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    cell = analyse({"one": some}, {"one": vectors}, {})["one"]
    assert (cell.n_copies, cell.n_near, cell.kinds.n_seen) == (1, 1, 2)
    assert sorted(cell.kinds.counts.tolist()) == [1, 4]
    assert cell.kinds.next_new.value == pytest.approx(30)  # 30 tokens, one kind seen once
    refused = analyse({"one": some}, {"one": vectors}, {"one": "No meanings."})["one"]
    assert (refused.n_near, refused.by_meaning, refused.kinds.n_seen) == (None, None, 4)


def test_few_or_none_break_nothing() -> None:
    found = analyse(
        {"one": outputs(("a", 7, None)), "none": outputs(("x " * 80, 7, "no JSON"), ("", 2, "no text"))}, None, {}
    )
    one, none = found["one"], found["none"]
    assert (one.an_output, one.a_usable_one.value, one.kinds.next_new.value) == ((7, None, None, 1, None), 7, 7)
    assert (one.valid.value, one.kinds.n_seen, one.kinds.effective) == (1, 1, None)
    # 9 tokens of 2 outputs, of which at 95 % no more than 1 - sqrt 0.05 can be used
    least = 4.5 / (1 - math.sqrt(0.05))
    assert none.a_usable_one == (math.inf, pytest.approx(least), math.inf, 2, NONE_USABLE)
    assert none.kinds.next_new == (math.inf, pytest.approx(least), math.inf, 2, NOTHING_NEW)
    page = section(found, Facts("r", dict.fromkeys(found, "m"), "it has text", "equal texts"), "llamadiv variety r")
    [remark] = [one.text for one in page.exhibits if isinstance(one, Remark)]
    assert remark.startswith(
        "none: none of 2 outputs can be used: no JSON (1); no text (1). The first output is “x x x"
    )
    costs = next(one for one in page.exhibits if isinstance(one, Table) and one.name == "variety-cost")
    assert [row[0] for row in costs.rows] == ["one"]


# ---- the command


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "store.sqlite"
    monkeypatch.setenv("LLAMADIV_STORE", str(path))
    return path


def test_a_run_of_sample_is_judged_without_a_model(run: Callable, store: Path, tmp_path: Path) -> None:
    """Of a chain: what holds "nurse", by what is exported of the same run."""
    assert run("sample", "-m", "scripted:aligned", "-p", "She was", "-n", 40, "--max-tokens", 6, "-q")[0] == 0
    lines = [json.loads(line) for line in run("runs", "export", "last")[1].splitlines()]
    usable = [one["text"] for one in lines if "nurse" in one["text"]]
    n_tokens = sum(len(one["tokens"]) for one in lines)
    n_once = sum(usable.count(one) == 1 for one in usable)
    code, out, err = run("variety", "--valid", "nurse", "--by", "text", "--json", "--out", tmp_path / "out")
    found = json.loads(out)
    cell = found["cells"]["sample"]
    assert (code, cell["valid"]["k"], cell["copies"]) == (0, len(usable), len(usable) - len(set(usable)))
    assert 0 < len(usable) < 40
    assert sum(one["n"] for one in cell["reasons"]) == 40 - len(usable)
    assert cell["kinds"]["text"]["tokens_of_the_next_new"]["value"] == pytest.approx(n_tokens / n_once)
    assert cell["tokens_of_a_usable_one"]["value"] == pytest.approx(n_tokens / len(usable))
    assert {"index.html", "variety-cost.csv", "variety.json"} <= {path.name for path in (tmp_path / "out").iterdir()}
    assert run(*found["command"].split()[1:], "--json")[1] == out


def test_each_prompt_of_each_arm_is_a_row(run: Callable, store: Path) -> None:
    args = ("compare", "--pair", "scripted", "-p", "She was", "-p", "He is", "-n", 4, "--max-tokens", 6, "-q")
    assert run(*args)[0] == 0
    _, out, _ = run("variety", "last", "--by", "text", "--json")
    assert [one["n"] for one in json.loads(out)["cells"].values()] == [4] * 4


def test_the_numbered_asks_of_an_arm_are_one_row(run: Callable, store: Path, tmp_path: Path) -> None:
    (tmp_path / "t.toml").write_text('product = "A cup."\nfields.review = { free = true }\n')
    arms = ("--arm", "warm=scripted:people,mode=aligned", "--arm", "cool=scripted:people,mode=aligned,T=0.5")
    assert run("population", tmp_path / "t.toml", *arms, "-n", 6, "-q")[0] == 0
    drawn = json.loads(run("runs", "show", "last", "--json")[1])["cells"]
    of_arm = [sum(one["arm"].startswith(f"population/{name} #") for one in drawn) for name in ("warm", "cool")]
    assert min(of_arm) >= 6
    found = json.loads(run("variety", "last", "--valid", "Review", "--by", "text", "--json")[1])["cells"]
    assert {name: one["n"] for name, one in found.items()} == {
        "population/warm": of_arm[0],
        "population/cool": of_arm[1],
    }
    listed = run("runs", "ls")[1].splitlines()
    assert len(listed) == 3  # a head, and a row an arm
    assert f"{of_arm[0]}/{of_arm[0]}" in listed[1]
    page = run("runs", "show", "last")[1]
    assert page.count("  prompt  ") == 2
    assert f"  asks      {of_arm[1]}, each with a prompt of its own" in page


def test_near_copies_of_a_real_encoder(run: Callable, store: Path) -> None:
    run("sample", "-m", "scripted:attractor", "-p", "She was", "-n", 12, "--max-tokens", 16, "-q")
    cell = json.loads(run("variety", "--json")[1])["cells"]["sample"]
    assert cell["near_copies"] is not None
    assert cell["kinds"]["meaning"]["seen"] <= cell["kinds"]["text"]["seen"] == cell["valid"]["k"] - cell["copies"]


def test_thoughts_cost_tokens_and_say_nothing(run: Callable, store: Path) -> None:
    run("sample", "-m", "scripted:thinking", "--chat", "-p", "Who?", "-n", 20, "--max-tokens", 12, "-q")
    cell = json.loads(run("variety", "--by", "text", "--json", "--valid", "Draft")[1])["cells"]["sample"]
    assert cell["valid"]["k"] == 0
    assert cell["tokens_of_an_output"]["value"] > 4
    assert any(one["reason"] == "cut off while thinking" for one in cell["reasons"])


def test_bad_input_is_one_sentence(run: Callable, store: Path, tmp_path: Path) -> None:
    def refused(*more: object) -> str:
        code, out, err = run("variety", *more)
        assert (code, out, err.count("\n")) == (2, "", 1)
        return err

    with Store.open(store) as opened:
        empty = opened.start_run(command=["llamadiv", "sample"], about={})
        fill(opened, open_scripted(), cell_of(open_scripted(), 3))
    assert f"RUN is '{empty}'; it holds no samples; `llamadiv runs ls`" in refused(empty)
    assert "There is no run called 'x'" in refused("x")
    assert "--valid is '('; it is no regular expression" in refused("--valid", "(")
    file = tmp_path / "a.json"
    assert "it cannot be read (No such file or directory)" in refused("--schema", file)
    for text, reason in (("{", "it is no JSON"), ("[1]", "it is no JSON schema: that is an object")):
        file.write_text(text)
        assert reason in refused("--schema", file)
    file.write_text(json.dumps(CARD))
    code, out, _ = run("variety", "--schema", file, "--by", "text")
    assert code == 0
    words = " ".join(out.split())
    assert "base: none of 3 outputs can be used: no JSON (2); no JSON, cut off by --max-tokens (1). The first" in words
