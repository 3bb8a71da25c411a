"""Diversity of words: n-grams of a set of texts, richness within one text, and how much texts repeat one another.

A document is the list of its words (`text.words`), the same list for every metric here; only `compression` takes texts.
n-grams never cross the border of a document. Nearly all of these numbers move with the length of the texts, and several
with their number: cut all documents to a common length, `[document[:64] for document in documents]`, and compare equal
n. Documents without words are left out where a metric looks at pairs, and the warning says how many.
"""

from __future__ import annotations

import gzip
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from llama_diversity.errors import BadValue
from llama_diversity.metrics.inference import Estimate, Float64, Int64, jackknifed, undefined

Documents = Sequence[Sequence[str]]

_NO_NGRAMS = "no document holds an n-gram"
_NO_PAIR = "fewer than two documents with words"


# ---- n-grams as numbers ----


class _Types(NamedTuple):
    """n-grams of one order: a row for each type of each document, with how often it stands there."""

    document: Int64
    kind: Int64  # 0 ... n_kinds - 1, the same n-gram the same number in every document
    times: Int64
    n_kinds: int
    tokens_of: Int64  # n-grams of each document, 0 where it is too short


def _numbered(documents: Documents) -> list[Int64]:
    """Words as numbers 0, 1, ..."""
    _refuse_strings([documents, *documents])
    numbers: dict[str, int] = {}
    return [np.array([numbers.setdefault(word, len(numbers)) for word in words], np.int64) for words in documents]


def _refuse_strings(documents: Iterable[object]) -> None:
    if any(isinstance(document, str) for document in documents):
        raise ValueError("a document is a list of words, not a string, whose letters would be counted")


def _types(numbered: Sequence[Int64], n: int) -> _Types:
    """The n-grams of numbered documents. The number of an n-gram is made from that of its first n - 1 words."""
    if n < 1:
        raise BadValue("n", n, "an n-gram has at least one word")
    lengths = np.array([len(document) for document in numbered], np.int64)
    words = np.concatenate([np.empty(0, np.int64), *numbered])
    document = np.repeat(np.arange(len(numbered)), lengths)
    left = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(words))  # words of the document from here on
    kinds, n_kinds = words, int(words.max(initial=-1)) + 1
    n_words = n_kinds
    for order in range(2, n + 1):
        codes = kinds[:-1] * n_words + words[order - 1 :]
        whole = left[: len(codes)] >= order
        kinds = np.zeros(len(codes), np.int64)
        known, kinds[whole] = np.unique(codes[whole], return_inverse=True)
        n_kinds = len(known)
    whole = left[: len(kinds)] >= n
    pairs, times = np.unique(document[: len(kinds)][whole] * n_kinds + kinds[whole], return_counts=True)
    of_document, kind = np.divmod(pairs, max(n_kinds, 1))
    return _Types(of_document, kind, times, n_kinds, np.maximum(lengths - n + 1, 0))


def _sums(types: _Types, values: npt.NDArray[Any]) -> Float64:
    """Sum of one value a row over the rows of each document."""
    return np.bincount(types.document, values, minlength=len(types.tokens_of)).astype(np.float64)


# ---- the words of all texts together ----


class _Pool(NamedTuple):
    """Unique and all n-grams of the pool, and of the pool with each document left out."""

    unique: int
    tokens: int
    unique_without: Float64
    tokens_without: Int64


def _pool(types: _Types) -> _Pool:
    holders = np.bincount(types.kind, minlength=types.n_kinds)
    alone = _sums(types, holders[types.kind] == 1)
    tokens = int(types.tokens_of.sum())
    return _Pool(types.n_kinds, tokens, types.n_kinds - alone, tokens - types.tokens_of)


