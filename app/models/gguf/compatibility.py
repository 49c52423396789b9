"""Checks that ctransformers can run a GGUF file, before its native loader sees a byte of it."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from app.errors import ModelFileError, ModelUnsupported
from app.models.gguf.features import check_features, sliding_window
from app.models.gguf.header import Array, Header, TensorInfo, ValueType

MAX_VOCABULARY: Final = 500_000
MAX_MERGES: Final = 1_000_000
MAX_BLOCKS: Final = 1_000
MAX_CONTEXT: Final = 1 << 24
MAX_TOKEN_BYTES: Final = 1_024
"""Bytes of one token: what is computed of a token grows with the square of its length."""
MAX_VOCABULARY_BYTES: Final = 16_000_000
"""Bytes of all tokens together."""
MAX_SPECIAL_TOKENS: Final = 20_000
"""Control and user-defined tokens, each of which is looked for in every template's text."""
MAX_SPECIAL_TOKEN_BYTES: Final = 1_000_000
"""Bytes of those together: looking for one takes a hundred times its length in memory."""
NORMAL: Final = 1
"""The token type of ordinary text."""
MARKS: Final = (3, 4)
"""The types of control and user-defined tokens."""
BYTE: Final = 6
"""The type of a token that stands for one byte."""
BYTE_NAME: Final = re.compile(rb"<0x[0-9A-F]{2}>")


@dataclass(frozen=True, slots=True)
class Dimensions:
    """The sizes that fix the shape of every tensor of a llama model, and its context in tokens."""

    vocabulary: int
    context_length: int
    embedding: int
    blocks: int
    feed_forward: int
    heads: int
    kv_heads: int

    @property
    def kv_width(self) -> int:
        """Numbers that one token adds to the keys of one block, and again to its values."""
        return self.embedding // self.heads * self.kv_heads


def check_compatible(header: Header) -> Dimensions:
    """Raises ModelUnsupported, with the reason, or ModelFileError if the file is not sound."""
    name = header.path.name
    architecture = header.text("general.architecture")
    if architecture is None:
        raise ModelFileError(f"{name} is damaged: it does not name its architecture.")
    if architecture != "llama":
        raise ModelUnsupported(
            f"{name} holds a model of the architecture “{architecture}”; ctransformers runs only "
            "llama models (Llama 2, Mistral 7B, TinyLlama, SmolLM2 and their relatives)."
        )
    if (header.integer("split.count") or 1) > 1:
        raise ModelUnsupported(f"{name} is only one part of a split model.")
    if not header.tensors:
        raise ModelUnsupported(f"{name} holds a vocabulary only, and no model.")
    check_features(header)
    dimensions = _dimensions(header)
    _check_vocabulary(header)
    _check_tensors(header, dimensions)
    return dimensions


