"""The whole pipeline on a small world, from text files to an aligned model that llama.cpp loads."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("sentencepiece")

from small_world import SMALL

from llama_diversity.engines import EngineOptions, open_engine
from llama_diversity.errors import BadValue
from llama_diversity.lab import align, base, workshop
from llama_diversity.lab.export import read_gguf
from llama_diversity.lab.ppo import Settings
from llama_diversity.lab.pretrain import Schedule
from llama_diversity.lab.requests import Request
from llama_diversity.lab.reward import Ranking
from llama_diversity.lab.workshop import ALIGNED_FILE, EARLY_FILE, REWARD_FILE, SFT_FILE, Plan, Workshop
from llama_diversity.records import ModelRef

pytestmark = pytest.mark.usefixtures("few_cards")

QUICK = Plan(
    sft=Schedule(256 * 4 * 80, rows_a_step=4, muon_rate=0.01, adam_rate=0.003),
    n_preferences=200,
    n_held_out=60,
    ppo=Settings(n_iterations=14, n_answers=24, max_tokens=60, answers_a_step=12, rate=5e-4),
)


@pytest.fixture(scope="module")
def base_folder(small_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a grown base model."""
    out = tmp_path_factory.mktemp("grown")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("llama_diversity.lab.corpus.CARD_BYTES", 30_000)
        base.grow(small_world, out, schedule=Schedule(256 * 4 * 150, rows_a_step=4), architecture=SMALL)
    return out


@pytest.mark.model
def test_every_stage_is_written_better_than_the_one_before_and_not_done_twice(
    small_world: Path, base_folder: Path
) -> None:
    shop = Workshop(small_world, base_folder, QUICK, device="cpu")
    assert {d.request.kind for d in shop.shown} == {"persona", "biography", "business", "story", "review"}
    assert not {d.answer for d in shop.shown} & {d.answer for d in shop.unseen}
    align.fine_tune(shop)
    reward = align.learn_reward(shop)
    assert reward["n_preferences"] + reward["n_ties"] == 10 * 200  # all pairs of five answers
    assert reward["held_out_accuracy"] > 0.6
    about = align.reinforce(shop, reward)
    assert set(about["held_out_judgement"]) == {"sft", "aligned"}
    assert about["overoptimised"]["n"] == about["held_out_judgement"]["aligned"]["n"]
    assert all(one["answer"] and one["prompt"] for one in about["overoptimised"]["examples"][:1])
    rewards = [row["reward"] for row in about["log"]]
    # In standard deviations of the SFT model's answers, so a mean of 3 times 24 has one of 0.12; seen: 0.48.
    assert sum(rewards[-3:]) / 3 > 0.1
    assert [row["iteration"] for row in about["log"]] == list(range(14))

    stamps = {path.name: path.stat().st_mtime_ns for path in base_folder.iterdir()}
    assert {SFT_FILE, EARLY_FILE, REWARD_FILE, ALIGNED_FILE, workshop.PREFERENCES_FILE} <= {*stamps}
    align.fine_tune(shop)
    assert align.learn_reward(shop) == reward
    assert align.reinforce(shop, reward) == about
    assert stamps == {name: (base_folder / name).stat().st_mtime_ns for name in stamps}

    check_the_answers(shop, align.collected(shop)[0])

    provenance = read_gguf(base_folder / ALIGNED_FILE)[1]
    assert provenance["recipe"]["sft_sha256"] == workshop.sha256_of(base_folder / SFT_FILE)
    assert provenance["before"]["recipe"]["base_sha256"] == workshop.sha256_of(base_folder / base.MODEL_FILE)
    engine = open_engine(ModelRef("aligned", "llamacpp", str(base_folder / ALIGNED_FILE), "digest"), EngineOptions())
    try:
        prompt = engine.prompt("Who was Mary Paul?", chat=True)
        assert prompt.rendered.endswith("[INST] Who was Mary Paul? [/INST]")
        assert list(prompt.ids)[1:] == shop.tokenizer.encode("[INST] Who was Mary Paul? [/INST]")
    finally:
        engine.close()


