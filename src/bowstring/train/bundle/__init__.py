"""Trainings that travel: what a recipe learns from and begins with, packed so that another machine goes on
with numpy and torch alone; the result comes back in parts, too.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..parts import read_parts, write_parts
from ..progress import tell
from ..schedule import Run
from ..text.recipes import RECIPES
from .arrays import Travelling
from .joint import FACE_RECIPE, MULTIMODAL_RECIPE, SHORTCUT_RECIPE
from .pictures import AUTOENCODER_RECIPE, FIELDS_RECIPE
from .speech import G2P_RECIPE, POSTFILTER_RECIPE
from .text import QAT_RECIPE, TEXT_RECIPE

BUNDLE_PART, RESULT_PART = 40_000_000, 15_000_000  # bytes, at most
RESULT = "result"  # folder of a run's parts
OTHERS = {  # than those of text
    "int4": QAT_RECIPE,
    "int2": QAT_RECIPE,
    "multimodal": MULTIMODAL_RECIPE,
    "shortcut": SHORTCUT_RECIPE,
    "face": FACE_RECIPE,
    "postfilter": POSTFILTER_RECIPE,
    "autoencoder": AUTOENCODER_RECIPE,
    "g2p": G2P_RECIPE,
    "fields": FIELDS_RECIPE,
}


def travelling(recipe: str) -> Travelling:
    """How a recipe travels.

    Raises:
        ValueError: it cannot.
    """
    if recipe in RECIPES:
        return TEXT_RECIPE
    if recipe not in OTHERS:
        raise ValueError(f"{recipe!r} cannot be bundled; expected one of {', '.join([*RECIPES, *OTHERS])}")
    return OTHERS[recipe]


def sent(settings: Mapping[str, Any]) -> Travelling:
    """How what was sent goes on; texts bring their recipe, so that it need not be known here."""
    return OTHERS.get(settings["recipe"], TEXT_RECIPE)


def bundle(recipe: str, data: Path, runs: Path, out: Path, given: Mapping[str, Any]) -> list[Path]:
    """Packs what a recipe needs into parts in `out`; `runs` holds what was trained before.

    Args:
        given: steps, seed and start, of recipes that take them.

    Raises:
        ValueError: a recipe that cannot travel, or an option that it does not take.
    """
    way = travelling(recipe)
    if wrong := [name for name in given if name not in way.options]:
        takers = [name for name, one in OTHERS.items() if wrong[0] in one.options]
        raise ValueError(f"{recipe} has no option {wrong[0]!r}; it is for {', '.join(takers)}")
    arrays, settings = way.pack(recipe, data, runs, given)
    return write_parts(out, arrays, {"recipe": recipe, **settings}, BUNDLE_PART)


def train_bundle(folder: Path, run: Run) -> None:
    """Trains from the bundle in a folder and writes the parts of the result to `run.out/result`.

    Raises:
        FileNotFoundError, ValueError: see `read_parts`; the training had ended before.
    """
    arrays, settings = read_parts(folder)
    made, about = sent(settings).train(arrays, settings, run)
    kept = {name: array for name, array in arrays.items() if name == "tokenizer" or name.startswith("file/")}
    said = {"recipe": settings["recipe"], "metadata": settings.get("metadata"), "result": True, **about}
    shutil.rmtree(run.out / RESULT, ignore_errors=True)
    paths = write_parts(run.out / RESULT, made | kept, said, RESULT_PART)
    tell(f"{len(paths)} parts written to {run.out / RESULT}; `bowstring join` makes a model of them")


def join(folder: Path, out: Path) -> None:
    """Makes a model folder of the parts that a training from a bundle wrote.

    Raises:
        FileNotFoundError, ValueError: see `read_parts`; the parts are no result.
    """
    arrays, settings = read_parts(folder)
    if "result" not in settings:
        raise ValueError(f"{folder} holds a bundle, not a result; join the folder {RESULT!r} of its run")
    sent(settings).join(arrays, settings, out)
