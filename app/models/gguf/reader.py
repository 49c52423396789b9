"""Reads the headers of GGUF files, versions 1 to 3, in milliseconds and without trusting them.

Every count, length and offset is compared with the bytes that are really there before anything is
built from it. Arrays stay as raw bytes until asked for, so reading takes no more memory than the
header itself. The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md

Of a model that was split into several files, `NAME-00001-of-00003.gguf` holds the metadata and the
first tensors, the others only tensors. Each says which part it is (`split.no`, from 0), of how
many, and how many tensors there are in all.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from app.errors import ModelFileError, ModelUnsupported
from app.models.gguf.header import (
    NUMBER_FORMATS,
    REMOVED_TYPES,
    TENSOR_TYPES,
    Array,
    Header,
    TensorInfo,
    TensorType,
    Value,
    ValueType,
)

MAGIC: Final = b"GGUF"
ALIGNMENT: Final = 32
FIRST_WINDOW_BYTES: Final = 4 << 20
"""Most headers fit; the rest of the file, often gigabytes, is never read here."""
MAX_HEADER_BYTES: Final = 64 << 20
MAX_KEYS: Final = 10_000
MAX_TENSORS: Final = 100_000
MAX_KEY_BYTES: Final = 65_535
MAX_TENSOR_NAME_BYTES: Final = 64
MAX_DEPTH: Final = 4
MAX_NESTED_ARRAYS: Final = 100_000
MAX_ELEMENTS: Final = 1 << 50
MAX_PARTS: Final = 1_000
MAX_LISTED_NAMES: Final = 3
SHARED: Final = ("general.architecture", "general.name")
_PART: Final = re.compile(r"(.+)-([0-9]{5})-of-([0-9]{5})(\.gguf)", re.IGNORECASE)
_ENDING: Final = re.compile(r"\.gguf$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ModelFile:
    """GGUF file on the disk: `header` covers all `parts` together."""

    header: Header
    parts: tuple[Header, ...]

    @property
    def paths(self) -> list[Path]:
        return [part.path for part in self.parts]


def read_model_file(path: Path) -> ModelFile:
    """Read the header of the GGUF file at `path`, and of its other parts if it is split.

    Raises ModelFileError if parts are missing or do not belong together, and whatever `read_header`
    raises.
    """
    header = read_header(path)
    count = header.integer("split.count") or 1
    if count == 1:
        return ModelFile(header, (header,))
    paths = part_paths(path)
    if len(paths) != count or count > MAX_PARTS:
        raise ModelFileError(
            f"{path.name} is one of the {count} parts of a split model, but it is not named so; "
            f"keep all parts in one folder, with names such as NAME-00001-of-{count:05d}.gguf."
        )
    missing = [part.name for part in paths if not part.is_file()]
    if missing:
        raise ModelFileError(
            f"{path.name} is one of {count} parts of a model, and {list_names(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing; put all parts into one folder."
        )
    parts = tuple(header if part == path else read_header(part) for part in paths)
    _check_parts(parts)
    return ModelFile(_join(parts), parts)


def read_header(path: Path) -> Header:
    """Read and check the header of the GGUF file at `path`.

    Raises ModelFileError for a file that is damaged, cut short or no GGUF file, ModelUnsupported
    for a sound file with a storage type that no engine reads any more.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            for window in (FIRST_WINDOW_BYTES, MAX_HEADER_BYTES):
                file.seek(0)
                try:
                    return _Parser(path, file.read(min(window, size)), size).header()
                except _PastWindow:
                    continue
        raise ModelFileError(f"{path.name} is damaged: its header is too large.")
    except OSError as error:
        raise ModelFileError(f"{path.name} cannot be read: {error.strerror}.") from error


def is_part(file: str) -> bool:
    """Tell whether `file` is the name of one part of a split model."""
    return _PART.fullmatch(file) is not None


def part_names(file: str) -> list[str]:
    """Return the names of all files of the model that `file` belongs to; just `file` if it is
    whole.

    Raises ValueError for a number that no part has.
    """
    match = _PART.fullmatch(file)
    if match is None:
        return [file]
    number, count = int(match[2]), int(match[3])
    if not 1 <= number <= count:
        raise ValueError(f"{file} is part {number} of {count}")
    return [f"{match[1]}-{n:05d}-of-{match[3]}{match[4]}" for n in range(1, count + 1)]


def list_names(names: Sequence[str]) -> str:
    """Return the first MAX_LISTED_NAMES names and how many more there are."""
    listed, more = ", ".join(names[:MAX_LISTED_NAMES]), len(names) - MAX_LISTED_NAMES
    return f"{listed} and {more} more" if more > 0 else listed


