"""Lets templates read contents as they are, and keeps contents from becoming special tokens.

Inside contents the name of a special token is broken by a private-use character, the break, before
a template sees it. What it renders then holds whole names only where it wrote them itself; those
become tokens, and afterwards the break is taken out of the text between them. When a template looks
for such a name in a content, it finds the broken one (`ContentGuard.sought`).
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, Final

from app.errors import TemplateError

BREAKS: Final = (range(0xE000, 0xF900), range(0xF0000, 0xFFFFE))
"""Where a break is taken from: the private-use characters."""
MAX_EDGE: Final = 64
"""Characters at the edge of a content that may be part of a name that its neighbour completes."""
MAX_SOUGHT: Final = 1000
"""Characters of a text that a template looks for in another."""
MAX_BRANCHES: Final = 20


class SpecialNames:
    """The names of special tokens, each of two characters at least, prepared for quick searches."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(sorted({name for name in names if len(name) > 1}))
        self.whole = re.compile(_any_of(self.names, 0))
        self._start = re.compile(_starts(self.names), re.IGNORECASE)

    def broken(self, text: str, by: str) -> str:
        """Return `text` without any name, in capitals or not, and none that its neighbours
        complete.
        """
        return self._edges(self.broken_inside(text, by), by)

    def broken_inside(self, text: str, by: str) -> str:
        """Return `text` without any name."""
        return self._start.sub(lambda match: match.group() + by, text)

    @functools.cached_property
    def _short(self) -> list[str]:
        return [name.casefold() for name in self.names if len(name) <= MAX_EDGE]

    @functools.cached_property
    def _beginnings(self) -> frozenset[str]:
        return frozenset(name[:cut] for name in self._short for cut in range(1, len(name)))

    @functools.cached_property
    def _ends(self) -> frozenset[str]:
        return frozenset(name[cut:] for name in self._short for cut in range(1, len(name)))

    @functools.cached_property
    def _all(self) -> str:
        return "\n".join(self._short)

    def _edges(self, text: str, by: str) -> str:
        """Templates trim contents, so the edges are those of the trimmed text."""
        inner = text.strip()
        if not inner:
            return text
        start = text.index(inner[0])
        head, tail = inner[:MAX_EDGE].casefold(), inner[-MAX_EDGE:].casefold()
        sizes = range(1, min(MAX_EDGE, len(inner)) + 1)
        before = by if any(head[:size] in self._ends for size in sizes) else ""
        after = by if any(tail[-size:] in self._beginnings for size in sizes) else ""
        if len(inner) < MAX_EDGE and head in self._all:
            after = by
            inner = inner[0] + by + inner[1:]
        end = start + len(text.strip())
        return f"{text[:start]}{before}{inner}{after}{text[end:]}"


def _starts(names: Sequence[str]) -> str:
    """A pattern for the first character of every name, also where names overlap."""
    firsts = sorted({name[0] for name in names})
    of_first = {first: [n[1:] for n in names if n[0] == first] for first in firsts}
    found = [f"{re.escape(first)}(?={_any_of(rests, 0)})" for first, rests in of_first.items()]
    return "|".join(found) or r"(?!)"


def _any_of(texts: Sequence[str], depth: int) -> str:
    """A pattern that tries no text twice: what many begin with is looked at once. Longest first."""
    if not texts:
        return r"(?!)"
    if depth > MAX_BRANCHES:  # made to be deep
        return "|".join(map(re.escape, sorted(texts, key=len, reverse=True)))
    groups: dict[str, list[str]] = {}
    for text in texts:
        groups.setdefault(text[:1], []).append(text)
    is_whole = groups.pop("", None) is not None
    found = []
    for group in groups.values():
        low, high = min(group), max(group)
        size = next((i for i, c in enumerate(low) if high[i : i + 1] != c), len(low))
        rests = [text[size:] for text in group]
        rest = "" if rests == [""] else f"(?:{_any_of(rests, depth + 1)})"
        found.append(re.escape(low[:size]) + rest)
    return "|".join([*found, *([""] if is_whole else [])])


class ContentGuard:
    """The break of one rendering, which occurs nowhere in `texts`. Raises TemplateError when every
    character that could be one does."""

    def __init__(self, names: SpecialNames, texts: Iterable[str]) -> None:
        self._names = names
        everything = "\0".join(texts)
        spelled = everything.lower() if "\\u" in everything else ""
        self._break = _unused(everything, spelled)
        # A template may write contents as JSON.
        self._spelled = re.compile(re.escape(json.dumps(self._break)[1:-1]), re.IGNORECASE)

    def guard(self, value: Any) -> Any:
        """Return `value` with every text in it broken."""
        if isinstance(value, str):
            return self._names.broken(value, self._break)
        if isinstance(value, Mapping):
            return {key: self.guard(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.guard(item) for item in value]
        return value

    def sought(self, text: Any, where: str) -> Any:
        """Return what a template that looks for `text` must look for in `where`."""
        if not isinstance(text, str) or len(text) > MAX_SOUGHT or text in where:
            return text
        return self._names.broken_inside(text, self._break)

    def plain(self, value: Any) -> Any:
        """Return a text as it was written, for a template that only tests something about it."""
        if isinstance(value, tuple):  # str.startswith takes several
            return tuple(map(self.plain, value))
        return value.replace(self._break, "") if isinstance(value, str) else value

    def text(self, rendered: str) -> str:
        """Remove the breaks from a rendered text."""
        rendered = rendered.replace(self._break, "")
        return self._spelled.sub("", rendered) if "\\u" in rendered else rendered


GUARD: Final[ContextVar[ContentGuard]] = ContextVar("GUARD")
"""The guard of the rendering under way; set by whoever renders."""


def _unused(everything: str, spelled: str) -> str:
    for number in (number for numbers in BREAKS for number in numbers):
        found = chr(number)
        if found not in everything and json.dumps(found)[1:-1] not in spelled:
            return found
    raise TemplateError("This conversation holds every private-use character there is.")
