"""Bounds of the process that reads a document, and what is raised when one cannot be read."""

from __future__ import annotations

import contextlib
import os
import resource
import sys
import threading
from typing import Final

from app.documents.protocol import Reason

MEMORY_BYTES: Final = 3 << 29
CPU_SECONDS: Final = 120
STACK_BYTES: Final = 128 << 20
MAX_DEPTH: Final = 20_000
"""Frames of Python: elements may lie some thousand deep in each other."""


class CannotRead(Exception):
    """Raised with the reason why a document has no text that could be given to a model."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


def confine() -> None:
    """Take no more than allowed: no file, no further process, and what others leave of the CPU."""
    bounds = {
        resource.RLIMIT_AS: MEMORY_BYTES,
        resource.RLIMIT_CPU: CPU_SECONDS,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NOFILE: 32,
        resource.RLIMIT_CORE: 0,
    }
    sys.setrecursionlimit(MAX_DEPTH)
    threading.stack_size(STACK_BYTES)
    for which, most in bounds.items():
        with contextlib.suppress(OSError, ValueError):  # what the system does not know, or forbids
            resource.setrlimit(which, (most, most))
    os.nice(5)
