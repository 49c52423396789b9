"""The filters and functions of chat templates, as transformers and Jinja2 have them, metered."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any, Final, Literal, NoReturn

from jinja2 import pass_context
from jinja2.filters import do_float, do_int, do_round
from jinja2.runtime import Context
from jinja2.utils import Namespace

from app.errors import TemplateError
from app.models.text.content_guard import GUARD
from app.models.text.render_budget import ITEM_CHARS, METER

MAX_RANGE: Final = 10_000
MAX_PLACES: Final = 20
MAX_DIGITS: Final = 100
MAX_REASON_CHARS: Final = 300
WIDE_FORMAT: Final = re.compile(r"\d{3}|\*|\{[^{}]*\{")
"""Format strings that can ask for much padding."""


class Items(list[Any]):
    """Sequence that a loop goes through, with a look at the clock in every round."""

    def __iter__(self) -> Iterator[Any]:
        for item in super().__iter__():
            METER.get().charge(0)
            yield item


def _paid(value: Iterable[Any]) -> Iterator[Any]:
    """The items one by one, each paid for before there are many."""
    for item in value:
        METER.get().charge(ITEM_CHARS)
        yield item


def weighed(value: Any) -> Any:
    METER.get().charge_value(value)
    return value


@pass_context
def finalize(context: Context, value: Any) -> Any:
    return weighed(value)


@pass_context
def _items(context: Context, value: Iterable[Any]) -> Items:
    return Items(_paid(value))


@pass_context
def _list(context: Context, value: Iterable[Any]) -> list[Any]:
    return list(_paid(value))


@pass_context
def _step(context: Context, value: Any) -> Any:
    METER.get().charge(len(value) if isinstance(value, str | list | tuple | dict) else 0)
    return value


@pass_context
def _holds(context: Context, value: Any, sought: Any) -> bool:
    """Compute `sought in value`, whatever breaks there are."""
    if isinstance(value, str) and isinstance(sought, str):
        plain = GUARD.get().plain
        return plain(sought) in plain(value)
    return sought in value


@pass_context
def _plain(context: Context, value: Any) -> Any:
    return GUARD.get().plain(value)


@pass_context
def _length(context: Context, value: Any) -> int:
    return len(GUARD.get().plain(value))


@pass_context
def _value(context: Context, value: Any) -> Any:
    return weighed(value)


@pass_context
def _string(context: Context, value: Any) -> str:
    return str(weighed(value))


@pass_context
def join(
    context: Context, value: Iterable[Any], d: Any = "", attribute: str | int | None = None
) -> str:
    items = list(_paid(value))
    if attribute is not None:
        items = [context.environment.getitem(item, attribute) for item in items]
    between = _string(context, d)
    METER.get().charge(len(items) * (1 + len(between)))
    return between.join(_string(context, item) for item in items)


@pass_context
def replace(context: Context, value: Any, old: str, new: str, count: int = -1) -> str:
    text = _string(context, value)
    old = GUARD.get().sought(old, text)
    found = text.count(old)
    METER.get().charge(len(text) + found * len(new))
    return text.replace(old, new, count)


@pass_context
def _tojson(
    context: Context,
    value: Any,
    ensure_ascii: bool = False,  # noqa: FBT001, FBT002
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,  # noqa: FBT001, FBT002
) -> str:
    """Write JSON like transformers: unlike Jinja2's own filter, it leaves HTML characters alone."""
    weighed(value)
    if indent is not None and not 0 <= indent <= 8:
        raise TemplateError("The model's chat template pads text too far.")
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _int(value: Any, default: int = 0, base: int = 10) -> int:
    return do_int(_short(value), default, base)


def _float(value: Any, default: float = 0.0) -> float:
    return do_float(_short(value), default)


def _round(
    value: float, precision: int = 0, method: Literal["common", "ceil", "floor"] = "common"
) -> float:
    if abs(precision) > MAX_PLACES:
        raise TemplateError("The model's chat template computes with huge numbers.")
    return do_round(value, precision, method)


def _short(value: Any) -> Any:
    if isinstance(value, str) and len(value) > MAX_DIGITS:
        raise TemplateError("The model's chat template computes with huge numbers.")
    return value


def _range(*bounds: int) -> range:
    numbers = range(*bounds)
    if len(numbers) > MAX_RANGE:
        raise TemplateError("The model's chat template counts too far.")
    return numbers


def shortened(reason: object) -> str:
    """Shorten a message that a template raises: its author decides how long it is. The last full
    stop is dropped, since it becomes part of a sentence.
    """
    text = str(reason).removesuffix(".")
    return text if len(text) <= MAX_REASON_CHARS else f"{text[:MAX_REASON_CHARS]}…"


class RefusedByTemplate(TemplateError):
    """The template itself called `raise_exception`, for example because of a system message."""


def _raise_exception(message: object = "") -> NoReturn:
    words = shortened(weighed(message))
    raise RefusedByTemplate(f"The model's chat template refuses these messages: {words}")


def _strftime_now(form: str) -> str:
    if len(form) > 64 or WIDE_FORMAT.search(form):
        raise TemplateError("The model's chat template formats a date too long.")
    return datetime.now().strftime(form)


OWN_FILTERS: Final[dict[str, Callable[..., Any]]] = {
    "count": _length,
    "float": _float,
    "int": _int,
    "join": join,
    "length": _length,
    "list": _list,
    "replace": replace,
    "round": _round,
    "string": _string,
    "tojson": _tojson,
    "metered_holds": _holds,
    "metered_items": _items,
    "metered_plain": _plain,
    "metered_step": _step,
    "metered_value": _value,
}
FUNCTIONS: Final[dict[str, Any]] = {
    "range": _range,
    "dict": dict,
    "namespace": Namespace,
    "raise_exception": _raise_exception,
    "strftime_now": _strftime_now,
}
