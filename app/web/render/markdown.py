"""Markdown of an answer to HTML that cannot do anything but be read."""

from __future__ import annotations

import functools
import re
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING, Any, Final

from markupsafe import Markup, escape

from app.markup import formulas
from app.web.render.code_blocks import LEXERS, code_foot, code_head

if TYPE_CHECKING:
    import nh3
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

# The libraries are imported where they are first used, which is not before an answer is shown: the
# first page should not wait for them. `warm_up` brings them before that.

MAX_RENDERED_CHARS = 100_000
"""What is longer is shown as it was written."""
LARGE_CHARS = 20_000
"""What is longer takes long enough to be rendered in a thread, while others are served."""
WIDE_FORMULA_CHARS = 30
"""Of its source, from which on a formula may be wider than a phone."""

# Around code that has been cleaned. In clean HTML these signs are elements, never text.
_CODE = re.compile(r'<pre><code(?: class="(?:language-([\w+#.-]{1,30})|[^"]*)")?>')
_BAR_OR_END = re.compile(
    r'<div class="bar">.*?</div>|</(?:p|li|h[1-6]|t[dhr]|pre|div|summary)>', re.DOTALL
)
# Notes and the references to them, which lead there where it is known in which message they stand.
_REFERENCE = re.compile(r'<sup class="reference">([^<]*)</sup>')
_NOTE = re.compile(r'<div class="footnote"( dir="auto")?><span class="label">([^<]*)</span>')


def _image(_renderer: Any, tokens: Sequence[Token], index: int, *_: Any) -> str:
    """A link: fetching an image would tell its server what was said."""
    token = tokens[index]
    address = str(token.attrs.get("src", ""))
    return f'<a href="{escape(address)}">{escape(token.content.strip() or address)}</a>'


def _checkbox(_renderer: Any, tokens: Sequence[Token], index: int, *_: Any) -> str:
    """The parser takes no HTML, so this is a mark of a task list; an input would want a label."""
    return "☑" if "checked" in tokens[index].content else "☐"


def _formula(_renderer: Any, tokens: Sequence[Token], index: int, *_: Any) -> str:
    """MathML, or the source as it was written."""
    token = tokens[index]
    html = formulas.to_mathml(token.content, display=token.meta["display"])
    is_wide = len(token.content) > WIDE_FORMULA_CHARS
    if html is None:
        return _source(token)
    if token.block:
        attributes = ' role="group" aria-label="Formula" tabindex="0"' if is_wide else ""
        return f'<div class="formula"{attributes}>{html}</div>'
    return f'<span class="formula">{html}</span>' if is_wide else html


def _source(token: Token) -> str:
    if not token.block:
        return f"<code>{escape(token.markup)}</code>"
    if "\n" not in token.markup:
        return f"<p><code>{escape(token.markup)}</code></p>"
    return f'<pre><code class="language-latex">{escape(token.markup)}\n</code></pre>'


def _table_open(renderer: Any, tokens: Sequence[Token], index: int, options: Any, _: Any) -> str:
    table = renderer.renderToken(tokens, index, options, {})
    return f'<div class="scroll" role="group" aria-label="Table" tabindex="0">{table}'


def _table_close(renderer: Any, tokens: Sequence[Token], index: int, options: Any, _: Any) -> str:
    return f"{renderer.renderToken(tokens, index, options, {})}</div>"


def _note_reference(_renderer: Any, tokens: Sequence[Token], index: int, *_: Any) -> str:
    return f'<sup class="reference">{escape(tokens[index].meta["label"])}</sup>'


def _note_open(_renderer: Any, tokens: Sequence[Token], index: int, *_: Any) -> str:
    meta = tokens[index].meta
    kind = "label" if meta["is_first"] else ""
    label = f'<span class="{kind}">{escape(meta["label"])}</span>'
    return f'<div class="footnote" dir="auto">{label}'


def _note_close(*_: Any) -> str:
    return "</div>"


_LINE, _EMPTY_LINE = Markup("\n"), Markup("<br>\n")


