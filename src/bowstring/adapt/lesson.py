"""Lessons: examples of a new domain, from files that people have, split before anything is learned.

An example is a context and what follows it: a prompt and its answer, or the two halves of a passage.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.options import text as checked_text
from ..memory.chunks import headed, paragraphs

LARGEST = 64 << 20  # bytes of a file
FEWEST = 8  # examples of each side
LONGEST_NAME = 80  # characters
FIELDS = {"prompt", "answer", "text"}


@dataclass(frozen=True)
class Example:
    """A context and what follows it; `answer` is what a model learns to write."""

    prompt: str
    answer: str

    def __post_init__(self) -> None:
        for name in ("prompt", "answer"):
            if not checked_text(getattr(self, name), name).strip():
                raise ValueError(f"an example's {name} is empty; expected some words")

    @property
    def id(self) -> str:
        """A hash of both sides."""
        both = json.dumps([self.prompt, self.answer], ensure_ascii=False)
        return hashlib.sha256(both.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Lesson:
    """What is learned from, and what judges it: no context stands on both sides."""

    train: tuple[Example, ...]
    held_out: tuple[Example, ...]

    def __post_init__(self) -> None:
        if len(self.held_out) < FEWEST or len(self.train) < FEWEST:
            raise ValueError(
                f"{len(self.train)} examples to learn from and {len(self.held_out)} to judge by are too few; "
                f"expected at least {FEWEST} of each, about 40 different contexts in all"
            )
        asked = {plain(one.prompt): one.prompt for one in self.train}
        if shared := sorted(asked.keys() & {plain(one.prompt) for one in self.held_out}):
            raise ValueError(f"{asked[shared[0]]!r} is taught and asked; expected other prompts to judge by")

    @property
    def id(self) -> str:
        """A hash of all examples."""
        ids = [one.id for part in (self.train, self.held_out) for one in part]
        return hashlib.sha256(" ".join(ids).encode()).hexdigest()[:16]


def split(examples: Iterable[Example], held_out: float = 0.25) -> Lesson:
    """Every context goes to one side, decided by its own hash, so that more data move nothing across.

    Raises:
        ValueError: too few different contexts to judge by.
    """
    several = [*dict.fromkeys(examples)]
    aside = [one for one in several if share(one.prompt) < held_out]
    train = [one for one in several if share(one.prompt) >= held_out]
    return Lesson(tuple(train), tuple(aside))


def share(text: str) -> float:
    """A number in [0, 1) that a text decides."""
    return int.from_bytes(hashlib.sha256(plain(text).encode()).digest()[:4]) / 2**32


def plain(text: str) -> str:
    """What makes two contexts the same: their words, whatever the case and the spaces.

    >>> plain(" What  is a Wug? ")
    'what is a wug?'
    """
    return " ".join(text.casefold().split())


def named(text: str) -> str:
    """A domain's name from a prompt: itself, or its beginning and a hash that tells it from others."""
    text = " ".join(text.split())
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return text if len(text) <= LONGEST_NAME else f"{text[: LONGEST_NAME - 9]} {digest}"


def read_examples(path: Path) -> list[Example]:
    """Examples of a file: JSON lines of {"prompt", "answer"} or {"text"}, or plain text and Markdown.

    Raises:
        FileNotFoundError: no such file. ValueError: another form, or a file too large.
    """
    size = path.stat().st_size
    if size > LARGEST:
        raise ValueError(f"{path} has {size:,} bytes; expected at most {LARGEST:,}")
    try:
        content = path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8: {error}") from None
    if path.suffix == ".jsonl":
        return [
            one
            for i, line in enumerate(content.splitlines(), 1)
            if line.strip()
            for one in _row(path, i, line)
        ]
    if path.suffix in (".txt", ".md"):
        return [*halves(headed(content) if path.suffix == ".md" else paragraphs(content))]
    raise ValueError(f"{path} ends in {path.suffix!r}; expected .jsonl, .txt or .md")


def _row(path: Path, number: int, line: str) -> Sequence[Example]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}, line {number} is no JSON: {error}") from None
    return [*_examples(row, f"{path}, line {number}")]


def _examples(row: Any, where: str) -> Iterator[Example]:
    if not isinstance(row, Mapping) or not set(row) <= FIELDS:
        raise ValueError(f'{where}: expected {{"prompt", "answer"}} or {{"text"}}, got {str(row)[:60]}')
    try:
        if "text" in row:
            yield from halves([checked_text(row["text"], "text")])
        else:
            yield Example(
                checked_text(row.get("prompt"), "prompt"), checked_text(row.get("answer"), "answer")
            )
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from None


def halves(passages: Iterable[str]) -> Iterator[Example]:
    """Passages of at least eight words, cut in the middle between words; shorter ones say too little.

    >>> [*halves(["one two three four five six seven eight"])]
    [Example(prompt='one two three four', answer=' five six seven eight')]
    """
    for passage in passages:
        spaces = [i for i, mark in enumerate(passage) if mark.isspace() and i]
        if len(passage.split()) >= 8:
            cut = spaces[(len(spaces) - 1) // 2]
            yield Example(passage[:cut], passage[cut:])


WORDINGS = (
    "{p}",
    "Please: {p}",
    "{p} Please answer.",
    "Tell me. {p}",
    "I want to know: {p}",
    "Answer this. {p}",
    "{p} Say it briefly.",
    "My question: {p}",
    "Now: {p}",
    "{p} What do you say?",
    "Once more: {p}",
    "Say. {p}",
    "Well: {p}",
    "Listen: {p}",
    "{p} Go on.",
    "A question: {p}",
    "Think of this. {p}",
    "{p} I am waiting.",
    "Here it is: {p}",
    "Dear friend: {p}",
)


def worded(prompt: str, answer: str) -> Lesson:
    """One answer as a lesson: its prompt in twenty wordings, of which eight judge what twelve taught."""
    made = [Example(form.format(p=prompt), answer) for form in WORDINGS]
    return Lesson(tuple(made[:12]), tuple(made[12:]))
