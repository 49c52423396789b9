"""People on a real database: names, passwords, invitations, roles."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from argon2 import PasswordHasher

from app.accounts.passwords import Passwords
from app.accounts.sessions import issue_device_token
from app.accounts.users import RESET_SECONDS
from app.accounts.validation import normalize_name, username_key
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
from tests.accounts.conftest import PASSWORD, Office

HOME = "192.0.2.1"
WRONG = "wrong"


@pytest.mark.parametrize(
    "name", ["anna", "Anna-Lena O'Neill", "a.b_c@d", "Zoë", "Мария", "王小明", "7", "x" * 40]
)
def test_names_of_people_will_do(name: str) -> None:
    assert normalize_name(f"  {name} ") == name


@pytest.mark.parametrize("name", ["", "  ", "x" * 41, "a\0b", "a\u202eb", "<b>", "a/b", "-", "🙂"])
def test_what_is_no_name_is_said(name: str) -> None:
    with pytest.raises(InvalidAccount):
        normalize_name(name)


async def test_names_that_look_the_same_are_one(office: Office) -> None:
    await office.people.add("Anna", PASSWORD, "owner")
    await office.people.add("Zo\u00eb", PASSWORD, "member")
    for name in ("ANNA", " anna ", "Ａnna", "Zoe\u0308"):
        with pytest.raises(InvalidAccount, match="taken"):
            await office.people.add(name, PASSWORD, "member")
    assert username_key("Straße") == username_key("STRASSE")


@pytest.mark.parametrize(
    "password",
    ["", "short", "x" * 257, "anna-lena", "PASSWORD", "aaaaaaaa", "12345678", "abababab"],
)
async def test_weak_passwords_are_refused(office: Office, password: str) -> None:
    with pytest.raises(InvalidAccount) as caught:
        await office.people.add("Anna-Lena", password, "member")
    assert set(caught.value.problems) == {"password"}


async def test_the_first_person_is_the_owner_of_what_is_there(office: Office) -> None:
    assert not await office.people.has_owner()
    anna = await office.people.add("Anna", PASSWORD, "member")
    assert (anna.id, anna.role) == (LOCAL_USER, "owner")
    berta = await office.people.add("Berta", PASSWORD, "member")
    assert berta.id != LOCAL_USER
    assert berta.role == "member"


async def test_a_password_in_any_composition_is_the_same(office: Office) -> None:
    await office.people.add("Anna", "gr\u00fcn ist gut", "owner")
    assert await office.people.authenticate("anna", "gru\u0308n ist gut", HOME)


async def test_passwords_are_kept_as_argon2id_with_the_recommended_cost(office: Office) -> None:
    office.people._passwords = Passwords()
    await office.people.add("Anna", PASSWORD, "owner")
    found = await table.credentials(office.db, "anna")
    assert found
    assert found[1].startswith("$argon2id$v=19$m=65536,t=3,p=4$")


async def test_an_outdated_hash_is_made_anew_when_its_person_comes(office: Office) -> None:
    await office.people.add("Anna", PASSWORD, "owner")
    before = await table.credentials(office.db, "anna")
    office.people._passwords = Passwords(PasswordHasher(time_cost=2, memory_cost=8, parallelism=1))
    with pytest.raises(WrongPassword):
        await office.people.authenticate("Anna", "wrong", HOME)
    assert await table.credentials(office.db, "anna") == before
    await office.people.authenticate("Anna", PASSWORD, HOME)
    after = await table.credentials(office.db, "anna")
    assert before
    assert after
    assert "t=1" in before[1]
    assert "t=2" in after[1]
    await office.people.authenticate("Anna", PASSWORD, HOME)


async def test_as_much_is_computed_for_unknown_names(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Timing tells nobody who has an account: the same statement, and one hash of the same cost."""
    await office.people.add("Anna", PASSWORD, "owner")
    berta = await office.people.add("Berta", PASSWORD, "member")
    await office.people.add("Clara", None, "member")
    await office.people.disable(berta.id)
    compared: list[str] = []
    asked: list[str] = []
    is_same, fetch_one = office.passwords._is_same, office.db.fetch_one

    def counted(password: bytes, kept: str) -> bool:
        compared.append(kept)
        return is_same(password, kept)

    async def noted(sql: str, parameters: Any = ()) -> Any:
        asked.append(sql)
        return await fetch_one(sql, parameters)

    monkeypatch.setattr(office.passwords, "_is_same", counted)
    monkeypatch.setattr(office.db, "fetch_one", noted)
    for name in ("anna", "nobody", "berta", "clara", "", "\0", "\udcff", "x" * 1000):
        compared.clear()
        asked.clear()
        with pytest.raises(WrongPassword, match="Wrong name or password"):
            await office.people.authenticate(name, "wrong password", HOME)
        assert len(asked) == 1
        assert len(compared) == 1
        cost = compared[0].rpartition("$")[0].rpartition("$")[0]
        assert cost == "$argon2id$v=19$m=8,t=1,p=1"


