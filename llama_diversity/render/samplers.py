"""A sampler in words, for tables, pages and papers."""

from __future__ import annotations

from llama_diversity.records import Sampler


def sampler_words(sampler: Sampler, *, heat: str = "T") -> str:
    """The temperature, and what else acts, in the order in which it does; `heat` is what temperature is called.

    >>> sampler_words(Sampler(0.7, top_k=40, xtc_probability=0.5))
    'T 0.7, top-k 40, XTC 0.5 above p 0.1'
    """
    return ", ".join([f"{heat} {sampler.temperature:g}", *cut_words(sampler)])


def cut_words(sampler: Sampler) -> list[str]:
    """What acts beside the temperature, in the order in which it does."""
    one = sampler
    bent = f" (exponent {one.dynatemp_exponent:g})" if one.dynatemp_exponent != 1 else ""
    return [
        *([f"first token at T {one.first_temperature:g}"] if one.first_temperature is not None else []),
        *([f"give or take {one.dynatemp_range:g} by entropy{bent}"] if one.dynatemp_range else []),
        *([f"top-n-sigma {one.top_n_sigma:g}"] if one.top_n_sigma else []),
        *([f"top-k {one.top_k}"] if one.top_k else []),
        *([f"top-p {one.top_p:g}"] if one.top_p != 1 else []),
        *([f"min-p {one.min_p:g}"] if one.min_p else []),
        *([f"XTC {one.xtc_probability:g} above p {one.xtc_threshold:g}"] if one.xtc_probability else []),
    ]
