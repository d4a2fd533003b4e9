"""Does a store lose what it acknowledged when its process or the machine ends, and are erased bytes gone?"""

from __future__ import annotations

from .board import disk, faults, power, rows, writers
from .results import Measurement, Setting, announce


def measure_promise(setting: Setting) -> Measurement:
    """Kills, images of power losses and erased bytes, for `bowstring bench memory`."""
    announce("kills")
    with rows.workplace(on_disk=True) as place:
        kills, lost = writers.kill(place / "store", 100 if setting.quick else 500)
    announce("erased bytes")
    with rows.workplace(on_disk=False) as place:
        _, left = faults.erased_bytes(place / "store")
    numbers = {"kills": kills, "lost": len(lost), "erased": not left, "images": None, "bad_images": None}
    if disk.library() is None:
        why = "SQLite is part of this Python's own file and cannot be watched"
        return Measurement(numbers, missing={"images": why, "bad_images": why})
    announce("images of power losses")
    with rows.workplace(on_disk=False) as place:
        images, bad = power.power_losses(place / "store", 300 if setting.quick else 2000)
    return Measurement(numbers | {"images": images, "bad_images": len(bad)})
