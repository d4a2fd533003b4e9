"""What do rows cost? A body of SDAR-1.7B's shape with random weights of 4 bits: about a gigabyte."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np

from ..decode.config import Blocks, DecoderConfig, Rope
from ..decode.decoder import Decoder, LayerWeights
from ..decode.generate import Sampling, in_blocks
from ..weights.quant.grouped import GROUP, GroupedMatrix, part_shapes
from .results import Measured

SDAR = DecoderConfig(
    family="sdar",
    width=2048,
    layers=28,
    heads=16,
    kv_heads=8,
    head=128,
    ffn=6144,
    vocab=151_936,
    context=4096,
    epsilon=1e-6,
    rope=Rope(1e6),
    qk_norm=True,
    blocks=Blocks(4, 151_669),
)
TINY = replace(SDAR, width=64, layers=2, heads=4, kv_heads=2, head=16, ffn=96, vocab=512, blocks=Blocks(4, 9))
THREADS = 2


def seconds_of(run: Callable[[], Any]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def random_matrix(rng: np.random.Generator, shape: tuple[int, int], bits: int) -> GroupedMatrix:
    """Random codes under a scale that keeps the sizes of rows."""
    shapes = part_shapes(bits, shape)
    lines = np.frombuffer(rng.bytes(int(np.prod(shapes["lines"][1]))), np.uint8).reshape(shapes["lines"][1])
    scale = 1 / (shape[1] ** 0.5 * (1 << bits) / 12**0.5)
    return GroupedMatrix(bits, shape, lines, np.full(shapes["scales"][1], scale, np.float16))


def random_decoder(config: DecoderConfig) -> Decoder:
    """A body of random matrices of 4 bits, one of 8 bits at both ends."""
    rng, c = np.random.default_rng(0), config
    wide, narrow = c.heads * c.head, c.kv_heads * c.head
    shapes = {"q": (wide, c.width), "k": (narrow, c.width), "v": (narrow, c.width), "out": (c.width, wide)}
    shapes |= {"gate": (c.ffn, c.width), "up": (c.ffn, c.width), "down": (c.width, c.ffn)}
    ones, heads = np.ones(c.width, np.float32), np.ones(c.head, np.float32)
    norms = {"attention_norm": ones, "ffn_norm": ones, "q_norm": heads, "k_norm": heads}
    made = [norms | {n: random_matrix(rng, shape, 4) for n, shape in shapes.items()} for _ in range(c.layers)]
    layers = [LayerWeights(**parts) for parts in made]  # type: ignore[arg-type]  # by name
    return Decoder(c, random_matrix(rng, (c.vocab, c.width), 8), layers, ones)


def size_of(decoder: Decoder) -> tuple[int, int]:
    """Bytes of matrices that a row with its logits reads, and its multiplications and additions."""
    matrices = [decoder.head]
    for layer in decoder.layers:
        matrices += [getattr(layer, name) for name in ("q", "k", "v", "out", "gate", "up", "down")]
    packed = [m for m in matrices if isinstance(m, GroupedMatrix)]
    return sum(m.lines.nbytes + m.scales.nbytes for m in packed), sum(
        2 * m.shape[0] * m.shape[1] for m in packed
    )


def bandwidth(megabytes: int, runs: int) -> float:
    """Bytes a second that two threads read from memory, the best of some runs."""
    parts = np.ones((THREADS, megabytes * 2**18 // THREADS), np.float32)
    with ThreadPoolExecutor(THREADS) as pool:
        taken = [seconds_of(lambda: [*pool.map(lambda part: part @ part, parts)]) for _ in range(runs)]
    return parts.nbytes / min(taken)


def peak(size: int, runs: int) -> float:
    """Operations a second of the kernels on a matrix of 4 bits and 128 rows, the best of some runs."""
    rng = np.random.default_rng(1)
    matrix, x = random_matrix(rng, (size, size), 4), rng.normal(size=(128, size)).astype(np.float32)
    return 2 * 128 * size**2 / min(seconds_of(lambda: matrix.matmul(x)) for _ in range(runs))


def forward_seconds(decoder: Decoder, rows: int, past: int = 4 * GROUP) -> Callable[[], float]:
    cache, tokens = decoder.cache(), np.arange(rows) + 5
    decoder.forward(np.arange(past), cache)

    def run() -> float:
        taken = seconds_of(lambda: decoder.logits(decoder.forward(tokens, cache)))
        cache.truncate(past)
        return taken

    return run


def block_rate(decoder: Decoder, evaluations: int, blocks: int) -> float:
    """Tokens a second of blocks of 4 in so many evaluations each, the first block not counted."""
    made = in_blocks(decoder, [7] * 8, decoder.cache(), Sampling(0.8), evaluations)
    done = (block for block in made if block.done)
    next(done)
    return 4 * blocks / seconds_of(lambda: [*islice(done, blocks)])


def row_costs(runs: int, *, tiny: bool = False) -> dict[str, Any]:
    """rows_8_over_1, the least that memory and arithmetic let it be (rows_bound), and tokens a second at 4, 2
    and 1 evaluations a block of 4.
    """
    decoder = random_decoder(TINY if tiny else SDAR)
    read, operations = size_of(decoder)
    timed = {rows: forward_seconds(decoder, rows) for rows in (1, 8)}
    taken: dict[int, list[float]] = {1: [], 8: []}
    rates: dict[str, list[float]] = {"4": [], "2": [], "1": []}
    for _ in range(runs):
        for rows, run in timed.items():
            taken[rows].append(run())
        for evaluations in rates:
            rates[evaluations].append(block_rate(decoder, int(evaluations), 1 if tiny else 4))
    one, eight = Measured.median(taken[1]), Measured.median(taken[8])
    speed, most = bandwidth(8 if tiny else 512, runs), peak(256 if tiny else 2048, runs)
    least = max(read / speed, 8 * operations / most)
    return {
        "rows_8_over_1": eight.over(one),
        "rows_bound": Measured(least, n=runs).over(one),
        "sdar_tokens_s": {name: Measured.median(values) for name, values in rates.items()},
        "sdar": {
            "row_ms": one.mapped(lambda s: 1e3 * s, lambda s: 1e3),
            "rows_8_ms": eight.mapped(lambda s: 1e3 * s, lambda s: 1e3),
            "megabytes": Measured(read / 1e6),
            "bandwidth_gb_s": Measured(speed / 1e9, n=runs),
            "peak_gop_s": Measured(most / 1e9, n=runs),
        },
    }
