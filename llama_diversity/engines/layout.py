"""How many sequences are decoded at once, and how their KV cache is laid out: arithmetic only.

Two layouts exist. With *streams* every sequence owns a strip of the cache; attention reads that strip alone, which is
fast, and the prompt is copied into each. In the *unified* layout all sequences share the prompt's cells and every row
attends, masked, over all of them: slower per row, but a long prompt is stored once.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from dataclasses import dataclass

from llama_diversity.errors import BadValue, OutOfMemory, PromptTooLong

SPARE_SEQUENCES = 2  # one keeps the prompt, one is room for the twin that --exact gives to a lonely row
HELD_LENGTHS = 2  # of the longest path, whose cells are there for all that are kept in the unified layout
MAX_PARALLEL = 256 - SPARE_SEQUENCES  # llama.cpp's own limit
PREFERRED_PARALLEL = 64
EXACT_PARALLEL = 64  # rows whose bits --exact is tested with
ENOUGH_STREAMS = 16  # from here on more sequences gain less than attending over everybody's cells costs
_CELLS = 256  # llama.cpp rounds a context up to a multiple of this
BYTES_PER_VALUE = {"f16": 2.0, "f32": 4.0, "q8_0": 34 / 32, "q4_0": 18 / 32}


@dataclass(frozen=True)
class Layout:
    """A context that fits the work; it has some spare sequences besides."""

    parallel: int
    unified: bool
    n_ctx: int
    n_spare: int = SPARE_SEQUENCES

    @property
    def n_seq_max(self) -> int:
        return self.parallel + self.n_spare


@dataclass(frozen=True)
class Work:
    """What has to fit: the lengths, the number of samples, and what one token costs."""

    n_prompt: int  # with several prompts, the head of all
    max_tokens: int
    n_samples: int
    n_ctx_model: int
    kv_bytes_per_token: float
    n_vocab: int
    exact: bool
    state_bytes: float = 0.0  # what a sequence takes whatever its length: the state of recurrent layers
    shares: bool = False  # sequences take over cells from each other, which streams cannot
    most_parallel: int = MAX_PARALLEL
    n_own: int = 0  # of several prompts the most tokens behind their head: each sequence has its own
    n_held: int = 0  # sequences beside the samples that keep what paths behind the prompt have decoded

    def check_length(self) -> None:
        """Raises PromptTooLong."""
        if self._length > self.n_ctx_model:
            raise PromptTooLong(self.n_prompt + self.n_own, self.max_tokens, self.n_ctx_model)

    @property
    def _length(self) -> int:
        return self.n_prompt + self.n_own + self.max_tokens

    @property
    def n_spare(self) -> int:
        """Sequences besides those of the samples.

        Where --exact reads prompts of their own, or paths, one by one, that is done in a place beside the samples, with
        a twin.
        """
        return SPARE_SEQUENCES + (self.exact and self.n_own + self.n_held > 0) + self.n_held

    def layout(self, parallel: int, *, unified: bool) -> Layout:
        """The context for `parallel` sequences."""
        if unified:  # what paths hold they share, but for the ends; the cells of two whole ones go far
            n_lengths = parallel + 1 + (HELD_LENGTHS if self.n_held else 0)
            n_ctx = _rounded(self.n_prompt + n_lengths * (self.n_own + self.max_tokens))
        else:
            n_ctx = _rounded(self._length) * (parallel + self.n_spare)
        return Layout(parallel, unified, n_ctx, self.n_spare)

    def bytes_needed(self, layout: Layout) -> float:
        """Memory of the KV cache, of recurrent states and of the logits of one step."""
        kept = layout.n_ctx * self.kv_bytes_per_token + layout.n_seq_max * self.state_bytes
        return kept + layout.parallel * self.n_vocab * 4.0

    def largest(self, budget_bytes: float, *, unified: bool, at_most: int) -> int:
        """The most sequences that fit `budget_bytes`, 0 if not even one does."""
        fitting = [
            p for p in range(1, at_most + 1) if self.bytes_needed(self.layout(p, unified=unified)) <= budget_bytes
        ]
        return max(fitting, default=0)

    def longest(self, ceiling_bytes: float) -> int:
        """The most new tokens with which one sequence fits, 0 if none does."""
        most = 0
        step = 1 << max(0, self.max_tokens.bit_length() - 1)
        while step:  # the need grows with the length: by halves
            tried = dataclasses.replace(self, max_tokens=most + step)
            if tried.bytes_needed(tried.layout(1, unified=False)) <= ceiling_bytes:
                most += step
            step //= 2
        return most


def choose(work: Work, *, parallel: int | None, budget_bytes: float, ceiling_bytes: float) -> Layout:
    """The layout for `work`. With `parallel` None as many sequences as fit the budget, up to 64.

    Streams where they allow enough sequences, else whichever layout allows more. --exact always uses streams: a
    sample's cells then lie the same whatever its neighbours do. Work that shares cells uses the unified layout, but for
    a single sequence. Raises BadValue, PromptTooLong, OutOfMemory.
    """
    work.check_length()
    if parallel is not None and not 1 <= parallel <= work.most_parallel:
        why = ", as many as --exact was tested with" if 1 <= parallel <= MAX_PARALLEL else ""
        raise BadValue("--parallel", parallel, f"it must lie between 1 and {work.most_parallel}{why}")
    wanted = min(parallel or PREFERRED_PARALLEL, work.n_samples, work.most_parallel)
    budget = ceiling_bytes if parallel is not None else budget_bytes
    streams = 0 if work.shares else work.largest(budget, unified=False, at_most=wanted)
    enough = wanted if parallel is not None else min(wanted, ENOUGH_STREAMS)
    unified = 0 if work.exact or streams >= enough else work.largest(budget, unified=True, at_most=wanted)
    if parallel is None and not (streams or unified):  # the budget is a wish; one sequence may exceed it
        streams = work.largest(ceiling_bytes, unified=False, at_most=1)
    best = max(streams, unified)
    if best == 0 or (parallel is not None and best < wanted):
        raise no_room(work, wanted=wanted, fits=best, ceiling_bytes=ceiling_bytes)
    return work.layout(best, unified=unified > streams)


def no_room(work: Work, *, wanted: int, fits: int, ceiling_bytes: float) -> OutOfMemory:
    """The error that says what was asked and what would fit."""
    layout = work.layout(wanted, unified=False)
    needed = work.bytes_needed(layout)
    length = work.n_prompt + work.n_own + work.max_tokens
    asked = f"{wanted} sequences of {length} tokens need about {needed / 1e9:.1f} GB for the KV cache"
    if work.state_bytes * layout.n_seq_max > needed / 10:
        asked += " and the state of recurrent layers"
    if fits:
        return OutOfMemory(f"{asked}. --parallel {fits} would fit.")
    longest = work.longest(ceiling_bytes)
    if longest:
        return OutOfMemory(f"{asked}, and not even one fits. --max-tokens {longest} would fit.")
    return OutOfMemory(
        f"{asked}, and not even one of one new token fits. Shorten the prompt, or choose a smaller model."
    )


def _rounded(n_tokens: int) -> int:
    return -(-n_tokens // _CELLS) * _CELLS


def memory_for_cache(weights_bytes: float) -> tuple[float, float]:
    """Bytes of memory that the KV cache may take when the choice is ours, and that it can take at most."""
    ceiling = 0.9 * physical_memory_bytes() - weights_bytes
    return min(0.25 * physical_memory_bytes(), ceiling), ceiling


def physical_memory_bytes() -> int:
    """Memory of the machine."""
    if sys.platform == "win32":
        return 8 << 30
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
