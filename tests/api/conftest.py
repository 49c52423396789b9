"""One real server with the tiny model for every test of the API that needs no other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from app.models.store import ModelStore
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
