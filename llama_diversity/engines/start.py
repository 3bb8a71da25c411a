"""What a raw text begins with: nothing, the BOS, the token that separated documents in pretraining, or a text.

Pretraining reads documents one behind the other, so a text that begins with nothing is one the model has hardly seen:
its first words, and what follows from them, are read badly. Which start is meant is settled by what the file or
models.toml states, never by what a start does to the numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from llama_diversity.errors import BadValue
from llama_diversity.records import Asking, Prompt

DOCUMENT_ENDS = (  # the likelier one first, where a vocabulary has several
    "<|endoftext|>",
    "<|end_of_text|>",
    "<｜end▁of▁sentence｜>",  # noqa: RUF001  as DeepSeek spells it
    "[EOS]",
    "<eos>",
    "</s>",
)
"""Control tokens that are named after the end of a document. `eos_token_id` alone does not tell: a file that was
trained to chat states there what ends a turn."""


class Start(NamedTuple):
    """What precedes a text: as it is spelled, and its ids; both empty for nothing."""

    text: str
    ids: tuple[int, ...]


NOTHING = Start("", ())


class Stated(NamedTuple):
    """What a file states of its special tokens; None is what it does not state. `controls` are ids by name."""

    adds_bos: bool
    bos: int | None
    eos: int | None
    controls: Mapping[str, int]

    def name(self, token: int) -> str:
        """As it is spelled."""
        return next((name for name, one in self.controls.items() if one == token), "")

    def separator(self) -> int | None:
        """The token between documents: a stated or else any token with such a name, else one that is BOS and EOS."""
        stated = [one for one in (self.eos, self.bos) if one is not None and self.name(one) in DOCUMENT_ENDS]
        named = [self.controls[name] for name in DOCUMENT_ENDS if name in self.controls]
        both = [self.bos] if self.bos is not None and self.bos == self.eos else []
        return next(iter([*stated, *named, *both]), None)

    def usual(self) -> Start:
        """The plain rule: a BOS where the model wants one, else nothing."""
        return Start(self.name(self.bos), (self.bos,)) if self.adds_bos and self.bos is not None else NOTHING


def resolve(
    asking: Asking, stated: Stated, *, documents: str | None, tokenize: Callable[[str], tuple[int, ...]]
) -> Start:
    """The start that `asking` means. Raises BadValue where the file has no such token.

    `documents` is what models.toml says of a model; it counts where the file does not ask for a BOS. `tokenize` reads
    control tokens as such.
    """
    named = asking.start
    if named == "auto":
        if stated.adds_bos:
            return stated.usual()
        separator = stated.separator()
        named = documents or ("none" if separator is None else "separator")
    if named == "none":
        return NOTHING
    if named in ("bos", "separator"):
        token = stated.bos if named == "bos" else stated.separator()
        if token is None:
            what = "states no BOS token" if named == "bos" else "names no token that separates documents"
            raise BadValue("--start", named, f"this model's file {what}; write the text itself, or none")
        return Start(stated.name(token), (token,))
    ids = tokenize(named)
    if not ids:
        raise BadValue("--start", named, "it must be none, bos, separator, auto, or a text that gives tokens")
    return Start(named, ids)


def raw_prompt(text: str, ids: tuple[int, ...], start: Start, stated: Stated) -> Prompt:
    """A raw prompt; its `start` is told where it is not the plain rule. Raises BadValue for one without tokens."""
    if not ids:
        raise BadValue("the prompt", text, "an empty prompt that nothing precedes gives the model nothing to go on")
    return Prompt(text, text, ids, start=None if start == stated.usual() else start.text)
