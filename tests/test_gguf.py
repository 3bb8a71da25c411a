"""The header reader, on small files made here: by the `gguf` package what is right, by hand what is wrong."""

from __future__ import annotations

import struct
import time
from pathlib import Path

import gguf as reference
import numpy as np
import pytest
from split_models import write_split

from llama_diversity.errors import ModelFileError
from llama_diversity.gguf import TENSOR_TYPES, Array, Tensor, is_shard_name, read_header, shard_names, shards
from llama_diversity.lab.random_gguf import SHAPES, vocabulary, write_model


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def header(*pairs: bytes, version: int = 3, tensors: tuple[bytes, ...] = (), n_pairs: int | None = None) -> bytes:
    counts = struct.pack("<IQQ", version, len(tensors), len(pairs) if n_pairs is None else n_pairs)
    return b"GGUF" + counts + b"".join(pairs) + b"".join(tensors)


def pair(key: str, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def tensor(name: str, *shape: int, kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}qIQ", len(shape), *shape, kind, offset)


UINT16, UINT32, STRING, ARRAY = 2, 4, 8, 9


@pytest.fixture
def refusal(tmp_path):
    """Writes bytes to m.gguf, reads its header, and gives the sentence that refuses it."""

    def of(data: bytes) -> str:
        path = tmp_path / "m.gguf"
        path.write_bytes(data)
        with pytest.raises(ModelFileError) as raised:
            read_header(path)
        return str(raised.value).removeprefix(f"{path}: ")

    return of


# --- What is right ---------------------------------------------------------------------------------------------------


def test_reads_what_the_reference_writes(tmp_path):
    path = tmp_path / "m.gguf"
    writer = reference.GGUFWriter(path, "llama")
    writer.add_context_length(512)
    writer.add_layer_norm_rms_eps(0.5)
    writer.add_add_bos_token(False)
    writer.add_token_list([b"a", b"\xff\xfe", "é".encode()])
    writer.add_token_types([1, 2, 3])
    writer.add_token_scores([0.0, -1.0, -2.5])
    writer.add_tensor("plain", np.zeros((3, 5), np.float32))
    writer.add_tensor("packed", np.zeros((2, 34), np.uint8), raw_dtype=reference.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    found = read_header(path)

    assert found.version == 3
    assert found.metadata["general.architecture"] == "llama"
    assert found.metadata["llama.context_length"] == 512
    assert found.metadata["llama.attention.layer_norm_rms_epsilon"] == 0.5
    assert found.metadata["tokenizer.ggml.add_bos_token"] is False
    assert found.types["tokenizer.ggml.tokens"] == "array of string"
    tokens = found.metadata["tokenizer.ggml.tokens"]
    assert isinstance(tokens, Array)
    assert len(tokens) == 3
    assert tokens.values() == [b"a", b"\xff\xfe", "é".encode()]
    assert found.metadata["tokenizer.ggml.token_type"].values() == [1, 2, 3]
    assert found.metadata["tokenizer.ggml.scores"].values() == [0.0, -1.0, -2.5]
    # 3 * 5 * 4 = 60 bytes, padded to 64; then two rows of one block of 34 bytes each
    assert found.tensors == (Tensor("plain", (5, 3), 0, 0), Tensor("packed", (32, 2), 8, 64))
    assert [one.n_bytes for one in found.tensors] == [60, 68]
    assert [one.type.name for one in found.tensors] == ["F32", "Q8_0"]
    assert found.needed_bytes == found.data_start + 64 + 68
    assert found.needed_bytes <= found.size_bytes < found.needed_bytes + 32
    found.require_whole()
    path.write_bytes(path.read_bytes()[: found.needed_bytes - 1])
    cut = read_header(path)
    with pytest.raises(
        ModelFileError, match=f"is truncated: it has {cut.size_bytes:,} of {found.needed_bytes:,} bytes"
    ):
        cut.require_whole()


def test_types_of_tensors_are_those_of_the_reference():
    theirs = {kind.value: (kind.name, *reference.GGML_QUANT_SIZES[kind]) for kind in reference.GGMLQuantizationType}
    del theirs[9]  # Q8_1 never stands in a file, and the package is wrong about it (ggml: 2 halves and 32 bytes)
    ours = {number: tuple(kind) for number, kind in TENSOR_TYPES.items() if kind.n_values}
    assert ours.items() >= theirs.items()  # the package may be older than the llama.cpp beside it


def test_version_2_is_read_and_every_kind_of_number(tmp_path):
    path = tmp_path / "m.gguf"
    values = {0: ("B", 7), 1: ("b", -7), 2: ("H", 7), 3: ("h", -7), 4: ("I", 7), 5: ("i", -7), 6: ("f", 0.5)}
    values |= {7: ("?", True), 10: ("Q", 2**63), 11: ("q", -(2**63)), 12: ("d", 0.1)}
    pairs = [pair(f"k{kind}", kind, struct.pack(f"<{code}", value)) for kind, (code, value) in values.items()]
    path.write_bytes(header(*pairs, version=2))
    found = read_header(path)
    assert found.version == 2
    assert found.metadata == {f"k{kind}": value for kind, (_, value) in values.items()}


def test_a_large_vocabulary_is_stepped_over(tmp_path):
    path = tmp_path / "m.gguf"
    writer = reference.GGUFWriter(path, "llama")
    pieces, _, _ = vocabulary(262_144)
    writer.add_token_list(pieces)
    writer.add_string("after", "it")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    before = time.process_time()
    found = read_header(path)
    seconds = time.process_time() - before
    assert found.metadata["after"] == "it"
    assert found.metadata["tokenizer.ggml.tokens"].values() == pieces
    assert seconds < 0.3  # 0.03 on a laptop


# --- What is wrong ---------------------------------------------------------------------------------------------------


def test_places_without_a_file(tmp_path):
    with pytest.raises(ModelFileError, match="there is no such file"):
        read_header(tmp_path / "none.gguf")
    with pytest.raises(ModelFileError, match="this is a folder"):
        read_header(tmp_path)
    (tmp_path / "loop.gguf").symlink_to(tmp_path / "loop.gguf")
    with pytest.raises(ModelFileError):
        read_header(tmp_path / "loop.gguf")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"<html>404</html>", "this is not a GGUF file"),
        (b"GG", "this is not a GGUF file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "this is a Git LFS pointer"),
        (b"tjgg" + bytes(60), "a GGML file from before GGUF"),
        (header(version=1), "GGUF version 1, and llama.cpp reads versions 2 and 3. Choose a newer file"),
        (header(version=4), "GGUF version 4, and llama.cpp reads versions 2 and 3. Upgrade"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "the other byte order"),
        (b"GGUF", "it ends inside its header"),
        (header()[:-1], "it ends inside its header"),
        (header(pair("k", STRING, text("whole")[:-1])), "it ends inside its header"),
        (header(pair("k", STRING, struct.pack("<Q", 2**63))), "it ends inside its header"),
        (header(pair("k", ARRAY, struct.pack("<IQ", UINT32, 2**62))), "it ends inside its header"),
        (header(pair("k", ARRAY, struct.pack("<IQ", STRING, 2) + text("a") + b"1234567")), "it ends inside its header"),
        (header(pair("k", ARRAY, struct.pack("<IQQ", STRING, 1, 2**64 - 8))), "it ends inside its header"),
        (header(n_pairs=2**63), "it claims 9,223,372,036,854,775,808 metadata, more than the file has room for"),
        (header(pair("k", 13, b"")), "'k' is of an unknown type (13)"),
        (header(pair("k", ARRAY, struct.pack("<IQ", ARRAY, 1))), "'k' is an array of an unknown type (9)"),
        (header(*[pair("k", UINT16, b"\1\0")] * 2), "the key 'k' stands there twice"),
        (header(tensors=(tensor("t", 1), tensor("t", 1))), "the tensor 't' stands there twice"),
        (header(tensors=(tensor("t", 1, 1, 1, 1, 1),)), "the tensor 't' has 5 dimensions"),
        (header(tensors=(tensor("t", -1),)), "the tensor 't' has a negative length"),
        (header(pair("general.alignment", UINT32, b"\3\0\0\0")), "general.alignment is no power of two"),
        (header(pair("general.alignment", STRING, text("32"))), "general.alignment is no power of two"),
    ],
)
def test_the_reason_is_the_true_one(refusal, data, reason):
    assert reason in refusal(data)


