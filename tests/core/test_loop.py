"""The loop: resumption, halting, independence of the batch; and the numbers it runs on."""

from dataclasses import replace

import pytest
import torch

from bowstring.core.guidance import cfg, corrected, energy_guided, mix, pinned, projected
from bowstring.core.loop import State, budget, either, iterate, last, never, settled, sure
from bowstring.core.process import Gaussian, Masked, Schedule, karras, linear, rectified, uniform
from bowstring.core.rng import Rng, philox
from bowstring.core.samplers.continuous import ddim, dpmpp_2m, heun
from bowstring.core.samplers.masked import remask, truncate, unmask
from bowstring.energy.mcmc.chains import mala, metropolis
from tests.oracles import MASK, gaussian_denoise, table_denoise

PROCESS = Gaussian()
NOISE = Rng.of(11, 6).normal(3)


def words(*values):
    return tuple(torch.tensor([v]) for v in values)


@pytest.mark.parametrize(
    ("counter", "key", "answer"),
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_gives_its_published_answers(counter, key, answer):
    assert tuple(int(w) for w in philox(words(*counter), key)) == answer


def test_numbers_have_the_moments_of_their_laws():
    n = 200_000
    u, z = Rng.of(0, 4).uniform(n // 4), Rng.of(0, 4).normal(n // 4)
    assert u.mean().item() == pytest.approx(0.5, abs=4 * (1 / 12 / n) ** 0.5)
    assert z.mean().item() == pytest.approx(0, abs=4 / n**0.5)
    assert z.var().item() == pytest.approx(1, abs=4 * (2 / n) ** 0.5)
    assert (z**4).mean().item() == pytest.approx(3, abs=4 * (96 / n) ** 0.5)
    assert torch.corrcoef(z)[0, 1].abs().item() < 4 / (n / 4) ** 0.5


@pytest.mark.parametrize(
    "make",
    [lambda d: ddim(d, PROCESS, eta=1.0), lambda d: dpmpp_2m(d, PROCESS), lambda d: heun(d, PROCESS)],
    ids=["ddpm", "dpmpp", "heun"],
)
def test_a_saved_state_resumes_bit_for_bit(make):
    step, times = make(gaussian_denoise(PROCESS)), uniform(12)
    whole = list(iterate(step, State.begin(NOISE), times, Rng.of(2, 6)))
    saved = whole[4].tensors()
    resumed = list(iterate(step, State.from_tensors(saved), times, Rng.of(2, 6)))
    assert len(resumed) == 7
    assert all(
        torch.equal(a, b)
        for a, b in zip(whole[-1].tensors().values(), resumed[-1].tensors().values(), strict=True)
        if not a.isnan().any()
    )


def test_a_sample_does_not_depend_on_its_batch():
    step, times = unmask(table_denoise, Masked(MASK)), uniform(9)
    together = last(iterate(step, State.begin(torch.full((5, 3), MASK)), times, Rng.of(4, 5))).x
    alone = [
        last(iterate(step, State.begin(torch.full((1, 3), MASK)), times, Rng.of(4, 1, first=i))).x[0]
        for i in range(5)
    ]
    assert torch.equal(together, torch.stack(alone))


def test_samples_halt_alone_and_cost_nothing_afterwards():
    sizes = []

    def denoise(x, t):
        sizes.append(len(x))
        return gaussian_denoise(PROCESS)(x, t)

    def two_for_the_first(state):
        return (state.nfe >= 2) & (state.x[:, 0] < 0)

    step = ddim(denoise, PROCESS)
    x = torch.tensor([[-3.0], [3.0]])
    state = last(iterate(step, State.begin(x), uniform(6), Rng.of(0, 2), two_for_the_first))
    assert sizes[0] == 2
    assert sum(sizes) == int(state.nfe.sum()) < 12
    free = last(iterate(step, State.begin(x), uniform(6), Rng.of(0, 2)))
    assert state.halted.tolist() == [True, False] and state.nfe.tolist() == [2, 6]
    assert torch.equal(state.x[1], free.x[1])


@pytest.mark.parametrize(
    ("halt", "steps"), [(never, 8), (budget(3), 3), (settled(1e9), 1), (either(budget(5), budget(2)), 2)]
)
def test_halting_rules(halt, steps):
    state = last(
        iterate(ddim(gaussian_denoise(PROCESS), PROCESS), State.begin(NOISE), uniform(8), Rng.of(0, 6), halt)
    )
    assert state.steps.tolist() == [steps] * 6


def test_a_state_whose_samples_halted_before_the_rule_remembered_anything_goes_on():
    step, times = dpmpp_2m(gaussian_denoise(PROCESS), PROCESS), uniform(6)
    halted = torch.tensor([True, False, True, False, False, False])
    start = replace(State.begin(NOISE), halted=halted)
    end = last(iterate(step, start, times, Rng.of(0, 6)))
    assert torch.equal(end.x[halted], NOISE[halted]) and end.steps.tolist() == [0, 6, 0, 6, 6, 6]
    free = last(iterate(step, State.begin(NOISE), times, Rng.of(0, 6)))
    assert torch.equal(end.x[~halted], free.x[~halted])


def test_a_sample_at_its_last_step_does_not_depend_on_those_that_are_not():
    step, times = heun(lambda x, t: 0.5 * x, PROCESS), uniform(3)
    *_, ahead = iterate(step, State.begin(NOISE[:1]), times[:3], Rng.of(0, 6).rows(torch.tensor([0])))
    behind = State.begin(NOISE)
    mixed = behind.merged(torch.tensor([0]), ahead)
    together = last(iterate(step, mixed, times, Rng.of(0, 6)))
    alone = last(iterate(step, behind, times, Rng.of(0, 6)))
    assert torch.equal(together.x, alone.x) and torch.equal(together.nfe, alone.nfe)


def test_streams_of_all_numbers_differ_and_the_small_ones_are_what_they_were():
    rng = Rng.of(7, 1)
    assert [rng.fork(k).stream for k in (0, 40, 62)] == [1, 41, 63]
    assert rng.fork(30).fork(15) == Rng(7, rng.sample, rng.step, 31 * 64 + 16)
    forks = [one for k in range(200) for one in (rng.fork(k), rng.fork(0).fork(k), rng.fork(70).fork(k))]
    deep = rng.fork(62)
    for _ in range(12):
        deep = deep.fork(62)
        forks.append(deep)
    assert len({one.uniform().item() for one in forks}) == len(forks)
    with pytest.raises(ValueError, match="fork number is -1"):
        rng.fork(-1)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: uniform(0), "steps is 0"),
        (lambda: karras(5, linear, low=float("nan")), "low is nan"),
        (lambda: ddim(None, PROCESS, eta=1.5), "eta is 1.5"),
        (lambda: remask(None, Masked(MASK), cap=-0.1), "remask is -0.1"),
        (lambda: truncate(NOISE, temperature=float("nan")), "temperature is nan"),
        (lambda: truncate(NOISE, top_p=float("nan")), "top_p is nan"),
        (lambda: cfg(None, None, float("inf")), "cfg_scale is inf"),
        (lambda: mix([None], [float("nan")]), "weights.0. is nan"),
        (lambda: energy_guided(None, None, PROCESS, float("nan")), "eta is nan"),
        (lambda: budget(-1), "nfe is -1"),
        (lambda: settled(float("nan")), "delta is nan"),
        (lambda: sure(float("nan")), "uncertainty is nan"),
        (lambda: Schedule("holes", lambda t: (1 - t).where(t < 0.5, torch.nan)), "must fall"),
    ],
)
def test_numbers_that_mean_nothing_are_refused(make, says):
    with pytest.raises(ValueError, match=says):
        make()


