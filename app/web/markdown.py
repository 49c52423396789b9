"""Markdown of an answer to HTML that cannot do anything but be read."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from app.web import formulas, highlight

if TYPE_CHECKING:
    import nh3
    from markdown_it import MarkdownIt
    from markdown_it.rules_inline import StateInline
    from markdown_it.token import Token

# The libraries are imported where they are first used, which is not before an answer is shown: the
# first page should not wait for them. `prepare` brings them before that.

LONGEST_RENDERED = 100_000
"""Characters; what is longer is shown as it was written. LARGE: what takes long enough to be
rendered in a thread, while others are served."""
LARGE = 20_000
DEEPEST = 100
BRACKETS = 5_000_000
"""Characters that are looked at in vain for the ends of links: each bracket may need all."""

# Around code that has been cleaned. In clean HTML these signs are elements, never text.
_CODE = re.compile(r'<pre><code(?: class="(?:language-([\w+#.-]{1,30})|[^"]*)")?>')
_CODE_HEAD = (
    '<div class="code" dir="ltr"><div class="bar"><span>{language}</span>'
    '<button type="button" class="copy">Copy</button></div>'
    '<pre tabindex="0"><code>'
)
_CODE_FOOT = "</code></pre></div>"


def _sparing(rule: Callable[[StateInline, bool], bool]) -> Callable[[StateInline, bool], bool]:
    """A rule that looks for the end of a link, as often as a text may have it look."""

    def look(state: StateInline, silent: bool) -> bool:  # noqa: FBT001 - called by the parser
        left = state.env.setdefault("brackets", BRACKETS)
        if state.src[state.pos] not in "[!" or left <= 0:
            return False
        ahead = state.posMax - state.pos
        state.env["brackets"] -= ahead
        if rule(state, silent):
            state.env["brackets"] += ahead
            return True
        return False

    return look


def _image(_renderer: Any, tokens: Sequence[Token], index: int, *_: Any) -> str:
    """A link: fetching an image would tell its server what was said."""
    token = tokens[index]
    address = str(token.attrs.get("src", ""))
    return f'<a href="{escape(address)}">{escape(token.content.strip() or address)}</a>'


def _checkbox(_renderer: Any, tokens: Sequence[Token], index: int, *_: Any) -> str:
    """The parser takes no HTML, so this is a mark of a task list; an input would want a label."""
    return "☑" if "checked" in tokens[index].content else "☐"


@functools.cache
def _cleaner() -> nh3.Cleaner:
    """No id, style or data: nothing that a script of ours or htmx would act on."""
    import nh3

    return nh3.Cleaner(
        tags={
            "a", "blockquote", "br", "code", "del", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr",
            "li", "ol", "p", "pre", "s", "span", "strong", "table", "tbody", "td", "th", "thead",
            "tr", "ul",
        } | formulas.TAGS,
        attributes={
            "*": set(),
            "a": {"href"},
            "span": {"class"},
            "code": {"class"},
            "ol": {"start", "dir"},
            "th": {"align"},
            "td": {"align"},
            "li": {"class"},
            "ul": {"class", "dir"},
            "p": {"dir"},
            "blockquote": {"dir"},
            "table": {"dir"},
            **{f"h{level}": {"dir"} for level in range(1, 7)},
            **formulas.ATTRIBUTES,
        },
        url_schemes={"http", "https", "mailto"},
        url_relative="deny",
        link_rel="noopener noreferrer nofollow",
        set_tag_attribute_values={"a": {"target": "_blank"}},
    )  # fmt: skip


@functools.cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt, rules_inline
    from mdit_py_plugins.tasklists import tasklists_plugin

    options = {"html": False, "highlight": highlight.highlighted, "maxNesting": DEEPEST}
    parser = MarkdownIt("commonmark", options).enable(["table", "strikethrough"])
    parser.use(tasklists_plugin).use(formulas.formulas)
    parser.inline.ruler.at("link", _sparing(rules_inline.link))
    parser.inline.ruler.at("image", _sparing(rules_inline.image))
    parser.add_render_rule("image", _image)
    parser.add_render_rule("html_inline", _checkbox)
    return parser


def prepare() -> None:
    """Blocks for some tens of milliseconds, which the first answer is then shown sooner."""
    render_markdown("`It` is *ready*.")


@dataclass(frozen=True, slots=True)
class Block:
    """One block of the outermost level. It ends before line `end` of the text it came from."""

    end: int
    html: Markup


def parse_blocks(text: str, env: dict[str, Any]) -> list[Block]:
    """`env["references"]` holds, and gets, the definitions of links. Raises what parsers raise."""
    parser, blocks = _parser(), []
    highlight.begin()
    for group in _outermost(parser.parse(text, env)):
        group[0].attrSet("dir", "auto")
        html = parser.renderer.render(group, parser.options, env)
        blocks.append(Block((group[0].map or [0, 0])[1], _clean(html)))
    return blocks


def count_blocks(text: str) -> int:
    """How many blocks of the outermost level: a fraction of the work of rendering them."""
    return sum(1 for _ in _outermost(_parser().block.parse(text, _parser(), {}, []) or []))


def _outermost(tokens: Sequence[Token]) -> Iterator[list[Token]]:
    group: list[Token] = []
    for token in tokens:
        group.append(token)
        if token.level == 0 and token.nesting <= 0:
            yield group
            group = []


def _clean(html: str) -> Markup:
    # Column alignment comes as a style attribute, which the page's policy forbids.
    for side in ("left", "center", "right"):
        html = html.replace(f'style="text-align:{side}"', f'align="{side}"')
    clean = _CODE.sub(lambda found: code_head(found[1] or ""), _cleaner().clean(html).rstrip("\n"))
    clean = clean.replace("</code></pre>", _CODE_FOOT)
    return Markup(clean)  # noqa: S704 - cleaned by explicit lists


def code_head(language: str) -> Markup:
    """What stands before the code of one block."""
    return Markup(_CODE_HEAD).format(language=language)  # noqa: S704 - a constant


def code_foot() -> Markup:
    return Markup(_CODE_FOOT)  # noqa: S704 - a constant


def render_markdown(text: str) -> Markup:
    """Safe HTML. Whatever goes wrong inside, the text itself is shown, and of a very long one."""
    return _large(text) if len(text) > LARGE else _small(text)


@functools.lru_cache(maxsize=512)
def _small(text: str) -> Markup:
    return _rendered(text)


@functools.lru_cache(maxsize=16)
def _large(text: str) -> Markup:
    return _rendered(text)


def forget() -> None:
    """Whatever was rendered is rendered anew the next time."""
    for cached in (_small, _large, highlight.highlighted):
        cached.cache_clear()


def _rendered(text: str) -> Markup:
    if len(text) > LONGEST_RENDERED:
        return _as_it_is(text)
    try:
        return Markup("").join(block.html for block in parse_blocks(text, {}))
    except (RecursionError, ValueError, IndexError):
        return _as_it_is(text)


def _as_it_is(text: str) -> Markup:
    return Markup("<p>{}</p>").format(escape(text))


def escape_text(text: str) -> Markup:
    """Text that is shown exactly as it is; a bare carriage return would become a line feed."""
    return Markup(str(escape(text)).replace("\r", "&#13;"))  # noqa: S704 - escaped
