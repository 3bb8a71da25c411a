"""`diff`: the same texts under a base model and what became of it, token by token."""

from __future__ import annotations

import dataclasses
import os
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from llama_diversity.engines import Engine, EngineOptions
from llama_diversity.engines.start import Start
from llama_diversity.errors import BadValue, EngineError, Interrupted, PromptTooLong
from llama_diversity.metrics.inference import Float64
from llama_diversity.records import Asking, Recipe
from llama_diversity.render.jsonl import finite
from llama_diversity.render.samplers import sampler_words
from llama_diversity.render.scales import ScoredToken, scored_tokens
from llama_diversity.studies.arms import Arm
from llama_diversity.studies.diff import analysis
from llama_diversity.studies.diff.analysis import MEASURES, N_SAMPLES, Comparison
from llama_diversity.studies.diff.exhibits import Facts, section
from llama_diversity.studies.drawing import Drawing
from llama_diversity.studies.measuring.divergence import BLOCKED_ABOVE, Comparer, Steps, joined
from llama_diversity.studies.measuring.noise import Floor, floor
from llama_diversity.studies.measuring.sharpening import Sharpening, log_sums
from llama_diversity.studies.noise import noise_of
from llama_diversity.studies.prompts import MAX_TOKENS, PROMPT
from llama_diversity.studies.results import Result, with_starts
from llama_diversity.studies.session import Session
from llama_diversity.studies.study import Ask, Drawn, Method, Study, check_n
from llama_diversity.studies.tokens import DifferentTokens, DifferentVocabularies
from llama_diversity.studies.words import asking_words

_MOST_THREADS = 8
_OF_BLOCKED = ("mass", "reverse_mass", "excess_mass", "of_tokens")
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
class Diff(Study):
    """The base's own completions, which every other arm reads too: the numbers need samples and models."""

    name: ClassVar[str] = "diff"
    title: ClassVar[str] = "Diff: what does post-training block?"
    needs_encoder: ClassVar[bool] = False
    needs_one_vocabulary: ClassVar[bool] = True

    prompt: str = PROMPT
    n: int = N_SAMPLES
    max_tokens: int = MAX_TOKENS
    above: float = BLOCKED_ABOVE

    def check_settings(self) -> None:
        check_n(self.n, self.least, "completions")
        if not 0 <= self.above < 1:
            raise BadValue("--blocked-above", self.above, "it must be a probability from 0 to below 1")

    def options(self) -> list[str]:
        return [*self.differing({"-p": "prompt", "-n": "n", "--max-tokens": "max_tokens"}), *_above_words(self.above)]

    def method(self) -> Method:
        return Method(
            "Completions of the first arm were read by every arm (teacher forcing), and the distributions over the "
            "whole vocabulary compared at every token.",
            {
                "KL": "in both directions, bits a token",
                "Jensen-Shannon divergence": "bits a token",
                "change of entropy and of surprisal": "arm minus first arm, bits a token",
                "share one temperature explains": "1 - min over T of KL(arm, first arm at T) / KL(arm, first arm)",
                "blocked mass": f"probability that the first arm has above {self.above:g} and the other below q",
            },
            "Values are sums over texts over all their tokens, with 95 % intervals over texts (t, of shares Wilson's).",
            rules="Nothing below the noise of the arithmetic, measured on both models, is called a difference.",
        )

    def asks(self, arms: Sequence[str]) -> list[Ask]:
        return [Ask(arms[0], arms[0], self.prompt, self.n, self.max_tokens)]

    def check_arms(self, arms: Sequence[Arm], drawing: Drawing, session: Session) -> None:
        same_tokens(self.prompt, arms, drawing.asking, session, max_tokens=self.max_tokens)

    def show(self, drawn: Drawn) -> Result:
        """Reads the stored samples with the models, laid out as the recipe tells and as the machine allows."""
        base = next(iter(drawn.arms))
        recipe = drawn.recipe(base)
        layout = _laid_out(recipe, drawn.session.layout)
        session = dataclasses.replace(drawn.session, layout=layout)
        arms = [Arm(arm, session.model(model)) for arm, model in drawn.arms.items()]
        start = recipe.prompt.ids
        texts = Texts([(*start, *sample.tokens["id"].tolist()) for sample in drawn.stream(base)], len(start))
        read = read_by(arms, texts, above=self.above, session=session)
        return _result(read, arms, recipe, self, drawn.command)


def _laid_out(recipe: Recipe, machine: EngineOptions) -> EngineOptions:
    """What the recipe says, and of the rest what the machine is told."""
    of_machine = {name: getattr(machine, name) for name in ("parallel", "n_threads", "n_gpu_layers")}
    return dataclasses.replace(EngineOptions.of(recipe), **of_machine)


def run_given(
    text: str,
    arms: Sequence[Arm],
    *,
    asking: Asking,
    session: Session,
    above: float = BLOCKED_ABOVE,
    words: Sequence[str] = (),
    typed: str | None = None,
    before: Callable[[], None] = lambda: None,
) -> Result:
    """A text that is given under every arm, the base first.

    `words` name the arms on a command line, `typed` is how the text is given there; `before` is
    called between what can be refused and the work. Raises what `same_tokens` raises, and Interrupted.
    """
    one = Diff(above=above)
    one.check_settings()
    command = ["llamadiv", "diff", *words, *_above_words(above), *asking_words(asking), *_text_words(typed or text)]
    try:
        given, start = _given(text, arms, asking, session)
        before()
        read = read_by(arms, given, above=above, session=session)
    except KeyboardInterrupt as error:
        raise Interrupted("Interrupted. Nothing is kept of a text; the same command starts again.") from error
    found = _result(read, arms, None, one, shlex.join(command))
    return with_starts(found, {arm.model.reference: [start] for arm in arms})


