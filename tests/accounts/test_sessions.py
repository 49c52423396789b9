"""Logins on a real database, with a clock that the test turns."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import aiosqlite
import pytest

from app.accounts.sessions import (
    GRACE_SECONDS,
    MAX_AGE_SECONDS,
    MAX_IDLE_SECONDS,
    ROTATE_AFTER_SECONDS,
)
from app.db.sessions import hash_token
from app.errors import SessionNotFound
from tests.accounts.conftest import PASSWORD, Accounts
from tests.patience import PATIENCE


async def test_only_the_hash_of_a_session_token_is_stored(
    accounts: Accounts, tmp_path: Path
) -> None:
    token, _ = await accounts.sessions.create(1, "Firefox on Linux", "192.0.2.1")
    with closing(sqlite3.connect(tmp_path / "wick.db")) as db:
        dump = "\n".join(db.iterdump())
    assert token not in dump
    assert hash_token(token).hex().upper() in dump
    assert (await accounts.sessions.authenticate(token)) is not None
    for wrong in ("", token[:-1], token + "x", "ü" * 43, "\ud800"):
        assert await accounts.sessions.authenticate(wrong) is None


async def refuse_writes(connection: aiosqlite.Connection) -> None:
    await connection.execute("PRAGMA query_only = ON")


async def test_a_session_holds_while_nothing_can_be_written(accounts: Accounts) -> None:
    token, login = await accounts.sessions.create(1, "", "")
    await accounts.db.write(refuse_writes)
    accounts.clock.now += ROTATE_AFTER_SECONDS + 1
    session = await accounts.sessions.authenticate(token)
    assert session is not None
    assert await accounts.sessions.rotate_token(session, token) is None
    assert await accounts.sessions.touch(login.id) is not None


@pytest.mark.parametrize(
    ("seconds", "holds"), [(MAX_IDLE_SECONDS - 1, True), (MAX_IDLE_SECONDS, False)]
)
async def test_an_unused_session_ends(accounts: Accounts, seconds: float, holds: bool) -> None:
    token, login = await accounts.sessions.create(1, "", "")
    accounts.clock.now += seconds
    assert (await accounts.sessions.authenticate(token) is not None) is holds
    assert await accounts.sessions.is_active(login.id) is holds
    assert bool(await accounts.sessions.list_for_user(1)) is holds


async def test_a_used_session_ends_at_its_maximum_age(accounts: Accounts) -> None:
    token, login = await accounts.sessions.create(1, "", "")
    while accounts.clock.now < login.created_at + MAX_AGE_SECONDS - MAX_IDLE_SECONDS / 2:
        assert await accounts.sessions.authenticate(token)
        accounts.clock.now += MAX_IDLE_SECONDS / 2
    accounts.clock.now = login.created_at + MAX_AGE_SECONDS
    assert await accounts.sessions.authenticate(token) is None


async def test_a_session_token_changes_after_a_day_and_the_old_one_soon_ends(
    accounts: Accounts,
) -> None:
    old, login = await accounts.sessions.create(1, "", "")
    assert await accounts.sessions.rotate_token(login, old) is None
    accounts.clock.now += ROTATE_AFTER_SECONDS + 1
    found = await accounts.sessions.authenticate(old)
    assert found
    new = await accounts.sessions.rotate_token(found, old)
    assert new
    assert new != old
    assert await accounts.sessions.rotate_token(found, old) is None  # another request was quicker
    accounts.clock.now += GRACE_SECONDS - 1
    again = await accounts.sessions.authenticate(old)  # a request that was on its way
    assert again
    assert again.csrf == login.csrf  # open pages go on
    assert await accounts.sessions.authenticate(new)
    accounts.clock.now += 2
    assert await accounts.sessions.authenticate(new)  # the browser has it
    assert await accounts.sessions.authenticate(old) is None
    assert await accounts.sessions.authenticate(new)


async def test_a_browser_that_never_got_its_new_session_token_gets_another(
    accounts: Accounts,
) -> None:
    old, login = await accounts.sessions.create(1, "", "")
    accounts.clock.now += ROTATE_AFTER_SECONDS + 1
    lost = await accounts.sessions.rotate_token(login, old)
    assert lost
    accounts.clock.now += GRACE_SECONDS + 1
    found = await accounts.sessions.authenticate(old)
    assert found
    assert not found.is_current
    new = await accounts.sessions.rotate_token(found, old)
    assert new
    assert await accounts.sessions.authenticate(lost) is None
    assert await accounts.sessions.authenticate(new)


async def test_watchers_hear_of_the_end_of_a_session(accounts: Accounts, tmp_path: Path) -> None:
    await accounts.users.add("Anna", PASSWORD, "owner")
    berta = await accounts.users.add("Berta", PASSWORD, "member")
    _, one = await accounts.sessions.create(1, "", "")
    _, two = await accounts.sessions.create(1, "", "")
    _, hers = await accounts.sessions.create(berta.id, "", "")
    with (
        accounts.sessions.watch(one.id) as first,
        accounts.sessions.watch(two.id) as second,
        accounts.sessions.watch(hers.id) as third,
        accounts.sessions.watch(0) as nobodys,
    ):
        await accounts.sessions.revoke(1, one.id)
        assert [e.is_set() for e in (first, second, third, nobodys)] == [True, False, False, False]
        with closing(sqlite3.connect(tmp_path / "wick.db")) as db, db:  # a command
            db.execute("UPDATE users SET disabled_at = 1 WHERE id = ?", (berta.id,))
        watch = asyncio.create_task(accounts.sessions.run())
        async with asyncio.timeout(PATIENCE):
            await third.wait()
        watch.cancel()
        await accounts.sessions.revoke_all(1)
        assert second.is_set()
        assert not nobodys.is_set()
    assert not accounts.sessions._watched


async def test_nobody_ends_the_session_of_another_user(accounts: Accounts) -> None:
    await accounts.users.add("Anna", PASSWORD, "owner")
    berta = await accounts.users.add("Berta", PASSWORD, "member")
    _, login = await accounts.sessions.create(1, "", "")
    with pytest.raises(SessionNotFound):
        await accounts.sessions.revoke(berta.id, login.id)
    assert await accounts.sessions.is_active(login.id)


async def test_session_ids_are_never_reused(accounts: Accounts) -> None:
    _, login = await accounts.sessions.create(1, "", "")
    await accounts.sessions.revoke_all(1)
    _, another = await accounts.sessions.create(1, "", "")
    assert another.id > login.id


async def test_beyond_the_limit_the_session_not_used_for_longest_ends(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.accounts.sessions.MAX_SESSIONS", 3)
    tokens = []
    for _ in range(3):
        accounts.clock.now += 100
        tokens.append((await accounts.sessions.create(1, "", ""))[0])
    accounts.clock.now += 100
    assert await accounts.sessions.authenticate(tokens[0]) is not None  # used last
    second = await accounts.sessions.authenticate(tokens[1])
    assert second is not None
    accounts.clock.now += 100
    for token in (tokens[2], tokens[0]):
        assert await accounts.sessions.authenticate(token) is not None
    with accounts.sessions.watch(second.id) as ended:
        newest, _ = await accounts.sessions.create(1, "", "")
        assert ended.is_set()
    alive = [await accounts.sessions.authenticate(token) is not None for token in tokens]
    assert alive == [True, False, True]
    assert await accounts.sessions.authenticate(newest) is not None
