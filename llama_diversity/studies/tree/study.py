"""`tree`: the heaviest openings of a prompt under each model, and the mass they hold."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llama_diversity import cache
from llama_diversity.engines import Engine
from llama_diversity.errors import BadValue, Interrupted, PromptTooLong
from llama_diversity.records import Asking, Piece, Prompt
from llama_diversity.studies.arms import Arm
from llama_diversity.studies.measuring.noise import Floor, floor
from llama_diversity.studies.noise import noise_of
from llama_diversity.studies.results import Result, with_starts
from llama_diversity.studies.session import Session
from llama_diversity.studies.tokens import DifferentTokens, DifferentVocabularies
from llama_diversity.studies.tree.analysis import BUDGET, DEPTH, MOST_OPENINGS, PROMPT, K, Opening, Tree, grow
from llama_diversity.studies.tree.exhibits import Facts, section
from llama_diversity.studies.words import asking_words

_NOTHING_KEPT = "No search was finished, so nothing is kept; the same command starts again."


@dataclass(frozen=True)
class Question:
    """What every arm is asked."""

    prompt: str = PROMPT
    depth: int = DEPTH
    k: int = K
    budget: int = BUDGET
    asking: Asking = Asking()

    def check_settings(self) -> None:
        """Refuse what no model could be asked. Raises BadValue."""
        if self.depth < 1:
            raise BadValue("--depth", self.depth, "an opening has at least 1 token")
        if not 1 <= self.k <= MOST_OPENINGS:
            raise BadValue("-k", self.k, f"ask for 1 to {MOST_OPENINGS:,} openings")
        if self.budget < 1:
            raise BadValue("--budget", self.budget, "at least 1 path has to be followed up")

    def words(self) -> list[str]:
        """The same as options of a command line, where they differ from the defaults."""
        words = ["-p", self.prompt] if self.prompt != PROMPT else []
        for option, value, default in (
            ("--depth", self.depth, DEPTH),
            ("-k", self.k, K),
            ("--budget", self.budget, BUDGET),
        ):
            words += [option, str(value)] if value != default else []
        return [*words, *asking_words(self.asking)]


def run(
    question: Question,
    arms: Sequence[Arm],
    *,
    session: Session,
    words: Sequence[str] = (),
    before: Callable[[], None] = lambda: None,
) -> Result:
    """The openings of every arm, the base first; `words` name the arms on a command line.

    `before` is called between what can be refused and the work. Raises BadValue, DifferentVocabularies,
    DifferentTokens, PromptTooLong, Interrupted.
    """
    question.check_settings()
    trees: dict[str, Tree] = {}
    pieces: dict[str, Mapping[int, Piece]] = {}
    floors: dict[str, Floor] = {}
    with _interruptible(trees):
        starts = _check_arms(arms, question, session)
        before()
        for arm in arms:
            (trees[arm.name], floors[arm.name]), pieces[arm.name] = _grown(arm, question, session)
        models = {arm.name: arm.model.reference for arm in arms}
        facts = Facts(question.prompt, models, pieces, question.depth, question.k, question.budget, floors)
        command = shlex.join(["llamadiv", "tree", *words, *question.words()])
        return with_starts(Result(section(trees, facts, command), _as_json(trees, facts), trees), starts)


@contextlib.contextmanager
def _interruptible(done: Collection[str]) -> Iterator[None]:
    """Within it Ctrl-C says what is kept: the searches that are `done` then, nothing of the one under way."""
    try:
        yield
    except KeyboardInterrupt as error:
        kept = f"Finished searches are kept ({', '.join(done)}); the same command does the rest."
        raise Interrupted(f"Interrupted. {kept if done else _NOTHING_KEPT}") from error


def _check_arms(arms: Sequence[Arm], question: Question, session: Session) -> dict[str, list[str]]:
    """What the prompt begins with for each model; refuses before any model is loaded.

    Raises DifferentVocabularies, DifferentTokens, PromptTooLong, BadValue.
    """
    starts: dict[str, list[str]] = {}
    first: tuple[str, tuple[int, ...]] | None = None
    for arm in arms:
        with session.reading(arm.model) as engine:
            session.note_unknown_start(engine, question.asking)
            prompt = engine.prompt(question.prompt, asking=question.asking)
            first = first or (engine.facts.vocab_digest, prompt.ids)
            if first[0] != engine.facts.vocab_digest:
                raise DifferentVocabularies(arms[0].model.reference, arm.model.reference)
            if first[1] != prompt.ids:
                raise DifferentTokens(arms[0].model.reference, arm.model.reference, first[1], prompt.ids)
            _check_length(engine, prompt, question.depth)
            starts[arm.model.reference] = [engine.start(question.asking).text]
    return starts


def _check_length(engine: Engine, prompt: Prompt, depth: int) -> None:
    n_prompt, n_ctx = len(prompt.ids), engine.facts.n_ctx_train
    if n_prompt >= n_ctx:
        raise PromptTooLong(n_prompt, 0, n_ctx)
    if n_prompt + depth > n_ctx:
        raise BadValue(
            "--depth", depth, f"{n_prompt} prompt tokens leave room for {n_ctx - n_prompt} in the model's context"
        )


def _grown(arm: Arm, question: Question, session: Session) -> tuple[tuple[Tree, Floor], Mapping[int, Piece]]:
    """An arm's tree and floor, from the cache where the same was searched before, and the pieces of its openings."""
    with session.reading(arm.model) as engine:
        prompt = engine.prompt(question.prompt, asking=question.asking)
        layout = session.layout
        kind = (layout.kv_type, str(layout.exact), str(layout.flash_attention))
        parts = (
            "tree and floor",
            cache.code_digest(),
            engine.facts.digest,
            engine.build,
            *kind,
            repr((prompt.ids, question)),
        )
        found = cache.kept(parts, lambda: _searched(arm, prompt, question, session))
        ids = {token for opening in found[0].openings for token in opening.ids}
        return found, {token: engine.piece(token) for token in sorted(ids)}


