"""A driver's model on the machine of a worker: the same bytes, wherever they lie here."""

from __future__ import annotations

import dataclasses
import os
import shlex
import socket
from pathlib import Path

from llama_diversity import digests, hub
from llama_diversity.errors import EngineError, LlamadivError
from llama_diversity.records import ModelRef
from llama_diversity.resolve import resolve_model


def found_here(model: ModelRef) -> ModelRef:
    """`model` with the place of its bytes on this machine: where the driver has it, or where its name leads here.

    Raises EngineError where there is no such file, or only one with other bytes.
    """
    if model.parts:
        return dataclasses.replace(model, parts=tuple(map(found_here, model.parts)))
    if model.engine != "llamacpp" or _digest_at(model.location) == model.digest:
        return model
    try:
        here = resolve_model(model.reference)
    except LlamadivError as error:
        raise EngineError(
            f"{model.reference} is not on the machine {socket.gethostname()}. Fetch it there: llamadiv models pull "
            f"{shlex.quote(model.reference)}; or put its file at {model.location} there"
        ) from error
    if here.digest != model.digest:
        raise EngineError(
            f"{model.reference} is another file on the machine {socket.gethostname()}: {here.location} has sha256 "
            f"{here.digest}, the driver's {model.digest}. Give both the same file"
        )
    return dataclasses.replace(model, location=here.location)


def _digest_at(location: str) -> str | None:
    """The digest of the file here, None where there is none."""
    if not os.path.isfile(location):
        return None
    try:
        return digests.model_digest(digests.digests(hub.model_files(Path(location))))
    except LlamadivError:
        return None
