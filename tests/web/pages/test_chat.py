"""Every page and verb about chats, asked for over HTTP; a stranger sees and changes nothing."""

from __future__ import annotations

import asyncio
import io
import json
import re
import threading
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiosqlite
import pytest
from markupsafe import Markup
from quart import Quart
from quart.testing import QuartClient

from app.config import Settings, asset_dir
from app.db import chats, messages
from app.server import create_app
from app.web.context import ServerContext
from app.web.pages import lists
from app.web.render import chat, sidebar
from app.web.render.fragments import Fragments
from app.web.render.markdown import LARGE_CHARS, render_markdown
from app.web.security import identity as web_identity
from app.web.security.identity import Identity
from tests.application import OWN
from tests.foreign_files import chatgpt
from tests.patience import PATIENCE

HTMX = OWN | {"HX-Request": "true", "HX-Current-URL": "http://localhost:8000/"}
HOSTILE = "<img src=x onerror=alert(1)>\"'&<hx-partial hx-target=body>"
CHATS = [f"{number:016x}" for number in range(150)]
CHAT = CHATS[149]


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[Quart]:
    """150 chats, of which the newest has a hostile title and message."""
    made = create_app(Settings(data_dir=tmp_path, models_dir=tmp_path / "models", auto_pull=False))

    async def fill(connection: aiosqlite.Connection) -> None:
        for number, chat_id in enumerate(CHATS):
            await chats.create(connection, chat_id, 1, f"Chat {number}", "tiny", number)
        question = await messages.add_user(connection, 1, CHAT, None, f"fox {HOSTILE}", "c1", 1.0)
        await chats.advance(connection, 1, CHAT, question, "tiny", 999.0)
        await chats.rename(connection, 1, CHAT, HOSTILE)

    async with made.test_app():
        here: ServerContext = made.extensions["wick"]
        await here.chats._db.write(fill)
        yield made


@pytest.fixture
def client(app: Quart) -> QuartClient:
    return QuartClient(app)


@pytest.fixture
def stranger(app: Quart, monkeypatch: pytest.MonkeyPatch) -> QuartClient:
    monkeypatch.setattr(web_identity, "LOCAL", Identity(2))
    return QuartClient(app)


async def text(client: QuartClient, path: str, method: str = "GET", **given: Any) -> str:
    headers = given.pop("headers", HTMX)
    answer = await client.open(path, method=method, headers=headers, **given)
    assert answer.status_code in {200, 204}, (path, await answer.get_data(as_text=True))
    return str(await answer.get_data(as_text=True))


def ids(html: str) -> list[str]:
    return re.findall(r'<li id="c-([0-9a-f]{16})"', html)


