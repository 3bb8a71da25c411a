"""`compare`: which of several arms is more diverse, over one or many prompts; it says when it cannot tell."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from llama_diversity import cache, embed, minilm
from llama_diversity.answers import Answer, Endings
from llama_diversity.errors import BadValue, LlamadivError
from llama_diversity.records import Cell, Recipe, TokenStats
from llama_diversity.studies.arms import Arm
from llama_diversity.studies.compare import analysis as experiment
from llama_diversity.studies.compare.exhibits import Facts, section
from llama_diversity.studies.compare.measured import Generations, Rules, common_prefix
from llama_diversity.studies.compare.specs import ArmSpec
from llama_diversity.studies.measuring.kinds import KIND_CUT, MOST_BY_MEANING
from llama_diversity.studies.measuring.limits import LEAST_VALID
from llama_diversity.studies.measuring.self_check import excess_variance_bits2
from llama_diversity.studies.results import Result, endings_as_json
from llama_diversity.studies.session import Session
from llama_diversity.studies.study import Ask, Drawn, Study, check_n
from llama_diversity.studies.words import arg_words, start_words
from llama_diversity.text import beginning, words

N_SAMPLES, MAX_TOKENS = 50, 64
_SEED = 1_000_003  # more than any number of prompts
NOT_AS_ASKED = "not what --valid asks for"
ENCODER = f"{embed.REPO}, first {minilm.MAX_WORD_PIECES} word pieces"


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

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Compare:
        """The inverse of `settings`, after JSON."""
        given = dict(settings)
        specs = tuple(ArmSpec(**one) for one in given.pop("specs"))
        return cls(specs, tuple(given.pop("prompts")), tuple(given.pop("prompt_words")), **given)

    def check_settings(self) -> None:
        check_n(self.n, 2, "generations")
        check_pattern(self.valid)

    def options(self) -> list[str]:
        changed = {"-n": "n", "--max-tokens": "max_tokens", "--prefix": "prefix", "--valid": "valid"}
        flags = {"--equal-n": self.is_equal_n, "--joint": self.is_joint}
        return [*self.prompt_words, *self.differing(changed), *(word for word, is_on in flags.items() if is_on)]

    def asks(self, arms: Sequence[str]) -> list[Ask]:
        return [
            Ask(
                label(spec.name, number),
                spec.name,
                prompt,
                spec.n or self.n,
                self.max_tokens,
                is_chat=spec.is_chat,
                system=spec.system,
                template_args=spec.template_args,
                sampler=spec.sampler,
                asking=None if spec.start is None else {"start": spec.start},
                # One seed draws the same random numbers for every recipe, and what is compared must be independent.
                stream=(spec.seed * _SEED + number) * len(self.specs) + position,
            )
            for number, prompt in enumerate(self.prompts)
            for position, spec in enumerate(self.specs)
        ]

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
        for spec in self.specs[1:]:
            parts = self.parts(recipes, self.specs[0], spec)
            if len(parts) > 1 and not self.is_joint:
                raise NotComparable(
                    f"The arms differ in {' and '.join(parts)}; the difference cannot be attributed to "
                    f"{'either' if len(parts) == 2 else 'any of them'}. Add the missing arms, as `llamadiv decompose` "
                    "does, which tells the effects apart, or pass --joint to report the joint effect."
                )

    def parts(self, recipes: Mapping[str, Recipe], spec: ArmSpec, other: ArmSpec) -> list[str]:
        """The parts in which two arms differ, on any prompt."""
        found = [
            different(recipes[label(spec.name, number)], recipes[label(other.name, number)])
            for number in range(len(self.prompts))
        ]
        return list(dict.fromkeys(part for some in found for part in some))

    def show(self, drawn: Drawn) -> Result:
        recipes = {name: drawn.recipe(name) for name in drawn.cells}
        prompts, rules = self.gathered(drawn)
        with drawn.session.listener.working("comparing"):
            found = cache.called(experiment.compare, prompts, rules)
        facts = Facts(
            arms={spec.name: described(spec, recipes[label(spec.name, 0)]) for spec in self.specs},
            prompts=self.prompts,
            n=self.n_used(drawn),
            max_tokens=self.max_tokens,
            prefix=prefix_words(rules),
            has_one_vocabulary=rules.has_one_vocabulary,
            parts={spec.name: self.parts(recipes, self.specs[0], spec) for spec in self.specs[1:]},
            encoder=ENCODER,
            is_cut=self.prefix is not None,
        )
        return Result(section(found, facts, drawn.command), _as_json(found, facts, rules, drawn.digest()), found)

    def n_used(self, drawn: Drawn) -> int:
        """Generations of each arm and prompt that are judged: as many as there are of the one with the fewest."""
        return min(
            len(drawn.samples(label(spec.name, number))) for number in range(len(self.prompts)) for spec in self.specs
        )

    def gathered(self, drawn: Drawn) -> tuple[list[dict[str, Generations]], Rules]:
        """All arms' generations by prompt, and the rules that hold for them."""
        n = self.n_used(drawn)
        has_one_vocabulary = len({drawn.recipe(label(spec.name, 0)).vocab_digest for spec in self.specs}) == 1
        answers = {
            (number, spec.name): drawn.answers(label(spec.name, number))[:n]
            for number in range(len(self.prompts))
            for spec in self.specs
        }
        endings = {key: Endings.of(some, map(self._flaw, some)) for key, some in answers.items()}
        valid = {key: [one for one in some if self._flaw(one) is None] for key, some in answers.items()}
        lengths = {
            key: [len(one.tokens) if has_one_vocabulary else len(words(one.text)) for one in some]
            for key, some in valid.items()
        }
        by_arm = {
            spec.name: [n for (_, arm), some in lengths.items() if arm == spec.name for n in some]
            for spec in self.specs
        }
        rules = Rules(self.prefix or common_prefix(by_arm), has_one_vocabulary)
        found = self._generations(drawn, n, valid, lengths, rules)
        return [
            {arm: one._replace(endings=endings[number, arm]) for arm, one in prompt.items()}
            for number, prompt in enumerate(found)
        ], rules

    def _flaw(self, answer: Answer) -> str | None:
        """Why it is not valid; None where it is."""
        if answer.flaw is None and self.valid is not None and re.search(self.valid, answer.text) is None:
            return NOT_AS_ASKED
        return answer.flaw

    def _generations(
        self,
        drawn: Drawn,
        n: int,
        valid: Mapping[tuple[int, str], Sequence[Answer]],
        lengths: Mapping[tuple[int, str], Sequence[int]],
        rules: Rules,
    ) -> list[dict[str, Generations]]:
        beginnings = {key: [_beginning(drawn, key, one, rules) for one in some] for key, some in valid.items()}
        texts = {key: beginnings[key] if self.prefix else [one.text for one in some] for key, some in valid.items()}
        embedded = drawn.embedded({f"{number} {arm}": some for (number, arm), some in texts.items()})

        def of(key: tuple[int, str]) -> Generations:
            place = embedded[f"{key[0]} {key[1]}"]
            reach = [
                words(text)
                for text, length in zip(beginnings[key], lengths[key], strict=True)
                if rules.prefix and length >= rules.prefix
            ]
            tokens = [one.tokens[: self.prefix if rules.has_one_vocabulary else None] for one in valid[key]]
            return Generations(
                n,
                texts[key],
                place.vectors,
                place.n_truncated,
                reach,
                *_sums(tokens),
                np.array([len(some) for some in tokens], np.int64),
                np.array(lengths[key], np.int64),
                # Bytes per token matter only where vocabularies differ, and there no token is cut away.
                np.array([len(one.data) for one in valid[key]], np.int64),
                place.unread,
            )

        return [{spec.name: of((number, spec.name)) for spec in self.specs} for number in range(len(self.prompts))]


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


