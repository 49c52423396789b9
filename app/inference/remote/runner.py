"""The runner of a remote model: the same commands and events, answered by other servers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from functools import partial
from typing import Final

import httpx

from app.errors import PromptTooLong
from app.inference.protocol import (
    Aborted,
    Cancel,
    Command,
    Event,
    Failed,
    Generate,
    Loaded,
    Prefill,
    Shutdown,
    Stalled,
)
from app.inference.remote.errors import Timeouts, UpstreamError
from app.inference.remote.health import HttpClients, key_problem
from app.inference.remote.request import EstimatedPrompt, endpoint_path, request_body, told_beside
from app.inference.remote.servers import Server, ServerPool
from app.inference.remote.stream import ResponseStream, ThoughtTooLong
from app.models.model import Turn
from app.models.upstream import Upstream

# One answer of another server: tries until its first word, then what comes, to exactly one end.


log = logging.getLogger(__name__)
MAX_PAUSE_SECONDS: Final = 15.0
SHRINK_FACTOR: Final = 0.6
"""Of a request that was too long, when the server does not say how long it may be."""
Client = Callable[[Upstream], httpx.AsyncClient]


class RemoteAnswer:
    """`run` is the task; cancelling it closes the connection at once. `emit` hears the events.

    The last one is a Finished, Failed or Aborted, and is the only one of its kind: `end` makes sure
    of that when the task has ended, be it cancelled before its first step.
    """

    def __init__(
        self,
        command: Generate,
        servers: ServerPool,
        client: Client,
        emit: Callable[[Event], None],
        timeouts: Timeouts,
    ) -> None:
        # No server goes on with a thought that was cut: the answer follows, without another one.
        begun_thought = bool(command.thought and not command.opening)
        self._command = _without_thought(command) if begun_thought else command
        self._servers = servers
        self._client = client
        self._timeouts = timeouts
        self._reply = ResponseStream(command, emit, timeouts)
        self._emit = emit
        # A program's chat has no name, but begins in the same way each time.
        self._chat = command.chat or f"{hash(command.turns[:2])}"
        self._tried: set[Server] = set()
        self._busy: set[Server] = set()
        self._waited = 0.0
        self._pause = timeouts.pause
        self._window: int | None = None

    async def run(self) -> None:
        try:
            await self._answer()
        except PromptTooLong as error:
            self._fail(str(error), error.status, error.prompt_tokens, error.context_length)
        except Exception:
            log.exception("An answer of another server failed.")
            self._fail("Something went wrong inside Wick.")

    def end(self) -> None:
        """End it as cancelled, if it has not ended otherwise."""
        self._reply.end(self._reply.finished("cancelled"))

    def _fail(self, message: str, status: int = 500, asked: int = 0, limit: int = 0) -> None:
        self._reply.end(Failed(self._command.id, message, status, asked, limit))

    async def _answer(self) -> None:
        last: UpstreamError | None = None
        while True:
            server = await self._servers.acquire(self._tried, self._chat)
            if server is None:
                if not await self._retry_busy():
                    message = str(last or "This model has no server any more.")
                    self._fail(message, last.status if last else 503)
                    return
                continue
            try:
                await self._request(server)
                return
            except UpstreamError as fault:
                last = fault
                if self._reply.has_begun:
                    if fault.kind == "down":
                        self._servers.is_down(server, fault.public)
                    self._reply.end(Aborted(self._command.id, str(fault)))
                    return
                if fault.kind in {"wrong", "too_long"}:
                    self._fail(str(fault), fault.status, fault.asked or 0, fault.limit or 0)
                    return
                self._mark_failed(server, fault)
            finally:
                self._servers.release(server)

    def _mark_failed(self, server: Server, fault: UpstreamError) -> None:
        """Another server is next; this one again only when it just had too much to do."""
        log.info("%s did not answer: %s.", server.upstream.host, fault.kind)
        self._tried.add(server)
        if fault.kind == "busy":
            self._busy.add(server)
            server.back_off(max(fault.pause or 0.0, self._pause))
        else:
            self._servers.is_down(server, fault.public)

    async def _retry_busy(self) -> bool:
        """Retry, after a pause, servers that had too much to do, as long as patience lasts."""
        seconds = min((server.busy_for for server in self._busy), default=self._timeouts.busy)
        if not self._busy or self._waited + seconds > self._timeouts.busy:
            return False
        self._waited += seconds
        self._pause = min(MAX_PAUSE_SECONDS, 2 * self._pause)
        again = max(1, round(seconds))
        detail = f"The server has too much to do; trying again in {again} s"
        self._emit(Stalled(self._command.id, detail))
        await asyncio.sleep(seconds)
        self._tried -= self._busy
        self._busy.clear()
        return True

    async def _request(self, server: Server) -> None:
        """Raises UpstreamError. What is refused before the first word is tried again once with
        fewer turns, and once without the fields that not every server knows; what helps is
        remembered.
        """
        is_plain, may_shorten = (
            server.is_plain,
            self._command.allow_truncation and not self._command.text,
        )
        while True:
            try:
                await self._try(server, is_plain=is_plain)
                server.is_plain = is_plain
                return
            except ThoughtTooLong:
                self._reply.cut_thought()
                self._command = _without_thought(self._command)
            except UpstreamError as fault:
                if fault.kind == "too_long" and may_shorten and not self._reply.has_begun:
                    may_shorten = False
                    self._learn_limit(server, fault)
                elif fault.kind == "wrong" and not is_plain and not self._reply.has_begun:
                    is_plain = True
                elif fault.kind == "wrong" and self._command.opening:
                    raise _cannot_go_on(server.upstream, fault) from fault
                else:
                    raise

    def _learn_limit(self, server: Server, fault: UpstreamError) -> None:
        """Learn from the figures in a refusal; without them this request alone gets shorter."""
        fitting = self._reply.fitting
        if fault.asked:
            server.sizes.reset_to(fitting.turns, fault.asked)
        if fault.limit:
            server.limit = min(fault.limit, server.limit or fault.limit)
        else:
            self._window = int(
                ((fault.asked or fitting.prompt) + fitting.max_tokens) * SHRINK_FACTOR
            )

    async def _try(self, server: Server, *, is_plain: bool) -> None:
        """Raises UpstreamError or PromptTooLong."""
        upstream, command = server.upstream, self._command
        if trouble := key_problem(upstream):
            raise UpstreamError("down", trouble)
        windows = (command.context, self._window, self._servers.window)
        window = min(window for window in windows if window)
        fitting = self._fit(server, window)
        if not self._reply.cut_tokens:
            left_out = fitting.dropped, fitting.lost_documents
            self._emit(Prefill(command.id, 0, fitting.prompt, 0, *left_out))
        body = await asyncio.to_thread(  # which reads pictures
            partial(request_body, is_plain=is_plain),
            *(upstream, command, fitting.turns, fitting.max_tokens),
        )
        self._reply.begin_attempt(fitting, window)
        client, url = self._client(upstream), upstream.url + endpoint_path(command)
        await self._reply.read(upstream, client, url, body)
        self._servers.is_up(server, note=server.note)
        if self._reply.usage is not None and not command.opening and command.text is None:
            server.sizes.learn(fitting.turns, self._reply.usage.prompt)

    def _fit(self, server: Server, window: int) -> EstimatedPrompt:
        command = self._command
        if command.text is not None:
            return server.sizes.fit_all(
                [Turn("user", command.text)], "", command.max_tokens, window
            )
        fit = server.sizes.fit if command.allow_truncation else server.sizes.fit_all
        left = max(1, command.max_tokens - self._reply.cut_tokens)
        return fit(command.turns, told_beside(command), left, window)


def _without_thought(command: Generate) -> Generate:
    """Ask for the answer at once."""
    return replace(command, think=False, effort="none")


def _cannot_go_on(upstream: Upstream, fault: UpstreamError) -> UpstreamError:
    return UpstreamError(
        "wrong",
        f"{upstream.host} cannot go on with an answer that was cut: ask for the rest in a new "
        f"message. It said: {fault}",
    )


# The runner of a model that other servers hold: commands and events as of any other.


class RemoteRunner:
    """One for each model in use. `loaded` says what its servers can do now."""

    pid = None

    def __init__(self, servers: ServerPool, timeouts: Timeouts) -> None:
        self._servers = servers
        self._timeouts = timeouts
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._clients = HttpClients()
        self._is_dead = False
        self.loaded = self._capabilities()
        servers.listeners.append(self._watch)

    def send(self, command: Command) -> None:
        match command:
            case Generate() if not self._is_dead:
                self._begin(command)
            case Cancel():
                if (task := self._tasks.get(command.id)) is not None:
                    task.cancel()
            case Shutdown():
                self._die()
            case _:  # a server elsewhere keeps nothing that Wick could make it forget
                pass

    async def events(self) -> AsyncIterator[Event]:
        while (event := await self._events.get()) is not None:
            yield event

    async def exit_reason(self) -> str:
        return "unexpectedly"

    async def shutdown(self, seconds: float) -> None:
        """End at once: there is nothing to write to the disk."""
        await self.kill()

    async def kill(self) -> None:
        """Close every connection now, and wait until that is done."""
        self._die()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        await self._clients.close()

    def _begin(self, command: Generate) -> None:
        answer = RemoteAnswer(
            command, self._servers, self._clients.of, self._events.put_nowait, self._timeouts
        )
        task = asyncio.create_task(answer.run(), name=f"remote answer {command.id}")
        self._tasks[command.id] = task

        def ended(_: asyncio.Task[None]) -> None:
            self._tasks.pop(command.id, None)
            answer.end()

        task.add_done_callback(ended)

    def _die(self) -> None:
        if not self._is_dead:
            self._is_dead = True
            with contextlib.suppress(ValueError):
                self._servers.listeners.remove(self._watch)
            for task in self._tasks.values():
                task.cancel()
            self._events.put_nowait(None)

    def _capabilities(self) -> Loaded:
        return Loaded(self._servers.slots, self._servers.window, 0.0)

    def _watch(self) -> None:
        """A server has come or gone."""
        if (now := self._capabilities()) != self.loaded:
            self.loaded = now
            self._events.put_nowait(now)
