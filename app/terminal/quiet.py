"""The terminal while nothing is asked for: what is typed is kept for the next prompt, unseen."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

try:
    import termios
except ImportError:  # Windows, where the console does not echo by itself
    termios = None  # type: ignore[assignment]


@contextlib.contextmanager
def without_echo() -> Iterator[None]:
    """Keys that are pressed between two prompts do not appear in the middle of an answer."""
    if termios is None or not sys.stdin.isatty():
        yield
        return
    number = sys.stdin.fileno()
    before = termios.tcgetattr(number)
    changed = termios.tcgetattr(number)
    changed[3] &= ~termios.ECHO
    termios.tcsetattr(number, termios.TCSADRAIN, changed)
    try:
        yield
    finally:
        termios.tcsetattr(number, termios.TCSADRAIN, before)
