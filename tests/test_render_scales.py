"""What each colour means: values, steps, edges, numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from render_samples import token

from llama_diversity.errors import BadValue, UnknownName
from llama_diversity.records import TOKEN_DTYPE, Piece
from llama_diversity.render.scales import (
    SCALES,
    Difference,
    Entropy,
    Probability,
    Rank,
    ScoredToken,
    Surprisal,
    scale_called,
    scored_tokens,
)


@pytest.mark.parametrize("bits", [0.0, 0.5, 1.6, 3.2, 4.8, 7.1, 9.6, 11.2, 14.39, 14.4, 16.0, 40.0, math.inf])
def test_surprisal_steps_follow_the_formula(bits: float) -> None:
    # floor(10 * bits / 16), capped at 9
    assert Surprisal(16).step(bits) == (9 if bits >= 14.4 else math.floor(10 * bits / 16))


def test_every_printed_edge_opens_its_step() -> None:
    for maximum in (16, 12, 7, 3.3):
        scale = Surprisal(maximum)
        assert [scale.step(step * maximum / 10) for step in scale.steps] == list(range(10))
        assert [scale.step(step * maximum / 10 - 1e-6) for step in range(1, 10)] == list(range(9))
    assert [Surprisal(16).label(step) for step in range(10)] == ("0 1.6 3.2 4.8 6.4 8 9.6 11.2 12.8 14.4+".split())


def test_rank_steps_on_a_log2_scale() -> None:
    scale = Rank(16)
    edges = [int(scale.edge(step)) for step in scale.steps]
    # ceil(2 ** (1.6 * step)): 2**1.6 = 3.03, 2**3.2 = 9.19, 2**4.8 = 27.9, 2**6.4 = 84.4, 2**8 = 256 ...
    assert edges == [1, 4, 10, 28, 85, 256, 777, 2353, 7132, 21619]
    assert [scale.step(edge) for edge in edges] == list(range(10))
    assert [scale.step(edge - 1) for edge in edges[1:]] == list(range(9))
    assert scale.step(65536 * 4) == 9


def test_high_probability_is_step_0() -> None:
    scale = Probability(16)
    assert [scale.step(p) for p in (1.0, 0.95, 0.9, 0.5, 0.11, 0.05, 0.0)] == [0, 0, 1, 5, 8, 9, 9]
    assert [scale.label(step) for step in scale.steps] == "1 0.9 0.8 0.7 0.6 0.5 0.4 0.3 0.2 0.1".split()
    assert [scale.step(float(scale.edge(step))) for step in scale.steps] == list(range(10))
    assert scale.value(token(b"x", 3.0)) == 0.125


def test_difference_steps_are_the_nearest_of_nine() -> None:
    scale = Difference(8)
    values = [-20, -7, -6.9, -3, -1, -0.9, 0, 0.9, 1, 2.9, 3, 5, 7, 20]
    assert [scale.step(value) for value in values] == [-4, -4, -3, -2, -1, 0, 0, 0, 1, 1, 2, 3, 4, 4]
    assert [scale.label(step) for step in scale.steps] == "-7 -5 -3 -1 0 +1 +3 +5 +7".split()


@pytest.mark.parametrize("name", SCALES)
def test_no_value_has_no_step(name: str) -> None:
    scale = scale_called(name)
    value = scale.value(token(b"x", math.nan, entropy=math.nan))
    assert math.isnan(value)
    assert scale.step(value) is None
    assert scale.number(value) == "-"
    assert scale.exact(value) == "no value"


@pytest.mark.parametrize(
    ("scale", "value", "number"),
    [
        (Surprisal(16), 0.49, ""),
        (Surprisal(16), 0.5, "1"),
        (Surprisal(16), 4.5, "5"),  # halves away from zero, not to even
        (Surprisal(16), 31.2, "31"),  # numbers are not clipped
        (Surprisal(16), math.inf, "inf"),
        (Rank(16), 1, ""),
        (Rank(16), 1234, "1234"),
        (Probability(16), 1.0, ""),
        (Probability(16), 0.996, ""),
        (Probability(16), 0.034, "3"),
        (Probability(16), 0.001, "0"),
        (Difference(8), 2.6, "+3"),
        (Difference(8), -2.6, "-3"),
        (Difference(8), -0.4, ""),
    ],
)
def test_numbers(scale: Surprisal | Rank | Probability | Difference, value: float, number: str) -> None:
    assert scale.number(value) == number


def test_joint_values() -> None:
    assert Surprisal(16).joint([2.0, 8.0, 0.5]) == 10.5
    assert Entropy(16).joint([1.0, 2.0]) == 3.0
    assert Difference(8).joint([2.0, -5.0]) == -3.0
    assert Probability(16).joint([0.5, 0.25]) == 0.125
    assert Rank(16).joint([3, 700, 1]) == 700
    for scale in (Surprisal(16), Rank(16), Probability(16), Difference(8)):
        assert math.isnan(scale.joint([1.0, math.nan]))
    assert Surprisal(16).joint([1.0, math.inf]) == math.inf


def test_the_samplers_distribution_is_another_column() -> None:
    drawn = ScoredToken(Piece(b"x"), 3.0, 2.0, 5, (), 1.0, 0.5)
    assert [scale_called(name, distribution="sampler").value(drawn) for name in ("surprisal", "entropy")] == [1.0, 0.5]
    assert scale_called("probability", distribution="sampler").value(drawn) == 0.5
    with pytest.raises(BadValue, match="raw distribution only"):
        scale_called("rank", distribution="sampler")


def test_bad_arguments_say_what_is_allowed() -> None:
    with pytest.raises(UnknownName, match="no quantity called 'suprisal'.*Did you mean surprisal"):
        scale_called("suprisal")
    for maximum in (0, -1, math.nan, math.inf):
        with pytest.raises(BadValue, match="must be a positive number"):
            scale_called("surprisal", maximum_bits=maximum)


def test_scored_tokens_read_the_rows_of_the_engine() -> None:
    stats = np.zeros(2, TOKEN_DTYPE)
    stats[0]["id"], stats[0]["rank"] = 7, 0
    for name in ("surprisal_bits", "entropy_bits", "sampler_surprisal_bits", "sampler_entropy_bits"):
        stats[0][name] = math.nan
    stats[0]["top_ids"], stats[0]["top_surprisals_bits"] = -1, math.nan
    stats[1]["id"], stats[1]["surprisal_bits"], stats[1]["rank"] = 8, 2.5, 4
    stats[1]["top_ids"], stats[1]["top_surprisals_bits"] = (8, 9, -1, -1, -1), (1, 2, math.inf, math.inf, math.inf)
    first, second = scored_tokens(stats, lambda token_id: Piece(str(token_id).encode()))
    assert math.isnan(first.surprisal_bits)
    assert first.alternatives == ()
    assert (second.piece, second.surprisal_bits, second.rank) == (Piece(b"8"), 2.5, 4)
    assert [(a.piece.bytes, a.probability) for a in second.alternatives] == [(b"8", 0.5), (b"9", 0.25)]
