"""`/v1/audio/speech` and the page's own `/speech`, with a program that behaves like piper."""

from __future__ import annotations

import io
import wave
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import openai
import pytest

from tests.e2e.server import Server
from tests.media.piper_stub import install_piper

SPEECH = "/v1/audio/speech"


@pytest.fixture(scope="module")
async def speaking(
    tmp_path_factory: pytest.TempPathFactory, tiny_store: Path
) -> AsyncIterator[Server]:
    program, voice = install_piper(tmp_path_factory.mktemp("piper"))
    folder = tmp_path_factory.mktemp("speaking")
    server = Server(folder, tiny_store, piper=program, piper_voice=voice)
    await server.start()
    yield server
    await server.close()


async def test_openais_client_gets_a_wav(speaking: Server) -> None:
    async with openai.AsyncOpenAI(base_url=f"{speaking.origin}/v1", api_key="none") as client:
        made = await client.audio.speech.create(
            model="tts-1", voice="alloy", input="Good morning.", response_format="wav", speed=2
        )
        with wave.open(io.BytesIO(made.content)) as sound:
            assert sound.getnframes() == 650
        assert made.response.headers["Content-Type"] == "audio/wav"
        with pytest.raises(openai.BadRequestError, match="Only wav is supported") as refused:
            await client.audio.speech.create(
                model="tts-1", voice="alloy", input="Hi", response_format="mp3"
            )
        assert refused.value.param == "response_format"


async def test_bounds(speaking: Server) -> None:
    async with httpx.AsyncClient(base_url=speaking.origin, timeout=60) as http:
        for body, param in (
            ({"input": ""}, "input"),
            ({"input": "a" * 4097}, "input"),
            ({"input": "a", "speed": 5}, "speed"),
            ({"input": "a", "stream_format": "sse"}, "stream_format"),
            ({}, "input"),
        ):
            answer = await http.post(SPEECH, json=body)
            assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), body
        assert (await http.post(SPEECH, json={"input": "crash"})).status_code == 503
        assert (await http.post(SPEECH, json={"input": " \n"})).status_code == 422
        about = await http.get("/speech")
        assert about.json() == {"name": "en_US-stub-medium", "language": "en-US"}
        made = await http.post("/speech?speed=nan", content="Hello", headers=from_page(speaking))
        assert made.content[:4] == b"RIFF"


async def test_without_a_voice_the_status_is_501(http: httpx.AsyncClient, server: Server) -> None:
    answer = await http.post(SPEECH, json={"input": "Hello"})
    assert answer.status_code == 501
    assert "WICK_PIPER_VOICE" in answer.json()["error"]["message"]
    assert (await http.get("/speech")).status_code == 204
    page = await http.post("/speech", content="Hello", headers=from_page(server))
    assert page.status_code == 501


def from_page(server: Server) -> dict[str, str]:
    return {"Origin": server.origin, "Accept": "text/plain"}
