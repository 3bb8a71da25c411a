"""`decan`: what a reader of all other answers still learns from one, and how likely answers are; the two apart."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import numpy as np

from llama_diversity.answers import Endings
from llama_diversity.engines import PLAIN, EngineOptions
from llama_diversity.errors import BadValue, Interrupted, Unfit
from llama_diversity.metrics.decan import Orders, balanced_orders
from llama_diversity.render.jsonl import finite
from llama_diversity.studies.arms import Arm
from llama_diversity.studies.compare import gathering as asking
from llama_diversity.studies.compare.gathering import Question
from llama_diversity.studies.compare.parts import described
from llama_diversity.studies.compare.specs import ArmSpec
from llama_diversity.studies.decan import analysis
from llama_diversity.studies.decan.analysis import MAX_TOKENS, MEASURES, N_ANSWERS, PERMUTATIONS, Codes, Result, kept
from llama_diversity.studies.decan.exhibits import BY_PROMPT, Facts, by_prompt_rows, section
from llama_diversity.studies.decan.gathering import FORMS, Reader, Task, known, read
from llama_diversity.studies.drawing import Drawing
from llama_diversity.studies.results import Result as Shown
from llama_diversity.studies.results import endings_as_json
from llama_diversity.studies.session import Session, Show
from llama_diversity.studies.study import Ask, Drawn, Method, Study, check_n

_LEAST_READ = 8  # tokens of an answer: where fewer fit, fewer answers are the better way


class Texts(NamedTuple):
    """The answers with text of an arm to each prompt, in order, and how all of its outputs end."""

    answers: Sequence[Sequence[str]]
    endings: Endings


@dataclass(frozen=True)
class Decan(Study):
    """n answers of every arm to every prompt, read by one scorer: the numbers need samples and that model."""

    name: ClassVar[str] = "decan"
    title: ClassVar[str] = "Decan: does a reader of the other answers still learn something?"
    needs_encoder: ClassVar[bool] = False
    least: ClassVar[int] = 1

    specs: tuple[ArmSpec, ...]
    prompts: tuple[str, ...]
    prompt_words: tuple[str, ...] = ()
    n: int = N_ANSWERS
    max_tokens: int = MAX_TOKENS
    permutations: int = PERMUTATIONS
    scorer: str | None = None  # the model of the first arm where none is named
    form: str | None = None  # "continued", but "listed" where an arm is no raw prompt
    cut: int | None = None  # tokens of an answer; None: `max_tokens`, or as many as the scorer's context has room for
    prompt_source: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0  # of seed words

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Decan:
        given = dict(settings)
        specs = tuple(ArmSpec(**one) for one in given.pop("specs"))
        return cls(specs, tuple(given.pop("prompts")), tuple(given.pop("prompt_words")), **given)

    def prompt_origin(self) -> Mapping[str, str]:
        return self.prompt_source

    def options(self) -> list[str]:
        changed = {"-n": "n", "--max-tokens": "max_tokens", "--permutations": "permutations"}
        changed |= {"--scorer": "scorer", "--form": "form", "--cut": "cut"}
        return [*self.prompt_words, *self.differing(changed)]

    def method(self) -> Method:
        return Method(
            f"{self.reads} read the answers of each arm to each prompt in random orders, at least {self.permutations}, "
            "drawn in sets that share beginnings, every order uniform in law; code lengths are per byte of an answer "
            "(Decan, arXiv 2606.01811).",
            {
                "a_n": "mean code length of an answer behind all others and the prompt, bits per byte",
                "a_1": "the same behind the prompt alone",
                "coherence": "2^-a_1",
                "D": "coherence times a_n",
            },
            "Intervals are 95 % t intervals over prompts, of differences from the first arm paired by prompt.",
            rules="Answers without text are left out, and prompts to which an arm has less than "
            f"{100 * analysis.LEAST_SHARE:g} % of its answers.",
        )

    @property
    def reads(self) -> str:
        """The scorer's name."""
        return self.scorer or self.specs[0].model

    @property
    def reading_form(self) -> str:
        """The form in which all arms are read."""
        return self.form or ("listed" if any(spec.is_chat or spec.ask for spec in self.specs) else "continued")

    def check_settings(self) -> None:
        check_n(self.n, 2, "answers")
        if not 1 <= self.permutations <= 1000:
            raise BadValue("--permutations", self.permutations, "it must lie between 1 and 1000")
        if self.cut is not None and self.cut < 1:
            raise BadValue("--cut", self.cut, "read at least 1 token of an answer")
        if self.form not in (None, *FORMS):
            raise BadValue("--form", str(self.form), f"write {' or '.join(FORMS)}")
        for spec in self.specs:
            if spec.n is not None:
                raise BadValue(f"--arm {spec.name}", f"n={spec.n}", "of every arm as many answers are read: say -n")
            if self.form == "continued" and (spec.is_chat or spec.ask):
                allowed = f"{spec.name}'s answers do not go on from their prompt; leave it out, or say listed"
                raise BadValue("--form", self.form, allowed)

    def check_arms(self, arms: Sequence[Arm], drawing: Drawing, session: Session) -> None:
        """Refuse, before any sampling, what the scorer cannot read."""
        with session.reading(session.model(self.reads)) as engine:
            self._longest(Reader(engine, PLAIN, self.reading_form, 1))

    def _longest(self, reader: Reader) -> int:
        """Tokens of an answer that are read. Raises BadValue where the scorer's context is too short: what fits."""
        prompt = max(self.prompts, key=lambda text: len(reader.before(text, 1)))
        leads = [len(reader.before(prompt, k)) for k in range(1, self.n + 1)]
        n_ctx = reader.engine.facts.n_ctx_train
        room = (n_ctx - sum(leads)) // self.n
        wanted = self.cut or self.max_tokens
        if room >= wanted or (self.cut is None and room >= min(_LEAST_READ, wanted)):
            return min(room, wanted)
        each = self.cut or min(_LEAST_READ, wanted)
        fits = max((n for n in range(2, self.n) if sum(leads[:n]) + n * each <= n_ctx), default=None)
        ways = [f"-n {fits}"] if fits else []
        ways += [f"--cut {room}"] if self.cut is not None and room > 0 else []
        way = " or ".join(ways) or "a --scorer with a longer context"
        raise BadValue(
            "-n",
            self.n,
            f"{self.n} answers of {each} tokens and what stands before them have {sum(leads) + self.n * each:,}, and "
            f"{self.reads} reads {n_ctx:,} at once: {way} would fit",
        )

    def questions(self) -> list[Question]:
        """Every prompt to every arm."""
        return [self._question(spec, at) for at in range(len(self.prompts)) for spec in self.specs]

    def _question(self, spec: ArmSpec, at: int) -> Question:
        return Question(spec, at, self.prompts[at], self.n, self.max_tokens, self.seed)

    def asks(self, arms: Sequence[str]) -> list[Ask]:
        return [ask for one in self.questions() for ask in asking.asks(one)]

    def asks_next(self, drawn: Drawn) -> list[Ask]:
        return [ask for one in self.questions() for ask in asking.asks_next(one, drawn)]

    def show(self, drawn: Drawn) -> Shown:
        """Reads the stored answers with the scorer, laid out as the recipes tell and as the machine allows."""
        texts = {spec.name: self._texts(spec, drawn) for spec in self.specs}
        numbers, n = kept({arm: [len(some) for some in one.answers] for arm, one in texts.items()}, self.n)
        if not numbers:
            raise Unfit(_too_few(texts, self.n))
        orders = {at: balanced_orders(n, self.permutations, np.random.default_rng(at)) for at in numbers}
        first = drawn.recipe(self.questions()[0].first)
        layout = dataclasses.replace(
            EngineOptions.of(first),
            **{name: getattr(drawn.session.layout, name) for name in ("parallel", "n_threads", "n_gpu_layers")},
        )
        session = dataclasses.replace(drawn.session, layout=layout)
        codes, longest = self._read(texts, orders, n, session)
        found = analysis.analyse(
            {arm: {at + 1: codes[arm, at] for at in numbers} for arm in texts},
            {at + 1: one.orders for at, one in orders.items()},
            next(iter(orders.values())).weights,
        )
        facts = Facts(
            arms={spec.name: described(spec, drawn.recipe(self._question(spec, 0).first)) for spec in self.specs},
            prompts=self.prompts,
            left_out=[at + 1 for at in range(len(self.prompts)) if at not in numbers],
            n_asked=self.n,
            max_tokens=self.max_tokens,
            scorer=self.reads,
            form=self.reading_form,
            longest=longest,
            endings={arm: one.endings for arm, one in texts.items()},
        )
        return Shown(section(found, facts, drawn.command), _as_json(found, facts, drawn.digest()), found)

    def _texts(self, spec: ArmSpec, drawn: Drawn) -> Texts:
        outputs = [list(asking.outputs(self._question(spec, at), drawn)) for at in range(len(self.prompts))]
        flaws = [[one.flaw or one.answer.flaw for one in some] for some in outputs]
        answers = [
            [one.answer.text for one, flaw in zip(some, of_some, strict=True) if flaw is None]
            for some, of_some in zip(outputs, flaws, strict=True)
        ]
        every = [one.answer for some in outputs for one in some]
        return Texts(answers, Endings.of(every, [flaw for some in flaws for flaw in some]))

    def _read(
        self, texts: Mapping[str, Texts], orders: Mapping[int, Orders], n: int, session: Session
    ) -> tuple[dict[tuple[str, int], Codes], int]:
        """The code lengths by arm and prompt, from 0, and how many tokens of an answer are read.

        The scorer is loaded only where they were not made before.
        """
        scorer = session.model(self.reads)
        with session.reading(scorer) as engine:
            session.note_unknown_start(engine, PLAIN)
            longest = self._longest(Reader(engine, PLAIN, self.reading_form, 1))
            reader = Reader(engine, PLAIN, self.reading_form, longest)
            tasks, keys = {}, {}
            for at, of_prompt in orders.items():
                leads = [reader.before(self.prompts[at], k) for k in range(1, n + 1)]
                for arm, one in texts.items():
                    tasks[arm, at] = Task(
                        leads, [reader.answer(text) for text in one.answers[at][:n]], of_prompt.orders
                    )
                    keys[arm, at] = tasks[arm, at].key(engine, session.layout)
        found = {name: codes for name, key in keys.items() if (codes := known(key)) is not None}
        missing = [name for name in tasks if name not in found]
        if missing:
            found |= self._read_anew({name: (tasks[name], keys[name]) for name in missing}, session)
        return found, longest

    def _read_anew(
        self, missing: Mapping[tuple[str, int], tuple[Task, tuple[str, ...]]], session: Session
    ) -> dict[tuple[str, int], Codes]:
        found: dict[tuple[str, int], Codes] = {}
        try:
            with (
                session.opened(session.model(self.reads)) as engine,
                session.listener.working(f"reading with {self.reads}") as show,
            ):
                for number, (name, (task, key)) in enumerate(missing.items()):
                    found[name] = read(task, key, engine, _part(show, number, len(missing)))
        except KeyboardInterrupt as error:
            kept_too = f"{len(found)} of {len(missing)} sets of answers were read, and that is kept too"
            raise Interrupted(f"Interrupted: all answers are kept; {kept_too}. The same command continues.") from error
        return found


