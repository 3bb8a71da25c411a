"""`reframe`: does the likeliest answer of a prompt survive when the question is put otherwise?"""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from llama_diversity import cache
from llama_diversity.engines import Engine, NextTokens, TokenPath
from llama_diversity.engines.draws import sampled
from llama_diversity.errors import BadUsage, BadValue, Interrupted, PromptTooLong
from llama_diversity.metrics.inference import Float64
from llama_diversity.records import Asking, ModelRef, Prompt, Sampler
from llama_diversity.render.jsonl import finite
from llama_diversity.studies.arms import Arm, check_different
from llama_diversity.studies.compare.specs import ArmSpec
from llama_diversity.studies.compare.study import resolve_specs
from llama_diversity.studies.measuring.noise import floor
from llama_diversity.studies.noise import noise_of
from llama_diversity.studies.reframe.analysis import (
    BUDGET,
    DEEP,
    LEAST,
    N_WORDS,
    Attractor,
    OfPrompt,
    Rate,
    analyse,
    attractors_of,
    count,
)
from llama_diversity.studies.reframe.answers import Answer, Place, Rule, Vocabulary, first_place, shown
from llama_diversity.studies.reframe.exhibits import Facts, section
from llama_diversity.studies.reframe.search import LONGEST, Answers, search
from llama_diversity.studies.reframe.specs import Reframed
from llama_diversity.studies.results import Result, with_starts
from llama_diversity.studies.samplers import check_cuts, sampler_parts
from llama_diversity.studies.session import Session
from llama_diversity.studies.tokens import DifferentVocabularies
from llama_diversity.studies.words import asking_words

MOST_WORDS = 5


@dataclass(frozen=True)
class Question:
    """What every arm is asked."""

    sets: tuple[Reframed, ...]
    words: tuple[str, ...] = ()  # the options that name the sets
    n_words: int = N_WORDS
    deep: float = DEEP
    budget: int = BUDGET
    asking: Asking = Asking()

    def check_settings(self) -> None:
        """Refuse what no model could be asked. Raises BadValue."""
        if not 1 <= self.n_words <= MOST_WORDS:
            raise BadValue("--words", self.n_words, f"an answer has 1 to {MOST_WORDS} words")
        if not 0 < self.deep < 1:
            raise BadValue("--deep", self.deep, "it must be a share of the reframings, between 0 and 1")
        if self.budget < 1:
            raise BadValue("--budget", self.budget, "at least 1 path has to be followed up")

    def options(self) -> list[str]:
        """The same as options of a command line, where they differ from the defaults."""
        changed = [
            (option, value)
            for option, value, default in (
                ("--words", self.n_words, N_WORDS),
                ("--deep", self.deep, DEEP),
                ("--budget", self.budget, BUDGET),
            )
            if value != default
        ]
        typed = [word for option, value in changed for word in (option, f"{value:g}")]
        return [*self.words, *typed, *asking_words(self.asking)]


class Asked(NamedTuple):
    """An arm: how it is asked, and its models."""

    spec: ArmSpec
    arm: Arm


def run(
    question: Question,
    specs: Sequence[ArmSpec],
    *,
    session: Session,
    words: Sequence[str] = (),
    before: Callable[[], None] = lambda: None,
) -> Result:
    """The answers of every arm, the base first; `words` name the arms on a command line.

    `before` is called between what can be refused and the work. Raises BadValue, BadUsage, DifferentVocabularies,
    TemplateError, PromptTooLong, EngineError, Interrupted.
    """
    question.check_settings()
    check_arms(specs)
    asked = [Asked(*one) for one in zip(specs, resolve_specs(specs, session), strict=True)]
    _check_different(asked)
    try:
        prompts, starts = _prompts(question, asked, session)
        before()
        originals = {one.arm.name: _originals(one, prompts, question, session) for one in asked}
        watched = _watched(question, originals)
        found: dict[str, dict[str, OfPrompt]] = {}
        base = originals[asked[0].arm.name]
        for at, one in enumerate(asked):
            framed, closest_bits = _framed(one, prompts, question, watched, session)
            found[one.arm.name] = {
                name: analyse(mine, framed[name], base[name] if at else None, closest_bits=closest_bits)
                for name, mine in originals[one.arm.name].items()
            }
    except KeyboardInterrupt as error:
        kept = "Prompts of which all reframings were read are kept; the same command does the rest."
        raise Interrupted(f"Interrupted. {kept}") from error
    facts = Facts(
        {one.name: one.original for one in question.sets},
        {one.arm.name: _described(one.spec) for one in asked},
        question.n_words,
        question.deep,
        question.budget,
    )
    command = shlex.join(["llamadiv", "reframe", *words, *question.options()])
    return with_starts(Result(section(found, facts, command), _as_json(found, facts), found), starts)


def check_arms(specs: Sequence[ArmSpec]) -> None:
    """Refuse what a study that draws nothing would ignore. Raises BadUsage, BadValue."""
    for spec in specs:
        drawn = [name for name, is_there in (("n", spec.n is not None), ("seed", spec.seed)) if is_there]
        drawn += [f"ask={spec.ask}"] if spec.ask else []
        if drawn:
            raise BadUsage(f"--arm {spec.name} has {' and '.join(drawn)}, but reframe reads exact probabilities and "
                           "draws nothing. Leave it out.")  # fmt: skip
        check_cuts(f"--arm {spec.name}", spec.sampler, Sampler())


