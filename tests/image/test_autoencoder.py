import numpy as np
import pytest
import torch

from bowstring.image.autoencoder import IMAGE_CHANNELS, INSIDE, OUTSIDE, PATCH, ImageAutoencoder, decibels
from bowstring.image.weights import load_autoencoder, save_autoencoder


@pytest.fixture(scope="module")
def pixels():
    rng = torch.Generator().manual_seed(0)
    rough = torch.randn(3, 3, 32, 32, generator=rng)
    smooth = torch.nn.functional.interpolate(rough, (INSIDE, INSIDE), mode="bicubic")
    return smooth.clamp(-1, 1)


@pytest.fixture(scope="module")
def codec(pixels):
    torch.manual_seed(0)
    codec = ImageAutoencoder().eval().requires_grad_(requires_grad=False)
    codec.fit_basis(pixels)
    return codec


def test_a_fresh_codec_projects_on_the_principal_components_of_its_patches(codec, pixels):
    mean = pixels.mean((0, 2, 3), keepdim=True)
    cut = (pixels - mean).unfold(2, PATCH, PATCH).unfold(3, PATCH, PATCH)  # b c y x p p
    patches = cut.permute(0, 2, 3, 1, 4, 5).reshape(-1, 3 * PATCH**2).numpy()
    _, sizes, axes = np.linalg.svd(patches.astype(np.float64), full_matrices=False)
    kept = (patches @ axes[:IMAGE_CHANNELS].T) @ axes[:IMAGE_CHANNELS]
    tokens = codec.encode(pixels)
    assert tokens.shape == (3, 64, IMAGE_CHANNELS)
    energy = tokens.flatten(0, 1).square().sum(0).numpy()
    np.testing.assert_allclose(energy, sizes[:IMAGE_CHANNELS] ** 2, rtol=2e-3)
    back = torch.nn.functional.conv_transpose2d(codec.raw(pixels), codec.basis, stride=PATCH)
    back = back.unfold(2, PATCH, PATCH).unfold(3, PATCH, PATCH).permute(0, 2, 3, 1, 4, 5)
    np.testing.assert_allclose(back.reshape(-1, 3 * PATCH**2).numpy(), kept, atol=2e-3)


def test_pictures_come_out_twice_as_wide_and_in_range(codec, pixels):
    out = codec.decode(codec.encode(pixels))
    assert out.shape == (3, 3, OUTSIDE, OUTSIDE)
    assert out.abs().max() <= 1


def test_scale_and_shift_of_tokens_do_not_change_the_picture(codec, pixels):
    before = codec.decode(codec.encode(pixels))
    codec.shift.copy_(torch.linspace(-1, 1, IMAGE_CHANNELS))
    codec.scale.copy_(torch.linspace(0.5, 2, IMAGE_CHANNELS))
    after = codec.decode(codec.encode(pixels))
    codec.shift.zero_()
    codec.scale.fill_(1)
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)


def test_another_size_is_refused(codec):
    with pytest.raises(ValueError, match="256"):
        codec.encode(torch.zeros(1, 3, 128, 128))


def test_decibels_of_a_known_error():
    assert decibels(torch.tensor(4e-3)) == pytest.approx(30.0, abs=1e-4)


def test_a_codec_survives_its_file(codec, pixels, tmp_path):
    save_autoencoder(tmp_path, codec)
    again = load_autoencoder(tmp_path)
    torch.testing.assert_close(again.encode(pixels), codec.encode(pixels), atol=2e-2, rtol=2e-2)
    with pytest.raises(FileNotFoundError, match="cannot be drawn"):
        load_autoencoder(tmp_path / "nothing")
