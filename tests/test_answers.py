"""What a sample answers: thoughts in text, control tokens and channels, opened by the output or by the prompt."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from llama_diversity.answers import CUT_OFF, ENDED, NO_TEXT, Answer, Reader
from llama_diversity.records import TOKEN_DTYPE, Piece, Prompt, Sample

END = Piece(b"", "<|im_end|>")


def control(name: str) -> Piece:
    return Piece(b"", name)


def pieces_of(parts: Sequence[str | Piece]) -> list[Piece]:
    return [part if isinstance(part, Piece) else Piece(part.encode()) for part in parts]


def read(
    *parts: str | Piece,
    behind: str = "<|im_start|>assistant\n",
    reason: str = "stop",
    mode: str = "chat",
    text: bytes | None = None,
) -> Answer:
    """The answer of an output of these tokens; token i is the i-th part, and its surprisal is i bits."""
    pieces = pieces_of(parts)
    tokens = np.zeros(len(pieces), TOKEN_DTYPE)
    tokens["id"] = tokens["surprisal_bits"] = np.arange(len(pieces))
    said = b"".join(piece.bytes for piece in pieces) if text is None else text
    sample = Sample("r1-x", 0, reason, said, tokens)
    prompt = Prompt("Who is she?", f"<|im_start|>user\nWho is she?<|im_end|>\n{behind}", (1, 2), mode)
    controls = {token: piece.control for token, piece in enumerate(pieces) if piece.control is not None}
    return Reader(prompt, controls, lambda ids: {token: pieces[token] for token in ids}).read(sample)


def ids(answer: Answer) -> list[int]:
    return answer.tokens["id"].tolist()


def test_an_output_without_thoughts_is_its_text() -> None:
    answer = read("She is", " a nurse.", END)
    assert (answer.text, len(answer.data), ids(answer), answer.flaw) == ("She is a nurse.", 15, [0, 1, 2], None)
    assert not answer.is_cut_off
    assert read("She is", reason="length").is_cut_off
    assert read(END).flaw == NO_TEXT
    assert read(" \n ", END).flaw == NO_TEXT


MARKS = [
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("◁think▷", "◁/think▷"),
    ("<|inner_prefix|>", "<|inner_suffix|>"),
]


@pytest.mark.parametrize("kind", [Piece, str], ids=["control tokens", "text"])
@pytest.mark.parametrize(("opens", "closes"), MARKS)
def test_the_answer_is_what_follows_the_thought(opens: str, closes: str, kind: type) -> None:
    begin, end = (control(mark) if kind is Piece else mark for mark in (opens, closes))
    answer = read(begin, "\nName: Ann", "\n", end, "\n\n", "Name: Eve", END)
    assert answer.text == "Name: Eve"
    assert ids(answer) == [4, 5, 6]  # the blank lines behind the mark are drawn for the reader too
    assert len(answer.data) == len("\n\nName: Eve")
    assert answer.flaw is None


@pytest.mark.parametrize("kind", [Piece, str], ids=["control tokens", "text"])
@pytest.mark.parametrize(("opens", "closes"), MARKS)
def test_an_output_that_ends_inside_a_thought_answers_nothing(opens: str, closes: str, kind: type) -> None:
    begin = control(opens) if kind is Piece else opens
    cut = read(begin, "Name: Ann", " Jones", reason="length")
    assert (cut.text, len(cut.data), len(cut.tokens), cut.flaw) == ("", 0, 0, CUT_OFF)
    assert read(begin, "Name: Ann", END).flaw == ENDED


@pytest.mark.parametrize(("opens", "closes"), MARKS)
def test_a_template_may_have_opened_the_thought(opens: str, closes: str) -> None:
    behind = f"<|im_start|>assistant\n{opens}\n"
    assert read("a draft", closes, "Eve", END, behind=behind).text == "Eve"
    assert read("a draft", control(closes), "Eve", END, behind=behind).text == "Eve"
    assert read("a draft", reason="length", behind=behind).flaw == CUT_OFF
    assert (
        read("Eve", END, behind=f"<|im_start|>assistant\n{opens}\n\n{closes}\n\n").text == "Eve"
    )  # and closed it again


def test_a_thought_spelled_in_several_tokens() -> None:
    answer = read("<", "think", ">", "\nAnn", "</", "think", ">\n\n", "Eve", END)
    assert (answer.text, ids(answer)) == ("Eve", [7, 8])


def test_a_prompt_that_speaks_of_thoughts_opens_none() -> None:
    prompt = Prompt("Explain <think> to me", "<user>Explain <think> to me<ai>", (1,), "chat")
    tokens = np.zeros(1, TOKEN_DTYPE)
    sample = Sample("r1-x", 0, "length", b"It opens", tokens)
    assert Reader(prompt, {}, lambda ids: {0: Piece(b"It opens")}).read(sample).text == "It opens"


def test_a_raw_prompt_opens_a_thought_at_its_end_only() -> None:
    assert read("Eve", mode="raw", behind="<think>\n", reason="length").flaw == CUT_OFF
    assert read("Eve", mode="raw", behind="The tag <think> is new. She", reason="length").text == "Eve"


def test_the_end_of_a_thought_alone_tells_of_it() -> None:
    assert read("a draft\n", "</think>", "\n\nEve", END).text == "Eve"
    assert read("a draft", control("[/THINK]"), "Eve", END).text == "Eve"


def test_who_writes_about_the_marks_does_not_think() -> None:
    said = "A model writes `<think>` and then </think> around a draft."
    assert read(said, END).text == said
    assert read("Use ", "the ", "`<", "think", ">` tag", reason="length").flaw is None


def test_thoughts_between_answers_are_left_out() -> None:
    answer = read("<think>", "a", "</think>", "One. ", "<think>", "b", "</think>", "Two.", END)
    assert (answer.text, ids(answer)) == ("One. Two.", [3, 7, 8])
    assert read("<think>", "a", "</think>", "One. ", "<think>", "b", reason="length").flaw == CUT_OFF
    assert read("One.\n<think>", "b", reason="length").flaw == CUT_OFF


def test_a_text_that_a_stop_string_cut() -> None:
    answer = read("<think>", "a", "</think>", "Eve\n", "---", text=b"<think>a</think>Eve")
    assert (answer.text, len(answer.data)) == ("Eve", 3)
    assert read("<think>", "a\n", "---", text=b"<think>a").flaw == ENDED


def test_nothing_behind_a_closed_thought_is_no_text() -> None:
    assert read("<think>", "a", "</think>", "\n", END).flaw == NO_TEXT
    assert read("<think>", "a", "</think>", "\n", reason="length").flaw == CUT_OFF


def harmony(*channels: tuple[str, str], kind: type = Piece) -> list[str | Piece]:
    def mark(name: str) -> str | Piece:
        return control(name) if kind is Piece else name

    parts: list[str | Piece] = []
    for number, (channel, said) in enumerate(channels):
        parts += [mark("<|start|>"), "assistant"] if number else []
        parts += [mark("<|channel|>"), channel, mark("<|message|>"), said, mark("<|end|>")]
    return parts


@pytest.mark.parametrize("kind", [Piece, str], ids=["control tokens", "text"])
def test_channels(kind: type) -> None:
    answer = read(*harmony(("analysis", "Ann?"), ("final", "Eve"), kind=kind)[:-1], control("<|return|>"))
    assert (answer.text, ids(answer)) == ("Eve", [10, 11])
    assert read(*harmony(("final", "Eve"), kind=kind)).text == "Eve"
    assert read(*harmony(("analysis", "Ann"), ("commentary to=f", "{}"), ("final", "Eve"), kind=kind)).text == "Eve"
    assert read(*harmony(("analysis", "Ann"), kind=kind)[:-1], reason="length").flaw == CUT_OFF
    assert read(*harmony(("analysis", "Ann"), kind=kind)[:2], reason="length").flaw == CUT_OFF
    assert read(*harmony(("analysis", "Ann"), ("final", "Eve"), kind=kind)[:8], reason="length").flaw == CUT_OFF
    assert read(*harmony(("analysis", "Ann"), kind=kind), reason="length").flaw == CUT_OFF
    assert read(*harmony(("analysis", "Ann"), kind=kind)).flaw == NO_TEXT


def test_a_thought_in_a_channel_of_one_token() -> None:
    parts = [control("<|channel>"), "thought\n", "Ann", control("<channel|>"), "Eve", END]
    assert read(*parts).text == "Eve"
    assert read(*parts[:3], reason="length").flaw == CUT_OFF
    assert read("Eve", END, behind="<|turn>model\n<|channel>thought\n<channel|>").text == "Eve"


def test_a_wrapped_answer() -> None:
    assert read("<think>", "a", "</think>", "<response>", "Eve", "</response>", END).text == "Eve"
    marks = [control(f"<|{name}|>") for name in ("START_THINKING", "END_THINKING", "START_RESPONSE", "END_RESPONSE")]
    assert read(marks[0], "a", marks[1], marks[2], "Eve", marks[3], END).text == "Eve"
    opened = "Here are my reasoning steps:\n"
    assert read("a\n[BEGIN FINAL RESPONSE]\n", "Eve\n[END FINAL RESPONSE]", END, behind=opened).text.strip() == "Eve"
    assert read(opened, "a", reason="length").text == f"{opened}a"  # anyone may write this


def test_bytes_that_are_no_text() -> None:
    parts = (Piece(b"<think>"), Piece(b"\xff"), Piece(b"</think>"), Piece(b"\xc3"), Piece(b"\xa9\xf0"))
    answer = read(*parts, reason="length")
    assert (answer.text, len(answer.data)) == ("é�", 3)
