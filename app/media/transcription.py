"""Transcriptions of any length: sound in windows, each a job of its own, and its text together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final, Protocol

from app.media.protocol import (
    MAX_WINDOW_BYTES,
    SAMPLE_BYTES,
    SAMPLE_RATE,
    Segment,
    Transcribe,
    Transcribed,
)

PROMPT_CHARS: Final = 200
"""Of what was said before, which a window is told so that names are spelled alike."""
BYTES_PER_SECOND: Final = SAMPLE_RATE * SAMPLE_BYTES


@dataclass(frozen=True, slots=True)
class SpeechOptions:
    """Options of a transcription. language: None to find it out; translates: write it in English;
    prompt: words that may occur; words: find the times of each word, too.
    """

    language: str | None = None
    translates: bool = False
    prompt: str = ""
    words: bool = False


@dataclass(frozen=True, slots=True)
class SpokenWindow:
    """Text of one window. done: seconds of all sound that are written down."""

    segments: tuple[Segment, ...]
    language: str
    done: float


class Transcriber(Protocol):
    """Writes one window down; in earnest the MediaService."""

    def next_id(self) -> int: ...

    async def transcribe(
        self, command: Transcribe, samples: bytes, user_id: int
    ) -> Transcribed: ...


def duration(samples: bytes) -> float:
    """Return the seconds of sound."""
    return len(samples) / BYTES_PER_SECOND


def text_of(segments: tuple[Segment, ...] | list[Segment]) -> str:
    """Join what is said."""
    return "".join(segment.text for segment in segments).strip()


async def transcribe(
    media: Transcriber, samples: bytes, options: SpeechOptions, user_id: int
) -> AsyncIterator[SpokenWindow]:
    """Write sound down window by window. Others' turns come in between.

    Raises MediaError, QueueFull or ShuttingDown.
    """
    start, language, said = 0, options.language, options.prompt
    while start < len(samples):
        window = samples[start : start + MAX_WINDOW_BYTES]
        command = Transcribe(
            media.next_id(),
            len(window),
            language=language,
            translates=options.translates,
            prompt=said[-PROMPT_CHARS:],
            is_last=start + len(window) >= len(samples),
            words=options.words,
        )
        result = await media.transcribe(command, window, user_id)
        offset = start / BYTES_PER_SECOND
        segments = tuple(segment.moved(offset) for segment in result.segments)
        start += max(result.used, SAMPLE_BYTES)
        language = language or result.language or None  # one recording has one language
        said = f"{said} {text_of(segments)}" if options.prompt else ""
        yield SpokenWindow(segments, result.language, min(start, len(samples)) / BYTES_PER_SECOND)


async def transcript(
    media: Transcriber, samples: bytes, options: SpeechOptions, user_id: int
) -> str:
    """Write down all that is said. Raises MediaError, QueueFull or ShuttingDown."""
    windows = transcribe(media, samples, options, user_id)
    return " ".join([part async for window in windows if (part := text_of(window.segments))])


def format_srt(segments: list[Segment]) -> str:
    """Format subtitles (SubRip)."""
    return "".join(
        f"{number}\n{_time(s.start, ',')} --> {_time(s.end, ',')}\n{s.text.strip()}\n\n"
        for number, s in enumerate(segments, 1)
    )


def format_vtt(segments: list[Segment]) -> str:
    """Format subtitles (WebVTT)."""
    cues = (
        f"{_time(s.start, '.')} --> {_time(s.end, '.')}\n{_escape(s.text.strip())}\n\n"
        for s in segments
    )
    return "WEBVTT\n\n" + "".join(cues)


def _time(seconds: float, point: str) -> str:
    whole, milliseconds = divmod(round(seconds * 1000), 1000)
    minutes, second = divmod(whole, 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour:02}:{minute:02}:{second:02}{point}{milliseconds:03}"


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("-->", "--&gt;")
