"""Model files on the Hugging Face hub and in the cache that every Hugging Face tool on this machine shares.

It knows repositories, files, revisions, bytes and digests. It refuses to know aliases and pairs (registry) and what a
GGUF contains (engines), and it touches the network in `plan` and `pull` only. HF_HOME, HF_HUB_CACHE, HF_ENDPOINT,
HF_TOKEN and HF_HUB_OFFLINE mean what they mean to `hf`.

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
import hashlib
import importlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from llama_diversity import __version__, paths
from llama_diversity.errors import ChecksumMismatch, DownloadError, ModelFileError

OnBytes = Callable[[int, int], None]  # bytes done, bytes in all

RETRY_WAITS_S = (0.0, 1.0, 2.0, 4.0)  # after a broken connection; begins anew whenever bytes have come
HASH_CHUNK_BYTES = 4 * 2**20
PART_ENDING = ".llamadiv.incomplete"

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Plan:
    """What a pull would do. `path` is None while the file is not here; `fetched_bytes` are kept from an earlier try."""

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
    """A file that is here, read to its end: `stated_by` says whose sha256 it equals, None where nobody states one."""

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


def _source(repo: str, file: str, revision: str | None, name: str | None) -> _Source:
    reference = f"hf:{repo}:{file}" + (f"@{revision}" if revision else "")
    return _Source(repo, file, revision or "main", name or reference)


# --- Questions that need no network ----------------------------------------------------------------------------------


def locate(repo: str, file: str, revision: str | None = None) -> Path | None:
    """The file in the cache, None if it is not here. Without a revision, the `main` of the last download."""
    _prepare_client()
    from huggingface_hub import try_to_load_from_cache

    source = _source(repo, file, revision, None)
    with _translated(source):
        found = try_to_load_from_cache(repo, file, revision=source.revision)
    return Path(found) if isinstance(found, str) else None


def partial_bytes(repo: str, file: str) -> int:
    """Bytes kept from an unfinished download of `file`."""
    with _translated(_source(repo, file, None, None)):
        return max((part.stat().st_size for part in _parts(repo, file)), default=0)


def commit_of(path: Path) -> str:
    """The commit that a located file belongs to: the cache keeps it as `models--REPO/snapshots/COMMIT/FILE`."""
    for folder, inside, commit in zip(path.parts, path.parts[1:], path.parts[2:], strict=False):
        if folder.startswith("models--") and inside == "snapshots":
            return commit
    raise ModelFileError(path, "it is not in the Hugging Face cache", next_step="Ask for it by its repository.")


def stated_sha256(path: Path) -> str | None:
    """The sha256 that the hub stated when `path` was fetched: the cache names the blob by it. None if unknown."""
    if not path.is_symlink():
        return None  # a cache without symbolic links keeps no blobs
    name = Path(os.readlink(path)).name
    return name if _SHA256.fullmatch(name) else None


def digest(path: Path, on_progress: OnBytes | None = None, *, fresh: bool = False) -> str:
    """The sha256 of a file; instant where it has been computed before and the file has not changed since.

    `fresh` reads the file in any case. Raises ModelFileError.
    """
    try:
        resolved = path.resolve()
        before = resolved.stat()
        known = None if fresh else _remembered_digest(resolved, before)
        if known is None:
            known = _sha256_of(resolved, before.st_size, on_progress)
            if _stamp(resolved.stat()) == _stamp(before):
                _remember_digest(resolved, before, known)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ModelFileError(path, reason, next_step="Check the path and its permissions.") from error
    return known


def readable_bytes(n_bytes: int) -> str:
    """A size for people, in powers of 1000.

    >>> readable_bytes(4081004224), readable_bytes(144811360), readable_bytes(17)
    ('4.1 GB', '145 MB', '17 B')
    """
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if n_bytes >= factor:
            return f"{n_bytes / factor:.1f} {unit}" if n_bytes < 10 * factor else f"{n_bytes / factor:.0f} {unit}"
    return f"{n_bytes} B"


# --- Fetching --------------------------------------------------------------------------------------------------------


def plan(repo: str, file: str, revision: str | None = None, *, name: str | None = None) -> Plan:
    """What `pull` would do, from the hub's metadata; no byte of the file is fetched. Raises DownloadError."""
    source = _source(repo, file, revision, name)
    here = locate(repo, file, revision)
    if here:
        return Plan(commit_of(here), here.stat().st_size, stated_sha256(here), here, 0)
    with _translated(source):
        remote = _ask_hub(source)
        return Plan(remote.commit, remote.size_bytes, remote.sha256, None, _kept_bytes(source, remote))


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
    """The file, fetched if it is not here, with its bytes checked against `sha256` or what the hub states.

    An unfinished download is continued. A file that is here already is never replaced. Raises DownloadError.
    """
    source = _source(repo, file, revision, name)
    here = locate(repo, file, revision)
    transferred_bytes = 0
    if here is None:
        with _translated(source):
            remote = _ask_hub(source)
            _refuse_other_file(source, remote, sha256)
            transferred_bytes = remote.size_bytes - _kept_bytes(source, remote)
            here = _fetch(source, remote, sha256, on_fetch, on_hash)
    found = digest(here, on_hash)
    stated_by = check_sha256(source.name, here, found, pinned=sha256)
    return Pulled(here, commit_of(here), here.stat().st_size, found, stated_by, transferred_bytes)


