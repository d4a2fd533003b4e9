"""FieldModel: what a network and its tables know of several families of fields.

The belief about a clean field is the best linear estimate, known exactly from the family's power spectrum,
plus a correction by the network, filtered to the spectrum of what the estimate leaves open. So spectra are
right from the start, what is conserved stays so, and the network spends itself on what is not Gaussian.
Shapes: fields `(b, h, w)`; parameters `(b,)`; inside, fields are `(b, c, h, w)` of variance 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.loop import Denoise
from ..core.process import Gaussian
from ..energy.projections import symbol
from ..nn.config import NetworkConfig
from .network import FieldNetwork, Patches
from .scales import filtered, given_mean

LOWEST_NOISE = 0.02


@dataclass(frozen=True)
class Family:
    """A kind of field. `parameter` moves its spectrum, `second` is a further condition. `mean` is what a
    field of this kind has as its mean: a number, or "second"; None when it fluctuates. `lowest_noise` is the
    noise-to-signal ratio of the last evaluation when it is drawn.
    """

    parameter: str
    low: float
    high: float
    second: str = ""
    mean: float | str | None = None
    lowest_noise: float = LOWEST_NOISE

    def offset(self, second: Tensor) -> Tensor:
        """The known mean of fields with these second conditions, `(b, 1, 1)`."""
        if self.mean == "second":
            return second[:, None, None]
        return torch.full((len(second), 1, 1), float(self.mean or 0.0), device=second.device)

    def unit(self, value: Tensor) -> Tensor:
        """The parameter on [0, 1].

        Raises:
            ValueError: outside of what was learned.
        """
        u = (value - self.low) / (self.high - self.low)
        if not bool(((u >= -1e-6) & (u <= 1 + 1e-6)).all()):
            raise ValueError(self._outside(value))
        return u.clamp(0, 1)

    def _outside(self, value: Tensor) -> str:
        name, low, high = self.parameter, self.low, self.high
        if name.startswith("log10_"):  # people say times, not their logarithms
            name, low, high, value = name.removeprefix("log10_"), 10**low, 10**high, 10**value
        return f"{name} is {_rounded(value)}; this model knows {low:.4g} to {high:.4g}"

    def checked_second(self, value: Tensor) -> Tensor:
        """The second condition as it is.

        Raises:
            ValueError: outside of what was learned.
        """
        if self.second and not bool((value.abs() <= MOST_MEAN + 1e-6).all()):
            raise ValueError(
                f"{self.second} is {_rounded(value)}; this model knows {-MOST_MEAN:g} to {MOST_MEAN:g}"
            )
        return value


def _rounded(values: Tensor) -> list[float]:
    return [float(f"{value:.4g}") for value in values.tolist()]


FAMILIES = {
    "phi4": Family("beta", 0.2, 0.68, lowest_noise=0.1),  # below it the network adds energy
    "phi4-half": Family("beta", 0.2, 0.68),  # means of 2 x 2 blocks
    "phi4-quarter": Family("beta", 0.2, 0.68),  # means of 4 x 4 blocks
    "ising": Family("beta", 0.2, 0.5),
    "cahn-hilliard": Family("log10_time", 0.7, 2.5, "mean", "second"),
    "heat": Family("log10_time", 0.0, 2.0, mean=1.0),
}
DETAILS = {"phi4-quarter": "phi4-half", "phi4-half": "phi4"}  # the coarse family and the one it refines to
KINDS_OF_FIELDS = (*FAMILIES, *(f"{name}-details" for name in DETAILS))
KNOTS, WAVES = (
    9,
    33,
)  # of the tables: the parameter, and the square root of the lattice Laplacian's eigenvalue
LAM = 0.5  # of phi4
MOST_MEAN = 0.4  # compositions of mixtures go from minus this to this
HEADS = {"8": Patches(2, 1, 8), "16": Patches(2, 1, 16), "details": Patches(7, 3, 8)}
CONFIG = NetworkConfig(width=256, depth=6, ffn_hidden=704, vocab=1, rank=1, cross_every=7)  # no slots
FIELD_PROCESS = Gaussian()


def interpolate(table: Tensor, u: Tensor) -> Tensor:
    """Rows of `table (n, ...)` at places u in [0, 1], linear in between, `(b, ...)`."""
    place = u.clamp(0, 1) * (len(table) - 1)
    below = place.floor().clamp(max=len(table) - 2).long()
    share = (place - below).view(-1, *[1] * (table.ndim - 1))
    return table[below] * (1 - share) + table[below + 1] * share


@dataclass(frozen=True)
class Preconditioning:
    """The units in which something is denoised: it is offset + scale times what `denoise` denoises, whose
    modes have this power per site, of mean 1.
    """

    denoise: Denoise
    power: Tensor
    scale: Tensor
    offset: Tensor

    def field(self, x: Tensor) -> Tensor:
        """From the loop's units to its own."""
        return self.offset + self.scale * x


