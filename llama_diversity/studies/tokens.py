"""When two models read one text as the same tokens, and the refusals where they do not."""

from __future__ import annotations

from collections.abc import Sequence

from llama_diversity.errors import Unfit


class DifferentVocabularies(Unfit):
    """Token-level numbers of two tokenizers do not compare."""

    def __init__(self, base: str, aligned: str) -> None:
        super().__init__(
            f"Token-level comparison refused: {base} and {aligned} use different vocabularies. "
            "Choose a pair of one family: `llamadiv models ls` lists them."
        )


class DifferentTokens(Unfit):
    """Token-level numbers of models that read one text as different tokens do not compare."""

    def __init__(self, base: str, aligned: str, mine: Sequence[int], theirs: Sequence[int]) -> None:
        n = min(len(mine), len(theirs))
        way = (
            "They begin it differently: give both one start, as with --start none."
            if len(mine) != len(theirs) and tuple(mine[len(mine) - n :]) == tuple(theirs[len(theirs) - n :])
            else "Where they begin it differently, --start gives both one start; where they split it differently, as "
            "conversions with other pre-tokenizers do, choose two of one kind."
        )
        super().__init__(
            f"Token-level comparison refused: {base} and {aligned} have one vocabulary, but read the same text as "
            f"different tokens, {_listed(mine)} and {_listed(theirs)}. {way}"
        )


def _listed(ids: Sequence[int]) -> str:
    return " ".join(map(str, ids[:6])) + (" …" if len(ids) > 6 else "")
