"""One snapshot: a KV state with the token ids it belongs to, in memory and as a file.

A file is `MAGIC`, the length and the digest of the header, the header (JSON), the state. The
header names everything that must agree before the state may be used, and the state's digest.
Nothing in a file is believed before it is checked, and a file is read, never mapped: one that is
cut short while it is mapped would kill the process.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import struct
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from app.inference.runner.engines.engine import Engine, State

MAGIC: Final = b"WICKKV01"
MAX_HEADER_BYTES: Final = 64 << 20
_DIGEST: Final = 32
_START: Final = struct.Struct(f"<8sQ{_DIGEST}s")

Ids = NDArray[np.int32]
TokenRuns = tuple[tuple[str, tuple[int, ...]], ...]
"""Texts between special tokens with the ids that the model itself spelled them with."""
Write = Callable[[int, memoryview], int]


class DamagedSnapshot(Exception):
    """The file is damaged, or was made by or for something else."""


@dataclass(frozen=True, slots=True)
class SnapshotKey:
    """Dependencies of a state; only an equal one may read it. `context` in tokens."""

    model: str
    library: str
    context: int


@dataclass(slots=True, eq=False)
class Snapshot:
    """`state` holds the positions of `tokens`. `chat` is a key, empty when it is nobody's.

    used: when the chat was at work on it, counted by this process; a later one is never replaced
    by an earlier one. owner: the user whose it is, as far as this process knows: that is not
    written to the disk. exact: how many of the first positions are as `LiveContext` explains;
    so is shared. cuts: positions it can be cut to, where its engine cannot cut anywhere.
    """

    chat: str
    tokens: Ids
    token_runs: TokenRuns
    state: State
    used: int = 0
    is_on_disk: bool = False
    owner: str = ""
    exact: int = 0
    cuts: tuple[int, ...] = ()
    shared: int = 0

    @property
    def size(self) -> int:
        """Bytes it takes in memory, roughly."""
        return self.state.nbytes + self.tokens.nbytes + 16 * sum(len(i) for _, i in self.token_runs)


@dataclass(frozen=True, slots=True, eq=False)
class SnapshotEntry:
    """A snapshot on the disk of which only the header was read. `offset`: where its state is, and
    `size`: how many bytes that has."""

    path: Path
    chat: str
    tokens: Ids
    token_runs: TokenRuns
    offset: int
    size: int
    digest: bytes
    used: int = 0
    exact: int = 0
    cuts: tuple[int, ...] = ()
    shared: int = 0


def common_prefix(held: Sequence[int] | Ids, wanted: Ids) -> int:
    """The length of the common beginning."""
    size = min(len(held), wanted.size)
    differ = np.flatnonzero(np.asarray(held[:size], np.int32) != wanted[:size])
    return int(differ[0]) if differ.size else size


def header_of(snapshot: Snapshot, key: SnapshotKey) -> tuple[bytes, bytes]:
    """Make all of the file that stands before the state, and the digest of the state."""
    digest = _hash(snapshot.state.data)
    values = {
        "origin": asdict(key),
        "chat": snapshot.chat,
        "tokens": snapshot.tokens.tolist(),
        "spelled": snapshot.token_runs,
        "digest": digest.hex(),
        "exact": snapshot.exact,
        "cuts": snapshot.cuts,
        "shared": snapshot.shared,
    }
    header = json.dumps(values, separators=(",", ":")).encode()
    return _START.pack(MAGIC, len(header), _hash(header)) + header, digest


def write_all(descriptor: int, parts: Sequence[bytes | memoryview], write: Write) -> None:
    """Write everything, whatever `write` takes at once. Raises OSError."""
    for part in parts:
        rest = memoryview(part)
        while rest:
            rest = rest[write(descriptor, rest[: 1 << 24]) :]


def read_header(path: Path, key: SnapshotKey, engine: Engine) -> SnapshotEntry:
    """Raises DamagedSnapshot for whatever is not a whole snapshot of this origin, and OSError."""
    descriptor = _open(path)
    try:
        return _read_header(descriptor, path, key, engine)
    finally:
        os.close(descriptor)


def read_state(entry: SnapshotEntry) -> State:
    """The state, checked. Raises DamagedSnapshot, OSError (also when it is gone), MemoryError."""
    state = np.empty(entry.size, np.uint8)
    descriptor = _open(entry.path)
    try:
        os.lseek(descriptor, entry.offset, os.SEEK_SET)
        _read_into(descriptor, state.data)
    finally:
        os.close(descriptor)
    if _hash(state.data) != entry.digest:
        raise DamagedSnapshot("its checksum is wrong")
    return state


def _read_header(descriptor: int, path: Path, key: SnapshotKey, engine: Engine) -> SnapshotEntry:
    size = os.fstat(descriptor).st_size
    magic, length, digest = _START.unpack(_read(descriptor, _START.size))
    offset = _START.size + length
    if magic != MAGIC or length > MAX_HEADER_BYTES or offset > size:
        raise DamagedSnapshot("it is not a snapshot")
    header = _read(descriptor, length)
    if _hash(header) != digest:
        raise DamagedSnapshot("the checksum of its header is wrong")
    try:
        entry = _parse(json.loads(header), path, offset, size - offset, key)
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise DamagedSnapshot(f"its header is wrong: {error}") from error
    ids, count = entry.tokens, entry.tokens.size
    in_range = 1 <= count <= engine.context_length and ids.max() < engine.vocab_size
    if not in_range or (ids.min() < 0 and not engine.takes_rows):
        raise DamagedSnapshot("its tokens are wrong")
    if not engine.is_state_size(entry.size, count):
        raise DamagedSnapshot("its length is wrong")
    if path.stem != entry.chat:
        raise DamagedSnapshot("it belongs to another chat")
    return entry


def _parse(
    values: dict[str, Any], path: Path, offset: int, size: int, key: SnapshotKey
) -> SnapshotEntry:
    if values["origin"] != asdict(key):
        raise ValueError("it was made by another model, library or context size")
    tokens = np.array(values["tokens"], np.int32).reshape(-1)
    exact = int(values.get("exact", 0))  # earlier versions did not count them
    return SnapshotEntry(
        path=path,
        chat=str(values["chat"]),
        tokens=tokens,
        token_runs=tuple((str(text), tuple(map(int, ids))) for text, ids in values["spelled"]),
        offset=offset,
        size=size,
        digest=bytes.fromhex(values["digest"]),
        exact=min(max(0, exact), tokens.size),
        cuts=tuple(map(int, values.get("cuts", ()))),
        shared=max(0, int(values.get("shared", 0))),
    )


def _open(path: Path) -> int:
    """Open a file, but never through a link, and never waiting at a pipe."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise DamagedSnapshot("it is not a file")
    return descriptor


def _read(descriptor: int, size: int) -> bytes:
    data = bytearray(size)
    _read_into(descriptor, memoryview(data))
    return bytes(data)


def _read_into(descriptor: int, room: memoryview) -> None:
    while room:
        count = os.readv(descriptor, [room])
        if not count:
            raise DamagedSnapshot("it is cut short")
        room = room[count:]


def _hash(data: bytes | memoryview) -> bytes:
    return hashlib.blake2b(data, digest_size=_DIGEST).digest()
