"""The words of a model on a server: its vocabulary and chat template lie here, as a GGUF or a tokenizer.json.

Text never travels. What a server would make of it differs from one file of a model to another (a BOS, a blank before
the first word, today's date in a template); ids mean the same to both sides.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from llama_diversity.engines import PLAIN, EngineOptions
from llama_diversity.engines.start import Start
from llama_diversity.records import Asking, ModelFacts, ModelRef, Piece, Prompt
from llama_diversity.served import Served

_UNKNOWN: dict[str, Any] = {"description": "", "architecture": "", "n_params": 0, "n_ctx_train": 0}


class _Speaks(Protocol):
    def start(self, asking: Asking = PLAIN) -> Start: ...
    def tokenize(self, text: str, asking: Asking = PLAIN) -> tuple[int, ...]: ...
    def prompt(
        self, text: str, *, chat: bool, system: str | None, template_args: str | None, asking: Asking
    ) -> Prompt: ...
    def piece(self, token_id: int) -> Piece: ...


class ServedWords:
    """Text to ids and back, the verbs of an engine. `facts` adds what only the server knows."""

    def __init__(self, source: _Speaks, facts: ModelFacts, ends: frozenset[int], close: Callable[[], None]) -> None:
        self._source = source
        self._facts = facts
        self.ends = ends
        self.close = close
        self.n_vocab = facts.n_vocab
        self.start, self.tokenize, self.piece = source.start, source.tokenize, source.piece

    def facts(self, **known: Any) -> ModelFacts:
        """With what is known of the served model: digest, description, architecture, n_params, n_ctx_train, notes."""
        notes = (*self._facts.notes, *known.pop("notes", ()))
        return dataclasses.replace(self._facts, **known, notes=notes)

    def prompt(
        self,
        text: str,
        *,
        chat: bool = False,
        system: str | None = None,
        template_args: str | None = None,
        asking: Asking = PLAIN,
    ) -> Prompt:
        """`text` behind its start, or as the user's turn of the chat template."""
        return self._source.prompt(text, chat=chat, system=system, template_args=template_args, asking=asking)


def open_words(model: ModelRef, served: Served) -> ServedWords:
    """The words of `model`, whose tokenizer `served` names by its path. Raises ModelFileError."""
    path = Path(served.tokenizer)
    return _of_gguf(model, path) if path.suffix.lower() == ".gguf" else _of_json(model, path)


def _of_gguf(model: ModelRef, path: Path) -> ServedWords:
    from llama_diversity.engines.llamacpp import LlamaCppEngine

    ref = dataclasses.replace(model, engine="llamacpp", location=str(path), digest="")
    engine = LlamaCppEngine(ref, EngineOptions(vocabulary_only=True, n_gpu_layers=0))
    return ServedWords(engine, dataclasses.replace(engine.facts, **_UNKNOWN), engine.ends, engine.close)


def _of_json(model: ModelRef, path: Path) -> ServedWords:
    from llama_diversity.engines.vllm.huggingface import HuggingFace
    from llama_diversity.engines.words import Words

    letters = HuggingFace(path)
    template = letters.template if model.chat_template is None else model.chat_template
    words = Words(letters, model.reference, template=template, documents=model.start)
    facts = ModelFacts(
        reference=model.reference,
        digest="",
        vocab_digest=letters.digest,
        n_vocab=letters.n_vocab,
        adds_bos=letters.stated.adds_bos,
        has_chat_template=words.has_template,
        start=words.usual_start(),
        ends=words.ends,
        **_UNKNOWN,
    )
    return ServedWords(words, facts, letters.ends, lambda: None)
