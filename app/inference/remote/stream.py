"""Response of one server to one request, from its status to the end of its stream."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import httpx

from app.inference.protocol import (
    Aborted,
    Delta,
    Event,
    Failed,
    Finished,
    FinishReason,
    Generate,
    Prefill,
    SampledToken,
)
from app.inference.remote import errors
from app.inference.remote.chunks import (
    DONE,
    CallJoiner,
    Chunk,
    ChunkUsage,
    ErrorChunk,
    ProtocolViolation,
    SseParser,
    parse_chunk,
)
from app.inference.remote.errors import Timeouts, UpstreamError
from app.inference.remote.health import headers_for, read_limited
from app.inference.remote.request import EstimatedPrompt
from app.models.text.thinking import THINK, Part, ThinkingParser
from app.models.upstream import Upstream

MAX_ERROR_BYTES: Final = 65536
MAX_ANSWER_CHARS: Final = 4 << 20
TRAILER_SECONDS: Final = 0.5
"""Seconds until a server that has said everything has its connection closed."""
CUTS: Final = frozenset({"abort", "aborted", "cancelled", "content_filter", "error"})


CHARS_PER_TOKEN: Final = 6
"""Characters of a thought that are a token at least, where a server sends many tokens at once."""


class ThoughtTooLong(Exception):
    """The thought has reached its limit, and the server goes on with it."""


class ResponseStream:
    """Answer to `command`, over several tries. `emit` gets the events, the last one once.

    fitting: of the prompt that was sent; usage: as the server counted, None while it has not.
    """

    def __init__(
        self, command: Generate, emit: Callable[[Event], None], timeouts: Timeouts
    ) -> None:
        self.fitting = EstimatedPrompt([], 0, 0, 0)
        self.usage: ChunkUsage | None = None
        self._command = command
        self._emit = emit
        self._timeouts = timeouts
        self._window = 0
        self._began = time.monotonic()
        self._first: float | None = None
        self._has_said = False
        self._thought_tokens = 0
        self._thought_chars = 0
        self._cut_tokens = 0
        self._is_cut = command.think is False  # it could be asked no better
        self._separator = "\n\n" if command.thought else ""
        self._pieces = 0
        self._written = 0
        self._parser = ThinkingParser(THINK)
        self._calls = CallJoiner()
        self._finish = ""
        self._has_ended = False

    @property
    def has_begun(self) -> bool:
        """Tell whether there was a word of this try: then nothing may be tried again."""
        return self._has_said

    @property
    def cut_tokens(self) -> int:
        """Count the tokens of a thought that was cut."""
        return self._cut_tokens

    def cut_thought(self) -> None:
        """End the thought here. A model that thinks all the same in the next try may go on."""
        self._is_cut, self._cut_tokens, self._separator = True, self._pieces, "\n\n"

    def begin_attempt(self, fitting: EstimatedPrompt, window: int) -> None:
        """A try begins, whose prompt and window these are."""
        self.fitting, self._window = fitting, window
        self._began = time.monotonic()
        self._pieces, self._finish, self.usage, self._has_said = 0, "", None, False
        # Servers that do not tell thoughts apart send them in front of the answer.
        self._calls = CallJoiner()
        begun = bool(self._command.opening) or self._command.text is not None
        self._parser = ThinkingParser(THINK, is_answering=begun, resumes=begun)

    async def read(
        self,
        upstream: Upstream,
        client: httpx.AsyncClient,
        url: str,
        body: Mapping[str, object],
    ) -> None:
        """Send the request and pass on what comes. It has ended well when this returns.

        Raises UpstreamError.
        """
        try:
            async with asyncio.timeout(self._timeouts.first) as limit:
                await self._stream(upstream, client, url, body, limit)
        except (TimeoutError, ProtocolViolation, httpx.HTTPError) as error:
            if not self._finish:
                raise self._as_upstream_error(upstream, error) from error
        self._close(upstream)

    async def _stream(
        self,
        upstream: Upstream,
        client: httpx.AsyncClient,
        url: str,
        body: Mapping[str, object],
        limit: asyncio.Timeout,
    ) -> None:
        async with client.stream(
            "POST",
            url,
            json=body,
            headers=headers_for(upstream) | {"Accept": "text/event-stream"},
            timeout=httpx.Timeout(None, connect=self._timeouts.connect),
        ) as response:
            if response.status_code != 200:
                complaint = await read_limited(response, MAX_ERROR_BYTES)
                raise errors.from_response(upstream, response, complaint)
            kind = response.headers.get("content-type", "").partition(";")[0].strip()
            if kind.lower() != "text/event-stream":
                what = kind[:40] or "something without a kind"
                raise ProtocolViolation(f"is {what} and no stream, so its address may be wrong")
            events = SseParser()
            async for piece in response.aiter_raw():
                for data in events.feed(piece):
                    self._on_line(upstream, data, limit)
        if not self._finish:
            raise ProtocolViolation("ends in the middle of an answer")

    def _on_line(self, upstream: Upstream, data: str, limit: asyncio.Timeout) -> None:
        """One event. What comes behind the end is waited for a moment only: counts."""
        now = asyncio.get_running_loop().time()
        if data.strip() == DONE:
            self._finish = self._finish or "stop"
            limit.reschedule(now + TRAILER_SECONDS)
            return
        try:
            piece = parse_chunk(data)
        except ErrorChunk as error:
            raise errors.from_error_chunk(upstream, error) from error
        self.usage = piece.usage or self.usage
        if self._finish:
            return
        if (seconds := self._on_chunk(piece)) is not None:
            limit.reschedule(now + seconds)
        if piece.finish:
            self._finish = piece.finish
            limit.reschedule(now + self._timeouts.end)

    def _on_chunk(self, piece: Chunk) -> float | None:
        """Handle a chunk. Seconds that the next may take; None when this was no progress."""
        seconds = None
        if piece.prompt_progress is not None and self._first is None:
            done, total = piece.prompt_progress
            left_out = self.fitting.dropped, self.fitting.lost_documents
            self._emit(Prefill(self._command.id, done, total, 0, *left_out))
            seconds = self._timeouts.first
        if piece.thought:
            self._emit_delta(Delta(self._command.id, "", (), 1, self._resumed() + piece.thought))
            seconds = self._timeouts.between
        if piece.text:
            count = max(1, len(piece.tokens))  # most servers send each by itself, and tell none
            self._divide(self._parser.feed(piece.text), piece.tokens, count)
            seconds = self._timeouts.between
        if piece.calls:
            self._divide(self._parser.flush())
            calls = self._calls.add(piece.calls)
            self._emit_delta(Delta(self._command.id, "", count=1, calls=calls))
            seconds = self._timeouts.between
        return seconds

    def _divide(
        self,
        parts: Sequence[tuple[Part, str]],
        tokens: tuple[SampledToken, ...] = (),
        count: int = 0,
    ) -> None:
        """Tell what the parts of a text are; held back it may all be, but it has come."""
        said = {"thought": "", "answer": ""}
        for part, text in parts:
            said[part] += text
        thought = self._resumed() + said["thought"] if said["thought"] else ""
        self._emit_delta(Delta(self._command.id, said["answer"], tokens, count, thought))

    def _resumed(self) -> str:
        """Separator of a thought that was cut and the one that comes now: no server goes on with
        it."""
        separator, self._separator = self._separator, ""
        return separator

    def _emit_delta(self, delta: Delta) -> None:
        self._pieces += delta.count
        if not (delta.text or delta.thought or delta.tokens or delta.calls):
            return
        self._first, self._has_said = self._first or time.monotonic(), True
        self._written += len(delta.text) + len(delta.thought)
        self._written += sum(len(call.arguments) for call in delta.calls)
        self._emit(delta)
        if self._written > MAX_ANSWER_CHARS:
            raise ProtocolViolation("does not end")
        if delta.thought and not delta.text:
            self._check_thought(delta)

    def _check_thought(self, delta: Delta) -> None:
        """Raises ThoughtTooLong."""
        self._thought_tokens += delta.count
        self._thought_chars += len(delta.thought)
        size = max(self._thought_tokens, self._thought_chars // CHARS_PER_TOKEN)
        limit = self._command.max_thought_tokens
        if limit is not None and size >= limit and not self._is_cut:
            raise ThoughtTooLong

    def _close(self, upstream: Upstream) -> None:
        self._divide(self._parser.flush())
        self._emit_delta(Delta(self._command.id, "", count=0, calls=self._calls.flush()))
        if self._finish in CUTS:
            said = self._finish.replace("_", " ")
            self.end(
                Aborted(self._command.id, f"{upstream.host} ended this answer early ({said}).")
            )
        else:
            self.end(self.finished(self._reason()))

    def _reason(self) -> FinishReason:
        """Not all servers say why an answer with calls ended."""
        if self._finish == "length":
            return "length"
        return "tool_calls" if self._calls.calls else "stop"

    def _as_upstream_error(
        self, upstream: Upstream, error: TimeoutError | ProtocolViolation | httpx.HTTPError
    ) -> UpstreamError:
        if isinstance(error, ProtocolViolation):
            return UpstreamError("down", f"What {upstream.host} sends {error}.")
        if isinstance(error, httpx.HTTPError):
            return errors.from_transport_error(upstream, error, self._timeouts)
        seconds = self._timeouts.between if self.has_begun else self._timeouts.first
        return UpstreamError("down", f"{upstream.host} has said nothing for {seconds:g} seconds.")

    def finished(self, reason: FinishReason) -> Finished:
        """The end with its figures: the server's, or an estimate and the pieces that came."""
        now = time.monotonic()
        first = self._first or now
        usage = self.usage or ChunkUsage(self.fitting.prompt if self._first else 0, self._pieces)
        return Finished(
            id=self._command.id,
            reason=reason,
            prompt_tokens=usage.prompt,
            cached_tokens=usage.cached,
            completion_tokens=self._cut_tokens + usage.completion,
            prefill_seconds=first - self._began,
            decode_seconds=now - first,
            dropped=self.fitting.dropped,
            tier="live" if usage.cached else "none",
            context_length=self._window,
        )

    def end(self, event: Finished | Failed | Aborted) -> None:
        """The last event, unless there was one."""
        if not self._has_ended:
            self._has_ended = True
            self._emit(event)