class FieldModel(nn.Module):
    """Networks, and the power of each family's modes per site in tables over (parameter, wave number)."""

    log_power: Tensor

    def __init__(self, network: nn.Module | None = None) -> None:
        super().__init__()
        self.network = FieldNetwork(CONFIG, HEADS, len(KINDS_OF_FIELDS) + 2) if network is None else network
        self.register_buffer("log_power", torch.zeros(len(FAMILIES) * KNOTS * (WAVES + 1)))

    def power(self, family: str, u: Tensor, h: int, w: int) -> Tensor:
        """E |mode|^2 / sites of a family's fields, `(b, h, w)`; the mean has a column of its own."""
        table = self.log_power.view(len(FAMILIES), KNOTS, WAVES + 1)[[*FAMILIES].index(family)]
        rows = interpolate(table, u)  # (b, WAVES + 1)
        wave = (symbol(h, w, u.device) / 8).sqrt().float().flatten()  # in [0, 1]
        out = interpolate(rows[:, 1:].T, wave).T.unflatten(1, (h, w)).clone()
        out[:, 0, 0] = rows[:, 0]
        return out.exp()

    def condition(self, name: str, u: Tensor, second: Tensor) -> Tensor:
        kind = torch.zeros(len(u), len(KINDS_OF_FIELDS), device=u.device)
        kind[:, KINDS_OF_FIELDS.index(name)] = 1.0
        return torch.cat([kind, u[:, None], second[:, None]], 1)

    def corrected(self, head: str, power: Tensor, condition: Tensor, given: Tensor | None = None) -> Denoise:
        """A denoiser of `(b, c, h, w)` whose modes have this `power (b, c, h, w)` of mean 1."""

        def denoise(x: Tensor, t: Tensor) -> Tensor:
            linear, left = wiener(x, t, power)
            shown = [x, linear] if given is None else [x, linear, given]
            correction = self.network(head, torch.cat(shown, 1), t, condition).float()
            return linear + torch.fft.ifft2(torch.fft.fft2(correction) * left.sqrt()).real

        return denoise

    def whole(self, family: str, u: Tensor, second: Tensor, h: int, w: int) -> Preconditioning:
        """In which units fields `(b, 1, h, w)` of a family are denoised."""
        power = self.power(family, u, h, w)[:, None]
        variance = power.mean((2, 3), keepdim=True)
        head = "16" if h * w > 128 * 128 else "8"
        denoise = self.corrected(head, power / variance, self.condition(family, u, second))
        return Preconditioning(
            denoise, power / variance, variance.sqrt(), FAMILIES[family].offset(second)[:, None]
        )

    def details(self, family: str, u: Tensor, mean: Tensor, noise: Tensor) -> Preconditioning:
        """In which units the details `(b, 3, h, w)` of `mean (b, h, w)` are denoised, `mean` having been
        blurred by noise of `noise (b,)` times its standard deviation.
        """
        h, w = mean.shape[1:]
        fine = self.power(DETAILS[family], u, 2 * h, 2 * w)
        scale = self.power(family, u, h, w).mean((1, 2))
        gain, left = given_mean(fine, noise**2 * scale)
        variance = left.mean((2, 3), keepdim=True)
        shown = (mean / scale.sqrt()[:, None, None])[:, None]
        condition = self.condition(f"{family}-details", u, noise)
        denoise = self.corrected("details", left / variance, condition, shown)
        return Preconditioning(denoise, left / variance, variance.sqrt(), filtered(mean, gain))


def wiener(x: Tensor, t: Tensor, power: Tensor) -> tuple[Tensor, Tensor]:
    """The best linear estimate of a clean field with this power per site, and the power of what it leaves."""
    alpha, sigma = FIELD_PROCESS.at(t, x)
    seen = alpha**2 * power + sigma**2
    gain = alpha * power / seen
    linear = torch.fft.ifft2(torch.fft.fft2(x) * gain).real
    return linear, power * sigma**2 / seen


def tent(place: Tensor, knots: int) -> Tensor:
    """How much each of `knots` equally spaced knots on [0, 1] has to say at a place, `(n, knots)`."""
    every = torch.arange(knots, dtype=place.dtype, device=place.device)
    distance = (place[:, None] * (knots - 1) - every[None]).abs()
    return (1 - distance).clamp(min=0)


def fitted_power(sets: Sequence[tuple[Tensor, Tensor]], rounds: int = 60) -> Tensor:
    """The table of one family, `(KNOTS, WAVES + 1)`, by maximum (Whittle) likelihood: modes are independent
    with variance exp(table), interpolated over parameter and wave number.

    Args:
        sets: fields `(n, h, w)` and their parameters on [0, 1], `(n,)`; sizes may differ between sets.
    """
    parts = []
    for x, u in sets:
        sites = x[0].numel()
        wave, which = (symbol(*x.shape[1:]) / 8).sqrt().mul(1e6).round().flatten().unique(return_inverse=True)
        count = torch.zeros(len(wave), dtype=torch.float64).index_add_(0, which, torch.ones(sites).double())
        power = [torch.fft.fft2(one.double()).abs().square().flatten() / sites for one in x]
        by_wave = torch.zeros(len(x), len(wave), dtype=torch.float64).index_add_(1, which, torch.stack(power))
        columns = torch.cat([torch.eye(1, WAVES + 1), F.pad(tent(wave[1:] / 1e6, WAVES), (1, 0))]).double()
        parts.append((tent(u.double(), KNOTS), columns, by_wave, count))
    level = sum(p[2].sum() for p in parts) / sum(p[3].sum() * len(p[0]) for p in parts)
    table = torch.full((KNOTS, WAVES + 1), float(level), dtype=torch.float64).log().requires_grad_()
    search = torch.optim.LBFGS([table], max_iter=rounds, line_search_fn="strong_wolfe")

    def misfit() -> Tensor:
        search.zero_grad()
        loss = 1e-2 * (table[:, 1:].diff(n=2, dim=1).square().sum() + table.diff(n=2, dim=0).square().sum())
        for over, columns, power, count in parts:
            log = over @ table @ columns.T
            loss = loss + (count * log + power * torch.exp(-log)).sum() / len(over)
        loss.backward()
        return loss

    search.step(misfit)
    return table.detach().float()
