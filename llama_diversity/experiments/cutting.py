"""Whether words of several arms may be compared: what a word is has to be known, and the same in all of them."""

from __future__ import annotations

from collections.abc import Mapping

from llama_diversity.text import LONGEST_WORD, Cutting

MOST_UNCUT = 0.1  # of an arm's letters, those in runs too long for a word
MOST_UNLIKE = 0.1  # between two arms' shares of letters that count as words


def objection_to_words(found: Mapping[str, Cutting]) -> str | None:
    """Why the arms' words must not be compared; None where they may."""
    for arm, one in found.items():
        if one.uncut > MOST_UNCUT:
            return (
                f"Words not compared: {100 * one.uncut:.0f} % of {arm}'s letters stand in runs of more than "
                f"{LONGEST_WORD}, in which nothing says where a word ends."
            )
    least, most = (pick(found, key=lambda arm: found[arm].by_letter) for pick in (min, max))
    if found[most].by_letter - found[least].by_letter > MOST_UNLIKE:
        shares = (f"{100 * found[arm].by_letter:.0f} % of {arm}'s" for arm in (most, least))
        return (
            f"Words not compared: {' and '.join(shares)} letters are of scripts without blanks, where each letter "
            "counts as a word, so that a word is not the same thing in both."
        )
    return None
