"""The runner: only what is missing is drawn, nothing stored is ever lost, and Ctrl-C is polite."""

from __future__ import annotations

import dataclasses
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from scripted_work import cell_of, draw, fill, open_scripted, same

from llama_diversity.engines import Step
from llama_diversity.engines.scripted import ScriptedEngine
from llama_diversity.records import Cell, Piece, Recipe
from llama_diversity.runner import Progress, run, run_each
from llama_diversity.store import Store


class Recorder:
    """A scripted engine that writes down what it is asked."""

    def __init__(self, engine: ScriptedEngine) -> None:
        self._engine = engine
        self.capabilities = engine.capabilities
        self.facts = engine.facts
        self.build = engine.build
        self.asked_indices: list[int] = []
        self.asked_pieces: list[int] = []

    @property
    def layout(self) -> Mapping[str, Any]:
        return self._engine.layout

    def piece(self, token_id: int) -> Piece:
        self.asked_pieces.append(token_id)
        return self._engine.piece(token_id)

    def sample_each(self, works: Iterable[tuple[Recipe, Iterable[int]]]) -> Iterator[Step]:
        listed = [(recipe, list(indices)) for recipe, indices in works]
        self.asked_indices += [index for _, indices in listed for index in indices]
        yield from self._engine.sample_each(listed)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store.sqlite") as opened:
        yield opened


def start(store: Store) -> str:
    return store.start_run(command=["llamadiv", "sample"], about={})


def assert_whole(store: Store, engine: ScriptedEngine, cell: Cell) -> None:
    stored = list(store.samples(cell.recipe.key, cell.n))
    assert all(same(a, b) for a, b in zip(stored, draw(engine, cell), strict=True))


# ---- what is drawn


def test_only_what_is_missing_is_drawn(store: Store) -> None:
    engine = open_scripted()
    fill(store, engine, cell_of(engine, 10))
    recorder = Recorder(engine)
    cell = cell_of(engine, 25)
    drawn = sorted(sample.index for sample in run(cell, recorder, store, start(store)))  # type: ignore[arg-type]
    assert drawn == sorted(recorder.asked_indices) == list(range(10, 25))
    assert_whole(store, engine, cell)


def cells_of(engine: ScriptedEngine, n: int = 1) -> list[Cell]:
    words = ["", " a", " a quiet", " the", " not", " tired"]
    return [cell_of(engine, n, text=f"She was{text}", seed=at, arm=f"asked {at}") for at, text in enumerate(words)]


def test_cells_are_drawn_together_and_only_what_they_lack(store: Store) -> None:
    engine = open_scripted(parallel=4)
    cells = cells_of(engine)
    fill(store, engine, cells[2], cells[5])
    recorder, heard, run_id = Recorder(engine), list[Progress](), start(store)
    drawn = list(run_each(cells, recorder, store, run_id, on_progress=heard.append))  # type: ignore[arg-type]
    assert sorted(sample.recipe_key for sample in drawn) == sorted(cells[at].recipe.key for at in (0, 1, 3, 4))
    assert recorder.asked_indices == [0, 0, 0, 0]
    n_tokens = sum(len(sample.tokens) for sample in drawn)
    assert (heard[0], heard[-1]) == (Progress(2, 6, 2, 0), Progress(6, 6, 2, n_tokens))
    for cell in cells:
        assert_whole(store, engine, cell)
    assert [cell.arm for cell in store.run(run_id).cells] == [f"asked {at}" for at in range(6)]
    assert all(cell.about["layout"]["parallel"] == 4 for cell in store.run(run_id).cells)


def test_cells_of_one_recipe_are_drawn_once(store: Store) -> None:
    engine = open_scripted()
    few, many = cell_of(engine, 2, arm="few"), cell_of(engine, 5, arm="many")
    heard = list[Progress]()
    assert len(list(run_each([few, many, few], engine, store, start(store), on_progress=heard.append))) == 5
    assert heard[-1][:2] == (5, 5)