@functools.cache
def _cleaner() -> nh3.Cleaner:
    """No id, style or data: nothing that a script of ours or htmx would act on."""
    import nh3

    return nh3.Cleaner(
        tags={
            "a", "blockquote", "br", "code", "del", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr",
            "li", "ol", "p", "pre", "s", "span", "strong", "table", "tbody", "td", "th", "thead",
            "tr", "ul", "details", "div", "kbd", "mark", "sub", "summary", "sup",
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
            "details": {"dir", "open"},
            **formulas.ATTRIBUTES,
        },
        tag_attribute_values={
            "div": {
                "class": {"scroll", "formula", "footnote"},
                "role": {"group"},
                "tabindex": {"0"},
                "aria-label": {"Table", "Formula"},
                "dir": {"auto"},
            },
            "sup": {"class": {"reference"}},
        },
        url_schemes={"http", "https", "mailto"},
        url_relative="deny",
        link_rel="noopener noreferrer nofollow",
        set_tag_attribute_values={"a": {"target": "_blank"}},
    )  # fmt: skip


@functools.cache
def _parser(*, is_prompt: bool = False) -> MarkdownIt:
    from app.markup.parser import make_parser, make_prompt_parser

    make = make_prompt_parser if is_prompt else make_parser
    parser = make(highlight=_highlight_code)
    for name, rule in (
        ("image", _image),
        ("html_inline", _checkbox),
        ("formula", _formula),
        ("table_open", _table_open),
        ("table_close", _table_close),
        ("footnote_ref", _note_reference),
        ("footnote_reference_open", _note_open),
        ("footnote_reference_close", _note_close),
    ):
        parser.add_render_rule(name, rule)
    return parser


def warm_up() -> None:
    """Blocks for some tens of milliseconds, which the first answer is then shown sooner."""
    render_markdown("`It` is *ready*.")


@dataclass(frozen=True, slots=True)
class Block:
    """One block of the outermost level: lines `start` to before `end` of the text it came from."""

    end: int
    html: Markup
    start: int = 0


def parse_blocks(
    text: str, env: dict[str, Any], message_id: int | None = None, *, is_prompt: bool = False
) -> list[Block]:
    """Render blocks; `env["references"]` and `env["notes"]` hold, and get, what links lead to.

    Raises what parsers raise.
    """
    parser, blocks = _parser(is_prompt=is_prompt), []
    _start_clock()
    for group in _outermost(parser.parse(text, env)):
        if not is_prompt:  # that has one direction, of the element around it
            group[0].attrSet("dir", "auto")
        html = parser.renderer.render(group, parser.options, env)
        start, end = group[0].map or (0, 0)
        blocks.append(Block(end, _clean(html, message_id), start))
    return blocks


def count_blocks(text: str) -> int:
    """Return how many blocks of the outermost level: a fraction of the work of rendering them."""
    return sum(1 for _ in _outermost(_parser().block.parse(text, _parser(), {}, []) or []))


def _outermost(tokens: Sequence[Token]) -> Iterator[list[Token]]:
    group: list[Token] = []
    for token in tokens:
        group.append(token)
        if token.level == 0 and token.nesting <= 0:
            yield group
            group = []


def _clean(html: str, message_id: int | None) -> Markup:
    # Column alignment comes as a style attribute, which the page's policy forbids.
    for side in ("left", "center", "right"):
        html = html.replace(f'style="text-align:{side}"', f'align="{side}"')
    clean = _CODE.sub(lambda found: code_head(found[1] or ""), _cleaner().clean(html).rstrip("\n"))
    clean = clean.replace("</code></pre>", code_foot())
    if message_id is not None:
        clean = _REFERENCE.sub(lambda found: _link_to_note(found[1], message_id), clean)
        clean = _NOTE.sub(lambda found: _note_of(found, message_id), clean)
    return Markup(clean)  # noqa: S704 - cleaned by explicit lists


def _link_to_note(label: str, message_id: int) -> str:
    address = f"#{_note_id(label, message_id)}"
    return f'<sup class="reference"><a href="{address}">{label}</a></sup>'


def _note_of(found: re.Match[str], message_id: int) -> str:
    note_id, direction = _note_id(found[2], message_id), found[1] or ""
    return f'<div class="footnote"{direction} id="{note_id}"><span class="label">{found[2]}</span>'


def _note_id(label: str, message_id: int) -> str:
    """Return the id of a note; of its label only letters and digits stand in it as they are."""
    safe = label if re.fullmatch(r"[0-9A-Za-z]+", label) else f"-{label.encode().hex()}"
    return f"m{message_id}-note-{safe}"


