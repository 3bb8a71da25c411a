"""`compare`: which of several arms is more diverse, over one or many prompts; it says when it cannot tell."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from llama_diversity import cache, embed, minilm
from llama_diversity.answers import Answer, Endings
from llama_diversity.errors import BadValue, LlamadivError
from llama_diversity.metrics.inference import Estimate
from llama_diversity.records import Cell, Recipe, TokenStats
from llama_diversity.studies.arms import Arm, Choice, check_different
from llama_diversity.studies.compare import analysis, gathering, stating
from llama_diversity.studies.compare.analysis import OfPrompt, Pair
from llama_diversity.studies.compare.asking import WAYS
from llama_diversity.studies.compare.clustered import Units
from llama_diversity.studies.compare.exhibits import BY_PROMPT, Asked, Facts, by_prompt_rows, line_as_json, section
from llama_diversity.studies.compare.gathering import PLANNER, Output, Question
from llama_diversity.studies.compare.measured import (
    Generations,
    Measured,
    Price,
    Rules,
    common_prefix,
    measured,
)
from llama_diversity.studies.compare.parts import asked_differently, described, different
from llama_diversity.studies.compare.specs import ArmSpec, arm_words
from llama_diversity.studies.drawing import Drawing
from llama_diversity.studies.measuring.kinds import KIND_CUT, MOST_BY_MEANING
from llama_diversity.studies.measuring.limits import LEAST_PROMPTS, LEAST_VALID
from llama_diversity.studies.measuring.self_check import excess_variance_bits2
from llama_diversity.studies.results import Result, endings_as_json
from llama_diversity.studies.session import Session, Show
from llama_diversity.studies.study import Ask, Drawn, Method, Study, check_n
from llama_diversity.text import beginning, words

N_SAMPLES, MAX_TOKENS = 50, 64
NOT_AS_ASKED = "not what --valid asks for"
MOST_SHOWN = 3  # of the calls that hold no answer
ENCODER = f"{embed.REPO}, first {minilm.MAX_WORD_PIECES} word pieces"


PAIRS = ("reference", "all")


class NotComparable(LlamadivError):
    """The arms cannot be compared as they are."""


@dataclass(frozen=True)
class Compare(Study):
    """n generations of every arm for every prompt."""

    name: ClassVar[str] = "compare"
    title: ClassVar[str] = "Which arm is more diverse?"

    specs: tuple[ArmSpec, ...]
    prompts: tuple[str, ...]
    prompt_words: tuple[str, ...] = ()  # the options that named the prompts
    n: int = N_SAMPLES
    max_tokens: int = MAX_TOKENS
    prefix: int | None = None
    is_equal_n: bool = False
    is_joint: bool = False
    valid: str | None = None
    reference: str | None = None  # the arm that the others are set against; the first where none is named
    pairs: str = "reference"
    prompt_source: Mapping[str, str] = field(default_factory=dict)  # as `Prompts` has it
    seed: int = 0  # of what ways of asking draw, seed words: as it is of samples

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Compare:
        """The inverse of `settings`, after JSON."""
        given = dict(settings)
        specs = tuple(ArmSpec(**one) for one in given.pop("specs"))
        return cls(specs, tuple(given.pop("prompts")), tuple(given.pop("prompt_words")), **given)

    def prompt_origin(self) -> Mapping[str, str]:
        return self.prompt_source

    def method(self) -> Method:
        pairs = self.compared()
        references = list(dict.fromkeys(reference for reference, _ in pairs))
        is_all = len(references) > 1
        against = "every pair of arms was compared" if is_all else f"each arm was set against “{references[0]}”"
        return Method(
            f"Every arm and prompt had random numbers of its own; {against}, by the share kept, its value over the "
            "reference's, on the log scale.",
            measures(),
            interval_words(len(self.prompts)),
            "p was adjusted after Holm over all measures of all pairs; equivalence was stated only where the 90 % "
            "interval lay within a tenth of equality (TOST).",
            " ".join(self._rules()),
            ("encoder",),
        )

    def _rules(self) -> list[str]:
        """What is left out."""
        words = [f"Below {LEAST_VALID} valid outputs of an arm no number is given."]
        words += [f"Only outputs that contain the regular expression {self.valid} are valid."] if self.valid else []
        words += ["Of arms of different n the first of each were taken."] if self.is_equal_n else []
        words += [f"Of every output the first {self.prefix} tokens were judged."] if self.prefix else []
        for spec in self.specs:
            if spec.ask:
                of_unit = f" The {spec.unit} was the unit, not the output." if spec.unit else ""
                words.append(f"“{spec.name}” was asked in a way of its own: {spec.way_words()}.{of_unit}")
        return words

    def check_settings(self) -> None:
        check_n(self.n, 2, "generations")
        check_pattern(self.valid)
        names = [spec.name for spec in self.specs]
        if self.reference not in (None, *names):
            raise BadValue("--reference", str(self.reference), f"the arms are {', '.join(names)}")
        if self.pairs not in PAIRS:
            raise BadValue("--pairs", self.pairs, f"write {' or '.join(PAIRS)}")

    def compared(self) -> list[Pair]:
        """The pairs that are compared, a reference and an arm each: of all pairs the reference first, then as typed."""
        names = [spec.name for spec in self.specs]
        reference = self.reference or names[0]
        pairs = list(itertools.combinations([reference, *(name for name in names if name != reference)], 2))
        return pairs if self.pairs == "all" else pairs[: len(names) - 1]

    def options(self) -> list[str]:
        changed = {"-n": "n", "--max-tokens": "max_tokens", "--prefix": "prefix", "--valid": "valid"}
        changed |= {"--reference": "reference", "--pairs": "pairs"}
        flags = {"--equal-n": self.is_equal_n, "--joint": self.is_joint}
        return [*self.prompt_words, *self.differing(changed), *(word for word, is_on in flags.items() if is_on)]

    def questions(self) -> list[Question]:
        """Every prompt to every arm."""
        return [self.question(spec, number) for number in range(len(self.prompts)) for spec in self.specs]

    def question(self, spec: ArmSpec, number: int) -> Question:
        """One of them."""
        return Question(spec, number, self.prompts[number], spec.n or self.n, self.max_tokens, self.seed)

    def asks(self, arms: Sequence[str]) -> list[Ask]:
        return [ask for one in self.questions() for ask in gathering.asks(one)]

    def asks_next(self, drawn: Drawn) -> list[Ask]:
        return [ask for one in self.questions() for ask in gathering.asks_next(one, drawn)]

    def check_arms(self, arms: Sequence[Arm], drawing: Drawing, session: Session) -> None:
        """Refuse a list that the context cannot hold, before its first answers are drawn. Raises BadValue."""
        models = {arm.name: arm.model for arm in arms}
        for spec in self.specs:
            if spec.ask == "listed":
                with session.reading(models[spec.name]) as engine:
                    n_ctx = engine.facts.n_ctx_train
                    room = n_ctx - len(engine.tokenize(max(self.prompts, key=len)))
                if spec.k * self.max_tokens > room:
                    raise BadValue(
                        f"--arm {spec.name}",
                        f"k={spec.k}",
                        f"{spec.model} reads {n_ctx:,} tokens at once, and a list of so many answers "
                        f"may have {spec.k * self.max_tokens:,}: choose a smaller k or --max-tokens",
                    )

    def check(self, cells: Sequence[Cell]) -> None:
        """Refuse, before any sampling, what could not be compared afterwards."""
        recipes = {cell.arm: cell.recipe for cell in cells}
        sizes = {spec.name: spec.n or self.n for spec in self.specs}
        if len(set(sizes.values())) > 1 and not self.is_equal_n:
            raise _unequal(sizes)
        check_pairs(min(sizes.values()), len(sizes))  # of unequal arms no more are judged
        for spec, other in itertools.combinations(self.specs, 2):
            if not self.parts(recipes, spec, other) and spec.seed == other.seed:
                raise NotComparable(
                    f"Both arms are the same samples: {spec.name} and {other.name} are one recipe. To compare a recipe "
                    "with itself, give one of them another seed: seed=1."
                )
        for (reference, arm), parts in self.differences(recipes).items():
            if len(parts) > 1 and not self.is_joint:
                both = "The arms" if len(self.specs) == 2 else f"{reference} and {arm}"
                raise NotComparable(
                    f"{both} differ in {' and '.join(parts)}; the difference cannot be attributed to "
                    f"{'either' if len(parts) == 2 else 'any of them'}. Add the missing arms, as `llamadiv decompose` "
                    "does, which tells the effects apart, or pass --joint to report the joint effect."
                )

    def differences(self, recipes: Mapping[str, Recipe]) -> dict[Pair, list[str]]:
        """The parts in which the arms of each pair differ."""
        specs = {spec.name: spec for spec in self.specs}
        return {(one, other): self.parts(recipes, specs[one], specs[other]) for one, other in self.compared()}

    def parts(self, recipes: Mapping[str, Recipe], spec: ArmSpec, other: ArmSpec) -> list[str]:
        """The parts in which two arms differ, on any prompt."""
        found = []
        for number in range(len(self.prompts)):
            one, two = (recipes[self.question(each, number).first] for each in (spec, other))
            is_plain = spec.ask is None and other.ask is None
            found.append(different(one, two) if is_plain else asked_differently(spec, other, one, two))
        return list(dict.fromkeys(part for some in found for part in some))

    def show(self, drawn: Drawn) -> Result:
        recipes = {name: drawn.recipe(name) for name in drawn.cells}
        read = self.reading(drawn)
        with drawn.session.listener.working("comparing") as show:
            found = analysis.judge(list(read.prompts(show)), read.rules, self.compared())
        facts = Facts(
            arms={spec.name: described(spec, read.recipe(spec)) for spec in self.specs},
            asked={spec.name: self._asked(spec, drawn) for spec in self.specs if spec.ask},
            prompts=self.prompts,
            n=read.n,
            max_tokens=self.max_tokens,
            prefix=prefix_words(read.rules),
            has_one_vocabulary=read.rules.has_one_vocabulary,
            parts=self.differences(recipes),
            encoder=ENCODER,
            is_cut=self.prefix is not None,
        )
        return Result(section(found, facts, drawn.command), _as_json(found, facts, read.rules, drawn.digest()), found)

    def reading(self, drawn: Drawn) -> Reading:
        """What is stored, to be read prompt by prompt; the lengths of all outputs are read now, for the common prefix.

        Of each arm and prompt as many generations are judged as there are of the one with the fewest.
        """
        read = Reading(self, drawn, 0, Rules(self.prefix))
        n = min(read.n_outputs(one) for one in self.questions())
        has_one_vocabulary = len({read.recipe(spec).vocab_digest for spec in self.specs}) == 1
        read = read._replace(n=n, rules=Rules(self.prefix, has_one_vocabulary))
        if self.prefix:
            return read
        lengths: dict[str, list[int]] = {spec.name: [] for spec in self.specs}
        for one in self.questions():
            lengths[one.spec.name] += [
                read.length(each.answer) for each in read.outputs(one) if read.flaw(each) is None
            ]
        return read._replace(rules=Rules(common_prefix(lengths), has_one_vocabulary))

    def flaw(self, answer: Answer) -> str | None:
        """Why it is not valid; None where it is."""
        if answer.flaw is None and self.valid is not None and re.search(self.valid, answer.text) is None:
            return NOT_AS_ASKED
        return answer.flaw

    def _asked(self, spec: ArmSpec, drawn: Drawn) -> Asked:
        """How an arm was asked, and what came of it."""
        every = [self.question(spec, number) for number in range(len(self.prompts))]
        wrote = [text for one in every for text in gathering.unparsed(one, drawn)]
        against = stating.against_exact(every, drawn) if spec.ask == "verbalized" else None
        return Asked(WAYS[spec.ask or ""], spec.unit, len(wrote), tuple(wrote[:MOST_SHOWN]), against)


class Reading(NamedTuple):
    """The outputs of a comparison as they are stored: one prompt of them is in memory at a time."""

    study: Compare
    drawn: Drawn
    n: int  # of each arm and prompt
    rules: Rules
    fewer: Mapping[str, int] = MappingProxyType({})  # by question, where no more than so many are judged

    def prompts(self, show: Show) -> Iterator[Measured]:
        """What is measured of each prompt, in order."""
        encoder, n = self.drawn.encoder(), len(self.study.prompts)
        for number in range(n):
            yield cache.called(measured, self._prompt(number, encoder, _part(show, number, n)))
            show((number + 1) / n)

    def n_outputs(self, one: Question) -> int:
        """How many outputs of an arm for a prompt there are."""
        if one.spec.ask is None:
            return self.drawn.n_stored(one.label)
        return sum(1 for _ in gathering.outputs(one, self.drawn))

    def outputs(self, one: Question) -> Iterator[Output]:
        """Those that are judged."""
        return itertools.islice(gathering.outputs(one, self.drawn), self.fewer.get(one.label, self.n))

    def flaw(self, output: Output) -> str | None:
        """Why it is not valid: nothing came of the way of asking, or of the answer; None where it is."""
        return output.flaw or self.study.flaw(output.answer)

    def recipe(self, spec: ArmSpec) -> Recipe:
        """Of an arm's outputs for the first prompt; of its plans where none could be followed."""
        one = self.study.question(spec, 0)
        written = (each.label for each in gathering.outputs(one, self.drawn) if each.label != one.plans)
        return self.drawn.recipe(next(written, one.first) if spec.ask == "plan" else one.first)

    def length(self, answer: Answer) -> int:
        """In the unit of the common prefix."""
        return len(answer.tokens) if self.rules.has_one_vocabulary else len(words(answer.text))

    def _prompt(self, number: int, encoder: embed.Encoder, show: Callable[[float], None]) -> dict[str, Generations]:
        n = len(self.study.specs)
        return {
            spec.name: self._generations(spec, number, encoder, _part(show, at, n))
            for at, spec in enumerate(self.study.specs)
        }

    def _generations(
        self, spec: ArmSpec, number: int, encoder: embed.Encoder, show: Callable[[float], None]
    ) -> Generations:
        every, prefix = list(self.outputs(self.study.question(spec, number))), self.rules.prefix
        outputs = [one for one in every if self.flaw(one) is None]
        valid = [one.answer for one in outputs]
        lengths = [self.length(one) for one in valid]
        beginnings = [_beginning(self.drawn, one.label, one.answer, self.rules) for one in outputs]
        texts = beginnings if self.study.prefix else [one.text for one in valid]
        embedded = encoder.embed(texts, on_progress=show)
        reaching = [at for at, length in enumerate(lengths) if prefix and length >= prefix]
        tokens = [one.tokens[: self.study.prefix if self.rules.has_one_vocabulary else None] for one in valid]
        return Generations(
            len(every),
            texts,
            embedded.vectors,
            embedded.n_truncated,
            [words(beginnings[at]) for at in reaching],
            *_sums(tokens),
            np.array([len(some) for some in tokens], np.int64),
            np.array(lengths, np.int64),
            # Bytes per token matter only where vocabularies differ, and there no token is cut away.
            np.array([len(one.data) for one in valid], np.int64),
            embedded.unread,
            Endings.of([one.answer for one in every], map(self.flaw, every)),
            _units(spec, every, outputs, reaching),
            sum(one.n_written for one in every),
            sum(one.n_prompt_tokens for one in every),
        )


