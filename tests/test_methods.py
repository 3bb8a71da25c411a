"""The methods section: what a paper says of a stored run, of every study, from the store alone."""

from __future__ import annotations

import hashlib
import importlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from llama_diversity import __version__
from llama_diversity.paths import default_store
from llama_diversity.records import Prompt
from llama_diversity.store import Store
from llama_diversity.studies.arms import Choice, resolve_choice
from llama_diversity.studies.citations import CITED
from llama_diversity.studies.conduct import run as conduct
from llama_diversity.studies.drawing import Drawing
from llama_diversity.studies.methods import methods_of
from llama_diversity.studies.session import Session
from llama_diversity.studies.study import STUDIES, Method
from llama_diversity.studies.syntactic.study import Syntactic

PAIR = ("--pair", "scripted")
FAMILIES = ("--family", "heat=scripted:aligned,T=0.7/1.3", "--family", "base=scripted:base,T=0.7/1.3")
SHORT = ("-p", "She was", "--max-tokens", 5)
Run = Callable[..., tuple[int, str, str]]


def digest_of(model: str) -> str:
    from scripted_work import open_scripted

    return open_scripted(model).facts.digest


def written(run: Run, *command: object) -> dict:
    """The parts, after the command."""
    code, _, error = run(*command, "-q")
    assert code == 0, error
    code, out, error = run("methods", "last", "--json")
    assert (code, error) == (0, "")
    return json.loads(out)


