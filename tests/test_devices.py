"""Everything that samples runs on any device and makes there what it makes on the CPU."""

import copy

import numpy as np
import pytest
import torch

from bowstring.core.loop import State, iterate, last
from bowstring.core.process import Gaussian, Masked, linear, rectified, uniform
from bowstring.core.rng import Rng
from bowstring.core.samplers.continuous import ddim, dpmpp_2m, heun
from bowstring.core.samplers.masked import ORDERS, remask, unmask, unmask_k
from bowstring.energy.constraints import until_valid
from bowstring.energy.mcmc.sampler import BoltzmannSampler
from bowstring.energy.potential import EnergyPotential, phi4
from bowstring.energy.projections import box_and_mass, dirichlet, divergence_free, mass_and_norm
from bowstring.engine import ArrowEngine
from bowstring.fields.model import HEADS, KINDS_OF_FIELDS, FieldModel
from bowstring.fields.network import FieldNetwork
from bowstring.fields.sampling import MultiScaleGenerator, fields
from bowstring.image.sampling import ImageSampling, caption_tokens, sample_images
from bowstring.joint.sampling import JointInputs, sample_joint
from bowstring.nn.config import VOICE, NetworkConfig
from bowstring.speech.g2p import Word
from bowstring.speech.sampling import SpeechSampling, predict_durations, sample_speech
from bowstring.text.sampling import Sampling, fill_gap, log_likelihood, sample_text
from bowstring.weights.placement import chosen_device, chosen_dtype, placed
from bowstring.weights.quant.arrowquant import ArrowQuant
from bowstring.weights.quant.packed import matrices, packed, unpacked
from tests.conftest import build_network
from tests.fake_device import DEVICE, fake_device

KNOWN = [[3, 40, 41, 5], [3, 50, 51, 52, 53, 5]]


@pytest.fixture(scope="module")
def whole():
    return build_network(modalities=["text", "image", "audio", "avatar"])


@pytest.fixture
def here():
    with fake_device() as device:
        yield device


def both(network, device):
    """The network on the CPU, and a copy of it on the device."""
    return network, copy.deepcopy(network).to(device)


def same(one, other):
    """Streams of states that went through the same values."""
    one, other = [*one], [*other]
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        for (name, x), (_, y) in zip(a.tensors().items(), b.tensors().items(), strict=True):
            assert y.device == DEVICE, name
            torch.testing.assert_close(x, y.cpu(), atol=1e-4, rtol=1e-4, equal_nan=True)


def test_random_numbers_are_the_same_bits_everywhere(here):
    for make in (lambda rng: rng.uniform(7), lambda rng: rng.fork(2).normal(3, 5), lambda rng: rng.uniform()):
        ours, theirs = make(Rng.of(5, 3)), make(Rng.of(5, 3, device=here))
        assert theirs.device == DEVICE and torch.equal(ours, theirs.cpu())
    moved = Rng.of(5, 3, device=here).rows(torch.tensor([1], device=here)).at(torch.tensor([4], device=here))
    assert torch.equal(moved.normal(2).cpu(), Rng.of(5, 1, 1).at(torch.tensor([4])).normal(2))


@pytest.mark.parametrize("sampler", [ddim, heun, dpmpp_2m])
def test_samplers_of_reals(here, sampler):
    process = Gaussian(linear, rectified)

    def states(device):
        rng = Rng.of(1, 2, device=device)
        step = sampler(lambda x, t: 0.5 * x, process)
        return iterate(step, State.begin(process.prior(rng, 4)), uniform(4), rng)

    same(states("cpu"), states(here))


@pytest.mark.parametrize("order", [*ORDERS])
def test_samplers_of_tokens(here, order):
    process, scores = Masked(7), torch.randn(2, 6, 8, generator=torch.Generator().manual_seed(0))
    scores[..., 7] = -torch.inf

    def states(device, step):
        own, rng = scores.to(device), Rng.of(1, 2, device=device)
        denoise = lambda x, t: own + 0.0 * x[..., None]
        return iterate(step(denoise), State.begin(process.prior(rng, 6)), uniform(5), rng)

    for step in (
        lambda denoise: unmask_k(denoise, process, ORDERS[order]),
        lambda denoise: unmask(denoise, process),
        lambda denoise: remask(denoise, process),
    ):
        same(states("cpu", step), states(here, step))


