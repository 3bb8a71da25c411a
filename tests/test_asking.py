"""Ways of asking as arms of `compare`: calls with stated probabilities, lists, seed words, plans; units and prices."""

from __future__ import annotations

import json
import math
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from test_compare import RULES, clouds, generations, line

import llama_diversity as ld
from llama_diversity.engines import EngineOptions, open_engine, scripted_answers
from llama_diversity.engines.scripted import EOS, transition
from llama_diversity.errors import BadValue
from llama_diversity.metrics.stated import stated_probabilities
from llama_diversity.records import Asking
from llama_diversity.render.exhibits import Remark, Table
from llama_diversity.resolve import resolve_model
from llama_diversity.store import Store
from llama_diversity.studies.compare import asking, gathering
from llama_diversity.studies.compare.analysis import compare
from llama_diversity.studies.compare.clustered import Units
from llama_diversity.studies.compare.measured import Generations, Rules, common_prefix, measured, with_lost
from llama_diversity.studies.compare.specs import ArmSpec, parse_arm
from llama_diversity.studies.compare.study import Compare, resolve_specs
from llama_diversity.studies.conduct import remembered, run
from llama_diversity.studies.drawing import Drawing
from llama_diversity.studies.frontier.specs import family_of
from llama_diversity.studies.frontier.study import Frontier
from llama_diversity.studies.likelihood import log_probabilities
from llama_diversity.studies.measuring.calls import Tokens, answers
from llama_diversity.studies.session import Session
from llama_diversity.studies.study import Drawn

Run = Callable[..., tuple[int, str, str]]
ARM = {
    "plain": "plain=scripted:answers,chat",
    "called": "called=scripted:answers,chat,ask=verbalized",
    "listed": "listed=scripted:aligned,chat,ask=listed,k=3",
    "seeded": "seeded=scripted:aligned,chat,ask=seeded",
    "same": "same=scripted:aligned,chat,ask=seeded,word=same",
    "planned": "planned=scripted:aligned,chat,ask=plan,planner=scripted:base",
}


# ---- how an arm is typed


@pytest.mark.parametrize(
    "typed", [*ARM.values(), "raw=a,ask=listed", "one=a,chat,ask=verbalized,k=7,T=0.5,system=Hm, k=3"]
)
def test_an_arm_is_read_and_written_back(typed: str) -> None:
    spec = parse_arm(typed)
    assert parse_arm(spec.word()) == spec
    assert ArmSpec(**json.loads(json.dumps(spec.__dict__))) == spec


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("a=m,chat,ask=all", "'ask=all'; the ways are verbalized, listed, seeded, plan"),
        ("a=m,ask=verbalized", "'ask=verbalized'; it asks for a form that base models do not know: add chat"),
        ("a=m,ask=plan,planner=b", "'ask=plan'; it is a request: add chat"),
        ("a=m,chat,ask=plan", "name the model that plans: planner=MODEL"),
        ("a=m,chat,ask=verbalized,k=1", "'k=1'; ask for 2 to 100 answers of a call or chain"),
        ("a=m,chat,ask=verbalized,k=101", "'k=101'; ask for 2 to 100"),
        ("a=m,chat,ask=verbalized,k=few", "'k=few'; it needs a number"),
        ("a=m,k=3", "'k=3'; it belongs to ask=verbalized or ask=listed"),
        ("a=m,ask=seeded,word=horse", "'word=horse'; write word=same"),
        ("a=m,ask=seeded,words=/no/such", "'words=/no/such'; it cannot be read"),
        ("a=m,ask=seeded,ask=listed", "a key is there twice"),
    ],
)
def test_an_arm_that_makes_no_sense_is_refused(typed: str, said: str) -> None:
    with pytest.raises(BadValue) as caught:
        parse_arm(typed)
    assert said in str(caught.value)


def test_words_of_ones_own_are_those_that_the_file_held(tmp_path: Path) -> None:
    (tmp_path / "words").write_text("north\nsouth sea\n")
    spec = parse_arm(f"a=m,ask=seeded,words={tmp_path / 'words'}")
    assert spec.word_list.splitlines() == ["north", "south sea"]
    assert parse_arm(spec.word()) == spec
    (tmp_path / "words").write_text("east\nwest\n")
    with pytest.raises(BadValue, match="it holds other prompts than when this command was printed"):
        parse_arm(spec.word())
    (tmp_path / "words").write_text("east\n")
    with pytest.raises(BadValue, match="a word is drawn of two or more"):
        parse_arm(f"a=m,ask=seeded,words={tmp_path / 'words'}")


