"""Loads with layers on GPUs: a GPU that fails gets fewer layers, then none, and that is kept."""

from __future__ import annotations

import asyncio
import logging

from app.config import Settings
from app.errors import ModelLoadError
from app.inference.device_monitor import DeviceMonitor
from app.inference.gpu_plans import LoadPlan, capacities, gpu_status, load_plans, may_use_gpu
from app.inference.memory_budget import MemoryBudget
from app.inference.model_state import GpuStatus
from app.inference.process import RunnerProcess
from app.models import memory
from app.models.devices import gpus
from app.models.gpu_fallback import (
    GpuFallback,
    delete_fallback,
    fallback_key,
    load_fallback,
    save_fallback,
)
from app.models.model import Model
from app.models.offload import Offload, layer_limit, with_layout

log = logging.getLogger(__name__)


class GpuLoad:
    """One load of a model, tried with less and less on GPUs until it succeeds. Use `begin`."""

    def __init__(
        self, model: Model, settings: Settings, devices: DeviceMonitor, budget: MemoryBudget
    ) -> None:
        self.model = model
        self._settings = settings
        self._devices = devices.devices
        self._budget = budget
        self.limit = layer_limit(model, settings)
        self.key = fallback_key(self.limit, gpus(self._devices))
        self.fallback: GpuFallback | None = None
        self._has_failed = False
        self.offload: Offload | None = None

    @classmethod
    async def begin(
        cls, model: Model, settings: Settings, devices: DeviceMonitor, budget: MemoryBudget
    ) -> GpuLoad:
        """List the devices where the model may use one, and take up what failed before."""
        if may_use_gpu(model, settings) and gpus(await devices.known()):
            await devices.refresh()  # other programs may have taken memory
            model = await asyncio.to_thread(with_layout, model)
        load = cls(model, settings, devices, budget)
        load.fallback = await asyncio.to_thread(load_fallback, model.folder, load.key)
        return load

    def plans(self) -> list[LoadPlan]:
        """List what to try in order. Raises ModelTooLarge where nothing ever fits."""
        limit = self.limit
        if self.fallback is not None:
            limit = min(limit, self.fallback.layers) if limit is not None else self.fallback.layers
        plans = load_plans(self.model, self._settings, self._devices, self._budget.held, limit)
        fitting = [plan for plan in plans if self._budget.can_ever_fit(plan.need)]
        if not fitting:
            memory.check_fits(self.model, self._settings, self._budget.budget)
        return fitting

    def step_down(self, plan: LoadPlan, error: ModelLoadError) -> None:
        """Take fewer layers for the next try. Raises `error` when it was not about a GPU."""
        if not plan.offload.layers:
            raise error
        self.fallback = _reduced(plan.offload, error, self.key, is_last=self.fallback is not None)
        self._has_failed = True
        log.warning("%s: %s", self.model.name, self.fallback.reason)

    async def finish(self, plan: LoadPlan, runner: RunnerProcess) -> GpuStatus | None:
        """Keep what had to be given up; where the layers are, None without any GPU."""
        self.offload = plan.offload
        if self.fallback is not None and self._has_failed:
            await asyncio.to_thread(save_fallback, self.model.folder, self.fallback)
        if not gpus(self._devices):
            return None
        note = self.fallback.reason if self.fallback is not None else ""
        return gpu_status(plan.offload, runner.loaded, note)

    async def on_abort(self) -> None:
        """Give the GPU less the next time: the library aborts where a device fails in use."""
        if self.offload is not None and self.offload.layers:
            error = ModelLoadError("The model crashed there.")
            fallback = _reduced(self.offload, error, self.key, is_last=self.fallback is not None)
            log.warning("%s: %s", self.model.name, fallback.reason)
            await asyncio.to_thread(save_fallback, self.model.folder, fallback)


def _reduced(offload: Offload, error: ModelLoadError, key: str, *, is_last: bool) -> GpuFallback:
    """Half of the layers, then none."""
    hangs = isinstance(error.__cause__, TimeoutError)
    layers = 0 if is_last or hangs else offload.layers // 2
    instead = f"it gets {layers}" if layers else "the model runs on the CPU"
    count = f"{offload.layers} layer{'s'[offload.layers == 1 :]}"
    return GpuFallback(layers, f"The GPU failed with {count}, so {instead}. {error}", key)


class GpuLoads:
    """The loads of all models of a server, and where their layers are."""

    def __init__(self, settings: Settings, budget: MemoryBudget, devices: DeviceMonitor) -> None:
        self._settings = settings
        self._budget = budget
        self.devices = devices
        self._loads: dict[str, GpuLoad] = {}
        self._statuses: dict[str, GpuStatus] = {}

    def devices_changed(self) -> None:
        """Take the memory of the devices into the budget."""
        self._budget.set_devices(capacities(self.devices.devices, self._budget.held))

    async def begin(self, model: Model) -> GpuLoad:
        load = await GpuLoad.begin(model, self._settings, self.devices, self._budget)
        self._loads[model.name] = load
        return load

    async def finish(self, load: GpuLoad, plan: LoadPlan, runner: RunnerProcess) -> None:
        status = await load.finish(plan, runner)
        if status is not None:
            self._statuses[load.model.name] = status

    def status(self, name: str) -> GpuStatus | None:
        """Return where the layers of a loaded model are; None without any GPU."""
        return self._statuses.get(name)

    def unloaded(self, name: str) -> None:
        self._statuses.pop(name, None)

    async def on_crash(self, name: str, how: str) -> None:
        """React to the end of a runner, `how` as RunnerProcess says it."""
        if "SIGABRT" in how and name in self._loads:
            await self._loads[name].on_abort()

    async def retry(self, model: Model) -> None:
        """Let the next load give the GPU all that fits, whatever failed before."""
        await asyncio.to_thread(delete_fallback, model.folder)
