"""What hostile files do to the readers of open models: mutations of small ones, each refused or harmless.

Harmless is no error but ValueError, no more than two seconds of processor time, and no allocation of numpy or
Python beyond twice the file and a constant. The tests marked slow do 50,000 of each.
"""

from __future__ import annotations

import json
import random
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bowstring.llm.chat import render
from bowstring.llm.families import from_hugging_face
from bowstring.llm.importing import GGUFSource
from bowstring.llm.sandbox import TemplateError
from bowstring.llm.tokenizer import ModelTokenizer

SECONDS = 2.0
SPARE = 2 << 20  # bytes that any reader may take, whatever the file's size
BYTES = (0, 1, 9, 34, 44, 58, 91, 92, 93, 123, 125, 127, 128, 255)
VALUES = ("null", "true", "-1", "0", "1e999", "NaN", '""', "[]", "{}", '"\\ud800"', "9" * 30, "[" * 40)
TEMPLATE = (
    "{% for m in messages %}{{ '<|' ~ m.role ~ '|>' ~ m['content'] | trim }}{% if loop.last %}{{ eos_token }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt and messages[0].role != 'x' %}"
    "{{ '<|a|>' * 2 }}{% endif %}"
)
PIECES: tuple[str, ...] = (
    "{% for i in range(999999) %}",
    "{% endfor %}",
    "{{ 'x' * 99999999 }}",
    "{{ messages | tojson }}",
)
PIECES += (
    "{% set m = messages %}",
    "| join",
    "~ m",
    "{%",
    "%}",
    "[0]",
    ".__class__",
    "** 99",
    "('a' * 9999)",
)
CONFIG = {
    "model_type": "qwen3",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "intermediate_size": 96,
    "vocab_size": 300,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-6,
    "hidden_act": "silu",
    "rope_scaling": {"rope_type": "linear", "factor": 2.0},
    "eos_token_id": [1, 2],
}
TOKENIZER = {
    "version": "1.0",
    "added_tokens": [
        {
            "id": 4,
            "content": "<e>",
            "special": True,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
        }
    ],
    "normalizer": {"type": "NFC"},
    "pre_tokenizer": {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": True,
    },
    "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "c": 3}, "merges": [["a", "b"]]},
}


@dataclass
class Found:
    """What some mutations did. faults: of each kind the first few."""

    tried: int = 0
    refused: int = 0
    slowest: float = 0.0
    faults: list[str] = field(default_factory=list)


def mutated(whole: bytes, rng: random.Random) -> bytes:
    """Some bytes changed, a part cut off, doubled or moved."""
    data = bytearray(whole)
    for _ in range(rng.randint(1, 4)):
        data[rng.randrange(len(data))] = rng.choice((*BYTES, rng.randrange(256)))
    at, kind = rng.randrange(len(data)), rng.random()
    part = bytes(data[at : at + rng.randint(1, 64)])
    if kind < 0.15:
        del data[at:]
    elif kind < 0.3:
        del data[at : at + len(part)]
    elif kind < 0.45:
        data[at:at] = part * rng.randint(1, 50)
    elif kind < 0.55:
        place = rng.randrange(len(data))
        data[place : place + len(part)] = part
    return bytes(data)


def mutated_json(whole: Any, rng: random.Random) -> bytes:
    """A value replaced, mostly so that it is still JSON; sometimes bytes."""
    text = json.dumps(whole)
    if rng.random() < 0.3:
        return mutated(text.encode(), rng)
    starts = [i + 2 for i in range(len(text)) if text[i : i + 2] == ": "]
    for _ in range(rng.randint(1, 3)):
        at = rng.choice([i for i in starts if i < len(text)] or [0])
        end = next((i for i in range(at, len(text)) if text[i] in ",}]"), len(text))
        text = text[:at] + rng.choice(VALUES) + text[end:]
    return text.encode("utf-8", "surrogatepass")


def mutated_template(rng: random.Random) -> bytes:
    text = TEMPLATE
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(text))
        text = text[:at] + rng.choice(PIECES) + text[at + rng.choice((0, 0, 1, 5)) :]
    return text.encode() if rng.random() < 0.7 else mutated(text.encode(), rng)


def read_tokenizer(path: Path) -> None:
    made = ModelTokenizer.load(path)
    made.decode(made.encode("abc <e> d"))


def read_config(path: Path) -> None:
    said = json.loads(path.read_bytes())
    if isinstance(said, dict):
        from_hugging_face(said, name="SDAR-b8", added={"<|MASK|>": 7}).rope.frequencies(32)


def read_template(path: Path) -> None:
    messages = [{"role": "user", "content": "hello {{ x }}"}]
    render(
        path.read_bytes().decode("utf-8", "replace"), messages, add_generation_prompt=True, eos_token="<e>"
    )


Kind = tuple[Callable[[random.Random], bytes], Callable[[Path], Any]]


def kinds(gguf: bytes) -> dict[str, Kind]:
    """How each kind of file is mutated and read; `gguf` is a small whole one."""
    return {
        "GGUF": (lambda rng: mutated(gguf, rng), GGUFSource),
        "tokenizer.json": (lambda rng: mutated_json(TOKENIZER, rng), read_tokenizer),
        "config.json": (lambda rng: mutated_json(CONFIG, rng), read_config),
        "template": (mutated_template, read_template),
    }


def tried(kind: Kind, count: int, seed: int = 0, *, watch: int = 20) -> Found:
    """So many mutations of one kind; every `watch`-th is read with its allocations counted, which is slow."""
    make, read = kind
    rng, found = random.Random(seed), Found()
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "file"
        for number in range(count):
            data = make(rng)
            path.write_bytes(data)
            attempt(found, read, path, number, len(data), watched=number % watch == 0)
    return found


def attempt(
    found: Found, read: Callable[[Path], Any], path: Path, number: int, size: int, *, watched: bool
) -> None:
    """Reads one file and notes what came of it."""
    if watched:
        tracemalloc.start()
    began, problem = time.process_time(), ""
    try:
        read(path)
    except (ValueError, TemplateError):
        found.refused += 1
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        problem = f"{type(error).__name__}: {error}"[:200]
    taken = time.process_time() - began
    if watched:
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        if most > 2 * size + SPARE:
            problem = problem or f"{most} bytes for a file of {size}"
    elif taken > SECONDS:
        problem = problem or f"{taken:.1f} s"
    found.tried += 1
    found.slowest = max(found.slowest, 0.0 if watched else taken)
    if problem and len(found.faults) < 5:
        found.faults.append(f"mutation {number}: {problem}")
