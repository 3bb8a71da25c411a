"""Which tokens a GBNF grammar allows next: llama.cpp's own grammar sampler, one for each sample that is under way.

llama.cpp ends the process when a token that it did not allow is accepted, and answers a grammar it cannot parse with a
null pointer and a print to standard error. It walks through the whole vocabulary at each question; so what two samples
of one grammar with the same text may go on with is asked once, and a token only if the one that is its first character
is allowed.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import tempfile
from collections.abc import Hashable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import llama_cpp.llama_cpp as C
import numpy as np

from llama_diversity.engines.draws import Int64, Mask
from llama_diversity.engines.llamacpp.gbnf import objection
from llama_diversity.engines.llamacpp.library import complaint, forget_complaints
from llama_diversity.errors import BadValue
from llama_diversity.records import Piece

_CACHE_BYTES = 32 << 20  # masks kept
_SHOWN = 60  # characters of a grammar in an error
_CANDIDATE = np.dtype([("id", "<i4"), ("logit", "<f4"), ("p", "<f4")])  # llama_token_data


class Vocabulary:
    """A vocabulary as a grammar sees it: `heads` are asked about first, and a tail only if its head is allowed.

    The head of a token is the token that consists of its first character alone. Control tokens add no text, so no
    grammar describes them: none but those that end the sequence can be drawn.
    """

    def __init__(self, pointer: Any, pieces: Sequence[Piece], ends: frozenset[int]) -> None:
        self.pointer = pointer
        self.pieces = pieces
        self.ends = np.array(sorted(ends), np.int64)
        token_of = {piece.bytes: token for token, piece in enumerate(pieces) if piece.control is None}
        heads, tails, head_of_tails = [], [], []
        for token, piece in enumerate(pieces):
            if piece.control is not None and token not in ends:
                continue
            character = piece.bytes[: _n_bytes(piece.bytes)]
            head = token_of.get(character) if len(piece.bytes) > len(character) else None
            if head is None:
                heads.append(token)
            else:
                tails.append(token)
                head_of_tails.append(head)
        self._token_of = token_of
        self.heads, self.tails, self.head_of_tails = (np.array(ids, np.int64) for ids in (heads, tails, head_of_tails))

    def spelled(self, text: bytes) -> Iterator[int]:
        """Tokens that make `text` up: one of each character where there is such a token, else one of each byte.

        Raises ValueError where the vocabulary lacks a byte.
        """
        at = 0
        while at < len(text):
            n = _n_bytes(text[at:])
            found = self._token_of.get(text[at : at + n])
            if found is None:
                n, found = 1, self._token_of.get(text[at : at + 1])
            if found is None:
                raise ValueError(f"no token is the byte {text[at]}")
            yield found
            at += n


def _n_bytes(text: bytes) -> int:
    """How many bytes the first character of `text` has; 1 where it does not begin with a character."""
    lead = text[0] if text else 0
    return 2 if lead >> 5 == 6 else 3 if lead >> 4 == 14 else 4 if lead >> 3 == 30 else 1


@dataclass
class _Walk:
    """Where one sample stands."""

    sampler: Any
    grammar: str
    text: bytes = b""
    allowed: Mask | None = None  # what may follow the text, once that was asked

    @property
    def place(self) -> tuple[str, bytes]:
        """What decides about the next token."""
        return self.grammar, self.text


class LlamaCppGrammar:
    """Parsed grammars and the samples that follow each. Close it to free them. Raises BadValue."""

    def __init__(self, grammars: Iterable[str], vocabulary: Vocabulary, *, n_threads: int) -> None:
        self._vocabulary = vocabulary
        self._starts: dict[str, Any] = {}
        self._walks: dict[Hashable, _Walk] = {}
        self._known: dict[tuple[str, bytes], Mask] = {}  # by grammar and text, the most recently used last
        self._most_known = max(1, _CACHE_BYTES // len(vocabulary.pieces))
        self._pool = ThreadPoolExecutor(n_threads)
        try:
            for grammar in dict.fromkeys(grammars):
                self._starts[grammar] = _parse(grammar, vocabulary.pointer)
        except BadValue:
            self.close()
            raise

    def begin(self, place: Hashable, grammar: str) -> None:
        """Stand at the start of one of the grammars with the sample at `place`."""
        self._walks[place] = _Walk(C.llama_sampler_clone(self._starts[grammar]), grammar)

    def allowed(self, places: Sequence[Hashable]) -> Mask:
        """Which tokens may come next, shape (len(places), n_vocab); a row may be empty."""
        walks = [self._walks[place] for place in places]
        new = {walk.place: walk.sampler for walk in walks if walk.place not in self._known}
        answers = map(self._ask, new.values()) if len(new) == 1 else self._pool.map(self._ask, new.values())
        found = dict(zip(new, answers, strict=True))
        for walk in walks:
            walk.allowed = found[walk.place] if walk.place in found else self._known.pop(walk.place)
            self._known[walk.place] = walk.allowed
        for oldest in list(self._known)[: -self._most_known]:
            del self._known[oldest]
        return np.stack([walk.allowed for walk in walks if walk.allowed is not None])

    def accept(self, place: Hashable, token_id: int) -> None:
        """Follow a sample, which drew a token that was allowed and did not end it."""
        walk = self._walks[place]
        if walk.allowed is None or not walk.allowed[token_id]:  # llama.cpp would end the process
            raise ValueError(f"the grammar was not asked about token {token_id}, or does not allow it")
        C.llama_sampler_accept(walk.sampler, token_id)
        walk.text += self._vocabulary.pieces[token_id].bytes
        walk.allowed = None

    def end(self, place: Hashable) -> None:
        """Forget a sample."""
        C.llama_sampler_free(self._walks.pop(place).sampler)

    def fits(self, grammar: str, text: bytes) -> bool:
        """Whether the whole of `text` is of one of the grammars: all its bytes are allowed in turn, and then an end."""
        vocabulary = self._vocabulary
        sampler = C.llama_sampler_clone(self._starts[grammar])
        try:
            for token in vocabulary.spelled(text):
                if not _is_allowed(sampler, np.array([token])).any():
                    return False
                C.llama_sampler_accept(sampler, token)
            return bool(_is_allowed(sampler, vocabulary.ends).any())
        finally:
            C.llama_sampler_free(sampler)

    def close(self) -> None:
        """Free every sampler and stop the threads."""
        for place in list(self._walks):
            self.end(place)
        for start in self._starts.values():
            C.llama_sampler_free(start)
        self._pool.shutdown()

    def _ask(self, sampler: Any) -> Mask:
        """What `sampler` allows of the whole vocabulary; shape (n_vocab,)."""
        vocabulary = self._vocabulary
        mask = np.zeros(len(vocabulary.pieces), np.bool_)
        mask[vocabulary.heads] = _is_allowed(sampler, vocabulary.heads)
        tails = vocabulary.tails[mask[vocabulary.head_of_tails]]
        mask[tails] = _is_allowed(sampler, tails)
        return mask


def _is_allowed(sampler: Any, ids: Int64) -> Mask:
    """Which of the tokens `ids` may come next; shape of `ids`."""
    candidates = np.zeros(len(ids), _CANDIDATE)
    candidates["id"] = ids
    pointer = candidates.ctypes.data_as(ctypes.POINTER(C.llama_token_data))
    array = C.llama_token_data_array(pointer, len(ids), -1, False)
    C.llama_sampler_apply(sampler, ctypes.byref(array))
    return np.asarray(candidates["logit"] == 0)  # a forbidden one has -inf now


# ---- parsing


def _parse(text: str, vocab: Any) -> Any:
    """llama.cpp's sampler at the start of the grammar. Raises BadValue."""
    reason = objection(text)
    if reason is None:
        forget_complaints()
        with _printed_errors() as printed:
            sampler = C.llama_sampler_init_grammar(vocab, text.encode(), b"root")
        if sampler:
            return sampler
        reason = f"llama.cpp cannot use it: {_reason(printed[0], text)}"
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    raise BadValue("--grammar", shown, reason)


@contextlib.contextmanager
def _printed_errors() -> Iterator[list[str]]:
    """Afterwards the list holds what was printed to standard error meanwhile; the parser prints where it should log."""
    printed = [""]
    try:
        kept = os.dup(2)
    except OSError:  # it is closed: nobody would have heard
        yield printed
        return
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield printed
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            printed[0] = file.read().decode("utf-8", "replace")


def _reason(printed: str, text: str) -> str:
    """What the parser said of `text`, with the line instead of all that follows the mistake."""
    _, said, rest = printed.partition("error parsing grammar: ")
    if not said:
        return complaint()
    problem, at, left = rest.removesuffix(f"\n\n{text}\n").partition(" at ")
    if not at:
        return problem
    if not left.strip():
        return f"{problem} at the end"
    line = text.count("\n", 0, len(text) - len(left)) + 1
    return f"{problem} in line {line}, at {left.splitlines()[0][:_SHOWN]!r}"
