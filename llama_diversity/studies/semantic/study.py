"""`semantic`: Experiment 2 of the paper on a pair or on all stages of a family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from llama_diversity import cache, embed, minilm
from llama_diversity.answers import Endings
from llama_diversity.render.jsonl import finite
from llama_diversity.studies.measuring.kinds import KIND_CUT
from llama_diversity.studies.prompts import MAX_TOKENS, PROMPT
from llama_diversity.studies.results import Result, endings_as_json, with_limits
from llama_diversity.studies.semantic.analysis import N_SAMPLES, Whole, whole
from llama_diversity.studies.semantic.exhibits import Facts, section
from llama_diversity.studies.study import Ask, Drawn, Method, NoAnswer, Study, check_n


@dataclass(frozen=True)
class Semantic(Study):
    """Completions of one prompt, raw, of every arm. Texts compare whatever the tokenizers."""

    name: ClassVar[str] = "semantic"
    title: ClassVar[str] = "Experiment 2: how alike are the completions?"
    least: ClassVar[int] = 2

    prompt: str = PROMPT
    n: int = N_SAMPLES
    max_tokens: int = MAX_TOKENS

    def check_settings(self) -> None:
        check_n(self.n, self.least, "completions, likeness needs two")

    def options(self) -> list[str]:
        return self.differing({"-p": "prompt", "-n": "n", "--max-tokens": "max_tokens"})

    def method(self) -> Method:
        return Method(
            "All arms completed one prompt, and each was held against the first.",
            {
                "distance of meanings (primary)": "mean over pairs of completions of 1 - cosine of embeddings",
                "TF-IDF cosine": "mean over pairs, words casefolded, IDF fitted on all arms together",
                "effective number of completions (Vendi)": "1 / mean squared cosine over pairs, corrected for n",
                "clusters": "k-means of all arms' embeddings together, k by the gap statistic",
                "alike pairs": f"share of pairs with a cosine of {KIND_CUT:g} or more",
                "kinds": f"complete linkage of all arms together, cosine {KIND_CUT:g} between any two of a kind",
            },
            "Intervals (95 %) are over completions, with the standard error of a mean over pairs: Welch's of "
            "differences, on the log scale of shares kept.",
            rules="Empty completions are left out.",
            rests_on=("encoder",),
        )

    def asks(self, arms: Sequence[str]) -> list[Ask]:
        return [Ask(arm, arm, self.prompt, self.n, self.max_tokens) for arm in arms]

    def show(self, drawn: Drawn) -> Result:
        answers = {arm: drawn.answers(arm) for arm in drawn.arms}
        endings = {arm: Endings.of(some, [one.flaw for one in some]) for arm, some in answers.items()}
        for arm, some in answers.items():
            if all(one.flaw for one in some) and any(one.is_thinking for one in some):
                raise NoAnswer(arm, endings[arm])
        texts = {arm: [one.text for one in some] for arm, some in answers.items()}
        embedded = drawn.embedded(texts)
        with drawn.session.listener.working("counting kinds"):
            found = cache.called(
                whole,
                texts,
                {arm: one.vectors for arm, one in embedded.items()},
                unread={arm: one.unread for arm, one in embedded.items()},
            )
        facts = Facts(
            prompt=self.prompt,
            models=drawn.arms,
            max_tokens=self.max_tokens,
            n_truncated={arm: one.n_truncated for arm, one in embedded.items()},
            encoder=f"{embed.REPO}, first {minilm.MAX_WORD_PIECES} word pieces",
            endings=endings,
        )
        return Result(section(found, facts, drawn.command), _as_json(found, facts), found)


def _as_json(found: Whole, facts: Facts) -> dict[str, Any]:
    def plain(numbers: Any) -> Any:
        return finite(numbers._asdict())

    arms = {
        arm: {
            "model": facts.models[arm],
            "texts": found.texts[arm]._asdict(),
            "letters_counted_as_words": found.cutting[arm].by_letter,
            "n_truncated": facts.n_truncated[arm],
            **endings_as_json(facts.endings[arm]),
            **({"unreadable": found.unreadable[arm]} if arm in found.unreadable else {}),
            "tf_idf_cosine": plain(found.result.words[arm].summary),
            "tf_idf_cosine_own_idf": plain(found.own_idf[arm].summary),
            "sbert_cosine": plain(found.result.meanings[arm].summary),
            "mean_pairwise_distance": found.distance[arm]._asdict(),
            "corrected_vendi": found.vendi[arm]._asdict(),
            "clusters": _occupied(found.classes.occupancy, arm),
            "kinds": _occupied(found.classes.kinds, arm),
            "kinds_among_m": {"m": found.m_kinds, **with_limits(found.rarefied[arm])},
            "alike_pairs": found.result.alike[arm]._asdict(),
            "own_k": {"silhouette": found.own_k[arm][0].k, "gap": found.own_k[arm][1].k},
        }
        for arm in found.texts
    }
    others, unfit = list(found.texts)[1:], found.result.words_unfit
    return {
        "arms": arms,
        "differences": {
            "definition": f"arm - {next(iter(arms))}, 95 % Welch interval over completions, jackknife standard errors",
            **{
                arm: {
                    "tf_idf_cosine": plain(found.result.words_differences[arm]),
                    **({"words_unfit": unfit[arm]} if arm in unfit else {}),
                    "sbert_cosine": plain(found.result.meanings_differences[arm]),
                    "mean_pairwise_distance_retained": found.distance_retained[arm]._asdict(),
                    "corrected_vendi_retained": found.vendi_retained[arm]._asdict(),
                    "kinds_among_m_retained": found.rarefied_retained[arm]._asdict(),
                    "alike_pairs": plain(found.result.alike_differences[arm]),
                }
                for arm in others
            },
        },
        "pooled_k": {"silhouette": found.classes.by_silhouette.k, "gap": found.classes.by_gap.k},
        "stability": found.classes.stability._asdict(),
        "perplexity": found.perplexity,
        "encoder": facts.encoder,
        "prompt": facts.prompt,
    }


def _occupied(occupancy: Mapping[str, Any], arm: str) -> dict[str, Any]:
    if arm not in occupancy:  # an arm that said nothing at all
        return {"counts": [], "effective": None}
    return {"counts": occupancy[arm].counts.tolist(), "effective": occupancy[arm].effective.value}
