"""Models on servers by name: what is typed, what models.toml says, and every way it can be wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llama_diversity import paths, registry
from llama_diversity.engines import EngineOptions
from llama_diversity.errors import BadValue, RegistryError
from llama_diversity.mixtures import split_parts
from llama_diversity.resolve import find_file, resolve_model
from llama_diversity.served import Served, parse_served, without_secrets
from llama_diversity.studies.compare.specs import parse_arm

TINY = find_file(registry.load().find("tiny-base"))


@pytest.fixture
def user_table():
    def write(text: str) -> Path:
        path = paths.user_registry()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize(
    ("reference", "served"),
    [
        ("vllm:http://h:8000/tiny", Served(("http://h:8000",), "tiny")),
        ("vllm:https://H.example/OWNER/Repo@tiny-base", Served(("https://h.example",), "OWNER/Repo", "tiny-base")),
        ("vllm:http://h//models/tiny", Served(("http://h",), "/models/tiny")),
        ("vllm:http://[::1]:8000,http://h2:1/a", Served(("http://[::1]:8000", "http://h2:1"), "a")),
        ("vllm:http://h/a@hf:o/r:f.gguf@main", Served(("http://h",), "a", "hf:o/r:f.gguf@main")),
        ("vllm:http://h1/,HTTP://h2/v1/,http://h3/a", Served(("http://h1", "http://h2", "http://h3"), "a")),
    ],
)
def test_a_typed_reference(reference, served):
    assert parse_served(reference) == served
    assert Served.from_json(served.to_json()) == served
    assert registry.load().find(reference).served == served


SECRET = "s3cr3t"


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("vllm:", "write vllm:http://HOST:PORT/NAME"),
        ("vllm:h:8000/a", "write vllm:http://HOST:PORT/NAME"),
        ("vllm:ftp://h/a", "write vllm:http://HOST:PORT/NAME"),
        ("vllm:file:///etc/passwd", "write vllm:http://HOST:PORT/NAME"),
        ("vllm:http://h:8000", "write vllm:http://HOST:PORT/NAME"),
        ("vllm:http://h:8000/", "write vllm:http://HOST:PORT/NAME"),
        ("vllm:http://h:port/a", "write vllm:http://HOST:PORT/NAME"),
        ("vllm:http:///a", "write vllm:http://HOST:PORT/NAME"),
        ("vllm:http://h/a b", "write vllm:http://HOST:PORT/NAME"),
        ("vllm:http://h\x1b/a", "write vllm:http://HOST:PORT/NAME"),
        ("vllm:http://h1,h2:8000/a", "write vllm:http://HOST:PORT/NAME"),
        ("vllm:http://h1/x,http://h2/a", "servers below a path are named in models.toml"),
        ("vllm:http://h/v1/a", "leave out /v1"),
        ("vllm:http://h:1,http://H:1/a", "http://h:1 is there twice"),
        (f"vllm:http://me:{SECRET}@h/a", "no user and no password; a server's key is read from LLAMADIV_VLLM_KEY"),
        (f"vllm:http://me:{SECRET}/x@h/a", "write vllm:http://HOST:PORT/NAME"),
        (f"vllm:http://h1,http://me:a,{SECRET}@h/a", "write vllm:http://HOST:PORT/NAME"),
        (f"vllm:http://{SECRET}@h/a", "no user and no password"),
        (f"vllm:http://h/a?key={SECRET}", "write vllm:http://HOST:PORT/NAME"),
        (f"vllm:http://h1?key={SECRET},http://h2/a", "no query, where a key would be shown and recorded"),
        (f"vllm:http://h?key={SECRET}/a", "no query"),
        (f"vllm:http://h/a#{SECRET}", "write vllm:http://HOST:PORT/NAME"),
        (f"https://me:{SECRET}@h/a", "an address is no reference"),
    ],
)
def test_what_no_address_may_be(reference, reason):
    with pytest.raises(BadValue, match=reason) as refused:
        registry.load().find(reference)
    assert SECRET not in str(refused.value)


def test_a_refused_reference_leaves_its_key_nowhere(run, tmp_path):
    code, *said = run("sample", "-m", f"vllm:http://h/a?key={SECRET}", "--store", tmp_path / "s")
    assert (code, SECRET in "".join(said)) == (2, False)
    assert list(tmp_path.iterdir()) == []
    assert without_secrets("vllm:http://h1:8000,http://h2/NAME@tok") == "vllm:http://h1:8000,http://h2/NAME@tok"


def test_commas_between_servers_are_no_parts_of_an_arm():
    two = "vllm:http://h1:8000,http://h2:8000/tiny"
    assert split_parts(f"{two},T=0.7,planner={two},chat") == [two, "T=0.7", f"planner={two}", "chat"]
    arm = parse_arm(f"cold={two}@tiny-base,T=0.7")
    assert (arm.model, arm.sampler) == (f"{two}@tiny-base", {"temperature": 0.7})


@pytest.mark.parametrize(
    "reference", ["mix:vllm:http://h/a,tiny-base,lambda=0.5", "mix:tiny-base,vllm:http://h1,http://h2/a,lambda=0.5"]
)
def test_a_mixture_takes_no_server(reference):
    with pytest.raises(BadValue, match="vllm:http://h1?(/a)? is on a server, which hands out no whole distributions"):
        resolve_model(reference)


def test_a_mixture_takes_no_server_by_its_name_either(user_table):
    user_table(ENTRY)
    with pytest.raises(BadValue, match="big is on a server, which hands out no whole distributions"):
        resolve_model("mix:big,tiny-base,lambda=0.5")


# ---- models.toml

ENTRY = """
[models.big]
engine = "vllm"
urls = ["http://h1:8000/", "https://h2/below/v1"]
name = "OWNER/Big"
tokenizer = "tiny-base"
digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
role = "base"
template = "chatml"

