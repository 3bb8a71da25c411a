"""PPO: advantages and the clipped objective by hand, the KL penalty, a resume, and that reward is found."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from llama_diversity.errors import BadValue  # noqa: E402
from llama_diversity.lab import ppo  # noqa: E402
from llama_diversity.lab.ppo import Settings, advantages_of, before_each, clipped_loss, evaluate, optimise  # noqa: E402
from llama_diversity.lab.reward import RewardModel  # noqa: E402
from llama_diversity.lab.transformer import Architecture, Llama  # noqa: E402

SMALL = Architecture(n_vocab=24, n_embd=32, n_layer=1, n_head=2, n_ff=48, n_ctx=32)
QUICK = Settings(n_iterations=12, n_answers=32, max_tokens=8, answers_a_step=16, rate=3e-3, beta=0.01)


def sft() -> Llama:
    made = Llama(SMALL)
    made.initialise(torch.Generator().manual_seed(0))
    return made


class Likes7(RewardModel):
    """The number of sevens in a sequence."""

    def forward(self, sequences):  # type: ignore[no-untyped-def]
        return torch.tensor([float(sum(token == 7 for token in one)) for one in sequences])


def test_the_clipped_objective_by_hand() -> None:
    """Clip 0.2. Ratios 1.5, 0.5 with A = 1: 1.2, 0.5; with A = -1: -1.5 (the worse of -1.5 and -1.2), -0.8."""
    ratio = torch.tensor([1.5, 0.5, 1.5, 0.5])
    loss = clipped_loss(ratio, torch.tensor([1.0, 1.0, -1.0, -1.0]), 0.2)
    assert float(loss) == pytest.approx(-(1.2 + 0.5 - 1.5 - 0.8) / 4)


def test_a_ratio_beyond_the_clip_has_no_gradient_on_the_side_that_pays() -> None:
    ratio = torch.tensor([1.5, 1.5], requires_grad=True)
    clipped_loss(ratio, torch.tensor([1.0, -1.0]), 0.2).backward()
    assert ratio.grad.tolist() == [0.0, 0.5]


def test_advantages_by_hand() -> None:
    """One answer of three tokens behind a prompt token; lambda 0.5, values 1, 2, 3, rewards 0, 0, 10.

    delta_3 = 10 - 3 = 7; delta_2 = 0 + 3 - 2 = 1; delta_1 = 0 + 2 - 1 = 1. A_3 = 7, A_2 = 1 + 3.5, A_1 = 1 + 2.25.
    """
    drawn = torch.tensor([[False, True, True, True, False], [False, True, False, False, False]])
    rewards = torch.tensor([[9.0, 0, 0, 10, 9], [9, 4, 9, 9, 9]])
    values = torch.tensor([[9.0, 1, 2, 3, 9], [9, 1, 9, 9, 9]])
    assert advantages_of(rewards, values, drawn, 0.5).tolist() == [[0, 3.25, 4.5, 7, 0], [0, 3, 0, 0, 0]]


def test_a_value_belongs_to_the_state_before_its_token() -> None:
    assert before_each(torch.tensor([[1.0, 2.0, 3.0]])).tolist() == [[0.0, 1.0, 2.0]]


def test_log_probabilities_and_entropies_are_those_of_a_whole_pass() -> None:
    model = sft()
    ids = torch.tensor([[1, 5, 9, 7, 2], [1, 6, 7, 2, 0]])
    drawn = torch.tensor([[False, False, True, True, True], [False, False, True, True, False]])
    with torch.no_grad():
        log_p, entropy, _ = evaluate(model, ids, drawn)
        every = torch.log_softmax(model.logits(model(ids)), -1)
    assert float(log_p[0, 3]) == pytest.approx(float(every[0, 2, 7]), abs=1e-6)
    assert float(entropy[1, 2]) == pytest.approx(float(-(every[1, 1].exp() * every[1, 1]).sum()), abs=1e-6)
    assert log_p[~drawn].abs().sum() == entropy[~drawn].abs().sum() == 0


def test_a_part_of_the_tokens_at_a_time_gives_the_same_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    model, generator = sft(), torch.Generator().manual_seed(0)
    ids = torch.randint(3, 24, (9, 30), generator=generator)
    lengths = torch.randint(6, 31, (9,), generator=generator)
    drawn = ppo.last_tokens(lengths, [4] * 9, 30)

    def gradient() -> torch.Tensor:
        log_p, entropy, _ = evaluate(model, ids, drawn, with_entropy=False)
        model.zero_grad()
        (log_p * torch.arange(30)).sum().backward()
        assert entropy.abs().sum() == 0
        return model.token_embd.weight.grad.clone()

    at_once = gradient()
    monkeypatch.setattr(ppo, "_TOKENS_AT_ONCE", 7)
    torch.testing.assert_close(gradient(), at_once, rtol=1e-4, atol=1e-4)


def test_the_policy_finds_the_reward_and_pays_for_it_in_kl() -> None:
    start = sft()
    policy, logs = optimise(start, Likes7(start), [[5], [6, 8]], QUICK)
    assert logs[0].kl_nats == pytest.approx(0, abs=1e-4)
    assert logs[-1].reward > 1.5
    assert logs[-1].kl_nats > 1
    assert logs[-1].entropy_bits < logs[0].entropy_bits
    assert math.isfinite(logs[-1].value_loss)
    assert not torch.equal(policy.token_embd.weight, start.token_embd.weight)


def test_a_high_price_keeps_the_policy_near() -> None:
    start = sft()
    free, dear = (
        optimise(start, Likes7(start), [[5]], dataclasses.replace(QUICK, beta=beta))[1][-1] for beta in (0.0, 3.0)
    )
    assert dear.kl_nats < 0.3 * free.kl_nats
    assert dear.reward < free.reward


def test_an_optimisation_that_was_cut_short_goes_on_the_same(tmp_path: Path) -> None:
    start, settings = sft(), dataclasses.replace(QUICK, n_iterations=11, n_answers=8, answers_a_step=4)
    whole, logs = optimise(start, Likes7(start), [[5]], settings)

    class Stop(Exception):
        pass

    def stop(log: ppo.Log) -> None:
        if log.iteration == 10:  # the checkpoint of the tenth is written
            raise Stop

    with pytest.raises(Stop):
        optimise(start, Likes7(start), [[5]], settings, checkpoint=tmp_path / "run.pt", on_log=stop)
    again, more = optimise(start, Likes7(start), [[5]], settings, checkpoint=tmp_path / "run.pt")
    assert more == logs
    for name, weight in whole.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], weight, rtol=0, atol=1e-6)
    for change, words in (({"beta": 1.0}, "of other settings"), ({"n_iterations": 5}, "has 11 already")):
        other = dataclasses.replace(settings, **change)
        with pytest.raises(BadValue, match=words):
            optimise(start, Likes7(start), [[5]], other, checkpoint=tmp_path / "run.pt")
    longer = dataclasses.replace(settings, n_iterations=12)
    assert optimise(start, Likes7(start), [[5]], longer, checkpoint=tmp_path / "run.pt")[1][:11] == logs
