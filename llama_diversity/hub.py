"""Model files on the Hugging Face hub and in the cache that every Hugging Face tool on this machine shares.

It knows repositories, files, revisions, bytes and digests, and that a model may be split into several files: what it is
asked of the first is about all of them. It refuses to know aliases and pairs (registry), what a GGUF contains (gguf,
engines) and how a file is read and its digest remembered (digests). It touches the network in `plan` and `pull` only.
HF_HOME, HF_HUB_CACHE, HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE mean what they mean to `hf`.

Why the transfer is our own: huggingface_hub 2 writes to a temporary file that it deletes when a download fails, and
hf_xet starts over as well, so neither continues in a later process. Here a part file in the cache survives, a later
pull asks for the rest only, and the complete file, its sha256 checked, becomes the blob that `hf_hub_download` then
links into the snapshot. The part ends in `.incomplete`, so `hf cache ls` shows it and `hf cache prune` removes it.

This is the only module that imports huggingface_hub, and only inside functions: `--help` stays light.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import importlib
import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from llama_diversity import __version__, digests, gguf
from llama_diversity.decimals import readable_bytes
from llama_diversity.digests import OnBytes
from llama_diversity.errors import ChecksumMismatch, DownloadError, ModelFileError

RETRY_WAITS_S = (0.0, 1.0, 2.0, 4.0)  # after a broken connection; begins anew whenever bytes have come
PART_ENDING = ".llamadiv.incomplete"

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Plan:
    """What a pull would do. `path` is None while a file is not here; `fetched_bytes` are kept from an earlier try.

    All is about the model: of several files the sum, `model_digest` and the path of the first.
    """

    commit: str
    size_bytes: int
    sha256: str | None  # as the hub states it
    path: Path | None
    fetched_bytes: int

    @property
    def missing_bytes(self) -> int:
        """What the network would carry."""
        return 0 if self.path else self.size_bytes - self.fetched_bytes


@dataclass(frozen=True)
class Pulled:
    """A model that is here, read to its end: `stated_by` says whose sha256 it equals, None where nobody states one."""

    path: Path
    commit: str
    size_bytes: int
    sha256: str
    stated_by: str | None
    transferred_bytes: int


@dataclass(frozen=True)
class _Source:
    """One file of one repository, and what the user calls it."""

    repo: str
    file: str
    revision: str
    name: str


@dataclass(frozen=True)
class _Remote:
    """What the hub says of a source: the cache names the blob by the etag, which is the sha256 of a large file."""

    commit: str
    etag: str
    size_bytes: int
    is_cached: bool

    @property
    def sha256(self) -> str | None:
        return self.etag if _SHA256.fullmatch(self.etag) else None


def _sources(repo: str, file: str, revision: str | None = None, name: str | None = None) -> list[_Source]:
    """The files of the model whose first one is `file`: the names of a split model say how many there are."""
    reference = f"hf:{repo}:{file}" + (f"@{revision}" if revision else "")
    folder, slash, first = file.rpartition("/")
    files = [folder + slash + one for one in gguf.shard_names(first)]
    return [_Source(repo, one, revision or "main", name or reference) for one in files]


# --- Questions that need no network ----------------------------------------------------------------------------------


def locate(repo: str, file: str, revision: str | None = None) -> Path | None:
    """The first file of a model in the cache, None if not all are here. Without a revision, the last `main` fetched."""
    found = find(repo, file, revision)
    return found[0] if all(found) else None


def find(repo: str, file: str, revision: str | None = None) -> list[Path | None]:
    """Every file of a model in the cache, in order, None for those that are not here."""
    return [_find(source) for source in _sources(repo, file, revision)]


def _find(source: _Source) -> Path | None:
    _prepare_client()
    from huggingface_hub import try_to_load_from_cache

    with _translated(source):
        found = try_to_load_from_cache(source.repo, source.file, revision=source.revision)
    return Path(found) if isinstance(found, str) else None


def partial_bytes(repo: str, file: str, revision: str | None = None) -> int:
    """Bytes that are here of a model that is not whole: files, and what is kept of unfinished downloads."""
    return sum(_partial_bytes(source) for source in _sources(repo, file, revision))


def _partial_bytes(source: _Source) -> int:
    with _translated(source):
        here = _find(source)
        return here.stat().st_size if here else max((part.stat().st_size for part in _parts(source)), default=0)


def commit_of(path: Path) -> str:
    """The commit that a located file belongs to: the cache keeps it as `models--REPO/snapshots/COMMIT/FILE`."""
    for folder, inside, commit in zip(path.parts, path.parts[1:], path.parts[2:], strict=False):
        if folder.startswith("models--") and inside == "snapshots":
            return commit
    raise ModelFileError(path, "it is not in the Hugging Face cache", next_step="Ask for it by its repository.")


def stated_sha256(path: Path) -> str | None:
    """The sha256 that the hub stated when `path` was fetched: the cache names the blob by it. None if unknown."""
    if not path.is_symlink():  # a cache without symbolic links keeps no blobs; what we fetched we remember
        return _blob_name(path) or digests.stated(path)
    name = Path(os.readlink(path)).name
    return name if _SHA256.fullmatch(name) else _blob_name(path.resolve())


def _blob_name(path: Path) -> str | None:
    """The sha256 that Ollama calls a blob by."""
    name = path.name.removeprefix("sha256-")
    return name if path.parent.name == "blobs" and name != path.name and _SHA256.fullmatch(name) else None


def stated_digest(files: Sequence[Path]) -> str | None:
    """The `model_digest` that the hub stated when `files` were fetched. None if it did not for all."""
    return _digest_if_all([stated_sha256(file) for file in files])


def model_files(path: Path) -> tuple[Path, ...]:
    """All files of the model whose first one is at `path`, in order.

    Raises ModelFileError for a later one, one that is missing beside it, and files that do not belong together.
    """
    return gguf.shards(path) if gguf.is_shard_name(path.name) else (path,)


def _digest_if_all(stated: Sequence[str | None]) -> str | None:
    known = [one for one in stated if one]
    return digests.model_digest(known) if len(known) == len(stated) else None


# --- Fetching --------------------------------------------------------------------------------------------------------


def plan(repo: str, file: str, revision: str | None = None, *, name: str | None = None) -> Plan:
    """What `pull` would do, from the hub's metadata; no byte of the model is fetched. Raises DownloadError."""
    sources = _sources(repo, file, revision, name)
    found = [_find(source) for source in sources]
    here = [path for path in found if path]
    here_bytes = sum(map(digests.size_bytes, here))
    missing = _ask_for_missing(sources, found)
    return Plan(
        commit=commit_of(here[0]) if here else missing[0][1].commit,
        size_bytes=here_bytes + sum(remote.size_bytes for _, remote in missing),
        sha256=_expected_digest(sources, found, missing),
        path=None if missing else here[0],
        fetched_bytes=here_bytes + sum(_kept_bytes(source, remote) for source, remote in missing) if missing else 0,
    )


