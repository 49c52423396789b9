"""Tries a projector in a process of its own: `python -m ...pictures.trial MODEL FILE`.

The library asserts where a file's sizes do not fit each other, which ends the process, and with a
runner all answers of its model. So a projector is tried before a runner opens it: it is loaded,
and something is cut up and encoded for some seconds at most. Already the first operation comes
behind the whole plan of the computation, where most asserts are. What passed is noted beside the
model, for this build of the library.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from app.errors import ModelLoadError
from app.inference.runner.engines.engine import EngineError, StepInterrupted
from app.inference.runner.engines.llama_library import library_identity
from app.inference.runner.engines.llama_native import NativeLlama
from app.inference.runner.engines.mtmd_native import (
    SAMPLE_BYTES,
    SAMPLE_RATE,
    Chunk,
    NativePicture,
    NativeProjector,
    ProjectorError,
    RowsChunk,
)
from app.models.model import Projector

NOTE: Final = "projector-tried.json"
"""File in the model's folder that says what was tried."""
SECONDS: Final = 120.0
CPU_SECONDS: Final = 60
TRIED_SIZES: Final = ((64, 64), (1600, 1200))
"""Of pictures: one chunk, and many."""
TRIED_SECONDS: Final = (1, 40)
"""Of sounds: one chunk, and several."""
ENCODING_SECONDS: Final = 3.0
REFUSED: Final = 3
MAX_REASON_BYTES: Final = 1000


def ensure_usable(weights: Path, path: Path, projector: Projector) -> None:
    """Try a projector that was not tried yet. Raises ProjectorError."""
    note = path.with_name(NOTE)
    wanted = {"digest": projector.digest, "library": library_identity()}
    with contextlib.suppress(OSError, ValueError):
        if json.loads(note.read_text(encoding="utf-8")) == wanted:
            return
    try_projector(weights, path)
    with contextlib.suppress(OSError):  # it is tried once more then
        note.write_text(json.dumps(wanted), encoding="utf-8")


def try_projector(weights: Path, path: Path) -> None:
    """Raises ProjectorError with the library's reason, or one for a process that it ended."""
    command = [sys.executable, "-m", __name__, str(weights), str(path)]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ProjectorError("The model's projector cannot be used: it took too long.") from error
    if done.returncode == REFUSED:
        raise ProjectorError(done.stdout[:MAX_REASON_BYTES].decode("utf-8", "replace").strip())
    if done.returncode:
        raise ProjectorError(
            "The model's projector cannot be used: it is damaged, or of a kind that llama.cpp "
            "does not know well."
        )


def main() -> None:
    result = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # native code may print
    os.putenv("GGML_NO_BACKTRACE", "1")  # a debugger would make it, and take seconds
    _confine()
    try:
        _use(Path(sys.argv[1]), Path(sys.argv[2]))
    except (ProjectorError, EngineError, ModelLoadError) as error:
        result.write(str(error))
        result.flush()
        os._exit(REFUSED)
    os._exit(0)


def _use(weights: Path, path: Path) -> None:
    model = NativeLlama(weights, lambda done: None, vocab_only=True)
    projector = NativeProjector(path, model)
    for width, height in TRIED_SIZES if projector.sees else ():
        picture = projector.open_picture(width, height, bytes(3 * width * height))
        _encode(projector, picture, projector.layout(width, height))
    for seconds in TRIED_SECONDS if projector.hears else ():
        samples = seconds * SAMPLE_RATE
        sound = projector.open_sound(samples, bytes(SAMPLE_BYTES * samples))
        _encode(projector, sound, projector.sound_layout(samples))


def _encode(projector: NativeProjector, picture: NativePicture, layout: Sequence[Chunk]) -> None:
    """Encode the first rows, for some seconds at most."""
    end = time.monotonic() + ENCODING_SECONDS
    found = ((number, chunk) for number, chunk in enumerate(layout) if isinstance(chunk, RowsChunk))
    if (first := next(found, None)) is not None:
        with contextlib.suppress(StepInterrupted):
            projector.encode(picture, first[0], first[1].rows, 1, lambda: time.monotonic() < end)
    picture.close()


def _confine() -> None:
    with contextlib.suppress(ImportError):  # not on Windows
        import resource

        for which, most in ((resource.RLIMIT_CPU, CPU_SECONDS), (resource.RLIMIT_CORE, 0)):
            with contextlib.suppress(OSError, ValueError):
                resource.setrlimit(which, (most, most))
        os.nice(5)


if __name__ == "__main__":
    main()
