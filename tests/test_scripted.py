"""The scripted engine against its closed forms. Every number here follows from the published transition matrix."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest
from scripted_work import cell_of, draw, open_scripted, same

from llama_diversity.engines import EngineOptions, open_engine
from llama_diversity.engines.draws import uniforms
from llama_diversity.engines.scripted import BOS, CHAINS, EOS, N_CTX, digest, transition, vocabulary
from llama_diversity.errors import BadValue, EngineError, PromptTooLong, TemplateError, UnknownName
from llama_diversity.records import ModelRef, Prompt, Sample, Sampler

N_VOCAB = 290


def entropies_bits(name: str) -> np.ndarray:
    """Entropy of every row."""
    rows = transition(name)
    return -(rows * np.log2(rows, where=rows > 0, out=np.zeros_like(rows))).sum(axis=1)


def token(name: str, text: bytes) -> int:
    return next(id for id, piece in enumerate(vocabulary(name)) if piece.bytes == text and piece.control is None)


# ---- the chains


@pytest.mark.parametrize("name", CHAINS)
def test_rows_are_distributions(name: str) -> None:
    rows = transition(name)
    assert rows.shape == (len(vocabulary(name)),) * 2
    assert (rows >= 0).all()
    assert abs(rows.sum(axis=1) - 1).max() < 1e-12
    with pytest.raises(ValueError, match="read-only"):
        rows[0, 0] = 1


def test_one_row_by_hand() -> None:
    # After an opener comes a verb, with the shares was 6, is 3, became 2, met 2 of 13. One 512th of the row is spread
    # over the 290 tokens, so " was" has 511/512 * 6/13 + 1/512/290.
    row = transition("base")[token("base", b"She")]
    stray = 1 / 512 / 290
    assert row[token("base", b" was")] == pytest.approx(511 / 512 * 6 / 13 + stray, abs=1e-15)
    assert row[token("base", b" met")] == pytest.approx(511 / 512 * 2 / 13 + stray, abs=1e-15)
    assert row[EOS] == pytest.approx(stray, abs=1e-18)


def test_aligned_is_base_sharpened() -> None:
    base, aligned = transition("base"), transition("aligned")
    assert vocabulary("base") == vocabulary("aligned")
    # p^2.5: a ratio of 2 becomes 2^2.5
    row, was, met = token("base", b"She"), token("base", b" was"), token("base", b" met")
    ratio = base[row, was] / base[row, met]
    assert aligned[row, was] / aligned[row, met] == pytest.approx(ratio**2.5, rel=1e-12)
    assert (entropies_bits("aligned") <= entropies_bits("base") + 1e-12).all()


def test_the_attractor_pulls_from_everywhere() -> None:
    rows = transition("attractor")
    cycle = [token("attractor", text) for text in (b"She", b" was", b" a", b" nurse", b". ")]
    for here, there in zip(cycle, cycle[1:] + cycle[:1], strict=True):
        assert rows[here, there] >= 7 / 8
    outside = [id for id in range(N_VOCAB) if id not in cycle]
    assert (rows[outside, cycle[0]] >= 7 / 8).all()


def test_vocabulary_and_digests() -> None:
    pieces = vocabulary("base")
    assert (pieces[BOS].control, pieces[EOS].control) == ("<s>", "</s>")
    assert pieces[BOS].bytes == pieces[EOS].bytes == b""
    assert len(pieces) == N_VOCAB
    assert len({piece.bytes for piece in pieces[2:]}) == N_VOCAB - 2  # greedy matching is unambiguous
    assert len({digest(name) for name in CHAINS}) == len(CHAINS)
    facts = {name: open_scripted(name).facts for name in CHAINS}
    assert facts["base"].vocab_digest == facts["aligned"].vocab_digest != facts["coin"].vocab_digest
    assert facts["base"].digest == digest("base")


# ---- text


@pytest.mark.parametrize("text", ["", "She was", "Zoë's café 🙂\n\x1b[2J\x00", "<s></s>[INST]", "\udcff\udc80 broken"])
def test_every_text_is_encodable_and_comes_back(text: str) -> None:
    engine = open_scripted()
    ids = engine.tokenize(text)
    assert ids[0] == BOS
    assert not {BOS, EOS} & set(ids[1:])  # a control token that is typed stays text
    assert b"".join(engine.piece(id).bytes for id in ids) == text.encode("utf-8", "surrogateescape")


def test_the_longest_token_wins() -> None:
    engine = open_scripted()
    pieces = [engine.piece(id).bytes for id in engine.tokenize("She was a café")]
    assert pieces == [b"", b"She", b" was", b" a", b" caf", b"\xc3", b"\xa9"]


def test_half_of_a_utf16_pair_is_refused() -> None:
    with pytest.raises(BadValue, match="UTF-16"):
        open_scripted().tokenize("\ud800")


def test_prompts_raw_and_chat() -> None:
    aligned, base = open_scripted("aligned"), open_scripted()
    raw = base.prompt("She was")
    assert (raw.mode, raw.rendered, raw.ids) == ("raw", "She was", base.tokenize("She was"))
    chat = aligned.prompt("Who?", chat=True)
    assert chat.rendered == "[INST] Who? [/INST]"
    assert (chat.mode, chat.text, chat.ids) == ("chat", "Who?", aligned.tokenize("[INST] Who? [/INST]"))
    assert chat.template_digest is not None
    assert aligned.prompt("Who?", chat=True, system="Be brief.").rendered == "[INST] Be brief.\n\nWho? [/INST]"
    with pytest.raises(TemplateError, match="scripted:base has no chat template"):
        base.prompt("Who?", chat=True)
    with pytest.raises(BadValue, match="add --chat"):
        aligned.prompt("Who?", system="Be brief.")


# ---- drawn tokens against the matrix


def chi_square_z(counts: np.ndarray, expected: np.ndarray) -> float:
    """Pearson's statistic as a standard normal deviate (Wilson and Hilferty); cells expecting under 5 are pooled."""
    is_rare = expected < 5
    counts = np.append(counts[~is_rare], counts[is_rare].sum())
    expected = np.append(expected[~is_rare], expected[is_rare].sum())
    statistic, freedom = ((counts - expected) ** 2 / expected).sum(), len(counts) - 1
    return float(((statistic / freedom) ** (1 / 3) - (1 - 2 / 9 / freedom)) / math.sqrt(2 / 9 / freedom))


