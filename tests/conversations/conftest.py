from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.inference.process import RunnerProcess
from app.models.store import ModelStore
from tests.conversations.services import ScriptedServices, built
from tests.inference.scripted import ScriptedRunner
from tests.tiny_gguf import write_tiny_gguf


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> ModelStore:
    folder = tmp_path_factory.mktemp("store")
    made = ModelStore(folder / "models")
    made.install(write_tiny_gguf(folder / "tiny.gguf"), "tiny")
    return made


@pytest.fixture
async def services(
    tmp_path: Path, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[ScriptedServices]:
    async with built(tmp_path, store, titles="on") as services:

        async def start(*_: object) -> ScriptedRunner:
            return services.runner

        monkeypatch.setattr(RunnerProcess, "start", start)
        yield services