def pull(
    repo: str,
    file: str,
    revision: str | None = None,
    *,
    sha256: str | None = None,
    name: str | None = None,
    on_fetch: OnBytes | None = None,
    on_hash: OnBytes | None = None,
) -> Pulled:
    """The model, its files fetched where they are not here, with their bytes checked against `sha256` or the hub's.

    All files are of one commit. An unfinished download is continued. A file that is here already is never replaced.
    Raises DownloadError.
    """
    sources = _sources(repo, file, revision, name)
    found = [_find(source) for source in sources]
    missing = _ask_for_missing(sources, found)
    _refuse_other_model(sources, found, missing, sha256)
    transferred_bytes = _fetch_all(missing, sha256 if len(sources) == 1 else None, on_fetch, on_hash)
    for source in sources:
        _drop_stale_parts(source)
    files = [path for path in map(_find, sources) if path]
    if len(files) < len(sources):
        raise DownloadError(
            f"{sources[0].name}: the repository changed while its files were fetched. Run the command again."
        )
    read = digests.digests(files, on_hash)
    stated_by = check_sha256(sources[0].name, files, read, pinned=sha256)
    size_bytes = sum(map(digests.size_bytes, files))
    return Pulled(files[0], commit_of(files[0]), size_bytes, digests.model_digest(read), stated_by, transferred_bytes)