def _dimensions(header: Header) -> Dimensions:
    def size(key: str, limit: int) -> int:
        value = header.integer(f"llama.{key}")
        if value is None or not 1 <= value <= limit:
            raise ModelFileError(f"{header.path.name} is damaged: its “llama.{key}” is {value}.")
        return value

    for key in ("attention.head_count", "attention.head_count_kv", "feed_forward_length"):
        if f"llama.{key}" in header.metadata and header.types[f"llama.{key}"].name == "ARRAY":
            raise ModelUnsupported(
                f"{header.path.name} has blocks of different sizes, which ctransformers cannot run."
            )
    heads = size("attention.head_count", 1 << 16)
    has_kv = "llama.attention.head_count_kv" in header.metadata
    found = Dimensions(
        vocabulary=header.count("tokenizer.ggml.tokens"),
        context_length=min(
            size("context_length", MAX_CONTEXT), sliding_window(header) or MAX_CONTEXT
        ),
        embedding=size("embedding_length", 1 << 20),
        blocks=size("block_count", MAX_BLOCKS),
        feed_forward=size("feed_forward_length", 1 << 22),
        heads=heads,
        kv_heads=size("attention.head_count_kv", 1 << 16) if has_kv else heads,
    )
    if found.embedding % heads or heads % found.kv_heads:
        raise ModelFileError(f"{header.path.name} is damaged: its attention heads do not add up.")
    _check_heads(header, found.embedding // heads)
    epsilon = header.number("llama.attention.layer_norm_rms_epsilon")
    if epsilon is None or not 0 < epsilon < 1:
        raise ModelFileError(f"{header.path.name} is damaged: its norm epsilon is {epsilon}.")
    base = header.number("llama.rope.freq_base")
    if base is not None and not (math.isfinite(base) and base > 0):
        raise ModelFileError(f"{header.path.name} is damaged: its rotary base is {base}.")
    return found


def _check_heads(header: Header, width: int) -> None:
    for key in ("rope.dimension_count", "attention.key_length", "attention.value_length"):
        value = header.integer(f"llama.{key}")
        if value is not None and value != width:
            raise ModelUnsupported(
                f"{header.path.name} has attention heads of an unusual width "
                f"(“llama.{key}” is {value}, not {width}), which ctransformers cannot run."
            )
    if width % 2:
        raise ModelFileError(f"{header.path.name} is damaged: its heads have an odd width.")


def _check_counts(header: Header) -> None:
    """Check the lengths of lists before they are built: a token takes far more memory than file."""
    for what, least, most in (("tokens", 1, MAX_VOCABULARY), ("merges", 0, MAX_MERGES)):
        count = header.count(f"tokenizer.ggml.{what}")
        if not least <= count <= most:
            raise ModelFileError(
                f"{header.path.name} is damaged: its vocabulary has {count} {what}."
            )


def _check_vocabulary(header: Header) -> None:
    name = header.path.name
    model = header.text("tokenizer.ggml.model")
    if model not in ("gpt2", "llama"):
        raise ModelUnsupported(
            f"{name} has a vocabulary of the kind “{model}”; ctransformers reads “llama” and "
            "“gpt2”."
        )
    _check_counts(header)
    tokens = header.strings("tokenizer.ggml.tokens") or []
    try:
        b"\n".join(tokens).decode()
    except UnicodeDecodeError:
        raise ModelFileError(f"{name} is damaged: a token is not UTF-8.") from None
    _check_lengths(name, tokens)
    types = header.numbers("tokenizer.ggml.token_type")
    scores = header.numbers("tokenizer.ggml.scores")
    for list_name, key, kinds in (
        ("types", "token_type", (ValueType.INT32, ValueType.UINT32)),
        ("scores", "scores", (ValueType.FLOAT32,)),
    ):
        values = header.metadata.get(f"tokenizer.ggml.{key}")
        # The engine reads four bytes for every token there is, whatever the list holds.
        if isinstance(values, Array) and (values.count != len(tokens) or values.type not in kinds):
            raise ModelFileError(f"{name} is damaged: its tokens and their {list_name} differ.")
    if types is None:
        raise ModelFileError(f"{name} is damaged: the types of its tokens are missing.")
    _check_kinds(name, tokens, types, has_bytes=model == "llama")
    if model == "llama" and scores is None:
        raise ModelFileError(f"{name} is damaged: the scores of its tokens are missing.")
    if model == "gpt2" and header.strings("tokenizer.ggml.merges") is None:
        raise ModelFileError(f"{name} is damaged: the merges of its vocabulary are missing.")
    # The engine looks this token up while it loads; a miss is undefined behaviour.
    newline = "Ċ".encode() if model == "gpt2" else b"<0x0A>"
    if not any(
        token == newline and (model == "llama" or kind == NORMAL)
        for token, kind in zip(tokens, types, strict=True)
    ):
        raise ModelUnsupported(f"{name} has a vocabulary without a line break.")
    _check_named_ids(header, len(tokens))


def check_vocabulary_bounds(header: Header) -> None:
    """Check the bounds of a vocabulary, whichever engine reads it. Raises ModelFileError."""
    _check_counts(header)
    name, tokens = header.path.name, header.strings("tokenizer.ggml.tokens") or []
    _check_lengths(name, tokens)
    types = header.numbers("tokenizer.ggml.token_type")
    if types is not None and len(types) != len(tokens):
        raise ModelFileError(f"{name} is damaged: its tokens and their types differ.")
    _check_kinds(name, tokens, types or [NORMAL] * len(tokens), has_bytes=False)
    _check_named_ids(header, len(tokens))


def _check_named_ids(header: Header, count: int) -> None:
    for key in header.metadata:
        if key.startswith("tokenizer.ggml.") and key.endswith("_token_id"):
            value = header.integer(key)
            if value is None or not 0 <= value < count:
                raise ModelFileError(
                    f"{header.path.name} is damaged: its “{key}” is not in its vocabulary."
                )


def _check_lengths(name: str, tokens: Sequence[bytes]) -> None:
    longest = max(map(len, tokens))
    if longest > MAX_TOKEN_BYTES:
        raise ModelFileError(
            f"{name} is damaged: a token of its vocabulary is {longest:,} bytes long."
        )
    if sum(map(len, tokens)) > MAX_VOCABULARY_BYTES:
        raise ModelFileError(f"{name} is damaged: the tokens of its vocabulary are too long.")


def _check_kinds(
    name: str, tokens: Sequence[bytes], types: Sequence[float], *, has_bytes: bool
) -> None:
    marks = [len(token) for token, kind in zip(tokens, types, strict=True) if kind in MARKS]
    if len(marks) > MAX_SPECIAL_TOKENS or sum(marks) > MAX_SPECIAL_TOKEN_BYTES:
        raise ModelFileError(
            f"{name} is damaged: its vocabulary has {len(marks):,} special tokens "
            f"of {sum(marks):,} bytes."
        )
    if has_bytes and not all(
        kind != BYTE or BYTE_NAME.fullmatch(token)
        for token, kind in zip(tokens, types, strict=True)
    ):
        raise ModelFileError(f"{name} is damaged: a byte token of its vocabulary names no byte.")


def _check_tensors(header: Header, sizes: Dimensions) -> None:
    name = header.path.name
    present = {tensor.name: tensor for tensor in header.tensors}
    expected = expected_shapes(sizes)
    for tensor_name, shape in expected.items():
        tensor = present.get(tensor_name)
        if tensor is None:
            if tensor_name == "output.weight":
                continue  # tied to the embeddings
            raise ModelFileError(f"{name} is incomplete: the tensor {tensor_name} is missing.")
        if tensor.shape != shape:
            raise ModelFileError(
                f"{name} is damaged: {tensor_name} has the shape {tensor.shape}, not {shape}."
            )
        _check_type(name, tensor)
    if unknown := sorted(present.keys() - expected.keys()):
        raise ModelUnsupported(
            f"{name} holds tensors that ctransformers does not know, such as {unknown[0]}; "
            "it is not a plain llama model."
        )


def _check_type(name: str, tensor: TensorInfo) -> None:
    kind = tensor.type
    is_vector = len(tensor.shape) == 1
    if (is_vector and kind.name != "F32") or not (kind.is_weight and kind.is_early):
        raise ModelUnsupported(
            f"{name} stores {tensor.name} as {kind.name}, which ctransformers cannot compute."
        )


def expected_shapes(sizes: Dimensions) -> dict[str, tuple[int, ...]]:
    """List every tensor of a llama model with its shape, fastest dimension first."""
    width, kv, inner = sizes.embedding, sizes.kv_width, sizes.feed_forward
    block = {
        "attn_norm": (width,),
        "attn_q": (width, width),
        "attn_k": (width, kv),
        "attn_v": (width, kv),
        "attn_output": (width, width),
        "ffn_norm": (width,),
        "ffn_gate": (width, inner),
        "ffn_down": (inner, width),
        "ffn_up": (width, inner),
    }
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (width, sizes.vocabulary),
        "output_norm.weight": (width,),
        "output.weight": (width, sizes.vocabulary),
    }
    for index in range(sizes.blocks):
        for part, shape in block.items():
            shapes[f"blk.{index}.{part}.weight"] = shape
    return shapes


MIXTURES: Final = {
    10: "Q2_K",
    11: "Q3_K_S",
    12: "Q3_K_M",
    13: "Q3_K_L",
    14: "Q4_K_S",
    15: "Q4_K_M",
    16: "Q5_K_S",
    17: "Q5_K_M",
    21: "Q2_K_S",
    22: "IQ3_XS",
    26: "IQ3_S",
    27: "IQ3_M",
    28: "IQ2_S",
    29: "IQ2_M",
    38: "MXFP4",
}
"""Names of mixtures of storage types, by the number that a file gives its own."""


def quantisation(header: Header) -> str:
    """The storage type that most weights have, such as “Q4_K”."""
    kind = header.metadata.get("general.file_type")
    if isinstance(kind, int) and kind in MIXTURES:
        return MIXTURES[kind]
    blocks: dict[str, int] = {}
    others: dict[str, int] = {}
    for tensor in header.tensors:
        weights = blocks if tensor.name.startswith("blk.") else others
        if len(tensor.shape) > 1:
            weights[tensor.type.name] = weights.get(tensor.type.name, 0) + tensor.elements
    weights = blocks or others
    return max(weights, key=lambda kind: weights[kind], default="")
