"""The arms: a model and a way of asking it for people."""

from __future__ import annotations

from dataclasses import dataclass, field

MODES = {
    "base": "a form with worked examples, which the model continues",
    "aligned": "a request through the chat template",
    "verbalized": "several personas a call, each with a probability that the model states",
    "quota": "the fixed fields are drawn from the target and given; the model writes the rest",
    "plan": "the fixed fields are given, too; the first model plans the short ones, the second writes the texts",
}
PLANNER = " (planner)"  # behind an arm's name: the model that plans


@dataclass(frozen=True)
class Way:
    """One arm. `is_chat`: asked through the chat template, else by a form. `planner`: of mode "plan"."""

    name: str
    model: str
    mode: str
    is_chat: bool
    planner: str | None = None
    is_form: bool = False  # though it has a chat template
    family: str | None = None  # of which it is one setting, on a frontier
    sampler: dict[str, float] = field(default_factory=dict)

    @property
    def has_cell(self) -> bool:
        """Whether the fixed fields are given."""
        return self.mode in ("quota", "plan")
