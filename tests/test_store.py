"""The sample store: lossless, small, durable, shared between runs, and clear about a file it cannot use."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import random
import re
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scripted_work import cell_of, draw, fill, open_scripted, realistic_stats, recipe_without_engine, same

from llama_diversity.errors import (
    BadValue,
    StoreDamaged,
    StoreError,
    StoreForeign,
    StoreFull,
    StoreLocked,
    StoreMissing,
    StoreNewer,
    StoreReadOnly,
    UnknownName,
)
from llama_diversity.records import TOKEN_DTYPE, Cell, Piece, Prompt, Recipe, Sample, Sampler, beside_dtype
from llama_diversity.store import Store
from llama_diversity.store.statistics import pack_statistics, unpack_statistics
from llama_diversity.storefile import APPLICATION_ID, FORMAT_VERSION, open_file


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite"


def a_cell(n: int = 100, *, seed: int = 0, arm: str = "base") -> Cell:
    return Cell(arm, "some-model", recipe_without_engine(seed), n)


def a_run(store: Store, *cells: Cell) -> str:
    run_id = store.start_run(command=["llamadiv", "sample"], about={})
    for cell in cells:
        store.add_cells(run_id, [(cell, {})])
    return run_id


def some_samples(cell: Cell, indices: list[int], *, n_tokens: int = 8, seed: int = 0) -> list[Sample]:
    rng = np.random.default_rng(seed)
    return [Sample(cell.recipe.key, i, "length", b"text %d" % i, realistic_stats(n_tokens, rng)) for i in indices]


# ---- the form on disk


@pytest.mark.parametrize("neutral", [True, False])
@pytest.mark.parametrize("n", [0, 1, 8, 1000])
def test_statistics_come_back_to_the_last_bit(n: int, neutral: bool) -> None:
    tokens = realistic_stats(n, np.random.default_rng(n), neutral=neutral)
    assert unpack_statistics(pack_statistics(tokens), n)[0].tobytes() == tokens.tobytes()


def test_every_bit_pattern_survives() -> None:
    # Random bytes hold nan with payloads, infinities, denormals and -0. The second half has equal pairs, which are
    # left out of the blob, and must come back with the same payload too.
    tokens = np.frombuffer(np.random.default_rng(5).bytes(68 * 4000), TOKEN_DTYPE).copy()
    assert np.isnan(tokens["entropy_bits"]).any()
    assert unpack_statistics(pack_statistics(tokens), 4000)[0].tobytes() == tokens.tobytes()
    tokens["sampler_surprisal_bits"].view("<u4")[:] = tokens["surprisal_bits"].view("<u4")
    tokens["sampler_entropy_bits"].view("<u4")[:] = tokens["entropy_bits"].view("<u4")
    assert unpack_statistics(pack_statistics(tokens), 4000)[0].tobytes() == tokens.tobytes()


def test_the_sampler_pair_costs_nothing_when_it_says_nothing() -> None:
    tokens = realistic_stats(1000, np.random.default_rng(0))
    other = tokens.copy()
    other["sampler_entropy_bits"] = np.random.default_rng(1).gamma(2, 2, 1000)
    other["sampler_surprisal_bits"] = np.random.default_rng(2).gamma(2, 2, 1000)
    assert len(pack_statistics(other)) - len(pack_statistics(tokens)) > 6000  # two floats a token, hardly compressible


def test_zero_and_minus_zero_are_told_apart() -> None:
    tokens = np.zeros(1, TOKEN_DTYPE)
    tokens["sampler_entropy_bits"] = -0.0  # equal to 0 as a number, so only a comparison of bits keeps it
    assert unpack_statistics(pack_statistics(tokens), 1)[0].tobytes() == tokens.tobytes()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda blob: b"", "begin with 0"),
        (lambda blob: b"\x09" + blob[1:], "begin with 9"),
        (lambda blob: blob[:-3], "not those of 10 tokens"),
        (lambda blob: blob[:-1] + bytes([blob[-1] ^ 1]), "decompressed"),
    ],
)
def test_a_damaged_blob_is_noticed(spoil: object, words: str) -> None:
    blob = pack_statistics(realistic_stats(10, np.random.default_rng(0)))
    with pytest.raises(ValueError, match=words):
        unpack_statistics(spoil(blob), 10)  # type: ignore[operator]
    with pytest.raises(ValueError, match="not those of 11 tokens"):
        unpack_statistics(blob, 11)
    with pytest.raises(ValueError, match="not those of 9 tokens"):
        unpack_statistics(blob, 9)


@pytest.mark.parametrize("neutral", [True, False])
@pytest.mark.parametrize("n_tokens", [8, 9, 10, 11, 12, 14, 17, 24, 35, 39, 64, 90, 137, 550, 1000])
def test_a_token_costs_at_most_100_bytes_on_disk(path: Path, n_tokens: int, neutral: bool) -> None:
    rng = np.random.default_rng(n_tokens)
    n_samples = 1 + 16_000 // n_tokens
    cell = a_cell(n_samples)
    with Store.open(path) as store:
        run_id = a_run(store, cell)
        store.add(
            [
                Sample(
                    cell.recipe.key, i, "length", b"word" * n_tokens, realistic_stats(n_tokens, rng, neutral=neutral)
                )
                for i in range(n_samples)
            ],
            run_id,
        )
    assert os.listdir(path.parent) == [path.name]  # the log is folded in: this is all there is
    assert path.stat().st_size / (n_samples * n_tokens) <= 100


@pytest.mark.parametrize("neutral", [True, False])
def test_the_documented_reader_reads_the_store(path: Path, neutral: bool) -> None:
    page = (Path(__file__).parent.parent / "docs" / "store.md").read_text("utf-8")
    python, sql = (re.search(rf"```{name}\n(.*?)```", page, re.DOTALL)[1] for name in ("python", "sql"))
    cell = a_cell()
    tokens = realistic_stats(20, np.random.default_rng(1), neutral=neutral)
    with Store.open(path) as store:
        store.add([Sample(cell.recipe.key, 3, "stop", "café".encode(), tokens)], a_run(store, cell))
    names: dict[str, Any] = {}
    exec(python, names)
    with contextlib.closing(sqlite3.connect(path)) as raw:
        assert raw.execute(sql.replace("r1-...", cell.recipe.key)).fetchall() == [(3, 20, "café")]
        [(statistics, n_tokens)] = raw.execute("SELECT statistics, n_tokens FROM samples").fetchall()
    read = names["read"](statistics, n_tokens)
    assert len(read.dtype.names) == (7 if neutral else 9)
    for name in read.dtype.names:
        assert read[name].tobytes() == np.ascontiguousarray(tokens[name]).tobytes()


# ---- samples


def test_samples_come_back_in_order_and_unchanged(path: Path) -> None:
    cell, other = a_cell(), a_cell(seed=1)
    samples = some_samples(cell, [5, 0, 77, 40])
    with Store.open(path) as store:
        run_id = a_run(store, cell, other)
        assert store.add(samples, run_id) == samples
        store.add(some_samples(other, [3]), run_id)
    with Store.open(path, read_only=True) as store:
        stored = list(store.samples(cell.recipe.key))
        assert [sample.index for sample in stored] == [0, 5, 40, 77]
        assert all(same(a, b) for a, b in zip(stored, sorted(samples, key=lambda s: s.index), strict=True))
        assert [sample.index for sample in store.samples(cell.recipe.key, 41)] == [0, 5, 40]
        assert same(store.sample(cell.recipe.key, 77), samples[2])
        assert store.missing(cell.recipe.key, 7) == [1, 2, 3, 4, 6]
        assert store.missing(other.recipe.key, 4) == [0, 1, 2]
        assert store.missing("r1-unheard-of", 3) == range(3)
        with pytest.raises(BadValue, match="-n is 1000"):
            store.missing(cell.recipe.key, 10**20)
        assert store.counts(cell.recipe.key) == (4, 32)  # 4 samples of 8 tokens
        assert store.counts(cell.recipe.key, 41) == (3, 24)
        assert store.recipe(cell.recipe.key) == cell.recipe
        with pytest.raises(UnknownName, match="r1-.*#1'"):
            store.sample(cell.recipe.key, 1)
        with pytest.raises(UnknownName, match="recipe called 'r1-x'"):
            store.recipe("r1-x")


def test_more_samples_than_one_query_reads(path: Path) -> None:
    cell = a_cell(200)
    with Store.open(path) as store:
        store.add(some_samples(cell, list(range(200)), n_tokens=1), a_run(store, cell))
        for n in (31, 32, 33, 64, 200):
            assert [sample.index for sample in store.samples(cell.recipe.key, n)] == list(range(n))


def test_samples_can_be_added_while_they_are_read(path: Path) -> None:
    cell = a_cell(100)
    with Store.open(path) as store:
        run_id = a_run(store, cell)
        store.add(some_samples(cell, list(range(64)), n_tokens=1), run_id)
        seen = []
        for sample in store.samples(cell.recipe.key):
            seen.append(sample.index)
            if sample.index == 0:
                store.add(some_samples(cell, list(range(64, 100)), n_tokens=1), run_id)
        assert seen == list(range(100))


def test_of_two_writers_the_first_wins(path: Path) -> None:
    cell = a_cell()
    first, second = some_samples(cell, [7, 8], seed=1), some_samples(cell, [7, 9], seed=2)
    with Store.open(path) as one, Store.open(path) as other:
        run_id = a_run(one, cell)
        one.add(first, run_id)
        kept = other.add(second, run_id)
        assert same(kept[0], first[0])  # what is stored, not what was offered
        assert same(kept[1], second[1])
        assert not same(first[0], second[0])
        assert store_indices(one, cell) == [7, 8, 9]


def store_indices(store: Store, cell: Cell) -> list[int]:
    return [sample.index for sample in store.samples(cell.recipe.key)]


def test_a_sample_is_there_for_others_when_add_returns(path: Path) -> None:
    cell = a_cell()
    with Store.open(path) as writer, Store.open(path, read_only=True) as reader:
        run_id = a_run(writer, cell)
        for index in range(5):
            writer.add(some_samples(cell, [index]), run_id)
            assert store_indices(reader, cell) == list(range(index + 1))


def test_an_add_that_fails_leaves_nothing(path: Path) -> None:
    cell, unknown = a_cell(), a_cell(seed=9)
    with Store.open(path) as store:
        run_id = a_run(store, cell)
        with pytest.raises(StoreError, match="no longer in this sample store"):
            store.add([*some_samples(cell, [0]), *some_samples(unknown, [0])], run_id)
        assert store_indices(store, cell) == []
        store.add(some_samples(cell, [1]), run_id)  # and no transaction is left open
        assert store_indices(store, cell) == [1]


def test_many_recipes_are_counted_together_each_to_its_own_n(path: Path) -> None:
    cells = [a_cell(3, seed=seed) for seed in range(450)]  # more than one query asks for
    with Store.open(path) as store:
        run_id = store.start_run(command=["llamadiv", "sample"], about={})
        store.add_cells(run_id, [(cell, {}) for cell in cells])
        store.add(some_samples(cells[7], [0, 2]) + some_samples(cells[449], [1]), run_id)
        asked = [(cell.recipe.key, 3) for cell in cells] + [(cells[7].recipe.key, 2), (cells[7].recipe.key, 3)]
        assert store.counted(asked) == [*[0] * 7, 2, *[0] * 441, 1, 1, 2]
        assert store.counted([("r1-unknown", 3)]) == [0]
        assert store.counted([]) == []


# ---- the cost of a sample does not grow


def counting_store(path: Path, counter: list[int]) -> Store:
    """A store that counts the instructions of SQLite's virtual machine."""

    def count() -> int:
        counter[0] += 1
        return 0

    connection = open_file(path, read_only=False, timeout_s=1)
    connection.set_progress_handler(count, 1)
    return Store(path, connection, 1)


