"""Laws of the encoder: one text has one vector, however it comes; files are checked."""

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from bowstring.memory.embed import NEAR, Sizes, TextEncoder, default_embedder, encode, padded
from bowstring.train.encode.tower import Tower
from bowstring.weights.format.parquet import Tensor, WeightsError, WeightsFile, write

WORDS = ["[CLS]", "[UNK]", *"a fox dog ran over the hill and away".split()]
TEXTS = ["a fox", "the dog ran over the hill and away", "a fox ran", "hill"]


def small_tokenizer():
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A", None, [("[CLS]", 0)])
    return tokenizer


@pytest.fixture(scope="module")
def tower():
    torch.manual_seed(0)
    tower = Tower(
        Sizes(len(WORDS), entry=8, width=24, depth=2, attention_heads=3, ffn_hidden=16, context=5, out=12)
    )
    with torch.no_grad():
        for one in tower.parameters():
            one.add_(0.3 * torch.randn_like(one))
    return tower


@pytest.fixture(scope="module")
def encoder(tower):
    return tower.encoder(small_tokenizer())


def test_numpy_gives_what_the_tower_learned(tower, encoder):
    short = [TEXTS[0], TEXTS[2], TEXTS[3]]
    tokens, valid = (torch.from_numpy(one) for one in padded([encoder.pieces(text) for text in short]))
    np.testing.assert_allclose(encoder(short), tower(tokens, valid).detach().numpy(), atol=1e-6)


def test_a_vector_does_not_depend_on_what_is_encoded_beside_it(encoder):
    together = encoder(TEXTS)
    assert together.shape == (4, 12)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)
    for text, row in zip(TEXTS, together, strict=True):
        assert encoder(text).shape == (12,)
        np.testing.assert_allclose(encoder(text), row, atol=1e-6)


def test_all_windows_of_a_long_text_count_by_their_tokens(encoder):
    ids = encoder.pieces(TEXTS[1])
    assert len(ids) == 9  # windows of 5 and 4
    sums = encoder.summed([ids[:5]]) + encoder.summed([ids[5:]])
    wanted = (sums / 9 @ encoder.weights["out"].T)[0]
    np.testing.assert_allclose(encoder(TEXTS[1]), wanted / np.linalg.norm(wanted), atol=1e-6)


def test_a_saved_encoder_is_the_same_but_for_the_rounding_of_its_matrices(encoder, tmp_path):
    encoder.save(tmp_path)
    loaded = TextEncoder.load(tmp_path)
    for name, weight in encoder.weights.items():
        scale = np.abs(weight).max(-1, keepdims=True) / 127 if weight.ndim > 1 and name != "places" else 0
        assert (np.abs(loaded.weights[name] - weight) <= scale * 0.501 + 1e-9).all()
    assert ((loaded(TEXTS) * encoder(TEXTS)).sum(1) > 0.999).all()
    loaded.save(tmp_path / "again")
    again = TextEncoder.load(tmp_path / "again")
    np.testing.assert_allclose(again(TEXTS), loaded(TEXTS), atol=1e-6)


@pytest.mark.parametrize(
    ("bad", "says"), [([], "no texts"), (3, "sentences is of type int"), (None, "is None")]
)
def test_what_is_no_text_is_refused(encoder, bad, says):
    with pytest.raises((TypeError, ValueError), match=says):
        encoder(bad)


def test_a_text_without_words_has_the_vector_of_how_texts_begin(encoder):
    np.testing.assert_allclose(encoder(""), encoder(" \n"), atol=1e-6)
    assert np.linalg.norm(encoder("")) == pytest.approx(1, abs=1e-6)


def test_files_of_other_sizes_are_refused(encoder, tmp_path):
    encoder.save(tmp_path)
    path = tmp_path / "encoder.parquet"
    file = WeightsFile(path)
    whole = [(name, np.array(file[name])) for name in file]

    def rewritten(metadata, drop=""):
        write(path, [(name, Tensor.of(one)) for name, one in whole if name != drop], metadata)
        return TextEncoder.load(tmp_path)

    sizes = dict(file.metadata)
    with pytest.raises(ValueError, match="does not say the sizes"):
        rewritten(sizes | {"colour": 3})
    with pytest.raises(ValueError, match="vocab is 99999999"):
        rewritten(sizes | {"vocab": 99999999})
    with pytest.raises(ValueError, match="lacks tensor"):
        rewritten(sizes, "entries.codes")
    with pytest.raises(ValueError, match="is it another"):
        rewritten(sizes | {"out": 13})


def test_a_flipped_bit_is_found(encoder, tmp_path):
    encoder.save(tmp_path)
    path = tmp_path / "encoder.parquet"
    data = bytearray(path.read_bytes())
    offset = WeightsFile(path).entries["entries.codes"].offset
    data[offset] ^= 1
    path.write_bytes(data)
    with pytest.raises(WeightsError):
        TextEncoder.load(tmp_path)


ALIKE = (  # a text, another wording of it, and some of its words with another meaning
    ("The physician cured the child.", "A doctor healed a kid.", "The child cured the ham."),
    ("I bought a new car.", "I have just purchased an automobile.", "I bought a new song."),
    ("The film was terribly dull.", "What a boring movie!", "The knife was terribly dull."),
    ("Where does my sister live?", "the home of my female sibling", "Where does the river flow?"),
    ("He is very wealthy.", "The man has plenty of money.", "He is very tall."),
    ("The cat sat on the sofa.", "A kitten was resting on the couch.", "The tax on the sofa was high."),
    (
        "sum a list of numbers",
        "def total(xs):\n    return sum(xs)",
        "def read(path):\n    return open(path).read()",
    ),
    ("It rained all day.", "The weather was wet from morning to night.", "She complained all day."),
)


def test_what_means_the_same_lies_nearer_than_what_has_the_same_words():
    texts, same, other = (encode([*several]) for several in zip(*ALIKE, strict=True))
    nearer = (texts * same).sum(1) - (texts * other).sum(1)
    assert (nearer > 0).sum() >= 7, nearer  # of eight


def test_every_text_is_nearer_to_its_other_wording_than_to_those_of_unrelated_ones():
    texts, same, _ = (encode([*several]) for several in zip(*ALIKE, strict=True))
    assert (np.argmax(texts @ same.T, 1) == np.arange(len(ALIKE))).all()


def test_the_default_embedder_says_which_weights_it_has():
    one = default_embedder()
    assert one.identity == default_embedder().identity and one.width == 384 and one.near == NEAR
    assert one(["a fox"]).shape == (1, 384) and len(one.hash) == 16
    doubles = encode(
        ["The fox lives behind the mill.", "the fox lives behind the mill", "The tax is due in May."]
    )
    assert doubles[0] @ doubles[1] > NEAR > doubles[0] @ doubles[2]


def test_the_encoder_is_small():
    sizes = TextEncoder.load().sizes
    assert sum(int(np.prod(shape)) for shape in sizes.shapes().values()) <= 4_000_000
