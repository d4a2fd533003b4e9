"""Does the model know when it is unsure, obey its controls, and keep only what proves better?

Every part is a function of a `Setting` in a module of its own. A number that no part gave is None with the
reason.
"""

from __future__ import annotations

from collections.abc import Callable

from .controls import measure_controls
from .doubts import measure_doubt
from .evolution import measure_evolution
from .memory import merged_parts
from .results import Measurement, Setting, announce

Part = Callable[[Setting], Measurement]

PARTS: dict[str, Part] = {
    "doubt": measure_doubt,
    "levels, gate and ledger": measure_evolution,
    "controls": measure_controls,
}
KEYS = (
    *("doubt_spearman", "doubt_error_auroc", "false_triggers"),
    *(
        "levels",
        "wrongly_kept",
        "rightly_kept",
        "found",
        "misapplied",
        "kills",
        "bad_states",
        "undo_identical",
    ),
    *("structure_with", "structure_without", "answers_with", "answers_without"),
    *("calls_valid", "calls_right_with", "calls_right_without", "evaluation_ratio"),
    *("layout_with", "layout_without", "layout_shuffled"),
)


def measure_evolve(setting: Setting) -> Measurement:
    """`bowstring bench evolve`."""
    found = {}
    for name, part in PARTS.items():
        announce(name)
        found[name] = part(setting)
    return merged_parts(found, KEYS)
