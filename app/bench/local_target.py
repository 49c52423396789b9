"""Wick's own runner as a target: one child process, no web server around it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from app.bench.targets import BenchRequest, TokenUsage, resident_memory
from app.config import Settings
from app.errors import RequestError, RunnerDied
from app.inference.device_monitor import DeviceMonitor
from app.inference.gpu_plans import find_placement
from app.inference.process import RunnerOptions, RunnerProcess
from app.inference.protocol import Cancel, Delta, Event, Failed, Finished, Generate
from app.inference.worker_pool import SAVE_SECONDS
from app.models.model import Model


def _options(settings: Settings, folder: Path, *, by_token: bool) -> RunnerOptions:
    """Options for a runner of this bench; whatever it keeps, it keeps in `folder`."""
    options = RunnerOptions.from_settings(settings, folder / "permits")
    return replace(options, gather_ms=0) if by_token else options


def _command(number: int, ask: BenchRequest) -> Generate:
    return Generate(number, ask.turns, ask.sampling, ask.max_tokens, chat=ask.chat)


async def _end(runner: RunnerProcess) -> None:
    """End a runner as Wick does when it stops: the only place of the bench that ends one."""
    await runner.shutdown(SAVE_SECONDS)


class LocalTarget:
    """Runner as a target; use `open`. Answers may run side by side."""

    def __init__(
        self, model: Model, options: RunnerOptions, runner: RunnerProcess, name: str
    ) -> None:
        self.name = name
        self._model = model
        self._options = options
        self._numbers = itertools.count(1)
        self._heard: dict[int, asyncio.Queue[Event | None]] = {}
        self._attach(runner)

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        model: Model,
        settings: Settings,
        folder: Path,
        name: str = "Wick",
        *,
        by_token: bool = False,
    ) -> AsyncIterator[LocalTarget]:
        """Start a runner until the end of the block. Raises ModelLoadError.

        by_token: every token comes by itself, so that pauses between them are seen. Without, as
        in the chat: what is made in a few hundredths of a second comes together.
        """
        options = _options(settings, folder, by_token=by_token)
        context = min(options.context, model.context_length)
        gpu = await find_placement(
            model, settings, DeviceMonitor(), context=context, slots=options.slots
        )
        options = replace(options, gpu=gpu)
        target = cls(model, options, await RunnerProcess.start(model, options), name)
        try:
            yield target
        finally:
            await target._end()

    @property
    def load_seconds(self) -> float:
        return self._runner.loaded.seconds

    async def answer(self, ask: BenchRequest) -> AsyncGenerator[str | TokenUsage]:
        number = next(self._numbers)
        heard: asyncio.Queue[Event | None] = asyncio.Queue()
        self._heard[number] = heard
        if self._listening.done():
            heard.put_nowait(None)
        self._runner.send(_command(number, ask))
        ended = False
        try:
            while not ended:
                event = await heard.get()
                ended = event is None or isinstance(event, Finished | Failed)
                if isinstance(event, Delta):
                    yield event.text
                elif isinstance(event, Finished):
                    yield TokenUsage(event.prompt_tokens, event.completion_tokens)
                elif isinstance(event, Failed):
                    raise RequestError(event.message)
                elif event is None:
                    how = await self._runner.exit_reason()
                    raise RunnerDied(f"The model's process ended {how}.")
        finally:
            if not ended:
                self._runner.send(Cancel(number))
                while not isinstance(await heard.get(), Finished | Failed | None):
                    pass
            del self._heard[number]

    async def restart(self) -> bool:
        await self._end()
        self._attach(await RunnerProcess.start(self._model, self._options))
        return True

    def memory(self) -> int | None:
        return resident_memory(self._runner.pid)

    def _attach(self, runner: RunnerProcess) -> None:
        self._runner = runner
        self._listening = asyncio.create_task(self._listen(), name="bench events")

    async def _listen(self) -> None:
        async for event in self._runner.events():
            if (number := getattr(event, "id", None)) in self._heard:
                self._heard[number].put_nowait(event)
        for heard in self._heard.values():
            heard.put_nowait(None)

    async def _end(self) -> None:
        await _end(self._runner)
        await self._listening
