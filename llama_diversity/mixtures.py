"""What a mixture is, as it is typed and as a recipe keeps it: mix:BASE,ALIGNED,lambda=0.5. Knows no model."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from llama_diversity.decimals import counted
from llama_diversity.errors import BadValue
from llama_diversity.served import cut_served, is_served

if TYPE_CHECKING:  # the table of models is read without numpy
    from llama_diversity.records import ModelRef, Prompt, Recipe

PREFIX = "mix:"
RULES = {  # name -> from, to, what it does
    "lambda": (-2.0, 3.0, "log-probabilities weighed 1 - lambda and lambda; beyond 0 and 1 it goes on in line"),
    "linear": (0.0, 1.0, "probabilities weighed 1 - w and w"),
    "proxy": (-4.0, 4.0, "a large base and what a small pair differs by, that times the number"),
}
ROUTES = {  # name -> from, to, which words are the base's
    "random": (0.0, 1.0, "this share of the words"),
    "confidence": (0.0, 1.0, "where the base's likeliest token has less than this probability"),
    "entropy": (0.0, 32.0, "where the base's entropy is above so many bits"),
    "punctuation": None,  # all but where the aligned model's likeliest token is punctuation
}
WHOLE_ONLY = "is on a server, which hands out no whole distributions to mix; name a GGUF file"
_ROUTE = "route"
_WRITE = "write mix:BASE,ALIGNED and lambda=L, linear=W or route=random:R, confidence:P, entropy:BITS or punctuation"


class Rule(NamedTuple):
    """How rows are mixed: one of RULES, or "route" with one of ROUTES; `number` is nan where it has none."""

    name: str
    number: float
    route: str = ""

    @property
    def n_models(self) -> int:
        """How many models it takes."""
        return 3 if self.name == "proxy" else 2

    @property
    def is_routed(self) -> bool:
        """Whether every word is one model's."""
        return self.name == _ROUTE

    @property
    def weights(self) -> tuple[float, ...]:
        """What the models' rows are multiplied by: logits, or of "linear" probabilities."""
        return (1.0, -self.number, self.number) if self.name == "proxy" else (1 - self.number, self.number)

    def word(self) -> str:
        """As it is typed."""
        if not self.is_routed:
            return f"{self.name}={_typed(self.number)}"
        return f"{_ROUTE}={self.route}" + ("" if math.isnan(self.number) else f":{_typed(self.number)}")

    def to_json(self) -> str:
        """As a recipe keeps it: full precision, sorted keys."""
        fields = {"rule": self.name, "number": None if math.isnan(self.number) else self.number, "route": self.route}
        return json.dumps({key: value for key, value in fields.items() if value not in (None, "")}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Rule:
        """The inverse of `to_json`."""
        fields = json.loads(text)
        return cls(fields["rule"], fields.get("number", math.nan), fields.get("route", ""))


class Typed(NamedTuple):
    """The models of a mixture by name, in order, and how they are mixed."""

    models: tuple[str, ...]
    rule: Rule


def is_mixture(reference: str) -> bool:
    """Whether a model's name is a mixture's."""
    return reference.startswith(PREFIX)


def parse_mixture(reference: str) -> Typed:
    """A mixture as it is typed. Raises BadValue.

    >>> parse_mixture("mix:tiny-base,tiny-aligned,lambda=0.5")
    Typed(models=('tiny-base', 'tiny-aligned'), rule=Rule(name='lambda', number=0.5, route=''))
    """
    typed, rest = cut_mixture(reference)
    if rest:
        raise BadValue("the mixture", reference, f"{rest[0]!r} is none of its parts; {_WRITE}")
    return parse_mixture_parts(reference, typed.removeprefix(PREFIX).split(","))


def parse_mixture_parts(reference: str, parts: Sequence[str]) -> Typed:
    """The same from what stands between the commas."""
    models = [part.strip() for part in parts if not _is_rule(part)]
    served = next(filter(is_served, models), None)
    if served is not None:
        raise BadValue("the mixture", reference, f"{served.partition(',')[0]} {WHOLE_ONLY}")
    rules = [part for part in parts if _is_rule(part)]
    if len(rules) != 1 or not all(models):
        raise BadValue("the mixture", reference, _WRITE)
    rule = _rule(reference, rules[0])
    if len(models) != rule.n_models:
        needs = "a large base and a small pair: mix:LARGE,SMALL_BASE,SMALL_ALIGNED,proxy=1"
        comma = "; a file with a comma in its name needs another one (`llamadiv models add`)" if models[2:] else ""
        wanted = f"proxy takes {needs}" if rule.n_models == 3 else _WRITE
        raise BadValue("the mixture", reference, f"it names {counted(len(models), 'model')}: {wanted}{comma}")
    nested = [one for one in models if is_mixture(one)]
    if nested:
        raise BadValue("the mixture", reference, "a mixture is of models, not of mixtures")
    return Typed(tuple(models), rule)


def cut_mixture(text: str) -> tuple[str, list[str]]:
    """The name of a mixture at the beginning of `text`, and the parts behind it: it ends with its rule.

    >>> cut_mixture("mix:a,b,lambda=0.5,T=0.7,chat")
    ('mix:a,b,lambda=0.5', ['T=0.7', 'chat'])
    """
    parts = text.split(",")
    n = _until_rule(parts)
    return ",".join(parts[:n]), parts[n:]


def split_parts(text: str) -> list[str]:
    """What stands between commas, as the models of an arm and what differs; commas of a mixture and of servers stay.

    >>> split_parts("mix:a,b,lambda=0.5,T=0.7,planner=mix:c,d,linear=1,chat")
    ['mix:a,b,lambda=0.5', 'T=0.7', 'planner=mix:c,d,linear=1', 'chat']
    """
    found, parts = [], text.split(",")
    while parts:
        model = parts[0].rpartition("=")[2].strip()
        n = _until_rule(parts) if is_mixture(model) else cut_served(parts) if is_served(model) else 1
        found.append(",".join(parts[:n]))
        parts = parts[n:]
    return found


def _until_rule(parts: Sequence[str]) -> int:
    return next((at + 1 for at, part in enumerate(parts) if _is_rule(part)), len(parts))


def mixture_digest(rule: Rule, parts: Sequence[ModelRef]) -> str:
    """sha256 of all that a mixture is: its rule and the digests of its models, in order."""
    named = [[part.engine, part.weights] for part in parts]
    return hashlib.sha256(repr((rule.to_json(), named)).encode()).hexdigest()


def mixture_words(model: ModelRef) -> str:
    """What a recipe says of a mixture: the digests of its models, in order, and the rule."""
    fields = {"models": [part.weights for part in model.parts], **json.loads(model.location)}
    return json.dumps(fields, sort_keys=True)


def digests_in(words: str | None) -> list[str]:
    """The digests of a mixture's models, as a recipe says them; of other recipes none."""
    return [] if words is None else list(json.loads(words)["models"])


def priced(recipe: Recipe, n_tokens: int) -> tuple[int, int]:
    """What a sample of `n_tokens` costs, tokens written and read: every model of a mixture writes and reads all."""
    n_models = len(digests_in(recipe.mixture)) or 1
    return n_models * n_tokens, sum(len(recipe.prompt.of(model).ids) for model in range(n_models))


def raw_words(reference: str, prompt: Prompt) -> str:
    """Which models of a mixture read raw what others read through their templates; empty for none."""
    if prompt.mode != "chat" or not prompt.others or not is_mixture(reference):
        return ""
    names = parse_mixture(reference).models
    raw = [name for name, reading in zip(names, prompt.readings, strict=True) if reading.mode == "raw"]
    return f"{' and '.join(raw)} raw" if raw else ""


def _is_rule(part: str) -> bool:
    name, is_set, _ = part.partition("=")
    return bool(is_set) and (name.strip() in RULES or name.strip() == _ROUTE)


def _rule(reference: str, part: str) -> Rule:
    name, _, value = (one.strip() for one in part.partition("="))
    if name != _ROUTE:
        low, high, _ = RULES[name]
        return Rule(name, _number(reference, part, value, low, high))
    route, is_set, value = value.partition(":")
    if route not in ROUTES:
        raise BadValue("the mixture", reference, f"a route is {', '.join(ROUTES)}")
    ends = ROUTES[route]
    if (ends is None) == bool(is_set):
        needs = "takes no number" if ends is None else f"takes a number: route={route}:{ends[0]:g} to {ends[1]:g}"
        raise BadValue("the mixture", reference, f"route={route} {needs}")
    return Rule(_ROUTE, math.nan if ends is None else _number(reference, part, value, ends[0], ends[1]), route)


def _typed(number: float) -> str:
    """In full, since other digits are another mixture."""
    return repr(number).removesuffix(".0")


def _number(reference: str, part: str, value: str, low: float, high: float) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not low <= number <= high:
        raise BadValue("the mixture", reference, f"in {part} it must be a number from {low:g} to {high:g}")
    return number + 0.0  # no -0
