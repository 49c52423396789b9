"""Services of macOS' launchd, for the user who is logged in."""

from __future__ import annotations

import os
import plistlib
import subprocess
from pathlib import Path
from typing import Final

from app.errors import ServiceError
from app.service_unit.plan import ServicePlan

LABEL: Final = "wick"
_RUN: Final = 'set -a; [ -f "$1" ] && . "$1"; shift; exec "$@"'
"""A shell reads the settings, as launchd knows no files of them."""


class Launchd:
    """Service of one user. agents: the folder `LaunchAgents`; log: file with its output."""

    def __init__(self, agents: Path, log: Path, user_id: int) -> None:
        self._path = agents / f"{LABEL}.plist"
        self._log = log
        self._domain = f"gui/{user_id}"

    def unit(self, plan: ServicePlan) -> tuple[Path, str]:
        content = {
            "Label": LABEL,
            "ProgramArguments": ["/bin/sh", "-c", _RUN, LABEL, str(plan.settings), *plan.command],
            "WorkingDirectory": str(plan.data),
            "RunAtLoad": True,
            "KeepAlive": {"SuccessfulExit": False},
            "ThrottleInterval": 10,
            "ExitTimeOut": 90,
            "StandardOutPath": str(self._log),
            "StandardErrorPath": str(self._log),
            "Umask": 0o077,
            "SoftResourceLimits": {"NumberOfFiles": 65536},
        }
        return self._path, plistlib.dumps(content).decode()

    def install(self, plan: ServicePlan) -> None:
        path, text = self.unit(plan)
        try:
            for folder in (plan.data, path.parent, self._log.parent):
                folder.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
        except OSError as error:
            raise ServiceError(f"{error.filename} can't be written: {error.strerror}.") from error
        self._launchctl("bootout", f"{self._domain}/{LABEL}", may_fail=True)
        self._launchctl("bootstrap", self._domain, str(path))

    def uninstall(self) -> None:
        if not self._path.exists():
            raise ServiceError("There is no such service: nothing was installed.")
        self._launchctl("bootout", f"{self._domain}/{LABEL}", may_fail=True)
        self._path.unlink()

    def start(self) -> None:
        self._launchctl("bootstrap", self._domain, str(self._path), may_fail=True)
        self._launchctl("kickstart", f"{self._domain}/{LABEL}")

    def stop(self) -> None:
        self._launchctl("bootout", f"{self._domain}/{LABEL}")

    def status(self) -> int:
        return subprocess.run(
            ("launchctl", "print", f"{self._domain}/{LABEL}"), check=False
        ).returncode

    def logs(self, lines: int, *, follow: bool) -> int:
        if not self._log.exists():
            raise ServiceError(f"There is no log yet: {self._log}.")
        more = ("-F",) if follow else ()
        command = ("tail", "-n", str(lines), *more, os.fspath(self._log))
        return subprocess.run(command, check=False).returncode

    @staticmethod
    def _launchctl(*words: str, may_fail: bool = False) -> None:
        try:
            done = subprocess.run(
                ("launchctl", *words), check=False, capture_output=True, text=True
            )
        except OSError as error:
            raise ServiceError("There is no launchctl here.") from error
        if done.returncode and not may_fail:
            reason = done.stderr.strip() or f"exit code {done.returncode}"
            raise ServiceError(f"“launchctl {' '.join(words)}” failed: {reason}")
