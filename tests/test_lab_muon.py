"""Muon: updates with nearly equal singular values, and the same steps as torch's own within its bfloat16."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from llama_diversity.lab.muon import Muon, orthogonalised  # noqa: E402


@pytest.mark.parametrize("shape", [(20, 20), (12, 40), (40, 12)])
def test_singular_values_become_about_one_and_the_vectors_stay(shape: tuple[int, int]) -> None:
    matrices = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    made = orthogonalised(matrices)
    for before, after in zip(matrices, made, strict=True):
        values = torch.linalg.svdvals(after)
        assert 0.3 < values.min()
        assert values.max() < 1.3
        u, _, v = torch.linalg.svd(before, full_matrices=False)
        inside = u.T @ after @ v.T  # diagonal where the singular vectors are the same
        assert (inside - torch.diag(torch.diagonal(inside))).abs().max() < 1e-4


def test_the_scale_of_a_gradient_does_not_matter() -> None:
    matrices = torch.randn(2, 8, 8, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(orthogonalised(1000 * matrices), orthogonalised(matrices))


@pytest.mark.parametrize("shape", [(16, 16), (48, 16), (16, 48)])
def test_steps_are_those_of_torch(shape: tuple[int, int]) -> None:
    start = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    ours, theirs = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    one, other = Muon([ours], lr=0.1, weight_decay=0.1), torch.optim.Muon([theirs], lr=0.1, weight_decay=0.1)
    for seed in range(4):
        for parameter, optimiser in ((ours, one), (theirs, other)):
            parameter.grad = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
            optimiser.step()
    moved = (theirs.detach() - start).norm()
    assert moved > 1
    assert (ours - theirs).norm() < 0.02 * moved  # bfloat16 has three digits


def test_a_step_by_hand() -> None:
    """One row: any gradient becomes a row of length s, s the five-fold quintic of 1; rate 0.1, decay 0.5."""
    s = 1.0
    for _ in range(5):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    parameter = torch.nn.Parameter(torch.tensor([[2.0, 0.0]]))
    parameter.grad = torch.tensor([[0.0, 7.0]])
    Muon([parameter], lr=0.1, weight_decay=0.5, momentum=0.9).step()
    torch.testing.assert_close(parameter.detach(), torch.tensor([[2.0 * 0.95, -0.1 * s]]))
