"""Heads of requests that two programs could read differently, or that name nothing to ask for."""

from __future__ import annotations

from typing import Final

import h11

SCHEMES: Final = (b"http://", b"https://")


class BadHead(Exception):
    """Head that is refused, with what is wrong with it as a sentence."""


def checked(request: h11.Request) -> h11.Request:
    """Check a request; return it with its target as a path. Raises BadHead."""
    names = {name for name, _ in request.headers}
    if b"transfer-encoding" in names and b"content-length" in names:
        raise BadHead("A request has either Content-Length or Transfer-Encoding, not both.")
    if b"transfer-encoding" in names and request.http_version < b"1.1":
        raise BadHead("HTTP/1.0 knows no Transfer-Encoding.")
    if request.target.startswith(b"/"):
        return request
    return h11.Request(
        method=request.method,
        target=_path(request),
        headers=request.headers.raw_items(),
        http_version=request.http_version,
    )


def _path(request: h11.Request) -> bytes:
    """Path of a target with scheme and host, which clients of proxies send. Raises BadHead."""
    target = request.target
    if not target.lower().startswith(SCHEMES):
        raise BadHead("The target of a request is a path, such as /.")
    authority, slash, rest = target.partition(b"://")[2].partition(b"/")
    authority, mark, query = authority.partition(b"?")
    if authority.lower() != dict(request.headers).get(b"host", b"").lower():
        raise BadHead("The target of this request names another host than its Host header.")
    return b"/" + (mark + query if mark else b"") + (slash if mark else b"") + rest
