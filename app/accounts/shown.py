"""How a request shows the login that it belongs to: by a cookie, and what changes by a header too.

Ports share cookies and Wick has many neighbours, so the names of ours carry the port. Under TLS
they begin with `__Host-`: then no other host, not even a subdomain, can have set them.
"""

from __future__ import annotations

from typing import Final

LOGIN: Final = "login"
FORM: Final = "form"
DEVICE: Final = "device"
CSRF_HEADER: Final = "X-CSRF-Token"


def cookie_name(kind: str, port: int, *, is_secure: bool) -> str:
    return f"{'__Host-' if is_secure else ''}wick-{kind}-{port}"
