"""The application in the test's own process, and browsers that have logged in to it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from argon2 import PasswordHasher
from quart import Quart
from quart.testing import QuartClient

from app.accounts.passwords import Passwords
from app.config import Settings
from app.server import create_app
from app.web.context import ServerContext

OWN = {"Host": "localhost:8000", "Origin": "http://localhost:8000"}
PAGE = OWN | {"HX-Request": "true", "HX-Current-URL": "http://localhost:8000/"}
PASSWORD = "correct horse battery"


def quick_passwords() -> Passwords:
    """Make passwords that are hashed quickly."""
    return Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


@asynccontextmanager
async def run_app(folder: Path, **settings: Any) -> AsyncIterator[Quart]:
    """Run an application with its data in `folder`."""
    given: dict[str, Any] = {
        "data_dir": folder,
        "models_dir": folder / "models",
        "auto_pull": False,
    }
    app = create_app(Settings(**given | settings), quick_passwords())
    async with app.test_app():
        yield app


def context_of(app: Quart) -> ServerContext:
    context: ServerContext = app.extensions["wick"]
    return context


async def text_of(answer: Any) -> str:
    text: str = await answer.get_data(as_text=True)
    return text


def csrf_in(html: str) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', html) or re.search(
        r'"X-CSRF-Token": "([^"]+)"', html
    )
    assert found, html
    return found[1]


class BrowserClient:
    """A browser: keeps cookies, and sends what our pages would send."""

    def __init__(self, app: Quart) -> None:
        self.client = QuartClient(app)
        self.headers: dict[str, str] = dict(OWN)
        self.user_id = 0

    async def ask(self, method: str, path: str, **given: Any) -> Any:
        headers = self.headers | given.pop("headers", {})
        return await self.client.open(path, method=method, headers=headers, **given)

    async def log_in(self, name: str, password: str = PASSWORD) -> Any:
        """Log in through the page, as users do."""
        form = csrf_in(await text_of(await self.ask("GET", "/login")))
        answer = await self.ask(
            "POST", "/login", form={"csrf": form, "name": name, "password": password}
        )
        if answer.status_code == 303 and "/login/code" not in answer.headers["Location"]:
            self.headers["X-CSRF-Token"] = csrf_in(await text_of(await self.ask("GET", "/archive")))
        return answer


async def sign_in(app: Quart, name: str, role: str = "member") -> BrowserClient:
    """Make an account and log in to it. The first of all is the owner."""
    await context_of(app).users.add(name, PASSWORD, role)  # type: ignore[arg-type]
    browser = BrowserClient(app)
    assert (await browser.log_in(name)).status_code == 303
    return browser