def test_broken_off_between_steps_what_was_finished_is_kept(store: Store) -> None:
    engine = open_scripted("coin", parallel=2)
    cells = [cell_of(engine, 1, text=text, seed=at, max_tokens=3) for at, text in enumerate("abcdef")]
    drawing = run_each(cells, engine, store, start(store))
    assert [next(drawing).recipe_key, next(drawing).recipe_key] == [cells[0].recipe.key, cells[1].recipe.key]
    drawing.close()
    assert [store.counts(cell.recipe.key).n_samples for cell in cells] == [1, 1, 0, 0, 0, 0]
    assert len(list(run_each(cells, engine, store, start(store)))) == 4
    for cell in cells:
        assert_whole(store, engine, cell)


def test_nothing_missing_asks_the_engine_nothing(store: Store) -> None:
    engine = open_scripted()
    cell = cell_of(engine, 10)
    fill(store, engine, cell)
    recorder = Recorder(engine)
    heard: list[Progress] = []
    assert list(run(cell, recorder, store, start(store), on_progress=heard.append)) == []  # type: ignore[arg-type]
    assert recorder.asked_indices == []
    assert heard == [Progress(10, 10, n_resumed=10, n_tokens=0)]
    assert store.run("last").cells[0].n == 10  # the run is on record all the same


def test_a_sample_is_stored_before_it_is_yielded(store: Store) -> None:
    engine = open_scripted(parallel=4)
    cell = cell_of(engine, 20)
    with Store.open(store.path, read_only=True) as reader:
        for sample in run(cell, engine, store, start(store)):
            assert same(reader.sample(cell.recipe.key, sample.index), sample)


def test_samples_that_end_together_are_stored_together(store: Store) -> None:
    engine = open_scripted("coin", parallel=8)  # all have 5 tokens, so eight end in one step
    cell = cell_of(engine, 16, max_tokens=5)
    with Store.open(store.path, read_only=True) as reader:
        counts = [reader.counts(cell.recipe.key).n_samples for _ in run(cell, engine, store, start(store))]
    assert counts == [8] * 8 + [16] * 8


def test_progress_counts(store: Store) -> None:
    engine = open_scripted("coin", parallel=4)
    fill(store, engine, cell_of(engine, 3, max_tokens=5))
    heard: list[Progress] = []
    cell = cell_of(engine, 11, max_tokens=5)
    for _ in run(cell, engine, store, start(store), on_progress=heard.append):
        pass
    assert heard[0] == Progress(3, 11, n_resumed=3, n_tokens=0)
    assert [progress.n_done for progress in heard if progress.n_done > 3][0] == 7
    assert heard[-1].n_done == 11
    assert {(progress.n_total, progress.n_resumed) for progress in heard} == {(11, 3)}
    assert [p.n_tokens for p in heard] == sorted(p.n_tokens for p in heard)


def test_every_token_seen_can_be_shown_and_is_asked_once(store: Store) -> None:
    engine = open_scripted()
    recorder = Recorder(engine)
    cell = cell_of(engine, 100)
    run_id = start(store)
    seen = set()
    for sample in run(cell, recorder, store, run_id):  # type: ignore[arg-type]
        seen |= set(sample.tokens["id"].tolist()) | set(sample.tokens["top_ids"].ravel().tolist())
        ids = sample.tokens["id"].tolist()
        assert store.pieces(cell.recipe.vocab_digest, ids) == {id: engine.piece(id) for id in ids}
    assert sorted(recorder.asked_pieces) == sorted(seen)
    assert store.known_pieces(cell.recipe.vocab_digest) == seen
    again = Recorder(engine)
    more = cell_of(engine, 120, seed=1)
    new = {
        id
        for sample in run(more, again, store, run_id)  # type: ignore[arg-type]
        for id in [*sample.tokens["id"].tolist(), *sample.tokens["top_ids"].ravel().tolist()]
    }
    assert sorted(again.asked_pieces) == sorted(new - seen)


class Rival(Recorder):
    """While it draws, another process stores other samples under the same indices."""

    def sample_each(self, works: Iterable[tuple[Recipe, Iterable[int]]]) -> Iterator[Step]:
        for step in self._engine.sample_each(works):
            with Store.open(self.path) as rival:
                rival.add([dataclasses.replace(sample, text=b"mine") for sample in step.finished], self.run_id)
            yield step

    path: Path
    run_id: str


def test_what_is_yielded_is_what_is_stored(store: Store) -> None:
    engine = open_scripted()
    cell = cell_of(engine, 5)
    rival = Rival(engine)
    rival.path, rival.run_id = store.path, start(store)
    yielded = [sample.text for sample in run(cell, rival, store, start(store))]  # type: ignore[arg-type]
    assert yielded == [b"mine"] * 5


