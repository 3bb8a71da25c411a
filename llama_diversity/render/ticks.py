"""Where the marks of a logarithmic axis stand: at round numbers inside the data's range, the roundest first.

Vega's own choice for a ratio between a half and a double is 1 alone, or every tenth. It knows numbers, no charts.
"""

from __future__ import annotations

import math

MOST = 7  # marks between which a label has room
_LEAST = 3  # fewer do not tell that the axis is logarithmic
# By roundness, within a decade. 8 and 1.25 are a fifth less and its inverse, as 5 and 2 are a half and its inverse.
_ROUNDNESS = ((1.0,), (2.0, 5.0), (3.0,), (1.25, 8.0), (1.5, 7.0), (6.0,), (1.1, 9.0), (1.05, 9.5), (1.02, 9.8))


def log_ticks(low: float, high: float, most: int = MOST) -> list[float]:
    """Rising values from `low` to `high`, both above 0, none nearer to the next than the axis divided by `most`.

    >>> log_ticks(0.5, 2)
    [0.5, 0.8, 1.0, 1.25, 2.0]
    >>> log_ticks(0.74, 1.35)
    [0.8, 0.9, 1.0, 1.1, 1.25]
    >>> log_ticks(0.01, 100), log_ticks(1, 3000)
    ([0.01, 0.1, 1.0, 10.0, 100.0], [1.0, 10.0, 100.0, 1000.0])
    >>> log_ticks(1.31, 1.46)
    [1.35, 1.4, 1.45]
    """
    if not (0 < low < high < math.inf):
        raise ValueError(f"no logarithmic axis from {low} to {high}")
    gap = math.log(high / low) / most
    chosen: list[float] = []
    for digits in _ROUNDNESS:
        for value in _in_decades(digits, low, high):
            if all(abs(math.log(value / other)) >= gap * (1 - 1e-9) for other in chosen):
                chosen.append(value)
    return sorted(chosen) if len(chosen) >= _LEAST else _even_ticks(low, high, most)


def _in_decades(digits: tuple[float, ...], low: float, high: float) -> list[float]:
    """Each of `digits` times each power of ten within the range; the text keeps 0.1 from becoming 0.1000…1."""
    exponents = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    values = [float(f"{digit}e{exponent}") for exponent in exponents for digit in digits]
    return [value for value in values if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]


def _even_ticks(low: float, high: float, most: int) -> list[float]:
    """Equal steps of 1, 2 or 5 of a decade: on so short a stretch a logarithmic axis is nearly linear."""
    exponent = math.floor(math.log10((high - low) / most))
    steps = [float(f"{digit}e{exponent + more}") for more in (0, 1) for digit in (1, 2, 5)]
    step = next(step for step in steps if high - low <= most * step)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{at * step:.12g}") for at in range(first, last + 1)]
