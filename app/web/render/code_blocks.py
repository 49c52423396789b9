"""Head of a block of code: its language, and what may be done with it.

The markup is put around code that has been cleaned, so it may hold what no answer may.
"""

from __future__ import annotations

import functools
import re
from typing import Final

from markupsafe import Markup

_HEAD: Final = Markup(
    '<div class="code" dir="ltr"><div class="bar"><span>{language}</span>{preview}'
    '<button type="button" class="wrap" aria-pressed="false">Wrap</button>'
    '<button type="button" class="save" value="{file}">Download</button>'
    '<button type="button" class="copy">Copy</button></div>'
    '<pre tabindex="0"><code>'
)
_PREVIEW: Final = Markup(
    '<button type="button" class="preview" aria-pressed="false" value="{kind}">Preview</button>'
)
_FOOT: Final = Markup("</code></pre></div>")
_PREVIEWED: Final = {"html": "html", "htm": "html", "xhtml": "html", "svg": "svg"}
"""Languages that are shown as what they draw (`app/web/pages/artifact.py`), as which kind."""
LEXERS: Final = {"svg": "xml"}
"""Languages that the highlighter knows by another name."""
_ENDINGS: Final = {
    "svg": "svg", "mermaid": "mmd", "shell": "sh", "console": "txt", "text": "txt", "r": "R",
    "make": "mk", "tex": "tex", "latex": "tex",
}  # fmt: skip
"""Endings of file names that the highlighter doesn't know, or knows otherwise."""


@functools.lru_cache(maxsize=256)
def code_head(language: str, *, is_open: bool = False) -> Markup:
    """Return what stands before the code of one block. is_open: more of it is to come."""
    kind = "" if is_open else _PREVIEWED.get(language.lower(), "")
    preview = _PREVIEW.format(kind=kind) if kind else ""
    return _HEAD.format(language=language, preview=preview, file=file_name(language))


def code_foot() -> Markup:
    return _FOOT


@functools.lru_cache(maxsize=256)
def file_name(language: str) -> str:
    """Name the file that a block of code is saved as, by its language: `code.py`."""
    name = language.lower()
    if not name or name in _ENDINGS:
        return f"code.{_ENDINGS.get(name, 'txt')}"
    from pygments.lexers import find_lexer_class_by_name  # the first page should not wait for it
    from pygments.util import ClassNotFound

    try:
        patterns = find_lexer_class_by_name(name).filenames
    except ClassNotFound:
        return "code.txt"
    endings = (re.fullmatch(r"\*(\.\w+)", pattern) for pattern in patterns)
    whole = next((pattern for pattern in patterns if re.fullmatch(r"\w+", pattern)), "code.txt")
    return next((f"code{found[1]}" for found in endings if found), whole)
