"""Tools as a model is told of them, and the calls that it writes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool that may be called. parameters: the JSON schema of its arguments, an object, as
    text."""

    name: str
    description: str
    parameters: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that a model has written. arguments: a JSON object as text."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """More of a call. index: its number in the answer, from 0; id and name come once, with its
    first delta; arguments: more of their text."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


def merge_deltas(deltas: Iterable[ToolCallDelta]) -> tuple[ToolCallDelta, ...]:
    """One delta for each call of which there are some, as programs expect them."""
    merged: dict[int, ToolCallDelta] = {}
    for delta in deltas:
        so_far = merged.get(delta.index)
        merged[delta.index] = (
            delta
            if so_far is None
            else replace(
                so_far,
                id=so_far.id or delta.id,
                name=so_far.name or delta.name,
                arguments=so_far.arguments + delta.arguments,
            )
        )
    return tuple(merged.values())


def join_calls(deltas: Iterable[ToolCallDelta]) -> tuple[ToolCall, ...]:
    """The calls that deltas say, in the order in which they began."""
    merged = merge_deltas(deltas)
    return tuple(ToolCall(call.id, call.name, call.arguments) for call in merged)


def is_whole(call: ToolCall) -> bool:
    """True for a call whose arguments are an object, and not the beginning of one."""
    try:
        return isinstance(json.loads(call.arguments), dict)
    except (ValueError, RecursionError):
        return False
