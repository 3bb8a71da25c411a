"""Grammars: what they allow is drawn with renormalised probabilities, and nothing changes without one."""

from __future__ import annotations

import contextlib
import ctypes
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import llama_cpp
import llama_cpp.llama_cpp as C
import numpy as np
import pytest
import scipy.stats

import llama_diversity
from llama_diversity.engines import Engine, EngineOptions, open_engine
from llama_diversity.engines.draws import Reducer
from llama_diversity.engines.llamacpp.gbnf import objection
from llama_diversity.engines.llamacpp.grammar import LlamaCppGrammar
from llama_diversity.errors import BadValue, EngineError
from llama_diversity.records import ModelRef, Prompt, Recipe, Sample, Sampler
from llama_diversity.resolve import resolve_model

TINY_BASE = Path(llama_diversity.__file__).parent / "data" / "tiny-base.gguf"
RAW = ("id", "surprisal_bits", "entropy_bits", "varentropy_bits2", "rank", "top_ids", "top_surprisals_bits")
EOS = 2  # in the vocabularies of both models


@contextlib.contextmanager
def opened(path: Path, **options: object) -> Iterator[Engine]:
    options = {"n_threads": 1, **options}
    with contextlib.closing(open_engine(ModelRef("test", "llamacpp", str(path), "d"), EngineOptions(**options))) as it:
        yield it


def recipe(engine: Engine, grammar: str | None, **changes: object) -> Recipe:
    fields = {
        "engine": "llamacpp",
        "engine_build": engine.build,
        "model_digest": "d",
        "vocab_digest": engine.facts.vocab_digest,
        "prompt": engine.prompt("She was"),
        "sampler": Sampler(),
        "seed": 0,
        "max_tokens": 24,
        "grammar": grammar,
    }
    return Recipe(**{**fields, **changes})


def drawn(engine: Engine, asked: Recipe, n: int) -> list[Sample]:
    samples = [sample for step in engine.sample(asked, range(n)) for sample in step.finished]
    return sorted(samples, key=lambda sample: sample.index)


# ---- recipes


def test_a_recipe_without_a_grammar_keeps_its_key() -> None:
    """The key was computed before recipes knew grammars."""
    prompt = Prompt("Hi", "Hi", (1, 2))
    plain = Recipe("llamacpp", "build", "d", "v", prompt, Sampler(temperature=0.5), 7, 8, ("x",))
    assert plain.key == "r1-0024353a36b0871e30b34fa1e1b25ef1"
    assert "grammar" not in plain.to_json()
    assert Recipe.from_json(plain.to_json()) == plain


def test_a_grammar_belongs_to_the_recipe() -> None:
    prompt = Prompt("Hi", "Hi", (1, 2))
    plain, one, other = (
        Recipe("llamacpp", "build", "d", "v", prompt, Sampler(), 7, 8, grammar=grammar)
        for grammar in (None, 'root ::= "a"', 'root ::= "b"')
    )
    assert len({plain.key, one.key, other.key}) == 3
    assert Recipe.from_json(one.to_json()) == one
    assert (plain.is_neutral, one.is_neutral) == (True, False)
    with pytest.raises(BadValue, match="--grammar is ' '; it must hold a rule called root"):
        Recipe("llamacpp", "build", "d", "v", prompt, Sampler(), 7, 8, grammar=" ")


def test_the_scripted_engine_refuses_a_grammar() -> None:
    with contextlib.closing(open_engine(ModelRef("base", "scripted", "base", "d"), EngineOptions())) as engine:
        assert not engine.capabilities.grammars
        with pytest.raises(EngineError, match="base is no GGUF model and takes no grammar"):
            drawn(engine, recipe(engine, 'root ::= "She"'), 1)


# ---- draws


def eighths(*shares: int) -> np.ndarray:
    return np.log(np.array([shares], np.float64) / 8).astype(np.float32)