def test_a_finished_loop_says_so():
    with pytest.raises(ValueError, match="took no step"):
        last(
            iterate(
                ddim(gaussian_denoise(PROCESS), PROCESS),
                State.begin(NOISE),
                torch.tensor([1.0]),
                Rng.of(0, 6),
            )
        )


def test_a_saved_state_with_an_unknown_field_is_refused():
    flat = State.begin(NOISE).tensors()
    with pytest.raises(ValueError, match="extra"):
        State.from_tensors({**flat, "extra": NOISE})


def test_guidance_identities():
    a, b = gaussian_denoise(PROCESS, mean=1.0), gaussian_denoise(PROCESS, mean=-1.0)
    t = torch.full((6,), 0.5)
    assert cfg(a, b, 1) is a
    assert torch.equal(cfg(a, b, 0.0)(NOISE, t), b(NOISE, t))
    assert torch.allclose(mix([a, b], [0.25, 0.75])(NOISE, t), 0.25 * a(NOISE, t) + 0.75 * b(NOISE, t))
    with pytest.raises(ValueError, match="weights"):
        mix([a, b], [1.0])


def test_the_energy_of_a_gaussian_moves_the_score_by_its_gradient():
    """score' = score - eta grad E, read back from the guided mean."""
    denoise, t, eta = gaussian_denoise(PROCESS), torch.full((6,), 0.5), 0.3
    guided = energy_guided(denoise, lambda x: (x**2).sum(1) / 2, PROCESS, eta)
    alpha, sigma = PROCESS.at(t, NOISE)
    score = (alpha * guided(NOISE, t) - NOISE) / sigma**2
    plain = (alpha * denoise(NOISE, t) - NOISE) / sigma**2
    assert torch.allclose(score, plain - eta * NOISE, atol=1e-5)


