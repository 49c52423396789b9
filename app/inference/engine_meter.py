"""Measurement of newly installed models on both engines: which is faster on this machine.

It works while nobody waits for an answer, and stops at once when somebody does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final, Protocol

from app.errors import DiskFull, ModelError, ModelLoadError
from app.inference.process import RunnerOptions, RunnerProcess
from app.inference.protocol import Cancel, Delta, Failed, Finished, Generate
from app.inference.worker_pool import WorkerPool
from app.models import memory
from app.models.adapted import ensure_adapted, remove_adapted
from app.models.engines import (
    ANSWER_TOKENS,
    CTRANSFORMERS,
    LLAMA_CPP,
    PROMPT_TOKENS,
    Engine,
    EngineSpeed,
    available_engines,
)
from app.models.model import Model
from app.models.model_files import load_measured_gpu
from app.models.parameters import Sampling
from app.models.store import ModelStore

log = logging.getLogger(__name__)

CONTEXT_TOKENS: Final = 1024
DECODE_SECONDS: Final = 1.0
MAX_PROBE_SECONDS: Final = 120.0
IDLE_SECONDS: Final = 5.0
"""Seconds without any request before a measurement begins."""
POLL_SECONDS: Final = 0.2
PROMPT: Final = "The river went on past the mill and the old bridge. "
_WARM_UP, _MEASURED = 1, 2


class EngineProbe(Protocol):
    """Runs a model on an engine for about two seconds, in a process of its own."""

    async def __call__(self, model: Model, engine: Engine) -> EngineSpeed:
        """Read a prompt of `PROMPT_TOKENS` and write `ANSWER_TOKENS`, or as many as a second has.

        Raises ModelError when the engine cannot run the model.
        """


async def probe_engine(model: Model, engine: Engine, options: RunnerOptions) -> EngineSpeed:
    """Measure a model on an engine in a runner of its own. Raises ModelLoadError."""
    chosen = replace(model, settings=replace(model.settings, engine=engine))
    context = min(CONTEXT_TOKENS, model.context_length)
    options = replace(options, slots=1, context=context, kv_disk_mb=0, kv_ram_mb=0)
    runner = await RunnerProcess.start(chosen, options)
    try:
        async with asyncio.timeout(MAX_PROBE_SECONDS):
            warm_up = await _run(runner, _request(_WARM_UP, PROMPT, max_tokens=2))
            size = min(PROMPT_TOKENS, context // 2) // warm_up.prompt_tokens
            finished = await _run(runner, _request(_MEASURED, PROMPT * max(1, size), ANSWER_TOKENS))
    except TimeoutError as error:
        raise ModelLoadError(f"It took longer than {MAX_PROBE_SECONDS:.0f} seconds.") from error
    finally:
        await runner.kill()
    # The first token comes with the prompt.
    return EngineSpeed(
        decode=max(finished.completion_tokens - 1, 0) / max(finished.decode_seconds, 1e-6),
        prompt=finished.prompt_tokens / max(finished.prefill_seconds, 1e-6),
    )


def _request(number: int, text: str, max_tokens: int) -> Generate:
    greedy = Sampling(temperature=0.0, repetition_penalty=1.0)
    return Generate(number, (), greedy, max_tokens, text=text)


async def _run(runner: RunnerProcess, request: Generate) -> Finished:
    """The figures of a request, ended a second after its first token."""
    runner.send(request)
    end = math.inf
    async for event in runner.events():
        match event:
            case Delta() if end == math.inf:
                end = time.monotonic() + DECODE_SECONDS
            case Delta() if time.monotonic() >= end:
                runner.send(Cancel(request.id))
            case Finished():
                return event
            case Failed(message=message):
                raise ModelLoadError(message)
    raise ModelLoadError(f"Its process ended {await runner.exit_reason()}.")


async def measure_engines(
    store: ModelStore, name: str, probe: EngineProbe, gpu: Callable[[], str] = lambda: ""
) -> Model:
    """Measure both engines on a model and keep their speeds; the model with them.

    An engine that fails leaves no speed. gpu: tells with which GPUs it was. Raises ModelNotFound,
    ModelFileError or DiskFull.
    """
    model = await asyncio.to_thread(store.get, name)
    if not _can_choose(model):
        return model
    await asyncio.to_thread(ensure_adapted, model)
    speeds: dict[Engine, EngineSpeed] = {}
    for engine in (CTRANSFORMERS, LLAMA_CPP):
        try:
            speeds[engine] = await probe(model, engine)
        except ModelError as error:
            log.warning("%s could not be measured on %s: %s", name, engine, error)
    return await asyncio.to_thread(_save_speeds, store, name, speeds, gpu())


def _save_speeds(
    store: ModelStore, name: str, speeds: dict[Engine, EngineSpeed], gpu: str
) -> Model:
    store.save_speeds(name, speeds, gpu)
    model = store.get(name)
    if model.engine == LLAMA_CPP:
        remove_adapted(model)
    log.info("%s runs on %s: %s.", name, model.engine, model.engine_choice.reason)
    return model


def _can_choose(model: Model) -> bool:
    """Tell whether there is anything to measure: both engines are installed and run the model."""
    return len(set(model.runs_on()) & set(available_engines())) > 1


class EngineMeter:
    """Measures each model that both engines run, once. on_measured: hears a model's name."""

    def __init__(
        self,
        store: ModelStore,
        pool: WorkerPool,
        on_measured: Callable[[str], None],
    ) -> None:
        self._store = store
        self._pool = pool
        self._on_measured = on_measured
        self._tried: set[tuple[str, str, str]] = set()
        self._changed = asyncio.Event()
        self._changed.set()

    def models_changed(self) -> None:
        """Look again: a model may have been installed."""
        self._changed.set()

    async def run(self) -> None:
        """Measure what is to be measured, for as long as Wick runs."""
        while True:
            await self._changed.wait()
            await self._wait_for_idleness()
            self._changed.clear()
            model = await asyncio.to_thread(self._next_model)
            if model is not None:
                self._changed.set()
                await self._measure(model)

    async def _wait_for_idleness(self) -> None:
        idle_since = time.monotonic()
        while time.monotonic() - idle_since < IDLE_SECONDS:
            await asyncio.sleep(POLL_SECONDS)
            if self._pool.is_busy:
                idle_since = time.monotonic()

    def _next_model(self) -> Model | None:
        for model in self._store.models():
            is_tried = (model.name, model.digest, self._pool.gpu_names) in self._tried
            if is_tried or self._is_measured(model) or not _can_choose(model):
                continue
            context = min(CONTEXT_TOKENS, model.context_length)
            if memory.required_bytes(model, context, 1) <= self._pool.free_memory:
                return model
        return None

    def _is_measured(self, model: Model) -> bool:
        """Tell whether there are speeds, of the GPUs that are here now as far as they are known."""
        if not model.speeds or not self._pool.devices.is_known:
            return bool(model.speeds)
        return load_measured_gpu(model.folder) == self._pool.gpu_names

    async def _measure(self, model: Model) -> None:
        """Measure a model, unless somebody asks for an answer meanwhile; then it is tried again."""
        work = asyncio.create_task(self._measured(model))
        try:
            while not work.done():
                await asyncio.wait([work], timeout=POLL_SECONDS)
                if self._pool.is_busy:
                    return
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

    async def _measured(self, model: Model) -> None:
        async def probe(model: Model, engine: Engine) -> EngineSpeed:
            chosen = replace(model, settings=replace(model.settings, engine=engine))
            context = min(CONTEXT_TOKENS, model.context_length)
            return await probe_engine(
                model, engine, await self._pool.measure_options(chosen, context)
            )

        before = model.engine
        with contextlib.suppress(ModelError, DiskFull):
            measured = await measure_engines(
                self._store, model.name, probe, lambda: self._pool.gpu_names
            )
            if measured.engine != before:
                self._on_measured(model.name)
        self._tried.add((model.name, model.digest, self._pool.gpu_names))
