"""Health: servers that come, go and change are seen, and nobody else is asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from app.inference.remote.servers import HealthMonitor
from app.models.store import ModelStore
from app.models.upstream import Upstream
from tests.inference.remote.stub import MODEL, serving
from tests.patience import PATIENCE


class Watched:
    """A store whose servers are looked at all the time."""

    def __init__(self, folder: Path) -> None:
        self.store = ModelStore(folder)
        self._news = asyncio.Event()
        self.remotes = HealthMonitor(self.store, self._news.set, seconds=0.01)

    async def sees(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._news.clear()
                await self._news.wait()

    def health(self, name: str = "far") -> list[str]:
        return [status.health for status in self.remotes.status(name)]


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Watched]:
    made = Watched(tmp_path)
    task = asyncio.create_task(made.remotes.run())
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_server_that_goes_down_and_comes_up_is_noticed(watched: Watched) -> None:
    async with serving() as stub:
        watched.store.add_remote("far", [Upstream(stub.url, "stub")])
        watched.remotes.check_now()
        await watched.sees(lambda: watched.health() == ["ready"])
        await watched.sees(lambda: watched.store.get("far").context_length == 8192)
        ready = watched.remotes.status("far")[0]
        stub.models_status = 503
        await watched.sees(lambda: watched.health() == ["down"])
        down = watched.remotes.status("far")[0]
        assert "is not ready" in down.trouble
        assert ready.since is not None
        assert down.since is not None
        assert down.since > ready.since
        stub.models_status = 200
        stub.models = {"data": [MODEL | {"id": "another"}]}
        await watched.sees(lambda: watched.health() == ["ready"])
        await watched.sees(lambda: "it has another" in watched.remotes.status("far")[0].note)
    await watched.sees(lambda: watched.health() == ["down"])
    watched.store.remove("far")
    async with asyncio.timeout(PATIENCE):
        while watched.health():
            await asyncio.sleep(0.005)


async def test_servers_that_are_added_are_checked(watched: Watched) -> None:
    async with serving() as one, serving() as two:
        watched.store.add_remote("far", [Upstream(one.url, "stub")])
        await watched.sees(lambda: watched.health() == ["ready"])
        two.models = {"data": [MODEL | {"max_model_len": 2048}]}
        watched.store.add_remote("far", [Upstream(two.url, "stub")])
        await watched.sees(lambda: watched.health() == ["ready", "ready"])
        await watched.sees(lambda: watched.store.get("far").context_length == 2048)
        assert watched.health() == ["ready", "ready"]
