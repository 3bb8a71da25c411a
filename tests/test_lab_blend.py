"""Weights between two models: by hand, at both ends, by depth, in bounded memory; what cannot be blended is refused."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
import pytest

from llama_diversity import digests
from llama_diversity.errors import BadValue
from llama_diversity.gguf import read_header
from llama_diversity.lab import blend
from llama_diversity.lab.blend import Rule, blended
from llama_diversity.records import ModelRef
from llama_diversity.resolve import resolve_model

TOKENS = (b"<unk>", b"<s>", b"</s>")
Array = npt.NDArray[Any]


def write(
    path: Path,
    tensors: Mapping[str, Array],
    *,
    kind: str = "F32",
    tokens: Sequence[bytes] = TOKENS,
    settings: Mapping[str, int] | None = None,
    template: str | None = None,
    architecture: str = "llama",
) -> Path:
    """A file of these tensors, which no engine would open."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name(path.stem)
    writer.add_license("CC0-1.0" if path.stem == "a" else "MIT")
    for key, value in {"block_count": 1, **(settings or {})}.items():
        writer.add_uint32(f"{architecture}.{key}", value)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(list(tokens))
    if template:
        writer.add_chat_template(template)
    number = gguf.GGMLQuantizationType[kind]
    for name, values in tensors.items():
        data = values if values.dtype == np.uint8 else gguf.quants.quantize(values, number)
        writer.add_tensor(name, data, raw_dtype=number)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def made(a: Path, b: Path, to: Path, rule: Rule, *, force: bool = False) -> dict[str, Any]:
    """The report of a blend of two files."""
    one, other = (ModelRef(str(path), "llamacpp", str(path), digests.digest(path)) for path in (a, b))
    return blended(one, other, rule, to, force=force, show=lambda share, words: None)


def weights(path: Path) -> dict[str, Array]:
    """The tensors of a file as numbers, by name."""
    return {one.name: gguf.quants.dequantize(one.data, one.tensor_type) for one in gguf.GGUFReader(path).tensors}


def stored(path: Path) -> dict[str, bytes]:
    """The bytes of each tensor."""
    header, data = read_header(path), path.read_bytes()
    starts = {one.name: header.data_start + one.offset for one in header.tensors}
    return {one.name: data[starts[one.name] : starts[one.name] + (one.n_bytes or 0)] for one in header.tensors}


# ---- by hand


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16"])
@pytest.mark.parametrize(
    ("alpha", "matrix", "norm"),
    [
        (0.25, [[1.5, -0.5], [0.0, 8.0]], [1.25, 2.0]),  # 0.75 a + 0.25 b
        (1.5, [[4.0, 7.0], [0.0, 8.0]], [2.5, 2.0]),  # -0.5 a + 1.5 b
        (-0.5, [[0.0, -5.0], [0.0, 8.0]], [0.5, 2.0]),  # 1.5 a - 0.5 b
    ],
)
def test_two_tensors_by_hand(tmp_path, kind, alpha, matrix, norm):
    a = {"token_embd.weight": np.float32([[1, -2], [0, 8]]), "output_norm.weight": np.float32([1, 2])}
    b = {"output_norm.weight": np.float32([2, 2]), "token_embd.weight": np.float32([[3, 4], [0, 8]])}  # another order
    files = write(tmp_path / "a.gguf", a, kind=kind), write(tmp_path / "b.gguf", b, kind=kind)
    made(*files, tmp_path / "c.gguf", Rule(alpha))
    found = weights(tmp_path / "c.gguf")
    assert list(found) == list(b)
    assert found["token_embd.weight"].tolist() == matrix
    assert found["output_norm.weight"].tolist() == norm


def test_eight_bits_by_hand(tmp_path):
    """Blocks of scale 1 that hold 127 and -127, else 0: 0.75 x 127 - 0.25 x 127 = 63.5, which is 127 of scale 0.5."""

    def block(first: int) -> Array:
        return np.frombuffer(np.float16(1).tobytes() + np.int8([first] + [0] * 31).tobytes(), np.uint8).reshape(1, 34)

    files = [
        write(tmp_path / f"{name}.gguf", {"x.weight": block(q)}, kind="Q8_0") for name, q in (("a", 127), ("b", -127))
    ]
    made(*files, tmp_path / "c.gguf", Rule(0.25))
    assert stored(tmp_path / "c.gguf")["x.weight"] == np.float16(0.5).tobytes() + np.int8([127] + [0] * 31).tobytes()


