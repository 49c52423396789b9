from __future__ import annotations

import struct
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.errors import ModelError, ModelFileError, ModelUnsupported
from app.models.gguf.header import REMOVED_TYPES, TENSOR_TYPES, Array, ValueType
from app.models.gguf.reader import read_header
from app.models.store import ModelStore
from tests.tiny_gguf import Floats, encode, write_tiny_gguf

ONE_TENSOR: dict[str, Floats] = {"t": np.zeros((2, 3), np.float32)}


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def entry(key: bytes, kind: int, value: bytes) -> bytes:
    return struct.pack("<Q", len(key)) + key + struct.pack("<I", kind) + value


def with_keys(*entries: bytes) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, 0, len(entries)) + b"".join(entries)


def with_tensor(name: bytes, shape: tuple[int, ...], kind: int, offset: int) -> bytes:
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + struct.pack("<Q", len(name)) + name
    return head + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset) + bytes(4096)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_every_version_reads_back(tmp_path: Path, version: int) -> None:
    metadata: dict[str, object] = {"a": 7, "b": 0.5, "c": True, "d": "ä", "e": ["x", "ÿz"]}
    metadata |= {"f": [1, -2]}
    header = read_header(write(tmp_path / "m.gguf", encode(metadata, ONE_TENSOR, version)))
    assert header.version == version
    assert (header.integer("a"), header.number("b")) == (7, 0.5)
    assert header.flag("c", default=False)
    assert header.text("d") == "ä"
    assert header.strings("e") == [b"x", "ÿz".encode()]
    assert header.numbers("f") == (1, -2)
    (tensor,) = header.tensors
    assert (tensor.name, tensor.shape, tensor.type.name, tensor.size) == ("t", (3, 2), "F32", 24)
    assert header.data_offset % header.alignment == 0


def test_absent_keys_are_none_and_wrong_types_are_errors(tiny: Path) -> None:
    header = read_header(tiny)
    assert header.text("nothing") is None
    assert header.strings("nothing") is None
    assert header.flag("nothing", default=True)
    for read in (header.integer, header.number, header.strings, header.numbers):
        with pytest.raises(ModelFileError, match="is damaged"):
            read("general.name")
    with pytest.raises(ModelFileError):
        header.text("llama.block_count")


