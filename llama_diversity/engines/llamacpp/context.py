"""One llama_context: the sequences of decoded prompts, a batch over our own arrays, and the logits that come back."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import llama_cpp.llama_cpp as C
import numpy as np

from llama_diversity.engines.cores import Threads, steady
from llama_diversity.engines.draws import Float32
from llama_diversity.engines.layout import Layout
from llama_diversity.engines.llamacpp import tiles
from llama_diversity.engines.llamacpp.library import complaint, forget_complaints
from llama_diversity.errors import EngineError
from llama_diversity.records import Prompt

N_UBATCH = 512  # rows of one forward pass; part of the arithmetic, therefore fixed
EXACT_ROWS = 32  # from 64 rows on, attention takes another kernel than for the single rows of sampling
FEWEST_SPLIT_CELLS = 512  # fused attention of a lone row over so many is split among threads, and summed by them
KV_TYPES = {"f16": C.GGML_TYPE_F16, "f32": C.GGML_TYPE_F32, "q8_0": C.GGML_TYPE_Q8_0, "q4_0": C.GGML_TYPE_Q4_0}


@dataclass(frozen=True)
class Exactness:
    """How the bits of a row are kept from depending on the rows beside it.

    Rows of one sequence are decoded `chunk_rows` at a time: 32, or 1 in a model with recurrent or convolutional layers,
    which compute several rows of a sequence in another way than one. A row alone in its batch takes other kernels too,
    so a twin in the next sequence joins it; not within the first `lone_cells` positions of a file that was seen to need
    none there.
    """

    chunk_rows: int = EXACT_ROWS
    lone_cells: int = 0


class NoRoom(EngineError):
    """All cells of the cache are taken."""

    def __init__(self) -> None:
        super().__init__("llama.cpp found no room in the KV cache. Use a smaller --parallel or --max-tokens.")


class NoContext(EngineError):
    """llama.cpp made no context; `for_memory` tells whether a smaller one might do."""

    def __init__(self) -> None:
        said = complaint()
        super().__init__(f"llama.cpp could not make a context: {said}.")
        self.for_memory = any(sign in said for sign in ("alloc", "memory", "did not say"))


def open_context(
    model: Any,
    layout: Layout,
    *,
    kv_type: str,
    fused: bool | None,
    threads: Threads,
    exact: Exactness | None,
    copies_cells: bool,
) -> Context:
    """A context in `layout`; `fused` is flash attention, None where it is supported. Raises NoContext."""
    params = C.llama_context_default_params()
    params.n_ctx = layout.n_ctx
    params.n_seq_max = layout.n_seq_max
    params.n_batch = params.n_ubatch = N_UBATCH
    params.kv_unified = layout.unified
    params.n_threads = params.n_threads_batch = threads.most
    params.type_k = params.type_v = KV_TYPES[kv_type]
    if exact:  # without layers on it a GPU would still be lent large multiplications
        params.op_offload = params.offload_kqv = False
    fused = True if kv_type.startswith("q") else fused  # a quantised V needs it
    params.flash_attn_type = C.LLAMA_FLASH_ATTN_TYPE_AUTO if fused is None else int(fused)
    forget_complaints()
    pointer = C.llama_init_from_model(model, params)
    if not pointer:
        raise NoContext
    n_vocab = C.llama_vocab_n_tokens(C.llama_model_get_vocab(model))
    return Context(
        pointer,
        n_vocab=n_vocab,
        threads=threads,
        layout=layout,
        exact=exact,
        copies_cells=copies_cells,
    )


def has_state(model: Any) -> bool:
    """Whether a sequence is more than the cells of its tokens."""
    return bool(C.llama_model_is_recurrent(model) or C.llama_model_is_hybrid(model))


class Context:
    """One llama_context: sequence 0 keeps the prompt, or the head of several; slot s is sequence s + 1."""

    def __init__(
        self,
        pointer: Any,
        *,
        n_vocab: int,
        threads: Threads,
        layout: Layout,
        exact: Exactness | None,
        copies_cells: bool,
    ) -> None:
        self.pointer: Any = pointer
        self._memory = C.llama_get_memory(pointer)
        self._n_vocab = n_vocab
        self.exactness = exact
        # Copying a stream copies its whole strip; the prompt's own cells are a small part of it.
        self._copies_cells = copies_cells
        self._prompt_cells: Any = None
        self._n_head = 0  # tokens on sequence 0
        self._bench = layout.parallel  # the slot behind all others
        self._twin: tuple[int, int] | None = None  # the sequence that has one in step, and its next position
        self._threads = threads
        self._n_threads = threads.most
        self._steady_from = 0 if layout.unified else FEWEST_SPLIT_CELLS // 2  # cells are rounded up to 256 at a time
        self._chunk_rows = exact.chunk_rows if exact else N_UBATCH
        self._place: tuple[int, int] | None = None  # where the last logits were, and how many rows
        self._view: Float32 = np.empty((0, n_vocab), np.float32)
        self._rows = int(C.llama_n_batch(pointer))
        # The batch lies over arrays of ours, so that filling a step is four slice assignments.
        self._token, self._pos, self._seq = (np.zeros(self._rows, np.int32) for _ in range(3))
        self._n_seq = np.ones(self._rows, np.int32)
        self._wanted = np.zeros(self._rows, np.int8)
        first, step = self._seq.ctypes.data, self._seq.itemsize
        self._seq_pointers = np.arange(first, first + self._rows * step, step, dtype=np.uintp)
        self._batch = C.llama_batch(
            0,
            _pointer(self._token, C.llama_token),
            None,
            _pointer(self._pos, C.llama_pos),
            _pointer(self._n_seq, ctypes.c_int32),
            ctypes.cast(self._seq_pointers.ctypes.data, ctypes.POINTER(ctypes.POINTER(C.llama_seq_id))),
            _pointer(self._wanted, ctypes.c_int8),
        )

    def prefill(self, ids: Sequence[int]) -> Float32:
        """Decode the prompt, or the head, on sequence 0; a copy of the logits that follow it, shape (n_vocab,)."""
        row = self._read(ids, 0, sequence=0)
        self._n_head = len(ids)
        if self._copies_cells:
            size = C.llama_state_seq_get_size(self.pointer, 0)
            self._prompt_cells = (ctypes.c_uint8 * size)()
            C.llama_state_seq_get_data(self.pointer, self._prompt_cells, size, 0)
        return row

    def begin(self, slots: Sequence[int], prompts: Sequence[Prompt]) -> Float32:
        """Let each of `slots`, which are empty, begin right after a prompt; the logits that follow, a row each.

        Prompts begin with the head. They are read together, as many rows as one pass has; for --exact one by one, since
        rows of several sequences were not seen to keep their bits.
        """
        rows = np.empty((len(slots), self._n_vocab), np.float32)
        places: dict[tuple[int, ...], int] = {}  # where each prompt is read
        for place, prompt in enumerate(prompts):
            places.setdefault(prompt.ids, place)
        read = [(place, slots[place], ids) for ids, place in places.items()]
        if self.exactness:
            for place, slot, ids in read:
                self.fork(self._bench)
                rows[place] = self._read(ids[self._n_head :], self._n_head, sequence=self._bench + 1)
                self._copy(self._bench + 1, slot + 1)
        else:
            for _, slot, _ in read:
                self.fork(slot)
            self._read_together(read, rows)
        for place, (slot, prompt) in enumerate(zip(slots, prompts, strict=True)):
            source = places[prompt.ids]
            if source != place:
                self._copy(slots[source] + 1, slot + 1)
                rows[place] = rows[source]
        return rows

    def _read(self, ids: Sequence[int], start: int, *, sequence: int) -> Float32:
        """Decode `ids` from position `start` of a sequence; a copy of the logits that follow, shape (n_vocab,)."""
        # The last layers see wanted rows only: not one alone.
        n_outputs = 2 if self.exactness and min(len(ids), self._chunk_rows) > 1 else 1
        for chunk in _chunks(len(ids), self._chunk_rows):
            n_rows = len(ids[chunk])
            positions = range(start + chunk.start, start + chunk.stop)
            wanted = slice(n_rows - n_outputs, n_rows)
            self._decode(ids[chunk], positions, [sequence] * n_rows, wanted=wanted)
        return np.array(self._logits(n_outputs)[-1])

    def _read_together(self, read: Sequence[tuple[int, int, tuple[int, ...]]], rows: Float32) -> None:
        """Decode prompts (row, slot, ids) behind the head, each in its slot, and put what follows into `rows`."""
        tokens: list[int] = []
        positions: list[int] = []
        sequences: list[int] = []
        row_of: dict[int, int] = {}  # from the last token of a prompt
        for place, slot, prompt in read:
            tokens += prompt[self._n_head :]
            positions += range(self._n_head, len(prompt))
            sequences += [slot + 1] * (len(prompt) - self._n_head)
            row_of[len(tokens) - 1] = place
        for chunk in _chunks(len(tokens), self._rows):
            ends = [at for at in range(chunk.start, chunk.stop) if at in row_of]
            wanted = [at - chunk.start for at in ends]
            self._decode(tokens[chunk], positions[chunk], sequences[chunk], wanted=wanted)
            if ends:
                rows[[row_of[at] for at in ends]] = self._logits(len(ends))

    def score_rows(
        self, ids: Sequence[int], rows: int, *, start: int = 0, slot: int | None = None
    ) -> Iterator[tuple[int, Float32]]:
        """Decode `ids` from position `start` of a slot, None for the place of the prompt, at most `rows` at a time.

        Yields (number of the first row, logits of each row), which are valid until the next ones are asked for.
        """
        sequence = 0 if slot is None else slot + 1
        for chunk in _chunks(len(ids), min(rows, EXACT_ROWS) if self.exactness else rows):
            n_rows = len(ids[chunk])
            places = range(start + chunk.start, start + chunk.stop)
            if self._chunk_rows == 1:
                some = [self._only_row(*one, sequence) for one in zip(ids[chunk], places, strict=True)]
                yield chunk.start, np.concatenate(some)
            else:
                self._decode(ids[chunk], places, [sequence] * n_rows, wanted=slice(n_rows))
                yield chunk.start, self._logits(n_rows)

    def _only_row(self, token: int, position: int, sequence: int) -> Float32:
        """Decode one token; a copy of the logits that follow it, shape (1, n_vocab)."""
        self._decode([token], [position], [sequence], wanted=slice(1))
        return np.array(self._logits(1))

    def use_threads(self, number: int) -> None:
        """Compute with so many from here on."""
        self._threads = steady(number)

    def forget(self) -> None:
        """Empty all sequences."""
        self._twin = None
        C.llama_memory_clear(self._memory, False)

    def fork(self, slot: int) -> None:
        """Let `slot` begin right after the prompt, or the head."""
        if self._n_head and self._prompt_cells is None:
            self._copy(0, slot + 1)
            return
        self._twin = None
        C.llama_memory_seq_rm(self._memory, slot + 1, -1, -1)
        # A copy of this strip may still wait for the next decode. The head lies in the same cells of every strip,
        # so what is written is what lay there.
        if self._n_head and not C.llama_state_seq_set_data(
            self.pointer, self._prompt_cells, len(self._prompt_cells), slot + 1
        ):
            raise EngineError(f"llama.cpp could not copy the prompt's cache: {complaint()}.")

    def move(self, source: int, target: int) -> None:
        """Continue in slot `target` what `source` holds."""
        self._copy(source + 1, target + 1)
        C.llama_memory_seq_rm(self._memory, source + 1, -1, -1)

    def take_over(self, slot: int, source: int | None, n_positions: int) -> None:
        """Let `slot` hold the first positions of slot `source`, None for the prompt's; in the unified layout only."""
        C.llama_memory_seq_rm(self._memory, slot + 1, -1, -1)
        sequence = 0 if source is None else source + 1
        C.llama_memory_seq_cp(self._memory, sequence, slot + 1, 0, n_positions)

    def go_on(self, ids: Sequence[int], start: int, *, slot: int) -> Float32:
        """Decode `ids` from position `start` of a slot; a copy of the logits that follow, shape (n_vocab,)."""
        return self._read(ids, start, sequence=slot + 1)

    def copy(self, source: int | None, slot: int) -> None:
        """Let `slot` hold all that slot `source` holds, None for the prompt."""
        self._copy(0 if source is None else source + 1, slot + 1)

    def drop(self, slot: int) -> None:
        """Let `slot` hold nothing; its cells are free where no other slot holds them."""
        C.llama_memory_seq_rm(self._memory, slot + 1, -1, -1)

    def decode(self, tokens: Sequence[int], positions: Sequence[int], slots: Sequence[int] | None = None) -> Float32:
        """Feed one token to each of `slots`, or of the slots 0..len(tokens)-1; logits of shape (slots, n_vocab).

        A slot that is named more than once is fed its tokens in order. They are valid until the next call.
        """
        sequences = range(1, len(tokens) + 1) if slots is None else [slot + 1 for slot in slots]
        self._decode(tokens, positions, sequences, wanted=slice(len(tokens)))
        return self._logits(len(tokens))

    def feed(self, tokens: Sequence[int], positions: Sequence[int], slots: Sequence[int]) -> None:
        """Take in tokens of slots, any number of each in order, without asking what may follow."""
        for chunk in _chunks(len(tokens), self._rows):
            sequences = [slot + 1 for slot in slots[chunk]]
            self._decode(tokens[chunk], positions[chunk], sequences, wanted=slice(0))

    def _copy(self, source: int, target: int) -> None:
        self._twin = None
        C.llama_memory_seq_rm(self._memory, target, -1, -1)
        C.llama_memory_seq_cp(self._memory, source, target, -1, -1)

    def _decode(
        self, tokens: Sequence[int], positions: Sequence[int], sequences: Sequence[int], *, wanted: slice | list[int]
    ) -> None:
        """Feed the rows and ask for the logits of those that are `wanted`."""
        n_rows = len(tokens)
        if self.exactness and n_rows == 1 and positions[0] >= self.exactness.lone_cells:
            sequence, position = sequences[0], positions[0]
            if self._twin != (sequence, position):
                self._copy(sequence, sequence + 1)
            self._twin = (sequence, position + 1)  # where it is in step without another copy
            n_rows, wanted = 2, slice(2)
            tokens, positions, sequences = [*tokens] * 2, [position] * 2, [sequence, sequence + 1]
        self._token[:n_rows] = tokens
        self._pos[:n_rows] = positions
        self._seq[:n_rows] = sequences
        self._wanted[:n_rows] = 0
        self._wanted[wanted] = 1
        self._batch.n_tokens = n_rows
        self._follow_threads(n_rows, positions[0])
        code = tiles.apart(C.llama_decode, self.pointer, self._batch)
        if code == 1:
            raise NoRoom
        if code != 0:
            raise EngineError(f"llama.cpp could not decode (code {code}): {complaint()}.")

    def _follow_threads(self, n_rows: int, position: int) -> None:
        """Compute with as many threads as pay; with all of them where the sums would depend on their number."""
        free = self._threads.count()
        n_threads = free if n_rows > 1 or position < self._steady_from else self._threads.most
        if n_threads != self._n_threads:
            C.llama_set_n_threads(self.pointer, n_threads, n_threads)
            self._n_threads = n_threads

    def _logits(self, n_rows: int) -> Float32:
        pointer = C.llama_get_logits(self.pointer)
        place = (ctypes.addressof(pointer.contents), n_rows)
        if place != self._place:  # a view takes as long to make as a tenth of a draw
            self._place, self._view = place, np.ctypeslib.as_array(pointer, shape=(n_rows, self._n_vocab))
        return self._view

    def close(self) -> None:
        """Free the context."""
        tiles.apart(C.llama_free, self.pointer)  # behind whatever is still computed


def _pointer(array: np.ndarray[Any, Any], kind: Any) -> Any:
    return ctypes.cast(array.ctypes.data, ctypes.POINTER(kind))


def _chunks(n: int, rows: int) -> Iterator[slice]:
    """0..n in pieces of at most `rows`; the last is never a single row unless all are, since one row computes apart."""
    start = 0
    while start < n:
        stop = min(start + rows, n)
        if n - stop == 1 and rows > 1:
            stop -= 1
        yield slice(start, stop)
        start = stop
