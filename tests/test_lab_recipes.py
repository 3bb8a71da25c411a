"""The three siblings on a small world: from the stages of `lab align` to models that are measured alike."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("sentencepiece")

from small_world import CARD_BYTES, SMALL

from llama_diversity.engines import EngineOptions, open_engine
from llama_diversity.errors import BadValue
from llama_diversity.lab import align, base, dpo, recipes, workshop
from llama_diversity.lab.export import read_gguf
from llama_diversity.lab.ppo import Settings
from llama_diversity.lab.pretrain import Schedule
from llama_diversity.lab.recipes import FILES, Siblings
from llama_diversity.lab.workshop import Plan, Workshop, sha256_of
from llama_diversity.records import ModelRef

pytestmark = [pytest.mark.model, pytest.mark.usefixtures("few_cards")]

ALIGN = Plan(
    sft=Schedule(256 * 4 * 80, rows_a_step=4, muon_rate=0.01, adam_rate=0.003),
    n_preferences=200,
    n_held_out=60,
    ppo=Settings(n_iterations=2, n_answers=24, max_tokens=60),
)
QUICK = recipes.Plan(answers_a_kind=12, dpo=dpo.Settings(prompts_a_step=12, rate=1e-3))


@pytest.fixture(scope="module")
def folder(small_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the stages of `lab align` up to the reward model."""
    out = tmp_path_factory.mktemp("grown")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("llama_diversity.lab.corpus.CARD_BYTES", CARD_BYTES)
        base.grow(small_world, out, schedule=Schedule(256 * 4 * 150, rows_a_step=4), architecture=SMALL)
        shop = Workshop(small_world, out, ALIGN, device="cpu")
        align.fine_tune(shop)
        align.learn_reward(shop)
    return out


@pytest.fixture
def siblings(small_world: Path, folder: Path) -> Siblings:
    return Siblings(Workshop(small_world, folder, align.plan_of(folder), device="cpu"), QUICK)


