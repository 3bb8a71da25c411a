"""Sentences for who knows no statistics: numbers with the range that they may lie in, arms by name, what was not seen.

Every study words its own findings (`plain.py` of its room); what all of them share is here. Ranges are rounded outward,
so that a sentence never says more than its interval does.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence

from llama_diversity.decimals import decimals
from llama_diversity.render.exhibits import Figure, Plain, Sentence, Tells

A_TOKEN = "A token is a word or a piece of one."
IN_BRACKETS = "In brackets: where the number would lie with endlessly many texts; such ranges are right 19 times of 20."
_MODELS = {"base", "aligned"}  # whose names are words
_MOST_DECIMALS = 6
_NO_WIDTH = 1e-9
_RANGE = re.compile(r"\(-?[\d.,]+ to -?[\d.,]+\)")
_LONGEST = 60  # characters of a prompt


def called(arm: str) -> str:
    """An arm in a sentence.

    >>> called("base"), called("cold")
    ('the base model', '“cold”')
    """
    return f"the {arm} model" if arm in _MODELS else f"“{arm}”"


def told(
    sentences: Sequence[Sentence], models: Mapping[str, str], *, more: str = "", name: Callable[[str], str] = called
) -> Plain:
    """The first screen of a study: before its sentences which model each arm is and `more`, and what brackets hold.

    >>> told([Sentence("Two.", "nothing")], {"base": "tiny-base", "aligned": "tiny-aligned"}).who
    'The base model is tiny-base, the aligned model is tiny-aligned.'
    """
    named = ", ".join(f"{name(arm)} is {model}" for arm, model in models.items())
    who = f"{named[:1].upper()}{named[1:]}." if models else ""
    brackets = IN_BRACKETS if any(_RANGE.search(one.text) for one in sentences) else ""
    return Plain(tuple(sentences), " ".join(filter(None, (who, more))), brackets)


def quoted(prompt: str) -> str:
    """A prompt in a sentence, the end of a long one.

    >>> quoted("She was")
    '“She was”'
    """
    words = " ".join(prompt[-4 * _LONGEST :].split())
    return f"“{words}”" if len(words) <= _LONGEST else f"“… {words[2 - _LONGEST :]}”"


def scope(prompt: str) -> Sentence:
    """How far a result of one prompt holds."""
    return Sentence(f"This holds for {quoted(prompt)}, and need not hold for other beginnings.", "the scope")


def listed(parts: Sequence[str]) -> str:
    """Parts of a sentence, one after the other.

    >>> listed(["one"]), listed(["one", "two"]), listed(["one", "two", "three"])
    ('one', 'one and two', 'one, two and three')
    """
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1]))) if parts else ""


def ranged(
    value: float,
    low: float | None,
    high: float | None,
    *,
    unit: str = "",
    edges: Sequence[float] = (),
    own_edges: Sequence[float] = (),
) -> str:
    """A number with its range, as exact as the range has use for; a range is rounded outward.

    None: it has none. Nothing is rounded onto one of `edges` that it is not on, and the number itself not onto
    `own_edges` nor 0: 99.6 % is not 100 %.

    >>> ranged(60.2, 52.4, 66.6, unit=" %"), ranged(1.633, 1.5, 1.8), ranged(13.6, None, None)
    ('60 % (52 to 67)', '1.6 (1.5 to 1.8)', '14')
    >>> ranged(98.2, 96.8, 99.6, unit=" %", edges=[100]), ranged(0.4, 0.21, 0.88, unit=" %")
    ('98.2 % (96.8 to 99.6)', '0.4 % (0.2 to 0.9)')
    """
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return f"{_alone(value, (*edges, *own_edges))}{unit}"
    for digits in range(_MOST_DECIMALS + 1):
        step = 10.0**-digits
        ends = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
        own = [(value, round(value, digits))]
        is_near = _reach([*own, (low, ends[0]), (high, ends[1])], edges) or _reach(own, (0.0, *own_edges))
        if step <= max(high - low, 1e-9) / 3 and not is_near:
            break
    shown, *reach = (_written(one, digits) for one in (value, *ends))
    return f"{shown}{unit} ({' to '.join(reach)})"


def _alone(value: float, edges: Sequence[float]) -> str:
    """Two digits, and more where it takes them."""
    for digits in range(_MOST_DECIMALS + 1):
        if 10.0**-digits <= abs(value) / 10 and not _reach([(value, round(value, digits))], edges):
            break
    return _written(value, digits)


def _written(value: float, digits: int) -> str:
    shown = decimals(value, f",.{digits}f")
    return shown.rstrip("0").rstrip(".") if "." in shown else shown


def _reach(pairs: Sequence[tuple[float, float]], edges: Sequence[float]) -> bool:
    """Whether rounding takes a number onto an edge, or over it."""
    return any((exact < edge <= shown) or (exact > edge >= shown) for exact, shown in pairs for edge in edges)


def percent_of(value: float, low: float | None, high: float | None, *, edges: Sequence[float] = ()) -> str:
    """A share, 0 to 1, in percent; the number itself is kept off 0 and 100, a range may reach them.

    >>> percent_of(0.02, 0.0004, 0.047), percent_of(0.996, 0.975, 0.9999), percent_of(0.0, 0.0, 0.0124)
    ('2 % (0 to 5)', '99.6 % (97.5 to 100)', '0 % (0 to 1.3)')
    """
    low, high = (None if end is None else 100 * end for end in (low, high))
    return ranged(100 * value, low, high, unit=" %", edges=edges, own_edges=(100.0,))


# ---- what an interval allows to be said


def sign_of(low: float | None, high: float | None, nothing: float = 0.0) -> int | None:
    """1 where an interval of a change lies above `nothing`, -1 below, 0 where it includes it.

    None without one, and of one without width: outputs that do not vary say nothing of others.
    """
    if low is None or high is None or math.isnan(low) or math.isnan(high) or high - low < _NO_WIDTH:
        return None
    return 1 if low > nothing else -1 if high < nothing else 0


def judged(
    opening: str,
    parts: Mapping[str, str],
    signs: Mapping[str, int | None],
    words: tuple[str, str],
    *,
    untold: str = "there is no interval",
    term: str = "",
    picture: Figure | None = None,
    name: Callable[[str], str] = called,
) -> Sentence:
    """A sentence of all arms, the first the one that others are set against.

    `opening` stands before `parts`, which say of each arm its number; `signs` of every later one how it differs from
    the first, and `words` what that means below and above, like ("fewer", "more").

    >>> told = judged("There are", {"base": "5 of the base model", "aligned": "2 of the aligned model"},
    ...     {"aligned": -1}, ("fewer", "more"))
    >>> told.text, told.tells
    ('There are 5 of the base model and 2 of the aligned model, which is fewer.', 'a difference')
    """
    numbers = f"{opening} {listed(list(parts.values()))}"
    kinds: dict[int | None, list[str]] = {}
    for arm, sign in signs.items():
        kinds.setdefault(sign, []).append(arm)
    tells: Tells = "a difference" if {-1, 1} & set(kinds) else "no difference" if 0 in kinds else "nothing"
    if len(signs) == 1:
        [sign] = signs.values()
        end = {
            -1: f", which is {words[0]}.",
            1: f", which is {words[1]}.",
            0: ": no difference that could be seen.",
            None: f": whether they differ cannot be told ({untold}).",
        }[sign]
        return Sentence(numbers + end, tells, term, picture)
    first = next(iter(parts))
    told = {
        -1: f"{words[0]} than {name(first)}: {{}}",
        1: f"{words[1]} than {name(first)}: {{}}",
        0: "no difference that could be seen: {}",
        None: f"cannot be told ({untold}): {{}}",
    }
    ends = [told[sign].format(listed([name(arm) for arm in kinds[sign]])) for sign in (-1, 1, 0, None) if sign in kinds]
    end = "; ".join(ends)
    return Sentence(f"{numbers}. {end[:1].upper()}{end[1:]}.", tells, term, picture)


UNFINISHED = Sentence("All this is of an unfinished run: not all was drawn yet.", "the scope")


def unfinished(plain: Plain) -> Plain:
    """The same of a run that was cut short: it says so."""
    return Plain((*plain.sentences, UNFINISHED), plain.who, plain.note) if plain.sentences else plain


# ---- several studies together


def together(
    several: Sequence[Plain],
    models: Mapping[str, str] | None = None,
    *,
    more: Sequence[Sentence] = (),
    who: str = "",
) -> Plain:
    """One first screen of several: the first sentence of each, then their second ones, as far as there is room.

    What says how far a result holds stays with each study, but not that a run is unfinished.
    """
    cut = [UNFINISHED] if any(UNFINISHED in plain.sentences for plain in several) else []
    rows = [[one for one in plain.sentences if one.tells != "the scope"] for plain in several]
    chosen = [one for turn in itertools.zip_longest(*rows) for one in turn if one is not None]
    return told([*chosen, *more, *cut], models or {}, more=who)
