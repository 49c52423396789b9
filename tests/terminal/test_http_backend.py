"""What the terminal asks, of its own server and of one that runs already: the answers agree."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest
from websockets.asyncio import client as websockets
from websockets.exceptions import InvalidStatus

from app.cli.private_server import open_private_server
from app.config import Settings
from app.conversations.answer_state import AnswerRef, is_resumable
from app.conversations.settings import ChatSettings
from app.errors import ChatNotFound, ConfigError, ModelNotFound, PeerError, StoreUnusable
from app.models.store import ModelStore
from app.models.upstream import Upstream
from app.terminal.format import find_chat, snippet
from app.terminal.http_backend import HttpBackend, _client, connect, connect_private
from app.terminal.records import (
    AnswerEnded,
    MessageRecord,
    StatusUpdate,
    TextDelta,
)
from app.terminal.start import PrivateServer
from tests.e2e.server import Server
from tests.tiny_gguf import write_tiny_gguf

SHORT = ChatSettings(max_tokens=12, seed=3)
ENDLESS = ChatSettings(max_tokens=30000)


@asynccontextmanager
async def alone(settings: Settings) -> AsyncIterator[HttpBackend]:
    """A terminal that finds no server."""
    async with (
        open_private_server(settings) as server,
        connect_private(server.url, server.secret) as backend,
    ):
        yield backend


@pytest.fixture(scope="module", params=["its own server", "a server"])
async def backend(
    request: pytest.FixtureRequest, store: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[HttpBackend]:
    folder = tmp_path_factory.mktemp("data")
    async with AsyncExitStack() as stack:
        if request.param == "a server":
            server = Server(folder, store, default_model="tiny", context=32768, threads=1)
            await server.start()
            stack.push_async_callback(server.close)
            yield await stack.enter_async_context(connect(server.origin, ""))
        else:
            settings = Settings(
                data_dir=folder,
                models_dir=store,
                default_model="tiny",
                auto_pull=False,
                context=32768,
                threads=1,
            )
            yield await stack.enter_async_context(alone(settings))


async def follow(
    backend: HttpBackend, asked: AnswerRef, start: int = 0
) -> tuple[str, MessageRecord]:
    """All the text that came, and the answer at its end."""
    text = ""
    async for event in backend.follow(asked, start):
        match event:
            case TextDelta(piece):
                text += piece
            case AnswerEnded(answer):
                return text, answer
            case StatusUpdate():
                pass
    raise AssertionError("it ended without an end")


async def test_an_answer_comes_whole_and_is_stored(backend: HttpBackend) -> None:
    asked = await backend.begin("a question", "tiny", SHORT)
    text, answer = await follow(backend, asked)
    assert answer.status == "done"
    assert answer.finish_reason == "length"
    assert answer.text == text
    assert answer.completion_tokens == 12
    assert answer.first_token_seconds is not None
    opened = await backend.open(asked.chat_id)
    assert opened.chat.title == "a question"
    assert [message.text for message in opened.path] == ["a question", text]
    assert await backend.settings(asked.chat_id) == SHORT
    assert (await follow(backend, asked)) == (text, answer)  # a late reader gets all of it


async def test_branches_of_a_chat(backend: HttpBackend) -> None:
    asked = await backend.begin("one", "tiny", SHORT)
    _, first = await follow(backend, asked)
    again = await backend.regenerate(asked.chat_id, first.id, "other")
    _, second = await follow(backend, again)
    assert second.model == "other"
    more = await backend.continue_answer(asked.chat_id, second.id)
    text, longer = await follow(backend, more, len(second.text))
    assert longer.text == second.text + text
    question = (await backend.open(asked.chat_id)).path[0]
    edited = await backend.edit(asked.chat_id, question.id, "uno", "tiny")
    await follow(backend, edited)
    opened = await backend.open(asked.chat_id)
    assert opened.path[0].text == "uno"
    then = await backend.submit(asked.chat_id, "two", "tiny")
    await follow(backend, then)
    assert len((await backend.open(asked.chat_id)).path) == 4


async def test_a_stopped_answer_keeps_its_text(backend: HttpBackend) -> None:
    asked = await backend.begin("talk", "tiny", ENDLESS)
    text = ""
    async for event in backend.follow(asked):
        match event:
            case TextDelta(piece):
                if not text:
                    await backend.stop(asked.chat_id)
                text += piece
            case AnswerEnded(answer):
                assert answer.status == "stopped"
                assert answer.text == text
                assert is_resumable(answer.status, answer.finish_reason, answer.text)
                break


async def test_settings_and_model_of_a_chat_are_kept(backend: HttpBackend) -> None:
    asked = await backend.begin("settings", "tiny", SHORT)
    await follow(backend, asked)
    chosen = ChatSettings(temperature=0.25, system_prompt="Be brief.", stop=("END", "x y"))
    await backend.choose_settings(asked.chat_id, chosen)
    assert await backend.settings(asked.chat_id) == chosen
    await backend.choose_model(asked.chat_id, "other")
    assert (await backend.open(asked.chat_id)).chat.model == "other"
    with pytest.raises(ModelNotFound):
        await backend.choose_model(asked.chat_id, "nobody")
    with pytest.raises(ModelNotFound):
        await backend.begin("settings", "nobody", SHORT)


async def test_chats_are_listed_renamed_and_moved_to_the_trash(backend: HttpBackend) -> None:
    asked = await backend.begin("find the walrus", "tiny", SHORT)
    await follow(backend, asked)
    assert (await backend.chats(1))[0].id == asked.chat_id
    assert (await find_chat(backend, "last")).id == asked.chat_id
    assert (await find_chat(backend, asked.chat_id[:9])).id == asked.chat_id
    await backend.rename(asked.chat_id, "Walrus hunting")
    assert (await find_chat(backend, "walrus HUNTING")).id == asked.chat_id
    hits = await backend.search("walrus")
    assert {hit.chat_id for hit in hits} == {asked.chat_id}
    marked = snippet(next(hit for hit in hits if hit.snippet == "find the walrus"))
    assert [marked.plain[span.start : span.end] for span in marked.spans] == ["walrus"]

    assert b"find the walrus" in await backend.export(asked.chat_id, "md")
    kept = json.loads(await backend.export(asked.chat_id, "json"))
    assert kept["chats"][0]["title"] == "Walrus hunting"

    await backend.delete(asked.chat_id)
    assert asked.chat_id not in {chat.id for chat in await backend.chats(1000)}
    await backend.restore(asked.chat_id)
    assert asked.chat_id in {chat.id for chat in await backend.chats(1000)}
    await backend.delete_permanently(asked.chat_id)
    with pytest.raises(ChatNotFound):
        await backend.open(asked.chat_id)


async def test_backend_errors_are_sentences(backend: HttpBackend) -> None:
    for nothing in ("0" * 16, "no-chat-id"):
        with pytest.raises(ChatNotFound):
            await backend.open(nothing)
    with pytest.raises(PeerError, match=r"\."):
        await backend.begin(" \n", "tiny", SHORT)


async def test_models_begin_with_the_default_one(backend: HttpBackend) -> None:
    models = await backend.models()
    assert [model.name for model in models] == ["tiny", "other"]
    assert models[0].title == "Tiny"


async def test_concurrent_answers_are_not_mixed(backend: HttpBackend) -> None:
    asked = [await backend.begin(f"question {n}", "tiny", SHORT) for n in range(6)]
    for text, answer in await asyncio.gather(*(follow(backend, one) for one in asked)):
        assert answer.text == text


@pytest.mark.parametrize("url", ["box:8000", "ftp://box", "http://", "http://[::", ""])
async def test_an_invalid_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="--url"):
        async with connect(url, ""):
            pass


async def test_a_server_that_does_not_answer_is_an_error() -> None:
    async with connect("http://127.0.0.1:9", "") as backend:
        with pytest.raises(PeerError, match=r"reach Wick at .*: nothing answers"):
            await backend.models()


async def begin_pull(server: PrivateServer, source: str, name: str) -> None:
    """As the models page does it."""
    headers = {"Authorization": f"Bearer {server.secret}", "Origin": server.url}
    async with httpx.AsyncClient(base_url=server.url, headers=headers) as client:
        response = await client.post("/models/pull", data={"source": source, "name": name})
        assert response.is_success, response.text


async def test_an_answer_whose_prompt_is_interrupted_on_its_way_is_stopped() -> None:
    arrived, stored, paths = asyncio.Event(), asyncio.Event(), list[str]()

    async def serve(request: httpx.Request) -> httpx.Response:
        paths.append(request.url.path)
        if request.url.path.endswith("/stop"):
            return httpx.Response(204)
        arrived.set()
        await stored.wait()
        made = {"chat": {"id": "0" * 16}, "prompt": {"id": 1}, "answer": {"id": 2}}
        return httpx.Response(201, json=made)

    transport = httpx.MockTransport(serve)
    async with httpx.AsyncClient(transport=transport, base_url="http://wick") as client:
        asking = asyncio.create_task(HttpBackend(client, "").begin("a", "tiny", SHORT))
        await arrived.wait()
        asking.cancel()
        stored.set()
        with pytest.raises(asyncio.CancelledError):
            await asking
    assert paths == ["/api/v1/chats", f"/api/v1/chats/{'0' * 16}/stop"]


async def test_a_prompt_waits_for_a_model_that_is_being_pulled(tmp_path: Path) -> None:
    source = write_tiny_gguf(tmp_path / "late.gguf")
    settings = Settings(
        data_dir=tmp_path, models_dir=tmp_path / "models", auto_pull=False, threads=1
    )
    async with open_private_server(settings) as server, connect_private(*server) as backend:
        assert await backend.models() == []
        await begin_pull(server, str(source), "late")
        assert [model.name for model in await backend.models()] == ["late"]
        asked = await backend.begin("first", "late", SHORT)
        _, answer = await follow(backend, asked)
        assert answer.status == "done"


async def test_a_failed_pull_explains_why_there_is_no_model(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, models_dir=tmp_path / "models", default_model="nobody")
    async with alone(settings) as backend:
        with pytest.raises(ModelNotFound, match="nobody"):
            await backend.models()


async def test_a_remote_model_says_where_messages_are_sent(tmp_path: Path, store: Path) -> None:
    there = Upstream(url="https://models.example/v1", model="large")
    here = Upstream(url="http://127.0.0.1:9/v1", model="large")
    ModelStore(tmp_path / "models").add_remote("away", [there])
    ModelStore(tmp_path / "models").add_remote("beside", [here])
    async with AsyncExitStack() as stack:
        server = Server(tmp_path, tmp_path / "models")
        await server.start()
        stack.push_async_callback(server.close)
        remote = await stack.enter_async_context(connect(server.origin, ""))
        found = {model.name: list(model.sent_to) for model in await remote.models()}
        assert found == {"away": ["models.example"], "beside": []}
    settings = Settings(data_dir=tmp_path, models_dir=tmp_path / "models", auto_pull=False)
    async with alone(settings) as backend:
        lines = {model.name: model for model in await backend.models()}
    assert list(lines["away"].sent_to) == ["models.example"]
    assert lines["away"].state.endswith("sent to models.example")
    assert not lines["beside"].sent_to


async def test_a_private_server_admits_only_its_own_terminal(tmp_path: Path, store: Path) -> None:
    settings = Settings(data_dir=tmp_path, models_dir=store, auto_pull=False, accounts="on")
    async with (
        open_private_server(settings) as server,
        httpx.AsyncClient(base_url=server.url) as stranger,
        connect_private(*server) as backend,
    ):
        for path in ("/", "/healthz", "/static/wick.css", "/api/v1/chats", "/nothing"):
            for given in ({}, {"Authorization": "Bearer guess"}):
                response = await stranger.get(path, headers=given)
                assert response.status_code == 401, path
                assert "only the terminal" in response.text
        with pytest.raises(InvalidStatus):
            async with websockets.connect(f"ws{server.url.removeprefix('http')}/models/live"):
                pass
        assert await backend.chats(1) == []


async def test_a_database_that_cannot_be_opened_is_a_sentence(tmp_path: Path, store: Path) -> None:
    (tmp_path / "wick.db").write_text("no database")
    with pytest.raises(StoreUnusable):
        async with alone(Settings(data_dir=tmp_path, models_dir=store, auto_pull=False)):
            pass


@pytest.mark.parametrize(
    ("url", "has_proxy"),
    [
        ("http://127.0.0.1:8000", False),
        ("http://127.0.0.2:8000", False),
        ("http://[::1]:8000", False),
        ("http://localhost:8000", False),
        ("http://192.0.2.1:8000", True),
    ],
)
async def test_no_proxy_is_used_for_this_machine(
    url: str, has_proxy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://192.0.2.9:3128")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    async with _client(httpx.URL(url), "", ssl.create_default_context()) as client:
        assert client.trust_env is has_proxy
