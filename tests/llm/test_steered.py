"""Energies of imported models: laws that are known."""

from math import comb, exp, log

import numpy as np
import pytest

from .test_generate import model  # noqa: F401  a fixture

WARM = 4.0
OPEN = {"temperature": WARM, "top_k": 0, "top_p": 1.0, "max_tokens": 1, "activations": 16}


def law(model, tilt=0.0):  # noqa: F811
    """Probabilities of the token behind "ab"."""
    decoder = model.decoder.fine
    logits = decoder.logits(decoder.forward(np.array(model.tokenizer.encode("ab")), decoder.cache()))[-1]
    odds = np.exp((logits.astype(np.float64) - logits.max() - tilt) / WARM)
    return odds / odds.sum()


def drawn(model, count, **options):  # noqa: F811
    made = [model.generate("ab", seed=seed, **OPEN, **options) for seed in range(count)]
    return [one.tokens[0] if one.tokens else None for one in made]


def test_energies_of_tokens_tilt_the_odds_of_each(model):  # noqa: F811
    n, tilt = 1200, np.zeros(model.decoder.config.vocab, np.float32)
    best = int(law(model).argmax())
    tilt[best] = 2 * WARM
    expected, before = law(model, 1.5 * tilt)[best], law(model)[best]
    error = (expected * (1 - expected) / n) ** 0.5
    share = np.mean([one == best for one in drawn(model, n, energies=[(tilt, 1.5)])])
    assert abs(share - expected) < 4 * error < before - expected


def test_a_token_of_infinite_energy_is_never_written(model):  # noqa: F811
    best = int(law(model).argmax())
    tilt = np.where(np.arange(model.decoder.config.vocab) == best, np.inf, 0).astype(np.float32)
    assert best not in drawn(model, 60, energies=[(tilt, 1.0)])


def test_energies_of_whole_texts_resample_candidates(model):  # noqa: F811
    best, m, n = int(law(model).argmax()), 4, 600
    p, odds = law(model)[best], exp(-log(5))
    expected = sum(
        comb(m, k) * p**k * (1 - p) ** (m - k) * k / (k + (m - k) * odds) for k in range(1, m + 1)
    )  # the others have a fifth of the odds
    energy = lambda text: 0.0 if list(text.tokens[:1]) == [best] else log(5)
    share = np.mean([one == best for one in drawn(model, n, energies=[(energy, 1.0)], candidates=m)])
    assert abs(share - expected) < 4 * (expected * (1 - expected) / n) ** 0.5
    assert expected > p + 0.02


def test_a_text_that_will_not_do_is_written_again(model):  # noqa: F811
    made = model.generate("ab", max_tokens=4, valid=lambda text: False, retries=2)
    assert [one.strength for one in made.tries] == [1, 2, 4] and "valid" in made.notes[-1]
    with pytest.raises(ValueError, match="retries"):
        model.generate("ab", max_tokens=4, valid=lambda text: True, retries=99)
