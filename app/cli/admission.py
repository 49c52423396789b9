"""How a command speaks to the server of this machine: over HTTP, with what the data folder says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from app.config import Settings
from app.store.owner import read_owner
from app.terminal.entry import client_options


@contextmanager
def server_client(settings: Settings, timeout: float) -> Iterator[httpx.Client]:
    """A client for the server that owns the data folder, or else for `settings.local_url`.

    Whoever may read that folder is let in as an owner, also where people log in.
    """
    owner = read_owner(settings.data_dir)
    url = owner.url if owner is not None and owner.url else settings.local_url
    secret = "" if owner is None else owner.secret
    with httpx.Client(**client_options(settings, url, secret), timeout=timeout) as client:
        yield client


def error_message(response: httpx.Response) -> str:
    """Why the server did not do it."""
    kind, text = response.headers.get("content-type", ""), response.text.strip()
    if kind.startswith("text/plain") and text:
        return text
    where, status = str(response.url.copy_with(path="")), response.status_code
    return f"What answers at {where} did not do it (status {status}): is it Wick?"
