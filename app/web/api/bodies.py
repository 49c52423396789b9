"""What programs send and are sent: JSON, checked against the shape that is documented."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
from quart import Response, request

from app.errors import ApiError

T = TypeVar("T")
_PLACE = re.compile(r" - at (?:key in )?`\$\.?([^`]*)`$")


async def read(kind: type[T]) -> T:
    """The body of this request, where none is one without fields. Fields that are not known are
    passed over. Raises ApiError."""
    data = await request.get_data(as_text=False) or b"{}"
    try:
        # Not strict, because some programs have no whole numbers and send 40.0, or send "40".
        return msgspec.json.decode(data, type=kind, strict=False)
    except msgspec.ValidationError as error:
        raise _explained(str(error)) from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise ApiError(f"The body of this request is not JSON: {error}.") from error


def _explained(text: str) -> ApiError:
    """What is wrong with a field, and its name."""
    place = _PLACE.search(text)
    sentence = text.removesuffix(place[0]) if place else text
    missing = re.fullmatch(r"Object missing required field `(\w+)`", sentence)
    param = ".".join(filter(None, (place[1] if place else "", missing[1] if missing else "")))
    return ApiError(f"{sentence}{f' for {param}' if place else ''}.", param=param or None)


def answer(content: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status=status, content_type="application/json")


def one_of(value: str, allowed: Sequence[str], name: str) -> str:
    """Raises ApiError."""
    if value not in allowed:
        raise ApiError(f"{name} must be one of {', '.join(allowed)}.", param=name)
    return value