Guess = Callable[..., Awaitable[float]]


@pytest.fixture
def guess(office: Office) -> Guess:
    """Seconds to wait, 0 for a wrong password, -1 for the right one."""

    async def guess(name: str, address: str, password: str = WRONG, **given: Any) -> float:
        try:
            await office.people.authenticate(name, password, address, **given)
        except WrongPassword:
            return 0
        except TooManyAttempts as error:
            return error.seconds
        return -1

    return guess


async def test_guessing_is_slowed_down_by_name_and_by_address(office: Office, guess: Guess) -> None:
    await office.people.add("Anna", PASSWORD, "owner")
    assert [await guess("anna", HOME) for _ in range(5)] == [0] * 5
    assert await guess("ANNA", HOME, PASSWORD) == 30
    assert await guess("anna", "198.51.100.1") == 0  # which is none of another address's
    office.clock.now += 31
    assert await guess("anna", HOME) == 0
    assert await guess("anna", HOME) == 60
    office.clock.now += 61
    assert await guess("anna", HOME, PASSWORD) == -1
    assert await guess("anna", HOME) == 0  # counts from the beginning again
    office.clock.now += 7200
    seen = [await guess(f"name {number}", f"2001:db8::{number}") for number in range(25)]
    assert seen.index(30) == 20  # one subscriber has all of these addresses


async def test_many_machines_guess_slowly_and_lock_nobody_out(office: Office, guess: Guess) -> None:
    await office.people.add("Anna", PASSWORD, "owner")
    await office.people.add("Berta", PASSWORD, "member")
    known = await office.people.issue_device_token(LOCAL_USER)
    seen = [await guess("anna", f"192.0.2.{number}") for number in range(60)]
    assert seen.index(30) == 50  # for all of them together
    stranger = "203.0.113.7"
    assert await guess("anna", stranger, PASSWORD) == 30
    assert await guess("anna", stranger, PASSWORD, device_token=known) == -1
    assert await guess("anna", stranger, PASSWORD, session_id=7) == -1
    assert await guess("anna", stranger, PASSWORD) == 30  # which helps no stranger
    for forged in ("x", ".", known + "0", f"other{known}", "\udcff.\udcff", known.upper()):
        assert await guess("anna", stranger, PASSWORD, device_token=forged) == 30
    theirs = await office.people.issue_device_token((await office.people.get_by_name("berta")).id)
    assert await guess("anna", stranger, PASSWORD, device_token=theirs) == 30
    # Whoever has stolen it guesses no faster.
    assert [await guess("anna", f"192.0.2.{n}", device_token=known) for n in range(5)] == [0] * 5
    assert await guess("anna", stranger, PASSWORD, device_token=known) == 30
    office.clock.now += 31
    await office.people.set_password(LOCAL_USER, "another password")
    assert await guess("anna", HOME, "another password", device_token=known) == -1


async def test_a_browser_of_nobody_is_no_way_around_it(guess: Guess) -> None:
    for forged in (issue_device_token(0, ""), issue_device_token(1, "")):
        seen = [await guess("nobody", "2001:db8::1", device_token=forged) for _ in range(6)]
        assert seen[-1] == 30


async def test_many_guesses_at_once_are_no_way_around_it(office: Office) -> None:
    await office.people.add("Anna", PASSWORD, "owner")
    guesses = [office.people.authenticate("anna", f"guess {n}", HOME) for n in range(30)]
    results = await asyncio.gather(*guesses, return_exceptions=True)
    assert sum(isinstance(r, WrongPassword) for r in results) == 5
    assert sum(isinstance(r, TooManyAttempts) for r in results) == 25


async def test_a_link_works_once_and_not_for_ever(office: Office) -> None:
    await office.people.add("Anna", PASSWORD, "owner")
    token = await office.people.invite("member", LOCAL_USER)
    other = await office.people.invite("owner", LOCAL_USER)
    results = await asyncio.gather(
        *(office.people.accept_invite(token, f"Name {n}", PASSWORD) for n in range(5)),
        return_exceptions=True,
    )
    assert sum(isinstance(r, InviteNotFound) for r in results) == 4
    office.clock.now += 7 * 86400
    with pytest.raises(InviteNotFound):
        await office.people.accept_invite(other, "Late", PASSWORD)
    for wrong in ("", "x", token + "x"):
        with pytest.raises(InviteNotFound):
            await office.people.get_invite(wrong)


