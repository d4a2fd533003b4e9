"""The dictionary, and the network for the words that it does not have; a tenth of the words judges it.

Source: misaki's American dictionaries (Apache-2.0), as the package hibari-tts carries them.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ...speech.g2p import SYMBOLS
from ...speech.g2p_network import G2PNetwork
from ...speech.letters import best_phonemes, letter_ids
from ...weights.tensors import arrays_of
from ..schedule import CPU

STEPS = 1500


def is_held_out_word(word: str) -> bool:
    return hashlib.sha256(word.lower().encode()).digest()[0] < 26


def letter_batch(rows: list[tuple[str, str]]) -> tuple[Tensor, Tensor, Tensor]:
    """Letters, phonemes (1 is the first symbol) and counts of phonemes, padded with 0."""
    letters = [torch.tensor(letter_ids(word)) for word, _ in rows]
    phonemes = [torch.tensor([SYMBOLS.index(c) + 1 for c in s]) for _, s in rows]
    pad = lambda parts: torch.nn.utils.rnn.pad_sequence(parts, batch_first=True)  # noqa: E731
    return pad(letters), pad(phonemes), torch.tensor([len(s) for s in phonemes])


def fit_g2p(
    rows: list[tuple[str, str]],
    steps: int = STEPS,
    seed: int = 0,
    device: torch.device = CPU,
    shown: Callable[[range], Iterable[int]] = iter,
) -> G2PNetwork:
    """Trains by the likelihood of the phonemes over all ways of giving them to letters; `shown` may say how
    far it is.
    """
    torch.manual_seed(seed)
    network, rng = G2PNetwork(len(SYMBOLS)).to(device), random.Random(seed)
    optimiser = torch.optim.AdamW(network.parameters(), lr=4e-3, weight_decay=0.01)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, steps)
    by_length = sorted(rows, key=lambda row: len(row[0]))
    for _ in shown(range(steps)):
        at = rng.randrange(max(1, len(by_length) - 256))
        letters, phonemes, counts = (part.to(device) for part in letter_batch(by_length[at : at + 256]))
        log_p = network(letters).transpose(0, 1)
        lengths = (letters > 0).sum(1) * 3
        loss = F.ctc_loss(log_p, phonemes, lengths, counts, zero_infinity=True)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        plan.step()
    return network.eval()


def edit_distance(a: Sequence[str], b: Sequence[str]) -> int:
    """Insertions, deletions and replacements between letters or words (Levenshtein)."""
    row = [*range(len(b) + 1)]
    for i, x in enumerate(a, 1):
        last, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (x != y))
    return row[-1]


def g2p_errors(network: G2PNetwork, rows: list[tuple[str, str]]) -> dict[str, float]:
    """Share of wrong phonemes and of wrong words, stress marks left out."""
    bare = str.maketrans("", "", "ˈˌ")
    wrong = phonemes = words = 0
    arrays = arrays_of(network)
    for word, truth in rows:
        made = "".join(SYMBOLS[i] for i in best_phonemes(arrays, word)).translate(bare)
        off = edit_distance(made, truth.translate(bare))
        wrong, phonemes, words = wrong + off, phonemes + len(truth.translate(bare)), words + (off > 0)
    return {"phoneme_errors": wrong / phonemes, "word_errors": words / len(rows)}
