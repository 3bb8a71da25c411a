"""Section 5.2 as a reader gets it: Table 1 beside the paper's, the paths of a simulation, and what they end at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from rich.table import Table as RichTable
from rich.text import Text

from llama_diversity.metrics.inference import Proportion
from llama_diversity.render.exhibits import Between, Figure, Remark, Section, Table, Value, written
from llama_diversity.render.safe import visible
from llama_diversity.studies.collapse.analysis import (
    COLLAPSED,
    PRINTED_TABLE_1,
    Float64,
    Knobs,
    Result,
    Row,
    Spread,
    entropy_bits,
    spread,
    table_1,
)

if TYPE_CHECKING:
    from llama_diversity.render.charts import Chart
    from llama_diversity.render.path_charts import Paths

N_SINGLE_RUNS = 12  # drawn by themselves, so that a mean of runs that went apart deceives nobody
N_DRAWN_STEPS = 200  # a chart 280 points wide shows no more
ERRATA = (
    "Erratum, t = 4: the paper prints 0.93 and 0.07. Its rule with its own advantage of 0.6 gives 0.900 and 0.100; "
    "0.93 needs an advantage of 1.0, the reward without the value taken off.",
    "Erratum, reward: for “Chats and Giggles” the paper's column prints 0.8, where its text and its advantage "
    "use 0.4; so does the row here.",
)
RULE_WORDS = {
    "table": "the rule of Table 1 (add the advantage to the logit)",
    "reinforce": "the policy gradient (REINFORCE)",
    "ppo": "PPO with the standard clip",
    "ppo-paper": "PPO with the clip as appendix A2.3 writes it",
}


def section(result: Result, command: str) -> Section:
    """All exhibits of section 5.2; `command` is the command line that makes them again."""
    return Section(
        name="collapse",
        title="Section 5.2: why rewarding narrows",
        about=_about(result),
        command=command,
        exhibits=(
            _table_1(),
            *(Remark(words) for words in ERRATA),
            _paths(result),
            _numbers_of_steps(result),
            _policies(result),
            _shares(result),
            *(Remark(words) for words in _reading(result)),
        ),
    )


def _about(result: Result) -> str:
    bandit, knobs = result.bandit, result.knobs
    rewards = ", ".join(
        f"{name} {reward:g} (at first {initial:g})"
        for name, reward, initial in zip(bandit.responses, bandit.rewards, bandit.initial, strict=True)
    )
    return (
        f"Table 1, then the same bandit as a simulation: {knobs.n_runs:,} runs of {knobs.n_steps:,} steps, responses "
        f"drawn from the policy. Rewards: {rewards}. Update: {RULE_WORDS[knobs.rule]}, {_settings(knobs)}."
    )


def _settings(knobs: Knobs) -> str:
    clip = f", ε {knobs.clip:g}, {knobs.n_epochs} epochs" if knobs.rule.startswith("ppo") else ""
    value = (
        "value the last reward" if knobs.value_step == 1 else f"value a moving average with step {knobs.value_step:g}"
    )
    return f"learning rate {knobs.learning_rate:g}{clip}, KL penalty β {knobs.beta:g}, {value}, seed {knobs.seed}"


# ---- Table 1


def _table_1() -> Table:
    rows = [_row(ours, printed) for ours, printed in zip(table_1(), PRINTED_TABLE_1, strict=True)]
    return Table(
        name="table-1-mode-collapse",
        title="Table 1: mode collapse by its stated rule, beside the paper's",
        headings=("t", "response a", "R", "A", "v", "π(J)", "π(C)", "paper R", "paper π(J)", "paper π(C)"),
        rows=tuple(rows),
        note="R reward, A advantage, v value, J Jeepiti, C Chats and Giggles. Rule: add A to the logit of a; v becomes "
        "the reward just seen. A and v are as the paper prints them.",
    )


def _row(ours: Row, printed: Row) -> tuple[Value, ...]:
    reward = None if printed.reward is None else f"{printed.reward:.1f}"
    return (
        *(ours.t, ours.response, ours.reward, ours.advantage, ours.value, *ours.policy),
        *(reward, *(f"{chance:g}" for chance in printed.policy)),
    )


# ---- the paths


def _paths(result: Result) -> Figure:
    n_shown = min(N_SINGLE_RUNS, result.knobs.n_runs)
    return Figure(
        name="collapse-paths",
        title="How the policy moves",
        draw=lambda: _panels(result),
        note=f"Thick: mean of {result.knobs.n_runs:,} runs; band: 10 to 90 % of them; thin: {n_shown} single runs. "
        "Dashed: where Eq. 5.2 is largest. Dotted: in proportion to reward.",
        terminal=_steps_in_terminal(result),
    )


def _panels(result: Result) -> Mapping[str, Chart]:
    from llama_diversity.render.path_charts import path_panel  # Altair is heavy

    references = np.stack([result.optimum, result.reward_proportional])  # dashed, dotted
    n_responses = len(result.bandit.responses)
    panels: dict[str, Chart] = {
        name: path_panel(
            _drawn_paths(result.paths[:, :, k], references[:, k]), unit="probability", highest=1.0, place=k
        )
        for k, name in enumerate(result.bandit.responses)
    }
    panels["Entropy of the policy"] = path_panel(
        _drawn_paths(result.entropies_bits, entropy_bits(references)),
        unit="entropy, bits",
        highest=float(np.log2(n_responses)),
        place=n_responses,
    )
    return panels


def _drawn_paths(values: Float64, references: Float64) -> Paths:
    """Of values of shape (runs, steps + 1) what a chart shows."""
    from llama_diversity.render.path_charts import Paths

    steps = drawn_steps(values.shape[1] - 1)
    mean, low, high = (part.tolist() for part in spread(values[:, steps]))
    return Paths(steps, mean, low, high, values[:N_SINGLE_RUNS, steps].tolist(), references.tolist())


def drawn_steps(n_steps: int) -> list[int]:
    """At most 201 steps at equal distances, the first and the last among them.

    >>> drawn_steps(3), drawn_steps(1000)[:3], drawn_steps(1000)[-1]
    ([0, 1, 2, 3], [0, 5, 10], 1000)
    """
    n_shown = min(n_steps, N_DRAWN_STEPS)
    return [round(at * n_steps / n_shown) for at in range(n_shown + 1)]


def told_steps(n_steps: int) -> list[int]:
    """0, 1, 2, 5, 10, 20, 50, ... and the last.

    >>> told_steps(50), told_steps(7)
    ([0, 1, 2, 5, 10, 20, 50], [0, 1, 2, 5, 7])
    """
    round_numbers = [digit * 10**power for power in range(6) for digit in (1, 2, 5)]
    return [0, *(step for step in round_numbers if step < n_steps), n_steps]


def _steps_in_terminal(result: Result) -> RichTable:
    shown = RichTable(
        box=None,
        pad_edge=False,
        title=Text("Mean over runs, then 10 to 90 %; entropy in bits", style="bold"),
        title_justify="left",
    )
    shown.add_column(Text("step"), justify="right")
    for heading in (*result.bandit.responses, "entropy"):
        shown.add_column(Text(visible(heading)), overflow="fold")
    spreads = _spreads(result)
    for step in told_steps(result.knobs.n_steps):
        shown.add_row(str(step), *(_cell(one, step) for one in spreads))
    return shown


def _cell(over_runs: Spread, step: int) -> str:
    mean, low, high = (written(float(part[step])) for part in over_runs)
    return f"{mean}  {low}–{high}"


def _spreads(result: Result) -> list[Spread]:
    """Of the probability of each response, then of the entropy; arrays over the steps."""
    paths = [spread(result.paths[:, :, k]) for k in range(len(result.bandit.responses))]
    return [*paths, spread(result.entropies_bits)]


def _numbers_of_steps(result: Result) -> Table:
    spreads = _spreads(result)
    headings: list[str] = []
    for name in (*(f"π({response})" for response in result.bandit.responses), "entropy, bits"):
        headings += [f"{name}, mean", f"{name}, 10 to 90 %"]
    return Table(
        name="collapse-steps",
        title="The policy after each step, over the runs",
        headings=("step", *headings),
        rows=tuple((step, *_numbers_at(spreads, step)) for step in range(result.knobs.n_steps + 1)),
        in_terminal=False,
    )


def _numbers_at(spreads: Sequence[Spread], step: int) -> Iterator[Value]:
    for over_runs in spreads:
        mean, low, high = (float(part[step]) for part in over_runs)
        yield mean
        yield Between(low, high)


# ---- what the runs end at


def _policies(result: Result) -> Table:
    n_steps = f"after {result.knobs.n_steps:,} steps"
    policies = {
        "at first": np.asarray(result.bandit.initial),
        f"{n_steps}, mean of the runs": result.final_mean,
        f"{n_steps} of the exact gradient": result.expected[-1],
        "where Eq. 5.2 is largest": result.optimum,
        "in proportion to reward": result.reward_proportional,
    }
    return Table(
        name="collapse-policies",
        title="The policy, and what it may be held against",
        headings=("policy", *result.bandit.responses, "entropy, bits"),
        rows=tuple(
            (name, *policy.tolist(), float(entropy_bits(policy)) if np.isfinite(policy).all() else None)
            for name, policy in policies.items()
        ),
        note="Eq. 5.2 is largest at π₀ e^(R/β), normalised; without a penalty, with everything on the largest reward. "
        "In proportion to reward is what the paper would have. The exact gradient is that of Eq. 5.2, one step a draw, "
        "at the same learning rate.",
    )


def _shares(result: Result) -> Table:
    responses = zip(result.bandit.responses, result.ever_drawn, result.collapsed_onto, strict=True)
    rows: list[tuple[Value, ...]] = [(name, *_share(drawn), *_share(onto)) for name, drawn, onto in responses]
    return Table(
        name="collapse-shares",
        title=f"Which responses were ever drawn, and which one took more than {COLLAPSED:g}",
        headings=("response", "drawn", "drawn, 95 %", "collapsed", "collapsed, 95 %"),
        rows=(*rows, ("any", None, None, *_share(result.collapsed))),
        note=f"Shares of {result.knobs.n_runs:,} runs with Wilson's 95 % interval. Without a penalty a policy nears 1 "
        f"ever more slowly, so the share that has passed {COLLAPSED:g} depends on the number of steps.",
    )


def _share(proportion: Proportion) -> tuple[Value, Value]:
    if proportion.value is None or proportion.low is None or proportion.high is None:
        return None, None
    return proportion.value, Between(proportion.low, proportion.high)


def _reading(result: Result) -> Iterator[str]:
    bandit, beta = result.bandit, result.knobs.beta
    order = sorted(range(len(bandit.rewards)), key=lambda k: -bandit.rewards[k])
    best, second = order[:2]
    if beta == 0:
        yield (
            "Without a KL penalty the expected reward is largest where the best response has everything: narrowing is "
            "what the objective asks for, whichever rule follows it."
        )
    else:
        gap = (bandit.rewards[best] - bandit.rewards[second]) / beta
        yield (
            f"With the penalty every finite reward moves the odds by a finite factor: {bandit.responses[best]} against "
            f"{bandit.responses[second]} by e^{gap:.3g} at β = {beta:g}. That is exponential in reward, not in "
            "proportion to it."
        )
    drawn = result.ever_drawn[best]
    if drawn.k < drawn.n:
        yield (
            f"{bandit.responses[best]} has the largest reward and was never drawn in {drawn.n - drawn.k:,} of "
            f"{drawn.n:,} runs: no reward can teach a response that is not tried."
        )
    yield (
        f"A bandit of {len(bandit.responses)} responses is no language model: this shows what such rules do to any "
        "policy, not what happened to one model."
    )
