"""A Jinja2 environment for templates that nobody has vetted: time, memory and calls are metered.

Jinja2's immutable sandbox keeps templates from attributes and from changing values. It does not
keep them from `'a' * 10**9`, doubling a string forty times or looping for a year. So the syntax
tree is rewritten before it is compiled: every output, loop, container and call spends from a
budget, and no single step between two payments can be long. No signal, thread or trace hook is
needed, so any thread may render.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from datetime import datetime
from functools import reduce
from typing import Any, Final, NoReturn

from jinja2 import nodes, pass_context
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import Context, LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from app.errors import TemplateError
from app.models.meter import Meter

MAX_RANGE: Final = 10_000
MAX_BITS: Final = 256
WIDE_FORMAT: Final = re.compile(r"\d{3}|\*|\{[^{}]*\{")
"""Format strings that can ask for much padding."""
PURE_METHODS: Final = frozenset(
    (
        *("strip", "lstrip", "rstrip", "startswith", "endswith", "split", "rsplit", "splitlines"),
        *("upper", "lower", "title", "capitalize", "find", "rfind", "index", "count"),
        *("partition", "rpartition", "removeprefix", "removesuffix"),
        *("isdigit", "isalpha", "isalnum", "isspace", "isupper", "islower", "isnumeric"),
        *("get", "items", "keys", "values"),
    )
)
FILTERS: Final = frozenset(
    (
        *("abs", "capitalize", "count", "d", "default", "dictsort", "e", "escape", "first"),
        *("float", "int", "items", "last", "length", "list", "lower", "map", "max", "min"),
        *("reject", "rejectattr", "reverse", "round", "safe", "select", "selectattr", "title"),
        *("trim", "unique", "upper"),
    )
)


METER: Final[ContextVar[Meter]] = ContextVar("METER")
"""The meter of the rendering under way; set by whoever renders."""


class RefusedByTemplate(TemplateError):
    """The template itself called `raise_exception`, for example because of a system message."""


class Sandbox(ImmutableSandboxedEnvironment):
    """Renders chat templates as transformers does, within the limits of `METER`."""

    intercepted_binops = frozenset(["+", "-", "*", "/", "//", "%", "**"])

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,  # folding constants would run expressions while compiling, unmetered
            extensions=["jinja2.ext.loopcontrols", Generation],
            finalize=_finalize,
        )
        own: dict[str, Callable[..., Any]] = {
            "join": _join,
            "replace": _replace,
            "string": _string,
            "tojson": _tojson,
            "metered_items": _items,
            "metered_value": _value,
        }
        self.filters = {name: self.filters[name] for name in FILTERS} | own
        self.globals = {
            "range": _range,
            "dict": dict,
            "namespace": Namespace,
            "raise_exception": _raise_exception,
            "strftime_now": _strftime_now,
        }

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree: nodes.Template = _Metering().visit(super()._parse(source, name, filename))
        return tree

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        METER.get().spend(0)
        if operator == "**" and not (_small(left) and _small(right)):
            raise TemplateError("The model's chat template computes with huge numbers.")
        if operator == "*":
            _check_product(left, right)
        if operator == "%" and isinstance(left, str) and WIDE_FORMAT.search(left):
            raise TemplateError("The model's chat template pads text too far.")
        result = super().call_binop(context, operator, left, right)
        return _weighed(result)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        METER.get().spend(0)
        name = getattr(__obj, "__name__", "")
        # Jinja2 hands out its own wrapper around `str.format`.
        owner = getattr(getattr(__obj, "__wrapped__", __obj), "__self__", None)
        if isinstance(owner, str | dict | list | tuple):
            if isinstance(owner, str) and name == "join":
                return _join(__context, args[0], owner)
            if isinstance(owner, str) and name == "replace":
                return _replace(__context, owner, *args)
            if isinstance(owner, str) and name == "format":
                _check_format(owner)
            elif name not in PURE_METHODS:
                raise TemplateError(f"The model's chat template calls {name}, which is not safe.")
        elif not isinstance(__obj, Macro | LoopContext | type) and not _known(__self, __obj):
            raise TemplateError(f"The model's chat template calls {name or 'an unknown'}.")
        result = super().call(__context, __obj, *args, **kwargs)
        return _weighed(result) if isinstance(result, str | list | tuple | dict) else result

    def call_filter(self, *args: Any, **kwargs: Any) -> Any:
        METER.get().spend(0)
        return super().call_filter(*args, **kwargs)

    def call_test(self, *args: Any, **kwargs: Any) -> Any:
        METER.get().spend(0)
        return super().call_test(*args, **kwargs)


class Generation(Extension):
    """`{% generation %}`: marks what the model writes, for training; here only its contents."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Metering(NodeTransformer):
    """Puts a payment into every construct that can make much out of little."""

    def visit_TemplateData(self, node: nodes.TemplateData) -> nodes.Node:  # noqa: N802
        # As a value it goes through `finalize`, as literal data it would not.
        return nodes.Const(node.data, lineno=node.lineno)

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        node.iter = _filtered(node.iter, "metered_items")
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        texts = [_filtered(part, "string") for part in node.nodes]
        return reduce(lambda left, right: nodes.Add(left, right, lineno=node.lineno), texts)

    def _container(self, node: nodes.Expr) -> nodes.Node:
        self.generic_visit(node)
        return _filtered(node, "metered_value")

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:  # noqa: N802
        if node.ctx == "store":
            return node
        return self._container(node)

    visit_List = visit_Dict = _container  # noqa: N815