[pairs.both]
base = "big"
aligned = "vllm:http://h3/aligned@tiny-base"
"""


def test_an_entry(user_table):
    path = user_table(ENTRY)
    known = registry.load()
    entry = known.find("big")
    assert entry.served == Served(("http://h1:8000", "https://h2/below"), "OWNER/Big", "tiny-base")
    assert (entry.role, entry.defined_in) == ("base", path)
    assert known.find(known.pair("both").aligned).served.name == "aligned"
    model = resolve_model("big")
    assert (model.engine, model.digest, model.reference) == ("vllm", entry.digest, "big")
    assert "im_start" in (model.chat_template or "")
    assert Served.from_json(model.location) == entry.served._replace(tokenizer=str(TINY))


MALFORMED = {  # text -> the line, and the reason in it
    "another engine": ('[models.a]\nengine = "sglang"\n', 2, "engine is 'sglang'; it must be vllm"),
    "no urls": ('[models.a]\nengine = "vllm"\nname = "a"\n', 1, "models.a has no urls"),
    "no name": ('[models.a]\nengine = "vllm"\nurls = ["http://h"]\n', 1, "models.a has no name"),
    "urls that are none": ('[models.a]\nengine = "vllm"\nname = "a"\nurls = [1]\n', 4, "a list of addresses in quotes"),
    "no url": ('[models.a]\nengine = "vllm"\nname = "a"\nurls = []\n', 4, "a list of addresses in quotes"),
    "one in quotes": ('[models.a]\nengine = "vllm"\nname = "a"\nurls = "http://h"\n', 4, "it must be a list"),
    "a password": (f'[models.a]\nengine = "vllm"\nname = "a"\nurls = ["http://me:{SECRET}@h"]\n', 4, "no password"),
    "a query": (f'[models.a]\nengine = "vllm"\nname = "a"\nurls = ["http://h?k={SECRET}"]\n', 4, "no query"),
    "a file too": (
        '[models.a]\nengine = "vllm"\nname = "a"\nurls = ["http://h"]\nrepo = "o/r"\n',
        5,
        "repo is of a",
    ),
    "no engine": (
        '[models.a]\npath = "a.gguf"\nurls = ["http://h"]\n',
        3,
        "urls is of a model on servers",
    ),
    "a digest that is none": (
        '[models.a]\nengine = "vllm"\nname = "a"\nurls = ["http://h"]\ndigest = "1"\n',
        5,
        "digest is '1'",
    ),
    "a pair of what is none": (
        '[pairs.a]\nbase = "tiny-base"\naligned = "vllm:h/a"\n',
        3,
        "write vllm:http://HOST:PORT/NAME",
    ),
}


@pytest.mark.parametrize(("text", "line", "reason"), MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_entry_is_named_by_line(user_table, text, line, reason):
    path = user_table(text)
    with pytest.raises(RegistryError, match=f"line {line}: .*{reason}") as refused:
        registry.load()
    assert str(refused.value).startswith(str(path))
    assert SECRET not in str(refused.value)


# ---- whose tokenizer


def test_a_model_of_the_same_name_here_lends_its_tokenizer():
    assert Served.from_json(resolve_model("vllm:http://h/tiny-base").location).tokenizer == str(TINY)


def test_a_folder_and_its_file_are_one_tokenizer(tmp_path, user_table):
    (tmp_path / "tokenizer.json").write_text("{}")
    expected = str(tmp_path / "tokenizer.json")
    for named in (tmp_path, expected):
        assert Served.from_json(resolve_model(f"vllm:http://h/a@{named}").location).tokenizer == expected
    path = user_table('[models.a]\nengine = "vllm"\nname = "a"\nurls = ["http://h"]\ntokenizer = "./tok"\n')
    (path.parent / "tok").mkdir()
    (path.parent / "tok/tokenizer.json").write_text("{}")
    assert Served.from_json(resolve_model("a").location).tokenizer == str(path.parent / "tok/tokenizer.json")


def test_no_tokenizer_says_what_to_add(user_table):
    with pytest.raises(BadValue, match=r"nothing here is called 'OWNER/Big'.*vllm:http://h/OWNER/Big@TOKENIZER"):
        resolve_model("vllm:http://h/OWNER/Big")
    path = user_table('[models.a]\nengine = "vllm"\nname = "a"\nurls = ["http://h"]\n')
    with pytest.raises(BadValue, match=f"nothing here is called 'a'.*tokenizer = to it in {path}"):
        resolve_model("a")
    with pytest.raises(BadValue, match="it has no file; name a GGUF"):
        resolve_model("vllm:http://h/b@scripted:base")


# ---- models ls, show, add


def test_models_say_what_they_can_of_it(run, user_table):
    user_table(ENTRY)
    (big,) = [one for one in json.loads(run("models", "ls", "--json")[1])["models"] if one["model"] == "big"]
    assert (big["urls"], big["name"], big["path"]) == (["http://h1:8000", "https://h2/below"], "OWNER/Big", None)
    assert "served" in next(line for line in run("models", "ls")[1].splitlines() if line.startswith("big "))
    assert "http://h1:8000, https://h2/below" in run("models", "show", "big")[1]
    for command in (["path"], ["rm", "-y"]):
        code, _, said = run("models", *command, "big")
        assert (code, "it is on a server and has no file" in said) == (2, True)
    assert run("models", "pull", "big")[:2] == (0, "big: a server\n")


def test_a_server_gets_a_name(run):
    assert run("models", "add", "mine", "vllm:http://h1,http://h2/Big@tiny-base", "--role", "base")[0] == 0
    entry = registry.load().find("mine")
    assert (entry.served, entry.role) == (Served(("http://h1", "http://h2"), "Big", "tiny-base"), "base")


# ---- options


def test_stock_is_of_servers_and_bounds_are_of_stock(run):
    code, _, said = run("sample", "-m", "scripted:base", "-p", "She", "--stock", "-n", 1)
    assert (code, "it is no model on a server (vllm:URL/NAME); leave out --stock" in said) == (2, True)
    code, _, said = run("sample", "-m", "scripted:base", "-p", "She", "--bounds", 20, "-n", 1)
    assert (code, "add --stock" in said) == (2, True)
    with pytest.raises(BadValue, match="it must be at least 5"):
        EngineOptions(stock=True, bounds=4)
