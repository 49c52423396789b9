"""Checks of what surrounds the chats: folder, disk, models, engines, port and backups."""

from __future__ import annotations

import asyncio
import math
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from app.backup.schedule import DAY_SECONDS, BackupSchedule
from app.config import Settings, runner_environment
from app.datadir import ServerInfo
from app.disk_reserve import MIN_BYTES, RESERVE_BYTES
from app.doctor.findings import Finding, fault, note, ok
from app.errors import ModelError
from app.inference import kv_files
from app.inference.device_monitor import list_devices
from app.models.devices import gpus
from app.models.store import ModelStore

LOW_BYTES: Final = 1 << 30
"""Free bytes of the disk below which there is soon no space for a model or a backup."""
FULL_BYTES: Final = RESERVE_BYTES + MIN_BYTES
LOW_FILES: Final = 1000
LIBRARY_SECONDS: Final = 30.0
LOAD_CTRANSFORMERS: Final = (
    "from app.inference.runner.engines.ctransformers import load_library; load_library()"
)


def check_folder(settings: Settings, owner: ServerInfo | None) -> Iterator[Finding]:
    folder = settings.data_dir
    if not folder.is_dir():
        yield note("Data folder", f"{folder} is not there yet; the first start makes it.")
        return
    yield ok("Data folder", f"{folder}")
    if folder.stat().st_mode & 0o077:
        yield fault(
            "Data folder",
            "Other users of this computer can read it.",
            lambda: _close_to_others(folder),
        )


def _close_to_others(folder: Path) -> str:
    folder.chmod(0o700)
    return f"Only you can read {folder} now."


def check_disk(settings: Settings) -> Iterator[Finding]:
    for topic, folder in (("Disk", settings.data_dir), ("Disk of models", settings.models_dir)):
        if not folder.is_dir():
            continue
        free = shutil.disk_usage(folder).free
        sentence = f"{free / 1e9:.1f} GB are free in {folder}."
        if folder == settings.data_dir and free < FULL_BYTES:
            yield fault(topic, f"{sentence} Nothing can be saved: delete models, or make room.")
        else:
            is_low = free < max(LOW_BYTES, settings.keep_free_bytes)
            yield note(topic, sentence) if is_low else ok(topic, sentence)
        if _files_left(folder) < LOW_FILES:
            yield fault(topic, f"{folder} takes hardly any more files, whatever is free.")


def _files_left(folder: Path) -> float:
    """Return how many more files the disk takes; infinite where it keeps no count."""
    found = os.statvfs(folder)
    return found.f_favail if found.f_files else math.inf


def check_snapshots(settings: Settings, owner: ServerInfo | None) -> Iterator[Finding]:
    folder = settings.kv_folder
    sizes = [path.stat().st_size for path in kv_files.files(folder)]
    parts = [] if owner else list(folder.glob(f"*/*{kv_files.UNFINISHED}"))
    if parts:
        yield note(
            "KV snapshots",
            f"{len(parts):,} were never finished.",
            lambda: _remove(parts),
        )
    used, limit = sum(sizes) / 1e6, settings.kv_disk_mb * 1.048576
    yield ok("KV snapshots", f"{len(sizes):,}, {used:.0f} of at most {limit:.0f} MB for a model.")


def _remove(paths: list[Path]) -> str:
    for path in paths:
        path.unlink(missing_ok=True)
    return f"{len(paths):,} unfinished snapshots were deleted."


def check_models(settings: Settings) -> Iterator[Finding]:
    try:
        models, damaged = ModelStore(settings.models_dir).scan()
    except ModelError as error:
        yield fault("Models", str(error))
        return
    for name, sentence in damaged:
        yield fault("Models", f"{name}: {sentence} Remove it on the page “Models”.")
    names = ", ".join(model.name for model in models) or "none yet"
    yield ok("Models", f"{len(models)} in {settings.models_dir}: {names}.")


def check_engines() -> Iterator[Finding]:
    """Load both libraries, each in a process that may crash."""
    found = asyncio.run(list_devices())
    if found.problem:
        yield fault("llama.cpp", f"Its library does not work: {found.problem.rstrip('.')}.")
    else:
        names = ", ".join(device.title for device in gpus(found.devices)) or "no GPU"
        yield ok("llama.cpp", f"Its library works; {names}.")
    try:
        done = subprocess.run(
            [sys.executable, "-c", LOAD_CTRANSFORMERS],
            capture_output=True,
            env=runner_environment(),
            timeout=LIBRARY_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        yield note("ctransformers", "Its library did not load in time.")
        return
    if done.returncode:
        words = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["it crashed"]
        yield note("ctransformers", f"It has no library here ({words[-1]}): llama.cpp runs all.")
    else:
        yield ok("ctransformers", "Its library works.")


def check_port(settings: Settings, owner: ServerInfo | None) -> Iterator[Finding]:
    if owner is not None and owner.url:
        yield ok("Port", f"Wick serves at {owner.url}.")
        return
    try:
        with socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((settings.host, settings.port))
    except OSError as error:
        yield fault(
            "Port",
            f"{settings.host} port {settings.port} cannot be used ({error.strerror or error})."
            " Set WICK_PORT to another one.",
        )
    else:
        yield ok("Port", f"{settings.port} is free.")


def check_backups(settings: Settings) -> Iterator[Finding]:
    schedule = BackupSchedule(settings)
    if schedule.folder is None:
        yield note("Backups", "None are made by themselves: set WICK_BACKUP_DIR.")
        return
    newest = schedule.newest()
    if newest is None or time.time() > newest + 2 * DAY_SECONDS:
        yield note("Backups", f"There is none of the last two days in {schedule.folder}.")
    else:
        hours = (time.time() - newest) / 3600
        yield ok("Backups", f"The newest in {schedule.folder} is {hours:.0f} hours old.")
