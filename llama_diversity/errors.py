"""Every failure a user can meet, one class each: it owns its exit code and builds its own sentence.

    LlamadivError (1)
    ├── BadValue (2)             an argument that cannot be meant
    ├── UnknownName (2)          with the near matches and how to list all
    ├── ModelFileError (1)       a GGUF that cannot be used, and why
    ├── EngineError (1)          the engine refused or failed
    │   └── OutOfMemory (1)      with what would fit
    ├── PromptTooLong (2)
    ├── TemplateError (1)        a chat template that is missing, broken or hostile
    ├── RegistryError (2)        a malformed models.toml, with its line
    ├── DownloadError (1)        network, authorisation, missing file, checksum
    ├── StoreError (1)           locked, full, damaged, read-only or newer
    ├── PartialRun (3)           some cells failed; run again to continue
    └── Interrupted (130)        finished samples are kept

This module imports nothing of the package. A sentence ends with the next step; only `cli` prints it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class LlamadivError(Exception):
    """Root of the family: `str(error)` is the sentence for the user."""

    exit_code = 1


class BadValue(LlamadivError):
    """A value outside its range: says what was given and what is allowed."""

    exit_code = 2

    def __init__(self, name: str, given: object, allowed: str) -> None:
        super().__init__(f"{name} is {given!r}; {allowed}.")


class UnknownName(LlamadivError):
    """A name that no table holds: names near matches and the command that lists all."""

    exit_code = 2

    def __init__(self, kind: str, name: str, known: Iterable[str], *, list_command: str) -> None:
        near = difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.5)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        super().__init__(f"There is no {kind} called {name!r}.{hint} `{list_command}` lists them.")


class ModelFileError(LlamadivError):
    """A model file that cannot be used: which, why, and what to do."""

    def __init__(self, path: object, reason: str, *, next_step: str) -> None:
        super().__init__(f"{path}: {reason}. {next_step}")


class EngineError(LlamadivError):
    """The engine refused a request or failed at it."""


class OutOfMemory(EngineError):
    """The KV cache does not fit: says what was asked and what would fit."""


class PromptTooLong(LlamadivError):
    """Prompt and completion exceed the model's context."""

    exit_code = 2

    def __init__(self, n_prompt: int, max_tokens: int, n_ctx: int) -> None:
        wanted = f"{n_prompt} prompt tokens" + (f" and {max_tokens} new ones" if max_tokens else "")
        super().__init__(
            f"{wanted} do not fit the model's context of {n_ctx}. "
            "Shorten the prompt" + (", lower --max-tokens" if max_tokens else "") + " or choose a model with a longer context."
        )


class TemplateError(LlamadivError):
    """A chat template that is missing, broken, hostile or endless."""


class RegistryError(LlamadivError):
    """A models.toml that cannot be read: file, line, reason."""

    exit_code = 2


class DownloadError(LlamadivError):
    """A file could not be fetched or is not the file it should be."""


class StoreError(LlamadivError):
    """The sample store cannot be used: locked, full, damaged, read-only or from a newer version."""


class PartialRun(LlamadivError):
    """Some cells of a run failed; the rest is stored."""

    exit_code = 3


class Interrupted(LlamadivError):
    """Ctrl-C: what was finished is stored."""

    exit_code = 130
