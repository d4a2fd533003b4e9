"""Does the memory lose nothing, find fast, mean something, and guide?

Every part is a function of a `Setting` in a module of its own. A number that no part gave is None with the
reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .embedding import measure_embedding
from .memory_guidance import measure_guidance
from .memory_promise import measure_promise
from .memory_search import measure_search
from .results import Measurement, Setting, announce

Part = Callable[[Setting], Measurement]

PARTS: dict[str, Part] = {
    "searching and writing": measure_search,
    "what it survives": measure_promise,
    "meaning": measure_embedding,
    "guidance": measure_guidance,
}
KEYS = (
    *("p50_ms_100k", "p99_ms_100k", "recall10", "rivals", "fastest_at_recall", "filter_ratio"),
    *("write_p99_ratio", "add_over_fsync_ms", "add_batch_s"),
    *("kills", "lost", "images", "bad_images", "erased"),
    "encode_recall10",
    *("guided_text", "guided_text_control", "guided_image", "guided_image_control"),
    *("projection_ms", "evaluation_ratio"),
    *("notes_top5", "notes_bm25", "notes_answered", "notes_answered_without"),
    *("p50_ms_1m", "rss_mb_1m"),
)


def merged_parts(found: dict[str, Measurement], keys: Sequence[str]) -> Measurement:
    """What all parts found, and None for keys that none of them gave.

    Raises:
        ValueError: two parts give one number.
    """
    whole = Measurement({})
    weights: list[Any] = []
    for name, part in found.items():
        if twice := sorted(part.numbers.keys() & whole.numbers):
            raise ValueError(f"{name} gives {twice}, which another part gives already")
        whole.numbers |= part.numbers
        whole.missing |= part.missing
        weights += [path for path in part.weights if path not in weights]
    whole.weights = weights
    for key in keys:
        if key not in whole.numbers:
            whole.numbers[key] = None
            whole.missing.setdefault(key, "no part measures it yet")
    return whole


def measure_memory(setting: Setting) -> Measurement:
    """`bowstring bench memory`."""
    found = {}
    for name, part in PARTS.items():
        announce(name)
        found[name] = part(setting)
    return merged_parts(found, KEYS)
