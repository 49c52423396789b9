"""Footnotes: `[^1]` in the text, and `[^1]: …` where its note stands."""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_block import StateBlock
    from markdown_it.rules_inline import StateInline

_REFERENCE: Final = re.compile(r"\[\^([^\]\[\s^]{1,40})\]")
_DEFINITION: Final = re.compile(r"\[\^[^\]\[\s^]{1,40}\]:")


def footnotes(parser: MarkdownIt) -> None:
    """Plugin for markdown-it. A note stays where it was written: what is shown is never moved.

    Its tokens are `footnote_ref`, `footnote_reference_open` and its end, their `meta["label"]` says
    which; of several notes with one label the first has `meta["is_first"]`. `env["notes"]` holds,
    and gets, the line after each note by label.
    """
    parser.block.ruler.before(
        "reference", "footnote", _note, {"alt": ["paragraph", "reference", "blockquote"]}
    )
    parser.inline.ruler.before("link", "footnote", _reference)


def known_notes(env: MutableMapping[str, Any]) -> dict[str, int]:
    """The notes that are defined, by label."""
    notes: dict[str, int] = env.setdefault("notes", {})
    return notes


def _note(state: StateBlock, start: int, end: int, silent: bool) -> bool:  # noqa: FBT001
    from mdit_py_plugins.footnote.index import footnote_def

    begins = state.bMarks[start] + state.tShift[start]
    if not _DEFINITION.match(state.src, begins, state.eMarks[start]):
        return False
    place = len(state.tokens)
    if not footnote_def(state, start, end, silent):
        return False
    if not silent:
        token, notes = state.tokens[place], known_notes(state.env)
        token.meta["is_first"] = token.meta["label"] not in notes
        notes.setdefault(token.meta["label"], state.line)
    return True


def _reference(state: StateInline, silent: bool) -> bool:  # noqa: FBT001 - called by the parser
    if state.src[state.pos] != "[" or state.linkLevel > 0:
        return False
    found = _REFERENCE.match(state.src, state.pos, state.posMax)
    if found is None or found[1] not in known_notes(state.env):
        return False
    if not silent:
        token = state.push("footnote_ref", "", 0)
        token.meta["label"] = found[1]
    state.pos = found.end()
    return True
