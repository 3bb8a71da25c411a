"""The methods section of a paper on a stored run: what was asked of which models, how it was measured, with what.

All of it is read from the run; no model, encoder or network is needed. What a study measures it says itself.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from llama_diversity import __version__, embed, minilm
from llama_diversity.decimals import counted
from llama_diversity.mixtures import digests_in, raw_words
from llama_diversity.records import Recipe
from llama_diversity.render.samplers import cut_words
from llama_diversity.store import Run, RunCell, Store
from llama_diversity.studies.citations import CITED, Citation, of_llamadiv
from llama_diversity.studies.conduct import studies_of
from llama_diversity.studies.session import Session
from llama_diversity.studies.stored import Prompts, prompts_of
from llama_diversity.studies.study import Ask, Method, Study, start_of
from llama_diversity.studies.words import arg_words, start_words

_MOST_QUOTED, _LONGEST_QUOTED = 5, 400  # prompts, and characters of them all, that a paragraph has room for
_DIGITS = 12  # of a digest


class Methods(NamedTuple):
    """The text, a paragraph a study where there are several, what it is made of, and what it cites."""

    paragraphs: tuple[str, ...]
    citations: tuple[Citation, ...]
    parts: Mapping[str, Any]

    @property
    def text(self) -> str:
        """The paragraphs."""
        return "\n\n".join(self.paragraphs)

    @property
    def bibtex(self) -> str:
        """The entries of what is cited."""
        return "\n\n".join(one.bibtex for one in self.citations)

    def __str__(self) -> str:
        return self.text

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON has it."""
        return {**self.parts, "text": self.text, "bibtex": [one.bibtex for one in self.citations]}


def methods_of(name: str, session: Session) -> Methods:
    """Of a stored run by its id, the beginning of one, or `last`. Raises what a store raises, UnknownName."""
    with Store.open(session.store, read_only=True) as store:
        run = store.run(name)
        return _written(run, store, studies_of(run))


class _Asked(NamedTuple):
    """A cell with its recipe, the study and the arm that it is of, and what was asked, if that was known beforehand."""

    study: str
    arm: str
    cell: RunCell
    recipe: Recipe
    ask: Ask | None
    is_first: bool


def _written(run: Run, store: Store, studies: Sequence[Study]) -> Methods:
    asked = list(_asked(run, store, studies))
    unfit = run.about.get("unfit", {})
    made = [one for one in studies if one.name not in unfit]
    methods = {one.name: one.method() for one in made}
    rests = list(dict.fromkeys(work for one in methods.values() for work in one.rests_on))
    version = str(run.about.get("llamadiv", __version__))
    builds = list(dict.fromkeys(one.recipe.engine_build for one in asked))
    cites = [of_llamadiv(version), CITED["mohammadi"]]
    cites += [CITED["arithmetic"]] if any(one.recipe.arithmetic for one in asked) else []
    cites += [CITED["llama.cpp"]] if any(one.recipe.engine == "llamacpp" for one in asked) else []
    cites += [CITED[work] for work in ("sentence-bert", "minilm") if "encoder" in rests]
    cites += [CITED["vader"]] if "vader" in rests else []
    prompts = {one.study: one for one in prompts_of(run, store)}
    stored = _stored(run, store)
    begin = " ".join([*_models(asked)])
    middle = [
        " ".join(
            filter(
                None,
                [
                    f"{one.title.rstrip('?.')} (`{one.name}`):" if len(studies) > 1 else "",
                    *_asking(run.id, [cell for cell in asked if cell.study == one.name], prompts.get(one.name)),
                    *_measuring(methods[one.name]),
                ],
            )
        )
        for one in made
    ] or [" ".join(_asking(run.id, asked, next(iter(prompts.values()), None)))]
    end = " ".join(
        [
            *_drawing(run, asked),
            *(f"Not made: {study}. {why}" for study, why in unfit.items()),
            *_left_out(stored),
            *_software(run, version, builds, asked, rests),
        ]
    )
    paragraphs = [begin, *middle, end] if len(made) > 1 else [" ".join(filter(None, [begin, *middle, end]))]
    parts = {
        "run": run.id,
        "started": run.started.isoformat(),
        "finished": None if run.finished is None else run.finished.isoformat(),
        "studies": [_study_as_json(run, one, methods.get(one.name), unfit) for one in studies],
        "models": _models_as_json(asked),
        "cells": [_cell_as_json(one) for one in asked],
        "prompts": [one._asdict() for one in prompts.values()],
        "samples": stored,
        "versions": {
            **{key: run.about[key] for key in ("llamadiv", "python", "machine") if key in run.about},
            "engine": builds,
            "measured_by_llamadiv": __version__,
        },
        "encoder": _encoder(run) if "encoder" in rests else None,
    }
    return Methods(tuple(filter(None, paragraphs)), tuple(cites), parts)


