from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.e2e.server import Server
from tests.wire.raw import assert_serves


@pytest.fixture(scope="session")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """The real thing on a port of its own, without a model: nothing here needs an answer."""
    folder = tmp_path_factory.mktemp("wire")
    server = Server(folder, folder / "models")
    yield await server.start()
    assert await server.stop() == 0


@pytest.fixture(autouse=True)
async def still_serves(server: Server) -> AsyncIterator[None]:
    """Check afterwards that the server serves well-behaved clients, and nothing broke in it."""
    yield
    await assert_serves(server.port)
    assert "Traceback" not in server.log
