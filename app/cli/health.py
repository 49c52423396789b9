"""`wick health`: whether the server of these settings answers, for containers and monitors."""

from __future__ import annotations

import argparse
from typing import Final

import httpx

from app.config import Settings
from app.datadir import read_owner
from app.errors import PeerError
from app.local_server import client_options

TIMEOUT_SECONDS: Final = 4.0


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "health",
        description="Ask the server on this machine whether it is well. Exit code 0: it is; 1: it"
        " does not answer, or something is wrong.",
    )
    parser.set_defaults(func=run)


def run(_arguments: argparse.Namespace, settings: Settings) -> int:
    owner = read_owner(settings.data_dir)
    running = owner.url if owner is not None and owner.url else settings.local_url
    try:
        with httpx.Client(**client_options(settings, running, ""), timeout=TIMEOUT_SECONDS) as http:
            answer = http.get("/healthz")
    except httpx.HTTPError as error:
        raise PeerError(
            f"Nothing answers at {running}: {error or type(error).__name__}."
        ) from error
    if not answer.is_success:
        raise PeerError(f"{running} answers {answer.status_code}: {answer.text.strip()[:200]}")
    print(f"Wick is well at {running}")
    return 0