@pytest.mark.parametrize("name", ["base", "aligned", "attractor"])
def test_first_tokens_and_two_token_paths_follow_the_matrix(name: str) -> None:
    """Chi-square, one-sided at z = 4: false alarms 3e-5 a test. The seed is fixed, so it passes or fails for good."""
    engine = open_scripted(name)
    n = 10_000
    cell = cell_of(engine, n, max_tokens=2, seed=11)
    rows = transition(name)
    context = cell.recipe.prompt.ids[-1]
    samples = draw(engine, cell)
    firsts = np.array([sample.tokens["id"][0] for sample in samples])
    first_p = rows[context]
    assert chi_square_z(np.bincount(firsts, minlength=N_VOCAB), n * first_p) < 4

    goes_on = [sample for sample in samples if len(sample.tokens) == 2]
    assert len(goes_on) == n - (firsts == EOS).sum()
    path_counts = np.zeros((N_VOCAB, N_VOCAB))
    np.add.at(path_counts, tuple(np.array([sample.tokens["id"] for sample in goes_on]).T), 1)
    path_p = first_p[:, None] * rows
    path_p[EOS] = 0  # the end has no successor; its share is the rest, counted below
    counts = np.append(path_counts.ravel(), n - len(goes_on))
    expected = n * np.append(path_p.ravel(), first_p[EOS])
    assert chi_square_z(counts, expected) < 4