def _units(spec: ArmSpec, every: Sequence[Output], valid: Sequence[Output], reaching: Sequence[int]) -> Units | None:
    """The calls or chains that outputs come in, numbered; None where each is asked for by itself."""
    if spec.unit is None:
        return None
    numbers = {unit: at for at, unit in enumerate(dict.fromkeys(one.unit for one in every))}
    of_valid = np.array([numbers[one.unit] for one in valid], np.int64)
    sizes = np.bincount([numbers[one.unit] for one in every], minlength=len(numbers))
    return Units(of_valid, of_valid[list(reaching)], sizes, spec.unit)


def _part(show: Callable[[float], None], at: int, n: int) -> Callable[[float], None]:
    """Hears which share of the part `at` of `n` is done, and shows that of all."""
    return lambda share: show((at + share) / n)


def measures() -> dict[str, str]:
    """What every arm is measured by, a clause each."""
    return {
        "distance of meanings (primary, declared beforehand)": "mean over pairs of outputs of 1 - cosine of embeddings",
        "effective number of outputs (Vendi)": "1 / mean squared cosine over pairs, corrected for n",
        "kinds": f"how many kinds m outputs form among themselves (complete linkage, cosine {KIND_CUT:g} between all "
        "of a kind), mean over random halves, m half of the smaller arm",
        "class entropy": "entropy of the kinds after Chao, Wang and Jost, kinds formed on all arms of a prompt",
        "distance of words": "mean over pairs of 1 - TF-IDF cosine on the common prefix, IDF fitted on all arms",
        "different words": "different words expected among m, on the common prefix",
        "entropy": "sum of the entropies over the number of tokens, of what was drawn from; bits per byte where "
        "vocabularies differ",
    }


