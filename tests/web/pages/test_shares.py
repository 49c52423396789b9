"""A chat's read-only link: who sees what, until when, and what it never shows."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import aiosqlite
import pytest
from quart import Quart

from app.db import chats, messages
from tests.application import PASSWORD, BrowserClient, context_of, run_app, sign_in, text_of

CHAT = "0123456789abcdef"
PAGE = {"HX-Request": "true", "HX-Current-URL": f"http://localhost:8000/chats/{CHAT}"}


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[Quart]:
    async with run_app(tmp_path, host="0.0.0.0") as made:
        yield made


async def say(app: Quart, question: str, parent: int | None = None, user_id: int = 1) -> int:
    """A question and its answer at the end of the chat. The answer's id."""

    async def add(connection: aiosqlite.Connection) -> int:
        await chats.create(connection, CHAT, user_id, "Walnuts <b>", "tiny", 1.0)
        asked = await messages.add_user(connection, user_id, CHAT, parent, question, question, 1.0)
        answer = await messages.add_answer(connection, user_id, CHAT, asked, "tiny", 1.0)
        await messages.finish(connection, user_id, answer, "done", "*An answer*", 2.0, counts={})
        await chats.advance(connection, user_id, CHAT, answer, "tiny", 2.0)
        return answer

    added: int = await context_of(app).chats._db.write(add)
    return added


async def share(visitor: BrowserClient) -> str:
    """The path of the link that the dialog shows."""
    answer = await visitor.ask("POST", f"/chats/{CHAT}/share", headers=PAGE)
    html = await text_of(answer)
    found = re.search(r'value="http://localhost:8000(/shared/[\w-]{43})"', html)
    assert found, html
    return found[1]


async def test_nobody_sees_a_chat_that_was_not_shared(app: Quart) -> None:
    await sign_in(app, "Anna", "owner")
    await say(app, "secret question")
    for token in (CHAT, "x" * 43, "%00", "%ff"):
        answer = await BrowserClient(app).ask("GET", f"/shared/{token}")
        assert answer.status_code == 404
        assert "secret" not in await text_of(answer)


async def test_a_stranger_reads_the_chat_as_it_is_now(app: Quart, tmp_path: Path) -> None:
    anna = await sign_in(app, "Anna", "owner")
    answer_id = await say(app, "first question <img>")
    link = await share(anna)
    stranger = BrowserClient(app)
    await say(app, "second question", answer_id)
    answer = await stranger.ask("GET", link)
    html = await text_of(answer)
    assert answer.status_code == 200
    assert "first question &lt;img&gt;" in html
    assert "second question" in html
    assert "<em>An answer</em>" in html
    assert "Walnuts &lt;b&gt;" in html
    for never in ("Anna", "<form", "<textarea", "hx-", "<button", "sidebar", CHAT, "csrf"):
        assert never not in re.sub(r" hx-(ignore|morph-skip(-children)?|preserve)", "", html), never
    assert answer.headers["X-Robots-Tag"] == "noindex, nofollow"
    assert 'name="robots" content="noindex' in html
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Set-Cookie" not in answer.headers
    token = link.rpartition("/")[2]
    with closing(sqlite3.connect(tmp_path / "wick.db")) as database:
        assert token not in "\n".join(database.iterdump())
    assert token not in (tmp_path / "audit.log").read_text()


async def test_the_owner_of_a_chat_sees_that_it_is_shared_and_ends_it(app: Quart) -> None:
    anna = await sign_in(app, "Anna", "owner")
    await say(app, "question")
    dialog = await text_of(await anna.ask("GET", f"/chats/{CHAT}/share"))
    assert "Stop sharing" not in dialog
    assert ">Shared<" not in await text_of(await anna.ask("GET", f"/chats/{CHAT}"))
    link = await share(anna)
    assert ">Shared<" in await text_of(await anna.ask("GET", f"/chats/{CHAT}"))
    dialog = await text_of(await anna.ask("GET", f"/chats/{CHAT}/share"))
    assert "Stop sharing" in dialog
    assert link not in dialog
    newer = await share(anna)
    assert (await anna.ask("GET", link)).status_code == 404
    assert (await anna.ask("GET", newer)).status_code == 200
    ended = await text_of(await anna.ask("DELETE", f"/chats/{CHAT}/share", headers=PAGE))
    assert 'innerHTML:#shared"></div>' in ended.replace("\n", "")
    assert (await BrowserClient(app).ask("GET", newer)).status_code == 404


@pytest.mark.parametrize("end", ["trash", "disable", "leave"])
async def test_a_share_goes_with_its_chat_and_with_its_user(app: Quart, end: str) -> None:
    owner = await sign_in(app, "Anna", "owner")
    added = await context_of(app).users.add("Ben", PASSWORD, "member")
    ben = BrowserClient(app)
    await ben.log_in("Ben")
    await say(app, "question", user_id=added.id)
    link = await share(ben)
    assert (await owner.ask("GET", link)).status_code == 200
    if end == "trash":
        await ben.ask("DELETE", f"/chats/{CHAT}")
        assert (await BrowserClient(app).ask("GET", link)).status_code == 404
        await ben.ask("POST", f"/chats/{CHAT}/restore")
    elif end == "disable":
        await owner.ask("POST", f"/people/{added.id}/disable")
    else:
        await context_of(app).users.mark_for_deletion(added.id)
    assert (await BrowserClient(app).ask("GET", link)).status_code == 404


async def test_only_the_owner_of_a_chat_shares_it(app: Quart) -> None:
    await sign_in(app, "Anna", "owner")
    ben = await sign_in(app, "Ben")
    await say(app, "question")
    for method in ("GET", "POST", "DELETE"):
        assert (await ben.ask(method, f"/chats/{CHAT}/share")).status_code == 404


async def test_a_long_chat_is_shown_from_its_end(app: Quart) -> None:
    anna = await sign_in(app, "Anna", "owner")
    parent = None
    for number in range(40):
        parent = await say(app, f"question-{number:02}", parent)
    link = await share(anna)
    html = await text_of(await BrowserClient(app).ask("GET", link))
    assert "question-39" in html
    assert "question-00" not in html
    for _ in range(5):
        found = re.search(r'href="(/shared/[^"]+)">Earlier', html)
        if found:
            html = await text_of(await BrowserClient(app).ask("GET", found[1]))
    assert "question-00" in html
    assert "question-39" in html
    assert "Earlier messages" not in html


async def test_on_one_machine_a_shared_link_opens_there(tmp_path: Path) -> None:
    async with run_app(tmp_path) as made:
        await say(made, "question")
        visitor = BrowserClient(made)
        link = await share(visitor)
        dialog = await text_of(await visitor.ask("GET", f"/chats/{CHAT}/share"))
        assert "only reachable from this machine" in dialog
        assert "question" in await text_of(await visitor.ask("GET", link))


async def test_a_link_too_many_is_refused(app: Quart, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.conversations.chats.MAX_SHARES", 1)
    anna = await sign_in(app, "Anna", "owner")
    await say(app, "first question")
    await share(anna)
    await share(anna)  # a new one replaces it

    async def add(connection: aiosqlite.Connection) -> None:
        await chats.create(connection, CHAT[::-1], 1, "Another", "tiny", 1.0)

    await context_of(app).chats._db.write(add)
    answer = await anna.ask("POST", f"/chats/{CHAT[::-1]}/share", headers=PAGE)
    assert (answer.status_code, "limit of 1 shared chats" in await text_of(answer)) == (507, True)
