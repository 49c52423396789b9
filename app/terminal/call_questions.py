"""Tool calls at the terminal: each is asked for, and told of in a line when it has ended."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from app.conversations.answer_state import AnswerRef
from app.conversations.tool_calls import CallRecord, Decision, arguments_as_text, gist
from app.errors import PeerError
from app.terminal.format import cut, one_line
from app.terminal.http_backend import HttpBackend
from app.terminal.records import AnswerEnded, CallsChanged, Event
from app.terminal.screen import Screen

RESULT_CHARS: Final = 200
VALUE_CHARS: Final = 300
"""Of each argument that are shown where a call asks."""
VALUES_SHOWN: Final = 8
NOBODY: Final = "Denied {}: nobody can allow it here. Ask in `wick chat`, or on the page."
OPTIONS: Final[Sequence[tuple[Decision, str]]] = (
    ("allow", "Allow once"),
    ("always", "Always allow in this chat"),
    ("deny", "Deny"),
)
Ask = Callable[[CallRecord], Awaitable[Decision | None]]
"""Asks the user about a call: None where the answer is to be stopped."""


def question(call: CallRecord) -> str:
    """Return what is asked: which tool, and what it will be given."""
    lines = [f"{one_line(call.title or call.name)} asks to run"]
    values = arguments_as_text(call.arguments)
    lines += [f"  {name}: {cut(value, VALUE_CHARS)}" for name, value in values[:VALUES_SHOWN]]
    if len(values) > VALUES_SHOWN:
        lines.append(f"  and {len(values) - VALUES_SHOWN} more")
    return "\n".join(lines)


def describe_end(call: CallRecord) -> str:
    """Return how a call ended, as a line."""
    given = gist(call.arguments)
    head = one_line(f"{call.title or call.name} ({given})" if given else call.title or call.name)
    match call.status:
        case "denied":
            return f"{head} did not run."
        case "failed":
            return f"{head} failed: {cut(call.result, RESULT_CHARS)}"
        case _:
            return f"{head}: {cut(call.result, RESULT_CHARS)}"


class EventReader:
    """Reader of the events of an answer, of which one may be awaited beside something else."""

    def __init__(self, events: AsyncIterator[Event]) -> None:
        self._events = events
        self._coming: asyncio.Future[Event] | None = None

    def coming(self) -> asyncio.Future[Event]:
        """Return the next event, when it has come; it stays the next one until it is taken."""
        if self._coming is None:
            self._coming = asyncio.ensure_future(anext(self._events))
        return self._coming

    def take(self) -> Event:
        """Take the event that has come. Raises what following the answer raises."""
        coming = self.coming()
        self._coming = None
        return coming.result()

    async def close(self) -> None:
        if self._coming is not None:
            self._coming.cancel()
            await asyncio.gather(self._coming, return_exceptions=True)


@dataclass(slots=True)
class CallQuestions:
    """Calls of one answer. ask: None where nobody can be asked, so that calls are denied; stop:
    ends the answer."""

    backend: HttpBackend
    ref: AnswerRef
    screen: Screen
    ask: Ask | None
    stop: Callable[[], Awaitable[None]]
    _told: set[int] = field(default_factory=set)

    def tell(self, calls: Sequence[CallRecord]) -> None:
        """Show the calls that have ended and were not shown yet."""
        for number, call in enumerate(calls):
            if not call.is_open and number not in self._told:
                self._told.add(number)
                self.screen.note(describe_end(call))

    async def handle(self, calls: Sequence[CallRecord], events: EventReader) -> None:
        """Show what has ended, and ask about the first that asks: the next one asks when the server
        tells of this one's decision."""
        self.tell(calls)
        # One without a title has not been looked at by the server yet: perhaps it need not ask.
        asking = (n for n, call in enumerate(calls) if call.status == "asking" and call.title)
        if (number := next(asking, None)) is None:
            return
        decision: Decision | None = "deny"
        if self.ask is None:
            call = calls[number]
            self.screen.note(NOBODY.format(one_line(call.title or call.name)))
        else:
            self.screen.pause()
            question = asyncio.ensure_future(self.ask(calls[number]))
            try:
                if not await self._is_answered(question, number, events):
                    return
                decision = question.result()
            finally:
                question.cancel()
                await asyncio.gather(question, return_exceptions=True)
        if decision is None:
            await self.stop()
            return
        with contextlib.suppress(PeerError):  # decided elsewhere at the same time
            await self.backend.decide(self.ref, number, decision)

    async def _is_answered(
        self, question: asyncio.Future[Decision | None], number: int, events: EventReader
    ) -> bool:
        """Wait for the user's answer; False where it is of no use any more."""
        while not question.done():
            coming = events.coming()
            both: list[asyncio.Future[Any]] = [question, coming]
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if question.done() or not coming.done():
                continue
            if coming.exception() is not None or isinstance(coming.result(), AnswerEnded):
                return False  # whoever reads on takes it
            event = events.take()
            if isinstance(event, CallsChanged) and event.calls[number].status != "asking":
                self.tell(event.calls)
                return False
        return True
