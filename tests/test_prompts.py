"""Prompts from the command line and from files: every form, every refusal, and commands that do not forget them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from llama_diversity.errors import BadValue
from llama_diversity.studies.prompts import read_prompts

Run = Callable[..., tuple[int, str, str]]
TWO = ("She was", "He, too, was")


def read(folder: Path, name: str, content: str | bytes) -> tuple[str, ...]:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_prompts((), str(path), None).texts


FILES = {
    "lines": ("p.txt", "She was\n\nHe, too, was\n"),
    "no suffix": ("prompts", "She was\nHe, too, was"),
    "another suffix": ("p.md", "She was\nHe, too, was"),
    "a mark, returns and blank lines": ("p.txt", "\ufeffShe was\r\n\r\n  \r\nHe, too, was\r\n"),
    "returns alone": ("p.txt", "She was\rHe, too, was\r"),
    "objects a line": ("p.jsonl", '{"prompt": "She was", "id": 1}\n\n{"id": 2, "prompt": "He, too, was"}\n'),
    "strings a line": ("p.ndjson", '"She was"\n"He, too, was"'),
    "suffix in capitals": ("P.JSONL", '\ufeff{"prompt": "She was"}\r\n{"prompt": "He, too, was"}\r\n'),
    "a list of strings": ("p.json", '["She was",\n "He, too, was"]'),
    "a list of objects": ("p.Json", '[{"prompt": "She was"}, {"prompt": "He, too, was"}]'),
    "a list with a name": ("p.json", '{"prompts": ["She was", {"prompt": "He, too, was"}]}'),
    "a table": ("p.csv", 'id,Prompt\n1,She was\n\n2,"He, too, was"\n'),
    "a table by semicolons": ("p.csv", '\ufeff"prompt";id\r\nShe was;1\r\nHe, too, was;2\r\n'),
    "a table by tabs": ("p.TSV", "id\tprompt\n1\tShe was\n2\tHe, too, was\n"),
    "a table of one column": ("p.csv", 'prompt\nShe was\n"He, too, was"\n'),
}


@pytest.mark.parametrize(("name", "content"), FILES.values(), ids=FILES.keys())
def test_every_form_gives_the_same_prompts(tmp_path: Path, name: str, content: str) -> None:
    assert read(tmp_path, name, content) == TWO


def test_what_a_prompt_holds_is_kept(tmp_path: Path) -> None:
    """Line feeds within JSON and cells, blanks at the ends, U+2028 and a lone return within lines."""
    assert read(tmp_path, "p.json", json.dumps([" a\n\nb ", "c\td"])) == (" a\n\nb ", "c\td")
    assert read(tmp_path, "p.csv", 'prompt\n" a\n\nb "\n"say ""so"""\n') == (" a\n\nb ", 'say "so"')
    assert read(tmp_path, "p.txt", "She\u2028said\nHe\x0bwas\rthen \n") == ("She\u2028said", "He\x0bwas\rthen ")
    lines = [json.dumps({"prompt": one}, ensure_ascii=False) for one in ("She\u2028said", "x")]
    assert read(tmp_path, "p.jsonl", "\n".join(lines)) == ("She\u2028said", "x")
    assert read(tmp_path, "p.txt", '"Stop!" she cried\n{not JSON}\n[1, 2,\nprompt: me') == (
        '"Stop!" she cried', "{not JSON}", "[1, 2,", "prompt: me",
    )  # fmt: skip


