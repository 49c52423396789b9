"""What programs send and are sent: JSON, checked against the shape that is documented."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Any, Final, TypeVar

import msgspec
from quart import Response, request
from werkzeug.exceptions import RequestEntityTooLarge, RequestTimeout

from app.errors import ApiError
from app.web.api.encoded import TooLarge, gather
from app.web.body_limits import MIB, max_body_bytes

T = TypeVar("T")
FORM: Final = "application/x-www-form-urlencoded"
NOT_JSON: Final = (
    "Send this as JSON, please: with the header Content-Type: application/json, in UTF-8."
)
HALF_CHARACTER: Final = (
    "A text in this request has half a character: \\ud800 to \\udfff stand in pairs only."
)
_HALF_CHARACTER = re.compile(
    rb"(?i)\\ud[89ab][0-9a-f]{2}(?!\\ud[c-f])|(?<!\\ud[89ab][0-9a-f]{2})\\ud[c-f][0-9a-f]{2}"
)
_PLACE = re.compile(r" - at (?:key in )?`\$\.?([^`]*)`$")


async def parse_body(kind: type[T]) -> T:
    """The body of this request, where none is one without fields. Fields that are not known are
    passed over. Raises ApiError."""
    data = await _body() or b"{}"
    try:
        # Not strict, because some programs have no whole numbers and send 40.0, or send "40".
        return msgspec.json.decode(data, type=kind, strict=False)
    except msgspec.ValidationError as error:
        raise _explained(str(error)) from error
    except UnicodeDecodeError as error:
        raise ApiError("The body of this request is not UTF-8.") from error
    except (msgspec.DecodeError, RecursionError) as error:
        if _HALF_CHARACTER.search(data):
            raise ApiError(HALF_CHARACTER) from error
        raise ApiError(f"The body of this request is not JSON: {error}.") from error


def is_json(mimetype: str) -> bool:
    """Whether a body of this type is JSON. Without a type it is taken for that."""
    return mimetype in {"", "application/json"} or (
        mimetype.startswith("application/") and mimetype.endswith("+json")
    )


async def _body() -> bytes:
    """All of it, inflated. Raises ApiError and HTTPException."""
    charset = request.mimetype_params.get("charset", "utf-8").lower().replace("_", "-")
    # Who shows a key may leave out the type, and curl then calls it a form.
    if not (is_json(request.mimetype) or request.mimetype == FORM):
        raise ApiError(NOT_JSON, status=415)
    if charset not in {"utf-8", "utf8", "us-ascii"}:
        raise ApiError(NOT_JSON, status=415)
    most = max_body_bytes(request.path)
    try:
        async with asyncio.timeout(_seconds(most)):
            return await gather(request.body, request.headers.get("Content-Encoding", ""), most)
    except TooLarge:
        raise RequestEntityTooLarge from None
    except TimeoutError:
        raise RequestTimeout from None


def _seconds(most: int) -> float | None:
    """In which a body has to come: the usual time for each MiB of what it may have."""
    return request.body_timeout and request.body_timeout * max(1, most // MIB)


def _explained(text: str) -> ApiError:
    """What is wrong with a field, and its name."""
    place = _PLACE.search(text)
    sentence = text.removesuffix(place[0]) if place else text
    missing = re.fullmatch(r"Object missing required field `(\w+)`", sentence)
    param = ".".join(filter(None, (place[1] if place else "", missing[1] if missing else "")))
    return ApiError(f"{sentence}{f' for {param}' if place else ''}.", param=param or None)


def json_response(content: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status=status, content_type="application/json")


def one_of(value: str, allowed: Sequence[str], name: str) -> str:
    """Raises ApiError."""
    if value not in allowed:
        raise ApiError(f"{name} must be one of {', '.join(allowed)}.", param=name)
    return value
