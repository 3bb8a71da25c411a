"""What looking costs: samples that grow in the viewer, beside the same samples drawn with nobody looking.

One model in one process, its prompt decoded; sixteen sequences grow together. In turns: nobody looks; the tokens so far
are asked for as often as the viewer does; the viewer itself shows them, through Textual's pilot. Seconds are of the
clock and of this process's processor time, from the first step to the last. Each turn has a seed of its own, and every
other round goes through the ways backwards.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
from pathlib import Path
from unittest import mock

N_SAMPLES, MAX_TOKENS = 48, 64
WAYS = ("nobody", "looked at", "in the viewer")
DRAW = """
import json, sys
sys.path.insert(0, sys.argv[2])
import bench_watching
print(json.dumps(bench_watching.drawn(sys.argv[1], int(sys.argv[3]))))
"""


def measured(model: Path, rounds: int) -> dict:
    """Seconds of each way, medians over the rounds, and those of looking as a share of those without."""
    command = [sys.executable, "-c", DRAW, str(model), str(Path(__file__).parent), str(rounds)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"bench: watching failed:\n{done.stderr[-2000:]}")
    turns = json.loads(done.stdout)
    report: dict = {}
    for clock in ("seconds", "cpu_seconds"):
        for way in WAYS:
            report[f"{way}, {clock}"] = statistics.median(turn[way][clock] for turn in turns)
        for way in WAYS[1:]:
            report[f"{way} to nobody, {clock}"] = statistics.median(
                turn[way][clock] / turn["nobody"][clock] for turn in turns
            )
    return report


def drawn(model: str, rounds: int) -> list[dict]:
    """Of each round the seconds of each way, in this process."""
    import tempfile

    from llama_diversity.records import Asking
    from llama_diversity.studies.branch.specs import place_of
    from llama_diversity.studies.sampling import Request
    from llama_diversity.studies.session import Session
    from llama_diversity.studies.watching import EVERY_S

    with tempfile.TemporaryDirectory() as folder:
        session = Session(named_store=Path(folder) / "store.sqlite")
        place = place_of(model, Request("Grace Hopper was"), None, at=None, asking=Asking(), session=session)
        turns = []
        for number in range(-1, rounds):  # the first warms up
            seeds = iter(range(10 * number + 100, 10 * number + 110))
            turn = {}
            for way in WAYS[:: 1 if number % 2 else -1]:
                if way == "in the viewer":
                    turn[way] = asyncio.run(_shown(place, session, next(seeds)))
                else:
                    turn[way] = _grown(place, session, next(seeds), every_s=1e9 if way == "nobody" else EVERY_S)
            turns.append(turn)
        return turns[1:]


def _grown(place, session, seed: int, *, every_s: float) -> dict:  # type: ignore[no-untyped-def]
    from llama_diversity.studies.branch.gathering import looking
    from llama_diversity.studies.branch.specs import Ids
    from llama_diversity.studies.drawing import Drawing
    from llama_diversity.studies.watching import Watch

    with looking(place, n=N_SAMPLES, max_tokens=MAX_TOKENS, drawing=Drawing(seed=seed), session=session) as looks:
        looks.begin(Ids((), ()))
        before = _now()
        looks.grow(Ids((), ()), Watch(lambda seen: None, every_s=every_s))
        return _since(before)


async def _shown(place, session, seed: int) -> dict:  # type: ignore[no-untyped-def]
    from llama_diversity.render.cells import Marks
    from llama_diversity.render.heatmap import Looks
    from llama_diversity.studies.branch.gathering import Looking, Sitting
    from llama_diversity.studies.branch.specs import Ids
    from llama_diversity.studies.drawing import Drawing
    from llama_diversity.view.app import ViewApp
    from llama_diversity.view.branching import BranchScreen
    from llama_diversity.view.here import stand_behind
    from llama_diversity.view.ink import Ink

    took: list[dict] = []

    grow = Looking.grow

    def timed(self, ids, watch):  # type: ignore[no-untyped-def]
        before = _now()
        grown = grow(self, ids, watch)
        took.append(_since(before))
        return grown

    ink = Ink(Looks(), "truecolor", Marks())
    app = ViewApp(_Nothing(), ink, session)
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.pause()
        app.models._sitting = Sitting(session, Drawing(seed=seed), n=N_SAMPLES, max_tokens=MAX_TOKENS)
        found: list = []
        app.models.ask(lambda sitting: stand_behind(sitting, place, (), None), found.append, sys.exit)
        while not found:
            await asyncio.sleep(0.02)
        with mock.patch.object(Looking, "grow", timed):
            app.push_screen(BranchScreen(found[0], Ids((), ()), [], app.models, ink))
            while not took:
                await asyncio.sleep(0.02)
        return took[0]


class _Nothing:
    """A source without texts."""

    title = ""
    questions: tuple[str, ...] = ()
    panels = ()

    def refresh(self) -> bool:
        return False

    def arms(self, question: int) -> list[str]:
        return []

    def n_rows(self, question: int, arm: int) -> int:
        return 0


def _now() -> tuple[float, float]:
    import time

    return time.perf_counter(), time.process_time()


def _since(before: tuple[float, float]) -> dict:
    now = _now()
    return {"seconds": now[0] - before[0], "cpu_seconds": now[1] - before[1]}


def table(report: dict) -> list[str]:
    """Lines for a reader."""
    lines = ["", f"{N_SAMPLES} samples of {MAX_TOKENS} tokens, nobody looking, looked at, and in the viewer:"]
    for clock, words in (("seconds", "seconds"), ("cpu_seconds", "of CPU")):
        took = ", ".join(f"{report[f'{way}, {clock}']:.2f}" for way in WAYS)
        shares = ", ".join(f"{report[f'{way} to nobody, {clock}']:.3f}" for way in WAYS[1:])
        lines.append(f"  {words} {took}; to nobody {shares}")
    return lines
