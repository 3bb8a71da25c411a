"""bin/tiny-ship: from a grown folder to the files and the entries that ship."""

from __future__ import annotations

import hashlib
import importlib.machinery
import importlib.util
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from llama_diversity import registry  # noqa: E402
from llama_diversity.engines import EngineOptions, open_engine  # noqa: E402
from llama_diversity.lab.export import Card, Vocabulary, read_gguf, write_gguf  # noqa: E402
from llama_diversity.lab.requests import CHAT_TEMPLATE  # noqa: E402
from llama_diversity.lab.transformer import Architecture, Llama  # noqa: E402
from llama_diversity.records import ModelRef  # noqa: E402

ROOT = Path(__file__).parent.parent
SMALL = Architecture(n_vocab=260, n_embd=32, n_layer=1, n_head=2, n_ff=64, n_ctx=64)
PIECES = [b"<unk>", b"<s>", b"</s>", *(b"<0x%02X>" % byte for byte in range(256)), "▁ä".encode()]
NAMES = ("tiny-base", "tiny-sft", "tiny-sft-narrow", "tiny-sft-varied", "tiny-dpo", "tiny-aligned")


@pytest.fixture
def grown(tmp_path: Path) -> Path:
    """A folder with the six F16 files, each of other weights."""
    folder = tmp_path / "grown"
    folder.mkdir()
    vocabulary = Vocabulary(PIECES, [-float(at) for at in range(260)], [2, 3, 3, *([6] * 256), 1])
    for seed, name in enumerate(NAMES):
        model = Llama(SMALL)
        model.initialise(torch.Generator().manual_seed(seed))
        card = Card(name, f"{name}, “small”", "CC-BY-SA-3.0", {"recipe": {"seed": seed}, "log": [0.1, 1e-9]})
        if name != "tiny-base":
            card = card._replace(chat_template=CHAT_TEMPLATE)
        write_gguf(folder / f"{name}-f16.gguf", model, vocabulary, card)
    return folder


def ship(grown: Path, out: Path) -> str | None:
    """Run it on a copy of models.toml, which begins as it ships: what it says where it does nothing, else None."""
    (out / "data").mkdir(parents=True, exist_ok=True)
    table = out / "models.toml"
    if not table.exists():
        table.write_bytes((ROOT / "models.toml").read_bytes())
    script = importlib.machinery.SourceFileLoader("tiny_ship", str(ROOT / "bin" / "tiny-ship"))
    spec = importlib.util.spec_from_loader(script.name, script)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    script.exec_module(module)
    try:
        module.main([str(grown), "--data", str(out / "data"), "--registry", str(table)])
    except SystemExit as stopped:
        return str(stopped.code)
    return None


def read(table: Path, monkeypatch: pytest.MonkeyPatch) -> registry.Registry:
    monkeypatch.setattr(registry, "_packaged_path", lambda: table)
    return registry.load()


def test_every_model_ships_in_eight_bits_with_all_it_said(
    grown: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ship(grown, tmp_path / "out") is None
    told = capsys.readouterr().out
    data = tmp_path / "out" / "data"
    assert sorted(path.name for path in data.iterdir()) == sorted(f"{name}.gguf" for name in NAMES)
    known = read(tmp_path / "out" / "models.toml", monkeypatch)
    for name in NAMES:
        file, entry = data / f"{name}.gguf", known.find(name)
        assert (entry.sha256, entry.size_bytes) == (hashlib.sha256(file.read_bytes()).hexdigest(), file.stat().st_size)
        assert entry.sha256 in told
        (before, said), (after, says) = (read_gguf(path) for path in (grown / f"{name}-f16.gguf", file))
        assert (said, before.architecture) == (says, after.architecture)
        for one, other in zip(before.parameters(), after.parameters(), strict=True):
            step = float(one.detach().abs().max()) / 127  # of the block with the largest weight
            assert float((one - other).detach().abs().max()) <= step
        assert file.stat().st_size < 0.8 * (grown / f"{name}-f16.gguf").stat().st_size
    roles = {name: known.find(name).role for name in ("tiny-sft-narrow", "tiny-sft-varied", "tiny-dpo")}
    assert roles == {"tiny-sft-narrow": "sft", "tiny-sft-varied": "sft", "tiny-dpo": "dpo"}
    assert known.ladder("tiny-recipes").rungs == (
        "tiny-base", "tiny-sft-narrow", "tiny-sft-varied", "tiny-dpo", "tiny-aligned",
    )  # fmt: skip
    assert list(known.ladders)[:2] == ["tiny", "tiny-recipes"]


def test_a_second_time_changes_nothing_and_other_models_keep_their_entries(grown: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert ship(grown, out) is None
    first = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert ship(grown, out) is None
    assert first == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    was, now = ((folder / "models.toml").read_text("utf-8") for folder in (ROOT, out))
    begins = "# --- Llama 2, 7B"
    assert now[now.index(begins) :] == was[was.index(begins) :]
    assert now[: now.index("[models.tiny-base]")] == was[: was.index("[models.tiny-base]")]


def test_what_is_too_large_or_lacks_a_model_ships_nothing(grown: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "data").mkdir(parents=True)
    (out / "data" / "large.bin").write_bytes(bytes(25_000_000))
    (out / "data" / "tiny-base.gguf").write_bytes(b"the old one")
    assert "at most 25,000,000" in str(ship(grown, out))
    assert sorted(path.name for path in (out / "data").iterdir()) == ["large.bin", "tiny-base.gguf"]
    assert (out / "data" / "tiny-base.gguf").read_bytes() == b"the old one"
    assert (out / "models.toml").read_bytes() == (ROOT / "models.toml").read_bytes()
    (grown / "tiny-dpo-f16.gguf").unlink()
    assert "tiny-dpo-f16.gguf is not there: `llamadiv lab grow` and `llamadiv lab recipes` grow" in str(
        ship(grown, out)
    )


@pytest.mark.model
def test_what_ships_has_the_tokens_and_the_template_it_had(grown: Path, tmp_path: Path) -> None:
    ship(grown, tmp_path / "out")
    seen = []
    for file in (grown / "tiny-dpo-f16.gguf", tmp_path / "out" / "data" / "tiny-dpo.gguf"):
        engine = open_engine(ModelRef("dpo", "llamacpp", str(file), "digest"), EngineOptions())
        prompt = engine.prompt("Wer war ä?", chat=True)
        seen.append((engine.facts.vocab_digest, prompt.rendered, list(prompt.ids)))
        engine.close()
    assert seen[0] == seen[1]