def test_adding_costs_the_same_after_ten_thousand_samples(path: Path) -> None:
    cell = a_cell(20_000)
    with Store.open(path) as store:
        run_id = a_run(store, cell)
    log = path.with_name(path.name + "-wal")
    steps, pages = [], []
    next_index = 0
    for n_before in (100, 10_000):
        with Store.open(path) as store:
            store.add(some_samples(cell, list(range(next_index, n_before)), n_tokens=1), run_id)
        counter = [0]
        with counting_store(path, counter) as store:
            assert not log.exists() or log.stat().st_size == 0
            store.add(some_samples(cell, list(range(n_before, n_before + 100))), run_id)
            steps.append(counter[0])
            pages.append(log.stat().st_size // (512 + 24))  # a page and its header
        next_index = n_before + 100
    assert steps[1] <= 1.1 * steps[0]
    assert pages[1] <= 1.1 * pages[0]


# ---- runs


def test_a_run_remembers_what_was_asked(path: Path) -> None:
    base, aligned = a_cell(10), a_cell(20, seed=1, arm="aligned")
    with Store.open(path) as store:
        run_id = store.start_run(command=["llamadiv", "sample", "it's"], about={"llamadiv": "0.1.0"})
        store.add_cells(run_id, [(base, {"build": "b"})])
        store.add_cells(run_id, [(aligned, {})])
        store.add_cells(run_id, [(base, {"build": "b", "layout": {"parallel": 4}})])  # known after the first step
        unfinished = store.run(run_id)
        assert unfinished.finished is None
        assert unfinished.command == ("llamadiv", "sample", "it's")
        assert unfinished.about == {"llamadiv": "0.1.0"}
        assert [(cell.arm, cell.reference, cell.n) for cell in unfinished.cells] == [
            ("base", "some-model", 10),
            ("aligned", "some-model", 20),
        ]
        assert unfinished.cells[0].about == {"build": "b", "layout": {"parallel": 4}}
        assert unfinished.cells[1].recipe_key == aligned.recipe.key
        store.finish_run(run_id)
        finished = store.run(run_id)
        assert finished.finished is not None
        assert finished.finished >= finished.started
        assert finished.started.strftime("%Y%m%d-%H%M%S") == run_id[:15]
        assert len(run_id) == 20


def test_a_run_is_found_by_prefix_or_last(path: Path) -> None:
    with Store.open(path) as store:
        with pytest.raises(UnknownName, match="no run called 'last'"):
            store.run("last")
        ids = [store.start_run(command=["x"], about={}) for _ in range(300)]  # 300 in a second or two: 4 digits collide
        assert len(set(ids)) == 300
        assert [run.id for run in store.runs()] != []
        assert store.run("last").id == store.runs()[-1].id
        assert store.run("last").started == max(run.started for run in store.runs())
        assert store.run(ids[7]).id == ids[7]
        with pytest.raises(BadValue, match=r"300 run ids begin so \(.*, \.\.\.\); type more of it"):
            store.run("2")
        with pytest.raises(UnknownName, match=r"Did you mean .*llamadiv runs ls"):
            store.run(ids[7][:-4] + "zzzz")
        with pytest.raises(UnknownName):
            store.run("")


def test_a_prefix_that_only_one_run_has(path: Path) -> None:
    with Store.open(path) as store:
        run_id = a_run(store, a_cell())
        assert store.run(run_id[:5]).id == run_id


def test_removing_a_run_keeps_what_others_ask_for(path: Path) -> None:
    shared, own = a_cell(10), a_cell(5, seed=1)
    with Store.open(path) as store:
        small = a_run(store, Cell("base", "m", shared.recipe, 4))
        store.add(some_samples(shared, [0, 1, 2, 3]), small)
        large = a_run(store, shared, own)
        store.add([*some_samples(shared, list(range(4, 10))), *some_samples(own, [0, 1])], large)
        # `large` alone asks for 4..9 of the shared recipe and for both of its own.
        assert store.remove_run(large) == 8
        assert store_indices(store, shared) == [0, 1, 2, 3]
        assert store.recipe_keys() == [shared.recipe.key]
        assert [run.id for run in store.runs()] == [small]
        assert store.remove_run(small) == 4
        assert store.recipe_keys() == []
        with pytest.raises(StoreError, match="no longer in this sample store"):
            store.remove_run(small)


def test_samples_outlive_the_run_that_drew_them(path: Path) -> None:
    cell = a_cell(10)
    samples = some_samples(cell, list(range(10)))
    with Store.open(path) as store:
        drew = a_run(store, cell)
        store.add(samples, drew)
        reused = a_run(store, cell)
        assert store.remove_run(drew) == 0
        assert all(same(a, b) for a, b in zip(store.samples(cell.recipe.key), samples, strict=True))
        assert store.remove_run(reused) == 10


def test_removing_gives_the_disk_back(path: Path) -> None:
    cell = a_cell(2000)
    with Store.open(path) as store:
        run_id = a_run(store, cell)
        store.add(some_samples(cell, list(range(2000))), run_id)
    before = path.stat().st_size
    with Store.open(path) as store:
        store.remove_run(run_id)
    assert path.stat().st_size < before / 10


# ---- pieces


def test_pieces_come_back(path: Path) -> None:
    pieces = {0: Piece(b"", "<s>"), 7: Piece(b" word"), 8: Piece(b"\xc3"), 70_000: Piece(b"\x00")}
    with Store.open(path) as store:
        store.put_pieces("v", pieces)
        store.put_pieces("v", {7: Piece(b"another")})  # a vocabulary never changes: the first stays
        store.put_pieces("w", {7: Piece(b"w7")})
        assert store.pieces("v", [70_000, 8, 7, 0, 1]) == pieces
        assert store.pieces("w", range(2000)) == {7: Piece(b"w7")}  # more ids than one statement takes
        assert store.pieces("unheard of", [7]) == {}
        assert store.known_pieces("v") == {0, 7, 8, 70_000}


# ---- merging


def test_merging_takes_what_is_missing_and_nothing_twice(tmp_path: Path) -> None:
    engine = open_scripted()
    cell = cell_of(engine, 30)
    whole = draw(engine, cell)
    with Store.open(tmp_path / "one.sqlite") as one, Store.open(tmp_path / "two.sqlite") as two:
        fill(one, engine, cell_of(engine, 12))
        fill(two, engine, cell, cell_of(engine, 5, seed=2))
        merged = one.merge(two.path)
        assert merged == (18 + 5, 12, 1)  # samples 12..29 and the five of the other seed; 0..11 were known; one run
        assert all(same(a, b) for a, b in zip(one.samples(cell.recipe.key), whole, strict=True))
        assert len(one.runs()) == 2
        assert [c.n for c in one.run(two.runs()[0].id).cells] == [30, 5]
        ids = {int(token) for sample in whole for token in sample.tokens["id"]}
        assert one.pieces(cell.recipe.vocab_digest, ids) == {token: engine.piece(token) for token in ids}
        before = one.runs()
        assert one.merge(two.path) == (0, 35, 0)
        assert one.runs() == before


def test_merging_follows_a_run_that_went_on(tmp_path: Path) -> None:
    cell = a_cell(10)
    with Store.open(tmp_path / "one.sqlite") as one:
        run_id = a_run(one, cell)
        one.add(some_samples(cell, [0]), run_id)
    shutil.copy(tmp_path / "one.sqlite", tmp_path / "two.sqlite")
    with Store.open(tmp_path / "one.sqlite") as one, Store.open(tmp_path / "two.sqlite") as two:
        two.add(some_samples(cell, [1, 2]), run_id)
        two.finish_run(run_id)
        assert one.merge(two.path) == (2, 1, 0)
        assert one.run(run_id) == two.run(run_id)


def test_a_merge_that_cannot_be_leaves_the_store_as_it_was(path: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no store at all, and long enough to have a header\n" * 20)
    with Store.open(path) as store:
        run_id = a_run(store, a_cell())
        with pytest.raises(BadValue, match="the store itself"):
            store.merge(path)
        with pytest.raises(StoreMissing, match="elsewhere"):
            store.merge(tmp_path / "elsewhere")
        with pytest.raises(StoreForeign, match="text: this is no SQLite file"):
            store.merge(tmp_path / "text")
        assert [run.id for run in store.runs()] == [run_id]
        with Store.open(tmp_path / "good.sqlite") as good:
            a_run(good, a_cell())
        assert store.merge(tmp_path / "good.sqlite").n_runs == 1


# ---- files that cannot be used


def test_a_new_store_is_made_with_its_folder(tmp_path: Path) -> None:
    with Store.open(tmp_path / "a" / "b" / "store.sqlite") as store:
        assert store.runs() == []


def test_many_may_make_the_same_store_at_once(tmp_path: Path) -> None:
    def make(path: Path) -> None:
        barrier.wait()
        with Store.open(path) as store:
            store.start_run(command=["x"], about={})

    with ThreadPoolExecutor(8) as pool:
        for attempt in range(10):
            path = tmp_path / f"{attempt}.sqlite"
            barrier = threading.Barrier(8)
            list(pool.map(make, [path] * 8))
            with Store.open(path) as store:
                assert len(store.runs()) == 8


def test_reading_needs_a_file(path: Path) -> None:
    with pytest.raises(StoreMissing, match=r"no sample store at .*store\.sqlite\. `llamadiv sample`"):
        Store.open(path, read_only=True)
    assert not path.exists()


def test_a_folder_an_empty_file_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(StoreForeign, match="folder"):
        Store.open(tmp_path)
    text = tmp_path / "notes.txt"
    text.write_text("these are notes, not samples\n" * 100)
    with pytest.raises(StoreForeign, match=r"notes\.txt: this is no SQLite file.*--store"):
        Store.open(text)
    assert text.read_text() == "these are notes, not samples\n" * 100
    with contextlib.closing(sqlite3.connect(tmp_path / "music.db")) as other:
        other.execute("CREATE TABLE albums (title)")
    with pytest.raises(StoreForeign, match="another program"):
        Store.open(tmp_path / "music.db")
    (tmp_path / "empty").touch()
    with pytest.raises(StoreForeign, match="empty file"):
        Store.open(tmp_path / "empty", read_only=True)
    with Store.open(tmp_path / "empty") as store:  # `mktemp` makes such files
        assert store.runs() == []


def test_a_store_of_a_newer_version(path: Path) -> None:
    Store.open(path).close()
    with contextlib.closing(sqlite3.connect(path)) as raw:
        assert raw.execute("PRAGMA application_id").fetchall() == [(APPLICATION_ID,)]
        raw.execute(f"PRAGMA user_version = {FORMAT_VERSION + 1}")
    with pytest.raises(StoreNewer, match=r"format 2; this one knows 1\)\. Upgrade llamadiv"):
        Store.open(path, read_only=True)


def test_a_store_that_another_process_holds(path: Path) -> None:
    cell = a_cell()
    with Store.open(path, timeout_s=0.02) as store, contextlib.closing(sqlite3.connect(path)) as other:
        run_id = a_run(store, cell)
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreLocked, match=r"locked for 0\.02 s\. Wait until it ends"):
            store.add(some_samples(cell, [0]), run_id)
        assert store_indices(store, cell) == []  # reading does not wait for a writer
        other.rollback()
        store.add(some_samples(cell, [0]), run_id)
        assert store_indices(store, cell) == [0]


def test_a_full_disk(path: Path) -> None:
    cell = a_cell()
    connection = open_file(path, read_only=False, timeout_s=1)
    with Store(path, connection, 1) as store:
        run_id = a_run(store, cell)
        [(n_pages,)] = connection.execute("PRAGMA page_count").fetchall()
        connection.execute(f"PRAGMA max_page_count = {n_pages + 4}")
        with pytest.raises(StoreFull, match="disk is full; finished samples are kept"):  # noqa: PT012  one of them
            for index in range(100):
                store.add(some_samples(cell, [index]), run_id)
        kept = store_indices(store, cell)
        assert kept == list(range(len(kept)))
        connection.execute("PRAGMA max_page_count = 100000")
        store.add(some_samples(cell, store.missing(cell.recipe.key, 100)), run_id)
        assert store_indices(store, cell) == list(range(100))


def test_a_read_only_store_refuses_to_be_written(path: Path) -> None:
    cell = a_cell()
    with Store.open(path) as store:
        run_id = a_run(store, cell)
    with Store.open(path, read_only=True) as store, pytest.raises(StoreReadOnly, match="may not be written"):
        store.add(some_samples(cell, [0]), run_id)


def test_a_reader_leaves_nothing_behind(path: Path) -> None:
    with Store.open(path) as store:
        a_run(store, a_cell())
    with Store.open(path, read_only=True) as one, Store.open(path, read_only=True) as other:
        assert one.runs() == other.runs()
        with Store.open(path.with_name("second.sqlite")) as second:
            second.merge(path)
    assert sorted(os.listdir(path.parent)) == ["second.sqlite", "store.sqlite"]


@contextlib.contextmanager
def unprivileged() -> Iterator[None]:
    """As an ordinary user, for root may write everywhere."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def frozen_folder() -> Iterator[Path]:
    """A folder that everybody may read and nobody may write; pytest's own is closed to other users."""
    folder = Path(tempfile.mkdtemp())
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


def test_a_folder_that_may_not_be_written(frozen_folder: Path) -> None:
    path = frozen_folder / "store.sqlite"
    cell = a_cell()
    with Store.open(path) as store:
        store.add(some_samples(cell, [0, 1]), a_run(store, cell))
    path.chmod(0o444)
    frozen_folder.chmod(0o555)
    with unprivileged():
        with Store.open(path, read_only=True) as store:  # a store on a CD or a colleague's disk can be read
            assert store_indices(store, cell) == [0, 1]
        with pytest.raises(StoreReadOnly, match=r"store\.sqlite: .* --store"):
            Store.open(path)
        with pytest.raises(StoreReadOnly, match="folder cannot be made"):
            Store.open(frozen_folder / "sub" / "store.sqlite")
        with pytest.raises(StoreReadOnly, match="cannot be opened"):
            Store.open(frozen_folder / "new.sqlite")


# ---- damage


@pytest.fixture
def filled(path: Path) -> Path:
    engine = open_scripted()
    with Store.open(path) as store:
        fill(store, engine, cell_of(engine, 40))
    return path


def read_everything(path: Path, *, check: bool = True) -> int:
    with Store.open(path, read_only=True) as store:
        if check:
            store.check()
        n_samples = 0
        for run in store.runs():
            for cell in run.cells:
                recipe = store.recipe(cell.recipe_key)
                for sample in store.samples(cell.recipe_key):
                    store.pieces(recipe.vocab_digest, sample.tokens["id"])
                    n_samples += 1
        return n_samples


def test_a_store_cut_short(filled: Path) -> None:
    assert read_everything(filled) == 40
    os.truncate(filled, filled.stat().st_size // 2)
    with pytest.raises(StoreDamaged, match=r"damaged \(.*sqlite3 .*\.recover"):
        read_everything(filled)


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("samples.text", "a text and no bytes", "sample 0 of recipe r1-"),
        ("samples.idx", 0.5, "recipe r1-.* has a sample 0.5|sample 0.5 of recipe"),
        ("samples.n_tokens", "[[", "sample 0 of recipe r1-"),
        ("pieces.bytes", 1.5, "what token .* looks like cannot be read"),
        ("runs.about", "[" * 3000, "run .* cannot be read"),
        ("runs.command", "{}", "run .* cannot be read"),
        ("runs.started", 7, "run .*: Invalid isoformat string"),
        ("run_cells.about", "1", "run .* cannot be read"),
        ("runs.about", '{"x": NaN}', "run .* cannot be read"),
        ("run_cells.about", '{"x": [-1e999]}', "run .* cannot be read"),
        ("run_cells.n", -1, "run .* cannot be read"),
        ("recipes.canonical", "{}", "recipe r1-.* cannot be read"),
    ],
)
def test_values_that_no_version_wrote(filled: Path, column: str, value: object, said: str) -> None:
    table, _, name = column.partition(".")
    with contextlib.closing(sqlite3.connect(filled)) as raw:
        raw.execute(f"UPDATE {table} SET {name} = ?" + (" WHERE idx = 0" if name == "idx" else ""), (value,))
        raw.commit()
    with pytest.raises(StoreDamaged, match=said):
        read_everything(filled)


