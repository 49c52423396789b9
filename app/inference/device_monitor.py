"""Devices of this machine, as a child process lists them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from app.config import runner_environment
from app.models.devices import Device

log = logging.getLogger(__name__)

LIST_SECONDS: Final = 20.0
"""Time for drivers to start; then there is no device."""
MAX_LIST_BYTES: Final = 1 << 20
NONSENSE: Final = "the GPU driver's answer makes no sense"
COMMAND: Final = (sys.executable, "-m", "app.inference.runner.device_list")


@dataclass(frozen=True, slots=True)
class DeviceList:
    """Devices of this machine; problem: why they could not be listed, empty if they could."""

    devices: tuple[Device, ...] = ()
    problem: str = ""


async def list_devices(
    command: tuple[str, ...] = COMMAND, seconds: float = LIST_SECONDS
) -> DeviceList:
    """List the devices that llama.cpp's library knows, in a process that may hang or crash."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=runner_environment(),
        limit=MAX_LIST_BYTES,
    )
    assert process.stdout is not None  # noqa: S101 - asked for a pipe
    try:
        async with asyncio.timeout(seconds):
            output = await process.stdout.readline()
    except ValueError:  # longer than the limit
        return DeviceList(problem=NONSENSE)
    except TimeoutError:
        return DeviceList(problem=f"the GPU driver has not answered after {seconds:.0f} seconds")
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    return _parse(output)


def _parse(output: bytes) -> DeviceList:
    if not output:
        return DeviceList(problem="the GPU driver crashed")
    try:
        answer = msgspec.json.decode(output, type=tuple[Device, ...] | str)
    except msgspec.DecodeError:
        return DeviceList(problem=NONSENSE)
    return DeviceList(problem=answer) if isinstance(answer, str) else DeviceList(answer)


DeviceSource = Callable[[], Awaitable[DeviceList]]


class DeviceMonitor:
    """The devices as they were listed last. on_change: called after each listing."""

    def __init__(
        self,
        source: DeviceSource = list_devices,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._source = source
        self._on_change = on_change
        self._task: asyncio.Task[DeviceList] | None = None
        self._is_known = False
        self.current = DeviceList()

    @property
    def is_known(self) -> bool:
        """Tell whether they were listed."""
        return self._is_known

    @property
    def devices(self) -> tuple[Device, ...]:
        return self.current.devices

    def begin(self) -> None:
        """List them in the background, unless they are known."""
        if not self._is_known and self._task is None:
            self._task = asyncio.create_task(self._list(), name="devices")

    async def known(self) -> tuple[Device, ...]:
        """The devices; the first time they are listed."""
        if not self._is_known:
            await self.refresh()
        return self.devices

    async def refresh(self) -> tuple[Device, ...]:
        """List the devices again; who asks meanwhile waits for the same listing."""
        if self._task is None:
            self._task = asyncio.create_task(self._list(), name="devices")
        task = self._task
        await asyncio.shield(task)
        return self.devices

    async def close(self) -> None:
        """End a listing that runs, and its process."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _list(self) -> DeviceList:
        try:
            self.current = await self._source()
        except OSError as error:
            self.current = DeviceList(problem=f"no process could be started: {error.strerror}")
        finally:
            self._task = None
        if self.current.problem:
            log.warning("Models run on the CPU: %s.", self.current.problem.rstrip("."))
        self._is_known = True
        self._on_change()
        return self.current
