"""`import llama_diversity as ld` as a researcher uses it: models, samples, studies, results, sessions, errors."""

from __future__ import annotations

import ast
import contextlib
import gc
import importlib
import importlib.machinery
import importlib.util
import inspect
import io
import json
import multiprocessing
import os
import pickle
import re
import shlex
import signal
import subprocess
import sys
import threading
from pathlib import Path

import click
import numpy as np
import pytest
from test_weight import imported_by

import llama_diversity as ld
from llama_diversity.cli import COMMANDS
from llama_diversity.engines import EngineOptions
from llama_diversity.interface import models, sessions
from llama_diversity.records import TOKEN_DTYPE
from llama_diversity.render.branch_pages import branch_script
from llama_diversity.render.html import token_script
from llama_diversity.store import Store

ROOT = Path(__file__).parent.parent
PAIR = {"base": "scripted:base", "aligned": "scripted:aligned"}

STUDIES = {  # a call that is small and quick
    "compare": lambda: ld.compare({"wide": "scripted:base", "sharp": "scripted:aligned"}, prompts=["She was"], n=25),
    "decan": lambda: ld.decan(**PAIR, prompts=["She was", "He"], n=4, max_tokens=6, permutations=8, form="listed"),
    "decompose": lambda: ld.decompose(**PAIR, sampler="T=0.7", prompts=["She was"], n=25, max_tokens=12),
    "coverage": lambda: ld.coverage(**PAIR, prompt="She was", n=20, by="text", temperature=0.8),
    "syntactic": lambda: ld.syntactic(**PAIR, n=4, max_tokens=8, seed=3),
    "semantic": lambda: ld.semantic(**PAIR, prompt="She was", n=12, max_tokens=8),
    "personas": lambda: ld.personas(**PAIR, n=4, max_tokens=8),
    "branch": lambda: ld.branch("scripted:base", "She was", then=[" a", " the"], top=2, n=6, max_tokens=8),
    "perturb": lambda: ld.perturb(
        base="scripted:base", aligned="scripted:attractor", prompts=["She was"], n=8, max_tokens=12, dose=(1, 2)
    ),
    "collapse": lambda: ld.collapse(rule="ppo", beta=0.3, runs=20, third=True),
    "diff": lambda: ld.diff(**PAIR, n=3, max_tokens=8, blocked_above=0.1),
    "reframe": lambda: ld.reframe(**PAIR, set="hopper", words=1, budget=60),
    "tree": lambda: ld.tree(**PAIR, prompt="She", depth=3, k=5, start="none"),
    "valid": lambda: ld.valid(**PAIR, set=["weekdays"], least=0.01, start="none"),
    "frontier": lambda: ld.frontier(
        {"heat": "scripted:aligned,T=1/2"}, **PAIR, scorer="scripted:attractor", set="openings", n=4, max_tokens=8
    ),
}


@pytest.fixture
def store(tmp_path):
    with ld.session(store=tmp_path / "store.sqlite") as path:
        yield path


# ---- names


def test_importing_the_package_imports_nothing():
    bare = imported_by("-c", "")
    names = imported_by("-c", "import llama_diversity") - bare - set(sys.stdlib_module_names)
    assert names == {"llama_diversity"}


def test_importing_the_package_takes_no_time():
    script = "import time; t = time.process_time(); import llama_diversity; print(time.process_time() - t)"
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert float(told.stdout) < 0.1


def test_public_names_are_one_list():
    tree = ast.parse((ROOT / "llama_diversity/__init__.py").read_text("utf-8"))
    [for_types] = [node for node in tree.body if isinstance(node, ast.If)]
    typed = {alias.name for node in for_types.body for alias in node.names}
    assert typed | {"__version__"} == set(ld.__all__)
    assert sorted(ld.__all__) == ld.__all__
    assert dir(ld) == ld.__all__
    assert all(getattr(ld, name) is not None for name in ld.__all__)
    with pytest.raises(AttributeError, match="no attribute 'compair'"):
        _ = ld.compair
    told = subprocess.run(
        [sys.executable, "-c", "import llama_diversity as ld; ld.compair"], capture_output=True, text=True, check=False
    )
    assert "Did you mean: 'compare'?" in told.stderr


