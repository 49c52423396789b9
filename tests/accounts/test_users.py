"""People on a real database: names, passwords, invitations, roles."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from argon2 import PasswordHasher

from app.accounts.passwords import Passwords
from app.accounts.sessions import issue_device_token
from app.accounts.users import RESET_SECONDS, normalize_name, username_key
from app.db import users as table
from app.db.users import LOCAL_USER
from app.errors import (
    InvalidAccount,
    InviteNotFound,
    LastOwner,
    TooManyAttempts,
    UserNotFound,
    WrongPassword,
)
from tests.accounts.conftest import PASSWORD, Accounts

HOME = "192.0.2.1"
WRONG = "wrong"


@pytest.mark.parametrize(
    "name", ["anna", "Anna-Lena O'Neill", "a.b_c@d", "Zoë", "Мария", "王小明", "7", "x" * 40]
)
def test_names_of_users_are_accepted_as_they_are(name: str) -> None:
    assert normalize_name(f"  {name} ") == name


@pytest.mark.parametrize("name", ["", "  ", "x" * 41, "a\0b", "a\u202eb", "<b>", "a/b", "-", "🙂"])
def test_an_invalid_user_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidAccount):
        normalize_name(name)


async def test_user_names_that_look_the_same_are_one(accounts: Accounts) -> None:
    await accounts.users.add("Anna", PASSWORD, "owner")
    await accounts.users.add("Zo\u00eb", PASSWORD, "member")
    for name in ("ANNA", " anna ", "Ａnna", "Zoe\u0308"):
        with pytest.raises(InvalidAccount, match="taken"):
            await accounts.users.add(name, PASSWORD, "member")
    assert username_key("Straße") == username_key("STRASSE")


@pytest.mark.parametrize(
    "password",
    ["", "short", "x" * 257, "anna-lena", "PASSWORD", "aaaaaaaa", "12345678", "abababab"],
)
async def test_weak_passwords_are_refused(accounts: Accounts, password: str) -> None:
    with pytest.raises(InvalidAccount) as caught:
        await accounts.users.add("Anna-Lena", password, "member")
    assert set(caught.value.problems) == {"password"}


async def test_the_first_user_owns_what_is_there(accounts: Accounts) -> None:
    assert not await accounts.users.has_owner()
    anna = await accounts.users.add("Anna", PASSWORD, "member")
    assert (anna.id, anna.role) == (LOCAL_USER, "owner")
    berta = await accounts.users.add("Berta", PASSWORD, "member")
    assert berta.id != LOCAL_USER
    assert berta.role == "member"


async def test_a_password_in_any_composition_is_the_same(accounts: Accounts) -> None:
    await accounts.users.add("Anna", "gr\u00fcn ist gut", "owner")
    assert await accounts.users.authenticate("anna", "gru\u0308n ist gut", HOME)


async def test_passwords_are_kept_as_argon2id_with_the_recommended_cost(accounts: Accounts) -> None:
    accounts.users._passwords = Passwords()
    await accounts.users.add("Anna", PASSWORD, "owner")
    found = await table.credentials(accounts.db, "anna")
    assert found
    assert found[1].startswith("$argon2id$v=19$m=65536,t=3,p=4$")


async def test_an_outdated_hash_is_renewed_at_login(accounts: Accounts) -> None:
    await accounts.users.add("Anna", PASSWORD, "owner")
    before = await table.credentials(accounts.db, "anna")
    accounts.users._passwords = Passwords(PasswordHasher(time_cost=2, memory_cost=8, parallelism=1))
    with pytest.raises(WrongPassword):
        await accounts.users.authenticate("Anna", "wrong", HOME)
    assert await table.credentials(accounts.db, "anna") == before
    await accounts.users.authenticate("Anna", PASSWORD, HOME)
    after = await table.credentials(accounts.db, "anna")
    assert before
    assert after
    assert "t=1" in before[1]
    assert "t=2" in after[1]
    await accounts.users.authenticate("Anna", PASSWORD, HOME)


async def test_logins_of_unknown_users_compute_as_much(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Timing tells nobody who has an account: the same statement, and one hash of the same cost."""
    await accounts.users.add("Anna", PASSWORD, "owner")
    berta = await accounts.users.add("Berta", PASSWORD, "member")
    await accounts.users.add("Clara", None, "member")
    await accounts.users.disable(berta.id)
    compared: list[str] = []
    asked: list[str] = []
    is_same, fetch_one = accounts.passwords._is_same, accounts.db.fetch_one

    def counted(password: bytes, kept: str) -> bool:
        compared.append(kept)
        return is_same(password, kept)

    async def noted(sql: str, parameters: Any = ()) -> Any:
        asked.append(sql)
        return await fetch_one(sql, parameters)

    monkeypatch.setattr(accounts.passwords, "_is_same", counted)
    monkeypatch.setattr(accounts.db, "fetch_one", noted)
    for name in ("anna", "nobody", "berta", "clara", "", "\0", "\udcff", "x" * 1000):
        compared.clear()
        asked.clear()
        with pytest.raises(WrongPassword, match="Wrong name or password"):
            await accounts.users.authenticate(name, "wrong password", HOME)
        assert len(asked) == 1
        assert len(compared) == 1
        cost = compared[0].rpartition("$")[0].rpartition("$")[0]
        assert cost == "$argon2id$v=19$m=8,t=1,p=1"


