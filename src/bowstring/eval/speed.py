"""How long does a user wait for a picture, for speech, for all at once? Medians in a quiet process.

Each figure is of a fresh process with the model loaded and everything made once before. `converse_s` is for
`spoken_s` of speech with a face and a picture; `speech_5s_s` is five times the seconds of one second.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from ..weights.shipped import MULTIMODAL

PAINT = """
import json, resource, statistics, sys, time
from bowstring.engine import ArrowEngine
engine = ArrowEngine.load(sys.argv[1])
def timed(steps, runs):
    engine.image("a sleepy fox", steps=steps)
    out = []
    for seed in range(runs):
        began = time.perf_counter()
        result = engine.image("a sleepy fox", style="noto", steps=steps, seed=seed)
        out.append(time.perf_counter() - began)
    return statistics.median(out), result
four, _ = timed(4, 7)
before = engine.network.forwards
fifty, result = timed(50, 3)
print(json.dumps({
    "image_s_4": four,
    "image_s_50": fifty,
    "image_decode_s": result.seconds[-1],
    "forwards_per_step": (engine.network.forwards - before - 4) / (4 * 50),
    "image_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
}))
"""


SPEAK = """
import json, statistics, sys, time
from bowstring.engine import ArrowEngine
engine = ArrowEngine.load(sys.argv[1])
text = "The old fox sat by the river and told a story about the moon. " \
    "The children laughed, and then all of them went to bed."
engine.say(text)
engine.converse("a sleepy fox", text=text)
said, answered = [], []
for seed in range(5):
    began = time.perf_counter()
    sound = engine.say(text, seed=seed)
    said.append((time.perf_counter() - began) / (len(sound.audio) / sound.rate))
    began = time.perf_counter()
    answer = engine.converse("a sleepy fox", text=text, seed=seed)
    answered.append(time.perf_counter() - began)
rtf = statistics.median(said)
print(json.dumps({
    "rtf": rtf,
    "speech_5s_s": 5 * rtf,
    "spoken_s": len(sound.audio) / sound.rate,
    "converse_s": statistics.median(answered),
    "converse_forwards_per_step": answer.forwards / answer.steps,
}))
"""


def measure(
    quick: bool = False,  # noqa: FBT001
    data: Path | None = None,
    baseline: Path | None = None,
    model: Path | None = None,
) -> dict[str, Any]:
    """`bowstring bench speed` of the shipped model with all heads, or of another one."""
    model = model or MULTIMODAL
    numbers: dict[str, Any] = {"load": os.getloadavg()[0]}
    for program in (PAINT, SPEAK):
        command = [sys.executable, "-c", program, str(model)]
        numbers |= json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return numbers
