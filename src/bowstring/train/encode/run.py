"""`bowstring train encode`: pairs in, a teacher's vectors, an encoder out."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from ...memory.embed import Sizes, padded
from ...memory.minilm import minilm_folder, tokenizer_in
from ..data.notes import note_pairs, things
from ..data.pairs import NOTES, Pair, load_pairs
from ..data.wordnet import synsets
from ..loop import apply_gradients, set_rate, training_steps
from ..optim import Muon, mixed
from ..progress import TrainingLog, tell
from ..schedule import Moment, Run, warm_up_share
from .losses import contrast, distance, interchangeable, relations
from .teacher import teacher_vectors
from .tower import Tower, own_tokenizer, zipf_shares

STEPS = 3000
PAIRS = 128  # of one step
RATE, WARM_UP = 2e-3, 50
ENTRY_SHARE = 0.5  # of the rate at which entries learn
LONGEST = 96  # tokens of a text in training
VOCABULARY = 16_000  # notes speak of things whose words are among so many commonest
MIX = {  # how often a kind comes, and how much what belongs together counts in it
    "word": (4, 0.3),
    "example": (3, 0.3),
    "note": (3, 0.5),
    "passage": (3, 0.3),
    "topic": (1, 0.3),
    "title": (1, 0.3),
    "opening": (1, 0.3),
    "function": (2, 0.5),
    "chat": (2, 0.0),
    "sentence": (1, 0.0),
}
DISTANCE, RELATIONS = 8.0, 1.0  # weights of the losses
CYCLE = tuple(kind for kind, (often, _) in MIX.items() for _ in range(often))


@dataclass(frozen=True)
class Texts:
    """Pairs of one kind as ids of pieces, with the teacher's vectors `(n, d)` of both sides."""

    left: list[list[int]]
    right: list[list[int]]
    taught_left: np.ndarray
    taught_right: np.ndarray


def learned_pairs(data: Path) -> dict[str, list[Pair]]:
    """Pairs to learn from, by kind; single texts come in pairs by chance."""
    kinds: dict[str, list[Pair]] = {kind: [] for kind in MIX}
    for one in load_pairs(data):
        if one.split == "train":
            kinds[one.kind].append(one)
    ranks = tokenizer_in(minilm_folder()).get_vocab()
    slots = things([*synsets(data)], ranks, VOCABULARY)
    kinds["note"] = [Pair("note", "train", *both) for both in note_pairs(slots, NOTES)]
    for kind in ("chat", "sentence"):
        alone = [one.left for one in kinds[kind]]
        half = len(alone) // 2
        kinds[kind] = [Pair(kind, "train", a, b) for a, b in zip(alone[:half], alone[half:], strict=False)]
    return kinds


def prepared(pairs: Sequence[Pair], tokenizer: Tokenizer, cache: Path) -> Texts:
    several = [*dict.fromkeys(text for one in pairs for text in (one.left, one.right))]
    place = {text: i for i, text in enumerate(several)}
    vectors = teacher_vectors(several, cache)
    ids = [one.ids[:LONGEST] for one in tokenizer.encode_batch(several)]
    left, right = ([place[getattr(one, side)] for one in pairs] for side in ("left", "right"))
    return Texts([ids[i] for i in left], [ids[i] for i in right], vectors[left], vectors[right])


