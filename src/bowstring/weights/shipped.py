"""Where models lie: a plain name is one that ships with the package or was imported, everything else is a
path.
"""

from __future__ import annotations

import os
from pathlib import Path

DATA = Path(__file__).parent.parent / "data"
SHIPPED = DATA / "text-int4"  # the default
CONTROLNETS = DATA / "controlnets"  # adapters that ship
MULTIMODAL = DATA / "multimodal"  # the default where all heads are needed
EDGE_TEXT = Path("bench/text-int2")  # what writes on the edge; in a checkout alone
G2P_FOLDER = DATA / "g2p"
ENCODER_FOLDER = DATA / "encoder"
INSTALLED = Path.home() / ".local" / "share" / "bowstring" / "models"  # imported ones
REPLACED = {  # names of before, and what is there now
    "senses": "is called 'multimodal' now",
    "text-int2": "no longer ships; a checkout has it in ./bench/text-int2, and "
    "`bowstring quantise ./text-int2 --bits 2 --qat-steps 400` makes such a one",
    "text": "no longer ships; 'text-int4' writes nearly as well, several times as fast",
}


def is_path(name: str) -> bool:
    """Whether this is written as a path: with a separator, or beginning with a dot."""
    return name.startswith(".") or any(mark in name for mark in (os.sep, "/", os.altsep or "/"))


def names() -> list[str]:
    """Names of the models that ship."""
    return sorted(path.parent.name for path in DATA.glob("*/metadata.json"))


def installed() -> list[str]:
    """Names of the models that were imported."""
    return sorted(path.parent.name for path in INSTALLED.glob("*/decoder.json"))


def installed_folder(name: str) -> Path:
    """Where an imported model lies, or will: a plain name in the user's data, a path where it says.

    Raises:
        ValueError: the name of a model that ships, or none that a folder can have.
    """
    if is_path(name):
        return Path(name)
    if name in names():
        raise ValueError(f"{name!r} is a model that ships; choose another name")
    if name in REPLACED:
        raise ValueError(f"no import is named {name!r}: what shipped under that name {REPLACED[name]}")
    if not name or not all(mark.isalnum() or mark in "-_." for mark in name):
        raise ValueError(f"{name!r} is no name of a model: letters, digits, '-', '_' and '.' make one")
    return INSTALLED / name


def model_folder(name: Path | str | None) -> Path:
    """The folder of a model: a path, the name of a shipped one, or None for the default.

    A `Path` is a path, a string by its form: `"text-int4"` ships with the package, `"./text-int4"` is here.

    Raises:
        FileNotFoundError: no model of this name ships. TypeError, ValueError: what is no name.
    """
    if name is None:
        return SHIPPED
    if not isinstance(name, str | Path):
        raise TypeError(f"the model is {name!r}; expected a name, for example 'text-int4', or a folder")
    if not str(name).strip():
        raise ValueError("the model's name is empty; expected one, for example 'text-int4', or a folder")
    if isinstance(name, Path) or is_path(name):
        return Path(name)
    if name in REPLACED:
        raise FileNotFoundError(f"the model {name!r} {REPLACED[name]}")
    if name in installed():
        return INSTALLED / name
    if not (DATA / name).is_dir():
        raise FileNotFoundError(
            f"no model {name!r} ships or was imported; there are "
            f"{', '.join([*names(), *installed()])}. A folder is "
            f"written as a path: ./{name}"
        )
    return DATA / name


def adapter_folder(name: Path | str) -> Path:
    """The folder of an adapter: the name of one that ships, or a path.

    Raises:
        FileNotFoundError: there is neither.
    """
    if isinstance(name, str) and not is_path(name) and (CONTROLNETS / name).is_dir():
        return CONTROLNETS / name
    if not Path(name).is_dir():
        there = sorted(path.name for path in CONTROLNETS.glob("*/"))
        shipped = f"; those that ship are {', '.join(there)}" if there else ""
        raise FileNotFoundError(f"{name} is no folder of an adapter{shipped}")
    return Path(name)
