"""One answer from its beginning to its end: shown as it comes, stopped by Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator

from app.conversations.answer_state import AnswerRef
from app.errors import WickError
from app.terminal.call_questions import Ask, CallQuestions, EventReader
from app.terminal.http_backend import HttpBackend
from app.terminal.records import (
    AnswerEnded,
    CallsChanged,
    Event,
    MessageRecord,
    StatusUpdate,
    TextDelta,
    ThoughtDelta,
    parse_calls,
)
from app.terminal.screen import Screen


async def show(
    backend: HttpBackend, ref: AnswerRef, screen: Screen, start: int = 0, ask: Ask | None = None
) -> MessageRecord:
    """Show an answer to its end. Ctrl-C stops it; pressed again, it is no longer waited for.

    ask: asks about its tool calls; None where nobody can be asked.
    """
    stopping: list[asyncio.Task[None]] = []
    events = backend.follow(ref, start)
    calls = CallQuestions(backend, ref, screen, ask, lambda: _stop(backend, ref.chat_id))
    task = asyncio.create_task(_show(EventReader(events), screen, calls), name="answer")

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


async def _show(events: EventReader, screen: Screen, calls: CallQuestions) -> MessageRecord:
    try:
        while True:
            match await _next(events, screen):
                case StatusUpdate(sentence):
                    screen.show_status(sentence)
                case ThoughtDelta(delta):
                    screen.thought(delta)
                case TextDelta(delta):
                    screen.text(delta)
                case CallsChanged(found):
                    await calls.handle(found, events)
                case AnswerEnded(answer):
                    calls.tell(parse_calls(answer.calls))
                    return answer
    finally:
        await events.close()
        screen.end()


async def _next(events: EventReader, screen: Screen) -> Event:
    """Get the next event; while none comes, the screen shows what it held back."""
    coming = events.coming()
    while not coming.done():
        await asyncio.wait([coming], timeout=screen.tick())
    return events.take()


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