def check_sha256(name: str, path: Path, found: str, *, pinned: str | None) -> str | None:
    """Who states that `path` has the sha256 `found`: models.toml, the hub, or nobody. Raises ChecksumMismatch."""
    for stated_by, expected in (("models.toml", pinned), ("the hub", stated_sha256(path))):
        if expected and expected != found:
            raise ChecksumMismatch(name, path, expected=expected, found=found, stated_by=stated_by)
        if expected:
            return stated_by
    return None


def _ask_hub(source: _Source) -> _Remote:
    _prepare_client()
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    url = hf_hub_url(source.repo, source.file, revision=source.revision)
    # Not hf_hub_download alone: it says no hash, and it retries for 23 s when there is no network.
    metadata = get_hf_file_metadata(url, library_name="llamadiv", library_version=__version__)
    if metadata.commit_hash is None or metadata.etag is None or metadata.size is None:
        raise DownloadError(
            f"What answers at {_endpoint()} is no Hugging Face hub: it names no commit, hash or size for "
            f"{source.file}. Check HF_ENDPOINT and the proxy settings, then run the command again."
        )
    # The bytes may be here under another commit or in another repository; then the cache only needs a link.
    dry_run = hf_hub_download(source.repo, source.file, revision=metadata.commit_hash, dry_run=True)
    return _Remote(metadata.commit_hash, metadata.etag, metadata.size, dry_run.is_cached)


def _kept_bytes(source: _Source, remote: _Remote) -> int:
    if remote.is_cached:
        return remote.size_bytes
    part = _part(source, remote)
    return min(part.stat().st_size, remote.size_bytes) if part.exists() else 0


