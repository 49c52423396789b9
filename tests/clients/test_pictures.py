"""OpenAI's and Ollama's own clients with pictures, for a model of another server that sees."""

from __future__ import annotations

import base64
from pathlib import Path

import openai
import pytest
from ollama import AsyncClient
from openai import AsyncOpenAI

from app.models.store import ModelStore
from app.models.upstream import Upstream
from tests.e2e.server import Server
from tests.inference.remote.stub import serving
from tests.media.samples import encoded

SENT = encoded(kind="JPEG", comment=b"secret")


async def test_pictures_reach_a_model_that_sees(tmp_path: Path) -> None:
    async with serving() as stub:
        store = ModelStore(tmp_path / "models")
        store.add_remote("seer", [Upstream(stub.url, "stub")], sees=True)
        store.add_remote("blind", [Upstream(stub.url, "stub")])
        (tmp_path / "data").mkdir()
        server = Server(tmp_path / "data", store.root, titles="off")
        await server.start()
        try:
            await ask_as_openai(server)
            await ask_as_ollama(server)
        finally:
            await server.close()
        for call in stub.calls:
            (said,) = [one for one in call.body["messages"] if one["role"] == "user"]
            (url,) = [p["image_url"]["url"] for p in said["content"] if p["type"] == "image_url"]
            data = base64.b64decode(url.removeprefix("data:image/jpeg;base64,"))
            assert data.startswith(b"\xff\xd8\xff")
            assert b"secret" not in data
        assert len(stub.calls) == 2
        assert not (tmp_path / "data/pictures").exists()


async def ask_as_openai(server: Server) -> None:
    url = f"data:image/jpeg;base64,{base64.b64encode(SENT).decode()}"
    parts = [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": url, "detail": "low"}},
    ]
    async with AsyncOpenAI(base_url=f"{server.origin}/v1", api_key="none", max_retries=0) as client:
        asked = {"messages": [{"role": "user", "content": parts}], "max_tokens": 5}
        answer = await client.chat.completions.create(model="seer", **asked)  # type: ignore[call-overload]
        assert answer.choices[0].message.content
        with pytest.raises(openai.BadRequestError, match="can't see pictures"):
            await client.chat.completions.create(model="blind", **asked)  # type: ignore[call-overload]


async def ask_as_ollama(server: Server) -> None:
    said = {"role": "user", "content": "What is it?", "images": [SENT]}
    async with AsyncClient(server.origin) as client:
        assert (await client.chat("seer", [said])).message.content
