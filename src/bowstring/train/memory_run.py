"""`bowstring train memory`: reads what ships, makes what is learned from, trains, writes projectors."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..image.autoencoder import INSIDE
from ..image.sampling import caption_tokens
from ..image.weights import load_autoencoder
from ..memory.record import Embedder
from ..nn.memory import MemoryProjector, ProjectorConfig, slots
from ..nn.network import UnifiedScoreNetwork
from ..text.tokenizer import TextTokenizer
from ..text.weights import load_model
from ..weights.adapters import base_hash
from ..weights.format.parquet import WeightsFile, write
from ..weights.layout import MEMORY, TRUNK, find
from ..weights.memory import save_projectors
from ..weights.metadata import read_metadata
from ..weights.quant.packed import unpacked
from ..weights.shipped import MULTIMODAL
from ..weights.tensors import as_torch, from_torch
from .data.gallery import curated
from .data.pictures import ALL_TINTS, STYLE_PACKAGES, Concept, Icons, load_icons, render_icon, tinted
from .data.remembered import PICTURE_PROMPTS, Facts, PictureFacts, rivals
from .image.autoencoder import as_pixels
from .memory import Places, fit, image_loss, joined, text_loss, text_places
from .progress import tell
from .schedule import Run

TEXTS, PICTURES = 3000, 2400
TEXT_STEPS, IMAGE_STEPS = 3000, 900
WAYS = 4  # to tell each memory
TEXT_SHARE = 0.25  # of a wall-clock budget
RATE = 3e-3


def remembered_facts(count: int = TEXTS, seed: int = 0) -> list[Facts]:
    """What texts are learned from; combinations that are held out are not among it."""
    rng, found = random.Random(f"facts-{seed}"), list[Facts]()
    while len(found) < count:
        found += (one for one in rivals(rng, 1) if not one.held_out)
    return found


def remembered_pictures(
    concepts: Sequence[Concept], count: int = PICTURES, seed: int = 0
) -> list[PictureFacts]:
    """What pictures are learned from; combinations that are held out are not among it."""
    rng, found = random.Random(f"pictures-{seed}"), list[PictureFacts]()
    choices = ([one.label for one in concepts], [*ALL_TINTS], [*STYLE_PACKAGES])
    while len(found) < count:
        one = PictureFacts(*(rng.choice(some) for some in choices))
        found += [] if one.held_out else [one]
    return found


def drawn(facts: PictureFacts, icons: Icons, concepts: Sequence[Concept], side: int = INSIDE) -> np.ndarray:
    """The picture that a memory tells of, `(side, side, 3)` bytes: an icon in shades of a colour."""
    name = next(one.name for one in concepts if one.label == facts.thing)
    wide = round(0.92 * side)
    canvas = Image.new("RGBA", (side, side), (255, 255, 255, 255))
    icon = tinted(render_icon(icons.drawings[facts.style][name], wide), facts.colour)
    canvas.alpha_composite(icon, ((side - wide) // 2,) * 2)
    return np.asarray(canvas.convert("RGB"))


def kept(path: Path, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """Tensors that are made once and then read from a file."""
    if not path.exists():
        write(path, ((name, from_torch(one)) for name, one in make().items()), {})
    file = WeightsFile(path)
    file.verify()
    return {name: as_torch(file, name) for name in file}


@torch.no_grad()
def latents_of(facts: Sequence[PictureFacts], data: Path, model: Path) -> dict[str, Tensor]:
    """Tokens `(n, 64, 64)` of pictures."""
    autoencoder, (icons, concepts) = load_autoencoder(model), load_icons(data)
    parts = []
    for first in range(0, len(facts), 16):
        pictures = [drawn(one, icons, concepts) for one in facts[first : first + 16]]
        parts.append(autoencoder.encode(as_pixels(np.stack(pictures))).half())
    return {"latents": torch.cat(parts)}


def vectors_of(facts: Sequence[Facts] | Sequence[PictureFacts], embedder: Embedder, seed: int = 0) -> Tensor:
    """What an embedder makes of sentences about each, `(n, v, w)`."""
    told = []
    for number in range(WAYS):
        rng = random.Random(f"sentences-{seed + number}")
        told.append(torch.from_numpy(embedder([one.sentence(rng) for one in facts])))
    return torch.stack(told, 1)


def text_projector(
    network: UnifiedScoreNetwork, tokenizer: TextTokenizer, embedder: Embedder, run: Run
) -> MemoryProjector:
    """Learns how memories reach texts."""
    facts = remembered_facts()
    tell("reading stories; the first time takes some minutes")
    stored = kept(run.out / "places.parquet", lambda: vars(joined([*text_places(network, tokenizer, facts)])))
    places = Places(**{name: stored[name] for name in Places.__dataclass_fields__})
    width, vectors = network.config.width, vectors_of(facts, embedder)
    torch.manual_seed(0)
    projector = MemoryProjector(ProjectorConfig(width, embedder.width, (slots(network.trunk)[-1],)))
    fit(projector, text_loss(network, projector, places, vectors), run, TEXT_STEPS, RATE)
    return projector


def image_projector(
    network: UnifiedScoreNetwork,
    tokenizer: TextTokenizer,
    embedder: Embedder,
    data: Path,
    run: Run,
    model: Path,
) -> MemoryProjector:
    """Learns how memories reach pictures, drawn and encoded as the model's are."""
    facts = remembered_pictures(curated(load_icons(data)[1], read_metadata(model).picture_groups))
    tell("drawing pictures and encoding them; the first time takes some minutes")
    latents = kept(run.out / "pictures.parquet", lambda: latents_of(facts, data, model))["latents"]
    prompts = [caption_tokens(tokenizer, prompt) for prompt in PICTURE_PROMPTS]
    width, vectors = network.config.width, vectors_of(facts, embedder)
    torch.manual_seed(1)
    layers = tuple(slots(network.trunk))
    projector = MemoryProjector(ProjectorConfig(width, embedder.width, layers, 8, tokens=False))
    fit(projector, image_loss(network, projector, prompts, latents, vectors), run, IMAGE_STEPS, RATE)
    return projector


def part_of(run: Run, name: str, share: float) -> Run:
    """A training of its own within a run."""
    out = run.out / name
    out.mkdir(parents=True, exist_ok=True)
    return replace(run, out=out, seconds=None if run.seconds is None else share * run.seconds)


def train_memory(data: Path, run: Run, embedder: Embedder, model: Path = MULTIMODAL) -> None:
    """Trains the projectors of a model that has all heads, by default the one that ships."""
    packed_network, tokenizer, _ = load_model(model)
    network = unpacked(packed_network).requires_grad_(requires_grad=False)
    text = text_projector(network, tokenizer, embedder, part_of(run, "text", TEXT_SHARE))
    part = part_of(run, "image", 1 - TEXT_SHARE)
    image = image_projector(network, tokenizer, embedder, data, part, model)
    path = run.out / MEMORY
    projectors = {"text": text, "image": image}
    save_projectors(path, projectors, base_hash(find(model, TRUNK)), embedder.identity)
    tell(f"{path} written; it belongs into the folder of the model")