def test_the_likeliest_tokens_are_kept_and_nothing_else(store: Store) -> None:
    engine = open_scripted("coin")
    cell = cell_of(engine, 4, max_tokens=3)
    fill(store, engine, cell)
    # Two sides of a coin; of the tokens that cannot come, the lowest ids fill the five.
    assert store.known_pieces(cell.recipe.vocab_digest) == {0, 1, 2, 3, 4}


def test_the_run_records_model_and_layout(store: Store) -> None:
    engine = open_scripted(parallel=3)
    cell = cell_of(engine, 5, arm="left")
    [recorded] = store.run(fill(store, engine, cell)).cells
    assert (recorded.arm, recorded.reference, recorded.n) == ("left", "scripted:base", 5)
    assert recorded.about["layout"] == {"device": ["none"], "parallel": 3}
    assert recorded.about["build"] == engine.build
    assert recorded.about["model"]["description"] == "scripted Markov chain 'base'"


def test_it_runs_outside_the_main_thread(store: Store) -> None:
    engine = open_scripted()
    cell = cell_of(engine, 5)

    def work() -> None:
        with Store.open(store.path) as own:
            fill(own, engine, cell)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert_whole(store, engine, cell)


def test_the_signal_handler_is_put_back(store: Store) -> None:
    engine = open_scripted()
    before = signal.getsignal(signal.SIGINT)
    fill(store, engine, cell_of(engine, 2))
    assert signal.getsignal(signal.SIGINT) is before
    samples = run(cell_of(engine, 9), engine, store, start(store))
    next(samples)
    assert signal.getsignal(signal.SIGINT) is not before
    samples.close()  # type: ignore[attr-defined]
    assert signal.getsignal(signal.SIGINT) is before


# ---- processes that die, compete, or are told to stop

HEAD = """
import sys
from pathlib import Path
from scripted_work import cell_of, fill, open_scripted
from llama_diversity.errors import Interrupted
from llama_diversity.runner import run
from llama_diversity.store import Store
path = Path(sys.argv[1])
"""


def spawn(program: str, path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HEAD + program, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
    )
    watchdog = threading.Timer(60, process.kill)  # a process that waits for ever fails its test instead
    watchdog.daemon = True
    watchdog.start()
    return process


