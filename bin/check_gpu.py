"""What nobody has seen without a graphics processor, each with its figures and a verdict; exit code 1 if one fails.

demo; sampling with the shape of a 7B model at 64 sequences beside the naive loop, and llama-batched-bench where it is
at hand; how far readings on the processor and on the CPU lie apart, all layers and some of them offloaded, beside the
CPU's own noise; the same divergence from both; `--exact`, which computes on the CPU alone and refuses layers elsewhere.
Where there is no graphics processor the same checks run on the CPU, and say so.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from llama_diversity.engines import EngineOptions, open_engine
from llama_diversity.engines.llamacpp import system_report
from llama_diversity.resolve import resolve_model
from llama_diversity.studies.measuring.noise import N_TOKENS, REFERENCE, TEXT, WAYS, analyse, floor

BENCH = Path(__file__).with_name("bench.py")
LEAST_TO_BATCHED_BENCH, LEAST_TO_NAIVE = 0.9, 60  # targets for 64 sequences of the 7B shape on a processor of its own
MOST_TIMES_NOISE = 4.0  # another device may move a token by so many times what the CPU alone does
FEW_LAYERS = 2


class Check(NamedTuple):
    """What was looked at, whether it is as it should be, and the figures."""

    name: str
    passed: bool
    seconds: float
    figures: dict[str, Any]


def main() -> int:
    arguments = parse()
    devices = [device["description"] for device in system_report()["devices"] if device["is_gpu"]]
    say(f"graphics processors: {', '.join(devices) or 'none, so all runs on the CPU'}")
    parts: dict[str, Callable[[], tuple[bool, dict[str, Any]]]] = {
        "demo": lambda: demo(arguments.pair),
        "arithmetic": lambda: arithmetic(arguments.model, has_gpu=bool(devices)),
        "diff": lambda: diff(has_gpu=bool(devices)),
        "exact": lambda: exact(arguments.model),
        "bench": lambda: bench(arguments, has_gpu=bool(devices)),
    }
    checks = [timed(name, parts[name]) for name in arguments.only or parts]
    report = {"devices": devices, "setup_seconds": arguments.setup_seconds, "checks": [one._asdict() for one in checks]}
    print(json.dumps(report) if arguments.json else table(report))
    return 0 if all(one.passed for one in checks) else 1


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bin/check-gpu", description=__doc__.split("\n\n")[0])
    names = ("demo", "arithmetic", "diff", "exact", "bench")
    parser.add_argument("--model", default="tiny-base", help="whose arithmetic is compared (tiny-base)")
    parser.add_argument("--pair", default="tiny", help="whose demo is run (tiny)")
    parser.add_argument("--shape", default="7b", help="size of the random model whose speed is measured (7b)")
    parser.add_argument("--vocab", type=int, default=32000, help="its vocabulary (32000)")
    parser.add_argument("--max-tokens", type=int, default=64, help="tokens of a completion (64)")
    parser.add_argument("--parallel", type=int, default=64, help="sequences at once (64)")
    parser.add_argument("--only", type=lambda text: text.split(","), help=f"some of {','.join(names)} (all)")
    parser.add_argument("--setup-seconds", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if unknown := set(arguments.only or ()) - set(names):
        parser.error(f"{', '.join(sorted(unknown))} is none of {', '.join(names)}")
    return arguments


def timed(name: str, part: Callable[[], tuple[bool, dict[str, Any]]]) -> Check:
    say(name)
    before = time.perf_counter()
    try:
        passed, figures = part()
    except Exception as error:  # noqa: BLE001  the other checks are worth having
        passed, figures = False, {"failed": f"{type(error).__name__}: {error}"}
    return Check(name, passed, round(time.perf_counter() - before, 1), figures)


def demo(pair: str) -> tuple[bool, dict[str, Any]]:
    """From nothing, no store and no cache: the aligned model is narrower."""
    with tempfile.TemporaryDirectory() as home:
        done = llamadiv("demo", "--pair", pair, "--json", "-q", LLAMADIV_HOME=home)
    if done.returncode:
        return False, {"exit_code": done.returncode, **said(done)}
    measures = json.loads(done.stdout)["measures"]
    entropies = {arm: measures["entropy_bits"][arm]["mean"] for arm in ("base", "aligned")}
    return entropies["aligned"] < entropies["base"], {"entropy_bits": entropies}


def arithmetic(model: str, *, has_gpu: bool) -> tuple[bool, dict[str, Any]]:
    """One text read on the CPU, on the processor, and with some layers on it: each way beside the CPU's own noise."""
    cpu, ids = readings(model, 0)
    here = cpu.pop(REFERENCE.name)
    noise = floor([analyse(here, cpu, ids[1:])])
    figures: dict[str, Any] = {"cpu_noise_bits": noise.surprisal_mean_bits, "cpu_noise_kl_bits": noise.kl_bits}
    passed = True
    for name, layers in (("all_layers", None), ("some_layers", FEW_LAYERS)) if has_gpu else (("cpu_again", 0),):
        there, _ = readings(model, layers)
        apart = analyse(here, there, ids[1:]).apart
        worst = max(one.surprisal_mean_bits for one in apart.values())
        figures[name] = {way: one.surprisal_mean_bits for way, one in apart.items()}
        passed = passed and worst <= MOST_TIMES_NOISE * noise.surprisal_mean_bits
    return passed, figures


