"""What is about to be said, and how: words with their phonemes and durations; nothing here knows of torch.

Shapes: p phonemes, l tokens of 64 ms. Long texts are spoken sentence by sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..core.options import real, settle, whole
from ..core.options import seed as checked_seed
from .alignment import SECONDS, Span, phoneme_ids, spans_of, token_count
from .g2p import PAUSES, Word

LONGEST = 96  # tokens that are spoken at once
SHORTEST = 0.5  # frames of a sound
TEMPERATURE = 0.0  # what has the fewest words wrong so far


@dataclass(frozen=True)
class SpeechSampling:
    """How to speak: steps of the flow, speed (2 is twice as fast), seed, and temperature, the share of the
    noise that speech starts from: less of it is closer to what is said on average, steady and dull. A model
    that draws durations uses the same share for them.

    Raises:
        ValueError: a value out of its range.
    """

    steps: int = 8
    speed: float = 1.0
    seed: int = 0
    temperature: float = TEMPERATURE

    def __post_init__(self) -> None:
        settle(
            self,
            steps=whole(self.steps, "steps", 1, 1000),
            speed=real(self.speed, "speed", 0.5, 2, advice="1 is usual, 2 twice as fast"),
            seed=checked_seed(self.seed),
            temperature=real(self.temperature, "temperature", 0, 1),
        )


@dataclass(frozen=True)
class Utterance:
    """What is about to be said: words, phonemes and their durations in frames of 8 ms."""

    words: tuple[Word, ...]
    phonemes: np.ndarray
    owners: np.ndarray
    durations: np.ndarray

    @property
    def tokens(self) -> int:
        return token_count(self.durations)

    @property
    def frames(self) -> int:
        """Whole frames of 8 ms that it takes: what sound and face are cut by."""
        return round(float(self.durations.sum()))

    def heard(self) -> list[int]:
        """Numbers of the words that have a time: all but pauses."""
        own = {*self.owners.tolist()}
        return [i for i, word in enumerate(self.words) if i in own and word.text not in PAUSES]

    def spans(self, begin: float = 0.0) -> tuple[list[Span], list[Span]]:
        """Times of words and of phonemes, the first token starting at `begin`."""
        phonemes = spans_of(self.phonemes, self.durations * SECONDS, begin)
        words = []
        for number in self.heard():
            here = np.flatnonzero(self.owners == number)
            words.append(Span(self.words[number].text, phonemes[here[0]].start, phonemes[here[-1]].end))
        return words, phonemes


def clauses(words: Sequence[Word]) -> Iterator[list[Word]]:
    """Words cut after the ends of sentences, and after commas where a sentence is long."""
    part: list[Word] = []
    for word in words:
        part.append(word)
        phonemes = sum(len(w.phonemes) for w in part)
        if word.text in ".!?…" or (word.text in ",;:—" and phonemes > 40) or phonemes > 75:
            yield part
            part = []
    if part:
        yield part


def timed(words: Sequence[Word], predict: Callable[[list[int]], np.ndarray], speed: float) -> Utterance:
    """Words whose phonemes, by their ids, last exp(predict(ids)) frames at speed 1."""
    ids, owners = phoneme_ids([*words])
    durations = np.exp(predict(ids)).clip(min=SHORTEST).astype(np.float64) / speed
    return Utterance(tuple(words), np.array(ids), np.array(owners), durations)


def planned(words: Sequence[Word], time: Callable[[Sequence[Word], int], Utterance]) -> list[Utterance]:
    """Parts of a text with the durations that `time` gives them by their numbers, none longer than is spoken
    at once.
    """
    out: list[Utterance] = []
    for part in clauses(words):
        utterance = time(part, len(out))
        while utterance.tokens > LONGEST and len(part) > 1:
            half = len(part) // 2
            out.append(time(part[:half], len(out)))
            part = part[half:]
            utterance = time(part, len(out))
        out.append(utterance)
    return out
