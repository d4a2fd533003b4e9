"""Memories as files for others: JSONL, and Parquet through pyarrow. Histories stay in the store's folder."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..core.files import output, replacing
from ..core.options import listed, shown, text, whole
from .record import PARTS, Entry, Memory, packed, unpacked
from .search import WIDEST

FORMAT = "bowstring memories"
VERSION = 1
ENDINGS = (".jsonl", ".parquet")
FIELDS = ("text", "namespace", "key", "source", "tags", "time", "expires")
FORMS = ("bytes", "array", "json")
Item = tuple[str, Entry]


def write(path: Path | str, memories: Iterable[Memory], embedder: Mapping[str, Any] | None) -> int:
    """Writes memories to a file, whole or not at all, and returns how many."""
    path = output(path, ENDINGS)
    head = {"format": FORMAT, "version": VERSION, "embedder": embedder}
    with replacing(path) as partial:
        partial.touch(0o600)
        if path.suffix.lower() == ".parquet":
            return _write_parquet(partial, head, memories)
        with open(partial, "w", encoding="utf-8") as file:
            file.write(json.dumps(head) + "\n")
            rows = (json.dumps(_row(memory), ensure_ascii=False) + "\n" for memory in memories)
            return sum(1 for row in rows if file.write(row))


def read(path: Path | str) -> tuple[dict[str, Any] | None, Iterator[Item]]:
    """The embedder of a file's vectors, and its memories as (id, entry).

    Raises:
        ValueError: no file that `write` makes, or of a newer version. OSError: it cannot be read.
    """
    path = Path(path)
    if path.suffix.lower() == ".parquet":
        head, rows = _read_parquet(path)
    else:
        lines = enumerate(path.read_text("utf-8").rstrip("\n").split("\n"), 1)
        head, rows = _head(next(lines, (1, ""))[1]), (_parsed(path, *line) for line in lines)
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise ValueError(f"{path} holds no exported memories; expected a file that `export` wrote")
    if head.get("version") != VERSION:
        raise ValueError(f"{path} has version {head.get('version')}; this program reads version {VERSION}")
    kind = "row" if path.suffix.lower() == ".parquet" else "line"
    first = 1 if kind == "row" else 2
    numbered = enumerate(rows, first)
    return _embedder(head.get("embedder"), path), (_item(row, f"{path} {kind} {i}") for i, row in numbered)


def _row(memory: Memory) -> dict[str, Any]:
    """A memory as JSON; FP32 numbers are written so that they come back to the bit."""
    row = {"id": memory.id} | {name: getattr(memory, name) for name in FIELDS}
    parts = {name: packed(value, name) for name, value in memory.parts.items()}
    coded = {name: [form, base64.b64encode(data).decode()] for name, (form, data) in parts.items()}
    return row | {"vector": None if memory.vector is None else memory.vector.tolist(), "parts": coded}


def _item(row: Any, where: str) -> Item:
    """
    Raises:
        ValueError: no memory as `write` writes it.
    """
    if not isinstance(row, dict):
        raise ValueError(f"{where} is {shown(row)}; expected a memory")
    if lacking := [name for name in ("id", "vector", "parts", *FIELDS) if name not in row]:
        raise ValueError(f"{where} lacks {lacking[0]!r}; expected a memory as `export` writes it")
    try:
        fields = {name: row[name] for name in FIELDS} | {"vector": row["vector"]} | _parts(row["parts"])
        return text(row["id"], "id", blank=False), Entry.of(fields)
    except (TypeError, ValueError, RecursionError, OverflowError) as error:
        raise ValueError(f"{where}: {error or type(error).__name__}") from None


def _parts(coded: Any) -> dict[str, Any]:
    """Values of parts, from form and Base64 by name."""
    if not isinstance(coded, dict) or not set(coded) <= set(PARTS):
        raise ValueError(f"parts is {shown(coded)}; expected an object with some of {listed(PARTS)}")
    found = {}
    for name, one in coded.items():
        if not isinstance(one, list | tuple) or len(one) != 2 or one[0] not in FORMS:
            raise ValueError(f"{name} is {shown(one)}; expected [form, data], a form of {listed(FORMS)}")
        found[name] = unpacked(one[0], base64.b64decode(text(one[1], name), validate=True))
    return found


def _embedder(said: Any, path: Path) -> dict[str, Any] | None:
    """
    Raises:
        ValueError: no embedder as `Embedder.identity` has it.
    """
    if said is None:
        return None
    if not isinstance(said, dict) or set(said) != {"name", "hash", "width"}:
        raise ValueError(f"{path} has the embedder {shown(said)}; expected name, hash and width")
    for name in ("name", "hash"):
        if said[name] is not None:
            text(said[name], f"{path}: the embedder's {name}")
    whole(said["width"], f"{path}: the embedder's width", 1, WIDEST)
    return said


def _head(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _parsed(path: Path, number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged in line {number}: {error}") from None


def _write_parquet(path: Path, head: dict[str, Any], memories: Iterable[Memory]) -> int:
    import pyarrow as pa
    from pyarrow import parquet

    rows = [_row(one) for one in memories]
    for row in rows:
        row["parts"] = [{"name": n, "form": f, "data": d} for n, (f, d) in row["parts"].items()]
    part = pa.struct([("name", pa.string()), ("form", pa.string()), ("data", pa.string())])
    kinds = {"tags": pa.list_(pa.string()), "time": pa.float64(), "expires": pa.float64()}
    names = {"id": pa.string()} | {name: kinds.get(name, pa.string()) for name in FIELDS}
    columns = names | {"vector": pa.list_(pa.float32()), "parts": pa.list_(part)}
    table = pa.Table.from_pylist(rows, pa.schema(columns, metadata={"bowstring": json.dumps(head)}))
    parquet.write_table(table, path, compression="zstd")
    return len(rows)


def _read_parquet(path: Path) -> tuple[Any, Iterable[Any]]:
    from pyarrow import parquet

    table = parquet.read_table(path)
    try:
        rows = [
            {**row, "parts": {p["name"]: (p["form"], p["data"]) for p in row["parts"]}}
            for row in table.to_pylist()
        ]
    except (KeyError, TypeError):
        raise ValueError(f"{path} has no parts as `export` writes them") from None
    return _head((table.schema.metadata or {}).get(b"bowstring", b"").decode()), rows
