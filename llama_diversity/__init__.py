"""llamadiv measures what post-training costs a language model in diversity; as a package, `import llama_diversity`.

Every name below is imported from the module where it lives when it is first used, so that importing the package is
nothing. docs/python.md shows them all.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llama_diversity import errors
    from llama_diversity.errors import LlamadivError
    from llama_diversity.interface.branches import branch
    from llama_diversity.interface.found import Found, Report, Table
    from llama_diversity.interface.frontiers import frontier
    from llama_diversity.interface.models import Arm, Model, Pair, arm, ladder, model, pair
    from llama_diversity.interface.populations import population
    from llama_diversity.interface.samples import Completion, Heatmap, Samples, Score
    from llama_diversity.interface.sessions import session
    from llama_diversity.interface.studies import (
        collapse,
        compare,
        coverage,
        decan,
        decompose,
        diff,
        methods,
        personas,
        perturb,
        reframe,
        report,
        reproduce,
        semantic,
        syntactic,
        tree,
        valid,
        variety,
    )

__version__ = "0.1.0"

_NAMES = {  # module -> the public names that live there
    "interface.models": ("model", "pair", "ladder", "arm", "Model", "Pair", "Arm"),
    "interface.samples": ("Samples", "Completion", "Score", "Heatmap"),
    "interface.sessions": ("session",),
    "interface.studies": (
        "compare", "decan", "decompose", "coverage", "syntactic", "semantic", "personas", "perturb", "collapse", "diff",
        "tree", "reframe", "reproduce", "report", "methods", "valid", "variety",
    ),
    "interface.populations": ("population",),
    "interface.frontiers": ("frontier",),
    "interface.branches": ("branch",),
    "interface.found": ("Found", "Report", "Table"),
    "errors": ("LlamadivError",),
}  # fmt: skip
_HOMES = {name: module for module, names in _NAMES.items() for name in names}

__all__ = [
    "Arm",
    "Completion",
    "Found",
    "Heatmap",
    "LlamadivError",
    "Model",
    "Pair",
    "Report",
    "Samples",
    "Score",
    "Table",
    "__version__",
    "arm",
    "branch",
    "collapse",
    "compare",
    "coverage",
    "decan",
    "decompose",
    "diff",
    "errors",
    "frontier",
    "ladder",
    "methods",
    "model",
    "pair",
    "personas",
    "perturb",
    "population",
    "reframe",
    "report",
    "reproduce",
    "semantic",
    "session",
    "syntactic",
    "tree",
    "valid",
    "variety",
]


def __getattr__(name: str) -> Any:
    if name == "errors":
        return importlib.import_module("llama_diversity.errors")
    if name not in _HOMES:
        here = sys.modules[__name__]  # with it Python says which name comes near
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name, obj=here)
    found = getattr(importlib.import_module(f"llama_diversity.{_HOMES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return list(__all__)
