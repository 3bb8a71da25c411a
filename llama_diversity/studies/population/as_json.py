"""The numbers of all arms as JSON has them."""

from __future__ import annotations

from typing import Any

from llama_diversity.render.jsonl import finite
from llama_diversity.studies.population.agreeable import Segment
from llama_diversity.studies.population.analysis import Arm, Result, Table
from llama_diversity.studies.population.frontier import Half
from llama_diversity.studies.population.target import Target

_DISTANCES = ("total_variation", "chance_floor", "visible_points", "jensen_shannon_bits")


def as_json(found: Result, target: Target) -> dict[str, Any]:
    """Of every arm its losses, price, fit, choice and people."""
    return {
        "target": {"title": target.title, "source": target.source or None},
        "n": found.n,
        "wanted": [{"cell": [*cell], "n": n} for cell, n in found.wanted.items()],
        "frontier": [
            {
                "family": one.family,
                "arm": one.arm,
                "chosen": one.is_chosen,
                "on_front": one.is_on_front,
                "chose": _half(one.chose),
                "told": _half(one.told),
            }
            for one in found.settings
        ],
        "arms": {name: _arm(arm) for name, arm in found.arms.items()},
    }


def _half(half: Half) -> dict[str, Any]:
    return {
        "outputs": half.n_outputs,
        "usable": half.n_usable,
        "tokens_per_usable": finite(half.per_usable._asdict()),
        "tokens_for_next": finite(half.for_next._asdict()),
        "different_by_text": None if half.different is None else finite(half.different._asdict()),
    }


def _arm(arm: Arm) -> dict[str, Any]:
    return {
        "model": arm.way.model,
        "mode": arm.way.mode,
        "outputs": arm.funnel.n_drawn,
        "tokens": arm.standing.n_tokens,
        "stopped": arm.standing.stop,
        "given_up": [[*cell] for cell in arm.standing.given_up],
        "funnel": dict(arm.funnel.left),
        "reasons": {step: dict(some) for step, some in arm.funnel.reasons.items()},
        "usable": finite(arm.usable._asdict()),
        "tokens_per_usable": finite(arm.per_usable._asdict()),
        "tokens_for_next": finite(arm.for_next._asdict()),
        "prompt_tokens_per_usable": arm.prompt_tokens_per_usable,
        "seconds_per_usable": arm.seconds_per_usable,
        "outputs_for_quotas": None if arm.needed is None else finite(arm.needed._asdict()),
        "fit": [_fit(one) for one in arm.tables],
        "empty_cells": [{"cell": [*one.cell], "target": one.share, "at_most": one.bound} for one in arm.empty],
        "obedient": None if arm.obedient is None else finite(arm.obedient._asdict()),
        "different": {
            "among": arm.m,
            "by_fields": None if arm.effective_fields is None else finite(arm.effective_fields._asdict()),
            "by_text": None if arm.effective_texts is None else finite(arm.effective_texts._asdict()),
        },
        "chosen": len(arm.chosen.numbers),
        "lacking": [{"cell": [*cell], "n": n} for cell, n in arm.chosen.lacking.items()],
        "distance": {"chosen": arm.distance_of_chosen, "at_random": arm.distance_of_any},
        "effective_n_by_weights": arm.n_effective,
        "agreeable": [_segment(one) for one in arm.agreeable.segments],
        "stated": None
        if arm.stated is None
        else {
            "n": arm.stated.n,
            "rank_correlation": finite(arm.stated.rank_correlation._asdict()),
            "slope": finite(arm.stated.slope._asdict()),
            "reason": arm.stated.reason,
        },
    }


def _fit(table: Table) -> dict[str, Any]:
    found, worst = table.fit, table.fit.worst
    return {
        "fields": [*table.fields],
        "verdict": found.verdict,
        "n": found.n,
        **finite({name: getattr(found, name) for name in _DISTANCES}),
        "worst": finite({"cell": [*table.cells[worst.cell]], "points": worst.points}),
        "cells": [{**row._asdict(), "cell": [*row.cell]} for row in table.rows()],
    }


def _segment(one: Segment) -> dict[str, Any]:
    return {
        "segment": [one.field, one.value],
        "n": one.n,
        "tone": finite(one.tone._asdict()),
        "glad": one.glad._asdict(),
    }