@pytest.mark.parametrize("name", ["base", "aligned", "attractor", "uniform"])
def test_statistics_equal_the_closed_forms(name: str) -> None:
    engine = open_scripted(name)
    cell = cell_of(engine, 60, seed=3)
    rows, entropy_bits = transition(name), entropies_bits(name)
    for sample in draw(engine, cell):
        contexts = [cell.recipe.prompt.ids[-1], *sample.tokens["id"][:-1].tolist()]
        chosen = sample.tokens["id"]
        p = rows[contexts]
        assert sample.tokens["surprisal_bits"] == pytest.approx(-np.log2(p[np.arange(len(p)), chosen]), abs=1e-5)
        assert sample.tokens["entropy_bits"] == pytest.approx(entropy_bits[contexts], abs=1e-5)
        varentropy_bits2 = (p * (-np.log2(p) - entropy_bits[contexts][:, None]) ** 2).sum(axis=1)
        assert sample.tokens["varentropy_bits2"] == pytest.approx(varentropy_bits2, abs=1e-4)
        # Equal shares come out of unequal sums in the matrix, but float32 logits are equal: compare those.
        logits = np.log(p).astype(np.float32)
        likelier = (logits > logits[np.arange(len(p)), chosen][:, None]).sum(axis=1)
        assert sample.tokens["rank"].tolist() == (1 + likelier).tolist()
        top = np.argsort(-logits, axis=1, kind="stable")[:, :5]
        assert sample.tokens["top_ids"].tolist() == top.tolist()
        top_p = np.take_along_axis(p, top, axis=1)
        assert sample.tokens["top_surprisals_bits"] == pytest.approx(-np.log2(top_p), abs=1e-5)
        assert sample.tokens["sampler_surprisal_bits"].tolist() == sample.tokens["surprisal_bits"].tolist()


def test_a_coin_is_one_bit_for_ever() -> None:
    engine = open_scripted("coin")
    samples = draw(engine, cell_of(engine, 50, max_tokens=300))
    for sample in samples:
        assert sample.finish_reason == "length"
        assert len(sample.tokens) == 300
        assert sample.tokens["surprisal_bits"] == pytest.approx(1, abs=1e-6)
        assert sample.tokens["entropy_bits"] == pytest.approx(1, abs=1e-6)
        assert sample.tokens["varentropy_bits2"] == pytest.approx(0, abs=1e-6)
        assert set(sample.tokens["rank"].tolist()) == {1}  # a tie: nothing is strictly likelier
        assert sample.tokens["top_ids"][:, :2].tolist() == [[2, 3]] * 300
        assert np.isinf(sample.tokens["top_surprisals_bits"][:, 2:]).all()
    n_heads = sum(int((sample.tokens["id"] == 2).sum()) for sample in samples)
    # 15,000 fair coins, sd 61: beyond 4 sd in 6e-5 of all seeds; this seed is fixed.
    assert abs(n_heads - 7500) < 4 * math.sqrt(15_000 / 4)


def test_uniform_is_as_wide_as_its_vocabulary() -> None:
    engine = open_scripted("uniform")
    for sample in draw(engine, cell_of(engine, 20)):
        assert sample.tokens["entropy_bits"] == pytest.approx(math.log2(N_VOCAB), abs=1e-5)
        assert set(sample.tokens["rank"].tolist()) == {1}
        assert set(map(tuple, sample.tokens["top_ids"].tolist())) == {(0, 1, 2, 3, 4)}  # ties: the lower ids


@pytest.mark.parametrize("name", ["base", "aligned", "attractor"])
def test_surprisal_minus_entropy_is_zero_in_the_mean(name: str) -> None:
    """A zero-mean martingale when tokens are drawn from the stored distribution. |z| > 4 in 6e-5 of all seeds.

    A bias of a quarter of the standard deviation of one completion gives z = 6.
    """
    engine = open_scripted(name)
    samples = draw(engine, cell_of(engine, 600, seed=5))
    differences = np.array([(s.tokens["surprisal_bits"] - s.tokens["entropy_bits"]).sum() for s in samples])
    z = differences.mean() / (differences.std(ddof=1) / math.sqrt(len(differences)))
    assert abs(z) < 4


