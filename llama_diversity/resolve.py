"""From a name to a model that can be opened.

Nothing here touches the network: a file that is not on this machine is an error that says how to fetch it, and a server
is asked by whoever opens it.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from llama_diversity import digests, gguf, hub, neighbours, registry
from llama_diversity.decimals import readable_bytes
from llama_diversity.errors import PACKAGED_AGAIN, BadValue, ModelFileError, NotDownloaded
from llama_diversity.mixtures import WHOLE_ONLY, is_mixture, mixture_digest, parse_mixture
from llama_diversity.records import ModelRef, twins
from llama_diversity.served import Served

TOKENIZER_FILE = "tokenizer.json"


def resolve_model(reference: str, *, on_progress: digests.OnBytes | None = None) -> ModelRef:
    """The model that `reference` means, with the digest of its bytes; `on_progress` hears of the hashing.

    Raises UnknownName, BadValue, RegistryError, ModelFileError, and DownloadError where the file is not here or is not
    the one that models.toml pins.
    """
    if is_mixture(reference):
        return _mixture(reference, on_progress)
    entry = registry.load().find(reference)
    if entry.chain is not None:
        return ModelRef(reference, "scripted", entry.chain, "")
    if entry.served is not None:
        return _served(entry, entry.served)
    files = require_files(entry)
    read = digests.digests(files, on_progress)
    hub.check_sha256(reference, files, read, pinned=entry.sha256, is_packaged=entry.is_packaged)
    digest = digests.model_digest(read)
    return ModelRef(reference, "llamacpp", str(files[0]), digest, entry.chat_template(), entry.start)


def _mixture(reference: str, on_progress: digests.OnBytes | None) -> ModelRef:
    """The models that are mixed, and how. Raises BadValue for one model twice."""
    typed = parse_mixture(reference)
    parts = tuple(resolve_model(name, on_progress=on_progress) for name in typed.models)
    served = next((part.reference for part in parts if part.engine == "vllm"), None)
    if served is not None:
        raise BadValue("the mixture", reference, f"{served} {WHOLE_ONLY}")
    same = twins(parts)
    if same is not None:
        named = " and ".join(dict.fromkeys(one.reference for one in same))
        raise BadValue(
            "the mixture", reference, f"it mixes one model with itself ({named}); name that model alone, or another"
        )
    return ModelRef(reference, "mixed", typed.rule.to_json(), mixture_digest(typed.rule, parts), parts=parts)


def _served(entry: registry.ModelEntry, served: Served) -> ModelRef:
    """A model on servers, and whose tokenizer makes its ids here. Raises ModelFileError, NotDownloaded, BadValue."""
    found = served._replace(tokenizer=str(_tokenizer(entry, served)))
    digest = entry.digest or ""
    return ModelRef(entry.reference, "vllm", found.to_json(), digest, entry.chat_template(), entry.start)


def _tokenizer(entry: registry.ModelEntry, served: Served) -> Path:
    """The GGUF or tokenizer.json with the vocabulary of the server; where none is named, of the model's own name."""
    known = registry.load()
    named = served.tokenizer or served.name
    found = _tokenizer_file(named, known)
    if found is not None:
        return found.absolute()
    source = known.models.get(named) if not served.tokenizer else known.find(named)
    if source is None or (not served.tokenizer and source.served is not None):
        raise _no_tokenizer(entry, served)
    if source.repo is None and source.path is None:
        raise BadValue("the tokenizer", named, f"it has no file; name a GGUF, or a folder with a {TOKENIZER_FILE}")
    return require_files(source)[0].absolute()


def _tokenizer_file(named: str, known: registry.Registry) -> Path | None:
    """The tokenizer.json of a folder, by its own path, or of a repository in the Hugging Face cache."""
    if named in known.models:
        return None
    path = Path(os.path.expanduser(named))
    if path.is_dir():
        path = path / TOKENIZER_FILE
    if path.name == TOKENIZER_FILE and path.is_file():
        return path
    repo = named.removeprefix("hf:").removesuffix(f":{TOKENIZER_FILE}")
    return hub.find(repo, TOKENIZER_FILE)[0] if registry.is_repo(repo) else None


