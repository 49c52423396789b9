"""One module per command of `wick`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import app
from app.cli import bench, chat, keys, models, serve, user
from app.config import load_settings
from app.errors import ConfigError, WickError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. 0: done; 1: it failed, and a line says why; 2: wrong usage or setting."""
    parser = argparse.ArgumentParser(prog="wick", description=app.__doc__)
    parser.add_argument("--version", action="version", version=f"wick {app.__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in (serve, chat, models, user, keys, bench):
        command.add_parser(commands)
    parsed = parser.parse_args(arguments)
    try:
        code: int = parsed.func(parsed, load_settings())
    except ConfigError as error:
        print(f"wick: {error}", file=sys.stderr)
        return 2
    except WickError as error:
        print(f"wick: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return code