def distinct(documents: Documents, n: int = 1) -> Estimate:
    """distinct-n: unique n-grams / all n-grams of the documents together. Larger is more diverse.

    Range (0, 1]: no n-gram twice 1; n identical texts 1/n of the value of one. Falls with the length of the texts and
    with their number: equal both, or use `rarefied_types`. No n-gram: undefined. Standard error by the jackknife over
    documents, whose variance is 1.3 to 1.7 times the true one: conservative. O(words). Li et al., NAACL (2016) 110.

    "a b a b" and "a b": a and b among 6 words; ab, ba, ab and ab are 2 of 4 bigrams, since none crosses the border.

    >>> documents = ["a b a b".split(), "a b".split()]
    >>> round(distinct(documents).value, 6), distinct(documents, 2).value
    (0.333333, 0.5)
    """
    pool = _pool(_types(_numbered(documents), n))
    if not pool.tokens:
        return undefined(len(documents), _NO_NGRAMS)
    without = np.divide(
        pool.unique_without,
        pool.tokens_without,
        where=pool.tokens_without > 0,
        out=np.full(len(documents), np.nan),
    )
    return jackknifed(pool.unique / pool.tokens, without, len(documents))


def expectation_adjusted_distinct(documents: Documents, vocabulary_size: int) -> Estimate:
    """EAD: unique words U over those expected of C uniform draws from V: U / (V (1 - (1 - 1/V)^C)). Larger is more.

    Range (0, about 1.582]: it is not a share, and all distinct at C = V = 1000 gives 1.581516. Corrects distinct-1 for
    length and number of texts in part only, falling with both, and it depends on V, which must be said with it: the
    vocabulary of the model, the same for both arms, and no smaller than U. Words only; for bigrams no V makes it a
    correction. No words: undefined. Standard error by the jackknife over documents, whose variance is 1.3 to 1.7 times
    the true one: conservative. O(words). Liu et al., ACL (2022) 762 (arXiv:2202.13587).

    Five distinct words, V = 10: 5 / (10 (1 - 0.9^5)) = 5 / 4.0951.

    >>> round(expectation_adjusted_distinct(["a b c d e".split()], 10).value, 6)
    1.220971
    """
    if vocabulary_size < 2:
        raise BadValue("vocabulary_size", vocabulary_size, "a vocabulary has at least two words")
    pool = _pool(_types(_numbered(documents), 1))
    if not pool.tokens:
        return undefined(len(documents), _NO_NGRAMS)
    if vocabulary_size < pool.unique:
        raise BadValue("vocabulary_size", vocabulary_size, f"the texts alone hold {pool.unique} different words")
    v, stays = vocabulary_size, math.log1p(-1 / vocabulary_size)
    expected = -v * np.expm1(pool.tokens_without * stays)
    without = np.divide(pool.unique_without, expected, where=expected > 0, out=np.full(len(documents), np.nan))
    return jackknifed(pool.unique / (-v * math.expm1(pool.tokens * stays)), without, len(documents))


def rarefied_types(documents: Documents, m: int, n: int = 1) -> Estimate:
    """Expected unique n-grams among m of all N, drawn without replacement: sum over types 1 - C(N - N_i, m) / C(N, m).

    distinct-n at a common size: exact and unbiased, so arms of different length compare at one m, best at most half of
    the smaller arm's N. Range [1, m]; m = 1: 1; m = N: the types there are; m > N: undefined. Larger is more diverse.
    Standard error by the jackknife over documents up to m = N / 2, beyond it none; its variance is 1.1 to 1.2 times the
    true one at m = N / 8, 1.4 to 1.7 times near N / 2: conservative. O(types of each document), and for each different
    length of a document O(the count of the commonest n-gram, or 40 N / m if that is less).
    Hurlbert, Ecology 52 (1971) 577.

    Words a a b, m = 2: 1 - C(1,2)/C(3,2) + 1 - C(2,2)/C(3,2) = 1 + 2/3.

    >>> round(rarefied_types(["a a".split(), "b".split()], 2).value, 6)
    1.666667
    """
    if m < 1:
        raise BadValue("m", m, "at least one n-gram is drawn")
    types = _types(_numbered(documents), n)
    total = int(types.tokens_of.sum())
    if m > total:
        reason = f"{m} n-grams are more than the {total} there are" if total else _NO_NGRAMS
        return undefined(len(documents), reason)
    sizes = np.bincount(types.kind, types.times, minlength=types.n_kinds).astype(np.int64)
    value = float(_share_seen(sizes, total, m).sum())
    if 2 * m > total:
        return Estimate(value, None, len(documents))
    return jackknifed(value, _rarefied_without(types, sizes, total, m), len(documents))


