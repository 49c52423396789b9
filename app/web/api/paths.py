"""Which addresses belong to programs, and in whose words they are answered."""

from __future__ import annotations

from typing import Final

OWN: Final = "/api/v1/"
OPENAI: Final = "/v1/"
OLLAMA: Final = "/api/"


def is_for_programs(path: str) -> bool:
    return path.startswith((OPENAI, OLLAMA))


def speaks_ollama(path: str) -> bool:
    return path.startswith(OLLAMA) and not path.startswith(OWN)