def test_total_entropy_has_its_expected_value() -> None:
    """E of the summed entropies = sum over steps of (distribution of the live context) . (entropies); z < 4, 6e-5."""
    engine = open_scripted()
    cell = cell_of(engine, 1500, max_tokens=24, seed=6)
    rows, entropy_bits = transition("base"), entropies_bits("base")
    live = np.zeros(N_VOCAB)
    live[cell.recipe.prompt.ids[-1]] = 1
    expected_bits = 0.0
    for _ in range(24):
        expected_bits += live @ entropy_bits
        live = live @ rows
        live[EOS] = 0
    totals = np.array([sample.tokens["entropy_bits"].sum() for sample in draw(engine, cell)])
    assert abs(totals.mean() - expected_bits) < 4 * totals.std(ddof=1) / math.sqrt(len(totals))


def test_a_sampler_changes_what_is_drawn_and_not_what_the_model_says() -> None:
    engine = open_scripted()
    cell = cell_of(engine, 200, max_tokens=1, sampler=Sampler(temperature=0.5, top_k=3))
    rows = transition("base")[cell.recipe.prompt.ids[-1]]
    kept = np.sort(np.argsort(-rows, kind="stable")[:3])
    q = rows[kept] ** 2 / (rows[kept] ** 2).sum()  # T = 1/2 squares the probabilities
    for sample in draw(engine, cell):
        [row] = sample.tokens
        assert row["id"] in kept
        assert row["surprisal_bits"] == pytest.approx(-math.log2(rows[row["id"]]), abs=1e-5)
        assert row["sampler_surprisal_bits"] == pytest.approx(-math.log2(q[list(kept).index(row["id"])]), abs=1e-5)
        assert row["sampler_entropy_bits"] == pytest.approx(-(q * np.log2(q)).sum(), abs=1e-5)


# ---- identity of samples


def test_a_sample_depends_on_its_index_alone() -> None:
    whole = draw(open_scripted(), cell_of(open_scripted(), 40))
    for parallel in (1, 3, 40):
        engine = open_scripted(parallel=parallel)
        assert all(same(a, b) for a, b in zip(draw(engine, cell_of(engine, 40)), whole, strict=True))
        assert engine.layout["parallel"] == parallel
    engine = open_scripted()
    recipe = cell_of(engine, 40).recipe
    for indices in ([17], [39, 2, 5]):
        alone = {s.index: s for step in engine.sample(recipe, indices) for s in step.finished}
        assert sorted(alone) == sorted(indices)
        assert all(same(alone[index], whole[index]) for index in indices)


def test_many_prompts_together_draw_what_each_draws_alone() -> None:
    """Bit for bit, whatever is beside it; recipes differ in prompt, seed, length and stop strings."""
    for parallel in (1, 3, 64):
        engine = open_scripted(parallel=parallel)
        cells = [
            cell_of(engine, 2, text=f"She was {word}", seed=seed, max_tokens=4 + seed, stop=(" nurse",) * (seed % 2))
            for seed, word in enumerate(["", "a", "a quiet", "a quiet nurse", "a", "not"])
        ]
        together = [s for step in engine.sample_each([(c.recipe, range(2)) for c in cells]) for s in step.finished]
        found = {(sample.recipe_key, sample.index): sample for sample in together}
        assert len(found) == len(together) == 12
        for cell in cells:
            assert all(same(found[cell.recipe.key, at], alone) for at, alone in enumerate(draw(engine, cell)))


