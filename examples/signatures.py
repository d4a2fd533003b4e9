"""Behaviour signatures: a vector (composition, time) names a behaviour, and the network draws fields of it.

Each signature is read off fields and compared with those of the solver for the same vector. Run:
python examples/signatures.py   (writes docs/signatures.png)
"""

import torch
from shortcut import length

from bowstring.core.rng import Rng
from bowstring.fields.picture import field_grid
from bowstring.fields.sampling import fields
from bowstring.fields.solvers import cahn_hilliard
from bowstring.fields.weights import load_fields

MEANS, LOGS, EACH = (-0.35, 0.0, 0.35), (1.2, 1.8, 2.4), 8


def signature(x: torch.Tensor) -> list[float]:
    """Share of the first phase, size of domains, contrast."""
    return [float((x > 0).float().mean()), length(x), float(x.std((1, 2)).mean())]


def main() -> None:
    model, shown, rows = load_fields(), [], []
    for mean in MEANS:
        noise = 0.1 * Rng.of(1, EACH).normal(64, 64)
        start = mean + noise - noise.mean((1, 2), keepdim=True)
        wanted = {round(10**log / 0.2): log for log in LOGS}
        solved = {wanted[i]: x for i, x in enumerate(cahn_hilliard(start, max(wanted)), 1) if i in wanted}
        for log in LOGS:
            made = fields(model, "cahn-hilliard", log, count=EACH, steps=25, seed=3, second=mean)
            ours, theirs = signature(made), signature(solved[log])
            rows.append((ours, theirs))
            shown.append(made[0])
            print(
                f"mean {mean:+.2f}, time {10**log:5.0f}: "
                + "  ".join(
                    f"{name} {a:.3f} (solver {b:.3f})"
                    for name, a, b in zip(("share", "domains", "contrast"), ours, theirs, strict=True)
                )
            )
    ours, theirs = (torch.tensor([row[side] for row in rows]) for side in (0, 1))
    for i, name in enumerate(("share", "domains", "contrast")):
        correlation = torch.corrcoef(torch.stack([ours[:, i], theirs[:, i]]))[0, 1]
        print(f"{name}: correlation with the solver's over nine vectors {correlation:.3f}")
    field_grid(torch.stack(shown), columns=3, scale=2).save("docs/signatures.png")


if __name__ == "__main__":
    main()
