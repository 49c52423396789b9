"""A site below a path: every address that leaves leads below it, whichever way requests come in."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiosqlite
import pytest
from quart import Quart
from quart.testing import QuartClient

from app.config import Settings, asset_dir, load_settings
from app.db import chats, messages
from app.errors import ConfigError
from app.server import create_app
from app.web.addresses import ADDRESSES
from tests.application import (
    OWN,
    PAGE,
    BrowserClient,
    context_of,
    csrf_in,
    run_app,
    sign_in,
    text_of,
)

BASE = "/wick"
CHAT = "0123456789abcdef"
LEADS = re.compile(r'[\w:-]+="(/[^"]*)"')
PAGES = (
    *("/", f"/chats/{CHAT}", "/search?q=walnut", "/archive", "/trash", "/exchange", "/models"),
    *("/status", "/people", "/keys", "/you", "/docs/api", f"/chats/{CHAT}/menu"),
    *(f"/chats/{CHAT}/settings", f"/chats/{CHAT}/share", f"/chats/{CHAT}/name", "/nowhere"),
)


@pytest.fixture(scope="module")
async def app(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Quart]:
    folder = tmp_path_factory.mktemp("below")
    async with run_app(folder, host="0.0.0.0", base_path=BASE) as made:
        yield made


@pytest.fixture(scope="module")
async def anna(app: Quart) -> BrowserClient:
    visitor = await sign_in(app, "Anna", "owner")

    async def add(connection: aiosqlite.Connection) -> None:
        await chats.create(connection, CHAT, 1, "Walnuts", "tiny", 1.0)
        asked = await messages.add_user(connection, 1, CHAT, None, "walnut", "w", 1.0)
        answer = await messages.add_answer(connection, 1, CHAT, asked, "tiny", 1.0)
        await messages.finish(connection, 1, answer, "done", "*walnut*", 2.0, counts={})
        await chats.advance(connection, 1, CHAT, answer, "tiny", 2.0)

    await context_of(app).chats._db.write(add)
    return visitor


def leads(html: str) -> list[str]:
    return LEADS.findall(html)


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("prefix", ["", BASE], ids=["stripped", "passed"])
async def test_every_address_on_a_page_is_below_the_base_path(
    anna: BrowserClient, path: str, prefix: str
) -> None:
    headers = {"Accept": "text/html"}
    html = await text_of(await anna.ask("GET", prefix + path, headers=headers))
    assert [address for address in leads(html) if not address.startswith(f"{BASE}/")] == []
    assert leads(html), html
    assert f"{BASE}{BASE}" not in html


async def test_a_page_names_its_socket_and_its_files_below(anna: BrowserClient) -> None:
    html = await text_of(await anna.ask("GET", f"{BASE}/chats/{CHAT}"))
    assert f'hx-ws:connect="{BASE}/chats/{CHAT}/live?' in html
    script = re.search(r'src="([^"]+all\.js\?v=\w+)"', html)
    assert script
    answer = await anna.ask("GET", script[1])
    assert answer.status_code == 200
    assert "immutable" in answer.headers["Cache-Control"]


async def test_a_socket_opens_below_the_base_path(anna: BrowserClient) -> None:
    for prefix in ("", BASE):
        socket = anna.client.websocket(f"{prefix}/chats/{CHAT}/live", headers=OWN)
        async with socket as connection:
            assert await connection.receive()


async def test_the_bare_path_leads_to_the_page(anna: BrowserClient) -> None:
    answer = await anna.ask("GET", f"{BASE}?a=b")
    assert answer.status_code == 308
    assert answer.headers["Location"] == f"{BASE}/?a=b"
    assert (await anna.ask("GET", "/wicker/")).status_code == 404


@pytest.mark.usefixtures("anna")
async def test_redirects_and_cookies_stay_below_the_base_path(app: Quart) -> None:
    visitor = BrowserClient(app)
    turned = await visitor.ask("GET", f"{BASE}/archive?after=x")
    assert turned.headers["Location"] == f"{BASE}/login?next=/archive%3Fafter%3Dx"
    page = await visitor.ask("GET", turned.headers["Location"])
    form = {"csrf": csrf_in(await text_of(page)), "name": "Anna", "next": "/archive?after=x"}
    form["password"] = "correct horse battery"
    entered = await visitor.ask("POST", f"{BASE}/login", form=form)
    assert entered.headers["Location"] == f"{BASE}/archive?after=x"
    for cookie in [*page.headers.getlist("Set-Cookie"), *entered.headers.getlist("Set-Cookie")]:
        assert f"Path={BASE}/" in cookie


async def test_cookies_under_tls_are_for_the_path_alone(app: Quart) -> None:
    """`__Host-` would be refused by browsers: it is for the root."""
    secure = {"Host": "localhost:8000"}
    page = await QuartClient(app).get(f"{BASE}/login", headers=secure, scheme="https")
    assert page.headers["Set-Cookie"].startswith("__Secure-wick-form-8000=")


async def test_a_script_is_led_back_to_where_it_was(app: Quart) -> None:
    here = PAGE | {"HX-Current-URL": f"http://localhost:8000{BASE}/archive"}
    answer = await QuartClient(app).get(f"{BASE}/chats/{CHAT}/menu", headers=here)
    assert answer.status_code == 401
    assert answer.headers["HX-Redirect"] == f"{BASE}/login?next=/archive"


async def test_links_for_others_have_the_path(anna: BrowserClient) -> None:
    shared = await text_of(await anna.ask("POST", f"/chats/{CHAT}/share", headers=PAGE))
    assert f'value="http://localhost:8000{BASE}/shared/' in shared
    token = csrf_in(await text_of(await anna.ask("GET", "/people")))
    invited = await anna.ask("POST", "/people/invite", form={"csrf": token, "role": "member"})
    assert f'value="http://localhost:8000{BASE}/join/' in await text_of(invited)


async def test_programs_are_told_the_path(anna: BrowserClient) -> None:
    document = await (await anna.ask("GET", "/openapi.json")).get_json()
    assert document["servers"] == [{"url": BASE}]
    html = await text_of(await anna.ask("GET", "/docs/api"))
    assert f"http://localhost:8000{BASE}/v1" in html
    listed = await anna.ask("GET", f"{BASE}/v1/models")
    assert (await listed.get_json())["object"] == "list"


async def test_the_manifest_leads_where_it_was_found(anna: BrowserClient) -> None:
    manifest: Any = await (await anna.ask("GET", f"{BASE}/static/manifest.webmanifest")).get_json()
    assert (manifest["start_url"], manifest["scope"]) == ("../", "../")
    assert "id" not in manifest  # that would be the whole origin's


@pytest.mark.parametrize(
    ("given", "meant"), [("wick", "/wick"), ("/wick/", "/wick"), ("/a/b", "/a/b"), ("/", "")]
)
def test_the_setting_is_read_as_people_write_it(given: str, meant: str) -> None:
    assert load_settings({"WICK_BASE_PATH": given}, None).base_path == meant


@pytest.mark.parametrize("given", ["/../a", "/a b", "https://x/wick", "/a//b", "/?", '/"'])
def test_an_invalid_base_path_is_refused(given: str) -> None:
    with pytest.raises(ConfigError, match="takes a path such as /wick"):
        load_settings({"WICK_BASE_PATH": given}, None)


@pytest.mark.parametrize("taken", ["/chats", "/v1", "/static/wick"])
def test_a_path_of_its_own_is_refused(tmp_path: Path, taken: str) -> None:
    with pytest.raises(ConfigError, match="Wick's own addresses begin like that"):
        create_app(Settings(base_path=taken, data_dir=tmp_path, models_dir=tmp_path))


def test_an_address_of_a_route_is_built_when_it_is_wanted(tmp_path: Path) -> None:
    app = create_app(Settings(data_dir=tmp_path, models_dir=tmp_path))
    routes = app.url_map.bind("localhost")
    assert routes.build("static", {"filename": "app.css", "v": "1"}) == "/static/app.css?v=1"
    assert routes.build("pages.chat", {"chat_id": CHAT}) == f"/chats/{CHAT}"


def test_no_address_is_written_where_the_base_path_is_not_added() -> None:
    """In templates, in attributes that `Addresses` knows; in scripts, nowhere."""
    known = re.compile(rf'\b(?:{ADDRESSES})="$')
    for path in sorted(asset_dir("templates").glob("*.html")):
        source = path.read_text()
        for found in re.finditer(r"""=["']/(?=\w|")""", source):
            assert known.search(source[: found.start() + 2][-60:]), (path.name, found)
        assert not re.search(rf"""\b(?:{ADDRESSES})=(?:'|"\{{%)""", source), path.name
    for path in sorted(asset_dir("static").glob("*.js")):
        assert not re.search(r"""["'`]/\w""", path.read_text()), path.name
    for path in sorted(asset_dir("static").glob("*.css")):
        assert "url(/" not in path.read_text().replace('"', "").replace("'", ""), path.name
