"""Numbers as text. Rounding may leave a minus before nothing but zeros, which says of no number that it is negative."""

from __future__ import annotations


def decimals(value: float, form: str) -> str:
    """`value` by a format specification, without the minus of what is written as 0; a plus stays.

    >>> decimals(-0.0004, ".3f"), decimals(-0.0004, "+.3f"), decimals(-0.0, "g"), decimals(-0.0006, ".3f")
    ('0.000', '+0.000', '0', '-0.001')
    """
    written = format(value, form)
    if "-" not in written or any(digit in written.partition("e")[0] for digit in "123456789") or "n" in written:
        return written
    return written.replace("-", "+" if form.startswith("+") else "", 1)


def counted(n: int, noun: str) -> str:
    """A number of things.

    >>> counted(1, "token"), counted(2000, "token")
    ('1 token', '2,000 tokens')
    """
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def readable_bytes(n_bytes: int) -> str:
    """A size for people, in powers of 1000.

    >>> readable_bytes(4081004224), readable_bytes(144811360), readable_bytes(17)
    ('4.1 GB', '145 MB', '17 B')
    """
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if n_bytes >= factor:
            return f"{n_bytes / factor:.1f} {unit}" if n_bytes < 10 * factor else f"{n_bytes / factor:.0f} {unit}"
    return f"{n_bytes} B"