def _rarefied_without(types: _Types, sizes: Int64, total: int, m: int) -> Float64:
    """`rarefied_types` with each document left out: all types at the smaller total, its own types at smaller sizes."""
    totals = total - types.tokens_of
    counts, times = np.unique(sizes, return_counts=True)
    own, own_totals = sizes[types.kind], totals[types.document]
    by_total = np.argsort(own_totals, kind="stable")
    without, fewer = np.full(len(totals), np.nan), np.zeros(len(own))
    for left in np.unique(totals[totals >= m]).tolist():  # below m it stays nan
        rows = by_total[slice(*np.searchsorted(own_totals, [left, left + 1], sorter=by_total))]
        shares = _share_seen(np.concatenate([counts, own[rows] - types.times[rows], own[rows]]), left, m)
        of_all, smaller, whole = np.split(shares, [len(counts), len(counts) + len(rows)])
        without[totals == left] = times @ of_all
        fewer[rows] = smaller - whole
    result: Float64 = without + _sums(types, fewer)
    return result


_SURELY_SEEN = 40  # exp(-40) is below what a float64 can tell from 1


def _share_seen(sizes: Int64, total: int, m: int) -> Float64:
    """Probability that m of `total` hold one of `sizes`: 1 - C(total - size, m) / C(total, m).

    The ratio is the product over j < size of 1 - m / (total - j), whose logarithms are summed: a difference of
    log-gammas would lose all but four digits at a million n-grams.
    """
    longest = min(int(sizes.max(initial=0)), total - m, math.ceil(_SURELY_SEEN * total / m))
    logs = np.cumsum(np.log1p(-m / (total - np.arange(longest))))
    of_size = -np.expm1(np.concatenate([[0.0], logs, [-np.inf]]))  # beyond the longest they are seen
    seen: Float64 = of_size[np.minimum(sizes, longest + 1)]
    return seen


# ---- within one text ----

FACTOR_TTR = 0.72  # at which MTLD closes a factor


class Richness(NamedTuple):
    """Lexical richness within one text, larger is richer; nan where a measure is undefined, as its function says."""

    n_words: int
    ttr: float
    mattr_50: float
    hd_d_42: float
    mtld_le_nomin: float


def richness(document: Sequence[str]) -> Richness:
    """The four measures of one document at their usual settings. TTR falls with length: never compare it raw.

    nan: TTR of no words, MATTR of fewer than 50, HD-D of fewer than 42, MTLD where no word comes twice. No standard
    errors: they describe one text. O(words).

    "a b" thirty times, 60 words: 2/60; every window of 50 holds both words: 2/50; any 42 of 60 hold both: 2/42. A
    factor is full at its third word (2/3 <= 0.72), so 60 words make 20 factors of 3.

    >>> [round(number, 6) for number in richness(["a", "b"] * 30)]
    [60, 0.033333, 0.04, 0.047619, 3.0]
    """
    return Richness(len(document), ttr(document), mattr(document), hd_d(document), mtld_le_nomin(document))


def ttr(document: Sequence[str]) -> float:
    """Type-token ratio: different words / words of one text. Larger is richer.

    Range (0, 1], 1 where no word comes twice; nan for a text without words, and only then. Falls with length, since
    words come back: compare texts of one length, or `mattr` and `hd_d`. O(words). Templin, Certain Language Skills in
    Children (1957).

    to and be come twice: 4 / 6.

    >>> round(ttr("to be or not to be".split()), 6)
    0.666667
    """
    _refuse_strings([document])
    return len(set(document)) / len(document) if len(document) else math.nan


