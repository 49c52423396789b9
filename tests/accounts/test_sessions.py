"""Logins on a real database, with a clock that the test turns."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from app.accounts.sessions import (
    GRACE_SECONDS,
    MAX_AGE_SECONDS,
    MAX_IDLE_SECONDS,
    ROTATE_AFTER_SECONDS,
)
from app.db.sessions import hash_token
from app.errors import SessionNotFound
from tests.accounts.conftest import PASSWORD, Office
from tests.patience import PATIENCE


async def test_only_the_hash_of_a_token_is_kept(office: Office, tmp_path: Path) -> None:
    token, _ = await office.logins.create(1, "Firefox on Linux", "192.0.2.1")
    with closing(sqlite3.connect(tmp_path / "wick.db")) as db:
        dump = "\n".join(db.iterdump())
    assert token not in dump
    assert hash_token(token).hex().upper() in dump
    assert (await office.logins.authenticate(token)) is not None
    for wrong in ("", token[:-1], token + "x", "ü" * 43, "\ud800"):
        assert await office.logins.authenticate(wrong) is None


@pytest.mark.parametrize(
    ("seconds", "holds"), [(MAX_IDLE_SECONDS - 1, True), (MAX_IDLE_SECONDS, False)]
)
async def test_a_login_that_is_not_used_ends(office: Office, seconds: float, holds: bool) -> None:
    token, login = await office.logins.create(1, "", "")
    office.clock.now += seconds
    assert (await office.logins.authenticate(token) is not None) is holds
    assert await office.logins.is_active(login.id) is holds
    assert bool(await office.logins.list_for_user(1)) is holds


async def test_a_login_that_is_used_ends_too_at_last(office: Office) -> None:
    token, login = await office.logins.create(1, "", "")
    while office.clock.now < login.created_at + MAX_AGE_SECONDS - MAX_IDLE_SECONDS / 2:
        assert await office.logins.authenticate(token)
        office.clock.now += MAX_IDLE_SECONDS / 2
    office.clock.now = login.created_at + MAX_AGE_SECONDS
    assert await office.logins.authenticate(token) is None


async def test_a_token_is_changed_after_a_day_and_the_old_one_soon_worth_nothing(
    office: Office,
) -> None:
    old, login = await office.logins.create(1, "", "")
    assert await office.logins.rotate_token(login, old) is None
    office.clock.now += ROTATE_AFTER_SECONDS + 1
    found = await office.logins.authenticate(old)
    assert found
    new = await office.logins.rotate_token(found, old)
    assert new
    assert new != old
    assert await office.logins.rotate_token(found, old) is None  # another request was quicker
    office.clock.now += GRACE_SECONDS - 1
    again = await office.logins.authenticate(old)  # a request that was on its way
    assert again
    assert again.csrf == login.csrf  # open pages go on
    assert await office.logins.authenticate(new)
    office.clock.now += 2
    assert await office.logins.authenticate(new)  # the browser has it
    assert await office.logins.authenticate(old) is None
    assert await office.logins.authenticate(new)


async def test_a_browser_that_never_got_its_new_token_gets_another(office: Office) -> None:
    old, login = await office.logins.create(1, "", "")
    office.clock.now += ROTATE_AFTER_SECONDS + 1
    lost = await office.logins.rotate_token(login, old)
    assert lost
    office.clock.now += GRACE_SECONDS + 1
    found = await office.logins.authenticate(old)
    assert found
    assert not found.is_current
    new = await office.logins.rotate_token(found, old)
    assert new
    assert await office.logins.authenticate(lost) is None
    assert await office.logins.authenticate(new)


async def test_whoever_watches_hears_of_the_end(office: Office, tmp_path: Path) -> None:
    await office.people.add("Anna", PASSWORD, "owner")
    berta = await office.people.add("Berta", PASSWORD, "member")
    _, one = await office.logins.create(1, "", "")
    _, two = await office.logins.create(1, "", "")
    _, hers = await office.logins.create(berta.id, "", "")
    with (
        office.logins.watch(one.id) as first,
        office.logins.watch(two.id) as second,
        office.logins.watch(hers.id) as third,
        office.logins.watch(0) as nobodys,
    ):
        await office.logins.revoke(1, one.id)
        assert [e.is_set() for e in (first, second, third, nobodys)] == [True, False, False, False]
        with closing(sqlite3.connect(tmp_path / "wick.db")) as db, db:  # a command
            db.execute("UPDATE users SET disabled_at = 1 WHERE id = ?", (berta.id,))
        watch = asyncio.create_task(office.logins.run())
        async with asyncio.timeout(PATIENCE):
            await third.wait()
        watch.cancel()
        await office.logins.revoke_all(1)
        assert second.is_set()
        assert not nobodys.is_set()
    assert not office.logins._watched


async def test_nobody_ends_the_login_of_another(office: Office) -> None:
    await office.people.add("Anna", PASSWORD, "owner")
    berta = await office.people.add("Berta", PASSWORD, "member")
    _, login = await office.logins.create(1, "", "")
    with pytest.raises(SessionNotFound):
        await office.logins.revoke(berta.id, login.id)
    assert await office.logins.is_active(login.id)


async def test_ids_of_logins_never_come_again(office: Office) -> None:
    _, login = await office.logins.create(1, "", "")
    await office.logins.revoke_all(1)
    _, another = await office.logins.create(1, "", "")
    assert another.id > login.id
