"""Settings of MCP servers as owners give them, checked; and what a connector needs of them."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, get_args
from urllib.parse import urlsplit

from app.config import KEY_PREFIX, read_secret, tool_environment
from app.db.mcp_servers import McpAccess, McpServer
from app.errors import InvalidToolServer, ToolServerFailed
from app.tools.mcp.protocol import McpAddress, McpEndpoint, McpProgram

MAX_NAME_CHARS: Final = 24
MAX_COMMAND_CHARS: Final = 4_000
MAX_SECRETS: Final = 30
MAX_SECRET_CHARS: Final = 8_000
_NAME: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_REFERENCE: Final = re.compile(rf"\${KEY_PREFIX}\w+")
_OF_THE_PROTOCOL: Final = frozenset(
    {"accept", "accept-encoding", "connection", "content-length", "content-type", "host"}
)


@dataclass(frozen=True, slots=True)
class McpServerValues:
    """What an owner gives. target: a command line, or else an address; secrets: variables of the
    program's environment, or headers."""

    name: str
    target: str
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    access: str = "owners"

    @property
    def is_address(self) -> bool:
        return re.match(r"https?://", self.target.strip(), re.IGNORECASE) is not None


@dataclass(frozen=True, slots=True)
class CheckedValues:
    """The same, fit for keeping."""

    name: str
    command: str
    arguments: tuple[str, ...]
    url: str
    secrets: dict[str, str] = field(repr=False)
    access: McpAccess


def check_values(values: McpServerValues) -> CheckedValues:
    """Raises InvalidToolServer with a sentence for each field."""
    problems: dict[str, str] = {}
    name = values.name.strip().lower()
    if not _NAME.fullmatch(name) or len(name) > MAX_NAME_CHARS:
        problems["name"] = (
            f"Use at most {MAX_NAME_CHARS} small letters and digits, with - between words."
        )
    if values.access not in get_args(McpAccess):
        problems["access"] = "Choose who may use it."
    words: list[str] = []
    url = ""
    try:
        if values.is_address:
            url = _checked_url(values.target.strip())
        else:
            words = _checked_command(values.target)
    except ValueError as error:
        problems["target"] = str(error)
    try:
        secrets = _checked_secrets(values.secrets, is_address=values.is_address)
    except ValueError as error:
        problems["secrets"], secrets = str(error), {}
    if problems:
        raise InvalidToolServer(problems)
    command, *arguments = words or [""]
    access: McpAccess = values.access  # type: ignore[assignment] # checked above
    return CheckedValues(name, command, tuple(arguments), url, secrets, access)


def _checked_url(url: str) -> str:
    parts = urlsplit(url)
    if not parts.hostname or any(c.isspace() or not c.isprintable() for c in url):
        raise ValueError("This is not an address.")
    if parts.username or parts.password:
        raise ValueError("Put the key into a header, not into the address.")
    if len(url) > MAX_COMMAND_CHARS:
        raise ValueError("This address is too long.")
    return url


def _checked_command(text: str) -> list[str]:
    if len(text) > MAX_COMMAND_CHARS or "\0" in text:
        raise ValueError("This command is too long.")
    try:
        words = shlex.split(text)
    except ValueError:
        raise ValueError("A quotation mark is missing.") from None
    if not words or not words[0]:
        raise ValueError("Enter a command or an address.")
    return words


def _checked_secrets(given: Mapping[str, str], *, is_address: bool) -> dict[str, str]:
    if len(given) > MAX_SECRETS:
        raise ValueError(f"At most {MAX_SECRETS} are allowed.")
    pattern = _HEADER if is_address else _VARIABLE
    for name, value in given.items():
        if not pattern.fullmatch(name):
            what = "header" if is_address else "variable"
            raise ValueError(f"“{name[:40]}” is not the name of a {what}.")
        if is_address and name.lower() in _OF_THE_PROTOCOL:
            raise ValueError(f"The header {name} is set by Wick.")
        if len(value) > MAX_SECRET_CHARS or not value.isprintable():
            raise ValueError(f"The value of {name} is too long, or not one line of text.")
    return dict(given)


def parse_secrets(text: str) -> dict[str, str]:
    """Read lines `NAME=value` or `Name: value`. Raises InvalidToolServer."""
    found: dict[str, str] = {}
    for line in filter(str.strip, text.splitlines()):
        match = re.match(r"\s*([^\s=:]+)\s*[=:]\s*(.*?)\s*$", line)
        if match is None:
            raise InvalidToolServer({"secrets": "Write one a line, such as NAME=value."})
        found[match[1]] = match[2]
    return found


def merge_secrets(before: McpServer, values: McpServerValues) -> dict[str, str]:
    """Return a server's secrets with those that are given: an empty value removes one. Variables
    are no headers, so a command that becomes an address keeps none."""
    kept = before.secrets if values.is_address == bool(before.url) else {}
    return {name: value for name, value in {**kept, **values.secrets}.items() if value}


def endpoint_of(server: McpServer, folder: Path) -> McpEndpoint:
    """Return what to connect to. folder: where a program runs.

    Raises ToolServerFailed where a variable with a key is missing.
    """
    secrets = {name: _resolved(value) for name, value in server.secrets.items()}
    if server.url:
        return McpAddress(server.url, secrets)
    environment = tool_environment() | secrets
    command = os.path.expanduser(server.command)  # noqa: PTH111 - it may be no path
    return McpProgram(command, server.arguments, environment, str(folder))


def _resolved(value: str) -> str:
    """Read a value `$WICK_KEY_NAME` from Wick's own environment."""
    if not _REFERENCE.fullmatch(value):
        return value
    found = read_secret(value[1:])
    if not found:
        raise ToolServerFailed(f"{value[1:]} is not set in Wick's environment or .env.")
    return found
