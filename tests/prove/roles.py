"""Asks every route and every socket as every role, of a real server over HTTP.

The table of who may do what is the one of `tests/web/security/test_auth_access.py`. What is refused
shows none of the member's words and changes nothing.
"""

from __future__ import annotations

import itertools
import secrets
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin

from app.db.users import Role
from app.web.addresses import is_api_path
from tests.e2e.server import Server
from tests.patience import PATIENCE
from tests.prove import checks
from tests.prove.people import Login, add_people
from tests.prove.plan import MODEL, Plan
from tests.prove.report import Report
from tests.web.security import test_auth_access as access

ROLES: Final[tuple[tuple[str, Role], ...]] = (
    (access.OWNER, "owner"),
    (access.MEMBER, "member"),
    (access.STRANGER, "member"),
)
FOR_THIS_MACHINE: Final = {("GET", "/metrics"): 200}
"""What every program on this machine may read."""
FOR_NAMED_HOSTS: Final = {("POST", "/you/passkeys"): 422, ("POST", "/login/passkey/options"): 200}
"""What is refused (403) at 127.0.0.1: a passkey is for a host with a name."""
POLICY: Final = 1008
OTHERS: Final = 4
"""Accounts of a row that are disabled or removed, one by each role."""
ADD_CHAT: Final = """
INSERT INTO chats (id, user_id, title, model, created_at, updated_at) VALUES (?, ?, ?, 'tiny', 1, 2)
"""
ADD_MESSAGE: Final = """
INSERT INTO messages (chat_id, parent_id, role, text, status, model, finish_reason, created_at)
VALUES (?, ?, ?, ?, 'done', 'tiny', ?, 1)
"""
TABLES: Final = ("messages", "removals", "chat_settings", "shares")


@dataclass
class Neighbourhood:
    """Server with people, of whom each row of the table gets some of its own."""

    server: Server
    plan: Plan
    logins: Iterator[Login]
    statuses: Counter[str]

    def next_people(self) -> dict[str, Login]:
        people = {name: next(self.logins) for name, _ in ROLES}
        return people | {access.NOBODY: Login(0, "", {"Origin": self.server.origin})}

    def plant_chat(self, member: Login) -> tuple[str, int, int]:
        """Add a chat of the member's with one question and an answer that can go on."""
        chat_id, words = secrets.token_hex(8), access.WORDS
        with closing(sqlite3.connect(self.server.data / "wick.db", timeout=30)) as db, db:
            db.execute(ADD_CHAT, (chat_id, member.user_id, words))
            question = db.execute(ADD_MESSAGE, (chat_id, None, "user", words, None)).lastrowid
            answer = db.execute(
                ADD_MESSAGE, (chat_id, question, "assistant", words, "length")
            ).lastrowid
            db.execute("UPDATE chats SET leaf_id = ? WHERE id = ?", (answer, chat_id))
        assert question
        assert answer
        return chat_id, question, answer

    def rows_of(self, chat_id: str) -> list[Any]:
        """Return all that is stored of a chat."""
        kept = [self.server.rows("SELECT * FROM chats WHERE id = ?", chat_id)]
        for name in TABLES:
            sql = f"SELECT * FROM {name} WHERE chat_id = ?"  # noqa: S608 - one of TABLES
            kept.append(self.server.rows(sql, chat_id))
        return [[tuple(row) for row in rows] for rows in kept]


async def prove(plan: Plan) -> Report:
    report = Report("every route for every role")
    rows = [*access.PUBLIC, *access.PEOPLE, *access.CHATS, *access.OWNERS, access.TERMINAL]
    chosen = plan.chance.sample(rows, plan.rounds) if plan.rounds else rows
    server = Server(
        plan.make_folder("data"), plan.models, accounts="on", titles="off", max_tokens=8
    )
    here = Neighbourhood(server, plan, await _logins(server, plan, len(chosen) + 1), Counter())
    await server.start()
    try:
        for row in chosen:
            report.lose(*await _try_row(here, row))
        report.lose(*await _try_sockets(here))
    finally:
        await server.close()
    report.lose(*checks.traces_of(server))
    report.scope = f"{len(chosen)} routes and {len(access.SOCKETS)} sockets, 4 roles"
    report.figures = {
        "asked": f"{here.statuses.total():,}",
        "allowed": f"{here.statuses['allowed']:,}",
        "refused, with nothing shown or changed": f"{here.statuses['refused']:,}",
    }
    return report


