"""What a vocabulary says of its tokens, in a few blocks of memory: asked of llama.cpp once for each file and build.

Asking takes a second for each hundred thousand tokens, and reading what is kept takes milliseconds.

What llama.cpp assumes and nobody states is left out: where a byte-pair vocabulary states no BOS or EOS it takes id 11
for both, a comma in GPT-2's order, and here such a model has none.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, overload

import llama_cpp.llama_cpp as C
import numpy as np
import numpy.typing as npt

from llama_diversity.cache import kept
from llama_diversity.engines.letters import texts_digest
from llama_diversity.records import Piece

Meta = Callable[[str], str | None]  # from a key of a file's metadata to its value

# llama.cpp makes text of these, whatever the file has them for, and then finds them in any text.
_MADE_TEXT = ("<|channel|>", "<|message|>", "<|start|>", "<|constrain|>", "<|end|>")
_SILENT = C.LLAMA_TOKEN_ATTR_CONTROL | C.LLAMA_TOKEN_ATTR_UNKNOWN


class Spellings(NamedTuple):
    """Every token as it is spelled, one behind the other; token i stands from `places[i]` to `places[i + 1]`."""

    texts: bytes
    places: npt.NDArray[np.uint32]  # shape (n_vocab + 1,)

    def of(self, token: int) -> bytes:
        """One of them."""
        return self.texts[self.places[token] : self.places[token + 1]]


class Vocabulary(NamedTuple):
    """What is known of all tokens, of which `ends` end a sequence and `control` are found by name in a template."""

    spellings: Spellings
    adds_no_text: npt.NDArray[np.bool_]  # shape (n_vocab,)
    ends: frozenset[int]
    bos: int | None
    eos: int | None
    adds_bos: bool
    controls: Mapping[str, int]  # what adds no text, by name; of equal names the lower id
    control: frozenset[int]
    digest: str  # of the texts: two files with the same one tokenise into the same pieces


class Pieces(Sequence[Piece]):
    """The pieces of a vocabulary, each made when it is asked for."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._spellings = vocabulary.spellings
        self._adds_no_text = vocabulary.adds_no_text

    def __len__(self) -> int:
        return len(self._adds_no_text)

    @overload
    def __getitem__(self, token: int) -> Piece: ...

    @overload
    def __getitem__(self, token: slice) -> list[Piece]: ...

    def __getitem__(self, token: int | slice) -> Piece | list[Piece]:
        if isinstance(token, slice):
            return [self[one] for one in range(*token.indices(len(self)))]
        if not 0 <= token < len(self):
            raise IndexError(token)
        text = self._spellings.of(token)
        return Piece(b"", text.decode("utf-8", "replace")) if self._adds_no_text[token] else Piece(text)

    def __iter__(self) -> Iterator[Piece]:
        return map(self.__getitem__, range(len(self)))


def read_vocabulary(vocab: Any, meta: Meta, known_by: Sequence[str]) -> Vocabulary:
    """The vocabulary of a loaded model; `known_by` tells its file and the library from others."""
    return kept(("vocabulary", Path(__file__).read_bytes(), *known_by), lambda: _read(vocab, meta))


def _read(vocab: Any, meta: Meta) -> Vocabulary:
    n_vocab = C.llama_vocab_n_tokens(vocab)
    spelled = _spelled(vocab, n_vocab)
    is_silent = [bool(C.llama_vocab_get_attr(vocab, token) & _SILENT) for token in range(n_vocab)]
    bos, eos = (_stated(vocab, meta, name, is_silent) for name in ("bos", "eos"))
    ends = _ends(vocab, eos, is_silent)
    adds_no_text = [is_silent[token] or token in ends for token in range(n_vocab)]
    names = [token for token in range(n_vocab) if adds_no_text[token] or token in (bos, eos)]
    made_text = {spelled.index(name.encode()) for name in _MADE_TEXT if name.encode() in spelled}
    return Vocabulary(
        Spellings(b"".join(spelled), np.cumsum([0, *map(len, spelled)], dtype=np.uint32)),
        np.array(adds_no_text, np.bool_),
        ends,
        bos,
        eos,
        bos is not None and bool(C.llama_vocab_get_add_bos(vocab)),
        {spelled[token].decode("utf-8", "replace"): token for token in reversed(names)},
        frozenset(made_text | {token for token in names if is_silent[token]}),
        texts_digest(spelled, adds_no_text),
    )


def _spelled(vocab: Any, n_vocab: int) -> list[bytes]:
    buffer = ctypes.create_string_buffer(256)
    spelled = []
    for token in range(n_vocab):
        length = C.llama_token_to_piece(vocab, token, buffer, len(buffer), 0, True)
        if length < 0:  # how long it is
            buffer = ctypes.create_string_buffer(-length)
            length = C.llama_token_to_piece(vocab, token, buffer, len(buffer), 0, True)
        spelled.append(ctypes.string_at(buffer, length))
    return spelled


def _stated(vocab: Any, meta: Meta, name: str, is_silent: Sequence[bool]) -> int | None:
    """The file's BOS or EOS; without a word of it SentencePiece's own, where those are control tokens."""
    assumed = {"bos": C.llama_vocab_bos, "eos": C.llama_vocab_eos}[name](vocab)
    if assumed < 0:
        return None
    if meta(f"tokenizer.ggml.{name}_token_id") == str(assumed):
        return int(assumed)
    is_guess = C.llama_vocab_type(vocab) == C.LLAMA_VOCAB_TYPE_BPE
    return None if is_guess or not is_silent[assumed] else int(assumed)


def _ends(vocab: Any, eos: int | None, is_silent: Sequence[bool]) -> frozenset[int]:
    ends = {token for token in range(len(is_silent)) if C.llama_vocab_is_eog(vocab, token)}
    assumed = C.llama_vocab_eos(vocab)
    if eos is None and assumed >= 0 and not is_silent[assumed]:
        ends.discard(assumed)
    return frozenset(ends)