async def test_a_long_answer_is_rendered_while_others_are_served(
    app: Quart, client: QuartClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[str] = []
    render = render_markdown

    def noted(text: str, message_id: int | None = None) -> Markup:
        threads.append(threading.current_thread().name)
        return render(text, message_id)

    monkeypatch.setattr(chat, "render_markdown", noted)
    words = "Some *long* answer. " * (LARGE_CHARS // 20 + 1)

    async def answer(connection: aiosqlite.Connection) -> None:
        number = await messages.add_answer(connection, 1, CHAT, 1, "tiny", 2.0)
        await messages.finish(connection, 1, number, "done", words, 3.0)
        await chats.advance(connection, 1, CHAT, number, "tiny", 1000.0)

    await app.extensions["wick"].chats._db.write(answer)
    assert "<em>long</em> answer." in await text(client, f"/chats/{CHAT}", headers=OWN)
    assert threads
    assert threading.main_thread().name not in threads


async def test_the_list_comes_in_pages_that_fit_together(client: QuartClient) -> None:
    html = await text(client, "/", headers=OWN)
    seen = ids(html)
    assert len(seen) == 60
    while more := re.search(r'hx-get="(/chats/more\?after=[^"]+)"', html):
        html = await text(client, more[1])
        seen += ids(html)
    assert seen == CHATS[::-1]
    assert html.count("<h2>") == 0  # all of one month, whose heading is there already


async def test_rename_pin_archive_and_their_ways_back(app: Quart, client: QuartClient) -> None:
    here: ServerContext = app.extensions["wick"]
    until = re.search(r'name="until" value="([^"]+)"', await text(client, "/", headers=OWN))
    assert until
    form = {"title": "A name longer than any that is made " * 5, "until": until[1]}
    assert form["title"].strip() in await text(
        client, f"/chats/{CHATS[140]}/name", "POST", form=form
    )
    form = {"title": "New name", "until": until[1]}
    for chat_id in (CHATS[140], CHATS[5]):  # in the beginning of the list, and far down
        html = await text(client, f"/chats/{chat_id}/name", "POST", form=form)
        assert "New name" in html
        assert f'id="c-{chat_id}-menu"' in html
    assert "autofocus" in await text(client, f"/chats/{CHAT}/row?until={until[1]}")
    await text(client, f"/chats/{CHATS[5]}/pin", "POST")
    assert "Unpin" in await text(client, f"/chats/{CHATS[5]}/menu")
    assert ids(await text(client, "/", headers=OWN))[0] == CHATS[5]
    await text(client, f"/chats/{CHATS[5]}/unpin", "POST")
    html = await text(client, f"/chats/{CHAT}/archive", "POST")
    assert f"/chats/{CHAT}/unarchive" in html
    assert CHAT in await text(client, "/archive", headers=OWN)
    assert CHAT not in ids(await text(client, "/", headers=OWN))
    await text(client, f"/chats/{CHAT}/unarchive", "POST")
    assert CHAT in [chat.id for chat in await here.chats.recent(1)]


async def test_trash_restore_and_gone_for_good(client: QuartClient) -> None:
    for chat_id in CHATS[:70]:
        await text(client, f"/chats/{chat_id}", "DELETE")
    page = await text(client, "/trash", headers=OWN)
    more = re.search(r'hx-get="(/trash\?after=[^"]+)"', page)
    assert more
    assert len(re.findall("<li id=", await text(client, more[1]))) == 10
    await text(client, f"/chats/{CHATS[0]}/restore", "POST")
    await text(client, f"/trash/{CHATS[1]}", "DELETE")
    assert (await client.delete(f"/trash/{CHATS[0]}", headers=HTMX)).status_code == 404
    assert "68 chats deleted permanently." in await text(client, "/trash", "DELETE")
    assert CHATS[2] not in await text(client, "/trash", headers=OWN)


async def test_search(client: QuartClient) -> None:
    page = await text(client, "/search?q=fox", headers=OWN)
    assert "<mark>fox</mark>" in page
    assert "<title>Search · Wick</title>" in page
    part = await text(client, "/search?q=fo")
    assert "<mark>fox</mark>" in part
    assert "<title>" not in part
    assert f"/chats/{CHAT}?message=1&amp;find=fo#m1" in part
    assert "No results" in await text(client, "/search?q=heron")
    assert "No results" in await text(client, "/search?q=fox&role=assistant")
    assert "No results" in await text(client, "/search?q=fox&in=trash")
    for wrong in (
        "role=x",
        "in=x",
        "since=x",
        "since=9999999999999",
        "q=%00",
        'q="',
        "q=" + "x" * 999,
    ):
        await text(client, f"/search?{wrong}")


def test_hits_are_marked_and_all_else_is_escaped() -> None:
    hit = lists.SearchHitView("/", lists.highlights("a \x02<b>\x03 & \x03c\x02"), "", "", [])
    fragments = Fragments(asset_dir("templates"), asset_dir("static"))
    html = fragments.render(
        "_results.html", titles=[hit], messages=[], files=[], query="b", is_more=False
    )
    assert "a <mark>&lt;b&gt;</mark> &amp; c</span>" in html


@pytest.mark.parametrize(
    "path",
    [
        "/",
        f"/chats/{CHAT}",
        f"/chats/{CHAT}/menu",
        f"/chats/{CHAT}/name",
        "/search?q=fox",
        "/search?q=%3Cimg",
        "/archive",
        "/trash",
    ],
)
async def test_hostile_titles_and_texts_are_text(client: QuartClient, path: str) -> None:
    if path in {"/archive", "/trash"}:
        verb = {"/archive": ("/archive", "POST"), "/trash": ("", "DELETE")}[path]
        assert "<img src=x" not in await text(client, f"/chats/{CHAT}{verb[0]}", verb[1])
    for headers in (OWN, HTMX):
        html = await text(client, path, headers=headers)
        assert "<img src=x" not in html
        assert "<hx-partial hx-target=body" not in html
    assert path.endswith("menu") or "&lt;" in html


async def test_exports(client: QuartClient) -> None:
    answer = await client.get(f"/chats/{CHAT}/export.md", headers=OWN)
    assert (await answer.get_data(as_text=True)).startswith(f"# {HOSTILE}")
    disposition = answer.headers["Content-Disposition"]
    assert disposition.startswith('attachment; filename="img src x onerror')
    assert not set("<>\r\n") & set(disposition)
    one = json.loads(await text(client, f"/chats/{CHAT}/export.json"))
    assert [chat["id"] for chat in one["chats"]] == [CHAT]
    every = json.loads(await text(client, "/exchange/chats.json"))
    assert sorted(chat["id"] for chat in every["chats"]) == CHATS
    answer = await client.get("/exchange/chats.zip", headers=OWN)
    with zipfile.ZipFile(io.BytesIO(await answer.get_data(as_text=False))) as archive:
        assert len(archive.namelist()) == 150


async def upload(client: QuartClient, content: bytes) -> tuple[int, str]:
    body = (
        b'--edge\r\nContent-Disposition: form-data; name="file"; filename="c.json"\r\n'
        b"Content-Type: application/json\r\n\r\n" + content + b"\r\n--edge--\r\n"
    )
    form = {"Content-Type": "multipart/form-data; boundary=edge"}
    headers = HTMX | form | {"Content-Length": str(len(body))}
    answer = await client.post("/exchange/import", headers=headers, data=body)
    return answer.status_code, await answer.get_data(as_text=True)


async def test_import(client: QuartClient) -> None:
    file = json.dumps(chatgpt(title=HOSTILE, text="y" * (2 << 20))).encode()  # above other limits
    status, html = await upload(client, file)
    assert (status, "1 chat imported." in html) == (200, True)
    status, html = await upload(client, b"{")
    assert (status, "a supported export" in html) == (400, True)
    answer = await client.post("/exchange/import", headers=HTMX | {"Content-Length": "0"})
    assert answer.status_code == 400
    form = {"title": "x" * (2 << 20)}
    answer = await client.post(f"/chats/{CHAT}/name", headers=HTMX, form=form)
    assert answer.status_code == 413


async def test_a_stranger_sees_nothing_and_changes_nothing(
    app: Quart, client: QuartClient, stranger: QuartClient
) -> None:
    for path in (
        "/",
        "/archive",
        "/trash",
        "/search?q=fox",
        "/search?q=Chat",
        "/exchange/chats.json",
    ):
        html = await text(stranger, path, headers=OWN)
        assert not any(chat_id in html for chat_id in CHATS), path
    for method, path in [
        ("GET", ""),
        ("GET", "?message=1"),
        *(("GET", f"/{verb}") for verb in ("menu", "name", "row", "export.md", "export.json")),
        *(("POST", f"/{verb}") for verb in ("pin", "unpin", "archive", "unarchive", "restore")),
        ("DELETE", ""),
    ]:
        answer = await stranger.open(f"/chats/{CHAT}{path}", method=method, headers=HTMX)
        assert answer.status_code == 404, (method, path)
    form = {"title": "mine", "until": ""}
    answer = await stranger.post(f"/chats/{CHAT}/name", headers=HTMX, form=form)
    assert answer.status_code == 404
    assert (await stranger.delete(f"/trash/{CHAT}", headers=HTMX)).status_code == 404
    here: ServerContext = app.extensions["wick"]
    chat = await here.chats.get(1, CHAT)
    assert chat is not None
    assert (chat.title, chat.deleted_at, chat.pinned_at) == (HOSTILE, None, None)


async def test_a_chat_that_comes_back_goes_to_its_place_far_down(app: Quart) -> None:
    """The rest of the list is left alone: the page may have been scrolled through all of it."""
    here: ServerContext = app.extensions["wick"]
    older = {0: 9.8e8, 1: 9.9e8, 2: 9.91e8}  # in January and May, all others in September

    async def age(connection: aiosqlite.Connection) -> None:
        await connection.execute("UPDATE chats SET updated_at = updated_at + 1e9")
        for number, at in older.items():
            whose = (at, CHATS[number])
            await connection.execute("UPDATE chats SET updated_at = ? WHERE id = ?", whose)

    async def put_in(number: int) -> tuple[str, str, str, str]:
        """Where a chat goes that is not on the page, under which heading, before which other."""
        frame = (
            await sidebar.update(sidebar.SidebarContext(here, 1, CHAT, until), {CHATS[number]})
            or ""
        )
        found = re.findall(r'hx-target="([^"]+)" hx-swap="([^"]+)">(.*?)</hx-partial>', frame, re.S)
        target, swap, inside = found[-1]
        assert f"#chats-more:not(:has(#c-{CHATS[number]}))" in target
        assert ids(inside) == [CHATS[number]]
        other = re.search(r"#c-(\w+)\)?$", target)
        heading = re.search("<h2>(.*)</h2>", inside)
        kind = "section" if "<section" in inside else "row"
        return swap, kind, heading[1] if heading else "", other[1] if other else ""

    await here.chats._db.write(age)
    _, until = await here.chats.page(1, "listed")
    assert await put_in(9) == ("beforebegin", "row", "", CHATS[8])
    assert await put_in(3) == ("beforebegin", "section", "", CHATS[2])
    assert await put_in(2) == ("beforebegin", "row", "", CHATS[1])
    assert await put_in(0) == ("beforeend", "section", "January 2001", "")
    await here.chats.delete(1, CHATS[2])
    assert await put_in(1) == ("beforebegin", "section", "May 2001", CHATS[0])

    # Two at once stand in their order before one that was there: targets are found first.
    place = sidebar.SidebarContext(here, 1, CHAT, until)
    frame = await sidebar.update(place, {CHATS[7], CHATS[8]}) or ""
    places = re.findall(r'not\(:has\(#c-(\w+)\)\) #c-(\w+)"', frame)
    assert places == [(CHATS[8], CHATS[6]), (CHATS[7], CHATS[6])]


async def test_other_tabs_show_that_settings_have_changed(app: Quart) -> None:
    client, address = QuartClient(app), f"/chats/{CHAT}/settings"
    async with (
        client.websocket(f"/chats/{CHAT}/live?seen=", headers=OWN) as tab,
        asyncio.timeout(PATIENCE),
    ):
        await tab.receive()
        for temperature, label in (("0.9", "Chat settings, changed"), ("", "Chat settings")):
            saved = await client.post(address, headers=HTMX, form={"temperature": temperature})
            assert saved.status_code == 200
            while f'aria-label="{label}"' not in str(await tab.receive()):
                pass
