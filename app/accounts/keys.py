"""API keys: programs that act for a person."""

from __future__ import annotations

from app.store.db import Database
from app.store.people import Person


class Keys:
    """Finds who a key belongs to."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def find(self, secret: str) -> Person | None:
        """The person whose key this is, if it is one that holds."""
        return None
