"""Diversity of words: hand-derived values, slow definitions beside the fast ones, extremes, and known traps."""

from __future__ import annotations

import gzip
import inspect
import itertools
import math
import random
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from llama_diversity.errors import BadValue
from llama_diversity.metrics import lexical
from llama_diversity.metrics.coverage import rarefied_richness
from llama_diversity.metrics.inference import Estimate, jackknife_se
from llama_diversity.metrics.lexical import (
    compression,
    distinct,
    expectation_adjusted_distinct,
    hd_d,
    homogenization,
    mattr,
    mtld_le_nomin,
    pairwise_bleu,
    rarefied_types,
    richness,
    self_bleu,
    self_repetition,
    ttr,
)
from llama_diversity.text import ngrams, words

METRICS: dict[str, Callable[[list[list[str]]], Estimate]] = {
    "distinct-1": distinct,
    "distinct-2": lambda documents: distinct(documents, 2),
    "EAD": lambda documents: expectation_adjusted_distinct(documents, 32_000),
    "rarefied words": lambda documents: rarefied_types(documents, 5),
    "rarefied bigrams": lambda documents: rarefied_types(documents, 5, 2),
    "self-BLEU": self_bleu,
    "pairwise BLEU": pairwise_bleu,
    "homogenization": homogenization,
    "self-repetition": self_repetition,
}
REVIEWS = [
    "I can’t believe how good this is! Works as described, 10/10. 😀",
    "I can't believe how bad this is. Broke after 2 days — don't buy it.",
    "Très bien, merci. Works as described, and my wife loves it.",
    "It's OK.",
    "Works as described, 10/10.\n\nWould buy again.",
]


def cut(*texts: str) -> list[list[str]]:
    return [words(text) for text in texts]


def random_documents(seed: int, n: int, longest: int, vocabulary: int = 12) -> list[list[str]]:
    """Short documents over few words, so that everything repeats; some are empty."""
    rng = random.Random(seed)
    return [[f"w{int(rng.random() ** 2 * vocabulary)}" for _ in range(rng.randrange(longest))] for _ in range(n)]


# ---- the words of all texts together ----


def test_ngrams_stay_inside_a_document() -> None:
    # "a b a b", "a b": 2 words of 6; bigrams ab ba ab | ab: 2 of 4. Joined to one text it would be 2 of 5.
    documents = cut("a b a b", "a b")
    assert distinct(documents).value == pytest.approx(2 / 6)
    assert distinct(documents, 2).value == 2 / 4
    assert distinct(documents, 3).value == 1  # aba, bab
    assert distinct(documents, 4).value == 1
    assert distinct(documents, 5).value is None
    assert distinct(documents, 5).reason == "no document holds an n-gram"


def test_distinct_is_a_share_at_every_order() -> None:
    for seed in range(20):
        documents = random_documents(seed, 6, 9)
        for n in (1, 2, 3, 4):
            grams = [gram for document in documents for gram in ngrams(document, n)]
            found = distinct(documents, n).value
            assert found == (pytest.approx(len(set(grams)) / len(grams)) if grams else None)
            assert found is None or 0 < found <= 1


def test_identical_documents_divide_distinct_by_their_number() -> None:
    one = distinct(cut("a b c a")).value
    assert distinct(cut("a b c a") * 5).value == pytest.approx(one / 5)
    assert distinct(cut("a b", "c d")).value == 1


def test_ead_is_above_one_where_it_is() -> None:
    # V = 10, five distinct words: 5 / (10 (1 - .9^5)) = 1.220971; V = C = 1000: 1 / (1 - .999^1000) = 1.581516.
    assert expectation_adjusted_distinct(cut("a b c d e"), 10).value == pytest.approx(1.220971, abs=1e-6)
    all_distinct = [[f"w{i}" for i in range(1000)]]
    assert expectation_adjusted_distinct(all_distinct, 1000).value == pytest.approx(1.581516, abs=1e-6)
    assert expectation_adjusted_distinct([[]], 10).value is None
    with pytest.raises(BadValue, match="vocabulary_size is 1; a vocabulary has at least two words"):
        expectation_adjusted_distinct(cut("a"), 1)


