"""Section 5.2: Table 1 and each update rule by hand, the optimum of Eq. 5.2 as a fixed point, and the command."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math

import numpy as np
import pytest
from rich.console import Console

from llama_diversity.errors import BadValue
from llama_diversity.metrics.inference import wilson
from llama_diversity.render.exhibits import Figure, Remark, Table, in_terminal
from llama_diversity.studies.collapse.analysis import (
    PAPER,
    PRINTED_TABLE_1,
    WITH_THIRD,
    Bandit,
    Knobs,
    advance,
    entropy_bits,
    expected_path,
    optimal_policy,
    penalized_rewards,
    push,
    reward_proportional,
    simulate,
    softmax,
    start,
    table_1,
    uniforms,
)
from llama_diversity.studies.collapse.exhibits import section


def logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x))


# ---- Table 1


def test_table_1_row_by_row():
    # Logits of (J, C): (0, 0), (1, 0), (1, -0.6), (1, -0.6), (1.6, -0.6); pi(J) is the logistic of their difference.
    rows = table_1()
    assert [row.policy[0] for row in rows] == pytest.approx([0.5, 0.731059, 0.832018, 0.832018, 0.900250], abs=1e-6)
    assert [sum(row.policy) for row in rows] == pytest.approx([1] * 5, abs=1e-12)
    assert [row.reward for row in rows] == [None, 1.0, 0.4, 0.4, 1.0]
    assert [row.advantage for row in rows][1:] == pytest.approx([1.0, -0.6, 0.0, 0.6], abs=1e-12)
    assert [row.value for row in rows] == pytest.approx([0.0, 1.0, 0.4, 0.4, 1.0], abs=1e-12)


def test_the_paper_prints_the_same_but_for_two_misprints():
    ours, printed = table_1(), PRINTED_TABLE_1
    for row, theirs in zip(ours, printed, strict=True):
        assert (row.t, row.response, row.value) == (theirs.t, theirs.response, pytest.approx(theirs.value))
        assert row.advantage == pytest.approx(theirs.advantage, abs=1e-12)
    differs = [round(row.policy[0], 2) != theirs.policy[0] for row, theirs in zip(ours, printed, strict=True)]
    assert differs == [False, False, False, False, True]
    assert [row.t for row, theirs in zip(ours, printed, strict=True) if row.reward != theirs.reward] == [2, 3]


def test_the_last_row_as_printed_needs_an_advantage_of_one():
    # Before it the logits differ by 1.6: 1 / (1 + e^-2.6) = 0.930862, 1 / (1 + e^-2.2) = 0.900250.
    before = table_1()[3].policy
    assert push(before, 0, 1.0)[0] == pytest.approx(0.930862, abs=1e-6)
    assert push(before, 0, 0.6)[0] == pytest.approx(0.900250, abs=1e-6)


# ---- the rules, one step by hand


def step(advantage: float, chosen: int = 0, **knobs: object) -> float:
    """pi of the first of two equal responses after one step in which `chosen` had this advantage."""
    bandit = Bandit(("a", "b"), (advantage, advantage), (0.5, 0.5))  # the value is 0, so the reward is the advantage
    state = advance(start(bandit, n_runs=1), np.array([chosen]), bandit, Knobs(**knobs))
    assert state.advantages[0, 0] == advantage
    return float(softmax(state.logits)[0, 0])


def test_the_tables_rule_changes_one_logit():
    assert step(1.0, learning_rate=0.5) == pytest.approx(logistic(0.5), abs=1e-12)
    assert step(1.0, chosen=1) == pytest.approx(logistic(-1.0), abs=1e-12)


def test_reinforce_moves_all_logits():
    # grad ln pi(a) = (1 - 0.5, -0.5): with A = 0.8 the logits become (0.4, -0.4); with b drawn (-0.4, 0.4).
    assert step(0.8, rule="reinforce") == pytest.approx(logistic(0.8), abs=1e-12)
    assert step(0.8, chosen=1, rule="reinforce") == pytest.approx(logistic(-0.8), abs=1e-12)
    # Of three, chances (0.2, 0.3, 0.5), the second drawn with A = 2: logits move by 2 (-0.2, 0.7, -0.5).
    bandit = Bandit(("a", "b", "c"), (0.0, 2.0, 0.0), (0.2, 0.3, 0.5))
    before = start(bandit, n_runs=1)
    after = advance(before, np.array([1]), bandit, Knobs(rule="reinforce"))
    assert (after.logits - before.logits)[0] == pytest.approx([-0.4, 1.4, -1.0], abs=1e-12)


# Rate 0.2, eps 0.2, pi from 0.5. One gradient step of r A adds 0.4 r (1 - pi) A to the difference d of the logits
# (0.2 r (1 - pi) to one, as much off the other), r = pi / 0.5:
#   A = +1: d = 0.2                            pi = 0.549834, r = 1.0997 < 1.2
#           + 0.4 * 1.099668 * 0.450166 = 0.398013 pi = 0.598210, r = 1.1964 < 1.2
#           + 0.4 * 1.196420 * 0.401790 = 0.590297 pi = 0.643433, r = 1.2869 > 1.2: the objective is flat
#   A = -1: d = -0.2                           pi = 0.450166, r = 0.9003 > 0.8
#           - 0.4 * 0.900332 * 0.549834 = -0.398013 pi = 0.401790, r = 0.8036 > 0.8
#           - 0.4 * 0.803580 * 0.598210 = -0.590297 pi = 0.356567, r = 0.7131 < 0.8: flat in the standard form only
#           - 0.4 * 0.713134 * 0.643433 = -0.773838 pi = 0.315648
UP, DOWN = (0.549834, 0.598210, 0.643433), (0.450166, 0.401790, 0.356567)


@pytest.mark.parametrize("rule", ["ppo", "ppo-paper"])
@pytest.mark.parametrize(("advantage", "policies"), [(1.0, UP), (-1.0, DOWN)])
def test_ppo_inside_the_clip(rule, advantage, policies):
    for n_epochs, policy in enumerate(policies, start=1):
        found = step(advantage, rule=rule, learning_rate=0.2, n_epochs=n_epochs)
        assert found == pytest.approx(policy, abs=2e-6)


@pytest.mark.parametrize(
    ("rule", "advantage", "policy"),
    [("ppo", 1.0, UP[-1]), ("ppo-paper", 1.0, UP[-1]), ("ppo", -1.0, DOWN[-1]), ("ppo-paper", -1.0, 0.315648)],
)
def test_ppo_beyond_the_clip_only_the_papers_form_goes_on_pushing_down(rule, advantage, policy):
    assert step(advantage, rule=rule, learning_rate=0.2, n_epochs=4) == pytest.approx(policy, abs=2e-6)


def test_without_its_floor_a_response_is_pushed_to_nothing():
    # The standard form stops once r < 0.8: one step of at most 0.4 * 1 * 0.6 = 0.24 from d = logit(0.4) = -0.405.
    assert step(-1.0, rule="ppo", learning_rate=0.2, n_epochs=100) == pytest.approx(DOWN[-1], abs=2e-6)
    # The other follows d' = -0.8 pi (1 - pi) in each of 100 steps: far below a tenth of where the clip would hold it.
    assert step(-1.0, rule="ppo-paper", learning_rate=0.2, n_epochs=100) < 0.04


def test_the_value_is_the_last_reward_or_a_moving_average():
    # Rewards 1.0, 0.4 of J, C: v = 1, then 0.4; with step 0.25: 0.25, then 0.25 + 0.25 (0.4 - 0.25) = 0.2875.
    for value_step, values in ((1.0, (1.0, 0.4)), (0.25, (0.25, 0.2875))):
        knobs = Knobs(value_step=value_step)
        one = advance(start(PAPER, n_runs=1), np.array([0]), PAPER, knobs)
        two = advance(one, np.array([1]), PAPER, knobs)
        assert (one.values[0, 0], two.values[0, 0]) == pytest.approx(values, abs=1e-12)
        assert two.advantages[0, 0] == pytest.approx(0.4 - values[0], abs=1e-12)


def test_the_penalty_of_each_response_has_the_divergence_as_its_mean():
    # pi = (0.8, 0.2), pi_0 = (0.5, 0.5): KL = 0.8 ln 1.6 + 0.2 ln 0.4 = 0.376003 - 0.183258 = 0.192745.
    rewards = penalized_rewards(np.log([[0.8, 0.2]]), PAPER, beta=2.0)[0]
    assert rewards == pytest.approx([1.0 - 2 * math.log(1.6), 0.4 - 2 * math.log(0.4)], abs=1e-12)
    mean_penalty = np.array([0.8, 0.2]) @ (np.array(PAPER.rewards) - rewards)
    assert mean_penalty == pytest.approx(2 * 0.192745, abs=2e-6)


# ---- expectation and optimum


def test_reinforce_is_the_exact_gradient_on_average():
    # Weighing the step after each response with its probability, v and beta included.
    bandit, knobs = WITH_THIRD, Knobs(rule="reinforce", beta=0.3, learning_rate=0.7)
    before = start(bandit, n_runs=1)._replace(logits=np.log([[0.2, 0.3, 0.5]]), values=np.array([[0.9]]))
    steps = [advance(before, np.array([k]), bandit, knobs).logits - before.logits for k in range(3)]
    mean = 0.2 * steps[0] + 0.3 * steps[1] + 0.5 * steps[2]
    rewards = penalized_rewards(before.logits, bandit, 0.3)[0]
    # d/d logit_k of sum pi R is pi_k (R_k - sum pi R); the derivative of the penalty itself is sum pi d ln pi = 0.
    policy = np.array([0.2, 0.3, 0.5])
    assert mean[0] == pytest.approx(0.7 * policy * (rewards - policy @ rewards), abs=1e-12)


def objective(policy: np.ndarray, bandit: Bandit, beta: float) -> float:
    divergence = (policy * np.log(policy / np.array(bandit.initial))).sum()
    return float(policy @ np.array(bandit.rewards) - beta * divergence)


@pytest.mark.parametrize("bandit", [PAPER, WITH_THIRD], ids=["two", "three"])
def test_the_exact_gradient_ends_at_the_optimum_of_eq_5_2(bandit):
    beta = 0.5
    best = optimal_policy(bandit, beta=beta)
    # By hand, up to the common factor: pi_0 e^(R / 0.5).
    weights = [first * math.exp(2 * reward) for first, reward in zip(bandit.initial, bandit.rewards, strict=True)]
    assert best == pytest.approx(np.array(weights) / sum(weights), abs=1e-12)
    path = expected_path(bandit, beta=beta, learning_rate=1.0, n_steps=2000)
    assert path[-1] == pytest.approx(best, abs=1e-6)
    values = [objective(policy, bandit, beta) for policy in path[:20]]
    assert np.diff(values).min() > 0
    # And it stays where it is: at the optimum every penalised reward is the same.
    rewards = penalized_rewards(np.log(best), bandit, beta)
    assert rewards == pytest.approx([rewards[0]] * len(rewards), abs=1e-12)


def test_optimum_without_a_penalty_and_with_a_tiny_or_huge_one():
    ties = Bandit(("a", "b", "c"), (2.0, 1.0, 2.0), (0.2, 0.5, 0.3))
    assert optimal_policy(ties, beta=0).tolist() == pytest.approx([0.4, 0.0, 0.6], abs=1e-12)
    assert optimal_policy(ties, beta=1e-308).tolist() == pytest.approx([0.4, 0.0, 0.6], abs=1e-12)
    assert optimal_policy(ties, beta=1e9).tolist() == pytest.approx(ties.initial, abs=1e-8)


def test_in_proportion_to_reward():
    assert reward_proportional((1.0, 0.4, 1.5)).tolist() == pytest.approx([1 / 2.9, 0.4 / 2.9, 1.5 / 2.9], abs=1e-12)
    assert np.isnan(reward_proportional((1.0, -0.4))).all()


def test_entropy_of_a_policy():
    # (1/2, 1/4, 1/4): 1/2 + 2/4 + 2/4 = 1.5 bits.
    assert entropy_bits(np.array([[0.5, 0.25, 0.25], [0.0, 1.0, 0.0]])).tolist() == [1.5, 0.0]


# ---- many runs


def test_runs_are_the_same_alone_and_among_others_and_begin_alike():
    few = simulate(PAPER, Knobs(n_runs=3, n_steps=10, seed=5))
    many = simulate(PAPER, Knobs(n_runs=20, n_steps=25, seed=5))
    assert np.array_equal(few.paths, many.paths[:3, :11])
    assert np.array_equal(few.draws, many.draws[:3, :10])
    assert not np.array_equal(many.draws[0], many.draws[1])
    assert len(np.unique(uniforms(5, n_runs=20, n_steps=25))) == 500


def test_a_run_replays_its_own_draws_one_step_at_a_time():
    knobs = Knobs(rule="ppo", beta=0.2, n_runs=4, n_steps=6, value_step=0.5, seed=9)
    result = simulate(WITH_THIRD, knobs)
    for run in range(4):
        state = start(WITH_THIRD, n_runs=1)
        for at in range(6):
            state = advance(state, result.draws[run, at : at + 1], WITH_THIRD, knobs)
            assert softmax(state.logits)[0] == pytest.approx(result.paths[run, at + 1], abs=1e-12)


def test_draws_follow_the_policy():
    # The first draw of 4000 runs at chance 0.495 of J: sd sqrt(0.25 / 4000) = 0.0079; five of them. The seed is fixed.
    result = simulate(WITH_THIRD, Knobs(n_runs=4000, n_steps=1, seed=1))
    shares = np.bincount(result.draws[:, 0], minlength=3) / 4000
    assert abs(shares[0] - 0.495) < 0.04
    assert abs(shares[2] - 0.01) < 0.008  # sd sqrt(0.0099 / 4000) = 0.0016


def test_collapsed_runs_are_counted_with_wilsons_interval():
    result = simulate(PAPER, Knobs(n_runs=40, n_steps=400, seed=2))
    k = int((result.paths[:, -1].max(axis=1) > 0.99).sum())
    assert result.collapsed == wilson(k, 40)
    # Each change of response pushes J up by 0.6 whichever way it goes, so after 400 steps pi(C) is about 1/(1.2 * 400).
    assert k == 40
    assert [one.k for one in result.collapsed_onto] == [40, 0]
    assert [one.k for one in result.ever_drawn] == [40, 40]
    one_step = simulate(PAPER, Knobs(n_runs=40, n_steps=1))
    assert one_step.collapsed.k == 0


def test_a_penalty_keeps_runs_near_the_optimum():
    # With a fading value REINFORCE wanders around pi_0 e^(R / beta) = logistic(1.2) = 0.768525 and collapses nowhere.
    result = simulate(PAPER, Knobs(rule="reinforce", beta=0.5, learning_rate=0.1, value_step=0.1, n_steps=800, seed=3))
    assert result.final_mean[0] == pytest.approx(0.768525, abs=0.01)
    assert result.collapsed.k == 0
    assert result.optimum[0] == pytest.approx(0.768525, abs=1e-6)


@pytest.mark.parametrize("rule", ["table", "reinforce", "ppo", "ppo-paper"])
@pytest.mark.parametrize("beta", [0.0, 100.0])
def test_extreme_knobs_stay_finite(rule, beta):
    knobs = Knobs(rule=rule, beta=beta, learning_rate=100.0, clip=0.999, n_runs=20, n_steps=40)
    result = simulate(WITH_THIRD, knobs)
    assert np.isfinite(result.paths).all()
    assert np.abs(result.paths.sum(axis=-1) - 1).max() < 1e-9


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rule": "sarsa"}, "--rule is 'sarsa'; it must be one of table, reinforce, ppo, ppo-paper"),
        ({"beta": -0.1}, "--beta is -0.1"),
        ({"beta": math.nan}, "--beta is nan"),
        ({"learning_rate": 0.0}, "--lr is 0.0"),
        ({"learning_rate": math.inf}, "--lr is inf"),
        ({"clip": 1.0}, "--eps is 1.0"),
        ({"n_epochs": 0}, "--epochs is 0"),
        ({"value_step": 1.5}, "--value-step is 1.5"),
        ({"n_steps": 10_001}, "--steps is 10001; ask for 1 to 10,000 steps"),
        ({"n_runs": 0}, "--runs is 0"),
        ({"n_runs": 10_000, "n_steps": 1000}, "--runs is 10000; with 1,000 steps each, ask for 2,000 at most"),
        ({"seed": -1}, "--seed is -1"),
    ],
)
def test_knobs_refuse_what_cannot_be_meant(change, words):
    with pytest.raises(BadValue) as refused:
        dataclasses.replace(Knobs(), **change)
    assert words in str(refused.value)


def test_a_bandit_needs_whole_numbers_of_everything():
    with pytest.raises(ValueError, match="two at least"):
        Bandit(("a",), (1.0,), (1.0,))
    with pytest.raises(ValueError, match="sum to 1"):
        Bandit(("a", "b"), (1.0, 0.4), (0.5, 0.6))


# ---- what is shown


def test_section_holds_table_1_and_both_errata():
    shown = section(simulate(PAPER, Knobs(n_runs=5, n_steps=4)), "llamadiv collapse")
    tables = {one.name: one for one in shown.exhibits if isinstance(one, Table)}
    last = dict(zip(tables["table-1-mode-collapse"].headings, tables["table-1-mode-collapse"].rows[-1], strict=True))
    assert last["π(J)"] == pytest.approx(0.900250, abs=1e-6)
    assert (last["paper π(J)"], last["paper R"]) == ("0.93", "1.0")
    remarks = " ".join(one.text for one in shown.exhibits if isinstance(one, Remark))
    assert "0.93 needs an advantage of 1.0" in remarks
    assert "prints 0.8" in remarks
    # The single steps, and the policies: in proportion to reward is 1 / 1.4.
    assert len(tables["collapse-steps"].rows) == 5
    assert tables["collapse-policies"].rows[-1][1] == pytest.approx(1 / 1.4, abs=1e-12)


def test_section_says_that_the_best_response_was_never_drawn():
    result = simulate(WITH_THIRD, Knobs(n_runs=30, n_steps=5))
    missed = 30 - result.ever_drawn[2].k
    assert missed > 0
    remarks = [one.text for one in section(result, "").exhibits if isinstance(one, Remark)]
    assert any(f"never drawn in {missed} of 30 runs" in text for text in remarks)


def test_terminal_shows_the_paths_without_a_picture():
    shown = section(simulate(PAPER, Knobs(n_runs=5, n_steps=30)), "")
    console = Console(width=80, color_system=None, file=io.StringIO())
    console.print(in_terminal(shown))
    lines = console.file.getvalue().splitlines()
    heading = next(index for index, line in enumerate(lines) if line.startswith("step"))
    # 0, 1, 2, 5, 10, ... and the last one.
    assert [line.split()[0] for line in lines[heading + 1 : heading + 8]] == ["0", "1", "2", "5", "10", "20", "30"]
    assert lines[heading + 1].split()[1:3] == ["0.500", "0.500–0.500"]


def test_charts_are_narrow_and_tell_lines_apart_without_colour():
    shown = section(simulate(WITH_THIRD, Knobs(n_runs=30, n_steps=500, beta=0.3)), "")
    (figure,) = (one for one in shown.exhibits if isinstance(one, Figure))
    panels = figure.draw()
    assert list(panels) == ["Jeepiti", "Chats and Giggles", "Chad-Chat", "Entropy of the policy"]
    for panel in panels.values():
        chart = panel.to_dict()
        assert chart["width"] <= 300
        rules = [layer["mark"] for layer in chart["layer"] if layer["mark"]["type"] == "rule"]
        assert len({tuple(rule["strokeDash"]) for rule in rules}) == 2
        assert len({layer["mark"]["strokeWidth"] for layer in chart["layer"] if layer["mark"]["type"] == "line"}) == 2
        sizes = [len(chart["datasets"][layer["data"]["name"]]) for layer in chart["layer"]]
        assert max(sizes) == 12 * 201  # twelve runs, 201 of their 501 steps


# ---- the command


def test_json_holds_the_table_and_the_simulation(run):
    code, out, error = run("collapse", "--json", "--beta", 0.5, "--runs", 20, "--steps", 10, "--third", "--seed", 4)
    assert (code, error) == (0, "")
    report = json.loads(out)
    assert report["table_1"][4]["policy"][0] == pytest.approx(0.900250, abs=1e-6)
    assert report["table_1_printed"][4]["policy"] == [0.93, 0.07]
    assert report["rewards"] == {"Jeepiti": 1.0, "Chats and Giggles": 0.4, "Chad-Chat": 1.5}
    expected = simulate(WITH_THIRD, Knobs(beta=0.5, n_runs=20, n_steps=10, seed=4))
    assert list(report["policies"]["final_mean"].values()) == expected.final_mean.tolist()
    assert report["collapsed"] == expected.collapsed._asdict()
    assert len(report["probabilities"]["Jeepiti"]["mean"]) == 11
    assert report["command"] == "llamadiv collapse --beta 0.5 --steps 10 --runs 20 --third --seed 4"
    assert run(*report["command"].split()[1:], "--json")[1] == out


def test_terminal_output(run):
    code, out, error = run("collapse", "--runs", 10, "--steps", 5)
    assert (code, error) == (0, "")
    for words in ("Table 1", "0.900", "Erratum, t = 4", "in proportion to reward", "10 runs of 5 steps"):
        assert words in out
    assert max(map(len, out.splitlines())) <= 80
    assert run("collapse", "--runs", 10, "--steps", 5, "-q") == (0, "", "")


def test_files(run, tmp_path):
    folder = tmp_path / "figures"
    code, out, error = run("collapse", "--runs", 10, "--steps", 5, "--out", folder, "-q")
    assert (code, error) == (0, "")
    names = {path.name for path in folder.iterdir()}
    figures = {f"collapse-paths.{kind}" for kind in ("png", "svg", "pdf", "vl.json")}
    tables = {f"{name}.csv" for name in ("table-1-mode-collapse", "collapse-steps", "collapse-policies")}
    assert names == figures | tables | {"collapse-shares.csv", "collapse.json", "index.html"}
    assert out.split() == [str(folder)]
    assert (folder / "collapse-paths.png").read_bytes()[:4] == b"\x89PNG"
    with (folder / "table-1-mode-collapse.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[4]["π(J)"]) == pytest.approx(0.900250, abs=1e-6)
    assert json.loads((folder / "collapse.json").read_text())["knobs"]["n_runs"] == 10


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--beta", "-1"), "--beta is -1.0; it must lie between 0 (no penalty) and 100."),
        (("--beta", "nan"), "--beta is nan"),
        (("--eps", "0"), "--eps is 0.0"),
        (("--lr", "0"), "--lr is 0.0"),
        (("--steps", "0"), "--steps is 0; ask for 1 to 10,000 steps."),
        (("--runs", "1000000"), "--runs is 1000000"),
        (("--epochs", "0"), "--epochs is 0"),
        (("--seed", "-3"), "--seed is -3"),
        (("--rule", "sarsa"), "'sarsa' is not one of"),
        (("--out", "/dev/null/x"), "/dev/null/x"),
    ],
)
def test_bad_values_end_in_one_sentence(run, arguments, words):
    code, out, error = run("collapse", "--runs", 2, "--steps", 2, *arguments)
    assert (code, out) == (2, "")
    assert words in error
    assert "Traceback" not in error
    assert "defect" not in error
