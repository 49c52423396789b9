"""One-time codes: which hold and when, that none works twice, and who has to wait."""

from __future__ import annotations

from dataclasses import dataclass

import pyotp
import pytest

from app.accounts import one_time_codes
from app.accounts.one_time_codes import RECOVERY_CODES, THROTTLE_SECONDS, OneTimeCodes
from app.accounts.throttle import MAX_FAILURES_PER_NAME, LoginThrottle
from app.accounts.tickets import TICKET_SECONDS, Tickets
from app.db.users import User
from app.errors import LoginExpired, TooManyAttempts, WrongCode
from tests.accounts.conftest import PASSWORD, Accounts

RFC_SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"  # of appendix B
HERE, ELSEWHERE = "192.0.2.1", "192.0.2.2"
NEXT = 30.0


@dataclass
class App:
    """A user with an authenticator app."""

    codes: OneTimeCodes
    user: User
    accounts: Accounts
    secret: str
    recovery: list[str]

    def shows(self, later: float = 0.0) -> str:
        return pyotp.TOTP(self.secret).at(self.accounts.clock.now + later)

    async def enters(self, code: str, address: str = HERE, device_token: str = "") -> str:
        return await self.codes.verify(self.user.id, code, address, device_token=device_token)


@pytest.fixture
async def app(accounts: Accounts) -> App:
    user = await accounts.users.add("Anna", PASSWORD, "owner")
    throttle = LoginThrottle(clock=accounts.clock, reset_after=THROTTLE_SECONDS)
    codes = OneTimeCodes(accounts.db, accounts.users, throttle, accounts.clock)
    ticket = await codes.begin_setup(user.id, "chat.example.org")
    setup = codes.setup_of(user.id, ticket)
    assert setup is not None
    shown = pyotp.TOTP(setup.secret).at(accounts.clock.now)
    recovery = await codes.turn_on(user.id, ticket, shown)
    accounts.clock.now += NEXT
    return App(codes, await accounts.users.get(user.id), accounts, setup.secret, recovery)


@pytest.mark.parametrize(
    ("at", "code"),
    [
        (59, "287082"),
        (1111111109, "081804"),
        (1111111111, "050471"),
        (1234567890, "005924"),
        (2000000000, "279037"),
        (20000000000, "353130"),
    ],
)
def test_the_vectors_of_the_standard(at: int, code: str) -> None:
    step_of = one_time_codes._step_of
    assert step_of(RFC_SECRET, code, at) == at // 30
    assert step_of(RFC_SECRET, code, at + 30) == at // 30
    assert step_of(RFC_SECRET, code, at - 30) == at // 30
    assert step_of(RFC_SECRET, code, at + 61) is None
    assert at < 61 or step_of(RFC_SECRET, code, at - 61) is None


async def test_set_up_is_confirmed_by_a_code(accounts: Accounts) -> None:
    anna = await accounts.users.add("Anna", PASSWORD, "owner")
    berta = await accounts.users.add("Berta", PASSWORD, "member")
    codes = OneTimeCodes(accounts.db, accounts.users, clock=accounts.clock)
    ticket = await codes.begin_setup(anna.id, "[2001:db8::1]")
    setup = codes.setup_of(anna.id, ticket)
    assert setup is not None
    assert len(setup.secret) == 32
    parsed = pyotp.parse_uri(setup.uri)
    assert isinstance(parsed, pyotp.TOTP)
    assert (parsed.secret, parsed.name, parsed.interval, parsed.digits) == (
        *(setup.secret, "Anna"),
        *(30, 6),
    )
    assert codes.setup_of(berta.id, ticket) is None  # another user's
    for text in ("", "12345", "abcdef", "1234567", "12345a"):
        with pytest.raises(WrongCode, match="six digits"):
            await codes.turn_on(anna.id, ticket, text)
    app = pyotp.TOTP(setup.secret)
    with pytest.raises(WrongCode, match="clocks of your device and of the server differ"):
        await codes.turn_on(anna.id, ticket, app.at(accounts.clock.now - 600))
    assert await codes.get(anna.id) is None
    assert not (await accounts.users.get(anna.id)).has_codes
    shown = app.at(accounts.clock.now)
    recovery = await codes.turn_on(anna.id, ticket, f" {shown[:3]} {shown[3:]}")
    assert len(set(recovery)) == RECOVERY_CODES
    assert (await accounts.users.get(anna.id)).has_codes
    assert not (await accounts.users.get(berta.id)).has_codes
    with pytest.raises(WrongCode, match="Start again"):  # the ticket is used up
        await codes.turn_on(anna.id, ticket, shown)


