"""Input of programs for a model: messages as turns that any model can read, texts and token ids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from app.errors import ApiError
from app.models.model import Role, Turn, join_turns

# Messages, in whichever role, as turns.


ROLES: Final[Mapping[str, Role]] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "user",
    "function": "user",
}
RoleName = Annotated[str, Meta(extra_json_schema={"enum": list(ROLES)})]
_TOOLS: Final = frozenset({"tool", "function"})


class CalledFunction(msgspec.Struct):
    """arguments: JSON as text, or as it is."""

    name: str
    arguments: str | dict[str, Any] | None = None


class SentToolCall(msgspec.Struct):
    function: CalledFunction


def turn(role: str, text: str, calls: Sequence[SentToolCall] = (), param: str = "messages") -> Turn:
    """Make a turn, with calls and results of tools in its text, as most models were trained on.

    Raises ApiError.
    """
    if role not in ROLES:
        known = ", ".join(ROLES)
        raise ApiError(f"Unknown role “{role}”. Use one of: {known}.", param=param)
    if role in _TOOLS:
        text = f"<tool_response>\n{text}\n</tool_response>"
    parts = [text] if text else []
    return Turn(ROLES[role], "\n".join([*parts, *map(_called, calls)]))


def _called(call: SentToolCall) -> str:
    name, arguments = call.function.name, call.function.arguments
    if not isinstance(arguments, str):
        arguments = msgspec.json.encode(arguments or {}).decode()
    quoted = msgspec.json.encode(name).decode()
    return f'<tool_call>\n{{"name": {quoted}, "arguments": {arguments or "{}"}}}\n</tool_call>'


def split_opening(turns: Sequence[Turn]) -> tuple[tuple[Turn, ...], str]:
    """Split off the answer that stands last, which is to be continued. Raises ApiError."""
    if not turns or turns[-1].role != "assistant":
        return _merge_roles(turns), ""
    if len(turns) > 1 and turns[-2].role == "assistant":
        raise ApiError(
            "The last two messages are the assistant's; only one answer can be continued.",
            param="messages",
        )
    return _merge_roles(turns[:-1]), turns[-1].content


def _merge_roles(turns: Iterable[Turn]) -> tuple[Turn, ...]:
    """Merge turns that follow each other in the same role, as a chat of the page does: many
    templates insist that roles alternate. An answer without text is left out."""
    made: list[Turn] = []
    for one in turns:
        if one.role == "assistant" and not one.content:
            continue
        if made and made[-1].role == one.role:
            made.append(join_turns(made.pop(), one))
        else:
            made.append(one)
    return tuple(made)


# A text or token ids, or several of them.


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
"""Several, of which no text is empty."""
Prompt = str | tuple[int, ...]
"""A text, or token ids."""


def prompts(given: str | list[Any], param: str) -> list[Prompt]:
    """List the prompts of a request. Raises ApiError."""
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
    """Tell token ids, also of programs that have no whole numbers and send 40.0."""
    if isinstance(value, float):
        return value.is_integer() and 0 <= value < 2**31
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31
