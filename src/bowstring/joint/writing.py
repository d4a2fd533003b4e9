"""A text that is written in passes which hold other streams, too: it runs ahead, and they say what it says.

Shapes: r rows of the text, n tokens that it has read, l tokens of other streams, d width.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..core.conditioning import NOTHING, Cache, Conditioning
from ..nn.network import UnifiedScoreNetwork
from ..speech.normalisation.abbreviations import ABBREVIATIONS
from ..text.native import Evaluation, Pool, Window, Writing, Written, written
from ..text.pipeline import TextFrame, TextResult, Watch, whole_sentences
from ..text.sampling import Sampling
from ..text.tokenizer import MASK, TextTokenizer

DRAFTED = 8  # places that are drafted at once; rows beside many others cost little
Tokens: TypeAlias = list[Written]
ENDS = re.compile(r"[.!?]+[\"'”’)]*(?=\s)")


class Always(Window):
    """The same number of drafts every time, so that passes do not depend on the clock."""

    def size(self) -> int:
        return DRAFTED


class TextRows:
    """The rows of a text that is being written. wanted: what it waits for; None: it has ended."""

    def __init__(self, network: UnifiedScoreNetwork, writing: Writing[None]) -> None:
        self.network, self.writing = network, writing
        self.cache: Cache | None = None
        self.fresh: Tokens = []  # tokens that stand and were not taken yet
        self.wanted: Evaluation | None = None
        self._advance(None)

    def _advance(self, logits: np.ndarray | None) -> None:
        """Sends the logits that were wanted, and learns what is wanted next."""
        self.wanted = None
        try:
            event = self.writing.send(logits)
            while isinstance(event, Written):
                self.fresh.append(event)
                event = next(self.writing)
            self.wanted = event
        except StopIteration:
            return

    @torch.no_grad()
    def evaluate(
        self,
        x: Mapping[str, Tensor] | None = None,
        t: Mapping[str, Tensor] | None = None,
        position: Mapping[str, Tensor] | None = None,
        step_size: Mapping[str, Tensor] | None = None,
        conditioning: Conditioning = NOTHING,
    ) -> dict[str, Tensor]:
        """One pass for the text's rows and for those of other streams, whose velocities come back; see
        `UnifiedScoreNetwork.flow`. The conditioning, with a mask, is theirs.
        """
        assert self.wanted is not None
        wanted, device = self.wanted, self.network.device
        own, zero = torch.tensor([[*wanted.tokens]], device=device), torch.zeros(1, device=device)
        rows, behind = own.shape[1], wanted.behind
        place = behind + torch.arange(float(rows), device=device)[None]
        read = (
            None
            if self.cache is None
            else Cache(
                tuple((k[:, :, :behind], v[:, :, :behind]) for k, v in self.cache.layers),
                self.cache.valid[:, :behind],
            )
        )
        given = beside(
            conditioning, read, self._mask(behind, rows), sum(v.shape[1] for v in (x or {}).values())
        )
        out, layers = self.network.flow_and_read(
            {"text": own, **(x or {})},
            {"text": zero, **(t or {})},
            {"text": place, **(position or {})},
            None if step_size is None else {"text": zero, **step_size},
            given,
        )
        before = 0 if given.cache is None else given.cache.length
        self.cache = kept(read, layers, before, rows)
        hidden = out.pop("text")
        if wanted.watch is not None:
            wanted.watch(hidden[0].float().cpu().numpy())
        self._advance(self.network.logits(hidden[:, -wanted.last :])[0].cpu().numpy())
        return out

    def _mask(self, behind: int, rows: int) -> Tensor:
        """What the text's rows see of what it has read and of themselves, `(r, n + r)`."""
        assert self.wanted is not None
        own = np.tri(rows, dtype=bool) if self.wanted.mask is None else self.wanted.mask
        seen = np.concatenate([np.ones((rows, behind), bool), own], 1)
        return torch.from_numpy(seen).to(self.network.device)


def beside(others: Conditioning, read: Cache | None, seen: Tensor, length: int) -> Conditioning:
    """The conditioning of a text's rows, which are first, and of `length` rows of other streams. The text
    sees its own cache and rows, `seen`, and nothing of theirs; they see nothing of the text.
    """
    rows, n = len(seen), 0 if read is None else read.length
    theirs = others.cache
    cached = 0 if theirs is None else theirs.length
    mask = seen.new_zeros(1, 1, rows + length, cached + n + rows + length)
    mask[..., :rows, cached : cached + n + rows] = seen
    if others.mask is not None:
        mask[..., rows:, :cached] = others.mask[..., :cached]
        mask[..., rows:, cached + n + rows :] = others.mask[..., cached:]
    caches = [one for one in (theirs, read) if one is not None]
    cache = None if not caches else caches[0] if len(caches) == 1 else caches[0].joined(caches[1])
    added = {i: F.pad(v.expand(-1, length, -1), (0, 0, rows, 0)) for i, v in others.added.items()}
    may = others.entries_mask
    if others.entries is not None:
        b, m = others.entries.shape[:2]
        may = seen.new_ones(b, m) if may is None else may
        may = (may if may.ndim == 3 else may[:, None]).expand(-1, length, -1)
        may = F.pad(may, (0, 0, rows, 0))
    return others.with_(cache=cache, mask=mask, added=added, entries_mask=may)


