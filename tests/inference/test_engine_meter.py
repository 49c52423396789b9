from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.config import Settings
from app.errors import ModelLoadError
from app.inference import engine_meter
from app.inference.device_monitor import DeviceList
from app.inference.engine_meter import EngineMeter, probe_engine
from app.inference.process import RunnerOptions
from app.models.devices import Device
from app.models.engines import ENGINES, Engine, EngineSpeed, available_engines
from app.models.model import Model
from app.models.model_files import load_measured_gpu
from app.models.store import ModelStore
from tests.conversations.services import ScriptedServices, built
from tests.patience import until

pytestmark = pytest.mark.skipif(
    len(available_engines()) < len(ENGINES), reason="only one engine is installed here"
)


@pytest.fixture
async def services(tmp_path: Path, store: ModelStore) -> AsyncIterator[ScriptedServices]:
    async with built(tmp_path, store, titles="off") as services:
        yield services


@pytest.mark.parametrize("engine", ENGINES)
async def test_an_engine_is_measured_on_a_real_model(
    store: ModelStore, tmp_path: Path, engine: Engine
) -> None:
    options = RunnerOptions.from_settings(Settings(data_dir=tmp_path, threads=1), tmp_path)
    speed = await probe_engine(store.get("tiny"), engine, options)
    assert speed.is_sound


async def test_a_model_that_cannot_be_loaded_is_not_measured(
    store: ModelStore, tmp_path: Path
) -> None:
    model = store.get("tiny")
    for file in model.folder.glob("*.gguf"):
        file.write_bytes(b"damaged")
    options = RunnerOptions.from_settings(Settings(data_dir=tmp_path, threads=1), tmp_path)
    with pytest.raises(ModelLoadError):
        await probe_engine(model, "llama.cpp", options)


async def test_a_new_model_is_measured_once_when_nobody_waits(
    services: ScriptedServices, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    speeds: dict[Engine, EngineSpeed] = {
        "ctransformers": EngineSpeed(10, 10),
        "llama.cpp": EngineSpeed(20, 20),
    }
    probed: list[Engine] = []
    may_go_on = asyncio.Event()

    async def probe(model: Model, engine: Engine, options: RunnerOptions) -> EngineSpeed:
        probed.append(engine)
        await may_go_on.wait()
        return speeds[engine]

    monkeypatch.setattr(engine_meter, "IDLE_SECONDS", 0.0)
    monkeypatch.setattr(engine_meter, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(engine_meter, "probe_engine", probe)
    measured: list[str] = []
    meter = EngineMeter(store, services.pool, measured.append)
    running = asyncio.create_task(meter.run())
    try:
        await until(lambda: probed == ["ctransformers"])
        monkeypatch.setattr(type(services.pool), "is_busy", property(lambda _: True))
        await until(lambda: meter._changed.is_set() and len(probed) == 1)
        assert store.get("tiny").speeds == {}
        monkeypatch.setattr(type(services.pool), "is_busy", property(lambda _: False))
        may_go_on.set()
        await until(lambda: measured == ["tiny"])
    finally:
        running.cancel()
    assert probed[-2:] == ["ctransformers", "llama.cpp"]
    model = store.get("tiny")
    assert (model.engine, model.speeds) == ("llama.cpp", speeds)


async def test_speeds_are_measured_again_when_there_is_another_gpu(
    services: ScriptedServices, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    speeds = {engine: EngineSpeed(10, 10) for engine in ENGINES}
    probed: list[Engine] = []

    async def probe(model: Model, engine: Engine, options: RunnerOptions) -> EngineSpeed:
        probed.append(engine)
        return EngineSpeed(30 if engine == "llama.cpp" else 10, 10)

    async def source() -> DeviceList:
        return DeviceList((Device("CUDA0", "RTX 4060", "GPU", 8 << 30, 8 << 30),))

    monkeypatch.setattr(engine_meter, "IDLE_SECONDS", 0.0)
    monkeypatch.setattr(engine_meter, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(engine_meter, "probe_engine", probe)
    monkeypatch.setattr(services.pool.devices, "_source", source)
    store.save_speeds("tiny", speeds)
    measured: list[str] = []
    meter = EngineMeter(store, services.pool, measured.append)
    assert meter._is_measured(store.get("tiny"))  # no GPU is known yet
    await services.pool.devices.known()
    running = asyncio.create_task(meter.run())
    try:
        await until(lambda: measured == ["tiny"])
    finally:
        running.cancel()
    assert probed == ["ctransformers", "llama.cpp"]
    assert load_measured_gpu(store.get("tiny").folder) == "RTX 4060"
    assert meter._is_measured(store.get("tiny"))