async def _logins(server: Server, plan: Plan, rows: int) -> Iterator[Login]:
    names: list[tuple[str, Role]] = [("First", "owner")]
    for number in range(rows):
        names += [(f"{name} {number}", role) for name, role in ROLES]
        names += [(f"other {number} {other}", "member") for other in range(OTHERS)]
    return iter((await add_people(server, plan.models, names))[1:])


async def _try_row(here: Neighbourhood, row: access.Row) -> list[str]:
    """Ask one route as everybody; those who must change nothing come first."""
    spare = here.plan.models / "spare"
    shutil.copytree(here.plan.models / MODEL, spare, dirs_exist_ok=True)
    people, losses = here.next_people(), []
    others = [next(here.logins) for _ in range(OTHERS)]
    chat = here.plant_chat(people[access.MEMBER])
    before = here.rows_of(chat[0])
    async with httpx.AsyncClient(base_url=here.server.origin, timeout=PATIENCE) as client:
        for (who, usual), other in zip(access.expected(row).items(), others, strict=True):
            wanted = FOR_THIS_MACHINE.get(row, usual)
            wanted = 403 if FOR_NAMED_HOSTS.get(row) == usual else wanted
            address = access.address(row, chat, other.user_id)
            given = _content(row)
            given["headers"] = people[who].headers | given.get("headers", {})
            answer = await client.request(row[0], address, **given)
            is_right = answer.status_code == wanted
            if wanted == access.REACHED:
                is_right = answer.status_code not in {303, 401, 403}
            if not is_right:
                losses.append(f"{' '.join(row)} as {who}: {answer.status_code}, not {wanted}")
            here.statuses["refused" if wanted in {303, 401, 403, 404} else "allowed"] += 1
            if who == access.MEMBER:
                continue
            if access.WORDS.encode() in answer.content:
                losses.append(f"{' '.join(row)} shows the member's words to {who}")
            if here.rows_of(chat[0]) != before:
                losses.append(f"{' '.join(row)} as {who} changed the member's chat")
    return losses


def _content(row: access.Row) -> dict[str, Any]:
    is_json = row[0] in {"POST", "PATCH"} and is_api_path(row[1])
    if is_json or row in access.BODIES:
        return {"json": access.BODIES.get(row, access.BODY)}
    if row[0] == "POST":
        form = urlencode(access.FORMS.get(row, {}))
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        return {"content": form.encode(), "headers": kind}
    return {}


async def _try_sockets(here: Neighbourhood) -> list[str]:
    people, losses = here.next_people(), []
    chat_id, question, _ = here.plant_chat(people[access.MEMBER])
    everybody = {access.OWNER, access.MEMBER, access.STRANGER}
    allowed = {
        f"/chats/{chat_id}/live": {access.MEMBER},
        f"/chats/{chat_id}/compare/{question}/live": everybody,  # others' shows nothing of it
        "/live": everybody,
        "/models/live": everybody,
    }
    for (path, welcome), who in itertools.product(allowed.items(), people):
        status, frame = await _open(here.server, path, people[who])
        here.statuses["allowed" if who in welcome else "refused"] += 1
        if (status == 101) is not (who in welcome):
            losses.append(f"{path} as {who}: {status}")
        if who != access.MEMBER and access.WORDS in frame:
            losses.append(f"{path} shows the member's words to {who}")
    return losses


async def _open(server: Server, path: str, login: Login) -> tuple[int, str]:
    """Return 101 and the first frame, else how the socket was refused or closed."""
    headers = {name: text for name, text in login.headers.items() if name == "Cookie"}
    address = server.origin.replace("http", "ws") + path
    try:
        async with connect(
            address, origin=Origin(server.origin), additional_headers=headers, proxy=None
        ) as tab:
            return 101, str(await tab.recv())
    except InvalidStatus as error:
        return error.response.status_code, ""
    except ConnectionClosed:
        return POLICY, ""
