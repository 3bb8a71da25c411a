"""What runs inside a vLLM server, on CPU tensors: stand-ins for vLLM's base classes, its batches written down here."""

from __future__ import annotations

import abc
import enum
import importlib
import sys
import types
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from llama_diversity.engines.draws import Reducer, uniforms
from llama_diversity.engines.vllm import plugin, rows
from llama_diversity.engines.vllm.rows import Drawn, Request
from llama_diversity.records import TOKEN_DTYPE, Sampler

N_VOCAB = 700


class Direction(enum.Enum):
    UNIDIRECTIONAL = 1
    SWAP = 2


def asked(name: str, index: int, **sampler: object) -> SimpleNamespace:
    """The sampling parameters of a request of ours."""
    given = {"request": name, "seed": "7", "index": index, "sampler": Sampler(**sampler).to_dict()}
    return SimpleNamespace(extra_args={"llamadiv": given})


OTHERS = SimpleNamespace(extra_args=None)


def update(batch_size=0, *, added=(), removed=(), moved=()):
    return SimpleNamespace(batch_size=batch_size, added=added, removed=removed, moved=moved)


def logits_of(n_rows: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(0, 3, (n_rows, N_VOCAB)).astype(np.float32))


def drawn_alone(logits: torch.Tensor, index: int, position: int, **sampler: object) -> np.ndarray:
    """The row that llama.cpp's engine would make of these logits: its code, the sample's own number."""
    number = uniforms(7, index, position + 1)[position]
    one = Sampler(**sampler).at(is_first=position == 0)
    return Reducer(N_VOCAB).draw(logits.numpy()[None].copy(), np.array([number]), one)


@pytest.fixture
def draw(monkeypatch):
    monkeypatch.setattr(plugin, "_drawn", Drawn())
    return plugin.Draw(None, "cpu", False)


def taken(name: str, n: int) -> np.ndarray:
    return np.frombuffer(plugin._drawn.take(name, n), TOKEN_DTYPE)


def test_rows_and_tokens_are_those_of_any_other_engine(draw):
    """Three requests of three samplers, and one of somebody else between them; two steps."""
    samplers = [{}, {"temperature": 0.7, "first_temperature": 2.0}, {"top_p": 0.9, "min_p": 0.02}]
    outputs = [[], [], [], []]
    who = [asked("a", 5, **samplers[0]), OTHERS, asked("b", 6, **samplers[1]), asked("c", 2**40, **samplers[2])]
    draw.update_state(update(4, added=[(at, one, [1], outputs[at]) for at, one in enumerate(who)]))
    wanted = {name: [] for name in "abc"}
    for step in range(2):
        logits = logits_of(4, seed=step)
        before = logits.clone()
        found = draw.apply(logits)
        assert torch.equal(found[1], before[1])
        for row, name, index, sampler in ((0, "a", 5, 0), (2, "b", 6, 1), (3, "c", 2**40, 2)):
            wanted[name].append(drawn_alone(before[row], index, step, **samplers[sampler]))
            [token] = torch.isfinite(found[row]).nonzero()[:, 0].tolist()  # the only one that is left
            assert token == wanted[name][-1]["id"][0]
        for output in outputs:
            output.append(-1)  # what a server knows of a token that is still on its way
        draw.update_state(None)
    for name, ones in wanted.items():
        assert taken(name, 2).tobytes() == np.concatenate(ones).tobytes()


def test_requests_that_move_in_the_batch_keep_their_streams(draw):
    outputs = [[], [9], [9, 9]]
    draw.update_state(update(3, added=[(at, asked(str(at), at), None, outputs[at]) for at in range(3)]))
    draw.update_state(update(2, removed=[0], moved=[(2, 0, Direction.UNIDIRECTIONAL)]))
    draw.update_state(update(2, moved=[(0, 1, Direction.SWAP)]))
    logits = logits_of(2)
    before = logits.clone()
    draw.apply(logits)
    for row, index in ((0, 1), (1, 2)):  # sample 1 drew one token so far, sample 2 two
        assert torch.isfinite(logits[row]).nonzero().item() == drawn_alone(before[row], index, index)["id"][0]


def test_request_that_is_set_aside_comes_back_to_its_rows(draw):
    output: list[int] = []
    draw.update_state(update(1, added=[(0, asked("a", 3), None, output)]))
    first = logits_of(1, seed=1)
    kept = first[0].clone()
    draw.apply(first)
    output.append(4)
    draw.update_state(update(0, removed=[0]))
    draw.update_state(update(1, added=[(0, asked("a", 3), None, output)]))
    second = logits_of(1, seed=2)
    also = second[0].clone()
    draw.apply(second)
    wanted = np.concatenate([drawn_alone(kept, 3, 0), drawn_alone(also, 3, 1)])
    assert taken("a", 2).tobytes() == wanted.tobytes()


