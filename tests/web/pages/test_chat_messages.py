"""What may be done with messages and settings, over HTTP; a stranger sees and changes nothing."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiosqlite
import pytest
from quart import Quart
from quart.testing import QuartClient

from app.config import Settings
from app.db import chats, messages
from app.models.store import ModelStore
from app.server import create_app
from app.web.context import ServerContext
from app.web.render.chat import load_chat_view
from app.web.security import identity as web_identity
from app.web.security.identity import Identity
from tests.patience import until
from tests.tiny_gguf import write_tiny_gguf

OWN = {
    "Host": "localhost:8000",
    "Origin": "http://localhost:8000",
    "HX-Request": "true",
    "HX-Current-URL": "http://localhost:8000/",
}
CHAT, OTHER = "0123456789abcdef", "fedcba9876543210"
HOSTILE = "<img src=x onerror=alert(1)>\"'&</textarea><hx-partial hx-target=body>"
QUESTION, ANSWER, ELSEWHERE = 1, 2, 3
VERBS = [
    ("GET", "edit"),
    ("GET", "models"),
    ("GET", "ways"),
    ("GET", "settings"),
    ("POST", "again?newest=2"),
    ("POST", "again?newest=2&length=longer"),
    ("POST", "edit"),
    ("POST", "go-on"),
    ("POST", "show"),
    ("POST", "branch"),
    ("DELETE", ""),
    ("POST", "put-back"),
]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    ModelStore(folder / "models").install(write_tiny_gguf(folder / "tiny.gguf"), "tiny")
    return folder / "models"


@pytest.fixture
async def app(tmp_path: Path, models: Path) -> AsyncIterator[Quart]:
    made = create_app(Settings(data_dir=tmp_path, models_dir=models, auto_pull=False, threads=1))

    async def fill(connection: aiosqlite.Connection) -> None:
        for chat_id in (CHAT, OTHER):
            await chats.create(connection, chat_id, 1, "Chat", "tiny", 1.0)
            question = await messages.add_user(connection, 1, chat_id, None, HOSTILE, "c1", 1.0)
            if chat_id == CHAT:
                question = await messages.add_answer(connection, 1, chat_id, question, "tiny", 1.0)
                counts: dict[str, str | int | float | None] = {
                    "finish_reason": "length",
                    "prompt_tokens": 60,
                    "completion_tokens": 20,
                }
                counts |= {"decode_seconds": 0.5, "first_token_seconds": 0.1, "context_length": 100}
                await messages.finish(connection, 1, question, "done", "half", 2.0, counts=counts)
            await chats.advance(connection, 1, chat_id, question, "tiny", 3.0)

    async with made.test_app():
        here: ServerContext = made.extensions["wick"]
        await here.chats._db.write(fill)
        yield made


@pytest.fixture
def client(app: Quart) -> QuartClient:
    return QuartClient(app)


async def ask(
    client: QuartClient, method: str, path: str, form: dict[str, str] | None = None
) -> tuple[int, str]:
    answer = await client.open(path, method=method, headers=OWN, form=form)
    return answer.status_code, str(await answer.get_data(as_text=True))


def address(message_id: int, verb: str, chat_id: str = CHAT) -> str:
    return f"/chats/{chat_id}/messages/{message_id}/{verb}".rstrip("/")


async def state_of(app: Quart) -> list[tuple[object, ...]]:
    here: ServerContext = app.extensions["wick"]
    rows = await here.chats._db.fetch_all("SELECT id, text, status FROM messages ORDER BY id")
    leaves = await here.chats._db.fetch_all("SELECT id, leaf_id FROM chats ORDER BY id")
    return [tuple(row) for row in (*rows, *leaves)]


@pytest.mark.parametrize(("method", "verb"), VERBS)
async def test_unknown_messages_and_chats_are_not_found(
    app: Quart, client: QuartClient, method: str, verb: str
) -> None:
    before = await state_of(app)
    form = {"text": "words", "client_id": "client0001"} if verb == "edit" else None
    for path in (
        address(999, verb),
        address(ELSEWHERE, verb),
        address(QUESTION, verb, OTHER),
        address(QUESTION, verb, "00000000000000ff"),
        address(QUESTION, verb, "nonsense"),
    ):
        status, html = await ask(client, method, path, form)
        assert (status, "There is no such" in html or "too late" in html) == (404, True), path
    assert await state_of(app) == before


@pytest.mark.parametrize(("method", "verb"), VERBS)
async def test_strangers_find_no_message(
    app: Quart, monkeypatch: pytest.MonkeyPatch, method: str, verb: str
) -> None:
    monkeypatch.setattr(web_identity, "LOCAL", Identity(2))
    before = await state_of(app)
    form = {"text": "words", "client_id": "client0001"} if verb == "edit" else None
    for message_id in (QUESTION, ANSWER):
        status, html = await ask(QuartClient(app), method, address(message_id, verb), form)
        assert (status, "half" in html, "img" in html) == (404, False, False)
    assert await state_of(app) == before


async def test_another_site_changes_nothing(app: Quart, client: QuartClient) -> None:
    before = await state_of(app)
    for method, verb in VERBS[4:]:
        headers = OWN | {"Origin": "http://evil.example"}
        answer = await client.open(address(ANSWER, verb), method=method, headers=headers)
        assert answer.status_code == 403
    answer = await client.post(f"/chats/{CHAT}/settings", headers=headers, form={})
    assert answer.status_code == 403
    assert await state_of(app) == before


async def test_a_branch_is_a_new_chat_up_to_that_message(app: Quart, client: QuartClient) -> None:
    answer = await client.post(address(QUESTION, "branch"), headers=OWN)
    assert answer.status_code == 204
    path = answer.headers["HX-Redirect"]
    assert re.fullmatch("/chats/[0-9a-f]{16}", path)
    _, html = await ask(client, "GET", path)
    assert "<title>Chat (branch) · Wick</title>" in html
    assert re.findall(r'data-role="(\w+)"', html) == ["user"]


async def test_messages_have_names_and_times(client: QuartClient) -> None:
    _, html = await ask(client, "GET", f"/chats/{CHAT}")
    names = re.findall(r'<article[^>]* aria-labelledby="(m\d+-who)".*?id="\1">(.*?)</h2>', html)
    assert names == [("m1-who", "You"), ("m2-who", "Tiny")]
    assert html.count('<time datetime="1970-01-01T00:00:01Z"') == 2


async def test_the_page_offers_what_makes_sense(client: QuartClient) -> None:
    _, html = await ask(client, "GET", f"/chats/{CHAT}")
    question, answer = re.findall(r"<article.*?</article>", html, re.DOTALL)
    assert "/edit" in question
    assert "/go-on" not in question
    assert "/again?newest=2" in answer
    assert "/go-on" in answer  # it was cut
    assert "20 tokens · 40/s" in answer
    assert "Context 80 % full" in html
    _, html = await ask(client, "GET", f"/chats/{OTHER}")
    assert "Get an answer" in html
    assert "/again?newest=0" in html


async def test_an_answer_is_regenerated_from_its_menu(app: Quart, client: QuartClient) -> None:
    here: ServerContext = app.extensions["wick"]

    async def newest() -> tuple[str, dict[str, Any]]:
        (row,) = await here.chats._db.fetch_all(
            "SELECT model, settings FROM messages ORDER BY id DESC LIMIT 1"
        )
        return row["model"], json.loads(row["settings"])

    status, html = await ask(client, "GET", address(ANSWER, "ways?newest=2"))
    assert status == 200
    assert re.findall(">([^<>]+)</button>", html) == [
        *("Again", "Shorter", "Longer", "With another model…"),
        *("Compare with other models…", "With other settings…"),
    ]
    assert (await ask(client, "POST", address(ANSWER, "again?newest=2&length=shorter")))[0] == 204
    model, made_with = await newest()
    assert (model, made_with["instruction"][:14]) == ("tiny", "Answer briefly")
    await until(lambda: here.hub.stream_of_chat(CHAT) is None)

    status, html = await ask(client, "GET", address(ANSWER, "settings?newest=4"))
    assert (status, 'name="temperature"' in html, "by Tiny only" in html) == (200, True, True)
    form = {"newest": "4", "temperature": "9", "model": "tiny"}
    status, html = await ask(client, "POST", address(ANSWER, "settings"), form)
    assert (status, "temperature must be" in html, 'value="4"' in html) == (422, True, True)
    form |= {"temperature": "1.5"}
    assert (await ask(client, "POST", address(ANSWER, "settings"), form))[0] == 200
    assert (await newest())[1]["sampling"]["temperature"] == 1.5
    assert (await newest())[1]["instruction"] == ""
    form["newest"] = "x"
    assert (await ask(client, "POST", address(ANSWER, "settings"), form))[0] == 400
    html = (await ask(client, "GET", f"/chats/{CHAT}"))[1]
    assert "Other ways to answer" in html


async def test_a_message_without_a_model_that_is_there_is_answered_by_the_pickers(
    app: Quart, client: QuartClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    here: ServerContext = app.extensions["wick"]
    asked: list[str] = []

    async def regenerate(spot: object, wish: str, model: str) -> None:
        asked.append(model)

    monkeypatch.setattr(here.branches, "regenerate", regenerate)
    form = {"model": "picked"}
    await ask(client, "POST", address(ELSEWHERE, "again?newest=0", OTHER), form)
    await ask(client, "POST", address(ANSWER, "again?newest=2"), form)
    await ask(client, "POST", address(ANSWER, "again?newest=2&model=named"), form)

    async def leave(connection: aiosqlite.Connection) -> None:
        await connection.execute("UPDATE messages SET model = 'gone' WHERE id = ?", (ANSWER,))

    await here.chats._db.write(leave)
    await ask(client, "POST", address(ANSWER, "again?newest=2"), form)
    assert asked == ["picked", "", "named", "picked"]
    _, html = await ask(client, "GET", f"/chats/{CHAT}")
    assert '/again?newest=2" hx-include="#model"' in html


async def test_all_pinned_chats_are_listed(app: Quart, client: QuartClient) -> None:
    here: ServerContext = app.extensions["wick"]

    async def pin(connection: aiosqlite.Connection) -> None:
        for number in range(70):
            await chats.create(connection, f"{number:016x}", 1, f"c{number}", "tiny", 1.0)
            await chats.set_timestamp(connection, 1, f"{number:016x}", "pinned_at", 2.0)

    await here.chats._db.write(pin)
    _, html = await ask(client, "GET", f"/chats/{CHAT}")
    assert all(f'id="c-{number:016x}"' in html for number in range(70))


async def test_an_error_is_announced_to_screen_readers(app: Quart) -> None:
    here: ServerContext = app.extensions["wick"]
    assert (await load_chat_view(here, 1, CHAT)).announcement == "Tiny: half"

    async def fail(connection: aiosqlite.Connection) -> None:
        answer = await messages.add_answer(connection, 1, CHAT, QUESTION, "tiny", 4.0)
        await messages.finish(connection, 1, answer, "failed", "", 5.0, error="It broke.")
        await chats.set_leaf(connection, 1, CHAT, answer)

    await here.chats._db.write(fail)
    assert (await load_chat_view(here, 1, CHAT)).announcement == "It broke."


async def test_forms_show_text_as_text(client: QuartClient) -> None:
    status, html = await ask(client, "GET", address(QUESTION, "edit"))
    assert status == 200
    assert "<img" not in html
    assert html.count("</textarea>") == 1
    _, html = await ask(client, "GET", f"/chats/{CHAT}")
    assert "<img src=x" not in html


async def test_malformed_requests_are_refused_in_words(app: Quart, client: QuartClient) -> None:
    before = await state_of(app)
    for path, form in (
        (address(ANSWER, "again"), None),
        (address(ANSWER, "again?newest=x"), None),
        (address(QUESTION, "edit"), {"text": "words"}),
        (address(QUESTION, "edit"), {"text": "words", "client_id": "a b c d e f"}),
        (address(QUESTION, "edit"), {"client_id": "client0001"}),
    ):
        status, html = await ask(client, "POST", path, form)
        assert (status, 'role="alert"' in html) == (400, True)
    assert await state_of(app) == before


async def test_settings_say_what_is_wrong_and_lose_nothing(client: QuartClient) -> None:
    path = f"/chats/{CHAT}/settings"
    form = {"system_prompt": HOSTILE, "temperature": "9", "stop": "END\nSTOP", "seed": "5"}
    status, html = await ask(client, "POST", path, form)
    assert status == 422
    assert "The temperature must be a number from 0 to 5." in html
    assert 'value="9"' in html
    assert 'value="5"' in html
    assert "END\nSTOP" in html
    assert "<img" not in html
    status, html = await ask(client, "POST", path, form | {"temperature": "0.3"})
    assert (status, "#dialog" in html) == (200, True)
    _, html = await ask(client, "GET", path)
    assert 'value="0.3"' in html
    assert "&lt;img src=x" in html
    await ask(client, "POST", path, form | {"reset": "yes"})
    _, html = await ask(client, "GET", path)
    assert 'value="0.3"' not in html


async def test_settings_are_nobody_elses(app: Quart, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_identity, "LOCAL", Identity(2))
    for method in ("GET", "POST"):
        for chat_id in (CHAT, "nonsense"):
            status, _ = await ask(QuartClient(app), method, f"/chats/{chat_id}/settings", {})
            assert status == 404
