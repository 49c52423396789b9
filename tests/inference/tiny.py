"""The tiny real model, installed once for all tests of a run."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

from app.models.model import Model
from app.models.store import ModelStore
from tests.tiny_gguf import Flavour, write_tiny_gguf

CONTEXT = 256


@cache
def tiny_model(flavour: Flavour = "bpe") -> Model:
    folder = Path(tempfile.mkdtemp(prefix="wick-tiny-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return ModelStore(folder / "store").install(
        write_tiny_gguf(folder / "tiny.gguf", flavour=flavour), "tiny"
    )
