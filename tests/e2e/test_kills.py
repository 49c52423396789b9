"""A few rounds of `python -m tests.kills`: whatever is killed, nothing that was told is lost."""

from __future__ import annotations

from pathlib import Path

from tests.kills import trial


async def test_nothing_is_lost_when_the_server_or_a_runner_is_killed(
    smollm2: Path, tmp_path: Path
) -> None:
    run = await trial(tmp_path, smollm2.parent, seed=5, rounds=3)
    assert run.acknowledged
    assert sum(run.killed.values()) == 3
