"""Speeds of both engines on one model, and the engine that is chosen by them."""

from __future__ import annotations

import pytest

from app.errors import ModelLoadError
from app.inference.engine_meter import measure_engines
from app.models import engines
from app.models.engines import ENGINES, Engine, EngineSpeed
from app.models.model import Model
from app.models.store import ModelStore

OLD, NEW = ENGINES
QUICK_PROMPT = {OLD: EngineSpeed(44, 56), NEW: EngineSpeed(51, 118)}
QUICK_ANSWER = {OLD: EngineSpeed(240, 350), NEW: EngineSpeed(150, 450)}


@pytest.fixture
def both_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "installed_engines", lambda: ENGINES)


@pytest.mark.usefixtures("both_engines")
async def test_the_faster_engine_is_found_by_a_measurement(store: ModelStore) -> None:
    probed: list[Engine] = []

    async def probe(model: Model, engine: Engine) -> EngineSpeed:
        assert model.weights_path.exists()
        probed.append(engine)
        return QUICK_PROMPT[engine]

    model = await measure_engines(store, "tiny", probe)
    assert probed == [OLD, NEW]
    assert (model.engine, model.speeds) == ("llama.cpp", QUICK_PROMPT)
    assert "faster here" in store.get("tiny").engine_choice.reason


@pytest.mark.usefixtures("both_engines")
async def test_an_engine_that_fails_leaves_no_speed(store: ModelStore) -> None:

    async def probe(model: Model, engine: Engine) -> EngineSpeed:
        if engine == NEW:
            raise ModelLoadError("libgomp.so.1 is missing.")
        return QUICK_ANSWER[engine]

    assert (await measure_engines(store, "tiny", probe)).speeds == {OLD: QUICK_ANSWER[OLD]}


async def test_nothing_is_measured_where_there_is_no_choice(
    store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "installed_engines", lambda: (OLD,))

    async def probe(model: Model, engine: Engine) -> EngineSpeed:
        raise AssertionError

    assert (await measure_engines(store, "tiny", probe)).speeds == {}
