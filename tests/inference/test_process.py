"""The parent's handle on a real runner."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.inference import process
from app.inference.process import RunnerOptions, RunnerProcess
from app.inference.protocol import Finished, Generate, LoadProgress, to_line
from app.models.engines import ENGINES, Engine
from app.models.model import Model, ModelSettings, Turn
from app.models.parameters import Sampling
from tests.inference.tiny import tiny_model
from tests.patience import PATIENCE


def options(folder: Path) -> RunnerOptions:
    return RunnerOptions(
        permits=folder / "permits",
        threads=1,
        slots=2,
        context=512,
        kv_memory_mb=16,
        kv_ram_mb=16,
        kv_disk_mb=64,
        kv_folder=folder / "kv",
    )


def on(engine: Engine) -> Model:
    return replace(tiny_model(), settings=ModelSettings(engine=engine))


async def has_talked(folder: Path, model: Model | None = None) -> RunnerProcess:
    runner = await RunnerProcess.start(model or tiny_model(), options(folder))
    turns = (Turn("user", "the people of the water " * 8),)
    runner.send(Generate(1, turns, Sampling(temperature=0), 20, chat="chat"))
    async for event in runner.events():
        if isinstance(event, Finished):
            break
    return runner


async def tier_of(runner: RunnerProcess, number: int) -> str:
    """Where the beginning of the chat's next prompt came from."""
    turns = (Turn("user", "the people of the water " * 8 + "again"),)
    runner.send(Generate(number, turns, Sampling(temperature=0), 20, chat="chat"))
    async for event in runner.events():
        if isinstance(event, Finished):
            return event.tier
    raise AssertionError("it ended")


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_chat_goes_on_in_another_process(tmp_path: Path, engine: Engine) -> None:
    async with asyncio.timeout(PATIENCE):
        runner = await has_talked(tmp_path, on(engine))
        assert await tier_of(runner, 2) == "live"
        await runner.shutdown(PATIENCE)
        runner = await RunnerProcess.start(on(engine), options(tmp_path))
        assert await tier_of(runner, 2) == "disk"
        await runner.kill()


def snapshots_in(folder: Path) -> list[Path]:
    return list((folder / "kv").glob("*/*"))


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_runner_that_shuts_down_writes_its_states_and_ends(
    tmp_path: Path, engine: Engine
) -> None:
    async with asyncio.timeout(PATIENCE):
        runner = await has_talked(tmp_path, on(engine))
        await runner.shutdown(PATIENCE)
    assert "code 0" in await runner.exit_reason()
    assert [path.suffix for path in snapshots_in(tmp_path)] == [".kv"]


async def test_the_native_librarys_threads_spin_for_a_bounded_time(tmp_path: Path) -> None:
    async with asyncio.timeout(PATIENCE):
        runner = await RunnerProcess.start(tiny_model(), options(tmp_path))
        environment = psutil.Process(runner.pid).environ()
        await runner.kill()
    assert environment["GOMP_SPINCOUNT"] == "20000"
    assert environment["GGML_NO_BACKTRACE"] == "1"


async def test_a_runner_that_does_not_end_in_time_is_killed(tmp_path: Path) -> None:
    async with asyncio.timeout(PATIENCE):
        runner = await has_talked(tmp_path)
        os.kill(runner.pid, signal.SIGSTOP)
        await runner.shutdown(0.0)
    assert "SIGKILL" in await runner.exit_reason()
    assert not [path for path in snapshots_in(tmp_path) if path.suffix == ".kv"]


@pytest.mark.parametrize("seconds", [0.0, 1.0])
async def test_shutting_down_a_dead_runner_is_harmless(tmp_path: Path, seconds: float) -> None:
    async with asyncio.timeout(PATIENCE):
        runner = await has_talked(tmp_path)
        await runner.kill()
        await runner.shutdown(seconds)
    assert "SIGKILL" in await runner.exit_reason()


async def test_a_start_that_is_cancelled_twice_leaves_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line, loads, before = to_line(LoadProgress(0.4)), asyncio.Event(), children()

    def stuck(model: Any, options: Any, descriptor: int) -> list[str]:
        code = f"import os, time; os.write({descriptor}, {line!r}); time.sleep(1000)"
        return [sys.executable, "-c", code]

    monkeypatch.setattr(process, "_command_line", stuck)
    starting = asyncio.create_task(
        RunnerProcess.start(tiny_model(), options(tmp_path), lambda _: loads.set())
    )
    async with asyncio.timeout(PATIENCE):
        await loads.wait()
        starting.cancel()
        await asyncio.sleep(0)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
    assert not children() - before


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children()}