def _part(show: Show, at: int, n: int) -> Callable[[float], None]:
    """Hears which share of the part `at` of `n` is done, and shows that of all."""
    return lambda share: show((at + share) / n)


def _too_few(texts: Mapping[str, Texts], n: int) -> str:
    """Why no prompt can be analysed, with the arm that has the fewest answers."""
    fewest = {arm: max(len(some) for some in one.answers) for arm, one in texts.items()}
    arm = min(fewest, key=fewest.__getitem__)
    return (
        f"{arm} has at most {fewest[arm]} answers with text to a prompt, of {n}: too few to be read in turn. Raise "
        "--max-tokens, or name other prompts."
    )


def _as_json(found: Result, facts: Facts, inputs: str) -> dict[str, Any]:
    rows = by_prompt_rows(found, facts.prompts)
    return {
        "definition": "a_k: bits per byte of the k-th answer of a random order behind those before it; C = 2^-a_1; "
        "D = C a_n; intervals of 95 % over prompts",
        "arms": {
            arm: {
                "is": words,
                **{name: finite(found.arms[arm].measures[name]._asdict()) for name in MEASURES},
                "curve": [finite(at._asdict()) for at in found.arms[arm].curve],
                "a_n_by_orders": finite({"se": found.arms[arm].se_orders, "share": found.arms[arm].share}),
                "mean_bytes": found.arms[arm].mean_bytes,
                "share_cut": found.arms[arm].share_cut,
                **endings_as_json(facts.endings[arm]),
            }
            for arm, words in facts.arms.items()
        },
        "differences": {
            arm: {name: {**finite(one.change._asdict()), **finite({"ratio": one.ratio})} for name, one in some.items()}
            for arm, some in found.differences.items()
        },
        "by_prompt": [dict(zip(BY_PROMPT, row, strict=True)) for row in rows],
        "prompts": list(facts.prompts),
        "left_out": list(facts.left_out),
        "n": found.n,
        "orders": found.n_orders,
        "sets": found.n_sets,
        "scorer": facts.scorer,
        **finite({"left_of_a_copy": found.copy}),
        "form": facts.form,
        "answer_tokens": facts.longest,
        "max_tokens": facts.max_tokens,
        "inputs": inputs,
    }