class Reading(NamedTuple):
    """The chain's slots, with note of which prompts are read when."""

    rows: Any
    read: list[list[int]]

    def begin(self, slots: Sequence[int], prompts: Sequence[Prompt]) -> Any:
        self.read.append([len(prompt.ids) for prompt in prompts])
        return self.rows.begin(slots, prompts)

    def move(self, source: int, target: int) -> None:
        pass

    def decode(self, tokens: Sequence[int], positions: Sequence[int]) -> Any:
        return self.rows.decode(tokens, positions)


def test_prompts_are_read_in_good_passes() -> None:
    """The longest first, at most 512 tokens behind the head together; few tokens wait until an eighth has room."""
    engine = open_scripted("coin", parallel=16)
    engine._rows = slots = Reading(engine._rows, [])  # type: ignore[assignment]
    texts = ["x" * 199, "y" * 199, "y" * 99, *(f"z{number}" for number in range(10, 23))]
    cells = [cell_of(engine, 1, text=text, max_tokens=9) for text in texts]  # a byte is a token, behind <s>
    list(engine.sample_each([(cell.recipe, [0]) for cell in cells]))
    assert slots.read == [[200, 200, 100, *[4] * 5], [4] * 8]  # behind <s> 199 + 199 + 99 + 5 * 3 = 512
    slots.read.clear()
    lengths = [2, 4, 5, *[9] * 13, *[9] * 5]  # of those that come later two begin when two are free, then three
    cells = [cell_of(engine, 1, text=f"z{at + 10}", max_tokens=length) for at, length in enumerate(lengths)]
    list(engine.sample_each([(cell.recipe, [0]) for cell in cells]))
    assert [len(prompts) for prompts in slots.read] == [16, 2, 3]


def test_no_two_indices_share_a_stream() -> None:
    """500 x 40 fair coins: two equal completions in 1e-7 of all seeds. And 2,000 first uniforms are distinct."""
    engine = open_scripted("coin")
    texts = [sample.text for sample in draw(engine, cell_of(engine, 500, max_tokens=40))]
    assert len(set(texts)) == 500
    assert len({float(uniforms(1, index, 1)[0]) for index in range(2000)}) == 2000
    assert draw(engine, cell_of(engine, 1, max_tokens=40, seed=2))[0].text != texts[0]


def test_the_first_token_is_not_broadcast() -> None:
    """200 first tokens of a chain where the likeliest has 1/290: all equal with probability 290^-199."""
    engine = open_scripted("uniform")
    firsts = {int(sample.tokens["id"][0]) for sample in draw(engine, cell_of(engine, 200))}
    assert len(firsts) > 100


# ---- how a completion ends


def test_the_end_is_a_token_without_text() -> None:
    engine = open_scripted()
    samples = draw(engine, cell_of(engine, 300, max_tokens=40))
    stopped = [sample for sample in samples if sample.finish_reason == "stop"]
    assert 50 < len(stopped) < 300
    for sample in samples:
        ids = sample.tokens["id"].tolist()
        assert sample.text == b"".join(engine.piece(id).bytes for id in ids)
        assert EOS not in ids[:-1]
        assert (ids[-1] == EOS) == (sample.finish_reason == "stop")
        assert len(ids) == 40 or sample.finish_reason == "stop"


def test_stop_strings_cut_the_text_and_keep_the_tokens() -> None:
    engine = open_scripted()
    free = draw(engine, cell_of(engine, 100))
    n_cut = 0
    for sample in draw(engine, cell_of(engine, 100, stop=("nurse.", " sail"))):
        whole = free[sample.index]
        assert whole.tokens[: len(sample.tokens)].tobytes() == sample.tokens.tobytes()
        assert b"nurse." not in sample.text
        assert b" sail" not in sample.text
        if len(sample.tokens) < len(whole.tokens) or sample.text != whole.text:
            n_cut += 1
            assert sample.finish_reason == "stop"
            drawn = b"".join(engine.piece(int(id)).bytes for id in sample.tokens["id"])
            cut = min(at for at in (drawn.find(b"nurse."), drawn.find(b" sail")) if at >= 0)
            assert sample.text == drawn[:cut]
    assert n_cut > 20


