"""What a sample answers: its text without the thoughts in it, and how it ended. The one place that decides this.

Reasoning models write a draft before the answer, between marks. The marks are text to some vocabularies and control
tokens, which add no text, to others; the prompt may have opened the thought already; some models write in channels, of
which one is for the reader. What is read, embedded, parsed and measured, tokens included, is what stands outside of
thoughts. An output that ends inside a thought answers nothing.

A mark counts where it is one token, at the beginning of the output, of a line, or right behind another thought: who
writes about `<think>` in a sentence does not think.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from llama_diversity.records import Piece, Prompt, Sample, TokenStats

CUT_OFF, ENDED, NO_TEXT = "cut off while thinking", "ended while thinking", "no text"


class Answer(NamedTuple):
    """What one sample says outside of its thoughts; of a thought that was never closed there is no text and no token.

    `data`: the bytes that the answer's tokens add, of which `text` are the characters, without the blanks behind a
    thought. `tokens`: the statistics of those tokens, the end of sequence included.
    """

    text: str
    data: bytes
    tokens: TokenStats
    is_cut_off: bool = False  # by --max-tokens, wherever it was
    is_thinking: bool = False  # at its end, or cut off before the first word of an answer

    @property
    def flaw(self) -> str | None:
        """Why there is nothing to judge, in a few words; None where there is."""
        if self.is_thinking:
            return CUT_OFF if self.is_cut_off else ENDED
        return None if self.text.strip() else NO_TEXT


class Endings(NamedTuple):
    """Of n outputs how many --max-tokens cut off, valid or not, and why how many are not valid, most frequent first."""

    n: int = 0
    n_cut_off: int = 0
    reasons: Mapping[str, int] = {}

    @classmethod
    def of(cls, answers: Sequence[Answer], flaws: Iterable[str | None]) -> Endings:
        """Of these answers, with the reason of each that is not valid."""
        reasons = Counter(flaw for flaw in flaws if flaw is not None)
        return cls(len(answers), sum(one.is_cut_off for one in answers), dict(reasons.most_common()))

    @classmethod
    def of_thoughts(cls, answers: Sequence[Answer]) -> Endings:
        """The same where an output without text counts as an answer too."""
        return cls.of(answers, [one.flaw if one.is_thinking else None for one in answers])

    @classmethod
    def together(cls, some: Iterable[Endings]) -> Endings:
        """All of them in one."""
        every = list(some)
        reasons: Counter[str] = sum((Counter(one.reasons) for one in every), Counter())
        return cls(sum(one.n for one in every), sum(one.n_cut_off for one in every), dict(reasons.most_common()))

    @property
    def share_cut_off(self) -> float | None:
        """Of all outputs; None without any."""
        return self.n_cut_off / self.n if self.n else None


class _Marks(NamedTuple):
    """How a thought begins and ends, as patterns; `is_tag`: the end alone tells that there was one.

    `is_sentence`: the beginning is plain words, which count in a prompt only.
    """

    opens: str
    closes: str
    is_tag: bool = True
    is_sentence: bool = False


# Sources: the chat templates and parsers that llama.cpp carries for these models, and their makers' cards.
_KINDS = (
    _Marks(r"<think>", r"</think>"),  # DeepSeek-R1, Qwen3, SmolLM3, QwQ, Granite 3.3, Nemotron, GLM, and others
    _Marks(r"<thinking>", r"</thinking>"),
    _Marks(r"<thought>", r"</thought>"),
    _Marks(r"<reasoning>", r"</reasoning>"),
    _Marks(r"<(?:seed|mm):think>", r"</(?:seed|mm):think>"),  # Seed-OSS, MiniMax-M3
    _Marks(r"\[THINK\]", r"\[/THINK\]"),  # Magistral, Ministral
    _Marks(r"<\|START_THINKING\|>", r"<\|END_THINKING\|>"),  # Command A, R7B
    _Marks(r"◁think▷", r"◁/think▷"),  # Kimi
    _Marks(r"<\|open\|>think<\|sep\|>", r"<\|close\|>think<\|sep\|>"),  # Kimi-K3
    _Marks(r"<\|inner_prefix\|>", r"<\|inner_suffix\|>"),  # Apertus
    _Marks(r"<\|channel>thought", r"<channel\|>"),  # Gemma 4
    _Marks(r"<\|think\|>", r"<\|end\|>", is_tag=False),  # Solar
    # gpt-oss: every channel but `final`, and one whose name or first word did not come any more.
    _Marks(
        r"<\|channel\|>(?!\s*final)[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>|<\|channel\|>[^<]*\Z",
        r"<\|(?:end|call)\|>|(?=<\|(?:start|channel)\|>)",
        is_tag=False,
    ),
    _Marks(r"Here are my reasoning steps:", r"\[BEGIN FINAL RESPONSE\]", is_sentence=True),  # Apriel
)
# What stands around an answer of those models and is none of it.
_FRAMES = (
    r"<\|(?:start|begin)\|>(?:assistant)?|<\|channel\|>\s*final[^<]*<\|message\|>|<\|(?:message|content|end)\|>"
    r"|<\|(?:START|END)_(?:RESPONSE|TEXT)\|>|</?response>|\[END FINAL RESPONSE\]"
)


def _compiled(patterns: Iterable[str]) -> re.Pattern[bytes]:
    return re.compile("|".join(f"({pattern})" for pattern in patterns).encode())


_OPENS = _compiled(kind.opens for kind in _KINDS)
_CLOSES = [re.compile(kind.closes.encode()) for kind in _KINDS]
_TAG_CLOSES = _compiled(kind.closes for kind in _KINDS if kind.is_tag)
_FRAME = re.compile(_FRAMES.encode())
_ANY = _compiled([_OPENS.pattern.decode(), _TAG_CLOSES.pattern.decode(), r"<\|channel\|>"])
_FIRST = re.compile("[<[]|◁".encode())  # what every mark in an output begins with: quicker to look for


class Reader:
    """Reads the samples of one prompt. `controls`: names of the vocabulary's control tokens; `pieces` finds any."""

    def __init__(
        self,
        prompt: Prompt,
        controls: Mapping[int, str],
        pieces: Callable[[Iterable[int]], Mapping[int, Piece]],
    ) -> None:
        self._opened = _opened_by(prompt)
        self._pieces = pieces
        marks = [token for token, name in controls.items() if _is_mark(name)]
        self._marks = np.array(marks, np.int64)

    def read(self, sample: Sample) -> Answer:
        """What `sample` answers."""
        is_cut_off = sample.finish_reason == "length"
        has_mark = len(self._marks) > 0 and bool(np.isin(sample.tokens["id"], self._marks).any())
        if self._opened is None and not has_mark and not _may_hold_marks(sample.text):
            return Answer(_decoded(sample.text), sample.text, sample.tokens, is_cut_off)
        spelled = _spelled(sample, self._pieces(sample.tokens["id"].tolist()))
        said, has_thought, is_thinking = _outside(spelled, self._opened)
        data = np.frombuffer(spelled.data, np.uint8)[said & spelled.is_text].tobytes()
        text = _decoded(data)
        if is_thinking or (has_thought and is_cut_off and not text.strip()):
            return Answer("", b"", sample.tokens[:0], is_cut_off, is_thinking=True)
        is_said = said[np.minimum(spelled.starts, len(said) - 1)] if len(said) else np.zeros(0, np.bool_)
        return Answer(text.lstrip() if has_thought else text, data, sample.tokens[is_said], is_cut_off)


