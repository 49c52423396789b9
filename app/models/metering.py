"""Rewrites a template's syntax tree so that whatever can make much out of little pays for it."""

from __future__ import annotations

from functools import reduce

from jinja2 import nodes
from jinja2.visitor import NodeTransformer


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
        """What people wrote is compared as they wrote it."""
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
