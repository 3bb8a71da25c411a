"""The llama.cpp engine on a real, small GGUF file whose weights are random: arithmetic does not care."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import llama_cpp
import numpy as np
import other_architectures
import pytest
import scipy.stats

from llama_diversity import registry
from llama_diversity.engines import Engine, EngineOptions, open_engine
from llama_diversity.engines.llamacpp import tiles
from llama_diversity.errors import BadValue, EngineError, OutOfMemory, PromptTooLong, TemplateError
from llama_diversity.records import ModelRef, Recipe, Sample, Sampler

pytestmark = pytest.mark.model
PROMPT = "Once upon a time"


@contextlib.contextmanager
def opened(path: Path, **options: object) -> Iterator[Engine]:
    with contextlib.closing(open_engine(ModelRef("test", "llamacpp", str(path), "d"), EngineOptions(**options))) as it:
        yield it


def recipe(engine: Engine, *, text: str = PROMPT, chat: bool = False, **changes: object) -> Recipe:
    fields = {
        "engine": "llamacpp",
        "engine_build": engine.build,
        "model_digest": "d",
        "vocab_digest": engine.facts.vocab_digest,
        "prompt": engine.prompt(text, chat=chat),
        "sampler": Sampler(),
        "seed": 0,
        "max_tokens": 24,
    }
    return Recipe(**{**fields, **changes})


def drawn(engine: Engine, asked: Recipe, indices: range | list[int]) -> dict[int, Sample]:
    samples = [sample for step in engine.sample(asked, indices) for sample in step.finished]
    assert len({sample.index for sample in samples}) == len(samples)
    return {sample.index: sample for sample in samples}


# ---- facts and text


def test_facts_come_from_the_file(tiny_model: Path) -> None:
    with opened(tiny_model) as engine:
        facts = engine.facts
        assert (facts.architecture, facts.n_vocab, facts.n_ctx_train) == ("llama", 700, 1024)
        assert facts.adds_bos
        assert facts.has_chat_template
        assert facts.n_params > 0
    with opened(tiny_model, vocabulary_only=True) as reader:
        assert reader.facts.vocab_digest == facts.vocab_digest
        with pytest.raises(EngineError, match="vocabulary only"):
            reader.score((1, 2))


def test_one_bos_and_the_bytes_join_to_the_text(tiny_model: Path) -> None:
    with opened(tiny_model, vocabulary_only=True) as engine:
        for text in ("Hello", " two  spaces", "é 🙂 \x00 \x1b[2J", "<s> is text", "a" * 500):
            ids = engine.tokenize(text)
            assert ids[0] == 1
            assert 1 not in ids[1:]
            joined = b"".join(engine.piece(token).bytes for token in ids)
            assert joined == b" " + text.encode()  # SentencePiece puts a space in front
        assert engine.tokenize("") == (1,)
        assert engine.tokenize("\udcff lone byte")[0] == 1  # llama.cpp's tokenizer replaces what is not UTF-8
        with pytest.raises(BadValue, match="half of a UTF-16 pair"):
            engine.tokenize("\ud800")


def test_control_tokens_have_a_name_and_no_bytes(tiny_model: Path) -> None:
    with opened(tiny_model, vocabulary_only=True) as engine:
        assert engine.piece(2) == (b"", "</s>")
        assert engine.piece(3 + 0xE2) == (b"\xe2", None)


def test_chat_goes_through_the_template_with_one_bos(tiny_model: Path, base_model: Path) -> None:
    with opened(tiny_model, vocabulary_only=True) as engine:
        prompt = engine.prompt("Hi", chat=True, system="Be brief.")
        assert prompt.rendered == "<s>[SYSTEM] Be brief. [/][USER] Hi [/]"
        assert (prompt.ids[0], prompt.ids.count(1)) == (1, 1)
        assert prompt.mode == "chat"
        assert prompt.template_digest
        with pytest.raises(BadValue, match="--system"):
            engine.prompt("Hi", system="Be brief.")
    with (
        opened(base_model, vocabulary_only=True) as engine,
        pytest.raises(TemplateError, match="no chat template"),
    ):
        engine.prompt("Hi", chat=True)


# ---- scoring


def library_probabilities(path: Path, ids: tuple[int, ...]) -> np.ndarray:
    """Row i: the distribution after ids[:i + 1], from the logits of the library's own `Llama` class, in float64."""
    llama = llama_cpp.Llama(str(path), logits_all=True, n_ctx=512, verbose=False)
    llama.eval(ids)
    logits = llama.scores[: len(ids)].astype(np.float64)
    llama.close()
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def test_scores_equal_softmax_of_the_library_s_own_logits(tiny_model: Path) -> None:
    with opened(tiny_model) as engine:
        ids = engine.tokenize("The quick brown fox, é and 🙂.")
        stats = engine.score(ids)
    p = library_probabilities(tiny_model, ids)
    bits = -np.log2(p)
    within = 1e-4 if tiles.usable() else 5e-3  # the class uses them all the same, and they round
    for position in range(1, len(ids)):
        row, before = stats[position], position - 1
        assert row["surprisal_bits"] == pytest.approx(bits[before, ids[position]], abs=within)
        assert row["entropy_bits"] == pytest.approx((p * bits)[before].sum(), abs=within)
        assert row["rank"] == 1 + (p[before] > p[before, ids[position]]).sum()
        assert row["top_ids"].tolist() == np.argsort(-p[before], kind="stable")[:5].tolist()
    assert np.isnan(stats["surprisal_bits"][0])


