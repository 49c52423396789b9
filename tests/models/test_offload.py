"""Which layers of a model GPUs get, on devices that a test can add up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.config import Settings
from app.models import memory
from app.models.devices import Device, DeviceKind, Placement
from app.models.gguf.weight_layout import WeightLayout
from app.models.model import Model, ModelSettings
from app.models.offload import (
    MIN_RESERVE_BYTES,
    WORK_BYTES,
    Offload,
    free_bytes,
    layer_limit,
    plan_offload,
    with_layout,
)
from tests.inference.tiny import tiny_model

GB = 1 << 30
LAYERS, LAYER, OUTPUT, INPUT = 10, GB // 2, GB // 4, GB // 4
KV = 1 << 16
CONTEXT = 8192
MODEL = Model(
    name="big",
    folder=Path(),
    title="Big",
    architecture="qwen3",
    parameters=8_000_000_000,
    quantisation="Q4_K",
    context_length=CONTEXT,
    size=LAYERS * LAYER + OUTPUT + INPUT,
    digest="",
    kv_bytes_per_token=KV,
    chat_template="",
    engines=("llama.cpp",),
    files=("original.gguf",),
    layout=WeightLayout((LAYER,) * LAYERS, INPUT, OUTPUT),
)
KV_OF_LAYER = KV * CONTEXT // LAYERS
CARD = "RTX 4060"


def gpu(free: int, *, name: str = "CUDA0", kind: DeviceKind = "GPU", total: int = 0) -> Device:
    """A device with so much free beyond what Wick leaves to others."""
    return Device(name, CARD, kind, free + MIN_RESERVE_BYTES, total or free + MIN_RESERVE_BYTES)


def plan(*devices: Device, limit: int | None = None, model: Model = MODEL) -> Offload:
    return plan_offload(model, devices, context=CONTEXT, slots=1, limit=limit, kv_type="f16")


ON_CPU = memory.required_bytes(MODEL, CONTEXT, 1)


def test_without_a_device_everything_is_in_main_memory() -> None:
    found = plan(Device("CPU", "EPYC", "CPU", 64 * GB, 64 * GB))
    assert (found.layers, found.total, found.main_bytes) == (0, 11, ON_CPU)
    assert found.placement == Placement()


def test_a_large_device_gets_all_layers_and_main_memory_keeps_the_embeddings() -> None:
    card = replace(gpu(20 * GB), total=5 * GB)
    found = plan(card)
    assert found.placement == Placement((("CUDA0", 11),))
    assert found.main_bytes == INPUT + memory.OVERHEAD_BYTES
    expected = LAYERS * (LAYER + KV_OF_LAYER) + OUTPUT + WORK_BYTES
    assert found.device_bytes == {"CUDA0": expected}


def test_a_smaller_device_gets_the_output_and_as_many_of_the_last_layers_as_fit() -> None:
    space = OUTPUT + 3 * (LAYER + KV_OF_LAYER) + WORK_BYTES
    found = plan(gpu(space + 1000))
    assert found.layers == 4
    assert found.device_bytes == {"CUDA0": space}
    rest = (LAYERS - 3) * (LAYER + KV_OF_LAYER)
    assert found.main_bytes == rest + INPUT + memory.OVERHEAD_BYTES


def test_two_devices_share_what_neither_holds_alone_the_larger_one_first() -> None:
    each = LAYER + KV_OF_LAYER
    small = gpu(4 * each + WORK_BYTES, name="CUDA0")
    large = gpu(6 * each + OUTPUT + WORK_BYTES, name="CUDA1")
    found = plan(small, large)
    assert found.placement == Placement((("CUDA1", 6), ("CUDA0", 4)))
    assert plan(small, replace(large, free=100 * GB)).placement == Placement((("CUDA1", 11),))


def test_of_two_that_hold_it_alone_the_larger_one_gets_it() -> None:
    found = plan(gpu(20 * GB, name="CUDA0", total=GB), gpu(40 * GB, name="CUDA1", total=GB))
    assert found.placement == Placement((("CUDA1", 11),))


def test_layers_on_an_integrated_device_still_take_main_memory() -> None:
    found = plan(gpu(20 * GB, kind="integrated GPU", total=GB))
    assert found.layers == 11
    assert found.main_bytes == INPUT + memory.OVERHEAD_BYTES + found.device_bytes["CUDA0"]
    metal = plan(gpu(20 * GB, name="MTL0", total=GB))
    assert metal.main_bytes == found.main_bytes


def test_an_integrated_device_is_left_alone_beside_a_card() -> None:
    beside = gpu(20 * GB, name="Vulkan1", kind="integrated GPU", total=GB)
    assert plan(beside, gpu(20 * GB, total=GB)).placement == Placement((("CUDA0", 11),))


@pytest.mark.parametrize("free", [0, MIN_RESERVE_BYTES, MIN_RESERVE_BYTES + WORK_BYTES])
def test_a_device_without_free_memory_gets_nothing(free: int) -> None:
    assert plan(Device("CUDA0", CARD, "GPU", free, 8 * GB)).layers == 0
    assert free_bytes(Device("CUDA0", CARD, "GPU", free, 8 * GB)) >= 0


def test_a_tenth_of_a_large_card_stays_free() -> None:
    assert free_bytes(Device("CUDA0", CARD, "GPU", 20 * GB, 20 * GB)) == 18 * GB


def test_a_number_is_the_most_and_one_beyond_the_model_means_all_of_it() -> None:
    card = gpu(40 * GB, total=GB)
    assert [plan(card, limit=n).layers for n in (0, 1, 7, 11, 99)] == [0, 1, 7, 11, 11]


def test_a_driver_that_does_not_say_what_is_free_gets_layers_by_number_only() -> None:
    silent = Device("SYCL0", CARD, "GPU", 0, 0)
    assert (plan(silent).layers, plan(silent, limit=5).layers) == (0, 5)


def test_a_model_that_ctransformers_runs_and_one_of_unknown_layers_stay_on_the_cpu() -> None:
    old = replace(MODEL, engines=("ctransformers",))
    assert plan(gpu(40 * GB, total=GB), model=old).layers == 0
    assert plan(gpu(40 * GB, total=GB), model=replace(MODEL, layout=None)).layers == 0
    assert layer_limit(old, Settings()) == 0


def test_the_models_own_setting_counts_before_that_of_wick() -> None:
    def limit(own: int | str | None, general: int | None) -> int | None:
        settings = ModelSettings(gpu_layers=own)  # type: ignore[arg-type]
        return layer_limit(replace(MODEL, settings=settings), Settings(gpu_layers=general))

    assert [limit(None, None), limit(None, 5), limit(7, 5), limit("auto", 5)] == [None, 5, 7, None]


def test_the_layers_of_a_model_of_an_earlier_version_are_read_from_its_file() -> None:
    model = tiny_model()
    assert model.layout is not None
    assert with_layout(replace(model, layout=None)) == model
    gone = replace(model, layout=None, folder=Path("gone"))
    assert with_layout(gone) == gone


@given(
    st.lists(st.integers(0, 12 * GB), max_size=3),
    st.lists(st.integers(1, GB), min_size=1, max_size=30),
    st.one_of(st.none(), st.integers(0, 40)),
)
def test_no_device_gets_more_than_it_has_and_no_layer_is_lost(
    free: list[int], layers: list[int], limit: int | None
) -> None:
    devices = [gpu(bytes_, name=f"CUDA{n}") for n, bytes_ in enumerate(free)]
    model = replace(MODEL, layout=WeightLayout(tuple(layers), INPUT, OUTPUT))
    found = plan(*devices, limit=limit, model=model)
    spaces = {device.name: free_bytes(device) for device in devices}
    assert all(size <= spaces[name] for name, size in found.device_bytes.items())
    assert found.layers <= (len(layers) + 1 if limit is None else limit)
    each = KV * CONTEXT // len(layers)
    moved = sum(s.size - WORK_BYTES for s in found.shares)
    if found.shares:
        whole = sum(layers) + each * len(layers) + OUTPUT + INPUT + memory.OVERHEAD_BYTES
        assert found.main_bytes + moved == whole
