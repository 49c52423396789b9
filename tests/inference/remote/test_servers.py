"""Which server is next, and what is known of each."""

from __future__ import annotations

import asyncio

import pytest

from app.inference.remote.servers import Server, ServerPool
from app.models.upstream import RemoteModel, Upstream
from tests.patience import PATIENCE

A, B, C = (Upstream(f"http://{name}/v1", "m", parallel=2) for name in "abc")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def servers(clock: Clock) -> ServerPool:
    return ServerPool(RemoteModel((A, B)), clock)


async def taken(servers: ServerPool, *tried: Server) -> str:
    async with asyncio.timeout(PATIENCE):
        server = await servers.acquire(tried)
    return server.upstream.host if server else ""


async def test_the_server_with_the_least_to_do_is_next(servers: ServerPool, clock: Clock) -> None:
    order = []
    for _ in range(4):
        clock.now += 1
        order.append(await taken(servers))
    assert order == ["a", "b", "a", "b"]
    servers.release(servers.all[1])
    assert await taken(servers) == "b"


async def test_among_equal_servers_a_chat_stays_where_it_was(
    servers: ServerPool, clock: Clock
) -> None:
    async def turn(chat: str) -> str:
        clock.now += 1
        server = await servers.acquire((), chat)
        assert server is not None
        servers.release(server)
        return server.upstream.host

    assert [await turn(chat) for chat in ("x", "y", "x", "x", "y", "z")] == [*"abaab", "a"]
    servers.all[0].outstanding = 1
    assert await turn("x") == "b"  # whoever has less to do goes first
    servers.all[0].outstanding = 0
    assert await turn("x") == "b"


async def test_when_all_servers_are_full_the_next_request_waits(servers: ServerPool) -> None:
    for _ in range(4):
        await taken(servers)
    waiting = asyncio.create_task(servers.acquire(()))
    await asyncio.sleep(0)
    assert not waiting.done()
    servers.release(servers.all[1])
    assert await waiting is servers.all[1]


async def test_a_server_that_is_down_comes_last_and_never_first(servers: ServerPool) -> None:
    a, b = servers.all
    servers.is_down(a, "It is away.")
    assert (await taken(servers), await taken(servers)) == ("b", "b")
    waiting = asyncio.create_task(servers.acquire(()))
    await asyncio.sleep(0)
    assert not waiting.done()  # rather than to ask where nobody is
    waiting.cancel()
    assert await taken(servers, b) == "a"
    assert await taken(servers, a, b) == ""
    assert servers.slots == 2
    servers.is_down(b, "It is away, too.")
    assert servers.slots == 4  # nobody knows


async def test_a_server_that_backs_off_is_asked_when_no_other_is_left(
    servers: ServerPool, clock: Clock
) -> None:
    a, b = servers.all
    a.back_off(30)
    assert await taken(servers) == "b"
    assert await taken(servers, b) == "a"
    assert a.busy_for == 30
    clock.now += 31
    assert a.busy_for == 0


async def test_listeners_are_called_for_changes_alone(servers: ServerPool) -> None:
    heard: list[int] = []
    servers.listeners.append(lambda: heard.append(1))
    a, _ = servers.all
    servers.is_up(a)
    servers.is_up(a)
    assert len(heard) == 1
    since = a.since
    servers.is_up(a, note="It has others.")
    servers.is_down(a, "It is away.")
    assert len(heard) == 3
    assert since is not None
    assert a.since is not None
    assert a.since >= since
    assert a.status().trouble == "It is away."


async def test_changed_servers_keep_what_is_known(servers: ServerPool) -> None:
    a, b = servers.all
    servers.is_up(b, context=2000)
    b.is_plain = True
    servers.update(RemoteModel((B, C), found=9000))
    assert servers.all[0] is b
    assert [server.upstream for server in servers.all] == [B, C]
    assert servers.window == 2000
    assert await servers.acquire((b,)) is servers.all[1]
    servers.release(a)  # its last answer ends


def test_the_window_is_the_smallest_of_all_servers_or_the_chosen_one() -> None:
    servers = ServerPool(RemoteModel((A, B)))
    assert servers.window == 4096
    servers.is_up(servers.all[0], context=8000)
    servers.is_up(servers.all[1], context=6000)
    assert servers.window == 6000
    servers.update(RemoteModel((A, B), context=7000))
    assert servers.window == 7000
    servers.all[0].limit = 5000
    assert servers.window == 5000