def test_long_text_is_scored_in_chunks_like_short_text(tiny_model: Path) -> None:
    """Row i does not depend on what follows it: the first tokens of a long text score as the short text does."""
    with opened(tiny_model) as engine:
        long = engine.score(engine.tokenize("ab cd " * 160))
        assert len(long) > 600  # more than one chunk of 512 rows
        short = engine.score(engine.tokenize("ab cd " * 40))
        np.testing.assert_allclose(long["surprisal_bits"][1:150], short["surprisal_bits"][1:150], atol=0.02)
        assert np.isfinite(long["surprisal_bits"][1:]).all()
        with pytest.raises(PromptTooLong):
            engine.score((1,) * 1025)


@pytest.mark.parametrize("n_tokens", [1, 2, 3])
def test_the_shortest_texts(tiny_model: Path, n_tokens: int) -> None:
    with opened(tiny_model) as engine:
        stats = engine.score((1, 300, 301)[:n_tokens])
        assert np.isnan(stats["entropy_bits"]).tolist() == [True, False, False][:n_tokens]


# ---- sampling


def test_every_index_once_in_any_layout(tiny_model: Path) -> None:
    """With end-of-sequence tokens at random places slots are freed, refilled and moved all the time."""
    with opened(tiny_model, parallel=7) as engine:
        samples = drawn(engine, recipe(engine, max_tokens=60), range(100))
    assert set(samples) == set(range(100))
    assert len({len(sample.tokens) for sample in samples.values()}) > 3
    for sample in samples.values():
        ended = sample.tokens["id"][-1] == 2
        assert sample.finish_reason == ("stop" if ended else "length")
        assert len(sample.tokens) == 60 or ended
        assert 2 not in sample.tokens["id"][:-1]


def test_sampled_statistics_are_those_of_the_scored_text(tiny_model: Path) -> None:
    """The strongest check of slots, positions and refills: teacher-force each sample and compare."""
    with opened(tiny_model, parallel=5, flash_attention=True) as engine:
        asked = recipe(engine, max_tokens=40)
        for sample in drawn(engine, asked, range(30)).values():
            scored = engine.score(asked.prompt.ids + tuple(sample.tokens["id"].tolist()))[len(asked.prompt.ids) :]
            np.testing.assert_allclose(sample.tokens["surprisal_bits"], scored["surprisal_bits"], atol=0.02)
            np.testing.assert_allclose(sample.tokens["entropy_bits"], scored["entropy_bits"], atol=0.02)