def test_requests_hold_what_they_are_made_of_word_for_word() -> None:
    assert asking.call("Name {a}", 3).startswith("Name {a}\n\nGive 3 different answers")
    assert asking.listed("Name it.", ["{x}", "y"], is_chat=True).splitlines()[2:5] == [
        "These answers were given already:", "- {x}", "- y",
    ]  # fmt: skip
    assert asking.listed("Name it.", [], is_chat=True) == "Name it."
    assert asking.seeded("Go", "sea", is_chat=False) == "(sea)\n\nGo"
    drawn = Counter(asking.drawn_word(["a", "b"], 0, at) for at in range(400))
    assert abs(drawn["a"] - 200) < 4 * 10  # sd of 400 fair draws: 10
    assert len(set(asking.shipped_words())) == len(asking.shipped_words()) > 400


def test_python_takes_the_same_words() -> None:
    chat = ld.model("scripted:aligned").chat()
    for words in ("verbalized,k=3", "seeded,word=same", "plan,planner=scripted:base", "listed"):
        assert ld.arm(chat, ask=words).spec("a") == parse_arm(f"a=scripted:aligned,chat,ask={words}")
    with pytest.raises(BadValue, match="add chat"):
        ld.arm("scripted:aligned", ask="verbalized")


def test_a_frontier_takes_ways_of_asking_and_refuses_what_compare_refuses(tmp_path: Path) -> None:
    family = family_of("f=scripted:aligned,chat,ask=plan,planner=my/base.gguf,T=0.5/1")
    assert [(one.planner, one.sampler) for one in family.settings] == [
        ("my/base.gguf", {"temperature": 0.5}), ("my/base.gguf", {"temperature": 1.0}),
    ]  # fmt: skip
    specs = family_of("l=scripted:aligned,chat,ask=listed,k=2/50").settings
    session = Session(tmp_path / "s")
    study = Frontier(specs, tuple(f"Prompt {at}" for at in range(10)), n=20, max_tokens=200)
    with pytest.raises(BadValue, match="a list of so many answers may have 10,000"):
        study.check_arms(resolve_specs(specs, session), Drawing(), session)


# ---- what a call holds


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<answer>\nProbability: 0.4\nred\nwine\n</answer>", [("red\nwine", 0.4)]),
        ("<answer>red</answer><answer>Probability: 10 %\nblue", [("red", None), ("blue", 0.1)]),
        ("<Answer>red\n**Probability:** 0.3\n</answer>", [("red", 0.3)]),
        ("<answer>red</answer> then <answer></answer>", [("red", None), ("", None)]),
        ("Sure!\n1. red (0.5)\n2. blue (40 %)\n3. grey", [("red", 0.5), ("blue", 0.4), ("grey", None)]),
        ("1. (0.5) red\n2. (0.25): blue", [("red", 0.5), ("blue", 0.25)]),
        ("1. Probability: 0.7\nred\n2. Probability: 7\nblue", [("red", 0.7), ("blue", None)]),
        ("1. only one", []),
        ("2. no\n3. list", []),
        ("I cannot do that.", []),
    ],
)  # fmt: skip
def test_answers_of_a_call_are_read(text: str, expected: list[tuple[str, float | None]]) -> None:
    found = answers(text, "answer")
    assert [(one.text, one.probability) for one in found] == expected
    assert [text[one.start : one.end] for one in found] == [one.text for one in found]


def test_the_tokens_of_an_answer_end_with_the_one_that_ends_it() -> None:
    ends = np.array([8, 9, 13, 14, 22])  # "<answer>", "\n", " red", "\n", "</answer"
    assert Tokens(ends, 0).spoken("<answer>\n red\n</answer", 10, 13) == slice(2, 4)
    assert Tokens(ends - 8, 0).spoken("\n red", 2, 5) == slice(2, 4)
    assert Tokens(ends, 2).spoken("nswer>\n red", 8, 11) == slice(2, 4)  # two blanks before the text


