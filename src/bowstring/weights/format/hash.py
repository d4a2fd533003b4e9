"""The hash of a tensor's bytes: XXH3 with 128 bits, seed 0 (Collet, xxHash 0.8), as 32 hexadecimal digits.

It finds damage, not forgery. Eight 64-bit lanes take 64 bytes at a time; 16 such stripes are a block:

    key = data ^ secret[8 j : 8 j + 64]      j is the stripe's number within its block
    lane[i] += data[i ^ 1] + (low half of key[i]) * (high half of key[i])
    at the end of a block: lane = (lane ^ lane >> 47 ^ secret[128:192]) * 0x9E3779B1

The last 64 bytes are always one more stripe, with secret[121:185]. All sums and products are modulo 2^64.
The lanes are folded pairwise into either half of the digest, with the length. Every byte enters two lanes
and every later step of a lane is one to one, so that no change of a single bit is lost before the fold.

Inputs of 241 bytes or more have the digest that every xxHash library gives. XXH3 has four more forms for
shorter ones; here they are padded with zeros to 256 bytes and folded with their own length.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np

from ... import _native

STRIPE, STRIPES, SHORTEST = 64, 16, 256
BLOCK = STRIPE * STRIPES
WORD = (1 << 64) - 1
PRIMES = (
    0x9E3779B185EBCA87,
    0xC2B2AE3D27D4EB4F,
    0x165667B19E3779F9,
    0x85EBCA77C2B2AE63,
    0x27D4EB2F165667C5,
)
PRIMES_32 = (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D)
START = (PRIMES_32[2], *PRIMES[:4], PRIMES_32[1], PRIMES[4], PRIMES_32[0])
SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671fcb79e64eccc0e578825ad07dccff7221"
    "b8084674f743248ee03590e6813a264c3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
    "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364eac5ac8334d3ebc3c581a0fffa1363eb"
    "170ddd51b7f0da49d316552629d4689e2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e"
)


def digest(data: bytes | memoryview) -> str:
    """The hash of `data`."""
    return digests(data, [(0, len(data))])[0]


def digests(data: bytes | memoryview, places: Sequence[tuple[int, int]]) -> list[str]:
    """The hashes of parts of `data`, each given by its offset and size, on all threads."""
    library = _native.library()
    if library is None or not len(data):
        return [reference(data[at : at + size]) for at, size in places]
    whole = np.frombuffer(data, np.uint8)
    where = np.array(places, np.uintp).reshape(-1, 2).T.copy()
    out = ctypes.create_string_buffer(16 * len(places))
    start = where.ctypes.data
    _native.checked(
        library.bowstring_digests(
            whole.ctypes.data, whole.size, start, start + where[0].nbytes, len(places), out
        )
    )
    return [out.raw[i : i + 16].hex() for i in range(0, len(out), 16)]


def _secret(at: int) -> np.ndarray:
    return np.frombuffer(SECRET, "<u8", 8, at)


def _terms(stripes: np.ndarray, secrets: np.ndarray) -> np.ndarray:
    """What stripes `(..., 8)` add to the lanes."""
    key = stripes ^ secrets
    return stripes[..., [1, 0, 3, 2, 5, 4, 7, 6]] + (key & np.uint64(0xFFFFFFFF)) * (key >> np.uint64(32))


def _merge(lanes: list[int], secret: list[int], start: int) -> int:
    total = start
    for a, b, c, d in zip(lanes[::2], lanes[1::2], secret[::2], secret[1::2], strict=True):
        product = (a ^ c) * (b ^ d)
        total += (product & WORD) ^ (product >> 64)
    total &= WORD
    total = (total ^ total >> 37) * 0x165667919E3779F9 & WORD
    return total ^ total >> 32


def reference(data: bytes | memoryview) -> str:
    """`digest` in numpy."""
    size = len(data)
    padded = bytes(data).ljust(SHORTEST, b"\0") if size <= 240 else data
    words = np.frombuffer(padded, "<u8", len(padded) // 8)
    secrets = np.stack([_secret(8 * j) for j in range(STRIPES)])
    blocks = (len(padded) - 1) // BLOCK
    whole = words[: blocks * BLOCK // 8].reshape(blocks, STRIPES, 8)
    lanes, end, prime = np.array(START, np.uint64), _secret(128), np.uint64(PRIMES_32[0])
    for block in whole:
        lanes = lanes + _terms(block, secrets).sum(0)
        lanes = (lanes ^ lanes >> np.uint64(47) ^ end) * prime
    stripes = (len(padded) - 1) // STRIPE - blocks * STRIPES
    rest = words[blocks * BLOCK // 8 :][: stripes * 8].reshape(stripes, 8)
    last = np.frombuffer(padded, "<u8", 8, len(padded) - STRIPE)
    lanes = lanes + _terms(rest, secrets[:stripes]).sum(0) + _terms(last, _secret(121))
    low = _merge(lanes.tolist(), _secret(11).tolist(), size * PRIMES[0] & WORD)
    high = _merge(lanes.tolist(), _secret(117).tolist(), ~(size * PRIMES[1]) & WORD)
    return f"{high:016x}{low:016x}"
