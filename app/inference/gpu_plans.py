"""Plans for loading a model: how many answers at once, and which layers on which device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from app.config import Settings
from app.inference.device_monitor import DeviceMonitor
from app.inference.memory_budget import MAIN, MemoryNeed
from app.inference.model_state import GpuStatus
from app.inference.protocol import Loaded
from app.models import memory
from app.models.devices import CPU_ONLY, Device, Placement, gpus
from app.models.engines import LLAMA_CPP
from app.models.model import Model
from app.models.offload import UNKNOWN_BYTES, Offload, free_bytes, layer_limit, plan_offload


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """slots: answers at once; offload: layers on devices."""

    slots: int
    offload: Offload

    @property
    def need(self) -> MemoryNeed:
        return {MAIN: self.offload.main_bytes} | self.offload.device_bytes


def gpu_status(offload: Offload, loaded: Loaded, note: str) -> GpuStatus:
    """Describe what was loaded; what the library says it did counts, else what was planned."""
    total = loaded.layers or offload.total
    titles = tuple(dict.fromkeys(share.device.title for share in offload.shares))
    if not offload.shares:
        return GpuStatus(0, total, {}, (), note)
    sizes = loaded.devices or offload.device_bytes
    return GpuStatus(min(loaded.gpu_layers, total), total, sizes, titles, note)


def capacities(devices: Sequence[Device], held: Callable[[str], int]) -> dict[str, int]:
    """Bytes that models may take on each GPU; `held`: what those loaded now have of it."""
    return {
        device.name: (free_bytes(device) if device.total else UNKNOWN_BYTES) + held(device.name)
        for device in gpus(devices)
    }


def load_plans(
    model: Model,
    settings: Settings,
    devices: Sequence[Device],
    held: Callable[[str], int],
    limit: int | None,
) -> list[LoadPlan]:
    """Plans in order, the best first: as if idle models had left the devices, with what is free
    there now, and on the CPU; each with fewer and fewer slots."""
    context = memory.context_length(model, settings)
    counts = range(memory.slots(model, settings), 0, -1)
    emptied = [
        replace(d, free=d.free + held(d.name)) if d.total else d for d in devices
    ]  # what others hold may be free soon

    def plan(there: Sequence[Device], count: int, most: int | None) -> LoadPlan:
        return LoadPlan(count, _plan(model, settings, there, context, count, most))

    tries = ((emptied, limit), (devices, limit), ((), 0))
    return list(
        dict.fromkeys(plan(there, count, most) for there, most in tries for count in counts)
    )


def _plan(
    model: Model,
    settings: Settings,
    devices: Sequence[Device],
    context: int,
    slots: int,
    limit: int | None,
) -> Offload:
    kv_type = settings.kv_type
    return plan_offload(model, devices, context=context, slots=slots, limit=limit, kv_type=kv_type)


async def find_placement(
    model: Model, settings: Settings, monitor: DeviceMonitor, *, context: int, slots: int
) -> Placement:
    """Place the layers of a model on what is free of the devices, for a measurement."""
    limit = layer_limit(model, settings)
    if limit == 0:
        return CPU_ONLY
    devices = await monitor.refresh() if gpus(await monitor.known()) else ()
    return _plan(model, settings, devices, context, slots, limit).placement


def may_use_gpu(model: Model, settings: Settings) -> bool:
    """Tell whether the settings and the engine of a model allow layers on a GPU."""
    return model.engine == LLAMA_CPP and layer_limit(model, settings) != 0