def interval_words(n_prompts: int) -> str:
    """How intervals over so many prompts are made."""
    if n_prompts >= LEAST_PROMPTS:
        return "Intervals are 95 % t intervals over prompts, paired by prompt: a claim about prompts like these."
    return (
        "Intervals are 95 % intervals over generations, ends combined after Zou and Donner (2008): a claim about these "
        "prompts alone."
    )


def check_pairs(n: int, n_arms: int) -> None:
    """Raises BadValue for more generations of a prompt than can be compared pair by pair: memory grows with n^2."""
    if n * n_arms > MOST_BY_MEANING:
        most = MOST_BY_MEANING // n_arms
        allowed = f"all pairs of a prompt's generations are compared: of {n_arms} arms ask for 2 to {most:,} each"
        raise BadValue("-n", n, allowed)


def _unequal(sizes: Mapping[str, int]) -> NotComparable:
    """The way out of unequal n: fewer of all, unless that leaves too few."""
    said = " and ".join(f"{n} {name}" for name, n in sizes.items())
    few = [name for name, n in sizes.items() if n < LEAST_VALID]
    way = f"Rerun with --equal-n to subsample to {min(sizes.values())}."
    if few:
        way = f"Ask for {LEAST_VALID} or more of {' and '.join(few)}: of fewer there is no interval."
    return NotComparable(f"Not comparable as is: {said} generations, and diversity grows with n. {way}")