COMMANDS = {
    "compare": ("compare", *PAIR, *SHORT, "-n", 20),
    "decompose": ("decompose", *PAIR, *SHORT, "-n", 20, "--sampler", "T=0.7"),
    "frontier": ("frontier", *PAIR, *FAMILIES, "-n", 4, "--max-tokens", 5),
    "coverage": ("coverage", *PAIR, *SHORT, "-n", 20, "--by", "text"),
    "semantic": ("semantic", *PAIR, *SHORT, "-n", 20),
    "syntactic": ("syntactic", *PAIR, *SHORT, "-n", 20),
    "personas": ("personas", *PAIR, "-n", 10, "--max-tokens", 8),
    "perturb": ("perturb", *PAIR, *SHORT, "-n", 8, "--insert", "not", "--at", 1, "--openings", 1),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_study_says_what_was_asked_and_how_it_was_measured(name: str, run: Run) -> None:
    found = written(run, *COMMANDS[name])
    text = found["text"]
    assert "\n" not in text  # one study, one paragraph
    for model in ("base", "aligned"):
        assert f"scripted:{model} (scripted Markov chain '{model}'" in text
        assert digest_of(model)[:12] in text
        assert digest_of(model) in [one["sha256"] for one in found["models"]]
    [study] = found["studies"]
    assert study["name"] == name
    assert study["command"].startswith(f"llamadiv {name} ")
    assert study["measures"]
    for measure, words in study["measures"].items():
        assert f"{measure}: {words}" in text
    assert "The seed was 0;" in text
    assert f"llamadiv {__version__}" in text
    assert f"run {found['run']}" in text
    assert "at temperature 0.7" in text or name != "decompose"
    has_encoder = name not in {"coverage", "syntactic"}
    assert ("all-MiniLM-L6-v2" in text) == has_encoder == (found["encoder"] is not None)
    keys = [re.match(r"@\w+\{(\w+),", one)[1] for one in found["bibtex"]]
    encoders = ["reimers2019sentencebert", "allminilml6v2"] if has_encoder else []
    vader = ["hutto2014vader"] if name == "personas" else []
    assert keys == ["llamadiv", "mohammadi2024creativity", *encoders, *vader]  # no llama.cpp: nothing of it ran
    assert ("Hutto and Gilbert (2014)" in text or "(Hutto and Gilbert, 2014)" in text) == bool(vader)


def test_every_study_of_the_table_states_its_measures() -> None:
    stated = {}
    for name, place in STUDIES.items():
        module, _, attribute = place.partition(":")
        stated[name] = getattr(importlib.import_module(module), attribute).method
    assert [name for name, method in stated.items() if method.__qualname__ == "Study.method"] == []


def test_numbers_of_the_run_are_in_the_text(run: Run) -> None:
    arms = ("--arm", "cold=scripted:base,T=0.7,top_k=3", "--arm", "warm=scripted:base", "--reference", "warm")
    found = written(run, "compare", *arms, "-p", "She", "-p", "He", "-n", 20, "--max-tokens", 2, "--seed", 7)
    text = found["text"]
    digest = digest_of("base")[:12]
    assert f"sha256 {digest}, as “cold” and “warm”)." in text
    assert "The 2 prompts were “She”, “He”." in text
    assert "20 outputs a prompt (40 in all), each of at most 2 tokens, drawn at temperature 0.7, top-k 3." in text
    assert "“warm” was asked raw behind" in text
    assert "drawn from the model's whole distribution (temperature 1, nothing cut off)." in text
    assert "each arm was set against “warm”" in text
    assert "The seed was 7;" in text
    assert "Holm" in text
    with Store.open(default_store(), read_only=True) as store:
        samples = [one for cell in store.run("last").cells for one in store.samples(cell.recipe_key, cell.n)]
    cut = sum(one.finish_reason == "length" for one in samples)
    assert found["samples"]["cut_off"] == cut > 0
    assert f"{cut} of 80 outputs ({100 * cut / 80:.0f} %) were cut off at their longest; all have " in text
    assert found["samples"]["tokens"] == sum(len(one.tokens) for one in samples)


def test_many_prompts_are_counted_and_their_file_is_named(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    texts = [f"She was number {number} and" for number in range(7)]
    file.write_text("\n".join(texts), "utf-8")
    found = written(run, "compare", *PAIR, "--prompts", file, "-n", 20, "--max-tokens", 2)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert f"The prompts were 7 texts, from {file} (sha256 {digest[:12]}); `llamadiv runs show " in found["text"]
    assert "t intervals over prompts" in found["text"]
    source = {"file": str(file), "sha256": digest}
    assert found["prompts"] == [{"study": "compare", "texts": texts, "source": source}]
    file.unlink()  # the run keeps the prompts themselves
    shown = run("runs", "show", "last")[1]
    assert f"7 prompts of compare, from {file}, sha256 {digest}:\n  1       She was number 0 and\n" in shown
    assert json.loads(run("runs", "show", "last", "--json")[1])["prompts"] == found["prompts"]


def test_prompts_that_ship_are_called_by_their_set(run: Run) -> None:
    found = written(run, "compare", *PAIR, "-n", 2, "--max-tokens", 2)
    assert found["prompts"][0]["source"] == {"set": "openings"}
    assert ", the set “openings” of llamadiv; `llamadiv runs show" in found["text"]


def test_a_run_without_a_study_says_what_was_drawn(run: Run) -> None:
    found = written(run, "sample", "-m", "scripted:base", "-p", "She was", "-n", 3, "--seed", 5, "-t", 0)
    assert found["studies"] == []
    assert "The prompt was “She was”. The model was asked raw behind" in found["text"]
    assert "3 outputs a prompt, each of at most 64 tokens, the likeliest token each time." in found["text"]
    assert "Measured" not in found["text"]


def test_the_whole_paper_has_a_paragraph_a_study_and_says_what_was_not_made(run: Run, tmp_path: Path) -> None:
    models = ("--base", "scripted:base", "--aligned", "scripted:coin")  # coin has another vocabulary
    found = written(run, "reproduce", *models, "-n", 8, "--out", tmp_path)
    text = found["text"]
    assert [one["name"] for one in found["studies"]] == ["personas", "semantic", "syntactic", "perturb", "collapse"]
    refused = {one["name"]: one["unfit"] for one in found["studies"] if one["unfit"]}
    assert "different vocabularies" in refused["syntactic"]
    for name, why in refused.items():
        assert f"Not made: {name}. {why}" in text
    made = len(found["studies"]) - len(refused)
    assert len(text.split("\n\n")) == made + 2  # the models, each study, what all share
    assert "seed 0." in text


def test_a_run_cut_short_says_what_is_missing(run: Run) -> None:
    written(run, *COMMANDS["syntactic"])
    with Store.open(default_store()) as store:
        store._connection.execute("DELETE FROM samples WHERE idx >= 15")
    text = json.loads(run("methods", "last", "--json")[1])["text"]
    assert "Of 40 samples 10 are missing: the run was cut short." in text


def test_forms_of_the_answer(run: Run) -> None:
    found = written(run, *COMMANDS["syntactic"])
    bibtex = "\n\n".join(found["bibtex"])
    assert run("methods", "last")[1] == f"{found['text']}\n\n{bibtex}\n"
    assert run("methods", "last", "-q")[1] == f"{found['text']}\n"
    assert run("methods", found["run"][:15], "--bibtex")[1] == f"{bibtex}\n"
    code, out, error = run("methods", "2001")
    assert (code, out) == (2, "")
    assert "2001" in error
    assert "llamadiv runs ls" in error


@dataclass(frozen=True)
class Mine(Syntactic):
    """A stranger's study."""

    name: ClassVar[str] = "mine"

    def method(self) -> Method:
        return Method("My design.", {"my measure": "my definition"}, "My intervals.")


def test_a_strangers_study_says_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(STUDIES, "mine", f"{__name__}:Mine")
    session = Session(named_store=tmp_path / "s.sqlite")
    arms = resolve_choice(Choice(base="scripted:base", aligned="scripted:aligned"), session)
    conduct(Mine(n=2, max_tokens=2), arms, drawing=Drawing(seed=3), session=session)
    text = methods_of("last", session).text
    assert "My design. Measured were my measure: my definition. My intervals. The seed was 3;" in text


def test_entries_are_balanced_and_have_what_a_reader_looks_for() -> None:
    for key, one in CITED.items():
        assert one.bibtex.count("{") == one.bibtex.count("}"), key
        assert re.search(r"^  (author|title) = ", one.bibtex, re.MULTILINE)
        assert re.search(r"eprint|url|booktitle", one.bibtex)
    assert "eprint = {2406.05587}" in CITED["mohammadi"].bibtex


def test_a_prompt_says_what_precedes_it() -> None:
    from llama_diversity.store import RunCell
    from llama_diversity.studies.study import start_of

    cell = RunCell("a", "m", "r", 1, {"model": {"adds_bos": True, "start": "<s>"}})
    assert start_of(Prompt("She", "She", (1,)), cell) == "<s>"
    assert start_of(Prompt("She", "She", (1,), start=""), cell) == ""
    assert start_of(Prompt("She", "She", (1,)), RunCell("a", "m", "r", 1, {})) == ""


def test_the_citation_file_is_of_this_version() -> None:
    text = (Path(__file__).parent.parent / "CITATION.cff").read_text("utf-8")
    fields = dict(re.findall(r"^([\w-]+): *(.*)$", text, re.MULTILINE))
    assert {"message", "title", "authors", "version", "license", "keywords"} <= set(fields)
    assert (fields["cff-version"], fields["version"], fields["license"]) == ("1.2.0", __version__, "MIT")
    assert "arXiv:2406.05587" in text
