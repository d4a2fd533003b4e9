"""The postfilter and the network of words that no dictionary has travel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...speech.g2p import SYMBOLS
from ...speech.g2p_network import G2PNetwork
from ...speech.postfilter import Postfilter
from ..schedule import Run
from ..speech.g2p import fit_g2p
from ..speech.postfilter import run_postfilter
from ..speech.reading import Reading
from .arrays import (
    Arrays,
    Packed,
    Travelling,
    load_packed,
    pack_files,
    pack_network,
    pack_rows,
    pack_text,
    pack_weights,
    prefixed,
    under,
    unpack_network,
    unpack_rows,
    unpack_text,
    write_files,
)
from .joint import pack_coder, unpack_coder


def pack_readings(readings: Sequence[Reading]) -> Arrays:
    return {
        "symbols": pack_text("\n".join(one.symbols for one in readings)),
        **prefixed("seconds", pack_rows([one.seconds for one in readings])),
        **prefixed("signal", pack_rows([one.signal for one in readings])),
        **prefixed("pitch", pack_rows([one.pitch for one in readings])),
    }


def unpack_readings(arrays: Mapping[str, np.ndarray]) -> list[Reading]:
    symbols = unpack_text(arrays["symbols"]).split("\n")
    parts = (unpack_rows(under(name, arrays)) for name in ("seconds", "signal", "pitch"))
    return [Reading(*one) for one in zip(symbols, *parts, strict=True)]


def pack_postfilter(recipe: str, data: Path, runs: Path, given: Mapping[str, Any]) -> Packed:
    from ..speech.run import prepare_postfilter

    start = prepare_postfilter(data, runs)
    arrays, shape = pack_network(start.network)
    files = {str(one.relative_to(start.before)): one for one in start.before.rglob("*") if one.is_file()}
    return {
        **prefixed("network", arrays),
        **prefixed("coder", pack_coder(start.coder)),
        **prefixed("readings", pack_readings(start.readings)),
        **pack_files(files),
        "voice": start.voice,
    }, {"shape": shape, "given": dict(given)}


def postfilter_from(arrays: Arrays, settings: Mapping[str, Any], run: Run) -> Packed:
    network = unpack_network(under("network", arrays), settings["shape"]).eval()
    network.requires_grad_(requires_grad=False)
    readings, coder = unpack_readings(under("readings", arrays)), unpack_coder(under("coder", arrays))
    made = run_postfilter(readings, network, coder, arrays["voice"], run, **settings["given"])
    return prefixed("network", pack_weights(made)), {}


def join_postfilter(arrays: Arrays, settings: Mapping[str, Any], out: Path) -> None:
    from ..speech.run import save_postfilter

    postfilter = Postfilter()
    load_packed(postfilter, under("network", arrays))
    write_files(arrays, out)
    save_postfilter(out, postfilter)


def pack_words(rows: Sequence[tuple[str, str]]) -> np.ndarray:
    return pack_text("\n".join("\t".join(row) for row in rows))


def unpack_words(array: np.ndarray) -> list[tuple[str, str]]:
    rows = (line.split("\t") for line in unpack_text(array).split("\n"))
    return [(word, phonemes) for word, phonemes in rows]


def pack_g2p(recipe: str, data: Path, runs: Path, given: Mapping[str, Any]) -> Packed:
    from ..speech.run import dictionary

    words = dictionary()
    return {"learned": pack_words(words.learned), "file/words": pack_words([*words.kept.items()])}, {
        "given": dict(given)
    }


def g2p_from(arrays: Arrays, settings: Mapping[str, Any], run: Run) -> Packed:
    made = fit_g2p(unpack_words(arrays["learned"]), device=run.device, **settings["given"])
    return prefixed("network", pack_weights(made)), {}


def join_g2p(arrays: Arrays, settings: Mapping[str, Any], out: Path) -> None:
    from ..speech.run import save_g2p

    network = G2PNetwork(len(SYMBOLS))
    load_packed(network, under("network", arrays))
    save_g2p(out, network, dict(unpack_words(arrays["file/words"])))


POSTFILTER_RECIPE = Travelling(pack_postfilter, postfilter_from, join_postfilter, ("steps",))
G2P_RECIPE = Travelling(pack_g2p, g2p_from, join_g2p, ("steps",))
