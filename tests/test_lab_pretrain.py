"""Training: how documents become rows, what the loss counts, and that a cut training goes on as if it had not been."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from llama_diversity.lab.pretrain import Schedule, Text, batches, pack, total_bits, train  # noqa: E402
from llama_diversity.lab.transformer import Architecture, Llama  # noqa: E402

SMALL = Architecture(n_vocab=32, n_embd=32, n_layer=1, n_head=2, n_ff=48, n_ctx=16)


def model() -> Llama:
    made = Llama(SMALL)
    made.initialise(torch.Generator().manual_seed(0))
    return made


def texts(n: int = 40) -> list[Text]:
    """Counting texts: each begins anywhere, then every token is its predecessor plus one."""
    return [Text((3 + (np.arange(6) + start) % 20).astype(np.int16)) for start in range(n)]


def test_rows_hold_whole_documents_between_bos_and_eos() -> None:
    rows, targets = pack(
        [Text(np.array([5, 6, 7], np.int16)), Text(np.array([8], np.int16))], 12, np.random.default_rng(1)
    )
    assert rows.shape == targets.shape == (1, 13)
    first, second = ([1, 5, 6, 7, 2], [1, 8, 2]) if rows[0, 1] == 5 else ([1, 8, 2], [1, 5, 6, 7, 2])
    assert rows[0].tolist() == [*first, *second, 0, 0, 0, 0, 0]
    expected = [False] + [True] * (len(first) - 1) + [False] + [True] * (len(second) - 1) + [False] * 5
    assert targets[0].tolist() == expected  # neither a BOS nor what lies after the last document


def test_what_comes_before_the_answer_is_no_target() -> None:
    rows, targets = pack([Text(np.array([5, 6, 7, 8], np.int16), scored_from=2)], 8, np.random.default_rng(1))
    assert rows[0, targets[0]].tolist() == [7, 8, 2]


def test_every_row_begins_like_a_prompt_and_every_document_comes_once_a_pass() -> None:
    rows, _ = pack(texts(), 64, np.random.default_rng(0))
    assert (rows[:, 0] == 1).all()
    assert (rows == 1).sum() == 40


def test_batches_are_the_same_for_the_same_seed_and_differ_from_pass_to_pass() -> None:
    schedule = Schedule(n_tokens=1, rows_a_step=2, seed=7)
    one, two = (batches(texts(), SMALL.n_ctx, schedule) for _ in range(2))
    inputs = []
    for _ in range(30):
        (a, b), (c, d) = next(one), next(two)
        assert torch.equal(a, c)
        assert torch.equal(b, d)
        inputs.append(a)
    assert len({tuple(step.flatten().tolist()) for step in inputs}) == 30


def test_bits_of_an_untrained_model_are_those_of_a_uniform_choice() -> None:
    untrained = model()
    with torch.no_grad():
        untrained.token_embd.weight.zero_()
    assert total_bits(untrained, texts(5)) == pytest.approx(5 * 7 * math.log2(32))  # six tokens and EOS each
    assert total_bits(untrained, [Text(np.arange(5, dtype=np.int16), scored_from=3)]) == pytest.approx(3 * 5.0)


def test_training_learns_to_count() -> None:
    learner = model()
    before = total_bits(learner, texts(20))
    train(learner, texts(), Schedule(n_tokens=16 * 8 * 300, rows_a_step=8))
    # Only the first token is a choice among twenty; that and nothing else is left.
    assert before > 20 * 7 * 4
    assert total_bits(learner, texts(20)) < 20 * (math.log2(20) + 2)


def test_a_training_cut_short_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    schedule = Schedule(n_tokens=16 * 4 * 20, rows_a_step=4)
    whole, cut = model(), model()
    assert train(whole, texts(), schedule)
    kept = tmp_path / "state.pt"
    while not train(cut, texts(), schedule, checkpoint=kept, max_seconds=0):
        cut = model()  # a new process knows only the checkpoint
    for (name, a), b in zip(whole.named_parameters(), cut.parameters(), strict=True):
        assert torch.equal(a, b), name


def test_a_checkpoint_of_another_schedule_is_refused(tmp_path: Path) -> None:
    kept = tmp_path / "state.pt"
    train(model(), texts(), Schedule(n_tokens=64, rows_a_step=4), checkpoint=kept)
    with pytest.raises(ValueError, match="another schedule"):
        train(model(), texts(), Schedule(n_tokens=128, rows_a_step=4), checkpoint=kept)
