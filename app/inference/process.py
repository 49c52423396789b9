"""The parent's handle on one runner: a child process that speaks the runner protocol."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from app.config import KvType, Settings, runner_environment
from app.errors import ModelLoadError
from app.inference.protocol import (
    Command,
    Event,
    Loaded,
    LoadFailed,
    LoadProgress,
    Shutdown,
    from_line,
    to_line,
)
from app.inference.termination import kill_and_wait
from app.logs.child import relay_lines
from app.logs.request_ids import create_detached_task
from app.models.devices import CPU_ONLY, Placement
from app.models.memory import AUTO_CONTEXTS
from app.models.model import Model

log = logging.getLogger(__name__)
MAX_EVENT_BYTES = 1 << 20
LOAD_TIMEOUT = 300.0
GRACE_SECONDS = 0.2
"""Seconds to finish the snapshot that a runner is at when its time to write is over."""


@dataclass(frozen=True, slots=True)
class RunnerOptions:
    """Options of every runner of this server.

    permits: the folder of the thread permits; kv_folder: of the snapshots of KV caches;
    gpu: layers on devices beside the CPU; gather_ms: milliseconds of an answer that come as one
    event, the first token aside; keep_free_mb: of the disk that snapshots may not take.
    """

    permits: Path
    threads: int
    slots: int
    context: int
    kv_memory_mb: int
    kv_ram_mb: int
    kv_disk_mb: int
    kv_folder: Path
    kv_type: KvType = "f16"
    gpu: Placement = CPU_ONLY
    gather_ms: int = 30
    keep_free_mb: int = 0

    @classmethod
    def from_settings(cls, settings: Settings, permits: Path) -> RunnerOptions:
        return cls(
            permits=permits,
            threads=settings.threads,
            slots=settings.slots,
            context=settings.context or AUTO_CONTEXTS[-1],
            kv_memory_mb=settings.kv_memory_mb,
            kv_ram_mb=settings.kv_ram_mb,
            kv_disk_mb=settings.kv_disk_mb,
            keep_free_mb=settings.keep_free_mb,
            kv_folder=settings.kv_folder,
            kv_type=settings.kv_type,
        )


class RunnerProcess:
    """One child. Use `start`; `loaded` says what it can do, and `events` yields until it dies."""

    def __init__(
        self, model: Model, process: asyncio.subprocess.Process, events: asyncio.StreamReader
    ) -> None:
        self.model = model
        self._process = process
        self._events = events
        self._stderr_tail: deque[str] = deque(maxlen=20)
        self._listening = create_detached_task(self._read_stderr(), name=f"noise of {model.name}")
        self.loaded = Loaded(slots=0, context_length=0, seconds=0.0)

    @classmethod
    async def start(
        cls,
        model: Model,
        options: RunnerOptions,
        progress: Callable[[float], None] = lambda done: None,
    ) -> RunnerProcess:
        """Start a child and wait until the weights are in memory. `progress` hears 0 to 1.

        Raises ModelLoadError with the reason when it cannot load them, or dies, or hangs.
        """
        runner = await cls._spawn(model, options)
        try:
            async with asyncio.timeout(LOAD_TIMEOUT):
                runner.loaded = await runner._first_event(progress)
        except TimeoutError as error:
            await runner.kill()
            raise ModelLoadError(
                f"{model.title} was not loaded after {LOAD_TIMEOUT:.0f} seconds, so Wick gave up."
            ) from error
        except BaseException:
            await runner.kill()
            raise
        return runner

    @classmethod
    async def _spawn(cls, model: Model, options: RunnerOptions) -> RunnerProcess:
        read_end, write_end = os.pipe()
        try:
            events = await _reader(read_end)  # first, so that nothing is awaited after the start
            process = await asyncio.create_subprocess_exec(
                *_command_line(model, options, write_end),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                pass_fds=(write_end,),
                env=runner_environment(),
            )
        finally:
            os.close(write_end)  # the reader sees the end of the pipe, and closes its own side
        return cls(model, process, events)

    async def _first_event(self, progress: Callable[[float], None]) -> Loaded:
        async for event in self.events():
            if isinstance(event, LoadProgress):
                progress(event.done)
            if isinstance(event, Loaded):
                return event
            if isinstance(event, LoadFailed):
                raise ModelLoadError(event.message)
        raise ModelLoadError(
            f"{self.model.title} could not be loaded: its process ended {await self.exit_reason()}."
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, command: Command) -> None:
        """Hand a command over. To a dead runner it is lost; its `events` have ended or will."""
        if self._process.stdin is not None and not self._process.stdin.is_closing():
            self._process.stdin.write(to_line(command))

    async def events(self) -> AsyncIterator[Event]:
        """Yield what the runner says, until it is dead. A line that makes no sense ends it."""
        while line := await self._next_line():
            try:
                event = from_line(line)
            except ValueError as error:
                log.error("The runner of %s is ended: %s", self.model.name, error)
                await self.kill()
                return
            assert not isinstance(event, Command)  # noqa: S101 - it sends no commands
            yield event

    async def _next_line(self) -> bytes:
        try:
            return await self._events.readline()
        except (ValueError, OSError):  # longer than the limit, or the pipe broke
            await self.kill()
            return b""

    async def exit_reason(self) -> str:
        """Describe how it ended, once it is dead: by itself, or by which signal."""
        code = await self._process.wait()
        await self._listening
        if self._stderr_tail:
            log.warning(
                "Last words of the runner of %s: %s", self.model.name, " | ".join(self._stderr_tail)
            )
        if code < 0:
            with contextlib.suppress(ValueError):
                name = signal.Signals(-code).name
                hint = ", as when the machine's memory is full" if name == "SIGKILL" else ""
                return f"unexpectedly ({name}{hint})"
        return f"unexpectedly (exit code {code})"

    async def shutdown(self, seconds: float) -> None:
        """Let it write what it holds to the disk for that time, then wait until it is gone."""
        self.send(Shutdown(seconds))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds + GRACE_SECONDS):
                await self._process.wait()
        await self.kill()

    async def kill(self) -> None:
        """End it now and wait until it is gone, even when that is cancelled: it is soon."""
        await kill_and_wait(self._process, self._is_gone())

    async def _is_gone(self) -> None:
        await self._process.wait()
        await self._listening

    async def _read_stderr(self) -> None:
        assert self._process.stderr is not None  # noqa: S101 - asked for a pipe
        async for line in relay_lines(self._process.stderr, f"runner of {self.model.name}", log):
            self._stderr_tail.append(line[:500])


def _command_line(model: Model, options: RunnerOptions, events_fd: int) -> list[str]:
    arguments = {
        "model": model.folder,
        "events-fd": events_fd,
        "permits": options.permits,
        "threads": options.threads,
        "context": min(options.context, model.context_length),
        "slots": options.slots,
        "kv-mb": options.kv_memory_mb,
        "kv-ram-mb": options.kv_ram_mb,
        "kv-disk-mb": options.kv_disk_mb,
        "kv-folder": options.kv_folder,
        "keep-free-mb": options.keep_free_mb,
        "gather-ms": options.gather_ms,
        "kv-type": options.kv_type,
        "engine": model.engine,
        "gpu": options.gpu,
    }
    flags = [part for name, value in arguments.items() for part in (f"--{name}", str(value))]
    return [sys.executable, "-m", "app.inference.runner.main", *flags]


async def _reader(descriptor: int) -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit=MAX_EVENT_BYTES)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", buffering=0)
    )
    return reader
