"""The few HTML tags that models write: these alone, and without attributes.

No other HTML is parsed. In a line, a tag that is not on the list, has an attribute, or has no
partner in its own block and element, stays text. `<details>` and `<summary>`, at the beginning of a
line, are blocks that open and close, with Markdown inside. Details that were never closed end with
what they stand in, like code in a fence, and are shown open.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_block import StateBlock
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


# Details and their summaries.

MAX_DEPTH: Final = 8
MAX_SUMMARY_LINES: Final = 3
_BEGIN: Final = re.compile(r"<details>[ \t]*(?=\Z|<summary>)", re.IGNORECASE)
_END: Final = re.compile(r"</details>[ \t]*\Z", re.IGNORECASE)
_SUMMARY: Final = re.compile(r"<summary>(.*?)</summary>[ \t]*", re.IGNORECASE | re.DOTALL)
_FENCE: Final = re.compile(r"(`{3,})[^`]*\Z|(~{3,})")


def details(parser: MarkdownIt) -> None:
    """Plugin for markdown-it; its tokens are `details_open`, `summary_open` and their ends."""
    parser.block.ruler.before(
        "fence", "details", _details, {"alt": ["paragraph", "reference", "blockquote", "list"]}
    )


def _details(state: StateBlock, start: int, end: int, silent: bool) -> bool:  # noqa: FBT001
    found = _BEGIN.match(_line(state, start))
    depth = state.env.get("details", 0)
    if found is None or state.is_code_block(start) or depth >= MAX_DEPTH:
        return False
    if silent:
        return True
    last, is_closed = _find_end(state, start, end)
    token = state.push("details_open", "details", 1)
    token.block, token.map = True, [start, min(last + 1, end)]
    if not is_closed:
        token.attrSet("open", "")
    state.env["details"] = depth + 1
    first = _summary(state, start, last, found.end())
    _inside(state, first, last, is_closed=is_closed)
    state.env["details"] = depth
    state.push("details_close", "details", -1).block = True
    state.line = min(last + 1, end)
    return True


def _find_end(state: StateBlock, start: int, end: int) -> tuple[int, bool]:
    """Find the line that closes them, or the one after the last; not one that shows code."""
    depth, fence = 0, ""
    for number in range(start, end):
        if number > start and not state.isEmpty(number) and state.sCount[number] < state.blkIndent:
            return number, False
        line = _line(state, number)
        if found := _FENCE.match(line):
            mark = found[1] or found[2]
            if not fence:
                fence = mark
            elif mark.startswith(fence) and not line.strip(mark[0]).strip():
                fence = ""
        if fence:
            continue
        if _BEGIN.match(line):
            depth += 1
        if _END.search(line):
            depth -= 1
            if depth <= 0:
                return number, True
    return end, False


def _inside(state: StateBlock, first: int, last: int, *, is_closed: bool) -> None:
    """Parse the content: from the line `first` to the tag that closes it, on the line `last`."""
    stop = last
    if is_closed and (found := _END.search(_line(state, last))) and found.start() > 0:
        state.eMarks[last] = state.bMarks[last] + state.tShift[last] + found.start()
        stop = last + 1
    if first < stop:
        old_max, old_parent = state.lineMax, state.parentType
        state.lineMax, state.parentType = stop, "details"
        state.md.block.tokenize(state, first, stop)
        state.lineMax, state.parentType = old_max, old_parent


def _summary(state: StateBlock, start: int, last: int, skipped: int) -> int:
    """Push it, where there is one. Returns the line on which the content begins."""
    _cut(state, start, skipped)
    line = start + 1 if state.isEmpty(start) else start
    stop = min(line + MAX_SUMMARY_LINES, last + 1, state.lineMax)
    text = "\n".join(_line(state, number) for number in range(line, stop))
    found = _SUMMARY.match(text)
    if found is None:
        return line
    token = state.push("summary_open", "summary", 1)
    token.map = [line, line + 1]
    inline = state.push("inline", "", 0)
    inline.content, inline.map, inline.children = found[1].strip(), [line, line + 1], []
    state.push("summary_close", "summary", -1)
    ends = line + text.count("\n", 0, found.end())
    before = text.rfind("\n", 0, found.end()) + 1
    _cut(state, ends, found.end() - before)
    return ends + 1 if state.isEmpty(ends) else ends


def _cut(state: StateBlock, line: int, chars: int) -> None:
    """Cut so many characters off the beginning."""
    state.bMarks[line] += state.tShift[line] + chars
    state.tShift[line] = 0
    state.sCount[line] = state.blkIndent


def _line(state: StateBlock, number: int) -> str:
    return state.src[state.bMarks[number] + state.tShift[number] : state.eMarks[number]]
