"""Recordings longer than what a model hears at once, and subtitles."""

from __future__ import annotations

from typing import Any

from app.media.protocol import MAX_WINDOW_BYTES, Segment, Transcribe, Transcribed
from app.media.transcription import SpeechOptions, format_srt, format_vtt, text_of, transcribe

SECOND = 32_000
SEGMENTS = [Segment(0.5, 3.25, " Hello <there> --> you."), Segment(3661.5, 3663.0, " Bye.")]


class Listener:
    """A service that hears “ok” every second, and takes 20 s of each full window."""

    def __init__(self) -> None:
        self.commands: list[Transcribe] = []

    def next_id(self) -> int:
        return len(self.commands)

    async def transcribe(self, command: Transcribe, samples: bytes, user_id: int) -> Transcribed:
        assert command.size == len(samples) <= MAX_WINDOW_BYTES
        assert user_id == 5
        self.commands.append(command)
        used = len(samples) if command.is_last else 20 * SECOND
        segments = tuple(Segment(n, n + 1, " ok") for n in range(used // SECOND))
        return Transcribed(command.id, used, segments, "de")


async def test_windows_follow_each_other_without_a_gap() -> None:
    listener: Any = Listener()
    options = SpeechOptions(prompt="Wick")
    windows = [w async for w in transcribe(listener, bytes(75 * SECOND), options, 5)]
    segments = [segment for window in windows for segment in window.segments]
    assert [segment.start for segment in segments] == list(range(75))
    assert [window.done for window in windows] == [20, 40, 60, 75]
    assert [command.is_last for command in listener.commands] == [False, False, False, True]
    assert [command.language for command in listener.commands] == [None, "de", "de", "de"]
    assert listener.commands[0].prompt == "Wick"
    assert listener.commands[1].prompt.endswith("ok ok")
    assert text_of(segments).startswith("ok ok")


async def test_no_sound_is_no_text() -> None:
    listener: Any = Listener()
    assert [w async for w in transcribe(listener, b"", SpeechOptions(), 5)] == []


def test_subtitles() -> None:
    assert format_srt(SEGMENTS) == (
        "1\n00:00:00,500 --> 00:00:03,250\nHello <there> --> you.\n\n"
        "2\n01:01:01,500 --> 01:01:03,000\nBye.\n\n"
    )
    assert format_vtt(SEGMENTS[:1]) == (
        "WEBVTT\n\n00:00:00.500 --> 00:00:03.250\nHello &lt;there> --&gt; you.\n\n"
    )
