"""Denoisers whose answers are known: Gaussian data, and a joint table over three tokens."""

import torch

from bowstring.core.process import Gaussian

MASK = 4
TABLE = torch.tensor(  # p(a, b, c) over 2 x 3 x 2 values, far from independent
    [[[0.20, 0.01], [0.02, 0.15], [0.03, 0.04]], [[0.01, 0.14], [0.12, 0.02], [0.06, 0.20]]],
    dtype=torch.float64,
)
VALUES = 4  # tokens 0..3 exist, of which each position uses some


def gaussian_denoise(process: Gaussian, mean: float = 0.7, std: float = 0.5):
    """E[x_0 | x_t] for x_0 ~ N(mean, std^2), elementwise."""

    def denoise(x, t):
        alpha, sigma = process.at(t, x)
        gain = alpha * std**2 / (alpha**2 * std**2 + sigma**2)
        return mean + gain * (x - alpha * mean)

    return denoise


def gaussian_flow(process: Gaussian, x_1, mean: float = 0.7, std: float = 0.5):
    """Where the probability-flow ODE takes x_1 from t = 1 to t = 0: it keeps the quantile."""
    alpha, sigma = process.at(torch.ones(len(x_1), dtype=torch.float64), x_1)
    return mean + std * (x_1 - alpha * mean) / (alpha**2 * std**2 + sigma**2).sqrt()


def table_denoise(x, t):
    """log p(x_i | visible positions) of `TABLE`, `(b, 3, VALUES)`."""
    return LOGITS[(x * torch.tensor([25, 5, 1])).sum(1)]


def conditionals(x):
    """The same, worked out."""
    b = len(x)
    joint = TABLE.expand(b, 2, 3, 2).clone()
    for axis, size in enumerate(TABLE.shape):
        seen = x[:, axis]
        allowed = (seen[:, None] == torch.arange(size)) | (seen[:, None] == MASK)
        shape = [b, 1, 1, 1]
        shape[axis + 1] = size
        joint = joint * allowed.reshape(shape)
    logits = torch.full((b, 3, VALUES), -torch.inf, dtype=torch.float64)
    for axis, size in enumerate(TABLE.shape):
        others = [d + 1 for d in range(3) if d != axis]
        logits[:, axis, :size] = joint.sum(others).log()
    return logits.float().log_softmax(-1)


LOGITS = conditionals(torch.cartesian_prod(*[torch.arange(MASK + 1)] * 3)).nan_to_num(nan=-torch.inf)


def table_counts(x):
    """How often each cell of the table was drawn, as shares."""
    flat = x[:, 0] * 6 + x[:, 1] * 2 + x[:, 2]
    return torch.bincount(flat, minlength=12).double().view(2, 3, 2) / len(x)


def within_four_errors(shares, law, draws):
    return bool(((shares - law).abs() <= 4 * (law * (1 - law) / draws).sqrt() + 1e-12).all())
