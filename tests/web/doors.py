"""People who have logged in, for tests of an application that has accounts."""

from __future__ import annotations

import re
from typing import Any

from argon2 import PasswordHasher
from quart import Quart
from quart.testing import QuartClient

from app.accounts.passwords import Passwords
from app.web.context import ServerContext

OWN = {"Host": "localhost:8000", "Origin": "http://localhost:8000"}
PAGE = OWN | {"HX-Request": "true", "HX-Current-URL": "http://localhost:8000/"}
PASSWORD = "correct horse battery"
QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


def house(app: Quart) -> ServerContext:
    """Its state, with passwords that are hashed quickly."""
    here: ServerContext = app.extensions["wick"]
    here.users._passwords = Passwords(QUICK)
    return here


async def text_of(answer: Any) -> str:
    text: str = await answer.get_data(as_text=True)
    return text


def csrf_in(html: str) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', html) or re.search(
        r'"X-CSRF-Token": "([^"]+)"', html
    )
    assert found, html
    return found[1]


class Visitor:
    """A browser: keeps cookies, and sends what our pages would send."""

    def __init__(self, app: Quart) -> None:
        self.client = QuartClient(app)
        self.headers: dict[str, str] = dict(OWN)
        self.user_id = 0

    async def ask(self, method: str, path: str, **given: Any) -> Any:
        headers = self.headers | given.pop("headers", {})
        return await self.client.open(path, method=method, headers=headers, **given)

    async def log_in(self, name: str, password: str = PASSWORD) -> Any:
        """Through the page, as people do."""
        form = csrf_in(await text_of(await self.ask("GET", "/login")))
        answer = await self.ask(
            "POST", "/login", form={"csrf": form, "name": name, "password": password}
        )
        if answer.status_code == 303:
            self.headers["X-CSRF-Token"] = csrf_in(await text_of(await self.ask("GET", "/archive")))
        return answer


async def person(app: Quart, name: str, role: str = "member") -> Visitor:
    """Somebody with an account, logged in. The first of all is the owner."""
    await house(app).users.add(name, PASSWORD, role)  # type: ignore[arg-type]
    visitor = Visitor(app)
    assert (await visitor.log_in(name)).status_code == 303
    return visitor
