"""Models that come in several files, put on the store as one."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from app.errors import ModelFileError
from app.models.gguf.reader import part_paths, read_header
from app.models.store import ModelStore, name_for
from tests import tiny_gguf
from tests.tiny_gguf import Floats, encode


def all_tensors() -> dict[str, Floats]:
    tokens = tiny_gguf.bpe_vocabulary()["tokenizer.ggml.tokens"]
    assert isinstance(tokens, list)
    return tiny_gguf.weights(tokens, 0, tied=True)


def parts_of(count: int = 3, **overrides: object) -> list[bytes]:
    """The tiny model in `count` parts, as llama.cpp's `gguf-split` writes them."""
    vocabulary = tiny_gguf.bpe_vocabulary()
    tensors = list(all_tensors().items())
    size = -(-len(tensors) // count)
    parts = []
    for index in range(count):
        keys: dict[str, object] = {
            "split.no": index,
            "split.count": count,
            "split.tensors.count": len(tensors),
        }
        metadata = (tiny_gguf.sizes(512) | vocabulary if index == 0 else {}) | keys | overrides
        some: dict[str, Floats] = dict(tensors[index * size : (index + 1) * size])
        parts.append(encode(metadata, some))
    return parts


def write(folder: Path, parts: list[bytes]) -> list[Path]:
    paths = part_paths(folder / f"Tiny-00001-of-{len(parts):05d}.gguf")
    for path, data in zip(paths, parts, strict=True):
        path.write_bytes(data)
    return paths


def test_any_part_brings_the_whole_model(store: ModelStore, tmp_path: Path, tiny: Path) -> None:
    whole = store.install(tiny, "whole")
    paths = write(tmp_path, parts_of())
    steps: list[tuple[int, int]] = []
    merged = store.install(paths[0], "merged", progress=lambda *step: steps.append(step))
    assert steps == sorted(steps)
    assert steps[-1] == (sum(path.stat().st_size for path in paths),) * 2
    assert merged.weights_path.read_bytes() == whole.weights_path.read_bytes()
    assert merged.digest == hashlib.sha256(b"".join(p.read_bytes() for p in paths)).hexdigest()
    for index, path in enumerate(paths):
        again = store.install(path, f"from-{index}", digest="of one part only")
        assert again.digest == merged.digest
        assert again.weights_path.read_bytes() == whole.weights_path.read_bytes()
    assert not [key for key in read_header(merged.weights_path).metadata if key.startswith("split")]


def test_a_model_is_not_named_after_its_part() -> None:
    assert name_for(Path("Llama 2-00002-of-00003.gguf")) == "llama-2"


@pytest.mark.parametrize("given", [0, 2])
def test_missing_parts_are_named(store: ModelStore, tmp_path: Path, given: int) -> None:
    paths = write(tmp_path, parts_of())
    paths[1].unlink()
    with pytest.raises(ModelFileError, match=r"Tiny-00002-of-00003\.gguf is missing"):
        store.install(paths[given], "m")


def test_many_missing_parts_are_counted(store: ModelStore, tmp_path: Path) -> None:
    paths = write(tmp_path, parts_of(8))
    for path in paths[1:]:
        path.unlink()
    with pytest.raises(ModelFileError, match=r"00004-of-00008\.gguf and 4 more are missing"):
        store.install(paths[0], "m")


def test_a_renamed_part_is_told_how_it_must_be_named(store: ModelStore, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(parts_of()[0])
    with pytest.raises(ModelFileError, match=r"NAME-00001-of-00003\.gguf"):
        store.install(path, "m")


def test_parts_that_do_not_belong_together(store: ModelStore, tmp_path: Path) -> None:
    good, other = parts_of(), parts_of(3, **{"general.name": "Other"})
    fewer = parts_of(3, **{"split.tensors.count": 4})
    last: dict[str, object] = {"split.no": 2, "split.count": 3}
    count = {"split.tensors.count": 20}
    again = encode(last | count, dict(list(all_tensors().items())[:6]))
    damaged = {
        "counts itself as part 3 of 3": [good[0], good[2], good[1]],
        "counts itself as part 2 of 2": [good[0], good[1], parts_of(2)[1]],
        "does not belong to Tiny-00001": [good[0], other[1], good[2]],
        "parts of different models, or": [good[0], fewer[1], good[2]],
        "the same tensor twice": [good[0], good[1], again],
        "cut short": [good[0], good[1], good[2][:-100]],
        "not a GGUF": [good[0], b"Dear diary", good[2]],
        "no part at all": [good[0], encode({}, {}), good[2]],
    }
    for match, parts in damaged.items():
        with pytest.raises(ModelFileError, match=match):
            store.install(write(tmp_path, parts)[0], "m")
    assert store.models() == []
