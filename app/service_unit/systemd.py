"""Services of systemd: the unit, and what is asked of `systemctl` and `journalctl`."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Final

import psutil

from app.errors import ServiceError
from app.service_unit.plan import DESCRIPTION, MEMORY_SHARE, NAME, ServicePlan

UNIT: Final = f"{NAME}.service"
SYSTEM_UNITS: Final = Path("/etc/systemd/system")
_HARDENING: Final = """\
# Wick may write its data folder and nothing else.
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
ReadWritePaths={data}
# GPUs, and no other device.
DevicePolicy=closed
DeviceAllow=char-drm rw
DeviceAllow=char-nvidia-frontend rw
DeviceAllow=char-nvidia-uvm rw
DeviceAllow=char-nvidia rw
DeviceAllow=char-kfd rw
CapabilityBoundingSet=
AmbientCapabilities=
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
RemoveIPC=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
"""
_UNIT: Final = """\
[Unit]
Description={description}
After=network-online.target
Wants=network-online.target
StartLimitIntervalSec=300
StartLimitBurst=5

[Service]
Type=exec
ExecStart={command}
{user}EnvironmentFile=-{settings}
WorkingDirectory={data}
Restart=on-failure
RestartSec=2
# A wrong setting stays wrong.
RestartPreventExitStatus=2
# Running answers are saved, and KV states written to the disk.
TimeoutStopSec=90
KillMode=mixed
LimitNOFILE=65536
UMask=0077
# Wick keeps within WICK_MODEL_MEMORY_MB by itself. This would be a last resort:
#MemoryMax={memory}M
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
{hardening}
[Install]
WantedBy={target}
"""


class Systemd:
    """Service of the machine, or of one user. units: the folder of unit files."""

    def __init__(self, *, is_system: bool, units: Path) -> None:
        self._is_system = is_system
        self._path = units / UNIT

    def unit(self, plan: ServicePlan) -> tuple[Path, str]:
        memory = int(psutil.virtual_memory().total * MEMORY_SHARE) >> 20
        text = _UNIT.format(
            description=DESCRIPTION,
            command=" ".join(_quoted(word) for word in plan.command),
            user=f"User={NAME}\nGroup={NAME}\n" if plan.is_system else "",
            settings=_path(plan.settings),
            data=_path(plan.data),
            memory=memory,
            hardening=_HARDENING.format(data=_quoted(str(plan.data))) if plan.is_system else "",
            target="multi-user.target" if plan.is_system else "default.target",
        )
        return self._path, text

    def install(self, plan: ServicePlan) -> None:
        self._require("systemctl")
        path, text = self.unit(plan)
        if plan.is_system:
            self._add_user()
        try:
            plan.data.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
            if plan.is_system:
                shutil.chown(plan.data, NAME, NAME)
        except OSError as error:
            raise ServiceError(f"{error.filename} can't be written: {error.strerror}.") from error
        self._systemctl("daemon-reload")
        self._systemctl("enable", UNIT)
        self._systemctl("restart", UNIT)

    def uninstall(self) -> None:
        if not self._path.exists():
            raise ServiceError("There is no such service: nothing was installed.")
        self._systemctl("disable", "--now", UNIT)
        self._path.unlink()
        self._systemctl("daemon-reload")

    def start(self) -> None:
        self._systemctl("start", UNIT)

    def stop(self) -> None:
        self._systemctl("stop", UNIT)

    def status(self) -> int:
        return self._show("systemctl", "status", "--no-pager", "--lines=0", UNIT)

    def logs(self, lines: int, *, follow: bool) -> int:
        more = ("--follow",) if follow else ("--no-pager",)
        option = "--unit" if self._is_system else "--user-unit"
        self._require("journalctl")
        command = ("journalctl", option, UNIT, f"--lines={lines}", "--output=short-iso", *more)
        return subprocess.run(command, check=False).returncode

    def _scope(self) -> tuple[str, ...]:
        return () if self._is_system else ("--user",)

    def _add_user(self) -> None:
        """Make the user that the service runs as, without a password and a shell."""
        import pwd

        try:
            pwd.getpwnam(NAME)
        except KeyError:
            home, shell = "/var/lib/wick", "/usr/sbin/nologin"
            words = ("useradd", "--system", "--user-group", "--home-dir", home, "--shell", shell)
            self._run((*words, NAME))

    def _systemctl(self, *words: str) -> None:
        self._require("systemctl")
        self._run(("systemctl", *self._scope(), *words))

    def _show(self, program: str, *words: str) -> int:
        self._require(program)
        return subprocess.run((program, *self._scope(), *words), check=False).returncode

    @staticmethod
    def _require(program: str) -> None:
        if shutil.which(program) is None:
            raise ServiceError(
                f"There is no {program} here. “wick service install --print” prints the unit for"
                " another machine."
            )

    @staticmethod
    def _run(words: tuple[str, ...]) -> None:
        try:
            done = subprocess.run(words, check=False, capture_output=True, text=True)
        except OSError as error:
            raise ServiceError(f"{words[0]} can't be started: {error.strerror}.") from error
        if done.returncode:
            reason = (done.stderr or done.stdout).strip().splitlines()
            why = f": {reason[-1]}" if reason else f" with exit code {done.returncode}"
            raise ServiceError(f"“{' '.join(words)}” failed{why}")


def _quoted(word: str) -> str:
    """A word of a command, as systemd reads it."""
    word = word.replace("\\", "\\\\").replace("%", "%%").replace("$", "$$")
    return f'"{word}"' if any(c.isspace() for c in word) else word


def _path(path: Path) -> str:
    return str(path).replace("%", "%%")