def readings(model: str, layers: int | None) -> tuple[dict[str, Any], tuple[int, ...]]:
    options = EngineOptions(n_gpu_layers=layers)
    with contextlib.closing(open_engine(resolve_model(model), options)) as engine:
        ids = engine.tokenize(TEXT)[:N_TOKENS]
        ways = (REFERENCE, *WAYS)
        return {way.name: engine.reading(ids, together=way.together, fused=way.is_fused) for way in ways}, ids


def diff(*, has_gpu: bool) -> tuple[bool, dict[str, Any]]:
    """The tiny pair: the divergence is the same on both, to a hundredth."""
    found = {}
    for name, layers in (("device", []), ("cpu", ["--gpu-layers", "0"])) if has_gpu else (("cpu", []),):
        with tempfile.TemporaryDirectory() as home:
            done = llamadiv("diff", TEXT, "--pair", "tiny", "--json", "-q", *layers, LLAMADIV_HOME=home)
        if done.returncode:
            return False, said(done)
        found[name] = json.loads(done.stdout)["arms"]["aligned"]["kl_bits"]["value"]
    return max(found.values()) - min(found.values()) < 0.01 * max(found.values()), found


def exact(model: str) -> tuple[bool, dict[str, Any]]:
    """It refuses layers on a processor, and alone gives the same bytes in two layouts."""
    ask = ("sample", "-m", model, "-p", "Once upon", "-n", 6, "--max-tokens", 12, "--exact", "--json", "-q")
    with tempfile.TemporaryDirectory() as home:
        refused = llamadiv(*ask, "--gpu-layers", 5, LLAMADIV_HOME=home)
        outputs = [
            llamadiv(*ask, "--parallel", parallel, "--store", Path(home) / f"{parallel}.sqlite", LLAMADIV_HOME=home)
            for parallel in (1, 6)
        ]
    is_same = outputs[0].stdout == outputs[1].stdout and all(done.returncode == 0 for done in outputs)
    figures = {"refusal": refused.stderr.strip(), "same_in_two_layouts": is_same}
    return refused.returncode == 2 and "--exact computes on the CPU alone" in refused.stderr and is_same, figures


def bench(arguments: argparse.Namespace, *, has_gpu: bool) -> tuple[bool, dict[str, Any]]:
    """Sampling beside the naive loop and llama-batched-bench; the targets are for a graphics processor."""
    command = [sys.executable, str(BENCH), "--only", "sampling", "--rounds", "1", "--naive-samples", "1", "--json"]
    command += ["--shape", arguments.shape, "--vocab", str(arguments.vocab), "--parallel", str(arguments.parallel)]
    command += ["--max-tokens", str(arguments.max_tokens)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return False, said(done)
    [row] = json.loads(done.stdout)["parallel"]
    is_fast = row["ratio_to_naive"] >= LEAST_TO_NAIVE and row.get("ratio_to_batched_bench", 1) >= LEAST_TO_BATCHED_BENCH
    return is_fast or not has_gpu, row


def llamadiv(*words: object, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "llama_diversity", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **variables})


def said(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """The last words of a command that failed."""
    return {"said": done.stderr.strip()[-500:]} if done.returncode else {}


def table(report: dict[str, Any]) -> str:
    lines = [f"graphics processors: {', '.join(report['devices']) or 'none'}"]
    if report["setup_seconds"] is not None:
        lines.append(f"setup: {report['setup_seconds']:.0f} s")
    for check in report["checks"]:
        verdict = "as it should be" if check["passed"] else "NOT as it should be"
        lines.append(f"{check['name']}: {verdict}, {check['seconds']} s")
        lines += [f"    {name}: {value}" for name, value in check["figures"].items()]
    return "\n".join(lines)


def say(words: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {words}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
