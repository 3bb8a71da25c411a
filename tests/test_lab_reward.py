"""The reward model: its loss by hand, and that it learns what is preferred."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from llama_diversity.lab.reward import (  # noqa: E402
    Ranking,
    RewardModel,
    accuracy,
    bradley_terry_loss,
    of_pairs,
    padded,
    train_reward,
)
from llama_diversity.lab.transformer import Architecture, Llama  # noqa: E402

SMALL = Architecture(n_vocab=32, n_embd=32, n_layer=1, n_head=2, n_ff=48, n_ctx=32)


def body() -> Llama:
    made = Llama(SMALL)
    made.initialise(torch.Generator().manual_seed(0))
    return made


def test_the_loss_by_hand() -> None:
    """Differences 0 and ln 3: -log(1/2) and -log(3/4), mean (0.693147 + 0.287682) / 2."""
    loss = bradley_terry_loss(torch.tensor([1.0, math.log(3)]), torch.tensor([1.0, 0.0]))
    assert float(loss) == pytest.approx(0.4904146)


def test_padding_changes_no_reward() -> None:
    model = RewardModel(body())
    torch.nn.init.normal_(model.head.weight, generator=torch.Generator().manual_seed(1))
    sequences = [[1, 5, 6], [1, 5, 6, 7, 8, 9, 2], [1, 9]]
    with torch.no_grad():
        together, alone = model(sequences), torch.cat([model([one]) for one in sequences])
    torch.testing.assert_close(together, alone)
    assert len(set(together.tolist())) == 3
    ids, lengths = padded(sequences, torch.device("cpu"))
    assert ids.tolist() == [[1, 5, 6, 0, 0, 0, 0], [1, 5, 6, 7, 8, 9, 2], [1, 9, 0, 0, 0, 0, 0]]
    assert lengths.tolist() == [3, 7, 2]


def test_each_answer_is_read_once_for_all_pairs_of_its_prompt() -> None:
    """Three answers to one prompt, two to the next: their rewards in that order, by hand."""
    rankings = [Ranking([[1, 5], [1, 6], [1, 7]], [(2, 0), (0, 1), (2, 1)], 1), Ranking([[1, 8], [1, 9]], [(1, 0)], 1)]
    rewards = torch.tensor([0.5, -1.0, 2.0, 10.0, 20.0])
    assert of_pairs(rewards, rankings).tolist() == [[2.0, 0.5], [0.5, -1.0], [2.0, -1.0], [20.0, 10.0]]


def test_it_learns_which_answer_is_preferred() -> None:
    """Whoever says 7 more often is better; a model that cannot tell is right in half of the cases."""
    rng = np.random.default_rng(0)

    def pair() -> Ranking:
        few, many = sorted(rng.choice(8, 2, replace=False))
        some = [
            [1, *rng.permutation([7] * n + [int(t) for t in rng.integers(8, 30, 8 - n)]).tolist()] for n in (many, few)
        ]
        return Ranking(some, [(0, 1)], 1)

    learned, unseen = [pair() for _ in range(600)], [pair() for _ in range(200)]
    model = RewardModel(body())
    heard: list[float] = []
    train_reward(model, learned, passes=3, rate=3e-3, on_report=lambda done, loss: heard.append(loss))
    assert heard[0] == pytest.approx(math.log(2), abs=1e-6)  # the head begins at zero
    assert accuracy(model, unseen) > 0.85
    assert accuracy(model, [one._replace(pairs=[(1, 0)]) for one in unseen]) < 0.15


def test_the_model_it_was_made_from_is_left_alone() -> None:
    made = body()
    before = made.token_embd.weight.detach().clone()
    train_reward(RewardModel(made), [Ranking([[1, 7, 2], [1, 8, 2]], [(0, 1)], 1)] * 20, passes=1)
    assert torch.equal(made.token_embd.weight, before)
