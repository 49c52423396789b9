"""Layers on devices in llama.cpp's library: how they are asked for, and what it says it did."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from ctypes import CDLL, c_float, c_void_p, cast
from dataclasses import dataclass, field
from typing import Final

from app.errors import ModelLoadError
from app.inference.runner.engines.llama_library import ModelParams
from app.models.devices import Placement

DEVICE_LINES: Final = re.compile(
    r"offloaded (?P<layers>\d+)/(?P<total>\d+) layers to GPU"
    r"|:\s+(?P<buffer>\S+)\s+.*buffer size = +(?P<size>[\d.]+) MiB"
)
"""Lines of the library's log: no function of its interface tells what it put where."""
MEBIBYTE: Final = 1 << 20
SUFFIXES: Final = ("_Mapped", "_Private")
"""Kinds of buffers that lie in a device's own memory, behind the device's name."""


@dataclass(frozen=True, slots=True)
class LoadedLayers:
    """Layers that the library put on devices. bytes: by the names of devices."""

    layers: int = 0
    total: int = 0
    bytes: dict[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, lines: Iterable[re.Match[str]], placement: Placement) -> LoadedLayers:
        """Sum up lines of the log. Without a word about layers, all that were asked for count."""
        layers = placement.layers
        total, sizes = 0, Counter[str]()
        names = {name for name, _ in placement.shares}
        for line in lines:
            if line["total"] is not None:
                layers, total = int(line["layers"]), int(line["total"])
                continue
            buffer = line["buffer"]
            for suffix in SUFFIXES:
                buffer = buffer.removesuffix(suffix)
            if buffer in names:
                sizes[buffer] += int(float(line["size"]) * MEBIBYTE)
        return cls(layers if names else 0, total, dict(sizes))

    @property
    def is_whole(self) -> bool:
        """Tell whether the CPU computes no layer."""
        return 0 < self.total <= self.layers


class NativePlacement:
    """The arrays that say it to the library; they must live as long as a load.

    Raises ModelLoadError for a device that there is not.
    """

    def __init__(self, lib: CDLL, placement: Placement) -> None:
        self._layers = placement.layers
        handles = _handles(lib) if placement.shares else {}
        missing = [name for name, _ in placement.shares if name not in handles]
        if missing:
            raise ModelLoadError(f"There is no device {missing[0]} any more.")
        devices = [handles[name] for name, _ in placement.shares]
        # The list ends with nothing. An empty one keeps everything off the devices there are.
        self._devices = (c_void_p * (len(devices) + 1))(*devices)
        self._split = (c_float * max(lib.llama_max_devices(), len(devices)))()
        for number, (_, layers) in enumerate(placement.shares):
            self._split[number] = layers

    def apply(self, params: ModelParams) -> None:
        params.n_gpu_layers = self._layers
        params.devices = cast(self._devices, c_void_p)
        params.tensor_split = cast(self._split, c_void_p) if self._layers else None


def _handles(lib: CDLL) -> dict[str, int]:
    found = (lib.ggml_backend_dev_get(number) for number in range(lib.ggml_backend_dev_count()))
    return {
        lib.ggml_backend_dev_name(handle).decode("utf-8", "replace"): handle for handle in found
    }
