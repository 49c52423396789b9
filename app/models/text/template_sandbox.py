"""A Jinja2 environment for templates that nobody has vetted: time, memory and calls are metered.

Jinja2's immutable sandbox keeps templates from attributes and from changing values. It does not
keep them from `'a' * 10**9`, doubling a string forty times or looping for a year. So the syntax
tree is rewritten before it is compiled: every output, loop, container and call spends from a
budget, and no single step between two payments can be long. No signal, thread or trace hook is
needed, so any thread may render. Filters and functions are those of transformers and Jinja2.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any, Final, Literal, NoReturn

from jinja2 import nodes, pass_context
from jinja2.ext import Extension
from jinja2.filters import do_float, do_int, do_round
from jinja2.parser import Parser
from jinja2.runtime import Context, LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from app.errors import TemplateError
from app.models.text.content_guard import GUARD
from app.models.text.render_budget import ITEM_CHARS, METER, BudgetInstrumenter

MAX_RANGE: Final = 10_000
MAX_PLACES: Final = 20
MAX_DIGITS: Final = 100
MAX_REASON_CHARS: Final = 300
_WIDE_FORMAT: Final = re.compile(r"\d{3}|\*|\{[^{}]*\{")
"""Format strings that can ask for much padding."""
MAX_BITS: Final = 256
PURE_METHODS: Final = frozenset(
    (
        *("strip", "lstrip", "rstrip", "startswith", "endswith"),
        *("upper", "lower", "title", "capitalize", "find", "rfind", "index", "count"),
        *("partition", "rpartition", "removeprefix", "removesuffix"),
        *("isdigit", "isalpha", "isalnum", "isspace", "isupper", "islower", "isnumeric"),
        *("get", "items", "keys", "values"),
    )
)
SPLITTING_METHODS: Final = frozenset(("split", "rsplit", "splitlines"))
TESTING_METHODS: Final = frozenset(("startswith", "endswith"))
SEARCHING_METHODS: Final = frozenset(
    (
        *("split", "rsplit", "find", "rfind", "index", "count"),
        *("partition", "rpartition", "removeprefix", "removesuffix"),
    )
)
"""Methods that look for a text, which may be broken in what a user wrote."""
FILTERS: Final = frozenset(
    (
        *("abs", "capitalize", "d", "default", "dictsort", "e", "escape", "first"),
        *("items", "last", "lower", "map", "max", "min"),
        *("reject", "rejectattr", "reverse", "safe", "select", "selectattr", "title"),
        *("trim", "unique", "upper"),
    )
)


class RefusedByTemplate(TemplateError):
    """The template itself called `raise_exception`, for example because of a system message."""


def shorten_reason(reason: object) -> str:
    """Shorten a message that a template raises: its author decides how long it is. The last full
    stop is dropped, since it becomes part of a sentence.
    """
    text = str(reason).removesuffix(".")
    return text if len(text) <= MAX_REASON_CHARS else f"{text[:MAX_REASON_CHARS]}…"


class Sandbox(ImmutableSandboxedEnvironment):
    """Renders chat templates as transformers does, within the limits of `METER`."""

    intercepted_binops = frozenset(["+", "-", "*", "/", "//", "%", "**"])

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,  # folding constants would run expressions while compiling, unmetered
            extensions=["jinja2.ext.loopcontrols", _Generation],
            finalize=_finalize,
        )
        self.filters = {name: self.filters[name] for name in FILTERS} | _OWN_FILTERS
        self.globals = dict(_FUNCTIONS)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree: nodes.Template = BudgetInstrumenter().visit(super()._parse(source, name, filename))
        return tree

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        METER.get().charge(0)
        _check_numbers(left, right)
        if operator == "**" and not (_small(left) and _small(right)):
            raise TemplateError("The model's chat template computes with huge numbers.")
        if operator == "*":
            _check_product(left, right)
        if operator == "%" and isinstance(left, str):
            _check_format(left, "%", right)
        result = super().call_binop(context, operator, left, right)
        return _weighed(result)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        METER.get().charge(0)
        name = getattr(__obj, "__name__", "")
        # Jinja2 hands out its own wrapper around `str.format`.
        owner = getattr(getattr(__obj, "__wrapped__", __obj), "__self__", None)
        if isinstance(owner, str) and name in TESTING_METHODS:
            plain = GUARD.get().plain
            __obj, args = getattr(plain(owner), name), tuple(map(plain, args))
        elif isinstance(owner, str) and name in SEARCHING_METHODS:
            args = tuple(GUARD.get().sought(arg, owner) for arg in args)
        if isinstance(owner, str | dict | list | tuple):
            if isinstance(owner, str) and name == "join":
                return _join(__context, args[0], owner)
            if isinstance(owner, str) and name == "replace":
                return _replace(__context, owner, *args)
            if isinstance(owner, str) and name == "format":
                _check_format(owner, "{", [*args, kwargs])
            elif isinstance(owner, str) and name in SPLITTING_METHODS:
                METER.get().charge(ITEM_CHARS * len(owner))
            elif name not in PURE_METHODS:
                raise TemplateError(f"The model's chat template calls {name}, which is not safe.")
        elif not isinstance(__obj, Macro | LoopContext | type) and not _known(__self, __obj):
            raise TemplateError(f"The model's chat template calls {name or 'an unknown'}.")
        result = super().call(__context, __obj, *args, **kwargs)
        return _weighed(result) if isinstance(result, str | list | tuple | dict) else result

    def call_filter(self, *args: Any, **kwargs: Any) -> Any:
        METER.get().charge(0)
        return super().call_filter(*args, **kwargs)

    def call_test(self, *args: Any, **kwargs: Any) -> Any:
        METER.get().charge(0)
        return super().call_test(*args, **kwargs)


class _Generation(Extension):
    """Extension for `{% generation %}`, which marks what the model writes, for training. Only its
    contents matter here.
    """

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _small(value: object) -> bool:
    return not isinstance(value, int) or abs(value) <= MAX_BITS


def _check_numbers(*values: object) -> None:
    if any(isinstance(value, int) and value.bit_length() > 4 * MAX_BITS for value in values):
        raise TemplateError("The model's chat template computes with huge numbers.")


def _check_product(left: object, right: object) -> None:
    if isinstance(left, int) and isinstance(right, int):
        if left.bit_length() + right.bit_length() > MAX_BITS:
            raise TemplateError("The model's chat template computes with huge numbers.")
        return
    for value, times in ((left, right), (right, left)):
        if isinstance(value, str | list | tuple) and isinstance(times, int):
            METER.get().charge(len(value) * max(times, 0))


def _check_format(text: str, mark: str, values: object) -> None:
    """Limit format strings, in which every field may write out every value:
    `'{0}{0}{0}…'.format(x)`.
    """
    if _WIDE_FORMAT.search(text):
        raise TemplateError("The model's chat template pads text too far.")
    METER.get().charge_value(values, times=max(1, text.count(mark)))


def _known(environment: Sandbox, function: object) -> bool:
    known: Iterable[object] = environment.globals.values()
    # `loop.cycle` and `loop.changed` are methods of the loop; `caller` is a macro.
    return function in known or isinstance(getattr(function, "__self__", None), LoopContext)


# Filters and functions, each of which pays for what it reads and makes.


class _Items(list[Any]):
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


def _weighed(value: Any) -> Any:
    METER.get().charge_value(value)
    return value


@pass_context
def _finalize(context: Context, value: Any) -> Any:
    return _weighed(value)


@pass_context
def _items(context: Context, value: Iterable[Any]) -> _Items:
    return _Items(_paid(value))


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
    return _weighed(value)


@pass_context
def _string(context: Context, value: Any) -> str:
    return str(_weighed(value))


@pass_context
def _join(
    context: Context, value: Iterable[Any], d: Any = "", attribute: str | int | None = None
) -> str:
    items = list(_paid(value))
    if attribute is not None:
        items = [context.environment.getitem(item, attribute) for item in items]
    between = _string(context, d)
    METER.get().charge(len(items) * (1 + len(between)))
    return between.join(_string(context, item) for item in items)


@pass_context
def _replace(context: Context, value: Any, old: str, new: str, count: int = -1) -> str:
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
    _weighed(value)
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


def _raise_exception(message: object = "") -> NoReturn:
    words = shorten_reason(_weighed(message))
    raise RefusedByTemplate(f"The model's chat template refuses these messages: {words}")


def _strftime_now(form: str) -> str:
    if len(form) > 64 or _WIDE_FORMAT.search(form):
        raise TemplateError("The model's chat template formats a date too long.")
    return datetime.now().strftime(form)


_OWN_FILTERS: Final[dict[str, Callable[..., Any]]] = {
    "count": _length,
    "float": _float,
    "int": _int,
    "join": _join,
    "length": _length,
    "list": _list,
    "replace": _replace,
    "round": _round,
    "string": _string,
    "tojson": _tojson,
    "metered_holds": _holds,
    "metered_items": _items,
    "metered_plain": _plain,
    "metered_step": _step,
    "metered_value": _value,
}
_FUNCTIONS: Final[dict[str, Any]] = {
    "range": _range,
    "dict": dict,
    "namespace": Namespace,
    "raise_exception": _raise_exception,
    "strftime_now": _strftime_now,
}
