"""What `bench evolve` says of doubt: numbers of texts, pictures and speech under the keys of the bench."""

from __future__ import annotations

from typing import Any

from ..engine import ArrowEngine
from ..weights.layout import CALIBRATION, weights_files
from ..weights.shipped import MULTIMODAL, model_folder
from .doubt import text_numbers
from .doubt_pictures import picture_numbers
from .doubt_speech import speech_numbers
from .results import Measured, Measurement, Setting
from .text import corpora


def measure_doubt(setting: Setting) -> Measurement:
    """Of the default text model, or another one, and of the one that paints and speaks."""
    folder = model_folder(setting.model)
    documents, missing = corpora(setting.data)
    text = text_numbers(ArrowEngine.load(folder), documents, quick=setting.quick)
    pictures: dict[str, Any] = {}
    speech: dict[str, Any] = {}
    if (MULTIMODAL / CALIBRATION).exists():
        engine = ArrowEngine.load(MULTIMODAL)
        pictures = picture_numbers(engine, setting.data, quick=setting.quick)
        speech = speech_numbers(engine, documents, quick=setting.quick)
    else:
        missing["doubt of pictures and speech"] = "the model that makes them was not calibrated"
    unknown = Measured(None, n=0)
    numbers = {
        "doubt_spearman": {
            "text": text["spearman"],
            "image": pictures.get("spearman", unknown),
            "audio": speech.get("spearman", unknown),
        },
        "doubt_error_auroc": text["auroc"] | pictures.get("auroc", {"image": unknown}),
        "false_triggers": text["false_triggers"]
        | {"image": pictures.get("false_triggers", unknown), "audio": speech.get("false_triggers", unknown)},
        "doubt_by_severity": {
            "text": text["means"],
            "image": pictures.get("means", {}),
            "audio": speech.get("means", {}),
        },
    }
    return Measurement(numbers, [*weights_files(folder), *weights_files(MULTIMODAL)], missing)
