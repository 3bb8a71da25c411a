"""Fetching, checking and removing through the real huggingface_hub client, against a hub on 127.0.0.1.

huggingface_hub reads its settings when it is imported, so each step runs in a process of its own, as it does for a
user. What needs no client runs here.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import random
import resource
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from hub_server import COMMIT, FakeHub, HubFile, Machine

from llama_diversity import hub
from llama_diversity.errors import ChecksumMismatch, DownloadError, ModelFileError

CONTENT = random.Random(0).randbytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OTHER = random.Random(1).randbytes(300_000)
OTHER_SHA256 = hashlib.sha256(OTHER).hexdigest()
REPO, FILE = "org/repo", "m.gguf"
REFERENCE = f"hf:{REPO}:{FILE}"


@pytest.fixture
def server():
    """A hub with one file."""
    fake = FakeHub()
    fake.add(REPO, FILE, CONTENT)
    yield fake
    fake.close()


@pytest.fixture
def machine(tmp_path: Path, server: FakeHub) -> Machine:
    """A user's machine that asks `server`."""
    return Machine(tmp_path, server.url)


def part_of(machine: Machine) -> Path:
    (part,) = machine.cache.glob("models--*/blobs/*.incomplete")
    return part


def snapshot_of(machine: Machine, commit: str = COMMIT) -> Path:
    return machine.cache / "models--org--repo" / "snapshots" / commit / FILE


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_check_names_who_states_the_digest(tmp_path):
    model, blob = tmp_path / "m.gguf", tmp_path / "blobs" / SHA256
    blob.parent.mkdir()
    blob.write_bytes(CONTENT)
    model.symlink_to(blob)
    other = "0" * 64
    assert hub.check_sha256("m", [model], [SHA256], pinned=SHA256) == "models.toml"
    assert hub.check_sha256("m", [model], [SHA256], pinned=None) == "the hub"
    assert hub.check_sha256("m", [blob], [SHA256], pinned=None) is None
    with pytest.raises(ChecksumMismatch, match=rf"have sha256 {SHA256}, but models.toml states {other}: .* It is kept"):
        hub.check_sha256("m", [model], [SHA256], pinned=other)
    with pytest.raises(ChecksumMismatch, match=r"the hub states .* Remove it with `llamadiv models rm m`, then pull"):
        hub.check_sha256("m", [model], [other], pinned=None)


def test_commit_of_a_cache_in_a_folder_called_snapshots():
    path = Path("/data/snapshots/hub/models--o--r/snapshots/abc/snapshots/m.gguf")
    assert hub.commit_of(path) == "abc"
    with pytest.raises(ModelFileError, match="not in the Hugging Face cache"):
        hub.commit_of(Path("/data/snapshots/m.gguf"))


# --- Pulling ---------------------------------------------------------------------------------------------------------


def test_pull_fetches_checks_and_links(machine, server):
    result = machine.run("pull", REFERENCE, "--json")
    assert result.returncode == 0, result.stderr
    (pulled,) = json.loads(result.stdout)["files"]
    assert pulled == {
        "model": REFERENCE,
        "path": str(snapshot_of(machine)),
        "size_bytes": 300_000,
        "sha256": SHA256,
        "commit": COMMIT,
        "transferred_bytes": 300_000,
        "stated_by": "the hub",
    }
    assert snapshot_of(machine).read_bytes() == CONTENT
    assert os.readlink(snapshot_of(machine)) == f"../../blobs/{SHA256}"
    assert (machine.cache / "models--org--repo/refs/main").read_text() == COMMIT
    assert [request.range for request in server.state.gets()] == [None]
    # Nothing but the file is asked for: no telemetry, no list of agents.
    assert {request.path.split("/resolve/")[0] for request in server.state.requests} == {"/org/repo"}


def test_pull_of_what_is_here_touches_no_network(machine, server):
    machine.run("pull", REFERENCE)
    server.state.requests.clear()
    result = machine.run("pull", REFERENCE, "--json", env={"HF_HUB_OFFLINE": "1"})
    assert json.loads(result.stdout)["files"][0]["transferred_bytes"] == 0
    assert server.state.requests == []


def test_a_dry_run_transfers_no_body(machine, server):
    result = machine.run("pull", REFERENCE, "--dry-run", "--json")
    (planned,) = json.loads(result.stdout)["files"]
    assert (planned["size_bytes"], planned["missing_bytes"], planned["sha256"]) == (300_000, 300_000, SHA256)
    assert planned["commit"] == COMMIT
    assert server.state.gets() == []
    assert list(machine.cache.rglob("*.gguf*")) == []


