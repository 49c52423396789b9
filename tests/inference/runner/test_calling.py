"""Calls that must come from a real model, which knows no tools: none is invalid.

`python -m tests.bench.forced_calls` forces more.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.forced_calls import SCHEMAS, force_calls


@pytest.mark.parametrize("engine", ["ctransformers"])
def test_no_forced_call_is_invalid(tmp_path: Path, engine: str) -> None:
    report = force_calls(engine, 4, tmp_path, in_a_row=1)
    assert report.invalid == []
    assert report.calls.total() >= 4


def test_there_are_forty_schemas() -> None:
    assert len(SCHEMAS) == 40