def test_the_ends_of_eight_bits_are_quantised_anew(tmp_path):
    """A block whose largest number is 100 is written with 127 there, and a scale of 100 / 127."""
    block = np.frombuffer(np.float16(1).tobytes() + np.int8([100, 50] + [0] * 30).tobytes(), np.uint8).reshape(1, 34)
    files = [
        write(tmp_path / f"{name}.gguf", {"x.weight": one}, kind="Q8_0")
        for name, one in (("a", block), ("b", block * 0))
    ]
    made(*files, tmp_path / "c.gguf", Rule(0.0))
    found = stored(tmp_path / "c.gguf")["x.weight"]
    assert found == np.float16(100 / 127).tobytes() + np.int8([127, 64] + [0] * 30).tobytes()  # 63.5 away from nought
    assert found != stored(files[0])["x.weight"]


def test_a_coefficient_by_depth():
    """(1 - l/(L-1)) shallow + l/(L-1) alpha for L = 3: 0.2, 0.6, 1; embeddings as the first, the output as the last."""
    rule = Rule(1.0, shallow=0.2)
    names = ["token_embd.weight", *(f"blk.{block}.attn_q.weight" for block in range(3)), "output_norm.weight"]
    assert [rule.coefficient(name, 3) for name in names] == pytest.approx([0.2, 0.2, 0.6, 1.0, 1.0])
    assert {Rule(0.3).coefficient(name, 3) for name in names} == {0.3}
    assert Rule(0.3, shallow=0.1).coefficient("blk.0.attn_q.weight", 1) == 0.3  # a single block is the last one


def test_a_blend_by_depth_is_in_the_file(tmp_path):
    names = [f"blk.{block}.ffn_up.weight" for block in range(3)]
    files = [
        write(tmp_path / f"{one}.gguf", {name: np.full((2, 2), one == "b", np.float32) for name in names})
        for one in "ab"
    ]
    report = made(*files, tmp_path / "c.gguf", Rule(1.0, shallow=0.5))
    assert [one[0, 0] for one in weights(tmp_path / "c.gguf").values()] == [0.5, 0.75, 1.0]
    assert report["shallow"] == 0.5


def test_at_the_ends_the_bytes_are_those_of_the_files(tmp_path):
    """Minus nought too, which 0 a + 1 b would make plus nought."""
    a = {"x.weight": np.float16([[1.0, -0.0], [3.0, 65504.0]])}
    b = {"x.weight": np.float16([[-0.0, 2.0], [6e-8, -0.0]])}
    files = [write(tmp_path / f"{name}.gguf", one, kind="F16") for name, one in (("a", a), ("b", b))]
    for alpha, file in zip((0.0, 1.0), files, strict=True):
        made(*files, tmp_path / "c.gguf", Rule(alpha), force=True)
        assert stored(tmp_path / "c.gguf") == stored(file)


def test_what_the_file_says_of_itself(tmp_path):
    one = {"x.weight": np.float32([[1.0, 2.0]])}
    a = write(tmp_path / "a.gguf", one, template="from a", settings={"context_length": 8})
    b = write(tmp_path / "b.gguf", {"x.weight": 2 * one["x.weight"]}, settings={"context_length": 16})
    report = made(a, b, tmp_path / "c.gguf", Rule(0.5))
    metadata = read_header(tmp_path / "c.gguf").metadata
    recipe = json.loads(metadata[blend.RECIPE_KEY])
    sources = {name: {"name": name, "sha256": digests.digest(path)} for name, path in (("a", a), ("b", b))}
    assert recipe == {**sources, "alpha": 0.5, "shallow": None}
    assert {key: report[key] for key in recipe} == recipe
    assert report["sha256"] == digests.digest(tmp_path / "c.gguf")
    assert metadata["general.name"] == "a and b, alpha 0.5"
    assert metadata["general.license"] == "CC0-1.0 AND MIT"
    assert metadata["tokenizer.chat_template"] == "from a"  # b has none
    assert metadata["llama.context_length"] == 16
    assert metadata["tokenizer.ggml.tokens"].values() == list(TOKENS)
    again = made(a, b, tmp_path / "d.gguf", Rule(0.5))
    assert again["sha256"] == report["sha256"]


