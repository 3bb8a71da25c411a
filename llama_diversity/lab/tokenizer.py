"""A SentencePiece tokenizer with Llama-2's conventions, trained on the lab's own text.

BPE with byte fallback, so that every text can be written; digits one by one; unknown 0, BOS 1, EOS 2. A newline is no
piece: it becomes the byte token <0x0A>, as in Llama-2.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from typing import Any

import sentencepiece

from llama_diversity.lab.export import Vocabulary

_SPACE = "\u2581"  # SentencePiece's sign for a space
_NORMAL, _UNKNOWN, _CONTROL, _BYTE = 1, 2, 3, 6  # llama.cpp's types of tokens


def train(texts: Iterable[str], *, n_vocab: int = 4096) -> bytes:
    """The serialised tokenizer for `texts`; the same bytes for the same texts.

    Raises RuntimeError (SentencePiece's own) where the texts hold too few different words for `n_vocab` pieces.
    """
    model = io.BytesIO()
    lines = (line for text in texts for line in text.split("\n") if line)  # a newline is never part of a piece
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=lines,
        model_writer=model,
        model_type="bpe",
        vocab_size=n_vocab,
        byte_fallback=True,
        character_coverage=0.9995,
        split_digits=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=True,
        max_sentence_length=1 << 16,
        num_threads=1,  # the order of equal merges depends on it
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        minloglevel=2,
    )
    return model.getvalue()


class Tokenizer:
    """Text to ids and back; `serialised` is what `train` returned."""

    def __init__(self, serialised: bytes) -> None:
        self.serialised = serialised
        self._processor: Any = sentencepiece.SentencePieceProcessor(model_proto=serialised)

    @property
    def n_vocab(self) -> int:
        """Number of tokens, control and byte tokens included."""
        return int(self._processor.vocab_size())

    def encode(self, text: str) -> list[int]:
        """Ids of `text`, without BOS and EOS; a space is put before the first word, as llama.cpp does."""
        return list(self._processor.encode(text))

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`; control tokens say nothing, bytes that are no UTF-8 become U+FFFD."""
        pieces = self.vocabulary.pieces
        data = b"".join(self._bytes_of(pieces[token], token) for token in ids)
        return data.decode("utf-8", "replace").removeprefix(" ")

    def _bytes_of(self, piece: bytes, token: int) -> bytes:
        kind = self.vocabulary.types[token]
        if kind == _BYTE:
            return bytes([token - self._first_byte])
        return piece.decode().replace(_SPACE, " ").encode() if kind == _NORMAL else b""

    @property
    def vocabulary(self) -> Vocabulary:
        """What a GGUF file holds of it."""
        if not hasattr(self, "_vocabulary"):
            tokens = range(self.n_vocab)
            self._vocabulary = Vocabulary(
                [self._processor.id_to_piece(token).encode() for token in tokens],
                [float(self._processor.get_score(token)) for token in tokens],
                [self._type(token) for token in tokens],
            )
        return self._vocabulary

    @property
    def _first_byte(self) -> int:
        return int(self._processor.piece_to_id("<0x00>"))

    def _type(self, token: int) -> int:
        if self._processor.is_unknown(token):
            return _UNKNOWN
        if self._processor.is_control(token):
            return _CONTROL
        return _BYTE if self._processor.is_byte(token) else _NORMAL
