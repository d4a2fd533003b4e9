"""The loop: resumption, halting, independence of the batch; and the numbers it runs on."""

import pytest
import torch

from bowstring.core.guidance import cfg, corrected, energy_guided, mix, pinned, projected
from bowstring.core.loop import State, budget, either, iterate, last, never, settled
from bowstring.core.process import Gaussian, Masked, Schedule, linear, rectified, uniform
from bowstring.core.rng import Rng, philox
from bowstring.core.samplers.continuous import ddim, dpmpp_2m, heun
from bowstring.core.samplers.masked import unmask
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
    assert torch.equal(state.x[1], free.x[1]) or state.halted[1]


@pytest.mark.parametrize(
    ("halt", "steps"), [(never, 8), (budget(3), 3), (settled(1e9), 1), (either(budget(5), budget(2)), 2)]
)
def test_halting_rules(halt, steps):
    state = last(
        iterate(ddim(gaussian_denoise(PROCESS), PROCESS), State.begin(NOISE), uniform(8), Rng.of(0, 6), halt)
    )
    assert state.steps.tolist() == [steps] * 6


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
