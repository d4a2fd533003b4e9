"""Measurements: each topic is a function that measures and returns a JSON object of numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .physics import measure as physics
from .quality import measure as quality
from .skeleton import measure as skeleton
from .speed import measure as speed
from .text import measure as text

TOPICS: dict[str, Callable[..., dict[str, Any]]] = {
    "text": text,
    "skeleton": skeleton,
    "physics": physics,
    "quality": quality,
    "speed": speed,
}
