"""An engine whose distribution is known: Markov chains over a small vocabulary, drawn by the code of the real engine.

It ships with the package so that every number downstream can be checked against a closed form, and so that the whole
program can be tried without a model: `-m scripted:base`. It knows chains only; drawing, batching and stop strings are
the modules that llama.cpp's engine uses too, fed with log p of the last token's row.

The chains: `base` is wide, `aligned` the same grammar sharpened (p^2.5), `attractor` returns to one sentence with
probability 7/8 from anywhere, `homing` says its one sentence with probability 0.8 after a verb and else a few stray
words, `uniform` finds all tokens equally likely, `coin` has two and never ends, `thinking` writes a draft between two
control tokens before its answer, `people` makes up customers, `answers` names colours, one or several with what it
takes for their probability. All but `coin`, `thinking`, `people` and `answers` share one vocabulary. Texts hold what
real ones do: characters split over byte tokens, newlines, an escape sequence.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from llama_diversity.engines import (
    AT_ONCE,
    PLAIN,
    Capabilities,
    EngineOptions,
    NextTokens,
    Rows,
    Step,
    Stopwatch,
    TokenPath,
    scripted_answers,
    scripted_people,
    text_bytes,
)
from llama_diversity.engines.batching import Seats, draw
from llama_diversity.engines.chat import FROZEN_DATE, Chat, no_template
from llama_diversity.engines.control import cut
from llama_diversity.engines.draws import Float32, Reducer, unscored
from llama_diversity.engines.live import Live, anew
from llama_diversity.engines.shared import one_by_one
from llama_diversity.engines.start import Start, Stated, raw_prompt, resolve
from llama_diversity.engines.together import Together
from llama_diversity.errors import BadValue, EngineError, PromptTooLong, UnknownName
from llama_diversity.records import Asking, ModelFacts, ModelRef, Piece, Prompt, Recipe, TokenStats

Matrix = npt.NDArray[np.float64]

BOS, EOS = 0, 1
_STATED = Stated(adds_bos=True, bos=BOS, eos=EOS, controls={"<s>": BOS, "</s>": EOS})
N_CTX = 8192
PREFERRED_PARALLEL = 64
# The system message, if any, and a blank line before the text: "[INST] Be brief.\n\nWho is she? [/INST]".
TEMPLATE = (
    "[INST] {% for message in messages %}{{ message['content'] }}"
    "{% if not loop.last %}{{ '\n\n' }}{% endif %}{% endfor %} [/INST]"
)

# ---- the grammar: classes of tokens, and which class follows which

_WORDS: Mapping[str, Mapping[str, float]] = {  # class -> {token: its share within the class}
    "opener": {"She": 5, "He": 4, "Someone": 1},
    "the": {"The": 1},
    "verb": {" was": 6, " is": 3, " became": 2, " met": 2},
    "article": {" a": 6, " the": 3, " not": 1},
    "adjective": {" quiet": 3, " old": 3, " young": 3, " tired": 2, " kind": 2, " brave": 1},
    "noun": {" nurse": 5, " sailor": 4, " teacher": 4, " poet": 3, " thief": 2, " child": 2, " king": 1},
    "cafe": {" caf": 1},  # continued by the two bytes of é
    "link": {" and": 2, " who": 1, " but": 1},
    "end": {". ": 6, "! ": 1, "? ": 1},
    "hostile": {"\x1b[2J": 1},  # a terminal would clear its screen
}
_BYTES: Mapping[str, int] = {  # classes of one byte token
    "newline": 0x0A,
    "escape": 0x1B,
    "é1": 0xC3,
    "é2": 0xA9,
    "🙂1": 0xF0,
    "🙂2": 0x9F,
    "🙂3": 0x99,
    "🙂4": 0x82,
}
_NEXT: Mapping[str, Mapping[str, float]] = {  # class -> {class that follows: share}
    "begin": {
        "opener": 9,
        "the": 3,
        "newline": 1,
    },  # after <s>, </s> and bytes without a class
    "opener": {"verb": 1},
    "the": {"noun": 3, "adjective": 2},
    "verb": {"article": 5, "adjective": 2},
    "article": {"noun": 8, "adjective": 8, "cafe": 1},
    "adjective": {"noun": 6, "link": 1, "adjective": 1},
    "noun": {"end": 6, "link": 2},
    "cafe": {"é1": 1},
    "é1": {"é2": 1},
    "é2": {"end": 1},
    "link": {"article": 2, "adjective": 1, "verb": 1},
    "end": {"opener": 5, "the": 1, "</s>": 3, "newline": 2, "🙂1": 1},
    "newline": {"opener": 7, "the": 3, "</s>": 1, "hostile": 1, "escape": 1},
    "hostile": {"opener": 1},
    "escape": {"opener": 1},
    "🙂1": {"🙂2": 1},
    "🙂2": {"🙂3": 1},
    "🙂3": {"🙂4": 1},
    "🙂4": {"</s>": 1, "newline": 1},
}
_STRAY = 1 / 512  # the share of a row spread evenly over the vocabulary: nothing is impossible
_CYCLE = ("She", " was", " a", " nurse", ". ")  # what `attractor` comes back to
_PULL = 7 / 8
_HOME = (" a", " nurse", ". ")  # what `homing` says after a verb with probability _RETURN, and then stops
_RETURN = 0.8
_STOP = 1 / 8  # that the next stray word is the last

# Behind the grammar's tokens those of `thinking`: the marks of a thought, and what is thought.
_MARKS = (Piece(b"", "<think>"), Piece(b"", "</think>"))
_THOUGHTS = (Piece(b"Hm. "), Piece(b"Name: Draft\n"))
_ASKED = b"]"  # the end of the template: a thought begins behind it
_DECIDED = 1 / 4  # that a thought ends after the next piece of it

_SENTENCES = tuple(word for words in _WORDS.values() for word in words)
_COIN_SIDES = ("heads ", "tails ")


@dataclass(frozen=True)
class Chain:
    """The definition of one chain: its words, whether a chat template belongs to it, and what makes its rows."""

    words: tuple[str, ...]
    has_chat_template: bool
    kind: str  # a key of _ROWS
    sharpness: float = 1.0  # rows are proportional to p ** sharpness


CHAINS = {
    "base": Chain(_SENTENCES, False, "grammar"),
    "aligned": Chain(_SENTENCES, True, "grammar", sharpness=2.5),
    "attractor": Chain(_SENTENCES, True, "attractor"),
    "homing": Chain(_SENTENCES, True, "homing"),
    "uniform": Chain(_SENTENCES, False, "uniform"),
    "coin": Chain(_COIN_SIDES, False, "coin"),
    "thinking": Chain(_SENTENCES, True, "thinking"),
    "people": Chain(scripted_people.WORDS, True, "people"),
    "answers": Chain(scripted_answers.WORDS, True, "answers"),
}


def vocabulary(name: str) -> tuple[Piece, ...]:
    """All tokens of a chain by id: `<s>`, `</s>`, the words, then one token for each byte."""
    words = [Piece(word.encode()) for word in _chain(name).words]
    thoughts = (*_MARKS, *_THOUGHTS) if _chain(name).kind == "thinking" else ()
    one_byte = (Piece(bytes([value])) for value in range(256))
    return (Piece(b"", "<s>"), Piece(b"", "</s>"), *words, *one_byte, *thoughts)


@functools.cache
def transition(name: str) -> Matrix:
    """Row i is the distribution of the token after token i; shape (n_vocab, n_vocab), read-only.

    >>> bool(abs(transition("base").sum(axis=1) - 1).max() < 1e-12)
    True
    """
    chain = _chain(name)
    rows = _ROWS[chain.kind](len(vocabulary(name))) ** chain.sharpness
    rows /= rows.sum(axis=1, keepdims=True)
    rows.flags.writeable = False
    return rows


def digest(name: str) -> str:
    """sha256 over all that defines a chain."""
    definition = [asdict(_chain(name)), _WORDS, _BYTES, _NEXT, _STRAY, _CYCLE, _PULL, _HOME, _RETURN, _STOP]
    if _chain(name).kind == "thinking":
        definition += [repr((_MARKS, _THOUGHTS, _ASKED)), _DECIDED]
    if _chain(name).kind in ("people", "answers"):
        definition += [transition(name).tolist()]
    return hashlib.sha256(json.dumps(definition).encode()).hexdigest()


def _chain(name: str) -> Chain:
    if name not in CHAINS:
        raise UnknownName("scripted model", name, CHAINS, list_command="llamadiv models ls")
    return CHAINS[name]


# ---- rows


def _grammar_rows(n_vocab: int) -> Matrix:
    members = _members(n_vocab)
    following = {name: _spread(shares, members, n_vocab) for name, shares in _NEXT.items()}
    rows = np.tile(following["begin"], (n_vocab, 1))
    for name, tokens in members.items():
        if name in following:
            rows[list(tokens)] = following[name]
    return (1 - _STRAY) * rows + _STRAY / n_vocab


def _members(n_vocab: int) -> dict[str, dict[int, float]]:
    """Class -> {token id: its share within the class}."""
    first_byte = n_vocab - 256
    ids = {word: 2 + position for position, word in enumerate(_SENTENCES)}
    members = {name: {ids[word]: share for word, share in words.items()} for name, words in _WORDS.items()}
    members |= {name: {first_byte + value: 1.0} for name, value in _BYTES.items()}
    return members | {"</s>": {EOS: 1.0}}


def _spread(shares: Mapping[str, float], members: Mapping[str, Mapping[int, float]], n_vocab: int) -> Matrix:
    """The distribution over tokens where a class has its share, divided among its members by theirs."""
    row = np.zeros(n_vocab)
    for name, share in shares.items():
        total = sum(members[name].values())
        for token, weight in members[name].items():
            row[token] = share / sum(shares.values()) * weight / total
    return row


def _attractor_rows(n_vocab: int) -> Matrix:
    cycle = [2 + _SENTENCES.index(word) for word in _CYCLE]
    rows = (1 - _PULL) * _grammar_rows(n_vocab)
    target = np.full(n_vocab, cycle[0])
    target[cycle] = cycle[1:] + cycle[:1]
    rows[np.arange(n_vocab), target] += _PULL
    return rows


def _homing_rows(n_vocab: int) -> Matrix:
    """After a verb the first word of _HOME with probability _RETURN, else a stray one; _HOME itself never strays."""
    ids = {word: 2 + position for position, word in enumerate(_SENTENCES)}
    stray = [ids[word] for name in ("adjective", "noun") for word in _WORDS[name] if word not in _HOME]
    rows = np.zeros((n_vocab, n_vocab))
    rows[:, stray] = (1 - _STOP) / len(stray)
    rows[:, EOS] = _STOP
    verbs = [ids[word] for word in _WORDS["verb"]]
    rows[verbs] = 0
    rows[np.ix_(verbs, stray)] = (1 - _RETURN) / len(stray)
    rows[verbs, ids[_HOME[0]]] = _RETURN
    for word, after in zip(_HOME, (*_HOME[1:], None), strict=True):
        rows[ids[word]] = 0
        rows[ids[word], EOS if after is None else ids[after]] = 1
    return rows


def _thinking_rows(n_vocab: int) -> Matrix:
    """The grammar's rows for the answer; a thought of at least one piece before it, and its end with _DECIDED."""
    n_grammar = n_vocab - len(_MARKS) - len(_THOUGHTS)
    begin, end, *thoughts = range(n_grammar, n_vocab)
    rows = np.zeros((n_vocab, n_vocab))
    rows[:n_grammar, :n_grammar] = _grammar_rows(n_grammar)
    asked = n_grammar - 256 + _ASKED[0]
    rows[asked] = 0
    rows[asked, begin] = 1
    rows[begin, thoughts] = 1 / len(thoughts)
    rows[np.ix_(thoughts, thoughts)] = (1 - _DECIDED) / len(thoughts)
    rows[thoughts, end] = _DECIDED
    rows[end, :n_grammar] = rows[BOS, :n_grammar]
    return rows


