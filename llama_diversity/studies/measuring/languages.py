"""What a language or a script keeps from being compared.

Words: what a word is has to be known, and the same in all arms. Meanings: the sentence encoder knows English.
"""

from __future__ import annotations

from collections.abc import Mapping

from llama_diversity.text import LONGEST_WORD, Cutting

MOST_UNCUT = 0.1  # of an arm's letters, those in runs too long for a word
MOST_UNLIKE = 0.1  # between two arms' shares of letters that count as words

MOST_UNREAD = 0.2  # of an arm's characters, those that the sentence encoder cannot read


def unread_arms(unread: Mapping[str, float]) -> dict[str, str]:
    """The arms whose meanings are not reported, and why; `unread`: of each the share of unread characters."""
    return {arm: unreadable(arm, share) for arm, share in unread.items() if share > MOST_UNREAD}


def unreadable(arm: str, unread: float) -> str:
    """Why meanings of an arm's texts are not reported, of which the encoder cannot read this share."""
    return (
        f"Similarity of meanings not reported: the encoder reads English, and {100 * unread:.0f} % of {arm}'s text is "
        "nothing or single letters to it. What is said of words and entropies does not need it."
    )


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
