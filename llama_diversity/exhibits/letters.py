"""A remark on arms whose words are letters, since their script has no blanks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from llama_diversity.render.exhibits import Remark

_HARDLY_ANY = 0.01


def letters_that_are_words(shares: Mapping[str, float]) -> Iterator[Remark]:
    """`shares`: of each arm the share of letters in scripts without blanks (`text.Cutting.by_letter`)."""
    said = [f"{100 * share:.0f} % of {arm}'s letters" for arm, share in shares.items() if share >= _HARDLY_ANY]
    if said:
        yield Remark(
            f"{' and '.join(said)} are of scripts that part no words by blanks (Chinese, Japanese, Thai and the like): "
            "there each letter counts as a word."
        )
