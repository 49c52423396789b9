"""One real server with the tiny model for every test of the API that needs no other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.server import Server


@pytest.fixture(scope="session")
async def server(
    tmp_path_factory: pytest.TempPathFactory, tiny_store: Path
) -> AsyncIterator[Server]:
    made = Server(tmp_path_factory.mktemp("api-server"), tiny_store, titles="off", queue_limit=100)
    await made.start()
    yield made
    await made.close()


@pytest.fixture
async def http(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.origin, timeout=60) as client:
        yield client