def test_a_broken_transfer_is_continued_by_the_next_pull(machine, server):
    server.state.cut_after_bytes = 100_000
    server.state.get_statuses = [0, 503]
    failed = machine.run("pull", REFERENCE)
    assert failed.returncode == 1
    assert failed.stderr.endswith(
        "answered with status 503. Try later, then run the command again: a started download continues.\n"
    )
    assert part_of(machine).read_bytes() == CONTENT[:100_000]
    assert not snapshot_of(machine).exists()
    planned = json.loads(machine.run("pull", REFERENCE, "--dry-run", "--json").stdout)["files"][0]
    assert (planned["fetched_bytes"], planned["missing_bytes"]) == (100_000, 200_000)

    server.state.requests.clear()
    result = machine.run("pull", REFERENCE, "--json")
    assert json.loads(result.stdout)["files"][0]["transferred_bytes"] == 200_000
    (request,) = server.state.gets()
    assert (request.range, request.status, request.body_bytes) == ("bytes=100000-", 206, 200_000)
    assert snapshot_of(machine).read_bytes() == CONTENT
    assert list(machine.cache.rglob("*.incomplete")) == []


def test_a_connection_that_breaks_once_is_continued_at_once(machine, server):
    server.state.cut_after_bytes = 100_000
    result = machine.run("pull", REFERENCE)
    assert result.returncode == 0, result.stderr
    assert [request.range for request in server.state.gets()] == [None, "bytes=100000-"]
    assert sum(request.body_bytes for request in server.state.gets()) == 300_000
    assert snapshot_of(machine).read_bytes() == CONTENT


def test_ctrl_c_keeps_what_was_fetched(machine, server):
    server.state.pause_after_bytes = 100_000
    server.state.resume.clear()
    process = machine.start("pull", REFERENCE)
    assert server.state.paused.wait(30)
    while not has_part(machine, 100_000):  # what the server has sent may still be on its way to the disk
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    server.state.resume.set()
    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert part_of(machine).read_bytes() == CONTENT[:100_000]
    assert machine.run("pull", REFERENCE).returncode == 0
    assert server.state.gets()[-1].range == "bytes=100000-"
    assert snapshot_of(machine).read_bytes() == CONTENT


def has_part(machine: Machine, n_bytes: int) -> bool:
    return [part.stat().st_size for part in machine.cache.glob("models--*/blobs/*.incomplete")] == [n_bytes]


def test_a_server_that_cannot_continue_starts_again(machine, server):
    server.state.cut_after_bytes = 100_000
    server.state.ignores_range = True
    result = machine.run("pull", REFERENCE)
    assert result.returncode == 0, result.stderr
    assert [(request.range, request.status) for request in server.state.gets()] == [(None, 200), ("bytes=100000-", 200)]
    assert snapshot_of(machine).read_bytes() == CONTENT


def test_the_token_goes_to_the_hub_and_not_to_its_cdn(machine, server):
    server.state.redirects = True
    result = machine.run("pull", REFERENCE, env={"HF_TOKEN": "hf_secret"})
    assert result.returncode == 0, result.stderr
    assert snapshot_of(machine).read_bytes() == CONTENT
    tokens = {request.path.startswith("/cdn/"): request.authorization for request in server.state.requests}
    assert tokens == {False: "Bearer hf_secret", True: None}


def test_two_processes_do_not_write_one_part(machine, server):
    server.state.pause_after_bytes = 100_000
    server.state.resume.clear()
    first = machine.start("pull", REFERENCE)
    assert server.state.paused.wait(30)
    second = machine.run("pull", REFERENCE)
    server.state.resume.set()
    assert second.returncode == 1
    assert "is being fetched by another process. Wait until it ends, then run the command again." in second.stderr
    assert first.communicate(timeout=30)[0]
    assert first.returncode == 0
    assert snapshot_of(machine).read_bytes() == CONTENT


def test_bytes_that_are_here_under_another_commit_are_only_linked(machine, server):
    machine.run("pull", REFERENCE)
    server.state.requests.clear()
    later = "2" * 40
    server.state.revisions["v2"] = later
    result = machine.run("pull", f"{REFERENCE}@v2")
    assert result.returncode == 0, result.stderr
    assert server.state.gets() == []
    assert snapshot_of(machine, later).read_bytes() == CONTENT
    assert len(list((machine.cache / "models--org--repo/blobs").iterdir())) == 1


