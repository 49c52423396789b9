"""What stands before an answer or a vector: a text or token ids, or several of them."""

from __future__ import annotations

from typing import Annotated, Any, Final

from msgspec import Meta

from app.errors import ApiError

MAX_PROMPTS: Final = 2048
_ID: Final = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}
_IDS: Final = {"type": "array", "items": _ID, "minItems": 1}
Several = Annotated[
    list[Any],
    Meta(
        extra_json_schema={
            "minItems": 1,
            "anyOf": [
                {"items": {"type": "string"}, "maxItems": MAX_PROMPTS},
                {"items": _ID},
                {"items": _IDS, "maxItems": MAX_PROMPTS},
            ],
        }
    ),
]
Prompt = str | tuple[int, ...]
"""A text, or token ids."""


def prompts(given: str | list[Any], param: str) -> list[Prompt]:
    """Each of them. Raises ApiError."""
    if isinstance(given, str):
        return [given]
    if given and all(_is_id(one) for one in given):
        return [tuple(given)]
    if len(given) > MAX_PROMPTS:
        raise ApiError(f"{param} takes at most {MAX_PROMPTS:,} texts at once.", param=param)
    return [_one(place, one, param) for place, one in enumerate(given)]


def _one(place: int, given: Any, param: str) -> Prompt:
    if isinstance(given, str):
        return given
    if isinstance(given, list) and given and all(_is_id(one) for one in given):
        return tuple(given)
    raise ApiError(
        f"{param} takes a text, a list of texts, a list of token ids, or a list of such lists.",
        param=f"{param}[{place}]",
    )


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31
