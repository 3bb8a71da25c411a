"""From a text to a prompt: behind its start, or through a chat template. The same for every vocabulary."""

from __future__ import annotations

import functools
from typing import Any

from llama_diversity.engines import PLAIN
from llama_diversity.engines.chat import FROZEN_DATE, Chat, no_template
from llama_diversity.engines.letters import Ids, Letters
from llama_diversity.engines.start import Start, raw_prompt
from llama_diversity.errors import BadValue
from llama_diversity.records import Asking, Piece, Prompt


class Words:
    """The words of the model `reference`: its vocabulary, its chat template ("" for none), what models.toml says of
    how its documents begin."""

    def __init__(self, letters: Letters, reference: str, *, template: str, documents: str | None) -> None:
        self._letters, self._reference = letters, reference
        self._template, self._documents = template, documents

    @property
    def has_template(self) -> bool:
        """Whether it can be asked."""
        return bool(self._template.strip())

    @property
    def ends(self) -> tuple[str, ...]:
        """The tokens that end a text, as they are spelled."""
        return tuple(map(self._letters.name, sorted(self._letters.ends)))

    def usual_start(self) -> str:
        """What precedes a raw text where nothing else is asked for, as it is spelled."""
        try:
            return self.start().text
        except BadValue:  # models.toml names what the file does not have: an error where a raw prompt needs it
            return ""

    def start(self, asking: Asking = PLAIN) -> Start:
        """What precedes a raw text asked so. Raises BadValue."""
        return self._letters.start(asking, documents=self._documents)

    def tokenize(self, text: str, asking: Asking = PLAIN) -> Ids:
        """Ids of `text` as typed, behind its start."""
        return (*self.start(asking).ids, *self._letters.of_text(text, reads_control=asking.reads_control))

    def prompt(self, text: str, *, chat: bool, system: str | None, template_args: str | None, asking: Asking) -> Prompt:
        """`text` behind its start, or as the user's turn of the chat template. Raises BadValue, TemplateError."""
        if not chat:
            if system is not None:
                raise BadValue("--system", system, "a raw prompt has no system message; add --chat")
            if template_args is not None:
                raise BadValue("--template-arg", template_args, "a raw prompt has no template; add --chat")
            return raw_prompt(text, self.tokenize(text, asking), self.start(asking), self._letters.stated)
        rendered = self._chat.render(text, system=system, args=template_args)
        ids = self._letters.of_template(rendered, reads_control=asking.reads_control)
        if not ids:
            raise BadValue("the prompt", text, "the chat template makes nothing of it")
        return Prompt(text, rendered.text, ids, "chat", self._chat.digest, FROZEN_DATE, template_args)

    def piece(self, token_id: int) -> Piece:
        """The bytes of one token, or its name for a control token."""
        return self._letters.pieces[token_id]

    @functools.cached_property
    def _chat(self) -> Chat:
        if not self.has_template:
            raise no_template(self._reference)
        stated = self._letters.stated
        bos, eos = map(self._letters.name, (stated.bos, stated.eos))
        return Chat(self._template, bos=bos, eos=eos)


class BorrowedWords:
    """The verbs of text of an engine that computes elsewhere: they are those of `words`, which are here."""

    words: Any  # an engine opened for its vocabulary, or what else has these verbs

    def start(self, asking: Asking = PLAIN) -> Start:
        """What precedes a raw text."""
        found: Start = self.words.start(asking)
        return found

    def tokenize(self, text: str, asking: Asking = PLAIN) -> tuple[int, ...]:
        """Ids of `text` as typed, behind its start."""
        ids: Ids = self.words.tokenize(text, asking)
        return ids

    def prompt(
        self,
        text: str,
        *,
        chat: bool = False,
        system: str | None = None,
        template_args: str | None = None,
        asking: Asking = PLAIN,
    ) -> Prompt:
        """`text` behind its start, or as the user's turn of the chat template. Raises BadValue, TemplateError."""
        made: Prompt = self.words.prompt(text, chat=chat, system=system, template_args=template_args, asking=asking)
        return made

    def piece(self, token_id: int) -> Piece:
        """The bytes of one token, or its name for a control token."""
        piece: Piece = self.words.piece(token_id)
        return piece
