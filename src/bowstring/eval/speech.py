"""How good are speech and face? Sentences of the fixed list that nothing learned from, beside the teacher's.

The teacher's own sound is the ceiling; the same sound through our codec says what the codec costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..engine import ArrowEngine
from ..face.animate import animate, closures, lag, loudness
from ..speech.analysis import analyse
from ..speech.source_filter import noise_gated
from ..speech.vocoder import limited
from ..speech.voice import Warp
from ..train.data.sentences import HARVARD
from ..train.speech.flow import HELD_OUT_WARPS, load_utterances, warped_utterance
from ..train.speech.teacher import Teacher, as_utterance
from ..train.speech.voices import is_held_out_voice
from .judges.speech import alike, heard, opinion, voice_vector, word_errors

FEW = (1, 2, 4, 8, 50)
REFERENCES, OTHERS = HARVARD[40:43], HARVARD[43:46]  # what voices are told by, and compared with


def judged(texts: Sequence[str], signals: Sequence[np.ndarray]) -> dict[str, float]:
    """Word error rate and mean opinion."""
    return {
        "wer": word_errors(texts, [heard(signal) for signal in signals]),
        "dnsmos_ovrl": float(np.mean([opinion(signal) for signal in signals])),
    }


def measure_speech(engine: ArrowEngine, data: Path) -> dict[str, Any]:
    """Everything about speech. See the keys; a base voice that was held out is among them if `bowstring data
    voices` made it.
    """
    texts, teacher = HARVARD[:50], Teacher()
    numbers: dict[str, Any] = {"sentences": len(texts)}
    readings = [next(teacher.read(text)) for text in texts]
    theirs = judged(texts, [limited(reading.signal) for reading in readings])
    numbers |= {"wer_teacher": theirs["wer"], "dnsmos_teacher": theirs["dnsmos_ovrl"]}
    coder, sound = engine.speech_pipeline.coder.codec, engine.speech_pipeline.vocoder.sound
    coded = [sound(noise_gated(coder.decode(coder.encode(reading.taken_apart())))) for reading in readings]
    numbers |= {f"{name}_codec": value for name, value in judged(texts, coded).items()}
    curve = {}
    for steps in FEW:
        curve[steps] = judged(texts, [engine.say(text, steps=steps).audio for text in texts])
    numbers |= judged(texts, [engine.say(text).audio for text in texts])
    numbers["speech_curve"] = {str(steps): row for steps, row in curve.items()}
    numbers["keep_4_of_50"] = {
        "words": (1 - curve[4]["wer"]) / (1 - curve[50]["wer"]),
        "dnsmos": curve[4]["dnsmos_ovrl"] / curve[50]["dnsmos_ovrl"],
    }
    numbers["similarity"] = similarity(engine, teacher)
    if (voices := data / "voices.safetensors").exists():
        numbers["similarity_base"] = base_similarity(engine, voices)
    return numbers | face_numbers(engine, texts[:10])


def similarity(engine: ArrowEngine, teacher: Teacher) -> dict[str, float]:
    """Cosines of voices: the same pseudo-speaker saying other sentences, another one saying the same, and
    ours after hearing a few seconds; all of voices that were held out, and through one codec.
    """
    warps, sound = (Warp(), *HELD_OUT_WARPS), engine.speech_pipeline.vocoder.sound
    read = [[as_utterance(next(teacher.read(text))) for text in some] for some in (REFERENCES, OTHERS)]
    said = [
        [[sound(noise_gated(warped_utterance(one, warp).frames)) for one in some] for some in read]
        for warp in warps
    ]
    told = [np.concatenate(references) for references, _ in said]
    vectors = [[voice_vector(np.concatenate(some)) for some in pair] for pair in said]
    cloned = [
        voice_vector(np.concatenate([engine.say(text, voice=recording).audio for text in OTHERS]))
        for recording in told[1:]
    ]
    references, others = ([pair[i] for pair in vectors] for i in (0, 1))
    return {
        "same": alike(references[1:], others[1:]),
        "other": alike(references[1:], [others[2], others[1]]),
        "cloned": alike(references[1:], cloned),
        "cloned_by_the_other": alike(references[1:], cloned[::-1]),
    }


def base_similarity(engine: ArrowEngine, path: Path) -> dict[str, float]:
    """The same of a base voice that nothing learned from; the other one is our own."""
    spoken = [one for one in load_utterances(path) if is_held_out_voice(one)]
    half = len(spoken) // 2
    told, more = (
        np.concatenate([engine.speech_pipeline.vocoder.sound(noise_gated(one.frames)) for one in some])
        for some in (spoken[:half], spoken[half:])
    )
    say = lambda voice: np.concatenate([engine.say(text, voice=voice).audio for text in OTHERS])  # noqa: E731
    heard_first, *others = map(voice_vector, (told, more, say(None), say(told)))
    return dict(zip(("same", "other", "cloned"), (float(heard_first @ one) for one in others), strict=True))


def face_numbers(engine: ArrowEngine, texts: Sequence[str]) -> dict[str, float]:
    """Closures of p, b and m that are seen, with the constraint and of the network alone; and how late the
    network's jaw is, against the rule that taught the face, given the same times.
    """
    hits, free, late = [], [], []
    for text in texts:
        made = engine.converse("a face", text=text, picture=False)
        left = engine.converse("a face", text=text, picture=False, closing=False)
        truth = animate(made.phonemes, loudness(analyse(made.audio).envelope))
        hits.append(closures(made.face, made.phonemes))
        free.append(closures(left.face, left.phonemes))
        late.append(lag(left.face, truth))
    return {
        "closure_hits": float(np.nanmean(hits)),
        "closure_hits_network": float(np.nanmean(free)),
        "lag_ms": 1000 * float(np.mean(late)),
        "lag_ms_worst": 1000 * float(max(late, key=abs)),
    }
