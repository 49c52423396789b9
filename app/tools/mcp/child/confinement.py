"""What a connector and its server may take of the machine."""

from __future__ import annotations

import contextlib
import os
import resource
from typing import Final

MEMORY_BYTES: Final = 1 << 30
OOM_SCORE: Final = "500"


def yield_to_others() -> None:
    """Take what others leave of the CPU, and be ended before Wick when memory runs out.

    A server inherits both.
    """
    os.nice(5)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:  # noqa: PTH123
        file.write(OOM_SCORE)


def bound_memory() -> None:
    """Bound the memory of this process."""
    with contextlib.suppress(OSError, ValueError):  # what the system does not know, or forbids
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
