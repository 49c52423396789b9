"""Where `wick user` and `wick key` have it done: by the server that runs, or else here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from functools import partial
from typing import Final, TypeVar

import httpx
import msgspec

from app import audit
from app.accounts.desk import Desk
from app.accounts.keys import Keys
from app.accounts.logins import Logins
from app.accounts.people import People
from app.cli.admission import sentence_of
from app.config import Settings
from app.errors import PeerError
from app.store.db import Database, open_database
from app.store.keys import Key
from app.store.people import Person, Role
from app.terminal.entry import own_or_find, way_in

T = TypeVar("T")
PATIENCE: Final = 600.0
"""Seconds: whoever is removed, the whole database is written anew."""


@asynccontextmanager
async def open_desk(settings: Settings, command: str) -> AsyncIterator[AnyDesk]:
    """Raises DataFolderInUse while a `wick chat` works alone on the data folder."""
    async with AsyncExitStack() as stack:
        own = stack.enter_context(ExitStack())
        owner = await own_or_find(settings.data_dir, command, own)
        if owner is not None:
            way = way_in(settings, owner.url, owner.secret)
            client = httpx.AsyncClient(**way, timeout=PATIENCE)
            yield DeskOfServer(await stack.enter_async_context(client))
            return
        stack.enter_context(audit.kept_in(settings.data_dir))
        db = await stack.enter_async_context(open_database(settings.database))
        yield _desk_here(settings, db)


def _desk_here(settings: Settings, db: Database) -> Desk:
    from app.chats.leaving import erase  # here and not above: it needs the engine's parts

    async def stop(user_id: int) -> None:
        """Nothing runs."""

    return Desk(People(db, Logins(db)), Keys(db), stop, partial(erase, db, settings))


class DeskOfServer:
    """A Desk whose work is done by the server; what it refuses is a PeerError with its sentence."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def everybody(self) -> list[Person]:
        return await self._ask(list[Person], "everybody")

    async def named(self, name: str) -> Person:
        return await self._ask(Person, "named", name=name)

    async def add(self, name: str, password: str, role: Role) -> Person:
        return await self._ask(Person, "add", name=name, password=password, role=role)

    async def invite(self, role: Role) -> str:
        return await self._ask(str, "invite", role=role)

    async def password_link(self, name: str) -> str:
        return await self._ask(str, "password_link", name=name)

    async def set_password(self, name: str, password: str) -> Person:
        return await self._ask(Person, "set_password", name=name, password=password)

    async def disable(self, name: str) -> Person:
        return await self._ask(Person, "disable", name=name)

    async def enable(self, name: str) -> Person:
        return await self._ask(Person, "enable", name=name)

    async def remove(self, name: str) -> Person:
        return await self._ask(Person, "remove", name=name)

    async def keys_of(self, user: str | None) -> list[Key]:
        return await self._ask(list[Key], "keys_of", user=user)

    async def make_key(self, user: str | None, name: str, scopes: Sequence[str]) -> str:
        return await self._ask(str, "make_key", user=user, name=name, scopes=list(scopes))

    async def revoke_key(self, user: str | None, key_id: int) -> None:
        await self._ask(type(None), "revoke_key", user=user, key_id=key_id)

    async def _ask(self, kind: type[T], verb: str, **arguments: object) -> T:
        # What a terminal gave as no text at all must not end as an error of the encoder.
        body = msgspec.json.encode(_as_text(arguments))
        try:
            response = await self._client.post(f"/terminal/{verb}", content=body)
        except httpx.TransportError as error:
            where = str(self._client.base_url).rstrip("/")
            raise PeerError(f"The Wick at {where} has ended or cannot be reached.") from error
        if not response.is_success:
            raise PeerError(sentence_of(response))
        return msgspec.json.decode(response.content, type=kind)


AnyDesk = Desk | DeskOfServer


def _as_text(arguments: dict[str, object]) -> dict[str, object]:
    return {
        name: value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
        for name, value in arguments.items()
    }
