"""Imports point down the layers: every module is parsed, and what it imports is compared with one table.

Imports inside functions and TYPE_CHECKING blocks count, and so do modules named by a string ("module:attribute"
tables, `import_module`). The root `__init__` and `__main__` are judged by test_weight.py alone. Of studies/ each room
is a part of its own: it knows those that studies/study.py says it stands on, and no other.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import llama_diversity
from llama_diversity.studies.study import STANDS_ON, STUDIES

PACKAGE = "llama_diversity"
FOLDER = Path(__file__).parent.parent / PACKAGE

BASE = {"errors", "paths", "records"}
ANALYSIS = {"answers", "decimals", "errors", "metrics", "records", "text"}  # no engine, store or runner
ALLOWED = {  # part -> the other parts it may import; a new part fails until it has a line here
    "errors": set(),
    "decimals": set(),
    "paths": {"errors"},
    "browser": set(),
    "cache": {"paths"},
    "gguf": {"errors"},
    "records": {"errors"},
    "served": {"errors"},
    "mixtures": {"decimals", "errors", "records", "served"},
    "answers": {"errors", "records"},
    "text": {"errors"},
    "metrics": {"errors", "text"},  # arrays and strings in, numbers out: no records
    "neighbours": {"errors", "gguf"},
    "registry": BASE | {"gguf", "mixtures", "neighbours", "served"},
    "digests": {"errors", "paths"},
    "hub": BASE | {"decimals", "digests", "gguf"},
    "resolve": BASE | {"decimals", "digests", "gguf", "hub", "mixtures", "neighbours", "registry", "served"},
    "shelf": BASE | {"digests", "gguf", "hub", "neighbours", "registry", "resolve", "served"},
    "embed": BASE | {"digests", "hub", "minilm"},
    "minilm": set(),
    "store": BASE | {"storefile"},
    "storefile": {"errors"},
    "offers": {"neighbours", "registry", "storefile"},
    "overview": {"decimals", "errors", "gguf", "neighbours", "paths", "registry", "storefile"},
    "engines": {"cache", "errors", "gguf", "mixtures", "records", "served"}
    | {"digests", "hub", "resolve"},  # a worker elsewhere finds the model in its own cache
    "render": {"answers", "decimals", "cache", "errors", "mixtures", "overview", "records", "storefile"},
    "runner": {"errors", "records", "store", "engines"},
    "installation": BASE | {"embed", "hub", "registry"},
    "lab": BASE | {"decimals", "digests", "gguf", "metrics"},
    "studies": BASE
    | ANALYSIS
    | {"cache", "digests", "embed", "engines", "hub", "minilm", "mixtures", "registry", "render", "resolve"}
    | {"gguf", "neighbours", "runner", "shelf", "store"},
    # Beside cli, and neither knows the other: what both do is done by studies.
    "interface": BASE | {"answers", "decimals", "engines", "registry", "render", "runner", "store", "studies"},
    # A third door, behind `llamadiv view`: it shows what studies read, and computes no number.
    "view": {"decimals", "errors", "records", "render", "studies"},
}
# It parses and prints; no part lists it.
ALLOWED["cli"] = set(ALLOWED) - {"cache", "embed", "interface", "metrics", "minilm"}
ROOMS = {path.parent.name for path in FOLDER.glob("studies/*/study.py")}
SHARED = "measuring"  # what several rooms measure alike
# All other modules of a room analyse.
ASKS, SHOWS = (
    {"study", "specs", "gathering", "parts", "stating"},
    {"exhibits", "sentence_exhibits", "files", "pictures", "as_json", "plain"},
)

OWNERS = {
    "llama_cpp": ("engines/llamacpp",),
    "huggingface_hub": ("hub.py",),
    "tokenizers": ("minilm.py", "engines/vllm/huggingface.py"),
    "textual": ("view",),
}
HEAVY = {
    "torch", "llama_cpp", "sentence_transformers", "transformers", "sklearn", "scipy", "altair", "matplotlib",
    "pyarrow", "vl_convert", "wordcloud", "huggingface_hub", "textual",
}  # fmt: skip
DRAWERS = {"utils", "util", "helpers", "helper", "common", "misc"}  # a helper lives beside its caller


class Import(NamedTuple):
    """An absolute dotted name that a module imports, and the line."""

    name: str
    line: int


def violations(path: str, source: str) -> list[str]:
    """What is wrong with the module at `path` (relative to the package, "engines/scripted.py")."""
    part = Path(path).parts[0].removesuffix(".py")
    if part in {"__init__", "__main__"}:
        return []
    found = [f"{path}: {name} is no name for a module" for name in names_of(path) if name in DRAWERS]
    if part not in ALLOWED:
        return [*found, f"{path}: the part {part} has no line in ALLOWED"]
    for name, line in imports(path, source):
        reason = objection(path, part, name)
        if reason:
            found.append(f"{path}:{line} imports {name}: {reason}")
    return found


def objection(path: str, part: str, name: str) -> str | None:
    """Why the module may not import `name`, or None."""
    package, *inner = name.split(".")
    if package != PACKAGE:
        owner = OWNERS.get(package)
        if owner and not any(map(Path(path).is_relative_to, owner)):
            return f"only {' and '.join(owner)} does"
        return "it is heavy, and cli only parses and prints" if part == "cli" and package in HEAVY else None
    if part == "studies":
        return objection_of_room(names_of(path)[1:], inner)
    if inner == ["__version__"] or (inner and (inner[0] == part or inner[0] in ALLOWED[part])):
        return None
    return f"{part} may import only {', '.join(sorted(ALLOWED[part])) or 'nothing'} of the package"


def objection_of_room(mine: list[str], inner: list[str]) -> str | None:
    """Why a module of studies/ may not import llama_diversity.`inner`, or None; `mine` are its own names below it.

    What analyses knows no engine, store or terminal; what shows knows what analyses; what asks knows both.
    """
    room = mine[0] if len(mine) > 1 else None
    kind = None if room is None else "asks" if mine[1] in ASKS else "shows" if mine[1] in SHOWS else "analyses"
    if inner[:1] != ["studies"]:
        parts = {"shows": ANALYSIS | {"render"}, "analyses": ANALYSIS}.get(kind, ALLOWED["studies"])
        ok = inner == ["__version__"] or (bool(inner) and inner[0] in parts)
        return None if ok else f"what {kind or 'all studies share'} may import only {', '.join(sorted(parts))}"
    theirs = inner[1] if len(inner) > 2 or inner[1] in ROOMS | {SHARED} else None
    if theirs is None:  # a module that all rooms share
        is_open = room is None or kind == "asks" or (kind == "shows" and inner[1] in {"phrases", "plain", "words"})
        return None if is_open else f"what {kind} knows no {inner[1]}"
    if room is None:
        is_table = mine == ["study"] and theirs in STUDIES
        return None if theirs == SHARED or is_table else "what all rooms share knows none of them"
    if room != SHARED and theirs in {room, SHARED} | STANDS_ON.get(room, set()):
        is_above = {"asks": 2, "shows": 1, "analyses": 0}[kind] < (2 if inner[2] in ASKS else inner[2] in SHOWS)
        return f"what {kind} lies below it" if is_above else None
    return None if room == theirs == SHARED else f"the table STANDS_ON does not say that {room} stands on {theirs}"


def names_of(path: str) -> list[str]:
    """The names of a module and of the folders around it."""
    return list(Path(path).with_suffix("").parts)


def imports(path: str, source: str) -> Iterator[Import]:
    """Every import of a module, wherever it stands; `from package import name` names package.name."""
    around = [PACKAGE, *names_of(path)][:-1]  # the package that a relative import starts from
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = around[: len(around) - node.level + 1] if node.level else []
            module = [*start, *(node.module.split(".") if node.module else [])]
            for alias in node.names:
                is_module = module == [PACKAGE] or FOLDER.parent.joinpath(*module, f"{alias.name}.py").exists()
                yield Import(".".join([*module, alias.name] if is_module else module), node.lineno)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if re.fullmatch(rf"{PACKAGE}(\.\w+)+(:\w+)?", node.value):
                yield Import(node.value.partition(":")[0], node.lineno)
        elif isinstance(node, ast.Call) and called(node.func) in {"import_module", "__import__"} and node.args:
            argument = node.args[0]
            if isinstance(argument, ast.Constant) and not argument.value.startswith(PACKAGE):
                yield Import(argument.value, node.lineno)


def called(function: ast.expr) -> str:
    """The last name of what is called."""
    return getattr(function, "attr", getattr(function, "id", ""))


MODULES = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES)
def test_module_imports_only_what_lies_below_it(path):
    assert violations(path, (FOLDER / path).read_text("utf-8")) == []


def test_table_names_only_parts_that_exist():
    assert {path.split("/")[0].removesuffix(".py") for path in MODULES} - {"__init__", "__main__"} == set(ALLOWED)
    assert [one for owner in OWNERS.values() for one in owner if not (FOLDER / one).exists()] == []


def test_rooms_are_the_studies():
    assert {STUDIES[name].split(".")[2] for name in STUDIES} == set(STUDIES)
    assert set(STUDIES) | set(STANDS_ON) <= ROOMS
    assert {path.name for path in FOLDER.glob("studies/*/") if path.name != "__pycache__"} == ROOMS | {SHARED}
    assert [room for room in STUDIES if not (FOLDER / f"studies/{room}/analysis.py").exists()] == []
    assert [room for room in STUDIES if not (FOLDER / f"studies/{room}/exhibits.py").exists()] == []


def test_no_two_modules_import_each_other():
    """Nor three in a circle, except within functions: of all modules, by what they import when they are imported."""
    below = {}
    for path in MODULES:
        tree = ast.parse((FOLDER / path).read_text("utf-8"))
        top = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        named = {one.name for one in imports(path, "\n".join(map(ast.unparse, top)))}
        below[path] = {other for other in MODULES if dotted(other) in named and other != path}
    done: set[str] = set()
    while free := [path for path in MODULES if path not in done and below[path] <= done]:
        done.update(free)
    assert sorted(set(MODULES) - done) == []


def test_every_public_name_can_be_imported():
    """Beside what types say: a name for type checkers alone is none that can be imported."""
    assert [name for name in llama_diversity.__all__ if getattr(llama_diversity, name, None) is None] == []


def dotted(path: str) -> str:
    """The name by which the module at `path` is imported."""
    return ".".join([PACKAGE, *names_of(path)]).removesuffix(".__init__")


def test_the_command_line_is_a_door():
    sizes = {path: len((FOLDER / path).read_text("utf-8").splitlines()) for path in MODULES if path.startswith("cli/")}
    assert {path: n for path, n in sizes.items() if n > 350} == {}
    assert sum(sizes.values()) <= 3500


BAD = {
    "upward import": ("records.py", "from llama_diversity.store import Store"),
    "upward import inside a function": ("metrics/entropy.py", "def f():\n    import llama_diversity.records"),
    "under TYPE_CHECKING": (
        "studies/syntactic/analysis.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from llama_diversity.engines import Engine",
    ),
    "relative, one level up": ("engines/scripted.py", "from ..store import Store"),
    "relative, the package itself": ("engines/scripted.py", "from .. import runner"),
    "a part imported from the root": ("store/files.py", "from llama_diversity import runner"),
    "a name imported from the root": ("cli/sample.py", "from llama_diversity import BadValue"),
    "the root itself": ("cli/sample.py", "import llama_diversity"),
    "cli from below": ("render/heatmap.py", "from llama_diversity.cli.options import Common"),
    "lab from a study": ("studies/syntactic/study.py", "import llama_diversity.lab.corpus"),
    "by a string": ("runner.py", 'TABLE = {"a": "llama_diversity.cli.sample:sample"}'),
    "heavy in cli": ("cli/sample.py", "def f():\n    import sklearn.cluster"),
    "llama_cpp in hub": ("hub.py", "import llama_cpp.llama_cpp as c"),
    "llama_cpp by import_module": ("cli/doctor.py", 'importlib.import_module("llama_cpp")'),
    "hub in store": ("store/files.py", "from huggingface_hub import hf_hub_download"),
    "an empty utils.py": ("utils.py", ""),
    "helpers in a part": ("engines/helpers.py", ""),
    "a folder called common": ("store/common/files.py", ""),
    "sentence_transformers in cli": ("cli/semantic.py", "import sentence_transformers"),
    "tokenizers in a study": ("studies/syntactic/analysis.py", "import tokenizers"),
    "cli from a study": ("studies/study.py", "from llama_diversity.cli.output import Output"),
    "a store where numbers are made": ("studies/perturb/analysis.py", "from llama_diversity.store import Store"),
    "a picture where numbers are made": ("studies/perturb/analysis.py", "from llama_diversity.render import plots"),
    "a session where something is shown": (
        "studies/perturb/exhibits.py",
        "from llama_diversity.studies.session import Session",
    ),
    "another room": ("studies/perturb/study.py", "from llama_diversity.studies.compare.study import Compare"),
    "a room from what all share": ("studies/conduct.py", "from llama_diversity.studies.perturb import study"),
    "a room from what is measured": (
        "studies/measuring/kinds.py",
        "from llama_diversity.studies.semantic.analysis import analyse",
    ),
    "exhibits from analysis": ("studies/tree/analysis.py", "from llama_diversity.studies.tree.exhibits import section"),
    "a study from its exhibits": ("studies/tree/exhibits.py", "from llama_diversity.studies.tree.study import run"),
    "the viewer's library in cli": ("cli/view.py", "def f():\n    from textual.app import App"),
    "a store in the viewer": ("view/viewer.py", "from llama_diversity.store import Store"),
    "a number in the viewer": ("view/detail.py", "from llama_diversity.metrics.entropy import entropy"),
    "statistics in cli": ("cli/demo.py", "from llama_diversity.metrics.inference import wilson"),
    "a new part": ("remote.py", ""),
}


@pytest.mark.parametrize(("path", "source"), BAD.values(), ids=BAD.keys())
def test_checker_objects_to(path, source):
    assert violations(path, source)


GOOD = {
    "downward": ("store/files.py", "from llama_diversity import paths\nfrom llama_diversity.records import Sample"),
    "within the part": ("engines/scripted.py", "from . import Engine\nfrom .draws import draw"),
    "relative and downward": ("engines/scripted.py", "from ..records import Sample"),
    "cli": ("cli/sample.py", "from llama_diversity import __version__, paths\nfrom llama_diversity.runner import run"),
    "table of the same part": ("engines/__init__.py", 'ENGINES = {"a": "llama_diversity.engines.scripted:Engine"}'),
    "prose that names a module": ("errors.py", '"""Only llama_diversity.cli prints."""'),
    "the owner": ("engines/llamacpp/library.py", "import llama_cpp.llama_cpp"),
    "its own analysis": ("studies/tree/study.py", "from llama_diversity.studies.tree.analysis import grow"),
    "the room it stands on": (
        "studies/decompose/study.py",
        "from llama_diversity.studies.compare.study import Compare",
    ),
    "what is measured alike": ("studies/coverage/analysis.py", "from llama_diversity.studies.measuring import kinds"),
    "phrases that exhibits share": (
        "studies/coverage/exhibits.py",
        "from llama_diversity.studies.phrases import cut_off",
    ),
    "foreign packages": ("metrics/entropy.py", "import math\nimport numpy as np\nfrom scipy import stats"),
}


@pytest.mark.parametrize(("path", "source"), GOOD.values(), ids=GOOD.keys())
def test_checker_accepts(path, source):
    assert violations(path, source) == []


def test_owned_and_heavy_packages_are_foreign():
    assert not (HEAVY | set(OWNERS)) & (set(sys.stdlib_module_names) | {PACKAGE})
