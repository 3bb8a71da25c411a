"""The Muon optimiser: momentum, and every update turned into a matrix with nearly equal singular values.

After Jordan's "Muon: an optimizer for hidden layers in neural networks" (2024), with its five Newton-Schulz steps.
torch has one too, which multiplies in bfloat16 alone: where the processor has no such instructions, that takes longer
than the model itself. This one takes the type it is given, and all matrices of one shape at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

_A, _B, _C = 3.4445, -4.7750, 2.0315  # the steepest quintic at zero
_STEPS = 5


class Muon(torch.optim.Optimizer):
    """For matrices only. `dtype` is that of the multiplications."""

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        lr: float,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step along the gradients that are there; `closure` must be None."""
        for group in self.param_groups:
            same: dict[torch.Size, list[tuple[nn.Parameter, Tensor]]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    update = self._with_momentum(parameter, group["momentum"])
                    same.setdefault(parameter.shape, []).append((parameter, update))
            for shape, members in same.items():
                factor = group["lr"] * max(1.0, shape[0] / shape[1]) ** 0.5
                updates = orthogonalised(torch.stack([update for _, update in members]).to(self.dtype))
                for (parameter, _), update in zip(members, updates, strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-factor)

    def _with_momentum(self, parameter: nn.Parameter, momentum: float) -> Tensor:
        """Nesterov's: the gradient moved towards the running mean that it is part of."""
        state: dict[str, Any] = self.state[parameter]
        assert parameter.grad is not None
        if "mean" not in state:
            state["mean"] = torch.zeros_like(parameter.grad)
        state["mean"].lerp_(parameter.grad, 1 - momentum)
        return parameter.grad.lerp(state["mean"], momentum)


def orthogonalised(matrices: Tensor) -> Tensor:
    """(n, rows, columns) with the same singular vectors and singular values of about 1 (0.7 to 1.2)."""
    tall = matrices.shape[1] > matrices.shape[2]
    x: Tensor = matrices.mT if tall else matrices
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(_STEPS):
        gram = x @ x.mT
        quintic = torch.baddbmm(gram, gram, gram, beta=_B, alpha=_C)
        x = torch.baddbmm(x, quintic, x, beta=_A)
    return x.mT if tall else x
