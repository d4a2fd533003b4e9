"""What can be measured: every topic is a function of a `Setting`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .evolve import measure_evolve
from .memory import measure_memory
from .models import measure_models
from .physics import measure_physics
from .quality import measure_quality
from .results import Measurement, Setting, record
from .skeleton import measure_skeleton
from .speed import measure_speed
from .text import measure_text

TOPICS: dict[str, Callable[[Setting], Measurement]] = {
    "text": measure_text,
    "skeleton": measure_skeleton,
    "physics": measure_physics,
    "quality": measure_quality,
    "speed": measure_speed,
    "models": measure_models,
    "memory": measure_memory,
    "evolve": measure_evolve,
}


def measure(topic: str, setting: Setting) -> dict[str, Any]:
    """`bowstring bench TOPIC`: the numbers and what they were measured with.

    Raises:
        ValueError: an unknown topic.
    """
    if topic not in TOPICS:
        raise ValueError(f"unknown topic {topic!r}; expected one of {sorted(TOPICS)}")
    return record(topic, TOPICS[topic], setting)
