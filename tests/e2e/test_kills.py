"""Two rounds of `python -m tests.kills`: whatever is killed, nothing that was told is lost."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.conftest import TINY
from tests.kills import trial


async def test_nothing_is_lost_when_the_server_or_a_runner_is_killed(
    tiny_store: Path, tmp_path: Path
) -> None:
    run = await trial(
        *(tmp_path, tiny_store / TINY, 5, ("runner", "server")), latest=2.0, max_tokens=300
    )
    assert run.acknowledged
    assert sum(run.killed.values()) == 2