def mattr(document: Sequence[str], window: int = 50) -> float:
    """Moving-average TTR: mean TTR of all stretches of `window` words of one text. Larger is richer.

    Range [1 / window, 1]; nan for a text of fewer words than the window, and only then. Flat in length, since every
    stretch is as long: compare at one window. The words at the ends stand in fewer stretches. O(words).
    Covington and McFall, J. Quant. Linguist. 17 (2010) 94.

    Windows of 2 in "a a b": 1/2 and 1.

    >>> mattr("a a b".split(), 2)
    0.75
    """
    if window < 1:
        raise BadValue("window", window, "a window holds at least one word")
    _refuse_strings([document])
    if len(document) < window:
        return math.nan
    inside = Counter(document[:window])
    different = len(inside)
    for leaving, entering in zip(document, document[window:], strict=False):
        inside[entering] += 1
        inside[leaving] -= 1
        if not inside[leaving]:
            del inside[leaving]
        different += len(inside)
    return different / (window * (len(document) - window + 1))


def hd_d(document: Sequence[str], draws: int = 42) -> float:
    """HD-D: expected different words among `draws` of one text's words, divided by `draws`. Larger is richer.

    Range [1 / draws, 1]; nan for a text of fewer words than draws, and only then. Exact (hypergeometric), and at a
    common number of draws flat in length: `rarefied_types` of one text at m = draws, over draws. O(words).
    McCarthy and Jarvis, Behav. Res. Methods 42 (2010) 381.

    "a a b", 2 draws: (1 + 2/3) / 2.

    >>> round(hd_d("a a b".split(), 2), 6)
    0.833333
    """
    if draws < 1:
        raise BadValue("draws", draws, "at least one word is drawn")
    _refuse_strings([document])
    if len(document) < draws:
        return math.nan
    sizes = np.array(list(Counter(document).values()), np.int64)
    return float(_share_seen(sizes, len(document), draws).sum()) / draws


def mtld_le_nomin(document: Sequence[str]) -> float:
    """MTLD: words per factor, a stretch whose TTR falls to 0.72 or below; forward and backward averaged.

    A stretch may be of any length (other programs ask for ten words, or for a TTR below 0.72); what is left at the end
    counts as the part (1 - TTR) / 0.28 of a factor. Larger is richer. Range [2, inf); nan where no word comes twice, a
    text without words among them, since that makes no factor at all, and only then. About flat in length from 60 words
    on: the means of 60 random texts of 60 to 1,600 words lie within 8 % of one another's middle. O(words).
    McCarthy and Jarvis, Behav. Res. Methods 42 (2010) 381.

    "of the people by the people" falls to 4/6 at its sixth word, backward "people the for people the" to 3/5 at its
    fifth; the rest of either way repeats nothing: 9 words, 1 factor.

    >>> mtld_le_nomin("of the people by the people for the people".split())
    9.0
    """
    if ttr(document) == 1 or not len(document):  # in this order, since ttr refuses a string, an empty one too
        return math.nan
    factors = _factors(document), _factors(reversed(document))
    return len(document) * sum(1 / number for number in factors) / 2


def _factors(words: Iterable[str]) -> float:
    """How many factors of MTLD the words make."""
    full, length, seen = 0, 0, set[str]()
    for word in words:
        seen.add(word)
        length += 1
        if len(seen) <= FACTOR_TTR * length:
            full, length, seen = full + 1, 0, set()
    rest = (1 - len(seen) / length) / (1 - FACTOR_TTR) if length else 0.0
    return full + rest


# ---- between texts ----


class _WithWords(NamedTuple):
    """Numbered documents that hold words, and what to say of the others."""

    numbered: list[Int64]
    warning: str | None


