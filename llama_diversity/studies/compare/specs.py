"""An arm of a comparison as it is typed, NAME=MODEL and what differs, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llama_diversity.errors import BadUsage, BadValue
from llama_diversity.mixtures import split_parts
from llama_diversity.studies.arms import Choice, named
from llama_diversity.studies.compare.asking import MOST_K, UNITS, WAYS, K
from llama_diversity.studies.prompts import named_again, read_prompts
from llama_diversity.studies.samplers import SAMPLER_KEYS, number_of, sampler_fields, sampler_parts, under
from llama_diversity.studies.study import check_n
from llama_diversity.studies.words import arg_words, template_args_of

_ARG = "arg."  # before the name of a value for an arm's chat template


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
    ask: str | None = None  # a key of WAYS; None: the prompt alone
    k: int = K  # answers of a call or chain
    has_one_word: bool = False  # the same seed word in all calls of a prompt
    words: str | None = None  # the file of the seed words, with its digest; None for those that ship
    word_list: str = ""  # what that file held, a word a line
    planner: str | None = None  # the model that plans

    @property
    def unit(self) -> str | None:
        """What several outputs come in, which are not independent then; None where each is asked for by itself."""
        return UNITS.get(self.ask or "")

    @property
    def way(self) -> tuple[object, ...]:
        """All that the way of asking is made of."""
        return self.ask, self.unit and self.k, self.has_one_word, self.word_list, self.planner

    def way_words(self) -> str:
        """The same for a reader."""
        of_file = f" of {self.words}" if self.words else ""
        words = "one seed word for all calls of a prompt" if self.has_one_word else "a seed word a call"
        return {
            "verbalized": f"{self.k} answers a call with stated probabilities",
            "listed": f"chains of {self.k}, earlier answers listed",
            "seeded": f"{words}{of_file}",
            "plan": f"planned by {self.planner}",
        }.get(self.ask or "", "")

    def n_asks(self, n: int) -> int:
        """Calls or chains that `n` outputs take."""
        return -(-n // self.k) if self.unit else n

    def word(self) -> str:
        """The same as the value of --arm."""
        parts = [f"{self.name}={self.model}", *(["chat"] if self.is_chat else [])]
        parts += [f"template={self.template}"] if self.template else []
        parts += [f"{_ARG}{word}" for word in arg_words(self.template_args)]
        parts += [f"start={self.start}"] if self.start is not None else []
        parts += [f"ask={self.ask}"] if self.ask else []
        parts += [f"k={self.k}"] if self.unit and self.k != K else []
        parts += ["word=same"] if self.has_one_word else []
        parts += [f"words={self.words}"] if self.words else []
        parts += [f"planner={self.planner}"] if self.planner else []
        parts += sampler_parts(self.sampler)
        parts += [f"n={self.n}"] if self.n is not None else []
        parts += [f"seed={self.seed}"] if self.seed else []
        return ",".join([*parts, *([f"system={self.system}"] if self.system is not None else [])])


def parse_arm(text: str) -> ArmSpec:
    """An arm as typed. Raises BadValue.

    >>> parse_arm("cold=tiny-base,chat,T=0.7,system=Be brief, please.")  # doctest: +ELLIPSIS
    ArmSpec(name='cold', model='tiny-base', is_chat=True, ..., system='Be brief, please.', ..., sampler={...0.7}, ...)
    """
    text, _, system = text.partition(",system=")
    name, is_named, rest = text.partition("=")
    model, *parts = split_parts(rest)
    if not is_named or not name.strip() or not model.strip():
        raise BadValue("--arm", text, "write NAME=MODEL, for example cold=tiny-base,T=0.7")
    option = f"--arm {name.strip()}"
    found: dict[str, Any] = {"system": system or None}
    sampler = [part for part in parts if part.partition("=")[0] in SAMPLER_KEYS]
    args = [part for part in parts if part.startswith(_ARG)]
    asking = [part for part in parts if part.partition("=")[0] in WAY_KEYS]
    found["template_args"] = template_args_of([part.removeprefix(_ARG) for part in args], option)
    for part in parts:
        key, _, value = part.partition("=")
        if part in sampler or part in args or part in asking:
            continue
        if key == "chat" and not value:
            found["is_chat"] = True
        elif key in ("template", "start") and value:
            found[key] = value
        elif key in ("n", "seed"):
            found[key] = number_of(option, part, int)
        else:
            raise BadValue(
                option,
                part,
                f"a part is chat, template=MODEL, {_ARG}KEY=VALUE, start=START, n=N, seed=N, "
                f"{'=, '.join((*WAY_KEYS, *SAMPLER_KEYS))}= or system=TEXT",
            )
    if (found["system"] or found.get("template") or args) and not found.get("is_chat"):
        raise BadValue(option, text, f"template, {_ARG}KEY and system need chat")
    found |= way_fields(option, asking, is_chat=found.get("is_chat", False))
    if found.get("start") and found.get("is_chat"):
        raise BadValue(option, text, "start is for raw prompts; a chat template writes its own beginning")
    _check_numbers(option, found)
    return ArmSpec(name.strip(), model.strip(), sampler=sampler_fields(option, sampler), **found)


WAY_KEYS = ("ask", "k", "word", "words", "planner")
_OF_WAY = {"k": ("verbalized", "listed"), "word": ("seeded",), "words": ("seeded",), "planner": ("plan",)}


def way_fields(option: str, parts: Sequence[str], *, is_chat: bool) -> dict[str, Any]:
    """The way of asking as typed, ask=verbalized and k=5, by the fields of an arm. Raises BadValue."""
    given = {key: value for key, _, value in (part.partition("=") for part in parts)}
    way = given.get("ask")
    if len(given) < len(parts):
        raise BadValue(option, ",".join(parts), "a key is there twice; leave one out")
    if way is not None and way not in WAYS:
        raise BadValue(option, f"ask={way}", f"the ways are {', '.join(WAYS)}")
    for key in given.keys() - {"ask"}:
        if way not in _OF_WAY[key]:
            raise BadValue(option, f"{key}={given[key]}", f"it belongs to ask={' or ask='.join(_OF_WAY[key])}")
    if way in ("verbalized", "plan") and not is_chat:
        needs = "asks for a form that base models do not know" if way == "verbalized" else "is a request"
        raise BadValue(option, f"ask={way}", f"it {needs}: add chat, and name a model with a chat template")
    if way == "plan" and not given.get("planner"):
        raise BadValue(option, "ask=plan", "name the model that plans: planner=MODEL")
    k = int(number_of(option, f"k={given['k']}", int)) if "k" in given else K
    if not 2 <= k <= MOST_K:
        raise BadValue(option, f"k={k}", f"ask for 2 to {MOST_K} answers of a call or chain")
    if given.get("word", "same") != "same":
        raise BadValue(
            option, f"word={given['word']}", "write word=same, or leave it out for a word drawn in each call"
        )
    found: dict[str, Any] = {"ask": way, "k": k, "has_one_word": "word" in given, "planner": given.get("planner")}
    return found | (_words(option, given["words"]) if "words" in given else {})


def _words(option: str, file: str) -> dict[str, str]:
    """The seed words of a file of one's own. Raises BadValue."""
    with under(option, f"words={file}"):
        texts = read_prompts((), file, None).texts
    if len(texts) < 2:
        raise BadValue(option, f"words={file}", "it holds one word; a word is drawn of two or more")
    return {"words": named_again(file, texts), "word_list": "\n".join(texts)}