def test_every_cut_inside_the_header_is_one_sentence(tmp_path):
    path = tmp_path / "whole.gguf"
    write_model(path, SHAPES["tiny"], n_vocab=300, quantization="F16")
    data, end = path.read_bytes(), read_header(path).data_start
    cut = tmp_path / "cut.gguf"
    for length in range(0, end - 31, 37):  # the last bytes before the weights are padding
        cut.write_bytes(data[:length])
        with pytest.raises(
            ModelFileError, match="it ends inside its header|is empty|not a GGUF|more than the file has"
        ):
            read_header(cut)


def test_a_damaged_byte_is_read_or_refused(tmp_path):
    path = tmp_path / "m.gguf"
    data = header(
        pair("a", STRING, text("llama")),
        pair("b", ARRAY, struct.pack("<IQ", STRING, 2) + text("x") + text("y")),
        pair("c", ARRAY, struct.pack("<IQII", UINT32, 2, 1, 2)),
        tensors=(tensor("t", 2, 3),),
    )
    generator = np.random.default_rng(0)
    refused = 0
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= int(generator.integers(1, 256))
        path.write_bytes(damaged)
        try:
            found = read_header(path)
            for value in found.metadata.values():
                assert not isinstance(value, Array) or len(value.values()) == len(value)
        except ModelFileError:
            refused += 1
    assert refused > len(data) / 3


