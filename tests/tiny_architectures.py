"""Makes tiny models of today's architectures with seeded random weights, for llama.cpp."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from tests.tiny_gguf import Floats, bpe_vocabulary, encode, is_printable

WIDTH, INNER, HEADS, KV_HEADS, HEAD = 128, 96, 4, 2, 32
CONTEXT = 512
EXPERTS, EXPERT_INNER = 4, 32
Values = dict[str, object]
Tensors = dict[str, Floats]


class Weights:
    """Random matrices, as rows of their fastest dimension, none of them wild."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)

    def matrix(self, *shape: int, scale: float = 1.5) -> Floats:
        values = self._random.standard_normal(shape) * scale / np.sqrt(shape[-1])
        return np.asarray(values, np.float32)

    def ones(self, size: int) -> Floats:
        return np.ones(size, np.float32)

    def zeros(self, size: int) -> Floats:
        return np.zeros(size, np.float32)


def write_architecture(path: Path, name: str, *, seed: int = 0, **overrides: object) -> Path:
    """Write a model of one of `ARCHITECTURES` to `path`."""
    metadata, tensors = ARCHITECTURES[name](Weights(seed))
    path.write_bytes(encode(metadata | overrides, tensors))
    return path


def common(architecture: str, blocks: int, **more: object) -> Values:
    values: Values = {
        "context_length": CONTEXT,
        "embedding_length": WIDTH,
        "block_count": blocks,
        "feed_forward_length": INNER,
        "attention.head_count": HEADS,
        "attention.head_count_kv": KV_HEADS,
        "attention.key_length": HEAD,
        "attention.value_length": HEAD,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "rope.dimension_count": HEAD,
        "rope.freq_base": 10000.0,
    }
    values |= {key.replace("__", "."): value for key, value in more.items()}
    head = {"general.architecture": architecture, "general.name": "Tiny", "general.file_type": 0}
    named = {f"{architecture}.{key}": value for key, value in values.items()}
    return head | named | bpe_vocabulary()


def embeddings(weights: Weights, *, tied: bool = True) -> Tensors:
    tokens = bpe_vocabulary()["tokenizer.ggml.tokens"]
    assert isinstance(tokens, list)
    made = {"token_embd.weight": weights.matrix(len(tokens), WIDTH, scale=4.0)}
    if not tied:
        made["output.weight"] = weights.matrix(len(tokens), WIDTH, scale=4.0)
    last = made["token_embd.weight" if tied else "output.weight"]
    last[[index for index, token in enumerate(tokens) if not is_printable(token)]] *= 0.02
    return made | {"output_norm.weight": weights.ones(WIDTH)}


def attention(weights: Weights, *, normed: bool = False) -> Tensors:
    made = {
        "attn_norm.weight": weights.ones(WIDTH),
        "attn_q.weight": weights.matrix(HEADS * HEAD, WIDTH),
        "attn_k.weight": weights.matrix(KV_HEADS * HEAD, WIDTH),
        "attn_v.weight": weights.matrix(KV_HEADS * HEAD, WIDTH),
        "attn_output.weight": weights.matrix(WIDTH, HEADS * HEAD, scale=4.0),
    }
    norms = {f"attn_{part}_norm.weight": weights.ones(HEAD) for part in "qk"}
    return made | norms if normed else made


def feed_forward(weights: Weights) -> Tensors:
    return {
        "ffn_norm.weight": weights.ones(WIDTH),
        "ffn_gate.weight": weights.matrix(INNER, WIDTH),
        "ffn_up.weight": weights.matrix(INNER, WIDTH),
        "ffn_down.weight": weights.matrix(WIDTH, INNER),
    }


def blocks(count: int, make: Callable[[int], Tensors]) -> Tensors:
    return {
        f"blk.{index}.{name}": tensor
        for index in range(count)
        for name, tensor in make(index).items()
    }


