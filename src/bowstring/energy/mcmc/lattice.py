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
from ...core.rng import Rng
from ..potential import EnergyPotential
from ..projections import symbol
from .chains import hmc, started


def fits(energy: Any, x: Tensor) -> bool:
    """The native kernel knows this energy and these fields."""
    known = isinstance(energy, EnergyPotential) and energy.periodic and not energy.thermal
    return known and x.ndim == 3 and x.dtype == torch.float32 and _native.library() is not None


def terms(energy: EnergyPotential, temperature: float = 1.0) -> _native.Terms:
    """E / kT = sum of - near/2 x N - own/2 x^2 + cubic/4 x^4 - field x, N the sum of the four neighbours."""
    near, own = energy.pair + energy.kinetic, -4 * energy.kinetic - energy.quadratic
    return _native.Terms(*(v / temperature for v in (near, own, energy.quartic, energy.field)))


def normals(rng: Rng, *shape: int) -> Tensor:
    """`rng.normal(*shape)` from the native generator, equal to a few units in the last place."""
    if (library := _native.library()) is None:
        return rng.normal(*shape)
    out = torch.empty(len(rng.sample), *shape)
    who = (rng.seed, rng.sample.contiguous().data_ptr(), rng.step.contiguous().data_ptr(), rng.stream)
    _native.checked(library.bowstring_normals(*who, len(out), math.prod(shape), out.data_ptr()))
    return out


def sweeps(
    energy: EnergyPotential,
    size: float,
    length: int = 10,
    temperature: float = 1.0,
    jitter: float = 0.2,
    flips: int = 0,
    count: int = 1,
) -> Step:
    """`count` times: a Hamiltonian trajectory as `chains.hmc` makes it (none if `length` is 0), then `flips`
    clusters turned over (Wolff 1989), which an energy without a field and with near > 0 leaves as it is.

    Raises:
        ValueError: clusters of an energy that is not symmetric under x -> -x.
    """
    coefficients = terms(energy, temperature)
    if flips and (energy.field or coefficients.near < 0):
        raise ValueError(
            f"field is {energy.field} and the coupling of neighbours {coefficients.near:g}; clusters can be "
            "flipped only without a field and with a coupling that is not negative. Set flips to 0"
        )
    moves = _native.Moves(size, jitter, length, flips, count)
    walk = hmc(energy, size, length, temperature, jitter=jitter)
    turn = swendsen_wang(energy, temperature)

    def readable(state: State, t: Tensor, s: Tensor, rng: Rng) -> State:
        for i in range(count):
            here = rng if i == 0 else rng.fork(15 + i)
            state = walk(state, t, s, here) if length else state
            state = turn(state, t, s, here) if flips else state
        return state

    def step(state: State, t: Tensor, s: Tensor, rng: Rng) -> State:
        if not fits(energy, state.x):  # type: ignore[arg-type]
            return readable(state, t, s, rng)
        x, carry = state.x.clone(memory_format=torch.contiguous_format), started(state, energy)  # type: ignore[union-attr]
        b, h, w = x.shape
        reports = np.zeros((b, 3))
        who = (rng.seed, rng.sample.contiguous().data_ptr(), rng.step.contiguous().data_ptr(), rng.stream)
        code = _native.library().bowstring_lattice(  # type: ignore[union-attr]
            ctypes.byref(coefficients),
            ctypes.byref(moves),
            *who,
            b,
            h,
            w,
            x.data_ptr(),
            reports.ctypes.data,
        )
        _native.checked(code)
        energies, accepted, log_ratio = torch.from_numpy(reports).unbind(1)
        carry = carry | {
            "energy": energies * temperature,
            "accepted": carry["accepted"] + (accepted if length else count),
            "proposed": carry["proposed"] + count,
            "log_ratio": log_ratio,
        }
        nfe = count * (length + 1) if length else 0
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
        label = torch.arange(h * w).view(1, h, w).repeat(b, 1, 1)
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


def spectrum(energy: EnergyPotential, h: int, w: int) -> Tensor:
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

    def step(state: State, t: Tensor, s: Tensor, rng: Rng) -> State:
        x, carry = state.x, started(state, energy)
        h, w = x.shape[1:]  # type: ignore[union-attr]
        root = (temperature * spectrum(energy, h, w)).sqrt()[:, : w // 2 + 1].float()
        noise = torch.fft.rfft2(normals(rng, h, w))
        moved = math.cos(angle) * x + math.sin(angle) * torch.fft.irfft2(root * noise, s=(h, w))  # type: ignore[operator]
        carry = carry | {
            "energy": energy(moved),
            "accepted": carry["accepted"] + 1,
            "proposed": carry["proposed"] + 1,
        }
        return state.advance(moved, s, nfe=0, carry=carry, energy=carry["energy"].float())

    return step
