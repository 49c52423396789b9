"""Behind a proxy: who really asks, and how they see this server, as the proxy tells it.

Only proxies that the settings name are believed. What anybody else claims in such a header is
dropped, so that nothing behind this point can be fooled by it.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from app.net import Network, in_networks

Scope = dict[str, Any]
Application = Callable[[Any, Any, Any], Awaitable[None]]
Fields = Sequence[tuple[bytes, bytes]]
_FORWARDED_HEADERS: Final = frozenset(
    {b"forwarded", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-real-ip"}
)
UNTRUSTED_PROXY: Final = "wick.came_through_an_unknown_proxy"
"""In the scope of a request that has passed a proxy that the settings do not name, or says so."""
_PAIR: Final = re.compile(r'\s*([\w!#$%&\'*+.^`|~-]+)=("(?:[^"\\]|\\.)*"|[^";,\s]*)\s*')


@dataclass(frozen=True, slots=True)
class ForwardedInfo:
    """Claims of a proxy: addresses from the client on, scheme and host; empty for nothing."""

    addresses: tuple[str, ...] = ()
    scheme: str = ""
    host: str = ""


class Proxies:
    """Wraps an ASGI application."""

    def __init__(self, application: Application, trusted: Sequence[Network]) -> None:
        self._application = application
        self._trusted = tuple(trusted)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] in {"http", "websocket"}:
            scope = self._apply(scope)
        await self._application(scope, receive, send)

    def _apply(self, scope: Scope) -> Scope:
        headers = cast("Fields", scope["headers"])
        kept = [(name, value) for name, value in headers if name.lower() not in _FORWARDED_HEADERS]
        if not in_networks(_client(scope), self._trusted):
            return scope | {"headers": kept, UNTRUSTED_PROXY: len(kept) < len(headers)}
        forwarded = parse_forwarded(headers)
        scope = scope | {"headers": kept}
        if forwarded.addresses:
            scope["client"] = (self._client_address(forwarded.addresses), 0)
        if forwarded.scheme in {"http", "https"}:
            scope["scheme"] = _scheme(scope["type"], forwarded.scheme)
        if forwarded.host:
            scope["headers"] = [(n, v) for n, v in kept if n.lower() != b"host"]
            scope["headers"].append((b"host", forwarded.host.encode("latin-1")))
        return scope

    def _client_address(self, addresses: Sequence[str]) -> str:
        """Return, from the near end on, the first that is none of our proxies: what it says is not
        believed any more."""
        for address in reversed(addresses):
            if not in_networks(address, self._trusted):
                return address
        return addresses[0]


def _client(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""


def _scheme(kind: str, scheme: str) -> str:
    return scheme if kind == "http" else {"http": "ws", "https": "wss"}[scheme]


def parse_forwarded(headers: Fields) -> ForwardedInfo:
    """Read `X-Forwarded-*`, or `Forwarded` where there is none of those.

    A proxy writes one kind and hands on the other as it came, from whomever: where both are there
    and say different things, nothing is believed but that somebody is lying.
    """
    default = _parse_x_forwarded(headers)
    standard = _parse_forwarded(headers)
    if default == ForwardedInfo() or standard == ForwardedInfo():
        return default if default != ForwardedInfo() else standard
    if default.addresses[-1:] != standard.addresses[-1:]:
        return ForwardedInfo(addresses=("unknown",))
    return ForwardedInfo(
        default.addresses, default.scheme or standard.scheme, default.host or standard.host
    )


def _values(headers: Fields, name: bytes) -> list[str]:
    joined = b",".join(value for key, value in headers if key.lower() == name)
    return [part.strip() for part in joined.decode("latin-1").split(",") if part.strip()]


def _parse_x_forwarded(headers: Fields) -> ForwardedInfo:
    schemes = _values(headers, b"x-forwarded-proto")
    hosts = _values(headers, b"x-forwarded-host")
    return ForwardedInfo(
        tuple(_address(text) for text in _values(headers, b"x-forwarded-for")),
        schemes[-1].lower() if schemes else "",
        hosts[-1] if hosts else "",
    )


def _parse_forwarded(headers: Fields) -> ForwardedInfo:
    addresses, scheme, host = [], "", ""
    for element in _values(headers, b"forwarded"):
        pairs = {name.lower(): value.strip('"') for name, value in _PAIR.findall(element)}
        if "for" in pairs:
            addresses.append(_address(pairs["for"]))
        scheme, host = pairs.get("proto", scheme).lower(), pairs.get("host", host)
    return ForwardedInfo(tuple(addresses), scheme, host)


def _address(text: str) -> str:
    """Strip brackets and port."""
    if match := re.fullmatch(r"\[(.*)\](:\w+)?", text):
        return match[1]
    if text.count(":") == 1:
        return text.partition(":")[0]
    return text
