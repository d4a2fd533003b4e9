"""Bowstring: one local generative engine.

>>> from bowstring import ArrowEngine
>>> print(ArrowEngine.load().generate("a story about a fox", seed=1))  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .core.cancel import Cancelled
    from .core.diffusion import ContinuousSampler, DiffusionCore, DiscreteSampler, NoiseScheduler
    from .energy.diffusion import ForwardDiffusion, ReverseDiffusion
    from .energy.mcmc.sampler import BoltzmannSampler
    from .energy.potential import EnergyPotential
    from .engine import ArrowEngine
    from .face.draw import render_avatar
    from .face.portrait import Landmarks, Portrait
    from .fields.model import FieldModel
    from .fields.sampling import MultiScaleGenerator
    from .image.pipeline import ImageFrame
    from .image.result import ImageResult
    from .joint.result import JointResult
    from .llm.pipeline import LanguageModel
    from .memory.store import ArrowStorage
    from .nn.network import UnifiedScoreNetwork
    from .speech.pipeline import SpeechFrame
    from .speech.result import SpeechResult
    from .text.pipeline import TextFrame
    from .text.result import TextResult
    from .weights.quant.arrowquant import ArrowQuant
    from .weights.quant.packed import QuantLinear

__version__ = "0.1.0"
_WHERE = {
    "ArrowEngine": "engine",
    "ArrowStorage": "memory.store",
    "ArrowQuant": "weights.quant.arrowquant",
    "BoltzmannSampler": "energy.mcmc.sampler",
    "Cancelled": "core.cancel",
    "JointResult": "joint.result",
    "Landmarks": "face.portrait",
    "LanguageModel": "llm.pipeline",
    "EnergyPotential": "energy.potential",
    "FieldModel": "fields.model",
    "TextFrame": "text.pipeline",
    "ImageFrame": "image.pipeline",
    "ImageResult": "image.result",
    "MultiScaleGenerator": "fields.sampling",
    "Portrait": "face.portrait",
    "QuantLinear": "weights.quant.packed",
    "TextResult": "text.result",
    "SpeechFrame": "speech.pipeline",
    "SpeechResult": "speech.result",
    "UnifiedScoreNetwork": "nn.network",
    "render_avatar": "face.draw",
    "ContinuousSampler": "core.diffusion",
    "DiffusionCore": "core.diffusion",
    "DiscreteSampler": "core.diffusion",
    "NoiseScheduler": "core.diffusion",
    "ForwardDiffusion": "energy.diffusion",
    "ReverseDiffusion": "energy.diffusion",
}
__all__ = [
    "ArrowEngine",
    "ArrowQuant",
    "ArrowStorage",
    "BoltzmannSampler",
    "Cancelled",
    "ContinuousSampler",
    "DiffusionCore",
    "DiscreteSampler",
    "EnergyPotential",
    "FieldModel",
    "ForwardDiffusion",
    "ImageFrame",
    "ImageResult",
    "JointResult",
    "Landmarks",
    "LanguageModel",
    "MultiScaleGenerator",
    "NoiseScheduler",
    "Portrait",
    "QuantLinear",
    "ReverseDiffusion",
    "SpeechFrame",
    "SpeechResult",
    "TextFrame",
    "TextResult",
    "UnifiedScoreNetwork",
    "__version__",
    "render_avatar",
]


def __getattr__(name: str) -> Any:
    """Public names load on first use, so that `import bowstring` does not load torch."""
    if name not in _WHERE:
        raise AttributeError(f"module 'bowstring' has no attribute {name!r}; it has {sorted(__all__)}")
    return getattr(import_module(f".{_WHERE[name]}", __name__), name)


def __dir__() -> list[str]:
    """All public names, loaded or not."""
    return sorted({*globals(), *__all__})
