"""How good and how fast is the text model, against an autoregressive twin and against counting?

Likelihoods and counting are in `likelihood`; here is what the model writes, and how fast.
"""

from __future__ import annotations

import ast
import difflib
import math
import os
import re
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..engine import ArrowEngine
from ..text.sampling import Sampling, sample_text
from ..text.tokenizer import EOS, MASK, PAD
from ..text.weights import load_model
from ..train.data.corpora import Document, build_corpus, corpora_in, tales_file
from ..train.text.packing import prompt_tokens
from ..weights.shipped import SHIPPED
from .likelihood import CANVAS, Held, by_length, counting, held_out, score_bound, score_causal, score_sampler
from .report import network_facts

COMMON = set(
    "story about tale that begins this with from into then them they their what when were have".split()
)
GENERATED = 192  # tokens of a story


def generated(
    engine: ArrowEngine, prompts: Sequence[str], kind: str, how: Sampling, width: int = 25
) -> list[list[int]]:
    """Tokens written for each prompt, in batches."""
    out = []
    for i in range(0, len(prompts), width):
        known = [prompt_tokens(engine.tokenizer, kind, prompt) for prompt in prompts[i : i + width]]
        *_, state = sample_text(
            engine.network, known, replace(how, seed=how.seed + i), engine.metadata.context
        )
        rows = state.x.tolist()  # type: ignore[union-attr]
        out += [[token for token in _until_end(row) if token not in (PAD, MASK)] for row in rows]
    return out


def _until_end(row: list[int]) -> list[int]:
    return row[: row.index(EOS)] if EOS in row else row


def content(prompt: str) -> set[str]:
    """The words of a prompt that a text can be asked for."""
    return {
        word
        for word in re.findall(r"[a-z]{3,}", prompt.lower())
        if word not in COMMON and word not in ("the", "and")
    }


def recall(prompts: Sequence[str], texts: Sequence[str]) -> float:
    """Mean share of a prompt's content words that its text contains, as a word or the beginning of one."""
    shares = []
    for prompt, text in zip(prompts, texts, strict=True):
        words = content(prompt)
        found = sum(bool(re.search(rf"\b{word}", text.lower())) for word in words)
        shares.append(found / len(words))
    return statistics.fmean(shares)


def entropy(rows: Iterable[Sequence[int]]) -> float:
    """Entropy of the tokens' frequencies, bits."""
    counts = np.array([*Counter(token for row in rows for token in row).values()], float)
    p = counts / counts.sum()
    return float(-(p * np.log2(p)).sum())


def distinct_2(rows: Iterable[Sequence[int]]) -> float:
    """Different pairs of neighbours over all pairs."""
    pairs = [pair for row in rows for pair in pairwise(row)]
    return len(set(pairs)) / len(pairs)


def parses(source: str) -> bool:
    try:
        ast.parse(source)
    except (SyntaxError, ValueError):
        return False
    return True