def test_memory_does_not_grow_with_the_model(tmp_path, monkeypatch):
    """24 tensors of 1 MB each, a hundredth of a tensor at a time: no more than two of them are in memory."""
    monkeypatch.setattr(blend, "_CHUNK", 8192)
    monkeypatch.setattr(digests, "HASH_CHUNK_BYTES", 65536)
    draw = np.random.default_rng(0).standard_normal((512, 1024), dtype=np.float32)
    for name, factor in (("a", 1.0), ("b", 2.0)):
        tensors = {f"blk.{block}.ffn_up.weight": draw * factor for block in range(24)}
        write(tmp_path / f"{name}.gguf", tensors, kind="F16")
        del tensors
    tracemalloc.start()
    made(tmp_path / "a.gguf", tmp_path / "b.gguf", tmp_path / "c.gguf", Rule(0.5))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (tmp_path / "c.gguf").stat().st_size > 24 * 2**20
    assert peak < 3 * 2**20


# ---- what is refused


def refusals(folder: Path) -> dict[str, tuple[Path, Path, str]]:
    """Two files each, and what is said of them."""
    plain, other = {"x.weight": np.float32([[1.0, 2.0]])}, {"x.weight": np.float32([[3.0, 2.0]])}
    a = write(folder / "a.gguf", plain)
    wide = {"x.weight": np.zeros((1, 32), np.float32)}

    def beside(name: str, **what: Any) -> Path:
        return write(folder / f"{name}.gguf", what.pop("tensors", other), **what)

    q4 = beside("q4", tensors=wide, kind="Q4_0"), beside("q4b", tensors={"x.weight": wide["x.weight"] + 1}, kind="Q4_0")
    return {
        "itself": (a, a, "Both are one file"),
        "architecture": (a, beside("gemma", architecture="gemma"), "one is llama, the other gemma"),
        "vocabulary": (a, beside("words", tokens=(*TOKENS[:2], b"other")), "their vocabularies differ"),
        "shape": (
            a,
            beside("shape", tensors={"x.weight": np.zeros((2, 2), np.float32)}),
            "x.weight is 2 x 1 in one and",
        ),
        "name": (a, beside("name", tensors={"y.weight": plain["x.weight"]}), "only a has a tensor x.weight"),
        "settings": (a, beside("heads", settings={"attention.head_count": 2}), "differ in llama.attention.head_count"),
        "type": (a, beside("half", kind="F16"), "x.weight is of another type in each"),
        "quantised": (*q4, "of type Q4_0, and only F32, F16, BF16, Q8_0 can be blended. Fetch the F16 file"),
    }


@pytest.mark.parametrize(
    "case", ["itself", "architecture", "vocabulary", "shape", "name", "settings", "type", "quantised"]
)
def test_what_does_not_belong_together_is_refused(case, tmp_path, run):
    a, b, said = refusals(tmp_path)[case]
    code, out, err = run("lab", "blend", a, b, "--alpha", 0.5, "--to", tmp_path / "c.gguf")
    assert (code, out) == (1, "")
    assert said in err
    assert not (tmp_path / "c.gguf").exists()


@pytest.mark.parametrize(
    "rule", [{"alpha": 1.51}, {"alpha": -0.6}, {"alpha": float("nan")}, {"alpha": 1, "shallow": 2}]
)
def test_how_much_is_bounded(rule):
    with pytest.raises(BadValue, match=r"must lie from -0.5 to 1.5: 0 is A, 1 is B"):
        Rule(**rule)


def test_what_is_there_stays(tmp_path, run, monkeypatch):
    a = write(tmp_path / "a.gguf", {"x.weight": np.float32([[1.0, 2.0]])})
    b = write(tmp_path / "b.gguf", {"x.weight": np.float32([[3.0, 4.0]])})
    there = tmp_path / "c.gguf"
    there.write_text("mine")
    arguments = ("lab", "blend", a, b, "--alpha", 0.5, "--to")
    assert "there already; name another file, or say --force" in run(*arguments, there)[2]
    assert there.read_text() == "mine"
    assert "one of the two models" in run(*arguments, a, "--force")[2]
    assert "it is a folder" in run(*arguments, tmp_path)[2]
    assert "must end in .gguf" in run(*arguments, tmp_path / "c.bin")[2]
    code, out, _ = run(*arguments, there, "--force", "--json")
    assert (code, json.loads(out)["sha256"]) == (0, digests.digest(there))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, 10))
    code, _, err = run(*arguments, tmp_path / "d.gguf")
    assert code == 1
    assert "has 10 B left. Free some space" in err


