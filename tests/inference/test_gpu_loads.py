"""Loads with GPUs that a test invents, on real runners: what fails there ends on the CPU."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.config import Settings
from app.errors import ModelLoadError
from app.inference.device_monitor import DeviceList
from app.inference.process import RunnerOptions, RunnerProcess
from app.inference.worker_pool import WorkerPool
from app.models import gpu_fallback
from app.models.devices import Device
from app.models.install.pulls import PullManager
from app.models.model import Model, ModelSettings
from app.models.offload import MIN_RESERVE_BYTES
from app.models.store import ModelStore
from tests.inference.test_worker_pool import ScriptedAdmission
from tests.patience import PATIENCE
from tests.tiny_gguf import write_tiny_gguf

GB = 1 << 30
NAMES = ("first", "second")
CARD = Device("CUDA0", "RTX 4060", "GPU", 8 * GB, 8 * GB)


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    made = ModelStore(tmp_path / "models")
    for number, name in enumerate(NAMES):
        made.install(write_tiny_gguf(tmp_path / f"{name}.gguf", seed=number), name)
        made.save_settings(name, ModelSettings(engine="llama.cpp"))
    return made


class Machine:
    """A computer whose devices a test chooses; more than `most` layers fail to load.

    Real runners load without the device, since there is none here.
    """

    def __init__(self, folder: Path, store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
        self.devices: tuple[Device, ...] = (CARD,)
        self.most = 1000  # layers that a load survives
        self.started: list[tuple[str, int]] = []
        self.folder, self.store = folder, store
        self.pools: list[WorkerPool] = []
        start = RunnerProcess.start

        async def scripted(model: Model, options: RunnerOptions, *rest: Any) -> RunnerProcess:
            self.started.append((model.name, options.gpu.layers))
            if options.gpu.layers > self.most:
                raise ModelLoadError("The device is out of memory.")
            runner = await start(model, replace(options, gpu=type(options.gpu)()), *rest)
            runner.loaded = replace(runner.loaded, gpu_layers=options.gpu.layers)
            return runner

        monkeypatch.setattr(RunnerProcess, "start", scripted)

    async def list(self) -> DeviceList:
        return DeviceList(self.devices)

    def pool(self, **settings: Any) -> WorkerPool:
        defaults: dict[str, Any] = {"threads": 1, "slots": 1, "context": 512}
        chosen = Settings(data_dir=self.folder, models_dir=self.store.root, **(defaults | settings))
        pulls = PullManager(self.store)
        self.pools.append(
            WorkerPool(chosen, self.store, pulls, ScriptedAdmission(), list_gpus=self.list)
        )
        return self.pools[-1]


@pytest.fixture
async def machine(
    tmp_path: Path, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Machine]:
    made = Machine(tmp_path, store, monkeypatch)
    yield made
    for pool in made.pools:
        await pool.close("Wick was stopped.")


async def load(pool: WorkerPool, name: str = "first") -> str:
    """Load a model; where its layers are, in words."""
    changed = asyncio.Event()
    pool.listeners.append(changed.set)
    pool.load(name)
    async with asyncio.timeout(PATIENCE):
        while (status := pool.status(name)) is None or status.state not in {"ready", "failed"}:
            changed.clear()
            await changed.wait()
    assert status.state == "ready", status.error
    return "" if status.gpu is None else status.gpu.line


def note(pool: WorkerPool, name: str = "first") -> str:
    status = pool.status(name)
    return status.gpu.note if status is not None and status.gpu is not None else ""


async def test_a_model_that_fits_a_device_is_loaded_there_whole(machine: Machine) -> None:
    pool = machine.pool()
    line = await load(pool)
    layers = machine.started[0][1]
    assert layers > 2
    assert line.startswith(f"All {layers} layers on RTX 4060, ")
    assert pool.held_on("CUDA0") > 0
    await pool.unload("first")
    assert pool.held_on("CUDA0") == 0


async def test_without_a_device_nothing_is_said_and_models_run_on_the_cpu(
    machine: Machine,
) -> None:
    machine.devices = ()
    assert await load(machine.pool()) == ""
    assert machine.started == [("first", 0)]


async def test_a_setting_of_0_lists_no_devices_and_uses_none(machine: Machine) -> None:
    pool = machine.pool(gpu_layers=0)
    assert await load(pool) == ""
    assert not pool.devices.is_known
    assert machine.started == [("first", 0)]


async def test_a_device_that_fails_gets_half_and_that_is_kept(machine: Machine) -> None:
    pool = machine.pool()
    await load(pool)
    whole = machine.started[0][1]
    await pool.unload("first")
    machine.most = whole - 1
    line = await load(pool)
    assert machine.started[1:] == [("first", whole), ("first", whole // 2)]
    assert line.startswith(f"{whole // 2} of {whole} layers on RTX 4060, ")
    assert note(pool) == (
        f"The GPU failed with {whole} layers, so it gets {whole // 2}. The device is out of memory."
    )
    again = machine.pool()
    await load(again)
    assert machine.started[3:] == [("first", whole // 2)]
    assert note(again) == note(pool)
    await again.unload("first")
    await again.try_gpu_again("first")
    machine.most = 1000
    await load(again)
    assert machine.started[4:] == [("first", whole)]
    assert note(again) == ""


async def test_a_device_that_fails_twice_leaves_the_model_to_the_cpu(machine: Machine) -> None:
    machine.most = 0
    pool = machine.pool()
    assert await load(pool) == "On the CPU"
    assert [layers for _, layers in machine.started][1:] == [machine.started[0][1] // 2, 0]
    assert "so the model runs on the CPU. The device is out of memory." in note(pool)
    assert pool.held_on("CUDA0") == 0


async def test_a_load_that_fails_on_the_cpu_too_is_not_blamed_on_the_device(
    machine: Machine,
) -> None:
    machine.most = -1
    pool = machine.pool()
    with pytest.raises(AssertionError, match="out of memory"):
        await load(pool)
    assert not (machine.store.get("first").folder / gpu_fallback.FILE).exists()


async def test_a_runner_that_aborts_gets_less_of_the_device_next_time(machine: Machine) -> None:
    pool = machine.pool()
    await load(pool)
    whole = machine.started[0][1]
    await pool._gpu.on_crash("first", "unexpectedly (SIGABRT)")
    await pool.unload("first")
    await load(pool)
    assert machine.started[1:] == [("first", whole // 2)]
    await pool._gpu.on_crash("first", "unexpectedly (SIGKILL)")
    await pool.unload("first")
    await load(pool)
    assert machine.started[2:] == [("first", whole // 2)]


async def test_an_idle_model_leaves_a_device_that_the_next_one_needs(machine: Machine) -> None:
    pool = machine.pool()
    await load(pool)
    needed = pool.held_on("CUDA0")
    machine.devices = (replace(CARD, free=MIN_RESERVE_BYTES, total=4 * GB),)
    assert (await load(pool, "second")).startswith("All ")
    assert pool.held_on("CUDA0") <= needed
    first = pool.status("first")
    assert first is not None
    assert first.state == "idle"
