"""The words of a model on a server: a GGUF's, or those of a tokenizer.json, which are the same."""

from __future__ import annotations

import json

import pytest
from served_words import write_tokenizer

from llama_diversity.engines import EngineOptions, open_engine
from llama_diversity.engines.chat import FROZEN_DATE
from llama_diversity.engines.vllm.tokenizer import open_words
from llama_diversity.errors import BadValue, ModelFileError, TemplateError
from llama_diversity.records import Asking, ModelRef
from llama_diversity.resolve import resolve_model
from llama_diversity.served import Served

TEXTS = (
    "She was a nurse.",
    "  two blanks, a\ttab",
    "café 🙂 中文\n\n x",
    "</s>abc <|im_end|> d<s>",
    "12345 67,8",
    "don't",
    "x\xa0y\r\n",
)


def words(path, *, template=None, start=None):
    model = ModelRef("vllm:http://h/a", "vllm", "", "", template, start)
    return open_words(model, Served(("http://h",), "a", str(path)))


def both(gguf, tmp_path):
    return words(gguf), words(write_tokenizer(gguf, tmp_path / "json") / "tokenizer.json")


def same(one, other):
    """Every piece, every text; of a template every id."""
    assert one.n_vocab == other.n_vocab
    assert [token for token in range(one.n_vocab) if one.piece(token) != other.piece(token)] == []
    facts = one.facts()
    assert other.facts() == facts
    assert one.ends == other.ends
    for text in TEXTS:
        for asking in (Asking(), Asking(start="none"), Asking(start="bos")):
            assert one.tokenize(text, asking) == other.tokenize(text, asking), (text, asking)
            assert one.start(asking) == other.start(asking)
        assert one.prompt(text) == other.prompt(text)
        if facts.has_chat_template:
            assert one.prompt(text, chat=True) == other.prompt(text, chat=True)


@pytest.mark.parametrize("name", ["tiny-base", "tiny-aligned"])
def test_a_tokenizer_json_of_sentencepiece_is_the_gguf(name, tmp_path):
    same(*both(resolve_model(name).location, tmp_path))


@pytest.mark.real
def test_a_tokenizer_json_by_bytes_is_the_gguf(smollm2, tmp_path):
    same(*both(smollm2, tmp_path))


def test_it_is_what_the_engine_of_the_gguf_says():
    model = resolve_model("tiny-aligned")
    served = words(model.location)
    engine = open_engine(model, EngineOptions(vocabulary_only=True))
    assert served.facts().vocab_digest == engine.facts.vocab_digest
    assert (served.ends, served.n_vocab) == (engine.ends, engine.facts.n_vocab)
    assert served.prompt("Who is she?", chat=True) == engine.prompt("Who is she?", chat=True)
    assert served.prompt("Who?", chat=True).frozen_date == FROZEN_DATE
    known = served.facts(digest="abc", n_ctx_train=512, notes=("It is coarse.",))
    assert (known.digest, known.n_ctx_train, known.notes) == ("abc", 512, ("It is coarse.",))
    engine.close()
    served.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tokenizer(resolve_model("tiny-aligned").location, tmp_path_factory.mktemp("tokenizer"))


def copied(folder, tmp_path, **changed):
    """The folder with other words in tokenizer.json."""
    stated = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    for name in ("tokenizer_config.json", "chat_template.jinja"):
        (tmp_path / name).write_text((folder / name).read_text("utf-8"), "utf-8")
    (tmp_path / "tokenizer.json").write_text(json.dumps(stated | changed), "utf-8")
    return tmp_path / "tokenizer.json"


def test_control_tokens_of_a_user_stay_text(folder):
    opened = words(folder / "tokenizer.json")
    [bos], [eos] = opened.start(Asking(start="bos")).ids, sorted(opened.ends)
    typed = "a</s>b<s>"
    assert not {bos, eos} & set(opened.tokenize(typed, Asking(start="none")))
    assert {bos, eos} <= set(opened.tokenize(typed, Asking(start="none", reads_control=True)))
    asked = opened.prompt(typed, chat=True)
    assert asked.ids.count(eos) == opened.prompt("a b", chat=True).ids.count(eos)


def test_templates_of_a_folder_of_models_toml_or_none(folder, tmp_path):
    assert words(folder / "tokenizer.json", template="").facts().has_chat_template is False
    with pytest.raises(TemplateError, match="has no chat template"):
        words(folder / "tokenizer.json", template="").prompt("a", chat=True)
    own = words(folder / "tokenizer.json", template="{% for m in messages %}{{ m.content }}{% endfor %}")
    assert own.prompt("Who?", chat=True).rendered == "Who?"
    path = copied(folder, tmp_path)
    (tmp_path / "chat_template.jinja").unlink()
    assert words(path).facts().has_chat_template is False
    named = [{"name": "tool_use", "template": "x"}, {"name": "default", "template": "{{ messages[0].content }}!"}]
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": named}))
    assert words(path).prompt("Who?", chat=True).rendered == "Who?!"


def test_ends_are_what_the_configuration_says_too(folder, tmp_path):
    path = copied(folder, tmp_path)
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [2, 7]}')
    assert words(path).ends == {2, 7}


def test_a_bos_is_what_the_tokenizer_itself_adds_where_nothing_is_configured(folder, tmp_path):
    single = [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    special = {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}
    adds = {"type": "TemplateProcessing", "single": single, "pair": single, "special_tokens": special}
    path = copied(folder, tmp_path, post_processor=adds)
    (tmp_path / "tokenizer_config.json").write_text('{"bos_token": {"content": "<s>"}, "eos_token": "</s>"}')
    assert words(path).facts().adds_bos is True
    assert words(copied(folder, tmp_path)).facts().adds_bos is True  # as configured
    (tmp_path / "tokenizer_config.json").write_text('{"bos_token": "<s>", "add_bos_token": false}')
    assert words(path).facts().adds_bos is False


def test_what_is_no_utf8_needs_a_gguf(folder):
    with pytest.raises(BadValue, match=r"b'\\xff'; a tokenizer.json reads UTF-8 alone"):
        words(folder / "tokenizer.json").tokenize(b"a\xff".decode("utf-8", "surrogateescape"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "it cannot be read"),
        ("{}", "it holds no tokenizer"),
        ('{"model": {"type": "Riddle"}}', "it cannot be read"),
    ],
)
def test_a_damaged_file_is_said_to_be(text, reason, tmp_path):
    (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises(ModelFileError, match=reason):
        words(tmp_path / "tokenizer.json")


def test_a_kind_whose_bytes_nobody_states_is_refused(folder, tmp_path):
    path = copied(folder, tmp_path, decoder={"type": "WordPiece", "prefix": "##", "cleanup": True})
    with pytest.raises(ModelFileError, match="it does not say which bytes its tokens stand for. Name a GGUF"):
        words(path)
