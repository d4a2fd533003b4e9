"""Physical fields: builds the data of every family, fits their spectra, trains the network.

Data are made by our own samplers and solvers, split by trajectory, and cached as FP16. Shapes: fields
`(n, h, w)`, parameters `(n,)`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..core.loop import State, iterate
from ..core.rng import Rng
from ..energy.mcmc.lattice import sweeps
from ..energy.potential import EnergyPotential, phi4
from ..fields.model import DETAILS, FAMILIES, FIELD_PROCESS, LAM, FieldModel, fitted_power, wiener
from ..fields.scales import haar
from ..fields.solvers import cahn_hilliard, heat
from .checkpoint import Optimisers
from .loop import apply_gradients, noise_like, set_rate, step_generator, training_steps
from .optim import mixed, optimisers
from .progress import TrainingLog, tell
from .schedule import Moment, Run, warm_up_share

Fields = dict[str, tuple[Tensor, Tensor, Tensor]]  # name -> fields, parameter, second condition
HELD_OUT_SHARE = 0.1
MIX = {  # (family, side of the grid): share of the training's steps and fields in one
    ("phi4", 64): (0.30, 32),
    ("phi4", 128): (0.06, 8),
    ("phi4", 256): (0.12, 8),
    ("phi4-half", 128): (0.06, 8),
    ("phi4-quarter", 64): (0.10, 32),
    ("ising", 64): (0.10, 32),
    ("cahn-hilliard", 64): (0.12, 32),
    ("heat", 64): (0.04, 32),
    ("phi4-quarter-details", 64): (0.05, 32),
    ("phi4-half-details", 128): (0.05, 8),
}
FINE_FIELDS = {("phi4-quarter-details", 64): ("phi4-half", 128), ("phi4-half-details", 128): ("phi4", 256)}


def stratified_parameters(name: str, count: int, seed: int) -> Tensor:
    """`count` parameters of a family, evenly spread, in an order that depends on the seed."""
    family, rng = FAMILIES[name], torch.Generator().manual_seed(seed)
    place = (torch.arange(count) + torch.rand(count, generator=rng)) / count
    return family.low + (family.high - family.low) * place[torch.randperm(count, generator=rng)]


def equilibrium_fields(
    name: str, count: int, side: int, seed: int, each: int = 8, settle: int = 400
) -> Fields:
    """Independent chains, one for each parameter, settled from noise; `each` fields of every chain."""
    betas, out, chains = stratified_parameters(name, -(-count // each), seed), [], []
    for i, beta in enumerate(betas.tolist()):
        spins = name == "ising"
        energy = EnergyPotential(0.0, beta, 1.0, 1.0) if spins else phi4(beta / 2, LAM)
        rng = Rng.of(seed, 1, first=i)
        x = rng.fork(1).normal(side, side)
        x = x.sign() if spins else x
        walk = sweeps(energy, 0.09, 0 if spins else 10, cluster_updates=16, count=50)
        states = iterate(walk, State.begin(x), torch.zeros(settle // 50 + each + 1), rng)
        out += [state.x[0] for i, state in enumerate(states) if i >= settle // 50]  # type: ignore[index]
        chains += [beta] * each
    return {name: (torch.stack(out)[:count], torch.tensor(chains)[:count], torch.zeros(count))}


def mixture_fields(count: int, side: int, seed: int, each: int = 8) -> Fields:
    """Cahn and Hilliard's equation from noise about a mean, seen at several times."""
    family, rng = FAMILIES["cahn-hilliard"], torch.Generator().manual_seed(seed)
    runs, dt = -(-count // each), 0.2
    mean = torch.rand(runs, generator=rng) * 0.8 - 0.4
    x = mean[:, None, None] + 0.1 * torch.randn(runs, side, side, generator=rng)
    x = x - x.mean((1, 2), keepdim=True) + mean[:, None, None]
    log = family.low + (family.high - family.low) * torch.rand(runs, each, generator=rng)
    step = (10**log / dt).round().long()
    out = torch.empty(runs, each, side, side)
    for i, now in enumerate(cahn_hilliard(x, int(10**family.high / dt) + 1, dt), 1):
        for run, k in (step == i).nonzero().tolist():
            out[run, k] = now[run]
    seconds = mean[:, None].expand(-1, each).flatten()
    return {"cahn-hilliard": (out.flatten(0, 1)[:count], log.flatten()[:count], seconds[:count])}


def heat_fields(count: int, side: int, seed: int) -> Fields:
    """Three to twelve hot points on an insulated plate, after a while; the mean is 1."""
    rng, log = torch.Generator().manual_seed(seed), stratified_parameters("heat", count, seed)
    x = torch.zeros(count, side * side)
    for i in range(count):
        points = int(torch.randint(3, 13, (1,), generator=rng))
        place = torch.randint(side * side, (points,), generator=rng)
        x[i].index_add_(0, place, 0.5 + torch.rand(points, generator=rng))
    x = x * side * side / x.sum(1, keepdim=True)
    return {"heat": (heat(x.view(-1, side, side), 10**log), log, torch.zeros(count))}


def build_fields(folder: Path, scale: float = 1.0) -> dict[str, Tensor]:
    """All fields, from `folder/fields.safetensors` if they lie there. Keys are `name/side/what`; the last
    tenth of each is held out.
    """
    from safetensors.torch import load_file, save_file

    path = folder / "fields.safetensors"
    if path.exists():
        return load_file(path)
    n, out = lambda count: max(16, int(count * scale)), {}
    made = [
        (64, equilibrium_fields("phi4", n(6000), 64, 1)),
        (128, equilibrium_fields("phi4", n(800), 128, 2)),
        (256, equilibrium_fields("phi4", n(800), 256, 3)),
        (64, equilibrium_fields("ising", n(3000), 64, 4)),
        (64, mixture_fields(n(3000), 64, 5)),
        (64, heat_fields(n(1500), 64, 6)),
    ]
    x, beta, none = made[2][1]["phi4"]
    half = haar(x)[0]
    made += [(128, {"phi4-half": (half, beta, none)}), (64, {"phi4-quarter": (haar(half)[0], beta, none)})]
    for side, fields in made:
        for name, (x, parameter, second) in fields.items():
            out[f"{name}/{side}/x"], out[f"{name}/{side}/u"] = x.half(), FAMILIES[name].unit(parameter)
            out[f"{name}/{side}/second"] = second
    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous().clone() for k, v in out.items()}, path)
    return out


