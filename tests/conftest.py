"""Fixtures and settings of all tests."""

from __future__ import annotations

import gc
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from app import audit
from app.models.store import ModelStore
from tests.certificates import share_certificates
from tests.tiny_gguf import write_tiny_gguf

# Tests start more than a hundred processes: none of them is to compile all of Wick anew.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Thousands of tests are collected and stay: a third of that time went into looking for garbage.
gc.disable()

# What a shell starts in the background ignores Ctrl-C, and so does all that it starts in turn.
signal.signal(signal.SIGINT, signal.default_int_handler)

share_certificates()

# The same examples every time, and as long as they take on a machine that is busy.
# `--hypothesis-profile=search` looks for others.
settings.register_profile(
    "same",
    deadline=None,
    derandomize=True,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "search", deadline=None, max_examples=1000, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("same")


@pytest.fixture(autouse=True)
def fresh_audit_throttle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test's refusals crowd out the audit events of the next one in the same process."""
    monkeypatch.setattr(audit, "_throttle", audit.EventThrottle())


# What starts browsers and servers comes first: whoever of several processes ends last should have
# had little files at the end.
FIRST = (
    "e2e",
    "upstream",
    "prove",
    "recorded",
    "wire",
    "fuzz",
    "terminal",
    "cli",
    "clients",
    "api",
)
# Real browsers, terminals, commands and sockets on a busy machine: what fails is tried once more,
# and is in the report both times, for it is a fault all the same, of the test or of Wick.
TWICE = ("e2e", "terminal", "cli", "wire")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the folders with long tests before the others."""
    folders = {name: place for place, name in enumerate(FIRST)}
    tests = Path(__file__).parent

    def folder(item: pytest.Item) -> str:
        return item.path.relative_to(tests).parts[0]

    items.sort(key=lambda item: folders.get(folder(item), len(FIRST)))
    for item in items:
        if folder(item) in TWICE:
            item.add_marker(pytest.mark.flaky(reruns=1))


def pytest_collection_finish() -> None:
    """Leave what was collected out of all later searches for garbage."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def temporary_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what killed processes leave in a folder of this run: each start looks through it."""
    folder = str(tmp_path_factory.mktemp("tmp"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", folder)
        patch.setattr(tempfile, "tempdir", folder)
        yield


@pytest.fixture(scope="session")
def tiny_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with the tiny model."""
    folder = tmp_path_factory.mktemp("tiny-store")
    ModelStore(folder / "models").install(write_tiny_gguf(folder / "tiny.gguf"), "tiny")
    return folder / "models"
