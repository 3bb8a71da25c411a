"""The noise floor: by hand, as the largest of its ways, and on a model whose readings differ."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path

import numpy as np
import pytest
from scripted_work import open_scripted

from llama_diversity.engines import EngineOptions, open_engine
from llama_diversity.records import ModelRef
from llama_diversity.studies.measuring.divergence import RESOLUTION_BITS, THRESHOLDS
from llama_diversity.studies.measuring.noise import WAYS, Apart, Noise, analyse, floor


def test_by_hand() -> None:
    """Two tokens: (1/2, 1/4, 1/4) against (1/4, 1/2, 1/4) at token 0, then equal rows.

    Surprisals 1 and 2, KL = 1/2 log2 2 - 1/4 log2 2 = 1/4, entropies equal; over two tokens half of each.
    """
    row, other, same = (
        np.log(np.array(p, np.float32)) for p in ((0.5, 0.25, 0.25), (0.25, 0.5, 0.25), (0.2, 0.4, 0.4))
    )
    found = analyse(np.stack([row, same]), {"a": np.stack([other, same])}, [0, 1], thresholds=[0.3])
    apart = found.apart["a"]
    assert found.n_tokens == 2
    assert apart.surprisal_mean_bits == pytest.approx(0.5, abs=1e-6)
    assert apart.surprisal_rms_bits == pytest.approx(math.sqrt(0.5), abs=1e-6)
    assert apart.surprisal_most_bits == pytest.approx(1.0, abs=1e-6)
    assert apart.surprisal_bias_bits == pytest.approx(0.5, abs=1e-6)
    assert apart.kl_bits == pytest.approx(0.125, abs=1e-6)
    assert apart.entropy_most_bits == pytest.approx(0.0, abs=1e-6)
    # Token 0 has 1/2 here and 1/4 < 0.3 there; tokens of 1/4 both ways; in the second row 0.2 < 0.3 both ways.
    assert apart.blocked == pytest.approx([(0.5 + 0.25 + 0.2) / 2], abs=1e-6)


def test_the_floor_is_the_largest_of_all_ways_and_models() -> None:
    one = Apart(0.1, 0.2, 0.5, 0.0, 0.1, 0.3, 0.004, 0.001, (0.01, 0.0))
    two = one._replace(surprisal_rms_bits=0.4, kl_bits=0.002, blocked=(0.0, 0.003))
    found = floor([Noise(64, {"a": one}), Noise(64, {"b": two})])
    assert (found.kl_bits, found.surprisal_rms_bits, found.blocked) == (0.004, 0.4, (0.01, 0.003))
    assert found.opening_bits(9) == pytest.approx(1.96 * 0.4 * 3)
    nothing = floor([Noise(1, {"a": Apart(0, 0, 0, 0, 0, 0, 0, 0, (0.0,))})])
    assert (nothing.kl_bits, nothing.opening_bits(12)) == (RESOLUTION_BITS, 0)


def test_a_chain_has_no_noise() -> None:
    engine = open_scripted("base")
    ids = engine.tokenize("She was a nurse.")
    rows = [engine.reading(ids, together=way.together, fused=way.is_fused) for way in WAYS]
    assert all((other == rows[0]).all() for other in rows)


@pytest.mark.model
def test_readings_of_a_model_are_one_text_in_other_digits(tiny_model: Path) -> None:
    model = ModelRef("test", "llamacpp", str(tiny_model), "d")
    with contextlib.closing(open_engine(model, EngineOptions(n_threads=1))) as engine:
        ids = engine.tokenize("The quick brown fox jumps. " * 4)
        assert len(ids) > 65
        reference = engine.reading(ids, together=None, fused=False)
        assert reference.shape == (len(ids) - 1, engine.facts.n_vocab)
        np.testing.assert_array_equal(reference, np.concatenate([np.array(r.logits) for r in engine.logits([ids])]))
        others = {way.name: engine.reading(ids, together=way.together, fused=way.is_fused) for way in WAYS}
        found = analyse(reference, others, ids[1:])
    assert all(0 < apart.surprisal_mean_bits < 0.05 for apart in found.apart.values())
    assert len(floor([found]).blocked) == len(THRESHOLDS)
