"""Counter-based randomness: every number is a pure function of (seed, sample, step, stream, place).

So no random number depends on the batch a sample is in, on threads, or on where a loop was stopped. What a
network of floats makes of them may differ in its last bits where the number of threads does; few-bit networks
do not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = 0xFFFFFFFF
CounterWord = TypeVar("CounterWord", int, Tensor)
_FORK = 0x464F524B  # a step that no loop reaches, of the sample before the first


def philox(
    counter: tuple[CounterWord, CounterWord, CounterWord, CounterWord], key: tuple[int, int]
) -> tuple[CounterWord, ...]:
    """Philox4x32-10: four 32-bit words from four counter words and two key words. Words are whole numbers, or
    int64 tensors of one shape.

    Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"; its known answers are in the
    tests.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]  # wraps in int64; the bits are those of uint64
        c0, c1, c2, c3 = ((p1 >> 32) & _LOW) ^ c1 ^ k0, p1 & _LOW, ((p0 >> 32) & _LOW) ^ c3 ^ k1, p0 & _LOW
        k0, k1 = (k0 + _WEYL[0]) & _LOW, (k1 + _WEYL[1]) & _LOW
    return c0, c1, c2, c3


@dataclass(frozen=True)
class Rng:
    """Random numbers for b samples, each at its own step. They are made on the CPU, so that they are the same
    bits everywhere, and moved to `device`.

    >>> a, b = Rng.of(seed=7, samples=3), Rng.of(seed=7, samples=1)
    >>> bool((a.normal(4)[0] == b.normal(4)[0]).all())
    True
    """

    seed: int
    sample: Tensor
    step: Tensor
    stream: int = 0
    device: torch.device = torch.device("cpu")  # noqa: RUF009  immutable

    @classmethod
    def of(cls, seed: int, samples: int, first: int = 0, device: torch.device | str = "cpu") -> Rng:
        """Numbers for samples `first`, `first + 1`, ... before their first step."""
        sample = torch.arange(first, first + samples)
        return cls(seed, sample, torch.full_like(sample, _LOW), device=torch.device(device))

    def rows(self, index: Tensor) -> Rng:
        index = index.cpu()
        return replace(self, sample=self.sample[index], step=self.step[index])

    def at(self, step: Tensor) -> Rng:
        return replace(self, step=step.cpu())

    def fork(self, stream: int) -> Rng:
        """An independent stream for a second use within one step.

        Small numbers are digits in base 64 of one 32-bit word; where they no longer fit, the seed itself is
        drawn anew. `Counter::fork` of the kernels follows the same rule.

        Raises:
            ValueError: a number below 0 or beyond 32 bits.
        """
        if not 0 <= stream <= _LOW:
            raise ValueError(f"fork number is {stream}; expected 0 to 2**32 - 1")
        digits = self.stream * 64 + stream + 1
        if stream < 63 and digits <= _LOW:
            return replace(self, stream=digits)
        low, high, *_ = philox((stream, self.stream, _FORK, _LOW), self._key)
        return replace(self, seed=high << 32 | low, stream=0)

    def uniform(self, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1), `(b, *shape)` float32."""
        return (self._words(shape) * 2.0**-24).to(self.device)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers, `(b, *shape)` float32 (Box and Muller 1958)."""
        u, v = self._words((2, *shape)).unbind(1)
        return ((-2 * ((u + 1) * 2.0**-24).log()).sqrt() * (2 * math.pi * 2.0**-24 * v).cos()).to(self.device)

    @property
    def _key(self) -> tuple[int, int]:
        return self.seed & _LOW, (self.seed >> 32) & _LOW

    def _words(self, shape: tuple[int, ...]) -> Tensor:
        """Integers in [0, 2^24) as float32."""
        b, size = len(self.sample), math.prod(shape)
        place = torch.arange(-(-size // 4), device=self.sample.device).expand(b, -1)
        wide = [
            self.stream + torch.zeros_like(place),
            self.step[:, None].expand_as(place),
            self.sample[:, None].expand_as(place),
        ]
        words = philox((place, wide[0], wide[1], wide[2]), self._key)
        return (
            (torch.stack(words, -1).flatten(1)[:, :size] >> 8).to(torch.float32).unflatten(1, shape)
            if shape
            else (words[0][:, 0] >> 8).float()
        )
