"""The joint distribution that a target means: of all that its margins, pairs and rules allow, the most even one.

Fields that no pair and no rule ties together are independent, so each group of tied ones is fitted alone and the joint
is their product. Without pairs nothing is known of correlations, and whoever shows numbers says so.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from llama_diversity.errors import BadTarget
from llama_diversity.metrics.inference import Float64, Int64
from llama_diversity.metrics.raking import Contradiction, Limit, Margin, fitted
from llama_diversity.studies.population.target import Field, Pair, Rule, Target, all_meet, meets

MOST_CELLS = 500_000

Cell = tuple[str, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Joint:
    """Shares of the cells that can be: one value, or bin, for each fixed field.

    `codes` (n, fields) are indices into `values` of each field; rows are in the order of the target, the last field
    changing first. `shares` (n,) are above 0 and sum to 1. Without fixed fields there is one cell, ().
    """

    fields: tuple[str, ...]
    values: tuple[tuple[str, ...], ...]
    codes: Int64
    shares: Float64

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """The cells in words, in the order of `shares`."""
        if not self.fields:
            return ((),)
        columns = [np.array(those, dtype=object)[self.codes[:, at]] for at, those in enumerate(self.values)]
        return tuple(zip(*columns, strict=True))

    def margin(self, name: str) -> dict[str, float]:
        """The share of every value of a field, those that cannot be included. Raises ValueError for an unknown name."""
        at = self.fields.index(name)
        sums = np.bincount(self.codes[:, at], self.shares, minlength=len(self.values[at]))
        return dict(zip(self.values[at], map(float, sums), strict=True))

    def pair(self, first: str, second: str) -> dict[tuple[str, str], float]:
        """The share of every value of one field with every one of another. Raises ValueError for an unknown name."""
        a, b = self.fields.index(first), self.fields.index(second)
        n = len(self.values[b])
        sums = np.bincount(self.codes[:, a] * n + self.codes[:, b], self.shares, minlength=len(self.values[a]) * n)
        keys = [(one, other) for one in self.values[a] for other in self.values[b]]
        return dict(zip(keys, map(float, sums), strict=True))

    def draw(self, u: float) -> Cell:
        """The cell at `u` in [0, 1): the first whose cumulative share exceeds it."""
        at = int(np.searchsorted(self._cumulated, u, side="right"))
        return self.cells[min(at, len(self.shares) - 1)]

    @cached_property
    def _cumulated(self) -> Float64:
        return np.cumsum(self.shares)


def joint_of(target: Target) -> Joint:
    """The joint of greatest entropy that has the target's margins and pairs to 1e-9 and obeys its rules.

    A rule shapes it where it names fixed and given fields alone; it bars a cell where everybody in it breaks the rule,
    so one that cuts a bin in two, or names a free field, is judged on the people who were written. Raises BadTarget,
    which names what contradicts what.
    """
    fixed = target.fixed
    shape = tuple(len(one.shares) for one in fixed)
    if math.prod(shape) > MOST_CELLS:
        raise BadTarget(
            target.title,
            f"its {len(fixed)} fields with shares make {math.prod(shape):,} cells, and {MOST_CELLS:,} is the most",
            next_step="Leave out a field, give it fewer values, or make it free = true.",
        )
    bars: dict[str, npt.NDArray[np.bool_]] = {}
    for rule in target.rules:
        barred, name = _barred(target, rule), f"the rule '{rule}'"
        if barred is not None:
            bars[name] = barred | bars.get(name, np.array(False))  # two may give the same reason
    margins = [*map(_margin, range(len(fixed)), fixed), *(_pair(target, one) for one in target.pairs)]
    try:
        dense = _product(shape, margins, bars)
    except Contradiction as error:
        raise _refusal(target, error) from error
    codes = np.argwhere(dense > 0)
    shares = dense[dense > 0]
    values = tuple(tuple(one.shares) for one in fixed)
    return Joint(tuple(one.name for one in fixed), values, codes, shares / shares.sum())


def _margin(axis: int, field: Field) -> Margin:
    return Margin(f"the margin of {field.name}", (axis,), np.array(list(field.shares.values())))


def _pair(target: Target, pair: Pair) -> Margin:
    """The pair's table over its axes; fields in the order of the target."""
    names = [one.name for one in target.fixed]
    first, second = pair.of if names.index(pair.of[0]) < names.index(pair.of[1]) else pair.of[::-1]
    keys = [[(a, b) for b in target.field(second).shares] for a in target.field(first).shares]
    table = [[pair.table.get(key if pair.of[0] == first else key[::-1], 0.0) for key in row] for row in keys]
    return Margin(f"the pair {pair.of[0]} and {pair.of[1]}", (names.index(first), names.index(second)), np.array(table))


