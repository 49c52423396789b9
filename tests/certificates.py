"""The system's certificates, loaded once: each client of httpx loads them anew, in 40 ms."""

from __future__ import annotations

import functools
import os
import ssl
from typing import Any

import httpx
from httpx._transports import default

_ELSEWHERE = {"SSL_CERT_FILE", "SSL_CERT_DIR"}


@functools.cache
def _shared() -> ssl.SSLContext:
    return httpx.create_ssl_context()


def _context(verify: Any = True, cert: Any = None, trust_env: bool = True) -> ssl.SSLContext:
    if verify is True and cert is None and not _ELSEWHERE & os.environ.keys():
        return _shared()
    return httpx.create_ssl_context(verify, cert, trust_env)


def share_certificates() -> None:
    """Let the clients of this process share one context."""
    default.create_ssl_context = _context  # type: ignore[attr-defined]