# p = (4, 2, 1, 1) / 8, and tokens 1 and 2 are allowed: q = (2/3, 1/3). Squared (T = 1/2): (4/5, 1/5).
# H(2/3) = log2 3 - 2/3 = 0.9182958 and H(4/5) = log2 5 - 8/5 = 0.7219281 bits.
@pytest.mark.parametrize(
    ("sampler", "share_of_1", "entropy_bits"),
    [
        (Sampler(), 2 / 3, 0.9182958),
        (Sampler(temperature=0.5), 4 / 5, 0.7219281),
        (Sampler(temperature=1e4), 1 / 2, 1.0),
        (Sampler(temperature=0), 1, 0),
        (Sampler(top_k=1), 1, 0),
        (Sampler(top_k=2), 2 / 3, 0.9182958),
        (Sampler(top_p=0.6), 1, 0),
        (Sampler(min_p=0.4), 2 / 3, 0.9182958),
    ],
    ids=str,
)
def test_a_draw_from_what_is_allowed(sampler: Sampler, share_of_1: float, entropy_bits: float) -> None:
    numbers = (np.arange(3000) + 0.5) / 3000
    allowed = np.tile([False, True, True, False], (3000, 1))
    stats = Reducer(4).draw(np.repeat(eighths(4, 2, 1, 1), 3000, axis=0), numbers, sampler, allowed)
    assert np.bincount(stats["id"], minlength=4)[[0, 1, 3]] == pytest.approx([0, 3000 * share_of_1, 0], abs=1)
    for token, raw_bits, share in ((1, 2, share_of_1), (2, 3, 1 - share_of_1)):
        for row in stats[stats["id"] == token][:1]:
            assert row["surprisal_bits"] == pytest.approx(raw_bits, abs=1e-6)
            assert row["sampler_surprisal_bits"] == pytest.approx(-np.log2(share), abs=1e-3)
    assert stats["entropy_bits"] == pytest.approx(1.75, abs=1e-6)  # 1/2 + 1/2 + 3/8 + 3/8
    assert stats["sampler_entropy_bits"] == pytest.approx(entropy_bits, abs=1e-5)
    assert (stats["top_ids"] == [0, 1, 2, 3, -1]).all()


def test_allowed_tokens_may_be_as_unlikely_as_they_like() -> None:
    logits = np.zeros((1, 300), np.float32)
    logits[0, [17, 250]] = [-5000, -5000 + np.log(3)]
    allowed = np.zeros((1, 300), np.bool_)
    allowed[0, [17, 250]] = True
    reducer = Reducer(300)
    assert [reducer.draw(logits, np.array([u]), Sampler(), allowed)["id"][0] for u in (0.0, 0.24, 0.26, 0.99)] == [
        17,
        17,
        250,
        250,
    ]
    with pytest.raises(ValueError, match="allows no token"):
        reducer.draw(logits, np.array([0.5]), Sampler(), np.zeros((1, 300), np.bool_))


@pytest.mark.parametrize("sampler", [Sampler(), Sampler(temperature=0.7), Sampler(temperature=0), Sampler(top_k=9)])
def test_allowing_everything_changes_no_draw(sampler: Sampler) -> None:
    generator = np.random.default_rng(0)
    logits = (generator.standard_normal((50, 1000)) * 3).astype(np.float32)
    numbers = generator.random(50)
    reducer = Reducer(1000)
    free = reducer.draw(logits, numbers, sampler)
    bound = reducer.draw(logits, numbers, sampler, np.ones((50, 1000), np.bool_))
    for name in RAW:
        assert bound[name].tobytes() == free[name].tobytes()
    for name in ("sampler_surprisal_bits", "sampler_entropy_bits"):
        np.testing.assert_allclose(bound[name], free[name], atol=2e-6)


