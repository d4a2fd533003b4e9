"""Which of ten memories guided this? And what does it cost?

A trial is ten memories that fit its prompt equally and differ in every other fact; one of them lies in the
store, among others of which the prompt knows nothing, and reaches the model by cross-attention alone. Who
tells them apart reads words by rules, or compares the colours of pixels with those of drawings; the embedder
has no part in it.
Combinations of facts are held out from training. The control judges the same results by shuffled memories.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..core.conditioning import NOTHING, Conditioning
from ..core.threads import one_thread
from ..engine import ArrowEngine
from ..image.pipeline import ImageInputs
from ..image.result import ImageResult
from ..image.sampling import ImageSampling, encode_captions, positions_after, seen_by
from ..memory.conditioner import MemoryConditioner
from ..memory.embed import default_embedder
from ..memory.store import ArrowStorage
from ..text.request import TextRequest
from ..text.result import TextResult
from ..train.data.gallery import curated
from ..train.data.pictures import ALL_TINTS, STYLE_PACKAGES, load_icons
from ..train.data.remembered import NOTES, Facts, PictureFacts, picture_rivals, rivals, which
from ..train.image.autoencoder import as_pixels
from ..train.memory_run import drawn
from ..weights.layout import MEMORY
from ..weights.shipped import MULTIMODAL
from .judges.features import colours
from .results import Measured, Measurement, Setting

TRIALS, QUICK = 200, 24
TEN = 10
OTHERS = 4  # memories that have nothing to do with the prompt
LONGEST = 144  # tokens of a story
PICTURE_STEPS = 16
ASKED = ("my favourite picture", "a picture that I like")
TURNS = 40  # of each timing
FIVE = 5


def text_trials(count: int, seed: int = 0) -> list[list[Facts]]:
    """Ten memories each, the first of a combination that no training has."""
    rng, found = random.Random(f"trials-{seed}"), list[list[Facts]]()
    while len(found) < count:
        ten = rivals(rng, TEN)
        found += [ten] if ten[0].held_out else []
    return found


def picture_trials(things: Sequence[str], count: int, seed: int = 0) -> list[list[PictureFacts]]:
    """As `text_trials`."""
    rng, found = random.Random(f"picture-trials-{seed}"), list[list[PictureFacts]]()
    while len(found) < count:
        ten = picture_rivals(rng, things, [*ALL_TINTS], [*STYLE_PACKAGES], TEN)
        found += [ten] if ten[0].held_out else []
    return found


def remembered(store: ArrowStorage, trials: Sequence[Sequence[Facts | PictureFacts]], name: str) -> None:
    """Puts the memory of each trial into a namespace of its own, among others about somebody else."""
    rng = random.Random(name)
    for number, ten in enumerate(trials):
        if isinstance(ten[0], Facts):
            told = [rivals(rng, 1)[0] for _ in range(OTHERS)]
            others = [one.sentence(rng) for one in told if one.kind != ten[0].kind]
        else:
            others = rng.sample(NOTES, OTHERS)
        texts = [ten[0].sentence(rng), *others]
        store.add_many({"text": text, "namespace": f"{name}-{number}"} for text in texts)


def chosen(found: Sequence[int | None], seed: int = 0) -> tuple[Measured, Measured]:
    """Share of trials whose judge names the memory that guided; and with the ten shuffled."""
    rng = random.Random(f"shuffled-{seed}")
    hits = [float(one == 0) for one in found]
    shuffled = [float(one is not None and one == rng.randrange(TEN)) for one in found]
    return Measured.mean(hits), Measured.mean(shuffled)


def guided_texts(engine: ArrowEngine, conditioner: MemoryConditioner, count: int) -> list[int | None]:
    """What the reader of words says of each trial."""
    trials, found = text_trials(count), list[int | None]()
    remembered(conditioner.store, trials, "text")
    for number, ten in enumerate(trials):
        guidance = conditioner.within({"namespace": f"text-{number}"}).get_condition(ten[0].prompt)
        request = TextRequest(ten[0].prompt, max_tokens=LONGEST, seed=number)
        *_, made = engine.text_pipeline.stream(request, 4, guidance.conditioning)
        assert isinstance(made, TextResult)
        found.append(which(made.text, ten))
    return found


def guided_pictures(
    engine: ArrowEngine, conditioner: MemoryConditioner, count: int, data: Path
) -> list[int | None]:
    """What the reader of pixels says of each trial.

    Raises:
        FileNotFoundError: no drawings. ImportError: nothing that renders them.
    """
    icons, every = load_icons(data)
    concepts = curated(every, engine.metadata.picture_groups)
    trials = picture_trials([one.label for one in concepts], count)
    remembered(conditioner.store, trials, "image")
    found = list[int | None]()
    for number, ten in enumerate(trials):
        prompt = ASKED[number % len(ASKED)]
        guidance = conditioner.within({"namespace": f"image-{number}"}).get_condition(
            prompt, modality="image"
        )
        inputs, sampling = ImageInputs(prompt), ImageSampling(steps=PICTURE_STEPS, seed=number)
        *_, made = engine.image_pipeline.stream(inputs, sampling, memories=guidance.conditioning)
        assert isinstance(made, ImageResult)
        drawings = as_pixels(np.stack([drawn(one, icons, concepts) for one in ten]))
        found.append(nearest(as_pixels(made.image[None]), drawings))
    return found


def nearest(seen: Tensor, drawings: Tensor) -> int:
    """Which of the drawings `(n, 3, h, w)` has the colours of a picture `(1, 3, h, w)`: cosine of the roots
    of their shares. Shapes were tried, too, and tell less of pictures as rough as these.
    """
    return int(torch.nn.functional.cosine_similarity(colours(seen), colours(drawings)).argmax())


def timed(*calls: Callable[[], object]) -> list[list[float]]:
    """Milliseconds of calls that take turns."""
    for call in calls:
        call()
    seconds = list[list[float]]([] for _ in calls)
    for _ in range(TURNS):
        for call, some in zip(calls, seconds, strict=True):
            clock = time.perf_counter()
            call()
            some.append(1000 * (time.perf_counter() - clock))
    return seconds


@torch.no_grad()
@one_thread()
def costs(engine: ArrowEngine, conditioner: MemoryConditioner) -> dict[str, Measured]:
    """Milliseconds of projecting five memories, and an evaluation with them over one without: the dearer one
    of a token of text behind 64 others, and of a picture with guidance.
    """
    rng = torch.Generator().manual_seed(0)
    trunk = engine.network.trunk
    width = next(iter(conditioner.projectors.values())).config.vector
    five = torch.nn.functional.normalize(torch.randn(1, FIVE, width, generator=rng), dim=-1)
    given = {name: one.conditioning(trunk, five) for name, one in conditioner.projectors.items()}
    projecting = timed(*(partial(one.conditioning, trunk, five) for one in conditioner.projectors.values()))
    evaluations = {"text": text_evaluation(engine), "image": image_evaluation(engine)}
    ratios = {}
    for name in given:
        calls = (partial(evaluations[name], one) for one in (given[name], NOTHING))
        with_them, without = timed(*calls)
        ratios[name] = Measured.median(with_them).over(Measured.median(without))
    dearest = max(ratios.values(), key=lambda one: one.value or 0.0)
    slowest = max((Measured.median(one) for one in projecting), key=lambda one: one.value or 0.0)
    return {"projection_ms": slowest, "evaluation_ratio": dearest}


def text_evaluation(engine: ArrowEngine) -> Callable[[Conditioning], object]:
    """Reads one token behind 64 others."""
    tokens, valid = torch.arange(100, 164)[None], torch.ones(1, 64, dtype=torch.bool)
    position = torch.arange(64.0)[None]
    _, cache = engine.network.prefill(tokens, position, valid)
    one = torch.tensor([[99]]), torch.tensor([[64.0]]), torch.ones(1, 1, dtype=torch.bool)
    return lambda given: engine.network.prefill(*one, given.with_(cache=cache))


def image_evaluation(engine: ArrowEngine) -> Callable[[Conditioning], object]:
    """Evaluates a picture with a caption, and without one, in one pass."""
    tokens = engine.tokenizer.encode("my favourite picture")
    said = encode_captions(engine.network, [tokens, tokens[:2]])
    place, x, t = {"image": positions_after(said.after)}, torch.zeros(2, 64, 64), torch.full((2,), 0.5)
    return lambda given: engine.network.flow(
        {"image": x}, {"image": t}, place, None, said.conditioning | seen_by(given, 1, 2)
    )


def measure_guidance(setting: Setting) -> Measurement:
    """The part of `bowstring bench memory` that asks what guided."""
    folder = setting.model or MULTIMODAL
    if not (folder / MEMORY).exists():
        return Measurement({}, (), dict.fromkeys(KEYS, f"{folder.name} has no projectors of memories"))
    found = Measurement({}, (folder / MEMORY,))
    count = QUICK if setting.quick else TRIALS
    with tempfile.TemporaryDirectory() as place, ArrowStorage(place, default_embedder()) as store:
        engine = ArrowEngine.load(folder, "cpu", memory=store)
        assert engine.conditioner is not None
        texts = guided_texts(engine, engine.conditioner, count)
        found.numbers |= dict(zip(KEYS[:2], chosen(texts), strict=True))
        try:
            pictures = guided_pictures(engine, engine.conditioner, count, setting.data)
            found.numbers |= dict(zip(KEYS[2:4], chosen(pictures), strict=True))
        except (ImportError, FileNotFoundError) as error:
            found.numbers |= dict.fromkeys(KEYS[2:4])
            found.missing |= dict.fromkeys(KEYS[2:4], str(error))
        found.numbers |= costs(engine, engine.conditioner)
    return found


KEYS = (
    *("guided_text", "guided_text_control", "guided_image", "guided_image_control"),
    *("projection_ms", "evaluation_ratio"),
)