REFUSED = {
    "UTF-16": ("p.txt", "She".encode("utf-16"), "it is UTF-16 or UTF-32; save it as UTF-8"),
    "UTF-16 of the other order": ("p.csv", b"\xfe\xff\x00S", "it is UTF-16 or UTF-32"),
    "UTF-32": ("p.jsonl", "She".encode("utf-32"), "it is UTF-16 or UTF-32"),
    "UTF-16 without a mark": ("p.txt", "She".encode("utf-16-le"), "null characters"),
    "Latin 1": ("p.txt", "Ren\xe9".encode("latin-1"), "it is no UTF-8; save it as UTF-8"),
    "Latin 1, JSON": ("p.jsonl", b'{"prompt": "Ren\xe9"}', "it is no UTF-8; save it as UTF-8"),
    "nothing": ("p.txt", "", "there is no prompt in it"),
    "blank lines": ("p.jsonl", "\n \n", "there is no prompt in it"),
    "an empty list": ("p.json", "[]", "there is no prompt in it"),
    "a head alone": ("p.csv", "prompt\n", "there is no prompt in it"),
    "the same twice": ("p.txt", "a\nb\n\na\n", "line 1 and line 4: the same prompt twice is not two prompts"),
    "JSON lines as text": ("p.txt", '{"prompt": "a"}\n{"prompt": "b"}', "look like JSON; name it .jsonl"),
    "JSON strings as text": ("p.txt", '"a"\n"b"', "look like JSON; name it .jsonl"),
    "JSON as text": ("p.txt", '["a",\n"b"]', "it looks like JSON; name it .json"),
    "a table as text": ("p.txt", "id,prompt\n1,a", "the head of a table; name it .csv"),
    "a table by tabs as text": ("p", "Prompt\tid\na\t1", "the head of a table"),
    "JSON lines as JSON": ("p.json", '{"prompt": "a"}\n{"prompt": "b"}', "of JSON a line each the name is .jsonl"),
    "JSON as JSON lines": ("p.jsonl", '["a",\n"b"]', "line 1 is neither a JSON string nor an object"),
    "no field": ("p.jsonl", '{"prompt": "a"}\n\n{"text": "b"}', "line 3 is neither a JSON string nor an object with a"),
    "a field twice": (
        "p.jsonl",
        '{"prompt": "a"}\n{"prompt": "b", "id": 1, "prompt": "c"}',
        "the field `prompt` of line 2 is there more than once; leave one",
    ),
    "a field twice, JSON": ("p.json", '["z", {"prompt": "b", "prompt": "b"}]', "`prompt` of entry 2 is there more"),
    "two lists": ("p.json", '{"prompts": ["a"], "prompts": ["b"]}', "the field `prompts` more than once"),
    "deep JSON": ("p.jsonl", "[" * 9999, "line 1 is neither"),
    "a field of another kind": ("p.jsonl", '{"prompt": ["a", "b"]}', "the field `prompt` of line 1 must be text"),
    "null": ("p.json", '["a", {"prompt": null}]', "the field `prompt` of entry 2 must be text"),
    "a number": ("p.json", "[1]", "entry 1 is neither"),
    "a blank string": ("p.json", '["a", " "]', "entry 2 is blank; leave it out"),
    "half a character": ("p.json", '["\\ud800"]', "entry 1 holds half a character"),
    "no such column": ("p.csv", "id,text\n1,a", "must name a column `prompt`; it names 'id', 'text'"),
    "two such columns": ("p.csv", "prompt,prompt\na,b", "two columns `prompt`"),
    "a short row": ("p.csv", "id,prompt\n1,a\n2\n", "row 3 has no column `prompt`"),
    "a blank cell": ("p.csv", "id,prompt\n1,a\n2,\n", "the cell `prompt` of row 3 is blank"),
    "an open quote": ("p.csv", 'prompt\n"a\n', "it cannot be read as a table"),
    "a binary table": ("p.Parquet", b"PAR1", "a .parquet file is not read; save the prompts as a prompt a line, or"),
    "a compressed file": ("p.jsonl.gz", b"\x1f\x8b", "a .gz file is not read"),
    "a spreadsheet": ("p.xlsx", b"PK", "a .xlsx file is not read"),
    "YAML": ("p.yaml", "- a", "a .yaml file is not read"),
}


@pytest.mark.parametrize(("name", "content", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_read_is_refused(tmp_path: Path, name: str, content: str | bytes, reason: str) -> None:
    with pytest.raises(BadValue) as error:
        read(tmp_path, name, content)
    assert reason in str(error.value)
    assert str(tmp_path / name) in str(error.value)


def test_a_file_that_is_not_there(run: Run, tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "none.txt", "no such file"), (tmp_path, "is a directory")):
        code, out, err = run("compare", "--pair", "scripted", "--prompts", path, "-n", 3)
        assert (code, out, reason in err, "Traceback" in err) == (2, "", True, False)


def test_the_printed_command_has_the_prompts(run: Run, tmp_path: Path) -> None:
    """The file is changed after the run: the report and its command have what it held."""
    path = tmp_path / "p.csv"
    path.write_text("prompt\nShe\nHe\n")
    ask = ("compare", "--pair", "scripted", "--prompts", path, "-n", 3, "--max-tokens", 4)
    code, out, err = run(*ask)
    assert code == 0, err
    assert "2 prompts, the first “She”" in " ".join(out.split())
    path.write_text("prompt\nThey\n")
    code, out, err = run("report", "last", "--json", "--out", tmp_path / "again")
    assert code == 0, err
    assert json.loads(out)["compare"]["prompts"] == ["She", "He"]
    page = next((tmp_path / "again").glob("*.html")).read_text()
    assert "-p She -p He" in page
    assert "p.csv" not in page


def test_many_prompts_are_named_by_a_file_and_what_it_held(tmp_path: Path) -> None:
    path = tmp_path / "p.txt"
    many = [f"{number} little prompts stand in a row, and" for number in range(80)]
    path.write_text("\n".join(many))
    option, value = read_prompts((), str(path), None).words
    assert (option, value.startswith(f"{path}#sha256=")) == ("--prompts", True)
    assert read_prompts((), value, None).texts == tuple(many)
    path.write_text("\r\n".join([*many, ""]))  # the same prompts
    assert read_prompts((), value, None).words == (option, value)
    path.write_text("\n".join(many[1:]))
    with pytest.raises(BadValue, match="it holds other prompts than when this command was printed"):
        read_prompts((), value, None)


def test_a_prompt_that_no_command_line_can_show_is_named_by_its_file(tmp_path: Path) -> None:
    for odd in ("-", "a\x1b[31m", "two\nlines"):
        path = tmp_path / "p.json"
        path.write_text(json.dumps(["a", odd]))
        words = read_prompts((), str(path), None).words
        assert words[0] == "--prompts"
        assert read_prompts((), words[1], None).texts == ("a", odd)
    path.write_text(json.dumps(["it's", "--json"]))
    words = read_prompts((), str(path), None).words
    assert shlex.split(shlex.join(words)) == ["-p", "it's", "-p", "--json"]
