"""`personas`: Experiment 1 of the paper on a pair or on all stages of a family."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from llama_diversity import cache
from llama_diversity.answers import Answer
from llama_diversity.decimals import counted
from llama_diversity.errors import BadValue
from llama_diversity.metrics.inference import Summary, interval_of
from llama_diversity.records import Cell
from llama_diversity.render.jsonl import finite
from llama_diversity.studies.measuring.languages import unread_arms
from llama_diversity.studies.personas import analysis
from llama_diversity.studies.personas import sentences as review_sentences
from llama_diversity.studies.personas.examples import PRODUCT, document, request
from llama_diversity.studies.personas.exhibits import Facts, section
from llama_diversity.studies.results import Result, with_limits
from llama_diversity.studies.study import Ask, Drawn, Method, Study, check_n
from llama_diversity.studies.words import template_words

LEAST_ROOM = 64  # tokens that a whole persona takes


class Outcome(NamedTuple):
    """Fields and numbers of the personas, the sentences of their reviews, and every output, valid or not."""

    personas: analysis.Result
    sentences: review_sentences.Clusters
    rows: tuple[analysis.Row, ...]


@dataclass(frozen=True)
class Personas(Study):
    """The base continues forms with worked examples, in turn; the others are asked through their chat template."""

    name: ClassVar[str] = "personas"
    title: ClassVar[str] = "Experiment 1: how varied are the personas?"

    n: int = analysis.N_SAMPLES
    max_tokens: int = analysis.MAX_TOKENS
    is_bound: bool = False  # to a grammar of forms
    template_args: str | None = None
    product: str = PRODUCT

    def check_settings(self) -> None:
        check_n(self.n, self.least, "personas")
        if not self.product.strip():
            raise BadValue("--product", self.product, "say what the customers review")

    def check(self, cells: Sequence[Cell]) -> None:
        """Refuse a product that leaves no room for a persona; of the usual one the outputs say it."""
        for cell in cells if self.product != PRODUCT else []:
            if cell.recipe.max_tokens < min(self.max_tokens, LEAST_ROOM):
                n_prompt = counted(len(cell.recipe.prompt.ids), "token")
                raise BadValue(
                    "--product",
                    textwrap.shorten(self.product, 60, placeholder=" ..."),
                    f"the prompt of {cell.arm} has {n_prompt} with it, and the context of {cell.reference} no room for "
                    "a persona behind that; shorten it, or name a model with a longer context",
                )

    def options(self) -> list[str]:
        words = self.differing({"-n": "n", "--max-tokens": "max_tokens", "--product": "product"})
        return [*words, *(["--grammar"] if self.is_bound else []), *template_words(self.template_args)]

    def method(self) -> Method:
        return Method(
            "Each output is to be one persona: the first arm continues forms with worked examples, the others are "
            "asked through their chat template, so weights and way of asking change together."
            + ("" if self.product == PRODUCT else f" The product is “{self.product}”."),
            {
                "valid": "share of outputs in which all eight fields can be read, with Wilson's interval",
                "class entropy of each field": "after Chao, Wang and Jost, and the share of it that an arm keeps",
                "values among m": "values expected among m personas, m half of the smaller arm's valid ones",
                "concentration": "chance that two personas share the value",
                "coverage": "share of what the model gives that has been seen",
                "clusters of sentences": "k-means on the embeddings of the reviews' sentences, of all arms together",
                "age, length and sentiment of reviews": "means over valid personas; sentiment by VADER",
            },
            "Intervals are of 95 %: of entropies by the jackknife on the log scale, of means Welch's.",
            "p was adjusted after Holm over the six fields.",
            "Class entropy is not given below 25 valid personas, nor where less than half of the mass was seen.",
            ("encoder", "vader"),
        )

    def asks(self, arms: Sequence[str]) -> list[Ask]:
        base, *others = arms
        forms = [
            Ask(
                f"{base}, form {number}",
                base,
                document(number, n_examples=analysis.N_EXAMPLES, product=self.product),
                n=len(range(number, self.n, analysis.N_DOCUMENTS)),
                max_tokens=self.max_tokens,
                is_shortened=True,
                stop=analysis.STOP,
                grammar=analysis.FORM_GRAMMAR if self.is_bound else None,
            )
            for number in range(min(analysis.N_DOCUMENTS, self.n))
        ]
        return forms + [
            Ask(
                arm,
                arm,
                request(self.product),
                self.n,
                self.max_tokens,
                is_shortened=True,
                is_chat=True,
                grammar=analysis.CARD_GRAMMAR if self.is_bound else None,
                template_args=self.template_args,
            )
            for arm in others
        ]

    def show(self, drawn: Drawn) -> Result:
        base = next(iter(drawn.arms))
        labels: dict[str, list[str]] = {arm: [] for arm in drawn.arms}
        for ask in self.asks(tuple(drawn.arms)):
            labels[ask.arm].append(ask.label)
        answers: dict[str, list[Answer]] = {arm: [] for arm in drawn.arms}
        origins: dict[str, list[tuple[int, str]]] = {arm: [] for arm in drawn.arms}
        for arm, some in labels.items():  # forms are asked in turn: of three forms the second has outputs 1, 4, 7, ...
            for number, label in enumerate(some):
                for sample, answer in drawn.read(label):
                    answers[arm].append(answer)
                    origins[arm].append((number + len(some) * sample.index, sample.id))
        found = analysis.analyse(answers, forms=[base])
        said = review_sentences.sentences_of(found)
        embedded = drawn.embedded(said)
        vectors = {arm: one.vectors for arm, one in embedded.items()}
        with drawn.session.listener.working("clustering sentences"):
            clusters = cache.called(review_sentences.cluster, said, vectors)
        asked = {arm: _asked(drawn, some, len(answers[arm])) for arm, some in labels.items()}
        unread = unread_arms({arm: one.unread for arm, one in embedded.items()})
        other = "" if self.product == PRODUCT else self.product
        facts = Facts(drawn.arms, asked, other, is_bound=self.is_bound, unread=unread)
        return Result(
            section(found, clusters, facts, drawn.command),
            _as_json(found, clusters, facts),
            Outcome(
                found,
                clusters,
                tuple(row for arm, one in found.arms.items() for row in analysis.rows(arm, one.outputs, origins[arm])),
            ),
        )


def _asked(drawn: Drawn, labels: Sequence[str], n: int) -> str:
    recipes = [drawn.recipe(label) for label in labels]
    longest = min(recipe.max_tokens for recipe in recipes)
    way = "the chat template" if recipes[0].prompt.mode == "chat" else f"{len(labels)} forms with worked examples"
    return f"{n} by {way}, at most {counted(longest, 'token')}"


def _summed_up(summary: Summary) -> dict[str, Any]:
    """With the ends of the mean's 95 % interval."""
    found = interval_of(summary)
    return finite({**summary._asdict(), "low": found.low, "high": found.high})


