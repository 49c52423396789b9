"""Extras of Wick: libraries that voice and pictures need, and that are installed when wanted."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from typing import Final

from app.errors import MediaNotSetUp


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
