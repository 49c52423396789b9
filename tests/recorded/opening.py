"""Opening of recorded data folders: all that was in them is found, and they go on being used."""

from __future__ import annotations

import asyncio
import sqlite3
import tarfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import httpx

from app.models.store import ModelStore
from tests.e2e.server import Server
from tests.patience import PATIENCE
from tests.recorded.record import HERE, MODEL, log_in
from tests.tiny_gguf import write_tiny_gguf

ENDED: Final = {"done", "failed", "stopped", "interrupted"}
MANIFESTS: Final = sorted(HERE.glob("schema-*.json"))


async def assert_opens(manifest: dict[str, Any], folder: Path) -> None:
    """Check that this version opens an unpacked folder, and that nothing in it is lost."""
    accounts = "on" if manifest["users"] else "off"
    server = Server(folder, folder / "models", accounts=accounts, max_tokens=8, titles="off")
    await server.start()
    try:
        owners = sorted({chat["user_id"] for chat in manifest["chats"]})
        for user_id, name in zip(owners, manifest["users"] or ["somebody"], strict=True):
            with httpx.Client(
                base_url=server.origin, headers={"Origin": server.origin}, timeout=PATIENCE
            ) as client:
                if manifest["users"]:
                    log_in(client, name, manifest["password"])
                person = Person(client, manifest, user_id, name)
                person.finds_all_chats()
                person.finds_all_texts()
                person.searches()
                await person.goes_on()
        with httpx.Client(base_url=server.origin) as stranger:
            opens_shares(stranger, manifest)
            if manifest["key"]:
                takes_key(stranger, manifest["key"])
        kept_rows(server, manifest)
    finally:
        assert await server.stop() == 0
    assert "Traceback" not in server.log
    assert " ERROR " not in server.log


def unpack(archive: Path, folder: Path) -> None:
    """Put it there as it was left, with the model's files; its trash is of today."""
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    made = folder / "made"
    ModelStore(made).install(write_tiny_gguf(folder / f"{MODEL}.gguf"), MODEL)
    for weights in (made / MODEL).glob("*.gguf"):
        weights.rename(folder / "models" / MODEL / weights.name)
    with closing(sqlite3.connect(folder / "wick.db")) as database, database:
        database.execute(
            "UPDATE chats SET deleted_at = ? WHERE deleted_at IS NOT NULL", (time.time(),)
        )


class Person:
    """Somebody whose chats were recorded, before the page and the API of this version."""

    def __init__(
        self, client: httpx.Client, manifest: dict[str, Any], user_id: int, name: str
    ) -> None:
        self._client, self._manifest, self._name = client, manifest, name
        self._chats = [chat for chat in manifest["chats"] if chat["user_id"] == user_id]
        assert self._chats

    def finds_all_chats(self) -> None:
        """Each in its list, the trash too, and none of anybody else's."""
        found = {name: set[str]() for name in ("listed", "pinned", "archived", "trashed")}
        for name, chats in found.items():
            answer = self._get("/api/v1/chats", list=name)
            chats |= {chat["id"] for chat in answer["data"]}
        expected = {name: set[str]() for name in found}
        for chat in self._chats:
            expected[list_of(chat)].add(chat["id"])
        assert found == expected
        for chat in self._chats:
            if list_of(chat) == "trashed":
                self._client.patch(
                    f"/api/v1/chats/{chat['id']}", json={"deleted": False}
                ).raise_for_status()

    def finds_all_texts(self) -> None:
        """On the path that the page showed, and in an export those of all branches."""
        for chat in self._chats:
            here = f"/api/v1/chats/{chat['id']}"
            assert self._get(here)["title"] == chat["title"]
            texts = {
                row["id"]: row["text"]
                for row in self._manifest["messages"]
                if row["chat_id"] == chat["id"]
            }
            path = self._get(f"{here}/messages")["data"]
            if chat["id"] in self._manifest["paths"]:
                assert [message["id"] for message in path] == self._manifest["paths"][chat["id"]]
            assert {message["id"]: message["text"] for message in path}.items() <= texts.items()
            exported = self._get(f"/chats/{chat['id']}/export.json")["chats"][0]
            assert sorted(m["text"] for m in exported["messages"]) == sorted(texts.values())
        if self._manifest["schema"] >= 5:
            kept = self._get(f"/api/v1/chats/{self._chats[0]['id']}")["settings"]
            chosen = {name: value for name, value in kept.items() if value is not None}
            assert chosen == self._manifest["settings"]

    def searches(self) -> None:
        hits = self._get("/api/v1/search", q=f"{self._name} trash")["data"]
        trashed = next(chat["id"] for chat in self._chats if list_of(chat) == "trashed")
        assert {hit["chat_id"] for hit in hits} == {trashed}

    async def goes_on(self) -> None:
        """The model answers in the first chat, from its snapshot where that still fits."""
        here = f"/api/v1/chats/{self._chats[0]['id']}/messages"
        response = self._client.post(here, json={"text": "And now?"})
        assert response.is_success, response.text
        asked = response.json()
        async with asyncio.timeout(PATIENCE):
            while (answer := self._get(f"{here}/{asked['answer']['id']}"))["status"] not in ENDED:
                await asyncio.sleep(0.05)
        assert answer["status"] == "done", answer
        assert answer["text"]
        assert 0 <= answer["cached_tokens"] < answer["prompt_tokens"]

    def _get(self, path: str, **query: str) -> Any:
        return self._client.get(path, params=query).raise_for_status().json()


def list_of(chat: dict[str, Any]) -> str:
    for column, name in (
        ("deleted_at", "trashed"),
        ("archived_at", "archived"),
        ("pinned_at", "pinned"),
    ):
        if chat.get(column) is not None:
            return name
    return "listed"


def opens_shares(stranger: httpx.Client, manifest: dict[str, Any]) -> None:
    """Read each shared chat by its link, without a login."""
    for chat_id, link in manifest["shares"].items():
        page = stranger.get(link).raise_for_status().text
        question = next(m["text"] for m in manifest["messages"] if m["chat_id"] == chat_id)
        assert question in page


def takes_key(program: httpx.Client, key: str) -> None:
    """Ask as a program with its key, which its scopes let it."""
    program.headers["Authorization"] = f"Bearer {key}"
    assert program.get("/api/v1/chats").raise_for_status().json()["data"]
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}
    answer = program.post("/v1/chat/completions", json=body, timeout=PATIENCE)
    assert answer.raise_for_status().json()["choices"][0]["message"]["content"]


def kept_rows(server: Server, manifest: dict[str, Any]) -> None:
    """Compare all that was ever said with the database, row for row."""
    rows = {row["id"]: row for row in server.rows("SELECT * FROM messages")}
    for said in manifest["messages"]:
        kept = rows[said["id"]]
        assert {name: kept[name] for name in said} == said
