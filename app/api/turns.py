"""The messages of a program as turns that any model can read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from app.errors import ApiError
from app.models.model import Role, Turn

ROLES: Final[Mapping[str, Role]] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "user",
    "function": "user",
}
RoleName = Annotated[str, Meta(extra_json_schema={"enum": list(ROLES)})]
TOOLS: Final = frozenset({"tool", "function"})


class CalledFunction(msgspec.Struct):
    """arguments: JSON as text, or as it is."""

    name: str
    arguments: str | dict[str, Any] | None = None


class ToolCall(msgspec.Struct):
    function: CalledFunction


def turn(role: str, text: str, calls: Sequence[ToolCall] = (), param: str = "messages") -> Turn:
    """Make a turn, with calls and results of tools in its text as most models were trained
    on. Raises ApiError."""
    if role not in ROLES:
        known = ", ".join(ROLES)
        raise ApiError(f"A message cannot be by “{role}”; it is by {known}.", param=param)
    if role in TOOLS:
        text = f"<tool_response>\n{text}\n</tool_response>"
    parts = [text] if text else []
    return Turn(ROLES[role], "\n".join([*parts, *map(_called, calls)]))


def _called(call: ToolCall) -> str:
    name, arguments = call.function.name, call.function.arguments
    if not isinstance(arguments, str):
        arguments = msgspec.json.encode(arguments or {}).decode()
    said = msgspec.json.encode(name).decode()
    return f'<tool_call>\n{{"name": {said}, "arguments": {arguments or "{}"}}}\n</tool_call>'


def split_opening(turns: Sequence[Turn]) -> tuple[tuple[Turn, ...], str]:
    """The turns, and the answer that stands last: it is one to go on with. Raises ApiError."""
    if not turns or turns[-1].role != "assistant":
        return joined(turns), ""
    if len(turns) > 1 and turns[-2].role == "assistant":
        raise ApiError(
            "The last two messages are the assistant's; only one answer can be continued.",
            param="messages",
        )
    return joined(turns[:-1]), turns[-1].content


def joined(turns: Iterable[Turn]) -> tuple[Turn, ...]:
    """Turns that follow each other in the same role become one, as in a chat of the page: many
    templates insist that roles alternate. An answer without text is left out."""
    made: list[Turn] = []
    for one in turns:
        if one.role == "assistant" and not one.content:
            continue
        if made and made[-1].role == one.role:
            text = "\n\n".join(filter(None, (made.pop().content, one.content)))
            made.append(Turn(one.role, text, one.thought))
        else:
            made.append(one)
    return tuple(made)
