"""One folder of a grown pair, measured by the project's own studies: quantities by stage, and what its models say.

Everything is drawn into one store, from seed 0 whatever the training's, so a second call draws nothing.
"""

from __future__ import annotations

import collections
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tiny_claims import Change
from tiny_samples import draw, text_of

from llama_diversity.answers import Answer
from llama_diversity.errors import BadValue
from llama_diversity.lab import cards
from llama_diversity.lab.export import read_gguf
from llama_diversity.lab.recipes import ALIGNED_MEASURES_FILE
from llama_diversity.lab.workshop import MAX_TOKENS, sha256_of
from llama_diversity.metrics.inference import (
    Contrast,
    Difference,
    Estimate,
    Proportion,
    Retained,
    log_ratio,
    mean_interval,
    part_of,
    proportion_difference,
)
from llama_diversity.studies import conduct
from llama_diversity.studies.arms import Arm
from llama_diversity.studies.compare.specs import ArmSpec
from llama_diversity.studies.compare.study import Compare
from llama_diversity.studies.diff.study import Diff
from llama_diversity.studies.drawing import Drawing
from llama_diversity.studies.personas import analysis as personas
from llama_diversity.studies.personas.study import Personas
from llama_diversity.studies.perturb import analysis as perturb
from llama_diversity.studies.perturb.study import Perturb
from llama_diversity.studies.prompts import shipped
from llama_diversity.studies.results import Result
from llama_diversity.studies.semantic.analysis import Whole
from llama_diversity.studies.semantic.study import Semantic
from llama_diversity.studies.session import Session
from llama_diversity.studies.study import Study
from llama_diversity.studies.syntactic.study import Syntactic

MAIN = ("base", "sft", "aligned")
RECIPES = ("base", "sft-narrow", "sft-varied", "dpo", "aligned")
ASKED = ("sft", *RECIPES[1:])  # those that know the chat form
REQUESTS = (  # for them: four of each kind that the lab teaches
    *(f"Write a persona with a review of this product: {product}" for product in
      (cards.PRODUCT, "Dresses", "Knits", "Jackets")),
    *(f"Tell me about {name}." for name in ("Maria Keller", "John Turner", "Ruth Okafor", "Peter Lind")),
    *(f"Write about {name}, who leads a company." for name in ("Laura Stone", "Daniel Reyes", "Grace Wu", "Tom Baker")),
    *(f"Tell me a story about a {thing}." for thing in ("dog", "boat", "tree", "robot")),
    *(f"Write a review of this product: {product}." for product in ("Dresses", "Pants", "Sweaters", "Blouses")),
)  # fmt: skip
_ASKED = "_asked"  # behind the quantities of the comparison over REQUESTS
_EXAMPLES = "_examples"  # behind the quantities of the study, whose base continues forms with worked examples
_PAIRS = ("first_name", "last_name", "gender", "nationality", "ethnicity", "mbti")
_OPENING_WORDS = 3


class Sizes(NamedTuple):
    """Samples of a stage: of one prompt, of 1, of all openings, of one text, of each of the twenty openings, and of
    each of the twenty requests.
    """

    syntactic: int = 100
    semantic: int = 200
    personas: int = 200
    perturb: int = 192
    openings: int = 12
    diff: int = 50
    compare: int = 50
    requests: int = 30


QUICK = Sizes(8, 12, 20, 16, 2, 4, 20, 20)  # to try the script, not the models


class Row(NamedTuple):
    """A quantity in each stage, and what became of it against the base; of blocked mass, against the mirror."""

    values: Mapping[str, float | None]
    changes: Mapping[str, Change]


Rows = dict[str, Row]
Show = Callable[[str, int], None]  # hears which study is done, and how many tokens it draws at most


def files_of(folder: Path) -> dict[str, Path]:
    """The model of each stage that is in `folder`. Raises BadValue where base, SFT or aligned is not."""
    found: dict[str, Path] = {}
    for stage in dict.fromkeys((*MAIN, *RECIPES)):
        places = [folder / f"tiny-{stage}-f16.gguf", folder / f"tiny-{stage}.gguf"]
        here = [path for path in places if path.exists()]
        if here:
            found[stage] = here[0]
    lacking = [stage for stage in MAIN if stage not in found]
    if lacking:
        raise BadValue("the folder", str(folder), f"it has no tiny-{lacking[0]}; `llamadiv lab grow` makes it")
    return found


