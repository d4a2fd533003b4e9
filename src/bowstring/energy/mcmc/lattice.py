"""Chains of fields on a torus that use what is special about them: a native trajectory, clusters, and the
exact flow of a Gaussian field.

Shapes: b chains of fields `(b, h, w)`. Without the native library the same laws are sampled by the readable
twins in `chains` and below, slower.
"""

from __future__ import annotations

import ctypes
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ... import _native
from ...core.loop import State, Step
from ...core.options import real, whole
from ...core.rng import Rng
from ..potential import EnergyPotential
from ..projections import symbol
from .chains import hmc, positive, started

MOST_STEPS = 1_000_000  # of one call, which cannot be interrupted


def fits(energy: Any, x: Tensor) -> bool:
    """The native kernel knows this energy and these fields."""
    known = isinstance(energy, EnergyPotential) and energy.periodic and not energy.thermal
    fields = x.ndim == 3 and x.dtype == torch.float32 and x.device.type == "cpu"
    return known and fields and _native.library() is not None


def is_unit(mass: Tensor | float) -> bool:
    """Every site has mass 1, which is all that the native kernel knows."""
    return bool((torch.as_tensor(mass) == 1).all())


def terms(energy: EnergyPotential, temperature: float = 1.0) -> _native.Terms:
    """E / kT = sum of - near/2 x N - own/2 x^2 + cubic/4 x^4 - field x, N the sum of the four neighbours."""
    temperature = real(temperature, "temperature", above=0)
    near, own = energy.pair + energy.kinetic, -4 * energy.kinetic - energy.quadratic
    return _native.Terms(*(v / temperature for v in (near, own, energy.quartic, energy.field)))


def counters(rng: Rng, chains: int) -> tuple[np.ndarray, np.ndarray]:
    """Sample and step numbers as the kernels read them.

    Raises:
        ValueError: not one of each for every chain.
    """
    if rng.sample.shape != (chains,) or rng.step.shape != (chains,):
        raise ValueError(
            f"the numbers are for samples {tuple(rng.sample.shape)} at steps {tuple(rng.step.shape)}; "
            f"expected one each for {chains} chains"
        )
    sample, step = (np.ascontiguousarray(part.cpu().numpy(), np.int64) for part in (rng.sample, rng.step))
    return sample, step


def normals(rng: Rng, *shape: int) -> Tensor:
    """`rng.normal(*shape)` from the native generator, equal to a few units in the last place."""
    if (library := _native.library()) is None or rng.device.type != "cpu":
        return rng.normal(*shape)
    out = torch.empty(len(rng.sample), *shape)
    sample, step = counters(rng, len(out))
    _native.checked(
        library.bowstring_normals(rng.seed, sample, step, rng.stream, len(out), math.prod(shape), out.numpy())
    )
    return out


def sweeps(
    energy: EnergyPotential,
    step_size: float,
    num_integration_steps: int = 10,
    temperature: float = 1.0,
    mass: Tensor | float = 1.0,
    jitter: float = 0.2,
    cluster_updates: int = 0,
    count: int = 1,
) -> Step:
    """`count` times: a Hamiltonian trajectory as `chains.hmc` makes it (none if `num_integration_steps` is
    0), then `cluster_updates` clusters turned over (Wolff 1989), which an energy without a field and with
    near > 0 leaves as it is. It runs natively where the mass is 1 and `fits` says so.

    Raises:
        ValueError: a number out of its range, or clusters of an energy that is not symmetric under x -> -x.
    """
    step_size, temperature = positive(step_size, temperature)
    steps = whole(num_integration_steps, "num_integration_steps", 0, MOST_STEPS)
    clusters = whole(cluster_updates, "cluster_updates", 0, MOST_STEPS)
    count, jitter = whole(count, "count", 1, MOST_STEPS), real(jitter, "jitter", 0, 1)
    coefficients = terms(energy, temperature)
    if clusters and (energy.field or coefficients.near < 0):
        raise ValueError(
            f"field is {energy.field} and the coupling of neighbours {coefficients.near:g}; clusters can be "
            "flipped only without a field and with a coupling that is not negative. Set cluster_updates to 0"
        )
    moves = _native.Moves(step_size, jitter, steps, clusters, count)
    walk = hmc(energy, step_size, max(steps, 1), temperature, mass, jitter)
    turn = swendsen_wang(energy, temperature)

    def readable(state: State, t: Tensor, s: Tensor, rng: Rng) -> State:
        for i in range(count):
            here = rng if i == 0 else rng.fork(15 + i)
            state = walk(state, t, s, here) if steps else state
            state = turn(state, t, s, here) if clusters else state
        return state

    def step(state: State, t: Tensor, s: Tensor, rng: Rng) -> State:
        if not (fits(energy, state.x) and is_unit(mass)):  # type: ignore[arg-type]
            return readable(state, t, s, rng)
        x, carry = state.x.clone(memory_format=torch.contiguous_format), started(state, energy)  # type: ignore[union-attr]
        reports, (sample, at) = np.zeros((len(x), 3)), counters(rng, len(x))
        code = _native.library().bowstring_lattice(  # type: ignore[union-attr]
            ctypes.byref(coefficients),
            ctypes.byref(moves),
            rng.seed,
            sample,
            at,
            rng.stream,
            *x.shape,
            x.numpy(),
            reports,
        )
        _native.checked(code)
        energies, accepted, log_ratio = torch.from_numpy(reports).unbind(1)
        carry = carry | {
            "energy": energies * temperature,
            "accepted": carry["accepted"] + (accepted if steps else count),
            "proposed": carry["proposed"] + count,
            "log_ratio": log_ratio,
        }
        nfe = count * (steps + 1) if steps else 0
        return state.advance(x, s, nfe=nfe, carry=carry, energy=carry["energy"].float())

    return step


