"""The warning above chats: of a full disk, and for owners of a backup that failed."""

from __future__ import annotations

from app.web.context import ServerContext
from app.web.security.identity import is_owner


def warning(context: ServerContext) -> str:
    """Return the sentence to show; empty while all is well."""
    return context.reserve.sentence or (context.backups.failure if is_owner() else "")