@pytest.mark.parametrize(
    ("options", "drawn_fused", "read_fused"),
    [
        ({}, True, False),
        ({"flash_attention": True}, True, True),
        ({"flash_attention": False}, False, False),
        ({"kv_type": "q8_0"}, True, True),
    ],
)
def test_the_layout_says_which_attention_was_used(options, drawn_fused, read_fused) -> None:
    packaged = registry.load().find("tiny-base").path  # its heads have 32 values, a block of q8_0
    with opened(packaged, **options) as engine:
        asked = recipe(engine, max_tokens=2, kv_type=options.get("kv_type", "f16"))
        drawn(engine, asked, range(2))
        assert engine.layout["flash_attention"] is drawn_fused
        engine.score(asked.prompt.ids)
        assert engine.layout["flash_attention"] is read_fused
        with engine.after(asked.prompt, longest=1) as following:
            following([()])
        assert engine.layout["flash_attention"] is read_fused


def test_parallel_samples_do_not_begin_alike(tiny_model: Path) -> None:
    """One first token for all rows looks like mode collapse. Here the likeliest has p < 0.5: 64 equal, p < 1e-19."""
    with opened(tiny_model, parallel=64) as engine:
        asked = recipe(engine)
        assert engine.score((*asked.prompt.ids, 0))["top_surprisals_bits"][-1, 0] > 1
        samples = drawn(engine, asked, range(64))
    assert len({int(sample.tokens["id"][0]) for sample in samples.values()}) > 5
    assert len({sample.text for sample in samples.values()}) > 60


def test_the_same_call_gives_the_same_bytes(tiny_model: Path) -> None:
    with opened(tiny_model, parallel=8) as engine:
        once, again = (drawn(engine, recipe(engine), range(20)) for _ in range(2))
        other = drawn(engine, recipe(engine, seed=1), range(20))
    assert all(once[i].tokens.tobytes() == again[i].tokens.tobytes() for i in range(20))
    assert sum(once[i].text == other[i].text for i in range(20)) < 3


def test_a_longer_run_begins_with_the_shorter_one(tiny_model: Path) -> None:
    with opened(tiny_model, parallel=1) as engine:
        short = drawn(engine, recipe(engine, max_tokens=5), [3])[3]
        long = drawn(engine, recipe(engine, max_tokens=30), [3])[3]
    assert long.tokens[:5].tobytes() == short.tokens.tobytes()


@pytest.mark.parametrize(
    "sampler", [Sampler(), Sampler(temperature=0.7), Sampler(top_k=4), Sampler(top_p=0.8)], ids=str
)
def test_first_tokens_and_pairs_follow_the_softmax(tiny_model: Path, sampler: Sampler) -> None:
    """Chi-square of 4,000 samples against the library's own logits; the seed is fixed, so it passes always or never."""
    with opened(tiny_model, parallel=64) as engine:
        asked = recipe(engine, max_tokens=2, sampler=sampler)
        pairs = [tuple(s.tokens["id"].tolist()) for s in drawn(engine, asked, range(4000)).values()]
    firsts = np.bincount([pair[0] for pair in pairs], minlength=700)
    p = truncated(library_probabilities(tiny_model, asked.prompt.ids)[-1], sampler)
    assert p_value(firsts, p) > 1e-4
    for token in np.argsort(-firsts)[:2].tolist():
        seconds = np.bincount([pair[1] for pair in pairs if pair[0] == token and len(pair) == 2], minlength=700)
        p = truncated(library_probabilities(tiny_model, (*asked.prompt.ids, token))[-1], sampler)
        assert p_value(seconds, p) > 1e-4


def truncated(p: np.ndarray, sampler: Sampler) -> np.ndarray:
    p = p ** (1 / sampler.temperature)
    order = np.argsort(-p)
    if sampler.top_k:
        p[order[sampler.top_k :]] = 0
    if sampler.top_p < 1:
        p[order[int((p[order].cumsum() < sampler.top_p).sum()) + 1 :]] = 0
    return p / p.sum()


def p_value(counts: np.ndarray, p: np.ndarray) -> float:
    assert counts[p == 0].sum() == 0
    expected = p * counts.sum()
    common = expected >= 5  # the usual rule; the rest is pooled
    observed = np.array([*counts[common], counts[~common].sum()])
    expected = np.array([*expected[common], expected[~common].sum()])
    keep = expected > 0
    return float(scipy.stats.chisquare(observed[keep], expected[keep]).pvalue)


