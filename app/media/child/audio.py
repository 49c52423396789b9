"""Decodes one audio file: `python -m app.media.child.audio [FFMPEG] < FILE > RESULT`.

A hostile file may break a codec, take all memory or never end, so this is a process for one file,
with bounds on memory and time. RESULT is samples of 16 bits at 16 kHz, of one channel; the exit
code says whether they are all. FFMPEG: the program for what libsndfile can't read.
"""

from __future__ import annotations

import contextlib
import io
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from typing import IO, Any, Final

import numpy as np
import soundfile
from numpy.typing import NDArray

SAMPLE_RATE: Final = 16_000
MAX_SECONDS: Final = 3600
CORE_SECONDS, MARGIN_SECONDS = 10, 1
"""Sound is resampled in windows; what is computed in their margins is thrown away."""
MAX_CHANNELS, MAX_RATE, MIN_RATE = 8, 192_000, 4000
MEMORY_BYTES: Final = 2 << 30
CPU_SECONDS: Final = 300
CONTAINERS: Final = (
    "mov,matroska,aac,asf,ogg,mp3,flac,wav,aiff,amr,caf,avi,flv,mpegts,mpeg,ac3,eac3"
)
"""Kinds that the program reads: others, such as playlists, name further files of this machine."""
DAMAGED, TOO_LONG = 3, 4  # exit codes

Samples = NDArray[np.float32]


class TooLong(Exception):
    pass


def main() -> None:
    result = _Counted(os.fdopen(os.dup(1), "wb"))
    os.dup2(2, 1)  # native code may print
    data = sys.stdin.buffer.read()
    confine()
    try:
        write(decode(data), result)
    except TooLong:
        os._exit(TOO_LONG)
    except Exception:  # codecs raise several kinds on a damaged file
        if len(sys.argv) < 2 or result.count:
            os._exit(DAMAGED)
        _decode_by_program(sys.argv[1], data, result)
    result.flush()
    os._exit(0)  # codecs have nothing to clear away, and might fail at that


class _Counted:
    """Pipe that counts its bytes."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.flush = file.flush
        self.count = 0

    def write(self, data: bytes) -> None:
        self.count += len(data)
        self._file.write(data)


def confine() -> None:
    """Take no more than allowed, and what others leave of the CPU."""
    bounds = {
        resource.RLIMIT_AS: MEMORY_BYTES,
        resource.RLIMIT_CPU: CPU_SECONDS,
        resource.RLIMIT_CORE: 0,
    }
    for which, most in bounds.items():
        with contextlib.suppress(OSError, ValueError):  # what the system does not know, or forbids
            resource.setrlimit(which, (most, most))
    os.nice(5)


def decode(data: bytes) -> Iterator[Samples]:
    """Read a file that libsndfile knows: its sound in parts of some seconds, at 16 kHz."""
    with soundfile.SoundFile(io.BytesIO(data)) as file:
        if not (MIN_RATE <= file.samplerate <= MAX_RATE and file.channels <= MAX_CHANNELS):
            raise ValueError("this is no speech")
        yield from resample(_blocks(file), file.samplerate)


def _blocks(file: Any) -> Iterator[Samples]:
    """Sound of one channel, in blocks of CORE_SECONDS."""
    while len(block := file.read(CORE_SECONDS * file.samplerate, "float32", always_2d=True)):
        yield np.nan_to_num(block.mean(axis=1, dtype=np.float32))


def resample(blocks: Iterator[Samples], rate: int) -> Iterator[Samples]:
    """Give sound another rate, without what that rate cannot hold."""
    if rate == SAMPLE_RATE:
        yield from blocks
        return
    margin, whole = MARGIN_SECONDS * rate, (CORE_SECONDS + 2 * MARGIN_SECONDS) * rate
    waiting = np.zeros(margin, np.float32)
    rest = 0
    for block in blocks:
        waiting, rest = np.concatenate([waiting, block]), rest + len(block)
        while len(waiting) >= whole:
            yield _core(waiting[:whole], rate)
            waiting, rest = waiting[CORE_SECONDS * rate :], rest - CORE_SECONDS * rate
    while rest > 0:
        padded = np.pad(waiting[:whole], (0, max(0, whole - len(waiting))))
        yield _core(padded, rate)[: -(-rest * SAMPLE_RATE // rate)]
        waiting, rest = waiting[CORE_SECONDS * rate :], rest - CORE_SECONDS * rate


def _core(window: Samples, rate: int) -> Samples:
    count = len(window) // rate * SAMPLE_RATE
    spectrum = np.fft.rfft(window)[: count // 2 + 1]
    samples = np.fft.irfft(spectrum, count) * (count / len(window))
    margin = MARGIN_SECONDS * SAMPLE_RATE
    return samples[margin : margin + CORE_SECONDS * SAMPLE_RATE].astype(np.float32)


def write(parts: Iterator[Samples], result: _Counted) -> None:
    """Raises TooLong."""
    count = 0
    for part in parts:
        count += len(part)
        if count > MAX_SECONDS * SAMPLE_RATE:
            raise TooLong
        # Sound of this form comes out as it was: an import decodes what an export has.
        result.write((part * 32768).round().clip(-32768, 32767).astype("<i2").tobytes())


def _decode_by_program(program: str, data: bytes, result: _Counted) -> None:
    """Let the program decode it; what comes is bounded like the rest."""
    with _seekable(data) as source:
        command = [
            *(program, "-nostdin", "-v", "error", "-threads", "1"),
            *("-protocol_whitelist", "file,fd,pipe", "-format_whitelist", CONTAINERS),
            *("-i", f"/dev/fd/{source.fileno()}", "-vn", "-t", str(MAX_SECONDS + 1)),
            *("-f", "s16le", "-ac", "1", "-ar", str(SAMPLE_RATE), "pipe:1"),
        ]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, pass_fds=(source.fileno(),)
        ) as process:
            assert process.stdout is not None  # noqa: S101 - asked for a pipe
            while chunk := process.stdout.read(1 << 16):
                result.write(chunk)
        if result.count > 2 * MAX_SECONDS * SAMPLE_RATE:
            os._exit(TOO_LONG)
        if process.returncode or not result.count:
            os._exit(DAMAGED)


@contextlib.contextmanager
def _seekable(data: bytes) -> Iterator[IO[bytes]]:
    """A file in memory, since what describes a video may stand at its end."""
    with os.fdopen(os.memfd_create("sound"), "w+b") as file:
        file.write(data)
        file.flush()
        file.seek(0)
        yield file


if __name__ == "__main__":
    main()
