from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.inference.stage import Stage


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
