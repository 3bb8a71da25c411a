"""How far the reward model's number and the annotator's part: by hand."""

from __future__ import annotations

import pytest

from llama_diversity.lab.overrated import N_SHOWN, Rated, overoptimised

SFT = [Rated("p", "a", 0.0, 1.0), Rated("p", "b", 2.0, 3.0), Rated("p", "c", 4.0, 2.0)]


def test_overoptimisation_by_hand() -> None:
    """The SFT model's rewards have mean 2 and standard deviation 2, its scores 2 and 1."""
    policy = [Rated("p", "liked by both", 6.0, 4.0), Rated("p", "overrated", 6.0, 1.0)]
    found = overoptimised(SFT, policy)
    assert found["reward_sd"] == pytest.approx(2.0)  # (2 + 2) / 2
    assert found["score_sd"] == pytest.approx(0.5)  # (2 - 1) / 2
    assert found["n"] == 2
    assert [one["answer"] for one in found["examples"]] == ["overrated", "liked by both"]
    assert found["examples"][0] == {
        "prompt": "p", "answer": "overrated", "reward_sd": pytest.approx(2.0), "score_sd": pytest.approx(-1.0)
    }  # fmt: skip
    # Deviations of the rewards -2, 0, 2, of the scores -1, 1, 0: 2 / sqrt(8 * 2).
    assert found["correlation"] == {"sft": pytest.approx(0.5), "aligned": None}


def test_few_examples_are_shown() -> None:
    assert len(overoptimised(SFT, SFT * 4)["examples"]) == N_SHOWN
