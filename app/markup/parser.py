"""The parser of all Markdown that is shown."""

from __future__ import annotations

from typing import Any, Final

from markdown_it import MarkdownIt
from mdit_py_plugins.tasklists import tasklists_plugin

from app.markup.brackets import bounded_brackets
from app.markup.details import details
from app.markup.emphasis import cjk_emphasis
from app.markup.footnotes import footnotes
from app.markup.formulas import formulas
from app.markup.links import bare_links
from app.markup.tags import inline_tags

MAX_DEPTH: Final = 100


def make_parser(**options: Any) -> MarkdownIt:
    """CommonMark without HTML, and what models write beyond it."""
    parser = MarkdownIt("commonmark", {"html": False, "maxNesting": MAX_DEPTH, **options})
    parser.enable(["table", "strikethrough"])
    for plugin in (
        *(tasklists_plugin, formulas, details, footnotes, inline_tags, bare_links, cjk_emphasis),
        bounded_brackets,
    ):
        parser.use(plugin)
    return parser