def test_without_symbolic_links_there_is_still_one_copy(machine):
    result = machine.run("pull", REFERENCE, env={"HF_HUB_DISABLE_SYMLINKS": "1"})
    assert result.returncode == 0, result.stderr
    copies = [path for path in machine.cache.rglob("*") if path.is_file() and path.stat().st_size == 300_000]
    assert copies == [snapshot_of(machine)]
    assert not snapshot_of(machine).is_symlink()


def test_without_symbolic_links_the_hubs_sha256_is_remembered(machine):
    without = {"HF_HUB_DISABLE_SYMLINKS": "1"}
    pulled = machine.run("pull", REFERENCE, env=without)
    assert "sha256 as the hub states" in pulled.stdout
    snapshot_of(machine).write_bytes(CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]))
    damaged = machine.run("verify", REFERENCE, env=without)
    assert damaged.returncode == 1
    assert f"the hub states {SHA256}" in damaged.stderr


def test_what_is_left_of_older_downloads_goes_once_the_file_is_here(machine):
    blobs = machine.cache / "models--org--repo/blobs"
    blobs.mkdir(parents=True)
    stale = blobs / f"{'0' * 64}.{FILE}.llamadiv.incomplete"
    stale.write_bytes(b"of another version")
    other = blobs / f"{'0' * 64}.other.gguf.llamadiv.incomplete"
    other.write_bytes(b"of another file")
    assert machine.run("pull", REFERENCE).returncode == 0
    assert (stale.exists(), other.exists()) == (False, True)
    stale.write_bytes(b"left by a kill while another tool fetched the file")
    assert machine.run("pull", REFERENCE).returncode == 0
    assert not stale.exists()


# --- Checksums -------------------------------------------------------------------------------------------------------


def test_other_bytes_than_the_hub_states(machine, server):
    server.state.files[REPO, FILE] = HubFile(CONTENT[::-1], stated_sha256=SHA256)
    result = machine.run("pull", REFERENCE)
    assert result.returncode == 1
    assert f"but the hub states {SHA256}: the file is damaged or another one. It is kept." in result.stderr
    assert f"Remove it with `llamadiv models rm {REFERENCE}`, then pull it again." in result.stderr
    assert part_of(machine).read_bytes() == CONTENT[::-1]
    assert not snapshot_of(machine).exists()

    server.state.requests.clear()
    assert machine.run("pull", REFERENCE).returncode == 1  # still not that file, and not fetched once more
    assert server.state.gets() == []

    server.state.files[REPO, FILE] = HubFile(CONTENT)
    assert machine.run("rm", REFERENCE, "--yes").returncode == 0
    assert machine.run("pull", REFERENCE).returncode == 0
    assert snapshot_of(machine).read_bytes() == CONTENT


def test_another_file_than_models_toml_pins_is_not_fetched(machine, server):
    machine.name("mine", repo=REPO, file=FILE, sha256="0" * 64)
    result = machine.run("pull", "mine")
    assert result.returncode == 1
    assert f"the hub states sha256 {SHA256} for m.gguf of org/repo at revision main" in result.stderr
    assert f"models.toml pins {'0' * 64}. Nothing was fetched." in result.stderr
    assert server.state.gets() == []


def test_a_file_whose_hash_the_hub_does_not_know_is_checked_against_models_toml(machine, server):
    server.state.files[REPO, FILE] = HubFile(CONTENT, stated_sha256="1" * 40)  # the git hash of a small file
    machine.name("right", repo=REPO, file=FILE, sha256=SHA256)
    machine.name("wrong", repo=REPO, file=FILE, sha256="0" * 64)
    wrong = machine.run("pull", "wrong")
    assert wrong.returncode == 1
    assert "models.toml states 000000" in wrong.stderr
    right = machine.run("pull", "right", "--json")
    assert json.loads(right.stdout)["files"][0]["stated_by"] == "models.toml"
    unknown = machine.run("pull", REFERENCE)
    assert "nobody states its sha256" in unknown.stdout


# --- What can go wrong -----------------------------------------------------------------------------------------------


def fails(machine: Machine, *phrases: str, reference: str = REFERENCE, **options: object) -> str:
    """The one sentence that a failing pull ends with."""
    result = machine.run("pull", reference, **options)
    *preface, sentence = result.stderr.splitlines()
    assert result.returncode == 1, result.stderr
    assert result.stdout == ""
    assert sentence.startswith("llamadiv: ")
    assert [line for line in preface if not line.startswith("Fetching ")] == []
    for phrase in phrases:
        assert phrase in sentence
    return sentence


