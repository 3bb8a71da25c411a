"""The cache of results: what is equal is made once, what is damaged or cannot be written is made anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from llama_diversity import cache

pytestmark = pytest.mark.own_cache


class Maker:
    """Counts how often it was asked."""

    def __init__(self) -> None:
        self.n = 0

    def __call__(self) -> dict[str, int]:
        self.n += 1
        return {"made": self.n}


def entries(home: Path) -> list[Path]:
    return sorted(home.rglob("results/*.pickle"))


def test_equal_parts_are_made_once() -> None:
    make = Maker()
    assert [cache.kept(("a", b"b"), make) for _ in range(3)] == [{"made": 1}] * 3
    assert cache.kept(("ab", b""), make) == {"made": 2}  # parts do not run into each other
    assert cache.kept(("\udcff",), make) == {"made": 3}  # a text that is no UTF-8


def test_a_damaged_entry_is_made_anew(own_folders: Path) -> None:
    make = Maker()
    cache.kept(("a",), make)
    [entry] = entries(own_folders)
    entry.write_bytes(b"\x80\x05nonsense")
    assert cache.kept(("a",), make) == {"made": 2}
    assert cache.kept(("a",), make) == {"made": 2}


def test_where_nothing_can_be_written_results_still_come(own_folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (own_folders / "file").write_text("")
    monkeypatch.setattr("llama_diversity.paths.cache_dir", lambda: own_folders / "file")
    make = Maker()
    assert [cache.kept(("a",), make)["made"] for _ in range(2)] == [1, 2]


def test_only_the_newest_entries_stay(own_folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MOST_ENTRIES", 3)
    for number in range(6):
        cache.kept((str(number),), Maker())
    assert len(entries(own_folders)) == 3


def test_other_code_or_arguments_are_another_result(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [cache.called(divmod, 7, 2), cache.called(divmod, 9, 2)] == [(3, 1), (4, 1)]
    calls = []
    monkeypatch.setattr(cache, "code_digest", lambda: calls.append(1) or "other")
    assert cache.called(divmod, 7, 2) == (3, 1)
    assert calls == [1]


def test_the_digest_covers_the_analysis() -> None:
    root = Path(cache.__file__).parent
    covered = set(cache.analysis_files())
    assert {root / "metrics/clusters.py", root / "studies/semantic/analysis.py", root / "text.py"} <= covered
    assert root / "studies/measuring/kinds.py" in covered
    assert root / "studies/semantic/exhibits.py" not in covered
    assert not [
        file
        for folder in (root / "metrics", *(root / "studies").glob("[a-z]*/"))
        for file in (folder.iterdir() if folder.is_dir() else ())
        if file.is_dir() and file.name != "__pycache__"
    ]
    assert len(cache.code_digest()) == 64
