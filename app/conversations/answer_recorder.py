"""One answer on its way: from the worker's events to the stream, its checkpoints and its end."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field, fields

import aiosqlite

from app.background import BackgroundTasks
from app.conversations.answer_state import LiveAnswer
from app.conversations.given_documents import whole_documents
from app.conversations.hub import Hub
from app.conversations.tool_calls import CUT, CallDrafts, CallRecord, encode_calls
from app.db import chats, messages
from app.db.connection import Database
from app.db.messages import Message, Status
from app.documents.given import encode_given
from app.documents.progress import PageProgress
from app.errors import StoreError
from app.inference.protocol import Delta, Failed, Finished, Prefill
from app.inference.queue import Interrupted, ModelLoading, Queued, RequestEvent
from app.logs.request_ids import RequestRef, current_request

log = logging.getLogger(__name__)
CHECKPOINT_SECONDS = 1.0
RETRY_SECONDS = 2.0


Counts = dict[str, str | int | float | None]


@dataclass(frozen=True, slots=True)
class Measurements:
    """Measurements of the runs of an answer so far, which goes on after them."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0
    first_token_seconds: float | None = None

    @classmethod
    def of(cls, message: Message) -> Measurements:
        return cls(
            message.prompt_tokens or 0,
            message.cached_tokens or 0,
            message.completion_tokens or 0,
            message.prefill_seconds or 0.0,
            message.decode_seconds or 0.0,
            message.first_token_seconds,
        )

    @classmethod
    def of_counts(cls, counts: Counts) -> Measurements:
        found = {one.name: counts.get(one.name) for one in fields(cls)}
        return cls(**{name: value for name, value in found.items() if value is not None})  # type: ignore[arg-type]