REFUSALS = {
    "no repository": (404, "RepoNotFound", ["has no model org/repo, or it is private", "hf auth login"]),
    "a private repository": (401, "RepoNotFound", ["has no model org/repo, or it is private", "HF_TOKEN"]),
    "gated": (403, "GatedRepo", ["org/repo is gated", "Accept it at http://127.0.0.1", "HF_TOKEN", "hf auth login"]),
    "gated, no token": (401, "GatedRepo", ["org/repo is gated", "HF_TOKEN"]),
    "a bad token": (401, "", ["refused access to org/repo (status 401)", "HF_TOKEN", "hf auth login"]),
    "forbidden": (403, "", ["refused access to org/repo (status 403)"]),
    "a mirror without it": (404, "", ["has no m.gguf in org/repo at revision main (status 404)", "HF_ENDPOINT"]),
    "too many requests": (429, "", ["asks for a pause", "Wait some minutes"]),
    "hub down": (503, "", ["answered with status 503. Try later"]),
}


@pytest.mark.parametrize(("status", "code", "phrases"), REFUSALS.values(), ids=REFUSALS.keys())
def test_a_refusal(status, code, phrases, machine, server):
    server.state.refusal = (status, code)
    fails(machine, *phrases)
    assert server.state.gets() == []


def test_a_file_or_revision_that_is_not_there(machine):
    fails(machine, "org/repo has no file none.gguf at revision main", "/tree/main", reference="hf:org/repo:none.gguf")
    fails(machine, "org/repo has no revision v9", "/commits/main", reference=f"{REFERENCE}@v9")
    fails(machine, "The hub has no model org/none", reference="hf:org/none:m.gguf")


def test_a_server_that_is_no_hub(machine, server):
    server.state.is_hub = False
    fails(machine, "is no Hugging Face hub", "Check HF_ENDPOINT and the proxy settings")


def test_no_network(machine):
    sentence = fails(machine, "cannot be reached", env={"HF_ENDPOINT": f"http://127.0.0.1:{closed_port()}"})
    assert "Check the network, HF_ENDPOINT and the proxy settings" in sentence


def test_a_proxy_that_refuses(machine, server):
    environment = {"HF_ENDPOINT": "https://hub.invalid", "HTTPS_PROXY": server.url}
    fails(machine, "The proxy refused the connection to https://hub.invalid", "407", "HTTPS_PROXY", env=environment)
    assert [request.method for request in server.state.requests] == ["CONNECT"]


@pytest.mark.parametrize(
    ("settings", "phrase"),
    [
        ({"HF_ENDPOINT": "mirror.org"}, "HF_ENDPOINT is 'mirror.org', which is no address. Write it with its scheme:"),
        ({"HF_ENDPOINT": "ftp://mirror.org"}, "export HF_ENDPOINT=https://mirror.org"),
        ({"HF_TOKEN": "hf_“abc”"}, "HF_TOKEN holds characters that no access token has"),
        ({"HF_ENDPOINT": "http://[::"}, "huggingface_hub cannot start: Invalid IPv6 URL. Check HF_ENDPOINT"),
        ({"HTTP_PROXY": "foo://127.0.0.1:1"}, "The proxy settings cannot be used: Unknown scheme for proxy URL"),
        ({"HTTP_PROXY": "socks5://127.0.0.1:1"}, "pip install socksio"),
        ({"TRANSFORMERS_OFFLINE": "1"}, "may not be fetched: HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set"),
        ({"HF_HOME": "/proc/none"}, "/proc/none: No such file or directory. Check the permissions"),
    ],
)
def test_settings_that_cannot_work(settings, phrase, machine):
    fails(machine, phrase, env=settings)


@pytest.mark.parametrize("switch", ["--offline", "HF_HUB_OFFLINE", "LLAMADIV_OFFLINE"])
def test_offline(switch, machine, server):
    arguments = [switch] if switch.startswith("--") else []
    environment = {} if arguments else {switch: "1"}
    result = machine.run("pull", REFERENCE, *arguments, env=environment)
    assert result.returncode == 1
    assert "is not on this machine and the network is off" in result.stderr
    assert result.stderr.endswith(f"Allow it, then run: llamadiv models pull {REFERENCE}\n")
    assert server.state.requests == []