def kept(read: Cache | None, layers: tuple[tuple[Tensor, Tensor], ...], before: int, rows: int) -> Cache:
    """What the text has read, with the keys and values of its rows in a pass behind `before` cached ones."""
    new = tuple((k[:, :, before : before + rows], v[:, :, before : before + rows]) for k, v in layers)
    fresh = Cache(new, torch.ones(1, rows, dtype=torch.bool, device=new[0][0].device))
    return fresh if read is None else read.joined(fresh)


class GivenText:
    """A text that is there already; it comes as one piece."""

    rows: TextRows | None = None

    def __init__(self, text: str) -> None:
        self.said, self._left = "", text

    @property
    def over(self) -> bool:
        """Whether no piece is left."""
        return not self._left

    @property
    def uncertainty(self) -> float | None:
        """How unsure its writer was, where it was written here and the model was calibrated."""
        return None

    def piece(self) -> str:
        """What can be said now; "": not enough is written yet."""
        piece, self._left = self._left, ""
        self.said += piece
        return piece

    def alone(self) -> Iterator[Tokens]:
        """Gives the text passes of its own while it lasts; what each of them wrote."""
        yield from ()

    def frames(self) -> Iterator[TextFrame | TextResult]:
        """What has been written since the last call, and at the end the result."""
        yield from ()


class WrittenText:
    """A text that is written meanwhile; it comes sentence by sentence, and ends with the last whole one."""

    def __init__(
        self,
        network: UnifiedScoreNetwork,
        tokenizer: TextTokenizer,
        known: list[int],
        how: Sampling,
        context: int,
        settings: Mapping[str, Any],
        doubted: Callable[[TextResult], TextResult] = lambda made: made,
    ) -> None:
        """`known` is what the text goes on from, a prompt's tokens; `doubted` adds how unsure it is."""
        self.tokenizer, self.settings, self.said = tokenizer, dict(settings), ""
        self.pool, self.doubted = Pool(), doubted
        self.rows: TextRows | None = TextRows(network, written(known, how, context, 0, Always(), self.pool))
        self.watch, self.clock = Watch(np.full((1, how.max_tokens), MASK), 1), time.perf_counter()
        self.result: TextResult | None = None

    @property
    def over(self) -> bool:
        return self.result is not None and len(self.said) >= len(whole_sentences(self.result.text))

    @property
    def uncertainty(self) -> float | None:
        return None if self.result is None else self.result.uncertainty

    def piece(self) -> str:
        if self.result is not None:
            piece = whole_sentences(self.result.text)[len(self.said) :]
        else:
            tokens = [one for one in self.watch.canvas[0].tolist() if one != MASK]
            text = self.tokenizer.to_bytes(tokens).decode("utf-8", "ignore")
            piece = text[len(self.said) : first_end(text, len(self.said))]
        self.said += piece
        return piece

    def alone(self) -> Iterator[Tokens]:
        while self.rows is not None and self.rows.wanted is not None:
            self.rows.evaluate()
            yield self.rows.fresh

    def frames(self) -> Iterator[TextFrame | TextResult]:
        rows, now, watch = self.rows, time.perf_counter(), self.watch
        if rows is None or not rows.fresh:
            return
        for one in rows.fresh:
            watch.put(one, (now - self.clock) / len(rows.fresh))
        self.clock, last, rows.fresh = now, rows.fresh[-1], []
        yield TextFrame(watch.canvas[0], watch.sure[0], last.nfe, (last.place + 1) / watch.canvas.shape[1])
        if rows.wanted is None:
            self.rows = None
            made = watch.result(0, self.tokenizer, (), self.pool.mean)
            self.result = self.doubted(made.but(nfe=last.nfe, settings=self.settings))
            yield self.result


def first_end(text: str, start: int) -> int:
    """Where the first whole sentence behind `start` ends, once the next one has begun; `start` if none does.

    >>> first_end("Mr. Fox ran. He fell", 0), first_end("A fox ran.", 0)
    (12, 0)
    """
    for match in ENDS.finditer(text, start):
        word = re.search(r"\w*$", text[start : match.start()])
        short = word is not None and word[0].lower() in ABBREVIATIONS
        if not short and any(mark.isalpha() for mark in text[start : match.end()]):
            return match.end()
    return start
