"""Damage the recorded documents and read them: `python -m tests.documents.fuzz [COUNT] [SEED]`.

Each is changed at random (bytes, cuts, pieces of others; of ZIP files also the parts in them) and
read by the child. All that may come of it is a document or a sentence; children may die.
"""

from __future__ import annotations

import asyncio
import io
import random
import sys
import time
import zipfile
from collections import Counter
from pathlib import Path
from typing import Final

from app.documents.reader import DocumentReader
from app.errors import AttachmentRefused

FILES: Final = Path(__file__).parent / "files"
AT_ONCE: Final = 2


def damage(data: bytes, chance: random.Random) -> bytes:
    """Change bytes, cut pieces out or double them."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 3, 20, 200))):
        at = chance.randrange(len(changed) or 1)
        match chance.randrange(4):
            case 0:
                changed[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                del changed[at : at + chance.randrange(1, 50)]
            case 2:
                changed[at:at] = changed[at : at + chance.randrange(1, 500)]
            case _:
                changed[at : at + 4] = chance.choice((b"\xff" * 4, bytes(4), b"9999", b"<!--"))
    return bytes(changed)


def damage_parts(data: bytes, chance: random.Random) -> bytes:
    """Change some parts of a ZIP file, whose frame stays whole."""
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(packed, "w") as target:
        for name in source.namelist():
            part = source.read(name)
            is_hit = part and chance.random() < 0.4 and name != "mimetype"
            target.writestr(name, damage(part, chance) if is_hit else part)
    return packed.getvalue()


def mutations(count: int, seed: int) -> list[tuple[str, bytes]]:
    """Make damaged files, each with the name of the whole one."""
    chance, files = random.Random(seed), sorted(FILES.iterdir())
    found = []
    for number in range(count):
        path = files[number % len(files)]
        data = path.read_bytes()
        is_zip = data.startswith(b"PK") and chance.random() < 0.7
        found.append((path.name, (damage_parts if is_zip else damage)(data, chance)))
    return found


async def read_all(files: list[tuple[str, bytes]]) -> Counter[str]:
    """Read files; count what came of them by its first words."""
    reader, seen, waiting = DocumentReader(), Counter[str](), iter(files)

    async def work() -> None:
        for name, data in waiting:
            try:
                document = await reader.read(name, data)
            except AttachmentRefused as error:
                seen[str(error).removeprefix(name).strip()] += 1
            else:
                document.text.encode()
                seen["read"] += 1

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    return seen


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    start = time.monotonic()
    for what, number in asyncio.run(read_all(mutations(count, seed))).most_common():
        print(f"{number:6}  {what}")
    print(f"{count} files, seed {seed}, {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
