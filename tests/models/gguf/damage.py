"""Damages files in ways that matter to a reader: sizes that lie, cuts, bytes gone or doubled."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator

WORDS = (0, 1, 2, 255, 1 << 15, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 40, 1 << 63)
GREATEST = (1 << 64) - 1


def damaged(data: bytes, header: int, count: int, seed: int) -> Iterator[bytes]:
    """Yield `count` copies of `data` whose first `header` bytes are damaged, or that are cut."""
    chance = random.Random(seed)
    for _ in range(count):
        changed = bytearray(data)
        for _ in range(chance.choice((1, 1, 1, 2, 4))):
            _damage(changed, min(header, len(changed)), chance)
        yield bytes(changed)


def _damage(data: bytearray, header: int, chance: random.Random) -> None:
    at = chance.randrange(4, max(header, 5))
    match chance.randrange(7):
        case 0 | 1:
            if at < len(data):
                data[at] = chance.randrange(256)
        case 2:
            number = chance.choice((*WORDS, GREATEST, chance.getrandbits(64)))
            data[at : at + 8] = struct.pack("<Q", number)
        case 3:
            data[at : at + 4] = struct.pack("<I", chance.choice(WORDS) & 0xFFFFFFFF)
        case 4:
            del data[at : at + chance.randrange(1, 64)]
        case 5:
            data[at:at] = data[at : at + chance.randrange(1, 64)]
        case _:
            del data[at:]