def _uniform_rows(n_vocab: int) -> Matrix:
    return np.full((n_vocab, n_vocab), 1 / n_vocab)


def _coin_rows(n_vocab: int) -> Matrix:
    rows = np.zeros((n_vocab, n_vocab))
    rows[:, 2:4] = 0.5
    return rows


def _people_rows(n_vocab: int) -> Matrix:
    return scripted_people.rows(n_vocab, first=2, end=EOS)


def _answers_rows(n_vocab: int) -> Matrix:
    return scripted_answers.rows(n_vocab, first=2, end=EOS)


_ROWS: Mapping[str, Callable[[int], Matrix]] = {
    "grammar": _grammar_rows,
    "attractor": _attractor_rows,
    "homing": _homing_rows,
    "uniform": _uniform_rows,
    "coin": _coin_rows,
    "thinking": _thinking_rows,
    "people": _people_rows,
    "answers": _answers_rows,
}


# ---- the engine


class _Rows(NamedTuple):
    """The `Slots` of a chain: only the last token counts, so a sequence has no state to fork or move."""

    logits: Float32

    def fork(self, slot: int) -> None:
        pass

    def begin(self, slots: Sequence[int], prompts: Sequence[Prompt]) -> Float32:
        return self.logits[[prompt.ids[-1] for prompt in prompts]]

    def move(self, source: int, target: int) -> None:
        pass

    def decode(self, tokens: Sequence[int], positions: Sequence[int]) -> Float32:
        return self.logits[list(tokens)]