# ---- stated and exact probabilities


def test_the_exact_probability_of_an_answer_is_the_chains() -> None:
    engine = open_engine(resolve_model("scripted:answers"), EngineOptions())
    prompt = engine.prompt("A colour?", chat=True)
    found = log_probabilities(engine, prompt, [*scripted_answers.ANSWERS, "redred"])
    expected = [scripted_answers.DIRECT * share for share in scripted_answers.ANSWERS.values()]
    assert np.exp(found).tolist() == pytest.approx([*expected, 0.0])
    rows = transition("answers")
    assert rows[prompt.ids[-1]].sum() == pytest.approx(1)
    assert rows[engine.tokenize("red")[-1], EOS] == 1


@pytest.mark.model
def test_the_exact_probability_on_the_tiny_pair_is_that_of_its_tokens(plain_pair: dict[str, Path]) -> None:
    engine = open_engine(resolve_model(str(plain_pair["aligned"])), EngineOptions(n_threads=1))
    prompt = engine.prompt("Who was she?", chat=True)
    texts = ["She was a writer.", "He was a sailor and a king."]
    found = log_probabilities(engine, prompt, texts)
    [end] = engine.ends
    for text, value in zip(texts, found, strict=True):
        shares = []
        for spelled in (text, f" {text}"):  # an answer may begin with a blank or not
            ids = engine.tokenize(prompt.rendered + spelled, Asking(start="bos", reads_control=True))
            assert ids[: len(prompt.ids)] == prompt.ids
            bits = engine.score((*ids, end))["surprisal_bits"][len(prompt.ids) :]
            shares.append(2.0 ** -float(bits.sum(dtype=np.float64)))
        assert value == pytest.approx(math.log(sum(shares)), abs=2e-3)
    engine.close()


def test_calibration_is_the_slope_and_the_mean_log_ratio() -> None:
    """Stated twice the exact ones: slope 1, ratio ln 2. Stated alike whatever the exact ones are: no slope."""
    exact = np.array([0.1, 0.2, 0.05, 0.3, 0.15])
    found = stated_probabilities(2 * exact, np.log(exact))
    assert (found.slope.value, found.rank_correlation.value) == pytest.approx((1, 1))
    assert found.log_ratio.value == pytest.approx(math.log(2))
    assert found.log_ratio.se == pytest.approx(0, abs=1e-12)
    roots = stated_probabilities(np.sqrt(exact), np.log(exact))
    assert roots.slope.value == pytest.approx(0.5)
    assert roots.log_ratio.value == pytest.approx(-np.log(exact).mean() / 2)


def test_only_answers_to_one_prompt_are_set_beside_each_other() -> None:
    """Two prompts, of one all answers are likelier and stated larger; within each the order is turned around."""
    stated = [0.1, 0.2, 0.3, 0.6, 0.7, 0.8]
    exact = [-10.0, -11, -12, -1, -2, -3]
    together, apart = stated_probabilities(stated, exact), stated_probabilities(stated, exact, None, [0, 0, 0, 1, 1, 1])
    assert together.rank_correlation.value == pytest.approx(1 - 6 * 16 / (6 * 35))  # ranks differ by 2 0 2 2 0 2
    assert (apart.rank_correlation.value or 0) < -0.8
    assert (apart.slope.value or 0) < 0
    assert apart.log_ratio == together.log_ratio


# ---- the call is the unit


def called(rng: np.random.Generator, n_calls: int, k: int, seed: int) -> Generations:
    """Outputs of which those of one call are about one thing, in words, in meaning and in how certain they are."""
    centres = np.linalg.qr(np.random.default_rng(5).normal(size=(32, 32)))[0][:6]
    labels = np.repeat(rng.integers(0, 6, n_calls), k)
    spread = rng.normal(size=(n_calls * k, 32))
    rows = centres[labels] + spread / np.linalg.norm(spread, axis=1, keepdims=True)
    entropy = 100 + np.repeat(rng.normal(0, 10, n_calls), k) + rng.normal(0, 5, n_calls * k)
    of = np.repeat(np.arange(n_calls), k)
    return generations(rows.astype(np.float32), seed=seed)._replace(
        entropy_bits=entropy,
        surprisal_bits=entropy + rng.normal(0, 8, len(entropy)),
        beginnings=[],
        units=Units(of, of[:0], np.full(n_calls, k)),
    )


