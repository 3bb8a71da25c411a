"""Workers on a Ray cluster: driver and gateway, with a stand-in for ray; test_ray.py has the real one."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from llama_diversity.engines import EngineOptions, open_engine
from llama_diversity.engines.fanout import clusters
from llama_diversity.engines.fanout import crew as crews
from llama_diversity.engines.fanout.clusters import Node, RayPlaces, places_of
from llama_diversity.engines.fanout.complaints import about_actor, about_cluster
from llama_diversity.engines.fanout.engine import FanOutEngine
from llama_diversity.engines.fanout.finding import found_here
from llama_diversity.engines.fanout.lines import Refused, WorkerGone, WorkerLost
from llama_diversity.engines.fanout.places import workers_at
from llama_diversity.errors import BadValue, EngineError
from llama_diversity.records import ModelRef, Recipe, Sampler
from llama_diversity.resolve import resolve_model

STANDIN = Path(__file__).parent / "standin"
CHAIN = "scripted:base"


def node_of(name: str, **resources: float) -> dict[str, Any]:
    found = {"NodeID": name * 6, "Alive": True, "NodeManagerHostname": "h", "NodeManagerAddress": "10.0.0.1"}
    return {**found, "Resources": {"CPU": 2.0, "memory": 1e9, **resources}}


class Scene:
    """A cluster that the stand-in plays."""

    def __init__(self, folder: Path, address: str) -> None:
        self.file, self.address = folder / "ray.json", address
        self.says(nodes=[node_of("a"), node_of("b")])

    def says(self, **said: Any) -> None:
        part = self.file.with_suffix(".part")
        part.write_text(json.dumps(said))
        part.rename(self.file)

    def heard(self, what: str) -> list[dict[str, Any]]:
        log = self.file.with_suffix(".log")
        return [one for one in map(json.loads, log.read_text().splitlines()) if what in one] if log.exists() else []

    def engine(self, notes: list[str] | None = None, **options: Any) -> FanOutEngine:
        heard = [] if notes is None else notes
        made = EngineOptions(workers=f"ray:{self.address}", **options)
        return FanOutEngine(resolve_model(CHAIN), made, on_note=heard.append)


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.syspath_prepend(str(STANDIN))
    monkeypatch.setattr(crews, "_LOOK_SECONDS", 0.05)
    monkeypatch.setattr(crews, "_FIRST_PAUSE_SECONDS", 0.01)
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        made = Scene(tmp_path, f"127.0.0.1:{listening.getsockname()[1]}")
        monkeypatch.setenv("STANDIN_RAY", str(made.file))
        try:
            yield made
        finally:
            for cluster in clusters._clusters.values():
                cluster.close()
            clusters._clusters.clear()


def recipe_of(engine: Any, **changes: Any) -> Recipe:
    made = Recipe(
        engine="scripted",
        engine_build=engine.build,
        model_digest=engine.facts.digest,
        vocab_digest=engine.facts.vocab_digest,
        prompt=engine.prompt("She was"),
        sampler=Sampler(),
        seed=7,
        max_tokens=40,
    )
    return dataclasses.replace(made, **changes)


def drawn(engine: Any, n: int) -> dict[int, bytes]:
    samples = [sample for step in engine.sample(recipe_of(engine), range(n)) for sample in step.finished]
    assert len({sample.index for sample in samples}) == len(samples)
    return {sample.index: sample.tokens.tobytes() for sample in samples}


def alone(n: int) -> dict[int, bytes]:
    with closing(open_engine(resolve_model(CHAIN), EngineOptions())) as engine:
        return drawn(engine, n)


# ---- workers


def test_actors_draw_what_one_engine_draws(scene: Scene, capfd: pytest.CaptureFixture[str]) -> None:
    with closing(scene.engine()) as over, closing(scene.engine()) as other:
        assert [worker.name for worker in over._workers.workers] == ["node 10.0.0.1 (aaaaaa)", "node 10.0.0.1 (bbbbbb)"]
        assert drawn(over, 300) == drawn(other, 300) == alone(300)
    actors = scene.heard("actor")
    assert sorted(one["actor"] for one in actors) == ["aaaaaa", "bbbbbb"]  # two engines share them
    settings = {"num_cpus": 2, "num_gpus": 0, "max_restarts": 0, "max_task_retries": 0}
    assert settings.items() <= actors[0].items()
    assert actors[0]["max_concurrency"] > 2
    assert capfd.readouterr() == ("", "")  # what ray prints is not seen
    [begun] = scene.heard("init")
    assert begun["init"]["address"] == scene.address
    assert begun["env"]["RAY_USAGE_STATS_ENABLED"] == "0"


def test_a_local_cluster_is_started_and_ended(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene, "address", "local")
    with closing(scene.engine()) as over:
        assert drawn(over, 30) == alone(30)
    clusters._clusters["local"].close()
    [begun] = scene.heard("init")
    assert begun["init"]["address"] == "local"
    assert begun["env"]["RAY_AUTH_MODE"] == "token"  # one of its own, which no home keeps
    assert not os.path.exists(begun["init"]["_temp_dir"])
    assert scene.heard("shutdown")


def test_an_actor_that_dies_or_hangs_loses_nothing(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crews, "_ANSWER_SECONDS", 1.5)
    notes: list[str] = []
    scene.says(nodes=[node_of("a"), node_of("b")], dies={"aaaaaa": 6}, hangs={"bbbbbb": 7})
    with closing(scene.engine(notes)) as over:
        assert drawn(over, 2000) == alone(2000)
    assert "node 10.0.0.1 (aaaaaa) died. What it had in hand goes to the others." in notes
    assert "node 10.0.0.1 (bbbbbb) does not answer any more. What it had in hand goes to the others." in notes
    assert len(scene.heard("actor")) == 4  # each was started anew
    assert [one["task"] for one in scene.heard("task")] == ["kill_process"] * 2  # what hears nothing keeps its CPUs


def test_nodes_join_and_leave_while_the_work_goes_on(scene: Scene) -> None:
    notes: list[str] = []
    scene.says(nodes=[node_of("a")])
    with closing(scene.engine(notes)) as over:
        found: list[int] = []
        steps = over.sample(recipe_of(over, max_tokens=200), range(10**6))
        for step in steps:
            found += [sample.index for sample in step.finished]
            if not notes:
                scene.says(nodes=[node_of("a"), node_of("b")])
            elif len(notes) == 1:
                scene.says(nodes=[node_of("b")])
            else:
                break
        steps.close()
        assert len(found) == len(set(found))
        assert drawn(over, 200) == alone(200)
    assert notes == [
        "node 10.0.0.1 (bbbbbb) has joined.",
        "node 10.0.0.1 (aaaaaa) has left the cluster. What it had in hand goes to the others.",
    ]


def test_when_no_worker_is_left_it_is_said(scene: Scene) -> None:
    with closing(scene.engine()) as over:
        steps = over.sample(recipe_of(over, max_tokens=200), range(100_000))
        next(steps)
        scene.says(nodes=[])
        with pytest.raises(EngineError, match=r"No worker is left: node 10.0.0.1 \(aaaaaa\) has left the cluster"):
            list(steps)


@pytest.mark.parametrize("has_cluster", [True, False])
def test_a_gateway_that_dies_is_started_anew(scene: Scene, *, has_cluster: bool) -> None:
    notes: list[str] = []
    with closing(scene.engine(notes)) as over:
        steps = over.sample(recipe_of(over, max_tokens=60), range(3000))
        found = [sample.index for sample in next(steps).finished]
        if not has_cluster:
            scene.says(nodes=[], init=["ConnectionError", "GCS has gone."])
        os.kill(clusters._clusters[scene.address]._process.pid, signal.SIGKILL)
        if has_cluster:
            found += [sample.index for step in steps for sample in step.finished]
            assert sorted(found) == list(range(3000))
        else:
            with pytest.raises(EngineError, match="No worker is left: "):
                list(steps)
    assert any("has lost the connection to the cluster. What it had in hand goes to" in note for note in notes)


def test_a_gateway_ends_with_its_driver(scene: Scene, tmp_path: Path) -> None:
    """However that ends: it is killed while an actor works."""
    code = (
        "import os, sys; sys.path[:] = eval(sys.argv[1])\n"
        "from llama_diversity.engines import EngineOptions, open_engine\n"
        "from llama_diversity.engines.fanout import clusters\n"
        "from llama_diversity.resolve import resolve_model\n"
        f"open_engine(resolve_model('{CHAIN}'), EngineOptions(workers='ray:{scene.address}'))\n"
        f"print(clusters._clusters['{scene.address}']._process.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    gone = subprocess.run([sys.executable, "-c", code, repr(sys.path)], capture_output=True, timeout=60)
    assert gone.returncode == -signal.SIGKILL, gone.stderr
    gateway = Path(f"/proc/{int(gone.stdout)}")
    for _ in range(1000):
        if not gateway.exists() or "Z" in gateway.joinpath("stat").read_text().split()[2]:
            break
        time.sleep(0.01)
    assert scene.heard("shutdown")


def test_the_doctor_says_what_a_cluster_can_do(scene: Scene, run: Any) -> None:
    lost = "The actor died because of an error raised in its creation task: No module named 'llama_cpp'"
    scene.says(nodes=[node_of("a"), node_of("b", GPU=1.0), node_of("c")], lacks={"cccccc": lost})
    code, out, err = run("doctor", "--workers", f"ray:{scene.address}", "--json")
    found = json.loads(out)
    assert (code, err) == (0, "")
    assert [one["name"][-7:-1] for one in found["workers"]] == ["aaaaaa", "bbbbbb", "cccccc"]
    first, second, third = found["workers"]
    assert (first["room"], second["room"], first["build"]) == ("2 CPUs", "2 CPUs and a GPU", second["build"])
    assert third["trouble"].startswith("lacks llama_cpp: install it")
    assert any(problem["sentence"].startswith("node 10.0.0.1 (cccccc) lacks") for problem in found["problems"])
    assert "2 CPUs and a GPU of the node" in run("doctor", "--workers", f"ray:{scene.address}")[1]


# ---- where, and how many


def test_a_node_has_a_worker_for_each_gpu_or_as_many_as_fit() -> None:
    node = Node("4f2a91", "h", "10.0.0.5", 16, 0, 0)
    assert [(one.n_cpus, one.n_gpus) for one in places_of(node, "h:1", None)] == [(16, 0)]
    assert [one.n_cpus for one in places_of(node, "h:1", 5)] == [5, 5, 5]
    assert [one.n_cpus for one in places_of(node, "h:1", 64)] == [16]
    four = dataclasses.replace(node, n_gpus=4)
    assert [(one.n_cpus, one.n_gpus, one.n_there) for one in places_of(four, "h:1", None)] == [(4, 1, 4)] * 4
    assert [one.n_cpus for one in places_of(four, "h:1", 2)] == [2] * 4
    assert places_of(dataclasses.replace(node, n_cpus=0), "h:1", None) == []
    assert len({one.name for one in places_of(four, "h:1", None)}) == 4


@pytest.mark.parametrize(
    "typed", ["ray:", "ray:auto", "ray:host", "ray:host:", "ray://h:1", "ray:h:1,2", "ray:h:123456"]
)
def test_an_address_is_named(typed: str) -> None:
    with pytest.raises(BadValue, match=r"name the cluster's head, as in ray:10.0.0.5:6379, or ray:local"):
        EngineOptions(workers=typed)


def test_addresses_that_can_be_meant() -> None:
    assert [workers_at(typed) for typed in ("ray:local", "ray:gpu-1.lan:6379", "ray:[::1]:6379")] == [
        RayPlaces("local"), RayPlaces("gpu-1.lan:6379"), RayPlaces("[::1]:6379"),
    ]  # fmt: skip


# ---- what is wrong, in words


def test_without_a_cluster_there_is_a_sentence(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.says(nodes=[node_of("a", CPU=0)])
    with pytest.raises(EngineError, match="has no node with a processor to compute on. Start one: ray start --address"):
        scene.engine()
    with closing(socket.create_server(("127.0.0.1", 0))) as shut:
        monkeypatch.setattr(scene, "address", f"127.0.0.1:{shut.getsockname()[1]}")
    with pytest.raises(EngineError, match=f"There is no Ray cluster at {scene.address}: nothing answers there"):
        scene.engine()


def test_without_ray_it_says_how_to_install_it(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "without" / "ray").mkdir(parents=True)
    (tmp_path / "without" / "ray" / "__init__.py").write_text("raise ModuleNotFoundError(\"No module named 'ray'\")")
    monkeypatch.syspath_prepend(str(tmp_path / "without"))
    with pytest.raises(EngineError, match=r"Ray is not installed. Install it: pip install 'llama-diversity\[ray\]'"):
        scene.engine()


def test_a_node_without_llamadiv_is_named(scene: Scene) -> None:
    missing = (
        "The actor died because of an error raised in its creation task\nRuntimeError: The actor "
        "with name Actor failed to import on the worker.\nModuleNotFoundError: No module named 'llama_diversity'"
    )
    scene.says(nodes=[node_of("a"), node_of("b")], lacks={"bbbbbb": missing})
    with pytest.raises(EngineError, match=r"node 10.0.0.1 \(bbbbbb\) lacks llamadiv: install it into the environment"):
        scene.engine()


MISMATCH = """Version mismatch: The cluster was started with:
    Ray: 2.60.0
    Python: 3.12.1