def check_sha256(
    name: str, files: Sequence[Path], found: Sequence[str], *, pinned: str | None, is_packaged: bool = False
) -> str | None:
    """Who states that `files` have the sha256 `found`: models.toml (their `model_digest`), the hub, or nobody.

    Raises ChecksumMismatch.
    """
    stated = [stated_sha256(file) for file in files]
    if pinned:
        all_files = str(files[0]) if len(files) == 1 else f"{files[0]} and the files after it"
        _refuse_mismatch(name, all_files, digests.model_digest(found), pinned, "models.toml", is_packaged=is_packaged)
    else:
        for file, sha256, expected in zip(files, found, stated, strict=True):
            _refuse_mismatch(name, file, sha256, expected or sha256, _witness(file))
    return "models.toml" if pinned else _witness(files[0]) if all(stated) else None


def _witness(file: Path) -> str:
    return "Ollama" if _blob_name(file.resolve()) else "the hub"


def _refuse_mismatch(
    name: str, place: object, found: str, expected: str, stated_by: str, *, is_packaged: bool = False
) -> None:
    if found != expected:
        raise ChecksumMismatch(
            name, place, expected=expected, found=found, stated_by=stated_by, is_packaged=is_packaged
        )


def _ask_for_missing(sources: Sequence[_Source], found: Sequence[Path | None]) -> list[tuple[_Source, _Remote]]:
    """What the hub says of the files that are not here, at the commit of those that are."""
    commit = next((commit_of(path) for path in found if path), None)
    asked: list[tuple[_Source, _Remote]] = []
    for source, here in zip(sources, found, strict=True):
        if here is None:
            # The first is asked for as the user did, so that the cache learns which commit a branch means.
            at = replace(source, revision=commit) if commit else source
            with _translated(at):
                asked.append((at, _ask_hub(at)))
            commit = commit or asked[0][1].commit
    return asked


def _expected_digest(
    sources: Sequence[_Source], found: Sequence[Path | None], missing: Sequence[tuple[_Source, _Remote]]
) -> str | None:
    """The `model_digest` by what the hub states for each file, None if it does not for all."""
    remotes = {source.file: remote.sha256 for source, remote in missing}
    stated = [
        stated_sha256(here) if here else remotes[source.file] for source, here in zip(sources, found, strict=True)
    ]
    return _digest_if_all(stated)


def _refuse_other_model(
    sources: Sequence[_Source],
    found: Sequence[Path | None],
    missing: Sequence[tuple[_Source, _Remote]],
    sha256: str | None,
) -> None:
    # Said before gigabytes are fetched: the repository's file is not the one that models.toml means.
    stated = _expected_digest(sources, found, missing)
    if missing and sha256 and stated and stated != sha256:
        source = sources[0]
        raise DownloadError(
            f"{source.name}: the hub states sha256 {stated} for {source.file} of {source.repo} at revision "
            f"{source.revision}, but models.toml pins {sha256}. Nothing was fetched. Correct the revision or the "
            f"sha256; `llamadiv models show {source.name}` says in which file."
        )


def _fetch_all(
    missing: Sequence[tuple[_Source, _Remote]],
    sha256: str | None,
    on_fetch: OnBytes | None,
    on_hash: OnBytes | None,
) -> int:
    """Fetch what is missing; the bytes that the network carried."""
    total = sum(remote.size_bytes for _, remote in missing)
    done = transferred_bytes = 0
    for source, remote in missing:
        with _translated(source):
            transferred_bytes += remote.size_bytes - _kept_bytes(source, remote)
            shifted = [digests.shifted(some, done, total) for some in (on_fetch, on_hash)]
            _fetch(source, remote, sha256, *shifted)
        done += remote.size_bytes
    return transferred_bytes