@pytest.mark.parametrize(
    "how",
    [
        Sampling(mode="ar", max_tokens=5),
        Sampling(max_tokens=8, order="confidence"),
        Sampling(max_tokens=40, block=16, steps=4),  # shortcut steps, and a context that has to slide
    ],
)
def test_text(here, whole, how):
    ours, theirs = both(whole, here)
    same(sample_text(ours, KNOWN, how, 48), sample_text(theirs, KNOWN, how, 48))


def test_infilling_and_likelihoods(here, whole):
    ours, theirs = both(whole, here)
    how = Sampling(steps=6)
    same(*(fill_gap(one, KNOWN[0], 6, [44, 45], how, 64) for one in (ours, theirs)))
    own, other = (log_likelihood(one, KNOWN, 2) for one in (ours, theirs))
    assert other.device == DEVICE
    torch.testing.assert_close(own, other.cpu())


def test_pictures_from_noise_and_from_pictures(here, whole, codec):
    ours, theirs = both(whole, here)
    known = [caption_tokens(codec, "a fox"), caption_tokens(codec, "two cars", "flat")]
    start, where = torch.randn(2, 64, 64, generator=torch.Generator().manual_seed(1)), torch.arange(64) < 20
    for how in (ImageSampling(steps=2), ImageSampling(steps=3, sampler="heun", shift=2.0)):
        same(*(sample_images(one, known, how) for one in (ours, theirs)))
    how, painted = ImageSampling(steps=2), (start, 0.6, where[None].expand(2, -1))
    same(*(sample_images(one, known, how, *painted) for one in (ours, theirs)))


def test_speech_and_everything_together(here, whole, codec):
    ours, theirs = both(whole, here)
    voice, words = torch.zeros(1, VOICE), [Word("fox", "fˈɑks"), Word(".", ".")]
    utterance = predict_durations(ours, words, voice, SpeechSampling())
    np.testing.assert_allclose(
        predict_durations(theirs, words, voice, SpeechSampling()).durations, utterance.durations, 1e-4
    )
    for steps in (2, 9):
        how = SpeechSampling(steps=steps, temperature=0.5)
        same(*(sample_speech(one, utterance, voice, how) for one in (ours, theirs)))
    what = JointInputs(utterance, voice, caption=caption_tokens(codec, "a fox"))
    for scale in (1.0, 3.0):
        same(*(sample_joint(one, what, 3, scale, seed=2) for one in (ours, theirs)))


def test_the_engine_writes_and_encodes(here, folder):
    ours, theirs = ArrowEngine.load(folder), ArrowEngine.load(folder, device=here)
    np.testing.assert_allclose(ours.encode(["a fox", "bears"]), theirs.encode(["a fox", "bears"]), atol=1e-5)
    for mode in ("ar", "diffusion"):
        made = [one.generate("a fox", mode, max_tokens=8, seed=3) for one in (ours, theirs)]
        assert made[0].tokens == made[1].tokens
        assert made[0].nats == pytest.approx(made[1].nats, rel=1e-4)
    assert len({one.infill("def f(", "):", 4).text for one in (ours, theirs)}) == 1