def test_an_array_of_a_file_that_changed_is_refused(tmp_path):
    path = tmp_path / "m.gguf"
    path.write_bytes(header(pair("b", ARRAY, struct.pack("<IQ", STRING, 2) + text("x") + text("y"))))
    array = read_header(path).metadata["b"]
    assert array.values() == [b"x", b"y"]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ModelFileError, match="it ends inside its header"):
        array.values()
    path.unlink()
    with pytest.raises(ModelFileError, match="it cannot be read"):
        array.values()


# --- Models of several files -----------------------------------------------------------------------------------------


def shard_refusal(path: Path) -> str:
    with pytest.raises(ModelFileError) as raised:
        shards(path)
    return str(raised.value)


def test_all_files_in_order(tmp_path):
    files = write_split(tmp_path, "Model-Of-00001")
    assert [file.name for file in files] == [f"Model-Of-00001-0000{number}-of-00004.gguf" for number in (1, 2, 3, 4)]
    assert shards(files[0]) == files
    assert shard_names(files[0].name) == tuple(file.name for file in files)


def test_a_model_of_one_file(tmp_path):
    path = tmp_path / "m-00001-of-00001.gguf"
    write_model(path, SHAPES["tiny"], n_vocab=300, quantization="F16")
    assert shards(path) == (path,)
    split_once = tmp_path / "once-00001-of-00001.gguf"
    split_once.write_bytes(header(pair("split.no", UINT16, b"\0\0"), pair("split.count", UINT16, b"\1\0")))
    assert shards(split_once) == (split_once,)


def test_a_later_file_names_the_first(tmp_path):
    files = write_split(tmp_path, "m")
    said = shard_refusal(files[2])
    assert "it is file 3 of a model split into 4. Name the first one, m-00001-of-00004.gguf." in said


def test_a_missing_file_is_named(tmp_path):
    files = write_split(tmp_path, "m")
    files[1].unlink()
    files[3].unlink()
    said = shard_refusal(files[0])
    assert "split into 4 files, and 2 of them are not beside it" in said
    assert "Fetch m-00002-of-00004.gguf, m-00004-of-00004.gguf into the same folder." in said


def test_another_name_says_what_it_must_be(tmp_path):
    files = write_split(tmp_path, "m")
    for name in ("renamed.gguf", "m-00001-of-00005.gguf", "m-00002-of-00004.GGUF", "m-1-of-4.gguf"):
        other = files[0].rename(tmp_path / name)
        assert "names they came with, ending in -00001-of-00004.gguf" in shard_refusal(other)
        other.rename(files[0])


def test_files_of_two_models_are_told_apart(tmp_path):
    (tmp_path / "other").mkdir()
    files = write_split(tmp_path, "m")
    more = write_split(tmp_path / "other", "m", tensors=13)
    other = write_split(tmp_path / "other", "n", tensors=12)
    kept = files[3].read_bytes()
    files[3].write_bytes(other[3].read_bytes())  # a fourth of four that holds t8 to t11
    assert "its 4 files hold 12 different tensors where it announces 9" in shard_refusal(files[0])
    files[3].write_bytes(more[3].read_bytes())
    assert "it should be file 4 of 4 of a model, and says that it is 4 of 5" in shard_refusal(files[0])
    files[3].write_bytes(files[2].read_bytes())
    assert "it should be file 4 of 4 of a model, and says that it is 3 of 4" in shard_refusal(files[0])
    files[3].write_bytes(kept)
    assert shards(files[0]) == files


def test_a_split_whose_numbers_have_another_type_is_refused(tmp_path):
    path = tmp_path / "m-00001-of-00002.gguf"
    path.write_bytes(header(pair("split.count", UINT32, b"\2\0\0\0")))
    assert "split.count is a uint32" in shard_refusal(path)


def test_names_of_shards():
    assert is_shard_name("m-00001-of-00002.gguf")
    assert is_shard_name("m-00002-of-00002.gguf")
    assert not is_shard_name("m-00001-of-00002.GGUF")
    assert not is_shard_name("m-1-of-2.gguf")
    assert not is_shard_name("m.gguf")
