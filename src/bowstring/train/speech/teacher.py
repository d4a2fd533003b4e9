"""What the speech of the trunk is learned from: a small synthesiser reads sentences and says how long every
sound took. Its voice and code are the package hibari-tts (Apache-2.0); only data builders touch it.

Durations are a value inside its graph; it is made an output.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from ...speech.source_filter import RATE
from ..data.corpora import Document
from ..data.sentences import sentences
from .files import load_utterances, save_utterances
from .flow import TrainingUtterance
from .reading import Reading, as_utterance

DURATION_UNIT = 600  # samples of a unit of its durations
TEACHER_DURATIONS = "/Clip_output_0"  # one for each of its ids
TEACHER_SENTENCES = 2600
TEXTS_PER_TASK = 20  # sentences that a process reads at a time


def timed_session(graph: Any, outputs: Iterable[str], where: str) -> Any:
    """Runs a graph on one thread, further values inside it being outputs, too.

    Raises:
        ValueError: it computes no such value, so it is another version.
    """
    import onnx
    import onnxruntime

    made = {name for node in graph.graph.node for name in node.output}
    for name in outputs:
        if name not in made:
            raise ValueError(f"{where} computes no {name}; expected the version that pyproject.toml names")
        graph.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph.SerializeToString(), options)


class Teacher:
    """Reads aloud with exact times.

    Raises:
        ImportError: hibari-tts, onnx or onnxruntime is not installed.
        ValueError: another version of the voice, without the durations that are looked for.
    """

    def __init__(self) -> None:
        import hibari
        import onnx

        self.voice = hibari.Hibari()
        graph = onnx.load(self.voice.model_path)
        self.session = timed_session(graph, [TEACHER_DURATIONS], self.voice.model_path)

    def phonemes(self, text: str) -> Iterator[tuple[str, np.ndarray]]:
        """Every sentence of a text: its symbols, and the numbers that graphs know them by, `(1, p + 2)`."""
        for symbols in self.voice.phonemize(text):
            kept = "".join(c for c in symbols if c in self.voice.vocab)
            yield kept, np.array([self.voice.ids(symbols)], np.int64)

    def read(self, text: str, seed: int = 0) -> Iterator[Reading]:
        """Every sentence of a text."""
        from hibari import dsp

        for symbols, ids in self.phonemes(text):
            *parts, durations = self.session.run(None, {"ids": ids, "speed": np.ones(1, np.float32)})
            signal = dsp.synth(*(part[0] for part in parts), np.random.default_rng(seed))
            yield Reading(symbols, durations.reshape(-1) * DURATION_UNIT / RATE, signal, parts[5][0])


def short_utterances(readings: Iterable[Reading]) -> list[TrainingUtterance]:
    """Those that are not too long to be learned from."""
    return [as_utterance(one) for one in readings if one.is_short]


def utterances_of(texts: list[str], teacher: Teacher | None = None) -> list[TrainingUtterance]:
    """Every sentence that is not too long, read and taken apart."""
    teacher = teacher or Teacher()
    return short_utterances(reading for text in texts for reading in teacher.read(text))


def build_speech(
    documents: Iterable[Document], path: Path, count: int = TEACHER_SENTENCES
) -> list[TrainingUtterance]:
    """Utterances of `count` sentences, from `path` if they lie there; two processes read."""
    if path.exists():
        return load_utterances(path)
    texts = sentences(documents, count)
    chunks = [texts[i : i + TEXTS_PER_TASK] for i in range(0, len(texts), TEXTS_PER_TASK)]
    out: list[TrainingUtterance] = []
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for part in track(pool.map(utterances_of, chunks), "reading aloud", total=len(chunks)):
            out += part
    save_utterances(path, out)
    return out
