"""Passkeys: which answers of a device register one or log in, and which do not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from app.accounts import passkeys as passkeys_module
from app.accounts.passkeys import MAX_PASSKEYS, Passkeys, RelyingParty
from app.accounts.throttle import MAX_FAILURES_PER_NAME
from app.db.passkeys import Passkey
from app.db.users import User
from app.errors import InvalidAccount, PasskeyRefused, TooManyAttempts
from tests.accounts.conftest import PASSWORD, Accounts
from tests.authenticator import PRESENT, VERIFIED, Authenticator, decode, encode

SITE = RelyingParty("chat.example.org", "https://chat.example.org")
OTHER = RelyingParty("evil.example.org", "https://evil.example.org")
SESSION = 7
HERE = "192.0.2.1"
CHROMIUM = RelyingParty("localhost", "http://localhost:25717")
REGISTERED = {
    "id": "2B5w8pAAl7aIsgEdxx96ocUbtN5Wq7i91lYxBTjP7qQ",
    "rawId": "2B5w8pAAl7aIsgEdxx96ocUbtN5Wq7i91lYxBTjP7qQ",
    "type": "public-key",
    "response": {
        "clientDataJSON": "eyJ0eXBlIjoid2ViYXV0aG4uY3JlYXRlIiwiY2hhbGxlbmdlIjoiMjl2NWRRQmZHODZoan"
        "pGamdUdmFNdzh3eVFWX0ZpYjlOdmoyZ3JycXozUSIsIm9yaWdpbiI6Imh0dHA6Ly9sb2NhbGhvc3Q6MjU3MTciLCJ"
        "jcm9zc09yaWdpbiI6ZmFsc2V9",
        "attestationObject": "o2NmbXRkbm9uZWdhdHRTdG10oGhhdXRoRGF0YViBSZYN5YgOjGh0NBcPZHZgW4_krrmih"
        "jLHmVzzuoMdl2NFAAAAAQECAwQFBgcIAQIDBAUGBwgAINgecPKQAJe2iLIBHccfeqHFG7TeVqu4vdZWMQU4z-6kp"
        "AEBAycgBiFYIA54EyMFr-F6Ewr53PIIWLJD40W6kOiWZTyol4rKKj1n",
    },
    "clientExtensionResults": {},
}
LOGGED_IN = REGISTERED | {
    "response": {
        "clientDataJSON": "eyJ0eXBlIjoid2ViYXV0aG4uZ2V0IiwiY2hhbGxlbmdlIjoici1ZaXFWSmpEUWNELUlaZ0lY"
        "VS1Tam55S1VhSGNHazRtMld0S3JBbndiMCIsIm9yaWdpbiI6Imh0dHA6Ly9sb2NhbGhvc3Q6MjU3MTciLCJjcm9zc"
        "09yaWdpbiI6ZmFsc2V9",
        "authenticatorData": "SZYN5YgOjGh0NBcPZHZgW4_krrmihjLHmVzzuoMdl2MFAAAAAg",
        "signature": "gIoNXAZZ6CaDyYzGlOipwJYgBBZ8x4ohWNL44H1fYRw7X2ANBWLqcE3kkT_y1e7BmbF4Dq51ly8W7"
        "-YCLnmkAw",
        "userHandle": "MQppctzkR9c8sG-4F1A9C3ze0dXHcRMOGuchoDlpY-8",
    }
}
"""What Chromium sent for its virtual authenticator, with an Ed25519 key."""
Changes = dict[str, Any]


@dataclass
class Site:
    passkeys: Passkeys
    anna: User
    accounts: Accounts

    async def add(self, device: Authenticator, name: str = "Phone", **changed: Any) -> None:
        options, token = await self.passkeys.registration_options(self.anna.id, SESSION, SITE)
        answer = device.create(options, **changed)
        await self.passkeys.register(self.anna.id, SESSION, SITE, token, answer, name)

    async def enter(self, device: Authenticator, address: str = HERE, **changed: Any) -> User:
        options, token = await self.passkeys.login_options(SITE)
        return await self.passkeys.authenticate(
            SITE, token, device.get(options, **changed), address
        )


@pytest.fixture
async def site(accounts: Accounts) -> Site:
    anna = await accounts.users.add("Anna", PASSWORD, "owner")
    return Site(Passkeys(accounts.db, accounts.users, clock=accounts.clock), anna, accounts)


async def test_a_passkey_logs_its_user_in(site: Site) -> None:
    phone, key = Authenticator(SITE.origin), Authenticator(SITE.origin, count=None)
    await site.add(phone)
    await site.add(key, "  Key on   my ring ")
    assert phone.user_handle == key.user_handle
    for device in (phone, key, key, phone):
        assert (await site.enter(device)).id == site.anna.id
    listed = await site.passkeys.list_for_user(site.anna.id)
    assert [(p.name, p.sign_count, p.used_at) for p in listed] == [
        ("Phone", 3, site.accounts.clock.now),
        ("Key on my ring", 0, site.accounts.clock.now),
    ]
    await site.passkeys.remove(site.anna.id + 1, listed[0].id)  # of nobody else
    await site.passkeys.remove(site.anna.id, listed[0].id)
    with pytest.raises(PasskeyRefused):
        await site.enter(phone)
    assert (await site.enter(key)).id == site.anna.id


async def test_what_chromium_sends(site: Site) -> None:
    """Its answers hold for the challenges and the origin that they were made for, and no others."""
    challenge = decode("29v5dQBfG86hjzFjgTvaMw8wyQV_Fib9Nvj2grrqz3Q")
    verify = passkeys_module._verify_registration
    registered = verify(CHROMIUM, challenge, json.dumps(REGISTERED))
    assert registered is not None
    credential_id, public_key, count = registered
    assert (encode(credential_id), count) == (REGISTERED["id"], 1)
    assert verify(CHROMIUM, challenge[::-1], json.dumps(REGISTERED)) is None
    assert verify(SITE, challenge, json.dumps(REGISTERED)) is None
    handle = decode("MQppctzkR9c8sG-4F1A9C3ze0dXHcRMOGuchoDlpY-8")
    passkey = Passkey(
        *(site.anna.id, credential_id, public_key, handle, CHROMIUM.id, count, "x", 1.0, 1, None)
    )
    challenge = decode("r-YiqVJjDQcD-IZgIXU-SjnyKUaHcGk4m2WtKrAnwb0")
    verify_login = passkeys_module._verify_login
    assert verify_login(CHROMIUM, challenge, json.dumps(LOGGED_IN), passkey) == 2
    assert verify_login(CHROMIUM, challenge[::-1], json.dumps(LOGGED_IN), passkey) is None
    assert verify_login(SITE, challenge, json.dumps(LOGGED_IN), passkey) is None
    used = replace(passkey, sign_count=2)
    assert verify_login(CHROMIUM, challenge, json.dumps(LOGGED_IN), used) is None


async def test_options_want_a_passkey_that_recognizes_its_user(site: Site) -> None:
    phone = Authenticator(SITE.origin)
    await site.add(phone)
    given, _ = await site.passkeys.registration_options(site.anna.id, SESSION, SITE)
    options = json.loads(given)
    assert options["authenticatorSelection"] == {
        "residentKey": "required",
        "requireResidentKey": True,
        "userVerification": "required",
    }
    assert (options["rp"]["id"], options["user"]["name"]) == (SITE.id, "Anna")
    assert [one["id"] for one in options["excludeCredentials"]] == [encode(phone.credential_id)]
    options = json.loads((await site.passkeys.login_options(SITE))[0])
    assert (options["rpId"], options["userVerification"]) == (SITE.id, "required")
    assert options["allowCredentials"] == []  # whose they are is for nobody to see


@pytest.mark.parametrize(
    "changed",
    [
        {"origin": OTHER.origin},
        {"origin": "http://chat.example.org"},
        {"challenge": encode(b"another challenge")},
        {"type": "webauthn.get"},
        {"flags": PRESENT},
        {"flags": VERIFIED},
    ],
    ids=str,
)
async def test_answers_that_register_nothing(site: Site, changed: Changes) -> None:
    with pytest.raises(PasskeyRefused, match="No passkey was added"):
        await site.add(Authenticator(SITE.origin), **changed)
    assert await site.passkeys.list_for_user(site.anna.id) == []


@pytest.mark.parametrize(
    "changed",
    [
        {"origin": OTHER.origin},
        {"challenge": encode(b"another challenge")},
        {"type": "webauthn.create"},
        {"flags": PRESENT},
        {"flags": VERIFIED},
    ],
    ids=str,
)
async def test_answers_that_log_nobody_in(site: Site, changed: Changes) -> None:
    phone = Authenticator(SITE.origin)
    await site.add(phone)
    with pytest.raises(PasskeyRefused, match="not accepted"):
        await site.enter(phone, **changed)
    assert (await site.enter(phone)).id == site.anna.id


async def test_another_sites_answer_is_refused(site: Site) -> None:
    phone = Authenticator(SITE.origin)
    await site.add(phone)
    with pytest.raises(PasskeyRefused):
        await site.enter(phone.clone(rp_id=OTHER.id))
    # Nor does a passkey of one host log in at another of the same Wick.
    options, token = await site.passkeys.login_options(OTHER)
    answer = phone.clone(origin=OTHER.origin, rp_id=OTHER.id).get(options)
    with pytest.raises(PasskeyRefused):
        await site.passkeys.authenticate(OTHER, token, answer, HERE)
    assert not await site.passkeys.has_any(OTHER)
    assert await site.passkeys.has_any(SITE)


async def test_forged_and_foreign_keys_are_refused(site: Site) -> None:
    phone = Authenticator(SITE.origin)
    await site.add(phone)
    berta = await site.accounts.users.add("Berta", PASSWORD, "member")
    stranger = Authenticator(SITE.origin, rp_id=SITE.id, user_handle=phone.user_handle)
    for forged in (
        stranger,
        phone.clone(key=stranger.key),
        phone.clone(user_handle=b"another user's handle"),
        phone.clone(user_handle=b""),
    ):
        with pytest.raises(PasskeyRefused):
            await site.enter(forged)
    # Anna's device can't be registered a second time, as Berta's.
    options, token = await site.passkeys.registration_options(berta.id, SESSION, SITE)
    with pytest.raises(PasskeyRefused, match="here already"):
        await site.passkeys.register(
            berta.id, SESSION, SITE, token, phone.clone().create(options), "Mine"
        )


async def test_a_device_that_counts_back_is_a_copy(site: Site) -> None:
    phone = Authenticator(SITE.origin)
    await site.add(phone)
    copy = phone.clone()
    await site.enter(phone)
    await site.enter(phone)
    with pytest.raises(PasskeyRefused):
        await site.enter(copy)
    assert (await site.enter(phone)).id == site.anna.id


async def test_an_answer_is_used_once(site: Site) -> None:
    phone = Authenticator(SITE.origin, count=None)
    options, token = await site.passkeys.registration_options(site.anna.id, SESSION, SITE)
    answer = phone.create(options)
    register = site.passkeys.register
    for user_id, session_id in ((site.anna.id, SESSION + 1), (site.anna.id + 1, SESSION)):
        with pytest.raises(PasskeyRefused, match="too long"):
            await register(user_id, session_id, SITE, token, answer, "Phone")
    await register(site.anna.id, SESSION, SITE, token, answer, "Phone")
    with pytest.raises(PasskeyRefused, match="too long"):
        await register(site.anna.id, SESSION, SITE, token, answer, "Phone")
    options, token = await site.passkeys.login_options(SITE)
    answer = phone.get(options)
    assert (await site.passkeys.authenticate(SITE, token, answer, HERE)).id == site.anna.id
    for again in (token, (await site.passkeys.login_options(SITE))[1], ""):
        with pytest.raises(PasskeyRefused):
            await site.passkeys.authenticate(SITE, again, answer, HERE)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda answer: "",
        lambda answer: "[" * 10_000,
        lambda answer: "null",
        lambda answer: '{"rawId": "%%%", "response": {}}',
        lambda answer: answer[:-20],
        lambda answer: answer + " " * 20_000,
        lambda answer: answer.replace('"signature": "', '"signature": "AAAA'),
        lambda answer: answer.replace('"attestationObject": "', '"attestationObject": "n' * 9),
        lambda answer: answer.replace('"clientDataJSON": "', '"clientDataJSON": "é'),
        lambda answer: answer.replace("public-key", "password"),
    ],
)
async def test_hostile_answers(site: Site, spoil: Callable[[str], str]) -> None:
    phone = Authenticator(SITE.origin)
    await site.add(phone)
    options, token = await site.passkeys.login_options(SITE)
    answer = phone.get(options)
    if spoil(answer) != answer:
        with pytest.raises(PasskeyRefused):
            await site.passkeys.authenticate(SITE, token, spoil(answer), HERE)
    options, token = await site.passkeys.registration_options(site.anna.id, SESSION, SITE)
    answer = Authenticator(SITE.origin).create(options)
    if spoil(answer) != answer:
        with pytest.raises(PasskeyRefused):
            await site.passkeys.register(site.anna.id, SESSION, SITE, token, spoil(answer), "x")
    assert len(await site.passkeys.list_for_user(site.anna.id)) == 1


async def test_who_is_disabled_or_removed_does_not_get_in(site: Site) -> None:
    berta = await site.accounts.users.add("Berta", PASSWORD, "member")
    phone = Authenticator(SITE.origin)
    options, token = await site.passkeys.registration_options(berta.id, SESSION, SITE)
    await site.passkeys.register(berta.id, SESSION, SITE, token, phone.create(options), "Phone")
    await site.accounts.users.disable(berta.id)
    with pytest.raises(PasskeyRefused):
        await site.enter(phone)
    await site.accounts.users.enable(berta.id)
    assert (await site.enter(phone)).id == berta.id
    await site.accounts.users.mark_for_deletion(berta.id)
    assert not await site.passkeys.has_any(SITE)


async def test_strangers_have_to_wait_and_users_do_not(site: Site) -> None:
    phone = Authenticator(SITE.origin)
    await site.add(phone)
    for _ in range(MAX_FAILURES_PER_NAME):
        with pytest.raises(PasskeyRefused):
            await site.enter(Authenticator(SITE.origin, rp_id=SITE.id))
    with pytest.raises(TooManyAttempts):
        await site.enter(Authenticator(SITE.origin, rp_id=SITE.id))
    assert (await site.enter(phone)).id == site.anna.id


async def test_names_and_their_number_are_bounded(site: Site) -> None:
    for name in ("", "   ", "x" * 61, "a\u202eb"):
        with pytest.raises(InvalidAccount):
            await site.add(Authenticator(SITE.origin), name)
    for number in range(MAX_PASSKEYS):
        await site.add(Authenticator(SITE.origin), str(number))
    with pytest.raises(PasskeyRefused, match="Remove one first"):
        await site.add(Authenticator(SITE.origin))
    assert await site.passkeys.remove_all(site.anna.id) == MAX_PASSKEYS