def test_greedy_follows_the_likeliest_token(tiny_model: Path) -> None:
    with opened(tiny_model, parallel=1) as engine:
        asked = recipe(engine, sampler=Sampler(temperature=0))
        tokens = drawn(engine, asked, [0])[0].tokens
    assert (tokens["id"] == tokens["top_ids"][:, 0]).all()
    assert (tokens["rank"] == 1).all()
    assert (tokens["sampler_entropy_bits"] == 0).all()


def test_stop_strings_cut_the_text_but_keep_the_tokens(tiny_model: Path) -> None:
    with opened(tiny_model, parallel=4) as engine:
        plain = drawn(engine, recipe(engine), range(20))
        cut = drawn(engine, recipe(engine, stop=("a", "ee")), range(20))
    stopped = [i for i in range(20) if cut[i].text != plain[i].text]
    assert stopped
    for i in stopped:
        first = min(at for stop in (b"a", b"ee") if (at := plain[i].text.find(stop)) >= 0)
        assert cut[i].text == plain[i].text[:first]
        assert cut[i].finish_reason == "stop"


def test_one_token_prompt_and_one_token_completion(tiny_model: Path) -> None:
    with opened(tiny_model) as engine:
        samples = drawn(engine, recipe(engine, text="", max_tokens=1), range(300))
    assert {len(sample.tokens) for sample in samples.values()} == {1}
    assert len(samples) == 300


def test_unified_and_stream_layouts_agree(tiny_model: Path) -> None:
    """A long prompt and a small budget make the prompt shared; the statistics stay those of the scored text."""
    with opened(tiny_model, memory_budget_bytes=700_000) as engine:
        asked = recipe(engine, text="ab cd ef " * 40, max_tokens=20)
        samples = drawn(engine, asked, range(40))
        assert engine.layout["kv_layout"] == "unified"
        for sample in list(samples.values())[:10]:
            scored = engine.score(asked.prompt.ids + tuple(sample.tokens["id"].tolist()))[len(asked.prompt.ids) :]
            np.testing.assert_allclose(sample.tokens["surprisal_bits"], scored["surprisal_bits"], atol=0.1)


# ---- many prompts together

OPENINGS = [f"ab cd ef gh, number {number}" + " and so on" * (number % 4) for number in range(18)]


def drawn_each(engine: Engine, works: list[tuple[Recipe, list[int]]]) -> dict[tuple[str, int], Sample]:
    samples = [sample for step in engine.sample_each(works) for sample in step.finished]
    assert len(samples) == sum(len(indices) for _, indices in works)
    return {(sample.recipe_key, sample.index): sample for sample in samples}


def assert_scored_as_drawn(engine: Engine, asked: Recipe, sample: Sample, *, atol: float) -> None:
    scored = engine.score(asked.prompt.ids + tuple(sample.tokens["id"].tolist()))[len(asked.prompt.ids) :]
    np.testing.assert_allclose(sample.tokens["surprisal_bits"], scored["surprisal_bits"], atol=atol)


@pytest.mark.parametrize(
    ("options", "layout", "repeat"),
    [
        ({"parallel": 1}, "streams", 1),
        ({"parallel": 5}, "streams", 1),
        ({"memory_budget_bytes": 700_000}, "unified", 9),
    ],
)
def test_every_prompt_of_many_is_continued_as_its_own(
    tiny_model: Path, options: dict[str, int], layout: str, repeat: int
) -> None:
    """Each sample scores, behind its own prompt, as it was drawn; and begins as it does alone."""
    with opened(tiny_model, flash_attention=True, **options) as engine:
        texts = [(text + " ") * repeat for text in OPENINGS]
        asked = [
            recipe(engine, text=text, seed=seed, max_tokens=8 + seed, flash_attention=True)
            for seed, text in enumerate(texts)
        ]
        found = drawn_each(engine, [(one, [0, 3]) for one in asked])
        assert engine.layout["kv_layout"] == layout
        n_alike = 0
        for one in asked:
            for index, alone in drawn(engine, one, [0, 3]).items():
                sample = found[one.key, index]
                n_alike += sample.tokens["id"][:2].tolist() == alone.tokens["id"][:2].tolist()
                assert_scored_as_drawn(engine, one, sample, atol=0.1)
        assert n_alike >= 33  # of 36: the last digits of a long prompt's logits may turn a draw


