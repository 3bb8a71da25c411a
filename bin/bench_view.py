"""How fast `llamadiv view` answers a key, and in how much memory, on a run of 10,000 samples of 128 tokens.

The run is made up (random statistics, five alternatives a token, two arms), since only its size matters here. In a
process of its own the viewer is driven through Textual's pilot, without a terminal: each key is sent, and the time
taken until the last of what it changes is handed to the terminal. Keys that change nothing do not count. Meanwhile
another process computes without pause. The keys walk through tokens, words, surprises, samples, colours, the list and
its pages. Sorting by likelihood, which reads every sample, is timed apart, and keys are pressed while it goes on.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
from pathlib import Path

N_SAMPLES, N_TOKENS, N_PIECES = 10_000, 128, 2_000
SIZE = (120, 40)
WALK = [
    *["right"] * 40,
    *"wwwnnNsssccCs",
    *["down"] * 10,
    "l",
    *["down"] * 20,
    *["pagedown"] * 10,
    "end",
    "home",
    "escape",
]
BUSY = "while True: sum(range(10**6))"
DRIVE = """
import asyncio, json, resource, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import bench_view
print(json.dumps(asyncio.run(bench_view.driven(Path(sys.argv[1])))))
"""


def measured(rounds: int) -> dict:
    """Milliseconds of a key (median, 95th percentile, most), of sorting; megabytes at most. Of the worst round."""
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store.sqlite"
        make_run(store)
        found = [one_round(store) for _ in range(rounds)]
    return max(found, key=lambda one: one["p95_ms"])


def one_round(store: Path) -> dict:
    busy = subprocess.Popen([sys.executable, "-c", BUSY])
    try:
        command = [sys.executable, "-c", DRIVE, str(store), str(Path(__file__).parent)]
        done = subprocess.run(command, capture_output=True, text=True)
    finally:
        busy.kill()
        busy.wait()
    if done.returncode:
        sys.exit(f"the viewer failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout)


def make_run(path: Path) -> None:
    """A run of two arms whose samples are random, with pieces like words."""
    import numpy as np

    from llama_diversity.records import TOKEN_DTYPE, Cell, Piece, Prompt, Recipe, Sample, Sampler
    from llama_diversity.store import Store

    chance = np.random.default_rng(0)
    pieces = {at: Piece(f" w{at:03d}".encode()) for at in range(N_PIECES)}
    with Store.open(path) as store:
        run = store.start_run(command=["llamadiv", "bench"], about={})
        store.put_pieces("v", pieces)
        for seed, arm in enumerate(("base", "aligned")):
            recipe = Recipe("made up", "0", f"weights {seed}", "v", Prompt("p", "p", (1,)), Sampler(), seed, N_TOKENS)
            store.add_cells(run, [(Cell(arm, arm, recipe, N_SAMPLES), {"model": {"n_vocab": N_PIECES}})])
            for start in range(0, N_SAMPLES, 500):
                samples = []
                for index in range(start, start + 500):
                    tokens = np.zeros(N_TOKENS, TOKEN_DTYPE)
                    tokens["id"] = chance.integers(0, N_PIECES, N_TOKENS)
                    tokens["top_ids"] = chance.integers(0, N_PIECES, (N_TOKENS, 5))
                    tokens["top_surprisals_bits"] = np.sort(chance.gamma(2, 2, (N_TOKENS, 5)) + 0.5)
                    for name in ("surprisal_bits", "entropy_bits", "varentropy_bits2"):
                        tokens[name] = chance.gamma(2, 2, N_TOKENS)
                    tokens["rank"] = chance.integers(1, N_PIECES, N_TOKENS)
                    for one in ("surprisal_bits", "entropy_bits"):
                        tokens[f"sampler_{one}"] = tokens[one]
                    text = b"".join(pieces[int(token)].bytes for token in tokens["id"])
                    samples.append(Sample(recipe.key, index, "length", text, tokens))
                store.add(samples, run)
        store.finish_run(run)


async def driven(store: Path) -> dict:
    """What a viewer of the store took, in this process."""
    import resource
    import time

    from textual import events

    from llama_diversity.render.cells import Marks
    from llama_diversity.render.heatmap import Looks
    from llama_diversity.studies.session import Session
    from llama_diversity.studies.sources import stored_source
    from llama_diversity.view.app import ViewApp
    from llama_diversity.view.ink import Ink

    drawn: list[float] = []

    class Watched(ViewApp):
        def _display(self, screen, renderable) -> None:  # type: ignore[no-untyped-def]
            super()._display(screen, renderable)
            drawn.append(time.perf_counter())

    with stored_source("last", Session(store)) as source:
        app = Watched(source, Ink(Looks(), "truecolor", Marks()))
        async with app.run_test(size=SIZE) as pilot:
            await pilot.pause()

            async def press(key: str) -> float | None:
                """Milliseconds from the key to the last drawing; None where nothing was drawn."""
                drawn.clear()
                before = time.perf_counter()
                app._driver.send_message(events.Key(key, key if len(key) == 1 else None))
                for _ in range(3):
                    await pilot._wait_for_screen()
                    await asyncio.sleep(0.02)  # the screen is drawn at most 60 times a second
                return 1000 * (drawn[-1] - before) if drawn else None

            cpu = time.process_time()
            took = [ms for key in WALK * 3 if (ms := await press(key)) is not None]
            cpu = 1000 * (time.process_time() - cpu) / (3 * len(WALK))
            await press("l")
            before, during = time.perf_counter(), []
            await press("o")
            while any(not worker.is_finished for worker in app.workers):
                if (ms := await press("down")) is not None:
                    during.append(ms)
            sorting = time.perf_counter() - before
    took, during = sorted(took), sorted(during) or [0.0]
    usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "keys": len(took),
        "median_ms": took[len(took) // 2],
        "p95_ms": took[int(0.95 * len(took))],
        "most_ms": took[-1],
        "cpu_ms": cpu,
        "sorting_s": sorting,
        "while_sorting_median_ms": during[len(during) // 2],
        "while_sorting_p95_ms": during[int(0.95 * len(during))],
        "peak_mb": usage / (1e6 if sys.platform == "darwin" else 1e3),
    }


def table(report: dict) -> list[str]:
    """Lines for a reader."""
    return [
        "",
        f"llamadiv view, {N_SAMPLES:,} samples of {N_TOKENS} tokens, two arms, beside a busy process:",
        f"  {report['keys']} keys: median {report['median_ms']:.0f} ms, 95 % within {report['p95_ms']:.0f} ms, "
        f"most {report['most_ms']:.0f} ms",
        f"  of CPU {report['cpu_ms']:.0f} ms a key on average; memory at most {report['peak_mb']:.0f} MB",
        f"  sorting by likelihood {report['sorting_s']:.1f} s; meanwhile a key takes "
        f"{report['while_sorting_median_ms']:.0f} ms, 95 % within {report['while_sorting_p95_ms']:.0f} ms",
    ]
