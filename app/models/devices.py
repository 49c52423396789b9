"""Devices that compute layers of a model beside the CPU, and which of them get how many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

DeviceKind = Literal["CPU", "GPU", "integrated GPU", "accelerator"]
UNIFIED_MEMORY_NAMES: Final = ("Metal", "MTL")
"""Names that the library gives Apple's GPUs, whose memory is the machine's own."""


@dataclass(frozen=True, slots=True)
class Device:
    """A device as the library lists it. name: in the library, such as CUDA0; description: what the
    maker calls it; free, total: bytes of its memory, both 0 where the driver does not say."""

    name: str
    description: str
    kind: DeviceKind
    free: int
    total: int

    @property
    def shares_memory(self) -> bool:
        """Tell whether what it holds is in main memory."""
        is_unified = self.kind == "GPU" and self.name.startswith(UNIFIED_MEMORY_NAMES)
        return is_unified or self.kind == "integrated GPU"

    @property
    def title(self) -> str:
        return self.description or self.name


def gpus(devices: Sequence[Device]) -> list[Device]:
    """The devices that get layers: GPUs of their own, else the one beside the CPU."""
    found = [device for device in devices if device.kind == "GPU"]
    return found or [device for device in devices if device.kind == "integrated GPU"]


@dataclass(frozen=True, slots=True)
class Placement:
    """Numbers of layers by the names of devices. Devices hold a model's last layers in this order,
    the output behind all others; the CPU has the first ones."""

    shares: tuple[tuple[str, int], ...] = ()

    @property
    def layers(self) -> int:
        return sum(count for _, count in self.shares)

    def __str__(self) -> str:
        return ",".join(f"{name}={count}" for name, count in self.shares)

    @classmethod
    def parse(cls, text: str) -> Placement:
        """Read what `str` wrote. Raises ValueError."""
        parts = [part.rpartition("=") for part in text.split(",") if part]
        return cls(tuple((name, int(count)) for name, _, count in parts))


CPU_ONLY: Final = Placement()