def label(arm: str, number: int) -> str:
    """The cell of an arm and a prompt."""
    return f"{arm}, prompt {number}"


Floats = npt.NDArray[np.float64]


def _sums(tokens: Sequence[TokenStats]) -> tuple[Floats, Floats, Floats]:
    """Of every generation surprisal, entropy and the variance of their difference, under what it was drawn from."""
    surprisal, entropy = (
        np.array([float(some[name].sum(dtype=np.float64)) for some in tokens])
        for name in ("sampler_surprisal_bits", "sampler_entropy_bits")
    )
    return surprisal, entropy, np.array([excess_variance_bits2(some) for some in tokens], np.float64)


def _beginning(drawn: Drawn, key: tuple[int, str], answer: Answer, rules: Rules) -> str:
    """The text of the first `prefix` tokens or words; all of it without a prefix."""
    number, arm = key
    if rules.prefix is None or (rules.has_one_vocabulary and len(answer.tokens) <= rules.prefix):
        return answer.text
    if not rules.has_one_vocabulary:
        return beginning(answer.text, rules.prefix)
    ids = answer.tokens["id"][: rules.prefix].tolist()
    pieces = drawn.store.pieces(drawn.recipe(label(arm, number)).vocab_digest, ids)
    return b"".join(pieces[one].bytes for one in ids).decode("utf-8", "replace")


