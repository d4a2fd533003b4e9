"""How good and how fast is the text model, against an autoregressive twin and against counting?

Every number is by source: tale and function are what people wrote, "real" is both; story and snippet are of
grammars. Likelihoods are in `likelihood`; here is what the model writes, and how fast.
"""

from __future__ import annotations

import ast
import difflib
import math
import os
import re
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

from ..core.loop import last
from ..engine import ArrowEngine
from ..text.sampling import Sampling, sample_text
from ..text.tokenizer import EOS, MASK, PAD
from ..text.weights import load_model
from ..train.data.corpora import Document, build_corpus, corpora_in, tales_file
from ..train.text.packing import prompt_tokens
from ..weights.layout import weights_files
from ..weights.shipped import model_folder
from .functions import pass_rates
from .law import CONTEXTS, curve, law, score_masked
from .likelihood import (
    SOURCES,
    WHOLE,
    HeldText,
    bits_per_byte,
    by_source,
    held_texts,
    key_of,
    nats_of,
    ngram_nats,
    over_works,
    perplexity_gap,
    score_bound,
    score_causal,
    score_sampler,
)
from .models import own_text, text_beside_llama
from .report import network_report
from .results import Measured, Measurement, Setting, announce, jackknife

COMMON = set(
    "story about tale that begins this with from into then them they their what when were have".split()
)
CURVE = 120  # texts of the lossy curve, spread over sources and works
GENERATED = 192  # tokens of a story
LAW = Sampling("ar", GENERATED)  # of what is written by default, here without drafts
NEVER_ASKED = 100  # prompts of functions of each novelty
FP16_TEXT = Path("bench/text")  # what the text models that ship were rounded from