This process on Ray driver at node: 192.0.2.2 was started with:
    Ray: 2.59.0
    Python: 3.11.7
"""


@pytest.mark.parametrize(
    ("kind", "words", "said"),
    [
        ("RuntimeError", MISMATCH, "runs ray 2.60.0, Python 3.12.1, and here is ray 2.59.0, Python 3.11.7"),
        ("AuthenticationError", "... but no authentication token was found. ...", "there is no token here"),
        ("RuntimeError", "RPC error: InvalidAuthToken", "export RAY_AUTH_MODE=token here and before"),
        ("ValueError", "another  \n thing.", "cannot be used: ValueError: another thing. Look at it: ray status"),
    ],
)
def test_what_ray_raises_is_a_sentence(kind: str, words: str, said: str) -> None:
    assert said in about_cluster(type(kind, (Exception,), {})(words), "10.0.0.1:6379")


def test_what_becomes_of_an_actor_is_said() -> None:
    place = dataclasses.asdict(places_of(Node("4f2a91", "h", "10.0.0.5", 8, 1, 0), "h:1", None)[0])

    def said(kind: str, words: str = "", **how: bool) -> tuple[type, str]:
        error = about_actor(type(kind, (Exception,), {})(words), place, **{"is_alive": True, **how})
        return type(error), str(error)

    assert said("ActorDiedError") == (WorkerLost, "died")
    assert said("ActorDiedError", is_alive=False) == (WorkerGone, "has left the cluster")
    assert said("GetTimeoutError") == (WorkerLost, "does not answer any more")
    assert said("GetTimeoutError", is_starting=True) == (
        WorkerLost, "has not had 8 CPUs and a GPU free for a minute: others of the cluster hold them",
    )  # fmt: skip
    assert said("ActorUnavailableError") == (WorkerLost, "cannot be reached")
    assert said("OutOfMemoryError") == (WorkerLost, "was ended by Ray, as the memory of its node ran out")
    kind, words = said("ActorDiedError", "ModuleNotFoundError: No module named 'llama_cpp'")
    assert (kind, words.startswith("lacks llama_cpp: install it")) == (Refused, True)


# ---- the model on another machine


def test_a_model_is_found_where_the_driver_has_it_or_by_its_name(
    tiny_model: Path, base_model: Path, tmp_path: Path
) -> None:
    model = resolve_model(str(tiny_model))
    assert found_here(model) == model
    packaged = resolve_model("tiny-base")
    elsewhere = dataclasses.replace(packaged, location="/nowhere/tiny-base.gguf")
    assert found_here(elsewhere) == packaged
    other = tmp_path / "other.gguf"
    other.write_bytes(base_model.read_bytes())
    with pytest.raises(EngineError, match=r"is another file on the machine .* Give both the same file"):
        found_here(dataclasses.replace(model, reference=str(other), location="/nowhere"))
    lost = ModelRef("smollm2-135m-base", "llamacpp", "/nowhere/x.gguf", "0" * 64)
    with pytest.raises(EngineError, match="Fetch it there: llamadiv models pull smollm2-135m-base"):
        found_here(lost)
    mixed = dataclasses.replace(model, engine="mixed", parts=(elsewhere, model))
    assert found_here(mixed).parts == (packaged, model)
    assert found_here(resolve_model(CHAIN)) == resolve_model(CHAIN)
