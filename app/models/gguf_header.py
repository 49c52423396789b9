"""What the header of a GGUF file says, once it has been read and checked by `app.models.gguf`."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from app.errors import ModelFileError
from app.models.gguf_types import NUMBER_FORMATS, TensorType, ValueType


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
    """What a GGUF file says of itself; its accessors raise ModelFileError on a wrong type."""

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
        """How many items the list `key` has, without building them; 0 if there is none."""
        value = self.metadata.get(key)
        if value is None or isinstance(value, Array):
            return value.count if value else 0
        raise self._wrong(key, "a list")

    def _wrong(self, key: str, expected: str) -> ModelFileError:
        return ModelFileError(f"{self.path.name} is damaged: its “{key}” is not {expected}.")
