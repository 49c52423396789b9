"""The columns of a message: what each holds, and which surfaces have it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

MAX_COUNT: Final = 10**9
MAX_SECONDS: Final = 10**8
MAX_TEXT_CHARS: Final = 2_000_000


@dataclass(frozen=True, slots=True)
class MessageColumn:
    """One column. `is_result`: it says how a run of the model went, and is saved when that ends;
    in_api: objects for programs have it; in_files: exports and imports have it."""

    kind: type[int] | type[float] | type[str] = str
    """Type of a result."""
    is_result: bool = False
    in_api: bool = True
    in_files: bool = True
    maximum: int = MAX_TEXT_CHARS
    """The largest number, or the most characters, that an import takes over."""
    choices: tuple[str, ...] = ()
    """The only texts that an import takes over; empty for any."""


def column(*, in_api: bool = True, in_files: bool = True, **more: Any) -> Any:
    """A field of a message that the code saves and reads by name."""
    return field(metadata={"column": MessageColumn(in_api=in_api, in_files=in_files)}, **more)


def count_result(maximum: int = MAX_COUNT) -> Any:
    """A whole number that a run of the model ends with."""
    return _result(int, maximum=maximum)


def seconds_result(maximum: int = MAX_SECONDS) -> Any:
    """A time in seconds that a run of the model ends with."""
    return _result(float, maximum=maximum)


def text_result(*choices: str, maximum: int = MAX_TEXT_CHARS) -> Any:
    """A text that a run of the model ends with."""
    return _result(str, maximum=maximum, choices=choices)


def local_count_result() -> Any:
    """A whole number that a run ends with and that means nothing elsewhere."""
    row = MessageColumn(int, is_result=True, in_files=False)
    return field(default=0, metadata={"column": row})


def columns_of(record: type[Any]) -> Mapping[str, MessageColumn]:
    """The columns of a table, by name. A field without a row of its own is on every surface."""
    return {one.name: one.metadata.get("column", MessageColumn()) for one in fields(record)}


def _result(kind: type[int] | type[float] | type[str], **more: Any) -> Any:
    row = MessageColumn(kind, is_result=True, **more)
    return field(default=None, metadata={"column": row})
