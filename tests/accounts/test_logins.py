"""Logins on a real database, with a clock that the test turns."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from app.accounts.logins import GRACE, IDLE, LONGEST, ROTATED_AFTER, hash_of
from app.errors import LoginNotFound
from tests.accounts.conftest import PASSWORD, Office
from tests.patience import PATIENCE


async def test_only_the_hash_of_a_token_is_kept(office: Office, tmp_path: Path) -> None:
    token, _ = await office.logins.begin(1, "Firefox on Linux", "192.0.2.1")
    with closing(sqlite3.connect(tmp_path / "wick.db")) as db:
        dump = "\n".join(db.iterdump())
    assert token not in dump
    assert hash_of(token).hex().upper() in dump
    assert (await office.logins.find(token)) is not None
    for wrong in ("", token[:-1], token + "x", "ü" * 43, "\ud800"):
        assert await office.logins.find(wrong) is None


@pytest.mark.parametrize(("seconds", "holds"), [(IDLE - 1, True), (IDLE, False)])
async def test_a_login_that_is_not_used_ends(office: Office, seconds: float, holds: bool) -> None:
    token, login = await office.logins.begin(1, "", "")
    office.clock.now += seconds
    assert (await office.logins.find(token) is not None) is holds
    assert await office.logins.holds(login.id) is holds
    assert bool(await office.logins.of(1)) is holds


async def test_a_login_that_is_used_ends_too_at_last(office: Office) -> None:
    token, login = await office.logins.begin(1, "", "")
    while office.clock.now < login.created_at + LONGEST - IDLE / 2:
        assert await office.logins.find(token)
        office.clock.now += IDLE / 2
    office.clock.now = login.created_at + LONGEST
    assert await office.logins.find(token) is None


async def test_a_token_is_changed_after_a_day_and_the_old_one_soon_worth_nothing(
    office: Office,
) -> None:
    old, login = await office.logins.begin(1, "", "")
    assert await office.logins.rotated(login, old) is None
    office.clock.now += ROTATED_AFTER + 1
    found = await office.logins.find(old)
    assert found
    new = await office.logins.rotated(found, old)
    assert new
    assert new != old
    assert await office.logins.rotated(found, old) is None  # another request was quicker
    office.clock.now += GRACE - 1
    again = await office.logins.find(old)  # a request that was on its way
    assert again
    assert again.csrf == login.csrf  # open pages go on
    assert await office.logins.find(new)
    office.clock.now += 2
    assert await office.logins.find(new)  # the browser has it
    assert await office.logins.find(old) is None
    assert await office.logins.find(new)


async def test_a_browser_that_never_got_its_new_token_gets_another(office: Office) -> None:
    old, login = await office.logins.begin(1, "", "")
    office.clock.now += ROTATED_AFTER + 1
    lost = await office.logins.rotated(login, old)
    assert lost
    office.clock.now += GRACE + 1
    found = await office.logins.find(old)
    assert found
    assert not found.is_current
    new = await office.logins.rotated(found, old)
    assert new
    assert await office.logins.find(lost) is None
    assert await office.logins.find(new)


async def test_whoever_watches_hears_of_the_end(office: Office, tmp_path: Path) -> None:
    await office.people.add("Anna", PASSWORD, "owner")
    berta = await office.people.add("Berta", PASSWORD, "member")
    _, one = await office.logins.begin(1, "", "")
    _, two = await office.logins.begin(1, "", "")
    _, hers = await office.logins.begin(berta.id, "", "")
    with (
        office.logins.watch(one.id) as first,
        office.logins.watch(two.id) as second,
        office.logins.watch(hers.id) as third,
        office.logins.watch(0) as nobodys,
    ):
        await office.logins.end(1, one.id)
        assert [e.is_set() for e in (first, second, third, nobodys)] == [True, False, False, False]
        with closing(sqlite3.connect(tmp_path / "wick.db")) as db, db:  # a command
            db.execute("UPDATE users SET disabled_at = 1 WHERE id = ?", (berta.id,))
        watch = asyncio.create_task(office.logins.keep_watch())
        async with asyncio.timeout(PATIENCE):
            await third.wait()
        watch.cancel()
        await office.logins.end_all(1)
        assert second.is_set()
        assert not nobodys.is_set()
    assert not office.logins._watched


async def test_nobody_ends_the_login_of_another(office: Office) -> None:
    await office.people.add("Anna", PASSWORD, "owner")
    berta = await office.people.add("Berta", PASSWORD, "member")
    _, login = await office.logins.begin(1, "", "")
    with pytest.raises(LoginNotFound):
        await office.logins.end(berta.id, login.id)
    assert await office.logins.holds(login.id)


async def test_ids_of_logins_never_come_again(office: Office) -> None:
    _, login = await office.logins.begin(1, "", "")
    await office.logins.end_all(1)
    _, another = await office.logins.begin(1, "", "")
    assert another.id > login.id
