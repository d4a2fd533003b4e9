"""Words to phonemes: a dictionary, and a small network for the words that it does not have.

Phonemes are the symbols of misaki's American English: IPA with single letters for diphthongs, primary and
secondary stress marked before the vowel. `phonemes` of a sentence keeps each word's own, so that times can be
given back to words.
"""

from __future__ import annotations

import lzma
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..weights.arrays import load_arrays
from .letters import best_phonemes, shapes
from .normalisation import MARKS, normalise

SYMBOLS = "AIOQWYbdfhijklmnpstuvwzæðŋɑɔəɛɜɡɪɹɾʃʊʌʒʔʤʧθᵊᵻˈˌɐT"
PAUSES = ".,;:!?—…"
STRESS = "ˈˌ"
VOWELS = set("AIOQWYiuæɑɔəɛɜɪʊʌᵊᵻɐ")
SPELLED = dict(
    zip(
        "abcdefghijklmnopqrstuvwxyz",
        (
            "ˈA bˈi sˈi dˈi ˈi ˈɛf ʤˈi ˈAʧ ˈI ʤˈA kˈA ˈɛl ˈɛm ˈɛn ˈO pˈi kjˈu "
            "ˈɑɹ ˈɛs tˈi jˈu vˈi dˈʌbᵊlju ˈɛks wˈI zˈi"
        ).split(),
        strict=True,
    )
)
WEAK = {"a": "ɐ", "an": "ən", "to": "tə", "of": "ʌv", "and": "ænd", "i": "I", "the": "ðə"}
HUMPS = re.compile(r"[A-Z]?[a-z]{2,}|[A-Z]{2,}(?![a-z])")  # parts of a name like QuickSort
LARGEST = 1 << 24  # bytes of an unpacked dictionary


@dataclass(frozen=True)
class Word:
    """A word or a mark as it was read out, and its phonemes; a mark is its own sound."""

    text: str
    phonemes: str


class Sentence(NamedTuple):
    """words: what is said. unspoken: parts of the text that cannot be said, as they are written."""

    words: list[Word]
    unspoken: tuple[str, ...]


class G2P:
    """Pronounces any text. One spelling has one sound: what `lives` or `read` mean is not looked at."""

    def __init__(self, folder: Path) -> None:
        """`folder` holds dictionary.xz and network.parquet."""
        self.folder = folder

    @cached_property
    def dictionary(self) -> dict[str, str]:
        """
        Raises:
            ValueError: the file is larger than a dictionary should be, or has another shape.
        """
        with lzma.open(self.folder / "dictionary.xz") as file:
            text = file.read(LARGEST + 1)
        if len(text) > LARGEST:
            raise ValueError(f"{self.folder / 'dictionary.xz'} unpacks to more than {LARGEST} bytes")
        rows = [line.split("\t") for line in text.decode("utf-8").splitlines()]
        if any(len(row) != 2 for row in rows):
            raise ValueError(f"{self.folder / 'dictionary.xz'} has a line that is no word and phonemes")
        return {word: phonemes for word, phonemes in rows}

    @cached_property
    def letters(self) -> dict[str, np.ndarray]:
        """Arrays of the network; see `load_arrays`."""
        return load_arrays(self.folder / "network.parquet", shapes(len(SYMBOLS)), "cannot read new words")

    def word(self, text: str) -> str:
        """Phonemes of one word, whatever it is; letters with points are spelled."""
        if "." in text:
            return spelled(text)
        low = text.lower()
        for known in (text, low):
            if known in self.dictionary:
                return self.dictionary[known]
        if low.endswith("'s") and len(low) > 2:
            return plural(self.word(text[:-2]))
        if low.endswith("s") and len(low) > 2 and text[:-1].isupper() and not text.isupper():
            return plural(self.word(text[:-1]))  # several GPUs
        if low.endswith("s") and low[:-1] in self.dictionary and len(low) > 3:
            return plural(self.dictionary[low[:-1]])
        if text.isupper() and (len(text) < 5 or not set(low) & set("aeiouy")):
            return spelled(low)
        if len(low) == 1 or (len(low) < 6 and not set(low) & set("aeiouy'")):
            return spelled(low)
        parts = HUMPS.findall(text)
        return "".join(map(self.word, parts)) if 1 < len(parts) < 5 else self.guessed(low)

    def guessed(self, word: str) -> str:
        """What the network says; a word without any vowel is spelled."""
        phonemes = "".join(SYMBOLS[i] for i in best_phonemes(self.letters, word))
        if not set(phonemes) & VOWELS:
            return spelled(word)
        return phonemes if set(phonemes) & set(STRESS) else stressed(phonemes)

    def sentence(self, text: str) -> Sentence:
        """Every word and mark of a text with its phonemes, and what cannot be said.

        Raises:
            ValueError: there is nothing to say.
        """
        tokens, unspoken = normalise(text)
        out: list[Word] = []
        for i, token in enumerate(tokens):
            if token in MARKS:
                if out and out[-1].text not in MARKS:
                    out.append(Word(token, token))
                continue
            following = next((t for t in tokens[i + 1 : i + 2] if t not in MARKS), "")
            out.append(Word(token, self._in_context(token, following)))
        silent = tuple(word.text for word in out if not word.phonemes)
        out = [word for word in out if word.phonemes]
        if not any(word.text not in MARKS for word in out):
            raise ValueError(f"there is nothing to say in {text[:40]!r}; give some words in Latin letters")
        return Sentence(out, unspoken + silent)

    def _in_context(self, token: str, following: str) -> str:
        low = token.lower()
        if low == "the" and following:
            first = self.word(following).lstrip(STRESS)[:1]
            return "ði" if first in VOWELS else "ðə"
        if low in WEAK and not (token.isupper() and len(token) > 1):
            return WEAK[low]
        return self.word(token)


def spelled(text: str) -> str:
    """Names of letters; an s behind their points makes several of them.

    >>> spelled("F.B.I."), spelled("G.P.U.s")
    ('ˈɛfbˈiˈI', 'ʤˈipˈijˈuz')
    """
    head, _, tail = text.lower().rpartition(".") if "." in text else (text.lower(), "", "")
    said = "".join(SPELLED[c] for c in head if c in SPELLED)
    return plural(said) if tail.endswith("s") else said


def plural(phonemes: str) -> str:
    """
    >>> plural("kˈæt"), plural("dˈɔɡ"), plural("hˈɔɹs")
    ('kˈæts', 'dˈɔɡz', 'hˈɔɹsᵻz')
    """
    last = phonemes[-1:]
    return phonemes + ("ᵻz" if last in "szʃʒʧʤ" else "s" if last in "ptkfθ" else "z")


def stressed(phonemes: str) -> str:
    """Phonemes with the first vowel stressed."""
    at = next(i for i, c in enumerate(phonemes) if c in VOWELS)
    return phonemes[:at] + "ˈ" + phonemes[at:]