def _ask_hub(source: _Source) -> _Remote:
    _prepare_client()
    _check_settings()
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    url = hf_hub_url(source.repo, source.file, revision=source.revision)
    # Not hf_hub_download alone: it says no hash, and it retries for 23 s when there is no network.
    metadata = get_hf_file_metadata(url, library_name="llamadiv", library_version=__version__)
    if metadata.commit_hash is None or metadata.etag is None or metadata.size is None:
        raise DownloadError(
            f"What answers at {endpoint()} is no Hugging Face hub: it names no commit, hash or size for "
            f"{source.file}. Check HF_ENDPOINT and the proxy settings, then run the command again."
        )
    # The bytes may be here under another commit or in another repository; then the cache only needs a link.
    dry_run = hf_hub_download(source.repo, source.file, revision=metadata.commit_hash, dry_run=True)
    return _Remote(metadata.commit_hash, metadata.etag, metadata.size, dry_run.is_cached)


def _check_settings() -> None:
    """Refuse what every request would fail on. Raises DownloadError."""
    from huggingface_hub import get_token

    address = endpoint()
    if not address.startswith(("https://", "http://")):
        raise DownloadError(
            f"HF_ENDPOINT is {address!r}, which is no address. Write it with its scheme: "
            f"export HF_ENDPOINT=https://{address.rpartition('://')[2]}"
        )
    token = get_token()
    if token and not (token.isascii() and token.isprintable() and " " not in token):
        place = "HF_TOKEN" if os.environ.get("HF_TOKEN") else "the token that `hf auth login` stored"
        raise DownloadError(
            f"{place} holds characters that no access token has, such as typographic quotes or blanks. Copy the token "
            "anew, then run the command again."
        )


def _kept_bytes(source: _Source, remote: _Remote) -> int:
    if remote.is_cached:
        return remote.size_bytes
    part = _part(source, remote)
    return min(part.stat().st_size, remote.size_bytes) if part.exists() else 0


def _fetch(
    source: _Source, remote: _Remote, sha256: str | None, on_fetch: OnBytes | None, on_hash: OnBytes | None
) -> Path:
    """Make the blob, then let huggingface_hub write what belongs to it: the snapshot's link and the branch's ref."""
    from huggingface_hub import hf_hub_download

    blob = _blobs_folder(source.repo) / remote.etag
    if not remote.is_cached:
        part = _part(source, remote)
        with _only_one_process(source, part):
            _require_space(source, part, remote.size_bytes)
            _transfer(source, remote, part, on_fetch)
            found = digests.digest(part, on_hash)
            expected = sha256 or remote.sha256 or found
            _refuse_mismatch(source.name, part, found, expected, "models.toml" if sha256 else "the hub")
            os.replace(part, blob)
            digests.remember(blob, found)  # under the lock nobody else wrote to it
    here = Path(hf_hub_download(source.repo, source.file, revision=source.revision))
    if not here.is_symlink():  # then the snapshot holds the file itself
        if remote.sha256:
            digests.remember_stated(here, remote.sha256)
        if not remote.is_cached:
            blob.unlink(missing_ok=True)  # no second copy
    return here


def _drop_stale_parts(source: _Source) -> None:
    """Remove what is left of unfinished downloads of a file that is here, unless another process goes on with one."""
    for part in _parts(source):
        with contextlib.suppress(DownloadError), _only_one_process(source, part):
            part.unlink(missing_ok=True)


def _transfer(source: _Source, remote: _Remote, part: Path, on_fetch: OnBytes | None) -> None:
    """Append to `part` until it is complete; after a broken connection ask for the rest."""
    http = _http_library()
    waits_s = iter(RETRY_WAITS_S)
    while (start := part.stat().st_size if part.exists() else 0) != remote.size_bytes:
        try:
            _stream(source, remote, part, start, on_fetch)
        except http.ProxyError:
            raise
        except http.TransportError:
            if part.exists() and part.stat().st_size > start:
                waits_s = iter(RETRY_WAITS_S)
            wait_s = next(waits_s, None)
            if wait_s is None:
                raise
            time.sleep(wait_s)


