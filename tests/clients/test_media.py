"""OpenAI's and Ollama's own clients with pictures and sound, for models here that see and hear."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from ollama import AsyncClient
from openai import AsyncOpenAI

from app.models.store import ModelStore
from tests.e2e.server import Server
from tests.media.samples import encoded, tone
from tests.tiny_projectors import HEARING, write_projector, write_seeing_model

MODELS = {"ears": HEARING, "eyes": "gemma3"}
TEXT = {"type": "text", "text": "What is it?"}
SENT = base64.b64encode(encoded()).decode()
PICTURE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{SENT}"}}
HEARD = base64.b64encode(tone(1)).decode()
SOUND = {"type": "input_audio", "input_audio": {"data": HEARD, "format": "wav"}}


@pytest.fixture(scope="module")
async def gifted(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A server with a model that sees and one that hears, both of random weights."""
    folder = tmp_path_factory.mktemp("gifted")
    store = ModelStore(folder / "models")
    for name, kind in MODELS.items():
        weights = write_seeing_model(folder / f"{name}.gguf", kind)
        projector = write_projector(folder / f"mmproj-{name}.gguf", kind)
        store.install(weights, name, projector=projector)
    (folder / "data").mkdir()
    server = Server(folder / "data", store.root, titles="off", context=2048)
    await server.start()
    yield server
    await server.close()


async def ask(client: AsyncOpenAI, model: str, *parts: dict[str, Any]) -> Any:
    said: Any = [{"role": "user", "content": list(parts)}]
    return await client.chat.completions.create(model=model, messages=said, max_tokens=5)


async def test_openais_client_shows_pictures_and_plays_sound(gifted: Server) -> None:
    async with AsyncOpenAI(base_url=f"{gifted.origin}/v1", api_key="none", max_retries=0) as client:
        for model, part in (("eyes", PICTURE), ("ears", SOUND)):
            plain = (await ask(client, model, TEXT)).usage.prompt_tokens
            once = await ask(client, model, TEXT, part)
            assert once.choices[0].message.content
            rows = once.usage.prompt_tokens - plain
            assert rows > 0
            twice = await ask(client, model, TEXT, part, part)
            assert twice.usage.prompt_tokens == plain + 2 * rows
        with pytest.raises(openai.BadRequestError, match="can't hear sound"):
            await ask(client, "eyes", SOUND)
        with pytest.raises(openai.BadRequestError, match="can't see pictures"):
            await ask(client, "ears", PICTURE)


async def test_ollamas_client_shows_pictures(gifted: Server) -> None:
    client = AsyncClient(gifted.origin)
    try:
        said = {"role": "user", "content": "What is it?", "images": [encoded()]}
        assert (await client.chat("eyes", [said], options={"num_predict": 5})).message.content
        shown = await client.generate("eyes", "What?", images=[SENT], options={"num_predict": 5})
        assert shown.response
        assert "vision" in ((await client.show("eyes")).capabilities or [])
    finally:
        await client._client.aclose()
