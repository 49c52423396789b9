"""The few HTML tags that models write in a line: these alone, without attributes, and in pairs.

No HTML is parsed: a tag that is not on the list, has an attribute, or has no partner in its own
block and element, stays text.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_inline import StateInline
    from markdown_it.token import Token

PAIRED: Final = ("kbd", "mark", "sub", "sup")
MAX_OPEN: Final = 16
"""Tags that wait for their partners at one place; one more is text."""
_TAG: Final = re.compile(rf"<(?:(/?)({'|'.join(PAIRED)})|br ?/?)>", re.IGNORECASE)


def inline_tags(parser: MarkdownIt) -> None:
    """Plugin for markdown-it; its tokens are `tag_open`, `tag_close` and `hardbreak`."""
    parser.inline.ruler.before("html_inline", "tag", _tag)
    parser.inline.ruler2.after("emphasis", "tag", _pair)


def _tag(state: StateInline, silent: bool) -> bool:  # noqa: FBT001 - called by the parser
    if state.src[state.pos] != "<":
        return False
    found = _TAG.match(state.src, state.pos, state.posMax)
    if found is None:
        return False
    if not silent:
        token = state.push("tag" if found[2] else "hardbreak", "", 0)
        token.content = found[0]
        token.tag = found[2].lower() if found[2] else "br"
        token.meta = {"closes": bool(found[1])}
    state.pos = found.end()
    return True


def _pair(state: StateInline) -> None:
    """Pair the tags, once all of the block has been read."""
    waiting: list[list[Token]] = [[]]  # for each element that is open, the innermost last
    for token in state.tokens:
        if token.type != "tag":
            if token.nesting > 0:
                waiting.append([])
            elif token.nesting < 0 and len(waiting) > 1:
                _give_up(waiting.pop())
        elif not token.meta["closes"]:
            _open(token, waiting[-1])
        else:
            _close(token, waiting[-1])
    for left in waiting:
        _give_up(left)


def _open(token: Token, waiting: list[Token]) -> None:
    if len(waiting) < MAX_OPEN:
        waiting.append(token)
    else:
        _give_up([token])


def _close(token: Token, waiting: list[Token]) -> None:
    if all(one.tag != token.tag for one in waiting):
        _give_up([token])
        return
    while waiting[-1].tag != token.tag:
        _give_up([waiting.pop()])
    opening = waiting.pop()
    opening.type, opening.nesting, opening.content = "tag_open", 1, ""
    token.type, token.nesting, token.content = "tag_close", -1, ""


def _give_up(tags: list[Token]) -> None:
    for token in tags:
        token.type, token.tag = "text", ""
