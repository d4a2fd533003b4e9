"""`bowstring train autoencoder`: draws the gallery if need be, trains, writes the codec."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...image.weights import save_autoencoder
from ..data import gallery
from ..progress import tell
from ..schedule import Run
from .autoencoder import run_autoencoder


def gallery_in(data: Path, runs: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of the gallery in `runs`, and which pictures are held out."""
    pictures = gallery.build_gallery(data, runs / "gallery")
    return gallery.pixels_of(runs / "gallery"), np.array([picture.held_out for picture in pictures])


def train_autoencoder(data: Path, run: Run) -> None:
    """Writes `run.out/model`."""
    save_autoencoder(run.out / "model", run_autoencoder(*gallery_in(data, data.parent), run))
    tell(f"autoencoder written to {run.out / 'model'}")
