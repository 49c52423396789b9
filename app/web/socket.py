"""The life of one tab's socket, whatever the page: it is read, it is shown news, and it is closed.

One task reads what the tab sends, one shows what is new. The latter looks at the present state
whenever it may send a frame, so what a slow tab has missed costs nothing to catch up with. A third
closes the tab at once when the session ends with which it was opened.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from hypercorn.typing import WebsocketScope
from quart import Quart, websocket
from quart.asgi import ASGIWebsocketConnection

from app.accounts.sessions import Sessions
from app.audit import audit
from app.conversations.hub import Hub, Subscription
from app.errors import ChatError, StoreError
from app.web.context import SERVICE_RESTART, server_context
from app.web.request_log import socket_message
from app.web.security.identity import identity

log = logging.getLogger(__name__)

SEND_TIMEOUT = 10.0
CLOSE_SECONDS = 2.0
BURST = 6
"""Seconds' worth of messages that may come in one burst."""
WARNED = 5
"""Messages beyond that which are answered by a warning; after them it is a flood."""
BEAT_SECONDS, IDLE_BEAT_SECONDS = 3.0, 40.0
IDLE_AFTER_SECONDS = 60.0
"""Seconds without news and messages after which a tab is idle, and hears less often: most tabs are
most of the time, and a server with many of them is to do next to nothing."""
HEARTBEAT = "{}"
"""What htmx hears and shows nowhere: a page that hears nothing makes another connection
(static/heartbeat.js). A page that was idle sends it, too, and gets one back. Whether the page is
there, the server asks by pings (app/cli/http_server.py)."""
ERROR, POLICY = 1011, 1008
TOO_FAST = (
    "You're sending too fast; this message was not sent. Wait a moment: Wick disconnects a page "
    "that keeps sending."
)


class CloseConnection(Exception):
    """The tab must be closed with this code."""

    def __init__(self, code: int) -> None:
        self.code = code


class BoundedConnection(ASGIWebsocketConnection):
    """A socket that is read no faster than its messages are taken, each of which may be large."""

    def __init__(self, app: Quart, scope: WebsocketScope) -> None:
        super().__init__(app, scope)
        self.queue = asyncio.Queue(maxsize=1)


class Connection(Protocol):
    """One open page. `pause`: seconds between two frames, unless it is urgent."""

    subscription: Subscription

    @property
    def pause(self) -> float: ...

    async def initial_frame(self, version: str) -> str:
        """The first frame: whatever the page, made at `version`, cannot know yet."""
        ...

    async def next_frame(self) -> str:
        """A frame with what is stale, which the subscription tells; it may be empty."""
        ...

    async def on_message(self, data: str | bytes) -> None:
        """A message from the page."""
        ...

    def rejection_frame(self, data: str | bytes, sentence: str) -> str:
        """The frame that says why a message from the page is not taken."""
        ...


@dataclass(slots=True)
class MessageRateLimiter:
    """Token bucket of the messages that a tab may still send."""

    per_second: int
    clock: Callable[[], float] = time.monotonic
    remaining: float = field(init=False)
    at: float = field(init=False)

    def __post_init__(self) -> None:
        self.remaining, self.at = self.per_second * BURST, self.clock()

    def spend(self) -> bool:
        """Return whether the message may be taken; else the tab is told. Raises CloseConnection
        for a flood."""
        now = self.clock()
        full = self.per_second * BURST
        self.remaining = min(full, self.remaining + (now - self.at) * self.per_second) - 1
        self.at = now
        if self.remaining < -WARNED:
            raise CloseConnection(POLICY)
        return self.remaining >= 0


