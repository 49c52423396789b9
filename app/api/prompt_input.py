"""Prompts of programs: a text or token ids, or several of them."""

from __future__ import annotations

from typing import Annotated, Any, Final

from msgspec import Meta

from app.errors import ApiError

MAX_PROMPTS: Final = 2048
_ID: Final = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}
_IDS: Final = {"type": "array", "items": _ID, "minItems": 1}


def _several(text: dict[str, Any]) -> dict[str, Any]:
    """The schema of a list of these, or of token ids."""
    texts = {"items": text, "maxItems": MAX_PROMPTS}
    lists = {"items": _IDS, "maxItems": MAX_PROMPTS}
    return {"minItems": 1, "anyOf": [texts, {"items": _ID}, lists]}


Several = Annotated[list[Any], Meta(extra_json_schema=_several({"type": "string"}))]
SeveralFilled = Annotated[
    list[Any], Meta(extra_json_schema=_several({"type": "string", "minLength": 1}))
]
"""The same of texts that are not empty."""
Prompt = str | tuple[int, ...]
"""A text, or token ids."""


def prompts(given: str | list[Any], param: str) -> list[Prompt]:
    """Each of them. Raises ApiError."""
    if isinstance(given, str):
        return [given]
    if given and all(_is_id(one) for one in given):
        return [tuple(map(int, given))]
    if len(given) > MAX_PROMPTS:
        raise ApiError(f"{param} takes at most {MAX_PROMPTS:,} texts at once.", param=param)
    return [_one(place, one, param) for place, one in enumerate(given)]


def _one(place: int, given: Any, param: str) -> Prompt:
    if isinstance(given, str):
        return given
    if isinstance(given, list) and given and all(_is_id(one) for one in given):
        return tuple(map(int, given))
    raise ApiError(
        f"{param} takes a text, a list of texts, a list of token ids, or a list of such lists.",
        param=f"{param}[{place}]",
    )


def _is_id(value: Any) -> bool:
    """Some programs have no whole numbers and send 40.0."""
    if isinstance(value, float):
        return value.is_integer() and 0 <= value < 2**31
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31
