"""bin/check-gpu on the CPU: its parts run, with a small model, and their verdicts are read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "bin" / "check_gpu.py"


def checked(*options: str) -> tuple[int, dict]:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *options, "--json"], capture_output=True, text=True, env=dict(os.environ)
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


@pytest.mark.model
def test_its_parts_run_on_the_cpu() -> None:
    code, report = checked("--only", "demo,arithmetic,diff,exact", "--pair", "scripted", "--setup-seconds", "3")
    checks = {check["name"]: check for check in report["checks"]}
    assert {name: check["passed"] for name, check in checks.items()} == dict.fromkeys(
        ("demo", "arithmetic", "diff", "exact"), True
    )
    assert code == 0
    assert report["setup_seconds"] == 3
    figures = checks["arithmetic"]["figures"]
    if not report["devices"]:
        assert figures["cpu_again"]["one pass"] == 0  # the same way on the same device
    assert 0 < figures["cpu_noise_bits"] < 0.1
    assert "--exact computes on the CPU alone" in checks["exact"]["figures"]["refusal"]


@pytest.mark.model
def test_speed_is_measured_on_a_small_shape_too() -> None:
    """The targets are for a graphics processor: elsewhere there are figures and no verdict."""
    small = ("--shape", "tiny", "--vocab", "300", "--max-tokens", "8", "--parallel", "4")
    code, report = checked("--only", "bench", *small)
    [check] = report["checks"]
    assert check["figures"]["parallel"] == 4
    assert check["figures"]["ratio_to_naive"] > 0
    assert code == 0 or report["devices"]


def test_a_part_that_fails_is_a_verdict_and_not_a_traceback() -> None:
    code, report = checked("--only", "arithmetic", "--model", "no-such-model")
    assert code == 1
    [check] = report["checks"]
    assert not check["passed"]
    assert "UnknownName" in check["figures"]["failed"] or "no-such-model" in check["figures"]["failed"]
