"""How long does a user wait: for a model, for the first story, for a picture, for speech, for all at once?

`first_story_s` is the whole command in a cold process, the interpreter's start and all imports with it. The
others are medians in a process of their own with the model loaded and everything made once before.
`converse_s` is for `spoken_s` of speech with a face and a picture; `speech_5s_s` is five times the seconds of
one second; `first_sound_s` is from the call of a conversation, whose text is yet to be written, to its first
sound. `wheel_mb` is the package's files, deflated as a wheel is, `edge_mb` a folder that
was exported for the edge.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..engine import ArrowEngine
from ..engine.export import export_edge, megabytes
from ..speech.pipeline import SpeechFrame
from ..weights.layout import weights_files
from ..weights.shipped import DATA, EDGE_TEXT, MULTIMODAL, SHIPPED, model_folder
from .loading import loading
from .report import resident_mb
from .results import Measured, Measurement, Setting, announce

TEXT_TO_SAY = (
    "The old fox sat by the river and told a story about the moon. "
    "The children laughed, and then all of them went to bed."
)


def first_story(model: Path | None, runs: int) -> Measured:
    """Seconds of `bowstring run` from its start to its end."""
    command = [sys.executable, "-m", "bowstring", "run", "a story about a fox"]
    command += ["--model", str(model)] if model else []
    taken = []
    for _ in range(runs):
        began = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        taken.append(time.perf_counter() - began)
    return Measured.median(taken)


def seconds_each(make: Callable[[int], Any], runs: int) -> tuple[list[float], Any]:
    """Seconds of making a thing with several seeds, after one that does not count; and the last thing."""
    made, out = make(0), []
    for seed in range(runs):
        began = time.perf_counter()
        made = make(seed)
        out.append(time.perf_counter() - began)
    return out, made


def picture_seconds(engine: ArrowEngine, runs: int) -> dict[str, list[float]]:
    """Of a picture in 4 and in 50 steps, and of its decoding."""
    paint = lambda steps: lambda seed: engine.image("a sleepy fox", style="noto", steps=steps, seed=seed)  # noqa: E731
    four, picture = seconds_each(paint(4), runs)
    fifty, _ = seconds_each(paint(50), max(2, runs // 2))
    return {"image_s_4": four, "image_s_50": fifty, "image_decode_s": [picture.seconds[-1]]}


def speech_seconds(engine: ArrowEngine, runs: int) -> dict[str, list[float]]:
    """Of a second of speech, and of a conversation about something."""
    saying, sound = seconds_each(lambda seed: engine.say(TEXT_TO_SAY, seed=seed), runs)
    spoken = len(sound.audio) / sound.rate
    answering, _ = seconds_each(
        lambda seed: engine.converse("a sleepy fox", text=TEXT_TO_SAY, seed=seed), runs
    )
    first, _ = seconds_each(lambda seed: first_sound(engine, seed), runs)
    rtf = [seconds / spoken for seconds in saying]
    return {
        "rtf": rtf,
        "speech_5s_s": [5 * one for one in rtf],
        "spoken_s": [spoken],
        "converse_s": answering,
        "first_sound_s": first,
    }


def first_sound(engine: ArrowEngine, seed: int) -> SpeechFrame:
    """A conversation as far as its first sound."""
    for frame in engine.converse_stream("a sleepy fox", seed=seed):
        if isinstance(frame, SpeechFrame) and len(frame.audio):
            return frame
    raise RuntimeError("a conversation ended without a sound")


def wheel_mb() -> float:
    """Megabytes of the package, deflated file by file."""
    size, place = 0, DATA.parent
    for path in place.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            size += len(zlib.compress(path.read_bytes()))
    return size / 1e6


def edge_mb() -> float | None:
    """Megabytes of what `bowstring export --tier edge` writes, where there is a model of text at 2 bits."""
    if not EDGE_TEXT.is_dir():
        return None
    with tempfile.TemporaryDirectory() as place:
        return megabytes(export_edge(Path(place) / "edge", EDGE_TEXT, MULTIMODAL))


MEASUREMENTS = {"pictures": picture_seconds, "speech": speech_seconds}


def print_part(part: str, model: Path, runs: int) -> None:
    """What `part_alone` runs in its process."""
    engine = ArrowEngine.load(model)
    print(json.dumps(MEASUREMENTS[part](engine, runs) | {"rss_mb": [resident_mb()]}))


def part_alone(part: str, model: Path, runs: int) -> dict[str, list[float]]:
    """Seconds, and the memory that it took, in a process of its own."""
    command = [sys.executable, "-m", "bowstring.eval.speed", part, str(model), str(runs)]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout)


def measure_speed(setting: Setting) -> Measurement:
    """`bowstring bench speed` of the shipped model with all modalities, or of another one."""
    model, quick = model_folder(setting.model or MULTIMODAL), setting.quick
    announce("loading")
    numbers: dict[str, Any] = loading(3 if quick else 9)
    announce("the first story")
    numbers["first_story_s"] = first_story(setting.model, 2 if quick else 5)
    memory = []
    for part in MEASUREMENTS:
        announce(part)
        found = part_alone(part, model, 3 if quick else 7)
        memory += found.pop("rss_mb")
        numbers |= {name: Measured.median(values) for name, values in found.items()}
    numbers["wheel_mb"], numbers["edge_mb"] = Measured(wheel_mb()), Measured(edge_mb())
    numbers["rss_mb"] = Measured(max(memory), n=len(memory))
    missing = {} if EDGE_TEXT.is_dir() else {"edge_mb": f"{EDGE_TEXT} is in a checkout alone"}
    return Measurement(numbers, [*weights_files(model), *weights_files(SHIPPED)], missing)


if __name__ == "__main__":
    print_part(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
