"""Models as a researcher holds them: named, sampled, scored, asked through their chat template; and arms of them.

A model's file is read when it is first needed. One model is in memory at a time: opening another closes it, so does
dropping the last object that holds it, and a closed model opens again when it is used.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from llama_diversity import registry
from llama_diversity.engines import Engine, EngineOptions
from llama_diversity.errors import BadUsage, BadValue
from llama_diversity.interface.arguments import public
from llama_diversity.interface.samples import Samples, Score
from llama_diversity.interface.sessions import current
from llama_diversity.records import Asking, Cell, ModelFacts, ModelRef, Prompt, Sampler, seen_ids
from llama_diversity.store import Store
from llama_diversity.studies import selfcheck
from llama_diversity.studies.arms import resolve_pair
from llama_diversity.studies.compare.specs import ArmSpec, way_fields
from llama_diversity.studies.drawing import Drawing, draw_alone, plan_cell, refuse_idle, start_run
from llama_diversity.studies.sampling import check_n
from llama_diversity.studies.scored import score_text
from llama_diversity.studies.session import Session
from llama_diversity.studies.tokens import DifferentVocabularies
from llama_diversity.studies.words import drawing_words, template_words


@public
def model(reference: str | Path) -> Model:
    """The model called `reference`: an alias of models.toml, a path, hf:OWNER/REPO:FILE[@REVISION], scripted:NAME,
    ollama:NAME or lmstudio:PUBLISHER/REPO/FILE of those programs, vllm:URL/NAME on a server, or a mixture of files,
    mix:BASE,ALIGNED,lambda=0.5.

    Its files have to be on this machine (`llamadiv models pull` fetches them); they are hashed the first time, which
    takes some seconds for each GB, and read when the model is first used.

    Raises UnknownName with the near matches, BadValue, ModelFileError, NotDownloaded.

    >>> import llama_diversity as ld
    >>> ld.model("scripted:base")
    Model('scripted:base')
    """
    return Model(reference)


class Pair(NamedTuple):
    """A base model and what post-training made of it.

    >>> import llama_diversity as ld
    >>> ld.pair("tiny").aligned
    Model('tiny-aligned')
    """

    base: Model
    aligned: Model


@public
def pair(name: str) -> Pair:
    """The two models of a pair by its name in models.toml. Raises UnknownName, and what `model` raises.

    >>> import llama_diversity as ld
    >>> base, aligned = ld.pair("tiny")
    """
    return Pair(*map(Model, resolve_pair(name)))


@public
def ladder(name: str) -> tuple[Model, ...]:
    """All stages of a family by its name in models.toml, the base first. Raises UnknownName, and what `model` raises.

    >>> import llama_diversity as ld
    >>> ld.ladder("tiny")
    (Model('tiny-base'), Model('tiny-sft'), Model('tiny-aligned'))
    """
    return tuple(map(Model, registry.load().ladder(name).rungs))


@dataclass(frozen=True)
class _Chat:
    """How a model is asked through a chat template; `template` is another model whose one is borrowed."""

    system: str | None = None
    template: str | None = None
    template_args: str | None = None


class Model:
    """A model by its reference, asked raw or, as `chat` makes it, through a chat template.

    A context manager that closes it at the end; a closed model opens again when it is used. It pickles by its
    reference, so another process finds the same file by the same name.

    >>> import llama_diversity as ld
    >>> with ld.model("scripted:base") as base:
    ...     some = base.sample("She was", n=2, max_tokens=4)
    """

    __slots__ = ("_chat", "_weights", "reference")

    def __init__(self, reference: str | Path, *, _chat: _Chat | None = None, _weights: _Weights | None = None) -> None:
        self.reference = str(reference)
        self._chat = _chat
        self._weights = _weights or _Weights(current().model(self.reference))

    @public
    def chat(
        self,
        system: str | None = None,
        template: Model | str | None = None,
        template_args: Mapping[str, Any] | None = None,
    ) -> Model:
        """The same model, asked through its chat template, or that of the model `template`.

        `system` is a system message; `template_args` are values for the template, like {"enable_thinking": False}.
        Raises what `model` raises for `template`; TemplateError when it is used and there is no template.

        >>> import llama_diversity as ld
        >>> ld.model("scripted:aligned").chat(system="Be brief.")
        Model('scripted:aligned').chat(system='Be brief.')
        """
        args = template_args_of(template_args)
        name = None if template is None else reference_of(template)
        if name is not None:
            current().model(name)  # a name that means nothing is refused here
        return Model(self.reference, _chat=_Chat(system, name, args), _weights=self._weights)

    @property
    def facts(self) -> ModelFacts:
        """What its file says: description, architecture, n_vocab, n_params, n_ctx_train, digests, notes."""
        with self._weights.vocabulary(current()) as engine:
            return engine.facts

    @public
    def prompt(self, text: str, *, start: str = "auto", control_tokens: bool = False) -> Prompt:
        """`text` as the model sees it: `.rendered` is the whole text, `.ids` its tokens. Nothing is drawn.

        Raises TemplateError, BadValue.

        >>> import llama_diversity as ld
        >>> ld.model("scripted:aligned").chat().prompt("Who is she?").rendered
        '[INST] Who is she? [/INST]'
        """
        with self._weights.vocabulary(current()) as engine:
            return self._prompt(engine, text, self._asking(start, control_tokens=control_tokens), current())

    @public
    def sample(
        self,
        prompt: str,
        *,
        n: int = 10,
        max_tokens: int = 64,
        stop: str | Sequence[str] = (),
        grammar: str | Path | None = None,
        arithmetic: bool = False,
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
    ) -> Samples:
        """`n` completions of `prompt` with the statistics of every token, drawn once and kept in the session's store.

        The same call again reads them, without the model; a larger `n` draws the rest; after Ctrl-C the same call
        continues. Parameters are those of `llamadiv sample`: `max_tokens` of a completion; `stop`, texts before which
        one ends; `grammar`, GBNF as a text or the path of a file; the sampler (`temperature` 1 is the model itself, 0
        greedy); `start`, what a raw prompt begins with; with `control_tokens` those spelled out in it count as such.
        With `arithmetic` the n are one set, spread out by stratified codes: more of them differ than of independent
        ones, so it is never an estimate of the model's diversity.

        Raises BadValue, PromptTooLong, TemplateError, OutOfMemory, Interrupted, and what a store raises.

        >>> import llama_diversity as ld
        >>> some = ld.model("scripted:base").sample("She was", n=3, max_tokens=8)
        >>> len(some), some[0].tokens.dtype.names[:2]
        (3, ('id', 'surprisal_bits'))
        """
        check_n(n)
        more = (first_temperature, dynatemp_range, dynatemp_exponent, top_n_sigma, xtc_probability, xtc_threshold)
        sampler = Sampler(temperature, top_k, top_p, min_p, *more)
        refuse_idle(sampler)
        drawing = Drawing(sampler, seed, self._asking(start, control_tokens=control_tokens), arithmetic)
        stops = (stop,) if isinstance(stop, str) else tuple(stop)
        session = current("Model.sample")
        with Store.open(session.store) as store:
            with self._weights.vocabulary(session) as engine:
                cell = plan_cell(
                    engine,
                    self._weights.ref,
                    self._prompt(engine, prompt, drawing.asking, session),
                    arm="sample",
                    n=n,
                    max_tokens=max_tokens,
                    drawing=drawing,
                    layout=session.layout,
                    stop=stops,
                    grammar=_grammar(grammar),
                )
                about = {"model": asdict(engine.facts), "build": engine.build}
            run_id = start_run(store, session)
            store.add_cells(run_id, [(cell, store.about_drawing([cell.recipe.key]).get(cell.recipe.key, about))])
            if store.counts(cell.recipe.key, n).n_samples < n:
                with self._weights.using(session) as engine:
                    for _ in draw_alone(cell, engine, store, run_id, session):
                        pass
            selfcheck.check([cell], store, session)
            store.finish_run(run_id)
            return _read(cell, store, run_id, self._command(cell, drawing))

    @public
    def score(self, text: str, *, start: str = "auto", control_tokens: bool = False) -> Score:
        """How likely the model finds `text`, token by token, each given those before it and the start.

        Raises BadValue for an empty text, PromptTooLong, and BadUsage where it is asked through a chat template.

        >>> import llama_diversity as ld
        >>> found = ld.model("scripted:uniform").score("She was")
        >>> found.tokens.shape, round(found.total_bits, 2)
        ((2,), 16.36)
        """
        if self._chat is not None:
            raise BadUsage("A score is of a raw text: score the model itself, without chat().")
        session = current("Model.score")
        with self._weights.using(session) as engine:
            scored = score_text(engine, text, self._asking(start, control_tokens=control_tokens), session)
            vocabulary = f"{engine.facts.n_vocab} tokens, {engine.facts.vocab_digest[:8]}"
        return Score(self.reference, text, vocabulary, scored)

    def close(self) -> None:
        """Free its memory; it opens again when it is used."""
        self._weights.close()

    def __enter__(self) -> Model:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return _named, (self.reference, self._chat)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Model) and (self._weights.ref, self._chat) == (other._weights.ref, other._chat)

    def __hash__(self) -> int:
        return hash((self._weights.ref, self._chat))

    def __repr__(self) -> str:
        if self._chat is None:
            return f"Model({self.reference!r})"
        chat = asdict(self._chat)
        if chat["template_args"] is not None:
            chat["template_args"] = json.loads(chat["template_args"])
        given = ", ".join(f"{name}={value!r}" for name, value in chat.items() if value is not None)
        return f"Model({self.reference!r}).chat({given})"

    # ---- how it is asked

    def _asking(self, start: str, *, control_tokens: bool) -> Asking:
        if not start:
            raise BadValue("start", start, "name what a text begins with, or none for nothing")
        if self._chat is not None and start != Asking().start:
            raise BadUsage("start is for raw prompts: a chat template writes its own beginning. Give either.")
        return Asking(start, control_tokens)

    def _prompt(self, engine: Engine, text: str, asking: Asking, session: Session) -> Prompt:
        if self._chat is None:
            session.note_unknown_start(engine, asking)
            return engine.prompt(text, asking=asking)
        asked: dict[str, Any] = {"system": self._chat.system, "template_args": self._chat.template_args}
        if self._chat.template is None:
            return engine.prompt(text, chat=True, asking=asking, **asked)
        with session.reading(session.model(self._chat.template)) as other:
            if other.facts.vocab_digest != engine.facts.vocab_digest:
                raise DifferentVocabularies(self.reference, self._chat.template)
            return other.prompt(text, chat=True, asking=asking, **asked)

    def _command(self, cell: Cell, drawing: Drawing) -> str | None:
        """The command line that draws the same; None of what only a call can ask: another's template, a grammar."""
        if cell.recipe.grammar is not None or (self._chat and self._chat.template):
            return None
        words = ["llamadiv", "sample", "-m", self.reference, "-p", cell.recipe.prompt.text, "-n", str(cell.n)]
        words += ["--max-tokens", str(cell.recipe.max_tokens)]
        if self._chat:
            words += ["--chat", *(["--system", self._chat.system] if self._chat.system is not None else [])]
            words += template_words(self._chat.template_args)
        words += [word for one in cell.recipe.stop for word in ("--stop", one)]
        return shlex.join([*words, *drawing_words(drawing)])


