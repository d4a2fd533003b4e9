"""ArrowEngine: the one object that knows the network, its tokenizer and how each modality is made.

`loaded` reads and writes model folders; `text`, `image`, `speech` and `joint` make one modality each.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, overload

import numpy as np

from ..core.cancel import Cancel
from ..core.options import choice, flag, listed, real
from ..image.sampling import DEFAULT_GUIDANCE
from ..joint.result import JointResult
from ..text.options import MAX_TOKENS
from ..text.result import TextResult
from .joint import JointEngine

WAYS = ("text", "code", "image", "audio", "avatar")
OWN_OPTIONS = {  # of `diffuse`: its default, and the modalities that have it
    "max_tokens": (MAX_TOKENS, ("text", "code")),
    "style": ("", ("image",)),
    "voice": (None, ("audio", "avatar")),
}


class ArrowEngine(JointEngine):
    """Loads a model folder and generates.

    >>> engine = ArrowEngine.load()
    >>> result = engine.generate("a story about a fox", max_tokens=16, seed=1)
    >>> len(result.tokens) <= 16
    True
    """

    @overload
    def diffuse(
        self, prompt: str, modality: Literal["text", "code"] = "text", *given: Any, **options: Any
    ) -> TextResult: ...
    @overload
    def diffuse(
        self, prompt: str, modality: Literal["image", "audio"], *given: Any, **options: Any
    ) -> np.ndarray: ...
    @overload
    def diffuse(
        self, prompt: str, modality: Literal["avatar"], *given: Any, **options: Any
    ) -> JointResult: ...
    def diffuse(
        self,
        prompt: str,
        modality: str = "text",
        num_steps: int = 4,
        guidance_scale: float = DEFAULT_GUIDANCE,
        memory_guided: bool = True,  # noqa: FBT001  the specification's order
        *,
        seed: int = 0,
        max_tokens: int = MAX_TOKENS,
        style: str = "",
        voice: Any = None,
        cancel: Cancel | None = None,
    ) -> TextResult | np.ndarray | JointResult:
        """Diffusion of any modality this model has, in the field's names: text or code goes on from the
        prompt, a picture shows it, speech says it, an avatar says it with a face.

        Args:
            modality: "text" or "code" (a `TextResult`, which is a string), "image" (`(512, 512, 3)` bytes),
                "audio" (`(s,)` in -1..1 at 24 kHz) or "avatar" (a `JointResult`).
            num_steps: evaluations per block of text, or steps of the flow, 1 to 1000.
            guidance_scale: w of classifier-free guidance, 0 to 20, 1 = off. Only pictures were trained
                without prompts; elsewhere it does nothing, and the result's notes say so.
            memory_guided: whether memories guide; an engine without a memory is guided by none.
            max_tokens: of text and code. style: of pictures. voice: of speech and avatars.

        Raises:
            ValueError: a modality that the model has no head for, an option that another one has, or a value
            out of its range. Cancelled: it was asked to stop.

        >>> ArrowEngine.load().diffuse("a story about a fox", "text", num_steps=4, max_tokens=16)
        TextResult(...)
        """
        modality = choice(modality, "modality", WAYS)
        own = {"max_tokens": max_tokens, "style": style, "voice": voice}
        for name, (default, where) in OWN_OPTIONS.items():
            if own[name] is not default and modality not in where:
                raise ValueError(f"{name} is an option of {listed(where)}; modality is {modality!r}")
        real(guidance_scale, "guidance_scale", 0, 20, advice="1 is off")
        memory_guided = flag(memory_guided, "memory_guided")
        notes = self._ignored(modality, guidance_scale, memory_guided=memory_guided)
        match modality:
            case "image":
                return self.image(
                    prompt,
                    style=style,
                    cfg_scale=guidance_scale,
                    steps=num_steps,
                    seed=seed,
                    memory_guided=memory_guided,
                    cancel=cancel,
                ).image
            case "audio":
                return self.say(prompt, voice, steps=num_steps, seed=seed, cancel=cancel).audio
            case "avatar":
                made = self.converse(
                    prompt, prompt, picture=False, voice=voice, steps=num_steps, seed=seed, cancel=cancel
                )
                return replace(made, notes=(*made.notes, *notes))
            case _:
                written = self.generate(
                    prompt,
                    "diffusion",
                    modality,
                    max_tokens=max_tokens,
                    steps=num_steps,
                    seed=seed,
                    memory_guided=memory_guided,
                    cancel=cancel,
                )
                return written.but(notes=(*notes, *written.notes))

    @staticmethod
    def _ignored(modality: str, guidance_scale: float, *, memory_guided: bool) -> tuple[str, ...]:
        """What `diffuse` was asked for and does not do, as notes."""
        notes = []
        if modality != "image" and guidance_scale != 1:
            notes.append(f"guidance_scale does nothing: {modality} was not trained without prompts")
        if memory_guided and modality == "avatar":
            notes.append("no memory guided this: what is said was given")
        return tuple(notes)
