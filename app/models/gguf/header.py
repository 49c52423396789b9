"""The header of a GGUF file: its fields, value types and tensor types."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Final

from app.errors import ModelFileError

# The numbers of the GGUF format: value types of its metadata, storage types of its tensors.


class ValueType(IntEnum):
    """Type of a metadata value: how it is stored."""

    UINT8 = 0
    INT8 = 1
    UINT16 = 2
    INT16 = 3
    UINT32 = 4
    INT32 = 5
    FLOAT32 = 6
    BOOL = 7
    STRING = 8
    ARRAY = 9
    UINT64 = 10
    INT64 = 11
    FLOAT64 = 12


NUMBER_FORMATS: Final[dict[int, str]] = {
    ValueType.UINT8: "B",
    ValueType.INT8: "b",
    ValueType.UINT16: "H",
    ValueType.INT16: "h",
    ValueType.UINT32: "I",
    ValueType.INT32: "i",
    ValueType.FLOAT32: "f",
    ValueType.BOOL: "B",
    ValueType.UINT64: "Q",
    ValueType.INT64: "q",
    ValueType.FLOAT64: "d",
}
"""The `struct` letter of every value type of a fixed size."""


@dataclass(frozen=True, slots=True)
class TensorType:
    """One storage type: `block` weights take `size` bytes.

    is_weight: a matrix may be stored so; is_early: the library of September 2023 that ctransformers
    ships reads it, too.
    """

    name: str
    block: int
    size: int
    is_weight: bool = True
    is_early: bool = True


def _later(name: str, block: int, size: int) -> TensorType:
    return TensorType(name, block, size, is_early=False)


TENSOR_TYPES: Final[dict[int, TensorType]] = {
    0: TensorType("F32", 1, 4),
    1: TensorType("F16", 1, 2),
    2: TensorType("Q4_0", 32, 18),
    3: TensorType("Q4_1", 32, 20),
    6: TensorType("Q5_0", 32, 22),
    7: TensorType("Q5_1", 32, 24),
    8: TensorType("Q8_0", 32, 34),
    9: TensorType("Q8_1", 32, 40, is_weight=False),
    10: TensorType("Q2_K", 256, 84),
    11: TensorType("Q3_K", 256, 110),
    12: TensorType("Q4_K", 256, 144),
    13: TensorType("Q5_K", 256, 176),
    14: TensorType("Q6_K", 256, 210),
    15: TensorType("Q8_K", 256, 292, is_weight=False),
    16: _later("IQ2_XXS", 256, 66),
    17: _later("IQ2_XS", 256, 74),
    18: _later("IQ3_XXS", 256, 98),
    19: _later("IQ1_S", 256, 50),
    20: _later("IQ4_NL", 32, 18),
    21: _later("IQ3_S", 256, 110),
    22: _later("IQ2_S", 256, 82),
    23: _later("IQ4_XS", 256, 136),
    24: TensorType("I8", 1, 1, is_weight=False),
    25: TensorType("I16", 1, 2, is_weight=False),
    26: TensorType("I32", 1, 4, is_weight=False),
    27: TensorType("I64", 1, 8, is_weight=False, is_early=False),
    28: TensorType("F64", 1, 8, is_weight=False, is_early=False),
    29: _later("IQ1_M", 256, 56),
    30: _later("BF16", 1, 2),
    34: _later("TQ1_0", 256, 54),
    35: _later("TQ2_0", 256, 66),
    39: _later("MXFP4", 32, 17),
    40: _later("NVFP4", 64, 36),
}
"""What today's llama.cpp reads, with its sizes.

The numbers of I8, I16 and I32 have changed since 2023 (they were 16 to 18): no language model
stores weights in them, so they are only named here.
"""

REMOVED_TYPES: Final[dict[int, str]] = {
    4: "Q4_2",
    5: "Q4_3",
    31: "Q4_0_4_4",
    32: "Q4_0_4_8",
    33: "Q4_0_8_8",
    36: "IQ4_NL_4_4",
    37: "IQ4_NL_4_8",
    38: "IQ4_NL_8_8",
}
"""Storage types that existed once, and that no engine reads any more."""


# What the header of a GGUF file says, once it has been read and checked by
# `app.models.gguf.reader`.


@dataclass(frozen=True, slots=True)
class Array:
    """A metadata array as it lies in the file; `length_size`: bytes of a string's length."""

    type: ValueType
    count: int
    raw: bytes = field(repr=False)
    length_size: int = 8

    def strings(self) -> list[bytes]:
        """The items of an array of strings."""
        length = struct.Struct("<I" if self.length_size == 4 else "<Q").unpack_from
        raw, position, items = self.raw, 0, []
        for _ in range(self.count):
            start = position + self.length_size
            position = start + length(raw, position)[0]
            items.append(raw[start:position])
        return items

    def numbers(self) -> tuple[float, ...]:
        """The items of an array of numbers or booleans."""
        return struct.unpack(f"<{self.count}{NUMBER_FORMATS[self.type]}", self.raw)


Value = int | float | bool | str | Array


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor; `offset` in bytes from the start of the data, `shape` fastest dimension first."""

    name: str
    shape: tuple[int, ...]
    type: TensorType
    type_id: int
    offset: int

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def size(self) -> int:
        """Bytes of its data."""
        return self.elements // self.type.block * self.type.size


@dataclass(frozen=True, slots=True)
class Header:
    """Metadata and tensors of a GGUF file; accessors raise ModelFileError on a wrong type."""

    path: Path
    version: int
    metadata: Mapping[str, Value] = field(repr=False)
    types: Mapping[str, ValueType] = field(repr=False)
    tensors: tuple[TensorInfo, ...] = field(repr=False)
    data_offset: int
    alignment: int
    size: int

    def text(self, key: str) -> str | None:
        value = self.metadata.get(key)
        if value is None or isinstance(value, str):
            return value
        raise self._wrong(key, "a text")

    def integer(self, key: str) -> int | None:
        value = self.metadata.get(key)
        if value is None or (isinstance(value, int) and not isinstance(value, bool)):
            return value
        raise self._wrong(key, "a whole number")

    def number(self, key: str) -> float | None:
        value = self.metadata.get(key)
        if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
            return value
        raise self._wrong(key, "a number")

    def flag(self, key: str, *, default: bool) -> bool:
        value = self.metadata.get(key, default)
        if isinstance(value, bool):
            return value
        raise self._wrong(key, "yes or no")

    def strings(self, key: str) -> list[bytes] | None:
        value = self.metadata.get(key)
        if value is None:
            return None
        if isinstance(value, Array) and value.type is ValueType.STRING:
            return value.strings()
        raise self._wrong(key, "a list of texts")

    def numbers(self, key: str) -> tuple[float, ...] | None:
        value = self.metadata.get(key)
        if value is None:
            return None
        if isinstance(value, Array) and value.type in NUMBER_FORMATS:
            return value.numbers()
        raise self._wrong(key, "a list of numbers")

    def count(self, key: str) -> int:
        """Count the items of the list `key` without building them; 0 if there is none."""
        value = self.metadata.get(key)
        if value is None or isinstance(value, Array):
            return value.count if value else 0
        raise self._wrong(key, "a list")

    def _wrong(self, key: str, expected: str) -> ModelFileError:
        return ModelFileError(f"{self.path.name} is damaged: its “{key}” is not {expected}.")