def _with_words(documents: Documents) -> _WithWords:
    numbered = [words for words in _numbered(documents) if len(words)]
    without = len(documents) - len(numbered)
    return _WithWords(numbered, f"documents without words left out: {without}" if without else None)


ZERO_COUNT = 0.1  # stands for an n-gram precision without a match, so that one order cannot void the others


def self_bleu(documents: Documents, max_order: int = 4) -> Estimate:
    """Mean over documents of BLEU with all other documents as its references. Smaller is more diverse.

    BLEU = min(1, exp(1 - r/c)) (p_1 ... p_4)^(1/4); p_k clips each n-gram at its largest count in a reference and puts
    0.1 matches for none (no shared word at all: 0); r is the reference length next to c, the shorter of two. Documents
    under four words use the orders they have. Range [0, 1]: no shared word 0, identical 1. Rises with n, since
    references only add matches, and that is no small bias: from 5 to 200 texts of one source it grows 2.5 times at 16
    words a text and 3.6 times at 64 (random words of Zipf frequencies). Moves with length, too: equal both, or
    `pairwise_bleu`. No standard error. O(words), not of pairs.
    Zhu et al., SIGIR (2018) 1097; Papineni et al., ACL (2002) 311.

    Both ways 5/6, 3/5, 1/4 and 0.1/3: (5/6 * 3/5 * 1/4 * 1/30)^(1/4).

    >>> round(self_bleu(["the cat sat on the mat".split(), "the cat is on the mat".split()]).value, 6)
    0.254066
    """
    lengths, counted, warning = _of_orders(documents, max_order)
    n = len(lengths)
    if n < 2:
        return undefined(n, _NO_PAIR)
    matches = [_sums(types, np.minimum(types.times, _largest_elsewhere(types))) for types in counted]
    scores = _bleu(matches, lengths, _nearest_length(lengths), max_order)
    return Estimate(float(scores.mean()), None, n, warning=warning)


def _of_orders(documents: Documents, max_order: int) -> tuple[Int64, list[_Types], str | None]:
    """Lengths of the documents that have words, their n-grams of orders 1 to `max_order`, and what was left out."""
    if max_order < 1:
        raise BadValue("max_order", max_order, "an n-gram has at least one word")
    numbered, warning = _with_words(documents)
    lengths = np.array([len(words) for words in numbered], np.int64)
    orders = range(1, min(max_order, int(lengths.max(initial=0))) + 1)
    return lengths, [_types(numbered, order) for order in orders], warning


def _bleu(matches: Sequence[Float64], lengths: Int64, reference_lengths: Int64, max_order: int) -> Float64:
    """BLEU from the matches of orders 1, 2, ...; all of one shape, or of shapes that broadcast."""
    orders = np.minimum(lengths, max_order)
    logs = np.zeros(matches[0].shape)
    for order, matched in enumerate(matches, 1):
        precision = np.where(matched > 0, matched, ZERO_COUNT) / np.maximum(lengths - order + 1, 1)
        logs += np.where(orders >= order, np.log(precision), 0)
    brevity = np.minimum(1, np.exp(1 - reference_lengths / lengths))
    scores: Float64 = np.where(matches[0] > 0, brevity * np.exp(logs / orders), 0)
    return scores


def _largest_elsewhere(types: _Types) -> Int64:
    """For each row the largest count of its n-gram in another document, 0 if there is none."""
    order = np.lexsort((types.times, types.kind))  # rows of a kind together, the largest count last
    kind, times = types.kind[order], types.times[order]
    ends = np.flatnonzero(np.append(kind[1:] != kind[:-1], True)[: len(kind)])
    second = np.where((ends > 0) & (kind[ends - 1] == kind[ends]), times[ends - 1], 0)
    elsewhere = np.empty(len(order), np.int64)
    elsewhere[order] = times[ends][kind]  # kinds are 0, 1, ..., so the end of each stands at its number
    elsewhere[order[ends]] = second
    return elsewhere


