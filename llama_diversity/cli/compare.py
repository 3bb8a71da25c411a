"""`llamadiv compare`: which of several arms is more diverse, over one or many prompts; it says when it cannot tell."""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import click
import numpy as np
import numpy.typing as npt

from llama_diversity import cache, embed, minilm
from llama_diversity.answers import Answer, Endings
from llama_diversity.cli.arms import Arm, Choice, arms_options, resolve_choice
from llama_diversity.cli.experiment import Ask, Drawn, Experiment, check_n, conducted
from llama_diversity.cli.figure_options import figure_options
from llama_diversity.cli.options import (
    Common,
    Drawing,
    arg_words,
    common_options,
    drawing_options,
    layout_options,
    refuse_cuts_of_greedy,
    start_words,
    template_args_of,
)
from llama_diversity.cli.progress import progress_line
from llama_diversity.cli.prompts import prompts_options, read_prompts
from llama_diversity.cli.resolve import resolve_model
from llama_diversity.cli.results import Result, endings_as_json, give, make_folder
from llama_diversity.engines import EngineOptions
from llama_diversity.errors import BadValue, LlamadivError
from llama_diversity.exhibits.compare import Facts, section
from llama_diversity.experiments import compare as experiment
from llama_diversity.experiments.measured import Generations, Rules, common_prefix
from llama_diversity.experiments.modes import MOST_BY_MEANING
from llama_diversity.experiments.refusals import LEAST_VALID
from llama_diversity.experiments.semantic import KIND_CUT
from llama_diversity.experiments.syntactic import excess_variance_bits2
from llama_diversity.records import Cell, Recipe, Sampler, TokenStats
from llama_diversity.text import beginning, words

N_SAMPLES, MAX_TOKENS = 50, 64
_SEED = 1_000_003  # more than any number of prompts
_ARG = "arg."  # before the name of a value for an arm's chat template
_SAMPLER = {"T": "temperature", "top_k": "top_k", "top_p": "top_p", "min_p": "min_p"}
NOT_AS_ASKED = "not what --valid asks for"
ENCODER = f"{embed.REPO}, first {minilm.MAX_WORD_PIECES} word pieces"


class NotComparable(LlamadivError):
    """The arms cannot be compared as they are."""


@dataclass(frozen=True)
class ArmSpec:
    """One arm as it was typed: NAME=MODEL and what differs from the command's options."""

    name: str
    model: str
    is_chat: bool = False
    template: str | None = None  # the model whose template is borrowed
    system: str | None = None
    n: int | None = None
    seed: int = 0  # arms of one recipe and different seeds are an A/A comparison
    sampler: dict[str, float] = field(default_factory=dict)
    template_args: str | None = None  # values for the chat template, a JSON object
    start: str | None = None  # of raw prompts, in place of --start

    def word(self) -> str:
        """The same as the value of --arm."""
        parts = [f"{self.name}={self.model}", *(["chat"] if self.is_chat else [])]
        parts += [f"template={self.template}"] if self.template else []
        parts += [f"{_ARG}{word}" for word in arg_words(self.template_args)]
        parts += [f"start={self.start}"] if self.start is not None else []
        names = {value: key for key, value in _SAMPLER.items()}
        parts += [f"{names[key]}={value:g}" for key, value in self.sampler.items()]
        parts += [f"n={self.n}"] if self.n is not None else []
        parts += [f"seed={self.seed}"] if self.seed else []
        return ",".join([*parts, *([f"system={self.system}"] if self.system is not None else [])])


@dataclass(frozen=True)
class Compare(Experiment):
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
        with progress_line(drawn.common, "comparing"):
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


# ---- the command