def infills(engine: ArrowEngine, held: Sequence[Held], count: int) -> dict[str, float]:
    """Exact match and edit similarity of middles of 1 to 10 tokens, as many from each source."""
    rng = np.random.default_rng(11)
    sources = sorted({one.source for one in held})
    chosen = [
        one for name in sources for one in [h for h in held if h.source == name][: count // len(sources)]
    ]
    cases = []
    for one in chosen:
        body = one.body[:120]
        size = int(rng.integers(1, min(11, len(body) // 2)))
        start = int(rng.integers(1, len(body) - size))
        parts = (body[:start], body[start : start + size], body[start + size :])
        before, middle, after = (engine.tokenizer.decode(part) for part in parts)
        prompt = engine.tokenizer.decode(one.head)
        if len(engine.tokenizer.encode(before) + engine.tokenizer.encode(after)) <= 160:
            cases.append((before, middle, after, prompt, one.kind, len(engine.tokenizer.encode(middle))))
    out: dict[str, float] = {"cases": len(cases)}
    for name, options in (
        ("diffusion, known length", lambda n: {"length": n}),
        ("diffusion, unknown length", lambda _: {}),
        ("ar, fill in the middle", lambda _: {"mode": "ar"}),
    ):
        exact, similar = [], []
        for before, middle, after, prompt, kind, size in cases:
            made = engine.infill(
                before, after, kind=kind, prompt=prompt, temperature=0.1, **options(size)
            ).text
            made = made[len(before) : len(made) - len(after)]
            exact.append(made == middle)
            similar.append(difflib.SequenceMatcher(None, made, middle, autojunk=False).ratio())
        out |= {f"{name}: exact": statistics.fmean(exact), f"{name}: edit": statistics.fmean(similar)}
    return out


def seconds_of(engine: ArrowEngine, how: Sampling, runs: int) -> float:
    """Median seconds to sample_text `how.max_tokens` tokens; only runs whose canvas was filled count."""
    known, taken = prompt_tokens(engine.tokenizer, "text", "a story about a fox"), []
    for seed in range(10 * runs):
        began = time.perf_counter()
        *_, state = sample_text(engine.network, [known], replace(how, seed=seed), engine.metadata.context)
        if not bool((state.x == PAD).any()):  # type: ignore[union-attr]
            taken.append(time.perf_counter() - began)
        if len(taken) == runs:
            break
    return statistics.median(taken) if taken else math.nan


def first_token_seconds(model: Path | None) -> float:
    """From the start of the command in a terminal to the first written letter on it."""
    import pty

    command = [sys.executable, "-m", "bowstring", "run", "a story about a fox"]
    command += ["--model", str(model)] if model else []
    reader, writer = pty.openpty()
    began = time.perf_counter()
    child = subprocess.Popen(
        command, stdout=writer, stderr=subprocess.DEVNULL, env={**os.environ, "TERM": "xterm"}
    )
    os.close(writer)
    screen, seconds = b"", math.nan
    while math.isnan(seconds):
        try:
            fresh = os.read(reader, 4096)
        except OSError:  # the child has closed its side
            break
        screen += fresh
        if re.search(rb"[A-Za-z]", re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]?", b"", screen)):
            seconds = time.perf_counter() - began
    child.kill()
    child.wait()
    os.close(reader)
    return seconds


def corpora(folder: Path) -> tuple[list[Document], bool]:
    """Documents in `folder`; what is missing is built there from what this machine has."""
    for kind in ("text", "code"):
        if not (folder / f"{kind}.jsonl.gz").exists():
            build_corpus(kind, folder, tales_file(os.environ.get("BOWSTRING_DATA")))
    found = corpora_in(folder)
    return found, any(document.source == "tale" for document in found)


@torch.no_grad()
def measure(
    *,
    quick: bool,
    data: Path,
    baseline: Path,
    model: Path | None,
) -> dict[str, Any]:
    """Everything the README says about text."""
    load_before = os.getloadavg()[0]
    engine = ArrowEngine.load(model)
    network, codec, context = engine.network, engine.tokenizer, engine.metadata.context
    rival, _, _ = load_model(baseline)
    documents, tales = corpora(data)
    tests = [document for document in documents if document.split == "test"]
    held = held_out(tests, codec, context, 40 if quick else 100)
    shipped = Sampling()
    draws = 2 if quick else 6

    scores = {"baseline_ar": score_causal(rival), "ar": score_causal(network)}
    scores["exact"] = score_sampler(network, shipped, context)
    for name, size, more in (("b4", 4, 1), ("b8", 8, 1), ("b16", 16, 1), ("full", CANVAS, 4)):
        scores[f"nelbo_{name}"] = score_bound(network, size, draws * more)
    likelihoods = {name: by_length(score, held) for name, score in scores.items()}
    train = [document for document in documents if document.split == "train"]
    bits = {name: value[("all", "byte")] for name, value in likelihoods.items()} | counting(
        train, held, codec
    )
    nats = {name: value[("all", "nats a token")] for name, value in likelihoods.items()}
    gap = {name: math.exp(value - nats["baseline_ar"]) - 1 for name, value in nats.items()}

    asked = [d for d in tests if d.kind == "text"]
    asked = [asked[i] for i in np.random.default_rng(3).permutation(len(asked))][: 60 if quick else 200]
    prompts = [p for d in asked for p in d.prompts[:1]]
    real = [codec.encode(d.body)[:GENERATED] for d in asked]
    modes = {
        "diffusion": replace(shipped, max_tokens=GENERATED),
        "ar": Sampling(mode="ar", max_tokens=GENERATED),
    }
    written = {mode: generated(engine, prompts, "text", how) for mode, how in modes.items()}
    texts = {mode: [codec.decode(row) for row in rows] for mode, rows in written.items()}
    turned = prompts[7:] + prompts[:7]

    wishes = [d.prompts[0] for d in tests if d.kind == "code"][:: 6 if quick else 3]
    code = {mode: generated(engine, wishes, "code", how) for mode, how in modes.items()}
    parse = {mode: statistics.fmean(parses(codec.decode(row)) for row in rows) for mode, rows in code.items()}

    filled = infills(engine, held, 40 if quick else 160)
    runs = 3 if quick else 7
    steps = {}
    for count in (4, 8, 16):
        order = shipped.order if count == 16 else "confidence"  # the better one at so many tokens per step
        how = replace(shipped, block=16, steps=count, order=order, max_tokens=GENERATED)
        rows = generated(engine, prompts[: 20 if quick else 60], "text", how)
        nll = by_length(score_sampler(network, how, context), held)
        steps[f"block 16, {count} steps"] = {
            "bits_per_byte": nll[("all", "byte")],
            "entropy_ratio": entropy(rows) / entropy(real[: len(rows)]),
            "distinct_2": distinct_2(rows),
            "tokens_per_second": 64 / seconds_of(engine, replace(how, max_tokens=64), runs),
        }
    return {
        "ppl_gap_exact": gap["exact"],
        "ppl_gap_nelbo_b4": gap["nelbo_b4"],
        "ppl_gap": gap,
        "bits_per_byte": bits,
        "bits_per_byte_by_source": {
            name: {source: round(v, 4) for (source, unit), v in value.items() if unit == "byte"}
            for name, value in likelihoods.items()
        },
        "prompt_recall": recall(prompts, texts["diffusion"]),
        "prompt_recall_shuffled": recall(turned, texts["diffusion"]),
        "prompt_recall_ar": recall(prompts, texts["ar"]),
        "prompt_recall_real": recall(prompts, [d.body for d in asked]),
        "infill_exact": filled["diffusion, unknown length: exact"],
        "infill_edit": filled["diffusion, unknown length: edit"],
        "infill": filled,
        "parse_rate": parse["diffusion"],
        "parse_rate_ar": parse["ar"],
        "trunk_share": network_facts(model)["trunk_share"],
        "seconds_64_tokens": seconds_of(engine, Sampling(max_tokens=64, block=16, steps=4), runs),
        "first_token_s": statistics.median(first_token_seconds(model) for _ in range(3)),
        "entropy_ratio": entropy(written["diffusion"]) / entropy(real),
        "entropy_ratio_ar": entropy(written["ar"]) / entropy(real),
        "distinct_2": distinct_2(written["diffusion"]),
        "distinct_2_ar": distinct_2(written["ar"]),
        "distinct_2_real": distinct_2(real),
        "steps": steps,
        "tokens_per_second": {
            "ar": 64 / seconds_of(engine, Sampling(mode="ar", max_tokens=64), runs),
            "diffusion": 64 / seconds_of(engine, replace(shipped, max_tokens=64), runs),
        },
        "sampler": asdict(shipped),
        "held_out": dict(Counter(one.source for one in held))
        | {"tokens": sum(len(one.body) for one in held)},
        "tales": tales,
        "model": str(model or SHIPPED.name),
        "machine": {
            "threads": torch.get_num_threads(),
            "load_before": load_before,
            "load_after": os.getloadavg()[0],
        },
    }
