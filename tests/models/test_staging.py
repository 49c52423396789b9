"""Folders of half-fetched files."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from app.errors import PullError
from app.models.staging import EXPIRE_SECONDS, empty, partial


def test_a_staging_folder_is_found_again_and_held_by_one_at_a_time(tmp_path: Path) -> None:
    with partial(tmp_path, "a") as folder:
        (folder / "x.part").write_bytes(b"1")
        with pytest.raises(PullError, match="already"), partial(tmp_path, "a"):
            pass
        with partial(tmp_path, "b") as other:
            assert other != folder
    with partial(tmp_path, "a") as again:
        assert (again / "x.part").read_bytes() == b"1"
        empty(again)
    assert list(tmp_path.iterdir()) == []


def test_a_staging_folder_is_forgotten_after_days(tmp_path: Path) -> None:
    folders = {}
    for name, age in (("old", EXPIRE_SECONDS + 60), ("new", EXPIRE_SECONDS - 60)):
        with partial(tmp_path, name) as folders[name]:
            (folders[name] / "x.part").write_bytes(b"1")
        then = time.time() - age
        for path in (*folders[name].iterdir(), folders[name]):
            os.utime(path, (then, then))
    with partial(tmp_path, "c"):
        pass
    assert list(tmp_path.iterdir()) == [folders["new"]]
