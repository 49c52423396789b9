"""Budget of one rendering of a chat template, and the instrumentation that charges it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import ContextVar
from functools import reduce
from typing import Final

from jinja2 import Undefined, nodes
from jinja2.visitor import NodeTransformer

from app.errors import TemplateError

# Rewrites a template's syntax tree so that whatever can make much out of little pays for it.


class BudgetInstrumenter(NodeTransformer):
    """Puts a payment into every construct that handles text or lists, or only takes time.

    `metered_value` pays for all that a value holds, `metered_step` for the length of a result and
    for the time that it took, `metered_items` for each round of a loop.
    """

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

    def _step(self, node: nodes.Expr) -> nodes.Node:
        self.generic_visit(node)
        return _filtered(node, "metered_step")

    # Jinja2 compiles these to plain Python, which no method of the environment sees.
    visit_Filter = visit_Test = _step  # noqa: N815

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:  # noqa: N802
        """Unbreak both sides, so that users' text is compared as they wrote it."""
        first = node.ops[0]
        if len(node.ops) == 1 and first.op in ("in", "notin"):
            self.generic_visit(node)
            found = nodes.Filter(
                first.expr, "metered_holds", [node.expr], [], None, None, lineno=node.lineno
            )
            inside: nodes.Expr = found if first.op == "in" else nodes.Not(found, lineno=node.lineno)
            return _filtered(inside, "metered_step")
        self.generic_visit(node)
        node.expr = _filtered(node.expr, "metered_plain")
        for operand in node.ops:
            operand.expr = _filtered(operand.expr, "metered_plain")
        return _filtered(node, "metered_step")

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:  # noqa: N802
        return self._step(node) if isinstance(node.arg, nodes.Slice) else self.generic_visit(node)


def _filtered(node: nodes.Node, name: str) -> nodes.Expr:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


# What one rendering of a chat template may spend: time, and characters and items handled.


BUDGET_CHARS: Final = 20_000_000
"""Characters and items that one rendering may handle, all its intermediate results together."""
RENDER_SECONDS: Final = 2.0
ITEM_CHARS: Final = 8
"""What an item of a new list costs: it takes that many times the room of a character."""


class RenderBudget:
    """Budget of one rendering: what it may still spend."""

    def __init__(
        self, seconds: float = RENDER_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.left = BUDGET_CHARS
        self._clock = clock
        self._deadline = clock() + seconds

    def charge(self, amount: int) -> None:
        self.left -= amount + 1
        if self.left < 0:
            raise TemplateError("The model's chat template grew too large.")
        if self._clock() > self._deadline:
            raise TemplateError("The model's chat template took too long.")

    def charge_value(self, value: object, times: int = 1) -> None:
        """Spend for every item and character that `value` would take when written out."""
        before = self.left
        self._weigh(value)
        self.charge((before - self.left) * (times - 1))

    def _weigh(self, value: object) -> None:
        waiting = [value]
        while waiting:
            item = waiting.pop()
            if isinstance(item, str):
                self.charge(len(item))
            elif isinstance(item, dict):
                self.charge(2 * len(item))
                waiting += item.keys()
                waiting += item.values()
            elif isinstance(item, list | tuple):
                self.charge(len(item))
                waiting += item
            elif isinstance(item, int | float | Undefined | type(None)):
                self.charge(20)
            else:
                raise TemplateError(
                    f"The model's chat template writes out a {type(item).__name__}."
                )


METER: Final[ContextVar[RenderBudget]] = ContextVar("METER")
"""The meter of the rendering under way; set by whoever renders."""