def expect(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == line + "\n", process.communicate()[1]


def say(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()


DRAW_AND_TELL = """
engine = open_scripted(parallel=4)
with Store.open(path) as store:
    run_id = store.start_run(command=["x"], about={})
    for sample in run(cell_of(engine, 1500), engine, store, run_id):
        print(sample.index, flush=True)
"""


def test_killed_at_any_moment_nothing_told_is_lost_and_it_continues(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    moments = random.Random(8)
    told: set[int] = set()
    for _ in range(5):
        process = spawn(DRAW_AND_TELL, path)
        assert process.stdout is not None
        for _ in range(moments.randrange(1, 200)):
            told.add(int(process.stdout.readline()))
        process.kill()  # SIGKILL, while it goes on drawing and writing
        rest = process.stdout.read()  # not communicate(), which would lose what readline() has read ahead
        told |= {int(line) for line in rest.splitlines(keepends=True) if line.endswith("\n")}
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        with Store.open(path, read_only=True) as store:
            store.check()
            key = store.run("last").cells[0].recipe_key
            assert told <= {sample.index for sample in store.samples(key)}
    assert len(told) < 1500  # else nothing was interrupted
    engine = open_scripted()
    cell = cell_of(engine, 1500)
    with Store.open(path) as store:
        fill(store, engine, cell)
        assert store.missing(cell.recipe.key, 1500) == []
        assert_whole(store, engine, cell)


FILL_AT_ONCE = """
print("ready", flush=True)
sys.stdin.readline()
engine = open_scripted(parallel=4)
with Store.open(path) as store:
    fill(store, engine, cell_of(engine, 200), cell_of(engine, 50, seed=2))
print("done", flush=True)
"""


def test_processes_that_write_one_new_store_at_once(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    processes = [spawn(FILL_AT_ONCE, path) for _ in range(4)]
    for process in processes:
        expect(process, "ready")
    for process in processes:
        say(process, "go")
    for process in processes:
        expect(process, "done")
        assert process.communicate()[1] == ""
        assert process.returncode == 0
    engine = open_scripted()
    with Store.open(path, read_only=True) as store:
        assert len(store.runs()) == 4
        assert_whole(store, engine, cell_of(engine, 200))
        assert_whole(store, engine, cell_of(engine, 50, seed=2))


# An engine whose steps wait for a line: the signal arrives while a step is in flight, whatever the machine does.
GATED = """
class Gated:
    def __init__(self, engine):
        self._engine = engine
    def __getattr__(self, name):
        return getattr(self._engine, name)
    def sample_each(self, works):
        for step in self._engine.sample_each(works):
            print("in step", flush=True)
            while sys.stdin.readline() != "go\\n":
                print("still in step", flush=True)
            yield step

engine = Gated(open_scripted("coin", parallel=2))
with Store.open(path) as store:
    run_id = store.start_run(command=["x"], about={})
    try:
        for sample in run(cell_of(engine, 10, max_tokens=1), engine, store, run_id):
            print(sample.index, flush=True)
        print("finished", flush=True)
    except Interrupted as error:
        print(error, flush=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("KeyboardInterrupt", flush=True)
        sys.exit(130)
"""


def indices_in(path: Path) -> list[int]:
    with Store.open(path, read_only=True) as store:
        return [sample.index for sample in store.samples(store.run("last").cells[0].recipe_key)]


def test_the_first_ctrl_c_ends_the_step_and_keeps_it(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    with spawn(GATED, path) as process:
        expect(process, "in step")
        say(process, "go")
        expect(process, "0")
        expect(process, "1")
        expect(process, "in step")
        process.send_signal(signal.SIGINT)
        say(process, "go")
        expect(process, "2")
        expect(process, "3")
        expect(process, f"Interrupted: 4 of 10 samples (base) are kept in {path}. The same command continues.")
        assert process.wait() == 130
    assert indices_in(path) == [0, 1, 2, 3]


def test_the_second_ctrl_c_stops_at_once(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    with spawn(GATED, path) as process:
        expect(process, "in step")
        say(process, "go")
        expect(process, "0")
        expect(process, "1")
        expect(process, "in step")
        process.send_signal(signal.SIGINT)
        say(process, "more")
        expect(process, "still in step")  # the first was heard, and the step goes on
        process.send_signal(signal.SIGINT)
        expect(process, "KeyboardInterrupt")
        assert process.wait() == 130
    assert indices_in(path) == [0, 1]


def test_ctrl_c_in_the_last_step_is_not_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    with spawn(GATED.replace("cell_of(engine, 10,", "cell_of(engine, 2,"), path) as process:
        expect(process, "in step")
        process.send_signal(signal.SIGINT)
        say(process, "go")
        expect(process, "0")
        expect(process, "1")
        expect(process, f"Interrupted: 2 of 2 samples (base) are kept in {path}. The same command continues.")
        assert process.wait() == 130


def test_a_process_that_ignores_ctrl_c_goes_on_ignoring_it(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    with spawn(
        "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + GATED, path
    ) as process:  # as nohup does
        for step in range(5):
            expect(process, "in step")
            process.send_signal(signal.SIGINT)
            say(process, "go")
            expect(process, str(2 * step))
            expect(process, str(2 * step + 1))
        expect(process, "finished")
        assert process.wait() == 0


# ---- memory

FILL_AND_READ = """
import resource
engine = open_scripted("coin")
n = int(sys.stdin.readline())
with Store.open(path) as store:
    fill(store, engine, cell_of(engine, n, max_tokens=4))
    assert sum(len(s.tokens) for s in store.samples(store.run("last").cells[0].recipe_key)) == 4 * n
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, flush=True)
"""


def peak_bytes(n: int, path: Path) -> int:
    with spawn(FILL_AND_READ, path) as process:
        peak, complaints = process.communicate(f"{n}\n")
    assert complaints == ""
    return int(peak) * (1 if sys.platform == "darwin" else 1024)


def test_ten_thousand_samples_take_the_memory_of_a_hundred(tmp_path: Path) -> None:
    few, many = peak_bytes(100, tmp_path / "few.sqlite"), peak_bytes(10_000, tmp_path / "many.sqlite")
    assert many - few < 10 * 2**20
