"""Principal components as channels: what they keep, what they lose, and how large they are."""

import numpy as np
import pytest

from bowstring.speech.pca import PCA


@pytest.fixture(scope="module")
def blocks():
    rng = np.random.default_rng(0)
    return rng.normal(size=(400, 6)) @ np.diag([3, 2, 1, 0.5, 0.2, 0.1]) @ rng.normal(size=(6, 6)) + 5


def test_all_channels_say_all(blocks):
    pca = PCA.fit(blocks, 6)
    assert np.allclose(pca.inverse_transform(pca.transform(blocks)), blocks, atol=1e-4)


def test_what_is_lost_is_what_the_other_components_hold(blocks):
    """The nearest of all projections onto as many dimensions (Eckart and Young 1936)."""
    pca = PCA.fit(blocks, 2)
    rest = np.linalg.svd(blocks - blocks.mean(0), compute_uv=False)[2:]
    lost = np.square(pca.inverse_transform(pca.transform(blocks)) - blocks).sum()
    assert lost == pytest.approx(np.square(rest).sum(), rel=1e-4)


def test_channels_say_of_what_they_made_what_it_was_made_of(blocks):
    pca, channels = PCA.fit(blocks, 3), np.random.default_rng(1).normal(size=(9, 3))
    assert np.allclose(pca.transform(pca.inverse_transform(channels)), channels, atol=1e-4)


def test_channels_are_independent_and_weigh_as_the_root_of_what_varies(blocks):
    pca = PCA.fit(blocks, 4)
    found = np.cov(pca.transform(blocks).T)
    variances = np.linalg.eigvalsh(np.cov(blocks.T))[::-1][:4]
    expected = np.sqrt(variances) / np.sqrt(variances).mean()
    assert np.allclose(found, np.diag(expected), atol=1e-3)
