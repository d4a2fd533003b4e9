"""TextPipeline: prompts in, text out, a moment of writing at a time.

The canvas is what is written; token ids are those of the tokenizer.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np

from ..core.loop import State
from ..core.options import choice
from ..core.options import text as checked_text
from ..core.options import whole as whole_number
from ..nn.network import UnifiedScoreNetwork
from .kind import guess_kind
from .sampling import Sampling, fill_gap, log_likelihood, sample_text
from .tokenizer import EOS, KINDS, MASK, MIDDLE, PAD, SEP, SUFFIX, TextTokenizer

GAPS = (4, 8, 16, 32)  # lengths tried when that of an infill is not known
LONGEST_GAP = 64
ABOUT = "a story about "


def as_story(prompt: str) -> str:
    """What to write when this is named: "a fox" asks for "a story about a fox".

    >>> as_story("the brave cat"), as_story("tell me a story about a cat")
    ('a story about the brave cat', 'tell me a story about a cat')
    """
    named = (
        prompt.lower().startswith(("a ", "an ", "the ")) and "story" not in prompt and "tale" not in prompt
    )
    return ABOUT + prompt if named else prompt


@dataclass(frozen=True)
class TextResult:
    """What was made and how.

    trajectory: token ids of the canvas after each step, the fully masked one first. seconds: of each step.
    uncertainty: raw numbers over the tokens written, {"nll": mean of -log p(drawn token), "entropy": mean
    entropy of the belief}, nats per token; not calibrated.
    """

    text: str
    tokens: tuple[int, ...]
    trajectory: tuple[tuple[int, ...], ...]
    nfe: int
    seconds: tuple[float, ...]
    uncertainty: dict[str, float]
    settings: dict[str, Any]

    def __str__(self) -> str:
        return self.text

    def __rich__(self) -> str:
        from rich.markup import escape

        cost = f"{len(self.tokens)} tokens, {self.nfe} evaluations, {sum(self.seconds):.2f} s"
        facts = f"{cost}, {self.uncertainty['nll']:.2f} nats a token"
        return f"{escape(self.text)}\n[dim]{facts}[/dim]"

    def to_json(self) -> dict[str, Any]:
        """Everything but the trajectory, for `--json`."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "trajectory"}


@dataclass(frozen=True)
class TextFrame:
    """One moment of writing: the canvas's token ids and the probability each had when it was drawn."""

    tokens: tuple[int, ...]
    confidence: tuple[float, ...]
    nfe: int
    share: float  # of the walk that is done


