"""What is exported works where there is nothing but numpy, or loads as what it was."""

import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from bowstring.cli.common import app
from bowstring.engine import ArrowEngine
from bowstring.engine.export import export_workstation, megabytes, save_speaking
from bowstring.weights.layout import TRUNK
from bowstring.weights.metadata import read_metadata
from bowstring.weights.shipped import DATA, model_folder

ALONE = """
import runpy, sys

class Nothing:
    def find_spec(self, name, path=None, target=None):
        root = name.partition(".")[0]
        if root not in sys.stdlib_module_names and root not in ("numpy", "bowstring", "__main__"):
            raise ImportError(f"{name} is not on this machine")

sys.meta_path.insert(0, Nothing())
folder, *sys.argv[1:] = sys.argv[1:]
runpy.run_path(folder, run_name="__main__")
assert sys.modules["bowstring"].__file__.startswith(folder), sys.modules["bowstring"]
assert "torch" not in sys.modules
"""


@pytest.fixture(scope="module")
def edge(tmp_path_factory):
    folder = tmp_path_factory.mktemp("edge") / "edge"
    made = CliRunner().invoke(app, ["export", "--tier", "edge", "-o", str(folder)], catch_exceptions=False)
    assert f"{megabytes(folder):.1f} MB" in made.stdout
    return folder


def alone(*arguments):
    """Runs a folder where every other package is missing."""
    command = [sys.executable, "-c", ALONE, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd="/", env={}, check=False)


def test_the_edge_is_small_and_has_two_bits(edge):
    assert megabytes(edge) < 35
    assert read_metadata(edge / "text").bits == read_metadata(edge / "speech").bits == 2


@pytest.mark.parametrize("bits", ["1", "3", "8"])
def test_speech_has_two_bits_or_stays_as_it_is(tmp_path, bits):
    command = ["export", "--tier", "edge", "--speech-bits", bits, "-o", str(tmp_path / "edge")]
    error = CliRunner().invoke(app, command).exception
    assert isinstance(error, ValueError) and f"speech_bits is {bits}; expected 2, or 4" in str(error)
    assert not (tmp_path / "edge").exists()


def test_numpy_alone_writes_what_the_engine_writes(edge):
    made = alone(edge, "write", "a story about a fox", "--seed", "3", "--max-tokens", "60")
    assert made.returncode == 0, made.stderr
    engine = ArrowEngine.load(edge / "text")
    assert made.stdout == engine.generate("a story about a fox", seed=3, max_tokens=60) + "\n"


def test_numpy_alone_speaks(edge, tmp_path):
    """As long as the engine's speech, loud, and not one tone: letters that no dictionary has, too."""
    text = "My boat is blue, and it quizzled."
    made = alone(edge, "say", text, "-o", tmp_path / "hi.wav", "--steps", "4")
    assert made.returncode == 0, made.stderr
    with wave.open(str(tmp_path / "hi.wav")) as file:
        assert file.getframerate() == 24_000
        sound = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32767
    expected = ArrowEngine.load(edge / "speech").say(text, steps=4)
    assert len(sound) == len(expected.audio)
    loud = lambda x: np.sqrt(np.square(x[: len(x) // 2400 * 2400].reshape(-1, 2400)).mean(1))
    assert np.corrcoef(loud(sound), loud(expected.audio))[0, 1] > 0.98
    assert np.abs(sound).max() > 0.05


def test_a_mistake_on_the_edge_is_one_sentence(edge):
    made = alone(edge, "say", "!!!", "-o", "x.wav")
    assert made.returncode == 2 and made.stderr.count("\n") == 1 and "nothing to say" in made.stderr


def test_without_text_of_two_bits_the_way_to_make_it_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = CliRunner().invoke(app, ["export", "--tier", "edge", "-o", str(tmp_path / "edge")])
    assert "bowstring quantise ./text-int2 --bits 2 --qat-steps 400" in str(made.exception)


def test_text_of_other_bits_is_refused_with_the_way_to_make_it(tmp_path):
    made = CliRunner().invoke(app, ["export", "--tier", "edge", "-o", str(tmp_path), "--text", "text-int4"])
    assert "bowstring quantise" in str(made.exception)


def test_speech_may_keep_its_bits(tmp_path):
    save_speaking(tmp_path, model_folder("multimodal"), 4)
    assert read_metadata(tmp_path).bits == 4 and read_metadata(tmp_path).modalities == ["text", "audio"]
    assert (tmp_path / TRUNK).read_bytes() == (model_folder("multimodal") / TRUNK).read_bytes()


def test_a_workstation_gets_every_model_to_the_byte(tmp_path):
    wide = tmp_path / "wide"
    wide.mkdir()
    (wide / "metadata.json").write_text("{}")
    folder = export_workstation(tmp_path / "station", wide)
    assert (folder / "text" / "metadata.json").exists()
    for path in (one for one in DATA.rglob("*") if one.is_file()):
        assert (folder / path.relative_to(DATA)).read_bytes() == path.read_bytes()
    assert ArrowEngine.load(Path(folder) / "text-int4").generate("a fox", max_tokens=4)
