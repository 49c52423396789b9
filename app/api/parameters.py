"""The generation parameters as fields of requests, made from their table for each protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from app.conversations.settings import STOP_CHARS, STOPS
from app.models.parameters import PARAMETERS, SETTINGS, Parameter, Protocol

_TYPES: Final[Mapping[str, Any]] = {"number": float, "integer": int, "text": str, "flag": bool}
_STOPS: Final = Annotated[
    list[Annotated[str, Meta(min_length=1, max_length=STOP_CHARS)]], Meta(max_length=STOPS)
]


def struct_of(name: str, protocol: Protocol | None) -> type[msgspec.Struct]:
    """A struct with the parameters that a protocol has, each optional; without a protocol those
    that can be chosen for a chat, by Wick's own names."""
    found = [_setting(row) for row in SETTINGS.values()] if protocol is None else _fields(protocol)
    fields = [
        (field, Annotated[kind | None, Meta(description=description)], None)
        for field, kind, description in found
    ]
    return msgspec.defstruct(name, fields, kw_only=True, module=__name__)


def chosen_in(values: Any, protocol: Protocol) -> dict[str, Any]:
    """Collect what a request chose, by the names of the table. `values`: this protocol's struct."""
    chosen = {}
    for name, row in PARAMETERS.items():
        wire = row.wire(protocol)
        value = None if wire is None else getattr(values, wire.name)
        if wire is not None and wire.decode is not None and value is not None:
            value = wire.decode(value)
        if value is not None:
            chosen[name] = value
    return chosen


def _fields(protocol: Protocol) -> list[tuple[str, Any, str]]:
    wires = [(row, row.wire(protocol)) for row in PARAMETERS.values()]
    return [
        (wire.name, _type(row, wire.limits), f"{row.help} {wire.note}".strip())
        for row, wire in wires
        if wire is not None
    ]


def _setting(row: Parameter) -> tuple[str, Any, str]:
    return row.name, _STOPS if row.kind == "texts" else _type(row, None), row.help


def _type(row: Parameter, limits: Mapping[str, Any] | None) -> Any:
    if row.kind == "texts":
        return str | Annotated[list[str], Meta(**(limits or {}))]
    if row.choices:
        return Literal[row.choices]
    if limits is None and row.is_number:
        limits = {"ge": row.minimum, "le": row.maximum}
    kind = _TYPES[row.kind]
    return Annotated[kind, Meta(**limits)] if limits else kind


if TYPE_CHECKING:

    class _Parameters(msgspec.Struct, kw_only=True):
        """Any parameter of the table."""

        def __getattr__(self, name: str) -> Any: ...

    class OpenAIParameters(_Parameters, kw_only=True): ...

    class OllamaParameters(_Parameters, kw_only=True): ...

    class AnthropicParameters(_Parameters, kw_only=True): ...

    class ResponsesParameters(_Parameters, kw_only=True): ...

    class SettingsParameters(_Parameters, kw_only=True): ...

else:
    OpenAIParameters = struct_of("OpenAIParameters", "openai")
    OllamaParameters = struct_of("OllamaParameters", "ollama")
    AnthropicParameters = struct_of("AnthropicParameters", "anthropic")
    ResponsesParameters = struct_of("ResponsesParameters", "responses")
    SettingsParameters = struct_of("SettingsParameters", None)
