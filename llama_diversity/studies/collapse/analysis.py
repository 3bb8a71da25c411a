"""Section 5.2 of the paper: a policy over a few responses to one prompt, and what rewarding it does to it.

Table 1 row by row from its stated rule, then the same bandit as a simulation: responses drawn from the policy, four
update rules, a penalty for leaving the initial policy, many runs at once. It knows rewards and probabilities; no model.

One step: draw a response a; its reward R (Eq. 5.2) gives the advantage A = (R + gamma v(s')) - v (Eq. 5.1), where
v(s') = 0 because the episode ends with the response; the rule changes the logits; v moves towards R.

The penalty is the one of the response drawn, beta ln(pi(a) / pi_0(a)), as Ouyang et al. (2022) have it: its mean over
the policy is beta KL(pi || pi_0), and its score-function gradient is the gradient of that. Eq. 5.2 as printed takes
the same number off every response, which cancels in that gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from llama_diversity.errors import BadValue
from llama_diversity.metrics.inference import Proportion, wilson

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
COLLAPSED = 0.99  # a policy is called collapsed where one response has more than this
MAX_RUNS, MAX_STEPS, MAX_DRAWS = 10_000, 10_000, 2_000_000


@dataclass(frozen=True)
class Bandit:
    """Responses to one prompt, the reward of each, and the policy before any of them was rewarded."""

    responses: tuple[str, ...]
    rewards: tuple[float, ...]
    initial: tuple[float, ...]

    def __post_init__(self) -> None:
        if not len(self.responses) == len(self.rewards) == len(self.initial) >= 2:
            raise ValueError("every response needs a reward and an initial probability, and there are two at least")
        if min(self.initial) <= 0 or abs(sum(self.initial) - 1) > 1e-9 or not np.isfinite(self.rewards).all():
            raise ValueError("rewards are finite; initial probabilities are above 0 and sum to 1")


PAPER = Bandit(("Jeepiti", "Chats and Giggles"), (1.0, 0.4), (0.5, 0.5))
# The better response that, so the paper, may never be drawn. It gives no probability; we take one in a hundred.
WITH_THIRD = Bandit((*PAPER.responses, "Chad-Chat"), (*PAPER.rewards, 1.5), (0.495, 0.495, 0.01))


@dataclass(frozen=True)
class Knobs:
    """How the policy is updated, how long, how often and from which seed. Raises BadValue."""

    rule: str = "table"
    learning_rate: float = 1.0
    beta: float = 0.0
    clip: float = 0.2
    n_epochs: int = 4  # gradient steps on one drawn response, of the two PPO rules
    value_step: float = 1.0  # 1: the value is the reward last seen, as in Table 1; below, a moving average
    n_steps: int = 50
    n_runs: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise BadValue("--rule", self.rule, f"it must be one of {', '.join(RULES)}")
        for option, value, is_allowed, allowed in (  # a nan is never allowed
            ("--lr", self.learning_rate, 0 < self.learning_rate <= 100, "it must lie above 0 and at most at 100"),
            ("--beta", self.beta, 0 <= self.beta <= 100, "it must lie between 0 (no penalty) and 100"),
            ("--eps", self.clip, 0 < self.clip < 1, "it must lie between 0 and 1, both excluded"),
            ("--epochs", self.n_epochs, 1 <= self.n_epochs <= 100, "it must lie between 1 and 100"),
            ("--value-step", self.value_step, 0 < self.value_step <= 1, "it must lie above 0 and at most at 1"),
            ("--steps", self.n_steps, 1 <= self.n_steps <= MAX_STEPS, f"ask for 1 to {MAX_STEPS:,} steps"),
            ("--runs", self.n_runs, 1 <= self.n_runs <= MAX_RUNS, f"ask for 1 to {MAX_RUNS:,} runs"),
            ("--seed", self.seed, 0 <= self.seed < 2**64, "it must lie between 0 and 2**64 - 1"),
        ):
            if not is_allowed:
                raise BadValue(option, value, allowed)
        if self.n_runs * self.n_steps > MAX_DRAWS:
            allowed = f"with {self.n_steps:,} steps each, ask for {MAX_DRAWS // self.n_steps:,} at most"
            raise BadValue("--runs", self.n_runs, allowed)

    def check_all_read(self) -> None:
        """Raises BadValue for a knob of PPO that was turned for another rule."""
        for option, value, usual in (("--eps", self.clip, Knobs.clip), ("--epochs", self.n_epochs, Knobs.n_epochs)):
            if value != usual and not self.rule.startswith("ppo"):
                raise BadValue(
                    option, value, f"the rule {self.rule} does not read it; say --rule ppo too, or leave it out"
                )


# ---- Table 1


class Row(NamedTuple):
    """One row of Table 1; the first has no response, hence no reward and no advantage."""

    t: int
    response: str | None
    reward: float | None
    advantage: float | None
    value: float
    policy: tuple[float, ...]


# As printed, misprints included (Mohammadi 2024, Table 1).
PRINTED_TABLE_1 = (
    Row(0, None, None, None, 0.0, (0.5, 0.5)),
    Row(1, "Jeepiti", 1.0, 1.0, 1.0, (0.73, 0.27)),
    Row(2, "Chats and Giggles", 0.8, -0.6, 0.4, (0.83, 0.17)),
    Row(3, "Chats and Giggles", 0.8, 0.0, 0.4, (0.83, 0.17)),
    Row(4, "Jeepiti", 1.0, 0.6, 1.0, (0.93, 0.07)),
)


def table_1() -> tuple[Row, ...]:
    """Table 1 from its stated rule: add the advantage to the logit of the response; v becomes the reward just seen.

    After 1.0 the odds are e^1 to e^0; after -0.6 for the other e^1 to e^-0.6; A = 0; after 0.6 e^1.6 to e^-0.6.

    >>> [round(row.policy[0], 6) for row in table_1()]
    [0.5, 0.731059, 0.832018, 0.832018, 0.90025]
    """
    responses = [row.response for row in PRINTED_TABLE_1 if row.response]
    state = start(PAPER, n_runs=1)
    rows = [Row(0, None, None, None, 0.0, PAPER.initial)]
    for t, response in enumerate(responses, start=1):
        chosen = PAPER.responses.index(response)
        state = advance(state, np.array([chosen]), PAPER, Knobs())
        rows.append(
            Row(
                t,
                response,
                float(state.rewards[0, 0]),
                float(state.advantages[0, 0]),
                float(state.values[0, 0]),
                tuple(softmax(state.logits)[0].tolist()),
            )
        )
    return tuple(rows)


def push(policy: npt.ArrayLike, response: int, advantage: float) -> Float64:
    """The policy after `advantage` was added to the logit of one response.

    What Table 1 prints in its last row, 0.93, needs 1.0 where its own advantage is 0.6: 1 / (1 + e^-(1.6 + 1.0)).

    >>> before = table_1()[3].policy
    >>> push(before, 0, 1.0).round(6).tolist(), push(before, 0, 0.6).round(6).tolist()
    ([0.930862, 0.069138], [0.90025, 0.09975])
    """
    logits = np.log(np.asarray(policy, np.float64))
    logits[response] += advantage
    return softmax(logits)


# ---- one step, for all runs at once


class State(NamedTuple):
    """All runs between two steps; rewards (with the penalty) and advantages are those of the step just done."""

    logits: Float64  # (runs, K)
    values: Float64  # (runs, 1)
    rewards: Float64  # (runs, 1)
    advantages: Float64  # (runs, 1)


def start(bandit: Bandit, *, n_runs: int) -> State:
    """The initial policy and a value of 0."""
    nothing = np.zeros((n_runs, 1))
    return State(np.tile(np.log(bandit.initial), (n_runs, 1)), nothing, nothing, nothing)


def advance(state: State, chosen: Int64, bandit: Bandit, knobs: Knobs) -> State:
    """Reward the response drawn in each run, shape (runs,), update the policy, then the value."""
    drawn = np.eye(len(bandit.responses))[chosen]  # (runs, K), one 1 in each row
    rewards = _of(drawn, penalized_rewards(state.logits, bandit, knobs.beta))
    advantages = rewards - state.values
    logits = RULES[knobs.rule](state.logits, drawn, advantages, knobs)
    values = state.values + knobs.value_step * (rewards - state.values)
    return State(logits, values, rewards, advantages)


def penalized_rewards(logits: Float64, bandit: Bandit, beta: float) -> Float64:
    """R(a) - beta ln(pi(a) / pi_0(a)) of every response, shape of `logits`."""
    return np.asarray(bandit.rewards) - beta * (log_softmax(logits) - np.log(bandit.initial))


def _add_to_logit(logits: Float64, drawn: Float64, advantages: Float64, knobs: Knobs) -> Float64:
    """Table 1: the advantage goes to the logit of the response drawn and to no other."""
    return logits + knobs.learning_rate * advantages * drawn


def _reinforce(logits: Float64, drawn: Float64, advantages: Float64, knobs: Knobs) -> Float64:
    """Policy gradient: A times the gradient of ln pi(a), which is (1 at a, else 0) - pi. Williams (1992)."""
    return logits + knobs.learning_rate * advantages * (drawn - softmax(logits))


def _ppo(logits: Float64, drawn: Float64, advantages: Float64, knobs: Knobs) -> Float64:
    """Gradient ascent on min(r A, clip(r, 1 - eps, 1 + eps) A), r = pi(a) / pi_before(a). Schulman et al. (2017)."""

    def rises(ratios: Float64) -> npt.NDArray[np.bool_]:  # where the minimum is r A, not the constant
        return np.where(advantages > 0, ratios < 1 + knobs.clip, ratios > 1 - knobs.clip)

    return _ascend_ratio(logits, drawn, advantages, knobs, rises)


def _ppo_as_in_the_paper(logits: Float64, drawn: Float64, advantages: Float64, knobs: Knobs) -> Float64:
    """Appendix A2.3: min(r, clip(r, 1 - eps, 1 + eps)) A. The minimum is r up to 1 + eps, whatever the sign of A.

    So for A < 0 nothing stops r from falling: the clip is absent just where a response is pushed down.
    """
    return _ascend_ratio(logits, drawn, advantages, knobs, lambda ratios: ratios < 1 + knobs.clip)


def _ascend_ratio(
    logits: Float64,
    drawn: Float64,
    advantages: Float64,
    knobs: Knobs,
    rises: Callable[[Float64], npt.NDArray[np.bool_]],
) -> Float64:
    """`n_epochs` gradient steps on r A, each only in the runs where the objective still `rises` with it."""
    before = _of(drawn, softmax(logits))
    for _ in range(knobs.n_epochs):
        policy = softmax(logits)
        ratios = _of(drawn, policy) / before
        slopes = np.where(rises(ratios), ratios * advantages, 0.0)
        logits = logits + knobs.learning_rate * slopes * (drawn - policy)
    return logits


RULES: Mapping[str, Callable[[Float64, Float64, Float64, Knobs], Float64]] = {
    "table": _add_to_logit,
    "reinforce": _reinforce,
    "ppo": _ppo,
    "ppo-paper": _ppo_as_in_the_paper,
}


def _of(drawn: Float64, numbers: Float64) -> Float64:
    """The number of the response drawn in each run, shape (runs, 1)."""
    return np.asarray((drawn * numbers).sum(axis=-1, keepdims=True))


# ---- many runs


@dataclass(frozen=True)
class Result:
    """All runs, and what they may be held against."""

    bandit: Bandit
    knobs: Knobs
    paths: Float64  # (runs, steps + 1, K): the policy before the first step and after each
    draws: Int64  # (runs, steps): which response was drawn
    reward_proportional: Float64  # (K,): what the paper would have; nan where a reward is not above 0
    optimum: Float64  # (K,): the policy at which Eq. 5.2 is largest
    expected: Float64  # (steps + 1, K): the path along the exact gradient, without chance
    collapsed: Proportion  # runs in which one response ended above COLLAPSED
    collapsed_onto: tuple[Proportion, ...]  # the same for each response
    ever_drawn: tuple[Proportion, ...]  # runs in which each response was drawn at all

    @property
    def entropies_bits(self) -> Float64:
        """Entropy of the policy, shape (runs, steps + 1)."""
        return entropy_bits(self.paths)

    @property
    def final_mean(self) -> Float64:
        """Mean over the runs of the last policy, shape (K,); of collapsed runs the share that each response won."""
        return np.asarray(self.paths[:, -1].mean(axis=0))


def simulate(bandit: Bandit, knobs: Knobs) -> Result:
    """Run the bandit `n_runs` times. Run i of a seed is the same however many are asked for, and however long."""
    chance = uniforms(knobs.seed, n_runs=knobs.n_runs, n_steps=knobs.n_steps)
    paths = np.empty((knobs.n_runs, knobs.n_steps + 1, len(bandit.responses)))
    draws = np.empty((knobs.n_runs, knobs.n_steps), np.int64)
    state = start(bandit, n_runs=knobs.n_runs)
    paths[:, 0] = softmax(state.logits)
    for step in range(knobs.n_steps):
        draws[:, step] = draw(paths[:, step], chance[:, step])
        state = advance(state, draws[:, step], bandit, knobs)
        paths[:, step + 1] = softmax(state.logits)

    responses = np.arange(len(bandit.responses))
    won = paths[:, -1] > COLLAPSED
    seen = (draws[:, :, None] == responses).any(axis=1)
    return Result(
        bandit,
        knobs,
        paths,
        draws,
        reward_proportional=reward_proportional(bandit.rewards),
        optimum=optimal_policy(bandit, beta=knobs.beta),
        expected=expected_path(bandit, beta=knobs.beta, learning_rate=knobs.learning_rate, n_steps=knobs.n_steps),
        collapsed=wilson(int(won.any(axis=1).sum()), knobs.n_runs),
        collapsed_onto=tuple(wilson(int(won[:, k].sum()), knobs.n_runs) for k in responses),
        ever_drawn=tuple(wilson(int(seen[:, k].sum()), knobs.n_runs) for k in responses),
    )


def uniforms(seed: int, *, n_runs: int, n_steps: int) -> Float64:
    """Numbers in [0, 1), shape (runs, steps), each run its own Philox stream with key (seed, run).

    >>> few, many = uniforms(7, n_runs=2, n_steps=3), uniforms(7, n_runs=5, n_steps=9)
    >>> bool((few == many[:2, :3]).all())
    True
    """
    streams = (np.random.Philox(key=np.array([seed, run], np.uint64)) for run in range(n_runs))
    raw = np.stack([stream.random_raw(n_steps) for stream in streams])
    return np.asarray((raw >> np.uint64(11)).astype(np.float64) * 2.0**-53)


def draw(policies: Float64, chance: Float64) -> Int64:
    """The first response whose cumulative probability exceeds the run's number; one of probability 0 never is.

    >>> draw(np.array([[0.25, 0.0, 0.75]] * 3), np.array([0.0, 0.25, 0.999])).tolist()
    [0, 2, 2]
    """
    upto = policies.cumsum(axis=-1)
    return np.asarray((upto <= (chance * upto[:, -1])[:, None]).sum(axis=-1), np.int64)


class Spread(NamedTuple):
    """Over the runs: mean, and the 10th and 90th percentile, between which four runs in five lie."""

    mean: Float64
    low: Float64
    high: Float64


def spread(numbers: Float64) -> Spread:
    """The spread over the first axis; percentiles interpolate linearly.

    0, 1, ..., 10: the 10th percentile is 1.

    >>> [float(part) for part in spread(np.arange(11.0))]
    [5.0, 1.0, 9.0]
    """
    low, high = np.quantile(numbers, [0.1, 0.9], axis=0)
    return Spread(np.asarray(numbers.mean(axis=0)), low, high)


# ---- what a policy may be held against


def reward_proportional(rewards: npt.ArrayLike) -> Float64:
    """pi(a) = R(a) / sum R: what the paper says one would want. nan where a reward is not above 0.

    >>> reward_proportional([1.0, 0.4]).round(6).tolist()
    [0.714286, 0.285714]
    """
    given = np.asarray(rewards, np.float64)
    return given / given.sum() if (given > 0).all() else np.full(given.shape, np.nan)


def optimal_policy(bandit: Bandit, *, beta: float) -> Float64:
    """The policy at which E R - beta KL(pi || pi_0) is largest: pi_0(a) e^(R(a) / beta), normalised.

    Maximising over the simplex: R - beta (ln pi / pi_0 + 1) must be the same for every response. At beta = 0 the limit
    of that: everything on the largest reward, between equals as pi_0 has it.

    Rewards 1 and 0.4 from equal chances at beta 0.6: odds e^1 to 1.

    >>> optimal_policy(PAPER, beta=0.6).round(6).tolist(), optimal_policy(PAPER, beta=0).tolist()
    ([0.731059, 0.268941], [1.0, 0.0])
    """
    rewards, initial = np.asarray(bandit.rewards), np.asarray(bandit.initial)
    if beta == 0:
        best = np.where(rewards == rewards.max(), initial, 0.0)
        return np.asarray(best / best.sum())
    with np.errstate(over="ignore"):  # -inf for a tiny beta is a probability of 0, and right
        return softmax(np.log(initial) + (rewards - rewards.max()) / beta)


def expected_path(bandit: Bandit, *, beta: float, learning_rate: float, n_steps: int) -> Float64:
    """The policy along the exact gradient of E R - beta KL(pi || pi_0), shape (steps + 1, K): REINFORCE without chance.

    The mean of R (e_a - pi) over a ~ pi is pi (R - sum pi R), entry by entry; a value taken off R cancels.

    Equal chances of 1 and 0.4 at rate 1: 0.5 (1 - 0.7) = 0.15 to one logit and off the other; 1 / (1 + e^-0.3).

    >>> expected_path(PAPER, beta=0, learning_rate=1, n_steps=1)[1].round(6).tolist()
    [0.574443, 0.425557]
    """
    logits = np.log(bandit.initial)
    path = np.empty((n_steps + 1, len(logits)))
    path[0] = softmax(logits)
    for step in range(n_steps):
        policy, rewards = path[step], penalized_rewards(logits, bandit, beta)
        logits = logits + learning_rate * policy * (rewards - policy @ rewards)
        path[step + 1] = softmax(logits)
    return path


# ---- probabilities


def log_softmax(logits: Float64) -> Float64:
    """ln of the softmax over the last axis."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def softmax(logits: Float64) -> Float64:
    """Probabilities of logits, over the last axis."""
    return np.asarray(np.exp(log_softmax(logits)))


def entropy_bits(policies: Float64) -> Float64:
    """-sum p log2 p over the last axis, 0 to log2 K; a probability of 0 adds nothing.

    >>> entropy_bits(np.array([[0.5, 0.5], [1.0, 0.0]])).tolist()
    [1.0, 0.0]
    """
    logs = np.log2(policies, out=np.zeros_like(policies), where=policies > 0)
    return np.asarray(np.maximum(-(policies * logs).sum(axis=-1), 0.0))