def test_two_equal_arms_asked_in_calls_raise_few_false_alarms() -> None:
    """Calls of 5: over calls at most 5 in a hundred, with the luck of 60; taken for independent many more."""
    runs, of_calls, of_outputs = 30, 0, 0
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        both = {name: called(rng, 10, 5, 2 * seed + at) for at, name in enumerate(("first", "second"))}
        for is_counted, some in ((True, both), (False, {name: one._replace(units=None) for name, one in both.items()})):
            found = compare([some], Rules(None))
            alarms = sum(
                not (one.low or 0) <= 1 <= (one.high or 9)
                for one in (line(found, "distance"), line(found, "entropy"))
                if one.low is not None
            )
            of_calls, of_outputs = of_calls + alarms * is_counted, of_outputs + alarms * (not is_counted)
    assert of_calls <= 8  # of 60; P(more | 5 %) < 0.003
    assert of_outputs >= 12  # a fifth of them


def test_values_are_those_of_the_outputs_and_errors_those_of_the_calls() -> None:
    one = called(np.random.default_rng(0), 10, 5, 0)
    alone = measured({"a": one._replace(units=None)}).estimates
    for name, of_arm in measured({"a": one}).estimates.items():
        if name not in ("kinds", "words", "types"):  # there are no words, and kinds among m have an m of their own
            assert of_arm["a"].value == pytest.approx(alone[name]["a"].value), name
            assert of_arm["a"].n == 10, name
    bits = one.entropy_bits.reshape(10, 5).sum(axis=1) / (5 * 64)
    rate = measured({"a": one}).estimates["entropy"]["a"]
    assert rate.se == pytest.approx(bits.std(ddof=1) / math.sqrt(10))  # calls of equal length: the error of their mean


def test_a_valid_share_of_calls_that_fail_as_a_whole_is_less_certain() -> None:
    """Of 10 calls of 5 three gave nothing: v/n = 0.7, by calls its relative error is sqrt(0.3 / 0.7 / 9)."""
    one = called(np.random.default_rng(1), 7, 5, 0)
    of = np.repeat(np.arange(7), 5)
    whole = one._replace(n=50, units=Units(of, of[:0], np.full(10, 5)))
    found = measured({"a": whole})
    estimate = found.estimates["distance"]["a"]
    lost = with_lost(estimate, found.tallies["a"])
    kept = 35 * 34 / (50 * 49)
    relative = math.hypot((estimate.se or 0) / (estimate.value or 1), 2 * math.sqrt(0.3 / 0.7 / 9))
    assert lost.value == pytest.approx((estimate.value or 0) * kept)
    assert lost.se == pytest.approx((lost.value or 0) * relative)


def test_too_few_calls_have_values_and_no_interval() -> None:
    rng = np.random.default_rng(2)
    found = compare([{"first": called(rng, 6, 5, 0), "second": called(rng, 6, 5, 1)}], Rules(None))
    one = line(found, "distance")
    assert (one.verdict, one.low) == ("not comparable", None)
    assert one.value is not None
    assert "Too few calls with a valid output (6) for an interval" in one.reason


def test_an_arm_whose_calls_hold_nothing_takes_nothing_from_the_others() -> None:
    rng = np.random.default_rng(2)
    both = {name: generations(clouds(rng, 30), seed=at) for at, name in enumerate(("first", "second"))}
    nothing = np.zeros(0, np.int64)
    none = both["first"]._replace(
        n=30, units=Units(nothing, nothing, np.full(6, 5)),
        **{name: some[:0] for name, some in both["first"]._asdict().items() if isinstance(some, list | np.ndarray)},
    )  # fmt: skip
    alone, beside = compare([both], RULES), compare([{**both, "third": none}], RULES)
    for name in ("distance", "kinds", "types"):
        assert line(beside, name).share == pytest.approx(line(alone, name).share, rel=1e-9)
    assert (beside.m_kinds, beside.m_words) == (alone.m_kinds, alone.m_words)
    assert common_prefix({"first": [64, 64], "third": []}) == 64
    assert common_prefix({"third": []}) is None


# ---- through the study