@click.command()
@arms_options
@click.option("--arm", "typed", multiple=True, metavar="NAME=MODEL[,...]", help="An arm of your own; see above.")
@prompts_options
@click.option("-n", "n_samples", type=int, default=N_SAMPLES, show_default=True, help="Generations of each prompt.")
@click.option("--max-tokens", type=int, default=MAX_TOKENS, show_default=True, help="Longest generation.")
@click.option("--prefix", type=click.IntRange(1), help="Judge the first so many tokens only.")
@click.option(
    "--equal-n", is_flag=True, help="Of arms of different n take the first of each, as many as the smallest has."
)
@click.option("--joint", is_flag=True, help="Report arms that differ in more than one part; the effect is a joint one.")
@click.option("--valid", metavar="PATTERN", help="A regular expression that a valid output must contain.")
@figure_options
@drawing_options
@layout_options
@common_options
def compare(
    *,
    choice: Choice,
    typed: tuple[str, ...],
    prompts: tuple[str, ...],
    file: str | None,
    prompt_set: str | None,
    n_samples: int,
    max_tokens: int,
    prefix: int | None,
    equal_n: bool,
    joint: bool,
    valid: str | None,
    out: Path | None,
    drawing: Drawing,
    layout: EngineOptions,
    common: Common,
) -> None:
    """Which of two or more arms is more diverse, and by how much? With intervals that hold, or the reason for none.

    An arm is NAME=MODEL and what differs, by commas: chat (ask through the chat template), template=MODEL (another
    model's), arg.KEY=VALUE (a value for it, like arg.enable_thinking=false: it does what --template-arg does in other
    commands), start=bos (what a raw prompt begins with), T=0.8, top_k=40, top_p=0.9, min_p=0.05, n=100, seed=1, and
    last system=TEXT. Arms that differ in the seed alone are one recipe twice: what `compare` says of those is chance.

    \b
    Examples:
      llamadiv compare --ladder tiny
      llamadiv compare --arm cold=tiny-base,T=0.7 --arm warm=tiny-base -p "Grace Hopper was"
    """
    check_n(n_samples, 2, "generations")
    check_pattern(valid)
    specs, arms = _arms(choice, typed, common)
    for spec in specs:
        check_cuts(f"--arm {spec.name}", spec.sampler, drawing.sampler)
    texts, words_of = read_prompts(prompts, file, prompt_set)
    one = Compare(specs, texts, words_of, n_samples, max_tokens, prefix, equal_n, joint, valid)
    named = choice.words() if not typed else [part for spec in specs for part in ("--arm", spec.word())]
    make_folder(out)
    with conducted([one], arms, named, drawing=drawing, layout=layout, common=common) as (run_id, [drawn]):
        result = one.shown(drawn)
    give(result, out=out, run_id=run_id, common=common)


def check_pattern(valid: str | None) -> None:
    """Raises BadValue for what is no regular expression."""
    try:
        re.compile(valid or "")
    except re.error as error:
        raise BadValue("--valid", str(valid), f"it is no regular expression: {error}") from error


def _arms(choice: Choice, typed: Sequence[str], common: Common) -> tuple[tuple[ArmSpec, ...], list[Arm]]:
    """The arms by --arm, or the raw models of a pair or ladder."""
    if not typed:
        found = resolve_choice(choice, common)
        return tuple(ArmSpec(arm.name, arm.model.reference) for arm in found), found
    if any(choice):
        raise click.UsageError("Name the arms by --arm, or by --pair, --base and --aligned, or --ladder.")
    specs = tuple(parse_arm(one) for one in typed)
    names = [spec.name for spec in specs]
    if len(specs) < 2 or len(set(names)) < len(names):
        raise click.UsageError("A comparison needs two arms or more, each with a name of its own: --arm NAME=MODEL.")
    return specs, [resolve_spec(spec, common) for spec in specs]


def resolve_spec(spec: ArmSpec, common: Common) -> Arm:
    """The model of an arm, and the one whose template it borrows."""
    template = None if spec.template is None else resolve_model(spec.template, common=common)
    return Arm(spec.name, resolve_model(spec.model, common=common), template)