def _asked(run: Run, store: Store, studies: Sequence[Study]) -> Iterator[_Asked]:
    """Every cell of the run; those of `sample` are of no study, and their arm is the model."""
    arms = [name for name, _ in run.about.get("arms", [])]
    first = {f"{one.name}/{ask.label}": ask for one in studies for ask in one.asks(arms)}
    models = {model: name for name, model in run.about.get("arms", [])}
    for cell in run.cells:
        study = cell.arm.partition("/")[0] if studies else ""
        ask = first.get(cell.arm)
        arm = models.get(cell.reference, cell.reference) if ask is None else ask.arm
        yield _Asked(study, arm, cell, store.recipe(cell.recipe_key), ask, ask is not None or not studies)


# ---- sentences


def _models(asked: Sequence[_Asked]) -> Iterator[str]:
    found = _models_as_json(asked)
    if not found:
        return
    said = []
    for one in found:
        size = f", {one['n_params']:,} parameters" if one["n_params"] else ""
        roles = "" if one["arms"] == [one["model"]] else f", as {_listed([f'“{arm}”' for arm in one['arms']])}"
        stated = one["description"].replace("?B ", "")
        parts = [digest[:_DIGITS] for digest in one.get("models", ())]
        digests = f"{one['sha256'][:_DIGITS]}{f' of {_listed(parts)}' if parts else ''}"
        said.append(f"{one['model']} ({stated}{size}, sha256 {digests}{roles})")
    yield f"We sampled {_listed(said)}."


def _asking(run_id: str, asked: Sequence[_Asked], prompts: Prompts | None) -> Iterator[str]:
    """Which prompts, in which way, how often, how long; arms that were asked alike are named together."""
    first = [one for one in asked if one.is_first]
    if not first or prompts is None:
        return
    yield _prompt_words(run_id, prompts)
    ways: dict[str, list[str]] = {}
    for arm in dict.fromkeys(one.arm for one in first):
        ways.setdefault(_way([one for one in first if one.arm == arm]), []).append(arm)
    everyone = len(ways) == 1
    for way, arms in ways.items():
        who = ("All arms" if len(arms) > 1 else "The model") if everyone else _listed([f"“{arm}”" for arm in arms])
        yield f"{who} {'were' if len(arms) > 1 else 'was'} asked {way}."
    later = [one for one in asked if not one.is_first]
    if later:
        n, longest = sum(one.cell.n for one in later), max(one.recipe.max_tokens for one in later)
        heat = sorted({one.recipe.sampler.temperature for one in later})
        yield (
            f"What was made of these outputs was asked next: {counted(len(later), 'cell')} of {n:,} continuations in "
            f"all, at most {counted(longest, 'token')} long, at temperature {_listed([f'{one:g}' for one in heat])}."
        )


def _prompt_words(run_id: str, prompts: Prompts) -> str:
    texts, source = prompts.texts, _source_words(prompts.source)
    if len(texts) <= _MOST_QUOTED and sum(map(len, texts)) <= _LONGEST_QUOTED:
        quoted = ", ".join(f"“{text}”" for text in texts)
        return f"The {'prompt was' if len(texts) == 1 else f'{len(texts)} prompts were'} {quoted}{source}."
    said = "was one text" if len(texts) == 1 else f"were {len(texts)} texts"
    return f"The {'prompt' if len(texts) == 1 else 'prompts'} {said}{source}; `llamadiv runs show {run_id}` lists them."


