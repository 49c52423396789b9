"""The tools of an answer: each call is allowed or denied, runs, and the answer goes on with it.

An answer whose model has called tools is as it is on the disk while it waits for them: it is queued
with its text and its calls. So it can wait for its user for days, and is there after a restart.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import aiosqlite
import msgspec

from app.background import BackgroundTasks
from app.conversations.answer_recorder import AnswerRecorder, Counts
from app.conversations.chat_tools import ChatTools
from app.conversations.hub import Hub
from app.conversations.tool_calls import (
    ENDED,
    MAX_CALLS,
    STOPPED,
    CallRecord,
    Decision,
    encode_calls,
    parse_arguments,
)
from app.db import chats, messages
from app.db.connection import Database
from app.errors import ChatBusy, MessageNotFound, StoreError
from app.tools.tool import Tool, ToolContext, ToolResult
from app.tools.toolbox import Toolbox

log = logging.getLogger(__name__)
TOO_MANY: Final = f"Not run: an answer may call at most {MAX_CALLS} tools. Answer now."
NO_OBJECT: Final = "The arguments are no JSON object."
GONE: Final = "This call was decided already."


@dataclass(slots=True)
class _Step:
    """The calls that an answer waits for.

    tasks: of those that run, by their numbers; prepared: it is known which may be decided.
    """

    answer: AnswerRecorder
    tools: Mapping[str, Tool] = field(default_factory=dict)
    counts: Counts = field(default_factory=dict)
    tasks: dict[int, asyncio.Task[None]] = field(default_factory=dict)
    task: asyncio.Task[None] | None = None
    prepared: asyncio.Event = field(default_factory=asyncio.Event)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def cancel(self) -> None:
        self.prepared.set()
        for task in [self.task, *self.tasks.values()]:
            if task is not None:
                task.cancel()


class ToolLoop:
    """Answers that wait for calls, by the ids of their messages.

    resume: lets the model go on, once all calls have their results. seconds: that one may run.
    """

    def __init__(
        self,
        db: Database,
        hub: Hub,
        toolbox: Toolbox,
        tasks: BackgroundTasks,
        resume: Callable[[AnswerRecorder], Awaitable[None]],
        seconds: float,
    ) -> None:
        self._db = db
        self._hub = hub
        self._toolbox = toolbox
        self._tasks = tasks
        self._resume = resume
        self._seconds = seconds
        self._steps: dict[int, _Step] = {}
        self.chosen = ChatTools(db)

    async def offered(self, user_id: int, chat_id: str) -> dict[str, Tool]:
        """Map names to the tools that are on in this chat and there."""
        permissions = await self.chosen.chosen(user_id, chat_id)
        if not permissions:
            return {}
        there = await self._toolbox.tools(ToolContext(user_id, chat_id))
        return {name: there[name] for name in permissions if name in there}

    def begin(self, answer: AnswerRecorder, calls: Sequence[CallRecord], counts: Counts) -> None:
        """Take the calls with which the model has ended its run."""
        answer.stream.calls = (*answer.stream.calls, *calls)
        self._start(answer, counts)

    def restore(self, answer: AnswerRecorder) -> None:
        """Wait again for calls that were asking when Wick ended."""
        answer.stream.status = "calling"
        self._start(answer, {})

    def _start(self, answer: AnswerRecorder, counts: Counts) -> None:
        step = _Step(answer, counts=counts)
        self._steps[answer.stream.message_id] = step
        step.task = self._tasks.spawn(self._run(step), f"tools of {answer.stream.message_id}")

    # What its user says.

    async def decide(self, user_id: int, message_id: int, number: int, decision: Decision) -> None:
        """Allow or deny a call, the first time that somebody says so.

        Raises MessageNotFound, or ChatBusy when it has been decided.
        """
        step = self._steps.get(message_id)
        if step is not None and step.answer.stream.user_id == user_id:
            await step.prepared.wait()
        stream = None if step is None else step.answer.stream
        is_here = step is not None and self._steps.get(message_id) is step
        if step is None or stream is None or stream.user_id != user_id or not is_here:
            raise MessageNotFound("This answer does not wait for a tool any more.")
        if not 0 <= number < len(stream.calls) or stream.calls[number].status != "asking":
            raise ChatBusy(GONE)
        name = stream.calls[number].name
        if decision == "deny":
            self._set(step, number, stream.calls[number].with_status("denied"))
        else:
            self._launch(step, number)
        if decision == "always":
            others = [n for n, call in enumerate(stream.calls) if call.name == name]
            for other in others:
                if stream.calls[other].status == "asking":
                    self._launch(step, other)
            await self.chosen.allow(user_id, stream.chat_id, name)
        step.changed.set()

    def stop(self, message_id: int) -> bool:
        """End the calls of an answer that is stopped. Whether it waited for any."""
        step = self._steps.pop(message_id, None)
        if step is None:
            return False
        step.cancel()
        stream = step.answer.stream
        stream.calls = tuple(_stopped(call) for call in stream.calls)
        return True

    def close(self) -> None:
        """End what runs; it stays on the disk as it is, for the next start."""
        for step in self._steps.values():
            step.cancel()
        self._steps.clear()

    # What happens then.

    async def _run(self, step: _Step) -> None:
        try:
            await self._settle(step)
        except Exception:
            self._steps.pop(step.answer.stream.message_id, None)
            step.prepared.set()
            step.answer.end_without_run("failed", "Something went wrong inside Wick.")
            raise
        self._steps.pop(step.answer.stream.message_id, None)
        await self._resume(step.answer)

    async def _settle(self, step: _Step) -> None:
        """Wait until every call has its result."""
        stream = step.answer.stream
        step.tools = await self._toolbox.tools(ToolContext(stream.user_id, stream.chat_id))
        permissions = await self.chosen.chosen(stream.user_id, stream.chat_id)
        for number, call in enumerate(stream.calls):
            if call.status == "asking":
                tool = step.tools.get(call.name) if call.name in permissions else None
                self._prepare(step, number, tool, asks=permissions.get(call.name) != "allow")
        step.prepared.set()
        step.changed.set()
        while any(call.is_open for call in stream.calls) or step.changed.is_set():
            await step.changed.wait()
            step.changed.clear()
            await self._save(step)

    def _prepare(self, step: _Step, number: int, tool: Tool | None, *, asks: bool) -> None:
        """Refuse a call that cannot run; run one that need not be asked for."""
        call = step.answer.stream.calls[number]
        if tool is None:
            self._set(step, number, call.ended("failed", f"There is no tool “{call.name}”."))
            return
        call = msgspec.structs.replace(call, title=tool.title)
        if number >= MAX_CALLS:
            call = call.ended("failed", TOO_MANY)
        elif parse_arguments(call.arguments) is None:
            call = call.ended("failed", NO_OBJECT)
        self._set(step, number, call)
        if call.is_open and not (asks and tool.asks):
            self._launch(step, number)

    def _launch(self, step: _Step, number: int) -> None:
        self._set(step, number, step.answer.stream.calls[number].with_status("running"))
        name = f"call {number} of {step.answer.stream.message_id}"
        step.tasks[number] = self._tasks.spawn(self._call(step, number), name)

    async def _call(self, step: _Step, number: int) -> None:
        stream, began = step.answer.stream, time.monotonic()
        call = stream.calls[number]
        context = ToolContext(stream.user_id, stream.chat_id)
        result = await self._bounded(context, call.name, parse_arguments(call.arguments) or {})
        status = "failed" if result.is_error else "done"
        took = time.monotonic() - began
        self._set(step, number, call.ended(status, result.text, took))  # type: ignore[arg-type]
        step.changed.set()

    async def _bounded(
        self, context: ToolContext, name: str, arguments: Mapping[str, Any]
    ) -> ToolResult:
        try:
            async with asyncio.timeout(self._seconds):
                return await self._toolbox.call(context, name, arguments)
        except TimeoutError:
            return ToolResult(f"It took longer than {self._seconds:.0f} seconds.", is_error=True)

    def _set(self, step: _Step, number: int, call: CallRecord) -> None:
        stream = step.answer.stream
        stream.calls = (*stream.calls[:number], call, *stream.calls[number + 1 :])
        self._hub.stream_changed(stream, urgent=True)

    async def _save(self, step: _Step) -> None:
        """Save how the answer stands. A full disk keeps nothing from going on: the end is saved
        once there is space."""
        stream = step.answer.stream

        async def save(connection: aiosqlite.Connection) -> None:
            await messages.pause(
                *(connection, stream.user_id, stream.message_id, stream.text),
                stream.thought or None,
                encode_calls(stream.calls),
                step.counts,
            )
            if stream.is_asking and not self._hub.is_open(stream.user_id, stream.chat_id):
                await chats.set_unread(connection, stream.user_id, stream.chat_id, is_unread=True)

        try:
            await self._db.write(save)
        except StoreError as error:
            log.warning("Calls of answer %d are not saved yet: %s", stream.message_id, error)


def _stopped(call: CallRecord) -> CallRecord:
    match call.status:
        case "asking":
            return call.ended("denied", STOPPED)
        case "running":
            return call.ended("failed", STOPPED)
        case _:
            return call


def after_restart(calls: Sequence[CallRecord]) -> tuple[CallRecord, ...]:
    """Return the calls of an answer that was waiting when Wick ended: what ran has no result."""
    return tuple(c.ended("failed", ENDED) if c.status == "running" else c for c in calls)
