"""`diff`: the same texts under a base model and what became of it, token by token."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from llama_diversity.cli.options import Common
from llama_diversity.cli.progress import progress_line
from llama_diversity.engines import Engine, EngineOptions
from llama_diversity.engines.start import Start
from llama_diversity.errors import BadValue, EngineError, PromptTooLong
from llama_diversity.records import Asking, Recipe
from llama_diversity.render.jsonl import finite
from llama_diversity.render.scales import ScoredToken, scored_tokens
from llama_diversity.resolve import resolve_model
from llama_diversity.studies.arms import Arm
from llama_diversity.studies.diff import analysis as experiment
from llama_diversity.studies.diff.analysis import MAX_TOKENS, MEASURES, N_SAMPLES, PROMPT, Comparison
from llama_diversity.studies.diff.exhibits import Facts, section
from llama_diversity.studies.divergence import BLOCKED_ABOVE, Steps
from llama_diversity.studies.noise import Floor, floor, noise_of
from llama_diversity.studies.results import Result
from llama_diversity.studies.session import (
    DifferentTokens,
    DifferentVocabularies,
    opened,
    reading,
    say_unknown_start,
)
from llama_diversity.studies.study import Ask, Drawn, Experiment

_MOST_THREADS = 8
_LONGEST_SHOWN = 200  # characters of a text that its command line repeats


class Texts(NamedTuple):
    """Token ids to be read, and how many of each at its beginning are only context."""

    ids: Sequence[tuple[int, ...]]
    n_context: int

    @property
    def n_rows(self) -> int:
        """The tokens that all the texts have, but for the first of each."""
        return sum(len(one) - 1 for one in self.ids)


@dataclass(frozen=True)
class Diff(Experiment):
    """The base's own completions, which every other arm reads too: the numbers need samples and models."""

    name: ClassVar[str] = "diff"
    title: ClassVar[str] = "Diff: what does post-training block?"
    needs_encoder: ClassVar[bool] = False
    needs_one_vocabulary: ClassVar[bool] = True

    prompt: str = PROMPT
    n: int = N_SAMPLES
    max_tokens: int = MAX_TOKENS
    above: float = BLOCKED_ABOVE

    def options(self) -> list[str]:
        return [*self.differing({"-p": "prompt", "-n": "n", "--max-tokens": "max_tokens"}), *_above_words(self.above)]

    def asks(self, arms: Sequence[str]) -> list[Ask]:
        return [Ask(arms[0], arms[0], self.prompt, self.n, self.max_tokens)]

    def show(self, drawn: Drawn) -> Result:
        """Reads the stored samples with the models, laid out as far as the recipe tells."""
        recipe = drawn.recipe(next(iter(drawn.arms)))
        layout = EngineOptions.of(recipe)
        arms = [Arm(arm, resolve_model(model, common=drawn.common)) for arm, model in drawn.arms.items()]
        return self.measured(drawn, arms, layout)

    def measured(self, drawn: Drawn, arms: Sequence[Arm], layout: EngineOptions) -> Result:
        """The stored samples of the first of `arms` under all of them."""
        base = arms[0].name
        recipe = drawn.recipe(base)
        start = recipe.prompt.ids
        texts = Texts([(*start, *sample.tokens["id"].tolist()) for sample in drawn.stream(base)], len(start))
        read = read_by(arms, texts, above=self.above, layout=layout, common=drawn.common)
        return _result(read, arms, recipe, self, drawn.command)


def _above_words(above: float) -> list[str]:
    return ["--blocked-above", f"{above:g}"] if above != BLOCKED_ABOVE else []


def _text_words(text: str) -> list[str]:
    """A short text as it was typed, a long one as standard input."""
    if len(text) > _LONGEST_SHOWN or text == "-":
        return ["-"]
    return ["--", text] if text.startswith("-") else [text]


# ---- what can be refused is refused before any work


def _given(text: str, arms: Sequence[Arm], asking: Asking, layout: EngineOptions, common: Common) -> tuple[Texts, str]:
    """The text that was typed, as ids, and what precedes it. Raises BadValue, and what `same_tokens` raises."""
    if not text:
        raise BadValue("the text", "", "there is nothing to compare")
    ids, start = same_tokens(text, arms, asking, layout, common)
    if len(ids) < 2:
        raise BadValue("the text", text, "it is one token, and the first has no context where nothing precedes it")
    return Texts([ids], max(1, len(start.ids))), start.text


def same_tokens(
    text: str, arms: Sequence[Arm], asking: Asking, layout: EngineOptions, common: Common, *, max_tokens: int = 0
) -> tuple[tuple[int, ...], Start]:
    """The ids of `text`, the same for every arm, with room for `max_tokens` more, and what of them precedes it.

    Reads vocabularies only. Raises DifferentVocabularies, DifferentTokens, PromptTooLong, EngineError, BadValue.
    """
    first: tuple[str, tuple[int, ...], Start] | None = None
    for arm in arms:
        with reading(arm.model, layout, common) as engine:
            check_able(engine)
            say_unknown_start(engine, asking, common)
            ids = engine.tokenize(text, asking)
            if len(ids) + max_tokens > engine.facts.n_ctx_train:
                raise PromptTooLong(len(ids), max_tokens, engine.facts.n_ctx_train)
            first = first or (engine.facts.vocab_digest, ids, engine.start(asking))
            if first[0] != engine.facts.vocab_digest:
                raise DifferentVocabularies(arms[0].model.reference, arm.model.reference)
            if first[1] != ids:
                raise DifferentTokens(arms[0].model.reference, arm.model.reference, first[1], ids)
    assert first is not None
    return first[1:]


