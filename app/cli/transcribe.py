"""`wick transcribe`: write down what is said in a recording, without a server."""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from app.config import Settings
from app.errors import MediaRefused
from app.inference.memory_budget import MemoryBudget
from app.media.audio import AudioDecoder
from app.media.extras import Extras
from app.media.process import MediaOptions
from app.media.protocol import Segment, Transcribe, Transcribed
from app.media.setup import MediaSetup
from app.media.transcription import SpeechOptions, format_srt, format_vtt, text_of, transcribe
from app.media.voice_models import VoiceModels
from app.media.worker import MediaWorker
from app.models import memory
from app.temp_folders import scratch

TITLE = "Voice to text"
WINDOW_SECONDS = 600.0


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "transcribe",
        description="Write down what is said in a recording: WAV, FLAC, OGG, MP3 or AIFF; others"
        " where ffmpeg is installed.",
    )
    parser.add_argument("file", type=Path, nargs="?", help="the recording")
    parser.add_argument("--format", choices=["text", "srt", "vtt", "json"], default="text")
    parser.add_argument("--language", help="such as en or de; found out by default")
    parser.add_argument("--translate", action="store_true", help="write it in English")
    parser.add_argument(
        "--set-up", action="store_true", help="install what it needs first, where that is missing"
    )
    parser.set_defaults(func=run_transcribe)


def run_transcribe(arguments: argparse.Namespace, settings: Settings) -> int:
    if arguments.file is None and not arguments.set_up:
        raise MediaRefused("Name the recording: wick transcribe FILE.")
    asyncio.run(_run(arguments, settings))
    return 0


async def _run(arguments: argparse.Namespace, settings: Settings) -> None:
    extras, models = Extras(), VoiceModels(settings.models_dir)
    if arguments.set_up:
        await _set_up(extras, models)
    if arguments.file is None:
        return
    extras.ensure("voice")
    models.chosen()
    data = await asyncio.to_thread(arguments.file.read_bytes)
    samples = await AudioDecoder().decode(arguments.file.name, data)
    options = SpeechOptions(arguments.language, arguments.translate)
    segments = list[Segment]()
    async with _open_transcriber(settings, models) as transcriber:
        async for window in transcribe(transcriber, samples, options, 0):
            segments += window.segments
            if arguments.format == "text" and window.segments:
                print(text_of(window.segments), flush=True)
    if arguments.format != "text":
        print(_format(arguments.format, segments), end="")


async def _set_up(extras: Extras, models: VoiceModels) -> None:
    """Install what is missing; the last line of its progress stands on standard error."""
    shown = ""

    def show() -> None:
        nonlocal shown
        for task in setup.all():
            if task.line != shown and sys.stderr.isatty():
                shown = task.line
                print(f"\r\033[K{task.line}", end="", file=sys.stderr, flush=True)

    setup = MediaSetup(extras, models, show)
    task = setup.start("voice")
    assert task.task is not None  # noqa: S101 - it has just been started
    try:
        await task.task
    finally:
        if shown:
            print(file=sys.stderr)
    print("Voice to text is set up.", file=sys.stderr)


class _Transcriber:
    """A voice model of this command's own."""

    def __init__(self, worker: MediaWorker) -> None:
        self._worker = worker
        self._ids = itertools.count(1)

    def next_id(self) -> int:
        return next(self._ids)

    async def transcribe(self, command: Transcribe, samples: bytes, user_id: int) -> Transcribed:
        result = await self._worker.run(command, samples, user_id=user_id, seconds=WINDOW_SECONDS)
        assert isinstance(result, Transcribed)  # noqa: S101 - the process has seen to that
        return result


@asynccontextmanager
async def _open_transcriber(settings: Settings, models: VoiceModels) -> AsyncIterator[_Transcriber]:
    with scratch("wick-run-") as permits:

        async def options() -> MediaOptions:
            model = models.chosen()
            return MediaOptions(
                "voice", TITLE, permits, settings.threads, model.memory, model.folder
            )

        worker = MediaWorker("voice", TITLE, options, MemoryBudget(memory.budget(settings), list))
        try:
            yield _Transcriber(worker)
        finally:
            await worker.close()


def _format(kind: str, segments: list[Segment]) -> str:
    if kind == "srt":
        return format_srt(segments)
    if kind == "vtt":
        return format_vtt(segments)
    parts = [msgspec.to_builtins(segment) for segment in segments]
    found = {"text": text_of(segments), "segments": parts}
    return json.dumps(found, ensure_ascii=False, indent=2) + "\n"