def ladders(files: Mapping[str, Path]) -> dict[str, tuple[str, ...]]:
    """Which stages are compared together, the one that all are set against first: the pipeline, and where some are
    there the recipes, going on with openings and answering requests.
    """
    recipes, asked = (tuple(stage for stage in some if stage in files) for some in (RECIPES, ASKED))
    return {"main": MAIN, **({"recipes": recipes, "requests": asked} if len(recipes) > 2 else {})}


def measured(folder: Path, *, sizes: Sizes, session: Session, show: Show) -> dict[str, Any]:
    """Everything of one folder as JSON has it. Raises what studies, engines and the store raise."""
    files = files_of(folder)
    provenance = {stage: read_gguf(path)[1] for stage, path in files.items()}
    found: dict[str, Any] = {
        "seed": provenance["base"]["schedule"]["seed"],
        "sha256": {stage: sha256_of(path) for stage, path in files.items()},
        "trained": trained(provenance),
        "judged": {**judgements(provenance), **of_ppo(folder, sha256_of(files["aligned"]))},
    }
    for name, stages in ladders(files).items():
        arms = [Arm(stage, session.model(str(files[stage]))) for stage in stages]
        rows, said = _measure(arms, studies_of(name, stages, sizes), session, show)
        if name != "requests":
            asked_plainly = plain_personas({stage: files[stage] for stage in stages}, sizes.personas, session)
            rows.update(people(asked_plainly, stages))
        found[name] = {key: {"values": _known(row.values), "changes": row.changes} for key, row in rows.items()}
        if name == "main":
            found["said"] = {
                stage: {**said[stage], "personas": commonest(asked_plainly.arms[stage])} for stage in stages
            }
    return found


def plain_personas(files: Mapping[str, Path], n: int, session: Session) -> personas.Result:
    """Experiment 1 with the base asked by a plain form, without worked examples: the samples of the card."""
    samples = draw(files, command="bin/tiny-seeds", most=n, names=["personas"], store_file=session.store)["personas"]
    answers = {
        stage: [
            Answer(text_of(one).split(personas.STOP[0])[0], one.text, one.tokens, one.finish_reason == "length")
            for one in some
        ]
        for stage, some in samples.items()
    }
    return personas.analyse(answers, forms=["base"])


def most_tokens(folders: Sequence[Path], sizes: Sizes) -> int:
    """How many tokens all folders together can take at most."""
    some = [ladder for folder in folders for ladder in ladders(files_of(folder)).items()]
    return sum(_most_tokens(study, stages) for name, stages in some for study in studies_of(name, stages, sizes))


def _most_tokens(study: Study, stages: Sequence[str]) -> int:
    later = study.most_tokens_next(len(stages)) if isinstance(study, Perturb) else 0
    return sum(ask.n * ask.max_tokens for ask in study.asks(stages)) + later


def studies_of(name: str, stages: Sequence[str], sizes: Sizes) -> list[Study]:
    """What is done with the stages of a ladder."""
    if name == "requests":
        specs = tuple(ArmSpec(stage, stage, is_chat=True) for stage in stages)
        return [Compare(specs, REQUESTS, n=sizes.requests, max_tokens=MAX_TOKENS)]
    texts, words, source = shipped()
    specs = tuple(ArmSpec(stage, stage) for stage in stages)
    return [
        Syntactic(n=sizes.syntactic),
        Semantic(n=sizes.semantic),
        Personas(n=sizes.personas),
        Perturb(n=sizes.perturb, n_openings=sizes.openings),
        Diff(n=sizes.diff),
        Compare(specs, texts, words, sizes.compare, prompt_source=dict(source)),
    ]


