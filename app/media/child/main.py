"""The media child: `python -m app.media.child.main`. Does one kind of work, one command at a time.

Commands come as lines on standard input, each followed by its bytes; events leave as lines on a
private descriptor. The end of standard input ends the process at once.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Final, Protocol

from app.errors import MediaFailed, WickError
from app.inference.runner.hardening import BROKEN, harden_process
from app.media.permits import open_media_permits
from app.media.protocol import (
    MAX_PAYLOAD_BYTES,
    CancelWork,
    MediaCommand,
    MediaEvent,
    MediaResult,
    NotReady,
    Ready,
    WorkFailed,
    command_from,
    to_line,
)

NOT_READY = 3  # exit codes
NICENESS: Final = 5
"""Where the system is short of cores, an answer goes first."""

log = logging.getLogger("media")
Order = tuple[MediaCommand, bytes]


class MediaEngine(Protocol):
    """Does the work of one kind."""

    def work(self, command: MediaCommand, payload: bytes, check: Callable[[], None]) -> MediaResult:
        """Carry out one command, and call `check` between two steps, which raises when nobody
        waits any more. Raises WickError with a sentence.
        """


def main(arguments: list[str] | None = None) -> None:
    started = time.monotonic()
    options = _parse(arguments)
    harden_process()
    with contextlib.suppress(AttributeError, OSError):  # Windows has none
        os.nice(NICENESS)
    emit = MediaEventWriter(options.events_fd)
    orders: SimpleQueue[Order] = SimpleQueue()
    # Reading comes first and never stops, so that the parent's death is seen in any work.
    cancelled = CancelledCommand()
    threading.Thread(target=_read_orders, args=(orders, cancelled), daemon=True).start()
    try:
        engine = ENGINES[options.kind](options)
    except WickError as error:
        emit(NotReady(str(error)))
        os._exit(NOT_READY)
    except Exception:
        log.exception("The %s child could not start", options.kind)
        emit(NotReady("Wick met an error it did not expect."))
        os._exit(NOT_READY)
    permits = open_media_permits(options.permits, options.threads)
    emit(Ready(round(time.monotonic() - started, 3)))
    while True:
        command, payload = orders.get()
        check = functools.partial(cancelled.check, command.id)
        with permits.acquire(1):
            result = _work(engine, command, payload, check)
        emit(result)


class CancelledCommand:
    """The last command that nobody waits for any more."""

    id: int | None = None

    def check(self, command_id: int) -> None:
        """Raises MediaFailed for that one."""
        if command_id == self.id:
            raise MediaFailed("It was cancelled.")


def _work(
    engine: MediaEngine, command: MediaCommand, payload: bytes, check: Callable[[], None]
) -> MediaResult:
    try:
        check()
        return engine.work(command, payload, check)
    except WickError as error:
        return WorkFailed(command.id, str(error))
    except Exception:
        log.exception("A command failed")
        return WorkFailed(command.id, "Wick met an error it did not expect.")


def _voice(options: argparse.Namespace) -> MediaEngine:
    from app.media.child.voice import VoiceEngine

    return VoiceEngine(options.model)


def _ocr(_options: argparse.Namespace) -> MediaEngine:
    from app.media.child.ocr import OcrEngine

    return OcrEngine()


ENGINES: dict[str, Callable[[argparse.Namespace], MediaEngine]] = {
    "voice": _voice,
    "ocr": _ocr,
}


class MediaEventWriter:
    """Writer of events as whole lines. Ends the process without a reader."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __call__(self, event: MediaEvent) -> None:
        line = memoryview(to_line(event))
        try:
            while line:
                line = line[os.write(self._descriptor, line) :]
        except OSError:  # the parent is gone
            os._exit(0)


def _read_orders(orders: SimpleQueue[Order], cancelled: CancelledCommand) -> None:
    source = sys.stdin.buffer
    for line in source:
        try:
            command = command_from(line)
        except ValueError as error:
            log.error("The parent sent what is no command: %s", error)
            os._exit(BROKEN)  # where the next command begins is not known any more
        if isinstance(command, CancelWork):
            cancelled.id = command.id
            continue
        if not 0 <= command.size <= MAX_PAYLOAD_BYTES:
            os._exit(BROKEN)
        orders.put((command, source.read(command.size)))
    os._exit(0)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="media", description="Hears or reads for Wick.")
    parser.add_argument("--kind", choices=sorted(ENGINES), required=True, help="of its work")
    parser.add_argument("--model", type=Path, help="folder with its model")
    parser.add_argument("--events-fd", type=int, required=True, help="where events are written")
    parser.add_argument("--permits", type=Path, required=True, help="folder of thread permits")
    parser.add_argument("--threads", type=int, required=True, help="thread budget of the machine")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