async def test_a_name_that_is_taken_leaves_the_link(office: Office) -> None:
    await office.people.add("Anna", PASSWORD, "owner")
    token = await office.people.invite("member", LOCAL_USER)
    with pytest.raises(InvalidAccount):
        await office.people.accept_invite(token, "anna", PASSWORD)
    assert (await office.people.accept_invite(token, "Berta", PASSWORD)).role == "member"


async def test_links_of_a_person_for_a_password_replace_each_other_and_end(office: Office) -> None:
    await office.people.add("Anna", PASSWORD, "owner")
    berta = await office.people.add("Berta", PASSWORD, "member")
    first = await office.people.reset_token(berta.id, LOCAL_USER)
    second = await office.people.reset_token(berta.id, LOCAL_USER)
    with pytest.raises(InviteNotFound):
        await office.people.get_invite(first)
    office.clock.now += RESET_SECONDS
    with pytest.raises(InviteNotFound):
        await office.people.get_invite(second)


async def test_no_link_leads_around_a_new_password(office: Office) -> None:
    first = await office.people.setup_token()
    assert first
    await office.people.add("Anna", PASSWORD, "owner")  # by a command, not by the link
    with pytest.raises(InviteNotFound):
        await office.people.get_invite(first)
    link = await office.people.reset_token(LOCAL_USER, None)
    await office.people.set_password(LOCAL_USER, "another password")
    with pytest.raises(InviteNotFound):
        await office.people.get_invite(link)


async def test_links_of_an_owner_who_is_none_any_more_are_worth_nothing(office: Office) -> None:
    await office.people.add("Anna", PASSWORD, "owner")
    berta = await office.people.add("Berta", PASSWORD, "owner")
    for verb in ("demote", "disable"):
        await office.people.set_role(berta.id, "owner")
        link = await office.people.invite("owner", berta.id)
        if verb == "demote":
            await office.people.set_role(berta.id, "member")
        else:
            await office.people.disable(berta.id)
        with pytest.raises(InviteNotFound):
            await office.people.get_invite(link)


async def test_there_is_always_an_owner(office: Office) -> None:
    anna = await office.people.add("Anna", PASSWORD, "owner")
    berta = await office.people.add("Berta", PASSWORD, "member")
    for attempt in (
        office.people.disable(anna.id),
        office.people.set_role(anna.id, "member"),
        office.people.mark_for_deletion(anna.id),
    ):
        with pytest.raises(LastOwner):
            await attempt
    await office.people.set_role(berta.id, "owner")
    await office.people.disable(berta.id)
    with pytest.raises(LastOwner):  # one who is kept out is none
        await office.people.set_role(anna.id, "member")
    await office.people.enable(berta.id)
    await office.people.mark_for_deletion(anna.id)
    assert await office.people.has_owner()


async def test_two_owners_who_go_at_once_do_not_both_go(office: Office) -> None:
    anna = await office.people.add("Anna", PASSWORD, "owner")
    berta = await office.people.add("Berta", PASSWORD, "owner")
    results = await asyncio.gather(
        office.people.disable(anna.id), office.people.disable(berta.id), return_exceptions=True
    )
    assert sum(isinstance(r, LastOwner) for r in results) == 1


async def test_whoever_leaves_is_nobody_at_once_and_the_name_is_free(office: Office) -> None:
    await office.people.add("Anna", PASSWORD, "owner")
    berta = await office.people.add("Berta", PASSWORD, "member")
    token, _ = await office.logins.create(berta.id, "", "")
    link = await office.people.invite("member", berta.id)
    await office.people.mark_for_deletion(berta.id)
    assert await office.logins.authenticate(token) is None
    with pytest.raises(WrongPassword):
        await office.people.authenticate("Berta", PASSWORD, HOME)
    with pytest.raises(UserNotFound):
        await office.people.get_by_name("Berta")
    with pytest.raises(InviteNotFound):
        await office.people.get_invite(link)
    assert [p.name for p in await office.people.list_users()] == ["Anna"]
    again = await office.people.add("Berta", PASSWORD, "member")
    assert again.id != berta.id


async def test_a_new_password_ends_the_other_logins(office: Office) -> None:
    await office.people.add("Anna", PASSWORD, "owner")
    mine, login = await office.logins.create(1, "", "")
    other, _ = await office.logins.create(1, "", "")
    with pytest.raises(WrongPassword, match="Wrong password"):
        await office.people.change_password(1, "wrong", "a new password", HOME, session_id=login.id)
    with pytest.raises(InvalidAccount):
        await office.people.change_password(1, PASSWORD, "short", HOME, session_id=login.id)
    assert await office.logins.authenticate(other)
    await office.people.change_password(1, PASSWORD, "a new password", HOME, session_id=login.id)
    assert await office.logins.authenticate(mine)
    assert await office.logins.authenticate(other) is None
    await office.people.authenticate("Anna", "a new password", HOME)
