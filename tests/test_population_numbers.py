"""The self-checks of population: verdicts, planted duplicates and intervals where the truth is known.

Seeds are fixed, so a run says the same each time; `bin/calibrate population` has more runs of the same settings.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from llama_diversity.metrics.choice import Kept


@pytest.fixture
def calibrate(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "bin"))
    return importlib.import_module("calibrate_population")


def test_counts_drawn_from_the_target_fit(calibrate: ModuleType) -> None:
    """In 93 of 100 at least, of 2 to 8 cells at n = 50 and 500 and of calls; the rates are .951 to .998."""
    for setting, held in calibrate.verdicts(100, (50, 500)):
        assert held >= 0.93, setting


def test_all_tables_of_an_arm_fit_together(calibrate: ModuleType) -> None:
    for setting, held in calibrate.families(100):
        assert held >= 0.93, setting


def test_a_shift_of_ten_points_is_called_a_miss(calibrate: ModuleType) -> None:
    for setting, held in calibrate.shifts(100):
        assert held >= 0.90, setting


def test_planted_duplicates_come_back() -> None:
    """20 % of 1,000: exact copies and near ones; vectors of 64 random numbers never come near each other."""
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(1000, 64))
    places = generator.permutation(np.arange(200, 1000))[:200]
    for at in places:
        rows[at] = rows[generator.integers(200)] + (at % 2) * 0.2 * generator.normal(size=64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    found = [near is not None for near in Kept().add(rows.astype(np.float32))]
    assert 18 <= 100 * np.mean(found) <= 22
    assert all(found[at] for at in places if at % 2 == 0)  # copies, all of them


def test_intervals_hold_the_truth(calibrate: ModuleType) -> None:
    """In 95 % of 40 runs less three standard errors; `bin/calibrate population` has the rates of many more."""
    for setting, held in calibrate.intervals(40):
        assert held >= 0.845, setting