def test_prompts_with_nothing_in_common_and_one_that_begins_another(tiny_model: Path) -> None:
    with opened(tiny_model, parallel=2) as engine:
        whole = recipe(engine).prompt
        prompts = [dataclasses.replace(whole, ids=ids) for ids in [(9,), (9, 30), (40, 41, 42), (9,)]]
        asked = [recipe(engine, prompt=prompt, seed=seed) for seed, prompt in enumerate(prompts)]
        found = drawn_each(engine, [(one, [7]) for one in asked])
        for one in asked:
            assert found[one.key, 7].tokens["id"][:3].tolist() == drawn(engine, one, [7])[7].tokens["id"][:3].tolist()
            assert_scored_as_drawn(engine, one, found[one.key, 7], atol=0.1)


def test_of_many_prompts_the_one_too_long_is_named(tiny_model: Path) -> None:
    with opened(tiny_model) as engine:
        asked = [recipe(engine, text=text, max_tokens=4) for text in ("short", "long " * 600)]
        with pytest.raises(PromptTooLong, match=r"^“long long .*…”: \d+ prompt tokens and 4 new ones do not fit"):
            drawn_each(engine, [(one, [0]) for one in asked])
        with pytest.raises(EngineError, match="must share engine, sampler and arithmetic"):
            drawn_each(engine, [(asked[0], [0]), (recipe(engine, sampler=Sampler(0.5)), [0])])
        assert drawn_each(engine, [(asked[1], [])]) == {}


def test_kv_types(tiny_model: Path) -> None:
    with opened(tiny_model, kv_type="f32") as engine:
        assert len(drawn(engine, recipe(engine, kv_type="f32"), range(5))) == 5
        assert engine.layout["kv_type"] == "f32"
    with (
        opened(tiny_model, kv_type="q8_0") as engine,
        pytest.raises(EngineError, match="block size 32 does not divide n_embd_head_k=16"),
    ):
        drawn(engine, recipe(engine, kv_type="q8_0"), range(5))


def test_what_does_not_fit_is_refused_before_anything_is_decoded(tiny_model: Path) -> None:
    with opened(tiny_model) as engine:
        with pytest.raises(PromptTooLong, match="do not fit the model's context of 1024"):
            drawn(engine, recipe(engine, max_tokens=1024), [0])
        assert drawn(engine, recipe(engine, max_tokens=2), [0])  # and the engine still works
    with opened(tiny_model, parallel=254) as engine:
        engine._memory_bytes = lambda: (1e6, 2e6)  # a machine with little memory
        with pytest.raises(OutOfMemory, match="--parallel .* would fit"):
            drawn(engine, recipe(engine), range(300))


@pytest.mark.parametrize("write", [other_architectures.write_mamba, other_architectures.write_gemma2])
def test_recurrent_and_sliding_window_models(write: Callable[[Path], None], tmp_path: Path) -> None:
    """Slots are forked, refilled and moved as for a Llama; each sample must score as it was sampled.

    The window of 8 tokens is shorter than prompt and completion, so a prompt that lost its beginning would show.
    """
    write(tmp_path / "model.gguf")
    with opened(tmp_path / "model.gguf", parallel=5) as engine:
        asked = recipe(engine, text="some words to begin with, more than a window", max_tokens=40)
        samples = drawn(engine, asked, range(23))
        assert len(samples) == 23
        assert len({sample.text for sample in samples.values()}) > 20
        for sample in samples.values():
            assert_scored_as_drawn(engine, asked, sample, atol=0.05)
        many = [recipe(engine, text=f"some words to begin {'with ' * (n % 3)}{n}", seed=n) for n in range(11)]
        found = drawn_each(engine, [(one, [0]) for one in many])
        for one in many:
            assert_scored_as_drawn(engine, one, found[one.key, 0], atol=0.05)