Guess = Callable[..., Awaitable[float]]


@pytest.fixture
def guess(accounts: Accounts) -> Guess:
    """Seconds to wait, 0 for a wrong password, -1 for the right one."""

    async def guess(name: str, address: str, password: str = WRONG, **given: Any) -> float:
        try:
            await accounts.users.authenticate(name, password, address, **given)
        except WrongPassword:
            return 0
        except TooManyAttempts as error:
            return error.seconds
        return -1

    return guess


async def test_guessing_passwords_is_slowed_down_by_name_and_by_address(
    accounts: Accounts, guess: Guess
) -> None:
    await accounts.users.add("Anna", PASSWORD, "owner")
    assert [await guess("anna", HOME) for _ in range(5)] == [0] * 5
    assert await guess("ANNA", HOME, PASSWORD) == 30
    assert await guess("anna", "198.51.100.1") == 0  # which is none of another address's
    accounts.clock.now += 31
    assert await guess("anna", HOME) == 0
    assert await guess("anna", HOME) == 60
    accounts.clock.now += 61
    assert await guess("anna", HOME, PASSWORD) == -1
    assert await guess("anna", HOME) == 0  # counts from the beginning again
    accounts.clock.now += 7200
    seen = [await guess(f"name {number}", f"2001:db8::{number}") for number in range(25)]
    assert seen.index(30) == 20  # one subscriber has all of these addresses


async def test_many_machines_guess_passwords_slowly_and_lock_nobody_out(
    accounts: Accounts, guess: Guess
) -> None:
    await accounts.users.add("Anna", PASSWORD, "owner")
    await accounts.users.add("Berta", PASSWORD, "member")
    known = await accounts.users.issue_device_token(LOCAL_USER)
    seen = [await guess("anna", f"192.0.2.{number}") for number in range(60)]
    assert seen.index(30) == 50  # for all of them together
    stranger = "203.0.113.7"
    assert await guess("anna", stranger, PASSWORD) == 30
    assert await guess("anna", stranger, PASSWORD, device_token=known) == -1
    assert await guess("anna", stranger, PASSWORD, session_id=7) == -1
    assert await guess("anna", stranger, PASSWORD) == 30  # which helps no stranger
    for forged in ("x", ".", known + "0", f"other{known}", "\udcff.\udcff", known.upper()):
        assert await guess("anna", stranger, PASSWORD, device_token=forged) == 30
    theirs = await accounts.users.issue_device_token((await accounts.users.get_by_name("berta")).id)
    assert await guess("anna", stranger, PASSWORD, device_token=theirs) == 30
    # Whoever has stolen it guesses no faster.
    assert [await guess("anna", f"192.0.2.{n}", device_token=known) for n in range(5)] == [0] * 5
    assert await guess("anna", stranger, PASSWORD, device_token=known) == 30
    accounts.clock.now += 31
    await accounts.users.set_password(LOCAL_USER, "another password")
    assert await guess("anna", HOME, "another password", device_token=known) == -1


async def test_a_forged_device_token_does_not_avoid_the_login_throttle(guess: Guess) -> None:
    for forged in (issue_device_token(0, ""), issue_device_token(1, "")):
        seen = [await guess("nobody", "2001:db8::1", device_token=forged) for _ in range(6)]
        assert seen[-1] == 30


async def test_many_guesses_at_once_do_not_avoid_the_login_throttle(accounts: Accounts) -> None:
    await accounts.users.add("Anna", PASSWORD, "owner")
    guesses = [accounts.users.authenticate("anna", f"guess {n}", HOME) for n in range(30)]
    results = await asyncio.gather(*guesses, return_exceptions=True)
    assert sum(isinstance(r, WrongPassword) for r in results) == 5
    assert sum(isinstance(r, TooManyAttempts) for r in results) == 25


async def test_an_invite_works_once_and_expires(accounts: Accounts) -> None:
    await accounts.users.add("Anna", PASSWORD, "owner")
    token = await accounts.users.invite("member", LOCAL_USER)
    other = await accounts.users.invite("owner", LOCAL_USER)
    results = await asyncio.gather(
        *(accounts.users.accept_invite(token, f"Name {n}", PASSWORD) for n in range(5)),
        return_exceptions=True,
    )
    assert sum(isinstance(r, InviteNotFound) for r in results) == 4
    accounts.clock.now += 7 * 86400
    with pytest.raises(InviteNotFound):
        await accounts.users.accept_invite(other, "Late", PASSWORD)
    for wrong in ("", "x", token + "x"):
        with pytest.raises(InviteNotFound):
            await accounts.users.get_invite(wrong)