def _stream(source: _Source, remote: _Remote, part: Path, start: int, on_fetch: OnBytes | None) -> None:
    from huggingface_hub import constants, get_session, hf_hub_url, hf_raise_for_status
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # documented, not in an __all__

    # The hub's own address at the commit, not the signed one it redirects to: that one expires.
    url = hf_hub_url(source.repo, source.file, revision=remote.commit)
    headers = build_hf_headers(library_name="llamadiv", library_version=__version__)
    headers["Accept-Encoding"] = "identity"
    if 0 < start < remote.size_bytes:
        headers["Range"] = f"bytes={start}-"
    with get_session().stream("GET", url, headers=headers, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT) as response:
        hf_raise_for_status(response)
        continues = response.status_code == 206
        if continues and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            raise DownloadError(
                f"{source.name}: {endpoint()} sent another part of the file than was asked for. "
                f"Remove what is here with `llamadiv models rm {source.name}`, then pull again."
            )
        done = start if continues else 0
        with part.open("ab" if continues else "wb") as file:
            for chunk in response.iter_bytes():
                file.write(chunk)
                done += len(chunk)
                if on_fetch:
                    on_fetch(done, remote.size_bytes)
    if done != remote.size_bytes:
        raise _http_library().RemoteProtocolError(f"the connection ended after {done} of {remote.size_bytes} bytes")


def _require_space(source: _Source, part: Path, size_bytes: int) -> None:
    missing_bytes = size_bytes - (part.stat().st_size if part.exists() else 0)
    free_bytes = shutil.disk_usage(part.parent).free
    if missing_bytes > free_bytes:
        raise DownloadError(
            f"{source.name} needs {readable_bytes(missing_bytes)} more, but {part.parent} has only "
            f"{readable_bytes(free_bytes)} free. Free some space, or point HF_HOME at another disk."
        )


@contextlib.contextmanager
def _only_one_process(source: _Source, part: Path) -> Iterator[None]:
    """Two processes appending to one part file would spoil it."""
    from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]  # as above

    part.parent.mkdir(parents=True, exist_ok=True)
    locks_folder = cache_folder() / ".locks" / part.parent.parent.name
    locks_folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(WeakFileLock(locks_folder / f"{part.name}.lock", timeout=0.2))
        except TimeoutError as error:
            raise DownloadError(
                f"{source.name} is being fetched by another process. Wait until it ends, then run the command again."
            ) from error
        yield


# --- Removing --------------------------------------------------------------------------------------------------------


def remove(repo: str, file: str, revision: str | None = None, *, name: str | None = None) -> int:
    """Remove a model of one revision from the cache, with what is left of unfinished downloads; the bytes freed.

    A blob that another revision or another file needs stays. Raises DownloadError where there is nothing to remove.
    """
    sources = _sources(repo, file, revision, name)
    if not any(_find(source) or _parts(source) for source in sources):
        raise DownloadError(f"{sources[0].name} is not on this machine; there is nothing to remove.")
    return sum(map(_remove, sources))


def _remove(source: _Source) -> int:
    here = _find(source)
    with _translated(source):
        parts = _parts(source)
        freed_bytes = sum(part.stat().st_size for part in parts)
        for part in parts:
            part.unlink()
        return freed_bytes + (_remove_cached(source, here) if here else 0)


def _remove_cached(source: _Source, here: Path) -> int:
    from huggingface_hub import scan_cache_dir

    scan = scan_cache_dir()
    repos = [one for one in scan.repos if one.repo_type == "model" and one.repo_id == source.repo]
    for repo, revision in [(one, revision) for one in repos for revision in one.revisions]:
        entry = next((cached for cached in revision.files if _is_same_entry(cached.file_path, here)), None)
        if entry is not None:
            # Of this repository alone: delete_revisions goes by the commit, which a duplicated repository has too.
            alone = replace(scan, repos=frozenset({repo}))
            is_last = len(revision.files) == 1
            strategy = alone.delete_revisions(revision.commit_hash) if is_last else alone.delete_files(entry)
            strategy.execute()
            if os.path.lexists(here):  # execute() only logs a refusal
                raise DownloadError(f"{here} could not be removed. Check the permissions of its folder.")
            return strategy.expected_freed_size
    reasons = [str(warning) for warning in scan.warnings if _repo_folder(source.repo).name in str(warning)]
    raise DownloadError(
        f"The cache of {source.repo} is damaged ({'; '.join(reasons) or 'it could not be scanned'}). "
        f"Remove the folder {_repo_folder(source.repo)} by hand, then pull again."
    )