def _nearest_length(lengths: Int64) -> Int64:
    """For each document the length of another one that is nearest to its own, the shorter of two."""
    order = np.argsort(lengths, kind="stable")
    there = lengths[order].astype(np.float64)
    below, above = np.append(-np.inf, there[:-1]), np.append(there[1:], np.inf)
    nearest = np.empty(len(lengths), np.int64)
    nearest[order] = np.where(there - below <= above - there, below, above)
    return nearest


def pairwise_bleu(documents: Documents, max_order: int = 4) -> Estimate:
    """Mean BLEU of one document with one other as its reference, over ordered pairs. Smaller is more diverse.

    The BLEU of `self_bleu`, which is not symmetric: the brevity and the number of n-grams are those of the document.
    Range [0, 1]: no shared word 0, all identical 1. A mean over pairs, so unbiased in n where `self_bleu` rises; it
    still moves with length: common length. Jackknife standard error from row and column sums. O(words and, for each
    n-gram, the square of the documents that hold it), memory O(n^2): 2,000 documents of 64 words take about one second.
    Papineni et al., ACL (2002) 311; pairs: Shen et al., ICML (2019) 5719 (arXiv:1902.07816).

    "a b" given "a b c": 1, 1, brevity exp(1 - 3/2) = 0.606531; "a b c" given "a b": 2/3, 1/2, 0.1, so
    (1/30)^(1/3) = 0.321830; their mean.

    >>> round(pairwise_bleu(["a b".split(), "a b c".split()]).value, 6)
    0.46418
    """
    lengths, counted, warning = _of_orders(documents, max_order)
    n = len(lengths)
    if n < 2:
        return undefined(n, _NO_PAIR)
    matches = [_matches_of_pairs(types, n) for types in counted]
    scores = _bleu(matches, lengths[:, None], lengths, max_order)
    np.fill_diagonal(scores, 0)
    return _mean_of_pairs(scores.sum(axis=1) + scores.sum(axis=0), warning)


def _matches_of_pairs(types: _Types, n: int) -> Float64:
    """Sum over n-grams of the smaller of both counts, shape (n, n): the second "the" of a text meets any other's."""
    from scipy.sparse import csr_array  # heavy, and needed only here

    row = np.repeat(np.arange(len(types.times)), types.times)
    copy = np.arange(len(row)) - np.repeat(np.cumsum(types.times) - types.times, types.times)
    _, column = np.unique(types.kind[row] * (types.times.max(initial=0) + 1) + copy, return_inverse=True)
    held = csr_array((np.ones(len(row)), (types.document[row], column)), shape=(n, int(column.max(initial=-1)) + 1))
    matches: Float64 = (held @ held.T).toarray()
    return matches


def _mean_of_pairs(sums: Float64, warning: str | None) -> Estimate:
    """Mean of a score over ordered pairs of different documents; `sums`: of the ordered pairs that hold each."""
    n, total = len(sums), float(sums.sum()) / 2
    left_out = (total - sums) / ((n - 1) * (n - 2)) if n > 2 else [math.nan]
    return jackknifed(total / (n * (n - 1)), left_out, n, warning=warning)


def homogenization(documents: Documents) -> Estimate:
    """Mean ROUGE-L F over pairs of different documents: 2 LCS / (length + length). Smaller is more diverse.

    LCS: the longest common subsequence of words. Range [0, 1]: no shared word 0, all identical 1. Unbiased in n, but it
    grows with length even for random words: common length. Jackknife standard error from row sums. Bit-parallel, many
    pairs at once: O(n^2 L^2 / 64), memory O(n L); 2,000 documents of 100 words take about three seconds.
    Lin, ACL workshop (2004) 74; Hyyro, AWOCA (2004); the name: Padmakumar and He (arXiv:2309.05196).

    The two sentences share "the cat on the mat": 2 * 5 / 12.

    >>> round(homogenization(["the cat sat on the mat".split(), "the cat is on the mat".split()]).value, 6)
    0.833333
    """
    numbered, warning = _with_words(documents)
    n = len(numbered)
    if n < 2:
        return undefined(n, _NO_PAIR)
    return _mean_of_pairs(2 * _rouge_row_sums(numbered), warning)