async def test_a_name_that_is_taken_leaves_the_invite_open(accounts: Accounts) -> None:
    await accounts.users.add("Anna", PASSWORD, "owner")
    token = await accounts.users.invite("member", LOCAL_USER)
    with pytest.raises(InvalidAccount):
        await accounts.users.accept_invite(token, "anna", PASSWORD)
    assert (await accounts.users.accept_invite(token, "Berta", PASSWORD)).role == "member"


async def test_password_links_replace_each_other_and_expire(
    accounts: Accounts,
) -> None:
    await accounts.users.add("Anna", PASSWORD, "owner")
    berta = await accounts.users.add("Berta", PASSWORD, "member")
    first = await accounts.users.reset_token(berta.id, LOCAL_USER)
    second = await accounts.users.reset_token(berta.id, LOCAL_USER)
    with pytest.raises(InviteNotFound):
        await accounts.users.get_invite(first)
    accounts.clock.now += RESET_SECONDS
    with pytest.raises(InviteNotFound):
        await accounts.users.get_invite(second)


async def test_a_new_password_ends_earlier_password_links(accounts: Accounts) -> None:
    first = await accounts.users.setup_token()
    assert first
    await accounts.users.add("Anna", PASSWORD, "owner")  # by a command, not by the link
    with pytest.raises(InviteNotFound):
        await accounts.users.get_invite(first)
    link = await accounts.users.reset_token(LOCAL_USER, None)
    await accounts.users.set_password(LOCAL_USER, "another password")
    with pytest.raises(InviteNotFound):
        await accounts.users.get_invite(link)


async def test_invites_of_a_former_owner_end(accounts: Accounts) -> None:
    await accounts.users.add("Anna", PASSWORD, "owner")
    berta = await accounts.users.add("Berta", PASSWORD, "owner")
    for verb in ("demote", "disable"):
        await accounts.users.set_role(berta.id, "owner")
        link = await accounts.users.invite("owner", berta.id)
        if verb == "demote":
            await accounts.users.set_role(berta.id, "member")
        else:
            await accounts.users.disable(berta.id)
        with pytest.raises(InviteNotFound):
            await accounts.users.get_invite(link)


async def test_there_is_always_an_owner(accounts: Accounts) -> None:
    anna = await accounts.users.add("Anna", PASSWORD, "owner")
    berta = await accounts.users.add("Berta", PASSWORD, "member")
    for attempt in (
        accounts.users.disable(anna.id),
        accounts.users.set_role(anna.id, "member"),
        accounts.users.mark_for_deletion(anna.id),
    ):
        with pytest.raises(LastOwner):
            await attempt
    await accounts.users.set_role(berta.id, "owner")
    await accounts.users.disable(berta.id)
    with pytest.raises(LastOwner):  # one who is kept out is none
        await accounts.users.set_role(anna.id, "member")
    await accounts.users.enable(berta.id)
    await accounts.users.mark_for_deletion(anna.id)
    assert await accounts.users.has_owner()


async def test_two_owners_who_are_disabled_at_once_do_not_both_go(accounts: Accounts) -> None:
    anna = await accounts.users.add("Anna", PASSWORD, "owner")
    berta = await accounts.users.add("Berta", PASSWORD, "owner")
    results = await asyncio.gather(
        accounts.users.disable(anna.id), accounts.users.disable(berta.id), return_exceptions=True
    )
    assert sum(isinstance(r, LastOwner) for r in results) == 1


async def test_a_user_marked_for_deletion_cannot_log_in_and_the_name_is_free(
    accounts: Accounts,
) -> None:
    await accounts.users.add("Anna", PASSWORD, "owner")
    berta = await accounts.users.add("Berta", PASSWORD, "member")
    token, _ = await accounts.sessions.create(berta.id, "", "")
    link = await accounts.users.invite("member", berta.id)
    await accounts.users.mark_for_deletion(berta.id)
    assert await accounts.sessions.authenticate(token) is None
    with pytest.raises(WrongPassword):
        await accounts.users.authenticate("Berta", PASSWORD, HOME)
    with pytest.raises(UserNotFound):
        await accounts.users.get_by_name("Berta")
    with pytest.raises(InviteNotFound):
        await accounts.users.get_invite(link)
    assert [p.name for p in await accounts.users.list_users()] == ["Anna"]
    again = await accounts.users.add("Berta", PASSWORD, "member")
    assert again.id != berta.id


async def test_a_new_password_ends_the_other_sessions(accounts: Accounts) -> None:
    await accounts.users.add("Anna", PASSWORD, "owner")
    mine, login = await accounts.sessions.create(1, "", "")
    other, _ = await accounts.sessions.create(1, "", "")
    with pytest.raises(WrongPassword, match="Wrong password"):
        await accounts.users.change_password(
            1, "wrong", "a new password", HOME, session_id=login.id
        )
    with pytest.raises(InvalidAccount):
        await accounts.users.change_password(1, PASSWORD, "short", HOME, session_id=login.id)
    assert await accounts.sessions.authenticate(other)
    await accounts.users.change_password(1, PASSWORD, "a new password", HOME, session_id=login.id)
    assert await accounts.sessions.authenticate(mine)
    assert await accounts.sessions.authenticate(other) is None
    await accounts.users.authenticate("Anna", "a new password", HOME)
