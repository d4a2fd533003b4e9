"""A file appears whole or not at all: it is written beside its place, synced, and moved there.

Whether it can be written is asked before the work whose result it takes.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .options import listed, shown


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """The path of a temporary file in the same folder, with the same ending; write to it inside the block.

    When the block ends well, the file is on the disk and has taken the place of `path`, whose permissions it
    keeps; when it fails, `path` is as it was and nothing is left beside it. A link's target is replaced, the
    link stays. Devices and pipes are written as they are.

    >>> from tempfile import mkdtemp
    >>> note = Path(mkdtemp()) / "note.txt"
    >>> with replacing(note) as partial:
    ...     _ = partial.write_text("done")
    >>> note.read_text(), len(list(note.parent.iterdir()))
    ('done', 1)
    """
    path = Path(path).resolve()
    if path.exists() and not path.is_file():
        yield path
        return
    partial = path.with_name(f".{path.stem[:16]}.{secrets.token_hex(4)}{path.suffix}")
    try:
        yield partial
        if path.exists():
            partial.chmod(path.stat().st_mode & 0o7777)
        sync(partial)
        partial.replace(path)
        sync(path.parent)
    except OSError as error:
        if error.filename is None:  # a full disk names nothing
            error.filename = str(path)
        raise
    finally:
        partial.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk."""
    if os.name == "nt" and path.is_dir():  # folders cannot be opened there
        return
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write(path: Path | str, data: bytes) -> None:
    """Writes a file whole or not at all.

    Raises:
        OSError: it cannot be written, on a full disk for example; what was there before is still there.
    """
    try:
        with replacing(path) as partial:
            partial.write_bytes(data)
    except OSError as error:
        raise OSError(error.errno, f"{path} cannot be written: {error.strerror}") from error


def output(path: Any, endings: Sequence[str] = ()) -> Path:
    """The path of a file that is to be written, checked before the work that makes it.

    Args:
        endings: what the name may end in, in small letters, for example ".png"; capitals are taken, too. A
            device has no ending.

    Raises:
        TypeError: no path. ValueError: another ending. OSError: a folder, a folder that does not exist, or
        no permission.
    """
    path = as_path(path)
    if path.is_dir():
        raise IsADirectoryError(
            f"{path} is a folder; expected the name of a file, for example {path / 'out'}"
        )
    if path.exists() and not path.is_file():
        return path
    if endings and path.suffix.lower() not in endings:
        ends = f"ends in {path.suffix!r}" if path.suffix else "has no ending"
        raise ValueError(f"{path} {ends}; expected {listed([*endings])}")
    if path.exists() and not os.access(path, os.W_OK):
        raise PermissionError(f"{path} may not be written to; choose another name or change its permissions")
    _probe(path.resolve().parent, path)
    return path


def output_folder(path: Any) -> Path:
    """The path of a folder that is to be filled, checked before the work; it may not exist yet.

    Raises:
        TypeError: no path. OSError: a file, a place where no folder can be made, or no permission.
    """
    path = as_path(path)
    nearest = next(place for place in (path, *path.absolute().parents) if place.exists())
    if not nearest.is_dir():
        raise NotADirectoryError(f"{nearest} is a file; expected a folder, or the name of a new one")
    _probe(nearest, path)
    return path


def as_path(path: Any) -> Path:
    """A path from a string or a path.

    Raises:
        TypeError: neither. ValueError: no file can have that name.
    """
    if not isinstance(path, str | os.PathLike) or isinstance(os.fspath(path), bytes):
        raise TypeError(f"the path is {shown(path)}; expected a string or a path")
    if not os.fspath(path) or "\0" in os.fspath(path):
        raise ValueError(f"the path is {shown(path)}; expected the name of a file or folder")
    return Path(path)


def _probe(folder: Path, path: Path) -> None:
    """Makes a nameless file in a folder, since permissions alone do not tell whether one can be made."""
    if not folder.is_dir():
        missing = f"{folder} is a file" if folder.exists() else f"there is no folder {folder}"
        raise FileNotFoundError(f"{path} cannot be written: {missing}; make the folder first")
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise type(error)(error.errno, f"{path} cannot be written: {error.strerror}") from None
