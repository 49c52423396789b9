"""Audio files of all kinds, whole and damaged, decoded in their own process."""

from __future__ import annotations

import asyncio
import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from app.errors import MediaFailed, MediaRefused, MediaTooLarge
from app.media import audio
from app.media.audio import AudioDecoder, is_audio
from app.media.child.audio import resample

RECORDINGS = Path(__file__).parent / "recordings"
SAID_SECONDS = 1.8
TONE_HZ, SECONDS = 440, 12.5


def file_of(kind: str, rate: int, channels: int = 1, seconds: float = SECONDS) -> bytes:
    time = np.arange(int(seconds * rate)) / rate
    tone = 0.5 * np.sin(2 * np.pi * TONE_HZ * time)
    file = io.BytesIO()
    subtype = "OPUS" if kind == "OPUS" else None
    container = "OGG" if kind == "OPUS" else kind
    soundfile.write(file, np.stack([tone] * channels, 1), rate, subtype, format=container)
    return file.getvalue()


async def decode(data: bytes) -> Any:
    return np.frombuffer(await AudioDecoder().decode("talk", data), "<i2")


@pytest.mark.parametrize(
    ("kind", "rate", "channels"),
    [
        *(("WAV", 16_000, 1), ("WAV", 44_100, 2), ("WAV", 8_000, 1), ("FLAC", 48_000, 2)),
        *(("OGG", 44_100, 1), ("OPUS", 48_000, 1), ("MP3", 22_050, 1), ("AIFF", 11_025, 1)),
    ],
)
async def test_a_tone_stays_a_tone(kind: str, rate: int, channels: int) -> None:
    samples = await decode(file_of(kind, rate, channels))
    assert len(samples) == pytest.approx(SECONDS * 16_000, abs=3000)  # MP3 pads both ends
    middle = samples[16_000 : 11 * 16_000].astype(float)
    spectrum = np.abs(np.fft.rfft(middle))
    assert np.argmax(spectrum) == TONE_HZ * 10
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.5 / 2**0.5 * 32767, rel=0.05)
    assert np.abs(np.diff(middle)).max() < 5000  # no jump where windows meet


needs_ffmpeg = pytest.mark.skipif(
    shutil.which("ffmpeg") is None, reason="ffmpeg is not here (tests/install-browser.sh)"
)


@needs_ffmpeg
@pytest.mark.parametrize("name", sorted(path.name for path in RECORDINGS.iterdir()))
async def test_recordings_of_phones_and_browsers_are_read(name: str) -> None:
    """Somebody says “The sea is calm tonight.” in each."""
    samples = await decode((RECORDINGS / name).read_bytes())
    assert len(samples) == pytest.approx(SAID_SECONDS * 16_000, abs=3000)
    assert np.sqrt(np.mean(samples.astype(float) ** 2)) > 1000


@needs_ffmpeg
async def test_a_playlist_opens_no_file_of_this_machine(tmp_path: Path) -> None:
    secret = tmp_path / "secret.aac"
    secret.write_bytes((RECORDINGS / "talk.aac").read_bytes())
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile://{secret}\n#EXT-X-ENDLIST\n"
    for text in (playlist, f"ffconcat version 1.0\nfile {secret}\n"):
        with pytest.raises(MediaRefused, match="M4A, WEBM"):
            await decode(text.encode())


@pytest.mark.parametrize("name", ["talk.m4a", "talk.webm", "talk.wma", "talk.aac"])
async def test_where_ffmpeg_is_missing_the_refusal_says_so(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audio, "FFMPEG", "no-such-program")
    with pytest.raises(MediaRefused, match=r"without the program ffmpeg.* WAV, FLAC, OGG, MP3"):
        await AudioDecoder().decode(name, (RECORDINGS / name).read_bytes())
    assert "M4A" not in audio.formats()


def test_resampled_sound_is_as_long_as_it_was() -> None:
    for rate, count in ((44_100, 1), (44_100, 441_000), (48_000, 1_234_567), (8000, 80_001)):
        noise = np.random.default_rng(2).normal(0, 0.1, count).astype(np.float32)
        blocks = (noise[start : start + 10 * rate] for start in range(0, count, 10 * rate))
        assert sum(map(len, resample(blocks, rate))) == -(-count * 16_000 // rate)


@pytest.mark.parametrize("data", [b"", b"hello", b"RIFF\0\0\0\0WAVE", b"\0" * 5000, b"OggS" * 99])
async def test_what_is_no_sound_is_refused(data: bytes) -> None:
    with pytest.raises(MediaRefused, match=r"^talk is damaged, or not audio .* WAV, FLAC, OGG"):
        await AudioDecoder().decode("talk", data)


async def test_damaged_files_harm_nothing() -> None:
    random = np.random.default_rng(11)
    decoder = AudioDecoder()
    for kind in ("WAV", "FLAC", "OGG", "MP3"):
        whole = file_of(kind, 16_000, seconds=1)
        for _ in range(3):
            data = np.frombuffer(whole, np.uint8).copy()
            data[random.integers(0, len(data), 40)] = random.integers(0, 256, 40)
            try:
                samples = await decoder.decode("talk", data.tobytes())
            except (MediaRefused, MediaFailed, MediaTooLarge):
                continue
            assert len(samples) <= audio.MAX_RESULT_BYTES


async def test_sound_that_never_ends_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio, "MAX_RESULT_BYTES", 1000)
    with pytest.raises(MediaTooLarge, match="talk is too long: the limit is 60 minutes"):
        await decode(file_of("WAV", 16_000))


async def test_a_decoder_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio, "WALL_SECONDS", 0.0)
    with pytest.raises(MediaFailed, match="too much time or memory"):
        await decode(file_of("WAV", 16_000))


async def test_nobody_waits_for_who_went_away() -> None:
    decoder = AudioDecoder()
    first = asyncio.create_task(decoder.decode("talk", file_of("WAV", 16_000)))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert await decoder.decode("talk", file_of("WAV", 16_000, seconds=1))


def test_sound_is_known_by_its_name() -> None:
    assert is_audio("A.B.MP3")
    assert is_audio("voice.m4a")
    assert not is_audio("mp3")
    assert not is_audio("song.txt")