def test_texts_hold_what_real_texts_hold() -> None:
    engine = open_scripted()
    joined = b"".join(sample.text for sample in draw(engine, cell_of(engine, 400)))
    for part in ("é".encode(), "🙂".encode(), b"\n", b"\x1b"):
        assert part in joined


# ---- scoring


def test_scoring_a_sample_gives_what_sampling_gave() -> None:
    engine = open_scripted()
    cell = cell_of(engine, 20)
    raw = ["id", "surprisal_bits", "entropy_bits", "varentropy_bits2", "rank", "top_ids", "top_surprisals_bits"]
    for sample in draw(engine, cell):
        ids = (*cell.recipe.prompt.ids, *sample.tokens["id"].tolist())
        scored = engine.score(ids)
        assert scored["id"].tolist() == list(ids)
        tail = scored[len(cell.recipe.prompt.ids) :]
        assert all(tail[name].tolist() == sample.tokens[name].tolist() for name in raw)
        assert np.isnan(scored["sampler_surprisal_bits"]).all()
        assert np.isnan(scored["surprisal_bits"][0])
        assert scored["rank"][0] == 0


@pytest.mark.parametrize("parallel", [1, 3])
def test_statistics_of_long_samples_belong_to_their_tokens(parallel: int) -> None:
    """More steps than are described in one go, of samples that go on while others end."""
    engine = open_scripted("attractor", parallel=parallel)
    cell = cell_of(engine, 6, max_tokens=900, sampler=Sampler(temperature=0.6))
    samples = draw(engine, cell)
    lengths = {len(sample.tokens) for sample in samples}
    assert max(lengths) > 600
    assert len(lengths) > 2
    for sample in samples:
        scored = engine.score((*cell.recipe.prompt.ids, *sample.tokens["id"].tolist()))[len(cell.recipe.prompt.ids) :]
        assert scored["surprisal_bits"].tolist() == sample.tokens["surprisal_bits"].tolist()
        assert scored["rank"].tolist() == sample.tokens["rank"].tolist()


def test_scores_by_hand() -> None:
    engine = open_scripted("coin")
    scored = engine.score(engine.tokenize("heads tails x"))
    assert scored["surprisal_bits"][1:3] == pytest.approx([1, 1], abs=1e-6)
    assert scored["surprisal_bits"][3] == math.inf  # a coin has no edge
    assert len(engine.score((BOS,))) == 1


# ---- refusals


def test_what_it_refuses() -> None:
    engine = open_scripted()
    cell = cell_of(engine, 1)
    with pytest.raises(PromptTooLong):
        draw(engine, cell_of(engine, 1, max_tokens=N_CTX))
    with pytest.raises(PromptTooLong):
        engine.score((0,) * (N_CTX + 1))
    foreign = dataclasses.replace(cell.recipe, prompt=dataclasses.replace(cell.recipe.prompt, ids=(0, N_VOCAB)))
    with pytest.raises(EngineError, match="ids from 0 to 289"):
        list(engine.sample(foreign, [0]))
    with pytest.raises(EngineError, match="ids from 0 to 259"):
        open_scripted("coin").score((0, 260))
    with pytest.raises(BadValue, match="--parallel is 0"):
        list(open_scripted(parallel=0).sample(cell.recipe, [0]))
    with pytest.raises(UnknownName, match="scripted model called 'bass'. Did you mean base"):
        open_scripted("bass")


def test_it_is_in_the_table_of_engines() -> None:
    heard: list[float] = []
    model = ModelRef("scripted:coin", "scripted", "coin", "")
    engine = open_engine(model, EngineOptions(), on_load=heard.append)
    assert engine.facts.reference == "scripted:coin"
    assert heard == [1.0]
    samples: list[Sample] = draw(engine, cell_of(engine, 2))  # type: ignore[arg-type]
    assert len(samples) == 2
    engine.close()
