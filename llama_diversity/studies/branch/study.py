"""`branch`: a model takes other ways than a text did, and goes on from there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from llama_diversity.errors import BadUsage, BadValue
from llama_diversity.records import Prompt, TokenStats, seen_ids
from llama_diversity.render.jsonl import finite
from llama_diversity.render.scales import scored_tokens
from llama_diversity.studies.branch import analysis
from llama_diversity.studies.branch.analysis import MAX_TOKENS, MOST_WAYS, N_SAMPLES, Gone, Token, Way, text_of
from llama_diversity.studies.branch.exhibits import MOST_TEXTS, Facts, section
from llama_diversity.studies.results import Result
from llama_diversity.studies.study import Ask, Drawn, Method, Study, check_n

ARM = "model"


@dataclass(frozen=True)
class Branch(Study):
    """Ways that leave a text behind a prompt; `words` are the options that name all of that."""

    name: ClassVar[str] = "branch"
    title: ClassVar[str] = "Where other ways lead"
    needs_encoder: ClassVar[bool] = False
    shows_parts: ClassVar[bool] = True

    prompt: Prompt
    ways: tuple[Way, ...] = (Way(),)
    n: int = N_SAMPLES
    max_tokens: int = MAX_TOKENS
    words: tuple[str, ...] = ()

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Branch:
        given = dict(settings)
        prompt, ways, words = (given.pop(name) for name in ("prompt", "ways", "words"))
        return cls(Prompt.of_fields(prompt), tuple(Way.of_fields(**one) for one in ways), words=tuple(words), **given)

    def check_settings(self) -> None:
        check_n(self.n, self.least, "continuations")
        if self.max_tokens < 1:
            raise BadValue("--max-tokens", self.max_tokens, "it must be at least 1")
        if not self.ways:
            raise BadUsage("There is no way left: leave out --only, or name one (--then TEXT, --top N, --way IDS).")
        if len(self.ways) > MOST_WAYS:
            raise BadValue("--way", len(self.ways), f"so many ways of one run are the most: {MOST_WAYS}")

    def options(self) -> list[str]:
        return [*self.words, *self.differing({"-n": "n", "--max-tokens": "max_tokens"})]

    def method(self) -> Method:
        return Method(
            "Tokens were taken by hand in place of what the text said, and the model went on from there.",
            {
                "mass": "exact probability, under the raw model at temperature 1, that a completion of the prompt "
                "begins with the way's tokens: a product over them, nothing sampled",
                "share": "samples of the way above that begin with what this one takes",
            },
            "Intervals are Wilson's of 95 %.",
        )

    def asks(self, arms: Sequence[str]) -> list[Ask]:
        return [ask_of(self, number, arms[0]) for number in range(len(self.ways))]

    def show(self, drawn: Drawn) -> Result:
        samples: dict[int, list[TokenStats]] = {}
        texts: dict[int, list[str]] = {number: [] for number in range(len(self.ways))}
        for number in range(len(self.ways)):
            if label(number) not in drawn.cells:
                continue
            samples[number] = []
            for one in drawn.stream(label(number)):
                samples[number].append(one.tokens)
                texts[number] += [one.text.decode("utf-8", "replace")] if one.index < MOST_TEXTS else []
        found = analysis.analyse(self.ways, samples)
        digest = drawn.recipe(label(0)).vocab_digest
        seen = {first.id for one in found for first in one.firsts}
        shown = {number: some[0] for number, some in samples.items() if some}
        seen |= {token for tokens in shown.values() for token in seen_ids(tokens)}
        pieces = drawn.store.pieces(digest, seen)
        facts = Facts(
            self.prompt.text,
            drawn.arms[ARM],
            {number: label(number) for number in range(len(self.ways))},
            pieces,
            {number: scored_tokens(tokens, pieces.__getitem__) for number, tokens in shown.items()},
            self.n,
            self.max_tokens,
            digest[:8],
            is_neutral=drawn.recipe(label(0)).is_neutral,
            texts=texts,
        )
        return Result(section(found, facts, drawn.command), _as_json(found, facts), found)


def label(number: int) -> str:
    """What a way is called in the run's cells."""
    return f"way {number + 1}"


def ask_of(study: Branch, number: int, arm: str) -> Ask:
    """What is asked of a way: as many continuations as the study wants, behind the tokens that it has."""
    tokens = study.ways[number].tokens
    prompt = study.prompt.with_path(tuple(one.id for one in tokens), text_of(tokens))
    return Ask(label(number), arm, prompt.text, study.n, study.max_tokens, is_shortened=True, prompt=prompt, repeat=0)


def _as_json(found: Sequence[Gone], facts: Facts) -> dict[str, Any]:
    return {
        "model": facts.model,
        "prompt": facts.prompt,
        "ways": [
            {
                "way": facts.labels[number],
                "stem": [_token_as_json(token) for token in one.way.stem],
                "said": None if one.way.said is None else _token_as_json(one.way.said),
                "taken": [_token_as_json(token) for token in one.way.taken],
                "mass": one.mass,
                "taken_probability": one.taken,
                "above": None if one.above is None else facts.labels[one.above],
                "share": None if one.share is None else one.share._asdict(),
                "expected": one.expected,
                "n": one.n,
                **finite({"entropy_bits": one.entropy_bits, "mean_bits": one.mean_bits}),
                "firsts": [
                    {
                        "id": first.id,
                        **spelled(facts.pieces[first.id].bytes, facts.pieces[first.id].control),
                        "probability": first.probability,
                        "drawn_with": first.drawn_with,
                        "share": first.share._asdict(),
                    }
                    for first in one.firsts
                ],
            }
            for number, one in enumerate(found)
        ],
        "n": facts.n,
        "max_tokens": facts.max_tokens,
    }


def _token_as_json(token: Token) -> dict[str, Any]:
    return {"id": token.id, **spelled(token.piece.bytes, token.control), "probability": token.probability}


def spelled(data: bytes, control: str | None) -> dict[str, Any]:
    """`text_hex` holds the true bytes where they are not UTF-8, and `text` then has replacement marks."""
    text = data.decode("utf-8", "replace")
    return {
        "text": text,
        **({"text_hex": data.hex()} if text.encode() != data else {}),
        **({"control": control} if control is not None else {}),
    }
