"""Open models into our Parquet profile: tensor by tensor, a file a layer, the description last.

A stopped import goes on where it stopped: files that are there and whole are left alone. Blocks of Q4_0, Q4_1
and Q8_0 are repacked without a change of any number; everything else is rounded, and what that costs is
measured.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..core.files import write as write_file
from ..decode.config import DecoderConfig
from ..weights.format.parquet import Tensor, WeightsFile, write
from ..weights.layout import CALIBRATION
from ..weights.quant.grouped import GROUP, GroupedMatrix
from .families import MATRICES, check_names, from_gguf, from_hugging_face, shape_of
from .gguf import GGUFFile
from .mdlm import FAMILY, MDLMSource
from .sharded import SafetensorsFolder, read_json
from .tokenizer import SPECIAL, ModelTokenizer

DESCRIPTION = "decoder.json"
TOKENIZER = "tokenizer.json"
LOSSES = "losses.json"  # of an import that is not done
WEIGHTS = re.compile(r"\w+\.parquet")
BITS = (2, 4, 8)
PARTS = ("lines", "scales", "minima")


class Source(Protocol):
    """Where tensors come from. names: theirs by ours. `matrix` is packed without loss, or None where it
    must be rounded.
    """

    config: DecoderConfig
    names: dict[str, str]
    tokenizer: ModelTokenizer
    template: str | None
    about: dict[str, str]

    def tensor(self, name: str) -> np.ndarray: ...

    def matrix(self, name: str) -> GroupedMatrix | None: ...


class GGUFSource:
    """
    Raises:
        ValueError: what the file holds is no decoder that we have.
    """

    def __init__(self, path: Path) -> None:
        self.file = GGUFFile(path)
        self.config = from_gguf(self.file.metadata, self.file.entries)
        names = check_names(self.config, 1, self.file.entries)
        self.names = {ours: theirs for theirs, ours in names.items()}
        for ours, theirs in self.names.items():
            check_shape(self.config, ours, theirs, self.file.entries[theirs].shape)
        if "rope_freqs.weight" in self.file.entries:
            self.names["frequency_factors"] = "rope_freqs.weight"
        self.tokenizer = ModelTokenizer.from_gguf(self.file.metadata)
        template = self.file.metadata.get("tokenizer.chat_template")
        self.template = template if isinstance(template, str) else None
        keys = {"name": "general.name", "licence": "general.license"}
        told = {key: self.file.metadata.get(theirs) for key, theirs in keys.items()}
        self.about = {"source": path.name} | {k: v[:200] for k, v in told.items() if isinstance(v, str)}

    def tensor(self, name: str) -> np.ndarray:
        return self.file[self.names[name]]

    def matrix(self, name: str) -> GroupedMatrix | None:
        entry, raw = self.file.entries[self.names[name]], self.file.raw(self.names[name])
        return repacked(entry.kind.name, raw, (entry.shape[0], entry.shape[1]))


class HuggingFaceSource:
    """A folder with config.json, tokenizer.json and safetensors.

    Raises:
        ValueError: what the folder holds is no decoder that we have.
    """

    def __init__(self, folder: Path, block: int | None = None, mask: int | None = None) -> None:
        said = read_json(folder / "config.json", 1 << 20)
        self.tokenizer = ModelTokenizer.load(folder / "tokenizer.json")
        added = dict(self.tokenizer.special)
        if (more := folder / "added_tokens.json").exists():
            added |= {str(k): v for k, v in read_json(more).items() if isinstance(v, int)}
        said |= {} if mask is None else {"mask_token_id": mask}
        self.config = from_hugging_face(said, name=folder.name, added=added, block=block)
        self.tensors = SafetensorsFolder(folder)
        names = check_names(self.config, 0, set(self.tensors.owner))
        self.names = {ours: theirs for theirs, ours in names.items()}
        for ours, theirs in self.names.items():
            check_shape(self.config, ours, theirs, self.tensors.shape(theirs))
        self.template = chat_template(folder)
        self.about = {"source": folder.name} | licence(folder)

    def tensor(self, name: str) -> np.ndarray:
        return self.tensors[self.names[name]]

    def matrix(self, name: str) -> GroupedMatrix | None:
        return None


def check_shape(config: DecoderConfig, ours: str, theirs: str, shape: tuple[int, ...]) -> None:
    """
    Raises:
        ValueError: a tensor has another shape than the configuration gives it.
    """
    if shape != (wanted := shape_of(config, ours)):
        raise ValueError(f"tensor {theirs!r} has shape {shape}; the configuration gives it {wanted}")


def licence(folder: Path) -> dict[str, str]:
    """The licence that a folder's README names in its head, where it does."""
    readme = folder / "README.md"
    if not readme.is_file():
        return {}
    with readme.open(encoding="utf-8", errors="replace") as file:
        head = file.read(10_000)
    found = re.search(r"^license:\s*(\S{1,80})\s*$", head, re.MULTILINE)
    return {"licence": found.group(1)} if found else {}


