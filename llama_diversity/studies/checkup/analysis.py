"""How well a model reads neutral text behind each start: a check of the one that was chosen, no way to choose it.

Protocol: the same five short English texts behind every start; of each the surprisal of all tokens but the first, which
has no context behind nothing. The chosen start is clearly worse than another where the 95 % t interval of the
difference, paired by text, lies above 0 and the difference is at least LEAST_SHARE of what the other needs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from llama_diversity.metrics.inference import Interval, mean_interval
from llama_diversity.records import ModelFacts
from llama_diversity.studies.measuring.noise import Noise

TEXTS = (
    "The town lies in a valley between two hills. A river runs through it, and an old stone bridge joins the market "
    "square to the railway station.",
    "To make the soup, cut the onions and the carrots into small pieces. Fry them in butter for ten minutes, then add "
    "the water, the potatoes and some salt.",
    "Most birds of this family build their nests in trees. The eggs hatch after about two weeks, and both parents feed "
    "the young until they can fly.",
    "The meeting was moved from Tuesday to Thursday because several members could not attend. The minutes of the last "
    "meeting were read and approved.",
    "My grandfather worked in a bakery for forty years. He got up at three every morning, and in the evening he read "
    "the newspaper by the window.",
)
LEAST_SHARE = 0.05


class Reading(NamedTuple):
    """The texts behind one start: bits of each text's tokens but the first, and of the first, nan without context."""

    start: str  # as it is spelled
    bits: tuple[float, ...]
    first_bits: tuple[float, ...]
    n_tokens: int  # all but the first ones


class Finding(NamedTuple):
    """A start beside which the chosen one is clearly worse: the mean difference a text, bits, with its interval."""

    name: str
    excess_bits: Interval


def read(start: str, texts: Sequence[Sequence[float]]) -> Reading:
    """Of each text the surprisals of its tokens, bits, without those of the start.

    >>> read("<s>", [[3.0, 1.0, 2.0]])
    Reading(start='<s>', bits=(3.0,), first_bits=(3.0,), n_tokens=2)
    """
    return Reading(
        start,
        tuple(float(np.sum(text[1:], dtype=np.float64)) for text in texts),
        tuple(float(text[0]) for text in texts),
        sum(len(text) - 1 for text in texts),
    )


def clearly_better(readings: Mapping[str, Reading], chosen: str) -> list[Finding]:
    """The starts beside which the chosen one is clearly worse, the best first."""
    found = []
    for name, other in readings.items():
        excess = mean_interval([mine - theirs for mine, theirs in zip(readings[chosen].bits, other.bits, strict=True)])
        if excess.low > 0 and excess.mean >= LEAST_SHARE * float(np.mean(other.bits)):
            found.append(Finding(name, excess))
    return sorted(found, key=lambda one: -one.excess_bits.mean)


class Checkup(NamedTuple):
    """What a file states, the model's readings by the starts as they are typed, the chosen one, those beside which it
    is worse, and the noise of its arithmetic; of a model on a server, which can read in one way, what else that can do.
    """

    facts: ModelFacts
    readings: Mapping[str, Reading]
    chosen: str
    better: Sequence[Finding]
    noise: Noise | None
    server: str = ""
