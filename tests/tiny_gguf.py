"""Makes tiny llama models with seeded random weights: real enough for the engine, quick to write.

`bpe` is a byte-level vocabulary with ChatML, tied embeddings and no scores, as modern files have;
`spm` is a SentencePiece vocabulary with Zephyr's template and an output matrix, as Llama 2 had.
Their text is nonsense, mostly printable, and goes on: the rows of control tokens are small.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from app.models.gguf.header import TENSOR_TYPES
from app.models.gguf.tokens import CHARACTER_OF_BYTE, to_byte_level

Flavour = Literal["bpe", "spm"]
Floats = np.ndarray[tuple[int, ...], np.dtype[np.float32]]
EMBEDDING, BLOCKS, HEADS, KV_HEADS, FEED_FORWARD = 64, 2, 4, 2, 128
ALIGNMENT = 32
WORDS = """
the of and to in is it you that he was for on are with as his they be at one have this from or
had by hot but some what there we can out other were all your when up use word how said an
each she which do their time if will way about many then them would write like so these her
long make thing see him two has look more day could go come did my sound no most number who
over know water than call first people may down side been now find
"""
CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] "
    "+ '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
ZEPHYR = (
    "{% for message in messages %}\n{{ '<|' + message['role'] + '|>\n' + message['content'] "
    "+ eos_token }}\n{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n"
    "{% endif %}\n{% endfor %}"
)


def write_tiny_gguf(
    path: Path,
    *,
    flavour: Flavour = "bpe",
    context_length: int = 512,
    seed: int = 0,
    version: int = 3,
    **overrides: object,
) -> Path:
    """Write a model to `path`. `overrides` replace metadata by key; None leaves a key out."""
    vocabulary = bpe_vocabulary() if flavour == "bpe" else spm_vocabulary()
    metadata = sizes(context_length) | vocabulary | overrides
    tokens = vocabulary["tokenizer.ggml.tokens"]
    assert isinstance(tokens, list)
    tensors = weights(tokens, seed, tied=flavour == "bpe")
    kept = {key: value for key, value in metadata.items() if value is not None}
    path.write_bytes(encode(kept, tensors, version))
    return path


def sizes(context_length: int) -> dict[str, object]:
    return {
        "general.architecture": "llama",
        "general.name": "Tiny",
        "general.license": "cc0-1.0",
        "general.file_type": 0,
        "llama.context_length": context_length,
        "llama.embedding_length": EMBEDDING,
        "llama.block_count": BLOCKS,
        "llama.feed_forward_length": FEED_FORWARD,
        "llama.attention.head_count": HEADS,
        "llama.attention.head_count_kv": KV_HEADS,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.dimension_count": EMBEDDING // HEADS,
        "llama.rope.freq_base": 10000.0,
    }


def bpe_vocabulary() -> dict[str, object]:
    """Three control tokens, the 256 bytes, and the parts of some words."""
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *CHARACTER_OF_BYTE.values()]
    merges: list[str] = []
    for word in WORDS.split():
        letters = to_byte_level(f" {word}".encode())
        for cut in range(1, len(letters)):
            if letters[: cut + 1] not in tokens:
                tokens.append(letters[: cut + 1])
                merges.append(f"{letters[:cut]} {letters[cut]}")
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3] * 3 + [1] * (len(tokens) - 3),
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": CHATML,
    }


def spm_vocabulary() -> dict[str, object]:
    """Three control tokens, the 256 bytes, the printable characters, and the parts of words."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces = []
    for word in WORDS.split():
        pieces += [f"▁{word}"[:cut] for cut in range(2, len(word) + 2)]
    # The longer the piece, the better its score: so words are put together greedily.
    pieces = sorted(dict.fromkeys(pieces), key=len, reverse=True)
    tokens += [*pieces, "▁", *(chr(code) for code in range(0x21, 0x7F))]
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": [0.0] * 259 + [-float(i) for i in range(len(tokens) - 259)],
        "tokenizer.ggml.token_type": [2, 3, 3] + [6] * 256 + [1] * (len(tokens) - 259),
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.chat_template": ZEPHYR,
    }


def weights(tokens: list[str], seed: int, *, tied: bool) -> dict[str, Floats]:
    """Make every tensor, as rows of its fastest dimension."""
    random = np.random.default_rng(seed)

    def matrix(rows: int, columns: int, scale: float) -> Floats:
        return (random.standard_normal((rows, columns)) * scale).astype(np.float32)

    wide = 1 / np.sqrt(EMBEDDING)
    kv = EMBEDDING // HEADS * KV_HEADS
    ones = np.ones(EMBEDDING, np.float32)
    tensors = {"token_embd.weight": matrix(len(tokens), EMBEDDING, 0.5), "output_norm.weight": ones}
    if not tied:
        tensors["output.weight"] = matrix(len(tokens), EMBEDDING, 0.5)
    quiet = [index for index, token in enumerate(tokens) if not is_printable(token)]
    tensors["token_embd.weight" if tied else "output.weight"][quiet] *= 0.02
    for index in range(BLOCKS):
        block = {
            "attn_norm": ones,
            "attn_q": matrix(EMBEDDING, EMBEDDING, wide * 2),
            "attn_k": matrix(kv, EMBEDDING, wide * 2),
            "attn_v": matrix(kv, EMBEDDING, wide),
            # Louder than the embeddings: else every token would be followed by itself.
            "attn_output": matrix(EMBEDDING, EMBEDDING, wide * 4),
            "ffn_norm": ones,
            "ffn_gate": matrix(FEED_FORWARD, EMBEDDING, wide * 2),
            "ffn_down": matrix(EMBEDDING, FEED_FORWARD, wide * 2),
            "ffn_up": matrix(FEED_FORWARD, EMBEDDING, wide * 2),
        }
        tensors |= {f"blk.{index}.{part}.weight": value for part, value in block.items()}
    return tensors


