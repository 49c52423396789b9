"""One real server with the tiny model for every test of the API that needs no other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.config import Settings
from app.models.store import ModelStore
from app.server import create_app
from tests.api.front import Behind, Front
from tests.e2e.server import Server
from tests.tiny_gguf import write_tiny_gguf


@pytest.fixture(scope="session")
def tiny_shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("api-shelf")
    ModelStore(folder / "models").install(write_tiny_gguf(folder / "tiny.gguf"), "tiny")
    return folder / "models"


@pytest.fixture(scope="session")
async def server(
    tmp_path_factory: pytest.TempPathFactory, tiny_shelf: Path
) -> AsyncIterator[Server]:
    made = Server(tmp_path_factory.mktemp("api-server"), tiny_shelf, titles="off", queue_limit=100)
    await made.start()
    yield made
    await made.close()


@pytest.fixture
async def http(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.origin, timeout=60) as client:
        yield client


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