def split_fields(
    data: dict[str, Tensor], name: str, side: int, *, held_out: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Fields, parameters on [0, 1] and second conditions of one half of the split."""
    x, u, second = (data[f"{name}/{side}/{what}"] for what in ("x", "u", "second"))
    at = int(len(x) * (1 - HELD_OUT_SHARE)) // 8 * 8  # a chain or trajectory of 8 fields is never cut
    here = slice(at, None) if held_out else slice(0, at)
    return x[here].float(), u[here], second[here]


def fit_spectra(model: FieldModel, data: dict[str, Tensor]) -> None:
    """Fits the model's tables to the training half."""
    tables = []
    for name in FAMILIES:
        sides = sorted({int(key.split("/")[1]) for key in data if key.startswith(f"{name}/")})
        sets = [split_fields(data, name, side, held_out=False) for side in sides]
        tables.append(fitted_power([(x - FAMILIES[name].offset(second), u) for x, u, second in sets]))
    model.log_power.copy_(torch.stack(tables).flatten())


def symmetric_copies(x: Tensor, name: str, rng: torch.Generator) -> Tensor:
    """A copy of `(b, h, w)` that is as likely: shifted, turned, mirrored; symmetric families change sign."""
    b, h, w = x.shape
    down, across, kind, sign = torch.randint(0, 1 << 30, (4, b), generator=rng)
    out = []
    for i in range(b):
        one = x[i]
        if name != "heat":  # a plate with walls has no other place to begin
            one = one.roll((int(down[i]) % h, int(across[i]) % w), (0, 1))
        one = one.rot90(int(kind[i]) % 4)
        one = one.flip(0) if kind[i] // 4 % 2 else one
        out.append(-one if name.startswith(("phi4", "ising")) and sign[i] % 2 else one)
    return torch.stack(out)


@dataclass(frozen=True)
class FieldRecipe:
    """A training of fields. `objective` is mse (every noise level counts alike) or vlb (the likelihood
    bound).
    """

    steps: int = 2600
    rate: float = 1e-3
    warm_up: int = 100
    objective: str = "mse"
    seed: int = 0

    def rate_at(self, moment: Moment) -> float:
        return self.rate * min(warm_up_share(moment, self.steps, self.warm_up), (1 - moment.share) / 0.6)


LOWEST_LOG_SNR, HIGHEST_LOG_SNR = -9.0, 8.5  # log signal-to-noise ratios between which the bound is taken
LOG_SNR_CENTRE, LOG_SNR_WIDTH = 1.0, 2.2  # where the network can know more than the linear estimate


def draw_times(count: int, rng: torch.Generator, *, centred: bool) -> Tensor:
    """Times whose log signal-to-noise ratio is uniform between LOWEST and HIGHEST, or normal about CENTRE
    and cut to the same range; stratified.
    """
    place = (torch.arange(count) + torch.rand(count, generator=rng)) / count
    if centred:
        log = (LOG_SNR_CENTRE + LOG_SNR_WIDTH * torch.special.ndtri(place)).clamp(
            LOWEST_LOG_SNR, HIGHEST_LOG_SNR
        )
    else:
        log = LOWEST_LOG_SNR + (HIGHEST_LOG_SNR - LOWEST_LOG_SNR) * place
    return 2 / math.pi * torch.acos(torch.sigmoid(log).sqrt())  # keep = cos^2(pi t / 2) = snr / (1 + snr)


def denoising_errors(
    model: FieldModel,
    name: str,
    batch: tuple[Tensor, Tensor, Tensor],
    rng: torch.Generator,
    *,
    centred: bool = False,
) -> tuple[Tensor, Tensor]:
    """Squared error of x_0_hat, `(b,)` each: over the linear estimate's own expected error (below 1 when the
    network knows more), and times the signal-to-noise ratio (whose mean over log ratios is the bound).
    """
    x, u, second = batch
    t = draw_times(len(x), rng, centred=centred).to(x.device)
    if name.endswith("-details"):
        family = name.removesuffix("-details")
        mean, wanted = haar(symmetric_copies(x, DETAILS[family], rng))
        noise = 0.3 * torch.rand(len(x), generator=rng).to(x.device)
        scale = model.power(family, u, *mean.shape[1:]).mean((1, 2)).sqrt()
        blurred = mean + (noise * scale)[:, None, None] * noise_like(mean, rng)
        units = model.details(family, u, blurred, noise)
    else:
        units = model.whole(name, u, second, *x.shape[1:])
        wanted = symmetric_copies(x, name, rng)[:, None]
    x_0 = (wanted - units.offset) / units.scale
    alpha, sigma = FIELD_PROCESS.at(t, x_0)
    x_t = alpha * x_0 + sigma * noise_like(x_0, rng)
    error = (units.denoise(x_t, t) - x_0).float().square().mean((1, 2, 3))
    _, left = wiener(x_t, t, units.power)
    return error / left.mean((1, 2, 3)), error * (alpha / sigma).square().flatten()


def training_step(
    model: FieldModel, optimiser: Optimisers, recipe: FieldRecipe
) -> Callable[[str, tuple[Tensor, Tensor, Tensor], Moment], float]:
    """A function (family, batch, moment) that improves the model and returns the loss."""

    def improve(name: str, batch: tuple[Tensor, Tensor, Tensor], moment: Moment) -> float:
        set_rate(optimiser, recipe.rate_at(moment))
        rng, device = step_generator(recipe.seed, moment.step), model.log_power.device
        with mixed(device):
            x, u, second = (part.to(device) for part in batch)
            mse, vlb = denoising_errors(model, name, (x, u, second), rng, centred=recipe.objective == "mse")
        loss = (mse if recipe.objective == "mse" else vlb).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.network.parameters(), 1.0)
        apply_gradients(optimiser)
        return loss.item()

    return improve


