"""A llama of 1.2 billion random weights, to measure the speed of a model of that size.

`python -m tests.bench.random_llama FILE.gguf` writes 0.7 GB in Q4_0, with the vocabulary and the
template of SmolLM2. Its text is nonsense of whole characters and seldom ends by itself.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import numpy as np

from app.models.gguf.header import TENSOR_TYPES, Array, Header, ValueType
from app.models.gguf.reader import read_header
from tests.smollm2 import original_of_smollm2
from tests.tiny_gguf import Floats, Stored, encode

WIDTH, INNER, BLOCKS, HEADS, KV_HEADS = 2048, 8192, 18, 32, 8
Q4_0: Final = 2
CONTROL_TOKENS: Final = 17
"""The first of SmolLM2's vocabulary: they end an answer, or are not for text."""
SPACE, NEWLINE = "\u0120", "\u010a"
"""How a byte-level vocabulary writes them. Its other letters beyond ASCII may be parts of a
character, which a reader sees only with the tokens after it: the text pauses, not the model."""
_PLAIN: Final = str.maketrans({SPACE: " ", NEWLINE: "\n"})


def write_random_llama(path: Path) -> None:
    random = np.random.default_rng(0)
    kv = WIDTH // HEADS * KV_HEADS
    shapes = {"attn_q": (WIDTH, WIDTH), "attn_k": (kv, WIDTH), "attn_v": (kv, WIDTH)}
    shapes |= {"attn_output": (WIDTH, WIDTH), "ffn_gate": (INNER, WIDTH)}
    shapes |= {"ffn_up": (INNER, WIDTH), "ffn_down": (WIDTH, INNER)}
    header = read_header(original_of_smollm2())
    texts = _plain(header.metadata["tokenizer.ggml.tokens"])
    assert isinstance(texts, list)
    tensors: dict[str, Floats | Stored] = {"output_norm.weight": np.ones(WIDTH, np.float32)}
    embedding = _matrix(random, len(texts), WIDTH)
    rows = np.frombuffer(bytearray(embedding.data), np.uint8).reshape(len(texts), -1)
    for token, text in enumerate(texts):
        if token < CONTROL_TOKENS or not text.translate(_PLAIN).isascii():
            rows[token] = 0  # never the likeliest
    tensors["token_embd.weight"] = Stored(embedding.shape, Q4_0, rows.tobytes())
    for block in range(BLOCKS):
        for name, shape in shapes.items():
            tensors[f"blk.{block}.{name}.weight"] = _matrix(random, *shape)
        for name in ("attn_norm", "ffn_norm"):
            tensors[f"blk.{block}.{name}.weight"] = np.ones(WIDTH, np.float32)
    path.write_bytes(encode(_metadata(header), tensors))


def _matrix(random: np.random.Generator, rows: int, columns: int) -> Stored:
    """Blocks of a 16-bit scale and 32 numbers from -8 to 7, so that rows have a length of 1."""
    storage = TENSOR_TYPES[Q4_0]
    blocks = random.integers(0, 256, (rows * columns // storage.block, storage.size), np.uint8)
    scale = np.float16(1 / (4.6 * np.sqrt(columns)))
    blocks[:, :2] = np.frombuffer(scale.tobytes(), np.uint8)
    return Stored((rows, columns), Q4_0, blocks.tobytes())


def _metadata(header: Header) -> dict[str, object]:
    own = {
        "general.architecture": "llama",
        "general.name": "Random 1.2B",
        "general.file_type": 2,
        "llama.context_length": 8192,
        "llama.embedding_length": WIDTH,
        "llama.block_count": BLOCKS,
        "llama.feed_forward_length": INNER,
        "llama.attention.head_count": HEADS,
        "llama.attention.head_count_kv": KV_HEADS,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.dimension_count": WIDTH // HEADS,
        "llama.rope.freq_base": 500000.0,
    }
    names = [key for key in header.metadata if key.startswith("tokenizer.")]
    return own | {name: _plain(header.metadata[name]) for name in names}


def _plain(value: object) -> object:
    if not isinstance(value, Array):
        return value
    if value.type == ValueType.STRING:
        return [text.decode() for text in value.strings()]
    return [int(number) for number in value.numbers()]


if __name__ == "__main__":
    write_random_llama(Path(sys.argv[1]))
