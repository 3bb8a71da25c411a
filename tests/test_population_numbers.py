"""The self-checks of population: verdicts, planted duplicates and intervals where the truth is known.

Seeds are fixed, so a run says the same each time; `bin/calibrate population` has more runs of the same settings.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest


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


def test_planted_duplicates_come_back(calibrate: ModuleType) -> None:
    """20 % of 1,000, exact copies and near ones, within 2 points in each of ten seeds."""
    [(_, held)] = calibrate.duplicates(10)
    assert held == 1


def test_intervals_hold_the_truth(calibrate: ModuleType) -> None:
    """In 95 % of 40 runs less three standard errors; `bin/calibrate population` has the rates of many more."""
    for setting, held in calibrate.intervals(40):
        assert held >= 0.845, setting


def test_the_study_itself_has_the_law_of_the_scripted_model(calibrate: ModuleType) -> None:
    """From the asks to the numbers, five seeds; docs/method.md has the rates of 200."""
    assert calibrate.VALID == pytest.approx(0.9 * 0.95 * (1 - 0.1 * 0.9))
    rates = dict(calibrate.whole(5))
    assert rates.pop("ages miss four alike, of which one is 15 points off") >= 0.4
    assert rates.pop("ages miss the reverse") == 1
    assert len(rates) == 8
    for setting, held in rates.items():
        assert held >= 0.8, setting
