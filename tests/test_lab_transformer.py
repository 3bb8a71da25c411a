"""The small Llama: the same numbers as llama.cpp's, with and without a cache, before and after a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from llama_diversity.engines import EngineOptions, open_engine  # noqa: E402
from llama_diversity.lab.export import Card, Vocabulary, convert, read_gguf, write_gguf  # noqa: E402
from llama_diversity.lab.random_gguf import vocabulary  # noqa: E402
from llama_diversity.lab.sampling import Completions, generate  # noqa: E402
from llama_diversity.lab.transformer import (  # noqa: E402
    Architecture,
    Llama,
    attend_causally,
    rotate,
)
from llama_diversity.records import ModelRef  # noqa: E402

SMALL = Architecture(n_vocab=300, n_embd=64, n_layer=2, n_head=4, n_ff=96, n_ctx=64)
CARD = Card("small", "random weights", "MIT", {"recipe": "none"}, chat_template="{{ messages[0].content }}")


@pytest.fixture(scope="module")
def small() -> Llama:
    """Random weights, large enough that the distributions differ from token to token."""
    model = Llama(SMALL)
    model.initialise(torch.Generator().manual_seed(3))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(8.0 if parameter.dim() == 2 else 1.1)
    return model


def surprisals_bits(model: Llama, ids: list[int]) -> np.ndarray:
    """Of every token but the first, by the model in one pass."""
    with torch.no_grad():
        log_p = torch.log_softmax(model.logits(model(torch.tensor([ids])))[0].double(), dim=-1)
    return -log_p[range(len(ids) - 1), ids[1:]].numpy() / np.log(2)


@pytest.mark.model
@pytest.mark.parametrize(("kind", "tolerance_bits"), [("F32", 2e-3), ("F16", 0.02), ("Q8_0", 0.3)])
def test_llama_cpp_computes_what_torch_does(small: Llama, tmp_path: Path, kind: str, tolerance_bits: float) -> None:
    path = tmp_path / "small.gguf"
    write_gguf(path, small, Vocabulary(*vocabulary(SMALL.n_vocab)), CARD, kind=kind)
    ids = [1, *np.random.default_rng(0).integers(3, SMALL.n_vocab, 50).tolist()]
    engine = open_engine(
        ModelRef("small", "llamacpp", str(path), "digest"), EngineOptions(flash_attention=False, kv_type="f32")
    )
    try:
        theirs = engine.score(tuple(ids))["surprisal_bits"][1:]
        assert engine.facts.n_params == small.n_params
        assert engine.facts.has_chat_template
    finally:
        engine.close()
    ours = surprisals_bits(small, ids)
    assert ours.std() > 1  # else agreement says little
    np.testing.assert_allclose(theirs, ours, atol=tolerance_bits)


@pytest.mark.parametrize("n_tokens", [3, 128, 129, 300])
def test_attention_by_blocks_is_attention_at_once(n_tokens: int) -> None:
    generator = torch.Generator().manual_seed(n_tokens)
    shape = (3, 2, 3, n_tokens, 8)  # of query, key and value together
    drawn = torch.randn(shape, generator=generator, dtype=torch.float64)
    weights = torch.randn(shape[1:], generator=generator, dtype=torch.float64)
    results = []
    for attend in (
        attend_causally,
        lambda *qkv: torch.nn.functional.scaled_dot_product_attention(*qkv, is_causal=True),
    ):
        parts = drawn.clone().requires_grad_()
        mixed = attend(*parts)
        (mixed * weights).sum().backward()
        assert parts.grad is not None
        results.append((mixed.detach(), parts.grad))
    (ours, our_gradients), (theirs, their_gradients) = results
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)  # the weights are float32
    torch.testing.assert_close(our_gradients, their_gradients, atol=1e-5, rtol=1e-5)


def test_a_written_model_is_read_back(small: Llama, tmp_path: Path) -> None:
    path = tmp_path / "small.gguf"
    write_gguf(path, small, Vocabulary(*vocabulary(SMALL.n_vocab)), CARD, kind="F32")
    again, provenance = read_gguf(path)
    assert again.architecture == SMALL
    assert provenance == {"recipe": "none"}
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in small.state_dict().items())


@pytest.mark.parametrize("kind", ["F32", "F16", "Q8_0"])
def test_a_copy_differs_in_the_kind_of_its_matrices_alone(small: Llama, tmp_path: Path, kind: str) -> None:
    """As if it had been written so; and what is copied as it is has the same bytes."""
    written, direct, copy = (tmp_path / f"{name}.gguf" for name in ("written", "direct", "copy"))
    pieces = Vocabulary(*vocabulary(SMALL.n_vocab))
    write_gguf(written, small, pieces, CARD, kind="F32")
    write_gguf(direct, small, pieces, CARD, kind=kind)
    convert(written, copy, kind=kind)
    assert copy.read_bytes() == direct.read_bytes()
    convert(copy, tmp_path / "again.gguf", kind=kind)
    assert (tmp_path / "again.gguf").read_bytes() == direct.read_bytes()


def test_rotation_turns_neighbouring_pairs_by_the_position() -> None:
    quarter = torch.tensor([[[0.0, 1.0], [1.0, 0.0]]])  # one token: first pair by 90 degrees, second not at all
    assert rotate(torch.tensor([[1.0, 2.0, 3.0, 4.0]]), quarter).tolist() == [[-2.0, 1.0, 3.0, 4.0]]


def test_rotation_is_the_same_where_it_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    x, rotation = torch.randn(2, 3, 5, 8, generator=generator), torch.randn(5, 4, 2, generator=generator)
    ways = [rotate(x, rotation), rotate(x.bfloat16(), rotation)]
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    torch.testing.assert_close(ways, [rotate(x, rotation), rotate(x.bfloat16(), rotation)])


def test_sampled_tokens_cost_what_a_whole_pass_says(small: Llama) -> None:
    prompt = [1, 5, 17]
    drawn = generate(small, [prompt] * 8, max_tokens=20, generator=torch.Generator().manual_seed(0), end=2)
    for ids, mask, nats in zip(drawn.ids, drawn.mask, drawn.surprisals_nats, strict=True):
        whole = surprisals_bits(small, prompt + ids[mask].tolist())[len(prompt) - 1 :]
        np.testing.assert_allclose(nats[mask].numpy() / np.log(2), whole, atol=1e-4)


def test_a_row_stops_at_the_end_token(small: Llama) -> None:
    drawn = generate(small, [[1, 5]] * 400, max_tokens=12, generator=torch.Generator().manual_seed(0), end=9)
    ends = (drawn.ids == 9) & drawn.mask
    assert ends.any()
    for row in range(400):
        length = int(drawn.mask[row].sum())
        assert drawn.mask[row, :length].all()
        assert ends[row, : length - 1].sum() == 0
        assert length == 12 or ends[row, length - 1]
        assert not drawn.ids[row, length:].any()


def test_first_tokens_follow_the_distribution(small: Llama) -> None:
    n = 20_000
    drawn = generate(
        small, [[1, 5]] * n, max_tokens=1, generator=torch.Generator().manual_seed(1), end=2, temperature=2
    )
    with torch.no_grad():
        p = torch.softmax(small.logits(small(torch.tensor([[1, 5]])))[0, -1].double() / 2, dim=-1).numpy()
    seen = np.bincount(drawn.ids[:, 0].numpy(), minlength=SMALL.n_vocab)
    common = p > 20 / n
    z = (seen - n * p)[common] / np.sqrt(n * (p * (1 - p))[common])
    assert abs(z).max() < 4.5
    assert common.sum() > 10


def test_a_batch_draws_what_whole_passes_draw(small: Llama) -> None:
    """Row by row, without a cache, padding or company, by the same random numbers. Most rows end early."""
    prompts = [[1, 5, 17, 30, 8], [1, 5], [1, 9, 9]] * 5

    def drawn(end: int) -> Completions:
        generator = torch.Generator().manual_seed(4)
        return generate(small, prompts, max_tokens=20, generator=generator, end=end, temperature=0.5)

    common = int(drawn(-1).ids.flatten().mode().values)
    found = drawn(common)
    numbers = torch.rand(20, len(prompts), dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    for row, prompt in enumerate(prompts):
        ids = list(prompt)
        for number in numbers[:, row]:
            with torch.no_grad():
                p = torch.softmax(small.logits(small(torch.tensor([ids])))[0, -1] / 0.5, -1).double()
            ids.append(int((p.cumsum(0) <= number * p.sum()).sum()))
            if ids[-1] == common:
                break
        assert found.ids[row][found.mask[row]].tolist() == ids[len(prompt) :]
    assert len(set(found.mask.sum(1).tolist())) > 3  # rows left the batch at different times


def test_rows_of_several_lengths_are_those_of_each_alone(small: Llama) -> None:
    lengths = torch.tensor([40, 3, 17, 64, 16, 33, 5])
    ids = torch.randint(3, 300, (7, 64), generator=torch.Generator().manual_seed(0))
    hidden = small.of_rows(ids, lengths, at_once=3)
    assert hidden.shape == (7, 64, SMALL.n_embd)
    hidden.square().sum().backward()
    small.zero_grad()
    with torch.no_grad():
        for row, length in enumerate(lengths):
            alone = small(ids[row : row + 1, :length])[0]
            torch.testing.assert_close(
                small.of_rows(ids, lengths, at_once=3)[row, :length], alone, atol=1e-5, rtol=1e-5
            )
    narrow = small.of_rows(ids[:, :40], lengths.clamp(max=39), at_once=3)
    torch.testing.assert_close(narrow[1, :3], hidden[1, :3], atol=1e-5, rtol=1e-5)


def test_what_does_not_fit_the_context_is_refused(small: Llama) -> None:
    with pytest.raises(ValueError, match="60 \\+ 5 tokens do not fit a context of 64"):
        generate(small, [[1] * 60], max_tokens=5, generator=torch.Generator(), end=2)


def test_prompts_of_several_lengths_share_a_batch(small: Llama) -> None:
    prompts = [[1, 5, 17, 30, 8], [1, 5], [1, 9, 9]] * 6
    drawn = generate(small, prompts, max_tokens=15, generator=torch.Generator().manual_seed(0), end=2)
    assert drawn.ids.shape == (18, 15)
    for prompt, ids, mask, nats in zip(prompts, *drawn, strict=True):
        whole = surprisals_bits(small, prompt + ids[mask].tolist())[len(prompt) - 1 :]
        np.testing.assert_allclose(nats[mask].numpy() / np.log(2), whole, atol=1e-4)
        assert int(mask.sum()) == 15 or ids[mask][-1] == 2
