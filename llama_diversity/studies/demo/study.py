"""`demo`: two of the paper's experiments at half their size, so that a first look takes a minute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llama_diversity.metrics.inference import Difference
from llama_diversity.metrics.similarity import Similarity
from llama_diversity.render.exhibits import Plain
from llama_diversity.render.heatmap import GenerationsHeatmap
from llama_diversity.render.jsonl import finite
from llama_diversity.studies.arms import Arm
from llama_diversity.studies.conduct import conducted
from llama_diversity.studies.demo.exhibits import Row, in_short
from llama_diversity.studies.drawing import Drawing
from llama_diversity.studies.measuring.languages import unread_arms
from llama_diversity.studies.results import plain_as_json
from llama_diversity.studies.semantic import analysis as semantic
from llama_diversity.studies.semantic.study import Semantic
from llama_diversity.studies.session import Session
from llama_diversity.studies.study import Drawn
from llama_diversity.studies.syntactic import analysis as syntactic
from llama_diversity.studies.syntactic.study import Syntactic

_N_SYNTACTIC, _N_SEMANTIC = 100, 100  # the paper's number, and half of it
_N_SHOWN_TOKENS = 48


@dataclass(frozen=True)
class Demo:
    """What is shown: a row a quantity, and the first completion of each arm."""

    models: Mapping[str, str]
    experiments: Mapping[str, Mapping[str, Any]]
    rows: Mapping[str, Row]
    heatmap: GenerationsHeatmap
    plain: Plain
    starts: Mapping[str, Sequence[str]]
    seed: int
    run: str

    def to_dict(self) -> dict[str, Any]:
        """All numbers as JSON has them."""
        measures = {
            name: {part: finite(numbers._asdict()) for part, numbers in row._asdict().items()}
            for name, row in self.rows.items()
        }
        return {
            **plain_as_json(self.plain),
            "models": dict(self.models),
            "experiments": dict(self.experiments),
            "measures": measures,
            "starts": dict(self.starts),
            "seed": self.seed,
            "run": self.run,
        }


def demonstrate(arms: Sequence[Arm], *, drawing: Drawing, session: Session, words: Sequence[str] = ()) -> Demo:
    """Both experiments of a base and an aligned arm; `words` name them on a command line."""
    studies: list[Syntactic | Semantic] = [Syntactic(n=_N_SYNTACTIC), Semantic(n=_N_SEMANTIC)]
    with conducted(studies, arms, drawing=drawing, session=session, words=words) as (run_id, (tokens, texts)):
        entropies = syntactic.analyse({arm: tokens.answered(arm) for arm in tokens.arms})
        alike = _similarities(texts)
        return Demo(
            models=texts.arms,
            experiments={one.name: {"prompt": one.prompt, "n": one.n} for one in studies},
            rows={
                "entropy_bits": Row(
                    entropies.arms["base"].measures["entropy_bits"],
                    entropies.arms["aligned"].measures["entropy_bits"],
                    entropies.differences["aligned"]["entropy_bits"],
                ),
                "tf_idf_cosine": _row(alike.words, alike.words_differences["aligned"]),
                "sbert_cosine": _row(alike.meanings, alike.meanings_differences["aligned"]),
            },
            heatmap=_heatmap(texts),
            plain=in_short(alike, entropies, (Semantic.prompt, Syntactic.prompt)),
            starts=texts.starts(),
            seed=drawing.seed,
            run=run_id,
        )


def _row(arms: Mapping[str, Similarity], difference: Difference) -> Row:
    return Row(arms["base"].summary, arms["aligned"].summary, difference)


def _similarities(drawn: Drawn) -> semantic.Result:
    texts = {arm: [one.text for one in drawn.answers(arm)] for arm in drawn.arms}
    found = drawn.embedded(texts)
    n_cut = sum(one.n_truncated for one in found.values())
    if n_cut:
        drawn.session.listener.say(f"{n_cut} completions were longer than the encoder reads; it saw their beginning.")
    for reason in unread_arms({arm: one.unread for arm, one in found.items()}).values():
        drawn.session.listener.say(f"{reason} Leave the second row aside.")
    return semantic.analyse(texts, {arm: one.vectors for arm, one in found.items()})


def _heatmap(drawn: Drawn) -> GenerationsHeatmap:
    generations = [(f"{arm}: {model}", drawn.first_tokens(arm, _N_SHOWN_TOKENS)) for arm, model in drawn.arms.items()]
    title = f"“{Semantic.prompt}” goes on, the first {_N_SHOWN_TOKENS} tokens of sample 0, coloured by surprisal"
    return GenerationsHeatmap(generations, tokenizer=drawn.recipe("base").vocab_digest[:8], title=title)
