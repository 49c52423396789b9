"""Extras of Wick: libraries that voice and pictures need, and that are installed when wanted."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.metadata
import importlib.util
import re
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.errors import MediaFailed, MediaNotSetUp
from app.models.install.pypi import PROGRESS, explain_pip

CONSTRAINTS: Final = Path(__file__).parents[2] / "constraints.txt"
MAX_LINE_BYTES: Final = 64 << 10
LINES_KEPT: Final = 200
NOT_WRITABLE: Final = re.compile(
    r"externally-managed-environment|Permission denied|Read-only file system"
)
COLLECTING: Final = re.compile(r"Collecting ([\w.-]+)")


@dataclass(frozen=True, slots=True)
class Extra:
    """An extra of the package. modules: what can be imported once it is installed."""

    name: str
    title: str
    modules: tuple[str, ...]

    @property
    def command(self) -> str:
        """Command to type where Wick cannot install it."""
        return f"pip install 'wick[{self.name}]'"


EXTRAS: Final = {
    "voice": Extra("voice", "Voice to text", ("ctranslate2", "soundfile")),
    "ocr": Extra("ocr", "Text in pictures", ("rapidocr", "onnxruntime")),
    "mcp": Extra("mcp", "Tool servers", ("mcp",)),
}


class Extras:
    """Extras of this environment: what is installed, and what is missing."""

    def is_installed(self, name: str) -> bool:
        """Tell whether all modules of an extra can be imported."""
        importlib.invalidate_caches()
        return all(importlib.util.find_spec(module) is not None for module in EXTRAS[name].modules)

    def ensure(self, name: str) -> None:
        """Raises MediaNotSetUp unless the extra is installed."""
        if not self.is_installed(name):
            extra = EXTRAS[name]
            raise MediaNotSetUp(
                f"{extra.title} is not set up here. The owner can set it up on the page Models, "
                f"or by: {extra.command}"
            )

    async def install(self, name: str, notify: Callable[[str], None]) -> None:
        """Install an extra by pip into this environment; `notify` hears what it does.

        Raises MediaFailed with the reason. When cancelled, pip is ended first.
        """
        pip = await asyncio.create_subprocess_exec(
            *pip_command(requirements(name)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=MAX_LINE_BYTES,
        )
        lines: deque[str] = deque(maxlen=LINES_KEPT)
        try:
            await _follow(pip, lines, notify)
            code = await pip.wait()
        finally:
            with contextlib.suppress(ProcessLookupError):
                pip.kill()
            await pip.wait()
        if code or not self.is_installed(name):
            raise MediaFailed(f"It could not be installed: {_reason(lines, EXTRAS[name])}")


def requirements(name: str) -> list[str]:
    """List what an extra of the installed package needs, with versions."""
    given = importlib.metadata.requires("wick") or []
    marker = re.compile(rf"""\s*;\s*extra\s*==\s*['"]{name}['"]\s*$""")
    return [marker.sub("", line) for line in given if marker.search(line)]


def pip_command(wanted: list[str]) -> list[str]:
    """Make the command that installs these requirements, and nothing else of another version."""
    pinned = ["-c", str(CONSTRAINTS)] if CONSTRAINTS.exists() else []
    return [
        *(sys.executable, "-P", "-u", "-m", "pip", "install", "--progress-bar", "raw"),
        *("--no-input", "--disable-pip-version-check", "--only-binary", ":all:"),
        *("--upgrade-strategy", "only-if-needed", *pinned, *wanted),
    ]


async def _follow(
    pip: asyncio.subprocess.Process, lines: deque[str], notify: Callable[[str], None]
) -> None:
    assert pip.stdout is not None  # noqa: S101 - asked for a pipe
    package = ""
    while True:
        try:
            raw = await pip.stdout.readline()
        except ValueError:  # a line longer than the limit, which it drops
            continue
        if not raw:
            return
        line = raw.decode("utf-8", "replace").rstrip()
        if step := PROGRESS.match(line):
            done, total = int(step[1]) / 1e6, int(step[2]) / 1e6
            notify(f"downloading {package}, {done:,.0f} of {total:,.0f} MB")
            continue
        lines.append(line)
        if found := COLLECTING.match(line.strip()):
            package = found[1]
            notify(f"downloading {package}")
        elif line.startswith("Installing"):
            notify("installing")


def _reason(lines: deque[str], extra: Extra) -> str:
    if NOT_WRITABLE.search("\n".join(lines)):
        return f"Wick may not change its Python environment. Install it by: {extra.command}"
    return explain_pip(lines)
