"""A connection that is dead but looks open, as after a sleep or behind a router that forgot it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
from playwright.async_api import expect

from tests.e2e.conftest import Meet, StartServer
from tests.e2e.person import CONNECTION_LOST, ChatPage
from tests.e2e.relay import Relay, relay_to
from tests.e2e.server import POLL, Server
from tests.patience import PATIENCE

OFFLINE = "#offline"
WITHIN = 10_000  # milliseconds
MARGIN = 5_000  # for a machine on which other tests run


@pytest.fixture
async def own(start: StartServer, tiny_store: Path) -> Server:
    return await start(tiny_store, max_tokens=30000, context=32768)


@pytest.fixture
async def relay(own: Server) -> AsyncIterator[Relay]:
    async with relay_to(own) as relay:
        yield relay


@pytest.fixture
async def chat(own: Server, relay: Relay, meet: Meet) -> ChatPage:
    """Amid an answer."""
    person = await meet(own)
    person.server = relay  # type: ignore[assignment]
    person.expects(CONNECTION_LOST)
    chat = await person.open()
    await chat.ask("Go on for ever")
    await chat.writes()
    own.suspend_runners()
    return chat


def sockets_of(server: Server) -> int:
    """Connections that the server holds."""
    connections = psutil.Process(server.pid).net_connections(kind="tcp")
    return sum(one.status == psutil.CONN_ESTABLISHED for one in connections)


async def test_the_page_notices_a_dead_connection_and_a_message_sent_meanwhile_arrives_once(
    own: Server, relay: Relay, chat: ChatPage
) -> None:
    offline = chat.page.locator(OFFLINE)
    relay.swallow()
    await chat.message.fill("Sent into a void that looks open")
    await chat.message.press("Enter")
    await expect(chat.message).not_to_be_editable()
    await expect(offline).to_be_visible(timeout=WITHIN + MARGIN)
    await expect(chat.message).to_be_editable(timeout=WITHIN + MARGIN)
    relay.mend()
    await expect(offline).to_be_hidden(timeout=2 * WITHIN)
    await expect(chat.questions).to_have_count(2)
    await expect(chat.message).to_have_value("")
    texts = [row["text"] for row in own.messages(chat.chat_id, "user")]
    assert texts == ["Go on for ever", "Sent into a void that looks open"]


async def test_a_message_changed_while_the_connection_was_dead_is_not_sent_by_itself(
    own: Server, relay: Relay, chat: ChatPage
) -> None:
    relay.swallow()
    await chat.message.fill("Sent")
    await chat.message.press("Enter")
    await expect(chat.message).to_be_editable(timeout=WITHIN + MARGIN)
    await chat.message.fill("Sent, but otherwise")
    relay.mend()
    await expect(chat.page.locator(OFFLINE)).to_be_hidden(timeout=2 * WITHIN)
    await expect(chat.message).to_have_value("Sent, but otherwise")
    await chat.message.press("Enter")
    await expect(chat.questions).to_have_count(2)
    await expect(chat.message).to_have_value("")
    texts = [row["text"] for row in own.messages(chat.chat_id, "user")]
    assert texts == ["Go on for ever", "Sent, but otherwise"]


async def test_the_server_closes_dead_connections(
    own: Server, relay: Relay, chat: ChatPage
) -> None:
    """The page is closed while nothing gets through, so no goodbye reaches the server."""
    relay.swallow()
    await chat.page.close()
    async with asyncio.timeout(PATIENCE):
        while sockets_of(own):
            await asyncio.sleep(POLL)
    assert sockets_of(own) == 0
