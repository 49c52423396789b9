"""Text to speech by piper, a program that an owner may install: Wick neither has nor needs it.

Each request is a process of its own, which reads the text, writes one WAV and ends. Two programs of
that name take the same arguments: the one in C++ (rhasspy/piper) and the one in Python
(OHF-Voice/piper1-gpl). A third, for gaming mice, has nothing to do with speech; so nothing runs
until `WICK_PIPER_VOICE` names a voice.
"""

from __future__ import annotations

import asyncio
import logging
import re
import shutil
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from app.config import Settings, confined_environment
from app.errors import MediaError, MediaFailed, MediaNotSetUp, MediaTooLarge, QueueFull
from app.logs.child import relay_noise
from app.media.thread_holder import NO_THREADS, ThreadHolder

log = logging.getLogger(__name__)
MAX_CHARS: Final = 4_096
MAX_WAV_BYTES: Final = 64 << 20
MAX_LOG_BYTES: Final = 64 << 10
PIPER_SECONDS: Final = 120.0
MAX_REQUESTS_PER_USER: Final = 4
MIN_SPEED, MAX_SPEED = 0.25, 4.0
_NO_TEXT: Final = re.compile(r"[\s\x00-\x1f\x7f]+")
_LOCALE: Final = re.compile(r"([a-z]{2,3})_([A-Z]{2})\b")


@dataclass(frozen=True, slots=True)
class ServerVoice:
    """Voice of this server: its name, and its language as browsers write it (empty: unknown)."""

    name: str
    language: str


class Piper:
    """Speaks one text after the other; each user has at most a few waiting."""

    def __init__(self, settings: Settings, threads: ThreadHolder = NO_THREADS) -> None:
        self._threads = threads
        self._program = settings.piper
        self._model = settings.piper_voice
        self._turn = asyncio.Semaphore(1)  # one computes on all cores
        self._requests: Counter[int] = Counter()

    @property
    def voice(self) -> ServerVoice | None:
        """The voice, where one is set up."""
        try:
            self._command(1.0)
        except MediaNotSetUp:
            return None
        assert self._model is not None  # noqa: S101 - else there would be no command
        found = _LOCALE.match(self._model.stem)
        return ServerVoice(self._model.stem, f"{found[1]}-{found[2]}" if found else "")

    async def speak(self, text: str, user_id: int, speed: float = 1.0) -> bytes:
        """Return the text as a WAV. Raises MediaError and QueueFull."""
        command = self._command(speed)
        line = _NO_TEXT.sub(" ", text).strip()
        if not line:
            raise MediaError("There is no text to speak.")
        if len(line) > MAX_CHARS:
            raise MediaTooLarge(
                f"Too long: {len(line):,} characters; the limit is {MAX_CHARS:,} at a time."
            )
        if self._requests[user_id] >= MAX_REQUESTS_PER_USER:
            raise QueueFull("The voice is busy with your earlier texts.")
        self._requests[user_id] += 1
        try:
            async with self._turn, self._threads.hold():
                return await _run(command, line)
        finally:
            self._requests[user_id] -= 1

    def _command(self, speed: float) -> list[str]:
        """Return what to run. Raises MediaNotSetUp."""
        if self._model is None:
            raise MediaNotSetUp(
                "This server has no voice. Its owner can install piper and name a voice in"
                " WICK_PIPER_VOICE."
            )
        program = shutil.which(self._program)
        if program is None:
            raise MediaNotSetUp("The program piper isn't installed where WICK_PIPER says.")
        if not self._model.is_file():
            raise MediaNotSetUp("The voice that WICK_PIPER_VOICE names isn't there.")
        nice = shutil.which("nice")  # answers go first
        return [
            *([nice, "-n", "10"] if nice else []),
            *(program, "--model", str(self._model), "--output_file", "-"),
            *("--length_scale", f"{1 / speed:.3f}"),
        ]


async def _run(command: Sequence[str], line: str) -> bytes:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=confined_environment(),
    )
    assert process.stdin and process.stdout and process.stderr  # noqa: S101, PT018 - asked for
    streams = (
        asyncio.ensure_future(_feed(process.stdin, line)),
        asyncio.ensure_future(_read(process.stdout, MAX_WAV_BYTES)),
        asyncio.ensure_future(_read(process.stderr, MAX_LOG_BYTES)),
    )
    try:
        async with asyncio.timeout(PIPER_SECONDS):
            _, sound, words = await asyncio.gather(*streams)
            code = await process.wait()
    except TimeoutError:
        raise MediaFailed(f"The voice took longer than {PIPER_SECONDS:.0f} seconds.") from None
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        for stream in streams:
            stream.cancel()
        await asyncio.shield(process.wait())
    if code or sound[:4] != b"RIFF" or sound[8:12] != b"WAVE":
        log.error("piper ended with %d and no sound.", code)
        # It may repeat what it reads.
        relay_noise(words.replace(line.strip().encode(), b"..."), "piper", log)
        raise MediaFailed("The voice failed. The server's log says why.")
    return sound


async def _feed(stdin: asyncio.StreamWriter, line: str) -> None:
    with suppress(ConnectionError):  # it is dead, which its exit code says too
        stdin.write(line.encode() + b"\n")
        await stdin.drain()
    stdin.close()


async def _read(stream: asyncio.StreamReader, most: int) -> bytes:
    """Read to the end, and keep the first bytes. Raises MediaFailed for too much sound."""
    kept = bytearray()
    while chunk := await stream.read(1 << 18):
        kept += chunk[: most - len(kept)]
        if len(kept) >= MAX_WAV_BYTES:
            raise MediaFailed("The voice made more sound than Wick takes.")
    return bytes(kept)
