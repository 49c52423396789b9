"""Tokens of the Markdown parser that rich does not know, as ones that it draws."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from markdown_it.token import Token

DEFAULT_SUMMARY: Final = "Details"
"""What browsers call details without a summary."""
_RAISED: Final = str.maketrans("0123456789+-−=()n", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁼⁽⁾ⁿ")
_LOWERED: Final = str.maketrans("0123456789+-−=()", "₀₁₂₃₄₅₆₇₈₉₊₋₋₌₍₎")
_ORDINALS: Final = {"st", "nd", "rd", "th"}


def to_drawable(tokens: Sequence[Token]) -> Iterator[Token]:
    """Blocks. Formulas are their source, of details the summary is a heading."""
    for number, token in enumerate(tokens):
        if token.type == "inline":
            token.children = list(_inline(token.children or []))
            yield token
        elif token.type == "formula":
            yield Token("fence", "code", 0, content=f"{token.markup}\n", info="latex")
        elif token.type == "details_open":
            if tokens[number + 1].type != "summary_open":
                yield from _heading(DEFAULT_SUMMARY)
        elif token.type in {"summary_open", "summary_close"}:
            yield Token(token.type.replace("summary", "heading"), "h3", token.nesting)
        elif token.type != "details_close":
            yield token


def _heading(text: str) -> Iterator[Token]:
    yield Token("heading_open", "h3", 1)
    yield Token("inline", "", 0, children=[_text(text)])
    yield Token("heading_close", "h3", -1)


def _inline(tokens: Sequence[Token]) -> Iterator[Token]:
    """What stands in a line. Where the model began a line, a line begins."""
    number = 0
    while number < len(tokens):
        token = tokens[number]
        number += 1
        if token.type == "softbreak":
            token.type = "hardbreak"
        if token.type == "footnote_ref":
            yield _text(f"[{token.meta['label']}]")
        elif token.type == "formula":
            yield Token("code_inline", "code", 0, content=token.markup)
        elif token.type == "html_inline":  # of a task list: the parser takes no HTML
            yield _text("☑" if "checked=" in token.content else "☐")
        elif token.type == "tag_open" and token.tag in {"sub", "sup"}:
            end = _end_of(tokens, number)
            yield _text(to_small_text("".join(_words(tokens[number:end])), token.tag))
            number = end + 1
        elif token.type == "link_open" and token.markup in {"autolink", "linkify"}:
            end = _end_of(tokens, number)  # the address is its text already
            yield from tokens[number:end]
            number = end + 1
        elif token.type == "image":
            yield Token("link_open", "a", 1, attrs={"href": token.attrs.get("src", "")})
            yield _text(token.content)
            yield Token("link_close", "a", -1)
        else:
            yield token


def _end_of(tokens: Sequence[Token], number: int) -> int:
    """Where the element ends whose content begins there."""
    depth = 1
    for place in range(number, len(tokens)):
        depth += tokens[place].nesting
        if depth == 0:
            return place
    return len(tokens)


def _words(tokens: Sequence[Token]) -> Iterator[str]:
    for token in _inline(tokens):
        yield "\n" if token.type == "hardbreak" else token.content


def to_small_text(text: str, tag: str) -> str:
    """Small text that is set above (`sup`) or below (`sub`), so that 10⁶ is not read as 106."""
    if not text.strip() or text in _ORDINALS:
        return text
    small = text.translate(_RAISED if tag == "sup" else _LOWERED)
    if all(old != new for old, new in zip(text, small, strict=True)):
        return small
    mark = "^" if tag == "sup" else "_"
    return f"{mark}{text}" if re.fullmatch(r"\w+", text) else f"{mark}({text})"


def _text(content: str) -> Token:
    return Token("text", "", 0, content=content)
