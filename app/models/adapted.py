"""The copy of a model that ctransformers loads, made of its original files when it is needed.

It may be deleted at any time: whoever needs it makes it again.
"""

from __future__ import annotations

import logging
import os
import tempfile
import time
from pathlib import Path
from typing import Final

from app.errors import ModelFileError
from app.models.disk import ensure_space, translate_disk_errors
from app.models.engines import LLAMA_CPP, available_engines
from app.models.gguf.compatibility import check_compatible
from app.models.gguf.convert import Progress, convert
from app.models.gguf.split import read_model_file
from app.models.model import Model

log = logging.getLogger(__name__)
UNFINISHED: Final = ".adapted-"
ABANDONED_SECONDS: Final = 3600.0
LARGE_BYTES: Final = 1 << 30
"""A larger model is likely to run on llama.cpp, so no room is set aside for its copy."""


def space_for_copy(size: int) -> int:
    """Bytes that the copy of a model of `size` bytes is expected to take."""
    return 0 if size > LARGE_BYTES and LLAMA_CPP in available_engines() else size


def is_adapted(model: Model) -> bool:
    """Tell whether the copy exists and is whole."""
    if not model.files:
        return True  # there is nothing else
    try:
        return model.weights_path.stat().st_size == model.adapted_size
    except OSError:
        return False


def ensure_adapted(model: Model, progress: Progress | None = None) -> Path:
    """The path of the copy, which is made where it is missing. Blocks: call it from a thread.

    Raises ModelError for files that are damaged or gone, and DiskFull.
    """
    if is_adapted(model):
        return model.weights_path
    file = read_model_file(model.original_paths[0])
    check_compatible(file.header)
    with translate_disk_errors():
        _clean(model.folder)
        ensure_space(model.folder, model.adapted_size)
        handle, name = tempfile.mkstemp(prefix=UNFINISHED, dir=model.folder)
        os.close(handle)
        unfinished = Path(name)
        try:
            convert(file, unfinished, progress)
            if unfinished.stat().st_size != model.adapted_size:
                raise ModelFileError(f"The file of {model.title} has changed since it came.")
            unfinished.chmod(0o644)
            unfinished.replace(model.weights_path)
        finally:
            unfinished.unlink(missing_ok=True)
    log.info("%s was made ready for ctransformers.", model.name)
    return model.weights_path


def remove_adapted(model: Model) -> None:
    """Free the disk of the copy, where the original is there to make it again."""
    if model.files:
        try:
            model.weights_path.unlink(missing_ok=True)
        except OSError as error:  # Windows keeps a file that is in use
            log.info("The copy of %s for ctransformers stays: %s.", model.name, error)


def _clean(folder: Path) -> None:
    """Remove what a crash left half made."""
    for path in folder.glob(f"{UNFINISHED}*"):
        if time.time() - path.stat().st_mtime > ABANDONED_SECONDS:
            path.unlink(missing_ok=True)
