"""Listing devices: the real library's, and drivers that crash, hang or talk nonsense."""

from __future__ import annotations

import asyncio
import sys

import pytest

from app.inference.device_monitor import DeviceList, DeviceMonitor, list_devices
from app.models.devices import Device, gpus
from tests.patience import PATIENCE

CARD = Device("CUDA0", "RTX 4060", "GPU", 7, 8)


def program(text: str) -> tuple[str, ...]:
    return (sys.executable, "-c", text)


async def test_the_installed_library_lists_the_cpu_of_this_machine() -> None:
    found = await list_devices()
    assert found.problem == ""
    cpu = next(device for device in found.devices if device.kind == "CPU")
    assert cpu.total > 1 << 28
    assert cpu not in gpus(found.devices)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("import os; os.abort()", "the GPU driver crashed"),
        ("import os; os.write(1, b'[{}]\\n')", "the GPU driver's answer makes no sense"),
        ("print('\"libgomp is missing.\"')", "libgomp is missing."),
        ("print('x' * 3_000_000)", "the GPU driver's answer makes no sense"),
    ],
)
async def test_a_driver_that_fails_means_no_device_and_one_line(text: str, problem: str) -> None:
    assert await list_devices(program(text), PATIENCE) == DeviceList(problem=problem)


async def test_a_driver_that_hangs_is_ended() -> None:
    found = await list_devices(program("import time; time.sleep(1000)"), 0.2)
    assert found.devices == ()
    assert found.problem.startswith("the GPU driver has not answered")


async def test_a_process_that_cannot_start_is_a_problem_too() -> None:
    monitor = DeviceMonitor(lambda: list_devices(("/nowhere/python",)))
    assert await monitor.known() == ()
    assert "no process could be started" in monitor.current.problem


async def test_they_are_listed_once_for_all_who_ask_and_again_on_demand() -> None:
    answers = [DeviceList((CARD,)), DeviceList(problem="gone")]
    heard: list[DeviceList] = []

    async def source() -> DeviceList:
        await asyncio.sleep(0)
        return answers.pop(0)

    monitor = DeviceMonitor(source, lambda: heard.append(monitor.current))
    assert [*await asyncio.gather(monitor.known(), monitor.known())] == [(CARD,)] * 2
    assert await monitor.known() == (CARD,)
    assert await monitor.refresh() == ()
    assert heard == [DeviceList((CARD,)), DeviceList(problem="gone")]


async def test_no_listing_outlives_its_monitor() -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def source() -> DeviceList:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError

    monitor = DeviceMonitor(source)
    monitor.begin()
    monitor.begin()
    await started.wait()
    await monitor.close()
    assert ended.is_set()
    assert not monitor.is_known
    await monitor.close()
