"""Setup of a child process around its work: its output, its signals, its end."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
from typing import Final

from app.logs.child import log_to_parent

BROKEN: Final = 4
"""Exit code of a child in which a thread has died of a bug."""


def harden_process() -> None:
    """Send what native code prints to the log, leave Ctrl-C to the parent, and end with it."""
    log_to_parent()
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    faulthandler.enable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent to decide
    # A thread that dies of a bug would leave requests waiting for ever; a process is replaced.
    threading.excepthook = _abort
    if sys.platform == "linux":
        import ctypes

        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def _abort(problem: threading.ExceptHookArgs) -> None:
    sys.excepthook(problem.exc_type, problem.exc_value or SystemExit(), problem.exc_traceback)
    os._exit(BROKEN)
