"""The copy of a model that ctransformers loads, made of its original files when it is needed.

It may be deleted at any time: whoever needs it makes it again. Its library is of September 2023, so
the copy differs in four things from a modern file: scores of tokens are required, tied embeddings
need an output matrix of their own, linear scaling of positions has another name, and the tokens of
byte-level vocabularies must be raw bytes. Metadata that the engine does not read is left out: value
types younger than the engine would end its process. The parts of a split model become one file.
"""

from __future__ import annotations

import logging
import os
import struct
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Final

from app.errors import ModelFileError
from app.models.disk import ensure_space, translate_disk_errors
from app.models.engines import LLAMA_CPP, available_engines
from app.models.gguf.compatibility import check_compatible, rope_scale
from app.models.gguf.header import NUMBER_FORMATS, Array, Header, TensorInfo, Value, ValueType
from app.models.gguf.reader import ALIGNMENT, MAGIC, ModelFile, read_model_file
from app.models.gguf.tokens import TokenKind, from_byte_level
from app.models.model import Model

log = logging.getLogger(__name__)
UNFINISHED: Final = ".adapted-"
ABANDONED_SECONDS: Final = 3600.0
LARGE_BYTES: Final = 1 << 30
"""A larger model is likely to run on llama.cpp, so no room is set aside for its copy."""
GGUF_VERSION: Final = 3
CHUNK_BYTES: Final = 1 << 20
KEPT_PREFIXES: Final = ("general.", "llama.", "tokenizer.ggml.")
DROPPED: Final = ("general.alignment",)
SCALED: Final = ("llama.rope.scaling.", "llama.rope.scale_linear")
"""Written anew, under the one name that the engine reads."""
FRACTIONS: Final = ("llama.rope.freq_base",)
"""What the engine reads as a number with a fraction, and some files hold as a whole one."""

Progress = Callable[[int, int], None]
"""Called with the bytes done and the bytes there are to do."""


def space_for_copy(size: int) -> int:
    """Bytes that the copy of a model of `size` bytes is expected to take."""
    return 0 if size > LARGE_BYTES and LLAMA_CPP in available_engines() else size


def is_adapted(model: Model) -> bool:
    """Tell whether the copy exists and is whole."""
    if not model.files:
        return True  # there is nothing else
    try:
        return model.weights_path.stat().st_size == model.adapted_size
    except OSError:
        return False


def ensure_adapted(model: Model, progress: Progress | None = None) -> Path:
    """The path of the copy, which is made where it is missing. Blocks: call it from a thread.

    Raises ModelError for files that are damaged or gone, and DiskFull.
    """
    if is_adapted(model):
        return model.weights_path
    file = read_model_file(model.original_paths[0])
    check_compatible(file.header)
    with translate_disk_errors():
        _clean(model.folder)
        ensure_space(model.folder, model.adapted_size)
        handle, name = tempfile.mkstemp(prefix=UNFINISHED, dir=model.folder)
        os.close(handle)
        unfinished = Path(name)
        try:
            convert(file, unfinished, progress)
            if unfinished.stat().st_size != model.adapted_size:
                raise ModelFileError(f"The file of {model.title} has changed since it came.")
            unfinished.chmod(0o644)
            unfinished.replace(model.weights_path)
        finally:
            unfinished.unlink(missing_ok=True)
    log.info("%s was made ready for ctransformers.", model.name)
    return model.weights_path


def remove_adapted(model: Model) -> None:
    """Free the disk of the copy, where the original is there to make it again."""
    if model.files:
        try:
            model.weights_path.unlink(missing_ok=True)
        except OSError as error:  # Windows keeps a file that is in use
            log.info("The copy of %s for ctransformers stays: %s.", model.name, error)


def convert(model: ModelFile, target: Path, progress: Progress | None = None) -> None:
    """Write the adapted copy of `model`, its parts merged, and sync it to the disk.

    Its header must have passed `check_compatible`. Raises ModelFileError if a file changed since.
    """
    sources = _sources(model)
    tensors = [tensor for _, tensor in sources]
    total = sum(tensor.size for tensor in tensors)
    with ExitStack() as stack, target.open("wb") as file:
        files = {part.path: stack.enter_context(part.path.open("rb")) for part in model.parts}
        file.write(_encode_header(model.header, tensors))
        _pad(file)
        done = 0
        for part, tensor in sources:
            source = files[part.path]
            source.seek(part.data_offset + tensor.offset)
            for count in _copy(source, file, tensor, part.path.name):
                done += count
                if progress:
                    progress(done, total)
            _pad(file)
        file.flush()
        os.fsync(file.fileno())


