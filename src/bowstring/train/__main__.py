"""`python -m bowstring.train BUNDLE OUT`: trains from a bundle where only numpy and torch are installed."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..weights.placement import chosen_device
from .bundle import train_bundle
from .schedule import Run


def main() -> None:
    reader = argparse.ArgumentParser(prog="python -m bowstring.train", description=__doc__)
    reader.add_argument("bundle", type=Path, help="folder that `bowstring bundle` wrote")
    reader.add_argument("out", type=Path, help="checkpoints, log and the parts of the result")
    reader.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1")
    reader.add_argument("--minutes", type=float, help="fit the whole schedule into so many minutes")
    given = reader.parse_args()
    seconds = None if given.minutes is None else 60 * given.minutes
    train_bundle(given.bundle, Run(given.out, chosen_device(given.device), seconds))


if __name__ == "__main__":
    main()
