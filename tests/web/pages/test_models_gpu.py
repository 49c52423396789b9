"""GPUs on the pages and in the APIs: a machine without one, and one whose card is the CPU."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from quart import Quart
from quart.typing import TestClientProtocol as Client

from app.config import Settings
from app.inference.device_monitor import DeviceList
from app.models.devices import Device
from app.models.model import ModelSettings
from app.models.store import ModelStore
from app.server import create_app
from app.web.context import ServerContext
from tests.application import OWN
from tests.patience import until
from tests.tiny_gguf import write_tiny_gguf

PAGE = OWN | {"HX-Request": "true"}
GB = 1_000_000_000
CARD = Device("CPU", "NVIDIA RTX 4060", "GPU", 7 * GB, 8 * GB)
"""Named as the library names the CPU, which takes layers as any device."""


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[Quart]:
    store = ModelStore(tmp_path / "models")
    store.install(write_tiny_gguf(tmp_path / "tiny.gguf"), "tiny")
    store.save_settings("tiny", ModelSettings(engine="llama.cpp"))
    settings = Settings(
        data_dir=tmp_path, models_dir=store.root, auto_pull=False, threads=1, context=512
    )
    app = create_app(settings)
    async with app.test_app():
        yield app


@pytest.fixture
def client(app: Quart) -> Client:
    return app.test_client()


def here(app: Quart) -> ServerContext:
    found: ServerContext = app.extensions["wick"]
    return found


async def text_of(answer: Any) -> str:
    text: str = await answer.get_data(as_text=True)
    return text


async def loaded(app: Quart, client: Client) -> str:
    """Load the model; its card."""
    await client.post("/models/tiny/load", headers=PAGE)
    pool = here(app).pool
    await until(lambda: (status := pool.status("tiny")) is not None and status.state == "ready")
    return await text_of(await client.get("/models", headers=OWN))


@pytest.fixture
def card(app: Quart, monkeypatch: pytest.MonkeyPatch) -> None:
    async def source() -> DeviceList:
        return DeviceList((CARD,))

    monkeypatch.setattr(here(app).pool.devices, "_source", source)


async def test_a_machine_without_a_gpu_says_so(app: Quart, client: Client) -> None:
    assert "Looking for GPUs" in await text_of(await client.get("/status", headers=OWN))
    await until(lambda: here(app).pool.devices.is_known)
    html = await text_of(await client.get("/status", headers=OWN))
    assert "No GPU found; models run on the CPU." in html
    assert "<dt>GPU</dt>" not in await loaded(app, client)
    assert "GPU layers" not in await text_of(await client.get("/models/tiny/settings", headers=OWN))


async def test_a_driver_that_fails_is_named(
    app: Quart, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def source() -> DeviceList:
        return DeviceList(problem="the GPU driver crashed")

    monkeypatch.setattr(here(app).pool.devices, "_source", source)
    html = await text_of(await client.post("/status/devices", headers=PAGE))
    assert "No GPU found, so models run on the CPU: the GPU driver crashed." in html


@pytest.mark.usefixtures("card")
async def test_pages_and_apis_say_what_is_where(app: Quart, client: Client) -> None:
    html = await text_of(await client.post("/status/devices", headers=PAGE))
    assert "NVIDIA RTX 4060 (CPU)" in html
    assert "7.0 GB of 8.0 GB free, models hold 0 MB" in html
    page = await loaded(app, client)
    status = here(app).pool.status("tiny")
    assert status is not None
    assert status.gpu is not None
    assert status.gpu.line.startswith(f"All {status.gpu.total} layers on NVIDIA RTX 4060, ")
    html = await text_of(await client.get("/status/figures", headers=OWN))
    for text in (page, html):
        assert status.gpu.line in text
    assert re.search(r"needs \d+ MB of [\d.]+ GB, and \d+ MB on the GPU", page)
    report = await (await client.get("/models/report", headers=OWN)).get_json()
    assert report["models"][0]["gpu"] == status.gpu.line
    (model,) = (await (await client.get("/api/v1/models", headers=OWN)).get_json())["data"]
    assert (model["gpu_layers"], model["devices"]) == (status.gpu.total, ["NVIDIA RTX 4060"])


@pytest.mark.usefixtures("card")
@pytest.mark.parametrize(("layers", "has_room"), [(None, True), (0, False)])
async def test_a_model_to_download_may_take_the_memory_of_a_gpu(
    app: Quart, client: Client, layers: int | None, has_room: bool
) -> None:
    services = here(app)
    services.settings = services.pool._settings = replace(
        services.settings, model_memory_mb=6000, context=0, gpu_layers=layers
    )
    await services.pool.devices.known()
    html = await text_of(await client.get("/models", headers=OWN))
    offer = html.split('id="offer-gpt-oss-20b"')[1].split('id="offer-')[0]
    assert ("Fits this machine" in offer) == has_room
    assert ("models may use 6.3 GB here" in offer) != has_room


@pytest.mark.usefixtures("card")
async def test_the_layers_of_a_model_are_a_setting(app: Quart, client: Client) -> None:
    await here(app).pool.devices.known()
    form = await text_of(await client.get("/models/tiny/settings", headers=PAGE))
    assert 'id="gpu_layers"' in form
    assert 'placeholder="auto"' in form
    answer = await client.post(
        "/models/tiny/settings", headers=PAGE, form={"gpu_layers": "some", "engine": "llama.cpp"}
    )
    assert answer.status_code == 422
    assert "GPU layers must be auto or a number" in await text_of(answer)
    given = {"gpu_layers": "1", "engine": "llama.cpp"}
    answer = await client.post("/models/tiny/settings", headers=PAGE, form=given)
    assert answer.status_code == 200
    assert here(app).store.get("tiny").settings.gpu_layers == 1
    assert "1 of " in await loaded(app, client)
    answer = await client.post("/models/tiny/gpu/0", headers=PAGE)
    assert answer.status_code == 204
    assert here(app).store.get("tiny").settings.gpu_layers == 0
    pool = here(app).pool
    await until(lambda: (status := pool.status("tiny")) is not None and status.state == "idle")
    assert "On the CPU" in await loaded(app, client)