def adapted_size(model: ModelFile) -> int:
    """Bytes of what `convert` writes."""
    tensors = [tensor for _, tensor in _sources(model)]
    head = len(_encode_header(model.header, tensors))
    return _aligned(head) + sum(_aligned(tensor.size) for tensor in tensors)


def _clean(folder: Path) -> None:
    """Remove what a crash left half made."""
    for path in folder.glob(f"{UNFINISHED}*"):
        if time.time() - path.stat().st_mtime > ABANDONED_SECONDS:
            path.unlink(missing_ok=True)


def _sources(model: ModelFile) -> list[tuple[Header, TensorInfo]]:
    """List every tensor to write, and the part it lies in; tied embeddings once more as the
    output.
    """
    sources = [(part, tensor) for part in model.parts for tensor in part.tensors]
    if not any(tensor.name == "output.weight" for _, tensor in sources):
        part, tied = next((p, t) for p, t in sources if t.name == "token_embd.weight")
        sources.append((part, replace(tied, name="output.weight")))
    return sources


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _encode_header(header: Header, tensors: list[TensorInfo]) -> bytes:
    """The bytes of the adapted header, tensors laid out one after another, aligned."""
    metadata = dict(_metadata(header))
    parts = [MAGIC, struct.pack("<IQQ", GGUF_VERSION, len(tensors), len(metadata))]
    for key, (kind, value) in metadata.items():
        parts += [_string(key.encode()), struct.pack("<I", kind), _value(kind, value)]
    offset = 0
    for tensor in tensors:
        count = len(tensor.shape)
        parts.append(_string(tensor.name.encode()))
        parts.append(
            struct.pack(f"<I{count}QIQ", count, *tensor.shape, tensor.type_id, offset),
        )
        offset += _aligned(tensor.size)
    return b"".join(parts)


def _metadata(header: Header) -> Iterator[tuple[str, tuple[ValueType, Value]]]:
    for key, value in header.metadata.items():
        if key.startswith(SCALED):
            continue
        nested = isinstance(value, Array) and value.type is ValueType.ARRAY
        if not key.startswith(KEPT_PREFIXES) or key in DROPPED or nested:
            continue
        if key == "tokenizer.ggml.tokens" and header.text("tokenizer.ggml.model") == "gpt2":
            yield key, (ValueType.ARRAY, _raw_tokens(header))
        else:
            yield key, (_engine_type(key, header.types[key], value), value)
    if (factor := rope_scale(header)) != 1.0:
        yield "llama.rope.scale_linear", (ValueType.FLOAT32, factor)
    if "tokenizer.ggml.scores" not in header.metadata:
        count = len(header.strings("tokenizer.ggml.tokens") or ())
        zeros = Array(ValueType.FLOAT32, count, bytes(4 * count))
        yield "tokenizer.ggml.scores", (ValueType.ARRAY, zeros)


def _engine_type(key: str, kind: ValueType, value: Value) -> ValueType:
    """Convert numbers to the only width that the engine accepts, where they fit."""
    if key in FRACTIONS and type(value) is int:
        return ValueType.FLOAT32
    if type(value) is int and 0 <= value < 1 << 32:
        return ValueType.UINT32
    return ValueType.FLOAT32 if type(value) is float and abs(value) < 1e38 else kind


def _raw_tokens(header: Header) -> Array:
    """Turn ordinary tokens into the bytes they stand for; control tokens stay text."""
    tokens = header.strings("tokenizer.ggml.tokens") or []
    types = header.numbers("tokenizer.ggml.token_type") or ()
    raw = [
        (token if kind != TokenKind.NORMAL else from_byte_level(token.decode()) or token)
        for token, kind in zip(tokens, types, strict=True)
    ]
    return Array(ValueType.STRING, len(raw), b"".join(map(_string, raw)))


def _string(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


def _value(kind: ValueType, value: Value) -> bytes:
    if isinstance(value, Array):
        # Only version 1 has shorter lengths than the version that is written.
        again = value.type is ValueType.STRING and value.length_size != 8
        raw = b"".join(map(_string, value.strings())) if again else value.raw
        return struct.pack("<IQ", value.type, value.count) + raw
    if isinstance(value, str):
        return _string(value.encode())
    return struct.pack("<" + NUMBER_FORMATS[kind], value)


def _copy(source: BinaryIO, file: BinaryIO, tensor: TensorInfo, name: str) -> Iterator[int]:
    left = tensor.size
    while left:
        piece = source.read(min(CHUNK_BYTES, left))
        if not piece:
            raise ModelFileError(f"{name} became shorter while it was read.")
        file.write(piece)
        left -= len(piece)
        yield len(piece)


def _pad(file: BinaryIO) -> None:
    file.write(bytes(-file.tell() % ALIGNMENT))
