"""Other hostile inputs each time: a sentence and a status, no traceback, and the server goes on.

FUZZ_SEED repeats a run, whose seed is printed where it fails; FUZZ_INPUTS sends more.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from tests.fuzz.attack import attack


async def test_nothing_that_is_sent_breaks_the_server(tmp_path: Path) -> None:
    seed = os.environ.get("FUZZ_SEED") or secrets.token_hex(4)
    count = int(os.environ.get("FUZZ_INPUTS", "200"))
    print(f"FUZZ_SEED={seed} FUZZ_INPUTS={count}")
    outcome = await attack(tmp_path, seed, count)
    assert outcome.wrong == [], f"FUZZ_SEED={seed} FUZZ_INPUTS={count}"