def batch(texts: Texts, occurrence: int, seed: int) -> tuple[list[list[int]], Tensor]:
    """Ids and the teacher's vectors of a step's pairs, left sides first; each pass takes all pairs once."""
    size = min(PAIRS, len(texts.left))
    passes = len(texts.left) // size
    order = np.random.default_rng([seed, occurrence // passes]).permutation(len(texts.left))
    chosen = order[occurrence % passes * size :][:size]
    taught = np.concatenate([texts.taught_left[chosen], texts.taught_right[chosen]])
    rows = [texts.left[i] for i in chosen] + [texts.right[i] for i in chosen]
    return rows, torch.nn.functional.normalize(torch.from_numpy(taught.astype(np.float32)), dim=-1)


def encoded(tower: Tower, rows: Sequence[Sequence[int]], device: torch.device) -> Tensor:
    """Vectors of rows of ids; each side of the pairs is padded for itself."""
    half, parts = len(rows) // 2, []
    for side in (rows[:half], rows[half:]):
        tokens, valid = (torch.from_numpy(one).to(device) for one in padded(side))
        parts.append(tower(tokens, valid))
    return torch.cat(parts)


def loss_of(tower: Tower, rows: Sequence[Sequence[int]], taught: Tensor, belongs: float) -> Tensor:
    taught = taught.to(tower.out.device)
    with mixed(taught.device):
        ours = encoded(tower, rows, taught.device)
    half = len(ours) // 2
    loss = DISTANCE * distance(ours, taught) + RELATIONS * relations(ours, taught)
    if belongs:
        alike = interchangeable(taught[:half], taught[half:])
        loss = loss + belongs * contrast(ours[:half], ours[half:], alike)
    return loss


def optimisers_of(tower: Tower) -> tuple[torch.optim.Optimizer, ...]:
    """Muon for the matrices of the layers, AdamW for the rest, entries more slowly."""
    matrices = [one for one in tower.layers.parameters() if one.ndim == 2]
    others = [one for name, one in tower.named_parameters() if "layers" not in name and name != "entries"]
    others += [one for one in tower.layers.parameters() if one.ndim == 1]
    groups: list[dict[str, Any]] = [{"params": others}, {"params": [tower.entries], "share": ENTRY_SHARE}]
    return Muon(matrices, RATE, 0.01), torch.optim.AdamW(groups, RATE, betas=(0.9, 0.98), weight_decay=0.0)


def rate_at(moment: Moment) -> float:
    return RATE * min(warm_up_share(moment, STEPS, WARM_UP), 1.0, 1.25 * (1 - moment.share) + 0.01)


def fit(
    tower: Tower, kinds: dict[str, Texts], run: Run, seed: int = 0
) -> Iterator[tuple[Moment, str, float]]:
    """Trains in place, yielding (moment, kind, loss); goes on from `run.out`."""
    optimiser = optimisers_of(tower)
    cycle = [kind for kind in CYCLE if kind in kinds]
    random.Random(seed).shuffle(cycle)
    for moment in training_steps(STEPS, run, tower, optimiser):
        round_, place = divmod(moment.step, len(cycle))
        kind = cycle[place]
        occurrence = round_ * cycle.count(kind) + cycle[:place].count(kind)
        set_rate(optimiser, rate_at(moment))
        loss = loss_of(tower, *batch(kinds[kind], occurrence, seed), MIX[kind][1])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(tower.parameters(), 5.0)
        apply_gradients(optimiser)
        yield moment, kind, loss.item()


def new_tower(teacher: Tokenizer, cache: Path) -> tuple[Tower, Tokenizer]:
    tokenizer, pieces = own_tokenizer(teacher)
    torch.manual_seed(0)
    tower = Tower(Sizes(len(pieces)))
    alone = teacher_vectors([piece.removeprefix("##") for piece in pieces], cache)
    tower.begin(alone.astype(np.float32), zipf_shares(pieces))
    return tower, tokenizer


def train_encode(data: Path, run: Run) -> None:
    """Writes the encoder to `run.out/encoder`.

    Raises:
        FileNotFoundError: pairs, WordNet or MiniLM are missing.
    """
    cache = run.out / "teacher"
    tower, tokenizer = new_tower(tokenizer_in(minilm_folder()), cache)
    kinds = {kind: prepared(rows, tokenizer, cache) for kind, rows in learned_pairs(data).items() if rows}
    tower.to(run.device)
    recent: dict[str, float] = {}
    with TrainingLog(run) as log:
        for moment, kind, loss in fit(tower, kinds, run):
            recent[kind] = loss if kind not in recent else 0.9 * recent[kind] + 0.1 * loss
            note = "  ".join(f"{key} {value:.2f}" for key, value in sorted(recent.items()))
            log.add(moment, {"kind": kind, "loss": loss}, note)
    tower.encoder(tokenizer).save(run.out / "encoder")
    tell(f"encoder written to {run.out / 'encoder'}")
