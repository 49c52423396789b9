"""A live answer as server-sent events that can be taken up again where they broke off.

An event's id is `EPOCH-COUNT`: which live stream it tells of, and how many characters of its text
have been told with it. Whoever comes back with the id that they saw last gets what follows it. When
that stream is no more, because the answer has ended or the server was started anew, the text comes
whole in one `replace`, so no character is ever missing or told twice. What the model thinks before
it answers comes in `thought` events; the first of a connection has all of it so far.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

import msgspec

from app.api.chats.schemas import message_object
from app.api.http import COMMENT, KEEP_ALIVE_SECONDS
from app.conversations.hub import LiveAnswer, Subscription
from app.conversations.refs import MessageRef
from app.db.messages import Message
from app.errors import ChatError
from app.web.context import ServerContext

FRAME_SECONDS = 0.05
"""Seconds between two events about text: tokens that come faster are gathered."""
STORED_EPOCH = "00000000"
"""The epoch of a text that is told from the disk."""
_ID = re.compile(r"([0-9a-f]{8})-([0-9]{1,9})")


@dataclass(slots=True)
class StreamCursor:
    """Position of a reader: which stream, and how many characters of it have been sent."""

    epoch: str = ""
    count: int = 0

    @classmethod
    def parse(cls, text: str) -> StreamCursor:
        found = _ID.fullmatch(text)
        return cls(found[1], int(found[2])) if found else cls()

    @property
    def id(self) -> str:
        return f"{self.epoch}-{self.count}"


def end_id(message: Message) -> str:
    """The id of the last event about an answer that has ended."""
    return f"end-{len(message.text)}-{message.finished_at}"


async def follow(
    context: ServerContext, spot: MessageRef, last: str
) -> AsyncGenerator[bytes, None]:
    """Events until the answer has ended, or the server ends; `last`: the id that was seen last."""
    subscription = context.hub.subscribe(spot.user_id, spot.chat_id)
    cursor, said, followed = StreamCursor.parse(last), b"", None
    thought = 0
    try:
        while subscription.closing is None and not context.is_closing:
            subscription.wake.clear()
            subscription.urgent.clear()
            stream = context.hub.stream(spot.message_id)
            if stream is None:
                message = await context.branches.get(spot)
                if message.status != "queued":
                    yield _rest(cursor, message, followed) + _end(message)
                    return
            else:
                more, thought = stream.thought[thought:], len(stream.thought)
                frame = _event("thought", cursor.id, _encoded({"text": more})) if more else b""
                followed, frame = stream, frame + _text(cursor, stream)
                # Behind the text: its id says that the text before it has been told.
                if (status := _status(stream)) != said:
                    said, frame = status, frame + _event("status", cursor.id, status)
                if frame:
                    yield frame
            if not await _news(subscription):
                yield COMMENT
    except ChatError:  # it was taken back or deleted meanwhile
        yield b"event: gone\ndata: {}\n\n"
    finally:
        context.hub.unsubscribe(subscription)


async def _news(subscription: Subscription) -> bool:
    """Wait until there may be some; soon after the last only for what is urgent."""
    started = time.monotonic()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(FRAME_SECONDS):
            await subscription.urgent.wait()
            return True
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(KEEP_ALIVE_SECONDS - (time.monotonic() - started)):
            await subscription.wake.wait()
            return True
    return False


def _text(cursor: StreamCursor, stream: LiveAnswer) -> bytes:
    """Encode what is new of a text that grows."""
    text = stream.text
    if cursor.epoch != stream.epoch or cursor.count > len(text):
        cursor.epoch, cursor.count = stream.epoch, len(text)
        return _event("replace", cursor.id, _encoded({"text": text}))
    if cursor.count == len(text):
        return b""
    more, cursor.count = text[cursor.count :], len(text)
    return _event("delta", cursor.id, _encoded({"text": more}))


def _rest(cursor: StreamCursor, message: Message, followed: LiveAnswer | None) -> bytes:
    """Encode the rest of a text that has ended; `followed`: the stream it came from."""
    if followed is not None and followed.text == message.text:
        return _text(cursor, followed)
    cursor.epoch, cursor.count = STORED_EPOCH, len(message.text)
    return _event("replace", cursor.id, _encoded({"text": message.text}))


def _end(message: Message) -> bytes:
    content = msgspec.json.encode(message_object(message, None))
    return _event("end", end_id(message), content)


def _status(stream: LiveAnswer) -> bytes:
    """Encode everything about an answer that is not its text."""
    return _encoded(
        {
            "status": stream.status,
            "thinking": stream.is_thinking,
            "held": stream.is_pending,
            "place": stream.position or None,
            "seconds": stream.eta_seconds,
            "detail": stream.detail,
            "prompt_done": stream.prompt_done,
            "prompt_total": stream.prompt_total,
            "dropped": stream.dropped,
            "trouble": stream.warning,
        }
    )


def _event(name: str, event_id: str, data: bytes) -> bytes:
    return b"event: %b\nid: %b\ndata: %b\n\n" % (name.encode(), event_id.encode(), data)


def _encoded(content: dict[str, Any]) -> bytes:
    return msgspec.json.encode(content)
