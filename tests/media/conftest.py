from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from app.inference.memory_budget import MemoryBudget
from app.media.process import MediaOptions
from app.media.worker import MediaWorker
from tests.tiny_whisper import write_tiny_whisper

MEMORY = 100
"""Bytes that the tiny model is said to take."""


@pytest.fixture(scope="session")
def tiny_whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_whisper(tmp_path_factory.mktemp("voice") / "tiny")


@pytest.fixture
async def hire(tiny_whisper: Path, tmp_path: Path) -> AsyncIterator[Callable[..., MediaWorker]]:
    """Makes workers with the tiny model, which end with the test."""
    workers: list[MediaWorker] = []

    async def options() -> MediaOptions:
        permits = tmp_path / "permits"
        return MediaOptions("voice", "Voice to text", permits, 2, MEMORY, tiny_whisper)

    def make(budget: MemoryBudget | None = None, **values: Any) -> MediaWorker:
        memory = budget or MemoryBudget(MEMORY, lambda: workers)
        workers.append(MediaWorker("voice", "Voice to text", options, memory, **values))
        return workers[-1]

    yield make
    for worker in workers:
        await worker.close()