def test_what_ends_in_the_middle_leaves_nothing(tmp_path):
    files = [
        write(tmp_path / f"{name}.gguf", {"x.weight": np.float16([[60000.0, one]])}, kind="F16")
        for name, one in (("a", 1), ("b", 2))
    ]
    write(files[0], {"x.weight": np.float16([[-60000.0, 1.0]])}, kind="F16")
    with pytest.raises(blend.LlamadivError, match=r"x.weight would have weights that F16 cannot hold"):
        made(*files, tmp_path / "c.gguf", Rule(1.5))  # -0.5 x -60000 + 1.5 x 60000 = 120000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.gguf", "b.gguf"]


def test_a_file_without_weights_is_refused(tmp_path, run):
    a, b = (write(tmp_path / f"{name}.gguf", {}) for name in "ab")
    code, _, err = run("lab", "blend", a, b, "--alpha", 0.5, "--to", tmp_path / "c.gguf")
    assert (code, "it has no weights" in err) == (1, True)


def test_it_needs_no_torch(tmp_path, run, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torch" else name)
    a, b = (
        write(tmp_path / f"{name}.gguf", {"x.weight": np.float32([[value]])}) for name, value in (("a", 1), ("b", 2))
    )
    assert run("lab", "blend", a, b, "--alpha", 0.5, "--to", tmp_path / "c.gguf")[0] == 0
    code, _, err = run("lab", "base", "--corpus", tmp_path, "--out", tmp_path)
    assert (code, "The lab needs torch." in err) == (1, True)


# ---- the tiny pair

READ = """
import sys
from llama_diversity.engines import EngineOptions, open_engine
from llama_diversity.resolve import resolve_model
for one, other in (sys.argv[1:3], sys.argv[3:5]):
    read = []
    for name in (one, other):
        engine = open_engine(resolve_model(name), EngineOptions(exact=True, n_threads=1))
        ids = engine.tokenize("Grace Hopper was a pioneer of computing, and she")
        read.append(b"".join(rows.logits.tobytes() for rows in engine.logits([ids])))
        engine.close()
    print(read[0] == read[1], len(read[0]))
"""


@pytest.mark.model
def test_the_ends_of_the_tiny_pair_are_its_models_and_the_middle_lies_between(tmp_path, run):
    bits, said = {}, "Grace Hopper was a pioneer of computing, and she"
    for alpha in (0, 0.5, 1):
        to = tmp_path / f"{alpha}.gguf"
        assert run("lab", "blend", "tiny-base", "tiny-aligned", "--alpha", alpha, "--to", to, "-q")[:2] == (
            0,
            f"{to}\n",
        )
        code, out, _ = run("score", "-m", to, said, "--json")
        assert code == 0
        bits[alpha] = np.array([token["surprisal_bits"] for token in json.loads(out)["tokens"][1:]])
    names = ("tiny-base", tmp_path / "0.gguf", "tiny-aligned", tmp_path / "1.gguf")
    told = subprocess.run([sys.executable, "-c", READ, *map(str, names)], capture_output=True, text=True, check=True)
    first, second = (line.split() for line in told.stdout.splitlines())
    assert first == second
    assert (first[0], int(first[1]) > 4 * 4096 * 8) == ("True", True)
    base, middle, aligned = (bits[alpha] for alpha in (0, 0.5, 1))
    apart = np.abs(aligned - base).mean()
    assert all(0.1 * apart < np.abs(middle - end).mean() < apart for end in (base, aligned))
    template = read_header(Path(resolve_model("tiny-aligned").location)).metadata["tokenizer.chat_template"]
    assert read_header(tmp_path / "0.gguf").metadata["tokenizer.chat_template"] == template


@pytest.mark.model
def test_a_blend_of_eight_bits_opens(tmp_path, run):
    from llama_diversity.lab.random_gguf import SHAPES, write_model

    for seed in (0, 1):
        write_model(tmp_path / f"{seed}.gguf", SHAPES["tiny"], n_vocab=700, quantization="Q8_0", seed=seed)
    made(tmp_path / "0.gguf", tmp_path / "1.gguf", tmp_path / "half.gguf", Rule(0.5))
    code, out, _ = run("score", "-m", tmp_path / "half.gguf", "some words", "--json")
    assert code == 0
    assert json.loads(out)["total_bits"] > 0
