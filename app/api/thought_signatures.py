"""Signatures of thoughts, which programs send back with the next request."""

from __future__ import annotations

import base64
import binascii
from typing import Final

SIGNED: Final = "wick."
"""How a signature of Wick's begins. Behind it stands the thought itself, in base64, so that it
comes back even from a client that was not shown it."""


def sign(thought: str) -> str:
    """Make the signature of a thought."""
    return SIGNED + base64.b64encode(thought.encode("utf-8", "replace")).decode()


def signed_thought(signature: str) -> str:
    """Return the thought of a signature; empty for another server's."""
    if not signature.startswith(SIGNED):
        return ""
    try:
        data = base64.b64decode(signature.removeprefix(SIGNED), validate=True)
    except (binascii.Error, ValueError):
        return ""
    return data.decode("utf-8", "replace")
