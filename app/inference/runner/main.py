"""The child process: `python -m app.inference.runner.main`. Loads one model, answers requests.

Commands come as lines on standard input, events leave as lines on a private descriptor; standard
output is not used, since native code prints there. The end of standard input ends the process at
once, whatever native code is doing: no runner outlives its parent.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import sys
import threading
import time
from pathlib import Path
from queue import SimpleQueue

from app.errors import WickError
from app.inference.protocol import (
    Cancel,
    Command,
    DeleteCache,
    Event,
    Failed,
    Generate,
    Loaded,
    LoadFailed,
    SetLimits,
    Shutdown,
    from_line,
    to_line,
)
from app.inference.runner.hardening import harden_process
from app.models.devices import Placement

LOAD_FAILED = 3  # exit codes

log = logging.getLogger("runner")


def main(arguments: list[str] | None = None) -> None:
    started = time.monotonic()
    gc.disable()  # what is made until the model is loaded stays as long as the process
    options = _parse(arguments)
    harden_process()
    emit = EventWriter(options.events_fd)
    commands: SimpleQueue[Command] = SimpleQueue()
    # Reading comes first and never stops, so that the parent's death is seen while loading too.
    threading.Thread(target=_read_commands, args=(commands, emit), daemon=True).start()
    try:
        # Here and not above: these imports take most of the start, and may fail on odd machines.
        from app.inference.runner.setup import build_runtime

        assembly = build_runtime(options, emit)
    except WickError as error:
        emit(LoadFailed(str(error)))
        os._exit(LOAD_FAILED)
    except Exception:
        log.exception("The model could not be loaded")
        emit(LoadFailed("The model could not be loaded: Wick met an error it did not expect."))
        os._exit(LOAD_FAILED)
    gc.freeze()
    gc.enable()
    seconds = round(time.monotonic() - started, 3)
    on_gpu = assembly.loaded_layers
    emit(
        Loaded(
            *(assembly.slots, assembly.context_length, seconds),
            *(on_gpu.layers, on_gpu.total, on_gpu.bytes),
        )
    )
    while True:
        command = commands.get()
        match command:
            case Cancel():
                assembly.scheduler.cancel(command.id)
            case DeleteCache():
                assembly.contexts.delete(command.chat, command.owner)
            case SetLimits():
                assembly.set_limits(command.contexts, command.ram_mb)
            case Shutdown():
                assembly.shutdown(command.seconds)
                os._exit(0)
            case Generate():
                try:
                    assembly.scheduler.submit(command)
                except ValueError as error:
                    log.warning("Ignored: %s", error)


class EventWriter:
    """Writer of events as whole lines, from any thread. Ends the process without a reader."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        line = memoryview(to_line(event))
        try:
            with self._lock:
                while line:
                    line = line[os.write(self._descriptor, line) :]
        except OSError:  # the parent is gone
            os._exit(0)


def _read_commands(commands: SimpleQueue[Command], emit: EventWriter) -> None:
    for line in sys.stdin.buffer:
        try:
            command = from_line(line)
        except ValueError as error:
            log.warning("Ignored: %s", error)
            _fail_request(line, emit)
            continue
        if isinstance(command, Command):
            commands.put(command)
    os._exit(0)


def _fail_request(line: bytes, emit: EventWriter) -> None:
    """Report a malformed request to whoever waits for its answer."""
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return
    generate = isinstance(values, dict) and values.get("type") == "generate"
    if generate and isinstance(number := values.get("id"), int):
        emit(Failed(number, "The request was malformed, so the model could not answer it."))


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="runner", description="Holds one model for Wick.")
    parser.add_argument("--model", type=Path, required=True, help="its folder in the model store")
    parser.add_argument("--events-fd", type=int, required=True, help="where events are written")
    parser.add_argument("--permits", type=Path, required=True, help="folder of thread permits")
    parser.add_argument("--threads", type=int, required=True, help="thread budget of the machine")
    parser.add_argument("--context", type=int, required=True, help="tokens of one context")
    parser.add_argument("--slots", type=int, required=True, help="requests that run at once")
    parser.add_argument("--kv-mb", type=int, required=True, help="memory for KV caches, in MB")
    parser.add_argument("--gather-ms", type=int, default=0, help="of text that make one event")
    parser.add_argument("--engine", default="auto", choices=["auto", "ctransformers", "llama.cpp"])
    parser.add_argument("--kv-type", default="f16", choices=["f16", "q8_0"], help="of llama.cpp")
    parser.add_argument("--gpu", type=Placement.parse, default="", help="layers on each device")
    parser.add_argument("--kv-ram-mb", type=int, default=0, help="for snapshots of them, in MB")
    parser.add_argument("--kv-disk-mb", type=int, default=0, help="on the disk, in MB; 0: none")
    parser.add_argument("--keep-free-mb", type=int, default=0, help="of the disk, in MB")
    parser.add_argument("--kv-folder", type=Path, help="where those lie, for all models")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
