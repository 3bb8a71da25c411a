"""What was asked and how it was read, in words that several studies share: prompts, letters, what is not valid."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from llama_diversity.answers import CUT_OFF, Endings
from llama_diversity.render.exhibits import Remark, Share

_HARDLY_ANY = 0.01
_MOST_SHOWN = 80  # characters of the first of many prompts


def prompts_in_words(prompts: Sequence[str]) -> str:
    """A prompt as it is; of many their number and the first one, at most 80 characters of it on one line.

    >>> prompts_in_words(["She was", "He was"])
    '2 prompts, the first “She was”'
    """
    if len(prompts) == 1:
        return f"“{prompts[0]}”"
    first = " ".join(prompts[0][: 4 * _MOST_SHOWN].split())
    return (
        f"{len(prompts)} prompts, the first “{first if len(first) <= _MOST_SHOWN else first[: _MOST_SHOWN - 1] + '…'}”"
    )


def letters_that_are_words(shares: Mapping[str, float]) -> Iterator[Remark]:
    """`shares`: of each arm the share of letters in scripts without blanks (`text.Cutting.by_letter`)."""
    said = [f"{100 * share:.0f} % of {arm}'s letters" for arm, share in shares.items() if share >= _HARDLY_ANY]
    if said:
        yield Remark(
            f"{' and '.join(said)} are of scripts that part no words by blanks (Chinese, Japanese, Thai and the like): "
            "there each letter counts as a word."
        )


def why_left_out(endings: Mapping[str, Endings]) -> Iterator[Remark]:
    """Of each arm how many outputs are not valid, and why; what helps against thoughts that are never closed."""
    for arm, one in endings.items():
        n = sum(one.reasons.values())
        if n:
            why = "; ".join(f"{reason} ({count:,})" for reason, count in one.reasons.items())
            way = (
                " Raise --max-tokens, or turn thinking off where the chat template can."
                if CUT_OFF in one.reasons
                else ""
            )
            yield Remark(f"{arm}: {n:,} of {one.n:,} outputs are not valid and left out: {why}.{way}", is_warning=True)


def cut_off(endings: Endings | None) -> Share | None:
    """The share of outputs that --max-tokens ended."""
    return None if endings is None or endings.share_cut_off is None else Share(endings.share_cut_off)