def render_markdown(text: str, message_id: int | None = None) -> Markup:
    """Safe HTML. Whatever goes wrong inside, the text itself is shown, and of a very long one.

    `message_id`: the message on whose page it stands; the ids in it begin with that.
    """
    return _large(text, message_id) if len(text) > LARGE_CHARS else _small(text, message_id)


@functools.lru_cache(maxsize=512)
def _small(text: str, message_id: int | None) -> Markup:
    return _rendered(text, message_id)


@functools.lru_cache(maxsize=16)
def _large(text: str, message_id: int | None) -> Markup:
    return _rendered(text, message_id)


def render_prompt(text: str) -> Markup:
    """Render what a user typed: code, links and lists as such, all else as it was typed."""
    return _large_prompt(text) if len(text) > LARGE_CHARS else _small_prompt(text)


@functools.lru_cache(maxsize=512)
def _small_prompt(text: str) -> Markup:
    return _rendered(text, None, is_prompt=True)


@functools.lru_cache(maxsize=16)
def _large_prompt(text: str) -> Markup:
    return _rendered(text, None, is_prompt=True)


def clear_cache() -> None:
    """Drop all rendered texts."""
    for cached in (_small, _large, _small_prompt, _large_prompt, _highlight_code):
        cached.cache_clear()


def _rendered(text: str, message_id: int | None, *, is_prompt: bool = False) -> Markup:
    if len(text) > MAX_RENDERED_CHARS:
        return plain_text(text)
    try:
        blocks = parse_blocks(text, {}, message_id, is_prompt=is_prompt)
        between = _lines_between(blocks) if is_prompt else repeat("")
        return Markup("").join(
            gap + block.html for gap, block in zip(between, blocks, strict=False)
        )
    except (RecursionError, ValueError, IndexError):
        return plain_text(text)


def _lines_between(blocks: Sequence[Block]) -> Iterator[Markup]:
    """Yield what stands before each block: its line break, and all empty lines but the first,
    which is the distance of paragraphs."""
    end = None
    for block in blocks:
        empty = -1 if end is None else block.start - end
        yield _LINE * min(empty + 1, 2) + _EMPTY_LINE * (empty - 1)
        end = block.end


def read_aloud(html: Markup) -> str:
    """Return the words of rendered Markdown, without the buttons of its code."""
    return Markup(_BAR_OR_END.sub(" ", html)).striptags()  # noqa: S704 - rendered by this module


def plain_text(text: str) -> Markup:
    """A paragraph that shows the text as it was written."""
    return Markup("<p>{}</p>").format(escape(text))


def escape_text(text: str) -> Markup:
    """Text that is shown exactly as it is; a bare carriage return would become a line feed."""
    return Markup(str(escape(text)).replace("\r", "&#13;"))  # noqa: S704 - escaped


# Colours of code, in a bounded time.

MAX_CODE_CHARS: Final = 50_000
"""Characters of code that gets colours."""
MAX_COLOUR_SECONDS = 0.5
"""Of computing, for the code of one text. Some lexers need minutes for what is made to be slow."""


class _Clock(threading.local):
    """Time that colours have taken in the text being rendered, per thread."""

    spent = 0.0


_clock = _Clock()


def _start_clock() -> None:
    """Begin another text."""
    _clock.spent = 0.0


@functools.lru_cache(maxsize=64)
def _highlight_code(code: str, language: str, _attributes: str) -> str:
    """Pygments classes for a known language, else nothing (then it is escaped as it is)."""
    if not language or len(code) > MAX_CODE_CHARS:
        return ""
    import pygments  # here and not above: the first page should not wait for it
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import get_lexer_by_name
    from pygments.util import ClassNotFound

    try:
        name = LEXERS.get(language, language)
        lexer = get_lexer_by_name(name, stripnl=False, ensurenl=False)
        spans = pygments.format(_in_time(lexer.get_tokens(code)), HtmlFormatter(nowrap=True))
    except (ClassNotFound, TimeoutError):
        return ""
    return f'<pre><code class="language-{escape(language)}">{spans}</code></pre>\n'


def _in_time(tokens: Iterable[tuple[Any, str]]) -> Iterator[tuple[Any, str]]:
    """Pass tokens on. Raises TimeoutError when the text has had its time."""
    started = time.thread_time()
    try:
        for token in tokens:
            if _clock.spent + time.thread_time() - started > MAX_COLOUR_SECONDS:
                raise TimeoutError
            yield token
    finally:
        _clock.spent += time.thread_time() - started
