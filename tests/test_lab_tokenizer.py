"""The tokenizer: every text survives, llama.cpp cuts it into the same tokens, and training is repeatable."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("sentencepiece")
torch = pytest.importorskip("torch")

from llama_diversity.engines import EngineOptions, open_engine  # noqa: E402
from llama_diversity.lab.export import Card, write_gguf  # noqa: E402
from llama_diversity.lab.tokenizer import Tokenizer, train  # noqa: E402
from llama_diversity.lab.transformer import Architecture, Llama  # noqa: E402
from llama_diversity.records import ModelRef  # noqa: E402

N_VOCAB = 420
SOURCES = [path.read_text("utf-8") for path in sorted(Path(__file__).parent.glob("test_m*.py"))]
TEXTS = [
    "Grace Hopper was born in 1906.",
    "First name: Ada\nLast name: Lovelace\nAge: 36",
    "two  spaces, a\ttab, é, 猫 and 🐈 are written byte by byte",
    " a space before",
    "\nnewlines around\n\n",
    "[INST] a request [/INST]",
    "<s> is text here, </s> too",
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer(train(SOURCES, n_vocab=N_VOCAB))


def test_the_same_text_gives_the_same_tokenizer(tokenizer: Tokenizer) -> None:
    assert train(SOURCES, n_vocab=N_VOCAB) == tokenizer.serialised


def test_ids_are_those_of_llama(tokenizer: Tokenizer) -> None:
    vocabulary = tokenizer.vocabulary
    assert tokenizer.n_vocab == len(vocabulary.pieces) == N_VOCAB
    assert vocabulary.pieces[:4] == [b"<unk>", b"<s>", b"</s>", b"<0x00>"]
    assert vocabulary.types[:5] == [2, 3, 3, 6, 6]
    assert vocabulary.types.count(6) == 256


@pytest.mark.parametrize("text", TEXTS)
def test_every_text_survives(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert not {0, 1, 2} & set(ids)


def test_a_newline_is_its_byte_and_digits_stand_alone(tokenizer: Tokenizer) -> None:
    pieces = [tokenizer.vocabulary.pieces[token] for token in tokenizer.encode("1906\n7")]
    assert [piece for piece in pieces if piece != b"\xe2\x96\x81"] == [b"1", b"9", b"0", b"6", b"<0x0A>", b"7"]


@pytest.mark.model
def test_llama_cpp_cuts_text_into_the_same_tokens(tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = Llama(Architecture(n_vocab=N_VOCAB, n_embd=32, n_layer=1, n_head=2, n_ff=32, n_ctx=32))
    model.initialise(torch.Generator().manual_seed(0))
    path = tmp_path / "small.gguf"
    write_gguf(path, model, tokenizer.vocabulary, Card("small", "random weights", "MIT", {}))
    engine = open_engine(ModelRef("small", "llamacpp", str(path), "digest"), EngineOptions())
    try:
        for text in [*TEXTS, *SOURCES]:
            assert list(engine.tokenize(text)) == [1, *tokenizer.encode(text)]
        spelled = b"".join(engine.piece(token).bytes for token in engine.tokenize(TEXTS[2]))
        assert spelled.decode() == " " + TEXTS[2]
    finally:
        engine.close()
