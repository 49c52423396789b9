"""`wick service`: Wick starts with the machine, under systemd or launchd."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import platformdirs

from app.config import Settings, wick_environment
from app.errors import ConfigError
from app.service_unit.launchd import Launchd
from app.service_unit.plan import ServiceManager, plan_service, write_settings
from app.service_unit.systemd import SYSTEM_UNITS, Systemd

_ACTIONS = {
    "install": "have Wick start with the machine, and start it now",
    "start": "start the service",
    "stop": "stop the service until the next start of the machine",
    "status": "show whether it runs; exit code 0 when it does",
    "logs": "print the newest lines of its log",
    "uninstall": "stop the service and remove it; chats and settings stay",
}


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "service",
        description="Start Wick with this machine. As root it is a service of the whole machine,"
        " with a user and a data folder of its own; else one of yours. Settings stand in a file"
        " beside it, which is made once from those in force now.",
    )
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    for name, about in _ACTIONS.items():
        action = actions.add_parser(name, help=about, description=f"{about.capitalize()}.")
        _add_scope(action)
        action.set_defaults(func=run, action=name)
        if name == "install":
            action.add_argument(
                "--print", action="store_true", help="print the unit and change nothing"
            )
        elif name == "logs":
            action.add_argument("-n", "--lines", type=_count, default=100, help="default: 100")
            action.add_argument("-f", "--follow", action="store_true", help="print new lines, too")


def _add_scope(action: argparse.ArgumentParser) -> None:
    scope = action.add_mutually_exclusive_group()
    scope.add_argument("--system", action="store_true", help="of the whole machine (as root)")
    scope.add_argument("--user", action="store_true", help="yours alone")


def _count(text: str) -> int:
    if not (text.isdecimal() and 1 <= int(text) <= 100_000):
        raise argparse.ArgumentTypeError("a number from 1 to 100,000, please")
    return int(text)


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    is_system = _is_system(arguments)
    manager = _manager(is_system=is_system)
    match arguments.action:
        case "install":
            return _install(manager, settings, is_system=is_system, only_print=arguments.print)
        case "start":
            manager.start()
            print("Wick is starting. “wick service status” shows whether it runs.")
        case "stop":
            manager.stop()
            print("Wick has stopped.")
        case "uninstall":
            manager.uninstall()
            print("The service is removed. Chats, models and settings are where they were.")
        case "status":
            return manager.status()
        case "logs":
            return manager.logs(arguments.lines, follow=arguments.follow)
    return 0


def _is_system(arguments: argparse.Namespace) -> bool:
    is_root = os.geteuid() == 0
    if sys.platform == "darwin":
        if arguments.system or is_root:
            raise ConfigError("On a Mac the service is yours: run this without sudo.")
        return False
    if arguments.system and not is_root:
        raise ConfigError("A service of the machine takes root: sudo wick service …")
    return bool(arguments.system) or (is_root and not arguments.user)


def _manager(*, is_system: bool) -> ServiceManager:
    if sys.platform == "darwin":
        library = Path.home() / "Library"
        return Launchd(library / "LaunchAgents", library / "Logs" / "wick.log", os.getuid())
    if sys.platform != "linux":
        raise ConfigError("Services are known for Linux (systemd) and macOS (launchd) only.")
    mine = Path(platformdirs.user_config_dir()) / "systemd" / "user"
    return Systemd(is_system=is_system, units=SYSTEM_UNITS if is_system else mine)


def _install(
    manager: ServiceManager, settings: Settings, *, is_system: bool, only_print: bool
) -> int:
    config = Path(platformdirs.user_config_dir("wick", appauthor=False))
    plan = plan_service(settings.data_dir, config, is_system=is_system)
    if only_print:
        path, text = manager.unit(plan)
        print(f"# {path}\n{text}", end="")
        return 0
    is_new = write_settings(plan, wick_environment())
    manager.install(plan)
    print(f"Wick starts with this machine, and is starting now: {settings.page_url}")
    print(f"  data      {plan.data}")
    print(f"  settings  {plan.settings}{'' if is_new else ' (was there, and is unchanged)'}")
    if not is_system and sys.platform == "linux":
        print("  To have it run while you are not logged in: loginctl enable-linger")
    return 0