def generated(
    engine: ArrowEngine, prompts: Sequence[str], kind: str, how: Sampling, width: int = 25
) -> list[list[int]]:
    """Tokens written for each prompt, in batches."""
    out = []
    for i in range(0, len(prompts), width):
        heads = [prompt_tokens(engine.tokenizer, kind, prompt) for prompt in prompts[i : i + width]]
        state = last(
            sample_text(engine.network, heads, replace(how, seed=how.seed + i), engine.metadata.context)
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


def words_found(prompt: str, text: str) -> float:
    """Share of a prompt's content words that a text contains, as a word or the beginning of one."""
    words = content(prompt)
    return sum(bool(re.search(rf"\b{word}", text.lower())) for word in words) / max(len(words), 1)


def token_entropy(rows: Iterable[Sequence[int]]) -> float:
    """Entropy of the tokens' frequencies, bits."""
    counts = np.array([*Counter(token for row in rows for token in row).values()], float)
    p = counts / counts.sum()
    return float(-(p * np.log2(p)).sum())


def distinct_2(rows: Iterable[Sequence[int]]) -> float:
    """Different pairs of neighbours over all pairs."""
    pairs = [pair for row in rows for pair in pairwise(row)]
    return len(set(pairs)) / len(pairs) if pairs else 0.0


def parses(source: str) -> bool:
    try:
        ast.parse(source)
    except (SyntaxError, ValueError):
        return False
    return True


def gaps_of(
    engine: ArrowEngine, held: Sequence[HeldText], count: int
) -> list[tuple[HeldText, str, str, str]]:
    """Middles of 1 to 10 tokens with what stands before and after, at most `count` of each source."""
    rng, taken, out = np.random.default_rng(11), Counter[str](), []
    for one in held:
        body = one.body[:120]
        size = int(rng.integers(1, min(11, len(body) // 2)))
        start = int(rng.integers(1, len(body) - size))
        before, middle, after = (
            engine.tokenizer.decode(part)
            for part in (body[:start], body[start : start + size], body[start + size :])
        )
        short = len(engine.tokenizer.encode(before) + engine.tokenizer.encode(after)) <= 160
        if short and taken[one.source] < count:
            taken[one.source] += 1
            out.append((one, before, middle, after))
    return out


def means_by_source(held: Sequence[HeldText], values: np.ndarray) -> dict[str, Measured]:
    return by_source(held, lambda places: Measured.mean(values[places]))


def infills(engine: ArrowEngine, held: Sequence[HeldText], count: int) -> dict[str, dict[str, Any]]:
    """Exact match and edit similarity of middles, by source; and how much of both is kept, of all texts
    together, where the length is not given.
    """
    cases, out, means = gaps_of(engine, held, count), {}, {}
    texts = [one for one, *_ in cases]
    for name, options in (
        ("known_length", lambda n: {"length": n}),
        ("unknown_length", lambda _: {}),
        ("reading_order", lambda _: {"mode": "ar"}),
    ):
        exact, similar = np.zeros(len(cases)), np.zeros(len(cases))
        for i, (one, before, middle, after) in enumerate(cases):
            size = len(engine.tokenizer.encode(middle))
            whole = engine.infill(
                before,
                after,
                kind=one.kind,
                prompt=engine.tokenizer.decode(one.head),
                temperature=0.1,
                **options(size),
            ).text
            made = whole[len(before) : len(whole) - len(after)]
            exact[i] = made == middle
            similar[i] = difflib.SequenceMatcher(None, made, middle, autojunk=False).ratio()
        out[name] = {
            "exact": means_by_source(texts, exact),
            "edit": means_by_source(texts, similar),
        }
        means[name] = {"exact": Measured.mean(exact), "edit": Measured.mean(similar)}
    given, found = means["known_length"], means["unknown_length"]
    return out | {"kept": {kind: found[kind].over(given[kind]) for kind in given}}


def seconds_to_write(engine: ArrowEngine, how: Sampling, runs: int) -> Measured:
    """Median seconds to write `how.max_tokens` tokens; only runs whose canvas was filled count."""
    head, taken = prompt_tokens(engine.tokenizer, "text", "a story about a fox"), []
    for seed in range(10 * runs):
        began = time.perf_counter()
        state = last(sample_text(engine.network, [head], replace(how, seed=seed), engine.metadata.context))
        if not bool((state.x == PAD).any()):  # type: ignore[union-attr]
            taken.append(time.perf_counter() - began)
        if len(taken) == runs:
            break
    return Measured.median(taken) if taken else Measured(None, n=0)


def tokens_per_second(engine: ArrowEngine, how: Sampling, runs: int) -> Measured:
    """Of 64 tokens."""
    seconds = seconds_to_write(engine, replace(how, max_tokens=64), runs)
    return seconds.mapped(lambda s: 64 / s, lambda s: 64 / s**2)


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


def corpora(folder: Path) -> tuple[list[Document], dict[str, str]]:
    """Documents in `folder`, and why a source is missing; corpora that are not there are built from what this
    machine has.
    """
    for kind in ("text", "code"):
        if not (folder / f"{kind}.jsonl.gz").exists():
            announce(f"building the corpus of {kind}")
            build_corpus(kind, folder, tales_file(os.environ.get("BOWSTRING_DATA")))
    found = corpora_in(folder)
    missing = {name: f"{folder} has no held-out {name}" for name in SOURCES} | {
        "tale": f"{folder} was built without the tales, which BOWSTRING_DATA names"
    }
    there = {document.source for document in found if document.split == "test"}
    return found, {name: why for name, why in missing.items() if name not in there}


def likelihood_numbers(
    engine: ArrowEngine, setting: Setting, documents: Sequence[Document], held: Sequence[HeldText]
) -> dict[str, Any]:
    """Bits per byte by source, and perplexities over the autoregressive twin's: exact, of causal rows, whose
    law the default's is; of the block sampler; of masked places alone, two at an evaluation; of the bounds.
    """
    network, context = engine.network, engine.metadata.context
    rival, _, _ = load_model(setting.baseline)
    draws = 2 if setting.quick else 6
    scores = {
        "baseline_ar": score_causal(rival),
        "ar": score_causal(network),
        "sampler": score_sampler(network, Sampling(), context),
        "masked_2": score_masked(network, Sampling(block=4, steps=2, order="confidence"), context),
    }
    for name, size in (("b4", 4), ("b8", 8), ("b16", 16), ("whole", WHOLE)):
        scores[f"nelbo_{name}"] = score_bound(network, size, draws * (2 if size == WHOLE else 1))
    nats = {}
    for name, score in scores.items():
        announce(f"likelihood of {len(held)} texts: {name}")
        nats[name] = nats_of(score, held)
    gaps = {name: perplexity_gap(held, some, nats["baseline_ar"]) for name, some in nats.items()}
    train = [document for document in documents if document.split == "train"]
    announce("counting")
    counted = ngram_nats(train[:: 8 if setting.quick else 1], held, engine.tokenizer)
    return {
        "gap_exact": gaps["ar"],
        "gap_sampler": gaps["sampler"],
        "gap_masked_2": gaps["masked_2"],
        "gap_nelbo_b4": gaps["nelbo_b4"],
        "gap_nelbo_b8": gaps["nelbo_b8"],
        "gap_nelbo_b16": gaps["nelbo_b16"],
        "gap_nelbo_whole": gaps["nelbo_whole"],
        "bits_per_byte": {name: bits_per_byte(held, some) for name, some in (nats | counted).items()},
    }


def written_numbers(
    engine: ArrowEngine, documents: Sequence[Document], rule: int, *, quick: bool
) -> dict[str, Any]:
    """What is written on held-out prompts, by source: words that appear, variety, code that parses."""
    numbers: dict[str, Any] = {}
    codec = engine.tokenizer
    tests = over_works([one for one in documents if one.held_out(rule)])
    modes = {"": LAW, "_diffusion": Sampling(max_tokens=GENERATED)}
    for kind, sources, count in (("text", ("tale", "story"), 30), ("code", ("function", "snippet"), 40)):
        for source in sources:
            chosen = [one for one in tests if key_of(one, rule) == source][: count if quick else 3 * count]
            if not chosen:
                continue
            prompts, bodies = [one.prompts[0] for one in chosen], [one.body for one in chosen]
            real = [codec.encode(body)[:GENERATED] for body in bodies]
            numbers.setdefault("distinct_2_real", {})[source] = jackknife(distinct_2, real)
            for mode, how in modes.items():
                announce(f"writing {len(prompts)} texts, {source}{mode}")
                rows = generated(engine, prompts, kind, how)
                texts = [codec.decode(row) for row in rows]
                found = {f"distinct_2{mode}": jackknife(distinct_2, rows)}
                both = [*zip(rows, real, strict=True)]
                found[f"entropy_ratio{mode}"] = jackknife(entropy_ratio, both)
                if kind == "code":
                    found[f"parse_rate{mode}"] = Measured.mean([float(parses(text)) for text in texts])
                else:
                    found |= recalls(prompts, texts, mode)
                    if not mode:
                        found["prompt_recall_real"] = recalls(prompts, bodies, "")["prompt_recall"]
                for name, number in found.items():
                    numbers.setdefault(name, {})[source] = number
    return numbers


def entropy_ratio(pairs: list[tuple[list[int], list[int]]]) -> float:
    """Entropy of what was written over that of what people wrote on the same prompts."""
    made, real = zip(*pairs, strict=True)
    return token_entropy(made) / token_entropy(real)


def recalls(prompts: Sequence[str], texts: Sequence[str], mode: str) -> dict[str, Measured]:
    """Recall of the words asked for, and of those that other prompts asked for: the control."""
    others = [*prompts[7:], *prompts[:7]]
    return {
        f"prompt_recall{mode}": Measured.mean([*map(words_found, prompts, texts)]),
        f"prompt_recall_shuffled{mode}": Measured.mean([*map(words_found, others, texts)]),
    }


def step_numbers(engine: ArrowEngine, held: Sequence[HeldText], runs: int) -> dict[str, Any]:
    """Blocks of 16 by fewer steps: bits per byte by source, and tokens a second."""
    out = {}
    for steps in (4, 8, 16):
        announce(f"blocks of 16 in {steps} steps")
        # The better order at so many tokens a step.
        order = Sampling().order if steps == 16 else "confidence"
        how = Sampling(block=16, steps=steps, order=order, max_tokens=GENERATED)
        nats = nats_of(score_sampler(engine.network, how, engine.metadata.context), held)
        out[f"block_16_steps_{steps}"] = {
            "bits_per_byte": bits_per_byte(held, nats),
            "tokens_per_second": tokens_per_second(engine, how, runs),
        }
    return out


def speculation(*, quick: bool) -> dict[str, Any]:
    """What drafts of the INT4 model give, and whether their law is that of one token at a time."""
    announce("drafts of the INT4 model")
    own = own_text(2 if quick else 5)
    names = ("default_over_ar", "ms_per_row", "tokens_per_verification")
    forwards = own["tokens_per_verification"].mapped(lambda x: 2 / x, lambda x: 2 / x**2)
    announce("their law")
    tested = law(ArrowEngine.load("text-int4"), 20 if quick else CONTEXTS)
    return {name: own[name] for name in names} | {"forwards_per_token": forwards} | tested


@torch.no_grad()
def measure_text(setting: Setting) -> Measurement:
    """Everything the README says about text."""
    folder, quick = model_folder(setting.model), setting.quick
    engine = ArrowEngine.load(folder)
    _, _, rival = load_model(setting.baseline)
    rule = min(engine.metadata.split_rule, rival.split_rule)
    documents, missing = corpora(setting.data)
    held = held_texts(documents, engine.tokenizer, engine.metadata.context, 12 if quick else 60, rule)
    numbers = likelihood_numbers(engine, setting, documents, held)
    numbers |= written_numbers(engine, documents, rule, quick=quick)
    code = lambda asked: map(engine.tokenizer.decode, generated(engine, asked, "code", LAW))  # noqa: E731
    numbers |= pass_rates(code, rule, 24 if quick else NEVER_ASKED)
    announce("infilling")
    filled = infills(engine, held, 6 if quick else 40)
    numbers |= {
        "infill_exact": filled["unknown_length"]["exact"],
        "infill_edit": filled["unknown_length"]["edit"],
        "infill_kept": filled.pop("kept"),
    }
    numbers["curve"], numbers["keep_4_of_50_text"] = curve(engine, held[: None if quick else CURVE])
    numbers |= speculation(quick=quick)
    runs = 3 if quick else 7
    numbers |= {"infill": filled, "steps": step_numbers(engine, held, runs)}
    announce("speed")
    numbers |= {
        "seconds_64_tokens": seconds_to_write(engine, Sampling(max_tokens=64, block=16, steps=4), runs),
        "tokens_per_second": {
            "ar": tokens_per_second(engine, Sampling(mode="ar"), runs),
            "diffusion": tokens_per_second(engine, Sampling(), runs),
        },
        "first_token_s": Measured.median([first_token_seconds(setting.model) for _ in range(3)]),
        "trunk_share": Measured(network_report(folder)["trunk_share"]),
        "sampler": {name: str(value) for name, value in asdict(Sampling()).items()},
        "held_out": dict(Counter(one.source for one in held))
        | {"works": len({one.work for one in held}), "tokens": sum(len(one.body) for one in held)},
        "split_rule": rule,
        "model": folder.name,
    }
    announce("beside llama.cpp")
    ratios, absent = text_beside_llama(runs, 32 if quick else 128)
    numbers, missing = numbers | ratios, missing | absent
    if rule == 1:
        missing["held-out templates"] = "the model was trained before templates of the grammars were held out"
    weights = [*weights_files(folder), *weights_files(setting.baseline)]
    return Measurement(numbers, weights, missing)
