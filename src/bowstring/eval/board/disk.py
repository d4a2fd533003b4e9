"""Sees and fails what a process does to files: Python's calls by `os`, SQLite's by a file layer of its own.

SQLite's layer (its "VFS") is the system's with four methods exchanged, through ctypes, in the library that
Python's sqlite3 has loaded. Where SQLite is part of Python's own file there is none to be reached.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

POINTER, INT, INT64 = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64
SQLITE_OK, FAILED_READ, FAILED_WRITE, FAILED_SYNC = 0, 10 | 1 << 8, 10 | 3 << 8, 10 | 4 << 8
VFS_METHODS, FILE_METHODS = 16, 18
OPEN, DELETE = 0, 1  # among the methods of a VFS
READ, WRITE, TRUNCATE, SYNC = 1, 2, 3, 4  # among those of a file


class Vfs(ctypes.Structure):
    """`sqlite3_vfs`."""

    _fields_ = (
        *((name, INT) for name in ("version", "file_size", "longest_name")),
        *((name, POINTER) for name in ("next", "name", "data")),
        ("methods", POINTER * VFS_METHODS),
    )


class Methods(ctypes.Structure):
    """`sqlite3_io_methods`."""

    _fields_ = (("version", INT), ("methods", POINTER * FILE_METHODS))


# a name goes on as the pointer that came: SQLite keeps it, and Python's copy of the text ends with the call
OpenCall = ctypes.CFUNCTYPE(INT, POINTER, POINTER, POINTER, INT, POINTER)
DeleteCall = ctypes.CFUNCTYPE(INT, POINTER, POINTER, INT)
DataCall = ctypes.CFUNCTYPE(INT, POINTER, POINTER, INT, INT64)
TruncateCall = ctypes.CFUNCTYPE(INT, POINTER, INT64)
SyncCall = ctypes.CFUNCTYPE(INT, POINTER, INT)


class Watcher:
    """What is told of every act before it happens; an act that `allows` refuses fails with an I/O error."""

    def allows(self, act: str, path: Path) -> bool:
        return True

    def done(self, act: str, path: Path, *what: Any) -> None:
        """write: offset and bytes. truncate: size. rename: the new path. create, delete, sync: nothing."""


@cache
def library() -> ctypes.CDLL | None:
    """The SQLite that Python uses, if it lies in a file of its own."""
    maps = Path("/proc/self/maps")
    found = re.search(r"/\S*libsqlite3\S*", maps.read_text()) if maps.exists() else None
    if found is None or not sqlite3.sqlite_version:
        return None
    loaded = ctypes.CDLL(found[0])
    loaded.sqlite3_vfs_find.restype = ctypes.POINTER(Vfs)
    loaded.sqlite3_vfs_register.argtypes = [ctypes.POINTER(Vfs), INT]
    return loaded


def named(pointer: int) -> Path:
    """The path that SQLite's pointer leads to."""
    return Path(os.fsdecode(ctypes.string_at(pointer)))


class SqliteLayer:
    """A default VFS that tells a watcher; it stays in memory as long as a connection may use it."""

    def __init__(self, watcher: Watcher) -> None:
        self.watcher = watcher
        loaded = library()
        assert loaded is not None
        self.system = loaded.sqlite3_vfs_find(None)
        self.own = Vfs.from_buffer_copy(self.system.contents)
        self._name = ctypes.create_string_buffer(b"watched")
        self.own.name = ctypes.addressof(self._name)
        self.paths: dict[int, Path] = {}
        self._methods: dict[int, Methods] = {}
        self._kept: list[Any] = []
        self.own.methods[OPEN] = self._call(OpenCall(self._open))
        self.own.methods[DELETE] = self._call(DeleteCall(self._delete))

    def _call(self, function: Any) -> int:
        self._kept.append(function)
        return ctypes.cast(function, POINTER).value or 0

    def _open(self, _: int, name: int | None, file: int, flags: int, out: int) -> int:
        path = named(name) if name else None
        fresh = path is not None and not path.exists()
        call = OpenCall(self.system.contents.methods[OPEN])
        code = call(ctypes.addressof(self.system.contents), name, file, flags, out)
        if code == SQLITE_OK and path is not None:
            place = ctypes.cast(file, ctypes.POINTER(POINTER))
            self.paths[file] = path
            place[0] = ctypes.addressof(self._watched(place[0]))
            if fresh:
                self.watcher.done("create", path)
        return code

    def _delete(self, _: int, name: int, sync: int) -> int:
        path = named(name)
        if not self.watcher.allows("delete", path):
            return FAILED_WRITE
        there = path.exists()
        call = DeleteCall(self.system.contents.methods[DELETE])
        code = call(ctypes.addressof(self.system.contents), name, sync)
        if code == SQLITE_OK and there:
            self.watcher.done("delete", path)
        return code

    def _watched(self, address: int) -> Methods:
        """The methods of a file with ours among them; made once for each kind of file."""
        if address in self._methods:
            return self._methods[address]
        system = Methods.from_address(address)
        own = self._methods[address] = Methods.from_buffer_copy(system)
        read, write = DataCall(system.methods[READ]), DataCall(system.methods[WRITE])
        truncate, sync = TruncateCall(system.methods[TRUNCATE]), SyncCall(system.methods[SYNC])

        def reads(file: int, data: int, size: int, offset: int) -> int:
            allowed = self.watcher.allows("read", self.paths[file])
            return read(file, data, size, offset) if allowed else FAILED_READ

        def writes(file: int, data: int, size: int, offset: int) -> int:
            return self._act(
                FAILED_WRITE, "write", file, lambda: write(file, data, size, offset),
                offset, lambda: ctypes.string_at(data, size),
            )  # fmt: skip

        def truncates(file: int, size: int) -> int:
            return self._act(FAILED_WRITE, "truncate", file, lambda: truncate(file, size), size)

        def syncs(file: int, flags: int) -> int:
            return self._act(FAILED_SYNC, "sync", file, lambda: sync(file, flags))

        own.methods[READ], own.methods[WRITE] = self._call(DataCall(reads)), self._call(DataCall(writes))
        own.methods[TRUNCATE] = self._call(TruncateCall(truncates))
        own.methods[SYNC] = self._call(SyncCall(syncs))
        return own

    def _act(self, failure: int, act: str, file: int, call: Callable[[], int], *what: Any) -> int:
        path = self.paths[file]
        if not self.watcher.allows(act, path):
            return failure
        code = call()
        if code == SQLITE_OK:
            self.watcher.done(act, path, *(one() if callable(one) else one for one in what))
        return code


