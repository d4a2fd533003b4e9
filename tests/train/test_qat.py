"""Fake quantisation is the rounding of the kernels, and training with it brings the student nearer."""

import numpy as np
import pytest
import torch

from bowstring.nn.config import NetworkConfig
from bowstring.nn.network import UnifiedScoreNetwork
from bowstring.train.data.corpora import snippet_documents, story_documents
from bowstring.train.schedule import Run
from bowstring.train.text.loop import Recipe
from bowstring.train.text.packing import Corpus
from bowstring.train.text.qat import (
    FakeQuantisation,
    QATRecipe,
    activation_second_moments,
    fit_qat,
    pack_student,
    qat_student,
    quantise_at_once,
    weighted_kl,
)
from bowstring.weights.quant.arrowquant import ArrowQuant
from bowstring.weights.quant.packed import linears, matrices

SMALL = NetworkConfig(width=64, depth=2, ffn_hidden=64, vocab=512, rank=16, cross_every=2)
RECIPE = Recipe("test", SMALL, rows=4, length=96)


@pytest.fixture(scope="module")
def corpus(codec):
    return Corpus.of([*story_documents(30), *snippet_documents(30)], codec)


@pytest.fixture
def teacher():
    torch.manual_seed(1)
    network = UnifiedScoreNetwork(SMALL)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network.eval()


def first_rows(corpus):
    return corpus.epoch(0, 0, 96, {"story": 1.0, "snippet": 1.0}, 0.1, 0.1)[:8]


@pytest.mark.parametrize("bits", [2, 4])
def test_what_training_rounds_is_what_is_packed(bits):
    weight = torch.randn(24, 128, generator=torch.Generator().manual_seed(0))
    rounding = FakeQuantisation(weight, bits)
    exact = ArrowQuant.with_scales(weight.numpy(), rounding.scale.detach().numpy(), bits)
    trained = rounding(weight).detach().numpy()
    # scales are integers of one 255th of the row's largest, and a code at a border may fall to the other side
    assert np.linalg.norm(exact.dequantise() - trained) < 0.02 * np.linalg.norm(trained)


def test_gradients_reach_weights_inside_the_range_and_scales():
    weight = torch.tensor([[0.4, 9.0] + [0.1] * 62], requires_grad=True)
    rounding = FakeQuantisation(weight, 2)
    with torch.no_grad():
        rounding.scale.fill_(1.0)
    rounding(weight).sum().backward()
    assert weight.grad[0, 0] == 1 and weight.grad[0, 1] == 0
    assert rounding.scale.grad.item() == pytest.approx(
        0.6 + 3 + 62 * 0.9, abs=1e-4
    )  # level - ratio, or the edge


def test_a_divergence_is_zero_only_between_equals():
    a, b = torch.randn(2, 5, 7).unbind(0)
    one = torch.ones(5)
    assert weighted_kl(a, a + 3, one).item() == pytest.approx(0, abs=1e-6)
    expected = (a.softmax(-1) * (a.log_softmax(-1) - b.log_softmax(-1))).sum(-1).mean()
    torch.testing.assert_close(weighted_kl(a, b, one), expected)


def test_activation_second_moments_are_measured_at_every_matrix_in_use(teacher, corpus):
    found = activation_second_moments(teacher, first_rows(corpus))
    names = {name for name, *_ in linears(teacher.trunk) if ".cross." not in name}
    assert set(found) == names and all(value.min() >= 0 for value in found.values())
    assert {m.bits for m in matrices(quantise_at_once(teacher, 4, first_rows(corpus))).values()} == {4}


def test_qat_brings_the_student_nearer_and_can_be_resumed(teacher, corpus, tmp_path):
    plan = QATRecipe(2, 30, rate=2e-3, recipe=RECIPE)
    losses = [loss for _, loss, _ in fit_qat(teacher, corpus, plan, Run(tmp_path))]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    assert [*fit_qat(teacher, corpus, plan, Run(tmp_path))] == []


def test_a_packed_student_says_what_the_student_says(teacher, corpus):
    student, rows = qat_student(teacher, 4).eval(), first_rows(corpus)
    packed = pack_student(student, 4)
    clean, doc = torch.from_numpy(rows.tokens), torch.from_numpy(rows.doc)
    with torch.no_grad():
        ours, theirs = packed.plain(clean, doc), student.plain(clean, doc)
    assert ((ours - theirs).norm() / theirs.norm()).item() < 0.1  # activations are INT8 in the packed one