Floats = npt.NDArray[np.float64]


def _sums(tokens: Sequence[TokenStats]) -> tuple[Floats, Floats, Floats]:
    """Of every generation surprisal, entropy and the variance of their difference, under what it was drawn from."""
    surprisal, entropy = (
        np.array([float(some[name].sum(dtype=np.float64)) for some in tokens])
        for name in ("sampler_surprisal_bits", "sampler_entropy_bits")
    )
    return surprisal, entropy, np.array([excess_variance_bits2(some) for some in tokens], np.float64)


def _beginning(drawn: Drawn, cell: str, answer: Answer, rules: Rules) -> str:
    """The text of the first `prefix` tokens or words; all of it without a prefix."""
    if rules.prefix is None or (rules.has_one_vocabulary and len(answer.tokens) <= rules.prefix):
        return answer.text
    if not rules.has_one_vocabulary:
        return beginning(answer.text, rules.prefix)
    ids = answer.tokens["id"][: rules.prefix].tolist()
    pieces = drawn.store.pieces(drawn.recipe(cell).vocab_digest, ids)
    return b"".join(pieces[one].bytes for one in ids).decode("utf-8", "replace")


def prefix_words(rules: Rules) -> str:
    """The common prefix in words."""
    return f"{rules.prefix} {rules.unit}" if rules.prefix else f"no {rules.unit} (none fits)"


