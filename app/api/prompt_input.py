"""Input of programs for a model: messages as turns that any model can read, texts and token ids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from app.errors import ApiError
from app.models.model import Role, Turn, join_turns
from app.models.text.tools import ToolCall

# Messages, in whichever role, as turns.


ROLES: Final[Mapping[str, Role]] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}
RoleName = Annotated[str, Meta(extra_json_schema={"enum": list(ROLES)})]


class CalledFunction(msgspec.Struct):
    """arguments: JSON as text, or as it is."""

    name: str
    arguments: str | dict[str, Any] | None = None


class SentToolCall(msgspec.Struct):
    """A call of an earlier answer. id: what its result refers to."""

    function: CalledFunction
    id: str | None = None


def turn(role: str, text: str, calls: Sequence[SentToolCall] = (), param: str = "messages") -> Turn:
    """Make a turn, with the calls of an answer. Raises ApiError."""
    if role not in ROLES:
        known = ", ".join(ROLES)
        raise ApiError(f"Unknown role “{role}”. Use one of: {known}.", param=param)
    if calls and ROLES[role] != "assistant":
        raise ApiError("Only the assistant's messages may have tool calls.", param=param)
    return Turn(ROLES[role], text, calls=tuple(map(_called, calls)))


def _called(call: SentToolCall) -> ToolCall:
    arguments = call.function.arguments
    if not isinstance(arguments, str):
        arguments = msgspec.json.encode(arguments or {}).decode()
    return ToolCall(call.id or "", call.function.name, arguments)


def match_results(turns: Sequence[Turn]) -> tuple[Turn, ...]:
    """Give every result the id and the name of its call, and every call an id: not all programs
    send them, but templates may want them."""
    made: list[Turn] = []
    waiting: list[ToolCall] = []
    for number, one in enumerate(turns):
        if one.calls:
            waiting = [
                call if call.id else replace(call, id=f"call{number:03}{place:02}")
                for place, call in enumerate(one.calls)
            ]
            made.append(replace(one, calls=tuple(waiting)))
        elif one.role == "tool" and (call := _call_of(one, waiting)) is not None:
            waiting = [other for other in waiting if other is not call]
            made.append(replace(one, call_id=call.id, tool=call.name))
        else:
            made.append(one)
    return tuple(made)


def _call_of(result: Turn, waiting: Sequence[ToolCall]) -> ToolCall | None:
    """The call that a result belongs to: by its id, else by its name, else the next one."""
    if result.call_id:
        return next((call for call in waiting if call.id == result.call_id), None)
    named = (call for call in waiting if call.name == result.tool)
    return next(named, next(iter(waiting), None))


def split_opening(turns: Sequence[Turn]) -> tuple[tuple[Turn, ...], str]:
    """Split off the answer that stands last, which is to be continued. Raises ApiError."""
    turns = match_results(turns)
    if not turns or turns[-1].role != "assistant":
        return _merge_roles(turns), ""
    if turns[-1].calls:
        raise ApiError("The tool calls of the last message have no results.", param="messages")
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
        if one.role == "assistant" and not one.content and not one.calls:
            continue
        if made and made[-1].role == one.role != "tool" and not made[-1].calls:
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
