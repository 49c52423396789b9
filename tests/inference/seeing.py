"""Tiny models that see, installed once for all tests of a run, and pictures for them."""

from __future__ import annotations

import atexit
import hashlib
import shutil
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from app.media.sounds import as_file
from app.models.model import Model, TurnImage
from app.models.store import ModelStore
from tests.tiny_projectors import write_projector, write_seeing_model


@cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="wick-seeing-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def seeing_model(kind: str) -> Model:
    folder = _folder() / kind
    folder.mkdir()
    weights = write_seeing_model(folder / "model.gguf", kind)
    projector = write_projector(folder / "mmproj-model.gguf", kind)
    return ModelStore(folder / "store").install(weights, "seeing", projector=projector)


@cache
def sound(seed: int = 0, samples: int = 16_000) -> TurnImage:
    """A sound in a file, as Wick holds them."""
    noise = np.random.default_rng(seed).uniform(-1, 1, samples) * 32767
    made = as_file(noise.astype("<i2").tobytes())
    path = _folder() / f"{seed}-{samples}.wav"
    path.write_bytes(made.data)
    return TurnImage(made.digest, str(path), 0, 0, samples=samples)


@cache
def picture(seed: int = 0, width: int = 100, height: int = 60) -> TurnImage:
    """A picture in a file, as Wick stores them."""
    path = _folder() / f"{seed}-{width}x{height}.png"
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return TurnImage(digest, str(path), width, height)
