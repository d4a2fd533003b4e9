"""A finished text: a string that knows how it was made."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..energy.steering import Try
from ..memory.record import Guide
from .doubt import TOKENWISE, Doubtful, Trace
from .tokenizer import MASK

ATTRIBUTES = (
    *("tokens", "nfe", "seconds", "uncertainty", "uncertainties", "doubtful", "nats"),
    *("settings", "finish_reason", "notes", "memories", "tries", "history", "trace", "tool_calls"),
)
SHOWN = 60  # characters of a text in its repr


@dataclass(frozen=True, eq=False)
class History:
    """What each step changed on a canvas that began fully masked: places and their tokens."""

    length: int
    changes: tuple[tuple[np.ndarray, np.ndarray], ...] = ()

    def canvases(self) -> tuple[tuple[int, ...], ...]:
        """The canvas before the first step and after each one."""
        canvas = np.full(self.length, MASK)
        out = [tuple(canvas.tolist())]
        for places, tokens in self.changes:
            canvas[places] = tokens
            out.append(tuple(canvas.tolist()))
        return tuple(out)


@dataclass(frozen=True)
class ToolCall:
    """A function that a model calls. id: no other call of the chat has it."""

    name: str
    arguments: dict[str, Any]
    id: str

    def to_json(self) -> dict[str, Any]:
        """As a message of the assistant holds it."""
        return {
            "id": self.id,
            "type": "function",
            "function": {"name": self.name, "arguments": self.arguments},
        }


class TextResult(str):
    """What was written; a string with attributes.

    tokens: ids of the text. nfe: network evaluations. seconds: of each step. uncertainty: calibrated, 1.0 is
    typical and above 1.5 is doubtful; None where the model was not calibrated. uncertainties: of each token.
    doubtful: spans of the text that are. nats: means over the tokens, {"nll": of -log p(drawn token),
    "entropy": of the belief}, not calibrated. finish_reason: "stop" (it came to its end, or to a stop string)
    or "length", or "tool_calls". notes: what may have spoiled it. memories: which of them guided it, with
    their weights. tries: what was written until a text was valid, this one last. tool_calls: functions that
    are called.

    >>> made = TextResult("a fox", tokens=(9, 10), nfe=2)
    >>> made == "a fox", made.upper(), made
    (True, 'A FOX', TextResult('a fox', 2 tokens, 2 evaluations))
    """

    tokens: tuple[int, ...]
    nfe: int
    seconds: tuple[float, ...]
    uncertainty: float | None
    uncertainties: tuple[float, ...]
    doubtful: tuple[Doubtful, ...]
    nats: dict[str, float]
    settings: dict[str, Any]
    finish_reason: str
    notes: tuple[str, ...]
    memories: tuple[Guide, ...]
    tries: tuple[Try, ...]
    history: History
    trace: Trace
    tool_calls: tuple[ToolCall, ...]

    def __new__(
        cls,
        text: str = "",
        tokens: Sequence[int] = (),
        nfe: int = 0,
        seconds: Sequence[float] = (),
        uncertainty: float | None = None,
        uncertainties: Sequence[float] = (),
        doubtful: Sequence[Doubtful] = (),
        nats: Mapping[str, float] | None = None,
        settings: Mapping[str, Any] | None = None,
        finish_reason: str = "length",
        notes: Sequence[str] = (),
        memories: Sequence[Guide] = (),
        tries: Sequence[Try] = (),
        history: History | None = None,
        trace: Trace | None = None,
        tool_calls: Sequence[ToolCall] = (),
    ) -> TextResult:
        self = super().__new__(cls, text)
        self.tokens, self.nfe, self.seconds, self.notes = tuple(tokens), nfe, tuple(seconds), tuple(notes)
        self.uncertainty, self.uncertainties, self.doubtful = (
            uncertainty,
            tuple(uncertainties),
            tuple(doubtful),
        )
        self.nats, self.settings = dict(nats or {}), dict(settings or {})
        self.finish_reason, self.history = finish_reason, history or History(0)
        self.memories, self.tries, self.tool_calls = tuple(memories), tuple(tries), tuple(tool_calls)
        self.trace = Trace(*(np.zeros(0) for _ in TOKENWISE)) if trace is None else trace
        return self

    @property
    def text(self) -> str:
        """The text as a plain string."""
        return str(self)

    @property
    def trajectory(self) -> tuple[tuple[int, ...], ...]:
        """Token ids of the canvas before the first step, fully masked, and after each one."""
        return self.history.canvases()

    def but(self, text: str | None = None, **changes: Any) -> TextResult:
        """The same with another text or other attributes."""
        own = {name: getattr(self, name) for name in ATTRIBUTES}
        return TextResult(str(self) if text is None else text, **(own | changes))

    def to_json(self) -> dict[str, Any]:
        """Everything but the trajectory, ready for JSON."""
        facts = {name: getattr(self, name) for name in ATTRIBUTES if name not in ("history", "trace")}
        facts["doubtful"] = tuple(asdict(span) for span in self.doubtful)
        lists = {name: [*value] for name, value in facts.items() if isinstance(value, tuple)}
        lists["tries"] = [one.to_json() for one in self.tries]
        lists["memories"] = [one.to_json() for one in self.memories]
        lists["tool_calls"] = [one.to_json() for one in self.tool_calls]
        return {"text": str(self), **facts, **lists}

    def facts(self) -> str:
        """What it cost and how sure it was, in a line."""
        tokens = f"{len(self.tokens)} token" + "s" * (len(self.tokens) != 1)
        cost = f"{tokens}, {self.nfe} evaluations, {sum(self.seconds):.2f} s"
        nats = max(self.nats.get("nll", 0.0), 0.0)  # a forced token has none, not minus none
        cost += f", {nats:.2f} nats a token" if "nll" in self.nats else ""
        return cost + ("" if self.uncertainty is None else f", uncertainty {self.uncertainty:.2f}")

    def __repr__(self) -> str:
        shown = self if len(self) <= SHOWN else self[: SHOWN - 1] + "…"
        return f"TextResult({str(shown)!r}, {len(self.tokens)} tokens, {self.nfe} evaluations)"

    def __rich__(self) -> str:
        from rich.markup import escape

        return f"{escape(str(self))}\n[dim]{self.facts()}[/dim]"

    def _repr_html_(self) -> str:
        text = f'<div style="white-space:pre-wrap">{html.escape(str(self))}</div>'
        return f'{text}<small style="color:#777">{self.facts()}</small>'
