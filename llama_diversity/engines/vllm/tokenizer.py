"""The words of a model on a server: the vocabulary of a GGUF on this machine, since text never travels."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llama_diversity.engines import Engine, EngineOptions, open_engine
from llama_diversity.records import ModelFacts, ModelRef
from llama_diversity.served import Served


class ServedWords:
    """The verbs of an engine that are about text, of one that was opened for its vocabulary alone."""

    def __init__(self, source: Engine) -> None:
        self._facts = source.facts
        self.n_vocab, self.ends = source.facts.n_vocab, source.ends
        self.start, self.tokenize, self.prompt, self.piece = source.start, source.tokenize, source.prompt, source.piece
        self.close: Callable[[], None] = source.close

    def facts(self, **known: Any) -> ModelFacts:
        """With what is known of the served model."""
        return dataclasses.replace(self._facts, **known)


def open_words(model: ModelRef, served: Served) -> ServedWords:
    """The words of a served model, whose tokenizer is a GGUF file. Raises ModelFileError."""
    path = Path(served.tokenizer)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    part = ModelRef(model.reference, "llamacpp", str(path), digest, model.chat_template, model.start)
    return ServedWords(open_engine(part, EngineOptions(vocabulary_only=True)))