@dataclass(slots=True)
class AnswerRecorder:
    """Give `on_event` to the worker as the request's listener. It never blocks and never raises.

    previous_run: of an answer that goes on, what was measured before. on_calls: takes the calls
    with which a run has ended, and what was measured; then the answer goes on. has_begun: the model
    reads or writes. path: what it follows; searched: ids of files that are not given
    whole; progress: through the documents in that. origin: what asked for it. is_postponed:
    it is left to the next start of Wick, and nothing more happens to it.
    """

    stream: LiveAnswer
    db: Database
    hub: Hub
    tasks: BackgroundTasks
    on_end: Callable[[AnswerRecorder], None]
    on_calls: Callable[[AnswerRecorder, list[CallRecord], Counts], None]
    submitted: float = field(default_factory=time.monotonic)
    origin: RequestRef = field(default_factory=current_request)
    previous_run: Measurements | None = None
    drafts: CallDrafts = field(default_factory=CallDrafts)
    first_token: float | None = None
    is_cancelled: bool = False
    has_begun: bool = False
    has_ended: bool = False
    is_postponed: bool = False
    saved: float = 0.0
    thinking_since: float | None = None
    path: Sequence[Message] = ()
    searched: Set[int] = frozenset()
    progress: PageProgress | None = None
    lost_documents: bool = False
    _checkpoint: asyncio.Task[None] | None = None

    def on_event(self, event: RequestEvent) -> None:
        stream, before = self.stream, self.stream.status
        if self.is_postponed:
            return
        if isinstance(event, Prefill | Delta) and not self.has_begun:
            self.has_begun = True
            self._keep()
        match event:
            case Queued():
                stream.status = "queued"
                stream.position, stream.eta_seconds = event.position, event.eta_seconds
            case ModelLoading(detail=detail):
                stream.status, stream.detail = "loading", detail
            case Prefill():
                stream.status, stream.dropped = "prefill", event.dropped
                stream.prompt_done, stream.prompt_total = event.done, event.total
                self.lost_documents = event.lost_documents
                if self.progress is not None:
                    stream.reading = self.progress.line(event.done, event.total)
            case Delta():
                self._append(event)
            case Finished(reason="tool_calls") if self.drafts.drafts and not self.is_cancelled:
                self._pause(event)
                return
            case Finished():
                self._keep_cut_calls(event)
                status: Status = "stopped" if self._was_stopped(event) else "done"
                self._end(status, None, event)
                return
            case Failed(message=message):
                self._end("failed", message)
                return
            case Interrupted(finished=finished) if self.is_cancelled:
                self._end("stopped", None, finished)  # what the user wanted, whatever came first
                return
            case Interrupted(message=message, finished=finished):
                self._end("interrupted", message, finished)
                return
        self.hub.stream_changed(stream, urgent=stream.status != before)

    def _keep_cut_calls(self, finished: Finished) -> None:
        """Show calls in which the answer came to its longest: else it would seem to be empty."""
        if finished.reason == "length" and self.drafts.drafts:
            cut = [call.ended("failed", CUT) for call in self._take_calls()]
            self.stream.calls = (*self.stream.calls, *cut)

    def _take_calls(self) -> list[CallRecord]:
        stream = self.stream
        step = stream.calls[-1].step + 1 if stream.calls else 0
        return self.drafts.take(step, len(stream.text), len(stream.thought))

    def _was_stopped(self, finished: Finished) -> bool:
        has_called = finished.reason == "tool_calls"
        return finished.reason == "cancelled" or (has_called and self.is_cancelled)

    def _pause(self, finished: Finished) -> None:
        """Hand over the calls. What is written from now on stands after them."""
        stream, counts = self.stream, self._counts(finished)
        counts.pop("finish_reason", None)
        self.previous_run, self.has_begun = Measurements.of_counts(counts), False
        stream.status, stream.is_thinking, self.thinking_since = "calling", False, None
        if stream.text[stream.text_place :].strip():
            stream.text = stream.text.rstrip("\n") + "\n\n"
        if stream.thought:
            stream.thought = stream.thought.rstrip("\n") + "\n\n"
        self.on_calls(self, self._take_calls(), counts)

    def _append(self, delta: Delta) -> None:
        self.stream.status = "streaming"
        self.drafts.add(delta.calls)
        self.stream.text += delta.text
        now = time.monotonic()
        self._think(delta, now)
        if self.first_token is None:
            self.first_token = now - self.submitted
        if now - self.saved >= CHECKPOINT_SECONDS and self._checkpoint is None:
            self.saved = now
            self._keep()

    def _think(self, delta: Delta, now: float) -> None:
        """Add to the thought, and to how long it takes: until the answer begins."""
        stream = self.stream
        if self.thinking_since is not None:
            stream.thought_seconds += now - self.thinking_since
        stream.thought += delta.thought
        if delta.thought or delta.text:
            stream.is_thinking = not delta.text
        self.thinking_since = now if stream.is_thinking else None

    def _keep(self) -> None:
        """Save the text so far; without any this says that the answer has begun."""
        self._checkpoint = self.tasks.spawn(
            self._save_checkpoint(), f"checkpoint {self.stream.message_id}"
        )

    async def _save_checkpoint(self) -> None:
        try:
            stream, now = self.stream, time.time()
            await self.db.write(
                lambda connection: messages.checkpoint(
                    *(connection, stream.user_id, stream.message_id, stream.text, now),
                    stream.thought or None,
                )
            )
        except StoreError as error:
            log.warning("A checkpoint was not saved: %s", error)
        finally:
            self._checkpoint = None

    def postpone(self) -> bool:
        """Leave it as it is on the disk, queued, if it has neither begun nor ended. Whether it
        has been."""
        if self.is_cancelled or self.has_begun or self.has_ended:
            return False
        self.is_postponed = True
        return True

    def end_without_run(self, status: Status, message: str | None) -> None:
        """End an answer that never got into a queue."""
        self._end(status, message)

    def _end(self, status: Status, error: str | None, finished: Finished | None = None) -> None:
        if self.is_postponed:
            return
        self.has_ended = True
        self.tasks.spawn(self._finish(status, error, finished), f"finish {self.stream.message_id}")

    def _counts(self, finished: Finished | None) -> Counts:
        """Return what was measured. An answer that was to go on and never got its turn keeps the
        figures of its beginning."""
        counts: Counts = {}
        if self.stream.calls:
            counts["calls"] = encode_calls(self.stream.calls)
        if finished is not None:
            counts["finish_reason"] = finished.reason
        if self.stream.thought:
            counts |= {
                "thought": self.stream.thought.rstrip(),
                "thought_seconds": self.stream.thought_seconds,
            }
        if not self.stream.prompt_total and not (finished and finished.prompt_tokens):
            return counts
        counts |= {"first_token_seconds": self.first_token, "dropped": self.stream.dropped}
        counts["documents"] = encode_given(
            whole_documents(
                *(self.path, self.stream.dropped, self.searched),
                lost_documents=self.lost_documents,
            )
        )
        if finished is not None:
            counts |= {
                "prompt_tokens": finished.prompt_tokens,
                "cached_tokens": finished.cached_tokens,
                "completion_tokens": finished.completion_tokens,
                "prefill_seconds": finished.prefill_seconds,
                "decode_seconds": finished.decode_seconds,
                "context_length": finished.context_length or None,
            }
        earlier = self.previous_run
        if earlier is not None and earlier.completion_tokens:
            counts["first_token_seconds"] = earlier.first_token_seconds
            counts |= {} if finished is None else _sum_runs(earlier, finished)
        return counts

    async def _finish(self, status: Status, error: str | None, finished: Finished | None) -> None:
        """Save the end, however long that takes; until then the text stays in the stream."""
        stream, now = self.stream, time.time()
        counts = self._counts(finished)

        async def save(connection: aiosqlite.Connection) -> None:
            await messages.finish(
                *(connection, stream.user_id, stream.message_id, status, stream.text, now),
                error=error,
                counts=counts,
            )
            if not self.hub.is_open(stream.user_id, stream.chat_id):
                await chats.set_unread(connection, stream.user_id, stream.chat_id, is_unread=True)

        while True:
            try:
                await self.db.write(save)
                break
            except StoreError as trouble:
                log.error("Answer %d is not saved yet: %s", stream.message_id, trouble)
                stream.warning = f"This answer is complete but not saved yet. {trouble}"
                self.hub.stream_changed(stream, urgent=True)
                await asyncio.sleep(RETRY_SECONDS)
        self.hub.remove(stream)
        self.on_end(self)


def _sum_runs(earlier: Measurements, finished: Finished) -> Counts:
    """The figures of an answer that was cut and went on: of both runs together.

    The second was asked with what the first had written, which is no part of the prompt. From
    memory came what neither of them had to read.
    """
    written, asked = earlier.completion_tokens, earlier.prompt_tokens
    prompt = max(0, finished.prompt_tokens - written)
    read = asked - earlier.cached_tokens + finished.prompt_tokens - finished.cached_tokens
    return {
        "prompt_tokens": prompt,
        "cached_tokens": max(0, prompt - read),
        "completion_tokens": written + finished.completion_tokens,
        "prefill_seconds": earlier.prefill_seconds + finished.prefill_seconds,
        "decode_seconds": earlier.decode_seconds + finished.decode_seconds,
    }
