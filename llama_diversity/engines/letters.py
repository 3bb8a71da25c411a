"""Text to ids where control tokens in a text that a user wrote are to stay text: whatever finds the tokens of a text.

Where a text spells out a control token, that is spelled with the tokens of its letters.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Sequence

from llama_diversity.engines.chat import Part, Rendered
from llama_diversity.engines.control import cut
from llama_diversity.engines.start import Start, Stated, resolve
from llama_diversity.errors import BadValue
from llama_diversity.records import Asking, Piece

Ids = tuple[int, ...]
_LEADS = ("\n", "\t", "\x01")  # what a text is tokenised behind where it must not get a blank of its own


class Letters:
    """What a vocabulary makes of texts; a subclass knows how one is cut into tokens, and what the tokens are."""

    pieces: Sequence[Piece]
    ends: frozenset[int]  # the tokens that end a sequence
    digest: str  # of the texts of all tokens
    stated: Stated
    _control: frozenset[int]  # what must not come out of a text, and the names of all that
    _names: set[str]

    def _tokenize(self, text: str, *, parse_special: bool) -> Ids:
        """Ids of a text, in which control tokens are found by name with `parse_special`. Raises BadValue."""
        raise NotImplementedError

    def _check(self, text: str) -> None:
        """Raises BadValue for a text that the vocabulary cannot spell."""

    @property
    def n_vocab(self) -> int:
        """How many tokens there are."""
        return len(self.pieces)

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

        It is tokenised whole, unless that gives control tokens which are not the template's own, in a text or where one
        meets the template: then part by part.
        """
        ids = self._tokenize(rendered.text, parse_special=True)
        own = sum(self._n_control(self._tokenize(p.text, parse_special=True)) for p in rendered.parts if p.is_template)
        if not reads_control and self._n_control(ids) != own:
            ids = self._joined(rendered.parts)
        start = self.stated.usual().ids
        return ids if ids[:1] == start else (*start, *ids)

    def _n_control(self, ids: Ids) -> int:
        return sum(token in self._control for token in ids)

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
        self._check(text)
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


def texts_digest(spelled: Sequence[bytes], adds_no_text: Sequence[bool]) -> str:
    """The digest of a vocabulary by what its tokens add to a text: two with the same one mean the same by an id."""
    digest = hashlib.sha256()
    for text, is_control in zip(spelled, adds_no_text, strict=True):
        # Base and aligned models often name their control tokens differently; text means the same to both.
        digest.update(b"control" if is_control else b"%d:%s" % (len(text), text))
    return digest.hexdigest()