def _measure(
    arms: Sequence[Arm], studies: Sequence[Study], session: Session, show: Show
) -> tuple[Rows, dict[str, Any]]:
    stages = [arm.name for arm in arms]
    rows: Rows = {}
    said: dict[str, Any] = {}
    for study in studies:
        found = conduct.run(study, arms, drawing=Drawing(), session=session)
        is_asked = isinstance(study, Compare) and study.specs[0].is_chat
        own = rows_of(study.name, found, stages)
        rows.update({f"{key}{_ASKED}": row for key, row in own.items()} if is_asked else own)
        if study.name == "semantic":
            said = {stage: sayings(found.found, stage) for stage in stages}
        show(study.name, _most_tokens(study, stages))
    return rows, said


def rows_of(study: str, result: Result, stages: Sequence[str]) -> Rows:
    """The quantities of one study's result."""
    found = result.found
    if study == "syntactic":
        return dict(entropies(found, stages))
    if study == "semantic":
        return dict(likeness(found, stages))
    if study == "personas":
        return {key + _EXAMPLES: row for key, row in people(found.personas, stages)}
    if study == "perturb":
        return dict(returns(result.to_dict()["openings"], stages))
    if study == "diff":
        return dict(blocked(found, stages[1:]))
    return dict(kept(found.lines, stages[0]))


# ---- quantities of each study


def entropies(found: Any, stages: Sequence[str]) -> Iterator[tuple[str, Row]]:
    """Experiment 3."""
    for key, name in (("entropy", "entropy_bits"), ("top5", "top5_raw_bits")):
        values = {stage: found.arms[stage].measures[name].mean for stage in stages}
        yield key, Row(values, {stage: _difference(found.differences[stage][name]) for stage in stages[1:]})


def likeness(found: Whole, stages: Sequence[str]) -> Iterator[tuple[str, Row]]:
    """Experiment 2."""
    others, result = stages[1:], found.result
    words = {stage: result.words[stage].summary.mean for stage in stages}
    yield "tf_idf", Row(words, {stage: _difference(result.words_differences[stage]) for stage in others})
    meanings = {stage: result.meanings[stage].summary.mean for stage in stages}
    yield "sbert", Row(meanings, {stage: _difference(result.meanings_differences[stage]) for stage in others})
    kinds = {stage: found.rarefied[stage].value for stage in stages}
    yield "kinds_of_one", Row(kinds, {stage: _share(found.rarefied_retained[stage]) for stage in others})


def people(found: personas.Result, stages: Sequence[str]) -> Iterator[tuple[str, Row]]:
    """Experiment 1: the base by a form, the others by a request."""
    base, *others = stages
    arms = {stage: found.arms[stage] for stage in stages}
    shares = {stage: arm.valid for stage, arm in arms.items()}
    fit = {stage: one.value for stage, one in shares.items()}
    yield "valid", Row(fit, {one: _of_shares(shares, base, one) for one in others})
    for field in ("nationality", "ethnicity", "mbti"):
        values = {stage: arm.fields[field].entropy_nats.value for stage, arm in arms.items()}
        changes = {one: Change(*personas.entropy_difference(found, base, one, field)) for one in others}
        yield field, Row(values, changes)
    spreads = {stage: personas.spread_of_ages(arm) for stage, arm in arms.items()}
    ages = {one: _share(log_ratio(spreads[base], spreads[one])) for one in others}
    yield "age", Row({stage: one.value for stage, one in spreads.items()}, ages)
    for field in _PAIRS:
        pairs = {stage: arm.fields[field].concentration for stage, arm in arms.items()}
        changes = {one: _of_estimates(pairs[base], pairs[one]) for one in others}
        yield f"{field}_pairs", Row({stage: one.value for stage, one in pairs.items()}, changes)
    for number in ("review_chars", "sentiment"):
        means = {stage: arm.summaries[number].mean for stage, arm in arms.items()}
        yield number, Row(means, {one: _difference(found.differences[one][number]) for one in others})


