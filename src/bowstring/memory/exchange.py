"""Memories as files for others: JSONL, and Parquet through pyarrow. Histories stay in the store's folder."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..core.files import output, replacing
from .record import Entry, Memory, packed, unpacked

FORMAT = "bowstring memories"
VERSION = 1
ENDINGS = (".jsonl", ".parquet")
FIELDS = ("text", "namespace", "key", "source", "tags", "time", "expires")
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
    return head.get("embedder"), (_item(row) for row in rows)


def _row(memory: Memory) -> dict[str, Any]:
    """A memory as JSON; FP32 numbers are written so that they come back to the bit."""
    row = {"id": memory.id} | {name: getattr(memory, name) for name in FIELDS}
    parts = {name: packed(value, name) for name, value in memory.parts.items()}
    coded = {name: [form, base64.b64encode(data).decode()] for name, (form, data) in parts.items()}
    return row | {"vector": None if memory.vector is None else memory.vector.tolist(), "parts": coded}


def _item(row: dict[str, Any]) -> Item:
    parts = {name: unpacked(form, base64.b64decode(data)) for name, (form, data) in row["parts"].items()}
    vector = None if row["vector"] is None else np.asarray(row["vector"], np.float32)
    return row["id"], Entry.of({name: row[name] for name in FIELDS} | {"vector": vector} | parts)


def _head(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _parsed(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        return json.loads(line)
    except ValueError as error:
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


def _read_parquet(path: Path) -> tuple[Any, Iterator[dict[str, Any]]]:
    from pyarrow import parquet

    table = parquet.read_table(path)
    rows = (
        {**row, "parts": {p["name"]: (p["form"], p["data"]) for p in row["parts"]}}
        for row in table.to_pylist()
    )
    return _head((table.schema.metadata or {}).get(b"bowstring", b"").decode()), rows
