"""Models of other servers on the page: added, seen with their health, used and removed."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from quart import Quart
from quart.typing import TestClientProtocol as Client

from app.conversations.submission import Prompt
from app.db.messages import Message
from app.web.security import identity as web_identity
from app.web.security.identity import Identity
from tests.application import OWN, run_app
from tests.inference.remote.stub import Stub, serving
from tests.patience import PATIENCE, until
from tests.web.pages.test_models import PAGE, here, text_of

CHAT = "0123456789abcdef"
FAR = {"url": "http://far.invalid:8000", "model": "qwen", "name": "far"}


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[Quart]:
    async with run_app(tmp_path, threads=1) as app:
        yield app


@pytest.fixture
def client(app: Quart) -> Client:
    return app.test_client()


@pytest.fixture
async def stub() -> AsyncIterator[Stub]:
    async with serving() as stub:
        yield stub


async def add(client: Client, **values: str) -> int:
    answer = await client.post("/models/remote", headers=PAGE, form=values)
    return answer.status_code


async def test_a_server_is_added_and_its_health_is_seen(
    app: Quart, client: Client, stub: Stub
) -> None:
    answer = await client.post(
        "/models/remote",
        headers=PAGE,
        form={"url": stub.url, "model": "stub", "name": "Near", "parallel": "6"},
    )
    assert answer.status_code == 200
    assert 'id="remote-fields"' in await text_of(answer)  # empty again
    remotes = here(app).pool.remotes
    await until(lambda: [s.health for s in remotes.status("near")] == ["ready"])
    await until(lambda: here(app).store.get("near").context_length == 8192)
    html = await text_of(await client.get("/models", headers=OWN))
    for words in ("Ready", "8,192 tokens", ">6<", "stays on this machine, on another server"):
        assert words in html
    assert "Models run on this machine. Nothing you write leaves it." in html
    assert "Load near" not in html
    html = await text_of(await client.get("/", headers=OWN))
    assert '<option id="option-near" value="near" selected>near · ready</option>' in html
    stub.models_status = 500
    remotes.check_now()
    await until(lambda: [s.health for s in remotes.status("near")] == ["down"])
    html = await text_of(await client.get("/models", headers=OWN))
    assert "Can&#39;t be reached since" in html
    assert "failed with status 500" in html
    assert "near · can&#39;t be reached<" in await text_of(await client.get("/", headers=OWN))


async def test_a_server_that_cannot_be_reached_is_added_and_never_called_ready(
    app: Quart, client: Client
) -> None:
    nowhere = {"url": "http://127.0.0.1:9", "model": "m", "name": "away"}
    answer = await client.post("/models/remote", headers=PAGE, form=nowhere)
    assert answer.status_code == 200
    html = await text_of(answer)
    assert "away is added, but not ready: Can&#39;t reach 127.0.0.1:9" in html
    remotes, pool = here(app).pool.remotes, here(app).pool
    await until(lambda: [s.health for s in remotes.status("away")] == ["down"])
    pool.worker("away")
    status = await text_of(await client.get("/status", headers=OWN))
    assert "<dd>can&#39;t be reached</dd>" in status
    assert "<dd>ready</dd>" not in status
    report = await (await client.get("/models/report", headers=OWN)).get_json()
    assert [(m["state"], m["line"][:17]) for m in report["models"]] == [
        ("failed", "Can't be reached ")
    ]
    page = await text_of(await client.get("/models", headers=OWN))
    assert "Can&#39;t be reached since" in page


async def test_the_page_says_that_words_leave_the_machine(app: Quart, client: Client) -> None:
    assert await add(client, **FAR, key_env="WICK_KEY_FAR", context="32000") == 200
    html = await text_of(await client.get("/models", headers=OWN))
    assert "What you write is sent to far.invalid:8000, unencrypted." in html
    assert "Models on other servers say where it is sent." in html
    assert "Models run on this machine" not in html
    assert "32,000 tokens" in html
    assert "WICK_KEY_FAR" in html
    html = await text_of(await client.get("/", headers=OWN))
    option = re.search(r'<option id="option-far" value="far" data-elsewhere selected>(.*)<', html)
    assert option is not None
    assert option[1].endswith(" · sent to far.invalid:8000")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"url": "file:///etc/passwd"}, "is not the address of a server"),
        ({"url": "http://u:p@far/v1"}, "does not belong into the address"),
        ({"model": ""}, "Say what the server calls the model"),
        ({"name": "../far"}, "cannot be a model&#39;s name"),
        ({"name": ""}, "cannot be a model&#39;s name"),
        ({"key_env": "AWS_SECRET_ACCESS_KEY"}, "must begin with WICK_KEY_"),
        ({"context": "many"}, "The context size must be a whole number."),
        ({"context": "3"}, "takes a whole number from 256"),
        ({"parallel": "0x3"}, "The number of concurrent requests must be a whole number."),
        ({"parallel": "999"}, "1 to 256 concurrent requests"),
    ],
)
async def test_an_invalid_remote_server_is_refused_with_a_sentence(
    app: Quart, client: Client, values: dict[str, str], words: str
) -> None:
    answer = await client.post("/models/remote", headers=PAGE, form=FAR | values)
    assert answer.status_code == 422
    assert words in await text_of(answer)
    assert here(app).store.models() == []


async def test_only_an_owner_adds_servers(
    app: Quart, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_identity, "LOCAL", Identity(2, "member"))
    assert await add(client, **FAR) == 403
    assert here(app).store.models() == []


async def test_settings_and_removal_know_that_a_remote_model_is_elsewhere(
    app: Quart, client: Client
) -> None:
    await add(client, **FAR, context="32000")
    html = await text_of(await client.get("/models/far/settings", headers=PAGE))
    assert "Chat template" not in html
    assert 'placeholder="32000"' in html
    assert "reloads the model" not in html
    answer = await client.post(
        "/models/far/settings", headers=PAGE, form={"temperature": "0.1", "context_length": "5000"}
    )
    assert answer.status_code == 200
    assert here(app).answers.resolve_settings("far").context_length == 5000
    html = await text_of(await client.get("/models/far/remove", headers=PAGE))
    assert "It is removed from Wick" in html
    assert "are deleted" not in html
    assert (await client.delete("/models/far", headers=PAGE)).status_code == 204
    assert here(app).store.models() == []


async def ended(app: Quart, answer_id: int) -> Message:
    state = here(app)
    await until(lambda: state.hub.stream(answer_id) is None)
    path = await state.chats.messages(await state.chats.get(1, CHAT))
    return next(message for message in path if message.id == answer_id)


async def test_a_chat_with_a_remote_model_is_a_chat_like_any_other(
    app: Quart, client: Client, stub: Stub
) -> None:
    await add(client, url=stub.url, model="stub", name="near")
    state = here(app)
    await state.answers.submit(Prompt(1, CHAT, "Hello?", "client01", "near"))
    path = await state.chats.messages(await state.chats.get(1, CHAT))
    message = await ended(app, path[-1].id)
    assert (message.status, message.text) == ("done", "Hello there")
    assert (message.prompt_tokens, message.completion_tokens) == (11, 2)
    await stub.called(2)  # a title, asked for when nobody waits
    assert "Write a title" in stub.calls[1].body["messages"][0]["content"]
    html = await text_of(await client.get("/status", headers=OWN))
    assert "near" in html
    assert (await client.post("/models/near/load", headers=PAGE)).status_code == 204
    assert (await client.post("/models/near/unload", headers=PAGE)).status_code == 204
    await asyncio.wait_for(state.pool.delete_chat(CHAT), PATIENCE)


async def test_programs_see_a_remote_model_among_the_others(
    app: Quart, client: Client, stub: Stub
) -> None:
    await add(client, url=stub.url, model="stub", name="near", context="8000")
    (listed,) = (await (await client.get("/v1/models", headers=OWN)).get_json())["data"]
    assert (listed["id"], listed["context_length"]) == ("near", 8000)
    assert listed["created"] > 0
    (tag,) = (await (await client.get("/api/tags", headers=OWN)).get_json())["models"]
    assert (tag["name"], tag["size"], tag["details"]["format"]) == ("near:latest", 0, "remote")
    shown = await client.post("/api/show", json={"model": "near"}, headers=OWN)
    assert (await shown.get_json())["model_info"]["remote.context_length"] == 8000
    body = {"model": "near", "messages": [{"role": "user", "content": "Hi"}], "stream": False}
    reply = await client.post("/api/chat", json=body, headers=OWN)
    assert (await reply.get_json())["message"]["content"] == "Hello there"
    (running,) = (await (await client.get("/api/ps", headers=OWN)).get_json())["models"]
    assert running["size"] == 0


async def test_a_model_that_may_think_can_be_stopped_from_it_among_the_first_settings(
    client: Client, stub: Stub
) -> None:
    assert await add(client, url=stub.url, model="stub", name="Near") == 200
    address = f"/chats/{CHAT}/settings"
    html = await text_of(await client.get(f"{address}?model=near", headers=PAGE))
    assert html.index("Maximum length") < html.index('<select id="think"') < html.index("Advanced")
    assert html.index("Advanced") < html.index("Thinking effort")
    await client.post(address, headers=PAGE, form={"think": "off"})
    html = await text_of(await client.get(f"{address}?model=near", headers=PAGE))
    assert '<option value="off" selected>' in html
