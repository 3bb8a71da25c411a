"""A stored run to look through: what is asked side by side, in which order samples stand, and how little is read."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from scripted_work import cell_of, fill, open_scripted, realistic_stats

from llama_diversity import embed
from llama_diversity.errors import StoreDamaged
from llama_diversity.metrics.clusters import threshold_classes
from llama_diversity.records import Piece, beside_dtype
from llama_diversity.store import Store
from llama_diversity.store.statistics import pack_statistics, surprisal_of
from llama_diversity.studies import meanings
from llama_diversity.studies.arms import Choice, resolve_choice
from llama_diversity.studies.arranging import ORDERS, Arranger, by_labels
from llama_diversity.studies.browsing import StoredRun
from llama_diversity.studies.conduct import conducted, run
from llama_diversity.studies.drawing import Drawing
from llama_diversity.studies.measuring.kinds import KIND_CUT
from llama_diversity.studies.perturb.study import Perturb
from llama_diversity.studies.semantic.study import Semantic
from llama_diversity.studies.session import Session
from llama_diversity.studies.viewed import Abreast, Alike, Text, Wish, begins_word, next_surprise, next_word


class Counting(Store):
    """A store that counts the samples that it reads: whole ones, from outside, and for their sums."""

    n_whole = n_glanced = n_summed = 0

    def sample(self, recipe_key, index):
        self.n_whole += 1
        return super().sample(recipe_key, index)

    def glances(self, recipe_key, indices, n_bytes):
        self.n_glanced += len(indices)
        return super().glances(recipe_key, indices, n_bytes)

    def sums(self, recipe_key, indices):
        self.n_summed += len(indices)
        return super().sums(recipe_key, indices)


def stop_never(share: float) -> None:
    """Nobody waits."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite"


@pytest.fixture
def pair(path: Path) -> Path:
    """A run of two arms that are asked two things: 40 samples and 3."""
    base, aligned = open_scripted("base"), open_scripted("aligned")
    with Store.open(path) as store:
        run_id = store.start_run(command=["llamadiv", "sample"], about={})
        for text, n in (("She was", 40), ("He was", 3)):
            for name, engine in (("base", base), ("aligned", aligned)):
                _drawn_into(store, engine, cell_of(engine, n, text=text, arm=f"semantic/{name}"), run_id)
    return path


def _drawn_into(store: Store, engine, cell, run_id: str) -> None:
    from llama_diversity.runner import run as draw

    for _ in draw(cell, engine, store, run_id):
        pass


def test_arms_of_one_prompt_stand_side_by_side(pair):
    with Store.open(pair, read_only=True) as store:
        found = StoredRun(store, "last")
        assert list(found.questions) == ["She was", "He was"]
        assert list(found.arms(0)) == list(found.arms(1)) == ["semantic/base", "semantic/aligned"]
        assert [found.n_rows(question, arm) for question in (0, 1) for arm in (0, 1)] == [40, 40, 3, 3]
        assert found.partner(0, 0, 7, 1) == 7
        text = found.text(0, 1, 7)
        assert (text.arm, text.model, text.heading) == ("semantic/aligned", "scripted:aligned", "sample 7")
        assert "".join(piece.bytes.decode() for piece in text.spelled)


def test_numbered_asks_are_one_arm(path):
    engine = open_scripted()
    with Store.open(path) as store:
        cells = [cell_of(engine, 1, text=f"She was {at}", arm=f"population/a #{at}") for at in range(30)]
        fill(store, engine, *cells)
        found = StoredRun(store, "last")
        assert [list(found.arms(at)) for at in range(len(found.questions))] == [["population/a"]]
        assert found.n_rows(0, 0) == 30
        assert found.text(0, 0, 17).prompt == engine.prompt("She was 17").rendered
        assert [row.row for row in found.listed(0, 0, [5, 3, 29])] == [5, 3, 29]