def _above_words(above: float) -> list[str]:
    return ["--blocked-above", f"{above:g}"] if above != BLOCKED_ABOVE else []


def _text_words(text: str) -> list[str]:
    """A short text as it was typed, a long one as standard input."""
    if len(text) > _LONGEST_SHOWN or text == "-":
        return ["-"]
    return ["--", text] if text.startswith("-") else [text]


# ---- what can be refused is refused before any work


def _given(text: str, arms: Sequence[Arm], asking: Asking, session: Session) -> tuple[Texts, str]:
    """The text that was typed, as ids, and what precedes it. Raises BadValue, and what `same_tokens` raises."""
    if not text:
        raise BadValue("the text", "", "there is nothing to compare")
    ids, start = same_tokens(text, arms, asking, session)
    if len(ids) < 2:
        raise BadValue("the text", text, "it is one token, and the first has no context where nothing precedes it")
    return Texts([ids], max(1, len(start.ids))), start.text


def same_tokens(
    text: str, arms: Sequence[Arm], asking: Asking, session: Session, *, max_tokens: int = 0
) -> tuple[tuple[int, ...], Start]:
    """The ids of `text`, the same for every arm, with room for `max_tokens` more, and what of them precedes it.

    Reads vocabularies only. Raises DifferentVocabularies, DifferentTokens, PromptTooLong, EngineError, BadValue.
    """
    first: tuple[str, tuple[int, ...], Start] | None = None
    for arm in arms:
        with session.reading(arm.model) as engine:
            check_able(engine)
            session.note_unknown_start(engine, asking)
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


def read_by(arms: Sequence[Arm], texts: Texts, *, above: float, session: Session) -> Read:
    """The texts under the first of `arms` and each other one; the base stays open, of the others one at a time."""
    base, *others = arms
    found, first, floors = {}, {}, {}
    with session.opened(base.model) as mine:
        facts = mine.facts
        shown, noise = _shown_tokens(mine, texts), noise_of(mine, session, above=above)
        for arm in others:
            with session.opened(arm.model) as theirs:
                if theirs.facts.vocab_digest != facts.vocab_digest:
                    raise DifferentVocabularies(base.model.reference, arm.model.reference)
                both = list(compared(mine, theirs, texts, above, session, title=f"{base.name} and {arm.name}"))
                first[arm.name] = shown, _shown_tokens(theirs, texts)
                floors[arm.name] = floor([noise, noise_of(theirs, session, above=above)])
            steps, sums = zip(*both, strict=True)
            found[arm.name] = analysis.analyse(steps, log_sums=sums)
    return Read(found, first, floors, f"{facts.n_vocab} tokens, {facts.vocab_digest[:8]}")


def compared(
    mine: Engine, theirs: Engine, texts: Texts, above: float, session: Session, *, title: str
) -> Iterator[tuple[Steps, Float64]]:
    """The steps of each text, and its `log_sums` under the first; of the logits a piece is in memory at a time."""
    n_threads = min(_MOST_THREADS, session.layout.n_threads or os.cpu_count() or 1)
    comparer = Comparer(mine.facts.n_vocab, above=above, n_threads=n_threads)
    pieces: list[Steps] = []
    sums: list[Float64] = []
    n_done = 0
    with closing(comparer), session.listener.working(f"reading with {title}") as show:
        for here, there in zip(mine.logits(texts.ids), theirs.logits(texts.ids), strict=True):
            if here[:2] != there[:2]:
                raise ValueError("the engines read the texts in different pieces")
            ids, n_rows = texts.ids[here.text], len(here.logits)
            skipped = min(max(texts.n_context - 1 - here.start, 0), n_rows)
            targets = ids[here.start + skipped + 1 : here.start + n_rows + 1]
            pieces.append(comparer.compare(here.logits[skipped:], there.logits[skipped:], targets))
            sums.append(log_sums(here.logits[skipped:], n_threads=n_threads))
            n_done += n_rows
            show(n_done / texts.n_rows)
            if here.start + n_rows == len(ids) - 1:
                yield joined(pieces), np.sum(sums, axis=0)
                pieces, sums = [], []


def _shown_tokens(engine: Engine, texts: Texts) -> tuple[ScoredToken, ...]:
    """The first text's tokens with their statistics."""
    return scored_tokens(engine.score(texts.ids[0])[texts.n_context :], engine.piece)


# ---- showing


def _result(read: Read, arms: Sequence[Arm], recipe: Recipe | None, one: Diff, command: str) -> Result:
    """For a reader and as JSON; `recipe` is None for a text that was given."""
    is_other = recipe is not None and not recipe.is_neutral
    sampler = sampler_words(recipe.sampler) if recipe is not None and is_other else None
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
                **{name: finite(getattr(blocked, name)._asdict()) for name in _OF_BLOCKED},
                "texts": blocked.texts._asdict(),
            }
            for blocked in one.blocked
        ],
        "one_temperature": _sharpening_as_json(one.sharpening_above(noise)),
        "noise_floor": noise._asdict(),
        "n_texts": one.n_texts,
        "n_tokens": one.n_tokens,
        "first_text": [
            {"bytes": token.piece.bytes.hex(), **finite({name: values[at] for name, values in steps.items()})}
            for at, token in enumerate(tokens)
        ],
    }


def _sharpening_as_json(found: Sharpening | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        **{name: finite(getattr(found, name)._asdict()) for name in ("share", "temperature", "left_bits")},
        "kl_bits": found.kl_bits,
        "is_edge": found.is_edge,
        "curve": [
            {"temperature": at, "kl_bits": bits} for at, bits in zip(found.temperatures, found.curve_bits, strict=True)
        ],
    }
