"""Which cores are free, from made-up accounts; and that the number of threads decides nothing but the time."""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from llama_diversity.engines import EngineOptions, open_engine
from llama_diversity.engines.cores import Account, Threads, _busy_ticks, _quota_cores, account, physical_cores
from llama_diversity.records import ModelRef, Recipe, Sampler


def seen(*others: float, own: float = 1.0) -> list[Account | None]:
    """Accounts, a second apart, between which other programs took `others` cores and this one took `own`."""
    everybody = itertools.accumulate((other + own for other in others), initial=100.0)
    return [Account(second, busy, 50.0 + own * second) for second, busy in enumerate(everybody)]


def counts(most: int, accounts: list[Account | None], monkeypatch: pytest.MonkeyPatch, cores: int) -> list[int]:
    """What is counted at each look after the first."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)), raising=False)
    threads = Threads(most, look=iter(accounts).__next__)
    return [threads.count() for _ in accounts[1:]]


def test_threads_leave_the_cores_that_others_compute_on(monkeypatch: pytest.MonkeyPatch) -> None:
    found = counts(2, seen(0.0, 0.1, 1.0, 1.0, 1.9, 0.05, 0.0, own=0.9), monkeypatch, cores=2)
    assert found == [2, 2, 1, 1, 1, 2, 2]


def test_free_hardware_threads_count_for_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    assert counts(4, seen(0, 3, 4, 5, 7, 8), monkeypatch, cores=8) == [4, 4, 4, 3, 1, 1]


def test_a_system_without_an_account_counts_as_free(monkeypatch: pytest.MonkeyPatch) -> None:
    assert counts(3, [None, None, None], monkeypatch, cores=3) == [3, 3]


def test_no_second_look_at_once() -> None:
    now = Account(time.monotonic(), 0.0, 0.0)
    looks = iter([now, now._replace(wall=now.wall + 3600)])
    threads = Threads(2, look=looks.__next__)
    assert [threads.count() for _ in range(5)] == [2] * 5  # a third look would end the iterator
    assert next(looks).wall == now.wall + 3600


def test_the_account_of_this_system() -> None:
    if sys.platform != "linux":
        assert account() is None
        return
    before = account()
    assert before is not None
    while (now := account()) is not None and now.own < before.own + 0.05:
        pass
    assert now is not None
    assert now.wall > before.wall
    assert now.everybody >= before.everybody > 0
    assert now.everybody - before.everybody >= now.own - before.own - 0.05  # kept in hundredths, for each CPU


def test_programs_that_give_way_are_not_busy() -> None:
    assert _busy_ticks("cpu3 100 2000 30 40000 500000 6 7 8 9 10") == 100 + 30 + 6 + 7


@pytest.mark.parametrize(
    ("text", "cores"), [("max 100000\n", 65536), ("200000 100000\n", 2), ("150000 100000\n", 2), ("5000 100000\n", 1)]
)
def test_a_quota_bounds_the_cores(tmp_path: Path, text: str, cores: int) -> None:
    path = tmp_path / "cpu.max"
    path.write_text(text)
    assert _quota_cores(path) == cores
    assert _quota_cores(tmp_path / "none") == 65536
    assert physical_cores() >= 1


@pytest.mark.model
def test_openmp_is_told_to_sleep_soon_unless_the_user_said_otherwise() -> None:
    """While llama.cpp is loaded: programs that are started later wait as they always do."""
    show = "import llama_diversity.engines.llamacpp, os; print(os.environ.get('GOMP_SPINCOUNT'))"
    clean = {name: value for name, value in os.environ.items() if name not in {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}}
    for said, told, left in (
        ({}, "20000", "None"),
        ({"GOMP_SPINCOUNT": "7"}, "7", "7"),
        ({"OMP_WAIT_POLICY": "passive"}, "0", "None"),
    ):
        environment = {**clean, **said, "OMP_DISPLAY_ENV": "verbose"}
        done = subprocess.run([sys.executable, "-c", show], env=environment, capture_output=True, check=True)
        assert done.stdout.decode().strip() == left
        if b"GOMP_" in done.stderr:  # the library is GNU's
            assert f"GOMP_SPINCOUNT = '{told}'".encode() in done.stderr


# ---- bits


class Restless(Threads):
    """Another number of threads at every step."""

    def count(self) -> int:
        self._now = self._now % self.most + 1
        return self._now


def drawn(path: Path, prompt: str, n: int, max_tokens: int, *, restless: bool) -> list[np.ndarray]:
    reference = ModelRef("test", "llamacpp", str(path), "d")
    options = EngineOptions(n_threads=2, parallel=n)
    with contextlib.closing(open_engine(reference, options)) as engine:
        if restless:
            engine._threads = Restless(2)  # type: ignore[attr-defined]
        made = engine.prompt(prompt)
        digests = ("llamacpp", engine.build, "d", engine.facts.vocab_digest)
        recipe = Recipe(*digests, made, Sampler(), 0, max_tokens)
        found = {s.index: s.tokens for step in engine.sample(recipe, range(n)) for s in step.finished}
    return [found[index] for index in range(n)]


def assert_equal_bits(path: Path, prompt: str, n: int, max_tokens: int) -> None:
    steady, restless = (drawn(path, prompt, n, max_tokens, restless=r) for r in (False, True))
    for one, other in zip(steady, restless, strict=True):
        assert one.tobytes() == other.tobytes()


@pytest.mark.model
@pytest.mark.parametrize("n", [1, 6])
def test_a_changing_number_of_threads_changes_no_bit(tiny_model: Path, n: int) -> None:
    assert_equal_bits(tiny_model, "Once upon a time", n, 20)
    assert_equal_bits(tiny_model, "word " * 150, n, 6)  # so long that a single row's attention is shared out


@pytest.mark.real
@pytest.mark.parametrize("n", [1, 6])
def test_a_changing_number_of_threads_changes_no_bit_of_a_real_model(smollm2: Path, n: int) -> None:
    assert_equal_bits(smollm2, "Once upon a time, in a land far away", n, 8)