def test_every_public_name_is_explained_with_an_example_and_on_its_page():
    page = (ROOT / "docs/python.md").read_text("utf-8")
    for name in set(ld.__all__) - {"__version__", "errors"}:
        thing = getattr(ld, name)
        assert re.search(rf"\b{name}\b", page), name
        if name not in {"Arm", "LlamadivError"}:
            assert ">>>" in inspect.getdoc(thing), name
    for name in ("Model", "Samples", "Completion", "Score", "Heatmap", "Found", "Report", "Table"):
        public = {key: one for key, one in vars(getattr(ld, name)).items() if not key.startswith("_")}
        assert [key for key, one in public.items() if callable(one) and not inspect.getdoc(one)] == [], name


# ---- the command line and the functions have one set of parameters

TERMINAL = {"json", "quiet", "color", "debug", "help", "yes", "open"}  # how a terminal is answered
OF_SAVE = {"out", "width", "font_size", "no_caption"}  # parameters of save()
OF_SESSION = {"store", "offline", "parallel", "threads", "gpu_layers", "flash_attention", "kv_type", "exact"}
OF_SESSION |= {"workers", "stock", "bounds"}
RENAMED = {  # options that may be repeated, and what takes their place
    "arm": "arms",
    "family": "families",
    "template_arg": "template_args",
}
OF_MODEL = {"model", "chat", "system", "template_args", "show_prompt"}  # what the Model is, and Model.prompt
FUNCTIONS = {name: getattr(ld, name) for name in (*STUDIES, "reproduce", "report", "variety")}
FUNCTIONS |= {"sample": models.Model.sample, "score": models.Model.score}


def command(name):
    module, _, attribute = COMMANDS[name][0].partition(":")
    return getattr(importlib.import_module(module), attribute)


def option_name(param):
    """The longest name that an option has, as Python would spell it."""
    if isinstance(param, click.Argument):
        return param.name
    return max(param.opts, key=len).lstrip("-").replace("-", "_")


def options(name):
    """Parameters of a command by the names that Python has for them; -p and --prompts are one."""
    shown = [param for param in command(name).params if not getattr(param, "hidden", False)]
    found = {option_name(param): param for param in shown}
    if "prompts" in found:
        del found["prompt"]
    return {RENAMED.get(key, key) if param.multiple else key: param for key, param in found.items()}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_parameters_are_the_options_of_the_command(name):
    parameters = set(inspect.signature(FUNCTIONS[name]).parameters) - {"self"}
    if name in ("sample", "score", "branch"):
        parameters |= OF_MODEL
    left = set(options(name)) - TERMINAL - OF_SAVE - OF_SESSION
    assert left - parameters == set()
    assert parameters - left - (OF_MODEL if name in ("sample", "score", "branch") else set()) == set()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_defaults_are_those_of_the_command(name):
    nothing = (None, (), "auto", False)
    for key, parameter in inspect.signature(FUNCTIONS[name]).parameters.items():
        option = options(name).get(key)
        if option is None or parameter.default is inspect.Parameter.empty:
            continue
        default = option.get_default(click.Context(command(name)))
        if repr(default).startswith("Sentinel"):
            default = None
        same = parameter.default == default or (parameter.default in nothing and default in nothing)
        assert same or (name, key) == ("report", "run"), f"{name}: {key} is {parameter.default!r}, not {default!r}"


def test_a_session_has_the_options_that_concern_the_machine():
    assert set(inspect.signature(ld.session).parameters) == OF_SESSION | {"progress"}
    assert set(options("compare")) >= OF_SESSION
    assert sessions.current().layout == EngineOptions()


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_is_what_its_command_gives(name, store, run):
    """The command that a result carries draws nothing more and gives the same numbers."""
    found = STUDIES[name]()
    n_samples = count(store)
    code, out, _ = run(*shlex.split(found.command)[1:], "--json", "--store", store)
    assert code == 0
    told, mine = json.loads(out), json.loads(json.dumps(found.to_dict()))
    for one in (told, mine):
        one.pop("run", None)
    assert told == mine
    assert count(store) == n_samples


def count(path):
    if not path.exists():
        return 0
    with Store.open(path, read_only=True) as opened:
        return sum(opened.counts(key).n_samples for key in opened.recipe_keys())


# ---- models