def test_fields_and_scales(here):
    torch.manual_seed(0)
    small = NetworkConfig(width=64, depth=1, ffn_hidden=64, vocab=1, rank=1)
    model = FieldModel(FieldNetwork(small, HEADS, len(KINDS_OF_FIELDS) + 2))
    ours, theirs = both(model.eval().requires_grad_(requires_grad=False), here)
    for family, value in (("phi4", 0.3), ("cahn-hilliard", 1.0)):
        made = [fields(one, family, value, 64, 2, steps=2, second=0.1) for one in (ours, theirs)]
        assert made[1].device == DEVICE
        torch.testing.assert_close(made[0], made[1].cpu(), atol=1e-4, rtol=1e-4)
    own, other = (MultiScaleGenerator(one, (2, 1, 1)).refine(
        made[0].to(one.log_power.device), "phi4-quarter", 0.3, 2, Rng.of(1, 2, device=one.log_power.device)
    ) for one in (ours, theirs))  # fmt: skip
    torch.testing.assert_close(own, other.cpu(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("method", ["ula", "mala", "metropolis", "hmc"])
def test_chains(here, method):
    start = torch.randn(4, 6, 6, generator=torch.Generator().manual_seed(0))
    energy = lambda x: phi4(0.3, 0.5)(x)  # no native kernel knows a function
    ours, theirs = (
        BoltzmannSampler(energy, method, step_size=0.05, num_integration_steps=3).sample(x, 3, 3)
        for x in (start, start.to(here))
    )
    assert theirs.draws.device == DEVICE and theirs.step_size == pytest.approx(ours.step_size)
    torch.testing.assert_close(ours.draws, theirs.draws.cpu(), atol=1e-4, rtol=1e-4)


def test_native_chains_have_twins_elsewhere(here):
    start = torch.ones(2, 4, 4, device=here)
    sampler = BoltzmannSampler(
        EnergyPotential(0.0, 0.4, 1.0, 1.0), num_integration_steps=2, cluster_updates=1
    )
    assert torch.isfinite(sampler.sample(start, 2, 1).draws).all()


def test_draws_until_valid(here):
    found, took = until_valid(
        lambda which, eta, attempt: which.to(here).float() + attempt, lambda x: x >= 2, 4, eta=1.0, growth=2.0
    )
    assert found.tolist() == [2, 2, 2, 3] and took.tolist() == [4, 2, 1, 1]


def test_projections(here):
    x = torch.randn(2, 6, 6, generator=torch.Generator().manual_seed(0))
    for project in (
        mass_and_norm(torch.tensor([1.0, 2.0]), 50.0),
        box_and_mass(-1.0, 1.0, 3.0),
        dirichlet(20.0),
        lambda y: divergence_free(y.unflatten(2, (3, 2)).to(y)),
    ):
        torch.testing.assert_close(project(x), project(x.to(here)).cpu())


def test_packed_networks_become_brain_floats_where_their_kernels_do_not_run(here):
    network = build_network(modalities=["text", "image", "audio"])
    weights = network.state_dict()
    small = packed(network, lambda name, _: ArrowQuant.quantise(weights[name].numpy(), 4))
    assert placed(small, torch.device("cpu")) is small and matrices(small)
    plain, moved = unpacked(small), placed(small, here)
    assert {p.dtype for p in moved.parameters()} == {torch.bfloat16} and moved.device == DEVICE
    assert moved.heads["image"].std.dtype == torch.float32
    for name, parameter in plain.named_parameters():
        assert torch.equal(parameter.bfloat16(), moved.get_parameter(name).cpu())


def test_brain_floats_sample_every_modality(whole, codec):
    """Far from the FP32 network only by rounding: states stay FP32, weights and hidden states do not."""
    half = placed(copy.deepcopy(whole), torch.device("cpu"), torch.bfloat16)
    known, voice = [caption_tokens(codec, "a fox")], torch.zeros(1, VOICE)
    utterance = predict_durations(whole, [Word("fox", "fˈɑks"), Word(".", ".")], voice, SpeechSampling())
    assert predict_durations(half, [Word("fox", "fˈɑks")], voice, SpeechSampling()).tokens
    what = JointInputs(utterance, voice, caption=known[0])
    for sample in (
        lambda one: sample_images(one, known, ImageSampling(steps=2)),
        lambda one: sample_speech(one, utterance, voice, SpeechSampling(temperature=1.0)),
    ):
        ours, theirs = (last(sample(one)).x for one in (whole, half))
        assert theirs.dtype == torch.float32
        assert (ours - theirs).norm() < 0.1 * ours.norm()
    ours, theirs = (last(sample_joint(one, what, 3, 3.0, seed=2)).x for one in (whole, half))
    assert all((ours[name] - theirs[name]).norm() < 0.2 * ours[name].norm() + 1e-3 for name in ours)
    assert last(sample_text(half, KNOWN, Sampling(max_tokens=8), 48)).x.shape == (2, 8)
    torch.testing.assert_close(*(log_likelihood(one, KNOWN, 2) for one in (whole, half)), rtol=0.02, atol=0.2)


def test_devices_and_dtypes_that_are_not_there():
    with pytest.raises(ValueError, match="device is 'warp'; expected 'auto', 'cpu', 'cuda' or 'cuda:0'"):
        chosen_device("warp")
    with pytest.raises(ValueError, match=r"device is 'cuda:99', but torch sees \d+ CUDA devices here"):
        chosen_device("cuda:99")
    with pytest.raises(ValueError, match=r"dtype is 'int3'; expected one of \['float32', 'bfloat16'\]"):
        chosen_dtype("int3")
    assert chosen_device().type == ("cuda" if torch.cuda.is_available() else "cpu")
