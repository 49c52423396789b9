"""How a request shows the login that it belongs to: by a cookie, and what changes by a header too.

Ports share cookies and Wick has many neighbours, so the names of ours carry the port. Under TLS
they begin with `__Host-`: then no other host, not even a subdomain, can have set them. Below a base
path they belong to that path, which `__Host-` forbids.
"""

from __future__ import annotations

from typing import Final

SESSION_COOKIE: Final = "login"
CSRF_COOKIE: Final = "form"
DEVICE_COOKIE: Final = "device"
CSRF_HEADER: Final = "X-CSRF-Token"


def cookie_name(kind: str, port: int, *, is_secure: bool, is_alone: bool = True) -> str:
    """`is_alone`: nobody else shares this origin."""
    secure = "__Host-" if is_alone else "__Secure-"
    return f"{secure if is_secure else ''}wick-{kind}-{port}"