def test_ead_needs_a_vocabulary_that_holds_the_words() -> None:
    """Eight words of a vocabulary of two would give 8 / (2 (1 - .5^8)) = 4.02, outside the range."""
    with pytest.raises(BadValue, match="vocabulary_size is 2; the texts alone hold 8 different words"):
        expectation_adjusted_distinct(cut("a b c d e f g h"), 2)
    # just enough: 8 / (8 (1 - .875^8))
    assert expectation_adjusted_distinct(cut("a b c d e f g h"), 8).value == pytest.approx(1 / (1 - 0.875**8))


def test_rarefied_types_are_expected_types() -> None:
    # (5, 3, 2) at m = 5: 3 - (C(5,5) + C(7,5) + C(8,5)) / C(10,5) = 3 - (1 + 21 + 56) / 252 = 2.690476.
    documents = cut("a a a b", "a a b b c c")
    assert rarefied_types(documents, 5).value == pytest.approx(2.690476, abs=1e-6)
    assert rarefied_types(documents, 1).value == pytest.approx(1)
    assert rarefied_types(documents, 10).value == pytest.approx(3)
    assert rarefied_types(cut("a b") * 4, 4).se == pytest.approx(0)
    assert rarefied_types(cut("a b") * 4, 5).se is None  # beyond half of the words
    assert rarefied_types(documents, 11).value is None
    assert rarefied_types(documents, 11).reason == "11 n-grams are more than the 10 there are"
    with pytest.raises(BadValue, match="m is 0"):
        rarefied_types(documents, 0)


