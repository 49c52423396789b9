"""The desk over HTTP: `wick user` and `wick key` have the running server do what they want.

So the database has one writer, and what ends with somebody's login ends at once.
"""

from __future__ import annotations

import inspect
from typing import Final

import msgspec
from quart import Blueprint, Response, abort, request

from app.accounts.desk import OPERATIONS, AccountAdmin
from app.web.entrance import local_cli_only
from app.web.state import server_context

admin_blueprint = Blueprint("terminal", __name__)
UNKNOWN: Final = "This Wick does not know this command: is it another version?"


@admin_blueprint.post("/terminal/<verb>")
@local_cli_only
async def call(verb: str) -> Response:
    """One of the desk's VERBS, with its arguments by name as JSON; what it gives, as JSON."""
    context = server_context()
    admin = AccountAdmin(
        context.users,
        context.api_keys,
        context.account_deletion.stop,
        context.account_deletion.complete,
    )
    if verb not in OPERATIONS:
        abort(404, UNKNOWN)
    method = getattr(admin, verb)
    try:
        given = inspect.signature(method).bind(**msgspec.json.decode(await request.get_data()))
    except (msgspec.DecodeError, UnicodeDecodeError, TypeError, RecursionError):
        abort(400, UNKNOWN)
    content = msgspec.json.encode(await method(*given.args, **given.kwargs))
    return Response(content, content_type="application/json")
