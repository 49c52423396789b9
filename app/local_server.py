"""Finds this computer's server and connects to it, by what the data folder says."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import httpx
import msgspec

from app.config import Settings
from app.datadir import ServerInfo, lock_data_folder, read_owner
from app.errors import DataFolderInUse, PeerError

# Into the server of this machine: whoever may read its data folder is let in.


T = TypeVar("T")
CHAT_COMMAND: Final = "wick chat"
STARTING_SECONDS: Final = 20.0
POLL_SECONDS: Final = 0.1


async def acquire_or_discover(folder: Path, command: str, stack: ExitStack) -> ServerInfo | None:
    """Own the data folder (returns None), or find the server that does. Waits for a server that is
    just starting and for a short command.

    Raises DataFolderInUse while a `wick chat` owns it.
    """
    for _ in range(round(STARTING_SECONDS / POLL_SECONDS)):
        try:
            stack.enter_context(lock_data_folder(folder, command))
            return None
        except DataFolderInUse:
            owner = read_owner(folder)
            if owner is not None and owner.url:
                return owner
            if owner is not None and owner.command == CHAT_COMMAND:
                raise
        await asyncio.sleep(POLL_SECONDS)
    raise DataFolderInUse(f"The Wick that owns {folder} is not ready yet. Try again, please.")


def client_options(settings: Settings, url: str, secret: str) -> dict[str, Any]:
    """Return httpx options for the server at `url`, as an owner if `secret` is the right one."""
    place = urlsplit(url)
    origin = f"{place.scheme}://{place.netloc}"
    headers = {"Origin": origin, "Accept": "application/json, text/plain"}
    if secret:
        headers["Authorization"] = f"Bearer {secret}"
    # No proxy is on the way to this very machine. Loading certificates takes a while.
    is_secure = place.scheme == "https"
    trust = tls_context(settings) if is_secure else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return {"base_url": url, "headers": headers, "verify": trust, "trust_env": False}


def tls_context(settings: Settings) -> ssl.SSLContext:
    """Trust the server's own certificate under any name: it is on this computer."""
    context = ssl.create_default_context(cafile=settings.tls_cert)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


# How a command speaks to the server of this machine: over HTTP, with what the data folder says.


@contextmanager
def server_client(settings: Settings, timeout: float) -> Iterator[httpx.Client]:
    """Open a client for the server that owns the data folder, else for `settings.local_url`.

    Whoever may read that folder acts as an owner, even where users must log in.
    """
    owner = read_owner(settings.data_dir)
    url = owner.url if owner is not None and owner.url else settings.local_url
    secret = "" if owner is None else owner.secret
    with httpx.Client(**client_options(settings, url, secret), timeout=timeout) as client:
        yield client


def error_message(response: httpx.Response) -> str:
    """Extract the sentence that says why the server refused."""
    kind, text = response.headers.get("content-type", ""), response.text.strip()
    if kind.startswith("text/plain") and text:
        return text
    where, status = str(response.url.copy_with(path="")), response.status_code
    return f"What answers at {where} did not do it (status {status}): is it Wick?"


async def send_command(
    client: httpx.AsyncClient, kind: type[T], verb: str, arguments: Mapping[str, object]
) -> T:
    """Have the running server do what a command asks for; returns its reply. Raises PeerError."""
    body = msgspec.json.encode(_encodable(arguments))
    try:
        response = await client.post(f"/terminal/{verb}", content=body)
    except httpx.TransportError as error:
        where = str(client.base_url).rstrip("/")
        raise PeerError(f"Can't reach Wick at {where}.") from error
    if not response.is_success:
        raise PeerError(error_message(response))
    return msgspec.json.decode(response.content, type=kind)


def _encodable(arguments: Mapping[str, object]) -> dict[str, object]:
    """Replace what a terminal gave as no text at all, which the encoder would refuse."""
    return {
        name: value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
        for name, value in arguments.items()
    }
