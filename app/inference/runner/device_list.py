"""The child process that lists devices: `python -m app.inference.runner.device_list`.

It prints them as one line of JSON. A driver may hang or end the process: so it is a process.
"""

from __future__ import annotations

import json
import os
from ctypes import CDLL, byref, c_size_t
from dataclasses import asdict
from typing import Final

from app.errors import WickError
from app.inference.runner.engines.llama_library import load_library
from app.models.devices import Device, DeviceKind

KINDS: Final[tuple[DeviceKind, ...]] = ("CPU", "GPU", "integrated GPU", "accelerator")
"""Kinds by the library's own numbers; later ones are no devices of one machine."""


def list_devices(lib: CDLL) -> list[Device]:
    """The devices that the library knows, the CPU among them."""
    lib.llama_backend_init()
    handles = [lib.ggml_backend_dev_get(number) for number in range(lib.ggml_backend_dev_count())]
    kinds = [(handle, lib.ggml_backend_dev_type(handle)) for handle in handles]
    return [_device(lib, handle, KINDS[kind]) for handle, kind in kinds if kind < len(KINDS)]


def _device(lib: CDLL, handle: int, kind: DeviceKind) -> Device:
    free, total = c_size_t(), c_size_t()
    lib.ggml_backend_dev_memory(handle, byref(free), byref(total))
    name, description = (
        (function(handle) or b"").decode("utf-8", "replace")
        for function in (lib.ggml_backend_dev_name, lib.ggml_backend_dev_description)
    )
    return Device(name, description, kind, free.value, total.value)


def main() -> None:
    output = os.dup(1)
    os.dup2(2, 1)  # native code prints to standard output
    try:
        answer: object = [asdict(device) for device in list_devices(load_library())]
    except WickError as error:
        answer = str(error)
    os.write(output, json.dumps(answer).encode() + b"\n")


if __name__ == "__main__":
    main()
