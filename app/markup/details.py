"""`<details>` and `<summary>`: blocks that open and close, with Markdown inside.

Nothing of HTML is parsed but these tags, without attributes, at the beginning of a line. Details
that were never closed end with what they stand in, like code in a fence, and are shown open.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_block import StateBlock

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
    """The line that closes them, or the one after the last; not one that shows code."""
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
    """The content: from the line `first` to the tag that closes it, on the line `last`."""
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
