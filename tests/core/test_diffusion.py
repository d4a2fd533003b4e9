"""The faces are the loop: bit for bit where it runs, and with its laws where they are known."""

import numpy as np
import pytest
import torch

import bowstring
from bowstring.core.diffusion import ContinuousSampler, DiffusionCore, DiscreteSampler, NoiseScheduler
from bowstring.core.loop import State, budget, iterate, last
from bowstring.core.process import Gaussian, Masked, cosine, custom, grid, karras, linear, uniform
from bowstring.core.rng import Rng
from bowstring.core.samplers.continuous import dpmpp_2m
from bowstring.core.samplers.masked import margin, unmask_k
from tests.oracles import MASK, TABLE, gaussian_denoise, table_counts, table_denoise, within_four_errors

T = torch.tensor([0.0, 0.1, 0.5, 0.9, 1.0], dtype=torch.float64)


@pytest.mark.parametrize("name", ["cosine", "linear", "sqrt", "linear-beta"])
def test_signal_noise_and_masks_follow_the_schedule(name):
    scheduler = NoiseScheduler(name)
    keep = {
        "cosine": torch.cos(torch.pi / 2 * T) ** 2,
        "linear": 1 - T,
        "sqrt": 1 - T**0.5,
        "linear-beta": torch.exp(-(0.1 * T + 9.95 * T**2)),
    }[name]
    torch.testing.assert_close(scheduler.mask_rate(T), 1 - keep)
    torch.testing.assert_close(scheduler.sigma(T) ** 2, 1 - keep)
    torch.testing.assert_close(scheduler.alpha(T) ** 2 + scheduler.sigma(T) ** 2, torch.ones_like(T))
    straight = NoiseScheduler(name, path="rectified")
    torch.testing.assert_close(straight.alpha(T) + straight.sigma(T), torch.ones_like(T))


def test_a_custom_schedule_goes_through_its_points_and_is_straight_between():
    schedule = custom([0, 0.25, 1], np.array([1, 0.4, 0]))
    at = torch.tensor([0, 0.125, 0.25, 0.625, 1.0], dtype=torch.float64)
    torch.testing.assert_close(schedule.keep(at), torch.tensor([1, 0.7, 0.4, 0.2, 0], dtype=torch.float64))
    hazard = schedule.hazard(torch.tensor([0.125, 0.625], dtype=torch.float64))
    torch.testing.assert_close(hazard, torch.tensor([2.4 / 0.3, 0.4 / 0.75 / 0.8], dtype=torch.float64))
    scheduler = NoiseScheduler(schedule)
    torch.testing.assert_close(scheduler.mask_rate(at), 1 - schedule.keep(at))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: custom([0, 1], [1, 0.5]), "must fall from 1"),
        (lambda: custom([0, 0.5, 1], [1, 0.2, 0.3]), "keep|must fall"),
        (lambda: custom([0, 0.5, 0.5, 1], [1, 0.8, 0.2, 0]), "rising from 0 to 1"),
        (lambda: custom([0.1, 1], [1, 0]), "rising from 0 to 1"),
        (lambda: custom([0, 1], [1, 0.5, 0]), "expected as many"),
        (lambda: custom([0, float("nan"), 1], [1, 0.5, 0]), "times.1. is nan"),
        (lambda: grid([1.0]), "at least two"),
        (lambda: grid([0.0, 1.0]), "falling"),
        (lambda: grid([1.2, 0.0]), "times.0. is 1.2"),
        (lambda: NoiseScheduler("cosin"), "Closest: 'cosine'"),
        (lambda: NoiseScheduler(num_train_steps=0), "num_train_steps is 0"),
        (lambda: NoiseScheduler().timesteps(0), "num_inference_steps is 0"),
        (lambda: NoiseScheduler().sigma(torch.tensor([1.5])), "expected times in"),
        (lambda: NoiseScheduler().sigma(torch.tensor([float("nan")])), "expected times in"),
        (lambda: ContinuousSampler("euler"), "method is 'euler'"),
        (lambda: ContinuousSampler("heun", eta=0.5), "belongs to ddim"),
        (lambda: DiscreteSampler(4, remask=0.1), "belongs to order 'ancestral'"),
        (lambda: DiscreteSampler(4, temperature=0), "temperature is 0"),
        (lambda: DiffusionCore(None).generate((2,), num_samples=0), "num_samples is 0"),
        (lambda: DiffusionCore(None).generate((2,), guidance_scale=3), "guidance_scale is 3"),
    ],
)
def test_what_makes_no_schedule_or_run_is_refused(make, says):
    with pytest.raises(ValueError, match=says):
        make()


