"""Lets a server be asked how many tasks it has, without a change to it: Python imports this first.

SIGUSR2 writes the numbers of tasks and threads into the file that PROBE names.
"""

import asyncio
import os
import signal
import sys
import threading
from types import FrameType


def _write(_number: int, _frame: FrameType | None) -> None:
    loop = asyncio._get_running_loop()
    tasks = len(asyncio.all_tasks(loop)) if loop is not None else 0
    path = os.environ["PROBE"]
    with open(f"{path}.new", "w") as file:  # noqa: PTH123 - as little as can be is imported
        file.write(f"{tasks} {threading.active_count()}")
    os.replace(f"{path}.new", path)  # noqa: PTH105


if "serve" in sys.orig_argv and "PROBE" in os.environ:
    signal.signal(signal.SIGUSR2, _write)
