import pytest
import torch

from bowstring.train.optim import Muon, fast_dtype, orthogonal


@pytest.mark.parametrize("shape", [(12, 12), (8, 30), (30, 8)])
def test_singular_values_become_about_one_and_directions_stay(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    made = orthogonal(matrix)
    values = torch.linalg.svdvals(made)
    assert 0.6 < values.min() and values.max() < 1.3
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    turned = left.T @ made @ right.T  # the same singular vectors: this is diagonal
    off = turned - torch.diag(turned.diagonal())
    assert off.abs().max() < 1e-4


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_matrix_of_low_rank_does_not_burst(dtype):
    rng = torch.Generator().manual_seed(0)
    low = torch.randn(96, 3, generator=rng) @ torch.randn(3, 160, generator=rng)
    values = torch.linalg.svdvals(orthogonal(low, dtype).float())
    assert 0.6 < values[2] and values[0] < 1.3
    assert values[3] < 0.5  # rounding, made larger


def test_agrees_with_torchs_own_where_both_work():
    rng = torch.Generator().manual_seed(1)
    start, target = (torch.randn(16, 24, generator=rng) for _ in range(2))
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    steppers = (
        Muon([ours], lr=0.02, weight_decay=0.1),
        torch.optim.Muon([theirs], lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
    )
    for _ in range(5):
        for parameter, stepper in zip((ours, theirs), steppers, strict=True):
            stepper.zero_grad()
            (parameter - target).square().sum().backward()
            stepper.step()
    moved = (theirs - start).norm()
    assert (ours - theirs).norm() < 0.05 * moved  # torch's works in bfloat16


def test_the_fast_type_is_one_of_two():
    assert fast_dtype() in (torch.float32, torch.bfloat16)