def swendsen_wang(energy: EnergyPotential, temperature: float = 1.0) -> Step:
    """All clusters of equal sign, bonds kept with probability 1 - exp(-2 near x_i x_j), each turned over with
    probability 1/2 (Swendsen and Wang 1987). With |x| fixed a field is an Ising model.
    """
    near = terms(energy, temperature).near

    def step(state: State, t: Tensor, s: Tensor, rng: Rng) -> State:
        x, carry = state.x, started(state, energy)
        b, h, w = x.shape  # type: ignore[union-attr]
        u = rng.fork(7).uniform(3, h, w)
        bonds = [u[:, i] < 1 - torch.exp(-2 * near * x * x.roll(-1, i + 1)) for i in range(2)]  # type: ignore[union-attr]
        label = torch.arange(h * w, device=u.device).view(1, h, w).repeat(b, 1, 1)
        while True:  # the smallest number in a cluster becomes its name
            before = label
            for axis, bond in enumerate(bonds, 1):
                ahead = label.roll(-1, axis)
                least = torch.where(bond, torch.minimum(label, ahead), label)
                back = torch.where(bond.roll(1, axis), least.roll(1, axis), label)
                label = torch.minimum(least, back)
            if bool((label == before).all()):
                break
        turned = (u[:, 2] < 0.5).flatten(1).gather(1, label.flatten(1)).view_as(label)
        moved = torch.where(turned, -x, x)  # type: ignore[arg-type,operator]
        carry = carry | {"energy": energy(moved)}
        return state.advance(moved, s, nfe=0, carry=carry, energy=carry["energy"].float())

    return step


def mode_variances(energy: EnergyPotential, h: int, w: int) -> Tensor:
    """Variance of each Fourier mode, per site, of a Gaussian field at temperature 1, `(h, w)`.

    Raises:
        ValueError: the energy is not quadratic, or not confining.
    """
    rate = (energy.kinetic + energy.pair) * symbol(h, w) + energy.quadratic - 4 * energy.pair
    if energy.quartic or energy.field or energy.thermal or not energy.periodic or bool((rate <= 0).any()):
        raise ValueError(f"{energy} is not a Gaussian field on a torus; use hmc")
    return 1 / rate


def free_field(energy: EnergyPotential, angle: float = math.pi / 2, temperature: float = 1.0) -> Step:
    """The exact Hamiltonian flow of a Gaussian field, in Fourier space with each mode's own mass: x
    cos(angle) + a fresh field times sin(angle). Nothing is refused; a quarter of a turn forgets the start.
    """
    angle, temperature = real(angle, "angle"), real(temperature, "temperature", above=0)

    def step(state: State, t: Tensor, s: Tensor, rng: Rng) -> State:
        x, carry = state.x, started(state, energy)
        h, w = x.shape[1:]  # type: ignore[union-attr]
        root = (temperature * mode_variances(energy, h, w).to(state.t.device)).sqrt()[:, : w // 2 + 1].float()
        noise = torch.fft.rfft2(normals(rng, h, w))
        moved = math.cos(angle) * x + math.sin(angle) * torch.fft.irfft2(root * noise, s=(h, w))  # type: ignore[operator]
        carry = carry | {
            "energy": energy(moved),
            "accepted": carry["accepted"] + 1,
            "proposed": carry["proposed"] + 1,
        }
        return state.advance(moved, s, nfe=0, carry=carry, energy=carry["energy"].float())

    return step