def check_pattern(valid: str | None) -> None:
    """Raises BadValue for what is no regular expression."""
    try:
        re.compile(valid or "")
    except re.error as error:
        raise BadValue("--valid", str(valid), f"it is no regular expression: {error}") from error


def resolve_specs(specs: Sequence[ArmSpec], session: Session) -> list[Arm]:
    """The models of the arms, those whose templates they borrow, and those that plan for them."""
    found = []
    for spec in specs:
        template = None if spec.template is None else session.model(spec.template)
        found.append(Arm(spec.name, session.model(spec.model), template))
        if spec.planner is not None:
            found.append(Arm(spec.name + PLANNER, session.model(spec.planner)))
    return found


def arms_of(
    specs: Sequence[ArmSpec], choice: Choice, session: Session, *, is_typed: bool
) -> tuple[list[Arm], list[str]]:
    """The same, and the words that name them on a command line; `is_typed` one by one, else by `choice`.

    Raises OneModel where two models of a choice are one.
    """
    arms = resolve_specs(specs, session)
    if not is_typed:
        check_different([arm.model for arm in arms])
    return arms, arm_words(specs, choice, is_typed=is_typed)


def _as_json(found: analysis.Result, facts: Facts, rules: Rules, inputs: str) -> dict[str, Any]:
    return {
        "arms": {
            arm: {
                "is": words_of,
                "valid": found.valid[arm]._asdict(),
                **endings_as_json(found.endings[arm]),
                "mean_tokens": found.lengths[arm],
                "self_check_z": found.self_check[arm],
                "letters_counted_as_words": found.by_letter[arm],
                "price": price_as_json(found.prices[arm]),
                **({"asking": asked_as_json(facts.asked[arm], found.n_units.get(arm))} if arm in facts.asked else {}),
            }
            for arm, words_of in facts.arms.items()
        },
        "lines": [line_as_json(line) for line in found.lines],
        "counted_as_lost": [line._asdict() for line in found.counted_as_lost],
        "by_prompt": by_prompt_as_json("compare", found.by_prompt, facts.prompts),
        "claim": "prompts like these" if found.is_general else "these prompts",
        "joint": [
            {"arm": arm, "reference": reference, "parts": parts}
            for (reference, arm), parts in facts.parts.items()
            if len(parts) > 1
        ],
        "prompts": list(facts.prompts),
        "n": facts.n,
        "max_tokens": facts.max_tokens,
        **measuring(rules, found.m_kinds, found.m_words),
        "inputs": inputs,
    }