def is_printable(token: str) -> bool:
    """Tell whether the engine may choose it: words and printable ASCII, no control tokens."""
    text = token.removeprefix("Ġ").removeprefix("▁")
    return text.isascii() and not token.startswith("<") and token not in ("Ġ", "▁")


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor in a storage type of its own: `shape` as rows of its fastest dimension."""

    shape: tuple[int, ...]
    kind: int
    data: bytes


def write_quantised(path: Path, kind: int) -> Path:
    """A model of one block whose matrices are stored as `kind`: random, but no number is wild."""
    random = np.random.default_rng(kind)
    width, inner = 256, 512
    vocabulary = bpe_vocabulary()
    tokens = vocabulary["tokenizer.ggml.tokens"]
    assert isinstance(tokens, list)
    metadata = sizes(512) | vocabulary
    metadata |= {"llama.embedding_length": width, "llama.feed_forward_length": inner}
    metadata |= {"llama.block_count": 1, "llama.rope.dimension_count": width // HEADS}
    tensors: dict[str, Floats | Stored] = {"output_norm.weight": np.ones(width, np.float32)}

    def matrix(rows: int, columns: int) -> Stored:
        storage = TENSOR_TYPES[kind]
        size = rows * columns // storage.block * storage.size
        if storage.name == "F32":
            data = random.standard_normal(rows * columns).astype(np.float32).tobytes()
        else:
            # Every scale among them, a 16-bit number, is then positive and below one eighth.
            data = random.integers(0, 0x2F, size, np.uint8).tobytes()
        return Stored((rows, columns), kind, data)

    kv = width // HEADS * KV_HEADS
    shapes = {"attn_q": (width, width), "attn_k": (kv, width), "attn_v": (kv, width)}
    shapes |= {"attn_output": (width, width), "ffn_gate": (inner, width)}
    shapes |= {"ffn_up": (inner, width), "ffn_down": (width, inner)}
    tensors |= {f"blk.0.{name}.weight": matrix(*shape) for name, shape in shapes.items()}
    for name in ("attn_norm", "ffn_norm"):
        tensors[f"blk.0.{name}.weight"] = np.ones(width, np.float32)
    tensors["token_embd.weight"] = matrix(len(tokens), width)
    path.write_bytes(encode(metadata, tensors))
    return path


def encode(
    metadata: dict[str, object], tensors: Mapping[str, Floats | Stored], version: int = 3
) -> bytes:
    """A GGUF file; version 1 has counts and lengths of 32 bits."""
    size = "<I" if version == 1 else "<Q"

    def text(value: str) -> bytes:
        return struct.pack(size, len(value.encode())) + value.encode()

    def value(item: object) -> bytes:
        if isinstance(item, bool):
            return struct.pack("<IB", 7, item)
        if isinstance(item, int):
            return struct.pack("<II", 4, item)
        if isinstance(item, float):
            return struct.pack("<If", 6, item)
        if isinstance(item, str):
            return struct.pack("<I", 8) + text(item)
        assert isinstance(item, list)
        head = struct.pack("<II", 9, {str: 8, int: 5, float: 6}[type(item[0])])
        count = struct.pack(size, len(item))
        if isinstance(item[0], str):
            return head + count + b"".join(map(text, item))
        return head + count + struct.pack(f"<{len(item)}{'if'[isinstance(item[0], float)]}", *item)

    parts = [b"GGUF", struct.pack("<I", version)]
    parts += [struct.pack(size, len(tensors)), struct.pack(size, len(metadata))]
    parts += [text(key) + value(item) for key, item in metadata.items()]
    data, end = list[bytes](), 0
    for name, tensor in tensors.items():
        shape = tensor.shape[::-1]
        parts += [text(name), struct.pack("<I", len(shape))]
        parts += [struct.pack(size, dimension) for dimension in shape]
        kind, raw = (
            (tensor.kind, tensor.data) if isinstance(tensor, Stored) else (0, tensor.tobytes())
        )
        parts.append(struct.pack("<IQ", kind, end))
        data += [raw, bytes(-len(raw) % ALIGNMENT)]
        end += len(raw) + len(data[-1])
    header = b"".join(parts)
    return b"".join([header, bytes(-len(header) % ALIGNMENT), *data])