def test_a_disk_that_is_too_small(machine, server):
    server.state.files[REPO, FILE].stated_size = 10**18
    fails(machine, f"{REFERENCE} needs 1000000000 GB more, but ", "HF_HOME")
    assert server.state.gets() == []


def test_a_disk_that_fills_up(machine):
    def no_file_beyond_150_kilobytes() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))

    fails(machine, "is full; what was fetched is kept", preexec_fn=no_file_beyond_150_kilobytes)
    assert part_of(machine).read_bytes() == CONTENT[:150_000]
    assert machine.run("pull", REFERENCE).returncode == 0


def foreign_errors() -> list[BaseException]:
    """One of every error that huggingface_hub and its HTTP library can raise while they talk to a hub."""
    import httpx2
    from huggingface_hub import errors

    request = httpx2.Request("GET", "http://hub/")
    response = httpx2.Response(500, request=request)
    raised: list[BaseException] = [OSError(28, "No space left on device"), ValueError("x"), ImportError("x")]
    for name, kind in [*vars(httpx2).items(), *vars(errors).items()]:
        if not (inspect.isclass(kind) and issubclass(kind, (httpx2.HTTPError, OSError, ValueError, httpx2.InvalidURL))):
            continue
        if name in ("IncompleteSnapshotError", "HfUriError", "StrictDataclassFieldValidationError"):
            continue  # of calls that are not made here
        if issubclass(kind, errors.HfHubHTTPError):
            raised.append(kind("x", response=response))
        elif kind is httpx2.HTTPStatusError:
            raised.append(kind("x", request=request, response=response))
        else:
            raised.append(kind("x"))
    return raised


@pytest.mark.parametrize("error", foreign_errors(), ids=lambda error: type(error).__name__)
def test_every_foreign_error_becomes_a_sentence(error, monkeypatch):
    def raises(*args: object, **options: object) -> None:
        raise error

    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", raises)
    with pytest.raises(DownloadError) as caught:
        hub.locate(REPO, FILE)
    assert caught.value.__cause__ is error
    assert str(caught.value).endswith(".")
    assert "{" not in str(caught.value)


# --- Removing --------------------------------------------------------------------------------------------------------


def rm(machine: Machine, reference: str) -> subprocess.CompletedProcess[str]:
    return machine.run("rm", reference, "--yes", "--json")


def freed_bytes(result: subprocess.CompletedProcess[str]) -> int:
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)["removed"][0]["freed_bytes"]


def test_rm_of_the_only_file_leaves_nothing(machine):
    machine.run("pull", REFERENCE)
    assert freed_bytes(rm(machine, REFERENCE)) == 300_000
    assert not (machine.cache / "models--org--repo").exists()
    again = rm(machine, REFERENCE)
    assert again.returncode == 1
    assert f"{REFERENCE} is not on this machine; there is nothing to remove." in again.stderr


def test_rm_keeps_bytes_that_another_revision_shares(machine, server):
    later = "2" * 40
    server.state.revisions["v2"] = later
    machine.run("pull", REFERENCE, f"{REFERENCE}@v2")
    assert freed_bytes(rm(machine, REFERENCE)) == 0
    assert not snapshot_of(machine).exists()
    assert snapshot_of(machine, later).read_bytes() == CONTENT
    assert freed_bytes(rm(machine, f"{REFERENCE}@v2")) == 300_000


def test_rm_keeps_the_other_files_of_the_revision(machine, server):
    server.add(REPO, "other.gguf", b"other")
    machine.run("pull", REFERENCE, f"hf:{REPO}:other.gguf")
    assert freed_bytes(rm(machine, REFERENCE)) == 300_000
    assert not snapshot_of(machine).exists()
    assert snapshot_of(machine).with_name("other.gguf").read_bytes() == b"other"


def test_rm_takes_an_unfinished_download(machine, server):
    server.state.cut_after_bytes = 100_000
    server.state.get_statuses = [0, 503]
    machine.run("pull", REFERENCE)
    assert freed_bytes(rm(machine, REFERENCE)) == 100_000
    assert list(machine.cache.rglob("*.incomplete")) == []


def test_rm_in_a_damaged_cache_says_which_folder(machine):
    machine.run("pull", REFERENCE)
    (machine.cache / "models--org--repo/refs/broken").write_text("3" * 40)
    result = rm(machine, REFERENCE)
    assert result.returncode == 1
    assert "The cache of org/repo is damaged" in result.stderr
    assert f"Remove the folder {machine.cache / 'models--org--repo'} by hand, then pull again." in result.stderr
    assert snapshot_of(machine).exists()
