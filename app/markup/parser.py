"""The parser of all Markdown that is shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from markdown_it import MarkdownIt, rules_inline
from mdit_py_plugins.tasklists import tasklists_plugin

from app.markup.details import details
from app.markup.emphasis import cjk_emphasis
from app.markup.footnotes import footnotes
from app.markup.formulas import formulas
from app.markup.links import bare_links
from app.markup.tags import inline_tags

if TYPE_CHECKING:
    from markdown_it.rules_inline import StateInline

MAX_DEPTH: Final = 100
MAX_BRACKET_CHARS = 5_000_000
"""Characters that are looked at in vain for the ends of links: each bracket may need all."""


def make_parser(**options: Any) -> MarkdownIt:
    """CommonMark without HTML, and what models write beyond it."""
    parser = MarkdownIt("commonmark", {"html": False, "maxNesting": MAX_DEPTH, **options})
    parser.enable(["table", "strikethrough"])
    for plugin in (
        *(tasklists_plugin, formulas, details, footnotes, inline_tags, bare_links, cjk_emphasis),
    ):
        parser.use(plugin)
    parser.inline.ruler.at("link", _sparing(rules_inline.link))
    parser.inline.ruler.at("image", _sparing(rules_inline.image))
    return parser


def _sparing(rule: Callable[[StateInline, bool], bool]) -> Callable[[StateInline, bool], bool]:
    """A rule that looks for the end of a link, as often as a text may have it look."""

    def look(state: StateInline, silent: bool) -> bool:  # noqa: FBT001 - called by the parser
        left = state.env.setdefault("brackets", MAX_BRACKET_CHARS)
        if state.src[state.pos] not in "[!" or left <= 0:
            return False
        ahead = state.posMax - state.pos
        state.env["brackets"] -= ahead
        if rule(state, silent):
            state.env["brackets"] += ahead
            return True
        return False

    return look