def test_row_of_a_prompt_in_pieces_is_replaced(draw):
    """While a prompt is read the server computes a row that it throws away: nothing is added to the output."""
    draw.update_state(update(1, added=[(0, asked("a", 3), None, [])]))
    draw.apply(logits_of(1, seed=1))
    last = logits_of(1, seed=2)
    wanted = drawn_alone(last[0].clone(), 3, 0)
    draw.apply(last)
    assert taken("a", 1).tobytes() == wanted.tobytes()


def test_given_tokens_are_read_and_not_drawn(draw):
    params = SimpleNamespace(extra_args={"llamadiv": {"request": "t", "forced": [11, 690]}})
    out: list[int] = []
    draw.update_state(update(1, added=[(0, params, None, out)]))
    stats = []
    for token in (11, 690):
        logits = logits_of(1, seed=token)
        stats.append(Reducer(N_VOCAB).score(logits.numpy().copy(), np.array([token])))
        draw.apply(logits)
        assert torch.isfinite(logits[0]).nonzero().item() == token
        out.append(token)
    assert taken("t", 2).tobytes() == np.concatenate(stats).tobytes()


def test_second_model_runner_tells_rows_by_slots(monkeypatch):
    """Slots 5 and 2 in one batch; slot 2's prompt of 4 tokens is read up to 3, so nothing is drawn for it."""
    monkeypatch.setattr(plugin, "_drawn", Drawn())
    lengths = np.zeros(8, np.int32)
    lengths[[5, 2, 3]] = 2, 4, 6
    draw = plugin.Draw(None, SimpleNamespace(prompt_len=SimpleNamespace(np=lengths)))
    assert draw.add_request(5, asked("a", 1)) is True
    assert draw.add_request(2, asked("b", 2)) is True
    assert draw.add_request(3, OTHERS) is False
    draw.apply_staged_writes()
    ctx = SimpleNamespace(idx_mapping_np=np.array([5, 3, 2]), seq_lens_upper_bound_np=np.array([3, 7, 3]))
    logits = logits_of(3)
    before = logits.clone()
    draw.apply(logits, ctx)
    assert torch.isfinite(logits[0]).nonzero().item() == drawn_alone(before[0], 1, 1)["id"][0]
    assert torch.equal(logits[1:], before[1:])
    assert draw.add_request(5, OTHERS) is False  # a slot is recycled
    draw.apply(again := logits_of(3), ctx)
    assert torch.equal(again, logits_of(3))


