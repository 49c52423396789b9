from __future__ import annotations

from pathlib import Path

from app.models.devices import Device
from app.models.gpu_fallback import (
    FILE,
    GpuFallback,
    delete_fallback,
    fallback_key,
    load_fallback,
    save_fallback,
)

CARD = Device("CUDA0", "RTX 4060", "GPU", 1, 2)


def test_it_holds_for_one_setting_and_the_same_devices(tmp_path: Path) -> None:
    key = fallback_key(None, [CARD])
    kept = GpuFallback(4, "It failed.", key)
    save_fallback(tmp_path, kept)
    assert load_fallback(tmp_path, key) == kept
    assert load_fallback(tmp_path, fallback_key(8, [CARD])) is None
    assert load_fallback(tmp_path, fallback_key(None, [])) is None
    delete_fallback(tmp_path)
    assert load_fallback(tmp_path, key) is None


def test_a_damaged_file_counts_as_none_and_a_folder_that_is_gone_harms_nothing(
    tmp_path: Path,
) -> None:
    for text in ("", "{}", "[1]", '{"layers": -1, "reason": "", "key": ""}', "\xff"):
        (tmp_path / FILE).write_text(text, encoding="latin-1")
        assert load_fallback(tmp_path, "") is None
    gone = tmp_path / "gone"
    save_fallback(gone, GpuFallback(0, "", ""))
    delete_fallback(gone)
    assert load_fallback(gone, "") is None
