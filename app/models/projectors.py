"""Projectors: GGUF files that lie beside a model's weights and let it see pictures, or hear.

Their names hold `mmproj`. Several may lie beside a model, which differ in the type of their numbers
only.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from app.errors import ModelError, ModelFileError, ModelUnsupported
from app.models.gguf.header import Header
from app.models.gguf.reader import model_stem, read_header
from app.models.model import Model, Projector

MARK: Final = "mmproj"
FILE: Final = "mmproj.gguf"
"""Its name in the folder of a model of the store."""
ARCHITECTURE: Final = "clip"
PREFERRED: Final = ("f16", "q8_0", "bf16", "f32")
"""The types of numbers: what is exact enough and read quickest by every processor comes first."""
MAX_SIZES: Final = {
    "image_size": 16_384,
    "patch_size": 1_024,
    "embedding_length": 65_536,
    "block_count": 1_000,
    "attention.head_count": 1_024,
}
_CHUNK_BYTES: Final = 4 << 20
_KIND: Final = re.compile(r"(?<![a-z])(?:ud-)?(i?q[0-9]\w*|bf16|f16|f32|fp16|mxfp4)(?![0-9])")


def is_projector_name(name: str) -> bool:
    name = name.lower()
    return MARK in name and name.endswith(".gguf")


def ranked(names: Iterable[str], model: str) -> list[str]:
    """List the projectors among the files beside `model` that may be its own, the best first."""
    core = _core(model)
    own = [name for name in names if is_projector_name(name) and _belongs(_core(name), core)]
    return sorted(own, key=rank)


def find_beside(weights: Path) -> Path | None:
    """Find the projector of a model in the folder of its file.

    Where other models lie in that folder, too, it must be named after this one.
    """
    try:
        names = [path.name for path in weights.parent.iterdir() if path.is_file()]
    except OSError:
        return None
    ggufs = [name for name in names if name.lower().endswith(".gguf")]
    models = {model_stem(name) for name in ggufs if not is_projector_name(name)}
    found = sorted(filter(is_projector_name, ggufs), key=rank)
    if len(models) > 1:
        found = [name for name in ranked(ggufs, weights.name) if _core(name)]
    return weights.with_name(found[0]) if found else None


def find_in(path: Path, model: Model) -> Path:
    """Find the projector that somebody named: a file, or the best one of a folder.

    Raises ModelFileError.
    """
    if not path.is_dir():
        return path
    names = [file.name for file in path.iterdir() if is_projector_name(file.name)]
    named = ranked(names, model.title) or ranked(names, model.name)
    if not (named or len(names) == 1):
        raise ModelFileError(f"There is no projector for {model.title} in {path}.")
    return path / (named or names)[0]


def ensure_belongs(projector: Header, model: Header, title: str) -> None:
    """Refuse a projector whose rows have another width than the model's. Raises ModelUnsupported.

    Its last matrix makes rows of a model's width, whatever it is called.
    """
    width = model.integer(f"{model.text('general.architecture')}.embedding_length")
    last = [tensor for tensor in projector.tensors if not tensor.name.startswith(("v.", "a."))]
    widths = {size for tensor in last or projector.tensors for size in tensor.shape}
    if width is not None and width not in widths:
        raise ModelUnsupported(
            f"{projector.path.name} belongs to another model than {title}, whose rows have "
            f"{width} numbers."
        )


def read_projector(path: Path) -> Header:
    """Read the header of a projector. Raises ModelFileError or ModelUnsupported."""
    header = read_header(path)
    if header.text("general.architecture") != ARCHITECTURE:
        raise ModelUnsupported(f"{path.name} is no projector for pictures or sound.")
    if not header.tensors or not (sees(header) or hears(header)):
        raise ModelFileError(f"{path.name} is damaged: it says nothing about pictures or sound.")
    if sees(header):
        _check_sizes(header)
    return header


def _check_sizes(header: Header) -> None:
    """Check what the library divides by, or makes memory of. Raises ModelFileError."""
    sizes = {name: header.integer(f"clip.vision.{name}") for name in MAX_SIZES}
    for name, value in sizes.items():
        least = 1 if name in ("image_size", "patch_size") else 0  # not all have layers or heads
        if value is None or not least <= value <= MAX_SIZES[name]:
            raise ModelFileError(
                f"{header.path.name} is damaged: its “clip.vision.{name}” is {value}."
            )
    if (sizes["image_size"] or 0) < (sizes["patch_size"] or 0):
        raise ModelFileError(
            f"{header.path.name} is damaged: its patches are larger than pictures."
        )


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


def rank(name: str) -> tuple[int, int, str]:
    """Order projectors of one model: the best type of numbers first, then the shortest name."""
    kind = name_kind(name)
    return PREFERRED.index(kind) if kind in PREFERRED else len(PREFERRED), len(name), name


def name_kind(name: str) -> str:
    """Read the type of its numbers from a projector's name, such as f16; empty for none."""
    found = _KIND.findall(name.lower().removesuffix(".gguf"))
    return str(found[-1]) if found else ""


def _core(name: str) -> str:
    """Return what a name says of the model itself, without its type and what kind of file it is."""
    stem = _KIND.sub("", model_stem(name).lower()).replace(MARK, "")
    core = re.sub(r"[^0-9a-z]", "", stem)
    return "" if core == "model" else core


def _belongs(projector: str, model: str) -> bool:
    return projector in model or model in projector
