"""Links and images, looked for with a bounded amount of work.

Each opening bracket may need all that follows it to be looked through, in vain: for a crafted text
that grows with the square of its length. What is past the bound of a text stays text.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Final

from markdown_it import helpers, rules_inline

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_inline import StateInline

MAX_STEPS = 100_000
"""Tokens that are looked through for the ends of labels, of all brackets of one text."""
ADDRESS_STEPS: Final = 8
"""For what follows a label: an address is not looked for far, but character by character."""
_LEFT: Final = "bracket_steps"


def bounded_brackets(parser: MarkdownIt) -> None:
    """Plugin for markdown-it."""
    counted = SimpleNamespace(**(vars(helpers) | {"parseLinkLabel": _label_end}))
    parser.helpers = counted  # type: ignore[assignment]  # rules only look up names in it
    parser.inline.ruler.at("link", _bounded(rules_inline.link))
    parser.inline.ruler.at("image", _bounded(rules_inline.image))


def _bounded(rule: Callable[[StateInline, bool], bool]) -> Callable[[StateInline, bool], bool]:
    def look(state: StateInline, silent: bool) -> bool:  # noqa: FBT001 - called by the parser
        if state.src[state.pos] not in "[!" or state.env.setdefault(_LEFT, MAX_STEPS) <= 0:
            return False
        return rule(state, silent)

    return look


def _label_end(state: StateInline, start: int, disableNested: bool = False) -> int:  # noqa: FBT001, FBT002, N803
    """Return where the label that begins at `start` ends, or -1: markdown-it's own, but counted."""
    before, state.pos = state.pos, start + 1
    end = _find_end(state, may_hold_links=not disableNested)
    state.pos = before
    if end >= 0 and state.src.startswith("(", end + 1):
        state.env[_LEFT] -= ADDRESS_STEPS
    return end


def _find_end(state: StateInline, *, may_hold_links: bool) -> int:
    level = 1
    while state.pos < state.posMax and state.env[_LEFT] > 0:
        state.env[_LEFT] -= 1
        mark, at = state.src[state.pos], state.pos
        level -= mark == "]"
        if level == 0:
            return at
        state.md.inline.skipToken(state)
        if mark == "[":
            if at == state.pos - 1:  # no part of a token
                level += 1
            elif not may_hold_links:
                return -1
    return -1
