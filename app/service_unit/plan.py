"""What a service runs, for whom, and where its settings and data are."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from app.errors import ConfigError, ServiceError

NAME: Final = "wick"
DESCRIPTION: Final = "Wick: private chat with local language models"
SYSTEM_DATA: Final = Path("/var/lib/wick")
SYSTEM_SETTINGS: Final = Path("/etc/wick/wick.env")
MEMORY_SHARE: Final = 0.9
"""Of the machine's memory that a hint in the unit gives to Wick."""


@dataclass(frozen=True, slots=True)
class ServicePlan:
    """Plan of a service. is_system: for the whole machine, else for one user; command: program and
    arguments; data: its folder; settings: file with its environment."""

    is_system: bool
    command: tuple[str, ...]
    data: Path
    settings: Path


class ServiceManager(Protocol):
    """Protocol of what runs services on a machine. Every method raises ServiceError."""

    def unit(self, plan: ServicePlan) -> tuple[Path, str]:
        """The file that declares the service, and its content."""
        ...

    def install(self, plan: ServicePlan) -> None:
        """Declare the service, have it start with the machine, and start it."""
        ...

    def uninstall(self) -> None:
        """Stop the service and forget it; settings and data stay."""
        ...

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def status(self) -> int:
        """Print how it stands; 0 when it runs."""
        ...

    def logs(self, lines: int, *, follow: bool) -> int:
        """Print the newest lines of its log."""
        ...


def service_command(python: Path | None = None) -> tuple[str, ...]:
    """The command that serves: the script `wick` beside this Python, else its module."""
    python = Path(sys.executable) if python is None else python
    script = python.with_name("wick")
    if script.exists():
        return str(script), "serve"
    return str(python), "-P", "-m", "app", "serve"


def plan_service(data: Path, config: Path, *, is_system: bool) -> ServicePlan:
    """Plan the service. Raises ConfigError where nobody else could read the program.

    data: folder of a user's service; config: a user's folder of settings.
    """
    command = service_command()
    if not is_system:
        return ServicePlan(
            is_system=False, command=command, data=data, settings=config / "wick.env"
        )
    private = [folder for folder in ("/root", "/home") if Path(command[0]).is_relative_to(folder)]
    if private:
        raise ConfigError(
            f"{command[0]} lies in {private[0]}, which a service of the machine cannot read."
            " Install Wick in a folder such as /opt/wick, or install the service for you alone"
            " (--user)."
        )
    return ServicePlan(is_system=True, command=command, data=SYSTEM_DATA, settings=SYSTEM_SETTINGS)


def settings_text(plan: ServicePlan, given: Mapping[str, str]) -> str:
    """The file of settings: those in force now, but for the data folder of another user."""
    found = {name: value for name, value in given.items() if name.startswith("WICK_")}
    if plan.is_system or "WICK_DATA_DIR" not in found:
        found["WICK_DATA_DIR"] = str(plan.data)
    lines = [f"{name}={_quoted(value)}" for name, value in sorted(found.items())]
    return "\n".join(
        [
            "# Settings of the service: .env.example in Wick's source lists them all.",
            "# After a change: wick service stop, then wick service start.",
            *lines,
            "",
        ]
    )


def write_settings(plan: ServicePlan, given: Mapping[str, str]) -> bool:
    """Write the file of settings for its owner alone, unless it is there; `given`: the environment
    of now. Returns whether it was written. Raises ServiceError."""
    text = settings_text(plan, given)
    try:
        if not plan.settings.parent.is_dir():
            plan.settings.parent.mkdir(parents=True)
        if plan.settings.exists():
            return False
        number = os.open(plan.settings, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise ServiceError(f"{error.filename} can't be written: {error.strerror}.") from error
    with os.fdopen(number, "w", encoding="utf-8") as file:
        file.write(text)
    return True


def _quoted(value: str) -> str:
    """A value as systemd and a shell read it alike."""
    escaped = value.replace("'", "'\\''")
    return f"'{escaped}'"