_LANE = 64  # words of a document that one integer holds
_MASK_BYTES = 2**25  # of the table of masks at a time
_AT_ONCE = 128  # documents held against a block: its buffers stay in a core's cache


def _rouge_row_sums(numbered: Sequence[Int64]) -> Float64:
    """Sum over the other documents of ROUGE-L F, for each document; longest first, so that later blocks take less."""
    by_length = np.array(sorted(range(len(numbered)), key=lambda i: -len(numbered[i])), np.int64)
    lengths = np.array([len(numbered[i]) for i in by_length], np.int64)
    padded = np.full((len(by_length), lengths[0]), -1, np.int64)
    for row, i in enumerate(by_length):
        padded[row, : lengths[row]] = numbered[i]
    n_words = int(padded.max()) + 1
    sums = np.zeros(len(by_length))
    start = 0
    while start < len(by_length):
        n_lanes = -(-int(lengths[start]) // _LANE)
        end = min(len(by_length), start + max(1, min(64, _MASK_BYTES // (8 * n_lanes * (n_words + 1)))))
        common = _common_subsequences(padded[start:end], padded[start:, : lengths[start]], n_words, n_lanes)
        scores = 2 * common / (lengths[start:end, None] + lengths[start:])
        scores[np.tri(end - start, len(by_length) - start, dtype=bool)] = 0  # each pair once, none with itself
        sums[start:end] += scores.sum(axis=1)
        sums[start:] += scores.sum(axis=0)
        start = end
    result = np.empty(len(sums))
    result[by_length] = sums
    return result


def _common_subsequences(some: Int64, others: Int64, n_words: int, n_lanes: int) -> Float64:
    """Lengths of the longest common subsequences of all of `some` with all `others`; rows are padded with -1."""
    places = np.zeros((n_words + 1, n_lanes, len(some)), np.uint64)  # of the last word none: padding looks it up
    row, position = np.nonzero(some >= 0)
    bits = np.left_shift(np.uint64(1), (position % _LANE).astype(np.uint64))
    np.bitwise_or.at(places, (some[row, position], position // _LANE, row), bits)
    blocks = [_common_with(places, others[start : start + _AT_ONCE]) for start in range(0, len(others), _AT_ONCE)]
    return np.concatenate(blocks).T.astype(np.float64)


def _common_with(places: npt.NDArray[np.uint64], others: Int64) -> Int64:
    """Of each of `others` (rows) the lengths with the documents whose words stand at `places`.

    Hyyro's algorithm: bit i of v is 0 where a match ends at word i of a document; for each word of the other one v
    becomes (v + u) | (v - u), u = v & the places of that word. Sums carry from one 64-bit lane to the next. Buffers are
    reused, which is worth half the time.
    """
    n_lanes, shape = places.shape[1], (len(others), places.shape[2])
    v = np.full((n_lanes, *shape), 2**64 - 1, np.uint64)
    u, total = np.empty((2, *shape), np.uint64)
    carry, overflow = np.empty((2, *shape), np.bool_)
    for word in others.T:
        for lane, old in enumerate(v):
            np.bitwise_and(old, places[word, lane], out=u)
            np.add(old, u, out=total)
            np.less(total, u, out=overflow)
            if lane:
                np.add(total, carry, out=total)
                np.less(total, carry, out=carry)
                np.logical_or(carry, overflow, out=carry)
            else:
                np.copyto(carry, overflow)
            np.subtract(old, u, out=u)
            np.bitwise_or(total, u, out=old)
    zeros: Int64 = np.bitwise_count(~v).sum(axis=0, dtype=np.int64)
    return zeros


class Compression(NamedTuple):
    """Bytes over compressed bytes, mean and standard deviation over the orders of texts; None where undefined."""

    ratio: float | None
    sd_of_orders: float | None
    n_bytes: int
    n: int
    reason: str | None = None


def compression(texts: Sequence[str], *, orders: int = 10, seed: int = 0) -> Compression:
    """Compression ratio: bytes of the texts joined by blanks / bytes of that after gzip, once. Smaller is more diverse.

    Range about (0.05, 1030): a single letter below 1, since the frame of gzip has 18 bytes; ordinary prose 2 to 3. It
    grows with the total of bytes, so with n and with length: equal bytes for each arm. gzip looks back 32 KB, so the
    order of the texts matters: mean over `orders` shuffles from `seed`, of the sorted texts, so that the order in which
    they are given does not. No bytes: undefined. No standard error: `sd_of_orders` is that of the shuffles. Builds of
    zlib differ by a few bytes. O(bytes): about half a second for each megabyte and order, orders in parallel.
    Shaib et al. (arXiv:2403.00553).

    18 bytes of frame and the one letter as a block of 3.

    >>> round(compression(["a"], orders=1).ratio, 2)
    0.05
    """
    if orders < 1:
        raise BadValue("orders", orders, "the texts are joined at least once")
    if isinstance(texts, str):
        raise ValueError("texts are a list of strings, not one string, whose letters would be taken for texts")
    encoded = sorted(text.encode("utf-8", "surrogatepass") for text in texts)
    n_bytes = len(b" ".join(encoded))
    if not any(encoded):
        return Compression(None, None, n_bytes, len(texts), "no text in the documents")
    generator = np.random.default_rng(seed)
    shuffled = [b" ".join([encoded[i] for i in generator.permutation(len(encoded))]) for _ in range(orders)]
    with ThreadPoolExecutor() as threads:  # zlib works outside the interpreter's lock
        sizes = list(threads.map(_gzip_bytes, shuffled))
    ratios = n_bytes / np.array(sizes)
    return Compression(float(ratios.mean()), float(ratios.std(ddof=1)) if orders > 1 else None, n_bytes, len(texts))


def _gzip_bytes(joined: bytes) -> int:
    return len(gzip.compress(joined, mtime=0))


def self_repetition(documents: Documents, n: int = 4) -> Estimate:
    """Mean over documents of log(1 + in how many other documents its n-grams stand, summed over different n-grams).

    Smaller is more diverse; range [0, inf), 0 where no two share an n-gram. Grows with length and with the number of
    documents: equal both. A document under n words repeats nothing and counts as 0; the warning says how many.
    No standard error. O(words). Salkar et al., AACL (2022) 341.

    The first two share "a b c d": (log 2 + log 2 + log 1) / 3.

    >>> round(self_repetition(["a b c d e".split(), "a b c d f".split(), "x y z w".split()]).value, 6)
    0.462098
    """
    types = _types(_numbered(documents), n)
    if len(documents) < 2:
        return undefined(len(documents), "fewer than two documents")
    others = np.bincount(types.kind, minlength=types.n_kinds) - 1
    short = int((types.tokens_of == 0).sum())
    if short == len(documents):
        return undefined(len(documents), _NO_NGRAMS)
    warning = f"documents under {n} words, which repeat nothing: {short}" if short else None
    value = float(np.log1p(_sums(types, others[types.kind])).mean())
    return Estimate(value, None, len(documents), warning=warning)


def repeated_share(document: Sequence[str], n: int = 4) -> float:
    """Share of one text's n-grams that stood in it before: 1 - different n-grams / n-grams. Larger is more of a loop.

    Range [0, 1); nan for fewer than n words. O(words). Welleck et al., ICLR (2020), seq-rep-n.

    "a b a b a b" has the pairs ab ba ab ba ab, of which two differ: 1 - 2/5.

    >>> repeated_share("a b a b a b".split(), n=2)
    0.6
    """
    grams = list(zip(*(document[start:] for start in range(n)), strict=False))
    return 1 - len(set(grams)) / len(grams) if grams else math.nan