class TextPipeline:
    """Writes with a network that has a text head."""

    def __init__(self, network: UnifiedScoreNetwork, tokenizer: TextTokenizer, context: int) -> None:
        """`context` is how many tokens the network reads at most."""
        self.network, self.tokenizer, self.context = network, tokenizer, context

    def stream(self, prompt: str, mode: str, kind: str, **how: Any) -> Iterator[TextFrame | TextResult]:
        """See `ArrowEngine.stream`."""
        sampling = sampling_of(mode=mode, **how)
        known = self.prompt(prompt, kind)
        states = sample_text(self.network, [known], sampling, self.context)
        return self._watch(states, {"prompt": prompt, "kind": kind, **asdict(sampling)})

    def infill(
        self,
        prefix: str,
        suffix: str,
        length: int | None,
        mode: str,
        kind: str | None,
        prompt: str,
        **how: Any,
    ) -> TextResult:
        """See `ArrowEngine.infill`."""
        sampling = sampling_of(mode=mode, **({"steps": 16, "temperature": 0.3} | how))
        if length is not None:
            length = whole_number(length, "length", 1, LONGEST_GAP, advice="None finds it out")
        before, after = (
            self.tokenizer.encode(checked_text(side, "a side of the gap")) for side in (prefix, suffix)
        )
        kind = kind or guess_kind(prefix, suffix)
        head = [KINDS[kind_of(kind)], *self.tokenizer.encode(prompt or "function"), SEP]
        self.fits(len(head) + len(before) + len(after) + (length or max(GAPS)))
        settings = {"prefix": prefix, "suffix": suffix, "kind": kind, **asdict(sampling)}
        if mode == "ar":
            known = [*head, *before, SUFFIX, *after, MIDDLE]
            sampling = replace(sampling, max_tokens=length or LONGEST_GAP)
            states = sample_text(self.network, [known], sampling, self.context)
            middle = whole(self._watch(states, settings))
        else:
            middle = self._likeliest_gap([*head, *before], after, length, sampling, settings)
        return replace(middle, text=prefix + self.tokenizer.decode(middle.tokens) + suffix)

    def _likeliest_gap(
        self, known: list[int], after: list[int], length: int | None, how: Sampling, settings: dict[str, Any]
    ) -> TextResult:
        made = []
        for gap in GAPS if length is None else (length,):
            states = fill_gap(self.network, known, gap, after, how, self.context)
            made.append(whole(self._watch(states, settings, gap)))
        rows = [[*known, *one.tokens, *after, EOS] for one in made]
        best = int(log_likelihood(self.network, rows, len(known)).argmax())
        return replace(made[best], nfe=sum(one.nfe for one in made))

    def _watch(
        self, states: Iterator[State], settings: dict[str, Any], gap: int | None = None
    ) -> Iterator[TextFrame | TextResult]:
        trajectory: list[tuple[int, ...]] = []
        seconds: list[float] = []
        confidence: dict[int, float] = {}
        entropy: dict[int, float] = {}
        before, clock, state = None, time.perf_counter(), None
        for state in states:
            now = time.perf_counter()
            x = state.x[0] if gap is None else state.x[0, :gap]  # type: ignore[index]
            trajectory.append(tuple(x.tolist()))
            if before is not None:
                seconds.append(now - clock)
                note = state.carry["update"]
                sure, spread = (note[name][0].tolist() for name in ("confidence", "entropy"))
                fresh = ((before == MASK) & (x != MASK)).nonzero().flatten().tolist()
                for place in fresh:
                    start = _block_start(place, len(sure), settings) if gap is None else 0
                    confidence[place] = sure[place - start]
                    entropy[place] = spread[place - start]
            done = (x != MASK).float().mean().item()
            yield TextFrame(
                trajectory[-1], tuple(confidence.get(i, 0.0) for i in range(len(x))), int(state.nfe[0]), done
            )
            before, clock = x, time.perf_counter()
        assert state is not None
        tokens = tuple(token for token in trajectory[-1] if token not in (PAD, MASK, EOS))
        used = [c for c in confidence.values() if c > 0]
        doubt = {
            "nll": float(-np.log(used).mean()) if used else 0.0,
            "entropy": float(np.mean(list(entropy.values()))) if entropy else 0.0,
        }
        yield TextResult(
            self.tokenizer.decode(tokens),
            tokens,
            tuple(trajectory),
            int(state.nfe[0]),
            tuple(seconds),
            doubt,
            settings,
        )

    def tokens(self, text: str, what: str) -> list[int]:
        if not checked_text(text, what).strip():
            raise ValueError(f"{what} is empty; say in a few words what it should be about")
        return self.tokenizer.encode(text)

    def prompt(self, prompt: str, kind: str) -> list[int]:
        tokens = self.tokens(prompt, "the prompt")
        self.fits(len(tokens) + 2 + 32)
        return [KINDS[kind_of(kind)], *tokens, SEP]

    def fits(self, size: int) -> None:
        if size > self.context:
            raise ValueError(
                f"the prompt leaves no room to write: {size} tokens with the least answer, the context "
                f"holds {self.context}. Shorten it"
            )


def _block_start(place: int, width: int, settings: dict[str, Any]) -> int:
    size = 1 if settings["mode"] == "ar" else min(settings["block"], settings["max_tokens"])
    return place // size * size


def whole(frames: Iterator[TextFrame | TextResult]) -> TextResult:
    *_, result = frames
    assert isinstance(result, TextResult)
    return result


def sampling_of(**how: Any) -> Sampling:
    known = {field.name for field in fields(Sampling)}
    if unknown := set(how) - known:
        raise TypeError(f"unknown options {sorted(unknown)}; known are {sorted(known)}")
    return Sampling(**how)


def kind_of(kind: str) -> str:
    return choice(kind, "kind", sorted(KINDS))


def whole_sentences(text: str) -> str:
    """A text without the sentence that it breaks off in, if it has a whole one.

    >>> whole_sentences("A fox ran. It was f")
    'A fox ran.'
    """
    end = max(text.rfind(mark) for mark in ".!?")
    return text[: end + 1] if end > 0 else text
