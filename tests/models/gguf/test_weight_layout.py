from __future__ import annotations

from pathlib import Path

from app.models.gguf.reader import read_model_file
from app.models.gguf.weight_layout import weight_layout
from tests.tiny_gguf import write_tiny_gguf


def test_each_tensor_counts_in_one_layer_and_shared_embeddings_once_more(tmp_path: Path) -> None:
    header = read_model_file(write_tiny_gguf(tmp_path / "tiny.gguf")).header
    found = weight_layout(header)
    sizes = {tensor.name: tensor.size for tensor in header.tensors}
    shared = 0 if "output.weight" in sizes else sizes["token_embd.weight"]
    blocks = {name.split(".")[1] for name in sizes if name.startswith("blk.")}
    assert len(found.layers) == len(blocks) == found.count - 1
    assert found.input == sizes["token_embd.weight"]
    assert sum(found.layers) + found.input + found.output == sum(sizes.values()) + shared
