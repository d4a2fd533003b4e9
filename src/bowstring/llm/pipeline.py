"""LanguageModel: prompts and chats in, text out, for imported models.

Options of one name mean what they mean for `ArrowEngine.generate`. A model's own way of writing is its mode:
one token at a time ("ar"), or blocks by diffusion ("diffusion").
"""

from __future__ import annotations

import codecs
import copy
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core.calibration import Calibrator
from ..core.options import choice, either, real, seed, text, texts, whole
from ..decode.decoder import Decoder, KVCache
from ..decode.deltas import NONE, Deltas
from ..decode.generate import Block, Drawn, Sampling, by_chance, in_blocks, one_by_one, prefill, read_with
from ..grammar import constrained
from ..grammar.calls import STYLES, CallStyle
from ..grammar.checking import checked_text
from ..grammar.form import form, key, requested
from ..grammar.tokens import TokenAutomaton, Trie
from ..text.doubt import Trace, doubted, source_of
from ..text.result import TextResult
from ..text.stops import checked_stops, first_stop, held_back
from ..weights.adapter_set import AdapterSet
from ..weights.layout import CALIBRATION
from ..weights.shipped import adapter_folder, model_folder
from .adapters import load_adapter
from .chat import chat_tokens, checked_messages
from .folder import Model, load
from .recall import Recall
from .steered import steered
from .tools import AUTO, Tool, called, requested_tools, style_of

INFILL = (
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
)
MAX_TOKENS = 256
FORMS = 8  # that stay compiled
ROWS = 64  # that states of a block may have in one pass
ORDERS = ("confidence", "ancestral")
VIEWS = 4  # choices of adapters that stay ready


@dataclass(frozen=True)
class Way:
    """How a text is written. activations: bits of a number between matrices. exact: as by one token an
    evaluation.
    """

    mode: str
    how: Sampling
    steps: int | None
    activations: int
    order: str
    exact: bool
    max_tokens: int
    stops: tuple[bytes, ...]

    @property
    def settings(self) -> dict[str, Any]:
        """What a result tells of it."""
        how = asdict(self.how)
        told = {"mode": self.mode, "max_tokens": self.max_tokens, "activations": self.activations}
        if self.mode == "diffusion":
            told |= {"order": self.order, "exact": self.exact}
        return told | how | ({} if self.steps is None else {"steps": self.steps})


@dataclass
class Reading:
    """A cache, and the tokens that were read into it with numbers of so many planes."""

    cache: KVCache
    tokens: list[int]
    planes: int


