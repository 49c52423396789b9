"""A Wick in front of another server: a second Wick, or a llama-server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from app.config import Settings
from app.server import create_app
from tests.api.conftest import http, server
from tests.upstream.front import Behind, Front

__all__ = ["fronted", "http", "server"]

Fronted = Callable[..., Awaitable[Front]]


@pytest.fixture
async def fronted(tmp_path: Path) -> AsyncIterator[Fronted]:
    """Makes a Wick in front of another server."""
    apps: list[Any] = []

    async def make(upstream: Behind, max_tokens: int = 40) -> Front:
        settings = Settings(
            data_dir=tmp_path,
            models_dir=tmp_path / "models",
            auto_pull=False,
            threads=1,
            titles="off",
            max_tokens=max_tokens,
        )
        app = create_app(settings)
        running = app.test_app()
        await running.startup()
        apps.append(running)
        return Front(app, upstream)

    yield make
    for running in apps:
        await running.shutdown()
