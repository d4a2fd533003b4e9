"""Arrays in 8 or 4 bits: what comes back, what a file has, and what is refused."""

import numpy as np
import pytest
import torch

from bowstring import _native
from bowstring.image.autoencoder import ImageAutoencoder
from bowstring.image.weights import load_autoencoder, load_decoder, save_autoencoder
from bowstring.text.weights import load_model, save_model
from bowstring.weights.folder import named_tensors
from bowstring.weights.format.parquet import WeightsFile, write
from bowstring.weights.layout import DECODER, ENCODER, TOKENIZER, find
from bowstring.weights.quant.rounded import (
    few_bit_parts,
    few_bit_tensors,
    kept_in_8_bits,
    read_array,
    restored,
    rounded,
)
from bowstring.weights.tensors import round_module
from tests.conftest import build_network

SHAPES = [(16, 32), (5, 7), (3, 4, 5, 6), (40, 1), (17, 65)]


def drawn(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
def test_no_number_is_further_than_half_a_step(shape):
    """A step is the largest of its group over 127, and FP16 keeps eleven bits of it."""
    array = drawn(shape)
    apart = np.abs(restored(rounded(array), shape) - array)
    assert (
        apart <= np.abs(array).reshape(shape[0], -1).max(1).reshape(-1, *[1] * (len(shape) - 1)) / 253
    ).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_what_was_rounded_is_kept_to_the_bit(shape, monkeypatch):
    array = restored(rounded(drawn(shape)), shape)
    again = kept_in_8_bits(array)
    assert again is not None and np.array_equal(restored(again, shape), array)
    assert kept_in_8_bits(drawn(shape, seed=1)) is None
    monkeypatch.setattr(_native, "library", lambda: None)
    assert np.array_equal(restored(again, shape), array)


@pytest.mark.parametrize("bits", [4, 8])
def test_a_file_gives_back_what_was_written(bits, tmp_path):
    array = drawn((9, 50))
    write(tmp_path / "a.parquet", few_bit_parts("one", rounded(array, bits)), {})
    file = WeightsFile(tmp_path / "a.parquet")
    assert np.array_equal(read_array(file, "one", (9, 50)), restored(rounded(array, bits), (9, 50)))
    assert sum(entry.size for entry in file.entries.values()) == 128 * bits + 64 * (8 // bits)
    for wrong in ((9, 65), (17, 50), (9,)):
        with pytest.raises(ValueError, match="one"):
            read_array(file, "one", wrong)
    with pytest.raises(ValueError, match="two"):
        read_array(file, "two", (9, 50))


def test_a_rounded_network_stays_the_same_in_its_folder(codec, tmp_path):
    """Heads lie in 8 bits, the trunk in FP16; written again, the files are the same bytes."""
    network = build_network(modalities=("text", "image"))
    round_module(network.heads)
    save_model(tmp_path / "a", network, codec)
    stored = WeightsFile(tmp_path / "a" / "heads" / "text_head.parquet")
    assert stored.entries["heads.text.table.lines"].dtype == "U8" and "heads.text.table" not in stored
    loaded, _, _ = load_model(tmp_path / "a")
    for name, parameter in loaded.heads.state_dict().items():
        assert torch.equal(parameter, network.heads.state_dict()[name]), name
    save_model(tmp_path / "b", loaded, codec)
    for name in ("shared_transformer", "heads/text_head", "heads/image_head"):
        a, b = ((tmp_path / place / f"{name}.parquet").read_bytes() for place in "ab")
        assert a == b, name


def test_vectors_keep_every_bit():
    tensors = dict(few_bit_tensors({"v": drawn((7,)), "m": drawn((2, 40))}))
    assert sorted(tensors) == ["m.lines", "m.scales", "v"]
    assert bytes(tensors["v"].data) == drawn((7,)).tobytes()


def test_parts_that_do_not_fit_the_network_are_named(codec, tmp_path):
    network = build_network()
    round_module(network.heads)
    save_model(tmp_path / "m", network, codec)
    path = tmp_path / "m" / "heads" / "text_head.parquet"
    tensors = dict(named_tensors(network.heads, "float32"))
    tensors = {f"heads.{name}": one for name, one in tensors.items()}
    cut = tensors | {"heads.text.up.weight.lines": tensors["heads.text.down.weight.lines"]}
    write(path, cut.items(), {})
    with pytest.raises(ValueError, match=r"text_head\.parquet.*heads\.text\.up\.weight: lines is"):
        load_model(tmp_path / "m")
    write(path, ((name, one) for name, one in tensors.items() if name != "heads.text.up.weight.scales"), {})
    with pytest.raises(ValueError, match=r"heads\.text\.up\.weight"):
        load_model(tmp_path / "m")
    write(path, (tensors | {"heads.text.odd.lines": tensors["heads.text.table.lines"]}).items(), {})
    with pytest.raises(ValueError, match=r"'heads\.text\.odd', which no parameter"):
        load_model(tmp_path / "m")


def test_a_picture_is_drawn_without_the_encoder(tmp_path):
    torch.manual_seed(0)
    codec = ImageAutoencoder()
    codec.basis.data.normal_()
    save_autoencoder(tmp_path, codec)
    whole, tokens = load_autoencoder(tmp_path), torch.randn(1, 64, 64)
    (tmp_path / ENCODER).unlink()
    decoder = load_decoder(tmp_path)
    assert torch.equal(decoder.decode(tokens), whole.decode(tokens))
    assert not any(name.startswith("encoder") for name in decoder.state_dict())
    with pytest.raises(FileNotFoundError, match=r"encoder\.parquet is missing.*read"):
        load_autoencoder(tmp_path)
    (tmp_path / DECODER).unlink()
    with pytest.raises(FileNotFoundError, match=r"decoder\.parquet is missing.*drawn"):
        load_decoder(tmp_path)


def test_models_side_by_side_share_a_tokenizer(codec, tmp_path):
    save_model(tmp_path / "a", build_network(), codec)
    shared = tmp_path / TOKENIZER
    shared.parent.mkdir()
    (tmp_path / "a" / TOKENIZER).rename(shared)
    assert find(tmp_path / "a", TOKENIZER) == shared
    assert load_model(tmp_path / "a")[1].vocab == codec.vocab
    codec.save(tmp_path / "a" / TOKENIZER)
    assert find(tmp_path / "a", TOKENIZER) == tmp_path / "a" / TOKENIZER  # its own comes first