async def test_a_code_works_once(app: App) -> None:
    with pytest.raises(WrongCode, match="has been used"):  # the one that confirmed the set-up
        await app.enters(app.shows(-NEXT))
    shown, following = app.shows(), app.shows(NEXT)
    assert await app.enters(following) == "code"
    for code in (following, shown):  # neither again, nor one from before
        with pytest.raises(WrongCode, match="has been used"):
            await app.enters(code)
    app.accounts.clock.now += 2 * NEXT
    assert await app.enters(app.shows()) == "code"


async def test_a_recovery_code_works_once(app: App) -> None:
    first, second = app.recovery[:2]
    assert await app.enters(first.upper().replace("-", " ")) == "recovery-code"
    with pytest.raises(WrongCode):
        await app.enters(first)
    kept = await app.codes.get(app.user.id)
    assert kept is not None
    assert kept.recovery_codes == RECOVERY_CODES - 1
    renewed = await app.codes.renew_recovery_codes(app.user.id)
    with pytest.raises(WrongCode):
        await app.enters(second)
    assert await app.enters(renewed[0]) == "recovery-code"


async def test_no_recovery_code_is_in_the_database(app: App) -> None:
    rows = await app.accounts.db.fetch_all("SELECT * FROM recovery_codes")
    assert len(rows) == RECOVERY_CODES
    plain = {code.replace("-", "").encode() for code in app.recovery}
    assert not plain & {bytes(row["code_hash"]) for row in rows}


async def test_who_knows_the_password_cannot_try_all_codes(app: App) -> None:
    """Logging in with the password again does not begin the count anew."""
    users, clock = app.accounts.users, app.accounts.clock
    for _ in range(MAX_FAILURES_PER_NAME):
        await users.authenticate("anna", PASSWORD, ELSEWHERE)
        with pytest.raises(WrongCode):
            await app.enters("000000", ELSEWHERE)
    await users.authenticate("anna", PASSWORD, ELSEWHERE)
    with pytest.raises(TooManyAttempts):
        await app.enters(app.shows(), ELSEWHERE)
    clock.now += 7200  # after which a wrong password would be forgotten
    with pytest.raises(WrongCode):
        await app.enters("000000", ELSEWHERE)
    with pytest.raises(TooManyAttempts):
        await app.enters("000000", ELSEWHERE)
    # Anna herself is not kept out: neither at home, nor in a browser in which she has logged in.
    assert await app.enters(app.shows()) == "code"
    for number in range(100):
        with pytest.raises((WrongCode, TooManyAttempts)):
            await app.enters("000000", f"198.51.100.{number}")
    with pytest.raises(TooManyAttempts):
        await app.enters(app.shows(NEXT), "203.0.113.7")
    token = await users.issue_device_token(app.user.id)
    assert await app.enters(app.shows(NEXT), "203.0.113.7", token) == "code"


async def test_a_login_waits_for_its_code(app: App) -> None:
    codes, users = app.codes, app.accounts.users
    ticket = await codes.begin_login(app.user.id, "/archive")
    with pytest.raises(LoginExpired):
        await codes.finish_login("", app.shows(), HERE)
    with pytest.raises(WrongCode):
        await codes.finish_login(ticket, "000000", HERE)
    user, method = await codes.finish_login(ticket, app.shows(), HERE)
    assert (user.id, method) == (app.user.id, "code")
    app.accounts.clock.now += NEXT
    with pytest.raises(LoginExpired):
        await codes.finish_login(ticket, app.shows(), HERE)
    # It ends when the password is another one, or codes are turned off.
    ticket = await codes.begin_login(app.user.id, "/")
    await users.set_password(app.user.id, "another good phrase")
    with pytest.raises(LoginExpired):
        await codes.finish_login(ticket, app.shows(), HERE)
    ticket = await codes.begin_login(app.user.id, "/")
    assert await codes.turn_off(app.user.id)
    assert not await codes.turn_off(app.user.id)
    with pytest.raises(LoginExpired, match="turned off"):
        await codes.finish_login(ticket, app.shows(), HERE)


async def test_a_removed_user_leaves_no_pending_login(app: App) -> None:
    berta = await app.accounts.users.add("Berta", PASSWORD, "member")
    ticket = await app.codes.begin_login(berta.id, "/")
    assert await app.codes.pending_login(ticket) is not None
    await app.accounts.users.disable(berta.id)
    assert await app.codes.pending_login(ticket) is None
    await app.accounts.users.mark_for_deletion(berta.id)
    assert await app.codes.pending_login(ticket) is None


async def test_a_login_that_waits_too_long_expires(app: App) -> None:
    app.codes._logins = Tickets(clock=app.accounts.clock)
    ticket = await app.codes.begin_login(app.user.id, "/")
    app.accounts.clock.now += TICKET_SECONDS
    assert await app.codes.pending_login(ticket) is None