def drawn_by(names: list[str], folder: Path, *, n: int = 24, prompts: tuple[str, ...] = ("She",), seed: int = 0):  # type: ignore[no-untyped-def]
    """The study of these arms, run; its result, and what was drawn."""
    specs = tuple(parse_arm(ARM[name]) for name in names)
    study = Compare(specs, prompts, n=n, max_tokens=8, is_joint=True, seed=seed)
    session = Session(folder / "s")
    words = [part for spec in specs for part in ("--arm", spec.word())]
    return run(study, resolve_specs(specs, session), drawing=Drawing(seed=seed), session=session, words=words)


def stored(folder: Path, act: Callable[[Compare, Drawn], object]) -> object:
    session = Session(folder / "s")
    with Store.open(session.store) as store:
        [(study, drawn)] = remembered(store, store.run(store.runs()[0].id), session)
        return act(study, drawn)


def test_calls_are_read_priced_and_set_against_exact_probabilities(tmp_path: Path) -> None:
    result = drawn_by(["plain", "called"], tmp_path, n=100)
    arm = result.report["arms"]["called"]

    def look(study: Compare, drawn: Drawn) -> tuple[list[gathering.Output], int]:
        every = list(gathering.outputs(study.question(study.specs[1], 0), drawn))
        return every, sum(len(one.tokens) for one in drawn.samples("called, prompt 0"))

    every, n_written = stored(tmp_path, look)  # type: ignore[misc]
    said = [one for one in every if one.answer.text]
    assert len(every) == 100
    assert {one.unit for one in every} == set(range(20))
    assert {(one.answer.text, one.stated) for one in said} == set(scripted_answers.STATED.items())
    assert all(len(one.answer.tokens) == 2 for one in said)  # the colour, and what ends it
    assert arm["price"]["written_tokens"] == pytest.approx(n_written / 100)
    stated = arm["asking"]["stated"]
    ratios = [
        math.log(scripted_answers.STATED[one.answer.text] / (0.5 * scripted_answers.ANSWERS[one.answer.text]))
        for one in said
    ]
    assert stated["log_ratio"]["value"] == pytest.approx(np.mean(ratios))
    assert (stated["n_answers"], stated["n_stated"], arm["asking"]["n_units"]) == (len(said), len(said), 20)
    direct = sum(one.flaw == gathering.NO_FORM for one in every) // 5
    assert arm["asking"]["not_in_form"]["calls"] == direct > 0
    assert set(arm["asking"]["not_in_form"]["examples"]) <= set(scripted_answers.ANSWERS)
    words = " ".join(one.text for one in result.section.exhibits if isinstance(one, Remark))
    assert f"{direct} calls of called hold no answer in the form asked for. The model wrote: “" in words
    assert "the call is the unit of its intervals" in words
    table = next(one for one in result.section.exhibits if isinstance(one, Table) and one.name == "compare-arms")
    assert table.headings[-2:] == ("price, written", "of prompt")
    assert table.rows[0][-1] == result.report["arms"]["plain"]["price"]["prompt_tokens"]


def test_lists_grow_and_what_is_missing_of_a_chain_is_drawn_again(tmp_path: Path) -> None:
    result = drawn_by(["listed", "seeded", "planned"], tmp_path)

    def look(study: Compare, drawn: Drawn) -> dict[str, list[gathering.Output]]:
        return {one.name: list(gathering.outputs(study.question(one, 0), drawn)) for one in study.specs}

    every = stored(tmp_path, look)
    assert isinstance(every, dict)
    chains = [every["listed"][at : at + 3] for at in range(0, 24, 3)]
    assert all(len({one.unit for one in chain}) == 1 for chain in chains)
    for chain in chains:
        prompts = [one.n_prompt_tokens for one in chain]
        assert prompts[0] < prompts[1] <= prompts[2]
    assert len({one.answer.text for one in every["seeded"]}) > 10
    assert {len(some) for some in every.values()} == {24}
    priced = every["planned"][0]
    assert priced.n_prompt_tokens > every["seeded"][0].n_prompt_tokens  # of the plan and of the answer
    with sqlite3.connect(tmp_path / "s") as connection:
        n_before = connection.execute("SELECT count(*) FROM samples").fetchone()[0]
        connection.execute("DELETE FROM samples WHERE rowid % 3 = 0")
    again = drawn_by(["planned", "listed", "seeded"], tmp_path)  # in another order
    for name in ("listed", "seeded", "planned"):
        assert again.report["arms"][name]["price"] == result.report["arms"][name]["price"]
    later = stored(tmp_path, look)
    assert isinstance(later, dict)
    for name, some in every.items():
        assert [one.answer.text for one in later[name]] == [one.answer.text for one in some]
    with sqlite3.connect(tmp_path / "s") as connection:
        assert connection.execute("SELECT count(*) FROM samples").fetchone()[0] == n_before