def test_times_are_uniform_spaced_otherwise_or_given():
    assert torch.equal(NoiseScheduler(num_inference_steps=7).timesteps(), uniform(7))
    assert torch.equal(NoiseScheduler(spacing="karras").timesteps(5), karras(5, cosine))
    assert NoiseScheduler().timesteps([1, 0.3, 0]).tolist() == pytest.approx([1, 0.3, 0])


def test_whole_numbers_count_the_steps_of_training():
    scheduler = NoiseScheduler("linear", num_train_steps=200)
    steps = torch.tensor([0, 50, 200])
    torch.testing.assert_close(scheduler.mask_rate(steps), torch.tensor([0, 0.25, 1]))


def test_noise_is_added_as_the_process_adds_it():
    x, t, rng = Rng.of(1, 5).normal(3), torch.linspace(0.1, 0.9, 5), Rng.of(2, 5)
    scheduler = NoiseScheduler()
    assert torch.equal(scheduler.add_noise(x, rng.normal(3), t), Gaussian(cosine).corrupt(x, t, rng))
    tokens = torch.zeros(5, 400, dtype=torch.int64)
    hidden = scheduler.add_noise(tokens, rng.uniform(400), t, mask_id=MASK)
    share = (hidden == MASK).double().mean(1)
    exact = scheduler.mask_rate(t.double())
    assert ((share - exact).abs() < 4 * (exact * (1 - exact) / 400).sqrt()).all()
    with pytest.raises(ValueError, match="mask_id"):
        scheduler.add_noise(tokens, rng.uniform(400), t)
    with pytest.raises(ValueError, match="shaped as x_0"):
        scheduler.add_noise(x, rng.normal(4), t)


def test_generating_reals_is_the_loop():
    denoise = gaussian_denoise(Gaussian(linear))
    core = DiffusionCore(denoise, scheduler=NoiseScheduler("linear", num_inference_steps=9))
    rng = Rng.of(5, 4)
    start = State.begin(rng.normal(3))
    loop = last(iterate(dpmpp_2m(denoise, Gaussian(linear)), start, uniform(9), rng)).x
    assert torch.equal(core.generate((3,), num_samples=4, seed=5), loop)
    short = list(core.stream((3,), num_samples=4, seed=5, halt=budget(2)))
    assert len(short) == 2 and short[-1].halted.all()


def test_generating_tokens_is_the_loop_and_draws_the_joint_law():
    n = 20_000
    core = DiffusionCore(table_denoise, DiscreteSampler(MASK, "margin"), scheduler=NoiseScheduler("linear"))
    x = core.generate((3,), num_samples=n, num_inference_steps=3, seed=8)
    step, start = unmask_k(table_denoise, Masked(MASK), margin), State.begin(torch.full((n, 3), MASK))
    assert torch.equal(x, last(iterate(step, start, uniform(3), Rng.of(8, n))).x)
    assert within_four_errors(table_counts(x), TABLE, n)


@pytest.mark.parametrize("remask", [0.0, 0.05])
def test_the_ancestral_order_approaches_the_joint_law(remask):
    core = DiffusionCore(table_denoise, DiscreteSampler(MASK, "ancestral", remask=remask))
    shares = table_counts(core.generate((3,), num_samples=10_000, num_inference_steps=100, seed=3))
    assert (shares - TABLE).abs().max() < 0.025


@pytest.mark.parametrize("method", ["ddim", "ddpm", "heun", "dpmpp_2m"])
def test_every_sampler_of_reals_has_the_moments_of_the_data(method):
    n, scheduler = 8000, NoiseScheduler()
    core = DiffusionCore(gaussian_denoise(scheduler.gaussian), ContinuousSampler(method), scheduler=scheduler)
    x = core.generate((1,), num_samples=n, num_inference_steps=100, seed=2)
    assert x.mean().item() == pytest.approx(0.7, abs=4 * 0.5 / n**0.5 + 0.01)
    assert x.std().item() == pytest.approx(0.5, rel=4 / (2 * n) ** 0.5 + 0.03)


def test_guidance_of_gaussians_moves_the_mean_by_its_scale():
    process = Gaussian(cosine)
    cond, free = gaussian_denoise(process, mean=1.0), gaussian_denoise(process, mean=0.0)
    core = DiffusionCore(cond, ContinuousSampler("heun"))
    x = core.generate((1,), num_samples=4000, guidance_scale=2.5, uncond=free, num_inference_steps=40)
    assert x.mean().item() == pytest.approx(2.5, abs=4 * 0.5 / 4000**0.5 + 0.01)


def test_the_names_are_exported_without_loading_torch():
    for name in ("NoiseScheduler", "DiffusionCore", "ContinuousSampler", "DiscreteSampler"):
        assert getattr(bowstring, name).__name__ == name and name in bowstring.__all__
    for name in ("ForwardDiffusion", "ReverseDiffusion", "EnergyPotential", "BoltzmannSampler"):
        assert getattr(bowstring, name).__name__ == name and name in bowstring.__all__
