"""Sends more inputs than the test does: `python -m tests.fuzz --inputs 20000 [--seed SEED]`."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
import tempfile
from pathlib import Path

from tests.fuzz.attack import attack


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--seed", default=secrets.token_hex(4))
    given = parser.parse_args()
    print(f"seed {given.seed}, {given.inputs:,} inputs", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        outcome = asyncio.run(attack(Path(folder), given.seed, given.inputs))
    for status, count in sorted(outcome.statuses.items()):
        print(f"{count:8,} {status}")
    for line in outcome.wrong:
        print(f"WRONG {line}")
    return bool(outcome.wrong)


if __name__ == "__main__":
    sys.exit(main())
