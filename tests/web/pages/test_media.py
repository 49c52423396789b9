"""Voice to text on the pages: who may set it up, and what is said where it is missing."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from app.web.bodies import max_body_bytes
from tests.application import PAGE, context_of, run_app, text_of
from tests.media.samples import tone
from tests.patience import until
from tests.tiny_whisper import write_tiny_whisper


async def test_a_voice_model_is_chosen_used_and_deleted(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_tiny_whisper(tmp_path / "models/.voice" / name)
    async with run_app(tmp_path) as app:
        browser = app.test_client()
        page = await text_of(await browser.get("/models", headers=PAGE))
        assert 'aria-label="Use two"' in page
        assert 'aria-label="Use one"' not in page  # it is in use
        assert 'aria-label="Download Whisper Small"' in page
        assert (await browser.post("/media/two/choose", headers=PAGE)).status_code == 204
        assert context_of(app).media.voice_models.chosen().name == "two"
        made = await browser.post("/dictation", data=b"", headers=PAGE)
        assert await made.get_json() == {"text": ""}
        assert context_of(app).media.voice.pid is not None
        # Partial text comes only while the model has nothing else to do: it is timed now.
        await until(lambda: "two" in context_of(app).media.voice_models.speeds())
        assert (await browser.post("/dictation", data=b"\0", headers=PAGE)).status_code == 415
        made = await browser.post("/dictation?partial", data=bytes(32_000), headers=PAGE)
        assert await made.get_json() == {"text": ""}
        made = await browser.post("/dictation/file?name=a.wav", data=b"RIFF", headers=PAGE)
        assert made.status_code == 415
        page = await text_of(await browser.get("/models", headers=PAGE))
        assert "5 s of speech take 0." in page
        assert (await browser.delete("/media/two", headers=PAGE)).status_code == 204
        assert (await browser.post("/media/nothing/choose", headers=PAGE)).status_code == 404
        assert (await browser.post("/media/nothing/setup", headers=PAGE)).status_code == 404


async def test_who_goes_away_is_not_heard_to_the_end(tmp_path: Path) -> None:
    write_tiny_whisper(tmp_path / "models/.voice/one")
    form = {"Content-Type": "multipart/form-data; boundary=b"}
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    asked = [
        ("/dictation", {}, tone(2)[44:]),
        ("/dictation/file?name=a.wav", {}, tone(2)),
        ("/v1/audio/transcriptions", form, head + tone(2) + b"\r\n--b--\r\n"),
    ]
    async with run_app(tmp_path) as app:
        browser, voice = app.test_client(), context_of(app).media.voice
        await browser.post("/dictation", data=b"", headers=PAGE)
        await until(lambda: "one" in context_of(app).media.voice_models.speeds())
        await until(lambda: not voice.is_busy)
        for path, headers, body in asked:
            assert voice.pid is not None
            os.kill(voice.pid, signal.SIGSTOP)
            request = browser.request(path, method="POST", headers=PAGE | headers)
            async with request as connection:
                await connection.send(body)
                await connection.send_complete()
                await until(lambda: voice._current is not None)  # it may wait in the queue first
                job = voice._current
                await connection.disconnect()
            assert job is not None
            await until(job.result.cancelled)
            os.kill(voice.pid, signal.SIGCONT)
            await until(lambda: not voice.is_busy)


async def test_recordings_have_the_size_that_is_set(tmp_path: Path) -> None:
    write_tiny_whisper(tmp_path / "models/.voice/one")
    async with run_app(tmp_path, max_audio_mb=2) as app:
        browser = app.test_client()
        made = await browser.post("/dictation/file?name=a.wav", data=bytes(2 << 20), headers=PAGE)
        assert made.status_code == 415  # it was looked at
        made = await browser.post(
            "/dictation/file?name=a.wav", data=bytes((2 << 20) + 1), headers=PAGE
        )
        assert made.status_code == 413
        assert "a.wav is too large: the limit is 2 MB." in await text_of(made)
    assert max_body_bytes("/v1/audio/transcriptions", 2) == 3 << 20


async def test_without_a_model_it_is_to_be_set_up(tmp_path: Path) -> None:
    async with run_app(tmp_path) as app:
        browser = app.test_client()
        page = await text_of(await browser.get("/models", headers=PAGE))
        assert "Not set up yet" in page
        state = await (await browser.get("/dictation", headers=PAGE)).get_json()
        assert (state["ready"], state["owner"]) == (False, True)
        assert state["about"] == "Voice to text isn't set up yet."
        made = await browser.post("/dictation", data=bytes(3200), headers=PAGE)
        assert made.status_code == 501