def ask(text: str, kind: str = "story", *, is_chat: bool = True) -> Request:
    return Request(kind, text, "a dog", is_chat)


def test_answers_to_others_are_those_of_the_next_request_of_its_kind_and_of_the_next_of_any() -> None:
    asked = [
        ask("one"),
        ask("two", "review"),
        ask("three", is_chat=False),  # a story in another form
        ask("one"),  # the same words
        ask("four"),
        ask("five", "review"),
    ]
    assert align._others(asked, 0) == [4, 1]
    assert align._others(asked, 4) == [0, 5]
    assert align._others(asked, 5) == [1, 0]
    assert align._others(asked, 2) == [3, 4]  # no other story is one to be continued: the next two
    assert align._others(asked[:2], 0) == [1]
    assert align._others([ask("one"), ask("one")], 0) == []


def test_all_pairs_of_a_prompt_that_differ_enough_are_learned() -> None:
    """Scores 1, 3, 1.2, 2: of six pairs one lies within the margin of 0.25."""
    shop: Any = SimpleNamespace(ids=lambda request: [7, 8])
    sequences = [[1, 7, 8, n, 2] for n in range(10, 14)]
    written = [
        align.Written(ask("one"), sequences, [1.0, 3.0, 1.2, 2.0]),
        align.Written(ask("two"), sequences[:2], [1.0, 1.1]),
    ]
    (ranking,) = align.ranked(shop, written)
    assert ranking == Ranking(sequences, [(1, 0), (3, 0), (1, 2), (1, 3), (3, 2)], 3)
    assert align.counted(written, [ranking]) == {"n_preferences": 5, "n_ties": 2}
    assert align.ranked(shop, written, 2) == [Ranking(sequences[:2], [(1, 0)], 3)]


def check_the_answers(shop: Workshop, written: list[align.Written]) -> None:
    """Behind the two that were drawn: two that were drawn for others, and the first one cut short."""
    drawn = {tuple(one.sequences[0][1 + len(shop.ids(one.request)) :]) for one in written}
    for one in written:
        n_prompt = 1 + len(shop.ids(one.request))
        assert all(ids[:n_prompt] == [align.BOS, *shop.ids(one.request)] for ids in one.sequences)
        answers = [ids[n_prompt:] for ids in one.sequences]
        assert {tuple(answers[2]), tuple(answers[3])} <= drawn
        n_kept = len(answers[4]) - 2
        assert answers[4][:n_kept] == answers[0][:n_kept]
        assert n_kept <= len(answers[0]) / 2
        assert shop.tokenizer.decode(answers[4]).rstrip().endswith(".")
        scores = [
            shop.judge(one.request, ids, len(answer)).score for ids, answer in zip(one.sequences, answers, strict=True)
        ]
        assert scores == one.scores


def test_a_folder_without_a_base_model_is_refused(small_world: Path, tmp_path: Path) -> None:
    with pytest.raises(BadValue, match="`llamadiv lab base` grows it"):
        Workshop(small_world, tmp_path, QUICK)


@pytest.mark.model
def test_one_command_grows_the_pair(
    run: Callable[..., tuple[int, str, str]], small_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = dataclasses.replace(QUICK, sft=Schedule(256 * 8), n_preferences=60, n_held_out=20)
    settings = dataclasses.replace(QUICK.ppo, n_iterations=1)
    monkeypatch.setattr(base, "Architecture", lambda: SMALL)
    monkeypatch.setattr(align, "Plan", lambda **options: dataclasses.replace(quick, ppo=settings))
    code, out, err = run("lab", "grow", "--corpus", small_world, "--out", tmp_path, "--tokens", 256 * 8 * 20, "-q")
    assert (code, err) == (0, "")
    assert "held-out pairs" in out
    assert str(tmp_path / ALIGNED_FILE) in out
    arguments = ("lab", "align", "--corpus", small_world, "--out", tmp_path, "--json", "-q")
    code, out, _ = run(*arguments)
    assert set(json.loads(out)["held_out_judgement"]) == {"sft", "aligned"}
