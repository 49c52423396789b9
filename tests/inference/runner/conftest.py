from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.inference.runner.engines.ctransformers import CtransformersEngine
from tests.inference.tiny import CONTEXT, tiny_model


@pytest.fixture(scope="module")
def engine() -> Iterator[CtransformersEngine]:
    """Open the tiny model in ctransformers."""
    made = CtransformersEngine(tiny_model().weights_path, CONTEXT)
    yield made
    made.close()
