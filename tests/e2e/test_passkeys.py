"""One-time codes and passkeys in a browser, below a path; Chromium's virtual device signs."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pyotp
from playwright.async_api import Browser, Page, expect

from tests.e2e.conftest import Meet, StartServer
from tests.e2e.test_accounts import PASSWORD, first_link, join
from tests.patience import PATIENCE

BASE = "/wick"
TAKE_LOCALHOSTS = """async () => {
  const publicKey = { rpId: 'localhost', challenge: new Uint8Array(32) };
  return navigator.credentials.get({ publicKey }).then(() => 'given', (error) => error.name);
}"""


QUIET = "if (window.name === 'quiet') PublicKeyCredential.isConditionalMediationAvailable = null;"
"""Has the field of the name offer no passkey: the virtual device takes every offer at once."""


async def add_device(page: Page) -> None:
    """Give a browser a device that knows its user's fingerprint and is always touched."""
    session = await page.context.new_cdp_session(page)
    await session.send("WebAuthn.enable")
    options = {"protocol": "ctap2", "transport": "internal", "isUserVerified": True}
    options |= {"hasResidentKey": True, "hasUserVerification": True}
    await session.send("WebAuthn.addVirtualAuthenticator", {"options": options})


async def is_offered(page: Page, *, offered: bool) -> None:
    """Whether the field of the name offers passkeys on the next pages."""
    await page.evaluate("name => { window.name = name; }", "" if offered else "quiet")


async def log_out(page: Page, origin: str) -> None:
    await page.goto(f"{origin}/you")
    await page.get_by_role("button", name="Log out", exact=True).click()
    await expect(page.get_by_role("status")).to_have_text("You are logged out.")


async def log_in_by_password(page: Page) -> None:
    await page.get_by_label("Name").fill("anna")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Log in", exact=True).click()


async def test_passkeys_and_codes_from_their_set_up_to_their_end(
    start: StartServer, meet: Meet, browser: Browser, tiny_store: Path
) -> None:
    server = await start(tiny_store, base_path=BASE, accounts="on")
    address = server.origin
    here = address.replace("127.0.0.1", "localhost") + BASE
    link = await first_link(server)
    server.origin = here
    anna = await meet(server)
    anna.expects("status of 40[13]")  # a wrong password, and a socket whose session has ended
    page = (await join(anna, f"{here}/join/{link.rpartition('/')[2]}", "Anna")).page
    await page.add_init_script(QUIET)
    await add_device(page)

    # A passkey is added, with the password.
    await page.goto(f"{here}/you")
    await page.get_by_role("link", name="Add a passkey").click()
    await page.get_by_label("Name of the passkey").fill("Laptop")
    await page.get_by_label("Your password").fill("not my password")
    await page.get_by_role("button", name="Add a passkey").click()
    await expect(page.get_by_role("alert")).to_have_text("Wrong password.")
    await page.get_by_label("Your password").fill(PASSWORD)
    await page.get_by_role("button", name="Add a passkey").click()
    await expect(page.get_by_text("Passkey added.")).to_be_visible()
    await page.get_by_label("Name of the passkey").fill("The same")
    await page.get_by_label("Your password").fill(PASSWORD)
    await page.get_by_role("button", name="Add a passkey").click()
    await expect(page.get_by_role("alert")).to_have_text(re.compile("has a passkey for your"))

    # It logs her in by a button, and when it is chosen in the field of the name.
    await is_offered(page, offered=False)
    await log_out(page, here)
    await page.get_by_role("button", name="Log in with a passkey").click()
    await expect(page).to_have_url(f"{here}/")
    await page.goto(f"{here}/you")
    await expect(page.get_by_text("logged in with a passkey")).to_be_visible()
    await is_offered(page, offered=True)
    await page.get_by_role("button", name="Log out", exact=True).click()
    await expect(page).to_have_url(f"{here}/")

    # A page of another origin has none of it.
    elsewhere = await browser.new_context()
    elsewhere.set_default_timeout(PATIENCE * 1000)
    other = await elsewhere.new_page()
    await add_device(other)
    await other.goto(f"{address}{BASE}/login")
    await expect(other.get_by_role("button", name="Log in", exact=True)).to_be_visible()
    await expect(other.get_by_text("passkey")).to_have_count(0)
    assert await other.evaluate(TAKE_LOCALHOSTS) == "SecurityError"
    await elsewhere.close()

    # After one-time codes are on, the password alone is not enough.
    await page.goto(f"{here}/you")
    await page.get_by_role("link", name="Set up one-time codes").click()
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Continue").click()
    await expect(page.get_by_role("img", name="QR code")).to_be_visible()
    app = pyotp.TOTP((await page.locator(".secret-key").inner_text()).replace(" ", ""))
    await page.get_by_role("textbox", name="Code").fill(app.now())
    await page.get_by_role("button", name="Turn on").click()
    await expect(page.locator("#recovery-codes li")).to_have_count(10)
    recovery = await page.locator("#recovery-codes li").first.inner_text()
    await is_offered(page, offered=False)
    await log_out(page, here)
    await log_in_by_password(page)
    await expect(page).to_have_url(f"{here}/login/code")
    await page.get_by_label("Code from your authenticator app").fill(app.at(time.time() + 30))
    await page.get_by_role("button", name="Log in", exact=True).first.click()
    await expect(page).to_have_url(f"{here}/")
    await log_out(page, here)
    await log_in_by_password(page)
    await page.locator("summary").click()
    await page.get_by_label("Recovery code").fill(recovery)
    await page.get_by_label("Recovery code").press("Enter")
    await expect(page).to_have_url(f"{here}/")

    # A passkey that is removed logs nobody in.
    await page.goto(f"{here}/you/passkeys")
    await page.get_by_role("button", name="Remove the passkey Laptop").click()
    await page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    await expect(page.get_by_text("Passkey removed.")).to_be_visible()
    await log_out(page, here)
    await expect(page.get_by_role("button", name="Log in", exact=True)).to_be_visible()
    await expect(page.get_by_text("passkey")).to_have_count(0)
