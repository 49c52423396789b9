r"""Stop strings as a person writes them: one a line, what a line cannot hold as an escape.

`\n` is a line break, `\r` a carriage return, `\t` a tab, `\s` a space, `\uXXXX` any character, `\\`
a backslash. Any other backslash stands for itself, so `\end{code}` may be written as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

_CHARACTERS: Final = {"n": "\n", "r": "\r", "t": "\t", "s": " ", "\\": "\\"}
_NAMES: Final = {character: name for name, character in _CHARACTERS.items()}
_ESCAPE: Final = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|([nrts\\]))")
_NEEDS_ESCAPE: Final = re.compile(r"[\\\n\r\t\0\ud800-\udfff]")
_ANY: Final = re.compile(r".", re.DOTALL)


def to_lines(stops: Iterable[str]) -> str:
    """Write the stop strings as `from_lines` takes them back, unchanged."""
    return "\n".join(map(escaped, stops))


def from_lines(text: str) -> tuple[str, ...]:
    """Read stop strings without blank lines: a blank that is meant is written as an escape."""
    lines = text.replace("\r\n", "\n").split("\n")
    return tuple(_ESCAPE.sub(_character, line) for line in lines if line.strip())


def escaped(stop: str) -> str:
    """One stop string on one line."""
    return (_NEEDS_ESCAPE if stop.strip() else _ANY).sub(_name, stop)


def _name(match: re.Match[str]) -> str:
    name = _NAMES.get(match[0])
    return f"\\{name}" if name else f"\\u{ord(match[0]):04x}"


def _character(match: re.Match[str]) -> str:
    return chr(int(match[1], 16)) if match[1] else _CHARACTERS[match[2]]