def parse_arm(text: str) -> ArmSpec:
    """An arm as typed. Raises BadValue.

    >>> parse_arm("cold=tiny-base,chat,T=0.7,system=Be brief, please.")  # doctest: +ELLIPSIS
    ArmSpec(name='cold', model='tiny-base', is_chat=True, ..., system='Be brief, please.', ..., sampler={...0.7}, ...)
    """
    text, _, system = text.partition(",system=")
    name, is_named, rest = text.partition("=")
    model, *parts = rest.split(",")
    if not is_named or not name.strip() or not model.strip():
        raise BadValue("--arm", text, "write NAME=MODEL, for example cold=tiny-base,T=0.7")
    option = f"--arm {name.strip()}"
    found: dict[str, Any] = {"system": system or None}
    sampler = [part for part in parts if part.partition("=")[0] in _SAMPLER]
    args = [part for part in parts if part.startswith(_ARG)]
    found["template_args"] = template_args_of([part.removeprefix(_ARG) for part in args], option)
    for part in parts:
        key, _, value = part.partition("=")
        if part in sampler or part in args:
            continue
        if key == "chat" and not value:
            found["is_chat"] = True
        elif key in ("template", "start") and value:
            found[key] = value
        elif key in ("n", "seed"):
            found[key] = _number(option, part, int)
        else:
            raise BadValue(
                option,
                part,
                f"a part is chat, template=MODEL, {_ARG}KEY=VALUE, start=START, n=N, seed=N, "
                f"{'=, '.join(_SAMPLER)}= or system=TEXT",
            )
    if (found["system"] or found.get("template") or args) and not found.get("is_chat"):
        raise BadValue(option, text, f"template, {_ARG}KEY and system need chat")
    if found.get("start") and found.get("is_chat"):
        raise BadValue(option, text, "start is for raw prompts; a chat template writes its own beginning")
    _check_numbers(option, found)
    return ArmSpec(name.strip(), model.strip(), sampler=_sampler_fields(option, sampler), **found)


def _check_numbers(option: str, found: Mapping[str, Any]) -> None:
    """Refuse an arm's n and seed as -n and --seed are, under the arm's name."""
    if "n" in found:
        with _under(option, f"n={found['n']}"):
            check_n(found["n"], 2, "generations")
    if not 0 <= found.get("seed", 0) < 2**64:
        raise BadValue(option, f"seed={found['seed']}", "it must lie between 0 and 2**64 - 1")


def parse_sampler(text: str) -> dict[str, float]:
    """The fields of a sampler as typed for --sampler. Raises BadValue.

    >>> parse_sampler("T=0.7,top_k=40")
    {'temperature': 0.7, 'top_k': 40}
    """
    return _sampler_fields("--sampler", text.split(","))


def check_cuts(option: str, changed: Mapping[str, float], typed: Sampler) -> None:
    """Refuse what cuts tokens off where an arm, whose fields are `changed`, is greedy, as the options are refused.

    Cuts that were typed for all arms are not those of a greedy one: its recipe is without them. Raises BadValue.
    """
    temperature = changed.get("temperature", typed.temperature)
    names = {value: key for key, value in _SAMPLER.items()}
    for name, value in changed.items():
        with _under(option, f"{names[name]}={value:g}"):
            refuse_cuts_of_greedy(Sampler(**{"temperature": temperature, name: value}))  # type: ignore[arg-type]


def _sampler_fields(option: str, parts: Sequence[str]) -> dict[str, float]:
    """Parts as T=0.7 by the names of the sampler's fields. Raises BadValue."""
    found: dict[str, float] = {}
    for part in parts:
        key = part.partition("=")[0]
        if key not in _SAMPLER:
            raise BadValue(option, part, f"a part is {'=, '.join(_SAMPLER)}=")
        if _SAMPLER[key] in found:
            raise BadValue(option, part, f"{key} is there twice; leave one out")
        found[_SAMPLER[key]] = _number(option, part, int if key == "top_k" else float)
        with _under(option, part):
            Sampler(**{_SAMPLER[key]: found[_SAMPLER[key]]})  # type: ignore[arg-type]  # top_k is an int
    return found


def _number(option: str, part: str, kind: type[int] | type[float]) -> float:
    try:
        return kind(part.partition("=")[2])
    except ValueError as error:
        raise BadValue(option, part, "it needs a number") from error


@contextlib.contextmanager
def _under(option: str, part: str) -> Iterator[None]:
    """Within it a value is refused under the name by which it was typed."""
    try:
        yield
    except BadValue as error:
        raise BadValue(option, part, str(error).partition("; ")[2].removesuffix(".")) from error


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
