"""Upstreams: other servers that answer for a model, as users name them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urlsplit

from app.errors import ModelError
from app.net import leads_here

PARALLEL: Final = 4
MAX_PARALLEL: Final = 256
MAX_UPSTREAMS: Final = 32
MIN_CONTEXT: Final = 256
MAX_CONTEXT: Final = 16_777_216
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")


@dataclass(frozen=True, slots=True)
class Upstream:
    """Server with OpenAI's protocol.

    url: what comes before `/chat/completions`; model: its name on that server; key_env: the
    environment variable that holds the server's key, empty for none (the key itself is not stored);
    parallel: requests it gets at a time.
    """

    url: str
    model: str
    key_env: str = ""
    parallel: int = PARALLEL

    @property
    def host(self) -> str:
        """Host name and port, for display."""
        return urlsplit(self.url).netloc

    @property
    def is_local(self) -> bool:
        """Tell whether it can only be this computer."""
        return leads_here(urlsplit(self.url).hostname)


@dataclass(frozen=True, slots=True)
class RemoteModel:
    """Model that other servers hold; all of `upstreams` give the same answers.

    context: window in tokens as set by the user, found: as reported by the servers; None: not
    known. sees: whether it takes pictures.
    """

    upstreams: tuple[Upstream, ...]
    context: int | None = None
    found: int | None = None
    sees: bool = False

    @property
    def external_hosts(self) -> tuple[str, ...]:
        """Return the other computers that receive what is written to this model."""
        hosts = (upstream.host for upstream in self.upstreams if not upstream.is_local)
        return tuple(dict.fromkeys(hosts))


def validate_upstreams(upstream: Upstream) -> Upstream:
    """Complete the address of a server and check all fields. Raises ModelError."""
    model = upstream.model.strip()
    if not 1 <= len(model) <= 200 or not model.isprintable():
        raise ModelError("Say what the server calls the model, in at most 200 characters.")
    if upstream.key_env and not _VARIABLE.fullmatch(upstream.key_env):
        raise ModelError(
            "Give the name of the environment variable that holds the key, not the key itself."
        )
    if not 1 <= upstream.parallel <= MAX_PARALLEL:
        raise ModelError(f"A server can take 1 to {MAX_PARALLEL} concurrent requests.")
    return Upstream(full_url(upstream.url), model, upstream.key_env, upstream.parallel)


def merge_upstreams(
    before: RemoteModel | None, upstreams: list[Upstream], context: int | None
) -> RemoteModel:
    """Add servers to `before`; one with an address that is there already replaces the old one.

    Raises ModelError for invalid servers.
    """
    by_url = {upstream.url: upstream for upstream in (before.upstreams if before else ())}
    by_url |= {upstream.url: upstream for upstream in map(validate_upstreams, upstreams)}
    if not 1 <= len(by_url) <= MAX_UPSTREAMS:
        raise ModelError(f"A model can have 1 to {MAX_UPSTREAMS} servers.")
    context = validate_context(context)
    if before is None:
        return RemoteModel(tuple(by_url.values()), context)
    return replace(before, upstreams=tuple(by_url.values()), context=context or before.context)


def full_url(text: str) -> str:
    """Turn `http://gpu:8000/` into `http://gpu:8000/v1`. Raises ModelError for an invalid one."""
    text = text.strip()
    if not _is_url(text):
        raise ModelError(
            f"“{text[:80]}” is not the address of a server: it begins with http:// or https:// and "
            "a host, as in http://localhost:8080/v1."
        )
    parts = urlsplit(text)
    if parts.username is not None or parts.password is not None:
        raise ModelError(
            "A key does not belong into the address, where others would see it: put it into an "
            "environment variable and give that variable's name."
        )
    if parts.query or parts.fragment:
        raise ModelError("The address of a server has no “?” and no “#” in it.")
    path = parts.path.rstrip("/").removesuffix("/chat/completions") or "/v1"
    return f"{parts.scheme.lower()}://{parts.netloc.lower()}{path}"


def validate_context(context: int | None) -> int | None:
    """Raises ModelError."""
    if context is not None and not MIN_CONTEXT <= context <= MAX_CONTEXT:
        raise ModelError(
            f"The context size takes a whole number from {MIN_CONTEXT:,} to {MAX_CONTEXT:,}."
        )
    return context


def _is_url(text: str) -> bool:
    """Tell whether httpx, which will send the requests, accepts the address too."""
    import httpx

    if not 1 <= len(text) <= 500 or not text.isascii() or any(c <= " " for c in text):
        return False
    try:
        parts, url = urlsplit(text), httpx.URL(text)
        return parts.scheme.lower() in {"http", "https"} and bool(url.host) and parts.port != 0
    except (ValueError, httpx.InvalidURL):
        return False