def _searched(arm: Arm, prompt: Prompt, question: Question, session: Session) -> tuple[Tree, Floor]:
    with session.opened(arm.model) as engine:
        noise = noise_of(engine, session)
        with (
            session.listener.working(f"searching {arm.model.reference}") as show,
            engine.after(prompt, longest=question.depth - 1) as log_probabilities,
        ):
            tree = grow(
                log_probabilities,
                depth=question.depth,
                k=question.k,
                budget=question.budget,
                ends=engine.ends,
                on_progress=lambda n: show(n / question.budget, f"{n:,} of at most {question.budget:,} paths"),
            )
        return tree, floor([noise])


def _as_json(trees: Mapping[str, Tree], facts: Facts) -> dict[str, Any]:
    return {
        "arms": {
            arm: {
                "model": facts.models[arm],
                "mass": {"low": found.mass[0], "high": found.mass[1]},
                "is_complete": found.is_complete,
                "n_certain": found.n_certain,
                "left": {"mass": found.mass_left, "largest_opening": found.largest_left},
                "n_expanded": found.n_expanded,
                "noise_floor": facts.floors[arm]._asdict(),
                "openings": [
                    {**_opening_as_json(one, facts.pieces[arm]), "ranks": ranks._asdict()}
                    for one, ranks in zip(found.openings, facts.ranks(arm, found), strict=True)
                ],
                "cumulative": {"low": list(found.low), "high": list(found.high)},
            }
            for arm, found in trees.items()
        },
        "prompt": facts.prompt,
        "depth": facts.depth,
        "k": facts.k,
        "budget": facts.budget,
    }


def _opening_as_json(opening: Opening, pieces: Mapping[int, Piece]) -> dict[str, Any]:
    """`text_hex` holds the true bytes where they are not UTF-8, and `text` then has replacement marks."""
    data = b"".join(pieces[token].bytes for token in opening.ids)
    text = data.decode("utf-8", "replace")
    return {
        "ids": list(opening.ids),
        "text": text,
        **({"text_hex": data.hex()} if text.encode() != data else {}),
        "probability": opening.probability,
        "log_probabilities": list(opening.log_probabilities),
    }
