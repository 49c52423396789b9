"""Tools as a model is told of them, and the calls that it writes."""

from __future__ import annotations

from dataclasses import dataclass


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
