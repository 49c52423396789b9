"""Live answer as server-sent events that can be resumed where they broke off.

An event's id is `EPOCH-COUNT`: its live stream, and how many characters of the text have been sent
with it. A client that reconnects with the last id gets what follows it. When that stream is gone,
because the answer has ended or the server was restarted, the text comes whole in one `replace`, so
no character is ever missing or sent twice. The model's reasoning comes in `thought` events; the
first of a connection has all of it so far.
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

from app.api.chats.schemas import call_objects, message_object
from app.api.http import COMMENT, KEEP_ALIVE_SECONDS
from app.conversations.answer_state import LiveAnswer, MessageRef
from app.conversations.hub import Subscription
from app.db.messages import Message
from app.errors import ChatError
from app.web.context import ServerContext

FRAME_SECONDS = 0.05
"""Seconds between two events about text: tokens that come faster are gathered."""
STORED_EPOCH = "00000000"
"""Epoch of a text that is read from the disk."""
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
    context: ServerContext, ref: MessageRef, last_id: str
) -> AsyncGenerator[bytes, None]:
    """Follow an answer until it has ended, or the server ends.

    `last_id`: of the last event that the client received.
    """
    subscription = context.hub.subscribe(ref.user_id, ref.chat_id)
    cursor, last_status, followed = StreamCursor.parse(last_id), b"", None
    thought = 0
    try:
        while subscription.closing is None and not context.is_closing:
            subscription.wake.clear()
            subscription.urgent.clear()
            stream = context.hub.stream(ref.message_id)
            if stream is None:
                message = await context.of(ref.chat_id).branches.get(ref)
                if message.status != "queued":
                    frame = _thought(cursor, (message.thought or "")[thought:])
                    yield frame + _rest(cursor, message, followed) + _end(message)
                    return
            else:
                more, thought = stream.thought[thought:], len(stream.thought)
                followed, frame = stream, _thought(cursor, more) + _text(cursor, stream)
                # After the text: its id says that the text before it has been sent.
                if (status := _status(stream)) != last_status:
                    last_status, frame = status, frame + _event("status", cursor.id, status)
                if frame:
                    yield frame
            if not await _wait_for_changes(subscription):
                yield COMMENT
    except ChatError:  # it was withdrawn or deleted meanwhile
        yield b"event: gone\ndata: {}\n\n"
    finally:
        context.hub.unsubscribe(subscription)


async def _wait_for_changes(subscription: Subscription) -> bool:
    """Wait until something may have changed; soon after the last frame only for what is urgent."""
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


def _thought(cursor: StreamCursor, more: str) -> bytes:
    return _event("thought", cursor.id, _encoded({"text": more})) if more else b""


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
            "reading": stream.reading,
            "dropped": stream.dropped,
            "trouble": stream.warning,
            "calls": [msgspec.to_builtins(call) for call in call_objects(stream.calls)],
        }
    )


def _event(name: str, event_id: str, data: bytes) -> bytes:
    return b"event: %b\nid: %b\ndata: %b\n\n" % (name.encode(), event_id.encode(), data)


def _encoded(content: dict[str, Any]) -> bytes:
    return msgspec.json.encode(content)
