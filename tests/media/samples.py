"""Pictures and sounds for tests."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import soundfile
from PIL import Image, ImageDraw, ImageFont


def drawn(width: int = 60, height: int = 40) -> Image.Image:
    """White, with a red corner at the top left."""
    image = Image.new("RGB", (width, height), "white")
    ImageDraw.Draw(image).rectangle((0, 0, width // 3, height // 3), fill=(220, 0, 0))
    return image


def encoded(image: Image.Image | None = None, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    (image or drawn()).save(file, kind, **options)
    return file.getvalue()


def written(text: str, size: int = 32) -> Image.Image:
    """Black text on white."""
    image = Image.new("RGB", (640, 480), "white")
    ImageDraw.Draw(image).multiline_text((20, 20), text, "black", _font(size), spacing=size // 2)
    return image


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """DejaVu, which has umlauts, or else the one that Pillow has."""
    try:
        return ImageFont.truetype("DejaVuSans.ttf", size)
    except OSError:
        return ImageFont.load_default(size)


HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAchtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAA"
    "AAAAAAAAADRpbG9jAAAAAERAAAIAAQAAAAAB7AABAAAAAAAAACkAAgAAAAACFQABAAAAAAAAACQAAAA4aWluZgAAAAAA"
    "AgAAABVpbmZlAgAAAAABAABodmMxAAAAABVpbmZlAgAAAQACAABFeGlmAAAAAA5waXRtAAAAAAABAAABB2lwcnAAAADm"
    "aXBjbwAAAHZodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQAq"
    "QgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbq5Ka5uAhoMCAAAAMDIAAAAwAhYgABAAZEAcFzwIkAAAATY29scm5jbHgAAQAN"
    "AAaAAAAAFGlzcGUAAAAAAAAAQAAAAEAAAAAoY2xhcAAAADAAAAABAAAAIAAAAAH////wAAAAAv///+AAAAACAAAAEHBp"
    "eGkAAAAAAwgICAAAAAlpcm90AwAAABlpcG1hAAAAAAAAAAEAAQaBAgMFhIYAAAAaaXJlZgAAAAAAAAAOY2RzYwACAAEA"
    "AQAAAFVtZGF0AAAAJSgBrxOA5TH3/9uDRB0+oPkZLBKy7D3/nt8uYu7+EsPrKKPac/AAAAAGRXhpZgAATU0AKgAAAAgA"
    "AQESAAMAAAABAAYAAAAAAAA="
)
"""As phones make it: 48 × 32 pixels, blue on the left and red on the right, to be turned."""


def tone(seconds: float, hertz: int = 440, kind: str = "WAV") -> bytes:
    """A pure tone as a file, at 16 kHz."""
    times = np.arange(round(16_000 * seconds)) / 16_000
    file = io.BytesIO()
    soundfile.write(file, np.sin(2 * np.pi * hertz * times) / 2, 16_000, format=kind)
    return file.getvalue()
