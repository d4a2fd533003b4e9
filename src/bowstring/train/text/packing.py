"""Documents to rows of tokens: layout, fill-in-the-middle, packing; a pure function of (documents, seed,
epoch).

A document is laid out as [kind] prompt [body] text [end] and padded with nulls to a multiple of
`BODY_ALIGNMENT`, so that a block never tells where its document ends. Two other layouts teach infilling: in
order ([suffix] and [middle] announce the parts; for the autoregressive mode) and in place (a gap with nulls
in it, before the suffix; for diffusion, which thereby learns how long the middle is).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ...text.tokenizer import EOS, KINDS, MIDDLE, PAD, SEP, SUFFIX, TextTokenizer
from ..data.corpora import Document

BODY_ALIGNMENT = 16
MAX_GAP_PADDING = 16  # at most so many nulls are left in a gap


@dataclass(frozen=True)
class Layout:
    """One document as tokens. All arrays are `(l,)`.

    offset: place in the body, -1 in the prompt. predict: the autoregressive loss counts this token.
    gap: 1 where an in-place middle lies, else 0; a document with a gap is one block from the gap on.
    """

    tokens: np.ndarray
    offset: np.ndarray
    predict: np.ndarray
    gap: np.ndarray


def prompt_tokens(codec: TextTokenizer, kind: str, prompt: str) -> list[int]:
    """What comes before a body; generation starts from the same."""
    return [KINDS[kind], *codec.encode(prompt), SEP]


def plain_layout(head: Sequence[int], body: Sequence[int], complete: bool, longest: int) -> Layout:  # noqa: FBT001
    """The plain layout, cut to `longest` tokens."""
    text = [*body, EOS] if complete else list(body)
    text = text[: (longest - len(head)) // BODY_ALIGNMENT * BODY_ALIGNMENT]
    padded = text + [PAD] * (-len(text) % BODY_ALIGNMENT)
    tokens = np.array([*head, *padded], np.int64)
    offset = np.concatenate([np.full(len(head), -1), np.arange(len(padded))])
    predict = np.zeros(len(tokens), bool)
    predict[len(head) : len(head) + len(text)] = True
    return Layout(tokens, offset, predict, np.zeros(len(tokens), np.int8))


def cut_points(length: int, rng: np.random.Generator) -> tuple[int, int]:
    """A random middle: up to 40 tokens long, anywhere inside."""
    size = int(rng.integers(1, max(2, min(40, length // 2))))
    start = int(rng.integers(0, length - size + 1))
    return start, start + size


def in_order_layout(
    head: Sequence[int], body: Sequence[int], rng: np.random.Generator, longest: int
) -> Layout:
    """prefix [suffix] suffix [middle] middle [end]; only the middle is predicted."""
    body = list(body)[: longest - len(head) - 3]
    start, stop = cut_points(len(body), rng)
    before = [*head, *body[:start], SUFFIX, *body[stop:], MIDDLE]
    tokens = np.array([*before, *body[start:stop], EOS], np.int64)
    predict = np.arange(len(tokens)) >= len(before)
    return Layout(tokens, np.full(len(tokens), -1), predict, np.zeros(len(tokens), np.int8))


def in_place_layout(
    head: Sequence[int],
    body: Sequence[int],
    complete: bool,  # noqa: FBT001
    rng: np.random.Generator,
    longest: int,
) -> Layout:
    """prefix, a gap of the middle and up to `MAX_GAP_PADDING` nulls, suffix [end]; diffusion learns it."""
    slack = int(rng.integers(0, MAX_GAP_PADDING + 1))
    body = [*body, EOS] if complete else list(body)
    body = body[: longest - len(head) - slack]
    start, stop = cut_points(len(body), rng)
    tokens = np.array([*head, *body[:stop], *[PAD] * slack, *body[stop:]], np.int64)
    gap = np.zeros(len(tokens), np.int8)
    gap[len(head) + start : len(head) + stop + slack] = 1
    offset = np.concatenate([np.full(len(head), -1), np.arange(len(tokens) - len(head))])
    predict = (offset >= 0) & (np.arange(len(tokens)) < len(head) + stop)
    return Layout(tokens, offset, predict, gap)


@dataclass(frozen=True)
class Rows:
    """Packed rows, `(n, l)` each; `doc` numbers the documents of a row, 0 is padding."""

    tokens: np.ndarray
    doc: np.ndarray
    offset: np.ndarray
    predict: np.ndarray
    gap: np.ndarray

    def __getitem__(self, index: slice) -> Rows:
        return Rows(*(getattr(self, name)[index] for name in ("tokens", "doc", "offset", "predict", "gap")))

    def __len__(self) -> int:
        return len(self.tokens)


def pack(laid: Iterator[Layout], length: int, open_rows: int = 32) -> Rows:
    """First-fit into rows of `length`; a row that nothing fits any more is closed, in order of age."""
    closed: list[list[Layout]] = []
    bins: list[tuple[int, list[Layout]]] = []
    for one in laid:
        size = len(one.tokens)
        for i, (used, items) in enumerate(bins):
            if used + size <= length:
                items.append(one)
                bins[i] = (used + size, items)
                break
        else:
            if len(bins) == open_rows:
                fullest = max(range(open_rows), key=lambda i: bins[i][0])
                closed.append(bins.pop(fullest)[1])
            bins.append((size, [one]))
    closed += [items for _, items in bins]
    shape = (len(closed), length)
    rows = Rows(
        np.zeros(shape, np.int64),
        np.zeros(shape, np.int64),
        np.full(shape, -1),
        np.zeros(shape, bool),
        np.zeros(shape, np.int8),
    )
    for r, items in enumerate(closed):
        at = 0
        for d, one in enumerate(items, 1):
            here = slice(at, at + len(one.tokens))
            rows.tokens[r, here], rows.offset[r, here] = one.tokens, one.offset
            rows.predict[r, here], rows.gap[r, here], rows.doc[r, here] = one.predict, one.gap, d
            at += len(one.tokens)
    return rows


@dataclass(frozen=True)
class Corpus:
    """Tokenised documents: bodies, and for each its kind, its tokenised prompts, whether it is complete,
    its source.
    """

    bodies: list[list[int]]
    prompts: list[list[list[int]]]
    complete: list[bool]
    source: list[str]
    characters: list[int]  # of the body, in UTF-8 bytes

    @classmethod
    def of(cls, documents: Sequence[Document], codec: TextTokenizer) -> Corpus:
        flat = codec.encode_batch([prompt for d in documents for prompt in d.prompts])
        prompts, at = [], 0
        for d in documents:
            prompts.append([[KINDS[d.kind], *ids, SEP] for ids in flat[at : at + len(d.prompts)]])
            at += len(d.prompts)
        return cls(
            codec.encode_batch([d.body for d in documents]),
            prompts,
            [d.complete for d in documents],
            [d.source for d in documents],
            [len(d.body.encode()) for d in documents],
        )

    def epoch(
        self, seed: int, epoch: int, length: int, repeats: dict[str, float], in_order: float, in_place: float
    ) -> Rows:
        """All rows of one pass, shuffled.

        Args:
            repeats: how often a source is seen in one pass; fractions are drawn.
            in_order, in_place: shares of documents in the infilling layouts.
        """
        rng = np.random.default_rng([seed, epoch])
        wanted = np.array([repeats[source] for source in self.source])
        times = np.floor(wanted + rng.random(len(wanted))).astype(int)
        order = rng.permutation(np.repeat(np.arange(len(wanted)), times))
        return pack((self._lay(int(i), rng, length, in_order, in_place) for i in order), length)

    def _lay(self, i: int, rng: np.random.Generator, length: int, in_order: float, in_place: float) -> Layout:
        head = self.prompts[i][int(rng.integers(len(self.prompts[i])))][: length // 4]
        body, layout = self.bodies[i], rng.random()
        if len(body) >= 8 and layout < in_order:
            return in_order_layout(head, body, rng, length)
        if len(body) >= 8 and layout < in_order + in_place:
            return in_place_layout(head, body, self.complete[i], rng, length)
        return plain_layout(head, body, self.complete[i], length)