def model_stem(file: str) -> str:
    """Return a file's name without its suffix and, for a part of a split model, its number."""
    match = _PART.fullmatch(file)
    return match[1] if match else _ENDING.sub("", file)


def part_paths(path: Path) -> list[Path]:
    """Return the paths of all parts of the model at `path`, by their names; just `path` if it is
    whole.
    """
    try:
        return [path.with_name(name) for name in part_names(path.name)]
    except ValueError:
        return [path]


def _check_parts(parts: tuple[Header, ...]) -> None:
    first = parts[0]
    tensors = sum(len(part.tensors) for part in parts)
    for index, part in enumerate(parts):
        own_place = (part.integer("split.no"), part.integer("split.count"))
        if own_place != (index, len(parts)):
            raise ModelFileError(
                f"{part.path.name} is not the part that its name says: "
                f"it counts itself as {_part_label(*own_place)}."
            )
    for part in parts:
        different = [
            key for key in SHARED if key in part.metadata and part.text(key) != first.text(key)
        ]
        if part.integer("split.tensors.count") != tensors or different:
            raise ModelFileError(
                f"{part.path.name} does not belong to {first.path.name}: "
                "they are parts of different models, or one of them is damaged."
            )
    if len({tensor.name for part in parts for tensor in part.tensors}) != tensors:
        raise ModelFileError(f"{first.path.name} and its other parts hold the same tensor twice.")


def _part_label(number: int | None, count: int | None) -> str:
    return "no part at all" if number is None else f"part {number + 1} of {count}"


def _join(parts: tuple[Header, ...]) -> Header:
    first = parts[0]
    return replace(
        first,
        metadata={k: v for k, v in first.metadata.items() if not k.startswith("split.")},
        tensors=tuple(tensor for part in parts for tensor in part.tensors),
        size=sum(part.size for part in parts),
    )


class _PastWindow(Exception):
    """The header goes on beyond the bytes read so far, in a file that is longer."""


