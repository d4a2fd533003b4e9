"""What a file that is no weights file looks like, from its first bytes."""

from __future__ import annotations

BEGINNINGS = (
    (b"version https://git-lfs", "a pointer of Git LFS; fetch the file itself with `git lfs pull`"),
    (b"\x80\x02", "a pickle, which is never opened; save it as safetensors"),
    (b"\x80\x03", "a pickle, which is never opened; save it as safetensors"),
    (b"\x80\x04", "a pickle, which is never opened; save it as safetensors"),
    (b"\x80\x05", "a pickle, which is never opened; save it as safetensors"),
    (b"PK\x03\x04", "a zip archive, perhaps a checkpoint of torch.save; save it as safetensors"),
    (b"PARE", "an encrypted Parquet file"),
    (b"GGUF", "a GGUF file"),
    (b"\x1f\x8b", "a gzip archive; unpack it first"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x93NUMPY", "a numpy array"),
    (b"ARROW1", "an Arrow file"),
)
PAGES = (b"<!doctype", b"<html", b"<?xml", b"<head", b"<body")


def looks_like(head: bytes) -> str | None:
    """A few words for a file that begins so, or None."""
    for begins, words in BEGINNINGS:
        if head.startswith(begins):
            return words
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(PAGES):
        return "a web page, perhaps that of a failed download"
    if head[:4] == b"PAR1":
        return "a Parquet file that was cut off"
    if len(head) > 9 and head[8:9] == b"{" and head[5:8] == b"\0\0\0":
        return "a safetensors file; make it one of ours with `bowstring convert`"
    if text.startswith((b"{", b"[")):
        return "a JSON file"
    return None
