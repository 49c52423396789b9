"""Media: one worker for each kind of work, on the memory and the threads of all models."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable
from typing import Final

from app.config import Settings
from app.errors import WickError
from app.inference.worker_pool import WorkerPool
from app.media.audio import AudioDecoder
from app.media.extras import Extras
from app.media.process import MediaOptions
from app.media.protocol import (
    Measure,
    Measured,
    MediaKind,
    MediaResult,
    Recognize,
    Recognized,
    Transcribe,
    Transcribed,
)
from app.media.setup import MediaSetup
from app.media.sounds import SoundDecoder
from app.media.thread_holder import ThreadHolder
from app.media.voice_models import VoiceModels
from app.media.worker import MediaWorker

VOICE: Final = "Voice to text"
OCR: Final = "Text in pictures"
OCR_BYTES: Final = 800 << 20
"""Memory of the child, of which large pictures take most."""
OCR_SECONDS: Final = 90.0
WINDOW_SECONDS: Final = 120.0
"""For one window of sound, on a machine that is busy with answers."""


class MediaService:
    """Turns sound and pictures into text. `listeners` are called when a child comes or goes."""

    def __init__(self, settings: Settings, pool: WorkerPool) -> None:
        self.extras = Extras()
        self.voice_models = VoiceModels(settings.models_dir)
        self.listeners: list[Callable[[], None]] = []
        self._settings = settings
        self._pool = pool
        self.setup = MediaSetup(self.extras, self.voice_models, self._notify, self.measure_voice)
        runner = pool.runner_options
        self.threads = ThreadHolder.of_folder(runner.permits, runner.threads)
        self._audio = AudioDecoder(self.threads)
        self.sounds = SoundDecoder(self._audio)
        self._ids = itertools.count(1)
        self._measuring: asyncio.Task[None] | None = None
        self.voice = self._worker("voice", VOICE, self._voice_options)
        self.ocr = self._worker("ocr", OCR, self._ocr_options)

    @property
    def workers(self) -> list[MediaWorker]:
        return [self.voice, self.ocr]

    async def warm_up(self, user_id: int) -> None:
        """Load the voice model for somebody who begins to speak. Raises what `transcribe` does."""
        await self.transcribe(Transcribe(self.next_id(), 0), b"", user_id)
        if not await asyncio.to_thread(self.voice_models.speeds):
            self.measure_voice()

    def measure_voice(self) -> None:
        """Measure the voice model in use by a piece of noise, unless that was done; in a task."""
        if self._measuring is None or self._measuring.done():
            self._measuring = asyncio.create_task(self._measure_voice(), name="measure voice")

    async def _measure_voice(self) -> None:
        with contextlib.suppress(WickError):  # it can be measured another time
            await self.check_voice()
            model = await asyncio.to_thread(self.voice_models.chosen)
            if model.name in await asyncio.to_thread(self.voice_models.speeds):
                return
            command = Measure(self.next_id())
            result = await self.voice.run(command, b"", user_id=0, seconds=WINDOW_SECONDS)
            assert isinstance(result, Measured)  # noqa: S101 - the process has seen to that
            await asyncio.to_thread(self.voice_models.save_speed, model.name, result.seconds)
            self._notify()

    async def decode(self, name: str, data: bytes) -> bytes:
        """Decode an audio file to samples. Raises MediaError; MediaNotSetUp comes first."""
        await self.check_voice()
        return await self._audio.decode(name, data)

    async def check_voice(self) -> None:
        """Raises MediaNotSetUp unless speech can become text here."""
        self.extras.ensure("voice")
        await asyncio.to_thread(self.voice_models.chosen)

    async def transcribe(self, command: Transcribe, samples: bytes, user_id: int) -> Transcribed:
        """Write down one window. Raises MediaError, QueueFull or ShuttingDown."""
        result: MediaResult = await self.voice.run(
            command, samples, user_id=user_id, seconds=WINDOW_SECONDS
        )
        assert isinstance(result, Transcribed)  # noqa: S101 - the process has seen to that
        return result

    async def recognize(self, picture: bytes, user_id: int) -> str:
        """Read the text in a picture that Wick has encoded. Raises MediaError, QueueFull or
        ShuttingDown."""
        command = Recognize(self.next_id(), len(picture))
        result = await self.ocr.run(command, picture, user_id=user_id, seconds=OCR_SECONDS)
        assert isinstance(result, Recognized)  # noqa: S101 - the process has seen to that
        return result.text

    @property
    def can_recognize(self) -> bool:
        """Tell whether text in pictures can be read here."""
        return self.extras.is_installed("ocr")

    @property
    def is_quiet(self) -> bool:
        """Tell whether nothing else needs the processor: no answer, and no other speech."""
        return not (self._pool.is_busy or any(worker.is_busy for worker in self.workers))

    def next_id(self) -> int:
        """Return an id for a command."""
        return next(self._ids)

    async def close(self) -> None:
        """End all children; who waits hears that Wick stops."""
        if self._measuring is not None:
            self._measuring.cancel()
            await asyncio.gather(self._measuring, return_exceptions=True)
        await asyncio.gather(self.setup.close(), *(worker.close() for worker in self.workers))

    def _worker(
        self, kind: MediaKind, name: str, options: Callable[[], Awaitable[MediaOptions]]
    ) -> MediaWorker:
        worker = MediaWorker(
            kind,
            name,
            options,
            self._pool.memory,
            keep_alive=self._settings.keep_alive,
            on_change=self._notify,
        )
        self._pool.other_holders.append(worker)
        return worker

    async def _voice_options(self) -> MediaOptions:
        """Raises MediaNotSetUp."""
        self.extras.ensure("voice")
        model = await asyncio.to_thread(self.voice_models.chosen)
        runner = self._pool.runner_options
        return MediaOptions(
            "voice", VOICE, runner.permits, runner.threads, model.memory, model.folder
        )

    async def _ocr_options(self) -> MediaOptions:
        """Raises MediaNotSetUp."""
        self.extras.ensure("ocr")
        runner = self._pool.runner_options
        return MediaOptions("ocr", OCR, runner.permits, runner.threads, OCR_BYTES)

    def _notify(self) -> None:
        for listener in self.listeners:
            listener()