def test_a_bounded_row_gives_the_same_bits_alone_and_in_company() -> None:
    generator = np.random.default_rng(1)
    logits = (generator.standard_normal((40, 700)) * 3).astype(np.float32)
    numbers, allowed = generator.random(40), generator.random((40, 700)) < 0.1
    reducer = Reducer(700)
    together = reducer.draw(logits, numbers, Sampler(), allowed)
    alone = [reducer.draw(logits[i : i + 1], numbers[i : i + 1], Sampler(), allowed[i : i + 1]) for i in range(40)]
    assert b"".join(row.tobytes() for row in alone) == together.tobytes()
    assert allowed[np.arange(40), together["id"]].all()


# ---- grammars that llama.cpp must not be given


@pytest.mark.parametrize(
    "grammar",
    [
        'root ::= "<yes>" | [<!>] # a ::= a "x"\n',
        'root ::= ("a"? "b"?)* "c"',
        'root ::= blank root | "y"\nblank ::= " "*',  # comes back with nothing behind: a loop that ends
        'root ::= item ("," item)*\nitem ::= "(" root ")" | [0-9]+',
        'root ::= "a"{0,2000} b\nb ::= "" | "b"{2}',
        "no grammar at all",  # llama.cpp names that
    ],
)
def test_harmless(grammar: str) -> None:
    assert objection(grammar) is None


@pytest.mark.parametrize(
    ("grammar", "reason"),
    [
        ('root ::= root "x" | "y"', "the rule 'root' comes back to itself"),
        ('root ::= blank root "x" | "y"\nblank ::= " "*', "the rule 'root' comes back to itself"),
        ('root ::= a "x"\na ::= "b" | (blank a)+\nblank ::= none\nnone ::= ""', "the rule 'a' comes back to itself"),
        ('root ::= a{1,3} "x"\na ::= ("q"? root | "z") "y"', "the rule 'root' comes back to itself"),
        ('root ::= [^]* root "x" | "y"', "the rule 'root' comes back to itself"),
        ("root ::= <s> .*", "it must spell the text of a token where it says <s>"),
        ("root ::= !<[7]>", "it must spell the text of a token where it says !<[7]>"),
        ('root ::= "a"{3,2001}', "it must not count beyond 2000, as in {3,2001}"),
        ('root ::= "a"{99999999999999999999}', "it must not count beyond 2000"),
        ('root ::= "a"\0 | "b"', "UTF-8 text without NUL"),
        ('root ::= "\ud800"', "UTF-8 text without NUL"),
        ("root ::= " + "(" * 200_000, "it must not nest brackets deeper than 100"),
    ],
)
def test_harmful(grammar: str, reason: str) -> None:
    assert reason in (objection(grammar) or "")


# ---- llama.cpp


def next_ones(engine: Engine, grammar: str, *text: str) -> set[bytes]:
    """What may follow after the tokens `text`; b"end" stands for the end of the sequence."""
    bounds = LlamaCppGrammar([grammar], engine._described, n_threads=1)
    with contextlib.closing(bounds):
        bounds.begin(0, grammar)
        for piece in text:
            pieces = engine._tokenizer.pieces
            token = next(i for i, known in enumerate(pieces) if known.bytes == piece.encode("latin-1"))
            bounds.allowed([0])
            bounds.accept(0, token)
        ids = np.flatnonzero(bounds.allowed([0])[0]).tolist()
        return {b"end" if token == EOS else engine.piece(token).bytes for token in ids}


