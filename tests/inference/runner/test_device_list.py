from __future__ import annotations

import json
import subprocess
import sys
from ctypes import CDLL, c_size_t
from typing import Any, cast

from app.inference.runner.device_list import list_devices
from app.models.devices import Device


class ScriptedLibrary:
    """The calls of the library about devices, for a machine with a card and a later kind."""

    def llama_backend_init(self) -> None:
        self.begun = True

    def ggml_backend_dev_count(self) -> int:
        return 3 if self.begun else 0

    def ggml_backend_dev_get(self, number: int) -> int:
        return number

    def ggml_backend_dev_type(self, handle: int) -> int:
        return (1, 9, 0)[handle]

    def ggml_backend_dev_name(self, handle: int) -> bytes | None:
        return (b"Vulkan0", b"Odd", None)[handle]

    def ggml_backend_dev_description(self, handle: int) -> bytes:
        return (b"Radeon \xff", b"", b"EPYC")[handle]

    def ggml_backend_dev_memory(self, handle: int, free: Any, total: Any) -> None:
        cast(c_size_t, free._obj).value = 5
        cast(c_size_t, total._obj).value = 6


def test_devices_of_unknown_kinds_are_left_out_and_names_are_always_text() -> None:
    assert list_devices(cast(CDLL, ScriptedLibrary())) == [
        Device("Vulkan0", "Radeon \N{REPLACEMENT CHARACTER}", "GPU", 5, 6),
        Device("", "EPYC", "CPU", 5, 6),
    ]


def test_it_prints_one_line_of_json() -> None:
    command = [sys.executable, "-m", "app.inference.runner.device_list"]
    output = subprocess.run(command, capture_output=True, check=True).stdout
    assert output.count(b"\n") == 1
    assert {device["kind"] for device in json.loads(output)} >= {"CPU"}
