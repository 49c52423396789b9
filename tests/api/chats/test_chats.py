"""Wick's own resources against the real server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.web.context import ServerContext
from tests.api.events import Follower
from tests.application import run_app
from tests.e2e.server import Server

CHATS = "/api/v1/chats"


async def begin(http: httpx.AsyncClient, text: str = "hello", **given: Any) -> dict[str, Any]:
    answer = await http.post(CHATS, json={"text": text, **given})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def chats_of(http: httpx.AsyncClient) -> list[str]:
    return [chat["id"] for chat in (await http.get(CHATS)).json()["data"]]


async def ended(http: httpx.AsyncClient, asked: dict[str, Any]) -> dict[str, Any]:
    follower = Follower(http, asked["events"])
    await follower.read()
    assert follower.end is not None
    assert follower.text == follower.end["text"]
    return follower.end


async def test_a_chat_from_its_first_message_to_the_trash(http: httpx.AsyncClient) -> None:
    settings = {"system_prompt": "Be brief.", "max_tokens": 5, "temperature": 0, "stop": ["zzz"]}
    made = await begin(http, "Tell me of foxes", title="Foxes", settings=settings)
    chat = made["chat"]["id"]
    assert made["chat"]["title"] == "Foxes"
    answer = await ended(http, made)
    assert (answer["status"], answer["completion_tokens"]) == ("done", 5)
    again = await http.post(f"{CHATS}/{chat}/messages", json={"text": "And of hens?"})
    assert again.status_code == 202
    await ended(http, again.json())
    messages = (await http.get(f"{CHATS}/{chat}/messages")).json()["data"]
    assert [m["role"] for m in messages] == ["user", "assistant"] * 2
    other = await http.post(f"{CHATS}/{chat}/messages/{messages[-1]['id']}/again")
    assert other.json()["prompt"]["id"] == messages[2]["id"]
    assert (await ended(http, other.json()))["parent_id"] == messages[2]["id"]
    shown = (await http.get(f"{CHATS}/{chat}")).json()
    assert shown["settings"]["system_prompt"] == "Be brief."
    assert shown["settings"]["stop"] == ["zzz"]
    changed = await http.patch(f"{CHATS}/{chat}", json={"title": "Hens", "pinned": True})
    assert changed.json()["title"] == "Hens"
    pinned = (await http.get(CHATS, params={"list": "pinned"})).json()
    assert [c["id"] for c in pinned["data"]] == [chat]
    assert (await http.delete(f"{CHATS}/{chat}")).status_code == 204
    trashed = (await http.get(CHATS, params={"list": "trashed"})).json()
    assert chat in [c["id"] for c in trashed["data"]]
    back = await http.patch(f"{CHATS}/{chat}", json={"deleted": False, "pinned": False})
    assert back.json()["deleted_at"] is None


async def test_the_same_client_id_counts_once(http: httpx.AsyncClient) -> None:
    made = await begin(http, settings={"max_tokens": 3})
    address = f"{CHATS}/{made['chat']['id']}/messages"
    body: dict[str, Any] = {"text": "twice", "client_id": "abcdefgh12345678"}
    one, two = [(await http.post(address, json=body)).json() for _ in range(2)]
    assert one["answer"]["id"] == two["answer"]["id"]
    body |= {"title": "A name", "settings": {"max_tokens": 3}}
    first = await begin(http, **body)
    address = f"{CHATS}/{first['chat']['id']}"
    await http.patch(address, json={"title": "Another name"})
    second = await begin(http, **body)
    assert second["answer"]["id"] == first["answer"]["id"]
    assert second["chat"]["title"] == "Another name"
    assert (await chats_of(http)).count(first["chat"]["id"]) == 1


async def test_concurrent_programs_each_get_their_own_answer(
    tmp_path: Path, tiny_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have written before either looks at the chat again."""
    given: dict[str, Any] = {"threads": 1, "titles": "off", "max_tokens": 3, "auto_pull": False}
    async with run_app(tmp_path, models_dir=tiny_store, **given) as app:
        context: ServerContext = app.extensions["wick"]
        program, barrier = app.test_client(), asyncio.Barrier(2)
        headers = {"Host": "127.0.0.1:8000"}
        made = await (await program.post(CHATS, json={"text": "hello"}, headers=headers)).get_json()
        address = f"{CHATS}/{made['chat']['id']}/messages"

        def together(verb: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
            async def run(*given: Any) -> Any:
                result = await verb(*given)
                await barrier.wait()
                return result

            return run

        monkeypatch.setattr(context.branches, "edit", together(context.branches.edit))
        monkeypatch.setattr(context.answers, "submit", together(context.answers.submit))
        edit = f"{address}/{made['prompt']['id']}/edit"
        for first, second in ((edit, edit), (edit, address), (address, address)):
            answers = await asyncio.gather(
                program.post(first, json={"text": "foxes"}, headers=headers),
                program.post(second, json={"text": "hens"}, headers=headers),
            )
            for text, answer in zip(("foxes", "hens"), answers, strict=True):
                asked = await answer.get_json()
                assert (answer.status_code, asked["prompt"]["text"]) == (202, text)
                assert asked["answer"]["parent_id"] == asked["prompt"]["id"]
                assert f"/messages/{asked['answer']['id']}/" in asked["events"]


async def test_a_running_answer_is_stopped(http: httpx.AsyncClient) -> None:
    made = await begin(http, "go on and on")
    assert (await http.post(f"{CHATS}/{made['chat']['id']}/stop")).status_code == 204
    assert (await ended(http, made))["status"] in {"stopped", "done"}


async def test_a_stream_cut_repeatedly_sends_each_character_once(http: httpx.AsyncClient) -> None:
    made = await begin(http, "a long answer, please")
    follower = Follower(http, made["events"])
    while follower.end is None:
        await follower.read(most=2)
    message = (await http.get(f"{CHATS}/{made['chat']['id']}/messages")).json()["data"][-1]
    assert follower.text == message["text"]
    assert message["text"]
    assert follower.replaced <= 2  # at the beginning, and at most once when it had ended meanwhile
    await follower.read()  # the status says that nothing follows
    late = Follower(http, made["events"])
    late.last = "abcdef01-12"
    await late.read()
    assert late.text == message["text"]
    assert late.replaced == 1


async def test_a_restarted_server_sends_the_text_whole(
    server: Server, http: httpx.AsyncClient
) -> None:
    made = await begin(http, "a long answer, please")
    follower = Follower(http, made["events"])
    await follower.read(most=3)
    await server.stop()
    await server.start()
    await follower.read()
    message = (await http.get(f"{CHATS}/{made['chat']['id']}/messages")).json()["data"][-1]
    assert follower.end is not None
    assert follower.end["status"] in {"interrupted", "done"}
    assert follower.text == message["text"]


async def test_chats_are_listed_in_pages(http: httpx.AsyncClient, server: Server) -> None:
    import sqlite3

    with sqlite3.connect(server.folder / "wick.db") as database:
        database.executemany(
            "INSERT INTO chats (id, user_id, title, model, created_at, updated_at, archived_at)"
            " VALUES (?, 1, 'old', 'tiny', 1, 1, ?)",
            [(f"{number:016x}", number) for number in range(130)],
        )
    seen, after = [], None
    while True:
        given = {"list": "archived"} | ({"after": after} if after else {})
        page = (await http.get(CHATS, params=given)).json()
        seen += [chat["id"] for chat in page["data"]]
        after = page["next"]
        if after is None:
            break
    assert seen == [f"{number:016x}" for number in reversed(range(130))]


async def test_wrong_requests_are_refused_and_store_nothing(http: httpx.AsyncClient) -> None:
    before = await chats_of(http)
    for body, status, word in (
        ({}, 400, "text"),
        ({"text": ""}, 400, "text"),
        ({"text": " \n"}, 400, "Write a message first"),
        ({"text": 5}, 400, "text"),
        ({"text": "x" * 200_000}, 400, "Shorten"),
        ({"text": "x", "model": "unheard-of"}, 404, "unheard-of"),
        ({"text": "x", "settings": {"temperature": 99}}, 400, "settings.temperature"),
    ):
        answer = await http.post(CHATS, json=body)
        assert answer.status_code == status, answer.text
        assert word in answer.json()["error"]["message"] + str(answer.json()["error"]["param"])
    assert await chats_of(http) == before
    unknown = "0" * 15 + "z"
    for method, path in (
        ("GET", f"{CHATS}/{unknown}"),
        ("GET", f"{CHATS}/{'f' * 16}"),
        ("PATCH", f"{CHATS}/{'f' * 16}"),
        ("DELETE", f"{CHATS}/{'f' * 16}"),
        ("POST", f"{CHATS}/{'f' * 16}/messages"),
        ("GET", f"{CHATS}/{'f' * 16}/messages/1/events"),
        ("GET", "/api/v1/nothing"),
    ):
        answer = await http.request(method, path, json={"text": "x"})
        assert answer.status_code == 404, path
        assert answer.json()["error"]["message"]


async def test_many_clients_follow_one_answer(http: httpx.AsyncClient) -> None:
    made = await begin(http, "for many readers")
    followers = [Follower(http, made["events"]) for _ in range(20)]
    await asyncio.gather(*(follower.read() for follower in followers))
    texts = {follower.text for follower in followers}
    assert len(texts) == 1
    assert texts.pop()
