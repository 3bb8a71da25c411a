"""Every failure a user can meet, one class each: it owns its exit code and builds its own sentence.

    LlamadivError (1)
    ├── BadValue (2)             an argument that cannot be meant
    ├── BadUsage (2)             arguments that do not go together
    ├── NoHome (1)               nowhere to keep files, and nobody said where
    ├── UnknownName (2)          with the near matches and how to list all
    ├── ModelFileError (1)       a GGUF that cannot be used, and why
    ├── EngineError (1)          the engine refused or failed
    │   ├── OutOfMemory (1)      with what would fit
    │   └── NoPlugin (1)         a server that runs without ours
    ├── Unfit (1)                these models cannot have this study
    │   └── NoEntropies (2)      which their server does not tell
    ├── PromptTooLong (2)
    ├── TemplateError (1)        a chat template that is missing, broken or hostile
    ├── RegistryError (2)        a malformed models.toml, with its line
    ├── BadTarget (2)            a population that cannot be read or cannot be
    ├── DownloadError (1)        network, authorisation, missing file, checksum
    │   ├── NotDownloaded (1)    the file is not on this machine
    │   └── ChecksumMismatch (1) the bytes are not the promised ones
    ├── StoreError (1)           the sample store cannot be used
    │   ├── StoreMissing (1)
    │   ├── StoreLocked (1)      by another process, longer than we wait
    │   ├── StoreFull (1)
    │   ├── StoreReadOnly (1)
    │   ├── StoreDamaged (1)
    │   ├── StoreForeign (1)     a file that is no store of ours
    │   └── StoreNewer (1)       written by a newer llamadiv
    ├── PartialRun (3)           some cells failed; run again to continue
    └── Interrupted (130)        finished samples are kept

This module imports nothing of the package. A sentence ends with the next step; only `cli` prints it.
"""

from __future__ import annotations

import errno
import shlex
from collections.abc import Iterable


class LlamadivError(Exception):
    """Root of the family: `str(error)` is the sentence for the user."""

    exit_code = 1


class BadValue(LlamadivError):
    """A value outside its range: says what was given and what is allowed."""

    exit_code = 2

    def __init__(self, name: str, given: object, allowed: str) -> None:
        super().__init__(f"{name} is {given!r}; {allowed}.")


class BadUsage(LlamadivError):
    """Arguments that do not go together, or of which one is lacking."""

    exit_code = 2


class NoHome(LlamadivError):
    """The user has no home directory, as in some containers."""

    def __init__(self, purpose: str) -> None:
        super().__init__(
            f"There is no home directory for {purpose}. Name a folder to keep llamadiv's files in: "
            "export LLAMADIV_HOME=/path/to/folder"
        )


class UnknownName(LlamadivError):
    """A name that no table holds: names near matches and the command that lists all."""

    exit_code = 2

    def __init__(self, kind: str, name: str, known: Iterable[str], *, list_command: str) -> None:
        import difflib  # of no use to those who spell

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


class NoPlugin(EngineError):
    """A vLLM server without llamadiv's plugin."""

    def __init__(self, url: str) -> None:
        super().__init__(
            f"{url} runs without llamadiv's plugin. Start it with the flags that `llamadiv vllm-args` prints, or add "
            "--stock, which does without entropies."
        )


class Unfit(LlamadivError):
    """What these models, or what they said, cannot be studied for; of a run of several studies it costs this one."""


class NoEntropies(Unfit):
    """Samples whose distributions were not told."""

    exit_code = 2

    def __init__(self, model: str, study: str) -> None:
        super().__init__(
            f"{model} is drawn on a server that tells no entropies (--stock), and {study} is of those. Start it with "
            "llamadiv's plugin (`llamadiv vllm-args` prints the flags) and leave out --stock, or open a GGUF file."
        )


class PromptTooLong(LlamadivError):
    """Prompt and completion exceed the model's context."""

    exit_code = 2

    def __init__(self, n_prompt: int, max_tokens: int, n_ctx: int, *, which: str | None = None) -> None:
        wanted = "" if which is None else f"“{which[:40]}{'…' if len(which) > 40 else ''}”: "
        wanted += "1 prompt token" if n_prompt == 1 else f"{n_prompt} prompt tokens"
        wanted += f" and {max_tokens} new ones" if max_tokens else ""
        super().__init__(
            f"{wanted} do not fit the model's context of {n_ctx}. "
            "Shorten the prompt"
            + (", lower --max-tokens" if max_tokens else "")
            + " or choose a model with a longer context."
        )


class TemplateError(LlamadivError):
    """A chat template that is missing, broken, hostile or endless."""


class RegistryError(LlamadivError):
    """A models.toml that cannot be read: file, line, reason."""

    exit_code = 2

    def __init__(
        self,
        path: object,
        line: int | None,
        reason: str,
        *,
        next_step: str = "Correct that line, then run the command again.",
    ) -> None:
        place = f"{path}, line {line}" if line else f"{path}"
        super().__init__(f"{place}: {reason}. {next_step}")


class BadTarget(LlamadivError):
    """The description of a population that cannot be read, or that no population fulfils: which, why, what to do."""

    exit_code = 2

    def __init__(self, target: object, reason: str, *, next_step: str) -> None:
        super().__init__(f"{target}: {reason}. {next_step}")


class DownloadError(LlamadivError):
    """A file could not be fetched or is not the file it should be."""


