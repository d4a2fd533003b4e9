"""Plans of several trainings: what hangs on a trunk, and everything from nothing; see docs/TRAINING.md."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ..train.plan import Stage
from ..train.schedule import Run

Needs = tuple[tuple[Path, str], ...]
SPOKEN = "speech.safetensors", "voices.safetensors"
CALIBRATED = 600  # prompts of a kind that a model is calibrated on, if there is time


def made_by(data: Path, *names: str) -> Needs:
    """Files of data, with the commands that make them."""
    ways = {
        "text.jsonl.gz": "`bowstring data text`",
        "code.jsonl.gz": "`bowstring data code --download`, then `bowstring data checked`",
        "pairs.jsonl.gz": "`bowstring data pairs --download`",
        "speech.safetensors": "`bowstring data speech`, with the extra voices",
        "voices.safetensors": "`bowstring data voices --download`, with the extra more-voices",
    }
    icons = [next(iter(sorted(data.glob("iconify-json-noto-*.tgz"))), data / "iconify-json-noto.tgz")]
    found = {"icons": (icons[0], "`bowstring data pictures --download`")}
    found |= {name: (data / name, way) for name, way in ways.items()}
    return tuple(found[name] for name in names)


def newest(out: Path, start: Path, *stages: str) -> Path:
    """The model of the last of these stages that there is, else the one that all begin with."""
    made = [out / name / "model" for name in reversed(stages)]
    return next((one for one in made if one.exists()), start)


def attached(start: Path, data: Path, out: Path) -> list[Stage]:
    """What is trained anew for a trunk: durations, face, postfilter, encoder, memories, controls, and at last
    the model with all of it, calibrated. No adapter drafts yet; one that does belongs before the controls.
    """
    texts, speech = made_by(data, "text.jsonl.gz", "code.jsonl.gz"), made_by(data, "speech.safetensors")

    def durations(run: Run) -> None:
        from ..train.speech.durations import train_durations

        train_durations(data, run, start)

    def face(run: Run) -> None:
        from ..train.face.run import train_face

        train_face(data, run, before=newest(out, start, "durations"))

    def postfilter(run: Run) -> None:
        from ..train.speech.run import train_postfilter

        train_postfilter(data, run, before=newest(out, start, "durations", "face"))

    def encode(run: Run) -> None:
        from ..train.encode.run import train_encode

        train_encode(data, run)

    def memory(run: Run) -> None:
        from ..memory.embed import TextEncoder, default_embedder, embedder_of
        from ..train.memory_run import train_memory

        own = out / "encode" / "encoder"
        embedder = embedder_of(own, TextEncoder.load(own)) if own.exists() else default_embedder()
        train_memory(data, run, embedder, start)

    def control(lesson: str, run: Run) -> None:
        from ..train.adapt.control import train_control

        train_control(lesson, run, start)

    return [
        Stage("durations", 8, durations, "how long sounds last", speech),
        Stage("face", 12, face, "the head of the face", speech),
        Stage("postfilter", 25, postfilter, "the vocoder's second half", texts),
        Stage("encode", 45, encode, "what texts mean", made_by(data, "pairs.jsonl.gz")),
        Stage("memory", 35, memory, "how memories reach the trunk", made_by(data, "icons")),
        Stage("structure", 8, partial(control, "structure"), "plans and steps"),
        Stage("tools", 8, partial(control, "tools"), "calls"),
        Stage(
            "model", 15, partial(assembled, start, data, out), "all of it in one folder, calibrated", texts
        ),
    ]


def assembled(start: Path, data: Path, out: Path, run: Run) -> None:
    """The model with what was trained for it; calibrated as far as the budget reaches."""
    from ..engine.calibration import calibrate_model
    from ..weights.layout import CALIBRATION, MEMORY

    before, model = newest(out, start, "durations", "face", "postfilter"), run.out / "model"
    shutil.copytree(before, model, dirs_exist_ok=True)
    if (projector := out / "memory" / MEMORY).exists():
        (model / MEMORY).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(projector, model / MEMORY)
    minutes = (run.seconds or 0) / 60
    calibrate_model(model, data, max(16, min(CALIBRATED, round(40 * minutes)))).write(model / CALIBRATION)


def by_steps(work: Callable[[Run], Any]) -> Callable[[Run], None]:
    """A training that counts steps, so that a rival may see as much; its minutes are an estimate."""
    return lambda run: work(refusing(replace(run, seconds=None)))


def refusing(run: Run) -> Run:
    """For trainings that have their network from their first step on, and so cannot write it anew."""
    return replace(run, rewrites=False)


def everything(data: Path, out: Path) -> list[Stage]:
    """From nothing to a model with all heads: text and its twin, pictures and speech, few steps, few bits,
    then what hangs on the trunk.
    """
    texts = made_by(data, "text.jsonl.gz", "code.jsonl.gz")
    heard = (*texts, *made_by(data, "icons", *SPOKEN))

    def text(name: str, run: Run) -> None:
        from ..train.text.run import train_text

        train_text(name, data, run)

    def autoencoder(run: Run) -> None:
        from ..train.image.run import train_autoencoder

        train_autoencoder(data, refusing(run))

    def speaker(run: Run) -> None:
        from ..train.speech.speaker import train_speaker

        train_speaker(data, refusing(run))

    def multimodal(start: str, seed: int, run: Run) -> None:
        from ..train.joint.run import train_multimodal

        train_multimodal(
            data, run, start=out / start / "model", seed=seed, teacher=out / "text-orders" / "model"
        )

    def shortcut(run: Run) -> None:
        from ..train.joint.run import train_shortcut

        train_shortcut(data, run, teacher=out / "text-orders" / "model")

    def int4(run: Run) -> None:
        from ..train.text.run import quantise_model

        quantise_model(run.out / "model", 4, 0, data, out / "shortcut" / "model", run.device)

    def fields(run: Run) -> None:
        from ..train.fields import train_fields

        train_fields(out / "field-data", refusing(run))

    orders = "all orders in blocks of 4 and 8"
    return [
        Stage("text", 150, by_steps(partial(text, "text")), "the next token, then blocks", texts),
        Stage("text-orders", 105, by_steps(partial(text, "text-orders")), orders, texts),
        Stage("text-baseline", 40, by_steps(partial(text, "text-baseline")), "its twin", texts),
        Stage("text-orders-baseline", 60, by_steps(partial(text, "text-orders-baseline")), "its twin", texts),
        Stage("autoencoder", 45, autoencoder, "the codec of pictures", made_by(data, "icons")),
        Stage("speaker", 10, speaker, "who tells voices apart", made_by(data, *SPOKEN)),
        Stage("multimodal-1", 110, partial(multimodal, "text-orders", 0), "pictures and speech", heard),
        Stage("multimodal-2", 90, partial(multimodal, "multimodal-1", 1), "the same, text replayed", heard),
        Stage("multimodal", 90, partial(multimodal, "multimodal-2", 2), "the same, text replayed", heard),
        Stage("shortcut", 35, shortcut, "few steps", heard),
        Stage("int4", 3, int4, "few bits", texts),
        Stage("fields", 60, fields, "physical fields"),
        *attached(out / "int4" / "model", data, out),
    ]
