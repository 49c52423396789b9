"""Damaged projectors: `python -m tests.fuzz.projectors [--seed N] [--count N] [--seconds N]`.

Each is tried as a runner does before it opens one, in a process of its own. What passes is used
once more in another process, with another picture or sound: where that dies, a runner would have.
Bytes of the header are changed, sizes in it doubled and halved, and tensors cut off.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Final

from app.inference.runner.engines.mtmd_native import ProjectorError
from app.inference.runner.pictures import trial
from tests.tiny_projectors import HEARING, KINDS, write_projector, write_seeing_model

COUNT: Final = 360
SECONDS: Final = 600.0
HEADER_BYTES: Final = 3000
"""In which the values of a tiny projector stand, and what is said of its tensors."""
USE: Final = """
import sys
from pathlib import Path
from app.inference.runner.pictures import trial
trial.TRIED_SIZES, trial.TRIED_SECONDS = ((333, 222),), (7,)
trial.ENCODING_SECONDS = 20.0
trial._confine()
try:
    trial._use(Path(sys.argv[1]), Path(sys.argv[2]))
except (trial.ProjectorError, trial.EngineError):
    pass
"""


def mutant(whole: bytes, chance: random.Random) -> bytes:
    """Damage a projector in one or two places of its header, or cut it off."""
    data = bytearray(whole)
    for _ in range(chance.choice((1, 1, 1, 2))):
        at = chance.randrange(8, min(HEADER_BYTES, len(data) - 8))
        match chance.randrange(5):
            case 0:
                data[at] = chance.randrange(256)
            case 1:
                data[at] ^= 1 << chance.randrange(8)
            case 2:
                data[at : at + 4] = chance.choice([b"\xff" * 4, bytes(4), b"\1\0\0\0"])
            case 3:
                number = int.from_bytes(data[at : at + 4], "little")
                twice = number * 2 if chance.random() < 0.5 else number // 2
                data[at : at + 4] = (twice % (1 << 32)).to_bytes(4, "little")
            case _:
                del data[chance.randrange(len(data) // 2, len(data)) :]
    return bytes(data)


def outcome(weights: Path, path: Path) -> str:
    """Try a projector, and use it if it passes."""
    try:
        trial.try_projector(weights, path)
    except ProjectorError as error:
        return "killed the trial" if "know well" in str(error) else "refused"
    done = subprocess.run(
        [sys.executable, "-c", USE, str(weights), str(path)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=trial.SECONDS,
        check=False,
    )
    return "used" if done.returncode == 0 else "KILLED A RUNNER"


def run(folder: Path, seed: int, count: int, seconds: float) -> Counter[str]:
    """Try so many, or what comes to its end within these seconds; count how they ended."""
    chance, end, found = random.Random(seed), time.monotonic() + seconds, Counter[str]()
    kinds = (*KINDS, HEARING)
    pairs = {}
    for kind in kinds:
        weights = write_seeing_model(folder / f"{kind}.gguf", kind)
        whole = write_projector(folder / f"mmproj-{kind}.gguf", kind)
        pairs[kind] = weights, whole.read_bytes()
    for number in range(count):
        if time.monotonic() > end:
            break
        weights, whole_bytes = pairs[kinds[number % len(kinds)]]
        path = folder / "mmproj.gguf"
        path.write_bytes(mutant(whole_bytes, chance))
        found[outcome(weights, path)] += 1
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=16)
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    asked = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="projectors-") as name:
        found = run(Path(name), asked.seed, asked.count, asked.seconds)
    figures = ", ".join(f"{number} {what}" for what, number in sorted(found.items()))
    took = time.monotonic() - began
    print(f"seed {asked.seed}: {found.total()} of {asked.count} in {took:.0f} s: {figures}")
    return 1 if found["KILLED A RUNNER"] else 0


if __name__ == "__main__":
    sys.exit(main())
