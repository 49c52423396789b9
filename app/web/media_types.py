"""Types of request bodies: JSON and forms."""

from __future__ import annotations

from typing import Final

FORM: Final = "application/x-www-form-urlencoded"


NOT_JSON: Final = "Send JSON in UTF-8 with the header Content-Type: application/json."


def is_json(mimetype: str) -> bool:
    """Return whether a body of this type is JSON. Without a type it is taken for that."""
    return mimetype in {"", "application/json"} or (
        mimetype.startswith("application/") and mimetype.endswith("+json")
    )