class NotDownloaded(DownloadError):
    """A model that is known but whose file is not here; nothing fetches it unasked."""

    def __init__(
        self,
        name: str,
        pull: str,
        size: str | None,
        *,
        missing: tuple[int, int] | None = None,
        beside: str | None = None,  # another program that has a file like it
        is_many: bool = False,  # of which `name` says what they are together, or lists them
        may_say_yes: bool = False,  # by an option of the command
    ) -> None:
        amount = f" ({size})" if size else ""
        what = f"{name} {'are' if is_many and ', ' in name else 'is'}"
        if missing:  # some of its files
            what = f"{missing[0]} of the {missing[1]} files of {name} {'is' if missing[0] == 1 else 'are'}"
        more = f"; {beside} has a file of its name and size, which is used if its sha256 is right" if beside else ""
        more += ", or add --yes to this command" if may_say_yes else ""
        super().__init__(f"{what} not on this machine. Fetch it with: llamadiv models pull {pull}{amount}{more}")

    @classmethod
    def without_network(cls, name: str) -> NotDownloaded:
        """The same where the network is off."""
        error = cls.__new__(cls)
        LlamadivError.__init__(
            error,
            f"{name}: not all files are on this machine, and the network is off (--offline, LLAMADIV_OFFLINE or "
            "HF_HUB_OFFLINE). Allow it and run the command again, or copy the files as said above.",
        )
        return error


PACKAGED_AGAIN = (
    "It is part of llamadiv: install that again, or in a checkout run `git checkout -- llama_diversity/data`."
)


class ChecksumMismatch(DownloadError):
    """A file whose bytes are not the promised ones; it stays where it is until the user removes it."""

    def __init__(
        self, name: str, path: object, *, expected: str, found: str, stated_by: str, is_packaged: bool = False
    ) -> None:
        again = f"Remove it with `llamadiv models rm {name}`, then pull it again."
        if stated_by == "Ollama":  # whose file it is
            again = f"Remove it there and pull it again: ollama rm {name.removeprefix('ollama:')}"
        if is_packaged:
            again = PACKAGED_AGAIN
        super().__init__(
            f"{name}: the bytes of {path} have sha256 {found}, but {stated_by} states {expected}: the file is damaged "
            f"or another one. It is kept. {again}"
        )


class StoreError(LlamadivError):
    """The sample store cannot be used: locked, full, damaged, read-only or from a newer version."""


class StoreMissing(StoreError):
    """There is no file to read samples from."""

    def __init__(self, path: object) -> None:
        super().__init__(f"There is no sample store at {path}. `llamadiv sample` makes one; --store names another.")


class StoreLocked(StoreError):
    """Another process has been writing for longer than we wait."""

    def __init__(self, path: object, waited_s: float) -> None:
        super().__init__(
            f"{path}: another process has kept this sample store locked for {waited_s:g} s. "
            "Wait until it ends and run the same command again, or name another file with --store."
        )


class StoreFull(StoreError):
    """No room left on the disk; what was committed before is safe."""

    def __init__(self, path: object) -> None:
        super().__init__(
            f"{path}: the disk is full; finished samples are kept. "
            "Free some space and run the same command again: it continues."
        )


class StoreReadOnly(StoreError):
    """The file or its folder may not be written (or not even read)."""

    def __init__(self, path: object, reason: str) -> None:
        super().__init__(f"{path}: {reason}. Change its permissions or name a file you may write with --store.")


class StoreDamaged(StoreError):
    """The file is a store, but its contents are broken."""

    def __init__(self, path: object, reason: str) -> None:
        super().__init__(
            f"{path}: this sample store is damaged ({reason}). Put back a copy, or rescue what is left with "
            f"`sqlite3 {shlex.quote(str(path))} .recover | sqlite3 rescued.sqlite`."
        )


class StoreForeign(StoreError):
    """A file that something else wrote."""

    def __init__(self, path: object, what: str) -> None:
        super().__init__(f"{path}: {what}, not a sample store of llamadiv. Name another file with --store.")


class StoreNewer(StoreError):
    """The store has a schema this version does not know."""

    def __init__(self, path: object, version: int, known: int) -> None:
        super().__init__(
            f"{path}: a newer llamadiv wrote this sample store (format {version}; this one knows {known}). "
            "Upgrade llamadiv, or name another file with --store."
        )


class PartialRun(LlamadivError):
    """Some cells of a run failed; the rest is stored."""

    exit_code = 3


class Interrupted(LlamadivError):
    """Ctrl-C: what was finished is stored."""

    exit_code = 130


# --- Of the system ---------------------------------------------------------------------------------------------------

_NEXT_STEP = "Check the path and its permissions, then run the command again."
_FREE_SPACE = "Free some space where the command writes (`df -h` shows how much there is), then run it again."
_NEXT_STEPS = {
    errno.ENOSPC: _FREE_SPACE,
    errno.EDQUOT: _FREE_SPACE,
    errno.EMFILE: "Allow more open files (`ulimit -n 1024`), then run the command again.",
    errno.ENOMEM: "Close other programs, or name a smaller model, then run the command again.",
}


def sentence_of(error: OSError) -> str:
    """What an error of the operating system says to a user, with the next step."""
    place = "" if error.filename is None else f"{error.filename}: "
    return f"{place}{error.strerror or error}. {_NEXT_STEPS.get(error.errno or 0, _NEXT_STEP)}"
