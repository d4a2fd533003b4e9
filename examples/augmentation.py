"""Can generated fields stand in for measured ones? A regressor reads the coupling off a phi4 field.

Trained on 40 fields of Markov chains, and on the same 40 with 240 generated ones; tested on 600 fresh
chains. Run: python examples/augmentation.py   (writes docs/augmentation.png, prints the errors)
"""

import torch
from matplotlib.figure import Figure

from bowstring.core.loop import State, iterate, last
from bowstring.core.rng import Rng
from bowstring.energy.mcmc.lattice import sweeps
from bowstring.energy.potential import phi4
from bowstring.fields.metrics import field_statistics
from bowstring.fields.sampling import fields
from bowstring.fields.weights import load_fields

LOW, HIGH = 0.3, 0.62


def measured(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """One field of an own chain for each coupling."""
    beta = LOW + (HIGH - LOW) * torch.rand(count, generator=torch.Generator().manual_seed(seed))
    out = []
    for i, b in enumerate(beta.tolist()):
        rng = Rng.of(seed, 1, first=i)
        step = sweeps(phi4(b / 2, 0.5), 0.09, cluster_updates=8, count=200)
        out.append(last(iterate(step, State.begin(rng.fork(1).normal(64, 64)), torch.zeros(2), rng)).x[0])
    return torch.stack(out), beta


def regressor(x: torch.Tensor, beta: torch.Tensor, seed: int = 0) -> torch.nn.Module:
    """A small network on field statistics, trained to the end with weight decay."""
    torch.manual_seed(seed)
    net = torch.nn.Sequential(torch.nn.Linear(x.shape[1], 32), torch.nn.SiLU(), torch.nn.Linear(32, 1))
    search = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=0.1)
    for _ in range(1500):
        search.zero_grad()
        (net(x)[:, 0] - beta).square().mean().backward()
        search.step()
    return net


def main() -> None:
    judge = phi4(0.2, 0.5)
    few, few_beta = measured(40, 1)
    test, test_beta = measured(600, 2)
    grid = torch.linspace(LOW, HIGH, 240)
    made = torch.cat(
        [
            fields(load_fields(), "phi4", part, count=len(part), steps=12, seed=9, relax=10)
            for part in grid.split(60)
        ]
    )
    sets = {
        "40 measured": (few, few_beta),
        "40 measured + 240 generated": (torch.cat([few, made]), torch.cat([few_beta, grid])),
    }
    figure = Figure(figsize=(8, 4), layout="constrained")
    for axes, (name, (x, beta)) in zip(figure.subplots(1, 2, sharey=True), sets.items(), strict=True):
        known = field_statistics(x, judge).float()
        centre, unit = known.mean(0), known.std(0)
        guesses = []
        for seed in range(5):
            net = regressor((known - centre) / unit, (beta - 0.46) / 0.1, seed)
            guesses.append(
                net((field_statistics(test, judge).float() - centre) / unit)[:, 0].detach() * 0.1 + 0.46
            )
        errors = [(guess - test_beta).square().mean().sqrt().item() for guess in guesses]
        spread = f"five trainings: {min(errors):.4f} to {max(errors):.4f}"
        print(f"{name}: error of the coupling {sum(errors) / 5:.4f} ({spread})")
        axes.plot([LOW, HIGH], [LOW, HIGH], color="0.7")
        axes.plot(test_beta, guesses[0], ".", markersize=3)
        axes.set(title=f"{name}: {sum(errors) / 5:.4f}", xlabel="coupling", ylabel="read off the field")
    figure.savefig("docs/augmentation.png", dpi=100)


if __name__ == "__main__":
    main()
