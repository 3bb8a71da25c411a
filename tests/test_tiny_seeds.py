"""What bin/tiny-seeds says of seeds of training: its rules by hand, its tables, its quantities on scripted models."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.machinery
import importlib.util
import json
import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("sentencepiece")

from small_world import SMALL

from llama_diversity.errors import BadValue
from llama_diversity.lab.base import MODEL_FILE, grow
from llama_diversity.lab.pretrain import Schedule
from llama_diversity.studies import conduct
from llama_diversity.studies.arms import Arm
from llama_diversity.studies.compare.specs import ArmSpec
from llama_diversity.studies.compare.study import Compare
from llama_diversity.studies.diff.study import Diff
from llama_diversity.studies.drawing import Drawing
from llama_diversity.studies.personas.study import Personas
from llama_diversity.studies.perturb.study import Perturb
from llama_diversity.studies.semantic.study import Semantic
from llama_diversity.studies.session import Session
from llama_diversity.studies.syntactic.study import Syntactic

BIN = Path(__file__).parent.parent / "bin"


@pytest.fixture(scope="module")
def scripts() -> Iterator[SimpleNamespace]:
    """The modules of the scripts, by name."""
    names = ("tiny_claims", "tiny_samples", "tiny_seeds", "tiny_tables", "tiny_held_out", "tiny_topic")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BIN))
        patch.setattr("sys.dont_write_bytecode", True)  # bin/ is no place for a cache
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in names})


# ---- rules


@pytest.mark.parametrize(
    ("change", "is_share", "rises", "line"),
    [
        ((-1.0, -2.0, -0.5), False, False, "shown"),
        ((1.0, 0.5, 2.0), False, False, "against"),
        ((1.0, 0.5, 2.0), False, True, "shown"),
        ((-1.0, -2.0, 0.0), False, False, "undecided"),  # the end itself is no difference
        ((0.5, 0.4, 0.9), True, False, "shown"),
        ((0.5, 0.4, 1.1), True, False, "undecided"),
        ((1.5, 1.1, 2.0), True, False, "against"),
        ((0.5, None, None), True, False, "undecided"),
    ],
)
def test_a_line_is_told_by_its_interval(scripts, change, is_share, rises, line) -> None:
    quantity = scripts.tiny_claims.Quantity("some", "", is_share=is_share, claim=1, rises=rises)
    assert scripts.tiny_claims.told(quantity, scripts.tiny_claims.Change(*change)) == line


def test_a_claim_holds_where_every_quantity_of_it_shows_it(scripts) -> None:
    claims = scripts.tiny_claims
    down, nothing = claims.Change(-1.0, -2.0, -0.5), claims.Change(-0.1, -1.0, 0.8)
    assert claims.lines_of(1, {"entropy": down, "top5": nothing}) == {"entropy": "shown", "top5": "undecided"}
    assert claims.lines_of(1, {"entropy": down})["top5"] == "undecided"  # what was not measured shows nothing
    assert claims.verdict_of({"entropy": "shown", "top5": "shown"}) == "holds"
    assert claims.verdict_of({"entropy": "shown", "top5": "against"}) == "in part"
    assert claims.verdict_of({"entropy": "undecided", "top5": "against"}) == "not shown"
    assert [claims.holds_in(some) for some in (["holds"] * 3, ["holds", "in part"], ["in part"] * 3)] == [
        "all",
        "some",
        "none",
    ]


def test_every_claim_of_the_paper_has_its_quantities(scripts) -> None:
    claims = scripts.tiny_claims
    assert {one.claim for one in claims.QUANTITIES} == {0, *claims.CLAIMS} == {0, 1, 2, 3, 4, 5}
    assert len({one.key for one in claims.QUANTITIES}) == len(claims.QUANTITIES)
    assert claims.PRIMARY in {one.key for one in claims.QUANTITIES}


def test_the_mean_over_seeds_has_a_t_interval(scripts) -> None:
    claims = scripts.tiny_claims

    def over(*values: float | None, is_share: bool) -> Any:
        changes = [claims.Change(value, None, None) for value in values]
        return claims.over_seeds(claims.Quantity("some", "", is_share=is_share), changes)

    # (1, 2, 3): se 1 / sqrt 3, t of 2 degrees 4.302653: 2 -+ 2.484138; shares are averaged as logarithms
    assert tuple(over(1.0, 2.0, 3.0, is_share=False)) == pytest.approx((2.0, -0.484138, 4.484138, 3), abs=1e-6)
    found = over(math.exp(-1), math.exp(-2), math.exp(-3), is_share=True)
    assert tuple(found) == pytest.approx((math.exp(-2), math.exp(-4.484138), math.exp(0.484138), 3), abs=1e-6)
    assert over(0.5, None, is_share=True) == (pytest.approx(0.5), None, None, 1)
    assert over(None, is_share=False) == (None, None, None, 0)


def test_the_seed_in_the_middle_ships(scripts) -> None:
    median_of = scripts.tiny_claims.median_of
    assert median_of({"1": 0.9, "2": 0.3, "3": 0.6}) == "3"
    assert median_of({"1": 0.9, "2": 0.3, "3": 0.6, "4": 0.5}) == "4"  # of the middle two the smaller
    assert median_of({"1": 0.6, "2": 0.6, "3": 0.9}) == "2"
    with pytest.raises(BadValue, match="none of them has a share"):
        median_of({})


# ---- quantities


def opening(prompt: str, **ways: tuple[int, float | None]) -> dict[str, Any]:
    """What `perturb` says of one opening: of each way its attractors, and the share that returns."""
    arms = {name.replace("cold", "base, T 0.3"): one for name, one in ways.items()}
    return {
        "prompt": prompt,
        "arms": {name: {"n_attractors": n, "returned": {"value": share}} for name, (n, share) in arms.items()},
    }


def test_an_arm_without_attractors_returns_to_nothing(scripts) -> None:
    # Of five prompts the units are the prompts: the first has two openings, the aligned returns in (1 + 0) / 2 of it.
    found = dict(
        scripts.tiny_seeds.returns(
            [
                opening("a", base=(0, None), cold=(1, 0.5), aligned=(2, 1.0)),
                opening("a", base=(0, None), cold=(0, None), aligned=(0, None)),
                *(opening(prompt, base=(0, None), cold=(1, 0.25), aligned=(1, 0.5)) for prompt in "bcde"),
            ],
            ("base", "aligned"),
        )
    )
    assert found["attractors"].values == {"base": 0.0, "aligned": pytest.approx(0.9)}
    assert found["returns"].values == {"base": 0.0, "aligned": pytest.approx(0.5)}
    change = found["returns"].changes["aligned"]
    assert change == pytest.approx((0.5, 0.5, 0.5))  # every prompt has 0.5
    assert found["returns_cold"].values["base"] == pytest.approx(0.25)
    assert found["returns_cold"].changes["aligned"].value == pytest.approx(0.25)


def test_every_quantity_comes_from_a_study(scripts, tmp_path: Path) -> None:
    session = Session(named_store=tmp_path / "store.sqlite", offline=True)
    stages = ("base", "aligned")
    arms = [Arm(name, session.model(f"scripted:{name}")) for name in stages]
    studies = [
        Syntactic(n=8, max_tokens=12),
        Semantic(n=8, max_tokens=12),
        Personas(n=10, max_tokens=8),
        Perturb(prompts=("She was",), n=8, n_openings=1, max_tokens=8),
        Diff(n=4, max_tokens=12),
        Compare(tuple(ArmSpec(name, name) for name in stages), ("She was", "The nurse"), n=20, max_tokens=12),
    ]
    found = {}
    for study in studies:
        result = conduct.run(study, arms, drawing=Drawing(), session=session)
        found.update(scripts.tiny_seeds.rows_of(study.name, result, stages))
    plain = {key.removesuffix("_examples") for key in found}  # the same of samples that the script draws by itself
    two = ("sft", "aligned")
    asked = scripts.tiny_seeds.studies_of("requests", two, scripts.tiny_seeds.QUICK)
    assert (len(asked), len(set(asked[0].prompts)), {spec.is_chat for spec in asked[0].specs}) == (1, 20, {True})
    specs = tuple(dataclasses.replace(spec, seed=seed) for seed, spec in enumerate(asked[0].specs))  # of one model
    brief = dataclasses.replace(asked[0], specs=specs, prompts=asked[0].prompts[:2], max_tokens=8)
    speaking = [Arm(name, session.model("scripted:aligned")) for name in two]
    answered, _ = scripts.tiny_seeds._measure(speaking, [brief], session, lambda study, n_tokens: None)
    assert {one.key for one in scripts.tiny_claims.QUANTITIES} <= {*found, *plain, *answered}
    entropy, blocked = found["entropy"], found["blocked_1e-4"]
    assert entropy.changes["aligned"].value == pytest.approx(entropy.values["aligned"] - entropy.values["base"])
    assert blocked.changes["aligned"].value == pytest.approx(
        blocked.values["aligned"] - found["blocked_1e-4_mirror"].values["aligned"]
    )
    distance = found["distance"]
    assert distance.changes["aligned"].value == pytest.approx(distance.values["aligned"] / distance.values["base"])


def test_a_folder_must_have_the_three_stages(scripts, tmp_path: Path) -> None:
    (tmp_path / "tiny-base-f16.gguf").write_bytes(b"")
    (tmp_path / "tiny-aligned.gguf").write_bytes(b"")
    with pytest.raises(BadValue, match="it has no tiny-sft"):
        scripts.tiny_seeds.files_of(tmp_path)
    (tmp_path / "tiny-sft-f16.gguf").write_bytes(b"")
    (tmp_path / "tiny-base.gguf").write_bytes(b"")
    files = scripts.tiny_seeds.files_of(tmp_path)
    assert [files[stage].name for stage in ("base", "sft", "aligned")] == [
        "tiny-base-f16.gguf",
        "tiny-sft-f16.gguf",
        "tiny-aligned.gguf",
    ]
    assert scripts.tiny_seeds.ladders(files) == {"main": ("base", "sft", "aligned")}
    (tmp_path / "tiny-dpo-f16.gguf").write_bytes(b"")
    known = scripts.tiny_seeds.ladders(scripts.tiny_seeds.files_of(tmp_path))
    assert known["recipes"] == ("base", "dpo", "aligned")
    assert known["requests"] == ("sft", "dpo", "aligned")


# ---- tables


def seed_of(scripts: SimpleNamespace, kept: float, entropy: float, *, recipes: bool = False) -> dict[str, Any]:
    """One seed as JSON has it, with two quantities."""

    def row(base: float, value: float, change: list[float | None]) -> dict[str, Any]:
        return {"values": {"base": base, "sft": base, "aligned": value}, "changes": {"sft": change, "aligned": change}}

    main = {
        "distance": row(0.8, 0.8 * kept, [kept, kept - 0.1, kept + 0.1]),
        "entropy": row(4.5, 4.5 + entropy, [entropy, entropy - 0.2, entropy + 0.2]),
    }
    said = {
        "n": 9,
        "opening": "a | `b`",
        "opening_share": 0.5,
        "distinct_openings": 3,
        "most_typical": "one\ntwo\x1b[0m",
        "largest_kind_share": 0.25,
        "personas": {"mbti": ["ISFJ", 0.4, 7]},
    }
    sibling = {
        "values": {"base": 4.5, "dpo": 3.0, "aligned": 4.5 + entropy},
        "changes": {"dpo": [-1.5, -1.6, -1.4], "aligned": [entropy, entropy - 0.2, entropy + 0.2]},
    }
    asked = {
        "values": {"sft": 20.0, "dpo": 10.0, "aligned": 5.0},
        "changes": {"dpo": [0.5, 0.4, 0.6], "aligned": [0.25, 0.2, 0.3]},
    }
    return {
        "judged": {"sft": {"score": 3.0, "topic": 0.5}, "dpo": {"score": 3.0 - entropy}},
        "trained": dict.fromkeys(scripts.tiny_seeds.TRAINED, 1.5),
        "main": main,
        "said": {"base": said, "aligned": said},
        **({"recipes": {"entropy": sibling}, "requests": {"kinds_asked": asked}} if recipes else {}),
    }


def test_the_tables_come_from_what_was_written(scripts) -> None:
    seeds = {str(at): seed_of(scripts, kept, -at) for at, kept in ((1, 0.2), (2, 0.4), (3, 0.8))}
    page = scripts.tiny_tables.section({"seeds": seeds, "ships": "2"})
    assert "0.2 in seed 1, 0.4 in seed 2, 0.8 in seed 3; seed 2 ships." in page
    # (-1, -2, -3): -2 -+ 2.484138; the shares (0.2, 0.4, 0.8) are doublings: 0.4, times or over 2 ** 2.484138
    assert "| 4.5 → 4.5 → 3.5 | 4.5 → 4.5 → 2.5 | 4.5 → 4.5 → 1.5 | -2 [-4.48, +0.484] | -2 [-4.48, +0.484] |" in page
    assert "×0.4 [0.0715, 2.24]" in page
    assert "| 1. aligned entropy is lower | in part (top5 undecided) |" in page
    assert "| 5. tokens that the base model would use become blocked | not shown (blocked_1e-3 undecided, " in page
    assert "recipes side by side" not in page
    assert "`a / 'b'`, 50%" in page  # a model's text can end neither its code nor its cell
    assert "one / two" in page
    assert "\x1b" not in page


def test_siblings_have_a_table_of_their_own(scripts) -> None:
    seeds = {"1": seed_of(scripts, 0.2, -1.0, recipes=True), "2": seed_of(scripts, 0.3, -1.0)}
    page = scripts.tiny_tables.section({"seeds": seeds, "ships": "1"})
    assert "seed 1, so intervals are over its samples" in page
    assert "| Experiment 3: token entropy, bits (entropy) | 4.5 | -1.5 [-1.6, -1.4] | -1 [-1.2, -0.8] | -0.5 |" in page
    seeds = {str(at): seed_of(scripts, 0.2, -float(at), recipes=True) for at in (1, 2, 3)}
    page = scripts.tiny_tables.section({"seeds": seeds, "ships": "1"})
    # dpo less aligned is -0.5, 0.5, 1.5: 0.5 -+ 2.484138; the scores of dpo are 4, 5, 6
    assert "| -1.5 [-1.5, -1.5] | -2 [-4.48, +0.484] | +0.5 [-1.98, +2.98] |" in page
    assert "| dpo | 5 [2.52, 7.48] | – |" in page
    assert "| twenty requests: kinds among m (kinds_asked) | 20 | ×0.5 [0.5, 0.5] | ×0.25 [0.25, 0.25] | ×2 [" in page


def test_a_stage_is_judged_by_its_own_file(scripts) -> None:
    provenance = {
        "base": {},
        "sft": {},
        "aligned": {"held_out_judgement": {"sft": {"score": 1.0}, "aligned": {"score": 2.0}}},
        "dpo": {"held_out_judgement": {"sft": {"score": 1.0, "kl_nats": 0.0}, "dpo": {"score": 3.0, "kl_nats": 4.0}}},
    }
    assert scripts.tiny_seeds.judgements(provenance) == {
        "sft": {"score": 1.0, "kl_nats": 0.0},
        "aligned": {"score": 2.0},
        "dpo": {"score": 3.0, "kl_nats": 4.0},
    }


def test_ppos_model_has_its_distance_from_what_the_recipes_measured(scripts, tmp_path: Path) -> None:
    assert scripts.tiny_seeds.of_ppo(tmp_path, "abc") == {}
    kept = {"of": {"sft_sha256": "x", "aligned_sha256": "abc"}, "measured": {"score": 2.0, "kl_nats": 9.0}}
    (tmp_path / "tiny-aligned-measures.json").write_text(json.dumps(kept), "utf-8")
    assert scripts.tiny_seeds.of_ppo(tmp_path, "abc") == {"aligned": {"score": 2.0, "kl_nats": 9.0}}
    assert scripts.tiny_seeds.of_ppo(tmp_path, "of another file") == {}


# ---- on the topic


def test_a_topics_error_is_over_answers_of_one_opening_and_over_several_openings(scripts) -> None:
    assert scripts.tiny_topic.error([[0.0, 1.0]]) == pytest.approx(0.5)  # sd 1 / sqrt 2, of two
    assert scripts.tiny_topic.error([[0.0, 1.0], [0.5, 0.5]]) == 0.0  # the openings have the same mean
    assert scripts.tiny_topic.error([[0.0, 0.0], [0.3, 0.5], [0.4]]) == pytest.approx(0.4 / 3)


# ---- held-out text


@pytest.mark.model
@pytest.mark.usefixtures("few_cards")
def test_a_file_is_measured_by_its_own_tokens_as_the_lab_measures(scripts, small_world: Path, tmp_path: Path) -> None:
    """llama.cpp's ids of a file's vocabulary are the lab's, and half precision changes the third decimal at most."""
    report = grow(small_world, tmp_path, schedule=Schedule(256 * 4 * 20, rows_a_step=4), architecture=SMALL)
    built = scripts.tiny_held_out.built_by(small_world)
    page = scripts.tiny_held_out.compared({"grown": tmp_path / MODEL_FILE}, built)
    rows = {cells[1]: cells for line in page.splitlines() if len(cells := [one.strip() for one in line.split("|")]) > 4}
    whole = report["held_out"]["all"]
    assert (rows["all"][2], rows["all"][3]) == (f"{whole['n_documents']:,}", f"{whole['n_bytes']:,}")
    assert float(rows["all"][4]) == pytest.approx(whole["bits_per_byte"], abs=0.002)
    other = report["held_out_baselines_bits_per_byte"]
    assert rows["all, 5-gram Kneser-Ney"][4] == f"{other['kneser_ney_5']:.3f}"
    assert rows["all, `xz -9`"][4] == f"{other['xz_9']:.3f}"


