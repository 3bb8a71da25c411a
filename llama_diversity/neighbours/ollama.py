"""Ollama's store: names are manifests, files are blobs that are called by their sha256.

Where this was seen, in the repository ollama/ollama: folders in envconfig/config.go (OLLAMA_MODELS, else
~/.ollama/models; docs/faq.mdx has /usr/share/ollama/.ollama/models for the service on Linux), names and paths in
types/model/name.go (HOST/NAMESPACE/MODEL/TAG) and manifest/paths.go (manifests-v2 before manifests, blobs/sha256-HEX),
media types and manifest lists in manifest/manifest.go and server/create.go.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llama_diversity.neighbours.files import Found, Look, home, set_folder

PROGRAM = "Ollama"
PREFIX = "ollama:"
FORM = "ollama:NAME or ollama:NAME:TAG"

_SERVICE = Path("/usr/share/ollama/.ollama/models")  # of the system's service on Linux
_MANIFESTS = ("manifests-v2", "manifests")  # the first that has a name holds
_PUBLIC_HOSTS = ("registry.ollama.ai", "ollama.com")
_NAMESPACE, _TAG = "library", "latest"  # of a name that says neither
_MANIFEST_LIST = "application/vnd.ollama.manifest.list.v2+json"
_IMAGE = "application/vnd.ollama.image."
_RUNNERS = ("ollama", "llamacpp", "")  # those of a list whose files are GGUF, in Ollama's order
_DIGEST = re.compile(r"sha256[:-]([0-9a-fA-F]{64})")
_LONGEST_MANIFEST_BYTES = 1 << 20


class _BadManifest(Exception):
    """What is wrong with a manifest, for the end of a sentence."""


def folders() -> list[Path]:
    """Where Ollama keeps models: the folder that is set, or else the user's own, and the service's."""
    named, own = set_folder("OLLAMA_MODELS"), home()
    mine = [named] if named else [own / ".ollama" / "models"] if own else []
    return [*mine, *([_SERVICE] if _SERVICE not in mine else [])]


def blobs(sha256: str) -> list[Path]:
    """Where the blob of this sha256 may be; nowhere without one."""
    return [_blob(folder, sha256) for folder in folders()] if sha256 else []


def whole_name(reference: str) -> str:
    """The reference with its tag, as `look` has it.

    >>> whole_name("ollama:llama3.2"), whole_name("ollama:registry.ollama.ai/library/llama3.2:1b")
    ('ollama:llama3.2:latest', 'ollama:llama3.2:1b')
    """
    name = reference.removeprefix(PREFIX)
    if ":" not in name.rpartition("/")[2]:
        name += f":{_TAG}"
    for host in _PUBLIC_HOSTS:
        name = name.removeprefix(f"{host}/")
    return PREFIX + name.removeprefix(f"{_NAMESPACE}/")


def look(here: Look) -> None:
    """All models of all folders; a name is of the first that has it."""
    taken: set[str] = set()
    for folder in folders():
        if not os.path.isdir(folder):
            continue
        here.folders.append(folder)
        for name, manifest in _manifests(folder, here):
            if name not in taken:
                taken.add(name)
                _look_at(folder, name, manifest, here)


def _manifests(folder: Path, here: Look) -> Iterator[tuple[str, Path]]:
    """Names and their manifests: HOST/NAMESPACE/MODEL/TAG below the folders of manifests."""
    for root in _MANIFESTS:
        for host in here.entries(folder / root):
            for namespace in _folders_in(host, here):
                for model in _folders_in(namespace, here):
                    for tag in _folders_in(model, here):
                        if not tag.name.startswith(".") and not tag.is_dir():
                            yield _name(host.name, namespace.name, model.name, tag.name), Path(tag.path)


def _folders_in(entry: os.DirEntry[str], here: Look) -> list[os.DirEntry[str]]:
    return here.entries(Path(entry.path)) if entry.is_dir() else []


def _name(host: str, namespace: str, model: str, tag: str) -> str:
    """As Ollama shows it: what every name has is left out, but for the tag."""
    if host.lower() not in _PUBLIC_HOSTS:
        return f"{PREFIX}{host}/{namespace}/{model}:{tag}"
    return f"{PREFIX}{model}:{tag}" if namespace.lower() == _NAMESPACE else f"{PREFIX}{namespace}/{model}:{tag}"


def _look_at(folder: Path, name: str, path: Path, here: Look) -> None:
    try:
        layers = _layers(_manifest(folder, path))
        sha256, size_bytes = _model_layer(layers)
        blob = _blob(folder, sha256)
        found_bytes = os.path.getsize(blob)
    except _BadManifest as error:
        here.break_off(name, str(error))
        return
    except OSError as error:
        reason = error.strerror or str(error)
        here.break_off(name, f"its file {error.filename} cannot be read ({reason}); `ollama pull` would fetch it again")
        return
    if size_bytes and found_bytes != size_bytes:
        here.break_off(name, f"its file {blob} has {found_bytes:,} of {size_bytes:,} bytes")
        return
    problem = None
    if any(kind == "adapter" for kind, _, _ in layers):
        problem = f"it is a model with an adapter, which llamadiv does not open; the model alone is {blob}"
    here.found.append(Found(name, PROGRAM, blob, found_bytes, sha256, problem=problem))
    for kind, digest, layer_bytes in layers:
        other = _blob(folder, digest)
        if kind in ("projector", "adapter") and os.path.isfile(other):
            beside = f"it is the {kind} of {name}, no model by itself"
            here.found.append(Found(str(other), PROGRAM, other, layer_bytes, digest, kind, problem=beside))


def _manifest(folder: Path, path: Path) -> dict[str, Any]:
    """The manifest at `path`, of a list the one for the engine that reads GGUF files."""
    manifest = _read(path)
    if manifest.get("mediaType") != _MANIFEST_LIST:
        return manifest
    children = [one for one in _list(manifest, "manifests") if isinstance(one, dict)]
    for runner in _RUNNERS:
        for child in children:
            if str(child.get("runner") or "").lower() == runner:
                return child if child.get("layers") else _read(_blob(folder, _digest(child)))
    raise _BadManifest("none of its manifests is for an engine that reads GGUF files")


def _read(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        data = file.read(_LONGEST_MANIFEST_BYTES + 1)
    try:
        manifest = json.loads(data) if len(data) <= _LONGEST_MANIFEST_BYTES else None
    except (ValueError, RecursionError) as error:
        raise _BadManifest(f"its manifest {path} is no JSON") from error
    if not isinstance(manifest, dict):
        raise _BadManifest(f"its manifest {path} is none")
    return manifest


def _layers(manifest: dict[str, Any]) -> list[tuple[str, str, int]]:
    """What each layer is ("model", "projector", "template", ...), its sha256 and its bytes."""
    found = []
    for layer in _list(manifest, "layers"):
        media = str(layer.get("mediaType")) if isinstance(layer, dict) else ""
        if media.startswith(_IMAGE):
            size = layer.get("size")
            kind = media.removeprefix(_IMAGE).partition(";")[0]  # a tensor's has its name behind that
            found.append((kind, _digest(layer), size if isinstance(size, int) else 0))
    return found


def _model_layer(layers: list[tuple[str, str, int]]) -> tuple[str, int]:
    models = [(digest, size) for kind, digest, size in layers if kind == "model"]
    if len(models) == 1:
        return models[0]
    if models:
        raise _BadManifest(f"its weights are in {len(models)} blobs, whose names llama.cpp cannot put together")
    if any(kind == "tensor" for kind, _, _ in layers):
        raise _BadManifest("its weights are safetensors, not a GGUF file")
    raise _BadManifest("it has no weights on this machine, as models in Ollama's cloud have none")


def _list(values: dict[str, Any], key: str) -> list[Any]:
    found = values.get(key)
    if not isinstance(found, list):
        raise _BadManifest(f"its manifest has no {key}")
    return found


def _digest(layer: dict[str, Any]) -> str:
    match = _DIGEST.fullmatch(str(layer.get("digest")))
    if match is None:
        raise _BadManifest("its manifest names a file by something that is no sha256")
    return match[1].lower()


def _blob(folder: Path, sha256: str) -> Path:
    return folder / "blobs" / f"sha256-{sha256}"
