"""`/v1/audio/transcriptions` with OpenAI's own client and real speech."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI

from tests.e2e.server import Server
from tests.whisper import speak, with_voice

WORDS = {"please", "write", "short", "story", "about"}
"""What is heard of the sentence on any processor; "dog" is "dark" on some."""


@pytest.fixture(scope="module")
async def hearing(
    tmp_path_factory: pytest.TempPathFactory, tiny_store: Path
) -> AsyncIterator[Server]:
    server = Server(
        tmp_path_factory.mktemp("hearing"), with_voice(tiny_store, tmp_path_factory.mktemp("store"))
    )
    await server.start()
    yield server
    await server.close()


@pytest.fixture
async def client(hearing: Server) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{hearing.origin}/v1", api_key="none", max_retries=0) as made:
        yield made


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    return speak("Please write a short story about a dog and a cat.", tmp_path)


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


async def test_every_format(client: AsyncOpenAI, speech: Path) -> None:
    made = await client.audio.transcriptions.create(model="whisper-1", file=speech)
    assert words(made.text) >= WORDS
    assert made.usage is not None
    verbose = await client.audio.transcriptions.create(
        model="whisper-base", file=speech, response_format="verbose_json", language="en"
    )
    assert words(verbose.text) >= WORDS
    assert verbose.language == "en"
    assert verbose.segments
    assert 0 <= verbose.segments[0].start < verbose.segments[-1].end <= verbose.duration
    assert verbose.words is None
    timed = await client.audio.transcriptions.create(
        model="whisper-1",
        file=speech,
        response_format="verbose_json",
        timestamp_granularities=["word"],
    )
    assert timed.segments is None
    assert timed.words
    assert words(" ".join(word.word for word in timed.words)) == words(timed.text)
    starts = [word.start for word in timed.words]
    assert starts == sorted(starts)
    assert all(word.start <= word.end <= timed.duration for word in timed.words)
    story = next(word for word in timed.words if word.word == "story")
    assert 0.8 < story.start < story.end < 2.0
    text = await client.audio.transcriptions.create(
        model="whisper-1", file=speech, response_format="text"
    )
    assert words(str(text)) >= WORDS
    srt = await client.audio.transcriptions.create(
        model="whisper-1", file=speech, response_format="srt"
    )
    assert re.match(r"1\n00:00:0\d,\d{3} --> 00:00:0\d,\d{3}\n\w", str(srt))
    vtt = await client.audio.transcriptions.create(
        model="whisper-1", file=speech, response_format="vtt"
    )
    assert str(vtt).startswith("WEBVTT\n\n00:00:0")


async def test_text_is_streamed(client: AsyncOpenAI, speech: Path) -> None:
    stream = await client.audio.transcriptions.create(model="whisper-1", file=speech, stream=True)
    events = [event async for event in stream]
    assert [event.type for event in events] == ["transcript.text.delta", "transcript.text.done"]
    assert events[-1].type == "transcript.text.done"
    assert words(events[-1].text) >= WORDS


async def test_german_is_translated(client: AsyncOpenAI, tmp_path: Path) -> None:
    german = speak("Guten Morgen, heute gehen wir zusammen in die Stadt.", tmp_path, "de")
    made = await client.audio.translations.create(model="whisper-1", file=german)
    assert {"morning", "today"} & words(made.text)


async def test_what_is_wrong_is_said(client: AsyncOpenAI, hearing: Server) -> None:
    with pytest.raises(openai.APIStatusError, match=r"bad\.wav is damaged") as damaged:
        await client.audio.transcriptions.create(model="whisper-1", file=("bad.wav", b"RIFF"))
    assert damaged.value.status_code == 415
    with pytest.raises(openai.NotFoundError, match="whisper-large"):
        await client.audio.transcriptions.create(model="whisper-large", file=("a.wav", b"RIFF"))
    with pytest.raises(openai.BadRequestError, match="come with response_format verbose_json"):
        await client.audio.transcriptions.create(
            model="whisper-1", file=("a.wav", b"RIFF"), timestamp_granularities=["word"]
        )
    letters: Any = ["letter"]
    with pytest.raises(openai.BadRequestError, match="takes word and segment"):
        await client.audio.transcriptions.create(
            model="whisper-1",
            file=("a.wav", b"RIFF"),
            response_format="verbose_json",
            timestamp_granularities=letters,
        )
    async with httpx.AsyncClient(base_url=hearing.origin) as http:
        address = "/v1/audio/transcriptions"
        key = {"Authorization": "Bearer none"}
        assert (await http.post(address, json={}, headers=key)).status_code == 415
        answer = await http.post(address, files={"other": b"x"}, headers=key)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "file")
        answer = await http.post(
            address, files={"file": b"x"}, data={"response_format": "pdf"}, headers=key
        )
        assert answer.json()["error"]["param"] == "response_format"


async def test_without_a_voice_model_the_sentence_says_how_to_get_one(
    server: Server, speech: Path
) -> None:
    async with AsyncOpenAI(base_url=f"{server.origin}/v1", api_key="x", max_retries=0) as client:
        with pytest.raises(openai.APIStatusError, match="needs a voice model") as missing:
            await client.audio.transcriptions.create(model="whisper-1", file=speech)
        assert missing.value.status_code == 501
