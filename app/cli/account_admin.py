"""Account admin of `wick user` and `wick key`: the running server, or else this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from functools import partial
from typing import Final, TypeVar

import httpx
import msgspec

from app import audit
from app.accounts.admin import AccountAdmin
from app.accounts.api_keys import ApiKeys
from app.accounts.sessions import Sessions
from app.accounts.users import Users
from app.config import Settings
from app.db.api_keys import ApiKey
from app.db.connection import Database, open_database
from app.db.users import Role, User
from app.errors import PeerError
from app.local_server import acquire_or_discover, client_options, error_message

T = TypeVar("T")
TIMEOUT: Final = 600.0
"""Seconds: removing a user rewrites the whole database."""


@asynccontextmanager
async def open_account_admin(settings: Settings, command: str) -> AsyncIterator[AnyAccountAdmin]:
    """Open the account admin.

    Raises DataFolderInUse while a `wick chat` works alone on the data folder.
    """
    async with AsyncExitStack() as stack:
        own = stack.enter_context(ExitStack())
        owner = await acquire_or_discover(settings.data_dir, command, own)
        if owner is not None:
            way = client_options(settings, owner.url, owner.secret)
            client = httpx.AsyncClient(**way, timeout=TIMEOUT)
            yield RemoteAccountAdmin(await stack.enter_async_context(client))
            return
        stack.enter_context(audit.write_audit_file(settings.data_dir))
        db = await stack.enter_async_context(open_database(settings.database))
        yield _local_admin(settings, db)


def _local_admin(settings: Settings, db: Database) -> AccountAdmin:
    from app.conversations.account_deletion import (
        erase_user,  # here and not above: it needs the engine's parts
    )

    async def stop(user_id: int) -> None:
        """Stop nothing: no server runs."""

    return AccountAdmin(
        Users(db, Sessions(db)), ApiKeys(db), stop, partial(erase_user, db, settings)
    )


class RemoteAccountAdmin:
    """AccountAdmin whose work the server does; raises PeerError with what it refuses."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def list_users(self) -> list[User]:
        return await self._request(list[User], "everybody")

    async def get_by_name(self, name: str) -> User:
        return await self._request(User, "named", name=name)

    async def add(self, name: str, password: str, role: Role) -> User:
        return await self._request(User, "add", name=name, password=password, role=role)

    async def invite(self, role: Role) -> str:
        return await self._request(str, "invite", role=role)

    async def password_link(self, name: str) -> str:
        return await self._request(str, "password_link", name=name)

    async def set_password(self, name: str, password: str) -> User:
        return await self._request(User, "set_password", name=name, password=password)

    async def disable(self, name: str) -> User:
        return await self._request(User, "disable", name=name)

    async def enable(self, name: str) -> User:
        return await self._request(User, "enable", name=name)

    async def remove(self, name: str) -> User:
        return await self._request(User, "remove", name=name)

    async def list_keys(self, user: str | None) -> list[ApiKey]:
        return await self._request(list[ApiKey], "keys_of", user=user)

    async def create_key(self, user: str | None, name: str, scopes: Sequence[str]) -> str:
        return await self._request(str, "make_key", user=user, name=name, scopes=list(scopes))

    async def revoke_key(self, user: str | None, key_id: int) -> None:
        await self._request(type(None), "revoke_key", user=user, key_id=key_id)

    async def _request(self, kind: type[T], verb: str, **arguments: object) -> T:
        # What a terminal gave as no text at all must not end as an error of the encoder.
        body = msgspec.json.encode(_error_text(arguments))
        try:
            response = await self._client.post(f"/terminal/{verb}", content=body)
        except httpx.TransportError as error:
            where = str(self._client.base_url).rstrip("/")
            raise PeerError(f"Can't reach Wick at {where}.") from error
        if not response.is_success:
            raise PeerError(error_message(response))
        return msgspec.json.decode(response.content, type=kind)


AnyAccountAdmin = AccountAdmin | RemoteAccountAdmin


def _error_text(arguments: dict[str, object]) -> dict[str, object]:
    return {
        name: value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
        for name, value in arguments.items()
    }
