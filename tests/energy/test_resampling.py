"""Laws of what is chosen among candidates, by enumeration."""

from itertools import product

import numpy as np
import pytest

from bowstring.energy.resampling import metropolis, resampled, weights

P = np.array([0.5, 0.3, 0.2])  # the model's law of three things
E = np.array([1.2, 0.0, 0.4])
TARGET = P * np.exp(-E) / (P * np.exp(-E)).sum()


def law_of(choose, count, draws=2000):
    """The law of the chosen thing, all candidates enumerated and the choice's numbers on a fine grid."""
    rng, law = np.random.default_rng(0), np.zeros(3)
    for things in product(range(3), repeat=count):
        u = (rng.permuted(np.tile(np.arange(draws), (count, 1)), axis=1) + 0.5) / draws
        chosen = [things[choose(E[list(things)], u[:, i])] for i in range(draws)]
        law += P[list(things)].prod() * np.bincount(chosen, minlength=3) / draws
    return law


def test_resampling_draws_by_the_weights_of_what_is_there():
    things = [0, 1, 1, 2]
    u = (np.arange(10_000) + 0.5) / 10_000
    chosen = np.bincount([resampled(E[things], one) for one in u], minlength=4) / 10_000
    np.testing.assert_allclose(chosen, weights(E[things]), atol=2e-4)


def test_the_law_of_resampling_is_the_product_law_up_to_one_over_the_candidates():
    """Enumerated: at n candidates the bias is O(1/n)."""
    bias = [np.abs(law_of(lambda e, u: resampled(e, u[0]), n) - TARGET).sum() for n in (1, 2, 4)]
    assert bias[0] == pytest.approx(np.abs(P - TARGET).sum(), abs=1e-3)
    assert bias[1] < 0.62 * bias[0] and bias[2] < 0.6 * bias[1]


def test_a_metropolis_chain_has_the_law_of_its_kernel_and_keeps_the_product_law():
    """After n offers the law is P T^(n-1), T by hand; TARGET T = TARGET."""
    accept = np.minimum(1, np.exp(E[:, None] - E[None]))
    kernel = P[None] * accept
    kernel += np.diag(1 - kernel.sum(1))
    np.testing.assert_allclose(TARGET @ kernel, TARGET, atol=1e-12)
    for count in (2, 3):
        wanted = P @ np.linalg.matrix_power(kernel, count - 1)
        np.testing.assert_allclose(law_of(metropolis, count, 4000), wanted, atol=4e-3)


def test_what_is_forbidden_is_never_chosen():
    assert {resampled([np.inf, 1.0, np.inf], u) for u in (0.0, 0.5, 0.999)} == {1}
    assert metropolis([np.inf, 1.0, np.inf], [0.9, 0.9, 0.0]) == 1


@pytest.mark.parametrize("energies", [[np.inf, np.inf], [np.nan, 0.0], []])
def test_candidates_without_a_law_are_refused(energies):
    with pytest.raises(ValueError, match=r"NaN|finite"):
        resampled(energies, 0.5)
