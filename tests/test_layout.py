"""How many sequences fit: arithmetic against hand-computed bytes."""

from __future__ import annotations

import pytest

from llama_diversity.engines.layout import Work, choose
from llama_diversity.errors import BadValue, OutOfMemory, PromptTooLong


def work(**changes: object) -> Work:
    fields = {
        "n_prompt": 10,
        "max_tokens": 64,
        "n_samples": 100,
        "n_ctx_model": 4096,
        "kv_bytes_per_token": 1000.0,
        "n_vocab": 0,
        "exact": False,
    }
    return Work(**{**fields, **changes})


def test_streams_get_a_strip_each() -> None:
    # 10 + 64 tokens round up to 256 cells; 64 samples, the prompt and a spare: 66 strips of 256.
    layout = choose(work(), parallel=None, budget_bytes=1e9, ceiling_bytes=1e9)
    assert (layout.parallel, layout.unified, layout.n_ctx, layout.n_seq_max) == (64, False, 66 * 256, 66)


def test_one_sequence_has_its_twin_and_the_prompt_beside_it() -> None:
    layout = choose(work(), parallel=1, budget_bytes=1e9, ceiling_bytes=1e9)
    assert (layout.parallel, layout.n_seq_max, layout.n_ctx) == (1, 3, 3 * 256)


def test_never_more_sequences_than_samples() -> None:
    assert choose(work(n_samples=3), parallel=None, budget_bytes=1e9, ceiling_bytes=1e9).parallel == 3


def test_the_budget_limits_the_automatic_choice() -> None:
    # 256,000 bytes a strip: 5.12 MB hold 20 strips, two of them spare.
    layout = choose(work(), parallel=None, budget_bytes=5.12e6, ceiling_bytes=1e9)
    assert (layout.parallel, layout.unified) == (18, False)


def test_too_few_strips_give_way_to_the_unified_layout() -> None:
    # 10 strips would leave 8 sequences; unified, 2,560 cells hold 10 + 39 * 64 tokens: 38 sequences and a spare.
    layout = choose(work(), parallel=None, budget_bytes=2.56e6, ceiling_bytes=1e9)
    assert (layout.parallel, layout.unified) == (38, True)


def test_prompts_of_their_own_are_room_for_each_sequence() -> None:
    # A head of 200, 300 own tokens, 64 new ones: 564 round up to 768 cells a strip; --exact has a third spare one.
    own = work(n_prompt=200, n_own=300, n_samples=8)
    assert choose(own, parallel=8, budget_bytes=1e9, ceiling_bytes=1e9).n_ctx == 10 * 768
    exact = choose(work(n_prompt=200, n_own=300, exact=True), parallel=8, budget_bytes=1e9, ceiling_bytes=1e9)
    assert (exact.n_ctx, exact.n_seq_max) == (11 * 768, 11)
    # Unified: 200 + 9 * 364 = 3,476 round up to 3,584 cells.
    assert own.layout(8, unified=True).n_ctx == 3584
    with pytest.raises(PromptTooLong, match="500 prompt tokens and 64 new ones"):
        work(n_prompt=200, n_own=300, n_ctx_model=563).check_length()


def test_logits_count_too() -> None:
    # Each sequence takes a strip and 64,000 * 4 bytes of logits: 3 strips and 1 row of logits make 1,024,000 bytes.
    layout = choose(work(n_vocab=64_000, exact=True), parallel=None, budget_bytes=1_024_000, ceiling_bytes=1e9)
    assert layout.parallel == 1


def test_a_long_prompt_is_stored_once() -> None:
    # Streams: 2,064 tokens round up to 2,304 cells each, 66 strips = 152 MB. Unified: 2,000 + 65 * 64 = 6,160 tokens
    # round up to 6,400 cells = 6.4 MB.
    layout = choose(work(n_prompt=2000), parallel=None, budget_bytes=10e6, ceiling_bytes=1e9)
    assert (layout.parallel, layout.unified, layout.n_ctx) == (64, True, 6400)
    assert not choose(work(n_prompt=2000, exact=True), parallel=None, budget_bytes=10e6, ceiling_bytes=1e9).unified


def test_one_sequence_may_exceed_the_budget_but_not_the_machine() -> None:
    assert choose(work(), parallel=None, budget_bytes=1, ceiling_bytes=1e9).parallel == 1
    with pytest.raises(OutOfMemory, match="not even one of one new token fits. Shorten the prompt"):
        choose(work(), parallel=None, budget_bytes=1, ceiling_bytes=1)


def test_a_parallel_that_does_not_fit_says_what_would() -> None:
    with pytest.raises(OutOfMemory, match=r"64 sequences of 74 tokens .* --parallel 9 would fit"):
        choose(work(exact=True), parallel=64, budget_bytes=1e9, ceiling_bytes=11 * 256_000)


@pytest.mark.parametrize("parallel", [0, -1, 255])
def test_impossible_parallel(parallel: int) -> None:
    with pytest.raises(BadValue, match="--parallel .* between 1 and 254"):
        choose(work(), parallel=parallel, budget_bytes=1e9, ceiling_bytes=1e9)


def test_too_long_for_the_model() -> None:
    with pytest.raises(
        PromptTooLong, match="4090 prompt tokens and 64 new ones do not fit the model's context of 4096"
    ):
        choose(work(n_prompt=4090), parallel=None, budget_bytes=1e9, ceiling_bytes=1e9)


def test_the_state_of_recurrent_layers_counts_for_each_sequence() -> None:
    # 100,000 bytes for each of 12 sequences, 10 of them samples, and nothing for their tokens.
    layout = choose(
        work(kv_bytes_per_token=0.0, state_bytes=1e5), parallel=None, budget_bytes=1.25e6, ceiling_bytes=1e9
    )
    assert (layout.parallel, layout.unified) == (10, False)
    with pytest.raises(OutOfMemory, match=r"the state of recurrent layers\. --parallel 1 would fit"):
        choose(work(kv_bytes_per_token=0.0, state_bytes=1e5), parallel=5, budget_bytes=1, ceiling_bytes=3e5)


def test_what_would_fit_is_named() -> None:
    # 1 sequence, the prompt's and a spare: 3 strips of 1,000 cells fit 3 MB, which are 768 cells rounded down to 256s.
    with pytest.raises(OutOfMemory, match=r"not even one fits\. --max-tokens 758 would fit\."):
        choose(work(max_tokens=4000), parallel=None, budget_bytes=1, ceiling_bytes=3e6)
