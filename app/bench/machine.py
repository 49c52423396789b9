"""How much memory a process has, and what machine this is."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

from app.config import available_cpus


def resident_memory(pid: int) -> int | None:
    """Bytes of the process that are in memory, mapped weights included; None if unknown."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        pass
    if not shutil.which("ps"):
        return None
    asked = subprocess.run(
        ["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    text = asked.stdout.strip()
    return int(text) << 10 if text.isdigit() else None


def describe_machine() -> str:
    """The processor's name and the cores that may be used."""
    return f"{_processor()}, {available_cpus()} cores"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    return next(filter(None, [*names, platform.processor()]), platform.machine())
