"""`wick serve`: checks of who can reach the server, then the server until Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import errno
import logging
import signal
import socket
import ssl
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import app
from app.accounts.oidc.providers import check_installed
from app.cli.http_server import create_server
from app.config import Settings
from app.datadir import FolderLock, lock_data_folder
from app.errors import ConfigError
from app.logs.writer import LIFE, screen_sink, write_log
from app.net import is_loopback

if TYPE_CHECKING:
    from app.accounts.users import Users
    from app.models.install.pulls import PullManager
    from app.server import ServerContext


# Who can reach the server that is about to start, and what that takes: accounts, TLS, an owner.


log = logging.getLogger(__name__)


def check(settings: Settings) -> None:
    """Check the settings.

    Raises ConfigError for what would be open to everybody, or could not work.
    """
    _check_tls(settings)
    if settings.accounts == "off" and not settings.is_loopback:
        raise ConfigError(
            f"WICK_ACCOUNTS=off with WICK_HOST={settings.host} would let everybody who reaches "
            "this address read and write all chats. Leave WICK_ACCOUNTS out, so that people log "
            "in, or set WICK_HOST=127.0.0.1."
        )
    if settings.accounts == "off" and settings.trusted_proxies:
        raise ConfigError(
            "WICK_ACCOUNTS=off with WICK_TRUSTED_PROXIES would let everybody who comes through the "
            "proxy read and write all chats. Leave WICK_ACCOUNTS out, so that people log in."
        )
    _check_login_header(settings)
    _check_providers(settings)
    if not settings.has_accounts:
        _check_name(settings)


def _check_login_header(settings: Settings) -> None:
    if settings.auth_header and not settings.auth_proxy:
        raise ConfigError(
            "WICK_AUTH_HEADER needs WICK_AUTH_PROXY, the address of the proxy that sets it: from"
            " anywhere else, anyone could send it."
        )
    if settings.auth_header and settings.accounts == "off":
        raise ConfigError("WICK_AUTH_HEADER needs accounts. Leave WICK_ACCOUNTS out.")
    if settings.auth_groups_header.lower() == settings.auth_header.lower() != "":
        raise ConfigError("WICK_AUTH_GROUPS_HEADER must be another header than WICK_AUTH_HEADER.")


def _check_providers(settings: Settings) -> None:
    if settings.providers and settings.accounts == "off":
        raise ConfigError(
            f"{settings.providers[0].variable('issuer')} needs accounts. Leave WICK_ACCOUNTS out."
        )
    check_installed(settings.providers)


def warn(settings: Settings) -> None:
    """Say what is allowed and not wise."""
    is_bare = not settings.tls_cert and not settings.trusted_proxies
    if settings.has_accounts and is_bare and not settings.is_loopback:
        log.warning(
            "Passwords and chats travel to %s unencrypted. Set WICK_TLS_CERT and WICK_TLS_KEY, or "
            "put a proxy with TLS in front and name it in WICK_TRUSTED_PROXIES.",
            settings.host,
        )


def _check_name(settings: Settings) -> None:
    """Check the host: a name that should mean this machine may stand for another address."""
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)
    except OSError:
        return  # that it cannot be listened on is said where that is tried
    wrong = [str(address[0]) for *_, address in found if not is_loopback(str(address[0]))]
    if wrong:
        raise ConfigError(
            f"WICK_HOST={settings.host} is {wrong[0]} here, which others may reach. Set "
            "WICK_HOST=127.0.0.1, or WICK_ACCOUNTS=on, so that people log in."
        )


def _check_tls(settings: Settings) -> None:
    if not settings.tls_cert and not settings.tls_key:
        return
    if not settings.tls_cert or not settings.tls_key:
        given, missing = ("CERT", "KEY") if settings.tls_cert else ("KEY", "CERT")
        raise ConfigError(f"WICK_TLS_{given} also needs WICK_TLS_{missing}.")
    for name, path in (("CERT", settings.tls_cert), ("KEY", settings.tls_key)):
        try:
            path.read_bytes()
        except OSError as error:
            raise ConfigError(
                f"WICK_TLS_{name}={path} cannot be read: {error.strerror}."
            ) from error
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(settings.tls_cert, settings.tls_key, password=_no_password)
    except (ssl.SSLError, ValueError, OSError) as error:
        raise ConfigError(
            f"WICK_TLS_CERT={settings.tls_cert} and WICK_TLS_KEY={settings.tls_key} are no "
            "certificate in PEM with its key, unencrypted."
        ) from error


def _no_password() -> str:
    raise ValueError("the key is encrypted")


def join_url(settings: Settings, token: str) -> str:
    """URL at which an invitation is accepted, as this machine reaches it."""
    return f"{settings.local_url}{settings.base_path}/join/{token}"


async def print_setup_link(settings: Settings, users: Users) -> None:
    """Print the setup link as long as there is no owner."""
    token = await users.setup_token()
    if token is None:
        return
    print(
        "  There is no owner yet. Open this link to create the owner account; it works once,\n"
        "  within a day. On another computer, replace the host with this one's name or address.\n\n"
        f"  {join_url(settings, token)}\n",
        flush=True,
    )


# `wick serve`: the page, until Ctrl-C.


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("serve")
    parser.add_argument("--host", help="address to listen on (default: WICK_HOST)")
    parser.add_argument("--port", type=int, help="port to listen on (default: WICK_PORT)")
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    if arguments.host:
        settings = replace(settings, host=arguments.host)
    if arguments.port is not None:
        if not 1 <= arguments.port <= 65535:
            raise ConfigError(f"--port {arguments.port} is wrong: it takes 1 to 65535.")
        settings = replace(settings, port=arguments.port)
    check(settings)
    _check_address(settings)
    _check_folders(settings)
    is_verbose = settings.log_level == "debug"
    screen = screen_sink(sys.stderr, settings.log, is_verbose=is_verbose)
    size = settings.log_mb << 20
    with (
        lock_data_folder(settings.data_dir, "wick serve") as ownership,
        write_log(settings.data_dir, settings.log_level, size, screen),
    ):
        warn(settings)
        asyncio.run(_serve(settings, ownership))
    return 0


def _check_address(settings: Settings) -> None:
    """Try the address: Hypercorn would print a traceback for what is one sentence."""
    try:
        family, kind, *_, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM
        )[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"Port {settings.port} is in use already. Is Wick running at {settings.page_url}? "
                "Another port: WICK_PORT=8001."
            ) from error
        raise ConfigError(
            f"WICK_HOST={settings.host} with WICK_PORT={settings.port} cannot be listened on: "
            f"{error.strerror or error}."
        ) from error


def _check_folders(settings: Settings) -> None:
    for name in ("data_dir", "models_dir"):
        folder = getattr(settings, name)
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise ConfigError(
                f"WICK_{name.upper()}={folder} cannot be used: {error.strerror}."
            ) from error


async def _serve(settings: Settings, ownership: FolderLock) -> None:
    server = create_server(settings, settings.url.partition("://")[2])
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    async def until_stopped(context: ServerContext) -> None:
        context.pulls.listeners.append(TerminalProgress(context.pulls).show)
        ownership.publish(settings.local_url, context.secret)
        print(f"\n  Wick is at {settings.page_url}   (Ctrl-C stops it)\n", flush=True)
        if settings.has_accounts:
            await print_setup_link(settings, context.users)
        life = logging.getLogger(LIFE)
        life.info("Wick %s serves at %s.", app.__version__, settings.page_url)
        await stop.wait()
        life.info("Wick is being stopped.")

    await server.run(until_stopped)


class TerminalProgress:
    """Progress of pulls, as one line that is written over; in a log file one line a tenth."""

    def __init__(self, pulls: PullManager) -> None:
        self._pulls = pulls
        self._last: dict[str, str] = {}
        self._is_terminal = sys.stderr.isatty()

    def show(self) -> None:
        for pull in self._pulls.all():
            progress = pull.progress
            step = f"{progress.stage} {10 * progress.done // max(progress.total, 1)}"
            if pull.error:
                step = pull.error
            if self._last.get(pull.name) == step and not self._is_terminal:
                continue
            self._last[pull.name] = step
            end = "" if self._is_terminal and not pull.error else "\n"
            start = "\r\x1b[K" if self._is_terminal else ""
            print(
                f"{start}  {pull.error or pull.description}", end=end, file=sys.stderr, flush=True
            )
