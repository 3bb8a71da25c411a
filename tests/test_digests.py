"""The digests of files: read once, and again when a file has changed in any way that can be told."""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import random
import subprocess
import time
from pathlib import Path

import pytest

from llama_diversity import digests, paths
from llama_diversity.errors import ModelFileError

pytestmark = pytest.mark.own_cache

CONTENT = random.Random(0).randbytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OTHER = random.Random(1).randbytes(300_000)
OTHER_SHA256 = hashlib.sha256(OTHER).hexdigest()


def settled(path: Path) -> Path:
    """`path`, once its last change is further back than a step of the file system's clock."""
    stat = path.stat()
    step_ns = digests.CLOCK_STEP_NS if stat.st_ctime_ns % 10**9 else digests.COARSE_CLOCK_STEP_NS
    while time.time_ns() - stat.st_ctime_ns <= step_ns:
        pass
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "m.gguf"
    path.write_bytes(CONTENT)
    return settled(path)


def calls_of_digest(path: Path, **options: bool) -> tuple[str, list[tuple[int, int]]]:
    calls: list[tuple[int, int]] = []
    return digests.digest(path, lambda done, total: calls.append((done, total)), **options), calls


def test_digest_reads_once(model):
    assert calls_of_digest(model) == (SHA256, [(300_000, 300_000)])
    assert calls_of_digest(model) == (SHA256, [])
    assert calls_of_digest(model, fresh=True) == (SHA256, [(300_000, 300_000)])


def test_digest_reads_again_when_the_file_has_changed(model):
    digests.digest(model)
    before = model.stat()
    model.write_bytes(OTHER)
    os.utime(model, ns=(before.st_atime_ns, before.st_mtime_ns + 1))  # the same size, another moment
    assert calls_of_digest(settled(model)) == (OTHER_SHA256, [(300_000, 300_000)])


@pytest.mark.parametrize("how", ["copied over", "moved over", "written by the page"])
def test_another_file_of_the_same_size_and_time_is_not_taken_for_it(model, how, tmp_path):
    digests.digest(model)
    before = model.stat()
    other = tmp_path / "other.gguf"
    other.write_bytes(OTHER)
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    if how == "copied over":
        subprocess.run(["cp", "-p", other, model], check=True)
    elif how == "moved over":
        other.rename(model)
    else:
        with model.open("r+b") as file, mmap.mmap(file.fileno(), 0) as pages:
            pages[:] = OTHER
        os.utime(model, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = model.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert calls_of_digest(settled(model)) == (OTHER_SHA256, [(300_000, 300_000)])


def test_where_no_time_and_no_number_speaks_the_bytes_do(model):
    """As on file systems whose ctime and inodes are made up: the remembered stamp is that of the other file."""
    digests.digest(model)
    table = paths.cache_dir() / "digests.json"
    remembered = json.loads(table.read_text())
    model.write_bytes(OTHER)
    digests.digest(settled(model))
    now = json.loads(table.read_text())["digests"][str(model)]
    (entry,) = remembered["digests"].values()
    entry |= {key: now[key] for key in ("size_bytes", "mtime_ns", "ctime_ns", "inode", "device")}
    table.write_text(json.dumps(remembered))
    assert calls_of_digest(model) == (OTHER_SHA256, [(300_000, 300_000)])


def test_a_change_within_one_step_of_the_clock_is_seen(tmp_path):
    path = tmp_path / "young.gguf"
    path.write_bytes(CONTENT)
    assert digests.digest(path) == SHA256  # too young to be remembered
    with path.open("r+b") as file:
        file.seek(100_000)  # a byte that no probe reads
        file.write(bytes([CONTENT[100_000] ^ 1]))
    assert digests.digest(path) == hashlib.sha256(path.read_bytes()).hexdigest() != SHA256


@pytest.mark.parametrize("how", ["written to", "replaced", "cut"])
def test_a_file_that_changes_while_it_is_read_is_refused(model, how, tmp_path):
    def change(done: int, total: int) -> None:
        if how == "replaced":
            (tmp_path / "other.gguf").write_bytes(CONTENT)
            (tmp_path / "other.gguf").rename(model)
        else:
            model.write_bytes(OTHER if how == "written to" else CONTENT[:-1])

    with pytest.raises(ModelFileError, match="it changed while it was read. Run the command again"):
        digests.digest(model, change)


def test_a_time_to_come_does_not_make_a_file_young(model):
    os.utime(model, (2**33, 2**33))
    digests.digest(settled(model))
    assert calls_of_digest(model) == (SHA256, [])


def test_hard_links_are_one_file_under_two_names(model, tmp_path):
    (tmp_path / "twin.gguf").hardlink_to(model)
    assert digests.digest(settled(model)) == digests.digest(tmp_path / "twin.gguf") == SHA256
    (tmp_path / "twin.gguf").write_bytes(OTHER)
    assert digests.digest(model) == OTHER_SHA256


def test_digest_goes_by_the_file_behind_a_link(model, tmp_path):
    (tmp_path / "link.gguf").symlink_to(model)
    digests.digest(model)
    assert calls_of_digest(tmp_path / "link.gguf") == (SHA256, [])


@pytest.mark.parametrize(
    "table",
    [
        b"",
        b"{",
        b"\xff",
        b"[]",
        b'{"digests": 3}',
        b'{"digests": {"PATH": 3}}',
        b'{"digests": {"PATH": {"size_bytes": 300000, "mtime_ns": MTIME, "sha256": 3}}}',
        b'{"digests": {"PATH": {"size_bytes": 300000, "mtime_ns": MTIME, "sha256": "abc"}}}',
        b'{"digests": {"PATH": {"size_bytes": 299999, "mtime_ns": MTIME, "sha256": "' + b"a" * 64 + b'"}}}',
    ],
)
def test_a_damaged_table_of_digests_is_rebuilt(table, model):
    place = paths.cache_dir() / "digests.json"
    place.parent.mkdir(parents=True)
    mtime = str(model.stat().st_mtime_ns).encode()
    place.write_bytes(table.replace(b"PATH", str(model).encode()).replace(b"MTIME", mtime))
    assert calls_of_digest(model) == (SHA256, [(300_000, 300_000)])
    assert calls_of_digest(model) == (SHA256, [])
    assert [one.name for one in place.parent.iterdir()] == ["digests.json"]


def test_digest_needs_no_table(model):
    paths.cache_dir().parent.mkdir(parents=True)
    paths.cache_dir().write_text("a file where the folder should be")
    assert calls_of_digest(model) == calls_of_digest(model) == (SHA256, [(300_000, 300_000)])


def test_digest_of_no_file(tmp_path):
    with pytest.raises(ModelFileError, match=r"gone.gguf: No such file or directory\. Check the path"):
        digests.digest(tmp_path / "gone.gguf")
    with pytest.raises(ModelFileError, match="Is a directory"):
        digests.digest(tmp_path)
