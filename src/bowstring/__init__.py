"""Bowstring: one local generative engine.

>>> from bowstring import ArrowEngine
>>> print(ArrowEngine.load().generate("a story about a fox", seed=1))  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .conversation import Conversation
    from .energy import EnergyPotential
    from .engine import ArrowEngine
    from .face.draw import render_avatar
    from .net.network import UnifiedScoreNetwork
    from .painter import ImageResult
    from .physics.generate import MultiScaleGenerator
    from .physics.model import FieldModel
    from .speech.narrator import SpeechResult
    from .steps.boltzmann import BoltzmannSampler
    from .weights.packed import QuantLinear
    from .weights.quant import ArrowQuant
    from .writer import Frame, Result

__version__ = "0.1.0"
_WHERE = {
    "ArrowEngine": "engine",
    "ArrowQuant": "weights.quant",
    "BoltzmannSampler": "steps.boltzmann",
    "Conversation": "conversation",
    "EnergyPotential": "energy",
    "FieldModel": "physics.model",
    "Frame": "writer",
    "ImageResult": "painter",
    "MultiScaleGenerator": "physics.generate",
    "QuantLinear": "weights.packed",
    "Result": "writer",
    "SpeechResult": "speech.narrator",
    "UnifiedScoreNetwork": "net.network",
    "render_avatar": "face.draw",
}
__all__ = [
    "ArrowEngine",
    "ArrowQuant",
    "BoltzmannSampler",
    "Conversation",
    "EnergyPotential",
    "FieldModel",
    "Frame",
    "ImageResult",
    "MultiScaleGenerator",
    "QuantLinear",
    "Result",
    "SpeechResult",
    "UnifiedScoreNetwork",
    "__version__",
    "render_avatar",
]


def __getattr__(name: str) -> Any:
    """Public names load on first use, so that `import bowstring` does not load torch."""
    if name not in _WHERE:
        raise AttributeError(f"module 'bowstring' has no attribute {name!r}; it has {sorted(__all__)}")
    return getattr(import_module(f".{_WHERE[name]}", __name__), name)
