"""What is so at the moment of a scrape: queues, models, memory, disk."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from app.config import Settings
from app.inference import kv_files
from app.inference.model_state import WorkerStatus
from app.logs.writer import counts


@dataclass(frozen=True, slots=True)
class ServerSnapshot:
    """Snapshot of the parts of a server. tabs: that are connected; answers: in chats, running or
    waiting; memory_budget: bytes."""

    workers: Sequence[WorkerStatus] = ()
    tabs: int = 0
    answers: int = 0
    running_pulls: int = 0
    failed_pulls: int = 0
    memory_budget: int = 0


class SnapshotCollector(Collector):
    """Collector of `figures`, and of what is on the disk. It blocks.

    backup: when the newest one was made, in seconds since 1970.
    """

    def __init__(self, settings: Settings, backup: Callable[[], float | None]) -> None:
        self.figures = ServerSnapshot()
        self._settings = settings
        self._backup = backup

    def describe(self) -> Iterable[Metric]:
        return ()  # else it would be asked while it is registered

    def collect(self) -> Iterator[Metric]:
        found = self.figures
        yield from _models(found.workers)
        yield _gauge("wick_tabs", "Tabs that are connected.", found.tabs)
        yield _gauge("wick_unfinished_answers", "Answers of chats on their way.", found.answers)
        yield _gauge("wick_pulls_running", "Models that are being downloaded.", found.running_pulls)
        yield _gauge("wick_pulls_failed", "Downloads that failed.", found.failed_pulls)
        yield _gauge(
            "wick_model_memory_budget_bytes", "Memory that models may use.", found.memory_budget
        )
        backup = GaugeMetricFamily("wick_newest_backup_seconds", "When it was made.", labels=[])
        if (made := self._backup()) is not None:
            backup.add_metric([], made)
        yield backup
        yield _log_lines()
        yield from _disk(self._settings)
        me = psutil.Process()
        yield _gauge("wick_server_memory_bytes", "Of the server itself.", me.memory_info().rss)
        yield _gauge("wick_server_open_files", "Of the server itself.", me.num_fds())


def _gauge(name: str, about: str, value: float) -> Metric:
    return GaugeMetricFamily(name, about, value)


def _log_lines() -> Metric:
    """Count what went wrong: each error is a line."""
    lines = CounterMetricFamily("wick_log_lines", "Lines of the log, by level.", labels=["level"])
    for level in ("warning", "error", "critical"):
        lines.add_metric([level], counts[level])
    return lines


def _models(workers: Sequence[WorkerStatus]) -> Iterator[Metric]:
    running = GaugeMetricFamily("wick_running_requests", "Being answered.", labels=["model"])
    waiting = GaugeMetricFamily("wick_waiting_requests", "In the queue.", labels=["model"])
    loaded = GaugeMetricFamily("wick_model_loaded", "1: in memory.", labels=["model"])
    planned = GaugeMetricFamily("wick_model_planned_bytes", "Set aside for it.", labels=["model"])
    resident = GaugeMetricFamily(
        "wick_model_resident_bytes", "Memory of its process.", labels=["model"]
    )
    for worker in workers:
        label = [worker.name]
        running.add_metric(label, worker.running)
        waiting.add_metric(label, worker.waiting)
        loaded.add_metric(label, worker.pid is not None)
        planned.add_metric(label, worker.memory)
        if worker.pid is not None and (size := _resident(worker.pid)):
            resident.add_metric(label, size)
    yield from (running, waiting, loaded, planned, resident)


def _resident(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:  # it ended meanwhile
        return 0


def _disk(settings: Settings) -> Iterator[Metric]:
    free = GaugeMetricFamily("wick_disk_free_bytes", "Of the disk of a folder.", labels=["folder"])
    for name, folder in (("data", settings.data_dir), ("models", settings.models_dir)):
        if folder.exists():
            free.add_metric([name], shutil.disk_usage(folder).free)
    yield free
    yield _gauge("wick_disk_kept_free_bytes", "That stay free.", settings.keep_free_bytes)
    yield _gauge("wick_database_bytes", "Of the database's file.", _size(settings.database))
    snapshots = sum(_size(path) for path in kv_files.files(settings.kv_folder))
    yield _gauge("wick_kv_snapshot_bytes", "Of KV states on the disk.", snapshots)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
