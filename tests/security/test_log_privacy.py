"""Nothing that people write is in the log: not with `debug`, not where something fails."""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from io import BytesIO
from os import kill
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.typing import Origin

from app.models.store import ModelStore
from tests.e2e.server import Server
from tests.patience import PATIENCE
from tests.tiny_gguf import CHATML, write_tiny_gguf

SECRET = "marmalade77"
HOSTILE = f"{SECRET}\ud800 \" ' \x00 %s {{}} <|im_start|> (AND NEAR/"
MODEL = "tiny"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    models = tmp_path / "models"
    file = write_tiny_gguf(tmp_path / "tiny.gguf", chat_template=CHATML)
    ModelStore(models).install(file, MODEL)
    made = Server(
        tmp_path,
        models,
        log="json",
        log_level="debug",
        max_tokens=8,
        titles="on",
        tool_seconds="1s",
    )
    yield await made.start()
    await made.close()


async def by_socket(server: Server, text: str, *, accepted: bool = True) -> None:
    client_id, chat_id = secrets.token_hex(16), secrets.token_hex(8)
    address = f"{server.origin.replace('http', 'ws')}/chats/{chat_id}/live?seen={SECRET}"
    async with (
        asyncio.timeout(PATIENCE),
        connect(address, origin=Origin(server.origin), proxy=None, max_size=None) as socket,
    ):
        assert socket.response is not None
        assert socket.response.headers["X-Request-Id"]
        await socket.send(json.dumps({"text": text, "client_id": client_id, "model": MODEL}))
        async for frame in socket:
            if f'data-for="{client_id}"' in str(frame):
                assert ('data-accepted="yes"' in str(frame)) == accepted
                return


async def broken_socket(server: Server, data: str | bytes) -> None:
    address = f"{server.origin.replace('http', 'ws')}/chats/{secrets.token_hex(8)}/live"
    with suppress(Exception):
        async with connect(address, origin=Origin(server.origin), proxy=None) as socket:
            await socket.send(data)
            await asyncio.wait_for(socket.recv(), PATIENCE)


def requests() -> list[tuple[str, str, dict[str, Any]]]:
    """Requests that hold the secret wherever one can be put, well or badly formed."""
    turn = {"role": "user", "content": HOSTILE.encode("utf-8", "replace").decode()}
    chat = {"model": MODEL, "messages": [turn]}
    schema = {"type": "object", "properties": {SECRET: {"type": SECRET}}}
    pdf = b"%PDF-1.4 " + SECRET.encode() * 50
    export = {
        "format": "wick-chats",
        "version": 1,
        "chats": [{"title": SECRET, "messages": SECRET}],
    }
    return [
        ("POST", "/v1/chat/completions", {"json": chat}),
        ("POST", "/v1/chat/completions", {"json": chat | {"stream": True}}),
        ("POST", "/v1/chat/completions", {"json": chat | {"model": SECRET}}),
        ("POST", "/v1/chat/completions", {"json": chat | {"temperature": SECRET}}),
        (
            "POST",
            "/v1/chat/completions",
            {
                "json": chat
                | {
                    "response_format": {
                        "type": "json_schema",
                        "json_schema": {"name": "a", "schema": schema},
                    }
                }
            },
        ),
        ("POST", "/v1/chat/completions", {"content": f'{{"messages": "{SECRET}'}),
        ("POST", "/v1/embeddings", {"json": {"model": MODEL, "input": SECRET}}),
        ("POST", "/v1/messages", {"json": chat | {"max_tokens": 4}}),
        ("POST", "/v1/responses", {"json": {"model": MODEL, "input": SECRET}}),
        ("POST", "/api/chat", {"json": chat | {"stream": False}}),
        ("POST", "/tokenize", {"json": {"content": SECRET}}),
        ("POST", "/api/v1/chats", {"json": {"text": SECRET, "model": MODEL, "client_id": SECRET}}),
        ("POST", f"/api/v1/files?name={SECRET}.pdf", {"content": pdf}),
        ("POST", f"/api/v1/files?name={SECRET}.txt", {"content": SECRET.encode() + b"\xff\x00"}),
        ("POST", f"/api/v1/files?name={SECRET}.png", {"content": b"\x89PNG\r\n" + pdf}),
        ("POST", f"/api/v1/files?name={SECRET}.docx", {"content": b"PK\x03\x04" + pdf}),
        ("POST", "/v1/audio/transcriptions", {"files": {"file": (f"{SECRET}.wav", BytesIO(pdf))}}),
        (
            "POST",
            "/import",
            {"files": {"file": (f"{SECRET}.json", BytesIO(json.dumps(export).encode()))}},
        ),
        ("POST", "/import", {"files": {"file": (f"{SECRET}.zip", BytesIO(b"PK" + pdf))}}),
        ("GET", f'/search?q={SECRET}"%20NEAR(', {}),
        ("GET", f"/api/v1/search?q={SECRET}%00", {}),
        ("GET", f"/palette?q={SECRET}", {}),
        ("GET", f"/{SECRET}", {}),
        ("GET", f"/chats/{SECRET}", {}),
        ("POST", "/models/pull", {"data": {"source": SECRET}}),
        ("POST", "/login", {"data": {"name": SECRET, "password": SECRET}}),
        (SECRET.upper(), "/", {}),
        ("GET", "/", {"headers": {"X-Request-Id": SECRET, "Cookie": f"wick={SECRET}"}}),
    ]


async def test_no_line_has_a_word_of_anybody(server: Server) -> None:
    seen = set[int]()
    async with httpx.AsyncClient(
        base_url=server.origin, headers={"Origin": server.origin}, timeout=PATIENCE
    ) as client:
        for method, path, given in requests():
            answer = await client.request(method, path, **given)
            seen.add(answer.status_code)
            assert answer.headers["X-Request-Id"]
            assert answer.status_code != 500, (method, path, answer.text)
        await by_socket(server, SECRET)
        await by_socket(server, f"{SECRET}" * 20_000, accepted=False)
        for data in (
            SECRET,
            f'{{"text": "{SECRET}"',
            SECRET.encode(),
            f'{{"earlier": "{SECRET}"}}',
        ):
            await broken_socket(server, data)
        for pid in server.runners():  # what it says last is logged
            kill(pid, signal.SIGABRT)
        await client.post(
            "/v1/chat/completions",
            json={"model": MODEL, "messages": [{"role": "user", "content": SECRET}]},
        )
    assert {200, 400, 404} <= seen
    assert await server.stop() == 0
    written = [*(server.folder / "logs").iterdir(), server.folder / "audit.log"]
    logged = server.log + "".join(path.read_text() for path in written)
    lines = [json.loads(row) for row in server.log.splitlines() if row.startswith("{")]
    assert {"wick.requests", "wick.answers"} <= {line["logger"] for line in lines}
    life = [line["message"] for line in lines if line["logger"] == "wick.life"]
    assert life[0].startswith("Wick 0.")
    assert life[1:] == ["Wick is being stopped."]
    assert any(line.get("source") == f"runner of {MODEL}" for line in lines)
    answers = [
        line
        for line in lines
        if line["logger"] == "wick.answers" and "is_background" not in line["facts"]
    ]
    assert all(line["request"] for line in answers)
    assert {line["request"] for line in answers} <= {
        line["request"] for line in lines if line["logger"] == "wick.requests"
    }
    where = logged.lower().find(SECRET)
    assert where < 0, logged[max(0, where - 500) : where + 100]
