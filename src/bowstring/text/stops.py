"""Texts while they grow: stop strings across token borders, and text that is never taken back.

Everything here works on UTF-8 bytes, because a token may end within a character.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from ..core.options import texts
from .tokenizer import EOS, MASK, PAD, TextTokenizer


def checked_stops(stop: str | Sequence[str]) -> tuple[str, ...]:
    """Stop strings, none of them empty.

    Raises:
        TypeError: not strings. ValueError: an empty one.
    """
    found = texts(stop, "stop") if stop else ()
    if not all(found):
        raise ValueError("stop holds an empty string, which every text begins with; leave it out")
    return found


def first_stop(data: bytes, stops: Sequence[bytes]) -> int:
    """Where the first stop begins, or -1.

    >>> first_stop(b"one END two", [b"two", b"END"])
    4
    """
    return min((at for at in map(data.find, stops) if at >= 0), default=-1)


def held_back(data: bytes, stops: Sequence[bytes]) -> int:
    """How many bytes at the end may be the beginning of a stop.

    >>> held_back(b"one EN", [b"END", b"NN"])
    2
    """
    longest = max((len(stop) - 1 for stop in stops), default=0)
    ends = (
        size
        for size in range(min(longest, len(data)), 0, -1)
        if any(s.startswith(data[-size:]) for s in stops)
    )
    return next(ends, 0)


def settled_tokens(canvas: Sequence[int]) -> list[int]:
    """Tokens of a canvas that nothing to come can change: those before its first mask, or its end.

    >>> settled_tokens([9, 10, MASK, 12])
    [9, 10]
    """
    out = []
    for token in canvas:
        if token in (MASK, EOS, PAD):
            break
        out.append(token)
    return out


def before_byte(tokenizer: TextTokenizer, tokens: Sequence[int], at: int) -> tuple[int, ...]:
    """The tokens that lie wholly before a byte of their text."""
    kept: list[int] = []
    for token in tokens:
        at -= len(tokenizer.to_bytes([token]))
        if at < 0:
            break
        kept.append(token)
    return tuple(kept)


class Deltas:
    """Turns canvases that fill up into pieces of text that are only added to: never half a character, never
    the beginning of a stop.
    """

    def __init__(self, tokenizer: TextTokenizer, stops: Sequence[bytes]) -> None:
        self.tokenizer, self.stops = tokenizer, stops
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.taken = self.given = 0  # tokens read, bytes given out
        self.data = b""

    def push(self, canvas: Sequence[int]) -> str:
        """What can be said of a text after another step."""
        settled = settled_tokens(canvas[self.taken :])
        self.taken += len(settled)
        self.data += self.tokenizer.to_bytes(settled)
        stop = first_stop(self.data, self.stops)
        end = stop if stop >= 0 else len(self.data) - held_back(self.data, self.stops)
        return self._give(end)

    def finish(self) -> str:
        """The rest, when nothing more comes."""
        stop = first_stop(self.data, self.stops)
        return self._give(stop if stop >= 0 else len(self.data), final=True)

    def _give(self, end: int, *, final: bool = False) -> str:
        fresh, self.given = self.data[self.given : end], max(end, self.given)
        return self.decoder.decode(fresh, final)
