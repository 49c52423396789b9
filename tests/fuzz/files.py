"""Hostile files, each a sound one that was damaged: models, pictures and documents."""

from __future__ import annotations

import functools
import io
import random
import tempfile
from pathlib import Path

from PIL import Image

from app.models.gguf.reader import read_header
from tests.documents.fuzz import FILES, damage, damage_parts
from tests.models.gguf.damage import damaged
from tests.tiny_gguf import write_tiny_gguf

PICTURES = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF")
TEXTS = {
    "page.html": b"<!DOCTYPE html><title>Fox</title><h1>Fox</h1><table><tr><td>1</td></tr></table>",
    "letter.eml": b"From: a@example.org\r\nSubject: Fox\r\nMIME-Version: 1.0\r\n"
    b'Content-Type: multipart/mixed; boundary="x"\r\n\r\n--x\r\n\r\nHello\r\n--x--\r\n',
    "notes.md": b"# Fox\n\n| a | b |\n|---|---|\n| 1 | 2 |\n",
    "table.csv": b"a,b\n1,2\n",
}


def model_file(chance: random.Random) -> bytes:
    """Damage the header of a model, or cut the file."""
    data, header = _model()
    return next(damaged(data, header, 1, chance.getrandbits(32)))


def picture(chance: random.Random) -> tuple[str, bytes]:
    kind = chance.choice(PICTURES)
    return f"picture.{kind.lower()}", damage(_picture(kind), chance)


def document(chance: random.Random) -> tuple[str, bytes]:
    name, data = chance.choice(_documents())
    is_zip = data.startswith(b"PK") and chance.random() < 0.7
    return name, (damage_parts if is_zip else damage)(data, chance)


@functools.cache
def _model() -> tuple[bytes, int]:
    with tempfile.TemporaryDirectory() as folder:
        path = write_tiny_gguf(Path(folder) / "tiny.gguf")
        return path.read_bytes(), read_header(path).data_offset


@functools.cache
def _picture(kind: str) -> bytes:
    file = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").resize((64, 48)).save(file, kind)
    return file.getvalue()


@functools.cache
def _documents() -> tuple[tuple[str, bytes], ...]:
    files = [(path.name, path.read_bytes()) for path in sorted(FILES.iterdir())]
    return (*files, *TEXTS.items())
