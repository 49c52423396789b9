"""What people are called when they log in."""

from __future__ import annotations

import unicodedata
from typing import Final

from app.errors import InvalidAccount

MAX_NAME_CHARS: Final = 40
_LETTERS: Final = frozenset("LMN")  # letters, the marks on them, digits
_SIGNS: Final = frozenset(" ._-@'")


def normalize_name(text: str) -> str:
    """The name as it is shown. Raises InvalidAccount."""
    name = " ".join(unicodedata.normalize("NFC", text).split())
    if not name:
        raise InvalidAccount({"name": "Choose a name, please."})
    if len(name) > MAX_NAME_CHARS:
        raise InvalidAccount({"name": f"A name has at most {MAX_NAME_CHARS} characters."})
    if any(unicodedata.category(c)[0] not in _LETTERS and c not in _SIGNS for c in name):
        raise InvalidAccount({"name": "A name has letters, digits, spaces and . _ - @ ' only."})
    if not any(c.isalnum() for c in name):
        raise InvalidAccount({"name": "A name has at least one letter or digit."})
    return name


def username_key(text: str) -> str:
    """The name as it is compared; of what is no name too, which then finds nobody."""
    plain = text.encode("utf-8", "replace").decode()  # a terminal may give what is no text
    return unicodedata.normalize("NFKC", " ".join(plain.split())).casefold()