def _source_words(source: Mapping[str, str]) -> str:
    if "set" in source:
        return f", the set “{source['set']}” of llamadiv"
    if "file" in source:
        return f", from {source['file']} (sha256 {source['sha256'][:_DIGITS]})"
    return ""


_A_SET = (
    "drawn as one set by arithmetic codes (Vilnis et al., 2023), which spread it out, so that it is no estimate of the "
    "model's diversity"
)


def _way(asked: Sequence[_Asked]) -> str:
    """How one arm was asked, in words."""
    recipes, numbers = [one.recipe for one in asked], [one.cell.n for one in asked]
    kinds = list(dict.fromkeys(map(_format, asked)))
    each = _range(numbers)
    total = f" ({sum(numbers):,} in all)" if len(numbers) > 1 else ""
    longest = _range([one.max_tokens for one in recipes])
    stops = list(dict.fromkeys(json.dumps(stop, ensure_ascii=False) for one in recipes for stop in one.stop))
    words = [
        f"{_listed(kinds)}, {each} {'output' if each == '1' else 'outputs'} a prompt{total}",
        f"each of at most {longest} {'token' if longest == '1' else 'tokens'}",
        *([f"ended before {_listed(stops)}"] if stops else []),
        *(["bound to a GBNF grammar, which changes the distribution"] if any(one.grammar for one in recipes) else []),
        *([_A_SET] if any(one.arithmetic for one in recipes) else []),
        *dict.fromkeys(map(_sampler, recipes)),
    ]
    return ", ".join(words)


def _format(one: _Asked) -> str:
    prompt = one.recipe.prompt
    if prompt.mode == "raw":
        return f"raw behind {start_words(start_of(prompt, one.cell))}"
    digest = f" (sha256 {prompt.template_digest[:_DIGITS]})" if prompt.template_digest else ""
    given = [*arg_words(prompt.template_args)]
    given += [f"the system message “{one.ask.system}”"] if one.ask is not None and one.ask.system else []
    raw = raw_words(one.cell.reference, prompt)
    return f"through a chat template{digest}{f' with {_listed(given)}' if given else ''}{f' ({raw})' if raw else ''}"


def _sampler(recipe: Recipe) -> str:
    sampler = recipe.sampler
    if sampler.is_neutral:
        return "drawn from the model's whole distribution (temperature 1, nothing cut off)"
    if sampler.is_greedy:
        return "the likeliest token each time"
    cuts = cut_words(sampler) or ["nothing cut off"]
    return f"drawn at temperature {sampler.temperature:g}, {', '.join(cuts)}"


def _measuring(method: Method) -> Iterator[str]:
    if method.design:
        yield method.design
    if method.measures:
        yield f"Measured were {'; '.join(f'{name}: {words}' for name, words in method.measures.items())}."
    yield from filter(None, (method.intervals, method.correction, method.rules))


def _drawing(run: Run, asked: Sequence[_Asked]) -> Iterator[str]:
    seeds = list(dict.fromkeys(_seeds(run, asked)))
    if asked and seeds:
        yield f"The seed was {_listed(seeds)}; every sample has a stream of random numbers of its own."


def _seeds(run: Run, asked: Sequence[_Asked]) -> Iterator[str]:
    """As typed: recipes have seeds made of it."""
    for one in run.about.get("experiments", []):
        words = shlex.split(one["command"])
        yield from (value for option, value in zip(words, words[1:], strict=False) if option == "--seed")
    if not run.about.get("experiments"):
        yield from (str(one.recipe.seed) for one in asked)


def _stored(run: Run, store: Store) -> dict[str, int]:
    """Of each recipe once: how many samples were asked for, are there, were cut off at their longest."""
    wanted: dict[str, int] = {}
    for cell in run.cells:
        wanted[cell.recipe_key] = max(cell.n, wanted.get(cell.recipe_key, 0))
    counts = [store.counts(key, n) for key, n in wanted.items()]
    return {
        "asked": sum(wanted.values()),
        "stored": sum(one.n_samples for one in counts),
        "tokens": sum(one.n_tokens for one in counts),
        "cut_off": sum(store.n_cut_off(key, n) for key, n in wanted.items()),
    }


