"""Letters to phonemes: how a word that no dictionary has is said.

Each letter may give up to three phonemes; a blank is none (Graves et al. 2006, connectionist temporal
classification). Shapes: b words, l letters, p phonemes.
"""

from __future__ import annotations

from torch import Tensor, nn

from .letters import EACH, LETTERS


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
