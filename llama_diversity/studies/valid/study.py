"""`valid`: exact validity and diversity of each arm on sets of which every valid answer is known."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from llama_diversity import cache
from llama_diversity.engines import Engine
from llama_diversity.engines.draws import sampled
from llama_diversity.errors import BadUsage, BadValue, Interrupted
from llama_diversity.records import Asking, Prompt, Sampler
from llama_diversity.studies.arms import Arm, Choice
from llama_diversity.studies.compare.specs import ArmSpec, arm_words, parse_arm, specs_of
from llama_diversity.studies.compare.study import resolve_specs
from llama_diversity.studies.results import Result, with_starts
from llama_diversity.studies.samplers import check_cuts
from llama_diversity.studies.session import Session
from llama_diversity.studies.tokens import DifferentVocabularies
from llama_diversity.studies.valid.analysis import LEAST, Answers, Float64, Plan, Said, oracle, plan, walk
from llama_diversity.studies.valid.exhibits import Facts, OfArm, OfSet, as_json, section
from llama_diversity.studies.valid.sets import AnswerSet, read_sets, shipped
from llama_diversity.studies.valid.vocabulary import TokenPath, Vocabulary
from llama_diversity.studies.words import asking_words

_ROOM = 8  # tokens by which an unusual spelling may be longer than the longest usual one


@dataclass(frozen=True)
class Question:
    """What every arm is asked, and down to which probability unusual spellings are followed."""

    sets: tuple[AnswerSet, ...]
    least: float = LEAST
    asking: Asking = Asking()

    def check_settings(self) -> None:
        """Refuse what no model could be asked. Raises BadValue."""
        if not 0 < self.least <= 1:
            raise BadValue("--least", self.least, "it is a probability above 0, at most 1")

    def words(self) -> list[str]:
        """The same as options of a command line, where they differ from the defaults."""
        named = list(dict.fromkeys(one.word for one in self.sets))
        words = [word for one in named for word in ("--set", one)] if named != shipped() else []
        words += ["--least", f"{self.least:g}"] if self.least != LEAST else []
        return [*words, *asking_words(self.asking)]


def specs_for(model: str | None, typed: Sequence[str], choice: Choice) -> tuple[ArmSpec, ...]:
    """The arms: one model, one or more by --arm, or those of a pair or ladder. Raises BadUsage, BadValue."""
    if model is not None and (typed or any(choice)):
        raise BadUsage("Name one model by -m, or arms by --arm, --pair, --base and --aligned, or --ladder.")
    if model is not None:
        return (ArmSpec("model", model),)
    specs = (parse_arm(typed[0]),) if len(typed) == 1 and not any(choice) else specs_of(choice, typed)
    for spec in specs:
        check_spec(spec)
    return specs


def check_spec(spec: ArmSpec) -> None:
    """Refuse what says how samples are drawn, or asks otherwise than by the set's wordings. Raises BadValue."""
    for key, value, usual in (("n", spec.n, None), ("seed", spec.seed, 0)):
        if value != usual:
            raise BadValue(f"--arm {spec.name}", f"{key}={value}", "nothing is sampled here; leave it out")
    check_cuts(f"--arm {spec.name}", spec.sampler, Sampler())
    if spec.ask is not None:
        reason = "such an output is no answer by itself; `llamadiv compare` takes ways of asking"
        raise BadValue(f"--arm {spec.name}", f"ask={spec.ask}", reason)


def asked(
    model: str | None,
    typed: Sequence[str],
    choice: Choice,
    named: Sequence[str],
    *,
    least: float,
    asking: Asking,
    session: Session,
    before: Callable[[], None] = lambda: None,
) -> Result:
    """The whole command: arms and sets as they were typed. Raises what `specs_for`, `read_sets` and `run` raise."""
    specs = specs_for(model, typed, choice)
    if model is not None:
        words = ["-m", model]
    else:
        words = arm_words(specs, choice, is_typed=bool(typed))
    return run(Question(read_sets(named), least, asking), specs, session=session, words=words, before=before)


def run(
    question: Question,
    specs: Sequence[ArmSpec],
    *,
    session: Session,
    words: Sequence[str],
    before: Callable[[], None] = lambda: None,
) -> Result:
    """Every set for every arm; `words` name the arms on a command line.

    `before` is called between what can be refused and the work. Raises BadValue, DifferentVocabularies, PromptTooLong,
    TemplateError, Interrupted, and what models raise.
    """
    question.check_settings()
    for spec in specs:
        for one in question.sets:
            if not one.prompts(is_chat=spec.is_chat):
                kind = "chat" if spec.is_chat else "raw"
                raise BadValue("--set", one.name, f"it has no {kind} prompt, and the arm {spec.name} asks {kind}")
    samplers = {spec.name: Sampler(**spec.sampler) for spec in specs}  # type: ignore[arg-type]  # top_k is an int
    arms = resolve_specs(specs, session)
    found: dict[str, OfArm] = {}
    starts: dict[str, list[str]] = {}
    before()
    with _interruptible(found):
        for spec, arm in zip(specs, arms, strict=True):
            with _Asked.open(spec, arm, samplers[spec.name], question, session) as asked:
                sets = {one.name: asked.of_set(one) for one in question.sets}
                found[spec.name] = OfArm(asked.described(), sets)
                if not spec.is_chat:
                    starts[arm.model.reference] = [asked.engine.start(asked.asking).text]
    facts = Facts(question.sets, question.least)
    command = shlex.join(["llamadiv", "valid", *words, *question.words()])
    return with_starts(Result(section(found, facts, command), as_json(found, facts), found), starts)