def price_as_json(price: Price) -> dict[str, Any]:
    """Tokens of an output, as `Price` has them."""
    return {"written_tokens": price.written, "prompt_tokens": price.prompted, "n_outputs": price.n}


def asked_as_json(asked: Asked, n_units: int | None) -> dict[str, Any]:
    """How an arm was asked, how many calls hold no answer, and how stated probabilities stand to exact ones."""
    found: dict[str, Any] = {"way": asked.way, "unit": asked.unit or "output"}
    if n_units is not None:
        found["n_units"] = n_units
    if asked.against is not None:
        one = asked.against.found
        found["not_in_form"] = {"calls": asked.n_unparsed, "examples": list(asked.examples)}
        found["stated"] = {"n_answers": asked.against.n_answers, "n_stated": asked.against.n_stated, "n": one.n}
        for name in ("rank_correlation", "slope", "log_ratio"):
            estimate: Estimate = getattr(one, name)
            found["stated"][name] = {"value": estimate.value, "se": estimate.se, "reason": estimate.reason}
    return found


def by_prompt_as_json(study: str, found: Sequence[OfPrompt], prompts: Sequence[str]) -> list[dict[str, Any]]:
    """The values by prompt, long: as the columns of the file beside it."""
    return [dict(zip(BY_PROMPT, row, strict=True)) for row in by_prompt_rows(study, found, prompts)]


def measuring(rules: Rules, m_kinds: Sequence[int], m_words: Sequence[int]) -> dict[str, Any]:
    """By what everything was measured; `code` is the digest of the analysis, equal where numbers can be compared.

    `m_kinds` and `m_words`: of how many outputs and words the kinds and words are that are counted, the smallest of all
    prompts; `m_by_prompt` has all of them.
    """
    return {
        "prefix": rules.prefix,
        "prefix_unit": rules.unit,
        "m_kinds": min(m_kinds),
        "m_words": min(m_words),
        "m_by_prompt": {"kinds": list(m_kinds), "words": list(m_words)},
        "kind_cut_cosine": KIND_CUT,
        "encoder": ENCODER,
        "code": cache.code_digest(),
    }
