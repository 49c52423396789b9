"""Ids of a picture's rows in a sequence, where text has token ids.

A row is no token, but prefixes, snapshots and windows are compared and cut as lists of ids. So each
row gets an id below 0, made of the picture's digest, the projector's, the chunk and the place:
equal ids mean equal rows. The first row of a chunk is marked, so that chunks that touch are told
apart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

import numpy as np

_FIRST: Final = 1


def row_ids(picture: str, projector: str, chunk: int, rows: int) -> tuple[int, ...]:
    """Make the ids of the rows of one chunk of a picture."""
    name = f"{picture}:{projector}:{chunk}".encode()
    values = np.frombuffer(hashlib.shake_128(name).digest(4 * rows), "<u4") & 0x7FFF_FFFE
    values[0] |= _FIRST
    return tuple((-1 - values.astype(np.int64)).tolist())


def is_row(token: int) -> bool:
    """Tell whether it stands for a row of a picture, and not for a token."""
    return token < 0


def is_first_row(token: int) -> bool:
    return token < 0 and bool((-1 - token) & _FIRST)


def without_rows(ids: Sequence[int]) -> list[int]:
    """Return the tokens alone, for whoever knows nothing of pictures."""
    return [token for token in ids if token >= 0]
