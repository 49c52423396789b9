"""Projectors: GGUF files that lie beside a model's weights and let it see pictures, or hear.

Their names hold `mmproj`. Several may lie beside a model, which differ in the type of their numbers
only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from app.errors import ModelError, ModelFileError, ModelUnsupported
from app.models.gguf.header import Header
from app.models.gguf.reader import read_header
from app.models.model import Projector

MARK: Final = "mmproj"
FILE: Final = "mmproj.gguf"
"""Its name in the folder of a model of the store."""
ARCHITECTURE: Final = "clip"
PREFERRED: Final = ("f16", "q8_0", "bf16", "f32")
"""The types of numbers: what is exact enough and read quickest by every processor comes first."""
_CHUNK_BYTES: Final = 4 << 20


def is_projector_name(name: str) -> bool:
    name = name.lower()
    return MARK in name and name.endswith(".gguf")


def best_name(names: Iterable[str]) -> str | None:
    """Choose among the files of one model the projector to take; None where there is none."""
    return min(filter(is_projector_name, names), key=_rank, default=None)


def find_beside(weights: Path) -> Path | None:
    """Find the projector in the folder of a model's file, where it holds no other model's."""
    try:
        names = [path.name for path in weights.parent.iterdir() if path.is_file()]
    except OSError:
        return None
    name = best_name(names)
    return None if name is None else weights.with_name(name)


def read_projector(path: Path) -> Header:
    """Read the header of a projector. Raises ModelFileError or ModelUnsupported."""
    header = read_header(path)
    if header.text("general.architecture") != ARCHITECTURE:
        raise ModelUnsupported(f"{path.name} is no projector for pictures or sound.")
    if not header.tensors or not (sees(header) or hears(header)):
        raise ModelFileError(f"{path.name} is damaged: it says nothing about pictures or sound.")
    return header


def sees(header: Header) -> bool:
    return header.metadata.get("clip.has_vision_encoder") is True


def hears(header: Header) -> bool:
    return header.metadata.get("clip.has_audio_encoder") is True


def describe(path: Path) -> Projector:
    """Describe the projector that was put into a model's folder. Raises ModelError."""
    header = read_projector(path)
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
    except OSError as error:
        raise ModelError(f"{path.name} cannot be read: {error.strerror}.") from error
    size = path.stat().st_size
    return Projector(path.name, size, digest.hexdigest(), sees=sees(header), hears=hears(header))


def _rank(name: str) -> tuple[int, int, str]:
    stem = name.lower()
    found = [place for place, kind in enumerate(PREFERRED) if _has(stem, kind)]
    return min(found, default=len(PREFERRED)), len(name), name


def _has(stem: str, kind: str) -> bool:
    before = stem.find(kind)
    return before >= 0 and not (kind == "f16" and stem[before - 1 : before] == "b")