def check_able(engine: Engine) -> None:
    """Raises EngineError where an engine does not tell the whole distribution of a given text."""
    if not (engine.capabilities.full_distribution and engine.capabilities.scores_text):
        raise EngineError(
            f"{engine.facts.reference} does not tell the probability of every token of a given text, which an exact KL "
            "needs. Choose a GGUF model."
        )


# ---- reading


class Read(NamedTuple):
    """What the models made of the texts: by arm, held against the base."""

    found: Mapping[str, Comparison]
    first: Mapping[str, tuple[Sequence[ScoredToken], Sequence[ScoredToken]]]
    floors: Mapping[str, Floor]  # of the arithmetic of base and arm
    tokenizer: str


def read_by(arms: Sequence[Arm], texts: Texts, *, above: float, layout: EngineOptions, common: Common) -> Read:
    """The texts under the first of `arms` and each other one; the base stays open, of the others one at a time."""
    base, *others = arms
    found, first, floors = {}, {}, {}
    with opened(base.model, layout, common) as mine:
        facts = mine.facts
        shown, noise = _shown_tokens(mine, texts), noise_of(mine, common, above=above)
        for arm in others:
            with opened(arm.model, layout, common) as theirs:
                if theirs.facts.vocab_digest != facts.vocab_digest:
                    raise DifferentVocabularies(base.model.reference, arm.model.reference)
                steps = list(compared(mine, theirs, texts, above, layout, common, title=f"{base.name} and {arm.name}"))
                first[arm.name] = shown, _shown_tokens(theirs, texts)
                floors[arm.name] = floor([noise, noise_of(theirs, common, above=above)])
            found[arm.name] = experiment.analyse(steps)
    return Read(found, first, floors, f"{facts.n_vocab} tokens, {facts.vocab_digest[:8]}")


def compared(
    mine: Engine, theirs: Engine, texts: Texts, above: float, layout: EngineOptions, common: Common, *, title: str
) -> Iterator[Steps]:
    """The steps of each text; of the logits a piece is in memory at a time."""
    n_threads = min(_MOST_THREADS, layout.n_threads or os.cpu_count() or 1)
    comparer = experiment.Comparer(mine.facts.n_vocab, above=above, n_threads=n_threads)
    pieces: list[Steps] = []
    n_done = 0
    with closing(comparer), progress_line(common, f"reading with {title}") as show:
        for here, there in zip(mine.logits(texts.ids), theirs.logits(texts.ids), strict=True):
            if here[:2] != there[:2]:
                raise ValueError("the engines read the texts in different pieces")
            ids, n_rows = texts.ids[here.text], len(here.logits)
            skipped = min(max(texts.n_context - 1 - here.start, 0), n_rows)
            targets = ids[here.start + skipped + 1 : here.start + n_rows + 1]
            pieces.append(comparer.compare(here.logits[skipped:], there.logits[skipped:], targets))
            n_done += n_rows
            show(n_done / texts.n_rows)
            if here.start + n_rows == len(ids) - 1:
                yield experiment.joined(pieces)
                pieces = []


def _shown_tokens(engine: Engine, texts: Texts) -> tuple[ScoredToken, ...]:
    """The first text's tokens with their statistics."""
    return scored_tokens(engine.score(texts.ids[0])[texts.n_context :], engine.piece)


# ---- showing


def _result(read: Read, arms: Sequence[Arm], recipe: Recipe | None, one: Diff, command: str) -> Result:
    """For a reader and as JSON; `recipe` is None for a text that was given."""
    sampler = None
    if recipe is not None and not recipe.is_neutral:
        used = recipe.sampler
        sampler = f"T {used.temperature:g}, top-k {used.top_k}, top-p {used.top_p:g}, min-p {used.min_p:g}"
    facts = Facts(
        prompt=None if recipe is None else one.prompt,
        base=arms[0].name,
        models={arm.name: arm.model.reference for arm in arms},
        max_tokens=one.max_tokens,
        above=one.above,
        tokenizer=read.tokenizer,
        first=read.first,
        floors=read.floors,
        sampler=sampler,
    )
    return Result(section(read.found, facts, command), _as_json(read.found, facts), read.found)


def _as_json(found: Mapping[str, Comparison], facts: Facts) -> dict[str, Any]:
    return {
        "definition": "sum over all texts over all their tokens; intervals of 95 % over texts, t and Wilson's",
        "models": dict(facts.models),
        "base": facts.base,
        "arms": {arm: _arm_as_json(one, facts.first[arm][0], facts.floors[arm]) for arm, one in found.items()},
        "blocked_above": facts.above,
        "prompt": facts.prompt,
        "max_tokens": facts.max_tokens if facts.prompt is not None else None,
        "sampler": facts.sampler,
    }


def _arm_as_json(one: Comparison, tokens: Sequence[ScoredToken], noise: Floor) -> dict[str, Any]:
    steps = {name: getattr(one.first, name).tolist() for name in MEASURES}
    return {
        **{name: finite(one.measures[name]._asdict()) for name in MEASURES},
        "blocked": [
            {
                "below": blocked.below,
                **{name: finite(getattr(blocked, name)._asdict()) for name in ("mass", "reverse_mass", "of_tokens")},
                "texts": blocked.texts._asdict(),
            }
            for blocked in one.blocked
        ],
        "noise_floor": noise._asdict(),
        "n_texts": one.n_texts,
        "n_tokens": one.n_tokens,
        "first_text": [
            {"bytes": token.piece.bytes.hex(), **finite({name: values[at] for name, values in steps.items()})}
            for at, token in enumerate(tokens)
        ],
    }
