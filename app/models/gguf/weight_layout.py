"""Bytes of a model's weights by layer, from the header of its file."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Final

from app.models.gguf.header import Header
from app.models.gguf.kv_layout import MAX_LAYERS

_BLOCK: Final = re.compile(r"blk\.(\d{1,4})\.")
_INPUT: Final = ("token_embd", "token_types", "position_embd", "per_layer_token_embd")


@dataclass(frozen=True, slots=True)
class WeightLayout:
    """Bytes of weights. layers: of each layer, the first one first; input: of the embeddings, which
    the CPU always reads; output: of what makes logits of the last layer's numbers."""

    layers: tuple[int, ...]
    input: int
    output: int

    @property
    def count(self) -> int:
        """Number of layers as the library counts them: the output is one."""
        return len(self.layers) + 1


def weight_layout(header: Header) -> WeightLayout:
    """Add up the tensors of each layer. Without an output of its own a model uses the embeddings
    for that, of which a device then holds a copy."""
    blocks, embeddings, output = Counter[int](), 0, 0
    for tensor in header.tensors:
        if found := _BLOCK.match(tensor.name):
            blocks[int(found[1])] += tensor.size
        elif tensor.name.startswith(_INPUT):
            embeddings += tensor.size
        else:
            output += tensor.size
    if not any(tensor.name.startswith("output.") for tensor in header.tensors):
        output += sum(t.size for t in header.tensors if t.name == "token_embd.weight")
    count = min(max(blocks, default=-1) + 1, MAX_LAYERS)
    return WeightLayout(tuple(blocks[number] for number in range(count)), embeddings, output)
