"""Commands of `wick`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Sequence
from pkgutil import resolve_name
from typing import Any, Final

import app
from app.config import load_settings
from app.errors import ConfigError, StoreUnusable, WickError

COMMANDS: Final = {
    "serve": ("app.cli.serve:add_parser", "run the web server until Ctrl-C"),
    "chat": ("app.cli.chat:add_parser", "chat in the terminal"),
    "models": ("app.cli.models:add_parser", "list, download, import and remove models"),
    "user": ("app.cli.accounts:add_user_parser", "manage user accounts"),
    "key": ("app.cli.accounts:add_key_parser", "create, list and revoke API keys"),
    "mcp": ("app.cli.mcp:add_parser", "add, list, test and remove tool servers (MCP)"),
    "transcribe": ("app.cli.transcribe:add_parser", "write down what is said in a recording"),
    "backup": ("app.cli.backup:add_backup_parser", "back up chats, files and settings"),
    "restore": ("app.cli.backup:add_restore_parser", "restore a backup into an empty folder"),
    "service": ("app.cli.service:add_parser", "start Wick with this machine"),
    "health": ("app.cli.health:add_parser", "tell whether the server answers"),
    "doctor": ("app.cli.doctor:add_parser", "check data, models and engines"),
    "logs": ("app.cli.logs:add_parser", "show what the server has logged"),
    "completion": ("app.cli.completion:add_parser", "print the completion of a shell"),
    "bench": ("app.cli.bench:add_parser", "measure how fast a model runs here"),
}
"""The function that adds its parser, and what it is for. Only the wanted module is imported."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. 0: done; 1: it failed, and a line says why; 2: it could not begin, for wrong
    usage, a wrong setting or a data folder that is not usable."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    wanted = next((word for word in words if not word.startswith("-")), "")
    parsed = build_parser({wanted}).parse_args(words)
    try:
        code: int = parsed.func(parsed, load_settings())
    except (ConfigError, StoreUnusable) as error:
        return _fail(str(error), 2)
    except WickError as error:
        return _fail(str(error), 1)
    except BrokenPipeError:
        raise
    except OSError as error:  # of a file that nobody expected to be unusable
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}.", 2)
    except KeyboardInterrupt:
        return 130
    return code


def _fail(sentence: str, code: int) -> int:
    """Print an error in one line."""
    print(f"wick: {' '.join(sentence.split())}", file=sys.stderr)
    return code


class _Commands(argparse._SubParsersAction):  # type: ignore[type-arg]
    """Commands with what the list says of each."""

    def add_parser(self, name: str, **options: Any) -> Any:
        return super().add_parser(name, help=COMMANDS[name][1], **options)


def build_parser(wanted: Collection[str]) -> argparse.ArgumentParser:
    """Build the parser: the wanted commands whole, of the others the name."""
    parser = argparse.ArgumentParser(prog="wick", description=app.__doc__)
    parser.add_argument("--version", action="version", version=f"wick {app.__version__}")
    commands = parser.add_subparsers(
        title="commands", required=True, metavar="COMMAND", action=_Commands
    )
    for name, (add_parser, _) in COMMANDS.items():
        if name in wanted:
            resolve_name(add_parser)(commands)
        else:
            commands.add_parser(name)
    return parser
