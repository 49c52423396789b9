"""Limits of request bodies, by address."""

from __future__ import annotations

from typing import Final

from app.conversations.imports.reader import MAX_FILE_BYTES

MIB: Final = 1 << 20
DEFAULT_BYTES: Final = MIB
IMPORT_PATH: Final = "/exchange/import"
_BY_PATH: Final = {
    "/v1/chat/completions": 8 * MIB,
    "/v1/completions": 16 * MIB,
    "/v1/embeddings": 16 * MIB,
    "/api/chat": 8 * MIB,
    "/api/generate": 8 * MIB,
    "/api/embed": 16 * MIB,
    "/api/embeddings": 16 * MIB,
    IMPORT_PATH: MAX_FILE_BYTES + MIB,
}


def max_body_bytes(path: str) -> int:
    """Return the limit, which holds for an inflated body too."""
    return _BY_PATH.get(path, DEFAULT_BYTES)


def format_size(size: int) -> str:
    return f"{size >> 20} MiB"
