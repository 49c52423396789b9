"""Responses that programs go on from by their ids: kept for a while, and only so many."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from app.db import responses
from app.db.connection import Database
from app.db.responses import StoredResponse
from app.errors import ResponseNotFound, WickError

log = logging.getLogger(__name__)
KEPT_SECONDS: Final = 30 * 86_400.0
MAX_RESPONSES: Final = 1_000
"""Responses of one user; older ones leave."""
MAX_CHARACTERS: Final = 64 << 20
MAX_CHAIN: Final = 500
"""Responses in a row, each of which goes on from the one before."""
MAX_CHAIN_CHARACTERS: Final = 8 << 20
CHECK_SECONDS: Final = 3600.0


class StoredResponses:
    """Keeps, finds and deletes the responses of users."""

    def __init__(self, db: Database, clock: Callable[[], float] = time.time) -> None:
        self._db = db
        self._clock = clock
        self._is_dirty = False

    async def save(self, user_id: int, response: StoredResponse) -> None:
        """Keep a response; the user's oldest make room for it."""
        size = len(response.input) + len(response.response)
        await self._db.write(lambda c: responses.add(c, user_id, response, size))
        await self._db.write(
            lambda c: responses.remove_surplus(c, user_id, MAX_RESPONSES, MAX_CHARACTERS)
        )

    async def get(self, user_id: int, response_id: str) -> StoredResponse:
        """Raises ResponseNotFound."""
        after = self._clock() - KEPT_SECONDS
        found = await responses.get(self._db, user_id, response_id, after)
        if found is None:
            raise _not_found(response_id)
        return found

    async def chain(self, user_id: int, response_id: str) -> list[StoredResponse]:
        """List a response and those before it, oldest first. Raises ResponseNotFound where one is
        missing, or they are too many."""
        found: list[StoredResponse] = []
        characters = 0
        next_id: str | None = response_id
        while next_id is not None:
            one = await self.get(user_id, next_id)
            characters += len(one.input) + len(one.response)
            if len(found) >= MAX_CHAIN or characters > MAX_CHAIN_CHARACTERS:
                raise ResponseNotFound(
                    f"The response “{response_id}” goes on from too many others. Send the"
                    " conversation itself, please."
                )
            found.append(one)
            next_id = one.previous_id
        return found[::-1]

    async def remove(self, user_id: int, response_id: str) -> None:
        """Delete a response. Raises ResponseNotFound."""
        if not await self._db.write(lambda c: responses.remove(c, user_id, response_id)):
            raise _not_found(response_id)
        self._is_dirty = True

    async def run(self) -> None:
        """Delete what has been kept for long, at once and then every hour, until cancelled."""
        while True:
            try:
                until = self._clock() - KEPT_SECONDS
                while await self._db.write(
                    lambda c, t=until: responses.purge_expired_responses(c, t)  # type: ignore[misc]
                ):
                    self._is_dirty = True
                if self._is_dirty:  # until then the words are in the database's files
                    await self._db.purge_deleted_text()
                    self._is_dirty = False
            except WickError as error:
                log.warning("Old responses were not deleted: %s", error)
            await asyncio.sleep(CHECK_SECONDS)


def _not_found(response_id: str) -> ResponseNotFound:
    return ResponseNotFound(f"There is no response with the id “{response_id}”.")
