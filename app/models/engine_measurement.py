"""Measurement of a model that both engines can run: which of them is faster on this machine."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from app.errors import ModelError
from app.models.adapted import ensure_adapted, remove_adapted
from app.models.engines import CTRANSFORMERS, LLAMA_CPP, Engine, EngineSpeed, available_engines
from app.models.model import Model
from app.models.store import ModelStore

log = logging.getLogger(__name__)


class EngineProbe(Protocol):
    """Runs a model on an engine for about two seconds, in a process of its own."""

    async def __call__(self, model: Model, engine: Engine) -> EngineSpeed:
        """Read a prompt of `PROMPT_TOKENS` and write `ANSWER_TOKENS`, or as many as a second has.

        Raises ModelError when the engine cannot run the model.
        """


def can_choose(model: Model) -> bool:
    """Tell whether there is anything to measure: both engines are installed and run the model."""
    return len(set(model.runs_on()) & set(available_engines())) > 1


async def measure_engines(store: ModelStore, name: str, probe: EngineProbe) -> Model:
    """Measure both engines on a model and keep their speeds; the model with them.

    An engine that fails leaves no speed. Raises ModelNotFound, ModelFileError or DiskFull.
    """
    model = await asyncio.to_thread(store.get, name)
    if not can_choose(model):
        return model
    await asyncio.to_thread(ensure_adapted, model)
    speeds: dict[Engine, EngineSpeed] = {}
    for engine in (CTRANSFORMERS, LLAMA_CPP):
        try:
            speeds[engine] = await probe(model, engine)
        except ModelError as error:
            log.warning("%s could not be measured on %s: %s", name, engine, error)
    return await asyncio.to_thread(_keep, store, name, speeds)


def _keep(store: ModelStore, name: str, speeds: dict[Engine, EngineSpeed]) -> Model:
    store.save_speeds(name, speeds)
    model = store.get(name)
    if model.engine == LLAMA_CPP:
        remove_adapted(model)
    log.info("%s runs on %s: %s.", name, model.engine, model.engine_choice.reason)
    return model
