"""The table of architectures against the library that is to run them."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from app.models.gguf.engine_support import (
    EMBEDDING_ARCHITECTURES,
    OTHER_ARCHITECTURES,
    TEXT_ARCHITECTURES,
)
from app.models.gguf.kv_layout import (
    FULL_ATTENTION_INTERVALS,
    OWN_KV_LAYERS,
    RECURRENT_ARCHITECTURES,
    WINDOW_PERIODS,
)

ALL = TEXT_ARCHITECTURES | EMBEDDING_ARCHITECTURES | OTHER_ARCHITECTURES.keys()


@pytest.fixture(scope="module")
def library() -> bytes:
    """Without importing it: that would load the whole engine."""
    spec = importlib.util.find_spec("xllamacpp")
    if spec is None or spec.origin is None:
        pytest.skip("xllamacpp is not installed")
    (path,) = Path(spec.origin).parent.glob("xllamacpp*.so")
    return path.read_bytes()


def test_every_architecture_is_one_that_the_library_names(library: bytes) -> None:
    # The linker lets a string lie in the end of another one, so what stands before it says nothing.
    assert [name for name in sorted(ALL) if name.encode() + b"\0" not in library] == []


def test_no_architecture_of_the_library_is_left_out(library: bytes) -> None:
    start = library.index(b"\0deci\0")
    names = library[start : library.index(b"\0(unknown)\0", start)].split(b"\0")
    assert len(names) > 100
    assert sorted({name.decode() for name in names if name} - ALL) == []


def test_no_architecture_is_of_two_kinds() -> None:
    kinds = (TEXT_ARCHITECTURES, EMBEDDING_ARCHITECTURES, OTHER_ARCHITECTURES.keys())
    assert sum(map(len, kinds)) == len(ALL)
    assert RECURRENT_ARCHITECTURES <= ALL
    assert WINDOW_PERIODS.keys() | FULL_ATTENTION_INTERVALS.keys() | OWN_KV_LAYERS.keys() <= ALL
