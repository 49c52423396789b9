"""Data folders that earlier versions made open in this one, and nothing in them is lost.

`tests/recorded/record.py` made one of each schema, with the last version that had it. This is the
short form of `python -m tests.prove --only upgrade`, which also kills upgrades.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.server import ROOT
from tests.recorded.opening import MANIFESTS, assert_opens, unpack

NEVER_RELEASED = {4}
"""Schemas that came only together with the next one: no version had them."""


def test_every_earlier_schema_is_recorded() -> None:
    """Check all but the newest, whose last commit may be still to come."""
    newest = len(list((ROOT / "migrations").glob("*.sql")))
    recorded = {int(path.stem.removeprefix("schema-")) for path in MANIFESTS}
    assert set(range(1, newest)) - NEVER_RELEASED - recorded == set()


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
async def test_opening_a_recorded_folder_loses_nothing(path: Path, tmp_path: Path) -> None:
    unpack(path.with_suffix(".tar.xz"), tmp_path)
    await assert_opens(json.loads(path.read_text()), tmp_path)
