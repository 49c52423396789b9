"""Logging in with a provider in a browser: there, back as an owner, and out again on both sides."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from playwright.async_api import Browser, expect

from tests.application import PASSWORD
from tests.e2e.conftest import StartServer
from tests.forked import run_command
from tests.openid import real_provider
from tests.patience import PATIENCE

ANN = {"sub": "ann-1", "preferred_username": "ann", "groups": ["admins"]}


async def test_from_the_provider_into_wick_and_out_of_both(
    start: StartServer, browser: Browser, tiny_store: Path
) -> None:
    with real_provider(ANN) as issuer:
        server = await start(
            tiny_store,
            accounts="on",
            oidc_company_issuer=issuer,
            oidc_company_client_id="wick",
            oidc_company_client_secret="secret",
            oidc_company_owner_groups="admins",
            oidc_company_create=1,
        )
        words, given = ("user", "add", "anna", "--owner"), f"{PASSWORD}\n{PASSWORD}\n"
        made = await asyncio.to_thread(run_command, words, server.environ, server.folder, given)
        assert made.returncode == 0, made
        context = await browser.new_context()  # one that may go elsewhere
        context.set_default_timeout(PATIENCE * 1000)
        page = await context.new_page()
        await page.goto(f"{server.origin}/archive")
        await page.get_by_role("link", name="Log in with Company").click()
        await page.get_by_role("button", name="ann-1").click()
        await expect(page).to_have_url(f"{server.origin}/archive")
        await page.goto(f"{server.origin}/people")
        await expect(page.get_by_role("main").get_by_text("ann", exact=True)).to_be_visible()
        await page.goto(f"{server.origin}/you")
        await expect(page.get_by_text("logged in with Company")).to_be_visible()

        await page.get_by_role("button", name="Log out", exact=True).click()
        await page.get_by_role("link", name="Log out of Company too").click()
        await expect(page).to_have_url(re.compile(f"^{issuer}/oauth2/end_session"))
        await page.get_by_role("button", name="End session").click()
        await expect(page).to_have_url(f"{server.origin}/login?out=yes")
        await expect(page.get_by_text("You are logged out.")).to_be_visible()

        await page.get_by_role("link", name="Log in with Company").click()
        await page.get_by_role("button", name="Deny").click()
        await expect(page.get_by_role("alert")).to_contain_text("you cancelled")
        await page.get_by_label("Name").fill("anna")
        await page.get_by_label("Password", exact=True).fill(PASSWORD)
        await page.get_by_role("button", name="Log in", exact=True).click()
        await page.goto(f"{server.origin}/you")
        await page.get_by_role("link", name="Link Company").click()
        await page.get_by_role("button", name="ann-1").click()
        await page.get_by_role("button", name="Link Company").click()
        await expect(page.get_by_role("alert")).to_contain_text("linked to another account")
        await context.close()
