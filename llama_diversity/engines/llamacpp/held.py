"""Paths behind a decoded prompt that stay decoded: what may follow them, and samples that begin there.

A path is held in a slot of its own, with the logits that follow it; where all slots are taken, the one that was asked
for longest ago is given up. A longer path begins behind what is held of it. Where the memory can be cut back that is
any beginning of any path that is held; a recurrent state or a sliding window cannot be: there it is a path that is
held as a whole, or the prompt.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import numpy as np

from llama_diversity.engines import TokenPath
from llama_diversity.engines.batching import Seats
from llama_diversity.engines.draws import Float32, Float64
from llama_diversity.engines.layout import Layout, Work
from llama_diversity.engines.llamacpp.context import Context, NoRoom
from llama_diversity.engines.llamacpp.paths import log_softmax
from llama_diversity.engines.together import Together
from llama_diversity.errors import EngineError
from llama_diversity.records import Prompt

PATHS_HELD = 16  # where they share cells
PATHS_WITH_STATE = 4  # each has a recurrent state of its own
PATHS_EXACT = 2  # each has a strip of the cache of its own
_READ_TOGETHER = 128  # rows of logits that are looked at together


class Held:
    """What `context`, which has decoded a prompt, keeps of the paths behind it.

    `can_cut`: a slot can hold a beginning of what another one holds.
    """

    def __init__(
        self, context: Context, first_row: Float32, *, work: Work, layout: Layout, can_cut: bool, kv_type: str
    ) -> None:
        self._context = context
        self._n_prompt = work.n_prompt
        self._can_cut = can_cut
        self._kv_type = kv_type
        self._parallel = layout.parallel
        # Behind the samples' slots one has room for a twin, and with --exact another one: paths are read in the first.
        self._bench = layout.parallel if context.exactness else None
        first = layout.parallel + layout.n_spare - work.n_held - 1
        self._free = list(range(first, first + work.n_held))
        self._slots: dict[TokenPath, int | None] = {(): None}  # None: where the prompt is
        self._rows: dict[TokenPath, Float32] = {(): first_row}  # the logits that follow; what was asked last is last

    # ---- what may follow

    def after(self, paths: Sequence[TokenPath]) -> Float64:
        """log p of every next token, shape (len(paths), n_vocab)."""
        return np.array([log_softmax(self._followed(path)) for path in paths])

    def rows(self, path: TokenPath) -> Iterator[tuple[int, Float32]]:
        """Logits before each token of a path, in pieces; all of it is decoded together, and held from then on."""
        yield 0, self._rows[()].reshape(1, -1)
        with self._holding(path, ()) as place:
            for number, rows in self._context.score_rows(path, _READ_TOGETHER, start=self._n_prompt, slot=place):
                self._rows[path] = np.array(rows[-1])
                if n_more := min(len(rows), len(path) - number - 1):
                    yield number + 1, rows[:n_more]

    def _followed(self, path: TokenPath) -> Float32:
        """The logits that follow a path, which is held from then on, shape (n_vocab,)."""
        if path not in self._slots:
            try:
                self._go(path)
            except NoRoom:  # what is held is worth less than what is asked
                self.forget()
                self._go(path)
        self._touch(path)
        return self._rows[path]

    def _go(self, path: TokenPath) -> None:
        begun = self._nearest(path)
        with self._holding(path, begun) as place:
            rest = path[len(begun) :]
            self._rows[path] = self._context.go_on(rest, self._n_prompt + len(begun), slot=place)

    def _nearest(self, path: TokenPath) -> TokenPath:
        """The longest beginning of a path that a slot holds; not all of it, for its last token has to be decoded."""
        if not self._can_cut:
            return max((one for one in self._slots if one == path[: len(one)]), key=len)
        return path[: min(len(path) - 1, max(_n_alike(one, path) for one in self._slots))]

    # ---- slots

    @contextlib.contextmanager
    def _holding(self, path: TokenPath, begun: TokenPath) -> Iterator[int]:
        """A place that holds what of a path is `begun`; the rest is decoded there in the block, and then it is held."""
        if path in self._slots:
            self._give_up(path)
        # Without cutting back it is held itself.
        source = begun if begun in self._slots else next(one for one in self._slots if one[: len(begun)] == begun)
        self._touch(source)
        slot = self._room()
        place = slot if self._bench is None else self._bench
        try:
            if self._can_cut:
                self._context.take_over(place, self._slots[source], self._n_prompt + len(begun))
            else:
                self._context.copy(self._slots[source], place)
            yield place
            if place != slot:
                self._context.copy(place, slot)
        except BaseException:
            self._rows.pop(path, None)
            self._context.drop(slot)
            self._free.append(slot)
            raise
        self._slots[path] = slot

    def _touch(self, path: TokenPath) -> None:
        """Give it up last."""
        if path:
            self._rows[path] = self._rows.pop(path)

    def _room(self) -> int:
        """A slot for another path; of those that are held the one that was asked for longest ago makes room."""
        if not self._free:
            self._give_up(next(path for path in self._rows if path))
        return self._free.pop()

    def _give_up(self, path: TokenPath) -> None:
        del self._rows[path]
        slot = self._slots.pop(path)
        assert slot is not None
        self._context.drop(slot)
        self._free.append(slot)

    def forget(self) -> None:
        """Hold the prompt alone."""
        for path in [path for path in self._slots if path]:
            self._give_up(path)

    # ---- samples

    @contextlib.contextmanager
    def seats(self, together: Together, *, at_most: int | None = None) -> Iterator[Seats]:
        """The samples' slots."""
        recipe = together.recipe
        if (recipe.exact, recipe.kv_type) != (self._context.exactness is not None, self._kv_type):
            raise EngineError("The recipe and the engine disagree about --exact or --kv-type.")
        path = together.head[self._n_prompt :]
        first_row = None if together.is_apart else self._followed(path)
        yield Seats(
            _Behind(self, self._context, self._n_prompt, path),
            first_row,
            min(at_most or self._parallel, self._parallel),
        )

    def put(self, path: TokenPath, slot: int) -> Float32:
        """Let a sample's slot begin behind a path; the logits that follow it, shape (n_vocab,)."""
        row = self._followed(path)
        self._context.copy(self._slots[path], slot)
        return row


class _Behind:
    """The `Slots` of samples behind paths."""

    def __init__(self, held: Held, context: Context, n_prompt: int, path: TokenPath) -> None:
        self._held = held
        self._context = context
        self._n_prompt = n_prompt
        self._path = path  # the only one, where there are not several

    def fork(self, slot: int) -> None:
        """Let `slot` begin right after the path."""
        self._held.put(self._path, slot)

    def begin(self, slots: Sequence[int], prompts: Sequence[Prompt]) -> Float32:
        """Let each of `slots` begin right after a path of its own; the logits that follow, shape (slots, n_vocab)."""
        return np.array(
            [self._held.put(prompt.ids[self._n_prompt :], slot) for slot, prompt in zip(slots, prompts, strict=True)]
        )

    def move(self, source: int, target: int) -> None:
        """Continue in slot `target` what `source` holds."""
        self._context.move(source, target)

    def decode(self, tokens: Sequence[int], positions: Sequence[int]) -> Float32:
        """Feed one token to each of the slots 0..len(tokens)-1; the logits that follow, valid until the next call."""
        return self._context.decode(tokens, positions)


def _n_alike(one: TokenPath, other: TokenPath) -> int:
    """How many tokens two paths begin with alike."""
    shorter = min(len(one), len(other))
    return next((at for at in range(shorter) if one[at] != other[at]), shorter)
