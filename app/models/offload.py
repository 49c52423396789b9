"""Plan of which layers of a model a GPU holds: the one place for this arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from app.config import KvType, Settings
from app.errors import ModelError
from app.models.devices import Device, Placement, gpus
from app.models.engines import LLAMA_CPP
from app.models.gguf.reader import read_model_file
from app.models.gguf.weight_layout import WeightLayout, weight_layout
from app.models.memory import host_bytes, required_bytes
from app.models.model import Model

MIN_RESERVE_BYTES: Final = 512 << 20
RESERVE_SHARE: Final = 0.1
"""Share of a device's memory that stays free, at least the bytes above: other programs draw with
it, and drivers take more than they say."""
UNKNOWN_BYTES: Final = 1 << 62
"""Of a device whose driver does not say what there is."""
WORK_BYTES: Final = 256 << 20
"""Bytes that a model takes on each device beside its layers: the driver's context and the numbers
of a step of 512 tokens."""


@dataclass(frozen=True, slots=True)
class LayerSizes:
    """Bytes of a loaded model: of each layer with its part of the contexts, of the output, and of
    all that stays in main memory wherever the layers are."""

    layers: tuple[int, ...]
    output: int
    main: int

    @property
    def count(self) -> int:
        return len(self.layers) + 1


@dataclass(frozen=True, slots=True)
class DeviceShare:
    """Layers that a device holds, and the bytes that they take there."""

    device: Device
    layers: int
    size: int


@dataclass(frozen=True, slots=True)
class Offload:
    """Layers on devices, of `total` with the output as one. main_bytes: what main memory needs
    then, the layers on devices that share it included."""

    shares: tuple[DeviceShare, ...]
    total: int
    main_bytes: int

    @property
    def layers(self) -> int:
        return sum(share.layers for share in self.shares)

    @property
    def placement(self) -> Placement:
        return Placement(tuple((share.device.name, share.layers) for share in self.shares))

    @property
    def device_bytes(self) -> dict[str, int]:
        return {share.device.name: share.size for share in self.shares}


def layer_limit(model: Model, settings: Settings) -> int | None:
    """Most layers of a model that a GPU may hold, by its own setting, else Wick's; None for all."""
    chosen = model.settings.gpu_layers
    if model.engine != LLAMA_CPP:
        return 0
    if chosen == "auto":
        return None
    return settings.gpu_layers if chosen is None else chosen


def with_layout(model: Model) -> Model:
    """Read the sizes of a model's layers from its file where an earlier version of Wick installed
    it; the same model where that cannot be done."""
    if model.layout is not None or not model.files:
        return model
    try:
        return replace(model, layout=weight_layout(read_model_file(model.original_paths[0]).header))
    except (ModelError, OSError):
        return model


def layer_sizes(
    model: Model, layout: WeightLayout, context: int, slots: int, kv_type: KvType
) -> LayerSizes:
    """Bytes of a model with `slots` full contexts of `context` tokens."""
    states = model.kv.state_bytes if model.kv else 0
    contexts = slots if model.kind == "text" else 1
    kv = (model.kv_bytes(kv_type) * context + states) * contexts
    each = kv // max(1, len(layout.layers))
    layers = tuple(size + each for size in layout.layers)
    return LayerSizes(layers, layout.output, layout.input + host_bytes(model))


def free_bytes(device: Device) -> int:
    """Bytes of a device's memory that models may take now."""
    reserve = max(MIN_RESERVE_BYTES, int(RESERVE_SHARE * device.total))
    return max(0, device.free - reserve)


def own_bytes(devices: Sequence[Device]) -> int:
    """Bytes that layers of a model can take on GPUs with memory of their own, when these are
    idle."""
    cards = [device for device in gpus(devices) if device.total and not device.shares_memory]
    idle = (replace(device, free=device.total) for device in cards)
    return sum(max(0, _space(device, is_forced=False)) for device in idle)


def plan_offload(
    model: Model,
    devices: Sequence[Device],
    *,
    context: int,
    slots: int,
    limit: int | None,
    kv_type: KvType,
) -> Offload:
    """Place as many layers as fit the free memory of `devices`, at most `limit`.

    A model whose layers are not known, or that ctransformers runs, stays in main memory.
    """
    alone = required_bytes(model, context, slots, kv_type)
    layout = model.layout
    if layout is None or limit == 0 or model.engine != LLAMA_CPP:
        return Offload((), 0 if layout is None else layout.count, alone)
    sizes = layer_sizes(model, layout, context, slots, kv_type)
    shares = _place(sizes, gpus(devices), limit)
    if not shares:
        return Offload((), sizes.count, alone)
    moved = sum(share.layers for share in shares)
    rest = sum(sizes.layers[: max(0, sizes.count - moved)])
    shared = sum(share.size for share in shares if share.device.shares_memory)
    return Offload(shares, sizes.count, sizes.main + rest + shared)


def _place(
    sizes: LayerSizes, devices: Sequence[Device], limit: int | None
) -> tuple[DeviceShare, ...]:
    """The most layers that fit: all on one device if possible, since each border costs time."""
    is_forced = limit is not None
    spaces = [(d, _space(d, is_forced=is_forced)) for d in devices]
    spaces = sorted(((d, n) for d, n in spaces if n > 0), key=lambda pair: -pair[1])
    most = sizes.count if limit is None else min(limit, sizes.count)
    for alone in spaces:
        if (found := _fill(sizes, [alone], most)) is not None:
            return found
    low, found = 0, None
    high = most
    while low < high:  # the more layers, the more they take
        middle = (low + high + 1) // 2
        if (filled := _fill(sizes, spaces, middle)) is not None:
            low, found = middle, filled
        else:
            high = middle - 1
    return found or ()


def _space(device: Device, *, is_forced: bool) -> int:
    """Bytes for layers. A driver that does not say what there is gets layers only by number."""
    if not device.total and is_forced:
        return UNKNOWN_BYTES
    return free_bytes(device) - WORK_BYTES


def _fill(
    sizes: LayerSizes, spaces: Sequence[tuple[Device, int]], count: int
) -> tuple[DeviceShare, ...] | None:
    """Put the last `count` layers on devices, one device after another; None if that fails."""
    left = [*sizes.layers, sizes.output][sizes.count - count :]
    shares = []
    for device, space in spaces:
        taken = used = 0
        while taken < len(left) and used + left[taken] <= space:
            used += left[taken]
            taken += 1
        if taken:
            shares.append(DeviceShare(device, taken, used + WORK_BYTES))
            left = left[taken:]
    return tuple(shares) if count and not left else None
