"""Speech by a program that behaves like piper; and by none."""

from __future__ import annotations

import asyncio
import io
import os
import wave
from pathlib import Path

import pytest

from app.config import Settings
from app.errors import MediaError, MediaFailed, MediaNotSetUp, MediaTooLarge, QueueFull
from app.media import piper
from app.media.piper import MAX_CHARS, MAX_REQUESTS_PER_USER, Piper, ServerVoice
from tests.media.piper_stub import install_piper
from tests.patience import until


@pytest.fixture
def speaker(tmp_path: Path) -> Piper:
    program, voice = install_piper(tmp_path)
    return Piper(Settings(piper=str(program), piper_voice=voice))


def calls(folder: Path) -> list[str]:
    log = folder / "log"
    return log.read_text().splitlines() if log.exists() else []


async def test_a_text_becomes_one_wav(
    speaker: Piper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "not for it")
    assert speaker.voice == ServerVoice("en_US-stub-medium", "en-US")
    for speed, scale in ((1.0, 1.0), (2.0, 0.5)):
        sound = await speaker.speak(" Two\nlines,\0and\u00a0more \n", 1, speed)
        with wave.open(io.BytesIO(sound)) as opened:
            assert opened.getnframes() == int(100 * len("Two lines, and more") * scale)
        assert calls(tmp_path)[-1].split(" ", 1)[1] == f"1 {scale} Two lines, and more False"


@pytest.mark.parametrize(
    ("text", "kind", "why"),
    [
        (" \n", MediaError, "There is no text to speak."),
        ("a" * (MAX_CHARS + 1), MediaTooLarge, "Too long: 4,097 characters; the limit is 4,096"),
        ("crash", MediaFailed, "The voice failed."),
        ("words", MediaFailed, "The voice failed."),
        ("flood", MediaFailed, "The voice made more sound than Wick takes."),
        ("hang", MediaFailed, "The voice took longer than"),
    ],
)
async def test_what_goes_wrong_is_a_sentence(
    speaker: Piper,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    kind: type[MediaError],
    why: str,
) -> None:
    monkeypatch.setattr(piper, "MAX_WAV_BYTES", 4 << 20)
    monkeypatch.setattr(piper, "PIPER_SECONDS", 1.0 if text == "hang" else 120.0)
    with pytest.raises(kind, match=why):
        await speaker.speak(text, 1)
    assert await speaker.speak("And then?", 1)
    for call in calls(tmp_path):
        with pytest.raises(ProcessLookupError):
            os.kill(int(call.split()[0]), 0)


async def test_a_program_is_killed_when_nobody_waits_any_more(
    speaker: Piper, tmp_path: Path
) -> None:
    waiting = asyncio.create_task(speaker.speak("hang", 1))
    await until(lambda: bool(calls(tmp_path)))
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    with pytest.raises(ProcessLookupError):
        os.kill(int(calls(tmp_path)[0].split()[0]), 0)


async def test_one_user_does_not_fill_the_queue(speaker: Piper, tmp_path: Path) -> None:
    waiting = [asyncio.create_task(speaker.speak("hang", 1)) for _ in range(MAX_REQUESTS_PER_USER)]
    await until(lambda: bool(calls(tmp_path)))
    with pytest.raises(QueueFull):
        await speaker.speak("One more", 1)
    other = asyncio.create_task(speaker.speak("Another's", 2))
    for task in waiting:
        task.cancel()
    assert (await other)[:4] == b"RIFF"
    await asyncio.wait(waiting)
    assert (await speaker.speak("Again", 1))[:4] == b"RIFF"


async def test_where_nothing_is_set_up(tmp_path: Path) -> None:
    program, voice = install_piper(tmp_path)
    for settings, why in (
        (Settings(piper=str(program)), "This server has no voice."),
        (Settings(piper=str(program), piper_voice=tmp_path / "x.onnx"), "isn't there"),
        (Settings(piper="piper-x", piper_voice=voice), "isn't installed where WICK_PIPER says"),
    ):
        assert Piper(settings).voice is None
        with pytest.raises(MediaNotSetUp, match=why) as refused:
            await Piper(settings).speak("Hello", 1)
        assert refused.value.status == 501
