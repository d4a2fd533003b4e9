"""Steps for reals against data whose flow is known in closed form."""

import pytest
import torch

from bowstring.core.loop import State, iterate, last
from bowstring.core.process import Gaussian, cosine, karras, linear, linear_beta, rectified, uniform
from bowstring.core.rng import Rng
from bowstring.core.samplers.continuous import ddim, ddim_update, dpmpp_2m, heun, joint
from tests.oracles import gaussian_denoise, gaussian_flow

X_1 = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
FLOW = Gaussian(linear, rectified)


def solve(make, process, n, x=X_1):
    step = make(gaussian_denoise(process), process)
    times = uniform(n).double()
    return last(iterate(step, State.begin(x), times, Rng.of(0, len(x)))).x


@pytest.mark.parametrize(("make", "order"), [(ddim, 1), (heun, 2), (dpmpp_2m, 2)])
@pytest.mark.parametrize("process", [Gaussian(cosine), FLOW], ids=["cosine", "flow"])
def test_the_error_falls_with_the_order_of_the_solver(make, order, process):
    exact = gaussian_flow(process, X_1)
    coarse, fine = ((solve(make, process, n) - exact).abs().max().item() for n in (64, 256))
    assert (coarse / fine) ** 0.5 == pytest.approx(2**order, rel=0.3)


@pytest.mark.parametrize("schedule", [cosine, linear, linear_beta])
def test_ancestral_sampling_has_the_moments_of_the_data(schedule):
    process, n = Gaussian(schedule), 20_000
    step = ddim(gaussian_denoise(process), process, eta=1.0)
    rng = Rng.of(3, n)
    x = last(iterate(step, State.begin(rng.fork(5).normal(1)), uniform(400), rng)).x
    assert x.mean().item() == pytest.approx(0.7, abs=4 * 0.5 / n**0.5 + 0.01)
    assert x.std().item() == pytest.approx(0.5, rel=0.02 + 4 / (2 * n) ** 0.5)


def test_ddim_is_the_euler_step_of_a_rectified_flow():
    denoise, t, s = gaussian_denoise(FLOW), torch.full((9,), 0.6), torch.full((9,), 0.5)
    x_0_hat = denoise(X_1, t)
    velocity = (X_1 - x_0_hat) / 0.6
    x_s, _ = ddim_update(FLOW)(X_1, x_0_hat, t, s, Rng.of(0, 9), None)
    assert torch.allclose(x_s, X_1 - 0.1 * velocity, atol=1e-7)


def test_dpmpp_keeps_the_variance_where_ddim_loses_it():
    process, n, x = (
        Gaussian(linear_beta),
        30,
        torch.randn(4000, 1, generator=torch.Generator().manual_seed(0)),
    )
    times = karras(n, linear_beta)
    start = State.begin(x.double(), t=float(times[0]))
    stds = [
        last(iterate(make(gaussian_denoise(process), process), start, times, Rng.of(0, 4000))).x.std().item()
        for make in (ddim, dpmpp_2m)
    ]
    assert abs(stds[1] / 0.5 - 1) < 0.02 + 0.012  # 0.012 is one standard error of this batch's own std
    assert abs(stds[1] - 0.5) < abs(stds[0] - 0.5) + 0.006


def test_the_exact_denoiser_minimises_the_loss():
    process, n = Gaussian(cosine), 40_000
    x_0 = 0.7 + 0.5 * torch.randn(n, 1, generator=torch.Generator().manual_seed(1))
    t, rng, exact = torch.full((n,), 0.5), Rng.of(1, n), gaussian_denoise(process)
    best = process.loss(exact, x_0, t, rng).mean()
    assert all(
        best < process.loss(lambda x, t, a=a: exact(x, t) + a, x_0, t, rng).mean() for a in (-0.05, 0.05)
    )
    alpha2 = 0.5  # cosine at one half: the posterior variance is known
    assert best.item() == pytest.approx(0.25 * alpha2 / (0.25 * alpha2 + 0.5), rel=0.03)


def test_a_joint_step_moves_every_modality_on_its_own_clock():
    calls = []

    def denoise(x, t):
        calls.append({name: value[0].item() for name, value in t.items()})
        return {name: gaussian_denoise(FLOW)(x[name], t[name]) for name in x}

    step = joint(denoise, {"a": ddim_update(FLOW), "b": ddim_update(FLOW)}, {"b": lambda t: t**2})
    x = {"a": X_1, "b": X_1}
    state = last(iterate(step, State.begin(x), uniform(32).double(), Rng.of(0, 9)))
    assert len(calls) == 32 == int(state.nfe[0])
    assert calls[16] == {"a": 0.5, "b": 0.25}
    for name in x:
        assert torch.allclose(state.x[name], gaussian_flow(FLOW, X_1), atol=0.05)