def test_a_seed_word_is_drawn_for_each_call_or_once_for_a_prompt(tmp_path: Path) -> None:
    specs = [parse_arm(ARM[name]) for name in ("seeded", "same")]
    study = Compare(tuple(specs), ("She", "He"), n=20, seed=3)
    each, one = (gathering.asks(study.question(spec, 0)) for spec in specs)
    other = gathering.asks(study.question(specs[1], 1))
    assert (len(each), len({ask.text for ask in each}) > 15, {ask.n for ask in each}) == (20, True, {1})
    assert ([ask.n for ask in one], one[0].text.startswith("She\n\nLet the word “")) == ([20], True)
    assert one[0].text.removeprefix("She") != other[0].text.removeprefix("He")  # a word a prompt
    renamed = parse_arm(ARM["seeded"].replace("seeded=", "other="))
    assert [ask.text for ask in gathering.asks(study.question(renamed, 0))] == [ask.text for ask in each]
    reseeded = Compare(tuple(specs), ("She", "He"), n=20, seed=4)
    assert [ask.text for ask in gathering.asks(reseeded.question(specs[0], 0))] != [ask.text for ask in each]


# ---- the command


@pytest.mark.parametrize(
    ("arms", "words"),
    [
        (("a=scripted:answers,chat", "b=scripted:answers,chat,ask=verbalized,T=0.5"), "way of asking and sampler"),
        (("a=scripted:aligned", "b=scripted:aligned,chat,ask=seeded"), "template and way of asking"),
        (("a=scripted:base", "b=scripted:aligned,ask=listed"), "weights and way of asking"),
        (("a=scripted:aligned,chat,ask=seeded", "b=scripted:aligned,chat,ask=seeded"), "are one recipe"),
        (
            ("a=scripted:thinking,chat,ask=plan,planner=scripted:base", "b=scripted:aligned,chat"),
            "weights and template and way of asking",
        ),
    ],
)
def test_what_cannot_be_attributed_is_refused_before_any_sampling(run: Run, arms: tuple[str, ...], words: str) -> None:
    code, _, err = run("compare", *(part for one in arms for part in ("--arm", one)), "-p", "She", "-n", 20)
    assert code == 1
    assert words in err
    assert json.loads(run("runs", "ls", "--json")[1]) == []


def test_a_list_that_the_context_cannot_hold_is_refused(run: Run) -> None:
    arms = ("--arm", "a=scripted:aligned,chat", "--arm", "b=scripted:aligned,chat,ask=listed,k=50")
    code, _, err = run("compare", *arms, "-p", "She", "-n", 50, "--max-tokens", 200)
    assert code == 2
    assert "'k=50'; scripted:aligned reads 8,192 tokens at once, and a list of so many answers may have 10,000" in err


def test_the_command_says_how_each_arm_was_asked_and_shows_it_again(run: Run, tmp_path: Path) -> None:
    arms = ("--arm", ARM["seeded"], "--arm", ARM["same"], "-p", "She", "-n", 20, "--max-tokens", 8)
    code, out, _ = run("compare", *arms, "--json")
    report = json.loads(out)
    assert code == 0
    assert report["arms"]["seeded"]["is"] == "scripted:aligned, chat template, a seed word a call, T 1"
    assert report["arms"]["same"]["asking"]["unit"] == "output"
    assert report["joint"] == []  # they differ in the way of asking alone
    again = json.loads(run("report", "last", "--json", "--out", tmp_path)[1])["compare"]
    assert {**again, "run": None} == {**report, "run": None}
    head = (tmp_path / "compare-arms.csv").read_text().splitlines()[0]
    assert head.endswith('"price, written",of prompt')
