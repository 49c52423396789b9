"""Code in colours, as far as that takes no longer than it may."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any, Final

from markupsafe import escape

MAX_CHARS: Final = 50_000
"""Characters of code that gets colours."""
MAX_SECONDS = 0.5
"""Of computing, for the code of one text. Some lexers need minutes for what is made to be slow."""


class _Clock(threading.local):
    """Time that colours have taken in the text being rendered, per thread."""

    spent = 0.0


_clock = _Clock()


def start_clock() -> None:
    """Begin another text."""
    _clock.spent = 0.0


@functools.lru_cache(maxsize=64)
def highlight_code(code: str, language: str, _attributes: str) -> str:
    """Pygments classes for a known language, else nothing (then it is escaped as it is)."""
    if not language or len(code) > MAX_CHARS:
        return ""
    import pygments  # here and not above: the first page should not wait for it
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import get_lexer_by_name
    from pygments.util import ClassNotFound

    try:
        lexer = get_lexer_by_name(language, stripnl=False, ensurenl=False)
        spans = pygments.format(_in_time(lexer.get_tokens(code)), HtmlFormatter(nowrap=True))
    except (ClassNotFound, TimeoutError):
        return ""
    return f'<pre><code class="language-{escape(language)}">{spans}</code></pre>\n'


def _in_time(tokens: Iterable[tuple[Any, str]]) -> Iterator[tuple[Any, str]]:
    """Raises TimeoutError when the text has had its time."""
    started = time.thread_time()
    try:
        for token in tokens:
            if _clock.spent + time.thread_time() - started > MAX_SECONDS:
                raise TimeoutError
            yield token
    finally:
        _clock.spent += time.thread_time() - started