def test_a_text_fits_as_a_whole_or_not() -> None:
    """A list of numbers in brackets, as deep as one likes: what no regular expression describes."""
    lists = 'root ::= "[" (item ("," item)*)? "]"\nitem ::= root | [0-9]+ | "é"'
    texts = {
        "[]": True, "[1,[23,[]],é]": True, "[1,[23,[]]": False, "[1,]": False, "[1]]": False, "": False, "[é": False,
        "[\0]": False, " []": False,
    }  # fmt: skip
    with contextlib.closing(open_engine(resolve_model("tiny-base"), EngineOptions(vocabulary_only=True))) as engine:
        assert engine.fits(lists, [text.encode() for text in texts]) == list(texts.values())
        assert engine.fits('root ::= "a"*', [b"", b"aaa", b"aab"]) == [True, True, False]
        assert engine.fits("root ::= .*", [bytes(range(1, 128)), "日本".encode(), b"\xff\xfe"])[:2] == [True, True]
        for bad, reason in (("root ::= (", "llama.cpp cannot use it"), ("# none", "llama.cpp cannot use it")):
            with pytest.raises(BadValue, match=reason):
                engine.fits(bad, [b""])
        with pytest.raises(BadValue, match="it must hold a rule called root"):
            engine.fits("", [b""])
    with (
        contextlib.closing(open_engine(resolve_model("scripted:base"), EngineOptions())) as chain,
        pytest.raises(EngineError, match="takes no grammar"),
    ):
        chain.fits(lists, [b"[]"])


@pytest.mark.model
def test_the_end_is_allowed_exactly_when_the_grammar_is_complete(tiny_model: Path) -> None:
    with opened(tiny_model, vocabulary_only=True) as engine:
        one = 'root ::= "q" | "q0" "9"?'
        assert next_ones(engine, one) == {b"q"}
        assert next_ones(engine, one, "q") == {b"end", b"0"}
        assert next_ones(engine, one, "q", "0") == {b"end", b"9"}
        assert next_ones(engine, one, "q", "0", "9") == {b"end"}
        assert next_ones(engine, 'root ::= ""') == {b"end"}
        two_bytes = "root ::= [é]*"  # in between, the text holds half a character
        assert next_ones(engine, two_bytes) >= {b"end", b"\xc3"}
        assert next_ones(engine, two_bytes, "\xc3") == {b"\xa9"}
        assert next_ones(engine, two_bytes, "\xc3", "\xa9") >= {b"end", b"\xc3"}


@pytest.mark.model
def test_names_of_control_tokens_are_no_text(tiny_model: Path) -> None:
    """Their spelling, <s>, would match; but they add nothing to a text."""
    with opened(tiny_model, vocabulary_only=True) as engine:
        bounds = LlamaCppGrammar(["root ::= .*"], engine._described, n_threads=1)
        with contextlib.closing(bounds):
            bounds.begin(0, "root ::= .*")
            allowed = bounds.allowed([0])[0]
            assert {i for i, piece in enumerate(engine._tokenizer.pieces) if piece.control and allowed[i]} == {EOS}
            with pytest.raises(ValueError, match="does not allow"):
                bounds.accept(0, 1)


@pytest.mark.model
@pytest.mark.parametrize(
    "grammar",
    [
        'root ::= "Name: " [A-Z] [^\\n]{1,9} "\\nAge: " [0-9]{1,3}',
        "root ::= [^é\\n]+ [.]",
        'root ::= [é-ü]+ | "日" [^a-z]*',
        "root ::= .*",
    ],
)
def test_asking_by_first_characters_equals_asking_for_every_token(grammar: str) -> None:
    """Along random walks, against llama.cpp's answer for the whole vocabulary at once."""
    generator = np.random.default_rng(0)
    with opened(TINY_BASE, vocabulary_only=True) as engine:
        vocabulary = engine._described
        has_text = np.array([piece.control is None or i == EOS for i, piece in enumerate(engine._tokenizer.pieces)])
        bounds = LlamaCppGrammar([grammar], vocabulary, n_threads=2)
        with contextlib.closing(bounds):
            for walk in range(4):
                bounds.begin(walk, grammar)
                for _ in range(8):
                    allowed = bounds.allowed([walk])[0]
                    every = whole_answer(bounds._walks[walk].sampler, len(has_text))
                    np.testing.assert_array_equal(allowed, every & has_text)
                    possible = np.flatnonzero(allowed)
                    possible = possible[possible != EOS]
                    if len(possible) == 0:
                        break
                    bounds.accept(walk, int(generator.choice(possible)))


