"""Imports point down the layers: every module is parsed, and what it imports is compared with one table.

Imports inside functions and TYPE_CHECKING blocks count, and so do modules named by a string ("module:attribute"
tables, `import_module`). Not seen: cycles inside one part. The root `__init__` and `__main__` are judged by
test_weight.py alone.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = "llama_diversity"
FOLDER = Path(__file__).parent.parent / PACKAGE

BASE = {"errors", "paths", "records"}
ALLOWED = {  # part -> the other parts it may import; a new part fails until it has a line here
    "errors": set(),
    "decimals": set(),
    "paths": {"errors"},
    "cache": {"paths"},
    "gguf": {"errors"},
    "records": {"errors"},
    "answers": {"errors", "records"},
    "text": {"errors"},
    "metrics": {"errors", "text"},  # arrays and strings in, numbers out: no records
    "registry": BASE | {"gguf"},
    "digests": {"errors", "paths"},
    "hub": BASE | {"digests", "gguf"},
    "embed": BASE | {"digests", "hub", "minilm"},
    "minilm": set(),
    "store": BASE,
    "engines": {"cache", "errors", "gguf", "records"},
    "render": {"answers", "decimals", "cache", "errors", "records"},
    "experiments": {
        "decimals",
        "answers",
        "errors",
        "records",
        "metrics",
        "text",
    },  # plan() and analyse(): no engine, store or runner
    "exhibits": {"answers", "decimals", "errors", "records", "metrics", "experiments", "render", "text"},
    "runner": {"errors", "records", "store", "engines"},
    "lab": BASE | {"metrics"},
}
ALLOWED["cli"] = set(ALLOWED)  # everything; no other part lists cli or lab

OWNERS = {
    "llama_cpp": "engines/llamacpp",
    "huggingface_hub": "hub.py",
    "tokenizers": "minilm.py",
    "safetensors": "minilm.py",
}
HEAVY = {
    "torch", "llama_cpp", "sentence_transformers", "transformers", "sklearn", "scipy", "altair", "matplotlib",
    "pyarrow", "vl_convert", "wordcloud", "huggingface_hub",
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
        if owner and not Path(path).is_relative_to(owner):
            return f"only {owner} does"
        return "it is heavy, and cli only parses and prints" if part == "cli" and package in HEAVY else None
    if inner == ["__version__"] or (inner and (inner[0] == part or inner[0] in ALLOWED[part])):
        return None
    return f"{part} may import only {', '.join(sorted(ALLOWED[part])) or 'nothing'} of the package"


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
            for alias in node.names if module == [PACKAGE] else [None]:
                yield Import(".".join([*module, alias.name] if alias else module), node.lineno)
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
    assert [owner for owner in OWNERS.values() if not (FOLDER / owner).exists()] == []


BAD = {
    "upward import": ("records.py", "from llama_diversity.store import Store"),
    "upward import inside a function": ("metrics/entropy.py", "def f():\n    import llama_diversity.records"),
    "under TYPE_CHECKING": (
        "experiments/syntactic.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from llama_diversity.engines import Engine",
    ),
    "relative, one level up": ("engines/scripted.py", "from ..store import Store"),
    "relative, the package itself": ("engines/scripted.py", "from .. import hub"),
    "a part imported from the root": ("store/files.py", "from llama_diversity import runner"),
    "a name imported from the root": ("cli/sample.py", "from llama_diversity import BadValue"),
    "the root itself": ("cli/sample.py", "import llama_diversity"),
    "cli from below": ("render/heatmap.py", "from llama_diversity.cli.options import Common"),
    "lab from experiments": ("experiments/syntactic.py", "import llama_diversity.lab.corpus"),
    "by a string": ("runner.py", 'TABLE = {"a": "llama_diversity.cli.sample:sample"}'),
    "heavy in cli": ("cli/sample.py", "def f():\n    import sklearn.cluster"),
    "llama_cpp in hub": ("hub.py", "import llama_cpp.llama_cpp as c"),
    "llama_cpp by import_module": ("cli/doctor.py", 'importlib.import_module("llama_cpp")'),
    "hub in store": ("store/files.py", "from huggingface_hub import hf_hub_download"),
    "an empty utils.py": ("utils.py", ""),
    "helpers in a part": ("engines/helpers.py", ""),
    "a folder called common": ("store/common/files.py", ""),
    "sentence_transformers in cli": ("cli/semantic.py", "import sentence_transformers"),
    "tokenizers in experiments": ("experiments/syntactic.py", "import tokenizers"),
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
    "foreign packages": ("metrics/entropy.py", "import math\nimport numpy as np\nfrom scipy import stats"),
}


@pytest.mark.parametrize(("path", "source"), GOOD.values(), ids=GOOD.keys())
def test_checker_accepts(path, source):
    assert violations(path, source) == []


def test_owned_and_heavy_packages_are_foreign():
    assert not (HEAVY | set(OWNERS)) & (set(sys.stdlib_module_names) | {PACKAGE})
