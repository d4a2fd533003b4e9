"""What a token of speech, or of the face that speaks, is on average, given the phonemes that are due around
it and the voice.

A linear map, fitted in closed form, says it; the flow learns what is left. Shapes: l tokens of c channels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, Self, TypeVar

import numpy as np

from ..nn.config import BASELINE_FEATURES, REACH, SLOTS, SOUNDS, VOICE
from .alignment import told

RIDGE = 10.0
BLOCK = 1024  # rows that are multiplied at once

Signal = TypeVar("Signal")  # frames of sound, or shapes of a face
Told = tuple[Signal, np.ndarray, np.ndarray, np.ndarray]  # and phonemes, durations, voice


class Codec(Protocol[Signal]):
    """Signals as tokens `(l, c)` and back."""

    def encode(self, signal: Signal, /) -> np.ndarray: ...

    def decode(self, tokens: np.ndarray, /) -> Signal: ...


def features(phonemes: np.ndarray, durations: np.ndarray, voice: np.ndarray) -> np.ndarray:
    """For every token, which phonemes are due in it and in its neighbours, how far they are and how long;
    which are due farther away; where in the utterance it lies; the voice's statistics; one, `(l, 3309)`.
    """
    ids, progress = told(phonemes, durations)
    one = np.zeros((len(ids), SLOTS, SOUNDS), np.float32)
    np.put_along_axis(one, ids[..., None], 1.0, 2)
    here = np.concatenate([one, one * progress[..., :1], one * progress[..., 1:] / 2], -1).reshape(
        len(ids), -1
    )
    wide = np.pad(here, ((1, 1), (0, 0)))
    due = np.pad(one.mean(1), ((REACH, REACH), (0, 0)))
    far = [due[REACH + k : REACH + k + len(ids)] for k in range(-REACH, REACH + 1) if abs(k) > 1]
    rest = np.broadcast_to(np.append(voice[:VOICE], 1.0).astype(np.float32), (len(ids), VOICE + 1))
    return np.concatenate([wide[:-2], wide[1:-1], wide[2:], *far, edges(len(ids)), rest], 1)


def edges(length: int) -> np.ndarray:
    """How near the start and the end are, on two scales, and the share that is over, `(l, 5)`."""
    after = np.arange(length, dtype=np.float32)
    near = [np.exp(-x / scale) for scale in (4, 16) for x in (after, after[::-1])]
    return np.stack([*near, after / length], 1)


def blocks_of_rows(
    codec: Codec[Signal], examples: Iterable[Told[Signal]]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Features and tokens of examples, many rows at a time: a product of few rows is all memory traffic."""
    block: list[tuple[np.ndarray, np.ndarray]] = []
    for signal, phonemes, durations, voice in examples:
        seen, tokens = features(phonemes, durations, voice), codec.encode(signal)
        count = min(len(seen), len(tokens))
        block.append((seen[:count], tokens[:count]))
        if sum(len(rows) for rows, _ in block) >= BLOCK:
            yield np.concatenate([rows for rows, _ in block]), np.concatenate([rows for _, rows in block])
            block = []
    if block:
        yield np.concatenate([rows for rows, _ in block]), np.concatenate([rows for _, rows in block])


@dataclass(frozen=True)
class ResidualCoder(Generic[Signal]):
    """Signals to tokens, the expected part taken off, and back. table: `(3309, c)`."""

    codec: Codec[Signal]
    table: np.ndarray

    @classmethod
    def fit(cls, codec: Codec[Signal], examples: Iterable[Told[Signal]]) -> Self:
        """Ridge regression of tokens on `features`."""
        gram = RIDGE * np.eye(BASELINE_FEATURES)
        cross: np.ndarray | float = 0.0
        for seen, tokens in blocks_of_rows(codec, examples):
            gram += seen.T @ seen
            cross = cross + seen.T @ tokens
        return cls(codec, np.linalg.solve(gram, np.asarray(cross)).astype(np.float32))

    def conditional_mean(self, phonemes: np.ndarray, durations: np.ndarray, voice: np.ndarray) -> np.ndarray:
        """`(l, c)`."""
        return features(phonemes, durations, voice) @ self.table

    def encode(
        self, signal: Signal, phonemes: np.ndarray, durations: np.ndarray, voice: np.ndarray
    ) -> np.ndarray:
        """What is left of the tokens, `(l, c)`."""
        tokens, mean = self.codec.encode(signal), self.conditional_mean(phonemes, durations, voice)
        count = min(len(tokens), len(mean))
        return tokens[:count] - mean[:count]

    def decode(
        self, left: np.ndarray, phonemes: np.ndarray, durations: np.ndarray, voice: np.ndarray
    ) -> Signal:
        """The way back."""
        return self.codec.decode(left + self.conditional_mean(phonemes, durations, voice)[: len(left)])