def _refuse_other_file(source: _Source, remote: _Remote, sha256: str | None) -> None:
    # Said before gigabytes are fetched: the repository's file is not the one that models.toml means.
    if sha256 and remote.sha256 and remote.sha256 != sha256:
        raise DownloadError(
            f"{source.name}: the hub states sha256 {remote.sha256} for {source.file} of {source.repo} at revision "
            f"{source.revision}, but models.toml pins {sha256}. Nothing was fetched. Correct the revision or the "
            f"sha256; `llamadiv models show {source.name}` says in which file."
        )


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
            found = digest(part, on_hash)
            expected = sha256 or remote.sha256
            if expected and expected != found:
                stated_by = "models.toml" if sha256 else "the hub"
                raise ChecksumMismatch(source.name, part, expected=expected, found=found, stated_by=stated_by)
            os.replace(part, blob)
            _remember_digest(blob.resolve(), blob.stat(), found)
    here = Path(hf_hub_download(source.repo, source.file, revision=source.revision))
    if not remote.is_cached and not here.is_symlink():
        blob.unlink(missing_ok=True)  # without symbolic links the snapshot holds the file itself: no second copy
    return here


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
                f"{source.name}: {_endpoint()} sent another part of the file than was asked for. "
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
    """Remove the file of one revision from the cache, with what is left of unfinished downloads; the bytes freed.

    A blob that another revision or another file needs stays. Raises DownloadError where there is nothing to remove.
    """
    source = _source(repo, file, revision, name)
    here = locate(repo, file, revision)
    with _translated(source):
        parts = _parts(repo, file)
        freed_bytes = sum(part.stat().st_size for part in parts)
        if here is None and not parts:
            raise DownloadError(f"{source.name} is not on this machine; there is nothing to remove.")
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

    return Path(constants.HF_HUB_CACHE).expanduser()


def _endpoint() -> str:
    from huggingface_hub import constants

    return constants.ENDPOINT


def _repo_folder(repo: str) -> Path:
    from huggingface_hub.file_download import repo_folder_name

    return cache_folder() / repo_folder_name(repo_id=repo, repo_type="model")


def _blobs_folder(repo: str) -> Path:
    return _repo_folder(repo) / "blobs"


def _part(source: _Source, remote: _Remote) -> Path:
    return _blobs_folder(source.repo) / f"{remote.etag}.{_flat(source.file)}{PART_ENDING}"


def _parts(repo: str, file: str) -> list[Path]:
    """What is left of downloads of `file`, whichever version of it they were."""
    _prepare_client()
    folder = _blobs_folder(repo)
    if not folder.is_dir():
        return []
    ending = _flat(file) + PART_ENDING
    return [part for part in folder.iterdir() if part.name.partition(".")[2] == ending]


def _flat(file: str) -> str:
    return file.replace("/", "--")


# --- Digests ---------------------------------------------------------------------------------------------------------


def _sha256_of(path: Path, size_bytes: int, on_progress: OnBytes | None) -> str:
    state = hashlib.sha256()
    done = 0
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(HASH_CHUNK_BYTES):
            state.update(chunk)
            done += len(chunk)
            if on_progress:
                on_progress(done, size_bytes)
    return state.hexdigest()


def _stamp(stat: os.stat_result) -> dict[str, int]:
    return {"size_bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def _digests_path() -> Path:
    return paths.cache_dir() / "digests.json"


def _known_digests() -> dict[str, Any]:
    """The remembered digests by path; a damaged or missing table is an empty one, since it can be computed anew."""
    try:
        table = json.loads(_digests_path().read_bytes())
    except (OSError, ValueError):
        return {}
    digests = table.get("digests") if isinstance(table, dict) else None
    return digests if isinstance(digests, dict) else {}


def _remembered_digest(path: Path, stat: os.stat_result) -> str | None:
    entry = _known_digests().get(str(path))
    if not isinstance(entry, dict) or any(entry.get(key) != value for key, value in _stamp(stat).items()):
        return None
    known = entry.get("sha256")
    return known if isinstance(known, str) and _SHA256.fullmatch(known) else None


def _remember_digest(path: Path, stat: os.stat_result, sha256: str) -> None:
    table = _digests_path()
    digests = {**_known_digests(), str(path): {**_stamp(stat), "sha256": sha256}}
    unfinished = table.with_name(f"{table.name}.{os.getpid()}")
    with contextlib.suppress(OSError):  # a cache that cannot be written costs time, nothing else
        table.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(json.dumps({"version": 1, "digests": digests}, indent=1), encoding="utf-8")
        os.replace(unfinished, table)


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
        endpoint=_endpoint(),
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