def test_only_what_is_shown_is_read(pair):
    with Counting.open(pair, read_only=True) as store:
        found = StoredRun(store, "last")
        assert (store.n_whole, store.n_glanced, store.n_summed) == (0, 0, 0)
        found.text(0, 0, 5)
        assert (store.n_whole, store.n_glanced, store.n_summed) == (1, 0, 0)
        assert len(found.listed(0, 0, range(10, 22))) == 12
        assert (store.n_whole, store.n_glanced, store.n_summed) == (1, 12, 12)


def test_what_a_list_says_is_what_the_samples_say(pair):
    with Store.open(pair, read_only=True) as store:
        found = StoredRun(store, "last")
        for row in found.listed(0, 0, range(40)):
            text = found.text(0, 0, row.row)
            assert (row.n_tokens, row.bits) == (len(text), pytest.approx(text.total_bits))


def test_beside_a_sample_stands_what_begins_most_like_it(pair):
    with Counting.open(pair, read_only=True) as store:
        found = StoredRun(store, "last")
        ids = [[found.text(0, arm, row).tokens["id"].tolist() for row in range(40)] for arm in (0, 1)]
        shares: list[float] = []
        arranger, best = Arranger(pair, found.run.id), set()
        for row in (0, 7, 39):
            own, other = arranger.alike(0, 0, int(found.rows(0, 0)[row]), shares.append)
            assert own == Alike(int(found.rows(0, 0)[row]), len(ids[0][row]))
            shared = [len(os.path.commonprefix([ids[0][row], theirs])) for theirs in ids[1]]
            assert (found.rows_of(0, 1, np.array([other.key])), other.n_shared) == (
                [shared.index(max(shared))],
                max(shared),
            )
            best.add(other.key)
        assert len(best) > 1
        assert shares[-1] == 1.0


@pytest.mark.parametrize("order", ["likelihood", "per token", "length"])
def test_an_order_is_the_order_of_what_the_list_says(pair, order):
    with Store.open(pair, read_only=True) as store:
        found = StoredRun(store, "last")
        rows = {row.row: row for row in found.listed(0, 0, range(40))}
        worth = {
            "likelihood": lambda row: row.bits,
            "per token": lambda row: row.bits_per_token,
            "length": lambda row: -row.n_tokens,
        }[order]
        arranger = Arranger(pair, found.run.id)
        shown = found.rows_of(0, 0, arranger.arrange(0, 0, Wish(order), stop_never))
        assert sorted(shown) == list(range(40))
        assert [worth(rows[at]) for at in shown] == pytest.approx(sorted(map(worth, rows.values())))
        backwards = arranger.arrange(0, 0, Wish(order, is_reversed=True), stop_never)
        assert found.rows_of(0, 0, backwards) == shown[::-1]


def test_an_order_is_read_once_and_read_on_when_a_run_grows(pair):
    shares: list[float] = []
    arranger = Arranger(pair, "last")
    arranger.arrange(0, 0, Wish("likelihood"), shares.append)
    assert shares
    shares.clear()
    arranger.arrange(0, 0, Wish("length"), shares.append)
    assert not shares
    with Store.open(pair) as store:
        engine = open_scripted("base")
        run_id = store.run("last").id
        _drawn_into(store, engine, cell_of(engine, 50, arm="semantic/base"), run_id)
    assert len(arranger.arrange(0, 0, Wish("length"), shares.append)) == 50
    assert shares == [1.0]


def test_words_are_found_in_any_case_across_tokens(pair):
    with Store.open(pair, read_only=True) as store:
        found = StoredRun(store, "last")
        texts = [text.decode() for _, text in found.texts(0, 0, stop_never)]
        words = texts[3][2:9].upper()
        shown = found.rows_of(0, 0, Arranger(pair, "last").arrange(0, 0, Wish(words=words), stop_never))
        assert shown == [at for at, text in enumerate(texts) if words.casefold() in text.casefold()]
        assert 3 in shown


def test_who_stops_an_order_gets_nothing_more(pair):
    class Stopped(Exception):
        pass

    def stop(share: float) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        Arranger(pair, "last").arrange(0, 0, Wish("likelihood"), stop)


