"""llama.cpp as rival: the same shapes and files, its own default chain of samplers, and of Python one call a
step.

By the package llama-cpp-python, which must be built for this machine (README); it is never a dependency.
"""

from __future__ import annotations

import ctypes
import importlib.util
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..decode.config import DecoderConfig

PACKAGE = "llama_cpp"
Q4_0 = 2  # llama.cpp's number of this type of file, and of this type of tensor
PROMPT = tuple(range(100, 107))


def missing() -> str | None:
    """Why there is no rival, None where there is one."""
    if importlib.util.find_spec(PACKAGE) is None:
        return "the rival llama-cpp-python is not installed"
    return None


def library() -> Any:
    """llama.cpp, silent."""
    import llama_cpp

    quiet = llama_cpp.llama_log_callback(lambda level, text, data: None)
    llama_cpp.llama_log_set(quiet, ctypes.c_void_p())
    library.kept = quiet  # type: ignore[attr-defined]  # the library calls it as long as it lives
    llama_cpp.llama_backend_init()
    return llama_cpp


class Rival:
    """A model of llama.cpp on so many threads.

    Raises:
        ValueError: it does not read the file.
    """

    def __init__(self, path: Path, threads: int, context: int = 1024) -> None:
        self.api = library()
        self.model = self.api.llama_model_load_from_file(
            str(path).encode(), self.api.llama_model_default_params()
        )
        if not self.model:
            raise ValueError(f"llama.cpp does not read {path}")
        said = self.api.llama_context_default_params()
        said.n_ctx, said.n_batch, said.n_threads, said.n_threads_batch = context, 512, threads, threads
        self.context = self.api.llama_init_from_model(self.model, said)
        self.vocab = self.api.llama_vocab_n_tokens(self.api.llama_model_get_vocab(self.model))

    def close(self) -> None:
        self.api.llama_free(self.context)
        self.api.llama_model_free(self.model)

    def clear(self) -> None:
        self.api.llama_memory_clear(self.api.llama_get_memory(self.context), True)

    def read(self, tokens: Sequence[int]) -> None:
        many = (self.api.llama_token * len(tokens))(*tokens)
        if self.api.llama_decode(self.context, self.api.llama_batch_get_one(many, len(tokens))):
            raise ValueError("llama.cpp could not read the tokens")

    def chain(self) -> Any:
        """Its default chain of samplers, in what counts here: top_k 40, top_p .95, temperature .8, a draw."""
        api = self.api
        made = api.llama_sampler_chain_init(api.llama_sampler_chain_default_params())
        for one in (
            api.llama_sampler_init_top_k(40),
            api.llama_sampler_init_top_p(0.95, 1),
            api.llama_sampler_init_temp(0.8),
            api.llama_sampler_init_dist(1),
        ):
            api.llama_sampler_chain_add(made, one)
        return made

    def decode_rate(self, count: int, *, draw: bool = True) -> float:
        """Tokens a second behind a short prompt; without `draw` the next token is given, not drawn."""
        self.clear()
        self.read(PROMPT)
        chain, token = self.chain(), PROMPT[0]
        began = time.perf_counter()
        for _ in range(count):
            if draw:
                token = self.api.llama_sampler_sample(chain, self.context, -1)
            self.read([token])
        taken = time.perf_counter() - began
        self.api.llama_sampler_free(chain)
        return count / taken

    def prefill_rate(self, tokens: Sequence[int]) -> float:
        self.clear()
        began = time.perf_counter()
        self.read(tokens)
        self.api.llama_synchronize(self.context)
        return len(tokens) / (time.perf_counter() - began)

    def logits(self, tokens: Sequence[int]) -> np.ndarray:
        """Behind each token, `(l, v)`."""
        self.clear()
        found = []
        for token in tokens:
            self.read([token])
            row = self.api.llama_get_logits_ith(self.context, -1)
            found.append(np.ctypeslib.as_array(row, (self.vocab,)).copy())
        return np.stack(found)


def requantised(path: Path, out: Path) -> Path:
    """The same model as Q4_0 throughout, by llama.cpp itself.

    Raises:
        ValueError: it refuses.
    """
    api = library()
    said = api.llama_model_quantize_default_params()
    said.ftype, said.allow_requantize, said.nthread = Q4_0, True, 2
    if api.llama_model_quantize(str(path).encode(), str(out).encode(), ctypes.byref(said)):
        raise ValueError(f"llama.cpp does not requantise {path}")
    return out


def random_llama(config: DecoderConfig, path: Path) -> Path:
    """A Llama of a decoder's shape at Q4_0, random, for llama.cpp; by the package gguf."""
    import gguf

    rng, c = np.random.default_rng(0), config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(c.context)
    writer.add_embedding_length(c.width)
    writer.add_block_count(c.layers)
    writer.add_feed_forward_length(c.ffn)
    writer.add_head_count(c.heads)
    writer.add_head_count_kv(c.kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(c.head)
    writer.add_vocab_size(c.vocab)
    writer.add_file_type(Q4_0)
    writer.add_tokenizer_model("no_vocab")

    def matrix(name: str, rows: int, columns: int) -> None:
        blocks = rng.integers(0, 256, (rows, columns // 32, 18)).astype(np.uint8)
        blocks[..., :2] = np.float16(0.01).tobytes()[0], np.float16(0.01).tobytes()[1]
        writer.add_tensor(name, blocks.reshape(rows, -1), raw_dtype=gguf.GGMLQuantizationType.Q4_0)

    wide, narrow, ones = c.heads * c.head, c.kv_heads * c.head, np.ones(c.width, np.float32)
    matrix("token_embd.weight", c.vocab, c.width)
    matrix("output.weight", c.vocab, c.width)
    writer.add_tensor("output_norm.weight", ones)
    for i in range(c.layers):
        shapes = {"attn_q": (wide, c.width), "attn_k": (narrow, c.width), "attn_v": (narrow, c.width)}
        shapes |= {"attn_output": (c.width, wide), "ffn_gate": (c.ffn, c.width), "ffn_up": (c.ffn, c.width)}
        for name, shape in (shapes | {"ffn_down": (c.width, c.ffn)}).items():
            matrix(f"blk.{i}.{name}.weight", *shape)
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{i}.{name}.weight", ones)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


MEMORY = """
from pathlib import Path
from bowstring.eval.rival import Rival
Rival(Path({path!r}), 2, 512).decode_rate(64)
peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))
print(int(peak.split()[1]) / 1024)
"""


def resident_megabytes(path: Path) -> float:
    """The largest resident memory of a process in which llama.cpp writes 64 tokens."""
    command = [sys.executable, "-c", MEMORY.format(path=str(path))]
    return float(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout)