def _refuse_what_changes_nothing(reference: str, options: EngineOptions) -> None:
    """Options of arithmetic: a chain has none, so they would give equal samples another recipe. Raises BadValue."""
    reason = f"{reference} is a scripted model, to which it makes no difference; leave it out"
    for option, value, default in (
        ("--exact", options.exact, False),
        ("--kv-type", options.kv_type, "f16"),
        ("--flash-attention", options.flash_attention, None),
        ("--gpu-layers", options.n_gpu_layers, None),
    ):
        if value != default:
            raise BadValue(option, value, reason)


class ScriptedEngine:
    """The chain that `model.location` names, behind the verbs of every engine."""

    def __init__(
        self, model: ModelRef, options: EngineOptions, *, on_load: Callable[[float], None] | None = None
    ) -> None:
        name = model.location
        chain = _chain(name)
        _refuse_what_changes_nothing(model.reference, options)
        self.capabilities = Capabilities(full_distribution=True, scores_text=True, exact=True, grammars=False)
        self.ends = frozenset({EOS})
        self.build = "scripted 1"
        self.fused: bool | None = None
        self.layout: Mapping[str, Any] = {}
        self.stopwatch = Stopwatch()
        self._options = options
        self._pieces = vocabulary(name)
        self._ids = {piece.bytes: token for token, piece in enumerate(self._pieces) if piece.control is None}
        lengths: dict[int, set[int]] = {}
        for piece in self._ids:
            lengths.setdefault(piece[0], set()).add(len(piece))
        # By first byte, the longest first.
        self._lengths = {first: sorted(found, reverse=True) for first, found in lengths.items()}
        with np.errstate(divide="ignore"):  # log 0 is -inf, as where a model forbids a token
            self._log_p = np.log(transition(name))
        self._rows = _Rows(self._log_p.astype(np.float32))
        self._reducer = Reducer(len(self._pieces))
        self.facts = ModelFacts(
            reference=model.reference,
            digest=digest(name),
            vocab_digest=hashlib.sha256(repr(self._pieces).encode()).hexdigest(),
            description=f"scripted Markov chain {name!r}",
            architecture="markov",
            n_vocab=len(self._pieces),
            n_params=len(self._pieces) ** 2,
            n_ctx_train=N_CTX,
            adds_bos=True,
            has_chat_template=chain.has_chat_template,
            start="<s>",
            ends=("</s>",),
        )
        if on_load is not None:
            on_load(1.0)

    def start(self, asking: Asking = PLAIN) -> Start:
        """What precedes a raw text: `<s>`, unless something else is asked for."""
        return resolve(asking, _STATED, documents=None, tokenize=lambda text: self._ids_of(text, reads_control=True))

    def tokenize(self, text: str, asking: Asking = PLAIN) -> tuple[int, ...]:
        """The start, then the longest token that fits, again and again; single bytes where no word fits."""
        return (*self.start(asking).ids, *self._ids_of(text, reads_control=asking.reads_control))

    def _ids_of(self, text: str, *, reads_control: bool) -> tuple[int, ...]:
        ids: list[int] = []
        for at, part in enumerate(cut(text, _STATED.controls) if reads_control else [text]):
            ids += [_STATED.controls[part]] if at % 2 else self._spelled(text_bytes(part))
        return tuple(ids)

    def _spelled(self, data: bytes) -> Iterator[int]:
        start = 0
        while start < len(data):
            fitting = (data[start : start + length] for length in self._lengths[data[start]])
            piece = next(piece for piece in fitting if piece in self._ids)
            yield self._ids[piece]
            start += len(piece)

    def prompt(
        self,
        text: str,
        *,
        chat: bool = False,
        system: str | None = None,
        template_args: str | None = None,
        asking: Asking = PLAIN,
    ) -> Prompt:
        """`text` behind its start, or as the user's turn of TEMPLATE."""
        if not chat:
            if system is not None:
                raise BadValue("--system", system, "a raw prompt has no system message; add --chat")
            if template_args is not None:
                raise BadValue("--template-arg", template_args, "a raw prompt has no template; add --chat")
            return raw_prompt(text, self.tokenize(text, asking), self.start(asking), _STATED)
        if not self.facts.has_chat_template:
            raise no_template(self.facts.reference)
        rendered = self._chat.render(text, system=system, args=template_args).text
        ids = self.tokenize(rendered, Asking(reads_control=asking.reads_control))
        return Prompt(text, rendered, ids, "chat", self._chat.digest, FROZEN_DATE, template_args)

    @functools.cached_property
    def _chat(self) -> Chat:
        return Chat(TEMPLATE, bos="<s>", eos="</s>")

    def piece(self, token_id: int) -> Piece:
        """The bytes of one token, or its name for a control token."""
        return self._pieces[token_id]

    def sample(self, recipe: Recipe, indices: Iterable[int]) -> Iterator[Step]:
        """Draw the samples `indices` of `recipe`, `parallel` at a time; how many makes no difference to any of them."""
        return self.sample_each([(recipe, indices)])

    def sample_each(self, works: Iterable[tuple[Recipe, Iterable[int]]]) -> Iterator[Step]:
        """The same of many recipes, whichever are beside each other."""
        together = Together.of(works, n_ctx=N_CTX)
        if together is None:
            return
        if together.recipe.grammar is not None:
            raise self._no_grammar()
        yield from draw(self, together, self._reducer)

    @contextlib.contextmanager
    def seats(self, together: Together, *, at_most: int | None = None) -> Iterator[Seats]:
        """The chain's rows: any number of sequences."""
        parallel = PREFERRED_PARALLEL if self._options.parallel is None else self._options.parallel
        if parallel < 1:
            raise BadValue("--parallel", parallel, "it must be at least 1")
        parallel = min(parallel, at_most or parallel)
        for ids in {recipe.prompt.ids for recipe, _ in together.works}:
            self._check(ids, max_tokens=0)
        self.layout = {"device": ["none"], "parallel": min(parallel, together.n_samples)}
        yield Seats(self._rows, None if together.is_apart else self._rows.logits[together.head[-1]], parallel)

    def score(self, ids: tuple[int, ...], *, on_progress: Callable[[float], None] | None = None) -> TokenStats:
        """Statistics of `ids`, each given the one before it; the first has no context."""
        stats = unscored(ids)
        if len(ids) > 1:
            self._check(ids, max_tokens=0)
            stats[1:] = self._reducer.score(self._rows.decode(ids[:-1], ()), np.array(ids[1:]))
        if on_progress is not None:
            on_progress(1.0)
        return stats

    def beside(self, ids: tuple[int, ...]) -> TokenStats | None:
        """Nothing: it is one model."""
        return None

    def score_each(
        self, texts: Sequence[tuple[int, ...]], *, on_progress: Callable[[float], None] | None = None
    ) -> list[Float32]:
        """The surprisals of `score`, text by text: a chain has nothing to share."""
        for ids in texts:
            self._check(ids, max_tokens=0)
        return one_by_one(self.score, texts, on_progress)

    def fits(self, grammar: str, texts: Sequence[bytes]) -> list[bool]:
        """Refused: no chain reads a grammar."""
        raise self._no_grammar()

    def _no_grammar(self) -> EngineError:
        return EngineError(
            f"{self.facts.reference} is no GGUF model and takes no grammar. Choose another, or leave out --grammar."
        )

    def logits(self, texts: Sequence[tuple[int, ...]]) -> Iterator[Rows]:
        """The chain's rows of log p, a text at a time."""
        for ids in texts:
            self._check(ids, max_tokens=0)
        for number, ids in enumerate(texts):
            if len(ids) > 1:
                yield Rows(number, 0, self._rows.decode(ids[:-1], ()))

    def reading(self, ids: tuple[int, ...], *, together: int | None, fused: bool) -> Float32:
        """The chain's rows of log p, the same in every way."""
        self._check(ids, max_tokens=0)
        return self._rows.decode(ids[:-1], ())

    @contextlib.contextmanager
    def after(self, prompt: Prompt, *, longest: int) -> Iterator[NextTokens]:
        """The chain's own rows: log p without a detour over rounded logits."""
        self._check(prompt.ids, max_tokens=longest)

        def log_probabilities(paths: Sequence[TokenPath]) -> Matrix:
            for path in paths:
                self._check((*prompt.ids, *path), max_tokens=0)
            return self._log_p[[(*prompt.ids, *path)[-1] for path in paths]]

        yield log_probabilities

    def live(self, prompt: Prompt, *, longest: int, at_once: int = AT_ONCE) -> AbstractContextManager[Live]:
        """Nothing is kept: a chain's row costs nothing."""
        return anew(self, prompt, longest=longest, at_once=at_once, reducer=self._reducer)

    def close(self) -> None:
        """Free the work buffers."""
        self._reducer.close()

    def _check(self, ids: Sequence[int], *, max_tokens: int) -> None:
        if len(ids) + max_tokens > N_CTX:
            raise PromptTooLong(len(ids), max_tokens, N_CTX)
        if not ids or not all(0 <= token < len(self._pieces) for token in ids):
            raise EngineError(
                f"{self.facts.reference} needs at least one token, with ids from 0 to {len(self._pieces) - 1}. "
                "Tokenize the text with this very model."
            )
