"""The parent's handle on one media child: a process that does one kind of work."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import signal
import sys
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.config import runner_environment
from app.errors import MediaFailed
from app.inference.termination import kill_and_wait
from app.logs.child import relay_lines
from app.logs.request_ids import create_detached_task
from app.media.protocol import (
    CancelWork,
    MediaCommand,
    MediaEvent,
    MediaKind,
    MediaResult,
    NotReady,
    Ready,
    WorkFailed,
    event_from,
    to_line,
)
from app.media.thread_holder import ThreadHolder

log = logging.getLogger(__name__)
MAX_EVENT_BYTES: Final = 4 << 20
START_SECONDS: Final = 120.0


@dataclass(frozen=True, slots=True)
class MediaOptions:
    """Options of a media child. permits: the folder of the thread permits; model: of its model;
    memory: bytes that it may take.
    """

    kind: MediaKind
    title: str
    permits: Path
    threads: int
    memory: int
    model: Path | None = None


class MediaProcess:
    """One child. Use `start`, then `work`; one call at a time."""

    def __init__(
        self,
        options: MediaOptions,
        process: asyncio.subprocess.Process,
        events: asyncio.StreamReader,
    ) -> None:
        self._options = options
        self._process = process
        self._events = events
        self._stderr_tail: deque[str] = deque(maxlen=20)
        self._reading = create_detached_task(self._read_stderr(), name=f"noise of {options.kind}")

    @classmethod
    async def start(cls, options: MediaOptions) -> MediaProcess:
        """Start a child and wait until it can work. Raises MediaFailed with the reason."""
        async with ThreadHolder.of_folder(options.permits, options.threads).hold():
            child, event = await cls._load(options)
        if isinstance(event, Ready):
            log.info("%s is loaded after %.2f s.", options.title, event.seconds)
            return child
        await child.kill()
        reason = event.message if isinstance(event, NotReady) else "It said nothing of use."
        raise MediaFailed(f"{options.title} could not be loaded. {reason}")

    @classmethod
    async def _load(cls, options: MediaOptions) -> tuple[MediaProcess, MediaEvent]:
        child = await cls._spawn(options)
        try:
            async with asyncio.timeout(START_SECONDS):
                return child, await child._next_event()
        except TimeoutError:
            await child.kill()
            raise MediaFailed(f"{options.title} did not start in time.") from None
        except BaseException:
            await child.kill()
            raise

    @classmethod
    async def _spawn(cls, options: MediaOptions) -> MediaProcess:
        read_end, write_end = os.pipe()
        try:
            events = asyncio.StreamReader(limit=MAX_EVENT_BYTES)
            await asyncio.get_running_loop().connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(events),
                os.fdopen(read_end, "rb", buffering=0),
            )
            process = await asyncio.create_subprocess_exec(
                *_command_line(options, write_end),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                pass_fds=(write_end,),
                env=runner_environment()
                | {"OPENBLAS_NUM_THREADS": "1"},  # permits are for the rest
            )
        finally:
            os.close(write_end)  # the reader sees the end of the pipe, and closes its own side
        return cls(options, process, events)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.returncode is None and not self._events.at_eof()

    async def work(self, command: MediaCommand, payload: bytes, seconds: float) -> MediaResult:
        """Carry out a command within so many seconds. Raises MediaFailed; then it may be dead."""
        try:
            async with asyncio.timeout(seconds):
                await self._send(to_line(command) + payload)
                event = await self._next_event()
        except TimeoutError:
            await self.kill()
            raise MediaFailed(
                f"{self._options.title} took more than {seconds:.0f} seconds, so it was stopped."
            ) from None
        except asyncio.CancelledError:
            await self.kill()  # its answer would be taken for that of the next command
            raise
        if isinstance(event, WorkFailed):
            raise MediaFailed(event.message)
        if isinstance(event, Ready | NotReady) or event.id != command.id:
            await self.kill()
            raise MediaFailed(f"{self._options.title} answered something else.")
        return event

    def cancel(self, command: MediaCommand) -> None:
        """Let a command that `work` has begun end at its next step, as failed."""
        if self._process.stdin is not None and not self._process.stdin.is_closing():
            self._process.stdin.write(to_line(CancelWork(command.id)))

    def end(self) -> None:
        """End the process at once; a command that it works on fails."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def _send(self, data: bytes) -> None:
        assert self._process.stdin is not None  # noqa: S101 - asked for a pipe
        with contextlib.suppress(ConnectionError):  # it is dead, which its events tell
            self._process.stdin.write(data)
            await self._process.stdin.drain()

    async def _next_event(self) -> MediaEvent:
        """Raises MediaFailed when the child has died, or sends what makes no sense."""
        try:
            line = await self._events.readline()
            if line:
                return event_from(line)
        except (ValueError, OSError) as error:
            log.error("The %s child is ended: %s", self._options.kind, error)
            await self.kill()
        raise MediaFailed(f"{self._options.title} crashed {await self._exit_reason()}.")

    async def _exit_reason(self) -> str:
        code = await self._process.wait()
        await self._reading
        if self._stderr_tail:
            log.warning(
                "Last words of the %s child: %s", self._options.kind, " | ".join(self._stderr_tail)
            )
        if code == -signal.SIGKILL:
            return "(SIGKILL, as when the machine's memory is full)"
        return f"(exit code {code})"

    async def kill(self) -> None:
        """End it now and wait until it is gone, even when that is cancelled: it is soon."""
        await kill_and_wait(self._process, self._is_gone())

    async def _is_gone(self) -> None:
        await self._process.wait()
        await self._reading

    async def _read_stderr(self) -> None:
        assert self._process.stderr is not None  # noqa: S101 - asked for a pipe
        async for line in relay_lines(self._process.stderr, f"{self._options.kind} child", log):
            self._stderr_tail.append(line[:500])


def _command_line(options: MediaOptions, events_fd: int) -> list[str]:
    arguments = {
        "kind": options.kind,
        "events-fd": events_fd,
        "permits": options.permits,
        "threads": options.threads,
        "model": options.model,
    }
    given = ((f"--{name}", str(v)) for name, v in arguments.items() if v is not None)
    return [sys.executable, "-m", "app.media.child.main", *itertools.chain.from_iterable(given)]
