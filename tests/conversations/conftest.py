from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.inference.process import RunnerProcess
from app.models.store import ModelStore
from tests.conversations.services import House, built
from tests.inference.scripted import ScriptedRunner
from tests.tiny_gguf import write_tiny_gguf


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> ModelStore:
    folder = tmp_path_factory.mktemp("shelf")
    made = ModelStore(folder / "models")
    made.install(write_tiny_gguf(folder / "tiny.gguf"), "tiny")
    return made


@pytest.fixture
async def house(
    tmp_path: Path, shelf: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[House]:
    async with built(tmp_path, shelf, titles="on") as house:

        async def start(*_: object) -> ScriptedRunner:
            return house.runner

        monkeypatch.setattr(RunnerProcess, "start", start)
        yield house
