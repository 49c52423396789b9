"""Temporary chats against a real server: whole chats, of which no byte is on the disk."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.inference import kv_files
from tests.api.events import Follower
from tests.e2e.server import Server

CHATS = "/api/v1/chats"
MARKER, SAVED = "quixotic-zebra-7313", "pedestrian-mule-2204"
PADDING = " and so on" * 60
"""Enough tokens that a state of theirs is worth keeping."""


@pytest.fixture
async def server(tmp_path: Path, tiny_store: Path) -> AsyncIterator[Server]:
    """Start a server of which everything is in one folder: data, log, and what is temporary."""
    (tmp_path / "tmp").mkdir()
    spill = {"TMPDIR": str(tmp_path / "tmp"), "SQLITE_TMPDIR": str(tmp_path / "tmp")}
    made = Server(tmp_path, tiny_store, spill, log_level="debug", temporary_grace="1s")
    yield await made.start()
    await made.close()


def files_with(folder: Path, text: str) -> list[Path]:
    """List the files that hold a text, in either of the encodings that anything here writes."""
    return [
        path for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()
    ]


async def begin(http: httpx.AsyncClient, text: str, **given: Any) -> dict[str, Any]:
    answer = await http.post(CHATS, json={"text": text + PADDING, **given})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def followed(http: httpx.AsyncClient, made: dict[str, Any]) -> dict[str, Any]:
    follower = Follower(http, made["events"])
    await follower.read()
    assert follower.end is not None
    return follower.end


async def test_no_byte_of_a_temporary_chat_is_ever_written(server: Server) -> None:
    few = {"max_tokens": 8, "system_prompt": f"Think of {MARKER}."}
    async with httpx.AsyncClient(base_url=server.origin, timeout=60) as http:
        made = await begin(http, MARKER, temporary=True, settings=few, title=f"On {MARKER}")
        chat = made["chat"]["id"]
        assert made["chat"]["temporary"]
        assert (await followed(http, made))["status"] == "done"
        upload = {"name": f"{MARKER}.txt", "temporary": "true"}
        file = await http.post("/api/v1/files", params=upload, content=f"A file on {MARKER}")
        question = {"text": f"More {MARKER}", "attachments": [file.json()["id"]]}
        more = await http.post(f"{CHATS}/{chat}/messages", json=question)
        end = await followed(http, more.json())
        assert end["cached_tokens"] > 50  # it goes on from what memory holds
        await http.patch(f"{CHATS}/{chat}", json={"settings": {"max_tokens": 3000}})
        endless = await http.post(f"{CHATS}/{chat}/messages", json={"text": MARKER})
        await http.post(f"{CHATS}/{chat}/stop")
        assert (await followed(http, endless.json()))["status"] in {"stopped", "done"}
        content = await http.get(f"/api/v1/files/{file.json()['id']}/content")
        assert content.text == f"A file on {MARKER}"
        messages = (await http.get(f"{CHATS}/{chat}/messages")).json()["data"]
        assert len(messages) == 6
        assert (await http.get(f"/chats/{chat}")).text.count(MARKER) >= 3
        for name in ("listed", "pinned", "archived", "trashed"):
            assert (await http.get(CHATS, params={"list": name})).json()["data"] == []
        assert (await http.get("/api/v1/search", params={"q": "zebra"})).json()["data"] == []
        assert (await http.get(f"{CHATS}/{chat}/export.json")).status_code == 400

        saved = await begin(http, SAVED, settings={"max_tokens": 8})
        await followed(http, saved)
        assert await unload(http)
    assert await server.stop() == 0
    assert files_with(server.folder, SAVED)  # so it would be seen
    assert [path.stem for path in kv_files.files(server.folder / "kv")] == [
        kv_files.chat_key(saved["chat"]["id"])
    ]
    assert files_with(server.folder, MARKER) == []
    assert files_with(server.folder, chat) == []


async def unload(http: httpx.AsyncClient) -> bool:
    """Unload the model, by the way that Ollama has for it."""
    answer = await http.post("/api/generate", json={"model": "tiny", "keep_alive": 0})
    return answer.status_code == 200


async def test_a_temporary_chat_ends_when_it_is_deleted(server: Server) -> None:
    async with httpx.AsyncClient(base_url=server.origin, timeout=60) as http:
        made = await begin(http, MARKER, temporary=True, settings={"max_tokens": 3000})
        address = f"{CHATS}/{made['chat']['id']}"
        assert (await http.delete(address)).status_code == 204
        assert (await http.get(address)).status_code == 404
        again = await begin(http, MARKER, temporary=True, settings={"max_tokens": 2})
        assert (await followed(http, again))["status"] == "done"


async def test_a_temporary_chat_is_in_no_folder(server: Server) -> None:
    async with httpx.AsyncClient(base_url=server.origin, timeout=60) as http:
        body = {"text": MARKER, "temporary": True, "folder": 1}
        answer = await http.post(CHATS, json=body)
        assert answer.status_code == 400
        assert "is in no folder" in answer.json()["error"]["message"]


async def test_a_temporary_chat_gets_the_settings_of_its_persona(server: Server) -> None:
    pirate = {"name": "Pirate", "instructions": "Talk like a pirate.", "settings": {"top_k": 3}}
    async with httpx.AsyncClient(base_url=server.origin, timeout=60) as http:
        persona = (await http.post("/api/v1/personas", json=pirate)).json()["id"]
        few = {"persona": persona, "settings": {"max_tokens": 2, "seed": 1}}
        for is_temporary in (True, False):
            made = await begin(http, "Hello", temporary=is_temporary, **few)
            await followed(http, made)
            chat = (await http.get(f"{CHATS}/{made['chat']['id']}")).json()
            assert chat["settings"]["system_prompt"] == "Talk like a pirate."
            assert (chat["settings"]["top_k"], chat["settings"]["max_tokens"]) == (3, 2)
            assert chat["persona"] == (None if is_temporary else persona)
        await http.delete(f"/api/v1/personas/{persona}")
        assert (await http.get(f"{CHATS}/{made['chat']['id']}")).json()["persona"] is None


async def test_a_temporary_chat_is_kept_when_its_user_asks_for_that(server: Server) -> None:
    page = {"Origin": server.origin, "HX-Request": "true"}
    async with httpx.AsyncClient(base_url=server.origin, timeout=60) as http:
        made = await begin(http, MARKER, temporary=True, settings={"max_tokens": 8})
        chat = made["chat"]["id"]
        await followed(http, made)
        assert "Keep this chat" in (await http.get(f"/chats/{chat}/menu?in=header")).text
        kept = await http.post(f"/chats/{chat}/keep", headers=page)
        assert kept.status_code == 204, kept.text
        address = kept.headers["HX-Redirect"]
        assert MARKER in (await http.get(address)).text
        assert (await http.get(f"/chats/{chat}")).status_code == 404
        listed = (await http.get(CHATS)).json()["data"]
        assert [f"/chats/{one['id']}" for one in listed] == [address]
        assert (await http.post(f"/chats/{chat}/keep", headers=page)).status_code == 404
        again = await http.post(f"{address}/keep", headers=page)
        assert (again.status_code, "not temporary" in again.text) == (400, True)