class TabActivity:
    """Time at which something last went through the socket of a tab. `clock`: in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._at = clock()
        self._woken = asyncio.Event()

    @property
    def is_idle(self) -> bool:
        return self._clock() - self._at >= IDLE_AFTER_SECONDS

    def mark(self) -> None:
        """Note that something went through; who waits in an idle tab is woken."""
        if self.is_idle:
            self._woken.set()
        self._at = self._clock()

    async def wait(self, *, is_awaited: bool) -> None:
        """Wait until it is time for a heartbeat. is_awaited: the tab waits for something."""
        if is_awaited or not self.is_idle:
            await asyncio.sleep(BEAT_SECONDS)
            return
        self._woken.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(IDLE_BEAT_SECONDS):
                await self._woken.wait()


async def serve(hub: Hub, tab: Connection) -> None:
    """Serve a tab until it closes.

    Every way out chooses its close code: htmx comes back after any but 1000 and 1008.
    """
    code, is_open, activity = ERROR, False, TabActivity()
    sessions, session_id = server_context().sessions, identity().session_id
    try:
        await _enforce_page_limit(hub, tab)
        with sessions.watch(session_id) as ended:
            await _send(await tab.initial_frame(websocket.args.get("seen", "")))
            is_open = True
            async with asyncio.TaskGroup() as group:
                group.create_task(_send_loop(tab, activity), name="show a tab")
                listening = _receive_loop(tab, activity, sessions, session_id)
                group.create_task(listening, name="listen to a tab")
                group.create_task(_close_on_session_end(ended), name="guard a tab")
                beating = _beat(hub, tab.subscription, activity)
                group.create_task(beating, name="tell a tab that it is connected")
    except* CloseConnection as gone:
        code = next(e.code for e in gone.exceptions if isinstance(e, CloseConnection))
    except* ChatError:
        code = POLICY
    except* StoreError as errors:  # the tab comes back, until the disk can be read again
        log.warning("A tab is closed: %s", errors.exceptions[0])
    except* Exception:
        log.exception("The socket of a tab broke.")
    finally:
        hub.unsubscribe(tab.subscription)
    await websocket.close(code)
    if is_open:
        await _drain()


async def _send_loop(tab: Connection, activity: TabActivity) -> None:
    """Send what is stale, as one frame at a time, until the tab must go."""
    subscription, sent = tab.subscription, 0.0
    while True:
        await subscription.wake.wait()
        pause = sent + tab.pause - time.monotonic()
        if pause > 0 and not subscription.urgent.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await subscription.urgent.wait()
        subscription.wake.clear()
        subscription.urgent.clear()
        closing = subscription.closing
        if closing is None or closing == SERVICE_RESTART:  # how its answers ended is still shown
            await _send(await tab.next_frame())
            activity.mark()
            sent = time.monotonic()
        if closing is not None:
            raise CloseConnection(closing)


async def _send(frame: str) -> None:
    if not frame:
        return
    try:
        async with asyncio.timeout(SEND_TIMEOUT):
            await websocket.send(frame)
    except TimeoutError:
        raise CloseConnection(ERROR) from None  # a tab that does not read; it will come back


async def _receive_loop(
    tab: Connection, activity: TabActivity, sessions: Sessions, session_id: int
) -> None:
    """Take what the user sends, until the tab must go."""
    allowance, user_id = (
        MessageRateLimiter(server_context().settings.messages_per_second),
        tab.subscription.user_id,
    )
    while True:
        data = await websocket.receive()
        activity.mark()
        try:
            may_be_taken = allowance.spend()
        except CloseConnection:
            audit("limit-reached", limit="messages a second", user=user_id)
            raise
        if not may_be_taken:
            await _send(tab.rejection_frame(data, TOO_FAST))
            continue
        if data == HEARTBEAT:
            await _send(HEARTBEAT)
            continue
        if session_id and await sessions.touch(session_id) is None:
            raise CloseConnection(POLICY)
        with socket_message():
            await tab.on_message(data)


async def _enforce_page_limit(hub: Hub, tab: Connection) -> None:
    """Close the tab where its user has too many; it is among those that are counted."""
    most, user_id = server_context().settings.sockets_per_user, tab.subscription.user_id
    if hub.subscription_count(user_id) <= most:
        return
    audit("limit-reached", limit="sockets", user=user_id)
    await _send(
        tab.rejection_frame("", f"Limit of {most} open pages reached. Close one and reload.")
    )
    raise CloseConnection(POLICY)


async def _beat(hub: Hub, subscription: Subscription, activity: TabActivity) -> None:
    while True:
        await activity.wait(is_awaited=hub.stream_of_chat(subscription.chat_id) is not None)
        await _send(HEARTBEAT)


async def _close_on_session_end(ended: asyncio.Event) -> None:
    """Wait until the session ends, whatever the tab is doing then."""
    await ended.wait()
    raise CloseConnection(POLICY)


async def _drain() -> None:
    """Read and drop what a closed tab still sends, until it has gone.

    A server that did not would hold on to a flood, and to the connection.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_SECONDS):
            while True:
                await websocket.receive()
