"""How much a socket may ask, and how many of them one person may have."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
from quart import Quart
from quart.testing import QuartClient
from quart.testing.connections import WebsocketDisconnectError

from app.conversations.chats import ChatService
from app.conversations.hub import Hub, Subscription
from app.errors import StoreError
from app.web import socket
from app.web.context import SERVICE_RESTART
from app.web.socket import (
    BURST,
    HEARTBEAT,
    IDLE_AFTER_SECONDS,
    POLICY,
    WARNED,
    CloseConnection,
    MessageRateLimiter,
    TabActivity,
)
from tests.application import OWN, run_app
from tests.patience import PATIENCE

LIVE = "/chats/0123456789abcdef/live"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_then_warnings_then_the_end() -> None:
    clock = Clock()
    allowance = MessageRateLimiter(2, clock)
    assert [allowance.spend() for _ in range(2 * BURST)] == [True] * 2 * BURST
    assert [allowance.spend() for _ in range(WARNED)] == [False] * WARNED
    with pytest.raises(CloseConnection) as gone:
        allowance.spend()
    assert gone.value.code == POLICY


def test_a_socket_that_waits_after_a_burst_may_go_on() -> None:
    clock = Clock()
    allowance = MessageRateLimiter(2, clock)
    for _ in range(2 * BURST + 1):
        allowance.spend()
    clock.now += 1.0
    assert allowance.spend()
    clock.now += 1000
    assert all(allowance.spend() for _ in range(2 * BURST))
    assert not allowance.spend()


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[Quart]:
    async with run_app(tmp_path, messages_per_second=1, sockets_per_user=2) as made:
        yield made


async def test_a_flood_is_warned_before_it_is_closed(app: Quart) -> None:
    prompt = json.dumps({"text": "hello", "client_id": "c" * 32})
    said = []
    async with QuartClient(app).websocket(LIVE, headers=OWN) as socket:
        for _ in range(BURST):
            await socket.send("{}")
        for _ in range(20):
            await socket.send(prompt)
        try:
            while True:
                said.append(str(await socket.receive()))
        except WebsocketDisconnectError as error:
            closed = error
    assert closed.args[0] == POLICY
    warnings = [frame for frame in said if "sending too fast" in frame]
    assert warnings
    # The composer keeps its text.
    assert f'data-for="{"c" * 32}" data-accepted="no"' in warnings[0]


async def heard(socket: Any, words: str) -> None:
    """Returns when a frame has these words, whatever came before it."""
    async with asyncio.timeout(PATIENCE):
        while words not in str(await socket.receive()):
            pass


async def test_the_tab_of_a_temporary_chat_is_told_that_it_has_ended(app: Quart) -> None:
    gone = "t" + "0" * 16
    async with QuartClient(app).websocket(f"/chats/{gone}/live?first=1", headers=OWN) as socket:
        await heard(socket, "This temporary chat has ended.")
    answer = await QuartClient(app).get(f"/chats/{gone}", headers=OWN)
    assert answer.status_code == 404
    assert "This temporary chat has ended." in await answer.get_data(as_text=True)


async def test_half_a_character_in_a_name_breaks_no_frame(app: Quart) -> None:
    prompt = '{"text": "hello", "client_id": "%s", "model": "\\ud800"}' % ("c" * 32)
    async with QuartClient(app).websocket(LIVE, headers=OWN) as socket:
        await socket.send(prompt)
        async with asyncio.timeout(PATIENCE):
            while 'data-accepted="no"' not in (frame := str(await socket.receive())):
                pass
    assert "\ufffd" in frame
    frame.encode()  # as the connection does


async def test_a_disk_that_can_not_be_read_closes_a_tab_so_that_it_comes_back(
    app: Quart, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: object) -> None:
        raise StoreError("The database could not do this: disk I/O error.")

    monkeypatch.setattr(ChatService, "mark_read", fail)
    async with QuartClient(app).websocket(LIVE, headers=OWN) as tab:
        with pytest.raises(WebsocketDisconnectError, match="1011"):
            await tab.receive()
    assert "A tab is closed" in caplog.text
    assert "Traceback" not in caplog.text


@dataclass
class StaleTab:
    """A tab with something left to show."""

    subscription: Subscription
    pause: float = 0.0

    async def next_frame(self) -> str:
        return "how it ended"


@pytest.mark.parametrize(("code", "frames"), [(SERVICE_RESTART, ["how it ended"]), (POLICY, [])])
async def test_a_tab_is_shown_how_its_answer_ended_before_a_restart_and_nothing_after_a_session(
    monkeypatch: pytest.MonkeyPatch, code: int, frames: list[str]
) -> None:
    sent: list[str] = []

    async def send(frame: str) -> None:
        sent.append(frame)

    monkeypatch.setattr(socket, "_send", send)
    hub = Hub()
    tab = StaleTab(hub.subscribe(1, "chat"))
    tab.subscription.notify(urgent=True)
    hub.close(code)
    with pytest.raises(CloseConnection) as closed:
        await socket._send_loop(cast("socket.Connection", tab), TabActivity())
    assert (closed.value.code, sent) == (code, frames)


async def test_one_page_too_many_is_told_so(app: Quart) -> None:
    client = QuartClient(app)
    async with (
        client.websocket(LIVE, headers=OWN) as first,
        client.websocket("/models/live", headers=OWN) as second,
    ):
        await first.receive()
        await second.receive()
        async with client.websocket(LIVE, headers=OWN) as third:
            await heard(third, "Limit of 2 open pages")
            with pytest.raises(WebsocketDisconnectError):
                await third.receive()
        await first.send("[]")
        await heard(first, "did not understand")
    async with client.websocket(LIVE, headers=OWN) as again:
        assert "open pages reached" not in str(await again.receive())


async def test_a_tab_is_idle_after_a_while_and_what_goes_through_wakes_it() -> None:
    clock = Clock()
    activity = TabActivity(clock)
    clock.now += IDLE_AFTER_SECONDS - 1
    states = [activity.is_idle]
    activity.mark()
    clock.now += IDLE_AFTER_SECONDS
    states.append(activity.is_idle)
    waiting = asyncio.create_task(activity.wait(is_awaited=False))
    await asyncio.sleep(0)
    states.append(waiting.done())
    activity.mark()
    async with asyncio.timeout(PATIENCE):
        await waiting
    assert [*states, activity.is_idle] == [False, True, False, False]


async def test_a_page_that_was_idle_asks_whether_the_server_is_there(app: Quart) -> None:
    async with QuartClient(app).websocket(LIVE, headers=OWN) as tab:
        await tab.send(HEARTBEAT)
        async with asyncio.timeout(PATIENCE):
            while (frame := await tab.receive()) != HEARTBEAT:
                assert "did not understand" not in str(frame)
