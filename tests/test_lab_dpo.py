"""DPO: its loss and its gradient by hand, which tokens count, a resume, and that preferences are learned."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from llama_diversity.errors import BadValue  # noqa: E402
from llama_diversity.lab import dpo  # noqa: E402
from llama_diversity.lab.dpo import Log, Settings, held_out, log_p_of, loss_of, optimise  # noqa: E402
from llama_diversity.lab.reward import Ranking  # noqa: E402
from llama_diversity.lab.transformer import Architecture, Llama  # noqa: E402

SMALL = Architecture(n_vocab=24, n_embd=32, n_layer=1, n_head=2, n_ff=48, n_ctx=32)
QUICK = Settings(n_passes=2, prompts_a_step=16, rate=3e-3)


def sft() -> Llama:
    made = Llama(SMALL)
    made.initialise(torch.Generator().manual_seed(0))
    return made


def sevens(n: int, seed: int) -> list[Ranking]:
    """Pairs of answers to one prompt each: the better one begins with a seven, the worse one with an eight."""
    draws = torch.randint(9, 24, (n, 5), generator=torch.Generator().manual_seed(seed)).tolist()
    return [Ranking([[1, a, b, 8, d, e], [1, a, b, 7, c, 2]], [(1, 0)], 3) for a, b, c, d, e in draws]


def test_the_loss_by_hand() -> None:
    """beta 0.1. Log-ratios 0 and 0: log 2. 10 ln 3 and 0: difference ln 3, -log(3/4). 0 and 10 ln 3: -log(1/4)."""
    ratios = torch.tensor([[0.0, 0.0], [10 * math.log(3), 0.0], [0.0, 10 * math.log(3)]])
    assert float(loss_of(ratios[:1], 0.1)) == pytest.approx(math.log(2))
    assert float(loss_of(ratios, 0.1)) == pytest.approx((math.log(2) + math.log(4 / 3) + math.log(4)) / 3)


def test_the_gradient_by_hand() -> None:
    """-beta sigmoid(-beta (better - worse)) towards the better, the same away from the worse.

    beta 0.5, ratios 2 ln 3 and 0: beta times the difference is ln 3, sigmoid(-ln 3) = 1/4, so 1/8.
    """
    ratios = torch.tensor([[2 * math.log(3), 0.0]], requires_grad=True)
    loss_of(ratios, 0.5).backward()
    assert ratios.grad is not None
    assert ratios.grad.tolist()[0] == pytest.approx([-1 / 8, 1 / 8])


def test_only_the_answers_tokens_count_each_given_all_before_it() -> None:
    model = sft()
    longer, shorter = [1, 10, 11, 7, 12, 2], [1, 10, 11, 8]
    ranking = Ranking([shorter, longer], [(1, 0)], 3)
    with torch.no_grad():
        log_p = torch.log_softmax(model.logits(model(torch.tensor([longer]))), -1)[0]
    better = float(log_p[2, 7] + log_p[3, 12] + log_p[4, 2])
    worse = float(log_p[2, 8])
    by_hand = pytest.approx([better, worse], rel=2e-3)  # products of bfloat16, where the processor has them
    assert log_p_of(model, [ranking, ranking, ranking], prompts_a_batch=2).tolist() == [by_hand] * 3


def test_the_first_step_costs_log_2_and_goes_to_the_better_answer() -> None:
    policy, logs = optimise(sft(), sevens(16, 1), dataclasses.replace(QUICK, n_passes=1))
    [first] = logs
    assert first.loss_nats == pytest.approx(math.log(2), abs=1e-3)
    assert (first.better_nats, first.worse_nats) == pytest.approx((0, 0), abs=0.02)
    ratios = log_p_of(policy, sevens(16, 1)) - log_p_of(sft(), sevens(16, 1))
    assert (ratios[:, 0] > ratios[:, 1]).all()


def test_preferences_are_learned_and_known_of_pairs_that_were_not_shown() -> None:
    model = sft()
    policy, logs = optimise(model, sevens(64, 1), QUICK)
    assert len(logs) == 8
    assert logs[-1].loss_nats < logs[0].loss_nats
    found = held_out(policy, model, sevens(40, 2), QUICK.beta)
    assert found["n"] == 40
    assert found["accuracy"] > 0.9
    assert found["better_nats"] > found["worse_nats"]
    assert held_out(model, model, sevens(40, 2), QUICK.beta)["loss_nats"] == pytest.approx(math.log(2), abs=1e-3)


def test_the_smaller_beta_goes_further_from_the_sft_model() -> None:
    model, pairs = sft(), sevens(48, 1)
    slow = dataclasses.replace(QUICK, n_passes=20)
    gaps = []
    for beta in (0.1, 30.0):
        found = held_out(optimise(model, pairs, dataclasses.replace(slow, beta=beta))[0], model, pairs, beta)
        gaps.append(found["better_nats"] - found["worse_nats"])
    assert gaps[0] > 1.5 * gaps[1]


def test_a_cut_run_goes_on_as_if_it_had_not_been(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs, path = sevens(48, 1), tmp_path / "dpo.pt"
    whole, logs = optimise(sft(), pairs, QUICK)
    monkeypatch.setattr(dpo, "_KEPT_EVERY", 2)

    class Cut(Exception):
        pass

    def cut(log: Log, n_steps: int) -> None:
        assert n_steps == 6
        if log.step == 2:
            raise Cut

    with pytest.raises(Cut):
        optimise(sft(), pairs, QUICK, checkpoint=path, on_log=cut)
    heard: list[int] = []
    again, same = optimise(sft(), pairs, QUICK, checkpoint=path, on_log=lambda log, n: heard.append(log.step))
    assert heard == list(range(6))
    assert [log.loss_nats for log in same] == pytest.approx([log.loss_nats for log in logs], rel=1e-3)
    for one, other in zip(whole.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
    with pytest.raises(BadValue, match="of other settings"):
        optimise(sft(), pairs, dataclasses.replace(QUICK, beta=0.2), checkpoint=path)
