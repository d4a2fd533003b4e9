import os

os.environ["OMP_NUM_THREADS"] = "1"

import random

import pytest
import torch

from bowstring.nn.config import NetworkConfig
from bowstring.nn.network import UnifiedScoreNetwork
from bowstring.text.tokenizer import TextTokenizer
from bowstring.text.weights import save_model
from bowstring.train.data.grammar import story
from bowstring.train.data.snippets import snippet

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def codec():
    texts = [story(random.Random(i)).text for i in range(60)] + [
        snippet(random.Random(i)).source for i in range(60)
    ]
    return TextTokenizer.train(texts, 512)


def build_network(vocab=512, modalities=("text",), **sizes):
    """A small network whose every parameter matters: zero-initialised ones are drawn too."""
    torch.manual_seed(0)
    network = UnifiedScoreNetwork(
        NetworkConfig(**{"width": 128, "depth": 3, "ffn_hidden": 192, "rank": 32, "vocab": vocab} | sizes),
        modalities,
    )
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return network.eval()


@pytest.fixture(scope="session")
def network():
    return build_network()


@pytest.fixture(scope="session")
def folder(tmp_path_factory, network, codec):
    path = tmp_path_factory.mktemp("model")
    save_model(path, network, codec, blocks=[4, 8], context=128)
    return path