def returns(openings: Sequence[Mapping[str, Any]], stages: Sequence[str]) -> Iterator[tuple[str, Row]]:
    """Section 5.1, over openings, or over their prompts where these are many enough; `openings` as JSON has them.

    What returns of an opening is the share of its changed continuations that end in an attractor of the arm: 0 where it
    has none.
    """
    base, *others = stages
    cold = next((way for way in openings[0]["arms"] if way.startswith(f"{base}, T ")), base)
    units = _units([one["prompt"] for one in openings])
    ways = (*stages, cold)
    has = {way: _by_unit([float(_attracts(one, way)) for one in openings], units) for way in ways}
    back = {way: _by_unit([_returned(one, way) for one in openings], units) for way in ways}
    for key, shares, reference in (("attractors", has, base), ("returns", back, base), ("returns_cold", back, cold)):
        values = {base: _mean(shares[reference]), **{one: _mean(shares[one]) for one in others}}
        yield key, Row(values, {one: _paired(shares[reference], shares[one]) for one in others})


def _units(prompts: Sequence[str]) -> list[int]:
    """Of each opening the number of its unit: its prompt where there are enough for a claim about prompts."""
    known = list(dict.fromkeys(prompts))
    return [known.index(one) for one in prompts] if len(known) >= perturb.LEAST_PROMPTS else list(range(len(prompts)))


def _by_unit(values: Sequence[float], units: Sequence[int]) -> list[float]:
    groups: dict[int, list[float]] = {}
    for value, unit in zip(values, units, strict=True):
        groups.setdefault(unit, []).append(value)
    return [_mean(some) for some in groups.values()]


def _attracts(opening: Mapping[str, Any], way: str) -> bool:
    return bool(opening["arms"][way]["n_attractors"])


def _returned(opening: Mapping[str, Any], way: str) -> float:
    share = opening["arms"][way]["returned"]["value"]
    return float(share or 0.0) if _attracts(opening, way) else 0.0


def _paired(base: Sequence[float], other: Sequence[float]) -> Change:
    return _finite(*mean_interval(np.subtract(other, base)))


def blocked(found: Mapping[str, Any], others: Sequence[str]) -> Iterator[tuple[str, Row]]:
    """Section 6: the base's mass that a stage blocks; its change is what is left of that less the mirror's."""
    for below, name in ((1e-3, "1e-3"), (1e-4, "1e-4")):
        at = {stage: found[stage].at(below) for stage in others}
        excess = {stage: one.excess_mass for stage, one in at.items()}
        changes = {stage: _finite(one.value, one.low, one.high) for stage, one in excess.items()}
        yield f"blocked_{name}", Row({stage: one.mass.value for stage, one in at.items()}, changes)
        yield f"blocked_{name}_mirror", Row({stage: one.reverse_mass.value for stage, one in at.items()}, {})
        yield f"blocked_{name}_texts", Row({stage: one.texts.value for stage, one in at.items()}, {})


def kept(lines: Sequence[Any], base: str) -> Iterator[tuple[str, Row]]:
    """The comparison over the shipped openings."""
    for key, measure in (("distance",) * 2, ("vendi",) * 2, ("kinds",) * 2, ("entropy_of_openings", "entropy")):
        some = [line for line in lines if line.measure == measure]
        if some:
            values = {base: some[0].reference_value, **{line.arm: line.value for line in some}}
            yield key, Row(values, {line.arm: Change(line.share, line.low, line.high) for line in some})


def _difference(found: Difference) -> Change:
    return _finite(found.mean, found.low, found.high)


def _share(found: Retained) -> Change:
    return Change(found.share, found.low, found.high)


def _of_estimates(base: Estimate, other: Estimate) -> Change:
    """Of two estimates with standard errors, such as chances that two personas share a value."""
    if base.value is None or other.value is None:
        return Change(None, None, None)
    contrast = Contrast(other.value - base.value, (part_of(base, -1), part_of(other, 1)), is_log=False)
    return _finite(contrast.value, *(contrast.limits() if contrast.has_error else (math.nan, math.nan)))


def _of_shares(shares: Mapping[str, Proportion], base: str, other: str) -> Change:
    return _difference(proportion_difference(shares[base], shares[other]))


def _finite(value: float, low: float, high: float) -> Change:
    """None for what is not finite, which JSON does not have."""
    return Change(*(float(one) if math.isfinite(one) else None for one in (value, low, high)))


