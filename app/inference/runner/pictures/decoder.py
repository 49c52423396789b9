"""Decodes one stored picture: `python -m app.inference.runner.pictures.decoder FILE W H > PIXELS`.

The file is one that Wick has encoded itself, but it lay on a disk since. A decoder's fault must not
take a runner with it, on which several people's answers depend; so this is a process for one file,
with bounds on memory and time. Nothing is kept of the pixels, of which a large picture has 50 MB:
what a model made of them is kept instead (`encoder.py`).
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import numpy as np

from app.errors import PromptRefused
from app.models.model import TurnImage

WAV_HEADER_BYTES, WAV_SAMPLE_BYTES = 44, 2
MAX_PIXELS: Final = 4096 * 4096
MEMORY_BYTES: Final = 1 << 30
CPU_SECONDS: Final = 20
SECONDS: Final = 60.0
FORMATS: Final = ("PNG", "JPEG")


def read_media(image: TurnImage) -> bytes:
    """Read a picture's pixels, or a sound's samples as floats. Raises PromptRefused."""
    return read_samples(image) if image.is_sound else read_pixels(image)


def read_samples(image: TurnImage) -> bytes:
    """Read a sound's file, which has no more than samples behind its header: 32-bit floats.

    Raises PromptRefused.
    """
    size = WAV_HEADER_BYTES + WAV_SAMPLE_BYTES * image.samples
    try:
        with Path(image.path).open("rb") as file:
            data = file.read(size + 1)
    except OSError as error:
        raise PromptRefused("A sound of this message is gone.") from error
    if len(data) != size:
        raise PromptRefused("A sound of this message is damaged.")
    samples = np.frombuffer(data, "<i2", offset=WAV_HEADER_BYTES)
    return (samples.astype("<f4") / 32768).tobytes()


def read_pixels(image: TurnImage) -> bytes:
    """Decode a picture in another process; three bytes for each pixel. Raises PromptRefused."""
    if not 0 < image.width * image.height <= MAX_PIXELS:
        raise PromptRefused("A picture of this message has too many pixels.")
    command = [sys.executable, "-m", __name__, image.path, str(image.width), str(image.height)]
    expected = 3 * image.width * image.height
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PromptRefused("A picture of this message cannot be read.") from error
    if done.returncode or len(done.stdout) != expected:
        raise PromptRefused("A picture of this message is gone, or damaged.")
    return done.stdout


def main() -> None:
    path, width, height = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    result = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # native code may print
    from PIL import Image  # here and not above: a runner has no need of it

    _confine()
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    with Path(path).open("rb") as file, Image.open(file, formats=FORMATS) as image:
        if image.size != (width, height):
            sys.exit("The picture has another size.")
        result.write(image.convert("RGB").tobytes())
    result.flush()
    os._exit(0)


def _confine() -> None:
    """Take no more memory and time than a picture needs, and what others leave of the CPU."""
    with contextlib.suppress(ImportError):  # not on Windows
        import resource

        bounds = {
            resource.RLIMIT_AS: MEMORY_BYTES,
            resource.RLIMIT_CPU: CPU_SECONDS,
            resource.RLIMIT_FSIZE: 0,
            resource.RLIMIT_CORE: 0,
        }
        for which, most in bounds.items():
            with contextlib.suppress(OSError, ValueError):
                resource.setrlimit(which, (most, most))
        os.nice(5)


if __name__ == "__main__":
    main()
