"""The life of one tab's socket, whatever the page: it is read, it is shown news, and it is closed.

One task reads what the tab sends, one shows what is new. The latter looks at the present state
whenever it may send a frame, so what a slow tab has missed costs nothing to catch up with. A third
closes the tab at once when the login ends with which it was opened.
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

from app.accounts.logins import Logins
from app.audit import audit
from app.chats.hub import Hub, Subscription
from app.errors import ChatError
from app.web.identity import identity
from app.web.state import state

log = logging.getLogger(__name__)

SEND_TIMEOUT = 10.0
FAREWELL = 2.0
AT_ONCE = 6
"""Seconds' worth of messages that may come in one burst."""
WARNED = 5
"""Messages beyond that which are answered by a warning; after them it is a flood."""
BEAT_SECONDS = 3.0
HEARTBEAT = "{}"
"""What htmx hears and shows nowhere: a page that hears nothing makes another connection
(static/heartbeat.js). Whether the page is there, the server asks by pings (app/cli/wire.py)."""
ERROR, POLICY = 1011, 1008
RELOAD = 4001
"""Closes the socket of a page that is to be loaded anew (static/early.js)."""
TOO_FAST = (
    "You send faster than Wick takes it, so this was not taken. Wait a moment, please: of a page "
    "that goes on like this the connection is closed."
)


class Gone(Exception):
    """The tab must be closed with this code."""

    def __init__(self, code: int) -> None:
        self.code = code


class BoundedConnection(ASGIWebsocketConnection):
    """A socket that is read no faster than its messages are taken, each of which may be large."""

    def __init__(self, app: Quart, scope: WebsocketScope) -> None:
        super().__init__(app, scope)
        self.queue = asyncio.Queue(maxsize=1)


class Tab(Protocol):
    """What one open page shows. `pause`: seconds between two frames, unless it is urgent."""

    subscription: Subscription

    @property
    def pause(self) -> float: ...

    async def greeting(self, version: str) -> str:
        """The first frame: whatever the page, made at `version`, cannot know yet."""
        ...

    async def news(self) -> str:
        """A frame with what is stale, which the subscription tells; it may be empty."""
        ...

    async def take(self, data: str | bytes) -> None:
        """A message from the page."""
        ...

    def refusal(self, data: str | bytes, sentence: str) -> str:
        """The frame that says why a message from the page is not taken."""
        ...


@dataclass(slots=True)
class Allowance:
    """How many messages a tab may still send: a burst, refilled steadily."""

    per_second: int
    clock: Callable[[], float] = time.monotonic
    left: float = field(init=False)
    at: float = field(init=False)

    def __post_init__(self) -> None:
        self.left, self.at = self.per_second * AT_ONCE, self.clock()

    def spend(self) -> bool:
        """Whether the message may be taken; when not, the tab is told. Raises Gone for a flood."""
        now = self.clock()
        full = self.per_second * AT_ONCE
        self.left = min(full, self.left + (now - self.at) * self.per_second) - 1
        self.at = now
        if self.left < -WARNED:
            raise Gone(POLICY)
        return self.left >= 0


async def serve_tab(hub: Hub, tab: Tab) -> None:
    """Every way out of here chooses its close code: htmx comes back after any but 1000 and 1008."""
    code, is_open = ERROR, False
    logins, login_id = state().logins, identity().login_id
    try:
        await _check_room(hub, tab)
        with logins.watch(login_id) as ended:
            await _send(await tab.greeting(websocket.args.get("seen", "")))
            is_open = True
            async with asyncio.TaskGroup() as group:
                group.create_task(_show(tab), name="show a tab")
                group.create_task(_listen(tab, logins, login_id), name="listen to a tab")
                group.create_task(_guard(ended), name="guard a tab")
                group.create_task(_beat(), name="tell a tab that it is connected")
    except* Gone as gone:
        code = next(e.code for e in gone.exceptions if isinstance(e, Gone))
    except* ChatError:
        code = POLICY
    except* Exception:
        log.exception("The socket of a tab broke.")
    finally:
        hub.unsubscribe(tab.subscription)
    await websocket.close(code)
    if is_open:
        await _see_off()


async def _show(tab: Tab) -> None:
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
        if subscription.closing is not None:
            raise Gone(subscription.closing)
        await _send(await tab.news())
        sent = time.monotonic()


async def _send(frame: str) -> None:
    if not frame:
        return
    try:
        async with asyncio.timeout(SEND_TIMEOUT):
            await websocket.send(frame)
    except TimeoutError:
        raise Gone(ERROR) from None  # a tab that does not read; it will come back


async def _listen(tab: Tab, logins: Logins, login_id: int) -> None:
    """Take what the person sends, until the tab must go."""
    allowance, user_id = Allowance(state().settings.messages_per_second), tab.subscription.user_id
    while True:
        data = await websocket.receive()
        try:
            may_be_taken = allowance.spend()
        except Gone:
            audit("limit-reached", limit="messages a second", user=user_id)
            raise
        if not may_be_taken:
            await _send(tab.refusal(data, TOO_FAST))
            continue
        if login_id and await logins.use(login_id) is None:
            raise Gone(POLICY)
        await tab.take(data)


async def _check_room(hub: Hub, tab: Tab) -> None:
    """This tab is among those that are counted."""
    most, user_id = state().settings.sockets_per_user, tab.subscription.user_id
    if hub.tabs(user_id) <= most:
        return
    audit("limit-reached", limit="sockets", user=user_id)
    await _send(
        tab.refusal(
            "",
            f"You have {most} pages of Wick open, and that is the limit. Close one and reload this "
            "one, please.",
        )
    )
    raise Gone(POLICY)


async def _beat() -> None:
    while True:
        await asyncio.sleep(BEAT_SECONDS)
        await _send(HEARTBEAT)


async def _guard(ended: asyncio.Event) -> None:
    """Wait until the login ends, whatever the tab is doing then."""
    await ended.wait()
    raise Gone(POLICY)


async def _see_off() -> None:
    """Read and drop what a closed tab still sends, until it has gone.

    A server that did not would hold on to a flood, and to the connection.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(FAREWELL):
            while True:
                await websocket.receive()