def _known(values: Mapping[str, float | None]) -> dict[str, float | None]:
    return {stage: one if one is not None and math.isfinite(one) else None for stage, one in values.items()}


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


# ---- what models say


def sayings(found: Whole, stage: str) -> dict[str, Any]:
    """The commonest opening of Experiment 2's completions, the completion that is most like all others, and kinds."""
    texts = [text for text, arm in zip(found.kept, found.arms, strict=True) if arm == stage]
    openings = collections.Counter(" ".join(text.split()[:_OPENING_WORDS]) for text in texts)
    [(opening, n)] = openings.most_common(1)
    return {
        "n": len(texts),
        "opening": opening,
        "opening_share": n / len(texts),
        "distinct_openings": len(openings),
        "most_typical": texts[found.result.most_typical(stage)],
        "largest_kind_share": int(found.classes.kinds[stage].counts.max()) / len(texts),
    }


def commonest(arm: personas.Arm) -> dict[str, list[Any]]:
    """Of each field the commonest value, its share of the valid personas, and how many values were seen."""
    n = len(arm.personas)
    found = {}
    for name in _PAIRS:
        counts = arm.fields[name].counts
        if counts:
            value, most = next(iter(counts.items()))
            found[name] = [value, most / n, len(counts)]
    return found


# ---- what the files say of their training

TRAINED = {  # name -> what it is
    "n_tokens": "tokens of pretraining",
    "base_bits": "held-out bits per byte, base",
    "kneser_ney_bits": "... of a 5-gram Kneser-Ney model",
    "xz_bits": "... of `xz -9`",
    "sft_bits": "... after fine-tuning",
    "reward_accuracy": "reward model right about held-out pairs",
    "reward_accuracy_drawn": "the same of two answers drawn for the prompt",
    "score_sft": "annotator's score of held-out answers, sft",
    "score_aligned": "... aligned",
    "topic_sft": "... its part topic, sft",
    "topic_aligned": "... aligned",
    "fluent_sft": "... its part fluent, sft",
    "fluent_aligned": "... aligned",
    "kl_nats": "KL of an answer in the last tenth of PPO, nats",
    "entropy_bits": "token entropy in the last tenth of PPO, bits",
}


def trained(provenance: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """The figures of TRAINED."""
    base, sft, aligned = (provenance[stage] for stage in MAIN)
    other, judged = base["held_out_baselines_bits_per_byte"], aligned["held_out_judgement"]
    last = aligned["log"][-max(1, len(aligned["log"]) // 10) :]
    return {
        "n_tokens": base["schedule"]["n_tokens"],
        "base_bits": base["held_out"]["all"]["bits_per_byte"],
        "kneser_ney_bits": other["kneser_ney_5"],
        "xz_bits": other["xz_9"],
        "sft_bits": sft["held_out_documents_bits_per_byte"],
        "reward_accuracy": aligned["reward_model"]["held_out_accuracy"],
        "reward_accuracy_drawn": aligned["reward_model"]["held_out_accuracy_drawn"],
        **{f"{part}_{one}": judged[one][part] for part in ("score", "topic", "fluent") for one in ("sft", "aligned")},
        "kl_nats": _mean([row["kl_nats"] for row in last]),
        "entropy_bits": _mean([row["entropy_bits"] for row in last]),
    }


def judgements(provenance: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, float]]:
    """What each stage's own file says of its answers to held-out requests; of the SFT model the fullest there is."""
    found: dict[str, Mapping[str, float]] = {}
    for stage in dict.fromkeys((*MAIN, *RECIPES)):
        judged = provenance.get(stage, {}).get("held_out_judgement", {})
        found.update({name: judged[name] for name in ("sft", stage) if name in judged})
    return found


def of_ppo(folder: Path, sha256: str) -> dict[str, Mapping[str, float]]:
    """What `lab recipes` measured of this aligned model's answers, with its KL to the SFT model, where it did."""
    path = folder / ALIGNED_MEASURES_FILE
    if not path.exists():
        return {}
    kept = json.loads(path.read_text("utf-8"))
    return {"aligned": kept["measured"]} if kept["of"]["aligned_sha256"] == sha256 else {}
