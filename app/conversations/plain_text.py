"""Pieces of Markdown, and titles that models wrote in it, as plain text."""

from __future__ import annotations

import re
from typing import Final

# A hit inside a tag or a note stays as it is: it was sought. So do signs that mean something.
_SIGNS: Final = re.compile(r"\*\*|```")
_BREAK: Final = re.compile(r"[ \t]*<br ?/?>[ \t]*", re.IGNORECASE)
_TAG: Final = re.compile(r"</?(?:kbd|mark|sub|sup|details|summary)>", re.IGNORECASE)
_NOTE: Final = re.compile(r"\[\^(\d{1,3})\]")


def strip_markup(text: str) -> str:
    """Remove bold, fences and the few tags that are shown as something; `[^1]` is `[1]`."""
    text = _SIGNS.sub("", text)
    text = _TAG.sub("", _BREAK.sub(" ", text))
    return _NOTE.sub(r"[\1]", text)