def fit_fields(
    recipe: FieldRecipe, data: dict[str, Tensor], run: Run, model: FieldModel | None = None
) -> Iterator[tuple[Moment, str, float, float, FieldModel]]:
    """Trains, yielding (moment, family, loss, samples per second, model); resumes from `run.out`.

    Args:
        model: the network to train, a fresh one by default; its spectra are fitted here.
    """
    torch.manual_seed(recipe.seed)
    model = FieldModel() if model is None else model
    fit_spectra(model, data)
    model = model.to(run.device)
    optimiser = optimisers(model.network, recipe.rate)
    sets = {key: split_fields(data, *FINE_FIELDS.get(key, key), held_out=False) for key in MIX}
    keys, shares = [*MIX], torch.tensor([share for share, _ in MIX.values()])
    improve = training_step(model, optimiser, recipe)
    for moment in training_steps(recipe.steps, run, model.network, optimiser):
        began, rng = (
            time.monotonic(),
            torch.Generator().manual_seed(recipe.seed * 1_000_003 - 1 - moment.step),
        )
        key = keys[int(torch.multinomial(shares, 1, generator=rng))]
        index = torch.randint(len(sets[key][0]), (MIX[key][1],), generator=rng)
        x, u, second = sets[key]
        loss = improve(key[0], (x[index], u[index], second[index]), moment)
        yield moment, f"{key[0]} {key[1]}", loss, len(index) / (time.monotonic() - began), model


def run_fields(data: dict[str, Tensor], run: Run) -> FieldModel:
    """`fit_fields` with progress on screen and a log.

    Raises:
        ValueError: the training had ended before.
    """
    model = None
    with TrainingLog(run) as log:
        for moment, key, loss, speed, model in fit_fields(FieldRecipe(), data, run):  # noqa: B007
            row = {"fields": key, "loss": loss, "samples_per_second": speed}
            log.add(moment, row, f"error {loss:.3f} of the linear estimate's  {speed:,.0f} fields/s", key)
    assert model is not None
    return model


def train_fields(data: Path, run: Run) -> None:
    """`bowstring train fields`: builds what is missing in `data`, trains in `run.out`, writes its `model`."""
    from ..fields.weights import save_fields

    tell("building fields; the first time takes some minutes")
    model = run_fields(build_fields(data), run)
    save_fields(run.out / "model", model)
    tell(f"model written to {run.out / 'model'}")