def llama_with_rope_factors(weights: Weights) -> tuple[Values, Tensors]:
    """As Llama 3.1 has them."""
    factors = {"rope_freqs.weight": np.linspace(1, 8, HEAD // 2).astype(np.float32)}
    layers = blocks(2, lambda _: attention(weights) | feed_forward(weights))
    return common("llama", 2), embeddings(weights) | factors | layers


def qwen3(weights: Weights) -> tuple[Values, Tensors]:
    layers = blocks(2, lambda _: attention(weights, normed=True) | feed_forward(weights))
    return common("qwen3", 2), embeddings(weights) | layers


def qwen3moe(weights: Weights) -> tuple[Values, Tensors]:
    def block(_: int) -> Tensors:
        return attention(weights, normed=True) | {
            "ffn_norm.weight": weights.ones(WIDTH),
            "ffn_gate_inp.weight": weights.matrix(EXPERTS, WIDTH),
            "ffn_gate_exps.weight": weights.matrix(EXPERTS, EXPERT_INNER, WIDTH),
            "ffn_up_exps.weight": weights.matrix(EXPERTS, EXPERT_INNER, WIDTH),
            "ffn_down_exps.weight": weights.matrix(EXPERTS, WIDTH, EXPERT_INNER),
        }

    values = common(
        "qwen3moe",
        2,
        expert_count=EXPERTS,
        expert_used_count=2,
        expert_feed_forward_length=EXPERT_INNER,
    )
    return values, embeddings(weights, tied=False) | blocks(2, block)


def phi3(weights: Weights) -> tuple[Values, Tensors]:
    """With factors for short and for long contexts."""

    def block(_: int) -> Tensors:
        return {
            "attn_norm.weight": weights.ones(WIDTH),
            "attn_qkv.weight": weights.matrix((HEADS + 2 * KV_HEADS) * HEAD, WIDTH),
            "attn_output.weight": weights.matrix(WIDTH, HEADS * HEAD, scale=4.0),
            "ffn_norm.weight": weights.ones(WIDTH),
            "ffn_up.weight": weights.matrix(2 * INNER, WIDTH),
            "ffn_down.weight": weights.matrix(WIDTH, INNER),
        }

    factors = {
        "rope_factors_short.weight": weights.ones(HEAD // 2),
        "rope_factors_long.weight": np.linspace(1, 4, HEAD // 2).astype(np.float32),
    }
    values = common(
        "phi3", 2, rope__scaling__original_context_length=CONTEXT // 2, attention__sliding_window=0
    )
    return values, embeddings(weights, tied=False) | factors | blocks(2, block)


def gemma3(weights: Weights) -> tuple[Values, Tensors]:
    """A window of 32 tokens in five layers of six."""

    def block(_: int) -> Tensors:
        norms = ("post_attention_norm.weight", "post_ffw_norm.weight")
        return (
            attention(weights, normed=True)
            | feed_forward(weights)
            | {name: weights.ones(WIDTH) for name in norms}
        )

    values = common("gemma3", 6, attention__sliding_window=32)
    return values, embeddings(weights) | blocks(6, block)


def mamba(weights: Weights) -> tuple[Values, Tensors]:
    inner, state, rank, kernel = 2 * WIDTH, 8, 4, 4

    def block(_: int) -> Tensors:
        rates = -np.tile(np.arange(1, state + 1, dtype=np.float32), (inner, 1))
        return {
            "attn_norm.weight": weights.ones(WIDTH),
            "ssm_in.weight": weights.matrix(2 * inner, WIDTH),
            "ssm_conv1d.weight": weights.matrix(inner, kernel),
            "ssm_conv1d.bias": weights.zeros(inner),
            "ssm_x.weight": weights.matrix(rank + 2 * state, inner),
            "ssm_dt.weight": weights.matrix(inner, rank),
            "ssm_dt.bias": weights.zeros(inner),
            "ssm_a": rates,
            "ssm_d": weights.ones(inner),
            "ssm_out.weight": weights.matrix(WIDTH, inner),
        }

    values = common(
        "mamba",
        2,
        ssm__conv_kernel=kernel,
        ssm__inner_size=inner,
        ssm__state_size=state,
        ssm__time_step_rank=rank,
    )
    for key in ("head_count", "head_count_kv"):
        values[f"mamba.attention.{key}"] = 0
    return values, embeddings(weights) | blocks(2, block)


def lfm2(weights: Weights) -> tuple[Values, Tensors]:
    """A hybrid: short convolutions, with attention in every other layer."""
    kernel = 3

    def block(index: int) -> Tensors:
        if index % 2:
            return attention(weights, normed=True) | feed_forward(weights)
        return feed_forward(weights) | {
            "attn_norm.weight": weights.ones(WIDTH),
            "shortconv.conv.weight": weights.matrix(WIDTH, kernel),
            "shortconv.in_proj.weight": weights.matrix(3 * WIDTH, WIDTH),
            "shortconv.out_proj.weight": weights.matrix(WIDTH, WIDTH),
        }

    values = common("lfm2", 4, shortconv__l_cache=kernel)
    values["lfm2.attention.head_count_kv"] = [0, KV_HEADS] * 2
    tensors = embeddings(weights) | blocks(4, block)
    tensors["token_embd_norm.weight"] = tensors.pop("output_norm.weight")
    return values, tensors


def word_pieces(architecture: str) -> Values:
    """The letters, and what encoders of BERT's kind put around a text."""
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"▁{chr(c)}" for c in range(97, 123))]
    values = common(architecture, 2, attention__causal=False, pooling_type=1)
    values = {key: value for key, value in values.items() if not key.startswith("tokenizer.")}
    return values | {
        f"{architecture}.attention.layer_norm_epsilon": 1e-5,
        f"{architecture}.attention.head_count_kv": HEADS,
        "tokenizer.ggml.model": "bert",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3] * 4 + [1] * (len(tokens) - 4),
        "tokenizer.ggml.token_type_count": 2,
        "tokenizer.ggml.padding_token_id": 0,
        "tokenizer.ggml.unknown_token_id": 1,
        "tokenizer.ggml.bos_token_id": 2,
        "tokenizer.ggml.seperator_token_id": 3,
    }


def biased(weights: Weights, name: str, *shape: int) -> Tensors:
    return {f"{name}.weight": weights.matrix(*shape), f"{name}.bias": weights.zeros(shape[0])}


def norm(weights: Weights, name: str) -> Tensors:
    return {f"{name}.weight": weights.ones(WIDTH), f"{name}.bias": weights.zeros(WIDTH)}


def piece_embeddings(weights: Weights, values: Values) -> Tensors:
    tokens = values["tokenizer.ggml.tokens"]
    assert isinstance(tokens, list)
    return norm(weights, "token_embd_norm") | {
        "token_embd.weight": weights.matrix(len(tokens), WIDTH, scale=4.0),
        "token_types.weight": weights.matrix(2, WIDTH),
    }


def bert(weights: Weights) -> tuple[Values, Tensors]:
    """An encoder for embeddings, with the mean of all tokens."""

    def block(_: int) -> Tensors:
        made = norm(weights, "attn_output_norm") | norm(weights, "layer_output_norm")
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            made |= biased(weights, part, WIDTH, WIDTH)
        up, down = (
            biased(weights, "ffn_up", INNER, WIDTH),
            biased(weights, "ffn_down", WIDTH, INNER),
        )
        return made | up | down

    values = word_pieces("bert")
    positions = {"position_embd.weight": weights.matrix(CONTEXT, WIDTH)}
    return values, piece_embeddings(weights, values) | positions | blocks(2, block)


def bert_reranker(weights: Weights) -> tuple[Values, Tensors]:
    """The same with a head that says how well two texts belong together."""
    values, tensors = bert(weights)
    head = biased(weights, "cls", WIDTH, WIDTH) | biased(weights, "cls.output", 1, WIDTH)
    return values | {"bert.pooling_type": 4}, tensors | head


def nomic_bert(weights: Weights) -> tuple[Values, Tensors]:
    """An encoder with turned positions and gates."""

    def block(_: int) -> Tensors:
        return (
            norm(weights, "attn_output_norm")
            | norm(weights, "layer_output_norm")
            | {
                "attn_qkv.weight": weights.matrix(3 * WIDTH, WIDTH),
                "attn_output.weight": weights.matrix(WIDTH, WIDTH),
                "ffn_gate.weight": weights.matrix(INNER, WIDTH),
                "ffn_up.weight": weights.matrix(INNER, WIDTH),
                "ffn_down.weight": weights.matrix(WIDTH, INNER),
            }
        )

    values = word_pieces("nomic-bert")
    return values, piece_embeddings(weights, values) | blocks(2, block)


def qwen3_embedding(weights: Weights) -> tuple[Values, Tensors]:
    """A decoder for embeddings, with what it makes of the last token."""
    values, tensors = qwen3(weights)
    return values | {"qwen3.pooling_type": 3, "tokenizer.ggml.add_eos_token": True}, tensors


RERANK_TEMPLATE: Final = (
    "<|im_start|>system\nsay yes or no<|im_end|>\n<|im_start|>user\n<Query>: {query}\n"
    "<Document>: {document}<|im_end|>\n<|im_start|>assistant\n"
)


def qwen3_reranker(weights: Weights) -> tuple[Values, Tensors]:
    """A decoder that says of two texts how likely they belong together."""
    values, tensors = qwen3(weights)
    values |= {
        "qwen3.pooling_type": 4,
        "qwen3.classifier.output_labels": ["yes", "no"],
        "tokenizer.chat_templates": ["rerank"],
        "tokenizer.chat_template.rerank": RERANK_TEMPLATE,
    }
    return values, tensors | {"cls.output.weight": weights.matrix(2, WIDTH)}


def qwen3_yes_or_no(weights: Weights) -> tuple[Values, Tensors]:
    """The same without a head: whether its next word is yes tells it."""
    values, tensors = qwen3(weights)
    return values | {"tokenizer.chat_template.rerank": RERANK_TEMPLATE}, tensors


ARCHITECTURES: Final[dict[str, Callable[[Weights], tuple[Values, Tensors]]]] = {
    "llama": llama_with_rope_factors,
    "qwen3": qwen3,
    "qwen3moe": qwen3moe,
    "phi3": phi3,
    "gemma3": gemma3,
    "mamba": mamba,
    "lfm2": lfm2,
    "bert": bert,
    "nomic-bert": nomic_bert,
    "qwen3-embedding": qwen3_embedding,
    "bert-reranker": bert_reranker,
    "qwen3-reranker": qwen3_reranker,
    "qwen3-yes-or-no": qwen3_yes_or_no,
}
DECODERS: Final = ("llama", "qwen3", "qwen3moe", "phi3", "gemma3", "mamba", "lfm2")
ENCODERS: Final = ("bert", "nomic-bert")
EMBEDDERS: Final = (*ENCODERS, "qwen3-embedding")
RERANKERS: Final = ("bert-reranker", "qwen3-reranker", "qwen3-yes-or-no")
RECURRENT: Final = ("mamba", "lfm2")
WINDOWED: Final = "gemma3"
