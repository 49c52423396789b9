from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from app.models.store import ModelStore
from tests.inference.stage import Stage
from tests.tiny_gguf import write_tiny_gguf


@pytest.fixture
async def staged() -> AsyncIterator[Callable[..., Stage]]:
    """Makes workers on stages, which end with the test."""
    stages: list[Stage] = []

    def make(*runners: Any, **options: Any) -> Stage:
        stages.append(Stage(*runners, **options))
        return stages[-1]

    yield make
    for stage in stages:
        await stage.end()


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    """Make a store that holds one tiny model."""
    made = ModelStore(tmp_path / "models")
    made.install(write_tiny_gguf(tmp_path / "tiny.gguf"), "tiny")
    return made