def chat_template(folder: Path) -> str | None:
    """The template of a Hugging Face folder, from its own file or from tokenizer_config.json."""
    if (path := folder / "chat_template.jinja").is_file() and path.stat().st_size < 1 << 20:
        return path.read_text("utf-8")
    path = folder / "tokenizer_config.json"
    template = read_json(path).get("chat_template") if path.is_file() else None
    return template if isinstance(template, str) else None


def repacked(kind: str, raw: np.ndarray, shape: tuple[int, int]) -> GroupedMatrix | None:
    """Blocks `(n, g, bytes)` of Q4_0, Q4_1 or Q8_0 in the kernels' order, every number as it was; else
    None.
    """
    if kind not in ("Q4_0", "Q4_1", "Q8_0"):
        return None
    scales = np.ascontiguousarray(raw[..., :2]).view(np.float16)[..., 0]
    if kind == "Q8_0":
        codes = np.ascontiguousarray(raw[..., 2:]).view(np.int8).astype(np.int16) + 128
        return GroupedMatrix.pack(codes.astype(np.uint8).reshape(shape), 8, scales)
    packed = raw[..., 2 if kind == "Q4_0" else 4 :]
    codes = np.concatenate([packed & 15, packed >> 4], -1).reshape(shape)
    minima = None if kind == "Q4_0" else np.ascontiguousarray(raw[..., 2:4]).view(np.float16)[..., 0]
    return GroupedMatrix.pack(codes, 4, scales, minima)


@dataclass
class Loss:
    """What rounding cost: squared error and squared size of all matrices that were rounded."""

    error: float = 0.0
    size: float = 0.0
    rounded: int = 0
    exact: int = 0

    def __iadd__(self, other: Loss) -> Loss:
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))
        return self

    def add(self, before: np.ndarray, after: GroupedMatrix) -> None:
        self.error += float(np.square(before - after.dequantise(), dtype=np.float64).sum())
        self.size += float(np.square(before, dtype=np.float64).sum())
        self.rounded += 1

    @property
    def relative(self) -> float:
        """Root of the share of squared size that rounding took."""
        return (self.error / self.size) ** 0.5 if self.size else 0.0


Progress = Callable[[int, int], None]


def open_source(path: Path, block: int | None = None, mask: int | None = None) -> Source:
    """A GGUF file, a folder of safetensors, or the folder of an installed package that holds one GGUF file.

    Raises:
        FileNotFoundError, ValueError: there is nothing of the kind.
    """
    if path.is_dir() and not (path / "config.json").exists():
        files = sorted(path.glob("*.gguf"))
        if len(files) != 1:
            raise ValueError(
                f"{path} holds no config.json and {len(files)} GGUF files; expected one or the other"
            )
        path = files[0]
    if not path.is_dir():
        return GGUFSource(path)
    said = read_json(path / "config.json", 1 << 20)
    return (
        MDLMSource(path, said) if said.get("model_type") == FAMILY else HuggingFaceSource(path, block, mask)
    )


def parts_of(source: Source, name: str, bits: int, loss: Loss) -> Iterator[tuple[str, Tensor]]:
    """A tensor as it is stored: vectors as FP32, matrices packed."""
    if name.rpartition(".")[2] not in MATRICES:
        yield name, Tensor.of(np.ascontiguousarray(source.tensor(name), np.float32))
        return
    ends = name in ("embedding", "head")
    if (bits > 2 or ends) and (matrix := source.matrix(name)) is not None:
        loss.exact += 1
    else:
        values = source.tensor(name)
        if values.shape[1] % GROUP:
            raise ValueError(f"{name} has {values.shape[1]} inputs; expected whole groups of {GROUP}")
        matrix = GroupedMatrix.quantise(values, 8 if ends else bits)
        loss.add(values, matrix)
    for part in PARTS:
        if (array := getattr(matrix, part)) is not None:
            yield f"{name}.{part}", Tensor.of(array)


