"""Mixtures of models: against closed forms on scripted chains, and against both models' own logits on the tiny pair."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import chi2
from scripted_work import fill, same

import llama_diversity as ld
from llama_diversity.engines import Engine, EngineOptions, open_engine
from llama_diversity.engines.mixed.rows import masses, mixed, mixed_beside
from llama_diversity.engines.scripted import BOS, EOS, transition, vocabulary
from llama_diversity.errors import BadValue
from llama_diversity.mixtures import Rule, cut_mixture, mixture_words, parse_mixture, priced
from llama_diversity.records import Asking, Prompt, Recipe, Sample, Sampler
from llama_diversity.resolve import resolve_model
from llama_diversity.store import Store
from llama_diversity.studies.compare.specs import parse_arm
from llama_diversity.studies.population.specs import parse_way

N_DRAWS = 20_000
WORD = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789'’")


@contextlib.contextmanager
def mixture(words: str, **options: object) -> Iterator[Engine]:
    model = resolve_model(words if words.startswith("mix:") else f"mix:scripted:base,scripted:aligned,{words}")
    with contextlib.closing(open_engine(model, EngineOptions(**options))) as engine:  # type: ignore[arg-type]
        yield engine


def recipe_of(engine: Engine, text: str = "She was", **changes: object) -> Recipe:
    fields = {
        "engine": "mixed",
        "engine_build": engine.build,
        "model_digest": engine.facts.digest,
        "vocab_digest": engine.facts.vocab_digest,
        "prompt": engine.prompt(text),
        "sampler": Sampler(),
        "seed": 1,
        "max_tokens": 2,
    }
    return Recipe(**{**fields, **changes})  # type: ignore[arg-type]


def drawn(engine: Engine, recipe: Recipe, n: int) -> list[Sample]:
    found = [sample for step in engine.sample(recipe, range(n)) for sample in step.finished]
    return sorted(found, key=lambda one: one.index)


# ---- closed forms: rows of chains, written down anew


def products(weights: Sequence[float], names: Sequence[str]) -> np.ndarray:
    """Rows proportional to the product of p^weight."""
    rows = np.prod([transition(name) ** weight for weight, name in zip(weights, names, strict=True)], axis=0)
    return rows / rows.sum(axis=1, keepdims=True)


def is_inside(token: int) -> bool:
    text = vocabulary("base")[token].bytes.decode("utf-8", "replace")
    return bool(text) and (text[-1] in WORD or text[-1] == "\N{REPLACEMENT CHARACTER}")


def begins(token: int) -> bool:
    text = vocabulary("base")[token].bytes.decode("utf-8", "replace")
    return not (text and (text[0] in WORD or text[0] == "\N{REPLACEMENT CHARACTER}"))


def routed_pair_table(chance: Sequence[float], last: int) -> np.ndarray:
    """p(first, second) where each word is the base's with the chance that its last token before gives, by hand.

    `chance[token]`: that a word which begins behind `token` is the base's.
    """
    p = {0: transition("base"), 1: transition("aligned")}
    n = len(p[0])
    starts = np.array([begins(token) for token in range(n)])
    table = np.zeros((n, n))
    for first_owner, share in ((0, chance[last]), (1, 1 - chance[last])):
        for first in range(n):
            one = share * p[first_owner][last, first]
            if not one:
                continue
            for owner, again in ((0, chance[first]), (1, 1 - chance[first])):
                if is_inside(first):
                    stays = np.where(starts, 0, p[first_owner][first])
                    ends = p[first_owner][first][starts].sum()
                    fresh = np.where(starts, p[owner][first] / p[owner][first][starts].sum(), 0)
                    table[first] += one * again * (stays + ends * fresh)
                else:
                    table[first] += one * again * p[owner][first]
    return table


def closed_form(words: str, last: int) -> np.ndarray:
    """p(first, second) behind the token `last`."""
    rows = {
        "lambda=0.5": products((0.5, 0.5), ("base", "aligned")),
        "lambda=-0.4": products((1.4, -0.4), ("base", "aligned")),
        "lambda=1.5": products((-0.5, 1.5), ("base", "aligned")),
        "linear=0.3": 0.7 * transition("base") + 0.3 * transition("aligned"),
        "mix:scripted:attractor,scripted:base,scripted:aligned,proxy=0.6": products(
            (1, -0.6, 0.6), ("attractor", "base", "aligned")
        ),
    }
    if words in rows:
        return rows[words][last][:, None] * rows[words]
    base, aligned = transition("base"), transition("aligned")
    entropies = -(base * np.log2(base, where=base > 0, out=np.zeros_like(base))).sum(axis=1)
    is_mark = np.array([not any(c in WORD or c == "\N{REPLACEMENT CHARACTER}" for c in piece.bytes.decode("utf-8", "replace")) for piece in vocabulary("base")])  # fmt: skip # noqa: E501
    chances = {
        "route=random:0.3": np.full(len(base), 0.3),
        "route=confidence:0.5": np.where(base.max(axis=1) < 0.5, 1.0, 0.0),
        "route=entropy:2": np.where(entropies > 2, 1.0, 0.0),
        "route=punctuation": np.where(is_mark[aligned.argmax(axis=1)], 0.0, 1.0),
    }
    return routed_pair_table(chances[words], last)


FORMS = [
    "lambda=0.5", "lambda=-0.4", "lambda=1.5", "linear=0.3",
    "mix:scripted:attractor,scripted:base,scripted:aligned,proxy=0.6",
    "route=random:0.3", "route=confidence:0.5", "route=entropy:2", "route=punctuation",
]  # fmt: skip


@pytest.mark.parametrize("words", FORMS)
def test_two_tokens_have_the_closed_form_s_law(words: str) -> None:
    """Exactly in `after`, and by chi-square over 20,000 draws of a pair, or 4,000."""
    with mixture(words) as engine:
        prompt = engine.prompt("She was")
        table = closed_form(words, prompt.ids[-1])
        assert table[:, :].sum() == pytest.approx(1)
        heads = [token for token in np.argsort(-table.sum(axis=1))[:40].tolist() if table[token].sum() > 0]
        with engine.after(prompt, longest=1) as after:
            first = np.exp(after([()])[0])
            second = np.exp(after([(token,) for token in heads]))
        np.testing.assert_allclose(first, table.sum(axis=1), atol=2e-6)
        np.testing.assert_allclose(first[heads, None] * second, table[heads], atol=2e-6)
        recipe = recipe_of(engine, sampler=Sampler())
        counts = np.zeros_like(table)
        n_draws = N_DRAWS if words in ("lambda=0.5", "route=random:0.3") else N_DRAWS // 5
        for sample in drawn(engine, recipe, n_draws):
            ids = sample.tokens["id"].tolist()
            if len(ids) == 2:
                counts[ids[0], ids[1]] += 1
        table[EOS] = 0  # a text that ends at once has no second token
        expected = table * n_draws
        often = expected >= 5
        rest = n_draws - counts[often].sum(), n_draws - expected[often].sum()
        statistic = ((counts[often] - expected[often]) ** 2 / expected[often]).sum()
        statistic += (rest[0] - rest[1]) ** 2 / max(rest[1], 1e-9) if rest[1] >= 5 else 0
        assert chi2.sf(statistic, int(often.sum())) > 1e-4


@pytest.mark.parametrize("words", FORMS)
def test_statistics_are_the_mixture_s_and_beside_them_each_model_s(words: str) -> None:
    with mixture(words) as engine:
        recipe = recipe_of(engine, max_tokens=12)
        names = ["attractor", "base", "aligned"] if "proxy" in words else ["base", "aligned"]
        is_routed = words.startswith("route")
        for sample in drawn(engine, recipe, 60):
            assert sample.beside is not None
            before = [recipe.prompt.ids[-1], *sample.tokens["id"].tolist()[:-1]]
            ids = sample.tokens["id"]
            for model, name in enumerate(names):
                bits = -np.log2(transition(name)[before, ids])
                np.testing.assert_allclose(sample.beside["surprisals_bits"][:, model], bits, atol=1e-4)
            assert set(sample.beside["source"].tolist()) <= ({0, 1} if is_routed else {-1})
            if not is_routed:
                table = closed_form(words, recipe.prompt.ids[-1])
                assert sample.tokens["surprisal_bits"][0] == pytest.approx(
                    -math.log2(table.sum(axis=1)[ids[0]]), abs=1e-4
                )
            elif words != "route=random:0.3":  # no coin: what was drawn is what is scored
                scored = engine.score((*recipe.prompt.ids, *ids.tolist()))[len(recipe.prompt.ids) :]
                # The prompt's own words have owners too: a text that is scored begins at its first token.
                np.testing.assert_allclose(scored["surprisal_bits"][1:], sample.tokens["surprisal_bits"][1:], atol=2e-4)


def test_the_words_of_a_random_router_are_the_base_s_at_its_rate() -> None:
    with mixture("route=random:0.3") as engine:
        recipe = recipe_of(engine, max_tokens=40)
        n_base, n = 0, 0
        for sample in drawn(engine, recipe, 300):
            ids, source = sample.tokens["id"].tolist(), sample.beside["source"].tolist()  # type: ignore[index]
            for at, token in enumerate(ids):
                if at == 0 or begins(token) or not is_inside(ids[at - 1]):
                    n_base, n = n_base + (source[at] == 0), n + 1
                else:
                    assert source[at] == source[at - 1]  # within a word the model stays
        assert n > 3000
        assert abs(n_base / n - 0.3) < 4 * math.sqrt(0.3 * 0.7 / n)


# ---- drawing


@pytest.mark.parametrize("words", ["lambda=0.4", "route=random:0.5"])
def test_a_sample_does_not_depend_on_its_neighbours_or_slots(words: str) -> None:
    """Slots are forked, refilled and moved; prompts of the two models differ in length, and lie apart."""
    found = []
    for parallel in (1, 3, 64):
        with mixture(f"mix:scripted:base,scripted:aligned,{words}", parallel=parallel) as engine:
            asked = [
                recipe_of(engine, prompt=engine.prompt(f"She was{more}", chat=chat), seed=seed, max_tokens=3 + 9 * seed)
                for seed, (more, chat) in enumerate([("", True), (" a quiet nurse", True), (" a", False)])
            ]
            assert asked[0].prompt.others
            assert not asked[2].prompt.others
            works = [(one, range(4)) for one in asked]
            some = [sample for step in engine.sample_each(works) for sample in step.finished]
            found.append(sorted(some, key=lambda one: (one.recipe_key, one.index)))
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            assert same(one, two)
            assert one.beside.tobytes() == two.beside.tobytes()  # type: ignore[union-attr]


def test_each_model_reads_its_own_prompt() -> None:
    """The base has no template and reads the text; the aligned one reads the template: two last tokens."""
    with mixture("linear=0.5") as engine:
        prompt = engine.prompt("She was", chat=True)
        assert prompt.of(0) == engine.prompt("She was")
        assert prompt.of(1).mode == "chat"
        with engine.after(prompt, longest=1) as after:
            p = np.exp(after([()])[0])
        rows = [transition("base")[prompt.of(0).ids[-1]], transition("aligned")[prompt.of(1).ids[-1]]]
        np.testing.assert_allclose(p, (rows[0] + rows[1]) / 2, atol=1e-6)


def test_the_store_keeps_what_a_mixture_drew(tmp_path: Path) -> None:
    from llama_diversity.records import Cell

    with mixture("lambda=0.5") as engine, Store.open(tmp_path / "store.sqlite") as store:
        model = resolve_model("mix:scripted:base,scripted:aligned,lambda=0.5")
        recipe = recipe_of(engine, max_tokens=9, mixture=mixture_words(model))
        fill(store, engine, Cell("half", "half", recipe, 5))  # type: ignore[arg-type]
        kept = list(store.samples(recipe.key))
        for one, two in zip(kept, drawn(engine, recipe, 5), strict=True):
            assert same(one, two)
            assert one.beside.tobytes() == two.beside.tobytes()  # type: ignore[union-attr]
        assert store.recipe(recipe.key) == recipe
        assert '"models": ["base", "aligned"]' in mixture_words(model)


# ---- real models


@pytest.mark.model
@pytest.mark.parametrize("words", ["lambda=0.7", "lambda=-0.3", "linear=0.4", "route=confidence:0.4"])
def test_on_the_tiny_pair_it_is_what_both_models_logits_make_by_brute_force(
    words: str, plain_pair: dict[str, Path]
) -> None:
    rule = parse_mixture(f"mix:a,b,{words}").rule
    names = [str(path) for path in plain_pair.values()]
    with mixture(f"mix:{','.join(names)},{words}", n_threads=1) as engine, contextlib.ExitStack() as stack:
        parts = [
            stack.enter_context(
                contextlib.closing(open_engine(resolve_model(name), EngineOptions(n_threads=1)))
            )
            for name in names
        ]  # fmt: skip
        recipe = recipe_of(engine, "Grace Hopper was", max_tokens=10)
        for sample in drawn(engine, recipe, 6):
            ids = tuple(sample.tokens["id"].tolist())
            text = recipe.prompt.ids + ids
            logs = []
            for part in parts:
                rows = np.concatenate([np.array(one.logits) for one in part.logits([text])]).astype(np.float64)
                rows = rows[len(recipe.prompt.ids) - 1 :]
                logs.append(
                    rows
                    - np.log(np.exp(rows - rows.max(1, keepdims=True)).sum(1, keepdims=True))
                    - rows.max(1, keepdims=True)
                )  # noqa: E501
            b, a = logs
            if rule.name == "linear":
                p = (1 - rule.number) * np.exp(b) + rule.number * np.exp(a)
            else:
                p = np.exp((1 - rule.number) * b + rule.number * a)
            if rule.is_routed:
                taken = sample.beside["source"]  # type: ignore[index]
                inside = [False, *(is_inside_of(engine, token) for token in ids[:-1])]
                route = np.where(np.exp(b).max(axis=1) < rule.number, 0, 1)
                starts = np.array([begins_of(engine, token) for token in range(engine.facts.n_vocab)])
                rows = []
                for at in range(len(ids)):
                    own, new = np.exp(logs[taken[at - 1] if at else 0][at]), np.exp(logs[route[at]][at])
                    rows.append(
                        np.where(starts, own[starts].sum() * new / new[starts].sum(), own) if inside[at] else new
                    )
                p = np.array(rows)
            p = p / p.sum(axis=1, keepdims=True)
            bits = -np.log2(p[np.arange(len(ids)), ids])
            np.testing.assert_allclose(sample.tokens["surprisal_bits"], bits, atol=0.03)
            entropies = -(p * np.log2(np.maximum(p, 1e-300))).sum(axis=1)
            np.testing.assert_allclose(sample.tokens["entropy_bits"], entropies, atol=0.03)


def is_inside_of(engine: Engine, token: int) -> bool:
    text = engine.piece(token).bytes.decode("utf-8", "replace")
    return bool(text) and (text[-1].isalnum() or text[-1] in "'’\N{REPLACEMENT CHARACTER}")


def begins_of(engine: Engine, token: int) -> bool:
    text = engine.piece(token).bytes.decode("utf-8", "replace")
    return not (text and (text[0].isalnum() or text[0] in "'’\N{REPLACEMENT CHARACTER}"))


EXACT = """
import contextlib
from llama_diversity.engines import EngineOptions, open_engine
from llama_diversity.resolve import resolve_model
from llama_diversity.records import Recipe, Sampler
options = EngineOptions(n_threads=1, exact=True, parallel=4)
found = {}
for name in ("tiny-base", "tiny-aligned", "mix:tiny-base,tiny-aligned,lambda=0", "mix:tiny-base,tiny-aligned,lambda=1",
             "mix:tiny-base,tiny-aligned,linear=0", "mix:tiny-base,tiny-aligned,route=random:1"):
    with contextlib.closing(open_engine(resolve_model(name), options)) as engine:
        recipe = Recipe("e", engine.build, "d", "v", engine.prompt("Grace Hopper was"), Sampler(), 3, 20, exact=True)
        some = sorted((s for step in engine.sample(recipe, range(6)) for s in step.finished), key=lambda s: s.index)
        found[name] = [(s.text, s.finish_reason, s.tokens.tobytes()) for s in some]