def _as_json(found: analysis.Result, clusters: review_sentences.Clusters, facts: Facts) -> dict[str, Any]:
    arms = {
        name: {
            "model": facts.models[name],
            "n": arm.n,
            "valid": arm.valid._asdict(),
            "cut_off": arm.n_cut_off,
            "reasons": dict(arm.reasons),
            "reviews_of_unknown_tone": arm.n_unknown_tones,
            "reviews_in_another_language": arm.n_other_language,
            "fields": {
                field: {
                    "counts": dict(one.counts),
                    "spellings": one.n_spellings,
                    "entropy_nats": one.entropy_nats._asdict(),
                    "effective": analysis.effective(one)._asdict(),
                    "rarefied": {"m": found.m, **one.rarefied._asdict()},
                    "concentration": one.concentration._asdict(),
                    "concentration_of_all_outputs": one.concentration_of_all,
                    "coverage": one.coverage._asdict(),
                }
                for field, one in arm.fields.items()
            },
            "women": analysis.women(arm)._asdict(),
            "age_spread": with_limits(analysis.spread_of_ages(arm)),
            "numbers": {number: _summed_up(summary) for number, summary in arm.summaries.items()},
            "sentences": {
                "n": clusters.arms.count(name),
                "own_k": {"silhouette": clusters.own[name].by_silhouette.k, "gap": clusters.own[name].by_gap.k},
                "pooled_clusters_effective": clusters.effective[name].value,
            },
        }
        for name, arm in found.arms.items()
    }
    differences = {
        name: {
            "retained": {
                field: {**one._asdict(), "p_holm": found.adjusted_p[name][field]} for field, one in fields.items()
            },
            "numbers": {number: finite(one._asdict()) for number, one in found.differences[name].items()},
        }
        for name, fields in found.retained.items()
    }
    return {"arms": arms, "differences": differences, "pooled_k": clusters.pooled.k, "grammar": facts.is_bound}
