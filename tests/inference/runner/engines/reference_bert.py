"""BERT in NumPy, written after its paper: what llama.cpp must agree with."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tests.tiny_architectures import HEAD, HEADS, WIDTH
from tests.tiny_gguf import Floats

BLOCKS = 2
_erf = np.vectorize(math.erf, otypes=[np.float64])


@dataclass(frozen=True)
class ReferenceBert:
    tensors: Mapping[str, Floats]

    def hidden(self, ids: Sequence[int]) -> Floats:
        """What it makes of each token."""
        found = self.tensors["token_embd.weight"][list(ids)]
        found = found + self.tensors["position_embd.weight"][: len(ids)]
        found = self._norm(found + self.tensors["token_types.weight"][0], "token_embd_norm")
        for block in range(BLOCKS):
            name = f"blk.{block}"
            found = self._norm(found + self._attend(found, name), f"{name}.attn_output_norm")
            inner = self._linear(found, f"{name}.ffn_up")
            inner = np.asarray(0.5 * inner * (1 + _erf(inner / math.sqrt(2))), np.float32)
            found = self._norm(
                found + self._linear(inner, f"{name}.ffn_down"), f"{name}.layer_output_norm"
            )
        return found

    def score(self, ids: Sequence[int]) -> float:
        """How well the two texts in `ids` belong together, by the head of a reranker."""
        pooled = np.tanh(self._linear(self.hidden(ids)[:1], "cls"))
        return float(self._linear(pooled, "cls.output")[0, 0])

    def _attend(self, values: Floats, name: str) -> Floats:
        q, k, v = (
            self._linear(values, f"{name}.attn_{part}").reshape(-1, HEADS, HEAD).swapaxes(0, 1)
            for part in "qkv"
        )
        weights = np.exp(q @ k.swapaxes(1, 2) / math.sqrt(HEAD))
        weights /= weights.sum(axis=-1, keepdims=True)
        return self._linear((weights @ v).swapaxes(0, 1).reshape(-1, WIDTH), f"{name}.attn_output")

    def _linear(self, values: Floats, name: str) -> Floats:
        return np.asarray(
            values @ self.tensors[f"{name}.weight"].T + self.tensors[f"{name}.bias"], np.float32
        )

    def _norm(self, values: Floats, name: str) -> Floats:
        centred = values - values.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
        return np.asarray(
            scaled * self.tensors[f"{name}.weight"] + self.tensors[f"{name}.bias"], np.float32
        )