@contextlib.contextmanager
def _interruptible(done: dict[str, OfArm]) -> Iterator[None]:
    """Within it Ctrl-C says what is kept."""
    try:
        yield
    except KeyboardInterrupt as error:
        kept = f" of {', '.join(done)}" if done else ""
        raise Interrupted(f"Interrupted. What was finished{kept} is kept; the same command does the rest.") from error


class _Asked:
    """One arm: its vocabulary is open, and its weights once something is not in the cache."""

    def __init__(
        self, spec: ArmSpec, arm: Arm, sampler: Sampler, question: Question, session: Session, engine: Engine
    ) -> None:
        self.spec, self.arm, self.sampler, self.session, self.engine = spec, arm, sampler, session, engine
        self.least = question.least
        self.asking = question.asking if spec.start is None else dataclasses.replace(question.asking, start=spec.start)
        self._weights = contextlib.ExitStack()
        self._renderer = engine

    @classmethod
    @contextlib.contextmanager
    def open(cls, spec: ArmSpec, arm: Arm, sampler: Sampler, question: Question, session: Session) -> Iterator[_Asked]:
        with session.reading(arm.model) as engine, contextlib.ExitStack() as others:
            asked = cls(spec, arm, sampler, question, session, engine)
            if arm.template is not None:
                asked._renderer = others.enter_context(session.reading(arm.template))
                if asked._renderer.facts.vocab_digest != engine.facts.vocab_digest:
                    raise DifferentVocabularies(arm.model.reference, arm.template.reference)
            if not spec.is_chat:
                session.note_unknown_start(engine, asked.asking)
            with asked._weights:
                yield asked

    def described(self) -> str:
        """The model, and how it is asked and draws."""
        parts = self.spec.word().removeprefix(f"{self.spec.name}={self.spec.model}")
        return f"{self.spec.model}{'' if self.spec.is_chat else ', raw'}{parts.replace(',', ', ')}"

    def of_set(self, one: AnswerSet) -> OfSet:
        """All wordings of a set, and what an oracle reaches in this vocabulary."""
        prompts = map(self._prompt, one.prompts(is_chat=self.spec.is_chat))
        return OfSet(tuple(self._said(prompt, one.answers) for prompt in prompts), self._oracle(one.answers))

    def _said(self, prompt: Prompt, answers: Answers) -> Said:
        """From the cache where it was asked before."""
        return cache.kept(self._parts(prompt, answers), lambda: self._walked(prompt, answers))

    def _prompt(self, text: str) -> Prompt:
        speaker = self._renderer if self.spec.is_chat else self.engine
        prompt = speaker.prompt(
            text,
            chat=self.spec.is_chat,
            system=self.spec.system,
            template_args=self.spec.template_args,
            asking=self.asking,
        )
        return prompt if speaker is self.engine else prompt.alone

    def _parts(self, prompt: Prompt, answers: Answers) -> tuple[str, ...]:
        """All that the numbers of a prompt depend on."""
        engine, layout = self.engine, self.session.layout
        kind = (layout.kv_type, str(layout.exact), str(layout.flash_attention))
        return (
            "valid",
            cache.code_digest(),
            engine.facts.digest,
            engine.build,
            *kind,
            repr((prompt, answers, self.sampler, self.least)),
        )

    def _walked(self, prompt: Prompt, answers: Answers) -> Said:
        planned = self._plan(answers)
        room = self.engine.facts.n_ctx_train - len(prompt.ids)
        longest = max(planned.longest, min(planned.longest + _ROOM, room))
        with (
            self.session.listener.working(f"asking {self.arm.model.reference}") as show,
            self._loaded.after(prompt, longest=longest) as after,
        ):
            return walk(
                after,
                planned,
                drawn=None if self.sampler.is_neutral else self._drawn,
                least=self.least,
                longest=longest,
                on_progress=lambda n, known: show(n / known, f"{n:,} beginnings"),
            )

    def _drawn(self, rows: Float64, is_first: bool) -> Float64:  # noqa: FBT001  # as `walk` calls it
        return sampled(rows, self.sampler, is_first=is_first)

    @functools.cached_property
    def _loaded(self) -> Engine:
        return self._weights.enter_context(self.session.opened(self.arm.model))

    @functools.cached_property
    def _vocabulary(self) -> Vocabulary:
        pieces = [self.engine.piece(token) for token in range(self.engine.facts.n_vocab)]
        return Vocabulary(pieces, self.engine.ends)

    @functools.cached_property
    def _plans(self) -> dict[Answers, Plan]:
        return {}

    def _plan(self, answers: Answers) -> Plan:
        if answers not in self._plans:
            self._plans[answers] = plan(answers, self._vocabulary, self._tokenized)
        return self._plans[answers]

    def _tokenized(self, text: str) -> TokenPath:
        return self.engine.tokenize(text, Asking(start="none"))

    def _oracle(self, answers: Answers) -> Said:
        parts = ("oracle", cache.code_digest(), self.engine.facts.vocab_digest, self.engine.build, repr(answers))
        return cache.kept(parts, lambda: oracle(self._plan(answers)))
