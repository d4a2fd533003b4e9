"""What the numbers about fields rest on: parts, and distances that are zero where nothing differs."""

from __future__ import annotations

import pytest
import torch

from bowstring.core.rng import Rng
from bowstring.energy.potential import phi4
from bowstring.eval.physics import distances, exact_denoiser, in_parts, tilted_power


def test_parts_draw_what_the_whole_draws():
    """Every sample has its own numbers, whichever part and thread it is drawn in."""
    denoise = exact_denoiser(torch.ones(4, 4))
    parts = in_parts(lambda first, n: tilted_power(denoise, 4, first, n) * n, 10, 4)
    assert len(parts) == 3
    assert torch.allclose(sum(parts) / 10, tilted_power(denoise, 4, 0, 10), rtol=1e-5)


def test_threads_of_the_caller_stay_as_they_were():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        inside = in_parts(lambda first, n: torch.tensor([torch.get_num_threads()]), 4, 2)
        assert torch.cat(inside).tolist() == [1, 1]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_fields_are_at_no_distance_from_themselves():
    x = Rng.of(0, 60).normal(16, 16)
    found = distances(x, x, x, phi4(0.3, 0.5))
    assert found["spectrum_error"].value == pytest.approx(0)
    assert found["frechet"].value == pytest.approx(0, abs=1e-8)
    assert found["boltzmann_kl"].value == pytest.approx(0, abs=1e-6)
    assert all(one.se is not None and one.n == 60 for one in found.values())


def test_twice_the_power_is_a_spectrum_error_of_one():
    x = Rng.of(0, 60).normal(16, 16)
    assert distances(2**0.5 * x, x, x, phi4(0.3, 0.5))["spectrum_error"].value == pytest.approx(1)
