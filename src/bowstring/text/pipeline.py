"""TextPipeline: prompts in, text out, a moment of writing at a time.

The canvas is what is written; token ids are those of the tokenizer.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import _native
from ..core.calibration import Calibrator
from ..core.cancel import Cancel, stoppable
from ..core.conditioning import NOTHING, Conditioning
from ..core.loop import Halt, State
from ..core.options import choice
from ..core.options import text as checked_text
from ..core.options import whole as whole_number
from ..core.process import Schedule, linear
from ..decode.decoder import Decoder
from ..grammar.checking import checked_text as checked_form
from ..grammar.form import Wanted, form
from ..grammar.tokens import TokenAutomaton, Trie
from ..nn.network import UnifiedScoreNetwork
from ..weights.quant.packed import matrices
from .decoder import decoder_of
from .doubt import LEAST, Trace, doubted, source_of
from .kind import guess_kind
from .native import Pool, Window, Written, formed, write
from .options import Sampling
from .request import MOST, TextRequest
from .result import History, TextResult
from .sampling import NOTED, ended, fill_gap, length_scores, log_likelihood, sample_text, writes
from .stops import Deltas, before_byte, checked_stops, first_stop, settled_tokens
from .tokenizer import EOS, KINDS, MASK, MIDDLE, PAD, SEP, SUFFIX, TextTokenizer

GAPS = (*range(1, 17), 18, 20, 22, 24, 28, 32)  # lengths of an infill that are ranked when it is not known
FILLED = 6  # of them that are written
LONGEST_GAP = 64
TAIL = 4096  # bytes at the end of a text among which a stop is looked for
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


@dataclass(frozen=True, eq=False, repr=False)
class TextFrame:
    """One moment of writing. nfe: evaluations so far. share: of the canvas that is filled. number: which of
    several texts.
    """

    canvas: np.ndarray
    sure: np.ndarray
    nfe: int
    share: float
    number: int = 0

    @property
    def tokens(self) -> tuple[int, ...]:
        """Token ids of the canvas."""
        return tuple(self.canvas.tolist())

    @property
    def confidence(self) -> tuple[float, ...]:
        """The probability each token had when it was drawn, 0 where there is none yet."""
        return tuple(np.where(self.canvas == MASK, 0.0, self.sure[: len(self.canvas)]).tolist())

    def __repr__(self) -> str:
        return f"TextFrame({self.share:.0%} of {len(self.canvas)} tokens, {self.nfe} evaluations)"


class Watch:
    """Follows texts while they are written, and keeps of each step what it changed."""

    def __init__(self, canvas: np.ndarray, block: int) -> None:
        """canvas: `(b, l)` before the first step. block: tokens that are written together."""
        self.canvas, self.block = canvas, block
        self.sure, self.entropy, self.early = (np.zeros(canvas.shape, np.float32) for _ in NOTED)
        self.changes: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in canvas]
        self.seconds: list[float] = []

    def take(
        self, canvas: np.ndarray, note: Mapping[str, Tensor], running: np.ndarray, seconds: float
    ) -> None:
        """Another step of the texts that were `running`, `(b,)`."""
        self.seconds.append(seconds)
        rows, places = np.nonzero(canvas != self.canvas)
        inside = places % self.block
        for kept, name in zip((self.sure, self.entropy, self.early), NOTED, strict=True):
            kept[rows, places] = note[name].cpu().numpy()[rows, inside]
        for row in np.flatnonzero(running):
            own = places[rows == row]
            self.changes[row].append((own, canvas[row, own]))
        self.canvas = canvas

    def put(self, one: Written, seconds: float) -> None:
        """Another token of a single text; behind its end the block is blank."""
        self.seconds.append(seconds)
        self.canvas = self.canvas.copy()
        self.canvas[0, one.place] = one.token
        self.sure[0, one.place], self.entropy[0, one.place] = one.probability, one.entropy
        self.early[0, one.place] = one.early
        places = [one.place]
        if one.token == EOS:
            end = min((one.place // self.block + 1) * self.block, self.canvas.shape[1])
            places += range(one.place + 1, end)
            self.canvas[0, one.place + 1 : end] = PAD
        self.changes[0].append((np.array(places), self.canvas[0, places]))

    def trace(self, row: int, count: int, reading: np.ndarray | None) -> Trace:
        """What the first `count` tokens of a row said about themselves."""
        places = np.flatnonzero(~np.isin(self.canvas[row], (PAD, MASK, EOS)))[:count]
        sure, entropy, early = (kept[row, places] for kept in (self.sure, self.entropy, self.early))
        return Trace(-np.log(np.maximum(sure, LEAST)), entropy, early, reading)

    def result(
        self,
        row: int,
        tokenizer: TextTokenizer,
        stops: Sequence[bytes],
        reading: np.ndarray | None = None,
    ) -> TextResult:
        """What has been written in a row, without what follows a stop."""
        tokens = tuple(token for token in self.canvas[row].tolist() if token not in (PAD, MASK, EOS))
        data, ended = tokenizer.to_bytes(tokens), EOS in self.canvas[row]
        if (at := first_stop(data, stops)) >= 0:
            data, ended, tokens = data[:at], True, before_byte(tokenizer, tokens, at)
        drawn = self.sure[row] > 0
        means = {"nll": -np.log(self.sure[row, drawn]), "entropy": self.entropy[row, drawn]}
        changes = tuple(self.changes[row])
        return TextResult(
            data.decode("utf-8", "replace"),
            tokens,
            seconds=self.seconds[: len(changes)],
            nats={name: float(kept.mean()) if kept.size else 0.0 for name, kept in means.items()},
            finish_reason="stop" if ended else "length",
            history=History(self.canvas.shape[1], changes),
            trace=self.trace(row, len(tokens), reading),
        )


class TextPipeline:
    """Writes with a network that has a text head."""

    def __init__(
        self,
        network: UnifiedScoreNetwork,
        tokenizer: TextTokenizer,
        context: int,
        schedule: Schedule = linear,
        calibrator: Calibrator | None = None,
    ) -> None:
        """`context` is how many tokens the network reads at most; masks fall by the schedule; the calibrator
        tells how unsure texts are.
        """
        self.network, self.tokenizer, self.context = network, tokenizer, context
        self.calibrator = Calibrator() if calibrator is None else calibrator
        self.tilt: Tensor | None = None
        self.window, self.schedule = Window(), schedule

    def stream(
        self, request: TextRequest, steps: int, conditioning: Conditioning = NOTHING
    ) -> Iterator[TextFrame | TextResult]:
        """Frames of every text after each step, then n results of every prompt. See `ArrowEngine.stream`.

        Args:
            steps: evaluations a block, where the request names none.
            conditioning: what bends all of them, beside their prompts.

        Raises:
            ValueError: among others, a form together with a conditioning.
        """
        kind, wanted, stops, sampling = request.kind, request.wanted, request.stop, request.sampling(steps)
        rows = [
            (prompt, self.prompt(prompt, kind), number)
            for prompt in request.prompts
            for number in range(request.n)
        ]
        settings = {"kind": kind, **asdict(sampling)} | ({"stop": [*stops]} if stops else {})
        if wanted is not None and conditioning is not NOTHING:
            raise ValueError(f"{wanted[0]} and a conditioning do not go together yet; leave one out")
        if wanted is not None:
            settings |= {wanted[0]: wanted[1]}
            return self._formed(rows, sampling, settings, stops, request.cancel, wanted)
        ends = [stop.encode() for stop in stops]
        return self._written(rows, sampling, settings, ends, request.cancel, conditioning)

    def _formed(
        self,
        rows: Sequence[tuple[str, list[int], int]],
        sampling: Sampling,
        settings: dict[str, Any],
        stops: Sequence[str],
        cancel: Cancel | None,
        wanted: Wanted,
    ) -> Iterator[TextFrame | TextResult]:
        """Texts that meet a form, one after the other.

        Raises:
            ValueError: the form cannot be met in the room, or not together with the other options.
        """
        if stops or sampling.min_tokens or sampling.mode == "diffusion":
            raise ValueError(f"{wanted[0]} goes with mode 'ar' alone, without stop and min_tokens")
        decoder = self.decoder
        if decoder is None:
            raise ValueError(f"{wanted[0]} needs a packed model on the CPU's kernels")
        automaton = TokenAutomaton(form(*wanted).automaton, self._trie)
        rooms = [min(sampling.max_tokens, self.context - len(known)) for _, known, _ in rows]
        automaton.require(min(rooms))
        return self._meeting(decoder, rows, rooms, automaton, sampling, settings, cancel, wanted)

    def _meeting(
        self,
        decoder: Decoder,
        rows: Sequence[tuple[str, list[int], int]],
        rooms: Sequence[int],
        automaton: TokenAutomaton,
        sampling: Sampling,
        settings: dict[str, Any],
        cancel: Cancel | None,
        wanted: Wanted,
    ) -> Iterator[TextFrame | TextResult]:
        made = []
        for row, (prompt, known, number) in enumerate(rows):
            tokens = formed(decoder, known, sampling, automaton, rooms[row], number)
            for item in self._shown(tokens, sampling, 1, (), cancel, row):
                if isinstance(item, TextFrame):
                    yield item
                    continue
                checked_form(item.text, *wanted)
                several = {"number": number} if any(row[2] for row in rows) else {}
                said = {"prompt": prompt, **settings, **several}
                made.append(item.but(settings=said, nats={"nll": item.nats["nll"]}))
        yield from made

    @cached_property
    def _trie(self) -> Trie:
        return Trie([self.tokenizer.to_bytes([token]) for token in range(self.tokenizer.vocab)])

    def _written(
        self,
        rows: Sequence[tuple[str, list[int], int]],
        sampling: Sampling,
        settings: dict[str, Any],
        stops: Sequence[bytes],
        cancel: Cancel | None,
        conditioning: Conditioning,
    ) -> Iterator[TextFrame | TextResult]:
        """Writes rows of (prompt, its tokens, number of its sample), `MOST` at once; results come last."""
        made: list[TextResult] = []
        block = 1 if sampling.mode != "diffusion" else min(sampling.block, sampling.max_tokens)
        for first in range(0, len(rows), MOST):
            part = rows[first : first + MOST]
            known, numbers = [row[1] for row in part], [row[2] for row in part]
            plain = conditioning is NOTHING and writes(sampling, self.schedule)
            if plain and self.decoder is not None:
                items = self._natively(self.decoder, part, sampling, block, stops, cancel, first)
            else:
                halt = self._halts(stops, block)
                states = sample_text(
                    self.network,
                    known,
                    sampling,
                    self.context,
                    conditioning,
                    numbers=numbers,
                    halt=halt,
                    schedule=self.schedule,
                    tilt=self.tilt,
                )
                items = self._watched(stoppable(states, cancel), block, stops, first)
            for item in items:
                if isinstance(item, TextFrame):
                    yield item
                    continue
                prompt, _, number = rows[len(made)]
                several = {"number": number} if any(row[2] for row in rows) else {}
                said = {"prompt": prompt, **settings, **several}
                made.append(self.doubted(item.but(settings=said), settings["kind"], sampling.mode))
        yield from made

    def doubted(self, made: TextResult, kind: str, mode: str) -> TextResult:
        """With how unsure it is."""
        pieces = [self.tokenizer.to_bytes([token]) for token in made.tokens]
        return doubted(made, self.calibrator, source_of(kind, mode), pieces)

    def tilted(self, tilt: np.ndarray) -> TextPipeline:
        """The same, for which every token's odds are exp(-tilt) of what they were, wherever it is drawn.

        Args:
            tilt: `(v,)`, the energy of every token.
        """
        view = copy(self)
        view.tilt = torch.as_tensor(tilt, dtype=torch.float32, device=self.network.device)
        view.__dict__["decoder"] = None if self.decoder is None else self.decoder.with_tilt(tilt)
        return view

    @cached_property
    def decoder(self) -> Decoder | None:
        """The network as the native loop takes it; None where it is not packed, or not on the kernels."""
        native = bool(matrices(self.network)) and _native.library() is not None
        return decoder_of(self.network, self.context) if native else None

    def with_decoder(self, decoder: Any) -> TextPipeline:
        """One that writes by another decoder of the same vocabulary, a token at a time."""
        other = copy(self)
        other.__dict__["decoder"] = decoder
        return other

    def _natively(
        self,
        decoder: Decoder,
        rows: Sequence[tuple[str, list[int], int]],
        sampling: Sampling,
        block: int,
        stops: Sequence[bytes],
        cancel: Cancel | None,
        first: int,
    ) -> Iterator[TextFrame | TextResult]:
        """Frames and the result of each row, one row after the other."""
        made = []
        for row, (_, known, number) in enumerate(rows, first):
            pool = Pool()
            tokens = write(decoder, known, sampling, self.context, number, self.window, pool)
            for item in self._shown(tokens, sampling, block, stops, cancel, row, pool):
                if isinstance(item, TextFrame):
                    yield item
                else:
                    made.append(item)
        yield from made

    def _shown(
        self,
        tokens: Iterator[Written],
        sampling: Sampling,
        block: int,
        stops: Sequence[bytes],
        cancel: Cancel | None,
        row: int,
        pool: Pool | None = None,
    ) -> Iterator[TextFrame | TextResult]:
        """Frames of one text that is written in order, and its result."""
        watch = Watch(np.full((1, sampling.max_tokens), MASK), block)
        yield TextFrame(watch.canvas[0], watch.sure[0], 0, 0.0, row)
        clock, nfe, tail = time.perf_counter(), 0, b""
        for one in stoppable(tokens, cancel):
            watch.put(one, time.perf_counter() - clock)
            nfe, tail = one.nfe, (tail + self.tokenizer.to_bytes([one.token]))[-TAIL:]
            share = (one.place + 1) / sampling.max_tokens
            yield TextFrame(watch.canvas[0], watch.sure[0], nfe, share, row)
            if first_stop(tail, stops) >= 0:
                break
            clock = time.perf_counter()
        yield watch.result(0, self.tokenizer, stops, None if pool is None else pool.mean).but(nfe=nfe)

    def together(self, prompts: Sequence[str], kind: str, sampling: Sampling) -> list[TextResult]:
        """A text of each prompt, all written at once by the readable loop, so that many come fast; their
        samples have the numbers 0, 1, 2, ...
        """
        known = [self.prompt(prompt, kind) for prompt in prompts]
        block = 1 if sampling.mode != "diffusion" else min(sampling.block, sampling.max_tokens)
        states = sample_text(
            self.network, known, sampling, self.context, schedule=self.schedule, tilt=self.tilt
        )
        made = [one for one in self._watched(states, block) if isinstance(one, TextResult)]
        return [self.doubted(one, kind, sampling.mode) for one in made]

    def _halts(self, stops: Sequence[bytes], block: int) -> Halt:
        """Stops a text that has come to its end, or to a stop string."""
        if not stops:
            return ended
        reach = (
            max(map(len, stops)) + block
        )  # a token has a byte at least, and a step settles a block at most

        def halted(state: State) -> Tensor:
            settled = (settled_tokens(row) for row in state.x.tolist())  # type: ignore[union-attr]
            tails = [self.tokenizer.to_bytes(tokens[-reach:]) for tokens in settled]
            stopped = [first_stop(tail, stops) >= 0 for tail in tails]
            return ended(state) | torch.tensor(stopped, device=state.t.device)

        return halted

    def _watched(
        self,
        states: Iterator[State],
        block: int,
        stops: Sequence[bytes] = (),
        first: int = 0,
        gap: int | None = None,
    ) -> Iterator[TextFrame | TextResult]:
        """Frames of every row that a step changed, then the results; rows are numbered from `first`. Of an
        infill the first `gap` places count.
        """
        clock, state = time.perf_counter(), next(states)
        watch, readings = Watch(canvas_of(state, gap), block), readings_of(state)
        yield from (frame_of(watch, state, row, first) for row in range(len(watch.canvas)))
        for after in states:
            running = ~state.halted.cpu().numpy()
            note = after.carry["update"]
            watch.take(canvas_of(after, gap), note, running, time.perf_counter() - clock)
            state = after
            yield from (frame_of(watch, state, row, first) for row in np.flatnonzero(running).tolist())
            clock = time.perf_counter()
        for row, nfe in enumerate(state.nfe.tolist()):
            yield watch.result(row, self.tokenizer, stops, readings[row]).but(nfe=nfe)

    def infill(
        self,
        prefix: str,
        suffix: str,
        length: int | None,
        sampling: Sampling,
        kind: str | None = None,
        prompt: str = "",
        cancel: Cancel | None = None,
    ) -> TextResult:
        """See `ArrowEngine.infill`."""
        if length is not None:
            length = whole_number(length, "length", 1, LONGEST_GAP, advice="None finds it out")
        before, after = (
            self.tokenizer.encode(checked_text(side, "a side of the gap")) for side in (prefix, suffix)
        )
        kind, about = kind or guess_kind(prefix, suffix), checked_text(prompt, "prompt") or "function"
        head = [KINDS[kind_of(kind)], *self.tokenizer.encode(about), SEP]
        self.fits(len(head) + len(before) + len(after) + (length or max(GAPS)))
        if sampling.mode != "diffusion":
            known = [*head, *before, SUFFIX, *after, MIDDLE]
            how = replace(sampling, max_tokens=length or LONGEST_GAP)
            states = sample_text(self.network, [known], how, self.context)
            middle = whole(self._watched(stoppable(states, cancel), 1))
        else:
            middle = self._gap([*head, *before], after, length, sampling, cancel)
        settings = {"prefix": prefix, "suffix": suffix, "kind": kind, **asdict(sampling)}
        return middle.but(prefix + self.tokenizer.decode(middle.tokens) + suffix, settings=settings)

    def _gap(
        self, known: list[int], after: list[int], length: int | None, how: Sampling, cancel: Cancel | None
    ) -> TextResult:
        """The middle of this length; of none, the likeliest whole of lengths that the suffix fits best."""
        if length is not None:
            return self._likeliest_gap(known, after, (length,), how, cancel)
        scores = length_scores(self.network, known, GAPS, after, self.context)
        ranked = sorted(zip(stoppable(scores, cancel), GAPS, strict=True), reverse=True)
        middle = self._likeliest_gap(known, after, [gap for _, gap in ranked[:FILLED]], how, cancel)
        return middle.but(nfe=middle.nfe + len(GAPS))

    def _likeliest_gap(
        self, known: list[int], after: list[int], gaps: Sequence[int], how: Sampling, cancel: Cancel | None
    ) -> TextResult:
        made = []
        for gap in gaps:
            states = fill_gap(self.network, known, gap, after, how, self.context)
            made.append(whole(self._watched(stoppable(states, cancel), gap + len(after), gap=gap)))
        rows = [[*known, *one.tokens, *after, EOS] for one in made]
        best = int(log_likelihood(self.network, rows, len(known)).argmax())
        return made[best].but(nfe=sum(one.nfe for one in made))

    def tokens(self, text: str, what: str) -> list[int]:
        """Tokens of a text that says something."""
        if not checked_text(text, what).strip():
            raise ValueError(f"{what} is empty; say in a few words what it should be about")
        return self.tokenizer.encode(text)

    def prompt(self, prompt: str, kind: str) -> list[int]:
        """A prompt as the network reads it."""
        tokens = self.tokens(prompt, "the prompt")
        self.fits(len(tokens) + 2 + 32)
        return [KINDS[kind_of(kind)], *tokens, SEP]

    def fits(self, size: int) -> None:
        """Refuses what leaves no room in the context."""
        if size > self.context:
            raise ValueError(
                f"the prompt leaves no room to write: {size} tokens with the least answer, the context "
                f"holds {self.context}. Shorten it"
            )


def canvas_of(state: State, gap: int | None) -> np.ndarray:
    """What is written in a state, `(b, l)`."""
    return state.x[:, :gap].cpu().numpy()  # type: ignore[index]


def readings_of(state: State) -> np.ndarray:
    """Mean hidden states of the prompts, `(b, d)`, of a state that has written nothing."""
    model = state.carry["model"]
    return (model["model"] if "model" in model else model)["read"].float().cpu().numpy()


def frame_of(watch: Watch, state: State, row: int, first: int) -> TextFrame:
    """How far a row is."""
    canvas = watch.canvas[row]
    done = float((canvas != MASK).mean())
    return TextFrame(canvas, watch.sure[row], int(state.nfe[row]), done, first + row)


def whole(frames: Iterator[TextFrame | TextResult]) -> TextResult:
    """The result at the end of a stream."""
    *_, result = frames
    assert isinstance(result, TextResult)
    return result


def deltas(
    frames: Iterator[TextFrame | TextResult], tokenizer: TextTokenizer, stop: str | Sequence[str]
) -> Iterator[str]:
    """The text of a stream in pieces that are only added to; together they are the result."""
    growing = Deltas(tokenizer, [one.encode() for one in checked_stops(stop)])
    for frame in frames:
        piece = growing.push(frame.canvas.tolist()) if isinstance(frame, TextFrame) else growing.finish()
        if piece:
            yield piece


def kind_of(kind: str) -> str:
    return choice(kind, "kind", sorted(KINDS))


def whole_sentences(text: str) -> str:
    """A text without the sentence that it breaks off in, if it has a whole one.

    >>> whole_sentences('"A fox ran." It was f')
    '"A fox ran."'
    """
    ends = [*re.finditer(r"[.!?][\"'”’)]*", text)]
    return text[: ends[-1].end()] if ends else text