def test_a_typo_is_answered_at_once():
    with pytest.raises(ld.errors.UnknownName, match="Did you mean tiny-base"):
        ld.model("tiny-bse")
    with pytest.raises(ld.errors.UnknownName, match="no pair called 'tinny'. Did you mean tiny"):
        ld.pair("tinny")
    with pytest.raises(ld.errors.UnknownName, match="no model called"):
        ld.compare({"a": "tiny-base", "b": "tiny-alligned"})


def test_samples_are_drawn_once_and_grow(store):
    model = ld.model("scripted:base")
    some = model.sample("She was", n=5, max_tokens=8, seed=2)
    model.close()
    again = model.sample("She was", n=5, max_tokens=8, seed=2)
    assert again.texts == some.texts
    assert model._weights._engine is None  # nothing was missing, so nothing was opened
    more = model.sample("She was", n=9, max_tokens=8, seed=2)
    assert more.texts[:5] == some.texts
    assert len(set(more.texts)) > 1
    assert count(store) == 9


def test_samples_are_those_of_the_command(store, run):
    for model in (ld.model("scripted:base"), ld.model("scripted:aligned").chat(system="Be brief.")):
        some = model.sample("Who is she?", n=6, max_tokens=9, stop=". ", temperature=0.9, top_k=40)
        n_samples = count(store)
        code, out, _ = run(*shlex.split(some.command)[1:], "--json", "--store", store)
        assert code == 0
        assert [json.loads(line) for line in out.splitlines()] == json.loads(json.dumps(some.to_dict()["samples"]))
        assert count(store) == n_samples


def test_tokens_are_arrays(store):
    some = ld.model("scripted:uniform").sample("She was", n=3, max_tokens=4)
    assert some[0].tokens.dtype == TOKEN_DTYPE
    n_vocab = ld.model("scripted:uniform").facts.n_vocab
    assert np.allclose(some[1].tokens["surprisal_bits"], np.log2(n_vocab))  # all tokens are equally likely
    table = some.to_arrow()
    assert table.num_rows == sum(len(one.tokens) for one in some)
    assert table["surprisal_bits"].to_pylist()[: len(some[0].tokens)] == some[0].tokens["surprisal_bits"].tolist()
    assert [one.text for one in some[1:]] == some.texts[1:]
    assert "".join(some[2].pieces).replace("<</s>>", "") == some[2].text


def test_thoughts_are_no_answer(store):
    some = ld.model("scripted:thinking").chat().sample("Who?", n=6, max_tokens=30)
    assert any("Hm." in text for text in some.texts)
    assert not any("Hm." in (answer or "") for answer in some.answers)


def test_a_prompt_is_shown_without_drawing(store):
    asked = ld.model("scripted:aligned").chat(system="Be brief.", template="scripted:attractor")
    assert asked.prompt("Hi").rendered == "[INST] Be brief.\n\nHi [/INST]"
    with pytest.raises(ld.errors.BadValue, match="reads no value of that name"):
        ld.model("scripted:aligned").chat(template_args={"thinking": False}).prompt("Hi")
    assert not store.exists()
    with pytest.raises(ld.errors.TemplateError):
        ld.model("scripted:base").chat().prompt("Hi")
    with pytest.raises(ld.errors.BadUsage, match="start is for raw prompts"):
        asked.prompt("Hi", start="none")
    with pytest.raises(ld.errors.BadUsage, match="score the model itself"):
        asked.score("Hi")


def held():
    """The reference of the model that is in memory."""
    gc.collect()
    found = models._open and models._open()
    return found.ref.reference if found is not None and found._engine is not None else None


def test_one_model_is_in_memory_at_a_time(store):
    base, aligned = ld.model("scripted:base"), ld.model("scripted:aligned")
    base.score("She was")
    assert held() == "scripted:base"
    aligned.chat().sample("She was", n=1, max_tokens=2)
    assert held() == "scripted:aligned"
    ld.syntactic(**PAIR, n=2, max_tokens=2)
    assert held() is None
    with aligned:
        aligned.score("She was")
    assert held() is None
    assert aligned.score("She was").total_bits > 0  # a closed one opens again
    del aligned
    assert held() is None


