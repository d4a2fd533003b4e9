"""How good are speech and face, beside the teacher that the network learned from?

Harvard sentences are only measured: nothing is learned from them and nothing is chosen by them; choices are
made on `development`, sentences of held-out stories. The teacher's own sound is the ceiling; the same sound
through our codec says what the codec costs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..engine import ArrowEngine
from ..face.animate import animate, lag, loudness
from ..speech.alignment import Span
from ..speech.analysis import analyse
from ..speech.source_filter import noise_gated
from ..speech.stream import limited
from ..speech.utterance import SpeechSampling
from ..speech.voice import Warp
from ..train.data.corpora import corpus_documents
from ..train.data.sentences import HARVARD, sentences
from ..train.data.splits import RULE
from ..train.speech.files import load_utterances
from ..train.speech.flow import HELD_OUT_WARPS, TrainingUtterance, by_speaker, warped_utterance
from ..train.speech.reading import Reading, as_utterance
from ..train.speech.teacher import Teacher
from ..train.speech.voices import is_held_out_voice, is_mixture
from .judges.face import closings
from .judges.speech import (
    dnsmos_ovrl,
    mean_cosine,
    speaker_embedding,
    start_differences,
    transcribed,
    transcribed_words,
    word_error_rate,
)
from .results import Measured, announce, jackknife

STEP_COUNTS = (1, 2, 4, 8, 50)
CURVE_SENTENCES = 25  # of every point of a curve that no other number needs
REFERENCES, OTHERS = HARVARD[40:43], HARVARD[43:46]  # what voices are matched to, and compared with
SAMPLED = 0.7  # temperature of what is sampled and not the likeliest speech


def judge_speech(texts: Sequence[str], signals: Sequence[np.ndarray]) -> dict[str, Measured]:
    """Word error rate and mean opinion score."""
    return {
        "wer": word_error_rate(texts, [transcribed(signal) for signal in signals]),
        "dnsmos_ovrl": Measured.mean([dnsmos_ovrl(signal) for signal in signals]),
    }


def tagged(found: dict[str, Measured], name: str) -> dict[str, Measured]:
    """The same numbers of something else: `wer` becomes `wer_name`."""
    return {f"{key}_{name}": value for key, value in found.items()}


def development(data: Path, count: int) -> list[str]:
    """Sentences of stories that are kept from training and not tested: what choices are made on."""
    stories = [one for one in corpus_documents(data, "valid") if one.source == "story"]
    return sentences(stories, count, seed=1)


def measure_speech(engine: ArrowEngine, data: Path, *, quick: bool) -> tuple[dict[str, Any], dict[str, str]]:
    """Everything about speech and face, see the keys; and what is missing."""
    texts, teacher = HARVARD[: 8 if quick else 50], Teacher()
    readings = [next(teacher.read(text)) for text in texts]
    announce(f"speech: {len(texts)} sentences of the teacher, and through the codec")
    numbers: dict[str, Any] = tagged(
        judge_speech(texts, [limited(one.signal) for one in readings]), "teacher"
    )
    coder, sound = engine.speech_pipeline.coder.codec, engine.speech_pipeline.vocoder.sound
    coded = [sound(noise_gated(coder.decode(coder.encode(one.taken_apart())))) for one in readings]
    numbers |= tagged(judge_speech(texts, coded), "codec")
    numbers |= step_curves(engine, texts, (4, 50) if quick else STEP_COUNTS)
    chosen = development(data, len(texts))
    numbers |= tagged(judge_speech(chosen, [engine.say(text).audio for text in chosen]), "development")
    announce("speech: alignment")
    numbers |= alignment_numbers(engine, texts, readings)
    announce("speech: voices")
    numbers["similarity"] = similarity(engine, teacher)
    unseen, missing = unseen_voices(engine, data)
    announce("face")
    return numbers | unseen | face_numbers(engine, texts[: 4 if quick else 20]), missing


def step_curves(engine: ArrowEngine, texts: Sequence[str], counts: Sequence[int]) -> dict[str, Any]:
    """Words and sound by steps: of the likeliest speech, and of sampled speech, which starts from noise, so
    that steps have something to do. What four steps keep of fifty is of the sampled; points that stand in
    the curves alone are of fewer sentences.
    """
    default = SpeechSampling().steps
    curves: dict[float, dict[int, dict[str, Measured]]] = {}
    for temperature in (SpeechSampling().temperature, SAMPLED):
        curves[temperature] = {}
        for steps in sorted({*counts, default}):
            announce(f"speech: {steps} steps at temperature {temperature}")
            needed = steps == default or (temperature == SAMPLED and steps in (4, 50))
            some = texts if needed else texts[:CURVE_SENTENCES]
            signals = [engine.say(text, steps=steps, temperature=temperature).audio for text in some]
            curves[temperature][steps] = judge_speech(some, signals)
    likeliest, drawn = curves[SpeechSampling().temperature], curves[SAMPLED]
    right = lambda steps: drawn[steps]["wer"].mapped(lambda w: 1 - w, lambda _: -1.0)  # noqa: E731
    return {
        **likeliest[default],
        "wer_sampled": drawn[default]["wer"],
        "dnsmos_ovrl_sampled": drawn[default]["dnsmos_ovrl"],
        "speech_curve": {str(steps): row for steps, row in likeliest.items()},
        "speech_curve_sampled": {str(steps): row for steps, row in drawn.items()},
        "keep_4_of_50": {
            "words_sampled": right(4).over(right(50)),
            "dnsmos_sampled": drawn[4]["dnsmos_ovrl"].over(drawn[50]["dnsmos_ovrl"]),
        },
    }


def word_times(reading: Reading) -> list[Span]:
    """The words of what the teacher read, in its symbols, and when it says them."""
    ends = np.cumsum(reading.seconds)
    out, begin = [], 0
    for i in range(len(reading.symbols) + 1):
        if i == len(reading.symbols) or reading.symbols[i] == " ":
            if i > begin:
                out.append(Span(reading.symbols[begin:i], float(ends[begin]), float(ends[i])))
            begin = i + 1
    return out


def percentile(rows: Sequence[Sequence[float]], q: int) -> float:
    """Of all values of all rows."""
    return float(np.percentile(np.concatenate([*rows]), q))


def percentiles(name: str, differences: Sequence[Sequence[float]]) -> dict[str, Measured]:
    """Median and 95th percentile of what differs in each sentence, errors by leaving out sentences."""
    known = [some for some in differences if some]
    return {f"{name}_p{q}": jackknife(partial(percentile, q=q), known) for q in (50, 95)}


def alignment_numbers(
    engine: ArrowEngine, texts: Sequence[str], readings: Sequence[Reading]
) -> dict[str, Measured]:
    """How far our times of words are from those that an independent recogniser hears, milliseconds; the same
    of the teacher, whose own times are exact, says how well the recogniser knows.
    """
    ours, teachers = [], []
    for text, reading in zip(texts, readings, strict=True):
        made = engine.say(text)
        ours.append(start_differences(made.words, transcribed_words(made.audio)))
        spans, words = word_times(reading), text.split()
        if len(spans) == len(words):
            spelt = [Span(word, span.start, span.end) for word, span in zip(words, spans, strict=True)]
            teachers.append(start_differences(spelt, transcribed_words(reading.signal)))
    return percentiles("alignment_ms", ours) | percentiles("alignment_ms_teacher", teachers)


def similarity(engine: ArrowEngine, teacher: Teacher) -> dict[str, Measured]:
    """Cosines of voices: the same pseudo-speaker saying other sentences, another one saying the same, and
    ours matched to a few seconds; all of pseudo-speakers that were held out, and through one codec.
    """
    warps, sound = (Warp(), *HELD_OUT_WARPS), engine.speech_pipeline.vocoder.sound
    read = [[as_utterance(next(teacher.read(text))) for text in some] for some in (REFERENCES, OTHERS)]
    signals = [
        [[sound(noise_gated(warped_utterance(one, warp).frames)) for one in some] for some in read]
        for warp in warps
    ]
    recordings = [np.concatenate(references) for references, _ in signals]
    vectors = [[speaker_embedding(np.concatenate(some)) for some in pair] for pair in signals]
    cloned = [spoken_in(engine, recording) for recording in recordings[1:]]
    references, others = ([pair[i] for pair in vectors] for i in (0, 1))
    return {
        "same": mean_cosine(references[1:], others[1:]),
        "other": mean_cosine(references[1:], [others[2], others[1]]),
        "cloned": mean_cosine(references[1:], cloned),
        "cloned_by_the_other": mean_cosine(references[1:], cloned[::-1]),
    }


def spoken_in(engine: ArrowEngine, recording: np.ndarray | None) -> np.ndarray:
    """The voice of our speech when it is matched to a recording, or is our own."""
    return speaker_embedding(np.concatenate([engine.say(text, voice=recording).audio for text in OTHERS]))


def two_parts(utterances: Sequence[TrainingUtterance], sound: Callable[..., np.ndarray]) -> list[np.ndarray]:
    """What a voice says, through our codec, in two recordings."""
    signals = [sound(noise_gated(one.frames)) for one in utterances]
    middle = len(signals) // 2
    return [np.concatenate(some) for some in (signals[:middle], signals[middle:])]


def unseen_voices(engine: ArrowEngine, data: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Likeness to base voices that were held out, and to mixtures of them: `voice_unseen` matched to a
    recording, the worst of them `voice_unseen_min`; `voice_ignored` our own voice, which matches nothing; and
    why they are missing.
    """
    path = data / "voices.safetensors"
    pure = ("voice_unseen", "voice_ignored", "voice_same")
    names = (*pure, "voice_unseen_min", *(f"{name}_mixed" for name in pure))
    nothing: dict[str, Any] = {name: Measured(None, n=0) for name in names}
    if engine.metadata.split_rule != RULE:
        return nothing, {names[0]: "the model's training did not hold six voices out"}
    if not path.exists():
        return nothing, {names[0]: f"{path} is missing; make it with `bowstring data voices`"}
    of = by_speaker(filter(is_held_out_voice, load_utterances(path)))
    of = {speaker: some for speaker, some in of.items() if len(some) > 1}
    if not any(map(is_mixture, of)):
        return nothing, {names[0]: f"{path} has no mixtures of voices; delete it and make it anew"}
    pairs = [two_parts(some, engine.speech_pipeline.vocoder.sound) for some in of.values()]
    references = [speaker_embedding(first) for first, _ in pairs]
    likeness = [
        float(one @ spoken_in(engine, first)) for one, (first, _) in zip(references, pairs, strict=True)
    ]
    own = spoken_in(engine, None)
    rows = {
        "unseen": likeness,
        "ignored": [float(one @ own) for one in references],
        "same": [
            float(one @ speaker_embedding(second)) for one, (_, second) in zip(references, pairs, strict=True)
        ],
    }
    mixed = np.array([*map(is_mixture, of)])
    alone = {f"voice_{name}": Measured.mean(np.array(row)[~mixed]) for name, row in rows.items()}
    return alone | {
        "voice_unseen_min": Measured(float(np.array(likeness)[~mixed].min()), n=int((~mixed).sum())),
        **{f"voice_{name}_mixed": Measured.mean(np.array(row)[mixed]) for name, row in rows.items()},
    }, {}


def face_numbers(engine: ArrowEngine, texts: Sequence[str]) -> dict[str, Measured]:
    """Closures of p, b and m beside open vowels, with the constraint, of the network alone, and of a face
    that never opens; and how late the network's jaw is, against the rule that taught the face, given the same
    times.
    """
    hits: dict[str, list[float]] = {"closures": [], "closures_network": [], "closures_control": []}
    late = []
    for text in texts:
        made = engine.converse("a face", text=text, picture=False)
        free = engine.converse("a face", text=text, picture=False, closing=False)
        truth = animate(made.phonemes, loudness(analyse(made.audio).envelope))
        for name, face in zip(hits, (made.face, free.face, np.zeros_like(made.face)), strict=True):
            hits[name] += closings(face, made.phonemes)
        late.append(1000 * lag(free.face, truth))
    return {name: Measured.mean(found) for name, found in hits.items()} | {
        "lag_ms": Measured.mean(late),
        "lag_ms_worst": Measured(max(late, key=abs), n=len(late)),
    }