def chunks(source: Source) -> dict[str, list[str]]:
    """Names of tensors by the file they go to: the ends, then a file a layer."""
    names = [*source.names]
    found: dict[str, list[str]] = {"ends.parquet": [n for n in names if not n.startswith("layers.")]}
    for i in range(source.config.layers):
        found[f"layer_{i:04}.parquet"] = [n for n in names if n.startswith(f"layers.{i}.")]
    return found


def whole_file(path: Path, bits: int) -> bool:
    """Whether a file of an earlier import is there, of these bits, every byte as it was written."""
    if not path.exists():
        return False
    try:
        file = WeightsFile(path)
        file.verify()
    except ValueError:
        return False
    return file.metadata.get("bits") == bits


def import_model(
    source: Source, out: Path, bits: int = 4, progress: Progress = lambda done, total: None
) -> dict[str, Any]:
    """Writes a model folder and returns what it cost: {"exact", "rounded", "relative_error"}.

    Raises:
        ValueError: bits that no kernel has, a source that does not fit, or a folder with other files.
    """
    if bits not in BITS:
        raise ValueError(f"bits is {bits}; expected one of {BITS}")
    out.mkdir(parents=True, exist_ok=True)
    older = files_of(out)
    if older is None and any(out.iterdir()):
        raise ValueError(f"{out} holds other files; expected an empty folder, a new one or an earlier import")
    files, losses = chunks(source), read_losses(out / LOSSES)
    write_file(out / LOSSES, kept(losses))  # from here on the folder is known as an import
    (out / DESCRIPTION).unlink(missing_ok=True)
    for name in set(older or ()) - set(files):
        (out / name).unlink(missing_ok=True)
    for done, (name, tensors) in enumerate(files.items()):
        progress(done, len(files))
        if name in losses and whole_file(out / name, bits):
            continue
        losses[name] = Loss()
        parts = (part for tensor in tensors for part in parts_of(source, tensor, bits, losses[name]))
        write(out / name, parts, {"bits": bits})
        write_file(out / LOSSES, kept(losses))
    progress(len(files), len(files))
    loss = Loss()
    for name in files:
        loss += losses[name]
    cost = {"exact": loss.exact, "rounded": loss.rounded, "relative_error": loss.relative}
    source.tokenizer.save(out / TOKENIZER)
    said = {
        "version": 1,
        "decoder": source.config.to_json(),
        "template": source.template,
        "bits": bits,
        "files": [*files],
        "about": source.about | cost,
    }
    write_file(out / DESCRIPTION, (json.dumps(said, indent=1) + "\n").encode())
    (out / LOSSES).unlink(missing_ok=True)
    return cost


def kept(losses: dict[str, Loss]) -> bytes:
    return json.dumps({name: asdict(loss) for name, loss in losses.items()}).encode()


def files_of(folder: Path) -> list[str] | None:
    """Names of the weights that an import wrote, done or stopped; None where there was no import."""
    for name in (DESCRIPTION, LOSSES):
        try:
            said = read_json(folder / name, 1 << 20)
        except ValueError:
            continue
        found = said.get("files") if name == DESCRIPTION else [*said]
        if isinstance(found, list) and all(isinstance(one, str) and WEIGHTS.fullmatch(one) for one in found):
            return found
    return None


def read_losses(path: Path) -> dict[str, Loss]:
    """What rounding cost in the files of an import that was stopped."""
    try:
        return {name: Loss(**one) for name, one in read_json(path, 1 << 20).items()}
    except (ValueError, TypeError):
        return {}


def remove(folder: Path) -> list[str]:
    """Deletes what an import wrote, and the folder unless other files are left in it: their names.

    Raises:
        ValueError: the folder holds no imported model.
    """
    if (files := files_of(folder)) is None:
        raise ValueError(f"{folder} holds no imported model")
    for name in (*files, TOKENIZER, SPECIAL, CALIBRATION, LOSSES, DESCRIPTION):
        (folder / name).unlink(missing_ok=True)
    left = sorted(path.name for path in folder.iterdir())
    if not left:
        folder.rmdir()
    return left