def test_threads_share_the_vocabulary_where_the_model_computes_elsewhere(draw, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    assert plugin._drawn.n_threads == 1
    plugin.Draw(None, SimpleNamespace(device="cuda:0"))
    assert plugin._drawn.n_threads == 3
    draw.update_state(update(1, added=[(0, asked("a", 1), None, [])]))
    logits = logits_of(1)
    wanted = drawn_alone(logits[0].clone(), 1, 0)
    draw.apply(logits)
    assert taken("a", 1).tobytes() == wanted.tobytes()
    plugin._drawn._reducer.close()


def test_rows_without_numbers_leave_the_others_alone(draw):
    draw.update_state(update(2, added=[(at, asked(str(at), at), None, []) for at in range(2)]))
    logits = logits_of(2)
    logits[0, 3] = float("nan")
    wanted = drawn_alone(logits[1].clone(), 1, 0)
    draw.apply(logits)
    assert plugin._drawn.take("0", 1).startswith("The model returned logits that are not numbers.")
    assert taken("1", 1).tobytes() == wanted.tobytes()


def test_given_token_outside_of_the_vocabulary_harms_nobody(draw):
    outside = SimpleNamespace(extra_args={"llamadiv": {"request": "t", "forced": [N_VOCAB]}})
    inside = SimpleNamespace(extra_args={"llamadiv": {"request": "u", "forced": [4]}})
    draw.update_state(update(2, added=[(0, outside, None, []), (1, inside, None, [])]))
    draw.apply(logits_of(2))
    assert plugin._drawn.take("t", 1) == "a token that was given is none of the 700 of this model"
    assert taken("u", 1)["id"] == 4


def test_rows_are_fetched_once_and_only_where_all_are_there():
    drawn = Drawn()
    request = drawn.enter(Request.of(asked("a", 1).extra_args))
    for at in range(300):  # beyond the first buffer
        drawn.draw(logits_of(1, seed=at).numpy(), [(request, at)])
    assert drawn.take("a", 301) == ""  # which forgets it
    assert drawn.take("a", 300) == ""
    request = drawn.enter(Request.of(asked("a", 1).extra_args))
    for at in range(300):
        drawn.draw(logits_of(1, seed=at).numpy(), [(request, at)])
    found = np.frombuffer(drawn.take("a", 300), TOKEN_DTYPE)
    assert found[299].tobytes() == drawn_alone(logits_of(1, seed=299)[0], 1, 299)[0].tobytes()


def test_what_nobody_fetches_is_forgotten(monkeypatch):
    monkeypatch.setattr(rows, "_MOST_REQUESTS", 2)
    drawn = Drawn()
    for name in "abc":
        drawn.draw(logits_of(1).numpy(), [(drawn.enter(Request.of(asked(name, 1).extra_args)), 0)])
    assert [bool(drawn.take(name, 1)) for name in "abc"] == [False, True, True]


@pytest.mark.parametrize(
    "given",
    [{}, {"request": "a"}, {"request": "a", "seed": "x", "index": 1, "sampler": {}}, 3,
     {"request": "a", "seed": "1", "index": 1, "sampler": {"temperature": -1}},
     {"request": "a", "seed": "1", "index": 1, "sampler": {"heat": 1}}, {"request": "a", "forced": ["x"]},
     {"request": "a", "seed": "-1", "index": 1, "sampler": {}},
     {"request": "a", "seed": str(2**64), "index": 1, "sampler": {}},
     {"request": "a", "seed": "1", "index": 1, "sampler": {"top_p": [1]}}],
)  # fmt: skip
def test_malformed_request_is_refused_where_it_comes_in(given):
    with pytest.raises(ValueError, match="llamadiv"):
        plugin.Draw.validate_params(SimpleNamespace(extra_args={"llamadiv": given}))


class First(abc.ABC):
    """What the first model runner asks of a class."""

    @abc.abstractmethod
    def __init__(self, vllm_config, device, is_pin_memory): ...

    @abc.abstractmethod
    def apply(self, logits): ...

    @abc.abstractmethod
    def is_argmax_invariant(self): ...

    @abc.abstractmethod
    def update_state(self, batch_update): ...


class Second(abc.ABC):
    """What the second one does."""

    @abc.abstractmethod
    def apply(self, logits, ctx): ...


def test_one_class_has_both_bases(monkeypatch):
    """Each of vLLM's model runners refuses a class that is not of its own base."""
    for name, base in zip(plugin._INTERFACES, (First, Second), strict=True):
        for at in range(1, name.count(".") + 2):
            part = ".".join(name.split(".")[:at])
            monkeypatch.setitem(sys.modules, part, types.ModuleType(part))
        sys.modules[name].LogitsProcessor = base
    spec = importlib.util.find_spec(plugin.__name__)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    assert issubclass(loaded.Draw, First)
    assert issubclass(loaded.Draw, Second)
    loaded.Draw(None, "cpu", False)
    loaded.Draw(None, SimpleNamespace())


def test_digest_is_of_weights_and_configuration(tmp_path):
    """By hand: sha256 of the lines "name sha256"."""
    import hashlib
    import json

    header = json.dumps({"__metadata__": {}, "w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}).encode()
    weights = len(header).to_bytes(8, "little") + header + bytes(24)
    (tmp_path / "model.safetensors").write_bytes(weights)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "tokenizer.json").write_text("{}")
    lines = "".join(
        f"{name} {hashlib.sha256(data).hexdigest()}\n"
        for name, data in (("model.safetensors", weights), ("config.json", b"{}"))
    )
    assert plugin.read_weights(str(tmp_path)) == {
        "digest": hashlib.sha256(lines.encode()).hexdigest(),
        "n_params": 6,
    }


def test_weights_in_the_hubs_cache_are_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    kept = tmp_path / "models--owner--repo"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs/main").write_text("abc")
    (kept / "snapshots/abc").mkdir(parents=True)
    (kept / "snapshots/abc/model.bin").write_bytes(b"weights")
    apart = tmp_path / "apart"
    apart.mkdir()
    (apart / "model.bin").write_bytes(b"weights")
    assert plugin.read_weights("owner/repo") == plugin.read_weights(str(apart))
    assert plugin.read_weights("owner/repo", "abc") == plugin.read_weights(str(apart))


def test_server_needs_no_llama_cpp_and_nothing_heavy():
    """Of all that the client has only numpy is there."""
    import subprocess

    code = (
        "import sys; import llama_diversity.engines.vllm.plugin; "
        "heavy = {'torch', 'llama_cpp', 'scipy', 'sklearn', 'click', 'rich', 'altair', 'pyarrow', 'huggingface_hub'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
