"""The 52 shapes of a face, the 15 visemes, and which sounds look like which.

Shapes carry ARKit's names and lie in 0..1. Visemes carry the names that lip-sync tools share (sil, PP, ...).
"""

from __future__ import annotations

import numpy as np

SHAPES = tuple(
    """browDownLeft browDownRight browInnerUp browOuterUpLeft browOuterUpRight cheekPuff cheekSquintLeft
    cheekSquintRight eyeBlinkLeft eyeBlinkRight eyeLookDownLeft eyeLookDownRight eyeLookInLeft eyeLookInRight
    eyeLookOutLeft eyeLookOutRight eyeLookUpLeft eyeLookUpRight eyeSquintLeft eyeSquintRight eyeWideLeft
    eyeWideRight jawForward jawLeft jawOpen jawRight mouthClose mouthDimpleLeft mouthDimpleRight
    mouthFrownLeft mouthFrownRight mouthFunnel mouthLeft mouthLowerDownLeft mouthLowerDownRight mouthPressLeft
    mouthPressRight mouthPucker mouthRight mouthRollLower mouthRollUpper mouthShrugLower mouthShrugUpper
    mouthSmileLeft mouthSmileRight mouthStretchLeft mouthStretchRight mouthUpperUpLeft mouthUpperUpRight
    noseSneerLeft noseSneerRight tongueOut""".split()
)
VISEMES = ("sil", "PP", "FF", "TH", "DD", "kk", "CH", "SS", "nn", "RR", "aa", "E", "I", "O", "U")
SOUNDS = {  # viseme: the sounds that look like it; diphthongs look like where they begin
    "PP": "pbm",
    "FF": "fv",
    "TH": "θð",
    "DD": "tdɾ",
    "kk": "kɡŋhʔ",
    "CH": "ʃʒʧʤ",
    "SS": "sz",
    "nn": "nl",
    "RR": "ɹɜ",
    "aa": "ɑaæʌIWɐ",
    "E": "ɛAəᵊ",
    "I": "iɪjᵻ",
    "O": "OɔYQ",
    "U": "uʊw",
}
LOOKS = {  # viseme: shapes, both sides where there are two
    "sil": {},
    "PP": {"mouthPress": 0.5, "mouthRollLower": 0.3, "mouthRollUpper": 0.3, "mouthClose": 0.1},
    "FF": {"jawOpen": 0.08, "mouthRollLower": 0.6, "mouthUpperUp": 0.25},
    "TH": {"jawOpen": 0.18, "tongueOut": 0.35, "mouthUpperUp": 0.1, "mouthLowerDown": 0.2},
    "DD": {"jawOpen": 0.16, "mouthLowerDown": 0.25, "mouthUpperUp": 0.1},
    "kk": {"jawOpen": 0.2, "mouthLowerDown": 0.15},
    "CH": {"jawOpen": 0.14, "mouthFunnel": 0.6, "mouthPucker": 0.25},
    "SS": {"jawOpen": 0.06, "mouthStretch": 0.25, "mouthLowerDown": 0.3, "mouthUpperUp": 0.2},
    "nn": {"jawOpen": 0.16, "mouthLowerDown": 0.15},
    "RR": {"jawOpen": 0.2, "mouthFunnel": 0.35, "mouthPucker": 0.2},
    "aa": {"jawOpen": 0.62, "mouthLowerDown": 0.3, "mouthUpperUp": 0.15},
    "E": {"jawOpen": 0.4, "mouthStretch": 0.2, "mouthLowerDown": 0.25, "mouthSmile": 0.1},
    "I": {"jawOpen": 0.22, "mouthStretch": 0.3, "mouthSmile": 0.3, "mouthUpperUp": 0.1},
    "O": {"jawOpen": 0.42, "mouthFunnel": 0.6, "mouthPucker": 0.2},
    "U": {"jawOpen": 0.2, "mouthPucker": 0.75, "mouthFunnel": 0.25},
}
CLOSED = SOUNDS["PP"]


def viseme_of(sound: str) -> str:
    """The viseme of a sound; what has none (pauses, stress marks) is silence.

    >>> viseme_of("m"), viseme_of("ʃ"), viseme_of(",")
    ('PP', 'CH', 'sil')
    """
    return next((viseme for viseme, sounds in SOUNDS.items() if sound and sound in sounds), "sil")


def look_of(viseme: str) -> np.ndarray:
    """A viseme as shapes, `(52,)`."""
    out = np.zeros(len(SHAPES), np.float32)
    for name, value in LOOKS[viseme].items():
        for side in ("", "Left", "Right"):
            if name + side in SHAPES:
                out[SHAPES.index(name + side)] = value
    return out


TABLE = np.stack([look_of(viseme) for viseme in VISEMES])