def _left_out(stored: Mapping[str, int]) -> Iterator[str]:
    n_missing = stored["asked"] - stored["stored"]
    if n_missing:
        yield f"Of {stored['asked']:,} samples {n_missing:,} are missing: the run was cut short."
    if stored["stored"]:
        n, n_tokens, n_cut = stored["stored"], stored["tokens"], stored["cut_off"]
        cut = f"{n_cut:,} of {n:,} outputs ({100 * n_cut / n:.0f} %)"
        yield f"{cut} were cut off at their longest; all have {counted(n_tokens, 'token')}."


def _software(
    run: Run, version: str, builds: Sequence[str], asked: Sequence[_Asked], rests: Sequence[str]
) -> Iterator[str]:
    engine = f"with {_listed(builds)} " if builds else ""
    around = [str(run.about[key]) for key in ("machine",) if key in run.about]
    around += [f"Python {run.about['python']}"] if "python" in run.about else []
    place = f"({', '.join(around)}) " if around else ""
    measured = "" if version == __version__ else f", measures as llamadiv {__version__} defines them"
    yield (
        f"All was drawn and measured {engine}{place}by llamadiv {version}, which reruns and extends the experiments of "
        f"Mohammadi (2024){measured}; run {run.id}."
    )
    if any(one.recipe.engine == "llamacpp" for one in asked):
        kinds = sorted({one.recipe.kv_type for one in asked})
        exact = ", bit for bit the same in any batch (--exact)" if all(one.recipe.exact for one in asked) else ""
        yield f"llama.cpp computed the models, with a KV cache in {_listed(kinds)}{exact}."
    if "encoder" in rests:
        encoder = _encoder(run)
        yield (
            f"Sentences were embedded by {encoder['name']} (Reimers and Gurevych, 2019; sha256 "
            f"{encoder['sha256'][:_DIGITS]}), of a text the first {minilm.MAX_WORD_PIECES} word pieces."
        )
    if "vader" in rests:
        yield "Sentiment is VADER's compound score (Hutto and Gilbert, 2014)."


def _encoder(run: Run) -> dict[str, str]:
    """As the run says; older ones do not, and what would measure them now stands in its place."""
    found: dict[str, str] = run.about.get("encoder") or {"name": embed.REPO, "sha256": embed.WEIGHTS_SHA256}
    return found


def _range(numbers: Sequence[int]) -> str:
    return f"{min(numbers):,}" if min(numbers) == max(numbers) else f"{min(numbers):,} to {max(numbers):,}"


def _listed(words: Iterable[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last


# ---- parts


def _models_as_json(asked: Sequence[_Asked]) -> list[dict[str, Any]]:
    """Each model once, with the arms that it was."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for one in asked:
        about = one.cell.about.get("model", {})
        model = found.setdefault(
            (one.cell.reference, one.recipe.model_digest),
            {
                "model": one.cell.reference,
                "arms": [],
                "sha256": one.recipe.model_digest,
                **({"models": digests_in(one.recipe.mixture)} if one.recipe.mixture else {}),
                "description": str(about.get("description", "")),
                "n_params": int(about.get("n_params", 0)),
                "engine": one.recipe.engine,
                "build": one.recipe.engine_build,
            },
        )
        if one.arm not in model["arms"]:
            model["arms"].append(one.arm)
    return list(found.values())


def _cell_as_json(one: _Asked) -> dict[str, Any]:
    recipe = one.recipe
    return {
        "study": one.study,
        "arm": one.arm,
        "label": one.cell.arm,
        "model": one.cell.reference,
        "prompt": recipe.prompt.text,
        "mode": recipe.prompt.mode,
        "start": recipe.prompt.start,
        "n": one.cell.n,
        "max_tokens": recipe.max_tokens,
        "sampler": recipe.sampler.to_dict(),
        "seed": recipe.seed,
        "stop": list(recipe.stop),
        "recipe": one.cell.recipe_key,
    }


def _study_as_json(run: Run, study: Study, method: Method | None, unfit: Mapping[str, str]) -> dict[str, Any]:
    command = next(one["command"] for one in run.about["experiments"] if one["name"] == study.name)
    stated = {} if method is None else {**method._asdict(), "measures": dict(method.measures)}
    return {"name": study.name, "title": study.title, "command": command, **stated, "unfit": unfit.get(study.name)}
