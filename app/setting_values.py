"""Values of settings as text, and what they mean. Each parser raises ConfigError, one line."""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from app.errors import ConfigError
from app.net import Network

MAX_GPU_LAYERS: Final = 10_000


def number(low: int, high: int) -> Callable[[str, str], int]:
    def parse(name: str, text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise ConfigError(
                f"{name}={text} is wrong: it takes a whole number from {low} to {high}."
            )
        return value

    return parse


_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_duration(name: str, text: str) -> float:
    """Parse a duration into seconds; infinite for `never`."""
    if text.lower() == "never":
        return math.inf
    number, unit = (text[:-1], text[-1:].lower()) if text[-1:].isalpha() else (text, "s")
    if unit not in _SECONDS or not number.isdecimal() or len(number) > 6:
        raise ConfigError(
            f"{name}={text} is wrong: it takes a time such as 90s, 30m, 2h or 1d, or never."
        )
    return float(int(number) * _SECONDS[unit])


def parse_context(name: str, text: str) -> int:
    """Tokens; 0 for `auto`: as many as the model and the memory allow."""
    return 0 if text.lower() == "auto" else number(256, 1_048_576)(name, text)


def parse_layers(name: str, text: str) -> int | None:
    """Parse a number of layers; None for `auto`: all that fit."""
    if text.lower() == "auto":
        return None
    try:
        return number(0, MAX_GPU_LAYERS)(name, text)
    except ConfigError as error:
        raise ConfigError(f"{str(error).rstrip('.')}, or auto.") from None


def one_of(*allowed: str) -> Callable[[str, str], str]:
    def parse(name: str, text: str) -> str:
        if text.lower() not in allowed:
            raise ConfigError(f"{name}={text} is wrong: it takes one of {', '.join(allowed)}.")
        return text.lower()

    return parse


def parse_bool(name: str, text: str) -> bool:
    yes, no = ("1", "on", "true", "yes"), ("0", "off", "false", "no")
    return one_of(*yes, *no)(name, text) in yes


def parse_path(name: str, text: str) -> Path:
    if "\0" in text:
        raise ConfigError(f"{name} is wrong: a path cannot hold a NUL character.")
    try:
        return Path(text).expanduser().absolute()
    except (RuntimeError, OSError) as error:
        raise ConfigError(f"{name}={text} is wrong: {error}.") from error


def parse_host(name: str, text: str) -> str:
    if any(c.isspace() or c in "/@?#" for c in text):
        raise ConfigError(f"{name}={text} is wrong: it takes an address or a host name.")
    return text.strip("[]")


def parse_base_path(name: str, text: str) -> str:
    """Check a path that begins with `/` and does not end with one; empty for the root."""
    parts = text.strip("/").split("/")
    if parts == [""]:
        return ""
    if any(not re.fullmatch(r"[\w.~-]+", part, re.ASCII) or not part.strip(".") for part in parts):
        raise ConfigError(
            f"{name}={text} is wrong: it takes a path such as /wick, of letters, digits and -._~."
        )
    return "/" + "/".join(parts)


def parse_hosts(name: str, text: str) -> tuple[str, ...]:
    return tuple(parse_host(name, part.strip().lower()) for part in text.split(",") if part.strip())


def parse_networks(name: str, text: str) -> tuple[Network, ...]:
    try:
        found = tuple(
            ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip()
        )
    except ValueError:
        found = ()
    if not found or any(network.prefixlen == 0 for network in found):
        raise ConfigError(
            f"{name}={text} is wrong: it takes addresses or networks of your proxies, such as "
            "127.0.0.1 or 172.18.0.0/16, separated by commas; never all addresses."
        )
    return found


def parse_header(name: str, text: str) -> str:
    """Check the name of a header that no browser and nothing else of Wick uses."""
    is_token = re.fullmatch(r"[A-Za-z][A-Za-z0-9-]*", text)
    if not is_token or text.lower() in _OTHER_HEADERS or text.lower().startswith(("sec-", "hx-")):
        raise ConfigError(
            f"{name}={text} is wrong: it takes the name of a header in which your proxy names the"
            " user, such as X-Forwarded-User."
        )
    return text


_OTHER_HEADERS: Final = frozenset(
    {
        *("host", "origin", "cookie", "authorization", "x-api-key", "referer", "user-agent"),
        *("accept", "content-type", "content-length", "connection", "upgrade", "forwarded"),
        *("x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-real-ip"),
    }
)


def parse_sign_out(name: str, text: str) -> str:
    """Check where logging out goes on: an address, or a path of the same site."""
    return text if re.fullmatch(r"/(?![/\\])[!-\[\]-~]*", text) else parse_address(name, text)


def parse_text(_name: str, text: str) -> str:
    return text


def parse_address(name: str, text: str) -> str:
    """Check the address of another server."""
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ConfigError(f"{name}={text} is wrong: it takes an address such as http://host:8888.")
    return text
