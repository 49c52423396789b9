"""Room that is kept for a full disk; how full it is, the test says."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from app.disk_reserve import CACHES, FILE, MIN_BYTES, RESERVE_BYTES, Reserve
from app.errors import DiskFull


class Disk:
    """Stand-in for `shutil.disk_usage`. The reserve itself takes space from it."""

    def __init__(self, folder: Path, free: int) -> None:
        self.folder, self.free = folder, free

    def usage(self, _: object) -> SimpleNamespace:
        taken = sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())
        return SimpleNamespace(free=self.free - taken)


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk(tmp_path, 100 << 20)
    monkeypatch.setattr(shutil, "disk_usage", disk.usage)
    return disk


def test_room_is_kept_while_there_is_some_and_given_when_there_is_none(
    disk: Disk, tmp_path: Path
) -> None:
    reserve = Reserve(tmp_path)
    assert not reserve.refresh()
    assert (tmp_path / FILE).stat().st_size == RESERVE_BYTES
    reserve.check()
    disk.free = RESERVE_BYTES + MIN_BYTES - 1
    assert reserve.refresh()
    assert not (tmp_path / FILE).exists()
    with pytest.raises(DiskFull, match="read-only"):
        reserve.check()
    for _ in range(3):  # the room that was given is no reason to take it again
        assert not reserve.refresh()
        assert reserve.is_low
    disk.free += 1
    assert reserve.refresh()
    assert not reserve.sentence
    assert (tmp_path / FILE).stat().st_size == RESERVE_BYTES


def test_caches_are_removed_before_the_reserve(disk: Disk, tmp_path: Path) -> None:
    (tmp_path / CACHES).mkdir()
    (tmp_path / CACHES / "one").write_bytes(bytes(1000))
    disk.free = RESERVE_BYTES + MIN_BYTES + 999
    reserve = Reserve(tmp_path)
    reserve.refresh()
    assert not reserve.is_low
    assert not (tmp_path / CACHES).exists()


def test_snapshots_go_the_oldest_first_before_less_is_free_than_is_kept(
    disk: Disk, tmp_path: Path
) -> None:
    (tmp_path / CACHES).mkdir()
    for number in range(4):
        file = tmp_path / CACHES / f"{number}.kv"
        file.write_bytes(bytes(1 << 20))
        os.utime(file, (number, number))
    reserve = Reserve(tmp_path, keep_free=50 << 20)
    disk.free = (50 << 20) + (2 << 20) + RESERVE_BYTES
    reserve.refresh()  # takes its own space, too
    reserve.refresh()
    assert sorted(path.name for path in (tmp_path / CACHES).iterdir()) == ["2.kv", "3.kv"]
    assert not reserve.is_low
    reserve.check_space(0)
    with pytest.raises(DiskFull, match="52 MB of it stay free"):
        reserve.check_space(1)
    reserve.check()
