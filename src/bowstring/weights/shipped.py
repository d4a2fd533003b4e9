"""Where models lie: a plain name is one that ships with the package, everything else is a path."""

from __future__ import annotations

import os
from pathlib import Path

DATA = Path(__file__).parent.parent / "data"
SHIPPED = DATA / "text"  # the default
MULTIMODAL = DATA / "multimodal"  # the default where all heads are needed
G2P_FOLDER = DATA / "g2p"
RENAMED = {"senses": "multimodal"}


def is_path(name: str) -> bool:
    """Whether this is written as a path: with a separator, or beginning with a dot."""
    return name.startswith(".") or any(mark in name for mark in (os.sep, "/", os.altsep or "/"))


def names() -> list[str]:
    """Names of the models that ship."""
    return sorted(path.parent.name for path in DATA.glob("*/metadata.json"))


def model_folder(name: Path | str | None) -> Path:
    """The folder of a model: a path, the name of a shipped one, or None for the default.

    A `Path` is a path, a string by its form: `"text"` ships with the package, `"./text"` is a folder here.

    Raises:
        FileNotFoundError: no model of this name ships.
    """
    if name is None:
        return SHIPPED
    if isinstance(name, Path) or is_path(name):
        return Path(name)
    if name in RENAMED:
        raise FileNotFoundError(f"the model {name!r} is called {RENAMED[name]!r} now")
    if not (DATA / name).is_dir():
        raise FileNotFoundError(
            f"no model {name!r} ships; those that do are {', '.join(names())}. A folder is written as a "
            f"path: ./{name}"
        )
    return DATA / name