@pytest.mark.model
def test_a_real_model_is_freed_when_it_is_dropped(store, monkeypatch):
    from llama_diversity.engines.llamacpp import LlamaCppEngine

    closed = []
    close = LlamaCppEngine.close
    monkeypatch.setattr(LlamaCppEngine, "close", lambda self: (closed.append(self.facts.reference), close(self)))
    base, aligned = ld.pair("tiny")
    first = base.score("Grace Hopper was")
    chat = base.chat  # another holder of the same weights
    second = aligned.score("Grace Hopper was")
    assert "tiny-base" in closed
    assert first.total_bits != second.total_bits
    del aligned
    gc.collect()
    assert closed[-1] == "tiny-aligned"
    assert base.score("Grace Hopper was").total_bits == first.total_bits
    del base, chat
    gc.collect()
    assert closed[-1] == "tiny-base"


def in_another_process(model, connection):
    connection.send((repr(model), model.score("She was").total_bits))
    connection.close()


@pytest.mark.parametrize("method", ["spawn", *(["fork"] if hasattr(os, "fork") else [])])
def test_a_model_goes_to_another_process_by_its_name(method, store):
    model = ld.model("scripted:base")
    bits = model.score("She was").total_bits  # it is open, and a fork must not use the parent's
    context = multiprocessing.get_context(method)
    mine, theirs = context.Pipe()
    process = context.Process(target=in_another_process, args=(model, theirs))
    process.start()
    assert mine.recv() == ("Model('scripted:base')", bits)
    process.join()
    assert process.exitcode == 0
    assert model.score("She was").total_bits == bits


def test_models_are_equal_by_what_they_are():
    asked = ld.model("scripted:aligned").chat(template_args={"x": 1})
    assert pickle.loads(pickle.dumps(asked)) == asked == eval(repr(asked), {"Model": ld.Model})
    assert asked != ld.model("scripted:aligned")
    assert len({asked, ld.model("scripted:aligned").chat(template_args={"x": 1})}) == 1


# ---- results


@pytest.mark.parametrize("name", STUDIES)
def test_results_show_themselves_and_travel(name, store):
    found = STUDIES[name]()
    assert "\n" not in repr(found)
    assert repr(found).startswith(f"<Found {name}: ")
    page = found._repr_html_()
    assert page.startswith('<div class="llamadiv">')
    scripts = re.findall(r"<script( [^>]*)?>(.*?)</script>", page, re.DOTALL)
    own = {token_script(), branch_script()}  # a viewer may strip them
    assert [kind for kind, script in scripts if kind != ' type="application/json"' and script not in own] == []
    assert page.count("<img") == len([one for one in found._result.figures.values() if one.panels])
    assert str(found).splitlines()[0] == found.title
    again = pickle.loads(pickle.dumps(found))
    assert (repr(again), again.to_dict(), again._repr_html_()) == (repr(found), found.to_dict(), page)
    for figures in (found.figures, again.figures):
        for figure in figures:
            charts = figures[figure]
            for chart in charts.values() if isinstance(charts, dict) else [charts]:
                assert chart.properties(width=100).to_dict()["$schema"].startswith("https://vega.github.io")
    for table in found.tables.values():
        assert table.to_arrow().num_rows == len(table) > 0
        assert "<table>" in table._repr_html_()
    with pytest.raises(AttributeError):
        found.command = "another"


def test_saved_are_the_files_of_out(store, run, tmp_path):
    found = STUDIES["coverage"]()
    found.save(tmp_path / "mine")
    code, _, _ = run(*shlex.split(found.command)[1:], "--store", store, "--out", tmp_path / "theirs")
    assert code == 0
    mine, theirs = ({one.name for one in (tmp_path / name).iterdir()} for name in ("mine", "theirs"))
    assert mine == theirs
    assert {"index.html", "coverage.json", "coverage-curves.png"} <= mine
    assert (tmp_path / "mine/index.html").read_bytes() == (tmp_path / "theirs/index.html").read_bytes()


def test_figures_are_saved_for_print(store, tmp_path):
    STUDIES["coverage"]().save(tmp_path, width="84mm", no_caption=True)
    assert 'width="84mm"' in (tmp_path / "coverage-curves.svg").read_text("utf-8")
    assert set(inspect.signature(ld.Found.save).parameters) >= {"width", "font_size", "no_caption"}