def test_a_run_that_grows_is_seen_to(pair):
    with Store.open(pair, read_only=True) as looking:
        found = StoredRun(looking, "last")
        assert found.n_rows(0, 0) == 40
        assert not found.refresh()
        engine = open_scripted("base")
        with Store.open(pair) as store:
            _drawn_into(store, engine, cell_of(engine, 45, arm="semantic/base"), found.run.id)
        assert found.refresh()
        assert (found.n_rows(0, 0), found.n_rows(0, 1)) == (45, 40)
        assert found.partner(0, 0, 44, 1) is None


def test_damage_is_named(pair):
    with sqlite3.connect(pair) as connection:
        connection.execute("UPDATE samples SET statistics = x'0100' WHERE idx = 4")
    with Store.open(pair, read_only=True) as store:
        found = StoredRun(store, "last")
        found.text(0, 0, 3)
        with pytest.raises(StoreDamaged, match="sample 4 of recipe"):
            found.text(0, 0, 4)
        with pytest.raises(StoreDamaged, match="sample 4 of recipe"):
            found.listed(0, 0, range(10))
        with pytest.raises(StoreDamaged, match="sample 4 of recipe"):
            Arranger(pair, "last").arrange(0, 0, Wish("likelihood"), stop_never)


@pytest.mark.parametrize("n_tokens", [0, 1, 300])
@pytest.mark.parametrize("kind", ["neutral", "sampled", "mixed"])
def test_surprisal_alone_is_the_column_of_the_whole(kind, n_tokens):
    chance = np.random.default_rng(0)
    tokens = realistic_stats(n_tokens, chance, neutral=kind == "neutral")
    beside = np.zeros(n_tokens, beside_dtype(2)) if kind == "mixed" else None
    blob = pack_statistics(tokens, beside)
    assert surprisal_of(blob, n_tokens).tobytes() == np.ascontiguousarray(tokens["surprisal_bits"]).tobytes()
    for damaged in (blob[: len(blob) // 10], blob[:3] + b"\xff" * 9) if n_tokens else ():
        with pytest.raises(ValueError, match=r"not those of|cannot be decompressed"):
            surprisal_of(damaged, n_tokens)
    with pytest.raises(ValueError, match="begin with 9"):
        surprisal_of(b"\x09" + blob[1:], n_tokens)


# ---- meanings


@pytest.fixture
def studied(tmp_path: Path) -> Session:
    session = Session(tmp_path / "store.sqlite", offline=True)
    arms = resolve_choice(Choice(base="scripted:base", aligned="scripted:aligned"), session)
    run(Semantic(n=24, max_tokens=16), arms, drawing=Drawing(), session=session)
    return session


def test_kinds_and_map_are_those_of_the_report(studied):
    with Store.open(studied.store, read_only=True) as store:
        found = StoredRun(store, "last")
        place = embed.find()
        assert place is not None
        meant = meanings.by_meaning(found, 0, place, stop_never, has_map=True)
        texts = [list(found.answers(0, arm, 24)) for arm in (0, 1)]
        kept = [text for some in texts for text in some if text.strip()]
        expected = threshold_classes(np.asarray(embed.Encoder(place).embed(kept).vectors, np.float64), KIND_CUT)
        labels = np.concatenate([numbers for _, numbers in meant.labels])
        assert labels[labels >= 0].tolist() == expected.tolist()
        assert [len(spots) for _, spots in meant.places] == [sum(map(bool, map(str.strip, some))) for some in texts]


def test_another_process_finds_the_same(studied):
    with Store.open(studied.store, read_only=True) as store:
        found = StoredRun(store, "last")
        task = meanings.Task(studied.store, found.run.id, 0, "kind")
        shares: list[float] = []
        apart = meanings.apart(task, shares.append)
        here = meanings.meant(found, task, stop_never)
    assert apart.words == here.words
    assert [numbers.tolist() for _, numbers in apart.labels] == [numbers.tolist() for _, numbers in here.labels]
    assert shares == sorted(shares)
    assert shares


def test_without_an_encoder_the_same_text_is_one_kind(pair):
    with Store.open(pair, read_only=True) as store:
        found = StoredRun(store, "last")
        meant = meanings.by_text(found, 0, stop_never)
        labels = np.concatenate([numbers for _, numbers in meant.labels])
        texts = [text for arm in (0, 1) for _, text in found.texts(0, arm, stop_never)]
        assert len(set(labels.tolist())) == len(set(texts))
        assert "no sentence encoder" in meant.words
        assert not meant.places


def test_attractors_are_those_of_perturb(tmp_path):
    session = Session(tmp_path / "store.sqlite", offline=True)
    arms = resolve_choice(Choice(base="scripted:base", aligned="scripted:aligned"), session)
    study = Perturb(prompts=("She was",), n=48, n_openings=1, max_tokens=8)
    with conducted([study], arms, drawing=Drawing(), session=session) as (run_id, [drawn]):
        reported = study.show(drawn).found.arms["aligned"].returned
    with Store.open(session.store, read_only=True) as store:
        found = StoredRun(store, run_id)
        at = next(at for at in range(len(found.questions)) if found.arms(at)[0].endswith(", changed"))
        meant = meanings.by_attractor(found, at, session)
        [numbers] = [
            numbers
            for name, (_, numbers) in zip(found.arms(at), meant.labels, strict=True)
            if name.startswith("perturb/aligned")
        ]
    assert int((numbers >= 0).sum()) == reported.k


def test_a_run_without_attractors_says_so(studied):
    with Store.open(studied.store, read_only=True) as store, pytest.raises(meanings.NoAttractors):
        meanings.by_attractor(StoredRun(store, "last"), 0, studied)


def test_labels_stand_by_how_common_they_are():
    labels = np.array([4, -1, 2, 2, 4, 2, 0], np.int64)
    assert by_labels(labels).tolist() == [2, 3, 5, 0, 4, 6, 1]
    assert by_labels(np.full(3, -1, np.int64)).tolist() == [0, 1, 2]
    assert set(ORDERS) >= {"kind", "attractor"}


# ---- texts side by side


def text_of(*words: bytes, bits: float = 1.0) -> Text:
    names = {word: at for at, word in enumerate(dict.fromkeys(words))}
    tokens = realistic_stats(len(words), np.random.default_rng(0))
    tokens["id"] = [names[word] for word in words]
    tokens["surprisal_bits"] = bits
    return Text("arm", "model", tokens, {at: Piece(word) for word, at in names.items()}, "v")


def test_texts_part_at_the_first_token_that_differs():
    one, other = text_of(b"She", b" was", b" a"), text_of(b"She", b" was", b" not")
    assert Abreast([one, other]).parting == 2
    assert Abreast([one, one]).parting is None
    assert Abreast([one]).parting is None
    assert Abreast([one, text_of(b"She")]).parting == 1
    assert Abreast([one, Text.missing("b")]).parting is None
    abreast = Abreast([one, other])
    assert [abreast.same_context(0, at) for at in range(3)] == [[0, 1], [0, 1], [0, 1]]
    assert Abreast([text_of(b"x", b"y", b"z"), text_of(b"x", b"q", b"z")]).same_context(0, 2) == [0]


def test_words_begin_behind_blanks():
    spelled = [Piece(one) for one in (b"Gr", b"ace", b" Hop", b"per", b"\n", b"was", b",", b" ")]
    assert [at for at in range(len(spelled)) if begins_word(spelled, at)] == [0, 2, 5]
    text = text_of(b"Gr", b"ace", b" Hop", b"per", b" was")
    assert [next_word(text, at, 1) for at in range(5)] == [2, 2, 4, 4, 4]
    assert [next_word(text, at, -1) for at in range(5)] == [0, 0, 0, 2, 2]


def test_surprises_lie_at_or_above_the_threshold_either_way_of_zero():
    values = [np.nan, 8.0, 1.0, -9.0, 7.9]
    assert [next_surprise(values, at, 1, 8) for at in range(5)] == [1, 3, 3, None, None]
    assert [next_surprise(values, at, -1, 8) for at in range(5)] == [None, None, 1, 1, 3]