def _check_different(asked: Sequence[Asked]) -> None:
    """Raises OneModel where two arms are the same bytes asked alike."""
    ways: dict[tuple[object, ...], list[ModelRef]] = {}
    for spec, arm in asked:
        way = (spec.is_chat, spec.template, spec.system, spec.template_args, spec.start, repr(spec.sampler))
        ways.setdefault(way, []).append(arm.model)
    for models in ways.values():
        check_different(models)


def _described(spec: ArmSpec) -> str:
    way = f"chat template{f' of {spec.template}' if spec.template else ''}" if spec.is_chat else "raw"
    system = [f"system “{spec.system}”"] if spec.system else []
    return ", ".join([spec.model, way, *system, *sampler_parts(spec.sampler)])


# ---- prompts

_Key = tuple[str, str]  # an arm and a text


def _prompts(
    question: Question, asked: Sequence[Asked], session: Session
) -> tuple[dict[_Key, Prompt], dict[str, list[str]]]:
    """Every text as each arm sees it, and what raw ones begin with by model; refuses before any model is loaded."""
    prompts: dict[_Key, Prompt] = {}
    starts: dict[str, list[str]] = {}
    for spec, arm in asked:
        with session.reading(arm.model) as engine, _speaking(engine, arm, session) as speaker:
            asking = question.asking if spec.start is None else dataclasses.replace(question.asking, start=spec.start)
            if not spec.is_chat:
                session.note_unknown_start(engine, asking)
                starts.setdefault(arm.model.reference, []).append(engine.start(asking).text)
            for text in (text for one in question.sets for text in (one.original, *one.reframings)):
                prompt = speaker.prompt(
                    text, chat=spec.is_chat, system=spec.system, template_args=spec.template_args, asking=asking
                )
                if len(prompt.ids) + LONGEST > engine.facts.n_ctx_train:
                    raise PromptTooLong(len(prompt.ids), LONGEST, engine.facts.n_ctx_train)
                prompts[arm.name, text] = prompt if speaker is engine else prompt.alone
    return prompts, {model: list(dict.fromkeys(some)) for model, some in starts.items()}


@contextlib.contextmanager
def _speaking(engine: Engine, arm: Arm, session: Session) -> Iterator[Engine]:
    """What renders prompts: the arm's own engine, or the one whose template it borrows."""
    if arm.template is None:
        yield engine
        return
    with session.reading(arm.template) as other:
        if other.facts.vocab_digest != engine.facts.vocab_digest:
            raise DifferentVocabularies(arm.model.reference, arm.template.reference)
        yield other


# ---- answers


def _originals(one: Asked, prompts: Mapping[_Key, Prompt], question: Question, session: Session) -> dict[str, Answers]:
    """The answers of one arm to every original prompt."""
    texts = {each.name: (each.original,) for each in question.sets}
    found = _read(one, prompts, texts, {name: () for name in texts}, question, session)[0]
    return {name: some[0] for name, some in found.items()}


def _watched(question: Question, originals: Mapping[str, Mapping[str, Answers]]) -> dict[str, tuple[Answer, ...]]:
    """Of each prompt the attractors of every arm: all arms are looked at for them."""
    return {
        one.name: tuple(
            dict.fromkeys(answer for mine in originals.values() for answer in attractors_of(mine[one.name]))
        )
        for one in question.sets
    }


def _framed(
    one: Asked,
    prompts: Mapping[_Key, Prompt],
    question: Question,
    watched: Mapping[str, tuple[Answer, ...]],
    session: Session,
) -> tuple[dict[str, dict[str, Answers]], float]:
    """The answers of one arm to every reframing, by prompt and text; below which difference two have no order, bits."""
    texts = {each.name: each.reframings for each in question.sets}
    found, bits = _read(one, prompts, texts, watched, question, session)
    return {name: dict(zip(texts[name], some, strict=True)) for name, some in found.items()}, bits


def _read(
    one: Asked,
    prompts: Mapping[_Key, Prompt],
    texts: Mapping[str, tuple[str, ...]],
    watched: Mapping[str, tuple[Answer, ...]],
    question: Question,
    session: Session,
) -> tuple[dict[str, tuple[Answers, ...]], float]:
    """Answers to some texts of each prompt, from the cache where the same were read before."""
    arm = one.arm
    with session.reading(arm.model) as light:
        layout = session.layout
        kind = (light.facts.digest, light.build, layout.kv_type, str(layout.exact), str(layout.flash_attention))
    rules = {each.name: Rule.of(each.original, question.n_words) for each in question.sets}
    found: dict[str, tuple[Answers, ...]] = {}
    opened = _Opened(one, session)
    with contextlib.closing(opened):
        bits = cache.kept(("closest bits", cache.code_digest(), *kind), opened.closest_bits)
        for name, some in texts.items():
            asked = repr(
                (
                    [prompts[arm.name, text] for text in some],
                    sorted(rules[name].passed),
                    sorted(one.spec.sampler.items()),
                    question.n_words,
                    question.budget,
                    watched[name],
                )
            )
            found[name] = cache.kept(
                ("answers", cache.code_digest(), *kind, asked),
                lambda name=name, some=some: opened.answers(  # type: ignore[misc]
                    f"{arm.name}, {name}",
                    [prompts[arm.name, text] for text in some],
                    rules[name],
                    watched[name],
                    question.budget,
                ),
            )
    return found, bits