def test_what_is_not_there_says_what_is(store):
    found = STUDIES["coverage"]()
    for parts in (found.tables, found.figures):
        with pytest.raises(KeyError, match="lists them"):
            parts["curve"]
        assert parts.get("nothing") is None
        with pytest.raises(KeyError, match="called '0'"):
            parts[0]
    with pytest.raises(ld.LlamadivError, match="Did you mean coverage-curves"):
        found.figures["curve"]
    assert found.tables["seen"].name == "coverage-seen"


def test_tables_have_unrounded_numbers(store):
    found = STUDIES["compare"]()
    table = found.tables["lines"].to_dict()
    line = found.verdicts[0]
    [kept] = [column for heading, column in table.items() if heading.startswith("kept")]
    assert kept[0] == line.share
    assert (table["95 % interval, low"][0], table["95 % interval, high"][0]) == (line.low, line.high)
    assert table["verdict"][0].startswith(line.verdict)
    assert found.tables["arms"].to_arrow()["valid"].to_pylist() == [1.0, 1.0]


def test_pandas_is_asked_for_in_a_sentence(store, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    some = ld.model("scripted:base").sample("She was", n=1, max_tokens=2)
    for thing in (some, STUDIES["collapse"]().tables["table-1-mode-collapse"]):
        with pytest.raises(ImportError, match="pip install pandas"):
            thing.to_pandas()


def test_a_report_is_the_run_again(store, tmp_path):
    found = STUDIES["syntactic"]()
    again = ld.report(found.run)
    assert again["syntactic"].to_dict() | {"run": found.run} == found.to_dict()
    assert list(again) == ["syntactic"]
    again.save(tmp_path / "out")
    assert (tmp_path / "out/syntactic.json").exists()
    with pytest.raises(KeyError):
        again["semantic"]
    with pytest.raises(ld.errors.UnknownName):
        ld.report("zzz")


# ---- arguments


def test_compare_takes_arms_of_every_kind(store):
    wide = ld.model("scripted:base")
    arms = {"wide": wide, "cold": ld.arm(wide, temperature=0.5, top_k=9), "text": "scripted:base,T=0.7,seed=1"}
    found = ld.compare(arms, prompts="She was", n=5)
    assert found.command == (
        "llamadiv compare --arm wide=scripted:base --arm cold=scripted:base,T=0.5,top_k=9 "
        "--arm text=scripted:base,T=0.7,seed=1 -p 'She was' -n 5 --seed 0"
    )


def test_models_are_named_once(store):
    base, aligned = ld.model("scripted:base"), ld.model("scripted:aligned")
    for call, why in (
        (lambda: ld.compare({"a": base, "b": aligned}, pair="tiny"), "Name the arms one way"),
        (lambda: ld.compare({"a": base}), "needs two arms"),
        (lambda: ld.semantic(ld.Pair(base, aligned), base=base), "Name the models once"),
        (lambda: ld.semantic(base=base), "base=MODEL aligned=MODEL"),
        (lambda: ld.semantic(base=base, aligned=aligned.chat()), "leave out chat"),
        (lambda: ld.diff("She", **PAIR, n=3), "nothing is drawn"),
        (lambda: ld.diff("She", **PAIR, seed=3), "nothing is drawn"),
        (lambda: ld.perturb(**PAIR, insert="x"), "go together"),
    ):
        with pytest.raises(ld.errors.BadUsage, match=why):
            call()
    assert not store.exists()


def test_values_are_refused_before_any_work(store, tmp_path):
    base = ld.model("scripted:base")
    for call in (
        lambda: base.sample("She", n=0),
        lambda: base.sample("She", max_tokens=0),
        lambda: base.sample("She", temperature=-1),
        lambda: base.sample("She", temperature=0, top_k=3),
        lambda: base.sample("She", start=""),
        lambda: base.sample("She", grammar=tmp_path / "none.gbnf"),
        lambda: base.chat(template_args={"x": object()}),
        lambda: base.score(""),
        lambda: ld.coverage(**PAIR, by="colour"),
        lambda: ld.perturb(**PAIR, dose=0),
        lambda: ld.compare({"": base, "b": base}),
        lambda: ld.compare({"a": "scripted:base", "b": "scripted:aligned"}, prompts=[]),
        lambda: ld.collapse(rule="none"),
        lambda: ld.arm(base, temperature=-1).spec("a"),
    ):
        with pytest.raises(ld.errors.BadValue):
            call()
    assert count(store) == 0


def test_errors_name_parameters(store):
    base, aligned = ld.model("scripted:base"), ld.model("scripted:aligned")
    for call, said in (
        (lambda: base.sample("She", n=0), "n is 0; ask for 1 to"),
        (lambda: base.sample("She", max_tokens=0), "max_tokens is 0; it must be at least 1."),
        (lambda: base.sample("She", temperature=0, top_k=3), "top_k is 3; at temperature 0"),
        (lambda: ld.compare({"a": base, "b": aligned.chat()}, prompts="She", n=5), "or pass joint=True to report"),
        (lambda: ld.compare({"a": base, "b": aligned}, reference="c"), "reference is 'c'; the arms are a, b"),
        (lambda: ld.session(exact=True, gpu_layers=3).__enter__(), "exact computes on the CPU alone"),
        (lambda: STUDIES["coverage"]().save("x", width="wide"), "width is 'wide'; write a number and mm"),
        (lambda: ld.model("tiny-bse"), "`llamadiv models ls` lists them"),
    ):
        with pytest.raises(ld.LlamadivError) as caught:
            call()
        assert said in str(caught.value)


SLIPS = {
    "a number as text": (
        lambda: ld.model("scripted:base").sample("She", n="3"),
        "n is '3'; it must be a whole number.",
    ),
    "half a sample": (lambda: ld.model("scripted:base").sample("She", n=2.5), "n is 2.5; it must be a whole number."),
    "half a seed": (
        lambda: ld.model("scripted:base").sample("She", seed=1.5),
        "seed is 1.5; it must be a whole number.",
    ),
    "no temperature": (lambda: ld.arm("scripted:base", temperature="hot"), "it must be a number or None."),
    "many prompts": (lambda: ld.model("scripted:base").sample(["a", "b"]), "prompt is ['a', 'b']; it must be a text."),
    "a number as prompt": (lambda: ld.compare(**PAIR, prompts=["a", 3]), "prompts[1] is 3; it must be a text."),
    "prompts without order": (lambda: ld.compare(**PAIR, prompts={"a"}), "prompts is {'a'}; it must be a list, a text"),
    "arms without names": (lambda: ld.compare(["scripted:base"]), "arms is ['scripted:base']; it must be a dict"),
    "no arm": (
        lambda: ld.compare({"a": "scripted:base", "b": 3}),
        "arms['b'] is 3; it must be a Model, an Arm or a text.",
    ),
    "one model for two": (
        lambda: ld.semantic(ld.model("scripted:base")),
        "it must be a Pair, a tuple of 2, a text or None.",
    ),
    "one of two": (lambda: ld.semantic(("scripted:base",)), "pair is ('scripted:base',); it must be a tuple of 2."),
    "a model twice": (lambda: ld.model(ld.model("scripted:base")), "reference is Model('scripted:base'); it must be"),
    "no name": (lambda: ld.pair(None), "name is None; it must be a text."),
    "words for yes": (lambda: ld.compare(**PAIR, joint="no"), "joint is 'no'; it must be True or False."),
    "no such kind": (lambda: ld.coverage(**PAIR, by="colour"), "by is 'colour'; it must be 'meaning' or 'text'."),
    "a pair as words": (lambda: ld.perturb(**PAIR, replace="x"), "replace is 'x'; it must be a tuple of 2 or None."),
    "no score": (lambda: ld.model("scripted:base").score("She").heatmap(against="x"), "it must be a Score or None."),
    "no run": (lambda: ld.report(3), "run is 3; it must be a text."),
    "no threads": (lambda: ld.session(threads="two"), "threads is 'two'; it must be a whole number or None."),
}


@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_of_type_is_a_sentence(slip, store):
    call, said = SLIPS[slip]
    with pytest.raises(ld.errors.BadValue) as caught:
        call()
    assert said in str(caught.value)
    assert count(store) == 0


def test_numbers_of_numpy_are_numbers(store):
    base = ld.model("scripted:base")
    some = base.sample("She was", n=np.int64(3), max_tokens=np.int32(4), temperature=np.float32(0.5), seed=np.uint8(1))
    assert json.loads(json.dumps(some.to_dict())) == some.to_dict()
    same = base.sample(np.str_("She was"), n=3, max_tokens=4, temperature=0.5, seed=1)
    assert same.recipe == some.recipe
    found = ld.compare(**PAIR, prompts=np.array(["She was", "He was"]), n=np.int64(5), max_tokens=4)
    assert json.loads(json.dumps(found.to_dict()))["n"] == 5


def test_a_whole_temperature_is_the_recipe_of_the_command(store, run):
    some = ld.model("scripted:base").sample("She was", n=3, max_tokens=4, temperature=2)
    code, _, _ = run(*shlex.split(some.command)[1:], "--json", "--store", store)
    assert code == 0
    assert count(store) == 3  # nothing was drawn again


def test_names_are_refused_where_they_are_written(store):
    with pytest.raises(ld.errors.UnknownName, match="no model called 'tiny-bse'"):
        ld.model("scripted:aligned").chat(template="tiny-bse")
    with pytest.raises(ld.errors.BadValue, match="temperature is -1"):
        ld.arm("scripted:base", temperature=-1)
    with pytest.raises(TypeError, match="unexpected keyword argument 'temp'"):
        ld.arm("scripted:base", temp=0.7)


def test_a_file_of_prompts_is_not_taken_for_a_prompt(store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("prompts.txt").write_text("She was\nHe was\n", "utf-8")
    with pytest.raises(ld.errors.BadValue, match=r"a file has that name: Path\('prompts.txt'\) reads it"):
        ld.compare(**PAIR, prompts="prompts.txt", n=5)
    found = ld.compare(**PAIR, prompts=Path("prompts.txt"), n=5, max_tokens=4)
    assert "-p 'She was' -p 'He was'" in found.command


def test_a_path_names_a_model_too(store):
    file = ROOT / "llama_diversity/data/tiny-base.gguf"
    assert ld.model(file) == ld.model(str(file))
    assert ld.model(file).reference == str(file)


def test_no_samples_are_a_table_without_rows(store):
    some = ld.model("scripted:base").sample("She was", n=2, max_tokens=4)
    assert some[:0].to_arrow().schema == some.to_arrow().schema
    assert some[:0].to_arrow().num_rows == 0


# ---- sessions


def test_sessions_nest(tmp_path):
    with ld.session(store=tmp_path / "a.sqlite", threads=3):
        with ld.session(offline=True, threads=2) as inner:
            assert inner == tmp_path / "a.sqlite"
            assert (sessions.current().offline, sessions.current().layout.n_threads) == (True, 2)
        assert (sessions.current().offline, sessions.current().layout.n_threads) == (False, 3)
        seen = []
        thread = threading.Thread(target=lambda: seen.append(sessions.current().named_store))
        thread.start()
        thread.join()
        assert seen == [None]
    assert sessions.current().named_store is None


def test_a_session_is_entered_as_often_as_one_likes(tmp_path):
    mine = ld.session(store=tmp_path / "a.sqlite")
    for _ in range(2):
        with mine as path, mine, ld.session(store=tmp_path / "b.sqlite"):
            assert path == tmp_path / "a.sqlite"
            assert sessions.current().store == tmp_path / "b.sqlite"
            with mine:
                assert sessions.current().store == path
        assert sessions.current().named_store is None

    @mine
    def where():
        return sessions.current().store

    assert [where(), where()] == [path, path]
    with pytest.raises(RuntimeError), mine:
        raise RuntimeError
    assert sessions.current().named_store is None


def test_two_stores_do_not_mix(tmp_path):
    model = ld.model("scripted:base")
    with ld.session(store=tmp_path / "a.sqlite") as a:
        model.sample("She was", n=3, max_tokens=2)
        with ld.session(store=tmp_path / "b.sqlite") as b:
            model.sample("She was", n=2, max_tokens=2)
    assert (count(a), count(b)) == (3, 2)


def test_the_environment_counts_where_no_session_says(monkeypatch, tmp_path):
    monkeypatch.setenv("LLAMADIV_STORE", str(tmp_path / "mine.sqlite"))
    monkeypatch.setenv("LLAMADIV_THREADS", "2")
    monkeypatch.setenv("LLAMADIV_EXACT", "no")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    now = sessions.current()
    assert (now.store, now.layout, now.offline) == (tmp_path / "mine.sqlite", EngineOptions(n_threads=2), True)
    with ld.session(threads=1):
        assert sessions.current().layout.n_threads == 1
    monkeypatch.setenv("LLAMADIV_THREADS", "many")
    with pytest.raises(ld.errors.BadValue, match="LLAMADIV_THREADS"):
        ld.model("scripted:base")


def test_progress_is_heard(store):
    heard = []
    with ld.session(progress=lambda what, share: heard.append((what, share))):
        ld.model("scripted:base").sample("She was", n=40, max_tokens=4)
    assert ("sampling scripted:base", 1.0) in heard
    assert all(0 <= share <= 1 for _, share in heard)
    with pytest.raises(ld.errors.BadValue, match="progress"), ld.session(progress="loud"):
        pass


def test_nothing_prints(store, capfd):
    some = ld.model("scripted:base").sample("She was", n=3, max_tokens=4)
    for thing in (some, some[0], ld.model("scripted:base").score("She"), STUDIES["syntactic"]()):
        thing._repr_html_()
        str(thing)
    assert capfd.readouterr() == ("", "")


def test_a_bar_is_on_standard_error(store, capfd, monkeypatch):
    monkeypatch.setenv("TTY_COMPATIBLE", "1")  # rich then takes a pipe for a terminal
    with ld.session(progress="bar"):
        ld.model("scripted:base").sample("She was", n=3, max_tokens=4)
    out, err = capfd.readouterr()
    assert out == ""
    assert "sampling scripted:base" in err


def test_ctrl_c_keeps_what_is_finished(store):
    model = ld.model("scripted:base")
    pressed = []

    def press(what, share):
        if what.startswith("sampling") and 0 < share < 1 and not pressed:
            pressed.append(share)
            os.kill(os.getpid(), signal.SIGINT)

    with ld.session(parallel=2, progress=press), pytest.raises(ld.errors.Interrupted, match="kept"):
        model.sample("She was", n=60, max_tokens=8)
    kept = count(store)
    assert 0 < kept < 60
    some = model.sample("She was", n=60, max_tokens=8)
    assert len(some) == count(store) == 60
    assert some.texts == ld.model("scripted:base").sample("She was", n=60, max_tokens=8).texts


# ---- pages


def examples(page):
    """Of every Python block its code and, where a block of text follows, what it prints."""
    found = re.findall(r"```python\n(.*?)```(?:\n+```text\n(.*?)```)?", page.read_text("utf-8"), re.DOTALL)
    assert found
    return found


@pytest.mark.model
def test_examples_of_the_page_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for code, wanted in examples(ROOT / "docs/python.md"):
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(code, "docs/python.md", "exec"), names)
        assert printed.getvalue() == wanted, code
    assert {"kept.svg", "out", "comparison", "entropy.svg", "both.html"} <= {one.name for one in tmp_path.iterdir()}


@pytest.mark.model
def test_the_example_of_the_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    [(code, _)] = examples(ROOT / "README.md")
    exec(compile(code, "README.md", "exec"), {})
    assert "<svg" in (tmp_path / "kept.svg").read_text("utf-8")


@pytest.mark.model
def test_the_tour_runs(tmp_path, monkeypatch):
    """Its cells in one namespace; what is stored in it has the same form, and is no older than the code."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    loader = importlib.machinery.SourceFileLoader("tour_script", str(ROOT / "bin/tour"))
    script = importlib.util.module_from_spec(importlib.util.spec_from_loader("tour_script", loader))
    loader.exec_module(script)
    notebook = json.loads(script.TOUR.read_text("utf-8"))
    assert script.TOUR.stat().st_size < 500_000
    stored = [cell["outputs"] for cell in notebook["cells"] if cell["cell_type"] == "code"]
    made = list(script.outputs(notebook, {}))
    assert [[form(one) for one in some] for some in made] == [[form(one) for one in some] for some in stored]
    assert sum("image/svg+xml" in one.get("data", {}) for some in made for one in some) == 1
    assert {"kept.svg", "comparison"} <= {one.name for one in tmp_path.iterdir()}


def form(output):
    """Which kinds of data an output has, and how many lines of text."""
    return sorted(output.get("data", ())), output.get("text", "").count("\n")
