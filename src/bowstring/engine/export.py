"""Models as folders that are carried away: for a small machine, where numpy is all there is, or for a
workstation.

    edge/          __main__.py: python edge write PROMPT, python edge say TEXT -o FILE.wav
      bowstring/   the modules that this needs, and the native library
      text/ speech/ tokenizer/ g2p/
    workstation/   every model that ships, as it ships, beside each other, and wider ones where there are some
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from .. import _native
from ..core.files import output_folder, write
from ..nn.heads.speech import SpeechHead
from ..text.weights import load_model
from ..weights.folder import narrowest, save_network
from ..weights.layout import METADATA, POSTFILTER, SPEECH, TOKENIZER, TRUNK, carry_over, find, head
from ..weights.metadata import read_metadata
from ..weights.quant.arrowquant import ArrowQuant
from ..weights.quant.packed import packed, unpacked
from ..weights.shipped import DATA, G2P_FOLDER

PACKAGE = Path(__file__).parent.parent
BITS = 2  # of the edge
WAY = f"`bowstring quantise ./text-int2 --bits {BITS} --qat-steps 400` makes one from the corpora"
MAIN = '''"""Writes and speaks with numpy alone: python FOLDER --help."""

from pathlib import Path

from bowstring.edge.runner import main

main(Path(__file__).resolve().parent)
'''
LOADED = """
import sys
sys.path.insert(0, sys.argv[1])
import bowstring.edge.runner
own = (one for name, one in sys.modules.items() if name.partition(".")[0] == "bowstring")
print(*(one.__file__ for one in own), sep="\\n")
"""


def export_edge(folder: Path, text: Path, speech: Path, bits: int = BITS) -> Path:
    """Writes what speaks and writes at 2 bits where numpy is all there is.

    Args:
        text: a model of text at 2 bits. speech: a packed model with speech. bits: of its matrices, 2, or 4
            to leave them as they are, which is understood better and takes 3 MB more.

    Raises:
        ValueError: the text is of other bits, the other model has no speech, or `bits` is neither 2 nor 4.
    """
    if bits not in (BITS, 4):
        raise ValueError(f"speech_bits is {bits}; expected {BITS}, or 4 to leave the speech model as it is")
    folder = output_folder(folder)
    if not text.is_dir():
        raise FileNotFoundError(
            f"there is no model of text at {BITS} bits in {text}; {WAY}, and --text names it"
        )
    if (own := read_metadata(text).bits) != BITS:
        raise ValueError(f"{text} has weights of {own} bits; expected {BITS}. {WAY}")
    for name in (METADATA, TRUNK, head("text")):
        copied(text / name, folder / "text" / name)
    save_speaking(folder / "speech", speech, bits)
    copied(find(text, TOKENIZER), folder / TOKENIZER)
    for path in sorted(G2P_FOLDER.iterdir()):
        copied(path, folder / "g2p" / path.name)
    write(folder / "__main__.py", MAIN.encode())
    for path in runtime():
        copied(path, folder / "bowstring" / path.relative_to(PACKAGE))
    return folder


def export_workstation(folder: Path, wide: Path) -> Path:
    """Writes every model that ships, to be loaded by its path; files are mapped and used where they lie.

    Args:
        wide: the text model before it was rounded, copied as "text" where it is there.
    """
    folder = output_folder(folder)
    for path in sorted(DATA.rglob("*")):
        if path.is_file():
            copied(path, folder / path.relative_to(DATA))
    if wide.is_dir():
        shutil.copytree(wide, folder / "text", dirs_exist_ok=True)
    return folder


def megabytes(folder: Path) -> float:
    """Of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def copied(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def runtime() -> list[Path]:
    """Files of the package that the edge needs: the modules that its runner loads, and the library."""
    command = [sys.executable, "-c", LOADED, str(PACKAGE.parent)]
    said = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
    library = PACKAGE / _native.NAME
    return [*map(Path, said.split("\n")[:-1]), *([library] if library.exists() else [])]


def save_speaking(folder: Path, model: Path, bits: int) -> None:
    """A model's text and speech, with what makes speech heard; its matrices in so few bits."""
    network, _, metadata = load_model(model)
    if "audio" not in network.heads:
        raise ValueError(f"{model} does not speak; its heads are {', '.join(network.heads)}")
    if bits == BITS != metadata.bits:
        network = unpacked(network)
        weights = network.state_dict()
        packed(network, lambda name, _: ArrowQuant.quantise(weights[name].numpy(), BITS))
        network.requires_grad_(requires_grad=False)
    speech = network.heads["audio"]
    assert isinstance(speech, SpeechHead)
    speech.duration_flow = None  # nothing is drawn at temperature 0
    network.config = replace(network.config, duration_flow=0)
    for name in {*network.heads} - {"text", "audio"}:
        del network.heads[name]
    folder.mkdir(parents=True, exist_ok=True)
    save_network(folder, network, narrowest(network), **metadata.settings())
    carry_over(model, folder, (SPEECH, POSTFILTER))