def _check_numbers(option: str, found: Mapping[str, Any]) -> None:
    """Refuse an arm's n and seed as -n and --seed are, under the arm's name."""
    if "n" in found:
        with under(option, f"n={found['n']}"):
            check_n(found["n"], 2, "generations")
    if not 0 <= found.get("seed", 0) < 2**64:
        raise BadValue(option, f"seed={found['seed']}", "it must lie between 0 and 2**64 - 1")


def arm_words(specs: Sequence[ArmSpec], choice: Choice, *, is_typed: bool) -> list[str]:
    """The options that name the arms: one by one where they were typed so, else their choice."""
    return [part for spec in specs for part in ("--arm", spec.word())] if is_typed else choice.words()


def specs_of(choice: Choice, typed: Sequence[str]) -> tuple[ArmSpec, ...]:
    """The arms by --arm, or the raw models of a pair or ladder. Raises BadUsage, BadValue, UnknownName."""
    if not typed:
        return tuple(ArmSpec(name, reference) for name, reference in named(choice))
    if any(choice):
        raise BadUsage("Name the arms by --arm, or by --pair, --base and --aligned, or --ladder.")
    specs = tuple(parse_arm(one) for one in typed)
    names = [spec.name for spec in specs]
    if len(specs) < 2 or len(set(names)) < len(names):
        raise BadUsage("A comparison needs two arms or more, each with a name of its own: --arm NAME=MODEL.")
    return specs
