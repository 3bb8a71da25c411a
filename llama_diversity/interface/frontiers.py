"""`frontier` as a function: quality against diversity for families of settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from llama_diversity.interface.arguments import public
from llama_diversity.interface.found import Found
from llama_diversity.interface.models import Model, alone, reference_of
from llama_diversity.interface.sessions import current
from llama_diversity.interface.studies import Models, _prompts, asking_of, choice_of, drawing_of
from llama_diversity.studies import conduct
from llama_diversity.studies import prompts as reading
from llama_diversity.studies.frontier import study as planes


@public
def frontier(
    families: Mapping[str, str] | None = None,
    *,
    reference: str | None = None,
    pair: Models = None,
    base: Model | str | None = None,
    aligned: Model | str | None = None,
    ladder: str | None = None,
    prompts: Sequence[str] | str | Path | None = None,
    set: str | None = None,
    n: int = planes.N_SAMPLES,
    max_tokens: int = planes.MAX_TOKENS,
    quality: Literal["validity", "topic", "base", "aligned", "scorer", "loops", "finished"] | None = None,
    diversity: Literal[
        "distance", "vendi", "kinds", "class_entropy", "words", "types", "entropy", "bits_per_byte"
    ] = "distance",
    delta: float | None = None,
    scorer: Model | str | None = None,
    valid: str | None = None,
    known: str | Path | None = None,
    grammar: str | Path | None = None,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    first_temperature: float | None = None,
    dynatemp_range: float = 0.0,
    dynatemp_exponent: float = 1.0,
    top_n_sigma: float = 0.0,
    xtc_probability: float = 0.0,
    xtc_threshold: float = 0.1,
    seed: int = 0,
    start: str = "auto",
    control_tokens: bool = False,
) -> Found:
    """Which setting wins diversity at which quality? Families of settings in one plane; the verdict may be none.

    `families` by name are arms as texts with one list of values, slashes between them ("tiny-aligned,T=1/1.3/1.6"),
    each with as many; without any there are four of the pair. `reference` is the arm that all are held against
    ("aligned=tiny-aligned"). `quality` and `diversity` are the two axes, `delta` how much worse is not worse. `scorer`
    is a third model whose bits per byte are a quality, `valid` a regular expression, `known` a file of answers and
    `grammar` one of GBNF that a valid output is of as a whole; nothing is forced.

    Raises BadUsage, BadValue, NoEncoder, Interrupted, and what models and stores raise.

    >>> import llama_diversity as ld
    >>> heat = {"heat": "scripted:aligned,T=1/2"}
    >>> found = ld.frontier(heat, reference="aligned=scripted:aligned", set="openings", n=4, max_tokens=8)
    >>> [one["setting"] for one in found.to_dict()["points"]]
    ['aligned', 'heat T=1', 'heat T=2']
    """
    session = current("frontier")
    more = (first_temperature, dynatemp_range, dynatemp_exponent, top_n_sigma, xtc_probability, xtc_threshold)
    drawing = drawing_of(temperature, top_k, top_p, min_p, seed, asking_of(start, control_tokens=control_tokens), *more)
    study, arms, words = planes.frontier_of(
        choice_of(pair, base, aligned, ladder),
        _prompts(prompts, set) or reading.shipped(),
        drawing,
        session,
        families=[f"{name}={arm}" for name, arm in (families or {}).items()],
        reference=reference,
        scorer=None if scorer is None else reference_of(scorer),
        quality=quality,
        diversity=diversity,
        delta=delta,
        valid=valid,
        known=None if known is None else Path(known),
        grammar=None if grammar is None else Path(grammar),
        n=n,
        max_tokens=max_tokens,
    )
    with alone():
        return Found(conduct.run(study, arms, drawing=drawing, session=session, words=words))
