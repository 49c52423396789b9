"""A Jinja2 environment for templates that nobody has vetted: time, memory and calls are metered.

Jinja2's immutable sandbox keeps templates from attributes and from changing values. It does not
keep them from `'a' * 10**9`, doubling a string forty times or looping for a year. So the syntax
tree is rewritten before it is compiled: every output, loop, container and call spends from a
budget, and no single step between two payments can be long. No signal, thread or trace hook is
needed, so any thread may render.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import Context, LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment

from app.errors import TemplateError
from app.models.text.content_guard import GUARD
from app.models.text.render_budget import ITEM_CHARS, METER, BudgetInstrumenter
from app.models.text.template_filters import (
    FUNCTIONS,
    OWN_FILTERS,
    WIDE_FORMAT,
    finalize,
    join,
    replace,
    weighed,
)

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
"""Methods that look for a text, which may be broken in what a person wrote."""
FILTERS: Final = frozenset(
    (
        *("abs", "capitalize", "d", "default", "dictsort", "e", "escape", "first"),
        *("items", "last", "lower", "map", "max", "min"),
        *("reject", "rejectattr", "reverse", "safe", "select", "selectattr", "title"),
        *("trim", "unique", "upper"),
    )
)


class Sandbox(ImmutableSandboxedEnvironment):
    """Renders chat templates as transformers does, within the limits of `METER`."""

    intercepted_binops = frozenset(["+", "-", "*", "/", "//", "%", "**"])

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,  # folding constants would run expressions while compiling, unmetered
            extensions=["jinja2.ext.loopcontrols", Generation],
            finalize=finalize,
        )
        self.filters = {name: self.filters[name] for name in FILTERS} | OWN_FILTERS
        self.globals = dict(FUNCTIONS)

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
        return weighed(result)

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
                return join(__context, args[0], owner)
            if isinstance(owner, str) and name == "replace":
                return replace(__context, owner, *args)
            if isinstance(owner, str) and name == "format":
                _check_format(owner, "{", [*args, kwargs])
            elif isinstance(owner, str) and name in SPLITTING_METHODS:
                METER.get().charge(ITEM_CHARS * len(owner))
            elif name not in PURE_METHODS:
                raise TemplateError(f"The model's chat template calls {name}, which is not safe.")
        elif not isinstance(__obj, Macro | LoopContext | type) and not _known(__self, __obj):
            raise TemplateError(f"The model's chat template calls {name or 'an unknown'}.")
        result = super().call(__context, __obj, *args, **kwargs)
        return weighed(result) if isinstance(result, str | list | tuple | dict) else result

    def call_filter(self, *args: Any, **kwargs: Any) -> Any:
        METER.get().charge(0)
        return super().call_filter(*args, **kwargs)

    def call_test(self, *args: Any, **kwargs: Any) -> Any:
        METER.get().charge(0)
        return super().call_test(*args, **kwargs)


class Generation(Extension):
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
    if WIDE_FORMAT.search(text):
        raise TemplateError("The model's chat template pads text too far.")
    METER.get().charge_value(values, times=max(1, text.count(mark)))


def _known(environment: Sandbox, function: object) -> bool:
    known: Iterable[object] = environment.globals.values()
    # `loop.cycle` and `loop.changed` are methods of the loop; `caller` is a macro.
    return function in known or isinstance(getattr(function, "__self__", None), LoopContext)
