"""Small GGUF files, written by hand."""

import struct

import numpy as np

TYPES = {"F32": (0, np.float32)}


def string(text):
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def value(one):
    """Kind and bytes of a metadata value."""
    if isinstance(one, bool):
        return 7, struct.pack("<?", one)
    if isinstance(one, int):
        return 4, struct.pack("<I", one)
    if isinstance(one, float):
        return 6, struct.pack("<f", one)
    if isinstance(one, str):
        return 8, string(one)
    kinds = {value(entry)[0] for entry in one}
    (kind,) = kinds
    return 9, struct.pack("<IQ", kind, len(one)) + b"".join(value(entry)[1] for entry in one)


def gguf(metadata, tensors, version=3):
    """A file of metadata and tensors: by name (number of the type, shape with rows first, bytes)."""
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(metadata))
    for key, one in metadata.items():
        kind, raw = value(one)
        head += string(key) + struct.pack("<I", kind) + raw
    offset, body = 0, b""
    for name, (number, shape, raw) in tensors.items():
        head += string(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape[::-1])
        head += struct.pack("<IQ", number, offset)
        raw = raw + b"\0" * (-len(raw) % 32)
        body, offset = body + raw, offset + len(raw)
    return head + b"\0" * (-len(head) % 32) + body


def small_llama(kind="F32", seed=0, words=()):
    """A Llama of two layers with a byte-level vocabulary and words beside it, its matrices of one type."""
    from bowstring.llm.tokenizer import BYTES

    rng = np.random.default_rng(seed)
    special = ["<|end|>", "<|user|>"]
    tokens = [*special, *BYTES, "Ġt", "he", *words]
    number, per, size = {"F32": (0, 1, 4), "Q4_0": (2, 32, 18), "Q4_1": (3, 32, 20), "Q8_0": (8, 32, 34)}[
        kind
    ]

    def matrix(n, k):
        if kind == "F32":
            return 0, (n, k), (0.2 * rng.normal(size=(n, k))).astype(np.float32).tobytes()
        raw = rng.integers(0, 256, (n, k // per, size)).astype(np.uint8)
        for at in (0, 2)[: 1 + (kind == "Q4_1")]:
            raw[..., at : at + 2] = (
                (0.02 * rng.normal(size=(n, k // per, 1))).astype(np.float16).view(np.uint8)
            )
        return number, (n, k), raw.tobytes()

    def vector(n):
        return 0, (n,), (1 + 0.2 * rng.normal(size=n)).astype(np.float32).tobytes()

    tensors = {"token_embd.weight": matrix(len(tokens), 64), "output_norm.weight": vector(64)}
    for i in range(2):
        shapes = {"attn_q": (64, 64), "attn_k": (32, 64), "attn_v": (32, 64), "attn_output": (64, 64)}
        shapes |= {"ffn_gate": (96, 64), "ffn_up": (96, 64), "ffn_down": (64, 96)}
        tensors |= {f"blk.{i}.{name}.weight": matrix(*shape) for name, shape in shapes.items()}
        tensors |= {f"blk.{i}.{name}.weight": vector(64) for name in ("attn_norm", "ffn_norm")}
    metadata = {
        "general.architecture": "llama",
        "llama.block_count": 2,
        "llama.context_length": 256,
        "llama.embedding_length": 64,
        "llama.feed_forward_length": 96,
        "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 2,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3] * len(special)
        + [1] * (len(tokens) - len(special) - len(words))
        + [4] * len(words),
        "tokenizer.ggml.merges": ["Ġ t", "h e"],
        "tokenizer.ggml.eos_token_id": 0,
        "tokenizer.chat_template": "{% for m in messages %}<|user|>{{ m.content }}{% endfor %}:",
    }
    return metadata, tensors
