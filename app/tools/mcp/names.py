"""Names of MCP servers' tools for models: one among all servers, of what every model takes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Final

SEPARATOR: Final = "__"
"""Between a server's name and its tool's. No server's name has one."""
MAX_NAME_CHARS: Final = 64
HASH_CHARS: Final = 6
_OTHER: Final = re.compile(r"[^A-Za-z0-9_-]")


def unique_names(server: str, tools: Iterable[str]) -> dict[str, str]:
    """Return the tools of a server by their names for models, whatever order they come in.

    A name that has to be changed gets a few digits of its hash where it would not be the only one.
    """
    wanted = {tool: f"{server}{SEPARATOR}{_OTHER.sub('_', tool)}" for tool in tools}
    kept = {name for tool, name in wanted.items() if name == f"{server}{SEPARATOR}{tool}"}
    found: dict[str, str] = {}
    for tool, name in wanted.items():
        is_own = name == f"{server}{SEPARATOR}{tool}"
        others = sum(other == name for other in wanted.values())
        if len(name) > MAX_NAME_CHARS or (not is_own and (name in kept or others > 1)):
            digits = hashlib.sha256(tool.encode("utf-8", "replace")).hexdigest()[:HASH_CHARS]
            found[f"{name[: MAX_NAME_CHARS - HASH_CHARS - 1]}_{digits}"] = tool
        else:
            found[name] = tool
    return found