def prefix_words(rules: Rules) -> str:
    """The common prefix in words."""
    return f"{rules.prefix} {rules.unit}" if rules.prefix else f"no {rules.unit} (none fits)"


def different(first: Recipe, other: Recipe) -> list[str]:
    """The parts in which two arms differ; "tokens" says that one text is read as two, by another rule or an option."""
    one, two = first.prompt, other.prompt
    asks_alike = (one.mode, one.rendered) == (two.mode, two.rendered)
    has_other_ids = asks_alike and first.vocab_digest == other.vocab_digest and one.ids != two.ids
    has_other_start = has_other_ids and one.mode == "raw" and (one.start != two.start or _ends_alike(one.ids, two.ids))
    return [
        name
        for name, differs in (
            ("weights", first.model_digest != other.model_digest),
            ("template", not asks_alike),
            ("start", has_other_start),
            ("tokens", has_other_ids and not has_other_start),
            ("sampler", first.sampler != other.sampler),
        )
        if differs
    ]


def _ends_alike(one: Sequence[int], two: Sequence[int]) -> bool:
    n = min(len(one), len(two))
    return len(one) != len(two) and one[len(one) - n :] == two[len(two) - n :]


def described(spec: ArmSpec, recipe: Recipe) -> str:
    """An arm in words: model, way of asking, sampler."""
    sampler = recipe.sampler
    cuts = [f"{name} {value:g}" for name, value in (("top-k", sampler.top_k), ("min-p", sampler.min_p)) if value]
    cuts += [f"top-p {sampler.top_p:g}"] if sampler.top_p != 1 else []
    start = recipe.prompt.start
    raw = "raw" if start is None else f"raw behind {start_words(start)}"
    way = raw if recipe.prompt.mode == "raw" else f"chat template{f' of {spec.template}' if spec.template else ''}"
    args = arg_words(recipe.prompt.template_args)
    return ", ".join([spec.model, way, *args, *_system_words(spec, recipe), f"T {sampler.temperature:g}", *cuts])


def _system_words(spec: ArmSpec, recipe: Recipe) -> list[str]:
    """The system text, where it is in the prompt: older versions let templates drop it."""
    if spec.system is None:
        return []
    is_there = spec.system.strip() in recipe.prompt.rendered
    return [f"system “{_shortened(spec.system)}”" if is_there else "without its system text, which the template drops"]


def _shortened(text: str) -> str:
    """At most 60 characters on a line; the end too, since system prompts often begin alike."""
    text = " ".join(text.split())
    return text if len(text) <= 60 else f"{text[:40]} … {text[-17:]}"


def check_pattern(valid: str | None) -> None:
    """Raises BadValue for what is no regular expression."""
    try:
        re.compile(valid or "")
    except re.error as error:
        raise BadValue("--valid", str(valid), f"it is no regular expression: {error}") from error


def resolve_spec(spec: ArmSpec, session: Session) -> Arm:
    """The model of an arm, and the one whose template it borrows."""
    template = None if spec.template is None else session.model(spec.template)
    return Arm(spec.name, session.model(spec.model), template)


def _as_json(found: experiment.Result, facts: Facts, rules: Rules, inputs: str) -> dict[str, Any]:
    return {
        "arms": {
            arm: {
                "is": words_of,
                "valid": found.valid[arm]._asdict(),
                **endings_as_json(found.endings[arm]),
                "mean_tokens": found.lengths[arm],
                "self_check_z": found.self_check[arm],
                "letters_counted_as_words": found.by_letter[arm],
            }
            for arm, words_of in facts.arms.items()
        },
        "lines": [line._asdict() for line in found.lines],
        "counted_as_lost": [line._asdict() for line in found.counted_as_lost],
        "claim": "prompts like these" if found.is_general else "these prompts",
        "joint": {arm: parts for arm, parts in facts.parts.items() if len(parts) > 1},
        "prompts": list(facts.prompts),
        "n": facts.n,
        **measuring(rules, found.m_kinds, found.m_words),
        "inputs": inputs,
    }


def measuring(rules: Rules, m_kinds: int, m_words: int) -> dict[str, Any]:
    """By what everything was measured; `code` is the digest of the analysis, equal where numbers can be compared."""
    return {
        "prefix": rules.prefix,
        "prefix_unit": rules.unit,
        "m_kinds": m_kinds,
        "m_words": m_words,
        "kind_cut_cosine": KIND_CUT,
        "encoder": ENCODER,
        "code": cache.code_digest(),
    }