class LanguageModel:
    """An imported model that writes.

    What was read stays in one cache, so that a chat reads only what is new. A text has the cache to itself
    until it ends; one that begins meanwhile, here or in another thread, makes its own.
    """

    def __init__(self, model: Model, name: str) -> None:
        self.decoder, self.tokenizer, self.template = model.decoder, model.tokenizer, model.template
        self.name, self.base, self.calibrator = name, model.base, Calibrator()
        self.folder: Path | None = None
        self.adapters = AdapterSet[Deltas]()
        self._bent: dict[tuple[tuple[str, float], ...], LanguageModel] = {}
        self._kept: Reading | None = None  # of the last text that ended
        self.recall: Recall | None = None  # memories of every chat that names none
        self._lock = threading.Lock()  # while a reading is taken or put back, never while one writes
        self._trie: Trie | None = None
        self._forms: dict[str, TokenAutomaton] = {}

    @classmethod
    def load(cls, name: Path | str) -> LanguageModel:
        """An imported model by its name, or in a folder."""
        folder = model_folder(name)
        made = cls(load(folder), folder.name)
        made.calibrator = Calibrator.read(folder / CALIBRATION)
        made.folder = folder
        return made

    def __repr__(self) -> str:
        c = self.decoder.config
        return f"LanguageModel({self.name!r}, {c.family}, {c.layers} layers of {c.width}, {c.vocab} tokens)"

    def __deepcopy__(self, memo: dict[int, Any]) -> LanguageModel:
        """Another one over the same weights, which nothing changes, with the same adapters and memories."""
        made = LanguageModel(Model(self.decoder, self.tokenizer, self.template, self.base), self.name)
        made.calibrator, made.folder, made.recall = self.calibrator, self.folder, self.recall
        made.adapters = copy.copy(self.adapters)
        return made

    def load_adapter(self, path: Path | str, name: str | None = None, weight: float = 1.0) -> str:
        """Brings in a LoRA, PEFT's or ours, and returns its name, by default its folder's. It is active at
        `weight` until `set_adapters` says otherwise; 0 only makes it known.

        Raises:
            FileNotFoundError: there is none. ValueError: it belongs to another model or does not fit.
        """
        deltas, card = load_adapter(adapter_folder(path), self.decoder, base=self.base, kind=self.mode)
        return self._changed(
            self.adapters.add, Path(path).resolve().name if name is None else name, deltas, card, weight
        )

    def set_adapters(self, weights: Mapping[str, float]) -> None:
        """Which adapters are active, with what weights, in calls that name none."""
        self.adapters.active = self.adapters.checked(weights)

    def unload_adapter(self, name: str) -> None:
        """Forgets an adapter."""
        self._changed(self.adapters.remove, name)

    def with_adapters(self, weights: Mapping[str, float] | None) -> LanguageModel:
        """A model over the same weights that these adapters bend; None means those that are active."""
        chosen = self.adapters.chosen(weights)
        if not chosen:
            return self
        key = tuple(chosen.items())
        if key not in self._bent:
            while len(self._bent) >= VIEWS:
                del self._bent[next(iter(self._bent))]
            self._bent[key] = self._view(chosen)
        return self._bent[key]

    def _view(self, weights: Mapping[str, float]) -> LanguageModel:
        deltas = NONE
        for name, weight in weights.items():
            deltas = deltas | self.adapters.loaded[name][0].scaled(weight)
        view = copy.copy(self)
        view.decoder, view.adapters, view._bent = self.decoder.with_deltas(deltas), AdapterSet[Deltas](), {}
        view._kept = None
        return view

    def _changed(self, change: Callable[..., Any], *given: Any) -> Any:
        """A change of the adapters; what was bent by former ones is forgotten."""
        made = change(*given)
        self._bent = {}
        return made

    @property
    def mode(self) -> str:
        c = self.decoder.config
        return "ar" if c.blocks is None and c.canvas is None else "diffusion"

    def generate(self, prompt: str, mode: str | None = None, **options: Any) -> TextResult:
        """Goes on from a prompt as it stands; `chat` is for models that were taught to answer.

        Args:
            options: those of `stream`, and energies, constraints, valid, retries, candidates and choose as
                `ArrowEngine.generate` has them: an energy of tokens `(v,)` tilts the odds of each exactly.
        """
        return steered(self, lambda model, plain: last(model.stream(prompt, mode, **plain)), options)

    def stream(
        self,
        prompt: str,
        mode: str | None = None,
        *,
        max_tokens: int = MAX_TOKENS,
        stop: str | Sequence[str] = (),
        steps: int | None = None,
        temperature: float = 0.8,
        top_k: int = 40,
        top_p: float = 0.95,
        repetition_penalty: float = 1.0,
        seed: int = 0,
        activations: int | None = None,
        order: str = "confidence",
        exact: bool = False,
        schema: Mapping[str, Any] | None = None,
        regex: str | None = None,
        choices: Sequence[str] | None = None,
        num_inference_steps: int | None = None,
        adapters: Mapping[str, float] | None = None,
    ) -> Iterator[str | TextResult]:
        """As `generate`, but yields pieces of the text, which are never taken back, and the result at the
        end.

        Args:
            mode: the model's own when None. steps: evaluations a block; None keeps tokens from the model's
                threshold of confidence on. activations: bits of a number between matrices, 8 or 16; None is
                16 at temperature 0, so that greedy text is that of FP32, else 8, which is faster. order: of a
                diffusion model, the surest places first ("confidence") or each by chance ("ancestral").
                exact: the text that one token an evaluation gives, in fewer evaluations. schema, regex,
                choices: what the text must be: JSON of a schema, a text that a whole pattern describes, or
                one of a list; it always is. adapters: weights by name of those that bend this
                call; None: the active ones.

        Raises:
            TypeError, ValueError: an option of a wrong kind or out of its range, a prompt that leaves no
        room, or a form that cannot be met in it.
        """
        tokens = self.tokenizer.encode(text(prompt, "the prompt", blank=False))
        steps = either(steps, None, "steps", num_inference_steps, "num_inference_steps")
        how = sampling(temperature, top_k, top_p, repetition_penalty, seed)
        wanted = requested(schema, regex, choices)
        way = self._way(mode, how, steps, activations, order, exact, max_tokens, stop)
        return self._stream(tokens, {"prompt": prompt}, way, wanted, adapters)

    def chat(self, messages: str | Sequence[Mapping[str, Any]], **options: Any) -> TextResult:
        """Answers a chat: messages of "system", "user", "assistant" and "tool", or what a user says.

        Args:
            options: those of `chat_stream`, and those that steer, see `generate`.
        """
        return steered(self, lambda model, plain: last(model.chat_stream(messages, **plain)), options)

    def tilted(self, tilt: np.ndarray) -> LanguageModel:
        """A model over the same weights for which every token has exp(-tilt) of its odds, `(v,)`."""
        view = copy.copy(self)
        view.decoder, view._bent, view._kept = self.decoder.with_tilt(tilt), {}, None
        return view

    def chat_stream(
        self,
        messages: str | Sequence[Mapping[str, Any]],
        mode: str | None = None,
        *,
        max_tokens: int = MAX_TOKENS,
        stop: str | Sequence[str] = (),
        steps: int | None = None,
        temperature: float = 0.8,
        top_k: int = 40,
        top_p: float = 0.95,
        repetition_penalty: float = 1.0,
        seed: int = 0,
        activations: int | None = None,
        order: str = "confidence",
        exact: bool = False,
        schema: Mapping[str, Any] | None = None,
        regex: str | None = None,
        choices: Sequence[str] | None = None,
        recall: Recall | None = None,
        adapters: Mapping[str, float] | None = None,
        tools: Sequence[Tool] | None = None,
        tool_choice: str | Mapping[str, Any] = AUTO,
    ) -> Iterator[str | TextResult]:
        """As `chat`, but yields pieces of the answer, then the result.

        Args:
            recall: memories that may help are put before the question; `settings["memories"]` names them.
            tools: functions that may be called: JSON schemas as OpenAI has them, or Python functions with
                types and a docstring. Calls are in `result.tool_calls` and no part of the text; their
                arguments are always valid.
            tool_choice: whether one is called: "auto" (as the model likes), "none", "required" (one or more),
                or {"type": "function", "function": {"name": ...}} (that one).

        Raises:
            ValueError: the model has no chat template, or tools that are none; see `stream`.
        """
        if self.template is None:
            raise ValueError(f"{self.name} has no chat template; it goes on from texts: use generate")
        given = [{"role": "user", "content": messages}] if isinstance(messages, str) else messages
        listed = checked_messages(given)
        recall = recall or self.recall
        told, memories = (listed, []) if recall is None else recall(listed, self.tokenizer)
        wanted = requested(schema, regex, choices)
        offered = requested_tools(tools, tool_choice)
        if offered is not None:
            if wanted is not None:
                raise ValueError(
                    f"tools and {wanted[0]} stand together; leave one out, or take tool_choice 'none'"
                )
            wanted = ("tools", offered.form(style_of(self.template) or "hermes"))
        tokens = chat_tokens(self.tokenizer, self.template, told, offered)
        how = sampling(temperature, top_k, top_p, repetition_penalty, seed)
        said = {"messages": listed} | ({"memories": memories} if memories else {})
        way = self._way(mode, how, steps, activations, order, exact, max_tokens, stop)
        return self._stream(tokens, said, way, wanted, adapters)

    def infill(self, prefix: str, suffix: str, **options: Any) -> TextResult:
        """The text between two sides, which stay as they are, by a model with tokens for it.

        Raises:
            ValueError: the model has none.
        """
        special = self.tokenizer.special
        names = next((names for names in INFILL if all(name in special for name in names)), None)
        if names is None:
            raise ValueError(f"{self.name} has no tokens for filling gaps; those known are {INFILL}")
        before, after, middle = (special[name] for name in names)
        sides = [self.tokenizer.encode(text(side, "a side of the gap")) for side in (prefix, suffix)]
        how = sampling(**({"temperature": 0.3} | {k: options.pop(k) for k in SAMPLING if k in options}))
        known = [before, *sides[0], after, *sides[1], middle]
        said = {"prefix": prefix, "suffix": suffix}
        max_tokens, stop = options.pop("max_tokens", 64), options.pop("stop", ())
        way = self._way("ar", how, None, options.pop("activations", None), ORDERS[0], False, max_tokens, stop)
        made = last(self._stream(known, said, way))
        if options:
            raise TypeError(f"unknown options {sorted(options)}")
        return made.but(prefix + made.text + suffix)

    def encode(self, sentences: str | Sequence[str]) -> np.ndarray:
        """Unit vectors of texts, `(d,)` for a string and `(n, d)` for several: mean hidden states.

        Raises:
            TypeError: no text. ValueError: an empty one, or one beyond the context.
        """
        made = []
        for one in texts(sentences, "text to encode", blank=False):
            tokens = self.tokenizer.encode(one)
            cache, total = self.decoder.cache(), np.zeros(self.decoder.config.width)
            for part, mask in read_with(self.decoder.config, tokens):
                total += self.decoder.forward(part, cache, mask).sum(0)
            made.append((total / np.linalg.norm(total)).astype(np.float32))
        return made[0] if isinstance(sentences, str) else np.stack(made)

    def log_likelihood(self, prompt: str, continuation: str) -> float:
        """Log-probability of a continuation behind a prompt, nats, with the active adapters.

        Raises:
            ValueError: a model that does not write one token at a time.
        """
        if self.mode != "ar":
            raise ValueError(f"{self.name} is a diffusion model, whose texts have no such likelihood")
        known, more = self.tokenizer.encode(prompt), self.tokenizer.encode(continuation)
        decoder = self.with_adapters(None).decoder
        cache = decoder.cache()
        prefill(decoder, known[:-1], cache)
        logits = decoder.logits(decoder.forward(np.array([*known[-1:], *more[:-1]]), cache))
        logits = logits.astype(np.float64)
        normal = (
            logits
            - np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1, keepdims=True))
            - logits.max(1, keepdims=True)
        )
        return float(normal[np.arange(len(more)), more].sum())

    def _way(
        self,
        mode: str | None,
        how: Sampling,
        steps: int | None,
        activations: int | None,
        order: str,
        exact: bool,  # noqa: FBT001
        max_tokens: int,
        stop: str | Sequence[str],
    ) -> Way:
        """Checked options of one text.

        Raises:
            TypeError, ValueError: one of a wrong kind or out of its range, or what this model cannot do.
        """
        mode = self.mode if mode is None else choice(mode, "mode", ("ar", "diffusion"))
        order = choice(order, "order", ORDERS)
        self._check_mode(mode, order, steps, exact=exact)
        if activations is None:
            activations = 8 if how.temperature else 16
        elif whole(activations, "activations", 8, 16) not in (8, 16):
            raise ValueError(f"activations is {activations}; expected 8 or 16 bits")
        return Way(
            mode,
            how,
            None if steps is None else whole(steps, "steps", 1, 1024),
            activations,
            order,
            exact,
            whole(max_tokens, "max_tokens", 1, 1 << 20),
            tuple(one.encode() for one in checked_stops(stop)),
        )

    def _check_mode(self, mode: str, order: str, steps: int | None, *, exact: bool) -> None:
        """
        Raises:
            ValueError: options of ways of writing that this model does not have.
        """
        c = self.decoder.config
        if mode == "diffusion" and self.mode == "ar":
            raise ValueError(
                f"{self.name} writes one token at a time; mode 'diffusion' needs a block-diffusion model"
            )
        if mode == "ar" and c.canvas is not None:
            raise ValueError(
                f"{self.name} fills a canvas, each place seeing every other; it has no mode 'ar'"
            )
        if mode == "ar" and steps is not None:
            raise ValueError(
                f"steps is for blocks; {self.name} writes one token at a time here, leave it out"
            )
        if mode == "ar" and (exact or order != ORDERS[0]):
            raise ValueError("one token at a time is exact and has one order; leave exact and order out")
        if exact and c.canvas is not None:
            raise ValueError(
                f"exact evaluates states of a block side by side; for {self.name} a state is a whole canvas, "
                "so that nothing would be saved: use steps"
            )
        if exact and (steps is not None or order != ORDERS[0]):
            raise ValueError("exact is one token an evaluation, the surest first; leave steps and order out")

    def _stream(
        self,
        tokens: list[int],
        said: dict[str, Any],
        way: Way,
        wanted: tuple[str, Any] | None = None,
        adapters: Mapping[str, float] | None = None,
    ) -> Iterator[str | TextResult]:
        if chosen := self.adapters.chosen(adapters):
            said = said | {"adapters": chosen}
            return self.with_adapters(chosen)._stream(tokens, said, way, wanted)
        if not tokens or len(tokens) >= self.decoder.config.context:
            raise ValueError(
                f"the prompt has {len(tokens)} tokens; expected 1 to "
                f"{self.decoder.config.context - 1}, the context of {self.name}"
            )
        settings = {**said, **way.settings, "model": self.name}
        if wanted is None:
            drawn = self._drawn(tokens, way)
        else:
            if way.stops:
                raise ValueError(f"stop would cut a text off that must fit a {wanted[0]}; leave one out")
            settings |= {wanted[0]: wanted[1]}
            room = min(way.max_tokens, self._usable(way.mode) - len(tokens))
            drawn = self._formed(tokens, way, self._form(*wanted), room)
        return self._watch(settings, drawn, way.max_tokens, way.stops, wanted)

    def _usable(self, mode: str) -> int:
        """Tokens that the context can hold: whole blocks, where they are written."""
        context, blocks = self.decoder.config.context, self.decoder.config.blocks
        return context if mode == "ar" or blocks is None else context // blocks.size * blocks.size

    def _form(self, kind: str, said: Any) -> TokenAutomaton:
        """A form over this model's tokens; the last few stay compiled."""
        name = key(kind, said)
        if name not in self._forms:
            automaton = form(kind, said).automaton
            if self._trie is None:
                to_bytes = self.tokenizer.to_bytes
                self._trie = Trie([to_bytes(i) for i in range(self.decoder.config.vocab)])
            if len(self._forms) >= FORMS:
                del self._forms[next(iter(self._forms))]
            self._forms[name] = TokenAutomaton(automaton, self._trie)
        return self._forms[name]

    def _watch(
        self,
        settings: dict[str, Any],
        drawn: Generator[Drawn, None, None],
        max_tokens: int,
        stops: Sequence[bytes],
        wanted: tuple[str, Any] | None,
    ) -> Iterator[str | TextResult]:
        style = wanted[1]["style"] if wanted is not None and wanted[0] == "tools" else None
        growing = Growing(self, stops, None if style is None else STYLES[style])
        with closing(drawn):
            clock = time.perf_counter()
            for one in drawn:
                growing.seconds.append(time.perf_counter() - clock)
                piece = growing.push(one)
                if piece:
                    yield piece
                if growing.reason or len(growing.tokens) >= max_tokens:
                    break
                clock = time.perf_counter()
        if rest := growing.finish():
            yield rest
        made = growing.result(settings)
        if wanted is not None:
            checked_text(growing.whole, *wanted)
        if style is not None and (calls := called(growing.whole, style, settings["messages"])):
            made = made.but(tool_calls=calls, finish_reason="tool_calls")
        yield made

    def _formed(
        self,
        prompt: list[int],
        way: Way,
        wanted: TokenAutomaton,
        room: int,
    ) -> Generator[Drawn, None, None]:
        """Tokens that meet a form.

        Raises:
            GrammarError: they do not fit into the room; ValueError: blocks, of a model without an end.
        """
        wanted.require(room)
        decoder, stops = self._decoder(way, prompt), self.decoder.config.stops
        if way.mode == "ar":
            return self._remembered(
                decoder,
                prompt,
                lambda cache: constrained.one_by_one(decoder, prompt, cache, way.how, wanted, room, stops),
            )
        if not stops:
            raise ValueError(f"{self.name} has no stop token, so its blocks cannot end; use mode 'ar'")
        return self._from_blocks(
            decoder,
            prompt,
            lambda cache: constrained.in_blocks(decoder, prompt, cache, way.how, wanted, room, way.steps),
        )

    def _decoder(self, way: Way, prompt: Sequence[int]) -> Decoder:
        """The decoder as this text needs it; a canvas holds the prompt and what is to be written."""
        decoder = (self.decoder if way.activations == 8 else self.decoder.fine).counted_anew()
        if decoder.config.canvas is None:
            return decoder
        return decoder.on_canvas(min(len(prompt) + way.max_tokens, decoder.config.context))

    def _drawn(self, prompt: list[int], way: Way) -> Generator[Drawn, None, None]:
        """Tokens one after the other, whatever way they are made."""
        decoder, how = self._decoder(way, prompt), way.how
        blocks = decoder.config.blocks
        if way.mode == "ar" or blocks is None:
            return self._remembered(decoder, prompt, lambda cache: one_by_one(decoder, prompt, cache, how))
        steps, guesses = (blocks.size, max(ROWS // blocks.size - 1, 1)) if way.exact else (way.steps, 0)
        places = min(blocks.size, way.max_tokens)
        rule = by_chance(steps or places, how.seed, 0) if way.order == "ancestral" else None
        return self._from_blocks(
            decoder,
            prompt,
            lambda cache: in_blocks(decoder, prompt, cache, how, steps, guesses=guesses, rule=rule),
        )

    def _remembered(
        self, decoder: Decoder, prompt: list[int], draw: Callable[[KVCache], Iterator[Drawn]]
    ) -> Generator[Drawn, None, None]:
        """Tokens one by one, from a cache that keeps what the last prompt shared with this one, where it was
        read with the same activations.
        """
        with self._taken() as own:
            same = own.planes == decoder.planes
            own.cache.truncate(shared(own.tokens, prompt, own.cache.length) if same else 0)
            own.tokens, own.planes = list(prompt), decoder.planes
            for one in draw(own.cache):
                yield one
                own.tokens.append(one.token)

    def _from_blocks(
        self, decoder: Decoder, prompt: list[int], draw: Callable[[KVCache], Iterator[Block]]
    ) -> Generator[Drawn, None, None]:
        """Tokens of finished blocks."""
        head = len(prompt) % decoder.config.blocks.size  # type: ignore[union-attr]  # asked before
        with self._taken() as own:
            own.cache.truncate(0)
            own.tokens = []
            for block in draw(own.cache):
                if block.done:
                    for token, p in zip(block.tokens[head:], block.confidence[head:], strict=True):
                        yield Drawn(token, p, block.forwards)
                    head = 0

    @contextmanager
    def _taken(self) -> Iterator[Reading]:
        """What the last text left, or a fresh cache, for one text alone; it is put back at its end."""
        with self._lock:
            own, self._kept = self._kept, None
        own = Reading(self.decoder.cache(), [], 1) if own is None else own
        try:
            yield own
        finally:
            with self._lock:
                self._kept = own


SAMPLING = ("temperature", "top_k", "top_p", "repetition_penalty", "seed")


def sampling(
    temperature: float = 0.8,
    top_k: int = 40,
    top_p: float = 0.95,
    repetition_penalty: float = 1.0,
    seed: int = 0,
) -> Sampling:
    """Checked options.

    Raises:
        TypeError, ValueError: a value of a wrong kind or out of its range.
    """
    return Sampling(
        real(temperature, "temperature", 0, 100),
        whole(top_k, "top_k", 0),
        real(top_p, "top_p", above=0, high=1),
        real(repetition_penalty, "repetition_penalty", above=0, high=10),
        checked_seed(seed),
    )


checked_seed = seed


def shared(read: Sequence[int], prompt: Sequence[int], cached: int) -> int:
    """How many tokens of a prompt the cache holds already; the last one is read anew, for its logits."""
    most = min(len(read), len(prompt) - 1, cached)
    return next((i for i in range(most) if read[i] != prompt[i]), most)


def last(parts: Iterator[str | TextResult]) -> TextResult:
    *_, result = parts
    assert isinstance(result, TextResult)
    return result


class Growing:
    """A text while it grows: what may be said, and why it ended. style: of calls, which are not said."""

    def __init__(self, model: LanguageModel, stops: Sequence[bytes], style: CallStyle | None = None) -> None:
        self.model, self.stops, self.style = model, stops, style
        self.tokens: list[int] = []
        self.probabilities: list[float] = []
        self.entropies: list[float] = []
        self.seconds: list[float] = []
        self.data, self.given, self.said = b"", 0, ""
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.reason, self.nfe = "", 0

    def push(self, one: Drawn) -> str:
        """What can be said after another token: never half a character, never the beginning of a stop."""
        self.nfe = one.forwards
        if one.token in self.model.decoder.config.stops:
            self.reason = "stop"
            return ""
        self.tokens.append(one.token)
        self.probabilities.append(one.probability)
        self.entropies.append(one.entropy)
        self.data += self.model.tokenizer.to_bytes(one.token)
        stop = first_stop(self.data, self.stops)
        if stop >= 0:
            self.reason = "stop"
            self.data = self.data[:stop]
            return self._give(stop)
        if self.style is not None:
            return self._give(self.style.spoken(self.data))
        return self._give(len(self.data) - held_back(self.data, self.stops))

    def finish(self) -> str:
        said = self.data if self.style is None else self.style.content(self.data)
        return self._give(len(said), final=True)

    @property
    def whole(self) -> str:
        """All that was written, with calls."""
        return self.data.decode("utf-8", "replace")

    def _give(self, end: int, *, final: bool = False) -> str:
        piece = self.decoder.decode(self.data[self.given : end], final)
        self.given = max(end, self.given)
        self.said += piece
        return piece

    def result(self, settings: dict[str, Any]) -> TextResult:
        surprisal = -np.log(np.maximum(self.probabilities, 1e-30))
        unknown = np.full(len(surprisal), np.nan)
        made = TextResult(
            self.said,
            self.tokens,
            self.nfe,
            self.seconds,
            nats={"nll": float(surprisal.mean()) if len(surprisal) else 0.0},
            settings=settings,
            finish_reason=self.reason or "length",
            trace=Trace(surprisal, np.array(self.entropies), unknown),
        )
        pieces = [self.model.tokenizer.to_bytes(token) for token in self.tokens]
        return doubted(made, self.model.calibrator, source_of("text", settings["mode"]), pieces)