first, second, *mixed = found.values()
print(first != second, [[one == first, one == second] for one in mixed])
"""


@pytest.mark.model
def test_at_the_ends_a_mixture_is_the_model_alone_bit_for_bit() -> None:
    """Under --exact, in a process of its own."""
    done = subprocess.run([sys.executable, "-c", EXACT], capture_output=True, text=True, check=True)
    base, aligned = [True, False], [False, True]
    assert done.stdout.strip() == f"True {[base, aligned, base, base]}"


# ---- words


def test_a_mixture_is_typed_and_kept() -> None:
    typed = parse_mixture("mix:a,b,lambda=0.5")
    assert (typed.models, typed.rule.word(), typed.rule.weights) == (("a", "b"), "lambda=0.5", (0.5, 0.5))
    for words in (
        "lambda=-0.25",
        "lambda=0.123456789",
        "linear=1",
        "route=random:0.4",
        "route=punctuation",
        "proxy=1.5",
    ):
        rule = parse_mixture(f"mix:a,b{',c' if words[0] == 'p' else ''},{words}").rule
        assert rule.word() == words
        assert Rule.from_json(rule.to_json()).word() == words
    assert cut_mixture("mix:a,b,route=entropy:3,chat") == ("mix:a,b,route=entropy:3", ["chat"])
    spec = parse_arm("half=mix:a,b,lambda=0.5,T=0.7,chat,system=Be brief, please.")
    assert (spec.model, spec.is_chat, spec.sampler, spec.system) == (
        "mix:a,b,lambda=0.5", True, {"temperature": 0.7}, "Be brief, please."
    )  # fmt: skip
    assert parse_arm(spec.word()) == spec
    both = parse_arm("p=mix:a,b,lambda=0.5,chat,ask=plan,planner=mix:c,d,linear=0.5,T=0.7")
    assert (both.model, both.planner) == ("mix:a,b,lambda=0.5", "mix:c,d,linear=0.5")
    assert parse_arm(both.word()) == both
    assert parse_way("m=mix:a,b,lambda=0.5,mode=quota,T=0.7") == {
        "name": "m", "model": "mix:a,b,lambda=0.5", "mode": "quota", "sampler": {"temperature": 0.7}
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("mix:a,b", "write mix:BASE,ALIGNED"),
        ("mix:a,lambda=0.5", "write mix:BASE,ALIGNED"),
        ("mix:a,b,c,lambda=0.5", "write mix:BASE,ALIGNED"),
        ("mix:a,,lambda=0.5", "write mix:BASE,ALIGNED"),
        ("mix:a,b,lambda=3.5", "a number from -2 to 3"),
        ("mix:a,b,lambda=nan", "a number from -2 to 3"),
        ("mix:a,b,lambda=half", "a number from -2 to 3"),
        ("mix:a,b,linear=1.1", "a number from 0 to 1"),
        ("mix:a,b,proxy=1", "proxy takes a large base"),
        ("mix:a,b,route=coin:0.5", "a route is random, confidence, entropy, punctuation"),
        ("mix:a,b,route=random", "route=random takes a number"),
        ("mix:a,b,route=punctuation:1", "takes no number"),
        ("mix:a,b,lambda=0.5,T=0.7", "'T=0.7' is none of its parts"),
        ("mix:mix:a,b,lambda=0.5", "of models, not of mixtures"),
        ("mix:scripted:base,scripted:base,lambda=0.5", "one model with itself (scripted:base)"),
        ("mix:./a,b.gguf,c,lambda=0.5", "it names 3 models: write mix:BASE,ALIGNED"),
        ("mix:./a,b.gguf,c,lambda=0.5", "a file with a comma in its name needs another one"),
    ],
)
def test_what_is_no_mixture_is_refused(words: str, says: str) -> None:
    with pytest.raises(BadValue) as caught:
        resolve_model(words)
    assert says in str(caught.value)


def test_models_that_cannot_be_mixed_are_refused() -> None:
    with pytest.raises(BadValue, match="different vocabularies"), mixture("mix:scripted:base,scripted:coin,lambda=0.5"):
        pass
    with pytest.raises(BadValue, match="different vocabularies"), mixture("mix:tiny-base,scripted:base,lambda=0.5"):
        pass


def test_a_vocabulary_without_words_is_not_routed() -> None:
    from llama_diversity.engines.mixed.words import Vocabulary
    from llama_diversity.records import Piece

    letters = [Piece(bytes([value])) for value in range(256)]
    with pytest.raises(BadValue, match="words cannot be told apart"):
        Vocabulary.of("mix", 256, letters.__getitem__)
    Vocabulary.of("mix", 257, [*letters, Piece(b" the")].__getitem__)


def test_what_a_model_forbids_no_product_allows() -> None:
    inf = -np.inf
    rows = [np.float32([[0, inf, 1]]), np.float32([[inf, 0, 2]])]
    np.testing.assert_array_equal(mixed(Rule("lambda", 0.5), rows), np.float32([[inf, inf, 1.5]]))
    np.testing.assert_array_equal(mixed(Rule("lambda", 1.5), rows), np.float32([[inf, inf, 2.5]]))
    assert mixed(Rule("lambda", 0.0), rows) is rows[0]
    assert mixed(Rule("lambda", 1.0), rows) is rows[1]
    linear = np.exp(mixed(Rule("linear", 0.25), rows)[0])
    e = math.e
    np.testing.assert_allclose(
        linear / linear.sum(),
        [0.75 / (1 + e), 0.25 / (1 + e * e), 0.75 * e / (1 + e) + 0.25 * e * e / (1 + e * e)],
        rtol=1e-6,
    )


@pytest.mark.parametrize("number", [1e-9, 0.3, 0.5, 1 - 1e-9])
@pytest.mark.parametrize("spread", [3, 80])  # natural logarithms: at 80 nearly all tokens lie below float32's least
def test_a_sum_of_probabilities_is_what_float64_makes_of_it(number: float, spread: float) -> None:
    rng = np.random.default_rng(0)
    rows = [rng.normal(0, spread, (70, 1031)).astype(np.float32) for _ in range(2)]
    rows[0][3, 5] = rows[1][4, 6] = rows[0][7, 8] = rows[1][7, 8] = -np.inf
    log_p = [one - logsumexp(one.astype(np.float64), axis=1, keepdims=True) for one in rows]
    expected = np.logaddexp(log_p[0] + np.log1p(-number), log_p[1] + np.log(number))
    room = np.empty_like(rows[0])
    found, log_masses = mixed_beside(Rule("linear", number), rows, room)
    assert found is room
    np.testing.assert_array_equal(found, mixed(Rule("linear", number), rows))
    found = found - logsumexp(found.astype(np.float64), axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-5)
    for one, log_mass in zip(rows, log_masses, strict=True):
        np.testing.assert_array_equal(log_mass, masses(one))
        np.testing.assert_allclose(log_mass, logsumexp(one.astype(np.float64), axis=1), rtol=1e-6)
    alone = mixed(Rule("linear", number), [one[9:10] for one in rows])
    np.testing.assert_array_equal(alone, room[9:10])


def test_a_prompt_s_parts_are_by_model() -> None:
    other = Prompt("t", "other", (2, 3), "chat")
    both = Prompt("t", "mine", (1,), others=(other,))
    assert both.of(1) == other
    assert both.of(0) == dataclasses.replace(both, others=())
    alone = Prompt("t", "mine", (1,))
    assert [alone.of(number) for number in range(3)] == [alone] * 3
    assert list(itertools.chain(both.ids, both.of(1).ids)) == [1, 2, 3]
    assert BOS == 0


def test_the_heatmap_shows_which_model_a_word_came_from_and_which_it_leans_to() -> None:
    from llama_diversity.render.heatmap import Heatmap
    from llama_diversity.render.scales import scored_tokens

    with mixture("route=random:0.5") as engine:
        sample = drawn(engine, recipe_of(engine, max_tokens=12), 1)[0]
        tokens = scored_tokens(sample.tokens, engine.piece, sample.beside)
    assert sample.beside is not None
    by = {name: Heatmap(tokens, model="m", tokenizer="t", by=name) for name in ("source", "leaning")}
    source = [by["source"].scale.value(one) for one in tokens]
    assert source == [1.0 if one else -1.0 for one in sample.beside["source"].tolist()]
    assert [by["source"].scale.number(value) for value in (-1.0, 1.0)] == ["1", "2"]
    assert [by["source"].scale.step(value) for value in (-1.0, 1.0)] == [-4, 4]
    bits = sample.beside["surprisals_bits"]
    np.testing.assert_allclose([by["leaning"].scale.value(one) for one in tokens], bits[:, 1] - bits[:, 0], rtol=1e-5)
    plain = [one._replace(under_bits=(), source=None) for one in tokens]
    for name in by:
        with pytest.raises(BadValue, match="have one"):
            Heatmap(plain, model="m", tokenizer="t", by=name)


def test_a_mixture_s_tokens_are_exported_with_what_each_model_says() -> None:
    from llama_diversity.render.jsonl import Exported, sample_object
    from llama_diversity.render.parquet import table_of

    with mixture("route=random:0.5") as engine:
        recipe = recipe_of(engine)
        routed = drawn(engine, recipe, 1)[0]
    with mixture("lambda=0.5") as engine:
        sample = drawn(engine, recipe_of(engine), 1)[0]
        pieces = {token: engine.piece(token) for token in range(engine.facts.n_vocab)}
    assert sample.beside is not None
    assert routed.beside is not None
    plain = dataclasses.replace(sample, beside=None)
    table = table_of([Exported("sample", "m", recipe, one, pieces) for one in (sample, routed, plain)])
    under = [*sample.beside["surprisals_bits"].tolist(), *routed.beside["surprisals_bits"].tolist()]
    assert table["under_bits"].to_pylist() == [*under, *[None] * len(plain.tokens)]
    source = [*[None] * len(sample.tokens), *routed.beside["source"].tolist(), *[None] * len(plain.tokens)]
    assert table["source"].to_pylist() == source
    described = sample_object(sample, pieces, neutral=True)["tokens"]
    assert [one["under_bits"] for one in described] == sample.beside["surprisals_bits"].tolist()
    assert {one["source"] for one in described} == {None}


def test_a_mixture_s_csv_has_what_each_model_says() -> None:
    import csv
    import io
    import json

    from llama_diversity.render.csv import write_csv
    from llama_diversity.render.jsonl import Exported

    with mixture("route=random:0.5") as engine:
        recipe = recipe_of(engine, max_tokens=6)
        routed = drawn(engine, recipe, 1)[0]
    file = io.BytesIO()
    plain = dataclasses.replace(routed, beside=None)
    write_csv(file, [Exported("sample", "m", recipe, one, {}) for one in (routed, plain)], with_tokens=True)
    first, second = csv.DictReader(io.StringIO(file.getvalue().decode(), newline=""))
    assert routed.beside is not None
    assert json.loads(first["under_bits"]) == routed.beside["surprisals_bits"].tolist()
    assert json.loads(first["source"]) == routed.beside["source"].tolist()
    assert (second["under_bits"], second["source"]) == ("", "")


@pytest.mark.parametrize("words", ["lambda=0.5", "linear=0.3", "route=confidence:0.3", "route=random:0.5"])
def test_of_a_typed_text_each_model_says_what_it_says_alone(words: str) -> None:
    from llama_diversity.render.heatmap import Looks
    from llama_diversity.studies.session import Session
    from llama_diversity.studies.subjects import picture_of_one, read_subjects, subjects_as_json

    text, session = "She was a nurse. She was kind.", Session()
    [subject] = read_subjects([resolve_model(f"mix:tiny-base,tiny-aligned,{words}")], text, Asking(), session)
    alone = [read_subjects([resolve_model(one)], text, Asking(), session)[0] for one in ("tiny-base", "tiny-aligned")]
    assert subject.beside is not None
    for number, one in enumerate(alone):
        under = subject.beside["surprisals_bits"][:, number]
        np.testing.assert_allclose(under, one.tokens["surprisal_bits"], rtol=1e-4, atol=1e-4)
        assert one.beside is None
    picture = picture_of_one(subject, "leaning", None, Looks(), has_sampler=False)
    apart = alone[1].tokens["surprisal_bits"] - alone[0].tokens["surprisal_bits"]
    values = [picture.scale.value(one) for one in picture.tokens]
    np.testing.assert_allclose(values, apart, rtol=1e-3, atol=1e-3)
    tokens = subjects_as_json([subject])["tokens"]
    assert [len(one["under_bits"]) for one in tokens] == [2] * len(tokens)  # type: ignore[attr-defined]
    source = set(subject.beside["source"].tolist())
    assert source <= {0, 1} if words.startswith("route=confidence") else source == {-1}


def test_of_a_typed_text_a_router_s_words_are_whose_its_rule_says() -> None:
    """By hand: where a word begins, the base's where its likeliest token has less than the rule's probability.

    That lies in the widest gap between those of the middle places: either model has some, and no place is so near that
    the arithmetic of another batch changes its side.
    """
    with contextlib.closing(open_engine(resolve_model("tiny-base"), EngineOptions())) as base:
        ids = base.tokenize("She was a nurse. She was kind.")
        rows = np.concatenate([part.logits.astype(np.float64) for part in base.logits([ids])])
        p = np.exp(rows - logsumexp(rows, axis=1, keepdims=True)).max(axis=1)
    middle = np.sort(p)[len(p) // 4 : -(len(p) // 4)]
    after = int(np.diff(middle).argmax())
    least = round(float(middle[after : after + 2].mean()), 5)
    assert np.abs(p - least).min() > 0.01
    with mixture(f"mix:tiny-base,tiny-aligned,route=confidence:{least}") as engine:
        found = engine.beside(ids)
        expected, owner = [-1], None
        for at, token in enumerate(ids[1:]):
            is_new = owner is None or not is_inside_of(engine, ids[at]) or begins_of(engine, token)
            owner = (0 if p[at] < least else 1) if is_new else owner
            expected.append(owner)
    assert found is not None
    assert found["source"].tolist() == expected
    assert {0, 1} <= set(expected)


def test_one_model_says_nothing_beside() -> None:
    with contextlib.closing(open_engine(resolve_model("scripted:base"), EngineOptions())) as engine:
        assert engine.beside(engine.tokenize("She was")) is None


def test_the_files_of_a_mixture_are_those_of_its_models() -> None:
    from llama_diversity import registry, shelf

    known = registry.load()
    found = shelf.members(known, "mix:tiny-base,tiny-aligned,lambda=0.5", single=False)
    assert [one.reference for one in found] == ["tiny-base", "tiny-aligned"]
    with pytest.raises(BadValue, match="no file of its own"):
        known.find("mix:tiny-base,tiny-aligned,lambda=0.5")


# ---- prompts that models read in different ways


def test_in_front_of_a_mixture_s_prompt_stands_what_the_template_makes() -> None:
    """So what is asked is told as a chat, and room is what the longest leaves."""
    with mixture("linear=0.5") as engine:
        prompt = engine.prompt("She was", chat=True)
        base, aligned = engine.parts[0].prompt("She was"), engine.parts[1].prompt("She was", chat=True)  # type: ignore[attr-defined]
        assert (prompt.mode, prompt.ids, prompt.reader) == ("chat", aligned.ids, 1)
        assert prompt.readings == (base, aligned)
        assert prompt.alone == aligned
        recipe = recipe_of(engine, prompt=prompt)
        assert Recipe.from_json(recipe.to_json()) == recipe
        assert '"reader":1' in recipe.to_json()
        assert "reader" not in recipe_of(engine).to_json()


def test_prompts_that_differ_for_one_model_alone_are_drawn_together() -> None:
    """One text under two templates: to the base they are one prompt; each sample is as it is alone."""
    with mixture("linear=0.5", parallel=4) as engine:
        raw, chat = engine.prompt("She was"), engine.prompt("She was", chat=True)
        other = dataclasses.replace(raw, reader=1, others=(raw,), ids=(*chat.ids, chat.ids[-1]), mode="chat")
        swapped = [dataclasses.replace(one.of(1), others=(raw,), reader=1) for one in (chat, other)]
        in_front = [dataclasses.replace(raw, others=(one.of(1),)) for one in (chat, other)]
        for prompts in (swapped, in_front):
            recipes = [recipe_of(engine, prompt=one, max_tokens=6) for one in prompts]
            each = [[got for step in engine.sample(one, range(5)) for got in step.finished] for one in recipes]
            found = [one for step in engine.sample_each([(one, range(5)) for one in recipes]) for one in step.finished]
            assert len(found) == 10
            by = {(one.recipe_key, one.index): one for one in found}
            for one in itertools.chain(*each):
                assert same(one, by[one.recipe_key, one.index])


def test_a_pair_or_ladder_of_one_s_own_may_hold_a_mixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from llama_diversity import registry, shelf
    from llama_diversity.errors import RegistryError
    from llama_diversity.studies.arms import Choice, named

    half = "mix:tiny-base,tiny-aligned,lambda=0.5"
    monkeypatch.setenv("LLAMADIV_HOME", str(tmp_path))
    file = tmp_path / "models.toml"
    file.write_text(
        f'[pairs.half]\nbase = "tiny-base"\naligned = "{half}"\n[ladders.dial]\nrungs = ["tiny-base", "{half}"]\n'
    )
    known = registry.load()
    assert known.pair("half").aligned == half
    assert [name for name, _ in named(Choice(ladder="dial"))] == ["tiny-base", half]  # a mixture has no role
    assert half not in [one.reference for one in known.entries()]
    found = shelf.unique(shelf.members(known, "half", single=False))
    assert [one.reference for one in found] == ["tiny-base", "tiny-aligned"]
    for aligned, says in (
        ("mix:tiny-base,tiny-algned,lambda=0.5", "no model here"),
        ("mix:tiny-base,lambda=9", "-2 to 3"),
    ):
        file.write_text(f'[pairs.half]\nbase = "tiny-base"\naligned = "{aligned}"\n')
        with pytest.raises(RegistryError, match=says):
            registry.load()


def test_how_a_mixture_was_asked_is_told_model_by_model() -> None:
    from llama_diversity.mixtures import raw_words
    from llama_diversity.render.run_pages import _recipe_lines
    from llama_diversity.studies.compare.parts import described

    name = "mix:scripted:base,scripted:aligned,lambda=0.5"
    with mixture(name) as engine:
        chat = recipe_of(engine, prompt=engine.prompt("She was", chat=True), mixture=mixture_words(resolve_model(name)))
    assert raw_words(name, chat.prompt) == "scripted:base raw"
    assert raw_words(name, chat.prompt.alone) == ""
    assert "chat template, scripted:base raw" in described(parse_arm(f"half={name},chat"), chat)
    lines = [line.strip() for line in _recipe_lines(chat)]
    assert sum(line.startswith(("prompt 1  raw", "prompt 2  chat")) for line in lines) == 2
    assert lines[-3:-1] == ["model 1   base", "model 2   aligned"]


def test_what_ended_is_forgotten_while_others_are_drawn() -> None:
    """A router keeps nothing of a sample that is done: a hundred thousand of them would fill the memory."""
    import gc

    from llama_diversity.engines.completion import Completion

    with mixture("route=random:0.5", parallel=4) as engine:
        steps = engine.sample(recipe_of(engine, max_tokens=2), range(200))
        n_done = 0
        while n_done < 190:
            n_done += len(next(steps).finished)
        assert sum(type(one) is Completion for one in gc.get_objects()) < 40
        steps.close()  # type: ignore[attr-defined]


def test_what_is_refused_leaves_no_model_open(monkeypatch: pytest.MonkeyPatch) -> None:
    from llama_diversity.engines.scripted import ScriptedEngine
    from llama_diversity.records import Piece

    closed: list[str] = []
    monkeypatch.setattr(ScriptedEngine, "close", lambda self: closed.append(self.facts.reference))
    monkeypatch.setattr(ScriptedEngine, "piece", lambda *_: Piece(b"x"))
    with pytest.raises(BadValue, match="words cannot be told apart"), mixture("route=random:0.5"):
        pass
    assert sorted(closed) == ["scripted:aligned", "scripted:base"]


def test_a_frontier_between_a_mixture_and_a_model_has_no_usual_families() -> None:
    from llama_diversity.errors import BadUsage
    from llama_diversity.studies.frontier.specs import family_of, usual

    half = "mix:scripted:base,scripted:aligned,lambda=0.5"
    with pytest.raises(BadUsage, match="cannot be mixed again"):
        usual("scripted:base", half)
    assert [one.model for one in family_of(f"heat={half},T=1.15/1.3").settings] == [half, half]


def test_what_a_mixture_costs_is_what_all_its_models_write_and_read() -> None:
    """By hand: two models, prompts of one and three tokens, five tokens of text."""
    other = Prompt("t", "other", (2, 3, 4), "chat")
    with mixture("lambda=0.5") as engine:
        alone = recipe_of(engine)
        words = mixture_words(resolve_model("mix:scripted:base,scripted:aligned,lambda=0.5"))
        apart = dataclasses.replace(alone, mixture=words, prompt=Prompt("t", "mine", (1,), others=(other,)))
    assert priced(apart, 5) == (10, 4)
    assert priced(dataclasses.replace(apart, prompt=Prompt("t", "mine", (1,))), 5) == (10, 2)
    assert priced(alone, 5) == (5, len(alone.prompt.ids))


def test_studies_price_a_mixture_by_all_its_models() -> None:
    """An arm that is the aligned chain and a mixture that is it too: the mixture costs twice as much."""
    mix = "mix:scripted:base,scripted:aligned,lambda=1"
    prompts = [f"She was {word}" for word in "a b c d e f g h i j".split()]
    arms = {"one": "scripted:aligned", "two": mix}
    report = ld.compare(arms, prompts=prompts[:2], n=40, max_tokens=8, seed=3).to_dict()["arms"]
    one, two = (report[name]["price"] for name in arms)
    assert two["prompt_tokens"] == 2 * one["prompt_tokens"]
    assert two["written_tokens"] == pytest.approx(2 * report["two"]["mean_tokens"], rel=0.02)
    plane = ld.frontier({"two": f"{mix},T=1/1.2"}, reference="one=scripted:aligned", prompts=prompts, n=6, max_tokens=8)
    alone, both = plane.found.settings[:2]
    np.testing.assert_array_equal(both.n_prompt_tokens / both.n_outputs, 2 * alone.n_prompt_tokens / alone.n_outputs)
    assert (both.n_tokens % 2 == 0).all()
    assert both.n_tokens.mean() > 1.3 * alone.n_tokens.mean()  # the budget is one of text, the price of both models