def _no_tokenizer(entry: registry.ModelEntry, served: Served) -> BadValue:
    place = f"tokenizer = to it in {entry.defined_in}" if entry.defined_in else f"it: {entry.reference}@TOKENIZER"
    return BadValue(
        "the model",
        entry.reference,
        f"nothing here is called {served.name!r} that could turn texts into its tokens; add {place}, the name or path "
        f"of a GGUF of that vocabulary, or a folder with the model's {TOKENIZER_FILE}",
    )


def find_files(entry: registry.ModelEntry) -> list[Path | None]:
    """Where the files of `entry` are on this machine, in order, None for those that are not; a scripted model has none.

    A split model has several, as the name of its first one says.
    """
    if entry.path is not None:
        files = [entry.path.with_name(name) for name in gguf.shard_names(entry.path.name)]
        return [file if os.path.isfile(file) else None for file in files]
    if entry.repo is None or entry.file is None:
        return []
    in_cache = hub.find(entry.repo, entry.file, entry.revision)
    same = None if any(in_cache) else _elsewhere(entry)
    return [same] if same else in_cache


def find_in_cache(entry: registry.ModelEntry) -> Path | None:
    """Where the first file of `entry` is in the Hugging Face cache, None if not all are there."""
    return hub.locate(entry.repo, entry.file, entry.revision) if entry.repo and entry.file else None


def _elsewhere(entry: registry.ModelEntry) -> Path | None:
    """The very bytes that models.toml pins, where another program keeps them: by a blob's name, or as read before."""
    for path in candidates(entry).values():
        if entry.sha256 in (hub.stated_sha256(path), digests.recalled(path)):
            return path
    return None


def candidates(entry: registry.ModelEntry) -> dict[str, Path]:
    """By program, files that may be the one that models.toml pins: of its name and size. Empty without a sha256."""
    if entry.repo is None or entry.file is None or entry.sha256 is None or gguf.is_shard_name(entry.file):
        return {}
    return dict(reversed(list(neighbours.elsewhere(entry.repo, entry.file, entry.sha256, entry.size_bytes))))


def find_file(entry: registry.ModelEntry) -> Path | None:
    """Where the first file of `entry` is on this machine, None if not all are here (or there is none)."""
    files = find_files(entry)
    return files[0] if files and all(files) else None


def require_files(entry: registry.ModelEntry) -> tuple[Path, ...]:
    """The files of `entry`, in order.

    Raises NotDownloaded, or ModelFileError for a path that no longer leads anywhere or lacks others beside it.
    """
    files = find_files(entry)
    if files[0] is not None and (all(files) or entry.path is not None):
        return hub.model_files(files[0])
    if entry.path is not None:
        next_step = (
            PACKAGED_AGAIN if entry.is_packaged else f"Correct the path of {entry.reference} in {entry.defined_in}."
        )
        raise ModelFileError(entry.path, "there is no such file", next_step=next_step)
    raise not_downloaded(entry)


def not_downloaded(entry: registry.ModelEntry) -> NotDownloaded:
    """That a model of the hub is not on this machine, or some of its files, and how to fetch what lacks."""
    size = readable_bytes(entry.size_bytes) if entry.size_bytes else None
    files = find_files(entry)
    missing = (files.count(None), len(files)) if any(files) else None
    beside = next(iter(candidates(entry)), None)
    return NotDownloaded(entry.reference, _pull_arguments(entry.reference), size, missing=missing, beside=beside)


def _pull_arguments(reference: str) -> str:
    # A name that a model and a pair share means the pair to `pull`.
    return shlex.quote(reference) + (" --single" if reference in registry.load().pairs else "")
