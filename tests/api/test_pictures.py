"""Pictures in requests of programs: shown to models that see, refused plainly for all others."""

from __future__ import annotations

import asyncio
import base64
import gc
import io
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile

from app.api import pictures
from app.api.pictures import SentPicture, from_audio, hold, show
from app.errors import ApiError, WickError
from app.inference.protocol import Generate
from app.inference.remote.request import request_body
from app.media.pictures import MAX_PICTURE_BYTES
from app.models.install import http_client
from app.models.model import Model, Turn, TurnImage, join_turns
from app.models.store import ModelStore
from app.models.upstream import Upstream
from tests.application import context_of, run_app
from tests.media.samples import encoded
from tests.models.stub_server import serve_stub
from tests.tiny_gguf import write_tiny_gguf

PICTURE = base64.b64encode(encoded()).decode()
URL = f"data:image/png;base64,{PICTURE}"


def message(url: str, kind: str = "image_url", role: str = "user") -> dict[str, Any]:
    parts = [{"type": "text", "text": "What is it?"}, {"type": kind, kind: {"url": url}}]
    return {"model": "tiny", "messages": [{"role": role, "content": parts}], "max_tokens": 4}


def heard(data: str = base64.b64encode(b"RIFF").decode(), kind: str = "wav") -> dict[str, Any]:
    part = {"type": "input_audio", "input_audio": {"data": data, "format": kind}}
    return {"model": "tiny", "messages": [{"role": "user", "content": [part]}], "max_tokens": 4}


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (message(URL), "can't see pictures. Choose a model that can"),
        (message("https://example.org/a.png"), "Send the picture itself as a data URL"),
        (message("file:///etc/passwd"), "Send the picture itself as a data URL"),
        (message("data:image/png;base64,%%%"), "not valid base64"),
        (message(URL, role="system"), "Only a user's messages may have pictures"),
        (heard(), "can't hear sound. Choose a model that can"),
        (heard("%%%"), "The sound is not valid base64"),
        (message(URL, "input_video"), "and no “input_video”"),
    ],
)
async def test_openai_clients_are_told_why_not(
    http: httpx.AsyncClient, body: dict[str, Any], why: str
) -> None:
    answer = await http.post("/v1/chat/completions", json=body)
    assert answer.status_code == 400
    assert why in answer.json()["error"]["message"]
    assert answer.json()["error"]["param"].startswith("messages[0].content")


@pytest.mark.parametrize("kind", ["WAV", "MP3"])
async def test_a_model_that_hears_is_given_sound_while_the_request_lives(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Model, "hears", True)
    file = io.BytesIO()
    tone = np.sin(np.arange(24_000) / 20).astype(np.float32) / 2
    soundfile.write(file, tone, 24_000, format=kind)
    data = base64.b64encode(file.getvalue()).decode()
    async with run_app(tmp_path) as app, app.app_context():
        store: ModelStore = context_of(app).store
        store.install(write_tiny_gguf(tmp_path / "a.gguf"), "tiny")
        command = Generate(0, (Turn("user", "What do you hear?"),))
        shown = await show("tiny", command, [from_audio(data, 0, 17, "messages")])
        (sound,) = shown.turns[0].images
        assert abs(sound.samples - 16_000) < 2000
        samples = np.frombuffer(Path(sound.path).read_bytes(), "<i2", offset=44)
        assert samples.size == sound.samples
        assert 0.4 < np.abs(samples / 32768).max() < 0.7
        owner = asyncio.Event()
        hold(owner, shown)
        with pytest.raises(WickError, match="The sound"):
            await show("tiny", command, [from_audio("aGVsbG8=", 0, 0, "messages")])
        del owner
        gc.collect()
        assert context_of(app).held_pictures.digests() == set()


async def test_ollama_clients_are_told_why_not(http: httpx.AsyncClient) -> None:
    said = {"role": "user", "content": "What is it?", "images": [PICTURE]}
    chat = await http.post("/api/chat", json={"model": "tiny", "messages": [said]})
    plain = {"model": "tiny", "prompt": "What is it?", "images": [PICTURE]}
    generate = await http.post("/api/generate", json=plain)
    for answer in (chat, generate):
        assert answer.status_code == 400
        assert "can't see pictures" in answer.json()["error"]
    answer = await http.post("/api/generate", json=plain | {"images": ["%%%"]})
    assert "not valid base64" in answer.json()["error"]


async def test_a_model_that_sees_is_shown_them_while_the_request_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Model, "sees", True)
    async with run_app(tmp_path) as app, app.app_context():
        store: ModelStore = context_of(app).store
        store.install(write_tiny_gguf(tmp_path / "a.gguf"), "tiny")
        command = Generate(0, (Turn("user", "What is it?"),))
        sent = [SentPicture(encoded(kind="JPEG"), 0, 4, "x")] * 2
        shown = await pictures.show("tiny", command, sent)
        one, two = shown.turns[0].images
        assert (one, one.width, one.place) == (two, 60, 4)
        assert Path(one.path).read_bytes().startswith(b"\xff\xd8\xff")
        held = context_of(app).held_pictures
        owner = type("Owner", (), {})()
        pictures.hold(owner, shown)
        assert held.digests() == {one.id}
        del owner
        assert held.digests() == set()
        damaged = [*sent, SentPicture(b"GIF89a", 0, 0, "messages[0]")]
        with pytest.raises(ApiError, match="The picture is damaged"):
            await pictures.show("tiny", command, damaged)
        assert held.digests() == set()


def test_other_servers_get_pictures_between_the_text(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(encoded(kind="JPEG"))
    image = TurnImage("a", str(file), 60, 40)
    turn = join_turns(Turn("user", "one"), Turn("user", "two", images=(image,)))
    command = Generate(1, (turn,))
    upstream = Upstream("http://localhost:1/v1", "m")
    body = request_body(upstream, command, command.turns, 5, is_plain=True)
    (said,) = body["messages"]
    url = "data:image/jpeg;base64," + base64.b64encode(file.read_bytes()).decode()
    assert said["content"] == [
        {"type": "text", "text": "one\n\n"},
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "text", "text": "two"},
    ]


async def test_addresses_are_fetched_where_the_owner_allows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Model, "sees", True)
    for proxy in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(proxy, raising=False)
        monkeypatch.delenv(proxy.upper(), raising=False)
    with serve_stub() as stub:
        stub.files |= {"/a.png": encoded(), "/large.png": b"x" * (MAX_PICTURE_BYTES + 1)}
        async with run_app(tmp_path, fetch_pictures=True) as app, app.app_context():
            store: ModelStore = context_of(app).store
            store.install(write_tiny_gguf(tmp_path / "a.gguf"), "tiny")

            async def show(path: str) -> Generate:
                sent = [pictures.from_url(f"{stub.url}{path}", 0, 0, "messages[0]")]
                return await pictures.show("tiny", Generate(0, (Turn("user", "x"),)), sent)

            with pytest.raises(ApiError, match="private network"):
                await show("/a.png")
            monkeypatch.setattr(http_client, "is_public", lambda address: True)
            (image,) = (await show("/a.png")).turns[0].images
            assert image.width == 60
            for path, why in (
                ("/none.png", "does not have this file"),
                ("/large.png", "sends more than"),
            ):
                with pytest.raises(ApiError, match=f"can't be fetched: .*{why}"):
                    await show(path)
            with pytest.raises(ApiError, match="data URL"):
                pictures.from_url("ftp://example.org/a.png", 0, 0, "messages[0]")