def whole_answer(sampler: object, n_vocab: int) -> np.ndarray:
    data = (C.llama_token_data * n_vocab)(*((token, 0.0, 0.0) for token in range(n_vocab)))
    C.llama_sampler_apply(sampler, ctypes.byref(C.llama_token_data_array(data, n_vocab, -1, False)))
    return np.array([entry.logit == 0 for entry in data])


@pytest.mark.model
@pytest.mark.parametrize(
    ("grammar", "reason"),
    [
        ("root ::= (", r"expecting '\)' at the end\.$"),
        ('root ::= "a"\n\nb = "c"\n', r"""expecting ::= in line 3, at '= "c"'\.$"""),
        ("root ::= " + "a-very-long-name " * 9, r"…'; llama.cpp cannot use it: Undefined rule identifier"),
        ('start ::= "a"', "does not contain a 'root' symbol"),
        ("root ::= root", "left recursion"),
        ('root ::= root "x" | "y"', "comes back to itself"),
    ],
)
def test_a_malformed_grammar_is_one_sentence(
    grammar: str, reason: str, tiny_model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with opened(tiny_model) as engine:
        with pytest.raises(BadValue, match=r"^--grammar is .*" + reason) as refused:
            drawn(engine, recipe(engine, grammar), 2)
        assert "\n" not in str(refused.value)
        assert len(drawn(engine, recipe(engine, 'root ::= "a"'), 2)) == 2  # the process and the engine live on
    assert capfd.readouterr() == ("", "")


RECORD = 'root ::= "\\nName: " [A-Z] [a-z]{1,8} "\\nAge: " [1-9] [0-9]? "\\n"'
RECORDS = re.compile(rb"\nName: [A-Z][a-z]{1,8}\nAge: [1-9][0-9]?\n")


@pytest.mark.model
@pytest.mark.parametrize(
    "sampler", [Sampler(), Sampler(temperature=2.0), Sampler(top_k=3), Sampler(top_p=0.9)], ids=str
)
def test_all_samples_match_the_grammar(sampler: Sampler) -> None:
    with opened(TINY_BASE, parallel=9) as engine:
        samples = drawn(engine, recipe(engine, RECORD, sampler=sampler, max_tokens=60), 30)
    assert [sample.index for sample in samples] == list(range(30))
    assert len({sample.text for sample in samples}) > 20
    for sample in samples:
        assert RECORDS.fullmatch(sample.text), sample.text
        assert sample.finish_reason == "stop"
        assert sample.tokens["id"][-1] == EOS
        if sampler.is_neutral:  # dividing by less than the whole makes every token likelier
            assert (sample.tokens["sampler_surprisal_bits"] <= sample.tokens["surprisal_bits"] + 1e-5).all()
        assert sample.tokens[-1]["sampler_surprisal_bits"] == pytest.approx(0, abs=1e-6)  # nothing else may follow


@pytest.mark.model
def test_an_unfinished_text_is_said_to_be_one() -> None:
    with opened(TINY_BASE, parallel=4) as engine:
        for sample in drawn(engine, recipe(engine, RECORD, max_tokens=3), 4):
            assert sample.finish_reason == "length"
            assert not RECORDS.fullmatch(sample.text)


def library_probabilities(path: Path, ids: tuple[int, ...]) -> np.ndarray:
    """The distribution after `ids`, from the logits of the library's own `Llama` class, in float64."""
    llama = llama_cpp.Llama(str(path), logits_all=True, n_ctx=512, verbose=False, n_threads=1, n_threads_batch=1)
    llama.eval(ids)
    logits = llama.scores[len(ids) - 1].astype(np.float64)
    llama.close()
    e = np.exp(logits - logits.max())
    return np.asarray(e / e.sum())


@pytest.mark.model
def test_first_tokens_follow_the_renormalised_probabilities(tiny_model: Path) -> None:
    """Chi-square of 4,000 samples; what the grammar allows is spelled out here. The seed is fixed."""
    with opened(tiny_model, parallel=64, flash_attention=False) as engine:
        asked = recipe(engine, "root ::= [a-m]+", max_tokens=1)
        samples = drawn(engine, asked, 4000)
        allowed = np.array([re.fullmatch(rb"[a-m]+", piece.bytes) is not None for piece in engine._tokenizer.pieces])
    p = library_probabilities(tiny_model, asked.prompt.ids)
    q = np.where(allowed, p, 0) / p[allowed].sum()
    assert allowed.sum() > 20
    counts = np.bincount([sample.tokens["id"][0] for sample in samples], minlength=700)
    assert counts[~allowed].sum() == 0
    common = q * 4000 >= 5
    observed = [*counts[common], counts[~common].sum()]
    expected = [*(q[common] * 4000), q[~common].sum() * 4000]
    assert scipy.stats.chisquare(observed, expected).pvalue > 1e-4
    for sample in samples[:50]:
        token = sample.tokens[0]
        assert token["surprisal_bits"] == pytest.approx(-np.log2(p[token["id"]]), abs=1e-3)
        assert token["entropy_bits"] == pytest.approx(-(p * np.log2(p)).sum(), abs=1e-3)
        assert token["sampler_surprisal_bits"] == pytest.approx(-np.log2(q[token["id"]]), abs=1e-3)
        assert token["sampler_entropy_bits"] == pytest.approx(-(q[allowed] * np.log2(q[allowed])).sum(), abs=1e-3)


@pytest.mark.model
@pytest.mark.parametrize("sampler", [Sampler(min_p=0.05), Sampler(temperature=0)], ids=str)
def test_a_grammar_that_allows_all_text_gives_the_same_samples(sampler: Sampler) -> None:
    """Bit for bit among the likeliest tokens; among all, 0.01 % goes to bytes that begin no character."""
    with opened(TINY_BASE, parallel=16) as engine:
        free = drawn(engine, recipe(engine, None, sampler=sampler), 16)
        bound = drawn(engine, recipe(engine, "root ::= .*", sampler=sampler), 16)
    for one, other in zip(free, bound, strict=True):
        assert (one.text, one.finish_reason) == (other.text, other.finish_reason)
        assert one.tokens.tobytes() == other.tokens.tobytes()


@pytest.mark.model
def test_what_no_grammar_allows_is_no_text() -> None:
    """A NUL, and a byte that begins no character."""
    with opened(TINY_BASE, vocabulary_only=True) as engine:
        allowed = next_ones(engine, "root ::= .*")
        pieces = {engine.piece(token).bytes for token in range(3, engine.facts.n_vocab)}
    assert pieces - allowed == {b"\0"} | {bytes([value]) for value in [*range(0x80, 0xC2)]}


@pytest.mark.model
def test_a_dead_end_is_named_and_the_other_samples_are_kept(tiny_model: Path) -> None:
    """No token spells a NUL, so "a" is a dead end; "b" is not. Both begin samples, in every step of the batch."""
    grammar = 'root ::= ("a" "\\x00") | ("b" | "c")+'
    with opened(tiny_model, parallel=4) as engine:
        firsts = drawn(engine, recipe(engine, grammar, max_tokens=1), 30)
        dead = {sample.index for sample in firsts if sample.text == b"a"}
        assert 0 < len(dead) < 30
        kept: list[int] = []
        steps = engine.sample(recipe(engine, grammar, max_tokens=9), range(30))
        with pytest.raises(EngineError, match=r"no token to go on with, the first of them after 'a'") as refused:
            kept.extend(sample.index for step in steps for sample in step.finished)
        assert sorted(kept) == sorted(set(range(30)) - dead)
        assert re.search(rf"left samples? {min(dead)}[ ,]", str(refused.value))


@pytest.mark.model
def test_each_prompt_follows_a_grammar_of_its_own_in_one_batch(tiny_model: Path) -> None:
    """They begin at the same text, none: what one allows there is not what another does."""
    patterns = {"root ::= [0-4]+": "[0-4]+", "root ::= [5-9]+": "[5-9]+", 'root ::= "x" | "yz"': "x|yz"}
    with opened(tiny_model, parallel=5) as engine:
        asked = [
            recipe(engine, grammar, seed=seed, prompt=engine.prompt(f"Number {seed}:"), max_tokens=6)
            for seed, grammar in enumerate([*patterns] * 4)
        ]
        steps = list(engine.sample_each([(one, [0]) for one in asked]))
        texts = {sample.recipe_key: sample.text.decode() for step in steps for sample in step.finished}
        assert len(texts) == 12
        assert all(re.fullmatch(patterns[one.grammar], texts[one.key]) for one in asked)
        assert max(step.n_tokens for step in steps) == 5  # of all three at once
        bad = [(asked[0], [0]), (recipe(engine, "root ::= ("), [0])]
        with pytest.raises(BadValue, match=r"expecting '\)'"):
            list(engine.sample_each(bad))
        with pytest.raises(EngineError, match="all or none have a grammar"):
            list(engine.sample_each([(asked[0], [0]), (recipe(engine, None), [0])]))


@pytest.mark.model
def test_sampling_may_be_broken_off(tiny_model: Path) -> None:
    with opened(tiny_model, parallel=4) as engine:
        steps = engine.sample(recipe(engine, "root ::= [a-z]+"), range(9))
        next(steps)
        steps.close()
        assert len(drawn(engine, recipe(engine, "root ::= [a-z]+"), 9)) == 9


# ---- the command line


@pytest.fixture
def record_file(tmp_path: Path) -> Path:
    path = tmp_path / "record.gbnf"
    path.write_text(RECORD)
    return path


@pytest.mark.model
def test_exact_samples_are_the_same_in_any_batch(record_file: Path, tmp_path: Path) -> None:
    outputs = []
    for parallel in (1, 7):
        command = [sys.executable, "-m", "llama_diversity", "sample", "-m", str(TINY_BASE), "-p", "She was", "-n", "12"]
        options = ["--grammar", str(record_file), "--exact", "--json", "--threads", "1", "--parallel", str(parallel)]
        store = ["--store", str(tmp_path / f"{parallel}.sqlite")]
        outputs.append(subprocess.run([*command, *options, *store], capture_output=True, check=True).stdout)
    assert outputs[0] == outputs[1]
    lines = [json.loads(line) for line in outputs[0].splitlines()]
    assert [line["index"] for line in lines] == list(range(12))
    for line in lines:
        assert RECORDS.fullmatch(line["text"].encode())
        assert "sampler_entropy_bits" in line["tokens"][0]  # it differs from the model's own, so it is told


@pytest.mark.model
def test_people_are_told_that_there_was_a_grammar(record_file: Path, run: Callable) -> None:
    arguments = ("sample", "-m", TINY_BASE, "-p", "She was", "-n", 2, "--threads", 1)
    code, out, error = run(*arguments, "--grammar", record_file)
    assert code == 0
    assert out.count("Name: ") == 2
    assert f"2 samples of {TINY_BASE} within the grammar" in error.replace("\n", " ")
    assert " within the grammar" not in run(*arguments)[2]


def test_what_the_command_line_refuses(record_file: Path, tmp_path: Path, run: Callable) -> None:
    arguments = ("sample", "-m", "scripted:base", "-p", "She", "-n", 2, "--grammar")
    code, _, error = run(*arguments, record_file)
    assert code == 1
    assert "scripted:base is no GGUF model and takes no grammar" in error
    (tmp_path / "latin.gbnf").write_bytes(b'root ::= "\xe9"')
    code, _, error = run(*arguments, tmp_path / "latin.gbnf")
    assert code == 2
    assert "it must be a file of UTF-8 text" in error
    assert run(*arguments, tmp_path / "none.gbnf")[0] == 2