def test_rarefied_types_agree_with_binomials_and_with_rarefied_classes() -> None:
    for seed in range(10):
        documents = random_documents(seed, 8, 30)
        counts = list(Counter(gram for document in documents for gram in ngrams(document, 2)).values())
        total = sum(counts)
        for m in (1, 7, total // 2, total):
            exact = sum(1 - math.comb(total - count, m) / math.comb(total, m) for count in counts)
            assert rarefied_types(documents, m, 2).value == pytest.approx(exact, rel=1e-9)
            assert rarefied_richness(counts, m).value == pytest.approx(exact, rel=1e-9)


def test_rarefied_types_of_a_million_words_keep_their_digits() -> None:
    """One word drawn is one type, whatever the counts; of 1,000 words of equal count m draws find 1000 seen(m)."""
    names = [f"w{i}" for i in range(1000)]
    million = [names] * 999 + [["w0"] * 1000]
    assert rarefied_types(million, 1).value == pytest.approx(1, abs=1e-9)
    counts, total = Counter({999: 999, 1999: 1}), 1_000_000
    for m in (2, 50):
        whole = math.comb(total, m)
        exact = sum(times * ((whole - math.comb(total - size, m)) / whole) for size, times in counts.items())
        assert rarefied_types(million, m).value == pytest.approx(exact, rel=1e-9)


def test_rarefied_types_of_many_draws_are_exact() -> None:
    """Counts 1, 5, 300, 9694 of 10,000 words against binomials of whole numbers, up to all words drawn."""
    sizes = [1, 5, 300, 9694]
    documents = [[f"w{i}"] * size for i, size in enumerate(sizes)]
    for m in (1, 3, 40, 4000, 9000, 9999, 10_000):
        whole = math.comb(10_000, m)
        exact = sum((whole - math.comb(10_000 - size, m)) / whole for size in sizes)
        assert rarefied_types(documents, m).value == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("name", ["distinct-1", "distinct-2", "EAD", "rarefied words", "rarefied bigrams"])
def test_jackknife_over_documents(name: str) -> None:
    """The fast leave-one-out against leaving out, documents without words among them."""
    documents = [*random_documents(3, 12, 12), []]
    metric = METRICS[name]
    left_out = [metric(documents[:i] + documents[i + 1 :]).value for i in range(len(documents))]
    found = metric(documents)
    assert found.n == 13
    assert found.se == pytest.approx(jackknife_se(left_out), rel=1e-8)


def test_jackknife_needs_something_to_leave() -> None:
    assert distinct(cut("a b")).se is None
    assert distinct(cut("a b", "")).se is None  # without the first nothing is left
    assert rarefied_types(cut("a b c d e f", "a"), 3).se is None  # without the first there are no three words


def test_drift_with_length() -> None:
    """100 texts of L words from p ~ i^-1.05 over 20,000 words: distinct-1 is sum (1 - (1-p)^N) / N, N = 100 L.

    EAD and gzip (words "w0", "w1", ...) from 20 draws elsewhere, standard error at most 0.004; 5 draws here, at most
    0.008 of gzip and 0.006 of the others: 4 of the sum, so a false alarm in one of 10,000. The seed is fixed.
    """
    p = np.arange(1, 20_001) ** -1.05
    p /= p.sum()
    names = np.array([f"w{i}" for i in range(20_000)])
    rng = np.random.default_rng(0)
    for length, exact, second, ead, ratio in [(16, 0.4469, 0.898, 0.456, 2.638), (256, 0.2150, 0.748, 0.313, 2.834)]:
        n_words = 100 * length
        assert exact == pytest.approx(float((1 - (1 - p) ** n_words).sum()) / n_words, abs=5e-5)
        samples = [names[rng.choice(20_000, (100, length), p=p)].tolist() for _ in range(5)]
        assert np.mean([distinct(sample).value for sample in samples]) == pytest.approx(exact, abs=0.02)
        assert np.mean([distinct(sample, 2).value for sample in samples]) == pytest.approx(second, abs=0.02)
        adjusted = [expectation_adjusted_distinct(sample, 32_000).value for sample in samples]
        assert np.mean(adjusted) == pytest.approx(ead, abs=0.02)
        joined = [[" ".join(document) for document in sample] for sample in samples]
        assert np.mean([compression(texts, orders=1).ratio for texts in joined]) == pytest.approx(ratio, abs=0.036)


def zipf_texts(n: int, length: int, seed: int) -> list[list[str]]:
    """n texts of random words of Zipf frequencies."""
    p = np.arange(1, 2001) ** -1.05
    return np.random.default_rng(seed).choice(2000, (n, length), p=p / p.sum()).astype(str).tolist()


DRIFT: dict[str, tuple[int, Callable[[list[list[str]]], float | None]]] = {
    "distinct-1": (-1, lambda texts: distinct(texts).value),
    "distinct-2": (-1, lambda texts: distinct(texts, 2).value),
    "EAD": (-1, lambda texts: expectation_adjusted_distinct(texts, 32_000).value),
    "compression": (1, lambda texts: compression([" ".join(text) for text in texts], orders=2).ratio),
    "self-BLEU": (1, lambda texts: self_bleu(texts).value),
    "self-repetition": (1, lambda texts: self_repetition(texts, 2).value),
}


@pytest.mark.parametrize("name", DRIFT)
def test_drift_with_the_number_of_texts(name: str) -> None:
    """The same source at 5, 20, 80, 320 texts of 30 words, means of four; steps are many times their error."""
    direction, metric = DRIFT[name]
    means = [np.mean([metric(zipf_texts(n, 30, seed)) for seed in range(4)]) for n in (5, 20, 80, 320)]
    assert (direction * np.diff(means) > 0).all()
    assert max(means) > 1.1 * min(means)


FLAT: dict[str, tuple[list[list[str]], Callable[[list[list[str]]], float | None]]] = {
    "rarefied words": ([["a"]] * 3 + [["b"]] * 2 + [["c"], ["d"], ["e"]], lambda texts: rarefied_types(texts, 3).value),
    "homogenization": (zipf_texts(8, 12, 0), lambda texts: homogenization(texts).value),
    "pairwise BLEU": (zipf_texts(8, 12, 0), lambda texts: pairwise_bleu(texts).value),
}


@pytest.mark.parametrize("name", FLAT)
def test_no_drift_with_the_number_of_texts(name: str) -> None:
    """Unbiased: over all subsets of k of eight texts the mean is that of the eight, for every k that defines it."""
    texts, metric = FLAT[name]
    for k in (3, 5, 7):
        some = [metric([texts[i] for i in chosen]) for chosen in itertools.combinations(range(8), k)]
        assert np.mean(some) == pytest.approx(metric(texts), rel=1e-9)


def test_homogenization_grows_with_length_even_for_random_words() -> None:
    """The same source at L = 16, 64, 256: 0.131, 0.167, 0.186, standard error at most 0.003; 100 texts, 0.0015 here."""
    p = np.arange(1, 20_001) ** -1.05
    p /= p.sum()
    rng = np.random.default_rng(1)
    for length, expected in [(16, 0.131), (64, 0.167), (256, 0.186)]:
        documents = rng.choice(20_000, (100, length), p=p).astype(str).tolist()
        assert homogenization(documents).value == pytest.approx(expected, abs=4 * math.hypot(0.003, 0.0015))


# ---- within one text ----

SAMPLE = "test text with some text numbers hyphenhere and text punctuations"


def test_richness_by_hand() -> None:
    """8 of 10 words differ. HD-D at 5 draws: 7 * 1/2 + 1 - C(7,5)/C(10,5) = 4.416667, over 5.

    MTLD: no stretch falls to 0.72, so one part of a factor, (1 - 0.8) / 0.28, both ways: 10 * 0.28 / 0.2 = 14.
    """
    document = words(SAMPLE)
    assert ttr(document) == 0.8
    assert hd_d(document, 5) == pytest.approx(0.883333, abs=1e-6)
    assert mtld_le_nomin(document) == pytest.approx(14.0)
    assert math.isnan(hd_d(document))
    assert math.isnan(mattr(document))


def test_mtld_closes_a_factor_at_the_boundary_and_without_a_minimum() -> None:
    # 4/6 at the sixth word, backward 3/5 at the fifth; what is left repeats nothing, so 9 words make 1 factor.
    assert mtld_le_nomin(words("of the people by the people for the people")) == 9.0
    # 18 of 25 is 0.72 exactly and closes a factor, after which y and z only begin one; backward z y x x x, then x x
    # twice, then x and 17 more, all different: 1 and 3 factors of 27 words.
    at_boundary = [*(f"w{i}" for i in range(17)), *["x"] * 8, "y", "z"]
    assert mtld_le_nomin(at_boundary) == pytest.approx(27 * (1 / 1 + 1 / 3) / 2)
    # a a: 1/2 at the second word, again and again
    assert mtld_le_nomin(["a"] * 10) == 2.0


def test_mtld_is_undefined_without_a_factor() -> None:
    assert math.isnan(mtld_le_nomin(words("all of these differ")))
    assert math.isnan(mtld_le_nomin([]))
    assert math.isnan(mtld_le_nomin(["one"]))
    assert mtld_le_nomin(["a", "b", "c", "d", "a"]) == pytest.approx(5 * 0.28 / 0.2)


def test_only_ttr_falls_with_length() -> None:
    """One source, 40 texts each of 100, 400 and 1,600 words: flat within 4 standard errors of a difference of means.

    At 100 words, where they vary most, those are 0.008 for MATTR and HD-D, and 5 words for MTLD.
    """
    means = np.array(
        [
            np.mean([richness(text) for text in zipf_texts(40, length, seed=length)], axis=0)
            for length in (100, 400, 1600)
        ]
    )
    _, types_per_word, windows, draws, factors = means.T
    assert types_per_word[0] > types_per_word[1] + 0.1 > types_per_word[2] + 0.2
    assert np.ptp(windows) < 0.04
    assert np.ptp(draws) < 0.04
    assert np.ptp(factors) < 25


def test_richness_is_of_words_not_of_letters() -> None:
    for measure in (ttr, mattr, hd_d, mtld_le_nomin, richness):
        for text in ("to be or not to be", ""):
            with pytest.raises(ValueError, match="a list of words, not a string"):
                measure(text)


def test_moving_average_against_all_windows() -> None:
    for seed in range(20):
        document = random_documents(seed, 1, 60)[0]
        for window in (1, 2, 7, 50):
            shares = [len(set(document[i : i + window])) / window for i in range(len(document) - window + 1)]
            found = mattr(document, window)
            assert math.isnan(found) if not shares else found == pytest.approx(np.mean(shares))
    with pytest.raises(BadValue, match="window is 0"):
        mattr(["a"], 0)
    with pytest.raises(BadValue, match="draws is 0"):
        hd_d(["a"], 0)


def test_richness_of_nothing_and_of_distinct_words() -> None:
    assert [math.isnan(value) for value in richness([])] == [False, True, True, True, True]
    distinct_words = richness([f"w{i}" for i in range(60)])
    assert distinct_words[:3] == (60, 1, 1)
    assert distinct_words.hd_d_42 == pytest.approx(1)
    assert math.isnan(distinct_words.mtld_le_nomin)


# ---- between texts ----


def slow_bleu(document: list[str], references: list[list[str]]) -> float:
    logs = []
    for order in range(1, min(4, len(document)) + 1):
        counts = Counter(ngrams(document, order))
        matches = sum(
            min(count, max(Counter(ngrams(reference, order))[gram] for reference in references))
            for gram, count in counts.items()
        )
        if order == 1 and not matches:
            return 0
        logs.append(math.log((matches or 0.1) / sum(counts.values())))
    nearest = min((abs(len(reference) - len(document)), len(reference)) for reference in references)[1]
    return min(1, math.exp(1 - nearest / len(document))) * math.exp(sum(logs) / len(logs))


def slow_lcs(first: list[str], second: list[str]) -> int:
    row = [0] * (len(second) + 1)
    for word in first:
        above = row[:]
        for j, other in enumerate(second, 1):
            row[j] = above[j - 1] + 1 if word == other else max(above[j], row[j - 1])
    return row[-1]


def test_self_bleu_by_hand() -> None:
    # precisions 5/6, 3/5, 1/4, 0.1/3, lengths alike: (5/6 * 3/5 * 1/4 * 1/30)^(1/4)
    documents = cut("the cat sat on the mat", "the cat is on the mat")
    assert self_bleu(documents).value == pytest.approx(0.254066, abs=1e-6)


def test_self_bleu_at_its_ends() -> None:
    assert self_bleu(cut("a b c d e") * 3).value == pytest.approx(1)
    assert self_bleu(cut("a b c", "d e f", "g h")).value == 0
    # under four words the orders that there are: "a b" against itself is 1 at orders 1 and 2
    assert self_bleu(cut("a b", "a b")).value == pytest.approx(1)
    # "a" and "a b c": p_1 = 1, brevity exp(1 - 3); back 1/3, 0.1/2, 0.1/1: (1/600)^(1/3)
    assert self_bleu(cut("a", "a b c")).value == pytest.approx((math.exp(-2) + (1 / 600) ** (1 / 3)) / 2)


@pytest.mark.parametrize("seed", range(15))
def test_self_bleu_against_its_definition(seed: int) -> None:
    documents = [document for document in random_documents(seed, 9, 14) if document]
    slow = [slow_bleu(one, documents[:i] + documents[i + 1 :]) for i, one in enumerate(documents)]
    assert self_bleu(documents).value == pytest.approx(np.mean(slow))


def test_self_bleu_rises_with_n() -> None:
    """References only add matches: among more texts of one source each text finds more of itself."""
    rng = np.random.default_rng(0)
    documents = rng.integers(0, 40, (200, 12)).astype(str).tolist()
    values = [self_bleu(documents[:n]).value for n in (5, 20, 80, 200)]
    assert values == sorted(values)


def test_pairwise_bleu_by_hand() -> None:
    # both ways alike: the value of self-BLEU of two
    two = cut("the cat sat on the mat", "the cat is on the mat")
    assert pairwise_bleu(two).value == pytest.approx(0.254066, abs=1e-6)
    # "a" given "a b c": 1 and brevity exp(1 - 3); back 1/3, 0.1/2, 0.1/1; "x" shares nothing: four pairs of 0 in six
    one_way, back = math.exp(-2), (1 / 600) ** (1 / 3)
    found = pairwise_bleu(cut("a", "a b c", "x"))
    assert found.value == pytest.approx((one_way + back) / 6)
    # left out: "a" or "a b c" leaves 0, "x" leaves their mean: v, so se^2 = 2/3 * (2/3)(v^2)
    assert found.se == pytest.approx((one_way + back) / 2 * 2 / 3)
    # order 1 only: "a a b" given "a b b" has 1 a and 1 b of 3 words
    assert pairwise_bleu(cut("a a b", "a b b"), 1).value == pytest.approx(2 / 3)


def test_pairwise_bleu_at_its_ends() -> None:
    assert pairwise_bleu(cut("a b c d e") * 3).value == pytest.approx(1)
    assert pairwise_bleu(cut("a b c", "d e f", "g h")).value == 0
    assert pairwise_bleu(cut("a b c", "a b d")).se is None  # nothing left to leave out
    for documents in (cut("a b c d e", "a b x d"), cut("a", "b a")):
        assert pairwise_bleu(documents).value == pytest.approx(self_bleu(documents).value)


@pytest.mark.parametrize("seed", range(8))
def test_pairwise_bleu_against_its_definition(seed: int) -> None:
    documents = [document for document in random_documents(seed, 9, 14) if document]
    n = len(documents)
    scores = np.array([[slow_bleu(one, [other]) for other in documents] for one in documents])
    np.fill_diagonal(scores, 0)
    found = pairwise_bleu(documents)
    assert found.value == pytest.approx(scores.sum() / (n * (n - 1)))
    left_out = [np.delete(np.delete(scores, i, 0), i, 1).sum() / ((n - 1) * (n - 2)) for i in range(n)]
    assert found.se == pytest.approx(jackknife_se(left_out))


def test_disjoint_texts_are_not_identical_ones() -> None:
    """A program in use takes a sum of zero for "all the same"."""
    assert homogenization(cut("a b c", "d e f", "g h i")).value == 0
    assert homogenization(cut("a b c", "a b c", "a b c")).value == 1
    # one word of three shared in one of three pairs: (1/3 + 0 + 0) / 3
    assert homogenization(cut("a b c", "a d e", "f g h")).value == pytest.approx(1 / 9)


@pytest.mark.parametrize("longest", [6, 40, 70, 200])
def test_homogenization_against_its_definition(longest: int) -> None:
    """Lengths below and above 64 and 128 words, where one integer no longer holds a document."""
    documents = [document for document in random_documents(longest, 14, longest, vocabulary=30) if document]
    documents += [documents[0] * (1 + 130 // len(documents[0])), documents[1]]
    n = len(documents)
    scores = np.array([[2 * slow_lcs(a, b) / (len(a) + len(b)) for b in documents] for a in documents])
    np.fill_diagonal(scores, 0)
    found = homogenization(documents)
    assert found.value == pytest.approx(scores.sum() / (n * (n - 1)))
    assert found.n == n
    left_out = [np.delete(np.delete(scores, i, 0), i, 1).sum() / ((n - 1) * (n - 2)) for i in range(n)]
    assert found.se == pytest.approx(jackknife_se(left_out))


def test_homogenization_in_several_blocks() -> None:
    """150 documents make three blocks; a part of them alone must give the same pairs."""
    documents = [document or ["w0"] for document in random_documents(5, 150, 20)]
    half, other = documents[:75], documents[75:]
    pairs = sum(2 * slow_lcs(a, b) / (len(a) + len(b)) for a in half for b in other)
    within = sum(homogenization(part).value * 75 * 74 / 2 for part in (half, other))
    assert homogenization(documents).value * 150 * 149 / 2 == pytest.approx(pairs + within)


def test_gzip_runs_once() -> None:
    """1,249 bytes become 52 in one pass and 66 in two, 18.9; builds of zlib differ by a few bytes."""
    found = compression(["the cat sat on the mat ."] * 50)
    assert found.n_bytes == 1249
    assert found.ratio > 22
    assert found.sd_of_orders == 0
    assert found.ratio == compression(["the cat sat on the mat ."] * 50).ratio  # no clock in it


def test_compression_is_the_mean_over_orders() -> None:
    rng = random.Random(0)
    texts = [" ".join(rng.choices(["one", "two", "three", "four"], k=10)) for _ in range(30)]
    one = [compression(texts, orders=1, seed=seed).ratio for seed in range(6)]
    assert len(set(one)) > 1  # the order matters
    many = compression(texts, orders=40)
    assert min(one) - 0.1 < many.ratio < max(one) + 0.1
    assert many == compression(texts, orders=40)
    single = compression([texts[0]], orders=3)
    assert single.ratio == len(texts[0]) / len(gzip.compress(texts[0].encode(), mtime=0))
    assert compression(["é\ud800"], orders=1).n_bytes == 5  # 2 bytes and 3, a lone surrogate included


def test_compression_does_not_depend_on_the_order() -> None:
    rng = random.Random(0)
    texts = [" ".join(rng.choices(["one", "two", "three", "four"], k=10)) for _ in range(30)]
    found = compression(texts, orders=2)
    for seed in range(5):
        assert compression(random.Random(seed).sample(texts, 30), orders=2) == found


def test_compression_takes_texts_not_one_string() -> None:
    for text in ("to be or not to be", ""):
        with pytest.raises(ValueError, match="not one string"):
            compression(text)


def test_compression_of_nothing() -> None:
    for texts in ([], [""], ["", ""]):
        assert compression(texts).ratio is None
        assert compression(texts).reason == "no text in the documents"
    with pytest.raises(BadValue, match="orders is 0"):
        compression(["a"], orders=0)


def test_self_repetition_by_hand() -> None:
    # "a b c d" is in two documents: (log 2 + log 2 + log 1) / 3
    assert self_repetition(cut("a b c d e", "a b c d f", "x y z w")).value == pytest.approx(0.462098, abs=1e-6)
    # repeated inside a document it counts once, and for the other documents that hold it once each
    assert self_repetition(cut("a a a a a a", "a a a a a", "b b b b")).value == pytest.approx(2 * math.log(2) / 3)
    assert self_repetition(cut("a b c d", "e f g h")).value == 0
    assert (
        self_repetition(cut("a b c d", "a b c d", "a b")).warning == "documents under 4 words, which repeat nothing: 1"
    )


# ---- all of them ----


WORDS = words(" ".join(REVIEWS)) * 2  # 94: enough for every measure of one text

ON_REAL_TEXT: dict[str, Callable[[], object]] = {
    "distinct": lambda: distinct(cut(*REVIEWS)),
    "expectation_adjusted_distinct": lambda: expectation_adjusted_distinct(cut(*REVIEWS), 32_000),
    "rarefied_types": lambda: rarefied_types(cut(*REVIEWS), 5),
    "richness": lambda: richness(WORDS),
    "ttr": lambda: ttr(WORDS),
    "mattr": lambda: mattr(WORDS),
    "hd_d": lambda: hd_d(WORDS),
    "mtld_le_nomin": lambda: mtld_le_nomin(WORDS),
    "self_bleu": lambda: self_bleu(cut(*REVIEWS)),
    "pairwise_bleu": lambda: pairwise_bleu(cut(*REVIEWS)),
    "homogenization": lambda: homogenization(cut(*REVIEWS)),
    "compression": lambda: compression(REVIEWS),
    "self_repetition": lambda: self_repetition(cut(*REVIEWS)),
    "repeated_share": lambda: lexical.repeated_share(WORDS),
}


def test_every_public_function_is_called_on_real_text() -> None:
    functions = inspect.getmembers(lexical, inspect.isfunction)
    public = {name for name, one in functions if one.__module__ == lexical.__name__ and not name.startswith("_")}
    assert set(ON_REAL_TEXT) == public


@pytest.mark.parametrize("name", ON_REAL_TEXT)
def test_real_text_gives_numbers(name: str) -> None:
    found = ON_REAL_TEXT[name]()
    numbers = found if isinstance(found, tuple) else (found,)
    defined = [number for number in numbers if number is not None and not isinstance(number, str)]
    assert defined
    assert numbers[0] is not None
    assert all(math.isfinite(number) and number >= 0 for number in defined)


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_takes_real_texts(name: str) -> None:
    found = METRICS[name](cut(*REVIEWS))
    assert math.isfinite(found.value)
    assert found.n == 5
    assert found.reason is None


def test_richness_and_compression_take_real_texts() -> None:
    assert [richness(document).n_words for document in cut(*REVIEWS)] == [12, 14, 11, 2, 8]
    assert compression(REVIEWS).ratio > 1


@pytest.mark.parametrize("name", METRICS)
def test_order_does_not_matter(name: str) -> None:
    documents = random_documents(11, 20, 15)
    shuffled = random.Random(0).sample(documents, len(documents))
    found, again = METRICS[name](documents), METRICS[name](shuffled)
    assert again.value == pytest.approx(found.value, rel=1e-9)
    assert again.se == (None if found.se is None else pytest.approx(found.se, rel=1e-9))
    assert again.freedom == (None if found.freedom is None else pytest.approx(found.freedom, rel=1e-6))
    assert again._replace(value=None, se=None, freedom=None) == found._replace(value=None, se=None, freedom=None)


@pytest.mark.parametrize("name", METRICS)
def test_too_few_documents_are_undefined_not_zero(name: str) -> None:
    for documents in ([], [[]], [[], []]):
        found = METRICS[name](documents)
        assert found.value is None
        assert found.reason
    alone = METRICS[name](cut("a b c d e f g"))
    pairs = name in {"self-BLEU", "pairwise BLEU", "homogenization", "self-repetition"}
    assert (alone.value is None) == pairs
    assert alone.se is None


@pytest.mark.parametrize("name", ["self-BLEU", "pairwise BLEU", "homogenization"])
def test_documents_without_words_make_no_pair(name: str) -> None:
    documents = cut("a b c d", "a b x d", "", "...")
    found = METRICS[name](documents)
    assert found[:3] == METRICS[name](documents[:2])[:3]
    assert found.n == 2
    assert found.warning == "documents without words left out: 2"


@pytest.mark.parametrize("name", METRICS)
def test_a_string_is_no_document(name: str) -> None:
    with pytest.raises(ValueError, match="a list of words, not a string"):
        METRICS[name](["a b c", "d e f"])
    for text in ("a b c", ""):
        with pytest.raises(ValueError, match="a list of words, not a string"):
            METRICS[name](text)


def test_an_ngram_has_a_word() -> None:
    for metric in (distinct, self_repetition, lambda documents, n: rarefied_types(documents, 1, n)):
        with pytest.raises(BadValue, match="n is 0"):
            metric(cut("a"), 0)
    with pytest.raises(BadValue, match="max_order is 0"):
        self_bleu(cut("a", "b"), 0)
    with pytest.raises(BadValue, match="max_order is 0"):
        pairwise_bleu(cut("a", "b"), 0)