def test_dpo_learns_from_exactly_the_pairs_of_the_reward_model(
    siblings: Siblings, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, _ = align.collected(siblings.shop)
    learned = align.ranked(siblings.shop, written)
    for one in learned:
        assert len({tuple(sequence[: one.n_prompt]) for sequence in one.sequences}) == 1
    shown: list[list[Any]] = []

    def optimise(sft: Any, rankings: list[Any], *rest: Any, **options: Any) -> Any:
        shown.append(rankings)
        return real(sft, rankings, *rest, **options)

    real = dpo.optimise
    monkeypatch.setattr(dpo, "optimise", optimise)
    about = siblings.prefer()
    assert shown == [learned]
    of_reward = align.about_reward(siblings.shop.out)
    assert {key: about[key] for key in ("n_preferences", "n_ties")}.items() <= of_reward.items()
    assert about["n_preferences"] + about["n_ties"] == 10 * 200
    assert about["log"][0]["loss_nats"] == pytest.approx(0.6931, abs=1e-3)
    assert about["implicit_reward"]["held_out"]["accuracy"] > 0.6
    moved = about["held_out_judgement"]
    assert moved["sft"]["kl_nats"] == 0
    assert moved["dpo"]["kl_nats"] > 5 * moved["dpo"]["kl_nats_se"] > 0
    assert moved["dpo"]["n"] == 60


def test_the_two_sets_differ_in_the_answers_alone(siblings: Siblings, folder: Path) -> None:
    sets, about = siblings.answer_sets()
    pool = {one.answer for one in siblings.shop.pool()}
    assert {one.answer for some in sets for one in some} <= pool
    made = {name: siblings.fine_tune(name) for name in ("narrow", "varied")}
    narrow, varied = (one["recipe"] for one in made.values())
    assert {key for key in narrow if narrow[key] != varied[key]} == {"stage", "answers_sha256"}
    of_sft = read_gguf(folder / workshop.SFT_FILE)[1]["recipe"]["schedule"]
    assert narrow["schedule"] == {**of_sft, "n_tokens": of_sft["n_tokens"] // 2}
    for name, provenance in made.items():
        assert provenance["answers"] == about[name]
        assert provenance["before"]["corpus_sha256"] == siblings.shop.corpus_digest
        bits = provenance["answers_bits_per_byte"]
        assert bits[f"sft-{name}"] < bits["base"]
        assert set(provenance["held_out_judgement"]) == {"sft", f"sft-{name}"}
    tokens = [sum(row["answer_tokens"] for row in about[name].values()) for name in about]
    assert abs(tokens[0] / tokens[1] - 1) <= 0.02


def test_no_stage_is_done_twice_and_a_new_recipe_is_done_anew(small_world: Path, folder: Path) -> None:
    shop = Workshop(small_world, folder, align.plan_of(folder), device="cpu")
    first = Siblings(shop, QUICK)
    made = [first.fine_tune("narrow"), first.fine_tune("varied"), first.prefer()]
    digests = {file: sha256_of(folder / file) for file in FILES.values()}
    again = Siblings(shop, QUICK)
    assert [again.fine_tune("narrow"), again.fine_tune("varied"), again.prefer()] == made
    assert "_sft_measured" not in vars(again)
    assert digests == {file: sha256_of(folder / file) for file in FILES.values()}
    tight = recipes.Plan(answers_a_kind=12, dpo=dpo.Settings(beta=20.0, prompts_a_step=12, rate=1e-3))
    other = Siblings(shop, tight).prefer()["held_out_judgement"]["dpo"]
    assert other["kl_nats"] < made[2]["held_out_judgement"]["dpo"]["kl_nats"]


def test_ppos_model_is_measured_once_beside_them(siblings: Siblings, folder: Path) -> None:
    assert siblings.aligned() is None
    (folder / workshop.ALIGNED_FILE).write_bytes((folder / workshop.EARLY_FILE).read_bytes())
    found = siblings.aligned()
    assert found is not None
    assert (found["n"], found["kl_nats"] > 0) == (60, True)
    again = Siblings(siblings.shop, QUICK)
    assert again.aligned() == found
    assert "sft" not in vars(again)  # nothing was loaded
    (folder / workshop.ALIGNED_FILE).write_bytes((folder / workshop.SFT_FILE).read_bytes())
    other = again.aligned()
    assert other is not None
    assert other["kl_nats"] == 0
    (folder / workshop.ALIGNED_FILE).unlink()


def test_a_folder_without_the_stages_is_refused(small_world: Path, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BadValue, match="`llamadiv lab align` makes one"):
        align.plan_of(tmp_path)
    for file in (base.MODEL_FILE, base.TOKENIZER_FILE):
        (tmp_path / file).write_bytes((folder / file).read_bytes())
    with pytest.raises(BadValue, match="there is no SFT model; `llamadiv lab align` makes one"):
        Siblings(Workshop(small_world, tmp_path, ALIGN, device="cpu"), QUICK)


def test_one_command_grows_the_three(
    run: Callable[..., tuple[int, str, str]], small_world: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipes, "Plan", lambda **options: recipes.dataclasses.replace(QUICK, **options))
    arguments = ("lab", "recipes", "--corpus", small_world, "--out", folder, "--device", "cpu")
    code, out, err = run(*arguments)
    assert code == 0, err
    lines = out.splitlines()
    assert lines[0].startswith("answers       60 narrow ones of ")
    assert lines[1] == "narrow / varied  cosine of two  different words  tokens of requests  in both"
    assert [line.split()[0] for line in lines[2:7]] == ["persona", "biography", "business", "story", "review"]
    assert {len(line.split(" / ")) for line in lines[2:7]} == {4}
    assert sum(line.startswith(("sft", "dpo")) for line in lines) == 4
    assert lines[-1].startswith("Compare: llamadiv compare --arm base=")
    for file in FILES.values():
        engine = open_engine(ModelRef(file, "llamacpp", str(folder / file), "digest"), EngineOptions())
        assert engine.facts.has_chat_template
        engine.close()
    (folder / workshop.ALIGNED_FILE).write_bytes((folder / workshop.SFT_FILE).read_bytes())
    code, out, err = run(*arguments, "--json", "-q")
    assert (code, err) == (0, "")
    report: dict[str, Any] = json.loads(out)
    assert 0.5 < report["reward_model_held_out_accuracy"] <= 1
    assert list(report["held_out_judgement"]) == ["sft", "sft-narrow", "sft-varied", "dpo", "aligned"]
    assert set(report["answers"]) == {"narrow", "varied"}
    code, _, err = run(*arguments, "--beta", 0)
    assert (code, "not in the range x>0" in err) == (2, True)
