"""A llama model in NumPy, straight from the papers: what the engine's numbers are compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tests.tiny_gguf import BLOCKS, EMBEDDING, HEADS, KV_HEADS, Floats

WIDTH = EMBEDDING // HEADS
EPSILON = 1e-5


def logits(
    tensors: Mapping[str, Floats], ids: Sequence[int], base: float = 10_000.0, stretch: float = 1.0
) -> Floats:
    """The logits after the last of `ids`; `stretch`: positions are divided by it."""
    x = tensors["token_embd.weight"][list(ids)]
    for index in range(BLOCKS):
        block = {
            name.split(".")[2]: tensor
            for name, tensor in tensors.items()
            if name.startswith(f"blk.{index}.")
        }
        x = x + _attention(block, _norm(x, block["attn_norm"]), base, stretch)
        y = _norm(x, block["ffn_norm"])
        gate = y @ block["ffn_gate"].T
        x = x + (gate / (1 + np.exp(-gate)) * (y @ block["ffn_up"].T)) @ block["ffn_down"].T
    output = tensors.get("output.weight", tensors["token_embd.weight"])
    last: Floats = _norm(x[-1], tensors["output_norm.weight"]) @ output.T
    return last


def _norm(x: Floats, weight: Floats) -> Floats:
    scaled: Floats = x / np.sqrt((x * x).mean(-1, keepdims=True) + EPSILON) * weight
    return scaled


def _attention(block: Mapping[str, Floats], x: Floats, base: float, stretch: float) -> Floats:
    count = len(x)
    q = _rotate((x @ block["attn_q"].T).reshape(count, HEADS, WIDTH), base, stretch)
    k = _rotate((x @ block["attn_k"].T).reshape(count, KV_HEADS, WIDTH), base, stretch)
    v = (x @ block["attn_v"].T).reshape(count, KV_HEADS, WIDTH)
    k, v = (np.repeat(part, HEADS // KV_HEADS, axis=1) for part in (k, v))
    scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(WIDTH)
    scores = np.where(np.tril(np.ones((count, count), bool)), scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    mixed: Floats = np.einsum("hqk,khd->qhd", weights, v).reshape(count, -1)
    return mixed @ block["attn_output"].T


def _rotate(x: Floats, base: float, stretch: float) -> Floats:
    """Rotate each pair of neighbours by its own angle for every position."""
    angles = base ** (-np.arange(0, WIDTH, 2) / WIDTH)
    turn = (np.arange(len(x)) / stretch)[:, None, None] * angles
    even, odd = x[..., 0::2], x[..., 1::2]
    turned = np.empty_like(x)
    turned[..., 0::2] = even * np.cos(turn) - odd * np.sin(turn)
    turned[..., 1::2] = even * np.sin(turn) + odd * np.cos(turn)
    return turned