def _barred(target: Target, rule: Rule) -> npt.NDArray[np.bool_] | None:
    """Where a rule bars everybody, of length 1 along fields that it does not name; None where it shapes no joint."""
    named = [target.field(name) for name in rule.fields]
    if any(one.is_free for one in named):
        return None
    when = [_met(target, *one) for one in rule.when.items()]
    bars = [_met(target, *one) for one in rule.bars.items()]
    barred = np.array(True).reshape((1,) * len(target.fixed))
    for one in when:
        barred = barred & one
    nothing = np.zeros_like(barred)
    for one in bars:
        nothing = nothing | one
    return np.asarray(barred & nothing)


def _met(target: Target, name: str, conditions: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Which values of a field meet one of the conditions, along its axis."""
    field = target.field(name)
    shape = [1] * len(target.fixed)
    if field.given is not None:
        return np.array(any(meets(field.given, one) for one in conditions)).reshape(shape)
    at = [one.name for one in target.fixed].index(name)
    shape[at] = -1
    return np.array([all_meet(field, cell, conditions) for cell in field.shares]).reshape(shape)


def _product(shape: tuple[int, ...], margins: Sequence[Margin], bars: Mapping[str, npt.NDArray[np.bool_]]) -> Float64:
    """The joint over all cells: of each group of tied fields its own, multiplied. Raises Contradiction."""
    axes_of = {name: _axes(bar) for name, bar in bars.items()}
    if empty := [name for name, axes in axes_of.items() if not axes and bars[name].all()]:
        raise Contradiction(empty, None)
    dense = np.ones((1,) * len(shape))
    for group in _tied(len(shape), [*(one.axes for one in margins), *axes_of.values()]):
        start = np.ones([size if axis in group else 1 for axis, size in enumerate(shape)])
        mine = {name: bars[name] for name, axes in axes_of.items() if axes and axes[0] in group}
        dense = dense * fitted(start, [one for one in margins if one.axes[0] in group], mine)
    return dense


def _axes(bar: npt.NDArray[np.bool_]) -> tuple[int, ...]:
    """The axes along which it matters where one is: along others it is of length 1, or the same everywhere."""
    return tuple(axis for axis in range(bar.ndim) if bar.shape[axis] > 1 and (bar != bar.take([0], axis=axis)).any())


def _tied(n: int, sets: Iterable[Sequence[int]]) -> list[set[int]]:
    """The groups of axes that share a set, directly or through others."""
    groups = [{axis} for axis in range(n)]
    for axes in sets:
        joined = [one for one in groups if one & set(axes)]
        if joined:
            groups = [one for one in groups if one not in joined] + [set().union(*joined)]
    return groups


# ---- what contradicts what


def _refusal(target: Target, error: Contradiction) -> BadTarget:
    """The contradiction as a sentence: who with whom, and where there is one, a share that shows it."""
    names = error.names
    if error.limit is not None:
        names = tuple(sorted(names, key=lambda one: one != error.limit.margin))  # type: ignore[union-attr]
    listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    reason = f"{listed} contradict each other" if len(names) > 1 else f"{listed} leaves nobody"
    shown = f": {_limit(target, error.limit)}" if error.limit is not None else ""
    return BadTarget(target.title or "The target", reason + shown, next_step="Change one of them, then run it again.")


def _limit(target: Target, limit: Limit) -> str:
    """The share that cannot be, in words."""
    fixed = target.fixed
    axes = {margin.name: margin.axes for margin in map(_margin, range(len(fixed)), fixed)}
    axes |= {margin.name: margin.axes for margin in (_pair(target, one) for one in target.pairs)}
    words = " and ".join(
        f"{fixed[axis].name} = {list(fixed[axis].shares)[at]}"
        for axis, at in zip(axes[limit.margin], limit.cell, strict=True)
    )
    if limit.bound < 1e-6:
        return f"the others leave nobody with {words}, and it gives {100 * limit.share:.4g} % to them"
    side = "at most" if limit.is_most else "at least"
    return f"the others make {words} {side} {100 * limit.bound:.4g} %, and it says {100 * limit.share:.4g} %"
