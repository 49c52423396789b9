"""Pictures in memory that another process has to open."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.media.picture_files import PictureMemory
from app.media.pictures import Picture

PICTURE = Picture(2, 1, "image/png", b"pixels" * 100_000, b"small", "a" * 64)


@pytest.mark.parametrize("has_memory_files", [True, False])
def test_a_picture_in_memory_is_opened_until_it_is_removed(
    has_memory_files: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """macOS has no files in memory, so a temporary one serves there."""
    if has_memory_files and not hasattr(os, "memfd_create"):
        pytest.skip("this system has none")
    if not has_memory_files:
        monkeypatch.delattr(os, "memfd_create", raising=False)
    kept = PictureMemory()
    assert kept.path(PICTURE.digest, PICTURE.media_type) is None
    kept.put(PICTURE)
    path = kept.path(PICTURE.digest, PICTURE.media_type)
    assert isinstance(path, Path)
    assert path.read_bytes() == PICTURE.data
    assert kept.path(PICTURE.digest, PICTURE.media_type) == path
    if not has_memory_files:
        assert path.stat().st_mode & 0o077 == 0
    kept.remove(PICTURE.digest)
    assert not path.exists()
