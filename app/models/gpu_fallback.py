"""Memory of what a GPU could not load of a model, so that not every load tries it again."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import msgspec

from app.models.devices import Device
from app.models.engines import LLAMA_CPP, PACKAGES

FILE: Final = "gpu.json"


@dataclass(frozen=True, slots=True)
class GpuFallback:
    """layers: most that a GPU is to hold; reason: why, as a sentence; key: of the setting, library
    and devices that it holds for."""

    layers: int
    reason: str
    key: str


def fallback_key(limit: int | None, devices: Iterable[Device]) -> str:
    """Name what a failure depends on: with another setting, library or device it is tried again."""
    try:
        version = importlib.metadata.version(PACKAGES[LLAMA_CPP])
    except importlib.metadata.PackageNotFoundError:
        version = ""
    names = ", ".join(f"{device.name} {device.description}" for device in devices)
    return f"{version}; {'auto' if limit is None else limit}; {names}"


def load_fallback(folder: Path, key: str) -> GpuFallback | None:
    """Load what is known for `key`; a damaged file counts as none."""
    with contextlib.suppress(OSError, msgspec.DecodeError):
        found = msgspec.json.decode((folder / FILE).read_bytes(), type=GpuFallback)
        return found if found.key == key and found.layers >= 0 else None
    return None


def save_fallback(folder: Path, fallback: GpuFallback) -> None:
    """Keep it; without room on the disk the next load tries the GPU again."""
    with contextlib.suppress(OSError):
        (folder / FILE).write_text(json.dumps(asdict(fallback)) + "\n", encoding="utf-8")


def delete_fallback(folder: Path) -> None:
    """Let the next load try the GPU with all that fits."""
    with contextlib.suppress(OSError):
        (folder / FILE).unlink(missing_ok=True)
