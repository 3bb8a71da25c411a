"""Text to ids and back: a GGUF's vocabulary as llama.cpp reads it, but for what llama.cpp assumes and nobody states.

Of a byte-pair vocabulary whose file states no BOS or EOS llama.cpp takes id 11 for both, a comma in GPT-2's order: here
such a model has none. Where control tokens are spelled out in a text that a user wrote, they are spelled with the
tokens of their letters.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import llama_cpp.llama_cpp as C

from llama_diversity.engines import text_bytes
from llama_diversity.engines.chat import Part, Rendered
from llama_diversity.engines.control import cut
from llama_diversity.engines.llamacpp.spelling import Spelling
from llama_diversity.engines.start import Start, Stated, resolve
from llama_diversity.errors import BadValue
from llama_diversity.records import Asking, Piece

Ids = tuple[int, ...]
# llama.cpp makes text of these, whatever the file has them for, and then finds them in any text.
_MADE_TEXT = ("<|channel|>", "<|message|>", "<|start|>", "<|constrain|>", "<|end|>")
_LEADS = ("\n", "\t", "\x01")  # what a text is tokenised behind where it must not get a blank of its own


class Tokenizer:
    """The vocabulary of a loaded model: `meta` gives a value of the file's metadata, None where there is none."""

    def __init__(self, vocab: Any, meta: Callable[[str], str | None]) -> None:
        self._vocab = vocab
        self.n_vocab: int = C.llama_vocab_n_tokens(vocab)
        spelled = [self._spell(token) for token in range(self.n_vocab)]
        attributes = [C.llama_vocab_get_attr(vocab, token) for token in range(self.n_vocab)]
        silent = C.LLAMA_TOKEN_ATTR_CONTROL | C.LLAMA_TOKEN_ATTR_UNKNOWN
        self._is_silent = [bool(attribute & silent) for attribute in attributes]
        bos, eos = (self._stated(meta, name) for name in ("bos", "eos"))
        self.ends = self._ends(eos)
        self.pieces, self.digest = self._read(spelled)
        controls = {
            spelled[token].decode("utf-8", "replace"): token
            for token, piece in reversed(list(enumerate(self.pieces)))
            if piece.control is not None or token in (bos, eos)
        }
        adds_bos = bos is not None and bool(C.llama_vocab_get_add_bos(vocab))
        self.stated = Stated(adds_bos, bos, eos, controls)
        made_text = {spelled.index(name.encode()) for name in _MADE_TEXT if name.encode() in spelled}
        self._control = frozenset(made_text | {token for token, is_silent in enumerate(self._is_silent) if is_silent})
        self._names = {spelled[token].decode("utf-8", "replace") for token in self._control}

    def _spell(self, token: int) -> bytes:
        size = 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            length = C.llama_token_to_piece(self._vocab, token, buffer, size, 0, True)
            if length >= 0:
                return buffer.raw[:length]
            size = -length

    def _stated(self, meta: Callable[[str], str | None], name: str) -> int | None:
        """The file's BOS or EOS; without a word of it SentencePiece's own, where those are control tokens."""
        assumed = {"bos": C.llama_vocab_bos, "eos": C.llama_vocab_eos}[name](self._vocab)
        if assumed < 0:
            return None
        if meta(f"tokenizer.ggml.{name}_token_id") == str(assumed):
            return int(assumed)
        is_guess = C.llama_vocab_type(self._vocab) == C.LLAMA_VOCAB_TYPE_BPE
        return None if is_guess or not self._is_silent[assumed] else int(assumed)

    def _ends(self, eos: int | None) -> frozenset[int]:
        ends = {token for token in range(self.n_vocab) if C.llama_vocab_is_eog(self._vocab, token)}
        assumed = C.llama_vocab_eos(self._vocab)
        if eos is None and assumed >= 0 and not self._is_silent[assumed]:
            ends.discard(assumed)
        return frozenset(ends)

    def _read(self, spelled: Sequence[bytes]) -> tuple[list[Piece], str]:
        """What every token adds to a text, and the digest of all."""
        digest = hashlib.sha256()
        pieces = []
        for token, text in enumerate(spelled):
            if self._is_silent[token] or token in self.ends:
                pieces.append(Piece(b"", text.decode("utf-8", "replace")))
            else:
                pieces.append(Piece(text))
            # Base and aligned models often name their control tokens differently; text means the same to both.
            digest.update(b"control" if pieces[-1].control is not None else b"%d:%s" % (len(text), text))
        return pieces, digest.hexdigest()

    def name(self, token: int | None) -> str:
        """A control token as it is spelled, nothing for none."""
        return "" if token is None else self.stated.name(token)

    # ---- prompts

    def start(self, asking: Asking, *, documents: str | None) -> Start:
        """What precedes a raw text. Raises BadValue."""
        return resolve(
            asking, self.stated, documents=documents, tokenize=lambda text: self._tokenize(text, parse_special=True)
        )

    def of_text(self, text: str, *, reads_control: bool = False) -> Ids:
        """A text as typed: control tokens in it are letters, or what they are with `reads_control`."""
        return self._tokenize(text, parse_special=True) if reads_control else self._as_letters(text)

    def of_template(self, rendered: Rendered, *, reads_control: bool = False) -> Ids:
        """Ids of a rendered chat template, behind a BOS where the model wants one.

        It is tokenised whole, unless control tokens in a text that was given to it would count: then part by part.
        """
        given = (part.text for part in rendered.parts if not part.is_template)
        if reads_control or not any(map(self._has_control, given)):
            ids = self._tokenize(rendered.text, parse_special=True)
        else:
            ids = self._joined(rendered.parts)
        start = self.stated.usual().ids
        return ids if ids[:1] == start else (*start, *ids)

    def _has_control(self, text: str) -> bool:
        return not self._control.isdisjoint(self._tokenize(text, parse_special=True))

    def _joined(self, parts: Iterable[Part]) -> Ids:
        ids: Ids = ()
        for part in parts:
            goes_on = bool(ids) and ids[-1] not in self._control
            if not part.is_template:
                ids += self._as_letters(part.text, goes_on=goes_on)
            elif goes_on:
                ids += self._going_on(part.text, parse_special=True)
            else:
                ids += self._tokenize(part.text, parse_special=True)
        return ids

    # ---- text

    def _tokenize(self, text: str, *, parse_special: bool) -> Ids:
        data = text_bytes(text)
        self._spelling.check(data)
        n_needed = -C.llama_tokenize(self._vocab, data, len(data), None, 0, False, parse_special)
        if n_needed <= 0:
            return ()
        buffer = (C.llama_token * n_needed)()
        n_written = C.llama_tokenize(self._vocab, data, len(data), buffer, n_needed, False, parse_special)
        return tuple(buffer[:n_written])

    @functools.cached_property
    def _spelling(self) -> Spelling:
        return Spelling(self._vocab)

    def _as_letters(self, text: str, *, goes_on: bool = False) -> Ids:
        """`text` without any control token: SentencePiece's merges, and tokens made text, can give one all the same."""
        ids = self._going_on(text) if goes_on else self._tokenize(text, parse_special=False)
        if self._control.isdisjoint(ids):
            return ids
        found: Ids = ()
        for at, part in enumerate(cut(text, self._names)):
            if at % 2:
                found += self._spelled(part)
            elif part:
                found += self._going_on(part) if found or goes_on else self._tokenize(part, parse_special=False)
        return found

    def _going_on(self, text: str, *, parse_special: bool = False) -> Ids:
        """Ids of `text` without the blank that some vocabularies put before a text."""
        if not self._adds_blank:
            return self._tokenize(text, parse_special=parse_special)
        self._spelling.check(text_bytes(text))
        for lead in _LEADS:
            try:
                before = self._tokenize(lead, parse_special=False)
            except BadValue:
                continue
            ids = self._tokenize(lead + text, parse_special=parse_special)
            if ids[: len(before)] == before:
                return ids[len(before) :]
        raise BadValue("the prompt", text, "this vocabulary cannot continue it behind a control token that is text")

    @functools.cached_property
    def _adds_blank(self) -> bool:
        return b"".join(self.pieces[token].bytes for token in self._tokenize("a", parse_special=False)).startswith(b" ")

    def _spelled(self, name: str) -> Ids:
        """The longest text tokens that spell the name of a control token, from left to right. Raises BadValue."""
        data = name.encode()
        ids = []
        start = 0
        while start < len(data):
            for end in range(len(data), start, -1):
                if (token := self._letters.get(data[start:end])) is not None:
                    ids.append(token)
                    start = end
                    break
            else:
                raise BadValue("the prompt", name, "this vocabulary has no letters for a control token; leave it out")
        return tuple(ids)

    @functools.cached_property
    def _letters(self) -> dict[bytes, int]:
        """Text tokens by their bytes, of equals the lower id."""
        return {
            piece.bytes: token
            for token, piece in reversed(list(enumerate(self.pieces)))
            if piece.bytes and token not in self._control
        }