def test_a_recipe_that_is_not_its_key_s(filled: Path) -> None:
    with contextlib.closing(sqlite3.connect(filled)) as raw:
        raw.execute("UPDATE recipes SET canonical = replace(canonical, '\"seed\":', '\"seed\":1')")
        raw.commit()
    with pytest.raises(StoreDamaged, match="recipe r1-.* cannot be read"):
        read_everything(filled)


def test_a_piece_that_is_gone(filled: Path) -> None:
    with contextlib.closing(sqlite3.connect(filled)) as raw:
        raw.execute("DELETE FROM pieces")
        raw.commit()
    with Store.open(filled) as store:
        [key] = store.recipe_keys()
        pieces = store.pieces(store.recipe(key).vocab_digest, [1])
        pieces.update(store.pieces(store.recipe(key).vocab_digest, [1]))
        assert 1 not in pieces
        with pytest.raises(StoreDamaged, match="what token 1 looks like"):
            pieces[1]


def test_one_wrong_byte_in_the_statistics(filled: Path) -> None:
    with contextlib.closing(sqlite3.connect(filled)) as raw:
        [(blob,)] = raw.execute("SELECT statistics FROM samples WHERE idx = 17").fetchall()
        wrong = blob[:30] + bytes([blob[30] ^ 4]) + blob[31:]
        raw.execute("UPDATE samples SET statistics = ? WHERE idx = 17", (wrong,))
        raw.commit()
    with pytest.raises(StoreDamaged, match=r"sample 17 of recipe r1-"):
        read_everything(filled)