def _named(reference: str, chat: _Chat | None) -> Model:
    """What a pickled model becomes."""
    return Model(reference, _chat=chat)


def template_args_of(given: Mapping[str, Any] | None) -> str | None:
    """Values for a template as a JSON object with sorted keys. Raises BadValue for what is no JSON."""
    if not given:
        return None
    try:
        return json.dumps(dict(given), sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise BadValue("template_args", given, "values must be what JSON can hold") from error


def _grammar(grammar: str | Path | None) -> str | None:
    if not isinstance(grammar, Path):
        return grammar
    try:
        return grammar.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadValue("grammar", str(grammar), "it must be a file of UTF-8 text") from error


def _read(cell: Cell, store: Store, run_id: str, command: str | None) -> Samples:
    """All samples of a full cell, with what reads them, so that they need no store afterwards."""
    samples = tuple(store.samples(cell.recipe.key, cell.n))
    seen = {token for one in samples for token in seen_ids(one.tokens)}
    digest = cell.recipe.vocab_digest
    return Samples(
        cell.reference, cell.recipe, samples, run_id, command, store.pieces(digest, seen), store.controls(digest)
    )


# ---- arms

_SAMPLER = tuple(one.name for one in fields(Sampler))


@dataclass(frozen=True)
class Arm:
    """A model as one side of `compare`, with what differs from the other sides; `arm` makes it."""

    model: Model
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    first_temperature: float | None = None
    dynatemp_range: float | None = None
    dynatemp_exponent: float | None = None
    top_n_sigma: float | None = None
    xtc_probability: float | None = None
    xtc_threshold: float | None = None
    n: int | None = None
    seed: int = 0
    start: str | None = None
    ask: str | None = None

    def __post_init__(self) -> None:
        self.spec("arm")  # what cannot be meant is refused where it is written

    def spec(self, name: str) -> ArmSpec:
        """The same as the command line knows it. Raises BadValue."""
        given = {key: getattr(self, key) for key in _SAMPLER}
        sampler = {key: value for key, value in given.items() if value is not None}
        Sampler(**sampler)  # refuses what cannot be meant
        is_chat, chat = self.model._chat is not None, self.model._chat or _Chat()
        if is_chat and self.start is not None:
            raise BadValue("start", self.start, "it is for raw prompts; a chat template writes its own beginning")
        return ArmSpec(
            name,
            self.model.reference,
            is_chat=is_chat,
            template=chat.template,
            system=chat.system,
            n=self.n,
            seed=self.seed,
            sampler=sampler,
            template_args=chat.template_args,
            start=self.start,
            **({} if self.ask is None else way_fields("ask", f"ask={self.ask}".split(","), is_chat=is_chat)),
        )


@public
def arm(
    model: Model | str,
    *,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    first_temperature: float | None = None,
    dynatemp_range: float | None = None,
    dynatemp_exponent: float | None = None,
    top_n_sigma: float | None = None,
    xtc_probability: float | None = None,
    xtc_threshold: float | None = None,
    n: int | None = None,
    seed: int = 0,
    start: str | None = None,
    ask: str | None = None,
) -> Arm:
    """A model as an arm of `compare` that has a sampler, n, seed or start of its own; None is what all arms have.

    `ask`: a way of asking in the words of the command line behind ask=, "verbalized,k=5" or "seeded,word=same".
    Arms that differ in the seed alone are one recipe twice: what `compare` says of those is chance.

    Raises what `model` raises.

    >>> import llama_diversity as ld
    >>> ld.arm("scripted:base", temperature=0.7).temperature
    0.7
    """
    held = model if isinstance(model, Model) else Model(model)
    more = (first_temperature, dynatemp_range, dynatemp_exponent, top_n_sigma, xtc_probability, xtc_threshold)
    return Arm(held, temperature, top_k, top_p, min_p, *more, n, seed, start, ask)


def reference_of(model: Model | str) -> str:
    """What a model is called; one that is asked through a chat template is refused. Raises BadUsage."""
    if not isinstance(model, Model):
        return model
    if model._chat is not None:
        raise BadUsage(
            "Here the model itself is meant, not one asked through its chat template: leave out chat(). compare takes "
            "arms that are asked so."
        )
    return model.reference


# ---- one in memory at a time

_ONE = threading.RLock()  # held while a model computes: calls of several threads wait for each other
_open: weakref.ref[_Weights] | None = None
_strangers: list[object] = []  # engines that a fork brought along: they are the parent's, and are left alone


class _Weights:
    """One model's file; all `Model` objects made of each other share it."""

    def __init__(self, ref: ModelRef) -> None:
        self.ref = ref
        self._engine: Engine | None = None
        self._layout: EngineOptions | None = None
        self._close: weakref.finalize[..., Any] | None = None

    @contextlib.contextmanager
    def using(self, session: Session) -> Iterator[Engine]:
        """The engine, opened where it is not yet, and whichever else was open closed."""
        global _open
        with _ONE:
            if self._engine is None or self._layout != session.layout:
                close_open()
                stack = contextlib.ExitStack()
                self._engine, self._layout = stack.enter_context(session.opened(self.ref)), session.layout
                self._close = weakref.finalize(self, stack.close)
                _open = weakref.ref(self)
            yield self._engine

    @contextlib.contextmanager
    def vocabulary(self, session: Session) -> Iterator[Engine]:
        """Enough to tokenise and plan: the engine where it is open, else one without the weights."""
        with _ONE:
            if self._engine is not None and self._layout == session.layout:
                yield self._engine
            else:
                with session.reading(self.ref) as engine:
                    yield engine

    def close(self) -> None:
        """Free the engine, where there is one."""
        with _ONE:
            self._engine = self._layout = None
            if self._close is not None:
                self._close()
                self._close = None

    def disown(self) -> None:
        """In a forked process: the engine is the parent's."""
        if self._close is not None:
            _strangers.append((self._engine, self._close.detach()))
        self._engine = self._layout = self._close = None


def close_open() -> None:
    """Free the model that is in memory, if any, before another or a study takes its place."""
    with _ONE:
        held = None if _open is None else _open()
        if held is not None:
            held.close()


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Around a study, which opens and closes its models itself."""
    with _ONE:
        close_open()
        yield


def _after_fork() -> None:
    global _ONE, _open
    held = None if _open is None else _open()
    if held is not None:
        held.disown()
    _ONE, _open = threading.RLock(), None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
