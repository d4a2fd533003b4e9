"""The motion of a face as tokens of 64 ms, on the clock of speech: four frames of 52 shapes each.

Shapes: f frames of 16 ms, n tokens of c channels.
"""

from __future__ import annotations

import numpy as np

from ..speech.pca import PCA

TOKEN_FRAMES = 4  # frames of a token
SHAPE_COUNT = 52
AVATAR_CHANNELS = 40


def on_clock(face: np.ndarray, begin: int, end: int) -> np.ndarray:
    """The frames of 16 ms that belong to an utterance whose sound takes the frames of 8 ms from number
    `begin` to `end` of the whole: utterances follow one another without a gap, and the whole ends with the
    frame that its sound ends in.

    Args:
        face: the utterance's own frames, `(f, 52)`, beginning with its sound; at an odd `begin` that is in
            the middle of a frame, and neighbours are averaged.
    """
    first, stop = -(-begin // 2), -(-end // 2)
    if begin % 2:
        padded = np.concatenate([face, face[-1:]])
        face = (padded[:-1] + padded[1:]) / 2
    return face[: stop - first]


def in_blocks(face: np.ndarray) -> np.ndarray:
    """`(f, 52) -> (n, 208)`; the last frame is repeated to fill the last block."""
    face = np.concatenate([face, np.repeat(face[-1:], -len(face) % TOKEN_FRAMES, 0)])
    return face.reshape(-1, TOKEN_FRAMES * SHAPE_COUNT)


class FaceCodec(PCA):
    """Tokens on the principal components of what faces do while they speak."""

    @classmethod
    def fit_faces(cls, faces: list[np.ndarray]) -> FaceCodec:
        return cls.fit(np.concatenate([in_blocks(face) for face in faces]), AVATAR_CHANNELS)

    def encode(self, face: np.ndarray) -> np.ndarray:
        """`(f, 52) -> (n, c)`."""
        return self.transform(in_blocks(face))

    def decode(self, tokens: np.ndarray) -> np.ndarray:
        """`(n, c) -> (4 n, 52)`, within 0..1."""
        return self.inverse_transform(tokens).reshape(-1, SHAPE_COUNT).clip(0, 1)