def _start(prompt: Prompt) -> Place:
    """Behind a raw prompt its last word may go on; what a chat answers begins anew."""
    return first_place(prompt.text if prompt.mode == "raw" else "")


class _Opened:
    """A model that is loaded when it is first asked."""

    def __init__(self, one: Asked, session: Session) -> None:
        self._arm, self._session = one.arm, session
        self._sampler = Sampler(**one.spec.sampler)  # type: ignore[arg-type]  # top_k is an int
        self._stack = contextlib.ExitStack()
        self._engine: Engine | None = None
        self._vocabulary: Vocabulary | None = None

    @property
    def engine(self) -> Engine:
        """The model, with its weights."""
        if self._engine is None:
            self._engine = self._stack.enter_context(self._session.opened(self._arm.model))
        return self._engine

    def closest_bits(self) -> float:
        """Below which difference of log2 p two answers, a token each apart, have no order by the arithmetic."""
        return floor([noise_of(self.engine, self._session)]).opening_bits(2)

    def answers(
        self, title: str, prompts: Sequence[Prompt], rule: Rule, watched: Sequence[Answer], budget: int
    ) -> tuple[Answers, ...]:
        """To each of the prompts."""
        engine, found = self.engine, []
        if self._vocabulary is None:
            pieces = (engine.piece(token).bytes for token in range(engine.facts.n_vocab))
            self._vocabulary = Vocabulary(pieces, engine.ends)
        with self._session.listener.working(f"reading {title}") as show:
            for at, prompt in enumerate(prompts, start=1):
                with engine.after(prompt, longest=LONGEST) as after:
                    rows, start = _drawn(after, self._sampler), _start(prompt)
                    found.append(search(rows, start, rule, self._vocabulary, budget=budget, watched=watched))
                self._vocabulary.clear()
                show(at / len(prompts), f"{at} of {len(prompts)} prompts")
        return tuple(found)

    def close(self) -> None:
        """Free the model."""
        self._stack.close()


def _drawn(after: NextTokens, sampler: Sampler) -> NextTokens:
    """The same, of what a sampler draws from."""
    if sampler.is_neutral:
        return after

    def log_probabilities(paths: Sequence[TokenPath]) -> Float64:
        rows = after(paths)
        for is_first in (True, False):
            some = [at for at, path in enumerate(paths) if is_first is not bool(path)]
            if some:
                rows[some] = sampled(rows[some], sampler, is_first=is_first)
        return rows

    return log_probabilities


# ---- as JSON


def _as_json(found: Mapping[str, Mapping[str, OfPrompt]], facts: Facts) -> dict[str, Any]:
    return {
        "arms": {
            arm: {
                "is": facts.arms[arm],
                "counts": count(list(prompts.values()), facts.deep)._asdict(),
                "prompts": {name: _of_prompt(one, facts) for name, one in prompts.items()},
            }
            for arm, prompts in found.items()
        },
        "prompts": dict(facts.prompts),
        "words": facts.n_words,
        "attractor_from": LEAST,
        "deep": facts.deep,
        "budget": facts.budget,
    }


def _of_prompt(one: OfPrompt, facts: Facts) -> dict[str, Any]:
    return {
        "is_certain": one.original.is_certain,
        "silent": one.original.silent,
        "unresolved": one.original.unresolved,
        "n_certain": one.n_certain,
        "n_expanded": one.n_expanded,
        "attractors": [_of_attractor(each, facts.deep) for each in one.attractors],
        "answers": [{"answer": shown(answer), **bounds._asdict()} for answer, bounds in one.original.likeliest[:20]],
    }


def _of_attractor(one: Attractor, deep: float) -> dict[str, Any]:
    return {
        "answer": shown(one.answer),
        "is_top": one.is_top,
        "dr": one.dominance._asdict(),
        "fr": _rate(one.framing),
        "pi": finite(one.pi._asdict()),
        "kept": _rate(one.kept),
        "verdict": one.verdict(deep) if one.is_top else None,
        "over_reframings": {**finite(one.over._asdict()), "least": one.least, "most": one.most},
        "in_base": None if one.in_base is None else {**one.in_base.probability._asdict(), "rank": one.in_base.rank},
        "reframings": [
            {
                "text": each.text,
                **each.probability._asdict(),
                "top": None if each.top is None else shown(each.top),
                "is_top": each.is_top,
                "is_attractor": each.is_attractor,
            }
            for each in one.framed
        ],
    }


def _rate(rate: Rate) -> dict[str, Any]:
    return rate._asdict()