def test_scribbles_never_end_in_a_traceback(filled: Path) -> None:
    # 200 random bytes in one of 150 places: the store still reads or says what it is. Other exceptions fail here.
    whole = filled.read_bytes()
    places = random.Random(3)
    n_noticed = 0
    for _ in range(150):
        start = places.randrange(len(whole) - 200)
        filled.write_bytes(whole[:start] + places.randbytes(200) + whole[start + 200 :])
        try:
            read_everything(filled, check=False)
        except (StoreError, UnknownName):
            n_noticed += 1
    assert n_noticed > 75


def test_a_recipe_s_key_is_of_all_its_fields() -> None:
    """Written out shallowly, which is much faster than `asdict`, to the same text."""
    other = Prompt("a", "b", (1, 4), "chat", "d", "x", '{"a":1}', "<s>")
    prompt = Prompt("a", "a", (1, 2, 3), "chat", "d", "x", '{"a":1}', "<s>", (other,))
    recipe = Recipe("e", "b", "m", "v", prompt, Sampler(0.5), 3, 4, ("x",), True, "q8_0", None, "root ::= x", "{}")
    fields = dataclasses.asdict(recipe)
    # What came later is left out where it says nothing, so that recipes keep the keys that they had before.
    del fields["arithmetic"], fields["prompt"]["reader"]
    for name in ("others", "reader"):
        del fields["prompt"]["others"][0][name]
    for name in fields["sampler"].keys() - {"temperature", "top_k", "top_p", "min_p"}:
        del fields["sampler"][name]
    assert recipe.to_json() == json.dumps(fields, sort_keys=True, separators=(",", ":"))
    assert Recipe.from_json(recipe.to_json()) == recipe


