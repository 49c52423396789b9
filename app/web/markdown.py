"""Markdown of an answer to HTML that cannot do anything but be read."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import nh3
from markdown_it import MarkdownIt
from markupsafe import Markup, escape
from mdit_py_plugins.tasklists import tasklists_plugin
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST_HIGHLIGHTED = 50_000

_ATTRIBUTES: Mapping[str, set[str]] = {
    "a": {"href", "title"},
    "span": {"class"},
    "code": {"class"},
    "ol": {"start"},
    "th": {"align"},
    "td": {"align"},
    "li": {"class"},
    "ul": {"class"},
    "input": {"type", "checked", "disabled", "class"},
}
_TAGS = {
    "a", "blockquote", "br", "code", "del", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr",
    "input", "li", "ol", "p", "pre", "s", "span", "strong", "table", "tbody", "td", "th", "thead",
    "tr", "ul",
}  # fmt: skip


def _highlighted(code: str, language: str, _attributes: str) -> str:
    """Pygments classes for a known language, else nothing (then it is escaped as it is)."""
    if not language or len(code) > LONGEST_HIGHLIGHTED:
        return ""
    try:
        lexer = get_lexer_by_name(language, stripnl=False, ensurenl=False)
    except ClassNotFound:
        return ""
    spans = highlight(code, lexer, HtmlFormatter(nowrap=True))
    return f"<pre><code>{spans}</code></pre>"


@functools.cache
def _parser() -> MarkdownIt:
    # No raw HTML. No images: fetching one would tell its server what was said.
    parser = MarkdownIt("commonmark", {"html": False, "highlight": _highlighted, "maxNesting": 20})
    parser.enable(["table", "strikethrough"]).disable("image")
    return parser.use(tasklists_plugin)


def _aligned(html: str) -> str:
    # Column alignment comes as a style attribute, which the page's policy forbids.
    for side in ("left", "center", "right"):
        html = html.replace(f'style="text-align:{side}"', f'align="{side}"')
    return html


@functools.lru_cache(maxsize=512)
def render_markdown(text: str) -> Markup:
    """Safe HTML. Whatever goes wrong inside, the text itself is shown."""
    try:
        html = _aligned(_parser().render(text))
    except (RecursionError, ValueError, IndexError):
        return Markup("<p>{}</p>").format(escape(text))
    clean = nh3.clean(
        html,
        tags=_TAGS,
        attributes={tag: set(names) for tag, names in _ATTRIBUTES.items()},
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer nofollow",
        set_tag_attribute_values={"a": {"target": "_blank"}, "input": {"disabled": ""}},
    )
    return Markup(clean)  # noqa: S704 - cleaned one line above, by explicit lists


def escape_text(text: str) -> Markup:
    """Text that is shown exactly as it is; a bare carriage return would become a line feed."""
    return Markup(str(escape(text)).replace("\r", "&#13;"))  # noqa: S704 - escaped
