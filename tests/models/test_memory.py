from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from app.config import Settings
from app.errors import ModelTooLarge
from app.models import memory
from app.models.gguf.kv_layout import KvLayout
from app.models.model import Model, ModelSettings, Projector

LLAMA = Model(
    name="llama2",
    folder=Path(),
    title="Llama 2",
    architecture="llama",
    parameters=7_000_000_000,
    quantisation="Q4_0",
    context_length=4096,
    size=4_000_000_000,
    digest="",
    kv_bytes_per_token=524_288,
    chat_template="",
)


def test_a_model_needs_its_weights_and_its_contexts() -> None:
    assert (
        memory.required_bytes(LLAMA, 1000, 2)
        == 4_000_000_000 + 2 * 524_288_000 + memory.OVERHEAD_BYTES
    )


def test_a_model_that_sees_needs_its_projector_and_space_for_pictures() -> None:
    shown = Projector("mmproj.gguf", 800_000_000, "")
    seeing = replace(LLAMA, projector=shown, engines=("llama.cpp",))
    assert seeing.sees
    more = 800_000_000 + memory.PICTURE_BYTES
    text = memory.required_bytes(LLAMA, 1000, 2)
    assert memory.required_bytes(seeing, 1000, 2) == text + more
    assert memory.host_bytes(seeing) == memory.host_bytes(LLAMA) + more


def test_the_context_is_what_was_chosen_and_never_more_than_the_models_own() -> None:
    chosen = replace(LLAMA, settings=ModelSettings(context_length=1024))
    too_long = replace(LLAMA, settings=ModelSettings(context_length=100_000))
    assert memory.context_length(LLAMA, Settings(context=2048)) == 2048
    assert memory.context_length(chosen, Settings(context=2048)) == 1024
    assert memory.context_length(too_long, Settings(context=2048)) == 4096


QWEN = replace(LLAMA, context_length=262_144, size=2_900_000_000, kv_bytes_per_token=32_768)


@pytest.mark.parametrize(
    ("kv_memory_mb", "model_memory_mb", "tokens"),
    [
        (2048, 16_000, 32_768),  # two of them fit
        (2047, 16_000, 16_384),
        (2048, 5_100, 32_768),
        (2048, 3_700, 8_192),  # beside the weights there is less than for two longer ones
        (2048, 1_000, 4_096),  # it does not fit at all, which is said elsewhere
    ],
)
def test_a_context_that_nobody_chose_follows_the_model_and_the_memory(
    kv_memory_mb: int, model_memory_mb: int, tokens: int
) -> None:
    settings = Settings(kv_memory_mb=kv_memory_mb, model_memory_mb=model_memory_mb)
    assert memory.context_length(QWEN, settings) == tokens
    short = replace(QWEN, context_length=2048)
    assert memory.context_length(short, settings) == 2048
    chosen = replace(QWEN, settings=ModelSettings(context_length=65_536))
    assert memory.context_length(chosen, settings) == 65_536
    assert memory.context_length(QWEN, replace(settings, context=1024)) == 1024


def test_a_cache_of_q8_0_counts_as_such_where_the_engine_and_the_heads_take_it() -> None:
    modern = replace(
        QWEN, engines=("llama.cpp",), kv=KvLayout(QWEN.kv_bytes_per_token, takes_q8_0=True)
    )
    half = 32_768 * 34 // 64
    assert modern.kv_bytes("q8_0") == half
    assert modern.kv_bytes("f16") == 32_768
    assert modern.kv_bytes("q8_0", "ctransformers") == 32_768
    assert replace(modern, kv=KvLayout(32_768)).kv_bytes("q8_0") == 32_768
    assert replace(modern, kv=None).kv_bytes("q8_0") == 32_768
    f16 = Settings(context=16_384, slots=8, kv_memory_mb=2048, model_memory_mb=16_000)
    q8_0 = replace(f16, kv_type="q8_0")
    assert (memory.slots(modern, f16), memory.slots(modern, q8_0)) == (4, 7)
    difference = memory.required_bytes(modern, 1000, 2) - memory.required_bytes(
        modern, 1000, 2, "q8_0"
    )
    assert difference == 2000 * (32_768 - half)
    assert memory.context_length(modern, replace(f16, context=0, kv_memory_mb=1100)) == 16_384
    assert memory.context_length(modern, replace(q8_0, context=0, kv_memory_mb=1100)) == 32_768


def test_slots_follow_from_the_memory_for_contexts() -> None:
    assert memory.slots(LLAMA, Settings(context=4096, slots=4, kv_memory_mb=2048)) == 1
    assert memory.slots(LLAMA, Settings(context=1024, slots=4, kv_memory_mb=1536)) == 3
    assert memory.slots(LLAMA, Settings(context=1024, slots=2, kv_memory_mb=2048)) == 2


def test_a_model_for_search_needs_one_context_for_all_texts() -> None:
    settings = Settings(context=1024, slots=4, kv_memory_mb=1536)
    model = replace(LLAMA, kind="embedding")
    assert memory.slots(model, settings) == 1
    one = memory.required_bytes(LLAMA, 1024, 1)
    assert memory.required_bytes(model, 1024, 32) == one


def test_a_model_that_cannot_fit_is_refused_with_the_figures() -> None:
    settings = Settings(context=4096)
    memory.check_fits(LLAMA, settings, 6_400_000_000)
    with pytest.raises(ModelTooLarge, match=r"Llama 2 .*4,096 tokens .*6,349 MB.* 6,000 MB"):
        memory.check_fits(LLAMA, settings, 6_000_000_000)


def test_the_budget_is_the_setting_or_a_share_of_what_is_there() -> None:
    assert memory.budget(Settings(model_memory_mb=3)) == 3 << 20
    assert memory.budget(Settings()) == int(memory.total_memory() * 0.75)


def test_limits_of_control_groups_count(tmp_path: Path) -> None:
    own = tmp_path / "cgroup"
    own.write_text("4:cpu,memory:/old/box\n0::/user/wick\n")
    for name, text in {
        "user/memory.max": "1000\n",
        "user/wick/memory.max": "max\n",
        "memory/old/memory.limit_in_bytes": "2000\n",
        "memory/memory.limit_in_bytes": "9223372036854771712\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert sorted(memory.limits(tmp_path, own))[:2] == [1000, 2000]
    assert list(memory.limits(tmp_path, tmp_path / "none")) == []