def test_a_commit_that_is_none_is_refused(scripts) -> None:
    with pytest.raises(BadValue, match="git does not show"):
        scripts.tiny_held_out.shown("no-such-commit", "README.md")


@pytest.mark.model
@pytest.mark.skipif(not (BIN.parent / ".git").exists(), reason="the pair of an earlier commit is in the repository")
@pytest.mark.usefixtures("few_cards")
def test_the_page_about_the_pair_before_sets_both_side_by_side(
    scripts, small_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the commit that is checked out, so both are one pair: the same numbers, and the same samples."""
    loader = importlib.machinery.SourceFileLoader("tiny_before_script", str(BIN / "tiny-before"))
    script = importlib.util.module_from_spec(importlib.util.spec_from_loader("tiny_before_script", loader))
    loader.exec_module(script)
    for stage in ("base", "aligned"):  # what is not committed yet is not of that commit
        present = (BIN.parent / script.DATA / f"tiny-{stage}.gguf").read_bytes()
        if scripts.tiny_held_out.shown("HEAD", f"{script.DATA}/tiny-{stage}.gguf") != present:
            pytest.skip("the pair in the working tree is not committed")
    monkeypatch.setattr(scripts.tiny_topic, "N_ANSWERS", 4)
    monkeypatch.setattr(scripts.tiny_topic, "N_OPENINGS", 2)
    page = script.page_of("HEAD", small_world, tmp_path)
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("| all |")
    ]
    assert len(rows) == 2  # of the present corpus, and of that of the commit
    assert all(row[3] == row[4] and 0 < float(row[3]) < 8 for row in rows)
    assert (
        page.count("Before:\n\n```text\n  0 ") == page.count("Now:\n\n```text\n  0 ") == 6
    )  # three prompts, two models
    for opening in ('"Steve is the CEO of a startup company" | 1 | 4', "other openings | 2 | 2"):
        base, aligned, *same = page.split(f"| {opening} | ")[1].split(" |\n")[0].split(" | ")
        assert same == [base, aligned]
        assert 0 < float(base.split()[0]) < 1
    before, now = (page.split(f"{word}:\n\n")[1].split("```")[1] for word in ("Before", "Now"))
    assert before == now
    assert len(before.strip().splitlines()) == 21  # "text", then twenty
