"""What is asked of a text: the options of `ArrowEngine.generate`, checked in one place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, Self, TypedDict

from ..core.cancel import Cancel
from ..core.options import choice, either, flag, settle, texts, whole
from ..energy.steering import Judge, Steering
from ..grammar.form import Wanted, requested
from .options import MAX_TOKENS, Sampling, mode_for
from .stops import checked_stops

MOST = 64  # texts at once
CHOICES = ("resampling", "metropolis")  # how one of several candidates is taken


class TextOptions(TypedDict, total=False):
    """Options of `ArrowEngine.generate` beside prompt, mode, kind and n, for type checkers."""

    max_tokens: int
    min_tokens: int
    stop: str | Sequence[str]
    block: int
    steps: int
    order: str
    temperature: float
    top_p: float
    top_k: int
    repetition_penalty: float
    seed: int
    num_inference_steps: int | None
    schema: Mapping[str, Any] | None
    regex: str | None
    choices: Sequence[str] | None
    adapters: Mapping[str, float] | None
    memory_guided: bool
    write_back: bool
    energies: Sequence[tuple[Any, float]]
    constraints: Sequence[Judge]
    valid: Judge | None
    retries: int
    candidates: int
    choose: str
    cancel: Cancel | None


@dataclass(frozen=True)
class TextRequest:
    """Prompts and how texts are written; `ArrowEngine.generate` says what each option means.

    Raises:
        TypeError: a value of the wrong kind. ValueError: one out of its range, or two of one option.
    """

    prompt: str | Sequence[str]
    mode: str = "auto"
    kind: str = "text"
    n: int = 1
    max_tokens: int = MAX_TOKENS
    min_tokens: int = 0
    stop: str | Sequence[str] = ()
    block: int = 4
    steps: int | None = None
    order: str = "leftmost"
    temperature: float = 0.7
    top_p: float = 0.95
    top_k: int = 0
    repetition_penalty: float = 1.0
    seed: int = 0
    num_inference_steps: int | None = None
    schema: Mapping[str, Any] | None = None
    regex: str | None = None
    choices: Sequence[str] | None = None
    adapters: Mapping[str, float] | None = None
    memory_guided: bool = False
    write_back: bool = False
    energies: Sequence[tuple[Any, float]] = ()
    constraints: Sequence[Judge] = ()
    valid: Judge | None = None
    retries: int = 0
    candidates: int = 8
    choose: str = "resampling"
    cancel: Cancel | None = None

    def __post_init__(self) -> None:
        steps = either(self.steps, None, "steps", self.num_inference_steps, "num_inference_steps")
        mode = mode_for(self.mode, (self.block, steps, None, self.order))
        settle(
            self,
            steps=steps,
            mode=mode,
            n=whole(self.n, "n", 1, MOST),
            stop=checked_stops(self.stop),
            memory_guided=flag(self.memory_guided, "memory_guided"),
            write_back=flag(self.write_back, "write_back"),
            choose=choice(self.choose, "choose", CHOICES),
        )

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """Of the `locals()` of a method whose signature names these options."""
        return cls(**{field.name: given[field.name] for field in fields(cls) if field.name in given})

    @cached_property
    def prompts(self) -> tuple[str, ...]:
        return texts(self.prompt, "the prompt")

    @cached_property
    def wanted(self) -> Wanted | None:
        """The form that the text must have."""
        return requested(self.schema, self.regex, self.choices)

    @cached_property
    def steering(self) -> Steering:
        """What the texts should be like."""
        return Steering(self.energies, self.constraints, self.valid, self.retries, self.candidates)

    def unsteered(self, n: int, seed: int) -> TextRequest:
        """The same of the model alone: so many texts, with another seed, which are not remembered."""
        plain: dict[str, Any] = {"energies": (), "constraints": (), "valid": None, "write_back": False}
        return replace(self, n=n, seed=seed, num_inference_steps=None, **plain)

    def each(self) -> Iterator[TextRequest]:
        """What is asked of each prompt."""
        return (replace(self, prompt=prompt, num_inference_steps=None) for prompt in self.prompts)

    def sampling(self, steps: int) -> Sampling:
        """How tokens are drawn, in `steps` evaluations a block unless others are asked for."""
        named = {field.name: getattr(self, field.name) for field in fields(Sampling)}
        return Sampling(**named | {"steps": steps if self.steps is None else self.steps})
