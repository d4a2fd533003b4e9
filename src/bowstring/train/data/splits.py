"""What is kept from training, decided by hashes of names alone.

A *work* is the unit that is never divided: a novel with all its volumes, a tale of a collection, a picture
book, a module of code, a template of a grammar, a concept in a family of styles. Nothing here depends on
order, size or chance, so that who adds a work moves no other one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator

RULE = 2  # models trained before this rule were kept from other texts: see `first_split`
HELD_OUT = {"valid": 2, "test": 3}  # per cent of works
NOVELS_HELD_OUT = {"valid": 8, "test": 16}  # there are few of them, and each is long
COLLECTION = re.compile(r"Fairy (Tales|Book)|Stories to Tell|Just So")
SERIES = {"Oz": "The Oz books"}  # volumes that share their people and places


def bucket(name: str) -> int:
    """A number from 0 to 99 that depends on the name alone."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little") % 100


def split_of(work: str, shares: dict[str, int] = HELD_OUT) -> str:
    """The split of a whole work, from its name alone.

    >>> split_of("The Snow Queen") in ("train", "valid", "test")
    True
    """
    if bucket(work) < shares["valid"]:
        return "valid"
    return "test" if bucket(work) < sum(shares.values()) else "train"


def least(names: Iterable[str], count: int, of: str) -> frozenset[str]:
    """The `count` of the names whose hashes, salted by what they are names of, are least.

    >>> len(least("abcdef", 2, "letters"))
    2
    """
    return frozenset(
        sorted(set(names), key=lambda name: hashlib.sha256(f"{of}|{name}".encode()).digest())[:count]
    )


def novel_of(source: str) -> str | None:
    """The novel that a chapter's source names, without its number; None for collections and picture books.

    >>> novel_of("The Road to Oz (book 485)"), novel_of("English Fairy Tales (book 7439)")
    ('The Oz books', None)
    """
    if "(book" not in source or COLLECTION.search(source):
        return None
    title = source.split(" (book")[0]
    return next((series for word, series in SERIES.items() if word in title.split()), title)


def work_of(title: str, source: str) -> tuple[str, str]:
    """The work that a tale or chapter belongs to, and its split."""
    novel = novel_of(source)
    if novel is not None:
        return novel, split_of(novel, NOVELS_HELD_OUT)
    return title, split_of(title)


def first_split(key: str) -> str:
    """The split under the first rule, which the models of version 0.1 were trained by: chapters were told
    apart by their titles, texts of the grammars by themselves.
    """
    return split_of(key)


def word_grams(text: str, size: int = 8) -> Iterator[int]:
    """Hashes of all runs of `size` words, letters and digits only."""
    found = re.findall(r"\w+", text.lower())
    for i in range(len(found) - size + 1):
        yield int.from_bytes(
            hashlib.blake2b(" ".join(found[i : i + size]).encode(), digest_size=8).digest(), "little"
        )


def overlap(text: str, known: set[int], size: int = 8) -> float:
    """Share of a text's runs of `size` words that are among the known ones; 0 for shorter texts.

    >>> overlap("one two three four", set(word_grams("two three four", 3)), 3)
    0.5
    """
    runs = [*word_grams(text, size)]
    return sum(run in known for run in runs) / len(runs) if runs else 0.0