def _may_hold_marks(data: bytes) -> bool:
    return _FIRST.search(data) is not None and _ANY.search(data) is not None


def _decoded(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _is_mark(name: str) -> bool:
    """Whether a control token may begin or end a thought or a channel, by itself or with what follows."""
    return bool(_ANY.search(name.encode())) or name in (
        "<|channel>",
        "<channel|>",
        "<|open|>",
        "<|close|>",
        "<|think|>",
    )


def _opened_by(prompt: Prompt) -> int | None:
    """The kind of thought that the prompt has opened and not closed, behind what was asked."""
    tail = prompt.rendered
    asked = prompt.text.strip()
    if prompt.mode == "chat" and asked and asked in tail:
        tail = tail[tail.rindex(asked) + len(asked) :]
    data = tail.encode("utf-8", "surrogateescape")
    opened = list(_OPENS.finditer(data))
    if not opened:
        return None
    last, kind = opened[-1], _kind_of(opened[-1])
    if prompt.mode != "chat" and data[last.end() :].strip():  # a raw prompt may speak of anything
        return None
    return None if _CLOSES[kind].search(data, last.end()) else kind


def _kind_of(opening: re.Match[bytes]) -> int:
    return (opening.lastindex or 1) - 1


# ---- the output with its control tokens spelled out


class _Spelled(NamedTuple):
    """`data`: all that was drawn, control tokens by name; where each token starts in it, and which bytes are text."""

    data: bytes
    starts: npt.NDArray[np.int64]
    is_text: npt.NDArray[np.bool_]
    marks: frozenset[int]  # starts of the tokens that are a mark by themselves


def _spelled(sample: Sample, pieces: Mapping[int, Piece]) -> _Spelled:
    """The tokens of a sample; text behind a stop string, which the sample has not, is left out here too."""
    data, starts, shown, marks = bytearray(), [], bytearray(), []
    left = len(sample.text)
    for token in sample.tokens["id"].tolist():
        piece = pieces[token]
        starts.append(len(data))
        name = piece.control.encode() if piece.control is not None else piece.bytes[:left]
        if piece.control is not None or _ANY.match(name.strip()) or name.strip() == b"<|channel|>":
            marks.append(len(data) + len(name) - len(name.lstrip()))
        left -= 0 if piece.control is not None else len(name)
        data += name
        shown += (b"\x00" if piece.control is not None else b"\x01") * len(name)
    return _Spelled(
        bytes(data),
        np.array(starts, np.int64),
        np.frombuffer(bytes(shown), np.uint8).astype(np.bool_),
        frozenset(marks),
    )


def _outside(spelled: _Spelled, opened: int | None) -> tuple[npt.NDArray[np.bool_], bool, bool]:
    """Which bytes are outside of thoughts and frames, whether there was a thought, whether one is open at the end."""
    data = spelled.data
    said = np.zeros(len(data), np.bool_)
    kind, at, has_thought = opened, 0, opened is not None
    if kind is None:
        at = _behind_lone_close(spelled)
        has_thought = at > 0
    while True:
        if kind is not None:
            has_thought = True
            closed = _CLOSES[kind].search(data, at)
            if closed is None:
                return said, True, True
            at, kind = closed.end(), None
        opening = _opening(spelled, at)
        end = len(data) if opening is None else opening.start()
        said[at:end] = True
        for frame in _FRAME.finditer(data, at, end):
            said[frame.start() : frame.end()] = False
        if opening is None:
            return said, has_thought, False
        kind, at = _kind_of(opening), opening.end()


def _opening(spelled: _Spelled, at: int) -> re.Match[bytes] | None:
    """Where the next thought begins."""
    found = (one for one in _OPENS.finditer(spelled.data, at) if not _KINDS[_kind_of(one)].is_sentence)
    return next(_valid(found, spelled, at), None)


def _behind_lone_close(spelled: _Spelled) -> int:
    """Where the output goes on behind the end of a thought whose beginning is nowhere; 0 where there is none."""
    closed = next(_valid(_TAG_CLOSES.finditer(spelled.data), spelled, 0), None)
    opening = _opening(spelled, 0)
    if closed is None or (opening is not None and opening.start() < closed.start()):
        return 0
    return closed.end()


def _valid(found: Iterator[re.Match[bytes]], spelled: _Spelled, at: int) -> Iterator[re.Match[bytes]]:
    """The marks that count: tokens of their own, or with nothing before them since `at` or on their line."""
    for mark in found:
        before = spelled.data[at : mark.start()]
        if mark.start() in spelled.marks or not before.rpartition(b"\n")[2].strip():
            yield mark