def test_pinned_values_come_out_untouched():
    known, where = torch.full((6, 3), 9.0), torch.tensor([True, False, False])
    x = last(
        iterate(
            ddim(pinned(gaussian_denoise(PROCESS), known, where), PROCESS),
            State.begin(NOISE),
            uniform(8),
            Rng.of(0, 6),
        )
    ).x
    assert torch.equal(x[:, 0], known[:, 0])
    tokens = torch.tensor([[1, 0, 0]])
    y = last(
        iterate(
            unmask(pinned(table_denoise, tokens, where), Masked(MASK)),
            State.begin(torch.full((4, 3), MASK)),
            uniform(5),
            Rng.of(0, 4),
        )
    ).x
    assert y[:, 0].tolist() == [1] * 4


def test_a_projected_step_stays_on_its_set_and_counts_its_evaluations():
    centre = lambda x: x - x.mean(1, keepdim=True)
    step = projected(ddim(gaussian_denoise(PROCESS), PROCESS), centre)
    for state in iterate(step, State.begin(NOISE), uniform(5), Rng.of(0, 6)):
        assert state.x.mean(1).abs().max() < 1e-6
    assert state.nfe.tolist() == [5] * 6


def test_a_projected_chain_judges_by_the_energy_of_where_it_was_put():
    step = projected(metropolis(lambda x: 50 * x.square().sum(1), 1e-6), lambda x: x + 1.0)
    states = list(iterate(step, State.begin(NOISE), torch.zeros(4), Rng.of(0, 6)))
    assert states[-1].carry["log_ratio"].abs().max() < 0.02  # steps of a millionth cost nothing
    assert states[-1].energy.isnan().all()


def test_a_projection_keeps_what_the_step_knows():
    doubtful = lambda state, t, s, rng: state.advance(
        state.x, s, uncertainty=torch.full_like(s, 0.3), carry=7
    )
    (state,) = iterate(projected(doubtful, lambda x: x * 2), State.begin(NOISE), uniform(1), Rng.of(0, 6))
    assert state.uncertainty.tolist() == pytest.approx([0.3] * 6) and state.carry == 7
    assert torch.allclose(state.delta, NOISE.square().mean(1).sqrt())


def test_a_corrected_step_draws_the_kernels_law_though_the_step_moves_the_sample():
    """The step draws from N(0, 1) afresh, the kernel keeps N(0, 1): with the energy of the last state in
    place of this one's the variance would shrink.
    """
    n = 40_000
    afresh = lambda state, t, s, rng: state.advance(rng.normal(1), s)
    kernel = metropolis(lambda x: x.square().sum(1) / 2, 1.5)
    state = last(iterate(corrected(afresh, kernel), State.begin(torch.zeros(n, 1)), uniform(3), Rng.of(2, n)))
    assert state.x.var().item() == pytest.approx(1, abs=4 * (2 / n) ** 0.5)
    assert (state.carry["kernel"]["accepted"] / 3).mean().item() == pytest.approx(0.6, abs=0.2)


@pytest.mark.parametrize(("make", "room"), [(heun, 0.01), (dpmpp_2m, 0.02)], ids=["heun", "dpmpp"])
def test_a_corrector_and_the_step_it_follows_remember_apart(make, room):
    """The marginal of Gaussian data at time s is known; a kernel that keeps it keeps the sampler's law."""

    def kernel(state, t, s, rng):
        alpha, sigma = PROCESS.at(s[:1], NOISE[:1])
        variance = (alpha * 0.5) ** 2 + sigma**2
        energy = lambda x: ((x - 0.7 * alpha).square() / (2 * variance)).sum(1)
        return mala(energy, 0.1 * variance.item())(state, t, s, rng)

    step, n = corrected(make(gaussian_denoise(PROCESS), PROCESS), kernel), 8000
    rng = Rng.of(3, n)
    x = last(iterate(step, State.begin(rng.fork(1).normal(1)), uniform(25), rng)).x
    assert x.mean().item() == pytest.approx(0.7, abs=4 * 0.5 / n**0.5 + 0.01)
    assert x.std().item() == pytest.approx(0.5, rel=4 / (2 * n) ** 0.5 + room)


def test_a_corrector_runs_at_the_new_time():
    seen = []

    def kernel(state, t, s, rng):
        seen.append((t[0].item(), s[0].item()))
        return state.advance(state.x, s, nfe=2)

    state = last(
        iterate(
            corrected(ddim(gaussian_denoise(PROCESS), PROCESS), kernel),
            State.begin(NOISE),
            uniform(2),
            Rng.of(0, 6),
        )
    )
    assert seen == [(0.5, 0.5), (0.0, 0.0)]
    assert state.nfe.tolist() == [6] * 6


def test_a_schedule_must_fall_from_one_to_zero():
    Schedule("custom", lambda t: (1 - t) ** 3)
    with pytest.raises(ValueError, match="must fall"):
        Schedule("rising", lambda t: t)


def test_scales_of_the_two_paths():
    alpha, sigma = rectified(linear.keep(torch.tensor(0.3)))
    assert alpha.item() == pytest.approx(0.7)
    assert sigma.item() == pytest.approx(0.3)
