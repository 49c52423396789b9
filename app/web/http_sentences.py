"""What the framework refuses, in our words."""

from __future__ import annotations

from typing import Final

from werkzeug.exceptions import HTTPException

from app.web.body_limits import format_size, max_body_bytes

_SENTENCES: Final = {
    400: "Wick did not understand this request.",
    404: "There is nothing at this address.",
    405: "This address does not take requests of this kind.",
    408: "The rest of this request did not come in time. Please send it again.",
    415: "Wick does not take content of this kind here.",
    416: "This part of the file does not exist.",
}


def http_error_message(error: HTTPException, path: str) -> str:
    """What was written for this error, or else what is usual for its status."""
    if error.description and error.description != type(error).description:
        return error.description
    if error.code == 413:
        limit = format_size(max_body_bytes(path))
        return f"This is too large: at most {limit} can be sent to this address at once."
    return _SENTENCES.get(error.code or 500) or error.description or error.name
