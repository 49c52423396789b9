"""`/v1/audio/transcriptions` and `/v1/audio/translations`: speech as text."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, Final, Literal

import msgspec
from quart import Blueprint, Response, request

from app.api import http
from app.errors import ApiError, WickError
from app.media.protocol import Segment
from app.media.transcription import (
    SpeechOptions,
    SpokenWindow,
    duration,
    format_srt,
    format_vtt,
    text_of,
    transcribe,
)
from app.web.context import server_context
from app.web.errors import PLAIN, as_api_error
from app.web.security.identity import current_user

blueprint = Blueprint("api_transcriptions", __name__)
ANY_MODEL: Final = {"", "whisper-1", "gpt-4o-transcribe", "gpt-4o-mini-transcribe"}
"""Names of OpenAI's own models, which stand for the one that is here."""
MAX_PROMPT_CHARS: Final = 2000
TIMES: Final = "timestamp_granularities"
Task = Literal["transcribe", "translate"]
Granularities = frozenset[str]


class TranscriptionRequest(msgspec.Struct, kw_only=True):
    """file: the recording; prompt: words that may occur in it, for their spelling."""

    file: bytes
    model: str = "whisper-1"
    language: str | None = None
    prompt: str = ""
    response_format: Literal["json", "text", "srt", "verbose_json", "vtt"] = "json"
    stream: bool = False


class AudioUsage(msgspec.Struct):
    """seconds: of the recording."""

    seconds: int
    type: Literal["duration"] = "duration"


class TranscribedSegment(msgspec.Struct):
    """start, end: seconds; no_speech_prob: how likely it is that nobody speaks."""

    id: int
    start: float
    end: float
    text: str
    avg_logprob: float
    no_speech_prob: float


class TranscribedWord(msgspec.Struct):
    """start, end: seconds."""

    word: str
    start: float
    end: float


class Transcription(msgspec.Struct, omit_defaults=True):
    """task, language, duration, segments and words: of verbose_json alone."""

    text: str = msgspec.field()
    usage: AudioUsage = msgspec.field()
    task: Task | Literal[""] = ""
    language: str = ""
    duration: float | None = None
    segments: list[TranscribedSegment] | None = None
    words: list[TranscribedWord] | None = None


@blueprint.post("/v1/audio/transcriptions")
async def create() -> Response:
    return await _respond(translates=False)


@blueprint.post("/v1/audio/translations")
async def translate() -> Response:
    return await _respond(translates=True)


async def _respond(*, translates: bool) -> Response:
    name, asked, wanted = await _parse_form()
    media, user_id = server_context().media, current_user()
    await _check_model(asked.model)
    options = SpeechOptions(
        asked.language or None, translates, asked.prompt[:MAX_PROMPT_CHARS], "word" in wanted
    )
    samples = await http.while_allowed(media.decode(name, asked.file))
    windows = transcribe(media, samples, options, user_id)
    if asked.stream:
        return http.sse(_events(windows, samples))
    segments, language = await http.while_allowed(_gather(windows))
    if asked.response_format == "verbose_json":
        task: Task = "translate" if translates else "transcribe"
        return http.json_response(_verbose(segments, samples, language, task, wanted))
    return _formatted(asked.response_format, segments, samples)


async def _parse_form() -> tuple[str, TranscriptionRequest, Granularities]:
    """Read the name of the file, the fields, and whose times are wanted. Raises ApiError."""
    if request.mimetype != "multipart/form-data":
        raise ApiError("Send a form (multipart/form-data) with the recording as file.", status=415)
    fields: dict[str, Any] = dict((await request.form).items())
    file = (await request.files).get("file")
    if file is None:
        raise ApiError("file is missing: send the recording in it.", param="file")
    try:
        asked = msgspec.convert(fields | {"file": file.read()}, TranscriptionRequest, strict=False)
    except msgspec.ValidationError as error:
        raise http.explain_invalid(str(error)) from error
    return (file.filename or "The file")[:200], asked, await _granularities(asked)


async def _granularities(asked: TranscriptionRequest) -> Granularities:
    """Read what is to have times. Raises ApiError."""
    form = await request.form
    wanted = frozenset(form.getlist(f"{TIMES}[]") + form.getlist(TIMES))
    if wanted - {"segment", "word"}:
        raise ApiError(f"{TIMES} takes word and segment.", param=TIMES)
    if "word" in wanted and (asked.response_format != "verbose_json" or asked.stream):
        raise ApiError("Times of words come with response_format verbose_json.", param=TIMES)
    return wanted or frozenset({"segment"})


async def _check_model(name: str) -> None:
    """Raises ApiError for a voice model that is not the one that hears here."""
    models = server_context().media.voice_models
    installed = await asyncio.to_thread(models.installed)
    if name in ANY_MODEL or not installed:  # what is missing is said by what looks for it
        return
    if name not in {model.name for model in installed}:
        raise ApiError(
            f"No voice model named “{name[:80]}” is installed.",
            status=404,
            param="model",
            code="model_not_found",
        )
    chosen = await asyncio.to_thread(models.chosen)
    if name != chosen.name:
        raise ApiError(f"{chosen.name} is the voice model in use, not {name}.", param="model")


async def _gather(windows: AsyncIterator[SpokenWindow]) -> tuple[list[Segment], str]:
    segments, language = list[Segment](), ""
    async for window in windows:
        segments += window.segments
        language = language or window.language
    return segments, language


async def _events(windows: AsyncIterator[SpokenWindow], samples: bytes) -> AsyncGenerator[bytes]:
    """Make events of the text, window by window, then of all of it."""
    segments = list[Segment]()
    try:
        async for window in windows:
            segments += window.segments
            if text := text_of(window.segments):
                gap = " " if len(segments) > len(window.segments) else ""
                yield http.event({"type": "transcript.text.delta", "delta": gap + text})
    except WickError as error:
        yield http.error_event(as_api_error(error), request.path)
        return
    whole = {"type": "transcript.text.done", "text": text_of(segments)}
    yield http.event(whole | {"usage": _usage(samples)})


def _formatted(kind: str, segments: list[Segment], samples: bytes) -> Response:
    text = text_of(segments)
    if kind == "text":
        return Response(text + "\n", content_type=PLAIN)
    if kind == "srt":
        return Response(format_srt(segments), content_type=PLAIN)
    if kind == "vtt":
        return Response(format_vtt(segments), content_type="text/vtt; charset=utf-8")
    return http.json_response(Transcription(text, _usage(samples)))


def _verbose(
    segments: list[Segment], samples: bytes, language: str, task: Task, wanted: Granularities
) -> Transcription:
    parts = [
        TranscribedSegment(number, s.start, s.end, s.text, s.score, s.no_speech)
        for number, s in enumerate(segments)
    ]
    words = [TranscribedWord(w.word, w.start, w.end) for s in segments for w in s.words]
    return Transcription(
        text_of(segments),
        _usage(samples),
        task,
        language,
        round(duration(samples), 2),
        parts if "segment" in wanted else None,
        words if "word" in wanted else None,
    )


def _usage(samples: bytes) -> AudioUsage:
    return AudioUsage(math.ceil(duration(samples)))