def _filtered(node: nodes.Node, name: str) -> nodes.Expr:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


def _weighed(value: Any) -> Any:
    METER.get().weigh(value)
    return value


def _small(value: object) -> bool:
    return not isinstance(value, int) or abs(value) <= MAX_BITS


def _check_product(left: object, right: object) -> None:
    if isinstance(left, int) and isinstance(right, int):
        if left.bit_length() + right.bit_length() > MAX_BITS:
            raise TemplateError("The model's chat template computes with huge numbers.")
        return
    for value, times in ((left, right), (right, left)):
        if isinstance(value, str | list | tuple) and isinstance(times, int):
            METER.get().spend(len(value) * max(times, 0))


def _check_format(text: str) -> None:
    if WIDE_FORMAT.search(text):
        raise TemplateError("The model's chat template pads text too far.")


def _known(environment: Sandbox, function: object) -> bool:
    known: Iterable[object] = environment.globals.values()
    # `loop.cycle` and `loop.changed` are methods of the loop; `caller` is a macro.
    return function in known or isinstance(getattr(function, "__self__", None), LoopContext)


@pass_context
def _finalize(context: Context, value: Any) -> Any:
    return _weighed(value)


@pass_context
def _items(context: Context, value: Iterable[Any]) -> list[Any]:
    items = list(value)
    METER.get().spend(len(items))
    return items


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
    items = list(value)
    if attribute is not None:
        items = [context.environment.getitem(item, attribute) for item in items]
    between = _string(context, d)
    METER.get().spend(len(items) * (1 + len(between)))
    return between.join(_string(context, item) for item in items)


@pass_context
def _replace(context: Context, value: Any, old: str, new: str, count: int = -1) -> str:
    text = _string(context, value)
    found = text.count(old)
    METER.get().spend(len(text) + found * len(new))
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
    """As transformers has it: unlike Jinja2's own, it leaves HTML characters alone."""
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


def _range(*bounds: int) -> range:
    numbers = range(*bounds)
    if len(numbers) > MAX_RANGE:
        raise TemplateError("The model's chat template counts too far.")
    return numbers


def _raise_exception(message: object = "") -> NoReturn:
    raise RefusedByTemplate(f"The model's chat template refuses these messages: {message}")


def _strftime_now(form: str) -> str:
    if len(form) > 64 or WIDE_FORMAT.search(form):
        raise TemplateError("The model's chat template formats a date too long.")
    return datetime.now().strftime(form)
