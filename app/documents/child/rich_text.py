"""RTF files, by striprtf."""

from __future__ import annotations

from collections.abc import Callable

from striprtf.striprtf import rtf_to_text

from app.documents.child.text import Pages
from app.documents.protocol import PageRead


def read(data: bytes, notify: Callable[[PageRead], None]) -> Pages:
    """Read the text; where pages begin is not in the file."""
    text: str = rtf_to_text(  # type: ignore[no-untyped-call]
        data.decode("cp1252", "replace"), errors="ignore"
    )
    return Pages([text], unit=None)
