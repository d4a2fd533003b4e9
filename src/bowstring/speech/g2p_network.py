"""Letters to phonemes: how a word that no dictionary has is said.

Each letter may give up to three phonemes; a blank is none (Graves et al. 2006, connectionist temporal
classification). Shapes: b words, l letters, p phonemes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..core.threads import one_thread

LETTERS = " abcdefghijklmnopqrstuvwxyz'"
EACH = 3  # phonemes that a letter may give


class G2PNetwork(nn.Module):
    """Two bidirectional recurrent layers over letters."""

    def __init__(self, phonemes: int, width: int = 112) -> None:
        """`phonemes` counts symbols without the blank."""
        super().__init__()
        self.letters = nn.Embedding(len(LETTERS), 48, padding_idx=0)
        self.layers = nn.GRU(48, width, num_layers=2, batch_first=True, bidirectional=True)
        self.out = nn.Linear(2 * width, EACH * (phonemes + 1))

    def forward(self, letters: Tensor) -> Tensor:
        """`(b, l)` ids -> log-probabilities `(b, 3 l, p + 1)`, the blank first."""
        hidden, _ = self.layers(self.letters(letters))
        return self.out(hidden).unflatten(-1, (EACH, -1)).flatten(1, 2).log_softmax(-1)


def letter_ids(word: str) -> list[int]:
    """Letters as ids; what is no letter is left out."""
    return [LETTERS.index(c) for c in word.lower() if c in LETTERS[1:]]


@torch.no_grad()
@one_thread()
def best_phonemes(network: G2PNetwork, word: str) -> list[int]:
    """Ids of the likeliest path: repeats merged, blanks dropped."""
    ids = letter_ids(word)
    if not ids:
        return []
    path = network(torch.tensor([ids], device=network.letters.weight.device))[0].argmax(-1).tolist()
    kept = [b for a, b in zip([0, *path], path, strict=False) if b != a and b != 0]
    return [sound - 1 for sound in kept]
