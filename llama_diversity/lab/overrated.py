"""Where the reward model likes an answer more than the annotator does whom it was to imitate: what PPO may exploit.

Both numbers are put on one scale, standard deviations of the SFT model's answers from their mean. Gao, Schulman and
Hilton (2022) call the two the proxy and the gold reward; that the first rises more than the second is overoptimisation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

N_SHOWN = 5


class Rated(NamedTuple):
    """One answer, what the reward model gives it and what the annotator."""

    prompt: str
    answer: str
    reward: float
    score: float


def overoptimised(sft: Sequence[Rated], policy: Sequence[Rated]) -> dict[str, Any]:
    """How far both numbers rose from the SFT model's answers to the policy's, in standard deviations of the former; the
    correlation of both over the answers of each; and the policy's answers that are overrated most, as examples.

    A correlation is None where one of the numbers is the same for all answers.
    """
    before, after = (np.array([(one.reward, one.score) for one in rated]) for rated in (sft, policy))
    mean, sd = before.mean(axis=0), np.maximum(before.std(axis=0, ddof=1), 1e-6)
    scaled = (after - mean) / sd
    most = np.argsort(scaled[:, 1] - scaled[:, 0], kind="stable")[:N_SHOWN]
    return {
        "reward_sd": float(scaled[:, 0].mean()),
        "score_sd": float(scaled[:, 1].mean()),
        "correlation": {"sft": _correlation(before), "aligned": _correlation(after)},
        "n": len(policy),
        "examples": [
            {
                "prompt": policy[i].prompt,
                "answer": policy[i].answer,
                "reward_sd": float(scaled[i, 0]),
                "score_sd": float(scaled[i, 1]),
            }
            for i in most
        ],
    }


def _correlation(pairs: np.ndarray[Any, Any]) -> float | None:
    if min(pairs.std(axis=0)) == 0:
        return None
    return float(np.corrcoef(pairs.T)[0, 1])