class _Parser:
    """Walks through the header once, from its first byte to its last."""

    def __init__(self, path: Path, data: bytes, size: int) -> None:
        self.path, self.data, self.size = path, data, size
        self.position = 0
        self.version = 0
        self.length_size = 8
        self.nested = 0

    def header(self) -> Header:
        tensor_count, key_count = self._preamble()
        metadata: dict[str, Value] = {}
        types: dict[str, ValueType] = {}
        for _ in range(key_count):
            key = self._text("a key", MAX_KEY_BYTES)
            if key in metadata:
                raise self._damaged(f"it holds “{key[:80]}” twice")
            types[key] = self._value_type()
            metadata[key] = self._value(types[key])
        alignment = self._alignment(metadata)
        tensors = tuple(self._tensor(alignment) for _ in range(tensor_count))
        data_offset = -(-self.position // alignment) * alignment
        self._check_tensors(tensors, data_offset)
        return Header(
            self.path, self.version, metadata, types, tensors, data_offset, alignment, self.size
        )

    def _preamble(self) -> tuple[int, int]:
        if self.data[:4] != MAGIC:
            raise ModelFileError(f"{self.path.name} is not a GGUF file.")
        self.position = 4
        self.version = self._unpack("I")
        if self.version not in (1, 2, 3):
            if self.version and self.version & 0xFFFF == 0:
                raise ModelUnsupported(
                    f"{self.path.name} is a GGUF file for big-endian machines; "
                    "look for the ordinary, little-endian one."
                )
            raise ModelUnsupported(
                f"{self.path.name} is a GGUF file of version {self.version}; "
                "Wick reads versions 1 to 3."
            )
        self.length_size = 4 if self.version == 1 else 8
        tensor_count, key_count = self._length(), self._length()
        if tensor_count > MAX_TENSORS or key_count > MAX_KEYS:
            raise self._damaged("it counts too many tensors or keys")
        return tensor_count, key_count

    def _damaged(self, what: str) -> ModelFileError:
        return ModelFileError(f"{self.path.name} is damaged: {what}.")

    def _take(self, count: int) -> int:
        """Step over `count` bytes that must exist; where they start."""
        start = self.position
        if count > self.size - start:
            raise ModelFileError(
                f"{self.path.name} is cut short or damaged: its header goes past its end."
            )
        if count > len(self.data) - start:
            raise _PastWindow
        self.position = start + count
        return start

    def _unpack(self, letter: str) -> int:
        start = self._take(struct.calcsize("<" + letter))
        value: int = struct.unpack_from("<" + letter, self.data, start)[0]
        return value

    def _length(self) -> int:
        return self._unpack("I" if self.length_size == 4 else "Q")

    def _text(self, what: str, limit: int = MAX_HEADER_BYTES) -> str:
        length = self._length()
        if length > limit:
            raise self._damaged(f"{what} is too long")
        start = self._take(length)
        try:
            return self.data[start : self.position].decode()
        except UnicodeDecodeError:
            raise self._damaged(f"{what} is not UTF-8") from None

    def _value_type(self) -> ValueType:
        number = self._unpack("I")
        try:
            return ValueType(number)
        except ValueError:
            raise self._damaged(f"it holds a value of the unknown type {number}") from None

    def _value(self, kind: ValueType) -> Value:
        if kind is ValueType.STRING:
            return self._text("a text")
        if kind is ValueType.ARRAY:
            return self._array()
        value = self._unpack(NUMBER_FORMATS[kind])
        if kind is not ValueType.BOOL:
            return value
        if value not in (0, 1):
            raise self._damaged("it holds a yes or no that is neither")
        return bool(value)

    def _array(self) -> Array:
        kind, count = self._value_type(), self._length()
        start = self.position
        self._skip(kind, count, depth=1)
        return Array(kind, count, self.data[start : self.position], self.length_size)

    def _skip(self, kind: ValueType, count: int, depth: int) -> None:
        if kind in NUMBER_FORMATS:
            self._take(count * struct.calcsize(NUMBER_FORMATS[kind]))
        elif kind is ValueType.STRING:
            self._skip_strings(count)
        else:
            self.nested += count
            if depth >= MAX_DEPTH or self.nested > MAX_NESTED_ARRAYS:
                raise self._damaged("it nests too many lists")
            for _ in range(count):
                self._skip(self._value_type(), self._length(), depth + 1)

    def _skip_strings(self, count: int) -> None:
        """Walk the lengths: the hot loop, 100,000 rounds for an ordinary vocabulary."""
        if count > (self.size - self.position) // self.length_size:
            self._take(self.size)
        length_size, data = self.length_size, self.data
        length = struct.Struct("<I" if length_size == 4 else "<Q").unpack_from
        position, last = self.position, len(data) - length_size
        for _ in range(count):
            if position > last:
                # Somewhere a length pointed past the window: say whether past the file as well.
                position += length_size
                break
            position += length_size + length(data, position)[0]
        self._take(position - self.position)

    def _alignment(self, metadata: dict[str, Value]) -> int:
        value = metadata.get("general.alignment", ALIGNMENT)
        sound = isinstance(value, int) and 0 < value <= 1 << 20 and value & (value - 1) == 0
        if not sound or not isinstance(value, int):
            raise self._damaged("its alignment is not a power of two")
        return value

    def _tensor(self, alignment: int) -> TensorInfo:
        name = self._text("a tensor's name", MAX_TENSOR_NAME_BYTES)
        dimensions = self._unpack("I")
        if not 1 <= dimensions <= 4:
            raise self._damaged(f"{name} has {dimensions} dimensions")
        shape = tuple(self._length() for _ in range(dimensions))
        if 0 in shape or math.prod(shape) > MAX_ELEMENTS:
            raise self._damaged(f"{name} has an impossible shape")
        type_id, offset = self._unpack("I"), self._unpack("Q")
        kind = self._tensor_type(name, type_id)
        if shape[0] % kind.block:
            raise self._damaged(f"{name} does not fill whole blocks of {kind.name}")
        if offset % alignment:
            raise self._damaged(f"{name} is not aligned")
        return TensorInfo(name, shape, kind, type_id, offset)

    def _tensor_type(self, name: str, type_id: int) -> TensorType:
        if kind := TENSOR_TYPES.get(type_id):
            return kind
        if removed := REMOVED_TYPES.get(type_id):
            raise ModelUnsupported(
                f"{self.path.name} stores its weights as {removed}, which no engine reads any "
                "longer; look for a Q4_K_M or Q8_0 file of the same model."
            )
        raise self._damaged(f"{name} has the unknown storage type {type_id}")

    def _check_tensors(self, tensors: tuple[TensorInfo, ...], data_offset: int) -> None:
        if len({tensor.name for tensor in tensors}) != len(tensors):
            raise self._damaged("it holds a tensor twice")
        end = 0
        for tensor in sorted(tensors, key=lambda tensor: tensor.offset):
            if tensor.offset < end:
                raise self._damaged(f"{tensor.name} overlaps another tensor")
            end = tensor.offset + tensor.size
        if tensors and data_offset + end > self.size:
            raise ModelFileError(
                f"{self.path.name} is cut short: it says it holds {(data_offset + end) / 1e6:,.1f} "
                f"MB and has {self.size / 1e6:,.1f} MB."
            )
