"""`wick completion`: what a shell completes after `wick`."""

from __future__ import annotations

import argparse

import shtab

from app.config import Settings


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "completion",
        description="Print a script that completes commands and options of wick. For bash:"
        " wick completion bash > ~/.local/share/bash-completion/completions/wick",
    )
    parser.add_argument("shell", choices=shtab.SUPPORTED_SHELLS)
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace, _settings: Settings) -> int:
    from app.cli import COMMANDS, build_parser

    print(shtab.complete(build_parser(COMMANDS), shell=arguments.shell))
    return 0