def _is_same_entry(one: Path, other: Path) -> bool:
    # Not resolve() on the files, which leads to a blob that several revisions share.
    return one.name == other.name and one.parent.resolve() == other.parent.resolve()


# --- Places in the cache ---------------------------------------------------------------------------------------------


@functools.cache
def _prepare_client() -> None:
    """Import huggingface_hub with settings that it reads at that moment; what the user has set stays."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # it fetches a list of AI agents to name in each request
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # progress is the caller's
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # a warning would stand beside our own sentence
    os.environ.setdefault("HF_HUB_DISABLE_SYMLINKS_WARNING", "1")
    try:
        importlib.import_module("huggingface_hub.file_download")
    except ValueError as error:
        raise DownloadError(
            f"huggingface_hub cannot start: {error}. Check HF_ENDPOINT and the other HF_ variables, then run the "
            "command again."
        ) from error


def cache_folder() -> Path:
    """The cache that Hugging Face tools share."""
    _prepare_client()
    from huggingface_hub import constants

    folder = os.path.expanduser(constants.HF_HUB_CACHE)
    if folder.startswith("~"):  # the client would make a folder of that name where one stands
        raise DownloadError("There is no home directory for model files. Name a folder: export HF_HOME=/path/to/folder")
    return Path(folder)


def endpoint() -> str:
    """The address of the hub, as HF_ENDPOINT says."""
    _prepare_client()
    from huggingface_hub import constants

    return constants.ENDPOINT


def _repo_folder(repo: str) -> Path:
    from huggingface_hub.file_download import repo_folder_name

    return cache_folder() / repo_folder_name(repo_id=repo, repo_type="model")


def _blobs_folder(repo: str) -> Path:
    return _repo_folder(repo) / "blobs"


def _part(source: _Source, remote: _Remote) -> Path:
    return _blobs_folder(source.repo) / f"{remote.etag}.{_flat(source.file)}{PART_ENDING}"


def _parts(source: _Source) -> list[Path]:
    """What is left of downloads of the file, whichever version of it they were."""
    _prepare_client()
    folder = _blobs_folder(source.repo)
    if not folder.is_dir():
        return []
    ending = _flat(source.file) + PART_ENDING
    return [part for part in folder.iterdir() if part.name.partition(".")[2] == ending]


def _flat(file: str) -> str:
    return file.replace("/", "--")


# --- Foreign errors --------------------------------------------------------------------------------------------------

_AGAIN = "then run the command again: a started download continues."
_SENTENCES = {
    "offline": "{name} is not on this machine and may not be fetched: HF_HUB_OFFLINE or "
    "TRANSFORMERS_OFFLINE is set. Unset it, " + _AGAIN,
    "gated": "{repo} is gated: its owner wants a licence accepted first. Accept it at {endpoint}/{repo}, log in with "
    "`hf auth login` or set HF_TOKEN, " + _AGAIN,
    "no repository": "The hub has no model {repo}, or it is private. Check the name at {endpoint}/{repo}; for a "
    "private one log in with `hf auth login` or set HF_TOKEN.",
    "no revision": "{repo} has no revision {revision}. {endpoint}/{repo}/commits/main lists them; "
    "correct the reference.",
    "no file": "{repo} has no file {file} at revision {revision}. {endpoint}/{repo}/tree/{revision} lists its files; "
    "correct the reference.",
    "denied": "The hub refused access to {repo} (status {status}). Log in with `hf auth login` or set HF_TOKEN; if the "
    "model is gated, first accept its licence at {endpoint}/{repo}.",
    "nothing there": "{endpoint} has no {file} in {repo} at revision {revision} (status 404). Check the reference, and "
    "HF_ENDPOINT if it is set.",
    "too many": "The hub asks for a pause (status 429, too many requests). Wait some minutes, or log in with "
    "`hf auth login` for a higher limit, " + _AGAIN,
    "status": "{endpoint} answered with status {status}. Try later, " + _AGAIN,
    "proxy": "The proxy refused the connection to {endpoint}: {error}. Check HTTPS_PROXY, HTTP_PROXY and NO_PROXY, "
    + _AGAIN,
    "network": "{endpoint} cannot be reached: {error}. Check the network, HF_ENDPOINT and the proxy settings, "
    + _AGAIN,
    "proxy setting": "The proxy settings cannot be used: {error}. Check HTTPS_PROXY, HTTP_PROXY and ALL_PROXY, "
    + _AGAIN,
    "package": "A package is missing: {error}. Install it (for a SOCKS proxy: `pip install socksio`), " + _AGAIN,
    "full": "The disk of {folder} is full; what was fetched is kept. Free some space, " + _AGAIN,
    "disk": "{path}: {error}. Check the permissions, or choose another folder with HF_HOME, " + _AGAIN,
    "name": "hf:{repo}:{file} is no name of a file on the hub: {error}. Correct the reference.",
}
_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_STATUS_SENTENCES = {401: "denied", 403: "denied", 404: "nothing there", 407: "proxy", 429: "too many"}


@contextlib.contextmanager
def _translated(source: _Source) -> Iterator[None]:
    """Everything that huggingface_hub, its HTTP library and the disk raise, as one DownloadError."""
    http = _http_library()
    try:
        yield
    except (http.HTTPError, http.InvalidURL, OSError, ValueError, ImportError) as error:
        raise DownloadError(_sentence(error, source)) from error


def _http_library() -> Any:
    """The HTTP library that huggingface_hub chose: httpx2 now, httpx before."""
    _prepare_client()
    from huggingface_hub.errors import HfHubHTTPError

    base = next(kind for kind in HfHubHTTPError.__mro__ if kind.__name__ == "HTTPError")
    return importlib.import_module(base.__module__.partition(".")[0])


def _sentence(error: BaseException, source: _Source) -> str:
    key = _sentence_key(error)
    response = getattr(error, "response", None)
    reason = error.strerror if key == "disk" and isinstance(error, OSError) else str(error)
    return _SENTENCES[key].format(
        name=source.name,
        repo=source.repo,
        file=source.file,
        revision=source.revision,
        endpoint=endpoint(),
        folder=cache_folder(),
        path=getattr(error, "filename", None) or cache_folder(),
        status=getattr(response, "status_code", ""),
        error=" ".join(str(reason or error).split()).rstrip(".") or type(error).__name__,
    )


def _sentence_key(error: BaseException) -> str:
    from huggingface_hub import errors

    http = _http_library()
    # The first class that fits decides, so the narrower ones come first.
    by_class: list[tuple[tuple[type[BaseException], ...], str]] = [
        ((errors.OfflineModeIsEnabled,), "offline"),
        ((errors.GatedRepoError,), "gated"),
        ((errors.RevisionNotFoundError,), "no revision"),
        ((errors.RemoteEntryNotFoundError,), "no file"),
        ((errors.RepositoryNotFoundError,), "no repository"),
        ((errors.DisabledRepoError,), "denied"),
        ((http.ProxyError,), "proxy"),
    ]
    for classes, key in by_class:
        if isinstance(error, classes):
            return key
    if isinstance(error, errors.HfHubHTTPError):
        return _STATUS_SENTENCES.get(error.response.status_code, "status")
    if isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__ is not None:
        return _sentence_key(error.__cause__)
    if isinstance(error, http.HTTPError | http.InvalidURL):
        return "network"
    if isinstance(error, OSError):
        return "full" if error.errno in _FULL else "disk"
    if isinstance(error, ImportError):
        return "package"
    return "proxy setting" if "proxy" in str(error).lower() else "name"
