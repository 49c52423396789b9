"""Layers on devices of the real library, whose CPU stands in for a card."""

from __future__ import annotations

import numpy as np
import pytest

from app.errors import ModelLoadError
from app.inference.runner.engines.engine import Logits, Slice
from app.inference.runner.engines.llama_cpp import LlamaCppEngine
from app.inference.runner.engines.placement import DEVICE_LINES, LoadedLayers
from app.models.devices import Placement
from tests.inference.tiny import tiny_model

LOG = """\
load_tensors: offloading 3 repeating layers to GPU
load_tensors: offloaded 4/11 layers to GPU
load_tensors:   CPU_Mapped model buffer size =   100.00 MiB
load_tensors:        CUDA0 model buffer size =    20.00 MiB
load_tensors:        CUDA1 model buffer size =    10.50 MiB
load_tensors:  MTL0_Mapped model buffer size =     4.00 MiB
llama_context:  CUDA_Host  output buffer size =     2.32 MiB
llama_kv_cache:      CUDA0 KV buffer size =     8.00 MiB
sched_reserve:      CUDA0 compute buffer size =     2.00 MiB
"""
MB = 1 << 20


def loaded(log: str, *shares: tuple[str, int]) -> LoadedLayers:
    found = [match for line in log.splitlines() if (match := DEVICE_LINES.search(line))]
    return LoadedLayers.read(found, Placement(shares))


def test_the_log_says_how_many_layers_and_how_many_bytes_each_device_holds() -> None:
    found = loaded(LOG, ("CUDA0", 3), ("CUDA1", 2))
    assert found == LoadedLayers(4, 11, {"CUDA0": 30 * MB, "CUDA1": 10 * MB + MB // 2})
    assert loaded(LOG, ("MTL0", 5)).bytes == {"MTL0": 4 * MB}
    assert not found.is_whole


def test_a_model_that_is_whole_on_a_device_needs_one_thread_of_the_cpu() -> None:
    assert loaded("x: offloaded 11/11 layers to GPU", ("CUDA0", 11)).is_whole
    assert not loaded("", ("CUDA0", 11)).is_whole


def test_without_a_placement_nothing_is_on_a_device() -> None:
    assert loaded(LOG) == LoadedLayers(0, 11)


def logits(placement: Placement) -> tuple[Logits, LoadedLayers]:
    engine = LlamaCppEngine(tiny_model().original_paths[0], 256, placement=placement)
    try:
        part = Slice(engine.new_context(), (1, 2, 3), 0, outputs=1)
        return engine.evaluate([part], 1)[0].copy(), engine.loaded_layers
    finally:
        engine.close()


def test_the_library_takes_the_devices_and_their_split() -> None:
    plain, nothing = logits(Placement())
    placed, there = logits(Placement((("CPU", 2),)))
    assert nothing == LoadedLayers()
    assert there.layers == 2
    assert there.bytes["CPU"] > 0
    assert np.allclose(plain, placed, atol=1e-3)


def test_a_device_that_is_gone_is_an_error_in_words() -> None:
    with pytest.raises(ModelLoadError, match="There is no device CUDA0"):
        LlamaCppEngine(tiny_model().original_paths[0], 256, placement=Placement((("CUDA0", 2),)))


def test_a_placement_survives_the_command_line() -> None:
    placement = Placement((("RPC[10.0.0.1:50052]", 3), ("CUDA0", 20)))
    assert Placement.parse(str(placement)) == placement
    assert Placement.parse("") == Placement()