NUMBERS = struct.pack("<IQ", 4, 1 << 60)
STRINGS = struct.pack("<IQ", 8, 1 << 60)
LONG_STRING = struct.pack("<IQQ", 8, 1, (1 << 64) - 1)
NESTED = b"".join([struct.pack("<IQ", 9, 1)] * 9)
MANY_NESTED = struct.pack("<IQ", 9, 1 << 40) + struct.pack("<IQ", 9, 0) * 100
DAMAGED = {
    "empty": b"",
    "text": b"Dear diary, today I became a language model.",
    "only the magic": b"GGUF",
    "too many keys": b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 63),
    "too many tensors": b"GGUF" + struct.pack("<IQQ", 3, 1 << 63, 0),
    "a key longer than the file": b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 60_000),
    "an endless key": b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1 << 62),
    "a key twice": with_keys(entry(b"a", 0, b"1"), entry(b"a", 0, b"2")),
    "a key that is not UTF-8": with_keys(entry(b"\xff", 0, b"1")),
    "a text that is not UTF-8": with_keys(entry(b"a", 8, struct.pack("<Q", 1) + b"\xff")),
    "an unknown type": with_keys(entry(b"a", 99, b"1")),
    "a strange boolean": with_keys(entry(b"a", 7, b"\x02")),
    "an array larger than the file": with_keys(entry(b"a", 9, NUMBERS)),
    "more strings than the file": with_keys(entry(b"a", 9, STRINGS)),
    "a string larger than the file": with_keys(entry(b"a", 9, LONG_STRING)),
    "deep nesting": with_keys(entry(b"a", 9, NESTED)),
    "wide nesting": with_keys(entry(b"a", 9, MANY_NESTED)),
    "alignment 0": with_keys(entry(b"general.alignment", 4, struct.pack("<I", 0))),
    "alignment 24": with_keys(entry(b"general.alignment", 4, struct.pack("<I", 24))),
    "alignment text": with_keys(entry(b"general.alignment", 8, struct.pack("<Q", 0))),
    "no dimensions": with_tensor(b"t", (), 0, 0),
    "five dimensions": with_tensor(b"t", (1, 1, 1, 1, 1), 0, 0),
    "dimension 0": with_tensor(b"t", (0, 4), 0, 0),
    "dimensions that overflow": with_tensor(b"t", (1 << 33, 1 << 33), 0, 0),
    "half a block": with_tensor(b"t", (33,), 2, 0),
    "an unaligned tensor": with_tensor(b"t", (4,), 0, 7),
    "a tensor past the end": with_tensor(b"t", (4,), 0, 1 << 40),
    "a tensor longer than the file": with_tensor(b"t", (1 << 20,), 0, 0),
    "an unknown storage": with_tensor(b"t", (4,), 777, 0),
    "a long tensor name": with_tensor(b"t" * 65, (4,), 0, 0),
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED.keys())
def test_damage_is_described_in_a_sentence(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(ModelFileError, match=r"^bad\.gguf .*\.$"):
        read_header(write(tmp_path / "bad.gguf", data))


def test_versions_that_are_not_read_are_named(tmp_path: Path) -> None:
    for version, words in ((0, "version 0"), (99, "version 99"), (3 << 24, "big-endian")):
        data = b"GGUF" + struct.pack("<I", version) + bytes(16)
        with pytest.raises(ModelUnsupported, match=words):
            read_header(write(tmp_path / "m.gguf", data))


def test_overlapping_tensors(tmp_path: Path) -> None:
    data = encode({}, ONE_TENSOR | {"u": ONE_TENSOR["t"]})
    assert read_header(write(tmp_path / "good.gguf", data)).tensors[1].offset == 32
    index = data.rindex(struct.pack("<IQ", 0, 32))
    moved = data[:index] + struct.pack("<IQ", 0, 0) + data[index + 12 :]
    with pytest.raises(ModelFileError, match="overlaps"):
        read_header(write(tmp_path / "bad.gguf", moved))


def test_a_cut_file_says_how_much_is_missing(tmp_path: Path, tiny: Path) -> None:
    whole = tiny.read_bytes()
    with pytest.raises(ModelFileError, match=r"says it holds 0\.4 MB and has 0\.3 MB"):
        read_header(write(tmp_path / "cut.gguf", whole[:300_000]))


def test_storage_types_of_today_are_read(tmp_path: Path) -> None:
    names = {storage.name for storage in TENSOR_TYPES.values()}
    assert {"BF16", "MXFP4", "IQ2_XXS", "IQ4_NL", "TQ1_0", "Q4_K"} <= names
    path = write(tmp_path / "new.gguf", with_tensor(b"t", (256,), 39, 0))
    (tensor,) = read_header(path).tensors
    assert (tensor.type.name, tensor.size) == ("MXFP4", 136)


def test_a_file_format_that_no_engine_reads_any_more_is_named(tmp_path: Path) -> None:
    for kind, name in REMOVED_TYPES.items():
        with pytest.raises(ModelUnsupported, match=f"as {name}, .* look for a Q4_K_M"):
            read_header(write(tmp_path / "new.gguf", with_tensor(b"t", (256,), kind, 0)))
    for data in (b"GGUF" + struct.pack("<I", 4), b"GGUF" + struct.pack(">I", 3)):
        with pytest.raises(ModelUnsupported):
            read_header(write(tmp_path / "new.gguf", data + bytes(64)))


def test_a_missing_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="cannot be read: No such file"):
        read_header(tmp_path / "nothing.gguf")


def test_arrays_stay_raw_until_asked_for(tiny: Path) -> None:
    tokens = read_header(tiny).metadata["tokenizer.ggml.tokens"]
    assert isinstance(tokens, Array)
    assert (tokens.type, tokens.count) == (ValueType.STRING, len(tokens.strings()))


HEADER_END = 12_000
damage = st.lists(st.tuples(st.integers(4, HEADER_END), st.integers(0, 255)), max_size=4)


@pytest.mark.parametrize("flavour", ["bpe", "spm"])
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(bytes_changed=damage, cut=st.none() | st.integers(0, HEADER_END))
def test_damaged_gguf_files_are_refused_or_harmless(
    tmp_path: Path, flavour: str, bytes_changed: list[tuple[int, int]], cut: int | None
) -> None:
    path = tmp_path / "fuzz.gguf"
    store = ModelStore(tmp_path / "models")
    data = bytearray(write_tiny_gguf(path, flavour=flavour).read_bytes())  # type: ignore[arg-type]
    for position, value in bytes_changed:
        data[position] = value
    path.write_bytes(data[:cut])
    with suppress(ModelError):
        store.install(path, "fuzz")
        store.remove("fuzz")
    assert list(store.root.glob("*") if store.root.exists() else []) == []
