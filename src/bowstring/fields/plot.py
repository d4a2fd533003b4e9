"""Plots of fields; needs matplotlib, `pip install "bowstring[report]"`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from .metrics import spectrum
from .picture import diverging_colours


def overview(path: Path, x: Tensor, frames: Sequence[Tensor], title: str, real: Tensor | None = None) -> None:
    """How a field came about, its spectrum, and the histogram of its values; real fields beside it if given.

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError('plots need matplotlib; install it with pip install "bowstring[report]"') from None
    figure = Figure(figsize=(11, 5.2), layout="constrained")
    panels: Any = figure.subfigures(2, 1, height_ratios=(1, 1.5))
    top, bottom = panels
    shown = [frames[i] for i in np.linspace(0, len(frames) - 1, 6).astype(int)] if frames else [*x[:6]]
    limit = float(shown[-1].abs().quantile(0.995)) or 1.0
    for i, (axes, one) in enumerate(zip(top.subplots(1, len(shown), squeeze=False)[0], shown, strict=True)):
        axes.imshow(diverging_colours(one, limit))
        axes.set_axis_off()
        axes.set_title(f"{i + 1}" if not frames else ("first belief", *[""] * 4, "last")[i], fontsize=9)
    power, counts = bottom.subplots(1, 2)
    for name, fields in (("generated", x), ("sampled by chains", real)):
        if fields is None:
            continue
        mean, error = spectrum(fields, 16)
        wave = (np.arange(16) + 0.5) / 16
        power.errorbar(wave, mean, error.nan_to_num(), marker="o", markersize=3, label=name)
        counts.hist(fields.flatten()[:1_000_000].numpy(), 80, density=True, histtype="step", label=name)
    power.set(yscale="log", xlabel="wave number, share of the largest", ylabel="power per site")
    counts.set(xlabel="value at a site", ylabel="density")
    power.legend(fontsize=8)
    figure.suptitle(title, fontsize=9)
    figure.savefig(path, dpi=110)