def test_recipes_keep_the_keys_they_had_before_mixtures() -> None:
    """As they were written by versions that knew of no template values, grammars or mixtures."""
    recipe = Recipe("e", "b", "m", "v", Prompt("a", "a", (1,)), Sampler(), 0, 4)
    old = (
        '{"engine":"e","engine_build":"b","exact":false,"flash_attention":null,"kv_type":"f16","max_tokens":4,'
        '"model_digest":"m","prompt":{"frozen_date":null,"ids":[1],"mode":"raw","rendered":"a","template_digest":null,'
        '"text":"a"},"sampler":{"min_p":0.0,"temperature":1.0,"top_k":0,"top_p":1.0},"seed":0,"stop":[],'
        '"vocab_digest":"v"}'
    )
    assert recipe.to_json() == old
    assert Recipe.from_json(old) == recipe


def test_what_a_mixture_keeps_of_its_models_comes_back_bit_for_bit() -> None:
    rng = np.random.default_rng(0)
    tokens, beside = realistic_stats(7, rng), np.zeros(7, beside_dtype(3))
    beside["surprisals_bits"], beside["source"] = rng.exponential(size=(7, 3)), [0, 1, -1, 0, 1, 2, 0]
    blob = pack_statistics(tokens, beside)
    own, theirs, _ = unpack_statistics(blob, 7)
    assert own.tobytes() == tokens.tobytes()
    assert theirs is not None
    assert theirs.tobytes() == beside.tobytes()
    for damaged in (blob[:1], blob[:2], bytes([3, 0]) + blob[2:], bytes([3, 2]) + blob[2:], blob[:-9]):
        with pytest.raises(ValueError, match="statistics"):
            unpack_statistics(damaged, 7)
