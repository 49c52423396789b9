"""One answer from its beginning to its end: shown as it comes, stopped by Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable, Iterator

from app.conversations.answer_state import AnswerRef
from app.errors import WickError
from app.terminal.http_backend import HttpBackend
from app.terminal.records import (
    AnswerEnded,
    Event,
    MessageRecord,
    StatusUpdate,
    TextDelta,
    ThoughtDelta,
)
from app.terminal.screen import Screen


async def show(
    backend: HttpBackend, ref: AnswerRef, screen: Screen, start: int = 0
) -> MessageRecord:
    """Show an answer to its end. Ctrl-C stops it; pressed again, it is no longer waited for."""
    stopping: list[asyncio.Task[None]] = []
    events = backend.follow(ref, start)
    task = asyncio.create_task(_show(events, screen), name="answer")

    def stop() -> None:
        if stopping:
            task.cancel()
        else:
            stopping.append(asyncio.create_task(_stop(backend, ref.chat_id), name="stop"))

    try:
        with on_sigint(stop):
            return await task
    except asyncio.CancelledError:
        task.cancel()
        if not stopping:
            await _stop(backend, ref.chat_id)
            raise
        raise KeyboardInterrupt from None
    except OSError:  # nobody reads it any more
        await _stop(backend, ref.chat_id)
        raise
    finally:
        await asyncio.gather(task, *stopping, return_exceptions=True)
        await events.aclose()


async def _stop(backend: HttpBackend, chat_id: str) -> None:
    with contextlib.suppress(WickError):  # what follows the answer will say the same
        await backend.stop(chat_id)


async def _show(events: AsyncIterator[Event], screen: Screen) -> MessageRecord:
    try:
        while True:
            match await _next(events, screen):
                case StatusUpdate(sentence):
                    screen.show_status(sentence)
                case ThoughtDelta(delta):
                    screen.thought(delta)
                case TextDelta(delta):
                    screen.text(delta)
                case AnswerEnded(answer):
                    return answer
    finally:
        screen.end()


async def _next(events: AsyncIterator[Event], screen: Screen) -> Event:
    """Get the next event; while none comes, the screen shows what it held back."""
    coming: asyncio.Future[Event] = asyncio.ensure_future(anext(events))
    try:
        while not coming.done():
            await asyncio.wait([coming], timeout=screen.tick())
        return coming.result()
    finally:
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)


@contextlib.contextmanager
def on_sigint(on_interrupt: Callable[[], None]) -> Iterator[None]:
    """Have Ctrl-C call this instead of ending the program."""
    loop = asyncio.get_running_loop()
    before = signal.getsignal(signal.SIGINT)
    try:
        loop.add_signal_handler(signal.SIGINT, on_interrupt)
    except (NotImplementedError, ValueError, RuntimeError):  # not on every system and thread
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        signal.signal(signal.SIGINT, before)
