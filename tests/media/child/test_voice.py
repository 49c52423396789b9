"""What Whisper Base writes of speech, silence and noise."""

from __future__ import annotations

import re
import wave
from pathlib import Path

import numpy as np
import pytest

from app.errors import MediaError
from app.media.child.voice import VoiceEngine
from app.media.protocol import MAX_WINDOW_BYTES, SAMPLE_RATE, Transcribe, Transcribed
from tests.whisper import speak, whisper_folder


@pytest.fixture(scope="module")
def whisper() -> VoiceEngine:
    return VoiceEngine(whisper_folder())


def samples_of(path: Path) -> bytes:
    """Read a WAV file of espeak-ng's, at the rate of the model."""
    with wave.open(str(path)) as file:
        values = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(float)
        rate = file.getframerate()
    times = np.arange(0, len(values), rate / SAMPLE_RATE)
    return bytes(np.interp(times, np.arange(len(values)), values).astype("<i2").tobytes())


def write_down(whisper: VoiceEngine, samples: bytes, language: str | None = None) -> Transcribed:
    result = whisper.work(Transcribe(1, len(samples), language), samples)
    assert isinstance(result, Transcribed)
    return result


def words(result: Transcribed) -> list[str]:
    return re.findall(r"\w+", "".join(segment.text for segment in result.segments).lower())


def test_english_is_written_down_and_recognised(whisper: VoiceEngine, tmp_path: Path) -> None:
    samples = samples_of(speak("Please write a short story about a dog and a cat.", tmp_path))
    result = write_down(whisper, samples)
    assert {"please", "write", "short", "story", "about", "dog"} <= set(words(result))
    assert result.language == "en"
    assert result.used == len(samples)
    assert 0 <= result.segments[0].start < result.segments[-1].end <= len(samples) / 32_000


def test_german_is_written_down_and_recognised(whisper: VoiceEngine, tmp_path: Path) -> None:
    text = "Guten Morgen, heute gehen wir zusammen in die Stadt und kaufen Brot."
    result = write_down(whisper, samples_of(speak(text, tmp_path, "de")))
    assert result.language == "de"
    assert {"morgen", "zusammen", "stadt"} <= set(words(result))


@pytest.mark.parametrize("loud", [0, 100, 500, 3000, 8000])
def test_nobody_speaks_in_silence_and_noise(whisper: VoiceEngine, loud: int) -> None:
    noise = np.random.default_rng(1).normal(0, loud, 5 * SAMPLE_RATE)
    result = write_down(whisper, noise.clip(-32768, 32767).astype("<i2").tobytes())
    assert result.segments == ()
    assert result.language == ""
    assert result.used == 10 * SAMPLE_RATE


def test_a_language_that_nobody_speaks_is_refused(whisper: VoiceEngine) -> None:
    noise = np.random.default_rng(1).normal(0, 3000, SAMPLE_RATE).astype("<i2").tobytes()
    for language in ("xx", "english", "<|en|>"):
        with pytest.raises(MediaError):
            write_down(whisper, noise, language)


def test_a_full_window_is_cut_where_more_follows(whisper: VoiceEngine) -> None:
    samples = bytes(MAX_WINDOW_BYTES)
    result = whisper.work(Transcribe(1, len(samples), is_last=False), samples)
    assert isinstance(result, Transcribed)
    assert MAX_WINDOW_BYTES // 2 <= result.used < MAX_WINDOW_BYTES
