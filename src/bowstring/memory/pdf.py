"""Texts of PDF files, page by page; read by pypdf, which the extra `pdf` installs."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .chunks import paragraphs

MOST = 5000  # pages
logging.getLogger("pypdf").addHandler(logging.NullHandler())  # its faults are told here, once and with a name


def entries(path: Path, data: bytes) -> Iterator[dict[str, Any]]:
    """Fields of an entry for each piece of a page; its payload has the page's number, from 1.

    Raises:
        ImportError: pypdf is not installed. ValueError: no PDF that can be read, a locked one, or one without
        text, as scans are.
    """
    found = False
    for number, text in enumerate(pages(path, data), 1):
        for piece in paragraphs(text):
            found = True
            yield {"text": piece, "source": str(path), "payload": {"page": number}}
    if not found:
        raise ValueError(f"{path} holds no text; scanned pages have to be recognised first")


def pages(path: Path, data: bytes) -> Iterator[str]:
    """The text of every page; see `entries`."""
    try:
        from pypdf import PdfReader
    except ImportError:
        raise ImportError(f"{path} is read by pypdf: pip install 'bowstring[pdf]'") from None
    try:
        reader = PdfReader(io.BytesIO(data))
        locked = reader.is_encrypted and not reader.decrypt("")
        count = 0 if locked else len(reader.pages)
    except Exception as error:  # a damaged file makes pypdf raise anything
        raise unreadable(path, error) from None
    if locked:
        raise ValueError(f"{path} is locked by a password; save it without one")
    if count > MOST:
        raise ValueError(f"{path} has {count:,} pages; expected {MOST:,} at most")
    for number in range(count):
        try:
            yield reader.pages[number].extract_text()
        except Exception as error:
            raise unreadable(path, error) from None


def unreadable(path: Path, error: Exception) -> ValueError:
    return ValueError(f"{path} is no PDF that can be read: {error or type(error).__name__}")
