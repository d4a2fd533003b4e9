"""What `G2PNetwork` says of a word, in numpy: two bidirectional recurrent layers over letters.

Shapes: l letters, h numbers of a direction, p phonemes. This module knows nothing of torch.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

LETTERS = " abcdefghijklmnopqrstuvwxyz'"
EACH = 3  # phonemes that a letter may give


def letter_ids(word: str) -> list[int]:
    """Letters as ids; what is no letter is left out."""
    return [LETTERS.index(c) for c in word.lower() if c in LETTERS[1:]]


def shapes(phonemes: int, width: int = 112, letter: int = 48) -> dict[str, tuple[int, ...]]:
    """Shapes of the network's arrays by name."""
    found: dict[str, tuple[int, ...]] = {"letters.weight": (len(LETTERS), letter)}
    for layer, inputs in ((0, letter), (1, 2 * width)):
        for side in (f"l{layer}", f"l{layer}_reverse"):
            for kind, size in (("ih", inputs), ("hh", width)):
                found[f"layers.weight_{kind}_{side}"] = (3 * width, size)
                found[f"layers.bias_{kind}_{side}"] = (3 * width,)
    out = EACH * (phonemes + 1)
    return found | {"out.weight": (out, 2 * width), "out.bias": (out,)}


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def recurrent(arrays: Mapping[str, np.ndarray], side: str, x: np.ndarray) -> np.ndarray:
    """Gated recurrent units over rows, `(l, k) -> (l, h)` (Cho et al. 2014, as torch has them)."""
    w_x, w_h, b_x, b_h = (
        arrays[f"layers.{name}_{side}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    h, out = np.zeros(w_h.shape[1], np.float32), []
    for row in x @ w_x.T + b_x:
        (r, z, n), (r_h, z_h, n_h) = np.split(row, 3), np.split(w_h @ h + b_h, 3)
        reset, keep = sigmoid(r + r_h), sigmoid(z + z_h)
        h = (1 - keep) * np.tanh(n + reset * n_h) + keep * h
        out.append(h)
    return np.array(out)


def best_phonemes(arrays: Mapping[str, np.ndarray], word: str) -> list[int]:
    """Ids of the likeliest path: repeats merged, blanks dropped."""
    ids = letter_ids(word)
    if not ids:
        return []
    x = arrays["letters.weight"][ids]
    for layer in ("l0", "l1"):
        x = np.concatenate(
            [recurrent(arrays, layer, x), recurrent(arrays, f"{layer}_reverse", x[::-1])[::-1]], 1
        )
    scores = (x @ arrays["out.weight"].T + arrays["out.bias"]).reshape(EACH * len(ids), -1)
    path = scores.argmax(1).tolist()
    kept = [b for a, b in zip([0, *path], path, strict=False) if b != a and b != 0]
    return [phoneme - 1 for phoneme in kept]