LAYERS: list[SqliteLayer] = []  # SQLite may call a layer until the process ends


@contextmanager
def watched_sqlite(watcher: Watcher) -> Iterator[None]:
    """Connections that are opened inside the block tell the watcher."""
    loaded = library()
    if loaded is None:
        raise RuntimeError("this Python carries SQLite inside; its files cannot be watched")
    layer = SqliteLayer(watcher)
    LAYERS.append(layer)
    loaded.sqlite3_vfs_register(ctypes.byref(layer.own), 1)
    try:
        yield
    finally:
        loaded.sqlite3_vfs_register(layer.system, 1)


def path_of(handle: int) -> Path:
    return Path(os.readlink(f"/proc/self/fd/{handle}"))


@contextmanager
def watched_python(watcher: Watcher) -> Iterator[None]:
    """`os` tells the watcher inside the block."""
    system = {name: getattr(os, name) for name in CALLS}

    def act(name: str, path: Path, call: Callable[[], Any], *what: Any) -> Any:
        if not watcher.allows(name, path):
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        result = call()
        watcher.done(name, path, *what)
        return result

    def opens(path: Any, flags: int, *rest: Any, **named: Any) -> int:
        fresh = flags & os.O_CREAT and not os.path.exists(path)
        call = lambda: system["open"](path, flags, *rest, **named)  # noqa: E731
        return act("create", Path(path).absolute(), call) if fresh else call()

    def writes(handle: int, data: Any) -> int:
        end = os.fstat(handle).st_size if is_appending(handle) else os.lseek(handle, 0, os.SEEK_CUR)
        return act("write", path_of(handle), lambda: system["write"](handle, data), end, bytes(data))

    exchanged: dict[str, Callable[..., Any]] = {
        "open": opens,
        "write": writes,
        "pwrite": lambda handle, data, offset: act(
            "write", path_of(handle), lambda: system["pwrite"](handle, data, offset), offset, bytes(data)
        ),
        "fsync": lambda handle: act("sync", path_of(handle), lambda: system["fsync"](handle)),
        "ftruncate": lambda handle, size: act(
            "truncate", path_of(handle), lambda: system["ftruncate"](handle, size), size
        ),
        "truncate": lambda path, size: act(
            "truncate", Path(path), lambda: system["truncate"](path, size), size
        ),
        "replace": lambda old, new: act("rename", Path(old), lambda: system["replace"](old, new), Path(new)),
        "unlink": lambda path: act("delete", Path(path), lambda: system["unlink"](path)),
    }
    for name, function in exchanged.items():
        setattr(os, name, function)
    try:
        yield
    finally:
        for name, function in system.items():
            setattr(os, name, function)


CALLS = ("open", "write", "pwrite", "fsync", "ftruncate", "truncate", "replace", "unlink")


def is_appending(handle: int) -> bool:
    import fcntl  # not on every system

    return bool(fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_APPEND)


@contextmanager
def watched(watcher: Watcher) -> Iterator[None]:
    """Both."""
    with watched_sqlite(watcher), watched_python(watcher):
        yield
